-- staleness_spec.lua - when an entry is fresh, stale and gone, exactly at the edges, on a clock that the test moves.

local bed = require "spec.support.bed"
local larder = require "larder"
local test = require "larder.host.test"

local fails = bed.fails

local function results(...)
    return { n = select("#", ...), ... }
end

local US = 0.000001
local host, c

local function fresh(options)
    host = test.new { seed = bed.seed }
    options.host = host
    c = assert(larder.open(options))
end

local function peek(key)
    return (select(2, c:peek(key or "k")))
end

describe("an entry", function()
    after_each(function() c:close() end)

    it("is fresh until its ttl, stale until ttl + stale_ttl, then gone: to the microsecond", function()
        fresh { ttl = 10, stale_ttl = 20 }
        c:set("k", 1)
        host:advance(10 - US)
        assert.equal("l1", peek())
        assert.equal("l1", select(3, c:get "k"))
        host:advance(US)
        assert.equal("stale", peek())
        assert.equal("miss", select(3, c:get "k"))
        assert.equal("stale", select(3, c:get("k", { consistency = "weak" })))
        host:advance(20 - US)
        assert.equal("stale", peek())
        host:advance(US)
        assert.equal("miss", peek())
        assert.equal("miss", select(3, c:get("k", { consistency = "weak" })))
    end)

    it("is not served from the memo past its ttl", function()
        fresh { ttl = 10 }
        c:set("k", { 1 })
        for _ = 1, 3 do
            assert.equal("l1", select(3, c:get "k"))
        end
        host:advance(10 - US)
        assert.equal("l1", select(3, c:get "k"))
        host:advance(US)
        assert.equal("miss", select(3, c:get "k"))
    end)

    it("tells its age and its ttl, below 0 once stale", function()
        fresh { ttl = 10, stale_ttl = 20 }
        c:set("k", 1)
        host:advance(4)
        local entry = c:get_entry "k"
        assert.equal(4, entry.age)
        assert.equal(6, entry.ttl)
        host:advance(8)
        entry = c:get_entry("k", function() error "down" end)
        assert.same({ 12, -2, true, "stale", "weak" },
            { entry.age, entry.ttl, entry.stale, entry.outcome, entry.level })
        entry = c:get_entry("k", { consistency = "weak" })
        assert.same({ 12, -2, true, "stale", "weak" },
            { entry.age, entry.ttl, entry.stale, entry.outcome, entry.level })
    end)

    it("counts its age from the moment the source was asked", function()
        fresh { ttl = 10 }
        host:run(function()
            c:get("k", function() host:sleep(4) return 1 end)
        end)
        local entry = c:get_entry "k"
        assert.equal(4, entry.age)
        assert.equal(6, entry.ttl)
        host:run(function()
            assert.equal("loaded", select(3, c:get("slow", { timeout = 100 }, function() host:sleep(11) return 1 end)))
        end)
        assert.equal("miss", peek "slow")
    end)

    it("with math.huge never expires", function()
        fresh { ttl = math.huge }
        c:set("k", 1)
        host:advance(1e9)
        assert.equal("l1", select(3, c:get "k"))
        assert.equal(math.huge, c:get_entry("k").ttl)
    end)

    it("with a huge finite ttl does not wrap around", function()
        for _, ttl in ipairs { 1e308, 2 ^ 63, 2 ^ 64, 1e12 } do
            fresh { ttl = ttl, stale_ttl = ttl }
            c:set("k", 1)
            host:advance(1e6)
            assert.equal("l1", select(3, c:get "k"))
            c:touch("k", ttl)
            assert.equal("l1", select(3, c:get "k"))
        end
    end)

    it("with 0 is not kept, with anything above at least a millisecond", function()
        fresh { ttl = 0 }
        c:set("k", 1)
        assert.equal("miss", peek())
        assert.equal("loaded", select(3, c:get("k", function() return 1 end)))
        assert.equal("miss", peek())
        for _, ttl in ipairs { 1e-9, 5e-324, 0.0001, 0.001 } do
            c:set("k", 1, { ttl = ttl })
            host:advance(0.001 - US)
            assert.equal("l1", peek(), ttl)
            host:advance(US)
            assert.equal("miss", peek(), ttl)
        end
    end)

    it("touched with 1e-9 is kept a millisecond too", function()
        fresh {}
        c:set("k", 1)
        assert.is_true(c:touch("k", 1e-9))
        host:advance(0.001 - US)
        assert.equal("l1", peek())
        host:advance(US)
        assert.equal("miss", peek())
    end)

    it("lives from its touch on, by the ttl that was given", function()
        fresh { ttl = 10, stale_ttl = 5 }
        c:set("k", 1)
        host:advance(9)
        assert.is_true(c:touch("k", 20))
        host:advance(20 - US)
        assert.equal("l1", peek())
        host:advance(US)
        assert.equal("stale", peek())
        host:advance(5 - US)
        assert.equal("stale", peek())
        assert.is_true(c:touch("k", 1))
        assert.equal("l1", peek())
        host:advance(6)
        assert.equal("miss", peek())
        assert.is_false(c:touch("k", 20))
    end)

    it("is shortened by jitter, never lengthened", function()
        fresh { ttl = 100, jitter = 0.5 }
        local shortest, longest = math.huge, 0
        for i = 1, 500 do
            c:set("k" .. i, i)
            local ttl = c:get_entry("k" .. i).ttl
            shortest, longest = math.min(shortest, ttl), math.max(longest, ttl)
        end
        assert.is_true(shortest >= 50 and shortest < 55, shortest)
        assert.is_true(longest <= 100 and longest > 95, longest)
    end)

    it("is cut by bound.hard where there is a source: ttl, stale_ttl and touch", function()
        fresh { ttl = 100, stale_ttl = 100, bound = { hard = 30 },
            source = larder.source.functions { load = function() return 1 end } }
        c:get "k"
        assert.equal(30, c:get_entry("k").ttl)
        host:advance(30 - US)
        assert.equal("l1", peek())
        host:advance(US)
        assert.equal("miss", peek())
        c:get("k", { ttl = 20, stale_ttl = 500 })
        host:advance(20)
        assert.equal("stale", peek())
        host:advance(10)
        assert.equal("miss", peek())
        c:get "k"
        host:advance(1)
        c:touch("k", 1000)
        assert.is_true(c:get_entry("k").ttl <= 30)
        c:close()
        fresh { ttl = 100, bound = { hard = 30 } }
        c:set("k", 1)
        assert.equal(100, c:get_entry("k").ttl)
    end)

    it("takes the ttl of the loader's third result before the call's, before the cache's", function()
        fresh { ttl = 100, stale_ttl = 7 }
        c:get("a", { ttl = 50 }, function() return 1, nil, { ttl = 20, stale_ttl = 3 } end)
        c:get("b", { ttl = 50, stale_ttl = 4 }, function() return 1 end)
        c:get("c", function() return 1 end)
        host:advance(20)
        assert.same({ "stale", "l1", "l1" }, { peek "a", peek "b", peek "c" })
        host:advance(3)
        assert.equal("miss", peek "a")
        host:advance(27)
        assert.equal("stale", peek "b")
        host:advance(4)
        assert.same({ "miss", "l1" }, { peek "b", peek "c" })
        host:advance(46)
        assert.equal("stale", peek "c")
        host:advance(7)
        assert.equal("miss", peek "c")
    end)
end)

describe("a source that fails", function()
    after_each(function() c:close() end)

    it("within stale_ttl gives the stale value and tells of the error; again after 1 s, doubling to 30 s", function()
        local asked, down = {}, false
        fresh { ttl = 10, stale_ttl = 1000, source = larder.source.functions {
            load = function()
                asked[#asked + 1] = host:now()
                if down then
                    return nil, "down"
                end
                return "v" .. #asked
            end,
        } }
        local errs = {}
        c:on("error", function(e) errs[#errs + 1] = e.err end)
        c:get "k"
        host:advance(10)
        down = true
        asked = {}
        local began = host:now()
        while host:now() < began + 130 do
            assert.same(results("v1", nil, "stale"), results(c:get "k"))
            host:advance(0.25)
        end
        local gaps = {}
        for i = 2, #asked do
            gaps[#gaps + 1] = asked[i] - asked[i - 1]
        end
        assert.same({ 1, 2, 4, 8, 16, 30, 30, 30 }, gaps)
        assert.equal(#asked, #errs)
        assert.equal("loader", errs[1].code)
        down = false
        host:advance(30)
        assert.equal("loaded", select(3, c:get "k"))
        host:advance(10)
        down = true
        asked = {}
        c:get "k"
        host:advance(1)
        c:get "k"
        assert.equal(2, #asked) -- the back-off begins anew
    end)

    it("is asked each time where there is nothing stale to give", function()
        local n = 0
        fresh { ttl = 10, stale_ttl = 20, source = larder.source.functions {
            load = function() n = n + 1 return nil, "down" end,
        } }
        fails("loader", "down", c:get "k")
        fails("loader", "down", c:get "k")
        assert.equal(2, n)
    end)

    it("gives nothing stale past the hard expiry, nor after a delete or invalidation", function()
        local down = false
        fresh { ttl = 10, stale_ttl = 20, source = larder.source.functions {
            load = function() if down then error "down" end return 1 end,
            store = function() return true end, delete = function() return true end,
        } }
        c:get "k"
        down = true
        host:advance(30)
        fails("loader", "down", c:get "k")
        down = false
        for _, forget in ipairs { "invalidate", "delete", "invalidate_all" } do
            down = false
            c:get "k"
            down = true
            host:advance(10)
            assert.equal("stale", select(3, c:get "k"))
            c[forget](c, "k")
            fails("loader", "down", c:get "k")
        end
    end)

    it("gives every one of many its own stale value or error", function()
        local down = false
        fresh { ttl = 10, stale_ttl = 20, source = larder.source.functions {
            load_many = function(keys)
                if down then
                    return nil, "down"
                end
                local values = {}
                for _, key in ipairs(keys) do
                    values[key] = key
                end
                return values
            end,
        } }
        c:get_many { "a", "b" }
        host:advance(10)
        down = true
        local values, errs = c:get_many { "a", "b", "c" }
        assert.same({ a = "a", b = "b" }, values)
        assert.equal("loader", errs.c.code)
        assert.is_nil(errs.a)
    end)

    it("is counted: stale and errors", function()
        fresh { ttl = 10, stale_ttl = 20 }
        c:set("k", 1)
        host:advance(10)
        c:get("k", function() error "down" end)
        local s = c:stats()
        assert.equal(1, s.stale)
        assert.equal(1, s.hits)
        assert.equal(0, s.misses)
    end)

    it("that is absent now is absent, however much is held", function()
        fresh { ttl = 10, stale_ttl = 20 }
        c:set("k", 1)
        host:advance(10)
        assert.same(results(nil, nil, "absent"), results(c:get("k", function() end)))
        fails("loader", nil, c:get("k", function() error "down" end)) -- the deleted value must not come back
    end)

    it("longer than the deadline gives the stale value at the deadline", function()
        fresh { ttl = 10, stale_ttl = 50 }
        c:set("k", "old")
        host:advance(10)
        host:run(function()
            local began = host:now()
            local r = results(c:get("k", { timeout = 3 }, function() host:sleep(5) return "new" end))
            assert.same(results("old", nil, "stale"), r)
            assert.is_true(math.abs(host:now() - began - 3) < 1e-3)
            host:sleep(5)
            assert.same(results("new", nil, "l1"), results(c:get "k"))
        end)
    end)
end)

describe("an absence", function()
    after_each(function() c:close() end)

    it("is kept for negative_ttl, by call, cache, loader or function", function()
        local n = 0
        local function nobody() n = n + 1 end
        fresh { negative_ttl = 10 }
        c:get("k", nobody)
        host:advance(10 - US)
        assert.same(results(nil, nil, "absent"), results(c:get("k", nobody)))
        assert.equal("absent", peek())
        host:advance(US)
        assert.equal("miss", peek())
        assert.equal(1, n)
        c:get("k", { negative_ttl = 3 }, nobody)
        host:advance(3)
        assert.equal("miss", peek())
        c:get("k", function() return nil, nil, { negative_ttl = 4 } end)
        host:advance(4 - US)
        assert.equal("absent", peek())
        host:advance(US)
        assert.equal("miss", peek())
        c:close()
        fresh { negative_ttl = function(key, value) return key == "k" and value == nil and 5 or 0 end }
        c:get("k", nobody)
        c:get("other", nobody)
        assert.same({ "absent", "miss" }, { peek "k", peek "other" })
        host:advance(5)
        assert.equal("miss", peek())
    end)

    it("is not stale after it, and ends with a set", function()
        fresh { negative_ttl = 10, stale_ttl = 100 }
        c:get("k", function() end)
        host:advance(10)
        fails("loader", nil, c:get("k", function() error "down" end))
        c:get("k", function() end)
        c:set("k", 1)
        assert.same(results(1, nil, "l1"), results(c:get "k"))
    end)
end)
