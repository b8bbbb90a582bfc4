-- wrap_spec.lua - the decorator over a cache that is a table: results, keys, failures, trouble.

local arguments = require "larder.arguments"
local errors = require "larder.errors"
local wrap = require "larder.wrap"

local unpack = table.unpack or unpack -- luacheck: ignore 113

local function nothing() end

local null = {} -- stands for larder.null, which is a userdata

-- A cache of one tier that keeps what the loader gives. `broken` is an error that every call then gives.
local function fake()
    local cache = { held = {}, n_loads = 0 }
    local function load(key, loader, ...)
        cache.n_loads = cache.n_loads + 1
        local answer = { xpcall(loader, errors.handler, key, ...) }
        if not answer[1] then
            return nil, answer[2]
        elseif answer[3] ~= nil then
            return nil, errors.new("loader", errors.text(answer[3]), answer[3])
        elseif cache.refuses and cache.refuses(answer[2]) then
            return nil, errors.new("unsupported", "cannot keep this")
        end
        cache.held[key] = answer[2]
        return answer[2], nil, "loaded"
    end
    cache.api = {
        null = null,
        get = function(key, opts, loader, ...)
            cache.opts, cache.key = opts, key
            if cache.broken then
                return nil, cache.broken
            elseif cache.held[key] ~= nil then
                return cache.held[key], nil, "l1"
            end
            return load(key, loader, ...)
        end,
        refresh = function(key, opts, loader, ...)
            cache.opts = opts
            return load(key, loader, ...)
        end,
        invalidate = function(key)
            cache.held[key] = nil
            return true
        end,
    }
    return cache
end

local function count(...)
    return { n = select("#", ...), ... }
end

describe("a wrapped function", function()
    local cache, n

    before_each(function()
        cache, n = fake(), 0
    end)

    local function giving(...)
        local results = count(...)
        return wrap.make(cache.api, function()
            n = n + 1
            return unpack(results, 1, results.n)
        end)
    end

    it("is called once and gives the same results", function()
        local shared = { 1, 2 }
        for _, results in ipairs { count(1), count("a", "b"), count(), count(nil), count(nil, nil), count(1, nil),
            count(1, nil, nil), count(false), count(false, "x"), count(nil, nil, 3), count({ "v" }),
            count(shared, shared), count(""), count({}), count(0, false, nil, "z", nil) } do
            n = 0
            local f = giving(unpack(results, 1, results.n))
            assert.same(results, count(f()))
            assert.same(results, count(f()))
            assert.same(results, count(f()))
            assert.equal(1, n)
        end
    end)

    it("gives many results", function()
        local many = {}
        for i = 1, 300 do
            many[i] = i % 7 ~= 0 and i or nil
        end
        local f = giving(unpack(many, 1, 300))
        f()
        local got = count(f())
        assert.equal(300, got.n)
        assert.equal(299, got[299])
        assert.is_nil(got[294])
        assert.equal(1, n)
    end)

    it("gets its arguments", function()
        local got
        local f = wrap.make(cache.api, function(...)
            got = count(...)
        end)
        f(1, nil, "x", nil)
        assert.same(count(1, nil, "x", nil), got)
    end)

    it("tells arguments apart by type, value and number", function()
        local f = wrap.make(cache.api, function()
            n = n + 1
            return n
        end)
        local nan = 0 / 0
        local calls = {
            count(), count(nil), count(nil, nil), count(1), count("1"), count(1, nil), count(1.5), count(-0.0),
            count(true), count(false), count("true"), count(nan), count(1 / 0), count(-1 / 0), count(2 ^ 60),
            count(""), count("", ""), count("a", "bc"), count("ab", "c"), count("i1;"),
            count({}), count({ 1 }), count({ "1" }), count({ { 1 } }), count({ a = 1 }), count({ a = { b = 1 } }),
            count({ [1.5] = 1 }), count({ [true] = 1 }),
        }
        if math.type then
            calls[#calls + 1] = count(1.0)
        end
        for i, call in ipairs(calls) do
            assert.equal(i, f(unpack(call, 1, call.n)))
        end
        for i, call in ipairs(calls) do
            assert.equal(i, f(unpack(call, 1, call.n)))
        end
    end)

    it("takes equal tables for the same, whatever their making", function()
        local f = giving(1)
        f({ a = 1, b = { 1, 2 }, c = "x" })
        local t = { c = "x" }
        t.b = setmetatable({ 1, 2 }, { __pairs = error, __index = error, __len = error })
        t.a = 1
        f(t)
        assert.equal(1, n)
    end)

    it("refuses arguments that cannot be values, at the user's line", function()
        local f = giving(1)
        local cycle = {}
        cycle[1] = cycle
        for _, bad in ipairs { print, coroutine.create(print), io.stdout, cycle, { { print } }, { [print] = 1 } } do
            local fine, e = pcall(f, 1, bad)
            assert.is_false(fine)
            assert.matches("wrap_spec%.lua:%d+: .*argument 2 cannot be part of a key", e)
        end
        assert.equal(0, n)
    end)

    it("may make its key itself", function()
        local f = wrap.make(cache.api, function()
            n = n + 1
            return n
        end, { key = function(_, id)
            return "product:" .. id
        end })
        assert.equal(1, f(print, 42))
        assert.equal(1, f(io.stdout, 42))
        assert.equal(1, cache.held["product:42"])
        f = wrap.make(cache.api, nothing, { prefix = "p", key = function()
            return "k"
        end })
        f()
        assert.is_not_nil(cache.held["p:k"])
        f = wrap.make(cache.api, nothing, { key = function()
            return 5
        end })
        assert.matches("wrap_spec%.lua:%d+: cache:wrap: key = function must give a string, got 5", select(2, pcall(f)))
    end)

    it("passes a failure on and keeps it not", function()
        local f = giving(nil, "gone", 3)
        assert.same(count(nil, "gone", 3), count(f()))
        assert.same(count(nil, "gone", 3), count(f()))
        assert.equal(2, n)
    end)

    it("raises again what the function raised, the same object", function()
        local thrown = {}
        local f = wrap.make(cache.api, function()
            n = n + 1
            error(thrown)
        end)
        for i = 1, 2 do
            local _, e = pcall(f)
            assert.equal(thrown, e)
            assert.equal(i, n)
        end
        local raises_nil = wrap.make(cache.api, function()
            error(nil)
        end)
        assert.same(count(false, nil), count(pcall(raises_nil)))
    end)

    it("gives who joined another's call what that call gave", function()
        local f = giving(7)
        cache.broken = errors.new("loader", "as text", "what was raised")
        assert.equal("what was raised", select(2, pcall(f)))
        assert.equal(0, n)
    end)

    it("gives a stale value rather than a failure", function()
        local fail = false
        local f = wrap.make(cache.api, function()
            if fail then
                return nil, "down"
            end
            return "old"
        end)
        f()
        fail = true
        local stale = {
            get = function(_, _, loader, ...)
                loader("k", ...)
                return "old", nil, "stale"
            end,
        }
        assert.equal("old", wrap.make(stale, function()
            return nil, "down"
        end)())
    end)

    it("is called when the cache is in trouble", function()
        local f = giving(1, 2)
        for _, code in ipairs { "closed", "timeout", "unavailable", "rejected", "busy" } do
            n = 0
            cache.broken = errors.new(code, "trouble")
            assert.same(count(1, 2), count(f()))
            assert.equal(1, n)
        end
    end)

    it("is called once when its results cannot be kept", function()
        cache.refuses = function()
            return true
        end
        local f = giving(print, 2)
        assert.same(count(print, 2), count(f()))
        assert.equal(1, n)
    end)

    it("is called when something else lies under its key", function()
        local f = giving(5)
        f()
        for _, strange in ipairs { {}, { 5 }, { "xyz", 1 }, { v = 1 } } do
            cache.held[cache.key] = strange
            assert.equal(5, f())
        end
    end)

    it("is called for keys that are too long, or has them digested", function()
        local long = ("x"):rep(70000)
        local f = giving(1)
        f(long)
        f(long)
        assert.equal(2, n)
        assert.equal(0, cache.n_loads)
        assert.is_true(f:invalidate(long))
        cache.api.digest = function(bytes)
            return "digest of " .. #bytes
        end
        f = giving(1)
        f(long)
        f(long)
        assert.equal(3, n)
        assert.matches(":#digest of 700%d%d$", cache.key)
    end)

    it("forgets and loads anew by the same arguments", function()
        local f = wrap.make(cache.api, function(x)
            n = n + 1
            return x .. n
        end)
        assert.same({ "a1", "b2", "a1" }, { f "a", f "b", f "a" })
        f:invalidate "a"
        assert.same({ "a3", "b2" }, { f "a", f "b" })
        assert.equal("b4", f:refresh "b")
        assert.equal("b4", f "b")
        assert.matches("with a colon", select(2, pcall(f.refresh, "b")))
    end)

    it("has keys of its own, or those of its prefix", function()
        local f, g = giving(1), giving(2)
        assert.same({ 1, 2, 1 }, { f(), g(), f() })
        local function one(prefix)
            return wrap.make(cache.api, function()
                n = n + 1
                return n
            end, { prefix = prefix })
        end
        n = 0
        assert.same({ 1, 2, 1 }, { one "a"(1), one "b"(1), one "a"(1) })
        assert.equal("a:i1;", cache.key)
    end)

    it("hands its opts over, read once", function()
        local options = require "larder.options"
        local f = wrap.make(cache.api, nothing, { ttl = 5, consistency = "weak", guard = "none" })
        f()
        assert.equal(cache.opts, options.verb("get", cache.opts))
        assert.same({ 5, "weak", "none" }, { cache.opts.ttl, cache.opts.level, cache.opts.guard })
    end)

    it("refuses what is no function and what is no option", function()
        for _, bad in ipairs { 5, "x", {} } do
            assert.matches("cache:wrap: a function is wanted", select(2, pcall(wrap.make, cache.api, bad)))
        end
        local _, e = pcall(wrap.make, cache.api, nothing, { tll = 1 })
        assert.matches("unknown option tll; valid are: consistency", e)
        _, e = pcall(wrap.make, cache.api, nothing, { tags = nothing })
        assert.matches("not built yet", e)
    end)

    it("may yield, and may be a callable table", function()
        local f = wrap.make(cache.api, setmetatable({}, { __call = function(_, x)
            return coroutine.yield(x) + 1
        end }))
        local co = coroutine.wrap(function()
            return f(10)
        end)
        assert.equal(10, co())
        assert.equal(6, co(5))
        assert.equal(6, f(10))
    end)
end)

describe("arguments as a string", function()
    it("are the same in every Lua for the same integer", function()
        assert.equal("i1;i-5;i9007199254740992;", arguments.text(null, 1, -5, 9007199254740992))
        assert.equal("d0.5;d-0;dinf;d-inf;dnan;", arguments.text(null, 0.5, -0.0, 1 / 0, -1 / 0, -(0 / 0)))
        assert.equal("s3;a;bzt", arguments.text(null, "a;b", nil, true))
        assert.equal("{2;i1;ts1;kf", arguments.text(null, { true, k = false }))
    end)

    it("name the one that cannot be", function()
        assert.same({ n = 3, nil, 2, "a function" }, count(arguments.text(null, 1, print)))
    end)

    it("take light userdata NULL and cdata integers where there are such", function()
        local fine, cjson = pcall(require, "cjson")
        if fine then
            assert.equal("uu", arguments.text(cjson.null, cjson.null, cjson.null))
        end
        if rawget(_G, "jit") then
            assert.equal("i-5;", arguments.text(null, loadstring("return -5LL")()))
            assert.is_nil(arguments.text(null, loadstring("return 5i")()))
        end
    end)
end)
