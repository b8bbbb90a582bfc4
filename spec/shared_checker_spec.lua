-- shared_checker_spec.lua - six processes, three Lua 5.4 and three LuaJIT, read, write, delete and drop rows of one
-- SQLite file through caches over one Redis, while processes and the server are killed, stopped, cut off and emptied. A
-- judge (checker.lua) reads what they wrote down: nothing older than the hard bound, nothing that was never committed,
-- and when all is quiet every process reads what the table has.

local bed = require "spec.support.bed"
local checker = require "spec.support.checker"
local crew = require "spec.support.crew"
local folder = require "spec.support.folder"
local larder = require "larder"
local posix = require "spec.support.posix"
local profiles = require "spec.support.checker_profiles"
local redis = require "spec.support.redis"
local sqlite = require "larder.sqlite"
local values = require "spec.support.values"

local PROCESSES = 6
local EPISODE_MS, HEAL_MS = 2000, 1500
local episodes = bed.count(50, 1)

-- ---- the judge itself ---------------------------------------------------------------------------------------------

-- A verdict on a history ("1.1.1.1", "-" deleted, of row 1) and lines.
local function verdict(tags, lines)
    local rows = { { id = 1, tag = "1.0.0.0" } }
    for _, tag in ipairs(tags) do
        rows[#rows + 1] = { id = 1, tag = tag ~= "-" and tag or nil }
    end
    local judge = checker.new(rows, { hard_ms = 100, soft_ms = 50, windows = { { 0, 1000 } }, ended_ms = 1e6 })
    local function each()
        local i = 0
        return function()
            i = i + 1
            return lines[i]
        end
    end
    judge:writes_of(each())
    judge:settle_writes()
    judge:reads_of(each())
    return select(3, judge:verdict())
end

describe("the judge", function()
    local W1, W2 = "W 1.1.1.1 10 20 ok", "W 1.1.1.2 30 40 ok"
    local both = { "1.1.1.1", "1.1.1.2" }

    it("finds nothing where nothing is wrong", function()
        assert.is_nil(verdict(both, { W1, W2, "R 1 15 16 1.0.0.0 l1", "R 1 15 16 1.1.1.1 l1", "R 1 35 36 1.1.1.2 l2",
            "R 1 140 141 1.1.1.1 l1", "R 1 10000 10001 1.1.1.2 l1" }))
        assert.is_nil(verdict({ "1.1.1.1", "-" }, { W1, "D 1 30 40 ok", "R 1 35 36 - absent", "E 1 30 31 timeout" }))
        assert.is_nil(verdict({ "1.1.1.1" }, { "W 1.1.1.1 10 20 lost", "W 1.1.1.2 30 40 lost", "B 1.1.1.3 50" }))
    end)

    it("finds what is too old", function()
        assert.truthy(verdict(both, { W1, W2, "R 1 165 166 1.1.1.1 l1" }):find("too old", 1, true))
        -- one that nobody saw end is superseded when the next one is
        assert.truthy(verdict(both, { "B 1.1.1.1 10", W2, "R 1 165 166 1.0.0.0 l1" }):find("too old", 1, true))
        -- the soft bound counts where there were no faults
        assert.is_nil(verdict(both, { W1, W2, "R 1 95 96 1.1.1.1 l1" }))
        local late = verdict(both, { W1, "W 1.1.1.2 900 940 ok", "R 1 1001 1002 1.1.1.1 l1" })
        assert.truthy(late:find("1 of 1 reads were later than the soft bound", 1, true))
        assert.truthy(verdict({ "-", "1.1.1.1" }, { W1, "R 1 150 151 - absent" }):find("too old", 1, true))
    end)

    it("finds what was never committed, and what comes before it was written", function()
        assert.truthy(verdict(both, { W1, W2, "R 1 50 51 1.9.9.9 l1" }):find("never committed", 1, true))
        assert.truthy(verdict(both, { W1, W2, "R 1 50 51 - absent" }):find("never committed", 1, true))
        assert.truthy(verdict(both, { W1, W2, "R 1 50 51 torn:1:x:y l1" }):find("never committed", 1, true))
        assert.truthy(verdict(both, { W1, W2, "R 2 50 51 1.1.1.1 l1" }):find("never committed", 1, true))
        assert.truthy(verdict(both, { W1, W2, "R 1 25 26 1.1.1.2 l1" }):find("written later", 1, true))
    end)

    it("finds failed writes that were read or took effect, and others that took none", function()
        local failed = "W 1.1.1.2 30 40 rejected"
        local read = "R 1 50 51 1.1.1.2 l1"
        assert.truthy(verdict({ "1.1.1.1" }, { W1, failed, read }):find("failed write was read", 1, true))
        assert.truthy(verdict(both, { W1, failed }):find("took effect", 1, true))
        assert.truthy(verdict({ "1.1.1.1" }, { W1, W2 }):find("not in the table's history", 1, true))
        assert.truthy(verdict(both, { W1 }):find("nobody made", 1, true))
        assert.truthy(verdict(both, { W1, W2, "D 1 50 60 ok" }):find("delete did nothing", 1, true))
        assert.truthy(verdict(both, { W1, W2, "E 1 50 60 corrupt" }):find("should not", 1, true))
    end)
end)

-- ---- the run ------------------------------------------------------------------------------------------------------

local server, dir, db, team, lives, draw, profile, name, windows, done

local function hire(i)
    lives[i] = (lives[i] or 0) + 1
    team[i] = crew.hire("spec.support.checker_worker", { lua = crew.luas[i <= PROCESSES / 2 and 1 or 2],
        args = { dir, server.url, name, i, lives[i], bed.seed } })
end

local function table_of_items()
    db = assert(sqlite.open(dir .. "/items.db", { create = true }))
    assert(db:exec [[
        PRAGMA journal_mode = WAL;
        CREATE TABLE items (id INTEGER PRIMARY KEY, tag TEXT, twin TEXT, price INTEGER CHECK (price >= 0))]])
    local file = dir .. "/items.db"
    assert(sqlite.migrate { file = file, table = "items", changes = profile.changes ~= false, mode = "apply" })
    assert(db:exec [[
        CREATE TABLE history (seq INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER, tag TEXT);
        CREATE TRIGGER history_insert AFTER INSERT ON items BEGIN
            INSERT INTO history (id, tag) VALUES (NEW.id, NEW.tag); END;
        CREATE TRIGGER history_update AFTER UPDATE OF tag ON items BEGIN
            INSERT INTO history (id, tag) VALUES (NEW.id, NEW.tag); END;
        CREATE TRIGGER history_delete AFTER DELETE ON items BEGIN
            INSERT INTO history (id, tag) VALUES (OLD.id, NULL); END]])
    for id = 1, profile.ids do
        local tag = id .. ".0.0.0"
        assert(db:query("INSERT INTO items (id, tag, twin) VALUES (?, ?, ?)", id, tag, tag))
    end
end

local faults = {}

function faults.kill(until_ms)
    local i = draw:below(PROCESSES) + 1
    team[i]:kill()
    hire(i)
    team[i]:tell("return run(%.3f)", until_ms)
end

function faults.stop()
    local worker = team[draw:below(PROCESSES) + 1]
    posix.kill(worker.pid, "STOP")
    posix.sleep(draw:below(700))
    posix.kill(worker.pid, "CONT")
end

function faults.cut()
    local kind = ({ "normal", "pubsub", "normal" })[draw:below(3) + 1]
    server:call("CLIENT", "KILL", "TYPE", kind)
end

function faults.flush()
    server:call "FLUSHALL"
end

function faults.freeze()
    server:pause()
    posix.sleep(draw:below(600))
    server:resume()
end

function faults.restart()
    server:kill()
    posix.sleep(draw:below(200))
    server:restart()
end

-- A time of work with faults, then quiet; gives the longest time until a process read what the table has, and how one
-- still differs.
local function episode()
    local until_ms = posix.now() + (profile.episode_ms or EPISODE_MS)
    for _, worker in ipairs(team) do
        worker:tell("return run(%.3f)", until_ms)
    end
    while #profile.faults > 0 and posix.now() < until_ms - 500 do
        posix.sleep(50 + draw:below(350))
        local fault, from = profile.faults[draw:below(#profile.faults) + 1], posix.now()
        faults[fault](until_ms)
        windows[#windows + 1] = { from, posix.now() + HEAL_MS }
        done[fault] = (done[fault] or 0) + 1
    end
    for _, worker in ipairs(team) do
        worker:hear()
    end
    for _, worker in ipairs(team) do
        worker:tell("return settle(%d)", profile.settle_ms)
    end
    local longest, differs = 0, nil
    for _, worker in ipairs(team) do
        local ms = worker:hear()
        if type(ms) == "number" then
            longest = math.max(longest, ms)
        else
            differs = differs or ms
        end
    end
    return longest, differs
end

-- How what a reader that keeps nothing itself is given differs from the table.
local function redis_differs()
    local options = profiles.options(profile, server.url, dir .. "/items.db")
    options.l1 = false
    local cache = assert(larder.open(options))
    local rows, differs = {}, nil
    for _, row in ipairs(assert(db:query "SELECT id, tag FROM items")) do
        rows[row.id] = row.tag
    end
    for id = 1, profile.ids do
        local row = cache:get("item:" .. id)
        if rows[id] ~= (row and row.tag) then
            differs = ("Redis gives %s of row %d, the table has %s"):format(row and row.tag, id, rows[id])
        end
    end
    cache:close()
    return differs
end

local function history()
    local rows = {}
    for i, row in ipairs(assert(db:query "SELECT id, tag FROM history ORDER BY seq")) do
        rows[i] = { id = row.id, tag = row.tag }
    end
    return rows
end

local function logs()
    local list = {}
    for i, n in ipairs(lives) do
        for life = 1, n do
            local file = profiles.log(dir, i, life)
            io.open(file, "a"):close() -- one that was killed at once has none
            list[#list + 1] = file
        end
    end
    return list
end

local function counted(counts)
    local list = {}
    for what, n in pairs(counts) do
        list[#list + 1] = ("%s %d"):format(what, n)
    end
    table.sort(list)
    return table.concat(list, ", ")
end

local function prove()
    local longest, statuses, n, ms, differs = 0, {}, 0
    while n < episodes and not differs do
        n = n + 1
        ms, differs = episode()
        longest = math.max(longest, ms)
        differs = differs or redis_differs()
    end
    for i, worker in ipairs(team) do
        statuses[i] = worker:close()
    end
    local judge = checker.judge(history(), logs(),
        { hard_ms = profile.hard * 1000, soft_ms = profile.soft_ms, windows = windows, ended_ms = posix.now() })
    local stale, counts, wrong = judge:verdict()
    print(("# %s: %d episodes; %s; all agree after %.0f ms at most"):format(name, n, stale, longest))
    print(("# %s; faults: %s"):format(counts, counted(done)))
    if wrong then
        error(("LARDER_SEED=%d: %s"):format(bed.seed, wrong))
    end
    if differs then
        local id = tonumber(differs:match "row (%d+)")
        error(("LARDER_SEED=%d, episode %d: %s\n%s"):format(bed.seed, n, differs, judge:around(id, math.huge)))
    end
    assert.same({ 0, 0, 0, 0, 0, 0 }, statuses)
end

describe(("6 processes over SQLite and Redis, with faults (seed %d):"):format(bed.seed), function()
    local function begin(which)
        name, profile, team, lives, windows, done = which, profiles[which], {}, {}, {}, {}
        draw = values.new(bed.seed, larder.null)
        server, dir = redis.start(), folder.new()
        table_of_items()
        for i = 1, PROCESSES do
            hire(i)
        end
    end

    after_each(function()
        for _, worker in ipairs(team) do
            worker:kill()
        end
        db:close()
        server:close()
        folder.remove(dir)
    end)

    it("nothing is read that is older than 2 s where that is the bound", function()
        begin "bound"
        prove()
    end)

    it("nor, without faults, later than the soft bound, however long a load takes", function()
        begin "calm"
        prove()
    end)

    it("nothing that was written over stays, where the change table is read", function()
        begin "changes"
        prove()
    end)

    it("nor where the rows have no versions", function()
        begin "unversioned"
        prove()
    end)

    it("nor by the bell alone, where no writer dies", function()
        begin "bell"
        prove()
    end)
end)
