-- cli_spec.lua - the command: its exit statuses, what is not built, migrate, and the demo's parts and whole.

package.path = "./?.lua;" .. package.path
local folder = require "spec.support.folder"
local history = require "larder.cli.history"
local json = require "larder.cli.json"
local place = require "larder.cli.place"
local redis = require "spec.support.redis"
local replay = require "larder.cli.replay"
local screen = require "larder.cli.screen"
local shell = require "spec.support.shell"
local shop = require "larder.cli.shop"
local source = require "larder.source"
local sqlite = require "larder.sqlite"
local trace = require "larder.cli.trace"
local truth = require "larder.cli.truth"
local unbuilt = require "larder.unbuilt"

local unpack = table.unpack or rawget(_G, "unpack")

local function larder(line)
    return shell.run("LARDER_LUA=" .. shell.lua .. " lua/bin/larder " .. line)
end

local function write_file(name, text)
    local file = assert(io.open(name, "wb"))
    file:write(text)
    file:close()
end

describe("larder", function()
    it("helps", function()
        for _, line in ipairs { "--help", "demo --help", "migrate --help", "bench --help" } do
            local out, status = larder(line)
            assert.equal(0, status, out)
            assert.truthy(out:find("Usage: larder", 1, true))
        end
        assert.truthy(larder("--version"):find "^larder %d")
    end)

    it("ends with 2 at misuse", function()
        for _, line in ipairs { "", "nope", "demo --nope", "demo --seed x", "demo --seed 1.5",
            "demo --slack -1", "demo --trace /nope", "demo --redis http://x", "demo --redis redis://",
            "demo --redis rediss://h", "demo --postgres x", "migrate", "migrate --apply --undo",
            "migrate --dsn sqlite:x",
            "migrate --dsn mysql://x --table t", "migrate --dsn postgresql://x --table t",
            "migrate --config a --dsn sqlite:b --table c" } do
            local out, status = larder(line)
            assert.equal(2, status, line .. ": " .. out)
            assert.truthy(#out > 0)
        end
    end)

    it("says what is not built", function()
        for _, name in ipairs((unbuilt.names "command")) do
            local out, status = larder(name .. " --config x")
            assert.equal(2, status)
            assert.equal(unbuilt.sentence("command", name) .. "\n", out)
        end
    end)
end)

describe("larder migrate", function()
    local file, remove, config, remove_config

    before_each(function()
        file, remove = shell.temporary ".db"
        config, remove_config = shell.temporary ".lua"
        local db = assert(sqlite.open(file, { create = true }))
        assert(db:exec "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT)")
        db:close()
    end)

    after_each(function()
        remove()
        remove_config()
    end)

    it("prints, applies and undoes by --dsn", function()
        local by = ("migrate --dsn sqlite:%s --table products --key id"):format(file)
        local printed, status = larder(by)
        assert.equal(0, status, printed)
        assert.truthy(printed:find "^BEGIN IMMEDIATE;.*COMMIT;\n$")
        local applied = larder(by .. " --apply")
        assert.equal(printed .. "-- applied: products in " .. file .. "\n", applied)
        assert.equal("-- nothing to do\n", (larder(by .. " --apply")))
        local changes = larder(by .. " --apply --changes --json")
        assert.truthy(changes:find('"mode":"apply"', 1, true))
        assert.truthy(changes:find("ldr_changes", 1, true))
        assert.truthy(larder(by .. " --undo"):find "undone: products")
    end)

    it("reads a config file", function()
        local text = [[local larder = require "larder"
            return { source = larder.source.sqlite { file = %q, models = {
                product = { table = "products", version = "edition" }, other = { table = "nothing" } } } }]]
        write_file(config, text:format(file))
        local by = "migrate --config " .. config
        local out, status = larder(by)
        assert.equal(2, status)
        assert.truthy(out:find("name one of its models with --model: other, product", 1, true))
        assert.equal(2, select(2, larder(by .. " --model none")))
        assert.equal(1, select(2, larder(by .. " --model other")))
        out, status = larder(by .. " --model product --apply")
        assert.equal(0, status, out)
        assert.truthy(out:find('ADD COLUMN "edition"', 1, true))
    end)

    it("refuses a bad config file with file and line", function()
        for text, wanted in pairs { ["return {"] = ":1: ", ["\nerror 'why'"] = ":2: why",
            ["return 7"] = "must return the table", ["return {}"] = "must be a larder.source.sqlite",
            ["\nreturn nothing.x"] = ":2: ", [string.dump(function() end)] = "" } do
            write_file(config, text)
            local out, status = larder("migrate --config " .. config)
            assert.equal(2, status)
            assert.truthy(out:find(wanted, 1, true), out)
        end
    end)
end)

describe("json", function()
    it("writes what it is given", function()
        assert.equal('{"a":[1,2.5,true],"b":{},"c":"x\\"\\n\\u0001","d":1e+20}',
            json.encode { a = { 1, 2.5, true }, b = {}, c = 'x"\n\1', d = 1e20 })
    end)
end)

describe("a trace", function()
    local file, remove

    after_each(function()
        remove()
    end)

    it("is read plain and gzipped, with and without sizes", function()
        file, remove = shell.temporary ".txt"
        write_file(file, "a\nb 12\na \n")
        local read = assert(trace.read(file))
        assert.same({ 1, 2, 1 }, read.requests)
        assert.equal(2, read.distinct)
        shell.run("gzip " .. file)
        assert.same({ 1, 2, 1 }, trace.read(file .. ".gz").requests)
        os.remove(file .. ".gz")
    end)

    it("that is none is refused", function()
        file, remove = shell.temporary ".gz"
        for text, wanted in pairs { ["a\nb c\n"] = ":2: not `key`", [""] = ": no request", ["a\n\nb\n"] = ":2: not" } do
            write_file(file .. ".txt", text)
            local read, why = trace.read(file .. ".txt")
            os.remove(file .. ".txt")
            assert.is_nil(read)
            assert.truthy(why:find(wanted, 1, true), why)
        end
        write_file(file, "not gzip")
        assert.truthy(select(2, trace.read(file)):find("gzip could not read it", 1, true))
    end)
end)

describe("the demo's truth", function()
    local silent = { at = function() end }
    local file, remove, store, known

    before_each(function()
        file, remove = shell.temporary ".db"
        store = shop.new(file, 50, 7, silent)
        known = truth.new(store, 0.5)
    end)

    after_each(function()
        store:close()
        remove()
    end)

    it("knows each row of the shop", function()
        for id = 1, 50 do
            assert.is_nil((known:check(id, store:load(id), 0)))
        end
        assert.truthy(known:check(1, store:load(2), 0):find "another product")
        local row = store:load(1)
        row.price_cents = row.price_cents + 1
        assert.truthy(known:check(1, row, 0):find "a price that is not of its edition 1")
        assert.truthy(known:check(1, "text", 0))
    end)

    it("knows how long an edition may be read after it ended", function()
        local before = store:load(9)
        assert(store:update("other", 9, 2))
        known:committed(9, 100, false)
        assert.is_nil((known:check(9, store:load(9), 1000)))
        local wrong, age = known:check(9, before, 100.25)
        assert.is_nil(wrong)
        assert.equal(0.25, age)
        assert.truthy(known:check(9, before, 100.75):find "edition 1 ended 0.750 s before")
    end)

    it("lets nothing pass that is older than what was written through the cache", function()
        local before = store:load(9)
        assert(store:update("own", 9, 2))
        known:committed(9, 100, true)
        assert.truthy(known:check(9, before, 100):find "edition 1 after edition 2 was written")
    end)

    it("finds what a cache that hears of nothing gives", function()
        local cache = assert(require("larder").open { changes = false, source = source.sqlite { file = file,
            models = { product = { table = "products", version = "version" } } } })
        local run = { cache = cache, truth = truth.new(store, 0), seed = 1, progress = silent, requests = {}, ids = {},
            keys = {} }
        function run.get(c, key)
            return c:get(key)
        end
        for i = 1, 1000 do
            run.requests[i] = i % 50 + 1
        end
        for id = 1, 50 do
            run.ids[id], run.keys[id] = id, "product:" .. id
        end
        function run.write(id, edition)
            return cache:set("product:" .. id, store:columns(id, edition))
        end
        function run.foreign(id, edition)
            return store:update("other", id, edition)
        end
        local result = replay.run(run)
        cache:close()
        assert.is_true(result.own_writes > 0 and result.foreign_writes > 0)
        assert.is_true(result.violations > 0)
        assert.truthy(result.first_violation:find "ended .* s before the read began")
        assert.equal(1000, result.hits + result.misses)
    end)

    it("knows what was never committed", function()
        assert(store:update("own", 9, 2))
        assert.truthy(known:check(9, store:load(9), 0):find "never committed")
    end)
end)

describe("the demo's history of two processes", function()
    local shop_of_all = { fault = function() end }
    local one, two

    before_each(function()
        one, two = history.log(shop_of_all, { [9] = 4 }), history.log(shop_of_all, { [9] = 4 })
        -- The first process wrote edition 5 of product 9 at 100, the second one edition 6 past the cache at 200.
        one.writes[1] = { id = 9, edition = 5, from = 99, to = 100, own = true }
        two.writes[1] = { id = 9, edition = 6, from = 199, to = 200, own = false }
    end)

    local function judge(log, edition, began)
        log.reads[1] = { id = 9, edition = edition, began = began, ended = began + 0.5 }
        return history.judge({ one, two }, { [9] = 4 }, 1)
    end

    it("passes what was so within the bound", function()
        for _, case in ipairs { { one, 4, 98 }, { two, 4, 100.75 }, { two, 5, 98.75 }, { one, 5, 201 },
            { two, 6, 1e6 } } do
            local wrong, first = judge(unpack(case))
            assert.equal(0, wrong, first)
            case[1].reads[1] = nil
        end
        local _, _, oldest = judge(two, 4, 100.75)
        assert.equal(0.75, oldest)
    end)

    it("finds what was not", function()
        for wanted, case in pairs { ["edition 4 ended 1.250 s before"] = { two, 4, 101.25 },
            ["edition 5 ended 2.000 s before"] = { two, 5, 202 }, ["edition 6 was never"] = { one, 6, 198 },
            ["edition 7 was never"] = { one, 7, 1e6 }, ["edition 3 had ended before"] = { one, 3, 1 },
            ["edition 4 after edition 5 was written through"] = { one, 4, 100.25 } } do
            local wrong, first = judge(unpack(case))
            assert.equal(1, wrong)
            assert.truthy(first:find(wanted, 1, true), first)
            case[1].reads[1] = nil
        end
    end)

    it("goes from one process to the other", function()
        judge(one, 5, 100.125)
        local file, remove = shell.temporary ".log"
        local out = assert(io.open(file, "w"))
        one:save(out)
        out:close()
        local copy = history.log()
        for line in io.lines(file) do
            assert.is_true(copy:take(line))
        end
        remove()
        assert.is_false(copy:take "rubbish")
        assert.same(one.reads, copy.reads)
        assert.equal(5, copy.writes[1].edition)
        assert.is_true(copy.writes[1].own)
    end)
end)

describe("larder demo", function()
    it("fits a screen", function()
        local run = { pattern = "write_through", hit_rate = 0.5, queries = 123456789, saved = 0.5, p50_seconds = 1e-4,
            p99_seconds = 1e-3, oldest_seconds = 1, violations = 3, over_time = {}, own_writes = 1, foreign_writes = 1,
        }
        for i = 1, 60 do
            run.over_time[i] = i / 60
        end
        local report = { requests = 1e6, distinct = 1e5, products = 1e6, trace = "trace.txt",
            runs = { run, run, run, run, run }, seed = 1, entries = 5000, lua = "LuaJIT 2.1.0-beta3", checked = 5e6,
            violations = 15, first_violation = ("x"):rep(200), bound_seconds = 0.5, interval_seconds = 0.1,
            slack_seconds = 0.4 }
        local tier = { answers = 123456789, share = 0.5, p50_seconds = 1e-3, p99_seconds = 1 }
        local shared = { server = ("x"):rep(200), l1 = tier, l2 = tier, source = tier, stats = { leases = 123456789,
            lease_waits = 1e6, refused = 1e6, bell_heard = 123456789, bell_gaps = 1e6, reconnects = 1e6 } }
        for i = 1, 2 do
            local lines = screen.lines(report, { colour = false, blocks = false })
            assert.is_true(#lines <= 24)
            for _, line in ipairs(lines) do
                assert.is_true(#line <= 80, line)
            end
            report.shared, report.runs[5 + i] = shared, run
        end
    end)

    local function in_folder(line, before)
        local name = folder.new()
        local out, status = shell.run(("TMPDIR=%s LARDER_LUA=%s %s lua/bin/larder demo %s"):format(name, shell.lua,
            before or "", line))
        local left = shell.run("ls -A " .. name)
        folder.remove(name)
        assert.equal("", left)
        return out, status
    end

    local function needs_redis()
        return select(2, shell.run "command -v redis-server") ~= 0
    end

    it("says which package an own server needs", function()
        local bin = folder.new()
        for name in ("sh readlink dirname mktemp rm rmdir gzip " .. shell.lua):gmatch "%S+" do
            shell.run(("ln -s $(command -v %s) %s/"):format(name, bin))
        end
        local out, status = in_folder("--quick --redis", "LARDER_REDIS= PATH=" .. bin)
        folder.remove(bin)
        assert.equal(2, status, out)
        assert.truthy(out:find("apt-get install redis-server", 1, true), out)
    end)

    it("replays through two processes over an own server", function()
        if needs_redis() then
            return pending "there is no redis-server"
        end
        local out, status = in_folder("--quick --json --slack 10 --redis", "env -u LARDER_REDIS")
        assert.equal(0, status, out)
        assert.truthy(out:find('"checked":60000', 1, true), out)
        assert.truthy(out:find '"shared":{"l1":{"answers":%d+')
        assert.truthy(out:find '"leases":%d%d%d')
        assert.truthy(out:find '"server":"an own redis%-server"')
        assert.equal(7, select(2, out:gsub('"violations":0', "")))
    end)

    it("keeps a password of the command line to itself", function()
        if needs_redis() then
            return pending "there is no redis-server"
        end
        local server = redis.start()
        server:config("requirepass", "tell-nobody")
        local url = server.url:gsub("://", "://:tell-nobody@")
        local file, remove = shell.temporary ".txt"
        write_file(file, ("a\nb\nc\n"):rep(100))
        for _, how in ipairs { "--redis ", "--redis=" } do
            local out, status = in_folder(how .. url .. " --quick --slack 10 --trace " .. file)
            assert.equal(0, status, out)
            assert.truthy(out:find("it was taken off there", 1, true), out)
            assert.is_nil(out:find("tell-nobody", 1, true))
            assert.truthy(out:find("Two processes, each with an L1, over redis+unix:", 1, true))
        end
        local out, status = in_folder("--quick --redis " .. url:gsub("tell", "ask"))
        assert.equal(1, status, out)
        assert.is_nil(out:find("ask-nobody", 1, true))
        server:close()
        assert.equal(1, select(2, in_folder("--quick --redis " .. url)))
        remove()
    end)

    it("shows no secret of a URL", function()
        assert.equal("redis://h:1/2", place.shown "redis://me:pw@h:1/2")
        assert.equal("redis://h", place.shown "redis://h")
    end)

    it("replays, checks, and says it all in one JSON object", function()
        local place_of_it = shell.run("mktemp -d"):match "[^\n]+"
        local out, status = shell.run("TMPDIR=" .. place_of_it .. " LARDER_LUA=" .. shell.lua
            .. " lua/bin/larder demo --quick --json --seed 3 --slack 10")
        assert.equal(0, status, out)
        assert.equal(1, select(2, out:gsub("\n", "")))
        assert.truthy(out:find "^{.*}\n$")
        assert.truthy(out:find('"checked":50000', 1, true))
        local _, n = out:gsub('"violations":0', "")
        assert.equal(6, n)
        local left, empty = shell.run("rmdir " .. place_of_it)
        assert.equal(0, empty, left)
    end)

    it("prints plain lines where there is no terminal", function()
        local file, remove = shell.temporary ".txt"
        write_file(file, ("a\nb\nc\n"):rep(100))
        local out, status = larder("demo --quick --slack 10 --trace " .. file)
        remove()
        assert.equal(0, status, out)
        assert.is_nil(out:find "[\r\27]")
        assert.truthy(out:find "write_through: 300 reads, %d+ queries, 0 wrong")
        assert.truthy(out:find "wrong: 0\n$")
    end)
end)
