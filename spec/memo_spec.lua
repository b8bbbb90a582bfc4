-- memo_spec.lua - the memo before the shelf: what it answers, what it leaves to the slow path, who leaves when it is
-- full. Slots are moved by hand, the clock stands still.

local probe = require "spec.support.probe"
local memo = require "larder.memo"

local is_jit = rawget(_G, "jit") ~= nil

local function new(n, shared)
    local t = { probe = probe.new(n, shared), calls = 0 }
    local function slow(...)
        t.calls = t.calls + 1
        return "slow", ...
    end
    t.handle = setmetatable({}, {})
    t.memo = t.probe:memo()
    t.get = memo.get(probe.core, t.handle, t.memo, slow)
    return t
end

local function hits(t)
    return (probe.core.memo_counts(t.memo))
end

local function entries(t)
    return (select(2, probe.core.memo_counts(t.memo)))
end

describe("a hit", function()
    it("gives the value, nil and l1, and is counted and marked", function()
        local t = new(8)
        for i, v in ipairs { "text", 1, 2.5, true, false, "" } do
            assert.is_true(t.probe:put("k" .. i, v, i))
            local value, err, outcome = t.get(t.handle, "k" .. i)
            assert.equal(v, value)
            assert.is_nil(err)
            assert.equal("l1", outcome)
        end
        assert.equal(0, t.calls)
        assert.equal(6, hits(t))
        assert.equal(6, entries(t))
        assert.equal(1, t.probe:mark(1))
        for _ = 1, 10 do
            t.get(t.handle, "k1")
        end
        assert.equal(3, t.probe:mark(1)) -- its most
        assert.equal(16, hits(t))
    end)

    it("takes a loader, but no options", function()
        local t = new(8)
        t.probe:put("k", "v", 1)
        assert.equal("v", (t.get(t.handle, "k", print)))
        assert.equal("v", (t.get(t.handle, "k", nil, print, 1, 2)))
        assert.equal("slow", (t.get(t.handle, "k", {})))
        assert.equal("slow", (t.get(t.handle, "k", { timeout = 1 }, print)))
        assert.equal("slow", (t.get(t.handle, "k", 5)))
        assert.equal(2, hits(t))
    end)

    it("is timed now and then", function()
        local t = new(8)
        t.probe:put("k", "v", 1)
        for _ = 1, 2560 do
            t.get(t.handle, "k")
        end
        assert.equal(10, t.probe:samples())
        assert.equal(2560, hits(t))
    end)
end)

describe("everything else goes to the slow function", function()
    it("with its arguments", function()
        local t = new(8)
        local self, a, b, c, d = select(2, t.get(t.handle, "none", nil, "x", "y"))
        assert.equal(t.handle, self)
        assert.same({ "none", nil, "x", "y" }, { a, b, c, d })
        t.get()
        t.get(t.handle)
        assert.equal(3, t.calls)
    end)

    it("when the handle or the key is not one", function()
        local t = new(8)
        t.probe:put("1", "v", 1)
        local like = setmetatable({}, { __eq = function() return true end })
        assert.equal("slow", (t.get(like, "1")))
        assert.equal("slow", (t.get(nil, "1")))
        assert.equal("slow", (t.get(t.handle, 1)))
        assert.equal("slow", (t.get(t.handle, 0 / 0)))
        assert.equal("slow", (t.get(t.handle, {})))
        assert.equal(0, hits(t))
    end)

    it("when the slot's word has moved", function()
        local t = new(8)
        t.probe:put("k", "old", 1)
        t.probe:change(1)
        assert.equal("slow", (t.get(t.handle, "k")))
        assert.is_true(t.probe:put("k", "new", 1))
        assert.equal("new", (t.get(t.handle, "k")))
        assert.equal(1, entries(t))
    end)

    it("when the soft expiry has come", function()
        local t = new(8)
        t.probe:put("k", "v", 1, 5000)
        assert.equal("v", (t.get(t.handle, "k")))
        t.probe:advance(3999)
        assert.equal("v", (t.get(t.handle, "k")))
        t.probe:advance(1)
        assert.equal("slow", (t.get(t.handle, "k")))
    end)

    it("when the gate is shut", function()
        local t = new(8)
        t.probe:put("k", "v", 1)
        t.probe:gate(0)
        assert.equal("slow", (t.get(t.handle, "k")))
        t.probe:gate(1)
        assert.equal("v", (t.get(t.handle, "k")))
    end)

    it("which may yield", function()
        local p = probe.new(4)
        local handle = {}
        local get = memo.get(probe.core, handle, p:memo(), function(_, key)
            return coroutine.yield(key), "after"
        end)
        local co = coroutine.create(function()
            return get(handle, "k")
        end)
        assert.same({ true, "k" }, { coroutine.resume(co) })
        assert.same({ true, "loaded", "after" }, { coroutine.resume(co, "loaded") })
        assert.equal("dead", coroutine.status(co))
    end)

    it("and sees its error unchanged", function()
        local p = probe.new(4)
        local what = {}
        local get = memo.get(probe.core, p, p:memo(), function()
            error(what)
        end)
        local ok, err = pcall(get, p, "k")
        assert.is_false(ok)
        assert.equal(what, err)
    end)
end)

describe("a table", function()
    local function record()
        return { id = 7, name = "x", list = { 1, 2, { deep = true } }, [1] = "one", [2] = "two", [1.5] = 0,
            [true] = false, empty = {} }
    end

    it("is handed out as a private copy each time", function()
        local t = new(8)
        local mine = record()
        assert.is_true(t.probe:put("k", mine, 1))
        mine.id, mine.list[3].deep = "changed", "changed"
        for _ = 1, 3 do
            local got = t.get(t.handle, "k")
            assert.same(record(), got)
            got.id, got.list[3].deep, got.empty.x, got[1] = 0, 0, 0, nil
            got.list[4] = 1
        end
        assert.are_not.equal(t.get(t.handle, "k"), t.get(t.handle, "k"))
    end)

    it("is the same one each time where values are shared", function()
        local t = new(8, true)
        local mine = record()
        t.probe:put("k", mine, 1)
        assert.equal(mine, (t.get(t.handle, "k")))
    end)

    it("is not copied when too large, or not a value", function()
        local t = new(8)
        local big = {}
        for i = 1, 1000 do
            big[i] = i
        end
        local loop = {}
        loop[1] = loop
        assert.is_false(t.probe:put("k", big, 1))
        assert.is_false(t.probe:put("k", loop, 1))
        assert.is_false(t.probe:put("k", { x = { print } }, 1))
        assert.is_false(t.probe:put("k", { ("x"):rep(20000) }, 1))
        assert.is_false(t.probe:put("k", ("x"):rep(20000), 1))
        assert.is_false(t.probe:put("k", nil, 1))
        assert.is_false(t.probe:put("k", print, 1))
        assert.equal(0, entries(t))
        assert.is_true(t.probe:put("k", { ("x"):rep(1000), { ("y"):rep(1000) } }, 1))
    end)

    it("comes back right whatever its shape", function()
        local values = require "spec.support.values"
        local draw = values.new(tonumber(os.getenv("LARDER_SEED")) or 1, "null")
        local t = new(4)
        for i = 1, 500 do
            local value = draw:value()
            if t.probe:put("k", value, i) then
                assert.is_true(values.same(value, (t.get(t.handle, "k"))))
            end
        end
    end)
end)

describe("the memo", function()
    it("holds at most its count, and keeps what is hit", function()
        local t = new(4)
        for i = 1, 4 do
            t.probe:put("k" .. i, i, i)
        end
        t.get(t.handle, "k1")
        t.get(t.handle, "k3")
        t.probe:put("k5", 5, 5)
        t.probe:put("k6", 6, 6)
        assert.equal(4, entries(t))
        local left = {}
        for i = 1, 6 do
            left[i] = t.get(t.handle, "k" .. i) == i
        end
        assert.same({ true, false, true, false, true, true }, left)
    end)

    it("keeps its books over many changes", function()
        local t = new(16)
        for i = 1, 5000 do
            local k = i * 7919 % 40
            t.probe:put("k" .. k, k, k)
            if i % 3 == 0 then
                t.probe:change(i * 31 % 40)
            end
            local j = i * 104729 % 40
            local got = t.get(t.handle, "k" .. j)
            assert.is_true(got == j or got == "slow")
            assert.is_true(entries(t) <= 16)
        end
    end)

    it("of none remembers nothing", function()
        local t = new(0)
        assert.is_false(t.probe:put("k", "v", 1))
        assert.equal("slow", (t.get(t.handle, "k")))
    end)

    it("forgets all when cleared, and goes on", function()
        local t
        local weak = setmetatable({ {} }, { __mode = "v" })
        t = new(4, true)
        t.probe:put("a", "v", 1)
        t.probe:put("b", weak[1], 2)
        t.probe:clear()
        assert.equal(0, entries(t))
        assert.equal("slow", (t.get(t.handle, "a")))
        collectgarbage()
        assert.is_nil(next(weak))
        t.probe:put("a", "w", 1)
        assert.equal("w", (t.get(t.handle, "a")))
    end)

    it("lives as long as its get", function()
        local t = new(4)
        t.probe:put("k", "v", 1)
        t.memo = nil
        for _ = 1, 3 do
            collectgarbage()
        end
        assert.equal("v", (t.get(t.handle, "k")))
    end)
end)

describe("a change by another thread", function()
    it("is seen by a loop that is hot", function()
        local t = new(4)
        t.probe:put("k", "v", 1)
        local get, handle = t.get, t.handle
        t.probe:change_later(1, 20000)
        local deadline = os.time() + 10
        local seen = false
        while not seen and os.time() < deadline do
            for _ = 1, 100000 do
                if get(handle, "k") ~= "v" then
                    seen = true
                    break
                end
            end
        end
        assert.is_true(seen)
    end)
end)

if is_jit then
    describe("with the JIT compiler off", function()
        it("the check is a plain C call and answers the same", function()
            local was = jit.status()
            jit.off()
            local t = new(4)
            if was then
                jit.on()
            end
            t.probe:put("k", { 1, { 2 } }, 1)
            assert.same({ 1, { 2 } }, (t.get(t.handle, "k")))
            t.probe:change(1)
            assert.equal("slow", (t.get(t.handle, "k")))
            assert.is_false(probe.core.memo_checker(t.memo)(99))
        end)
    end)
end
