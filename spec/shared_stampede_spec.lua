-- shared_stampede_spec.lua - 8 processes with 50 callers each on one missing key: one load. The process that loads is
-- killed, or stopped beyond its lease: another one loads within the lease and 100 ms, and what the late one brings is
-- not kept.

local bed = require "spec.support.bed"
local crew = require "spec.support.crew"
local larder = require "larder"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"
local values = require "spec.support.values"

local PROCESSES, CALLERS, LEASE_MS = 8, 50, 500
-- A tool that slows everything down is given more time.
local LATE_MS = bed.is_watched and 1000 or 100
local rounds = bed.count(200, 5)
local faults = bed.count(100, 3)

local server, team, draw, n_keys

local function hire(i)
    team[i] = crew.hire("spec.support.rush", { lua = crew.luas[i % 2 + 1], args = { server.path } })
    team[i]:tell "return ready()"
end

-- A new key on which all callers of all processes run; no answer is waited for.
local function rush(seconds)
    n_keys = n_keys + 1
    local key = "key " .. n_keys
    for _, worker in ipairs(team) do
        worker:tell("return rush(%q, %d, %.3f)", key, CALLERS, seconds)
    end
    return key
end

local function loads(key)
    return server:ask("LRANGE", "loads:" .. key, 0, -1)
end

-- The n-th load's process, and when it began.
local function begun(key, n)
    local list
    redis.wait_until(function()
        list = loads(key)
        return list.n >= n
    end, 10000, ("load %d of %s"):format(n, key))
    local pid, at = list[n]:match "^(%d+) (%S+)$"
    for i, worker in ipairs(team) do
        if worker.pid == tonumber(pid) then
            return i, tonumber(at)
        end
    end
    error "nobody of ours"
end

local function figures(list)
    table.sort(list)
    return ("min %.1f ms, median %.1f ms, max %.1f ms"):format(list[1], list[math.floor(#list / 2) + 1], list[#list])
end

local function in_time(round, ms)
    assert.is_true(ms <= LEASE_MS + LATE_MS, ("round %d: replaced after %.1f ms"):format(round, ms))
end

-- Waits until the lease is held, and a moment more, before or after its first renewals.
local function holder_of(key)
    local i = begun(key, 1)
    posix.sleep(draw:below(400))
    return i, team[i]
end

local function all_but(holder, key, wanted)
    for i, worker in ipairs(team) do
        if i ~= holder then
            assert.equal(("%d x %s"):format(CALLERS, wanted), worker:hear(), key)
        end
    end
end

-- In the tiers, for whoever asks, is this.
local function holds(key, wanted)
    local reader = larder.open { name = "rush", l2 = server.url, l1 = false }
    assert.equal(wanted, (reader:get(key)))
    reader:close()
    for i, worker in ipairs(team) do
        local held = worker:ask("return held(%q)", key)
        assert.is_true(held == wanted or held == "miss", ("process %d holds %s"):format(i, held))
        assert.equal(wanted, worker:ask("return read(%q)", key))
        assert.equal(wanted, worker:ask("return read(%q)", key))
    end
end

describe(("8 processes with 50 callers each on one missing key (seed %d):"):format(bed.seed), function()
    setup(function()
        server, team, draw, n_keys = redis.start(), {}, values.new(bed.seed), 0
        for i = 1, PROCESSES do
            hire(i)
        end
        for _, worker in ipairs(team) do
            worker:hear()
        end
    end)

    teardown(function()
        for _, worker in ipairs(team) do
            worker:close()
        end
        server:close()
    end)

    it("one load each, however long it takes", function()
        for round = 1, rounds do
            local key = rush(draw:below(3) * 0.015)
            all_but(nil, key, key .. ", load 1")
            assert.equal(1, loads(key).n, "round " .. round)
        end
        print(("# %d rounds: one load each"):format(rounds))
    end)

    it("the one that loads killed: replaced within its lease and 100 ms", function()
        local took = {}
        for round = 1, faults do
            local key = rush(-1)
            local i, holder = holder_of(key)
            local killed = posix.now()
            holder:kill()
            local _, at = begun(key, 2)
            took[round] = at - killed
            all_but(i, key, key .. ", load 2")
            assert.equal(2, loads(key).n)
            hire(i)
            team[i]:hear()
            in_time(round, took[round])
            assert.equal(key .. ", load 2", team[i]:ask("return read(%q)", key))
        end
        print(("# %d killed: replaced after %s"):format(faults, figures(took)))
    end)

    it("the one that loads stopped: replaced as soon, what it brings later is not kept", function()
        local took = {}
        for round = 1, faults do
            local key = rush(-1)
            local i, holder = holder_of(key)
            local stopped = posix.now()
            posix.kill(holder.pid, "STOP")
            local _, at = begun(key, 2)
            took[round] = at - stopped
            all_but(i, key, key .. ", load 2")
            server:call("SET", "go:" .. key, "1")
            posix.kill(holder.pid, "CONT")
            assert.truthy(holder:hear():find(("^%d x %s, load [12]$"):format(CALLERS, key)))
            assert.equal(2, loads(key).n)
            holds(key, key .. ", load 2")
            in_time(round, took[round])
        end
        print(("# %d stopped: replaced after %s"):format(faults, figures(took)))
    end)
end)
