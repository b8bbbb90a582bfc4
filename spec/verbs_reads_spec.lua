-- verbs_reads_spec.lua - get, get_entry, get_many, peek and refresh, told from outside: what they give, how they fail,
-- what they refuse.

local bed = require "spec.support.bed"
local larder = require "larder"

local fails, misuse, null = bed.fails, bed.misuse, bed.null

-- A function that counts its calls in a table.
local function counted(fn)
    local calls = { n = 0 }
    return function(...)
        calls.n = calls.n + 1
        calls[calls.n] = { n = select("#", ...), ... }
        return fn(...)
    end, calls
end

local function results(...)
    return { n = select("#", ...), ... }
end

describe("get", function()
    local c

    before_each(function()
        c = assert(larder.open {})
    end)

    after_each(function()
        c:close()
    end)

    it("gives value, nil, outcome: loaded, then l1", function()
        assert.same(results(7, nil, "loaded"), results(c:get("k", function() return 7 end)))
        assert.same(results(7, nil, "l1"), results(c:get("k", function() return 8 end)))
        assert.same(results(7, nil, "l1"), results(c:get("k")))
    end)

    it("is a miss where there is nobody to ask", function()
        assert.same(results(nil, nil, "miss"), results(c:get("k")))
    end)

    it("tells what is absent from what was never asked", function()
        assert.same(results(nil, nil, "absent"), results(c:get("k", function() end)))
        assert.same(results(nil, nil, "miss"), results(c:get("k")))
    end)

    it("keeps an absence for negative_ttl", function()
        assert.same(results(nil, nil, "absent"), results(c:get("k", { negative_ttl = 60 }, function() return nil end)))
        local loader, calls = counted(function() return 1 end)
        assert.same(results(nil, nil, "absent"), results(c:get("k", loader)))
        assert.equal(0, calls.n)
        assert.same(results(nil, "absent"), results(c:peek("k")))
    end)

    it("calls the loader with the key and what follows it", function()
        local loader, calls = counted(function() return 1 end)
        c:get("a", loader, 2, nil, "x", nil)
        c:get("b", nil, loader, 3)
        c:get("c", { ttl = 5 }, loader)
        assert.same({ n = 5, "a", 2, nil, "x", nil }, calls[1])
        assert.same({ n = 2, "b", 3 }, calls[2])
        assert.same({ n = 1, "c" }, calls[3])
    end)

    it("takes a callable table as loader in third place only", function()
        local callable = setmetatable({}, { __call = function(_, key) return "for " .. key end })
        assert.equal("for k", (c:get("k", nil, callable)))
        misuse(function() local _ = c:get("other", callable, 1) end,
            "cache:get", "the loader must be a function, got 1")
        assert.same(results(nil, nil, "miss"), results(c:get("other", callable))) -- an empty table of options
    end)

    it("gives the caller who loaded the very value, later ones equal ones of their own", function()
        local value = { 1, { x = "y" } }
        local first = c:get("k", function() return value end)
        assert.equal(value, first)
        value[2].x = "changed"
        local second, third = c:get("k"), c:get("k")
        assert.same({ 1, { x = "y" } }, second)
        assert.are_not.equal(second, third)
        second[2].x = "changed"
        assert.same({ 1, { x = "y" } }, (c:get("k")))
    end)

    it("takes false and null as values", function()
        assert.same(results(false, nil, "loaded"), results(c:get("f", function() return false end)))
        assert.same(results(false, nil, "l1"), results(c:get("f")))
        assert.same(results(null, nil, "loaded"), results(c:get("n", function() return null end)))
        local value, err, outcome = c:get("n")
        assert.equal(null, value)
        assert.is_nil(err)
        assert.equal("l1", outcome)
    end)

    it("gives what a loader raised as loader, with its traceback and cause", function()
        local err = fails("loader", "no luck", c:get("k", function() error("no luck") end))
        assert.truthy(err.message:find("traceback", 1, true), err.message)
        assert.truthy(tostring(err.cause):find("no luck", 1, true))
        local thing = {}
        assert.equal(thing, fails("loader", nil, c:get("k", function() error(thing) end)).cause)
    end)

    it("takes a loader's second result as an error whatever the first", function()
        assert.equal("why", fails("loader", "why", c:get("k", function() return nil, "why" end)).cause)
        assert.equal(false, fails("loader", nil, c:get("k", function() return 1, false end)).cause)
        assert.same(results(nil, "miss"), results(c:peek("k")))
    end)

    it("lets a loader's third result say how its value is kept", function()
        local function get(opts) return c:get("k", function() return 1, nil, opts end) end
        assert.equal("loaded", select(3, get { store = false }))
        assert.same(results(nil, "miss"), results(c:peek("k")))
        assert.equal("loaded", select(3, get { ttl = 0 }))
        assert.same(results(nil, "miss"), results(c:peek("k")))
        assert.equal("loaded", select(3, get { ttl = 50, version = 77 }))
        local entry = c:get_entry("k")
        assert.equal("77", entry.version)
        assert.is_true(entry.ttl > 49 and entry.ttl <= 50)
    end)

    it("refuses a loader's opts that are wrong, at run time", function()
        local function get(opts) return c:get("k", function() return 1, nil, opts end) end
        fails("invalid", "ttl", get { ttl = -1 })
        fails("invalid", "ttl", get { ttl = 0 / 0 })
        fails("invalid", "ttl", get { ttl = "10" })
        fails("invalid", "tll", get { tll = 1 })
        fails("invalid", "third result must be a table", get(5))
        fails("invalid", "version", get { version = -1 })
        fails("unsupported", "tags", get { tags = { "x" } })
        assert.same(results(nil, "miss"), results(c:peek("k")))
    end)

    it("refuses values that cannot be kept, and leaves no lock behind", function()
        fails("unsupported", "key \"k\".*function", c:get("k", function() return print end))
        fails("unsupported", nil, c:get("k", function() return { coroutine.create(print) } end))
        assert.same(results(3, nil, "loaded"), results(c:get("k", function() return 3 end)))
    end)

    it("refresh = true loads anew", function()
        c:set("k", 1)
        assert.same(results(2, nil, "loaded"), results(c:get("k", { refresh = true }, function() return 2 end)))
        assert.same(results(2, nil, "l1"), results(c:get("k")))
    end)

    it("counts its ttl for what it stores, not for what it finds", function()
        c:set("k", 1, { ttl = 100 })
        c:get("k", { ttl = 5 })
        assert.is_true(c:get_entry("k").ttl > 99)
    end)

    it("raises at the caller's line for what is no key, option or loader", function()
        misuse(function() local _ = c:get() end, "cache:get", "the key must be a string, got nil")
        misuse(function() local _ = c:get(1) end, "the key must be a string, got 1")
        misuse(function() local _ = c:get("k", 1) end, "a table of options or a loader", "got 1")
        misuse(function() local _ = c:get("k", "x", print) end, "a table of options or a loader", 'got "x"')
        misuse(function() local _ = c:get("k", nil, "x") end, "the loader must be a function", 'got "x"')
        misuse(function() local _ = c:get("k", { tll = 1 }) end, "unknown option tll", "valid are: consistency")
        misuse(function() local _ = c:get("k", { ttl = "10" }) end, "ttl", 'got "10"')
        misuse(function() local _ = c:get("k", { consistency = "eventualy" }) end, "consistency", "eventual, weak")
        misuse(function() local _ = c:get("k", { consistency = "strong" }) end, "not built yet")
        misuse(function() local _ = c:get("k", { tags = {} }) end, "not built yet")
        misuse(function() local _ = c:get("k", { guard = "xfetch" }) end, "not built yet")
        misuse(function() local _ = c:get("k", { on_timeout = "wait" }) end, "on_timeout", "stale, load, error")
    end)

    it("gives errors for keys that can be none", function()
        fails("invalid", "empty", c:get(""))
        fails("invalid", "empty", c:get("", function() return 1 end))
        fails("too_large", "65536", c:get(("x"):rep(65536), function() return 1 end))
        assert.equal("loaded", select(3, c:get(("x"):rep(65535), function() return 1 end)))
        assert.equal("l1", select(3, c:get(("x"):rep(65535))))
    end)

    it("gives timeout at once with timeout = 0 where it had to load, and the value where it had not", function()
        c:set("k", 1)
        assert.equal(1, (c:get("k", { timeout = 0 })))
    end)

    it("lets a loader write or delete its own key: its result is given, not stored", function()
        assert.same(results("mine", nil, "loaded"), results(c:get("k", function(key)
            assert(c:set(key, "written"))
            return "mine"
        end)))
        assert.equal("written", (c:get("k")))
        c:delete("k")
        assert.same(results("mine", nil, "loaded"), results(c:get("k", function(key)
            assert(c:delete(key))
            return "mine"
        end)))
        assert.same(results(nil, nil, "miss"), results(c:get("k")))
        c:get("k", function(key)
            assert(c:invalidate(key))
            return "mine"
        end)
        assert.same(results(nil, nil, "miss"), results(c:get("k")))
        c:get("k", function()
            assert(c:invalidate_all())
            return "mine"
        end)
        assert.same(results(nil, nil, "miss"), results(c:get("k")))
    end)

    it("rejects a call for the key that is being loaded, from inside its loader", function()
        local inner
        assert.equal("outer", (c:get("k", function(key)
            inner = results(c:get(key, function() return "inner" end))
            assert.equal("other's", (c:get("other", function() return "other's" end)))
            return "outer"
        end)))
        fails("rejected", "k", inner[1], inner[2])
        assert.equal("outer", (c:get("k")))
    end)
end)

describe("get_entry", function()
    local c

    before_each(function()
        c = assert(larder.open { ttl = 100, stale_ttl = 50 })
    end)

    after_each(function()
        c:close()
    end)

    it("always gives a table: loaded, held, absent, miss", function()
        local e = c:get_entry("k", function() return 5 end)
        assert.same({ 5, "loaded", "loader", false, "eventual", {} },
            { e.value, e.outcome, e.tier, e.stale, e.level, e.tags })
        assert.is_true(e.age >= 0 and e.age < 1 and e.ttl > 99 and e.ttl <= 100)
        e = c:get_entry("k")
        assert.same({ 5, "l1", "l1", false, "eventual", {} }, { e.value, e.outcome, e.tier, e.stale, e.level, e.tags })
        e = c:get_entry("gone", function() end)
        assert.same({ "absent", "loader" }, { e.outcome, e.tier })
        assert.is_nil(e.value)
        e = c:get_entry("nobody")
        assert.equal("miss", e.outcome)
        assert.is_nil(e.value)
        assert.is_nil(e.tier)
        assert.is_false(e.stale)
    end)

    it("names the level that was asked for", function()
        c:set("k", 1)
        assert.equal("weak", c:get_entry("k", { consistency = "weak" }).level)
        assert.equal("eventual", c:get_entry("k", { consistency = "eventual" }).level)
    end)

    it("gives versions as strings, rising per key, over deletes too", function()
        local first = assert(c:set("k", 1))
        assert.is_string(first)
        assert.equal(first, c:get_entry("k").version)
        c:delete("k")
        local second = assert(c:set("k", 2))
        assert.is_true(tonumber(second) > tonumber(first))
    end)

    it("never expires with math.huge", function()
        c:set("k", 1, { ttl = math.huge })
        assert.equal(math.huge, c:get_entry("k").ttl)
    end)

    it("gives nil, err and raises as get does", function()
        fails("loader", "boom", c:get_entry("k", function() error "boom" end))
        fails("invalid", "empty", c:get_entry(""))
        misuse(function() local _ = c:get_entry(5) end, "cache:get_entry", "the key must be a string")
        misuse(function() local _ = c:get_entry("k", { wat = 1 }) end, "cache:get_entry", "unknown option wat")
    end)
end)

describe("get_many", function()
    local c

    before_each(function()
        c = assert(larder.open {})
    end)

    after_each(function()
        c:close()
    end)

    it("gives two tables, always", function()
        assert.same(results({}, {}), results(c:get_many {}))
        assert.same(results({}, {}), results(c:get_many { "a", "b" }))
        c:set("a", 1)
        assert.same(results({ a = 1 }, {}), results(c:get_many { "a", "b" }))
    end)

    it("asks load_many once, for the missing keys, each once", function()
        c:set("b", "held")
        local load_many, calls = counted(function(keys)
            local values = {}
            for _, key in ipairs(keys) do
                values[key] = "loaded " .. key
            end
            return values
        end)
        assert.same(results({ a = "loaded a", b = "held", c = "loaded c" }, {}),
            results(c:get_many({ "a", "b", "c", "a", "c" }, load_many)))
        assert.equal(1, calls.n)
        assert.same({ "a", "c" }, calls[1][1])
        assert.same(results({ a = "loaded a", c = "loaded c" }, {}), results(c:get_many({ "a", "c" }, nil, load_many)))
        assert.equal(1, calls.n)
    end)

    it("leaves out what is absent, and puts a failed load under each key it concerned", function()
        local values, errs = c:get_many({ "a", "b", "c", "d" }, { ttl = 7 }, function()
            return { a = 1, d = false }, { b = "trouble" }
        end)
        assert.same({ a = 1, d = false }, values)
        assert.equal("loader", errs.b.code)
        assert.equal("trouble", errs.b.cause)
        assert.is_nil(errs.c)
        assert.is_true(c:get_entry("a").ttl <= 7)
        values, errs = c:get_many({ "a", "x", "y" }, function() error "boom" end)
        assert.same({ a = 1 }, values)
        assert.truthy(errs.x.message:find "boom")
        assert.truthy(errs.y.message:find "boom")
        values, errs = c:get_many({ "x" }, function() return nil, "all of it" end)
        assert.same({}, values)
        assert.equal("all of it", errs.x.cause)
        values, errs = c:get_many({ "x" }, function() return 5 end)
        assert.same({}, values)
        assert.equal("loader", errs.x.code)
    end)

    it("takes opts by key as the third result", function()
        c:get_many({ "a", "b" }, function()
            return { a = 1, b = 2 }, nil, { a = { ttl = 10, version = 9 }, b = { store = false } }
        end)
        assert.equal("9", c:get_entry("a").version)
        assert.is_true(c:get_entry("a").ttl <= 10)
        assert.same(results(nil, "miss"), results(c:peek "b"))
    end)

    it("keeps its own list: changing the keys given to load_many changes nothing", function()
        local values = c:get_many({ "a", "b" }, function(keys)
            keys[1], keys[2] = nil, nil
            return { a = 1, b = 2 }
        end)
        assert.same({ a = 1, b = 2 }, values)
    end)

    it("gives keys that can be none their error, and asks for the others", function()
        local values, errs = c:get_many({ "", "a", ("x"):rep(65536) }, function() return { a = 1 } end)
        assert.same({ a = 1 }, values)
        assert.equal("invalid", errs[""].code)
        assert.equal("too_large", errs[("x"):rep(65536)].code)
    end)

    it("raises for what is no list, no key, no load_many", function()
        misuse(function() local _ = c:get_many("a") end, "cache:get_many", "the keys must be a list of strings")
        misuse(function() local _ = c:get_many() end, "the keys must be a list of strings, got nil")
        misuse(function() local _ = c:get_many { "a", 1 } end, "the key must be a string, got 1")
        misuse(function() local _ = c:get_many({ "a" }, nil, 5) end, "load_many must be a function, got 5")
        misuse(function() local _ = c:get_many({ "a" }, 5) end, "cache:get_many", "got 5")
        misuse(function() local _ = c:get_many({ "a" }, { version = 5 }) end, "unknown option version")
    end)

    it("asks 5,000 keys with one load", function()
        local keys = {}
        for i = 1, 5000 do
            keys[i] = "key " .. i
        end
        local load_many, calls = counted(function(missing)
            local values = {}
            for i, key in ipairs(missing) do
                values[key] = i
            end
            return values
        end)
        local values, errs = c:get_many(keys, load_many)
        assert.same({}, errs)
        assert.equal(5000, values["key 5000"])
        assert.equal(1, calls.n)
        c:get_many(keys, load_many)
        assert.equal(1, calls.n)
    end)
end)

describe("peek", function()
    it("gives what is held here; loads, counts and promotes nothing", function()
        local loader, calls = counted(function() return 1 end)
        local c = larder.open { source = larder.source.functions { load = loader } }
        assert.same(results(nil, "miss"), results(c:peek "k"))
        c:set("k", { 1 })
        assert.same(results({ 1 }, "l1"), results(c:peek "k"))
        assert.equal(0, calls.n)
        local stats = c:stats()
        assert.same({ 0, 0 }, { stats.hits, stats.misses })
        fails("invalid", "empty", c:peek "")
        misuse(function() local _ = c:peek(1) end, "cache:peek", "the key must be a string")
        misuse(function() local _ = c:peek() end, "cache:peek", "got nil")
        c:close()
        fails("closed", nil, c:peek "k")
    end)
end)

describe("refresh", function()
    local c

    before_each(function()
        c = assert(larder.open {})
    end)

    after_each(function()
        c:close()
    end)

    it("loads anew and gives what get gives", function()
        c:set("k", "old")
        assert.same(results("new", nil, "loaded"), results(c:refresh("k", function() return "new" end)))
        assert.equal("new", (c:get "k"))
        local loader, calls = counted(function() return "newer" end)
        assert.same(results("newer", nil, "loaded"), results(c:refresh("k", { ttl = 9 }, loader, "x")))
        assert.same({ n = 2, "k", "x" }, calls[1])
        assert.is_true(c:get_entry("k").ttl <= 9)
    end)

    it("keeps what is held when the load fails, and gives the error", function()
        c:set("k", "old")
        fails("loader", "boom", c:refresh("k", function() error "boom" end))
        assert.equal("old", (c:get "k"))
    end)

    it("forgets what turned out to be absent", function()
        c:set("k", "old")
        assert.same(results(nil, nil, "absent"), results(c:refresh("k", function() end)))
        assert.same(results(nil, nil, "miss"), results(c:get "k"))
    end)

    it("raises for what is no key or option", function()
        misuse(function() local _ = c:refresh(1) end, "cache:refresh", "the key must be a string")
        misuse(function() local _ = c:refresh("k", { refresh = true }) end, "cache:refresh", "unknown option refresh")
    end)
end)
