-- verbs_deadlines_spec.lua - no call lasts longer than its deadline, and what goes on after it ends well; the
-- decorator over a real cache.

local bed = require "spec.support.bed"
local larder = require "larder"
local test = require "larder.host.test"

local fails = bed.fails

local function results(...)
    return { n = select("#", ...), ... }
end

describe("a deadline", function()
    it("does not take a value from who loaded it by blocking the thread", function()
        local c = larder.open {}
        local now = require("larder.core").now
        local function block()
            local until_ = now() + 0.03
            repeat local x = now() until x >= until_
            return "blocked"
        end
        assert.same(results("blocked", nil, "loaded"), results(c:get("k", { timeout = 0.01 }, block)))
        larder.run(function()
            local value, err = c:get("k2", { timeout = 0.01 }, block)
            assert.is_true(value == "blocked" or err.code == "timeout")
        end)
        assert.equal("blocked", (c:get "k2"))
        c:close()
    end)

    it("that a store outlives gives lost; the store goes on, nothing old is held after it", function()
        local host = test.new { seed = bed.seed }
        local rows = { k = "old" }
        local c = larder.open { host = host, source = larder.source.functions {
            load = function(key) return rows[key] end,
            store = function(key, value) host:sleep(5) rows[key] = value host:sleep(5) return true end,
            delete = function(key) host:sleep(5) rows[key] = nil host:sleep(5) return true end,
        } }
        c:get "k"
        host:run(function()
            local began = host:now()
            fails("lost", nil, c:set("k", "new", { timeout = 2 }))
            assert.is_true(math.abs(host:now() - began - 2) < 1e-3)
            assert.equal("old", (c:get("k", { timeout = 1 })))
            host:sleep(10)
        end)
        assert.equal("new", rows.k)
        assert.equal("new", (c:get "k"))
        host:run(function()
            fails("lost", nil, c:delete("k", { timeout = 2 }))
            host:sleep(10)
        end)
        assert.equal("absent", (select(3, c:get "k")))
        host:run(function()
            local _, errs = c:set_many({ a = 1, b = 2 }, { timeout = 2 })
            assert.same({ "lost", "lost" }, { errs.a.code, errs.b.code })
            host:sleep(100)
        end)
        assert.same({ 1, 2 }, { (c:get "a"), (c:get "b") })
        c:close()
    end)

    it("of 0 asks nobody", function()
        local n = 0
        local host = test.new { seed = bed.seed }
        local c = larder.open { host = host }
        host:run(function()
            c:set("k", 1)
            assert.equal(1, (c:get("k", { timeout = 0 })))
            local _, err = c:get("x", { timeout = 0 }, function() n = n + 1 host:sleep(1) return 1 end)
            assert.equal("timeout", err.code)
        end)
        assert.is_true(n <= 1)
        c:close()
    end)

    it("is by default the wait of the guard and the source's timeout", function()
        local host = test.new { seed = bed.seed }
        local c = larder.open { host = host, guard = { lock = { wait = 3 } }, source = larder.source.functions {
            timeout = 4, load = function() host:sleep(100) return 1 end } }
        host:run(function()
            local began = host:now()
            fails("timeout", nil, c:get "k")
            assert.is_true(math.abs(host:now() - began - 7) < 1e-3)
        end)
        c:close()
    end)

    it("weak writes answer before the source's function where the host has tasks, and it runs once", function()
        local host = test.new { seed = bed.seed }
        local stored = {}
        local c = larder.open { host = host, consistency = "weak", source = larder.source.functions {
            load = function() end, store = function(key) host:sleep(5) stored[#stored + 1] = key return true end } }
        host:run(function()
            local began = host:now()
            assert.is_string((c:set("k", 1)))
            assert.equal(began, host:now())
            assert.equal(1, (c:get "k"))
            assert.same({}, stored)
        end)
        assert.same({ "k" }, stored)
        c:close()
    end)
end)

describe("wrap over a cache", function()
    local c, calls

    before_each(function()
        c, calls = larder.open {}, 0
    end)

    after_each(function()
        c:close()
    end)

    it("gives the same results, from the cache, nils and all", function()
        local f = c:wrap(function(...)
            calls = calls + 1
            return ...
        end)
        for _, args in ipairs { { n = 0 }, { n = 1, 5 }, { n = 3, 1, nil, 3 }, { n = 2, 1 }, { n = 1, false },
            { n = 1, larder.null }, { n = 1, { 1, { 2 } } }, { n = 2, "x", {} }, { n = 1, "vn" } } do
            local before = calls
            for _ = 1, 3 do
                assert.same(args, results(f((table.unpack or unpack)(args, 1, args.n)))) -- luacheck: ignore 113
            end
            assert.equal(before + 1, calls)
        end
    end)

    it("tells arguments apart by type, value and number", function()
        local f = c:wrap(function() calls = calls + 1 return calls end)
        local seen = {}
        local function each(...)
            local got = f(...)
            assert.is_nil(seen[got])
            seen[got] = true
        end
        each()
        each(nil)
        each(nil, nil)
        each(1)
        each("1")
        each(true)
        each("true")
        each("a", "b")
        each("ab")
        each("a", nil, "b")
        each { 1 }
        each { "1" }
        each {}
        each(1.5)
        if not bed.is_jit then
            each(1.0)
        end
    end)

    it("passes failures and errors on and keeps none", function()
        local f = c:wrap(function(how)
            calls = calls + 1
            if how == "raise" then
                error({ "thing" })
            end
            return nil, "failed", 3
        end)
        for _ = 1, 2 do
            assert.same(results(nil, "failed", 3), results(f "x"))
            local fine, err = pcall(f, "raise")
            assert.is_false(fine)
            assert.same({ "thing" }, err)
        end
        assert.equal(4, calls)
    end)

    it("keeps two functions apart, refreshes and invalidates by arguments", function()
        local f = c:wrap(function(x) calls = calls + 1 return x, "f", calls end)
        local g = c:wrap(function(x) return x, "g" end)
        assert.same(results(1, "f", 1), results(f(1)))
        assert.same(results(1, "g"), results(g(1)))
        assert.same(results(1, "f", 1), results(f(1)))
        f:invalidate(1)
        assert.same(results(1, "f", 2), results(f(1)))
        assert.same(results(1, "f", 3), results(f:refresh(1)))
        assert.same(results(1, "f", 3), results(f(1)))
        assert.same(results(2, "f", 4), results(f(2)))
    end)

    it("calls the function when the cache cannot help", function()
        local f = c:wrap(function(x) calls = calls + 1 return print, x end)
        assert.same(results(print, 1), results(f(1)))
        assert.same(results(print, 1), results(f(1)))
        assert.equal(2, calls)
        local big = c:wrap(function() return ("x"):rep(100) end, { key = function() return ("k"):rep(70000) end })
        assert.equal(100, #big())
        c:close()
        assert.same(results(print, 2), results(f(2)))
    end)

    it("of one function, called by many, is one call", function()
        local host = test.new { seed = bed.seed }
        local cache = larder.open { host = host }
        local f = cache:wrap(function(x) calls = calls + 1 host:sleep(1) return x, nil, calls end)
        local list = {}
        for i = 1, 100 do
            list[i] = function()
                assert.same(results("a", nil, 1), results(f "a"))
            end
        end
        host:run(list)
        assert.equal(1, calls)
        cache:close()
    end)

    it("may call itself", function()
        local fib
        fib = c:wrap(function(n)
            calls = calls + 1
            return n < 2 and n or fib(n - 1) + fib(n - 2)
        end)
        assert.equal(6765, fib(20))
        assert.equal(21, calls)
    end)
end)
