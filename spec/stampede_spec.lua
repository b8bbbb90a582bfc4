-- stampede_spec.lua - many coroutines on one missing key, on the blocking host and on the test host: one load, whatever
-- the loader does, and nobody waits beyond a deadline.

local bed = require "spec.support.bed"
local larder = require "larder"
local test = require "larder.host.test"

local fails = bed.fails

local function results(...)
    return { n = select("#", ...), ... }
end

-- How often each outcome, or code, came.
local function tally(all)
    local counts = {}
    for _, r in ipairs(all) do
        local what = r[2] and r[2].code or r[3]
        counts[what] = (counts[what] or 0) + 1
    end
    return counts
end

-- n coroutines that call get(key, opts, loader) on the host; gives their results in order of their end.
local function rush(host, c, n, opts, loader)
    local all = {}
    local list = {}
    for i = 1, n do
        list[i] = function()
            local r = results(c:get("k", opts, loader))
            all[#all + 1] = r
        end
    end
    host:run(list)
    return all
end

local hosts = {
    ["the blocking host"] = function()
        return require("larder.hosts").find "blocking"
    end,
    ["the test host"] = function()
        return test.new { seed = bed.seed }
    end,
}

for name, find in pairs(hosts) do
    describe("1,000 coroutines on one missing key, on " .. name .. " (seed " .. bed.seed .. "):", function()
        local host, c, n

        before_each(function()
            host = find()
            c = assert(larder.open { host = host.kind == "test" and host or nil })
            n = 0
        end)

        after_each(function()
            c:close()
        end)

        it("one load when the loader sleeps", function()
            assert.same({ loaded = 1, joined = 999 }, tally(rush(host, c, 1000, nil, function()
                n = n + 1
                host:sleep(0.02)
                return { n }
            end)))
            assert.equal(1, n)
            local s = c:stats()
            assert.same({ 1, 1000, 999, 0 }, { s.loads, s.misses, s.joined, s.hits })
        end)

        it("one load when it answers at once", function()
            local counts = tally(rush(host, c, 1000, nil, function()
                n = n + 1
                return 1
            end))
            assert.equal(1, counts.loaded)
            assert.equal(999, (counts.l1 or 0) + (counts.joined or 0))
            assert.equal(1, n)
        end)

        it("each has a table of its own", function()
            local all = rush(host, c, 50, nil, function()
                host:sleep(0.01)
                return { 1 }
            end)
            local seen = {}
            for _, r in ipairs(all) do
                assert.is_nil(seen[r[1]])
                seen[r[1]] = true
                assert.same({ 1 }, r[1])
            end
        end)

        it("one load when it raises: all get the error, and the next call loads", function()
            local all = rush(host, c, 1000, nil, function()
                n = n + 1
                host:sleep(0.02)
                error("boom " .. n)
            end)
            assert.same({ loader = 1000 }, tally(all))
            assert.equal(1, n)
            for _, r in ipairs(all) do
                assert.truthy(r[2].message:find("boom 1", 1, true))
                assert.truthy(tostring(r[2].cause):find("boom 1", 1, true))
            end
            assert.equal("loaded", select(3, c:get("k", function() return 1 end)))
        end)

        it("one load when there is no such thing; kept for negative_ttl only", function()
            local function loader()
                n = n + 1
                host:sleep(0.02)
            end
            assert.same({ absent = 1000 }, tally(rush(host, c, 1000, nil, loader)))
            assert.equal(1, n)
            assert.same({ absent = 1000 }, tally(rush(host, c, 1000, { negative_ttl = 100 }, loader)))
            assert.equal(2, n)
            assert.same({ absent = 10 }, tally(rush(host, c, 10, nil, loader)))
            assert.equal(2, n)
        end)

        it("its own key asked for inside is rejected, others are fine", function()
            local inner, other
            local all = rush(host, c, 1000, nil, function(key)
                n = n + 1
                host:sleep(0.01)
                inner = results(c:get(key, function() return "never" end))
                other = results(c:get("other", function()
                    host:sleep(0.01)
                    return "fine"
                end))
                return "outer"
            end)
            assert.same({ loaded = 1, joined = 999 }, tally(all))
            fails("rejected", "k", inner[1], inner[2])
            assert.same(results("fine", nil, "loaded"), other)
            assert.equal(1, n)
        end)

        it("what takes longer than the deadline: timeout at the deadline, the load goes on and is stored", function()
            local began = host:now()
            local took
            local all = {}
            host:run(function()
                for _ = 1, 100 do
                    host:spawn(function()
                        local r = results(c:get("k", { timeout = 0.05 }, function()
                            n = n + 1
                            host:sleep(0.15)
                            return "late"
                        end))
                        all[#all + 1] = r
                        took = host:now() - began
                    end)
                end
            end)
            assert.same({ timeout = 100 }, tally(all))
            assert.is_true(took >= 0.05 and took < 0.149, took)
            assert.equal(1, n)
            assert.same(results("late", nil, "l1"), results(c:get "k"))
        end)

        it("a waiter leaves at its own deadline, the others get the value", function()
            local short, long
            host:run(function()
                c:get("k", function() host:sleep(0.1) return "v" end)
            end, function()
                host:sleep(0.01)
                short = results(c:get("k", { timeout = 0.02 }, print))
            end, function()
                host:sleep(0.01)
                long = results(c:get("k", print))
            end)
            fails("timeout", nil, short[1], short[2])
            assert.same(results("v", nil, "joined"), long)
        end)

        it("two rings of loads are rejected, not waited for", function()
            local a, b, in_a, in_b
            host:run(function()
                a = results(c:get("a", function()
                    host:sleep(0.01)
                    in_a = results(c:get("b", function() return "b of a" end))
                    return "a"
                end))
            end, function()
                b = results(c:get("b", function()
                    host:sleep(0.01)
                    in_b = results(c:get("a", function() return "a of b" end))
                    return "b"
                end))
            end)
            assert.same({ "a", "b" }, { a[1], b[1] })
            local rejected = 0
            for _, r in ipairs { in_a, in_b } do
                rejected = rejected + (r[2] and r[2].code == "rejected" and 1 or 0)
            end
            assert.equal(1, rejected)
        end)

        it("guard = none: each loads for itself", function()
            assert.same({ loaded = 20 }, tally(rush(host, c, 20, { guard = "none" }, function()
                n = n + 1
                host:sleep(0.01)
                return n
            end)))
            assert.equal(20, n)
        end)

        it("get_many joins what is being loaded and loads the rest", function()
            local values, asked
            host:run(function()
                c:get("k", function() host:sleep(0.03) return "one" end)
            end, function()
                host:sleep(0.01)
                values = c:get_many({ "k", "m" }, function(keys)
                    asked = table.concat(keys, ",")
                    return { m = "many" }
                end)
            end)
            assert.same({ k = "one", m = "many" }, values)
            assert.equal("m", asked)
        end)
    end)
end

describe("on_timeout, when the wait for another's load has passed:", function()
    local host, c

    before_each(function()
        host = test.new { seed = bed.seed }
        c = assert(larder.open { host = host, ttl = 30, stale_ttl = 1000 })
    end)

    after_each(function()
        c:close()
    end)

    -- One loads for 20 s; a second comes at 1 s with these options. Its results, and when.
    local function second(opts, loader)
        local began, r, at = host:now(), nil, nil
        host:run(function()
            c:get("k", { timeout = 100 }, function() host:sleep(20) return "slow" end)
        end, function()
            host:sleep(1)
            r = results(c:get("k", opts, loader))
            at = host:now() - began
        end)
        return r, math.floor(at * 1000 + 0.5) / 1000
    end

    it("load (the default) loads for itself and stores nothing", function()
        local events = {}
        c:on("refused", function(e) events[#events + 1] = e.reason end)
        local r, at = second({ wait = 3 }, function() host:sleep(1) return "own" end)
        assert.same(results("own", nil, "loaded"), r)
        assert.equal(5, at)
        assert.same({ "lease" }, events)
        assert.equal("slow", (c:get "k"))
    end)

    it("error is a timeout", function()
        local r, at = second({ wait = 3, on_timeout = "error" }, print)
        fails("timeout", "k", r[1], r[2])
        assert.equal(4, at)
    end)

    it("stale gives what is held past its ttl, and a timeout where nothing is", function()
        local r, at = second({ wait = 3, on_timeout = "stale" }, print)
        fails("timeout", nil, r[1], r[2])
        assert.equal(4, at)
        host:advance(30)
        r, at = second({ wait = 3, on_timeout = "stale" }, print)
        assert.same(results("slow", nil, "stale"), r)
        assert.equal(4, at)
    end)

    it("wait = 0 does not wait at all", function()
        local r, at = second({ wait = 0 }, function() return "own" end)
        assert.same(results("own", nil, "loaded"), r)
        assert.equal(1, at)
    end)

    it("the whole call ends at its timeout, also while it loads after the wait", function()
        local r, at = second({ wait = 3, timeout = 5 }, function() host:sleep(100) return "own" end)
        fails("timeout", nil, r[1], r[2])
        assert.equal(6, at)
    end)

    it("without opts the cache's own hold: wait 5, then load", function()
        local r, at = second(nil, function() return "own" end)
        assert.same(results("own", nil, "loaded"), r)
        assert.equal(6, at)
    end)

    it("the guard's table sets them for the cache", function()
        c:close()
        c = larder.open { host = host, guard = { lock = { wait = 2, on_timeout = "error" } } }
        local r, at = second(nil, print)
        fails("timeout", nil, r[1], r[2])
        assert.equal(3, at)
    end)
end)

describe("the user's own coroutines, without larder.run:", function()
    local c

    before_each(function()
        c = assert(larder.open {})
    end)

    after_each(function()
        c:close()
    end)

    it("a loader may yield to its owner", function()
        local co = coroutine.create(function()
            return c:get("k", function() return coroutine.yield "from the loader" end)
        end)
        local _, said = coroutine.resume(co)
        assert.equal("from the loader", said)
        assert.same(results(true, "v", nil, "loaded"), results(coroutine.resume(co, "v")))
        assert.equal("v", (c:get "k"))
    end)

    it("led by a suspended one, the next caller loads for itself", function()
        local co = coroutine.wrap(function()
            return c:get("k", function() coroutine.yield() return "leader's" end)
        end)
        co()
        assert.same(results("own", nil, "loaded"), results(c:get("k", function() return "own" end)))
        assert.same(results("leader's", nil, "loaded"), results(co()))
        assert.is_string((c:get "k"))
    end)

    it("a leader that is dropped leaves nothing behind", function()
        local co = coroutine.wrap(function()
            return c:get("k", function() coroutine.yield() return "leader's" end)
        end)
        co()
        co = nil -- luacheck: ignore 311
        collectgarbage()
        collectgarbage()
        assert.same(results("own", nil, "loaded"), results(c:get("k", function() return "own" end)))
        assert.same(results("own", nil, "l1"), results(c:get "k"))
    end)

    it("a leader that is dropped hands its load to those who wait", function()
        local host = test.new { seed = bed.seed }
        c:close()
        c = larder.open { host = host }
        local co = coroutine.wrap(function()
            return c:get("k", { guard = "lock" }, function() coroutine.yield() return "leader's" end)
        end)
        co()
        local all = {}
        host:run(function()
            host:spawn(function()
                host:sleep(1)
                co = nil -- luacheck: ignore 311
                collectgarbage()
                collectgarbage()
                host:sleep(1)
            end)
            host:sleep(0.5)
            for _ = 1, 10 do
                host:spawn(function()
                    local r = results(c:get("k", { timeout = 50 }, function() host:sleep(1) return "own" end))
                    all[#all + 1] = r
                end)
            end
        end)
        local counts = tally(all)
        assert.is_true((counts.loaded or 0) >= 1, "nobody took over")
        assert.equal(10, (counts.loaded or 0) + (counts.joined or 0))
    end)
end)
