-- verbs_writes_spec.lua - set, set_many, delete, delete_many, touch, invalidate, invalidate_all and write, in a cache
-- that has no source: what they give, how they fail, what they refuse.

local bed = require "spec.support.bed"
local larder = require "larder"

local fails, misuse, null = bed.fails, bed.misuse, bed.null

local function results(...)
    return { n = select("#", ...), ... }
end

local c

local function fresh(options)
    c = assert(larder.open(options or {}))
end

local function close()
    c:close()
end

describe("set", function()
    before_each(function() fresh() end)
    after_each(close)

    it("gives a version that is a string of digits and rises", function()
        local versions = {}
        for i = 1, 3 do
            versions[i] = assert(c:set("k", i))
            assert.truthy(versions[i]:match "^%d+$")
        end
        assert.is_true(tonumber(versions[1]) < tonumber(versions[2]) and tonumber(versions[2]) < tonumber(versions[3]))
        assert.equal(3, (c:get "k"))
    end)

    it("keeps null and false, and raises for nil", function()
        c:set("f", false)
        c:set("n", null)
        assert.same({ false, "l1" }, { (c:get "f"), select(3, c:get "f") })
        assert.equal(null, (c:get "n"))
        misuse(function() local _ = c:set("k", nil) end, "cache:set", "the value must be anything but nil", "got nil")
        misuse(function() local _ = c:set("k") end, "anything but nil")
    end)

    it("keeps a copy: what the caller changes later changes nothing", function()
        local value = { 1, { 2 } }
        c:set("k", value)
        value[2][1] = "changed"
        assert.same({ 1, { 2 } }, (c:get "k"))
    end)

    it("takes ttl and stale_ttl; 0 is not kept and forgets what was held", function()
        c:set("k", 1, { ttl = 7 })
        assert.is_true(c:get_entry("k").ttl <= 7)
        assert.is_string((c:set("k", 2, { ttl = 0 })))
        assert.same(results(nil, "miss"), results(c:peek "k"))
    end)

    it("takes a version, given as integer or decimal string; older than what is held is a conflict", function()
        assert.equal("10", (c:set("k", 1, { version = 10 })))
        assert.equal("10", c:get_entry("k").version)
        local err = fails("conflict", "10", c:set("k", 2, { version = 9 }))
        assert.equal("10", err.version)
        assert.equal(1, (c:get "k"))
        assert.equal("11", (c:set("k", 3, { version = "11" })))
        assert.equal(3, (c:get "k"))
        assert.is_true(tonumber((c:set("k", 4))) > 11)
        c:set("k", 1, { version = "9007199254740992" })
        for _, value in ipairs { "a string", 5 } do
            local version = assert(c:set("k", value))
            assert.equal(version, c:get_entry("k").version)
            assert.truthy(version:match "^900719925474099%d$")
        end
        assert.equal("9223372036854775807", (c:set("big", 1, { version = "9223372036854775807" })))
        assert.equal("9223372036854775807", c:get_entry("big").version)
        assert.is_string((c:set("k", 5)))
        assert.equal(5, (c:get "k"))
    end)

    it("sets only when if_version is current, or false and nothing is held", function()
        local first = assert(c:set("k", 1, { if_version = false }))
        local err = fails("conflict", nil, c:set("k", 2, { if_version = false }))
        assert.equal(first, err.version)
        local second = assert(c:set("k", 2, { if_version = first }))
        err = fails("conflict", nil, c:set("k", 3, { if_version = first }))
        assert.equal(second, err.version)
        assert.equal(2, (c:get "k"))
        fails("conflict", nil, c:set("other", 1, { if_version = 1 }))
        assert.same(results(nil, "miss"), results(c:peek "other"))
    end)

    it("takes version = 0 as none, and if_version = 0 as a version that nothing held here has", function()
        assert.is_true(tonumber((c:set("k", 1, { version = 0 }))) > 0)
        fails("conflict", nil, c:set("k", 1, { if_version = 0 }))
        fails("conflict", nil, c:set("other", 1, { if_version = 0 }))
    end)

    it("refuses values that cannot be kept and changes nothing", function()
        c:set("k", 1)
        for _, value in ipairs { print, coroutine.create(print), io.stdout, { { print } } } do
            fails("unsupported", nil, c:set("k", value))
        end
        local ring = {}
        ring.ring = ring
        fails("unsupported", nil, c:set("k", ring))
        assert.equal(1, (c:get "k"))
    end)

    it("says too_large when no tier can keep it, and the next call works", function()
        close()
        fresh { l1 = { bytes = "64K" } }
        c:set("k", 1)
        fails("too_large", "bytes", c:set("k", ("x"):rep(200000)))
        assert.is_string((c:set("k", 2)))
        assert.equal(2, (c:get "k"))
    end)

    it("raises at the caller's line", function()
        misuse(function() local _ = c:set(1, 1) end, "cache:set", "the key must be a string, got 1")
        misuse(function() local _ = c:set("k", 1, 5) end, "cache:set", "options must be a table, got 5")
        misuse(function() local _ = c:set("k", 1, { tll = 5 }) end, "cache:set: unknown option tll", "valid are:")
        misuse(function() local _ = c:set("k", 1, { ttl = -1 }) end, "ttl", "got -1")
        misuse(function() local _ = c:set("k", 1, { ttl = 0 / 0 }) end, "ttl", "got NaN")
        misuse(function() local _ = c:set("k", 1, { version = 1.5 }) end, "version", "got 1.5")
        misuse(function() local _ = c:set("k", 1, { version = "9223372036854775808" }) end, "version")
        misuse(function() local _ = c:set("k", 1, { if_version = true }) end, "if_version", "got true")
        misuse(function() local _ = c:set("k", 1, { consistency = "session" }) end, "not built yet")
    end)

    it("gives errors for keys that can be none", function()
        fails("invalid", "empty", c:set("", 1))
        fails("too_large", "65536", c:set(("k"):rep(65536), 1))
    end)
end)

describe("set_many", function()
    before_each(function() fresh() end)
    after_each(close)

    it("gives versions and errs by key", function()
        local versions, errs = c:set_many({ a = 1, b = print, [""] = 1, d = false }, { ttl = 9 })
        assert.is_string(versions.a)
        assert.is_string(versions.d)
        assert.is_nil(versions.b)
        assert.equal("unsupported", errs.b.code)
        assert.equal("invalid", errs[""].code)
        assert.equal(false, (c:get "d"))
        assert.is_true(c:get_entry("a").ttl <= 9)
        assert.same(results({}, {}), results(c:set_many {}))
    end)

    it("raises for what is no map of keys, before anything is written", function()
        misuse(function() local _ = c:set_many(5) end, "cache:set_many", "a table of values by key", "got 5")
        misuse(function() local _ = c:set_many { "x" } end, "by key, each key a string, got 1")
        misuse(function() local _ = c:set_many({ a = 1 }, { version = 1 }) end, "unknown option version")
        assert.same(results(nil, "miss"), results(c:peek "a"))
    end)
end)

describe("delete", function()
    before_each(function() fresh() end)
    after_each(close)

    it("forgets, and is true for what was not held", function()
        c:set("k", 1)
        assert.same(results(true), results(c:delete "k"))
        assert.same(results(nil, nil, "miss"), results(c:get "k"))
        assert.same(results(true), results(c:delete "k"))
    end)

    it("looks at if_version", function()
        local version = assert(c:set("k", 1))
        assert.equal(version, fails("conflict", nil, c:delete("k", { if_version = tonumber(version) + 1 })).version)
        assert.equal(1, (c:get "k"))
        assert.is_true((c:delete("k", { if_version = version })))
        fails("conflict", nil, c:delete("k", { if_version = version }))
    end)

    it("refuses what is no key", function()
        fails("invalid", "empty", c:delete "")
        fails("too_large", nil, c:delete(("k"):rep(70000)))
        misuse(function() local _ = c:delete(nil) end, "cache:delete", "the key must be a string, got nil")
        misuse(function() local _ = c:delete("k", { ttl = 1 }) end, "unknown option ttl")
    end)

    it("of many: true, or nil and an error with errs by key", function()
        c:set("a", 1)
        assert.same(results(true), results(c:delete_many { "a", "b", "a" }))
        assert.same(results(nil, "miss"), results(c:peek "a"))
        assert.same(results(true), results(c:delete_many {}))
        c:set("a", 1)
        local err = fails("invalid", "empty", c:delete_many { "", "a" })
        assert.equal("invalid", err.errs[""].code)
        assert.is_nil(err.errs.a)
        assert.same(results(nil, "miss"), results(c:peek "a"))
        misuse(function() local _ = c:delete_many "a" end, "cache:delete_many", "a list of strings")
        misuse(function() local _ = c:delete_many { 1 } end, "the key must be a string")
    end)
end)

describe("touch", function()
    before_each(function() fresh { ttl = 100, stale_ttl = 50 } end)
    after_each(close)

    it("sets the time to soft expiry of what is held; false for what is not", function()
        c:set("k", 1)
        assert.same(results(true), results(c:touch("k", 500)))
        local ttl = c:get_entry("k").ttl
        assert.is_true(ttl > 499 and ttl <= 500)
        assert.same(results(false), results(c:touch("other", 500)))
        assert.is_true(c:touch("k", math.huge))
        assert.equal(math.huge, c:get_entry("k").ttl)
    end)

    it("with 0 only expires: what is held is stale now", function()
        c:set("k", 1)
        assert.is_true(c:touch("k", 0))
        assert.same(results(1, "stale"), results(c:peek "k"))
        assert.same(results(nil, nil, "miss"), results(c:get "k"))
        assert.same(results(2, nil, "loaded"), results(c:get("k", function() return 2 end)))
    end)

    it("is seen by the memo", function()
        c:set("k", 1)
        assert.equal("l1", select(3, c:get "k"))
        assert.equal("l1", select(3, c:get "k"))
        c:touch("k", 0)
        assert.equal("miss", select(3, c:get "k"))
    end)

    it("raises for what is no ttl", function()
        misuse(function() local _ = c:touch("k") end, "cache:touch", "ttl", "got nil")
        misuse(function() local _ = c:touch("k", -1) end, "got -1")
        misuse(function() local _ = c:touch("k", "1") end, 'got "1"')
        misuse(function() local _ = c:touch("k", 0 / 0) end, "got NaN")
        misuse(function() local _ = c:touch(1, 1) end, "the key must be a string")
        fails("invalid", "empty", c:touch("", 1))
    end)
end)

describe("invalidate", function()
    before_each(function() fresh { ttl = 100, stale_ttl = 50 } end)
    after_each(close)

    it("forgets, and the next read loads, also where a stale value was held", function()
        c:set("k", 1)
        c:touch("k", 0)
        assert.same(results(true), results(c:invalidate "k"))
        assert.same(results(nil, "miss"), results(c:peek "k"))
        fails("loader", nil, c:get("k", function() error "down" end))
        assert.same(results(2, nil, "loaded"), results(c:get("k", function() return 2 end)))
        assert.same(results(true), results(c:invalidate "nobody"))
    end)

    it("takes strategy = immediate, and says which are not built", function()
        c:set("k", 1)
        assert.is_true((c:invalidate("k", { strategy = "immediate" })))
        misuse(function() local _ = c:invalidate("k", { strategy = "lazy" }) end, "not built yet")
        misuse(function() local _ = c:invalidate("k", { strategy = "soon" }) end, "strategy", 'must be "immediate"')
        misuse(function() local _ = c:invalidate() end, "cache:invalidate", "the key must be a string, got nil")
        fails("invalid", "empty", c:invalidate "")
    end)

    it("takes keys literally", function()
        c:set("a*", 1)
        c:set("ab", 2)
        c:invalidate "a*"
        assert.equal(2, (c:get "ab"))
        assert.same(results(nil, "miss"), results(c:peek "a*"))
    end)

    it("of all forgets all, of this cache alone", function()
        local other = larder.open {}
        other:set("k", 1)
        for i = 1, 100 do
            c:set("k" .. i, i)
            c:get("k" .. i)
        end
        assert.same(results(true), results(c:invalidate_all()))
        for i = 1, 100 do
            assert.same(results(nil, nil, "miss"), results(c:get("k" .. i)))
        end
        assert.equal(0, c:stats().entries)
        assert.equal(1, (other:get "k"))
        other:close()
    end)
end)

describe("write", function()
    before_each(function() fresh() end)
    after_each(close)

    it("gives what the function gave, with its arguments, and forgets the keys", function()
        c:set("a", 1)
        c:set("b", 2)
        c:set("c", 3)
        assert.same(results("x", nil, 5), results(c:write({ "a", "b" }, function(...)
            assert.same({ n = 3, 1, nil, 2 }, results(...))
            return "x", nil, 5
        end, 1, nil, 2)))
        assert.same(results(nil, "miss"), results(c:peek "a"))
        assert.same(results(nil, "miss"), results(c:peek "b"))
        assert.equal(3, (c:get "c"))
        assert.same(results(), results(c:write("c", function() end)))
        assert.same(results(nil, "miss"), results(c:peek "c"))
    end)

    it("gives what it raised as loader, and forgets all the same", function()
        c:set("a", 1)
        local err = fails("loader", "boom", c:write("a", function() error "boom" end))
        assert.truthy(tostring(err.cause):find "boom")
        assert.same(results(nil, "miss"), results(c:peek "a"))
    end)

    it("passes reads of its keys by, inside the function only", function()
        c:set("a", "old")
        c:set("b", "held")
        c:write("a", function()
            assert.same(results("source", nil, "loaded"), results(c:get("a", function() return "source" end)))
            assert.equal("held", (c:get "b"))
            local values = c:get_many({ "a", "b" }, function(keys)
                return { [keys[1]] = "many" }
            end)
            assert.equal("many", values.a)
            assert.equal("held", values.b)
            assert.equal("entry", c:get_entry("a", function() return "entry" end).value)
        end)
        assert.same(results(nil, "miss"), results(c:peek "a"))
        c:set("a", "after")
        assert.equal("l1", select(3, c:get("a", function() return "x" end)))
    end)

    it("may be nested, also for the same key", function()
        c:write({ "a", "b" }, function()
            c:write({ "b", "c" }, function()
                for _, key in ipairs { "a", "b", "c" } do
                    assert.equal("loaded", select(3, c:get(key, function() return 1 end)))
                end
            end)
            assert.equal("loaded", select(3, c:get("b", function() return 1 end)))
            c:set("c", 5)
            assert.equal("l1", select(3, c:get("c", function() return 1 end)))
        end)
        for _, key in ipairs { "a", "b" } do
            assert.same(results(nil, "miss"), results(c:peek(key)))
        end
    end)

    it("refuses fills while it runs, by anybody", function()
        local host = require("larder.host.test").new { seed = bed.seed }
        local cache = larder.open { host = host }
        host:run(function()
            host:spawn(function()
                cache:write("k", function() host:sleep(10) end)
            end)
            host:sleep(1)
            assert.equal("loaded", select(3, cache:get("k", function() return "early" end)))
            assert.same(results(nil, "miss"), results(cache:peek "k"))
            host:sleep(10)
            assert.equal("loaded", select(3, cache:get("k", function() return "late" end)))
            assert.equal("l1", select(3, cache:get "k"))
        end)
        assert.equal(1, cache:stats().refused)
        cache:close()
    end)

    it("lets another coroutine read past nothing: only its own is inside", function()
        local host = require("larder.host.test").new { seed = bed.seed }
        local cache = larder.open { host = host }
        cache:set("k", "held")
        host:run(function()
            host:spawn(function()
                cache:write("k", function()
                    assert.equal("own", (cache:get("k", function() return "own" end)))
                    host:sleep(10)
                end)
            end)
            host:sleep(1)
            assert.equal("held", (cache:get "k"))
        end)
        cache:close()
    end)

    it("refuses what is no key or function", function()
        misuse(function() local _ = c:write(5, print) end, "cache:write", "a list of strings")
        misuse(function() local _ = c:write({ "a", 5 }, print) end, "the key must be a string, got 5")
        misuse(function() local _ = c:write("a", 5) end, "cache:write", "a function", "got 5")
        misuse(function() local _ = c:write("a") end, "a function", "got nil")
        fails("invalid", "empty", c:write("", print))
        fails("too_large", nil, c:write({ "a", ("k"):rep(70000) }, print))
        c:get("a", function() return 1 end)
        assert.equal(1, (c:peek "a"))
    end)
end)
