-- inputs_loaders_spec.lua - bad input, items 51-64: loaders and callbacks. Each gives what docs/inputs.md says, and the
-- next good call works.

local bed = require "spec.support.bed"
local larder = require "larder"
local test = require "larder.host.test"

local fails, misuse = bed.fails, bed.misuse
local unpack = table.unpack or unpack -- luacheck: ignore 113

local c

local function results(...)
    return { n = select("#", ...), ... }
end

local function next_is_fine(key)
    assert.equal("next", (c:refresh(key or "k", function() return "next" end)))
    assert.equal("next", (c:get(key or "k")))
    c:delete(key or "k")
end

describe("loaders:", function()
    before_each(function() c = assert(larder.open {}) end)
    after_each(function() c:close() end)

    it("51 may raise anything: a string, a table, nil, an object whose __tostring fails", function()
        local failing = setmetatable({}, { __tostring = function() error "no" end, __name = 5 })
        local silent = setmetatable({}, { __tostring = function() return 5 end })
        local raised = { "text", {}, failing, silent, print, 5, false, coroutine.create(print), larder.null }
        for _, thing in ipairs(raised) do
            local err = fails("loader", nil, c:get("k", function() error(thing, 0) end))
            assert.equal(thing, err.cause)
            assert.is_true(#err.message > 0)
        end
        assert.is_nil(fails("loader", nil, c:get("k", function() error() end)).cause)
        local inner = select(2, c:get "")
        assert.equal(inner, fails("loader", nil, c:get("k", function() error(inner) end)).cause)
        fails("loader", nil, c:get("k", function() error(("x"):rep(1000000)) end))
        fails("loader", nil, c:get("k", function() error("a\0b\255") end))
        fails("loader", nil, c:get("k", function() local x = nil; return x.y end))
        next_is_fine()
    end)

    it("52 may return nothing, nil, nil and an error, or 300 values", function()
        assert.equal("absent", select(3, c:get("k", function() end)))
        assert.equal("absent", select(3, c:get("k", function() return nil end)))
        assert.equal("absent", select(3, c:get("k", function() return nil, nil, nil end)))
        fails("loader", "broken", c:get("k", function() return nil, "broken" end))
        fails("loader", "broken", c:get("k", function() return 5, "broken" end))
        local failing = setmetatable({}, { __tostring = function() error "no" end })
        assert.equal(failing, fails("loader", nil, c:get("k", function() return nil, failing end)).cause)
        local many = { 1, nil, nil }
        for i = 4, 300 do
            many[i] = i
        end
        assert.same(results(1, nil, "loaded"), results(c:get("k", function() return unpack(many, 1, 300) end)))
        next_is_fine()
    end)

    it("53 may yield, in a coroutine; outside of one that is an error", function()
        local co = coroutine.wrap(function()
            return c:get("k", function(key) return key .. coroutine.yield(1) .. coroutine.yield(2) end)
        end)
        assert.equal(1, co())
        assert.equal(2, co "a")
        assert.equal("kab", (co "b"))
        c:delete "k"
        -- a child, for this very spec runs in a coroutine of its runner or not
        bed.child_is_fine [[
            local c = require "larder".open {}
            local v, err = c:get("k", function() coroutine.yield() end)
            assert(v == nil and err.code == "loader" and err.message:find "yield", tostring(err))
            assert(c:get("k", function() return 1 end) == 1)
            print "fine" ]]
        next_is_fine()
    end)

    it("53 may yield in every verb that calls one", function()
        local src = {}
        for _, name in ipairs { "load", "load_many", "store", "delete" } do
            src[name] = function() return coroutine.yield(name) end
        end
        local other = larder.open { source = larder.source.functions(src),
            ttl = function() return coroutine.yield "ttl" end }
        local function drive(answers, fn)
            local co = coroutine.create(fn)
            local asked = {}
            local r = results(coroutine.resume(co))
            while coroutine.status(co) ~= "dead" do
                asked[#asked + 1] = r[2]
                r = results(coroutine.resume(co, unpack(answers[r[2]])))
            end
            assert.is_true(r[1], tostring(r[2]))
            return table.concat(asked, " "), r[2]
        end
        local answers = { load = { 5 }, load_many = { { a = 1 } }, store = { true }, delete = { true }, ttl = { 50 } }
        local asked, got = drive(answers, function() return other:get "k" end)
        assert.same({ "load ttl", 5 }, { asked, got })
        asked, got = drive(answers, function() return other:get_many { "a", "b" } end)
        assert.equal(1, got.a)
        assert.truthy(asked:find "^load_many ttl")
        asked, got = drive(answers, function() return other:set("k", 6) end)
        assert.truthy(asked:find "^store")
        assert.is_string(got)
        asked, got = drive(answers, function() return other:delete "k" end)
        assert.same({ "delete", true }, { asked, got })
        asked, got = drive(answers, function()
            return other:write("k", function() return coroutine.yield "load" end)
        end)
        assert.same({ "load", 5 }, { asked, got })
        asked = drive(answers, function() return other:refresh "k" end)
        assert.equal("load ttl", asked)
        other:close()
    end)

    it("54 that get their own key are rejected, not waited for; in every reading verb", function()
        local inner
        c:get("k", function(key)
            inner = { results(c:get(key)), results(c:get(key, print)), results(c:get(key, { guard = "none" }, function()
                return "alone" end)), results(c:refresh(key, print)), results(c:get_many({ key }, print)),
                results(c:get_entry(key, print)) }
            return 1
        end)
        assert.equal("miss", inner[1][3]) -- nobody to ask: not a wait
        fails("rejected", nil, inner[2][1], inner[2][2])
        assert.equal("rejected", inner[5][2].k.code)
        fails("rejected", nil, inner[6][1], inner[6][2])
        for _, r in ipairs { inner[3], inner[4] } do
            assert.is_true(r[3] == "loaded" or r[3] == "absent" or r[2].code == "rejected")
        end
        c:delete "k"
        -- three deep
        local deep
        c:get("a", function()
            return (c:get("b", function()
                return (c:get("c", function()
                    deep = results(c:get("a", print))
                    return 1
                end))
            end))
        end)
        fails("rejected", nil, deep[1], deep[2])
        next_is_fine()
    end)

    it("55 two that load each other: one is rejected", function()
        local host = test.new { seed = bed.seed }
        local other = larder.open { host = host }
        local codes = {}
        local function loads(mine, theirs)
            return function()
                other:get(mine, function()
                    host:sleep(1)
                    local _, err = other:get(theirs, function() return "inner" end)
                    codes[#codes + 1] = err and err.code or "fine"
                    return mine
                end)
            end
        end
        host:run(loads("a", "b"), loads("b", "a"))
        table.sort(codes)
        assert.same({ "fine", "rejected" }, codes)
        assert.same({ "a", "b" }, { (other:get "a"), (other:get "b") })
        other:close()
    end)

    it("56 that never return: callers time out, others are unaffected", function()
        local host = test.new { seed = bed.seed }
        local other = larder.open { host = host }
        local codes, fine = {}, nil
        local began = host:now()
        local ended
        host:run(function()
            for i = 1, 10 do
                host:spawn(function()
                    local _, err = other:get("k", { timeout = 5 }, function() host:sleep(1e9) end)
                    codes[i] = err.code
                    ended = host:now()
                end)
            end
            fine = other:get("other", function() host:sleep(1) return "fine" end)
        end)
        for i = 1, 10 do
            assert.equal("timeout", codes[i])
        end
        assert.is_true(math.abs(ended - began - 5) < 0.01)
        assert.equal("fine", fine)
        other:close()
    end)

    it("57 may call close, collectgarbage and os.exit", function()
        assert.equal(1, (c:get("k", function() collectgarbage() collectgarbage() return 1 end)))
        local other = larder.open {}
        local value, err = other:get("k", function() other:close() return 1 end)
        assert.is_true(value == 1 or err.code == "closed")
        for _, how in ipairs { "0", "0, true", "true, true" } do
            local text, status = bed.child(([[
                local c = require "larder".open { source = require "larder".source.functions { load = function()
                    os.exit(%s) end } }
                c:get "k"
                print "not here" ]]):format(how))
            assert.same({ "", 0 }, { text, status })
        end
        next_is_fine()
    end)

    it("58 may write or delete the key that is being loaded: the result is given, not stored", function()
        for _, verb in ipairs { "delete", "invalidate", "set", "write", "invalidate_all", "set_many" } do
            local args = { set = { "k", "set" }, write = { "k", function() end }, set_many = { { k = "set" } } }
            local got = c:get("k", function(key)
                c[verb](c, unpack(args[verb] or { key }))
                return "loader's"
            end)
            assert.equal("loader's", got)
            local held = c:peek "k"
            assert.equal((verb == "set" or verb == "set_many") and "set" or nil, held)
            c:delete "k"
        end
    end)

    it("59 that take longer than the lease fill nothing over what came later", function()
        local host = test.new { seed = bed.seed }
        local other = larder.open { host = host, ttl = 1000, guard = { lock = { ttl = 1 } } }
        host:run(function()
            other:get("k", { timeout = 500 }, function() host:sleep(200) return "old" end)
        end, function()
            host:sleep(100)
            other:get("k", function() return "new" end)
        end)
        assert.equal("new", (other:get "k"))
        other:close()
    end)

    it("60 must be callable; a callable table is one in third place", function()
        misuse(function() local _ = c:get("k", 5) end, "got 5")
        misuse(function() local _ = c:get("k", nil, {}) end, "the loader must be a function", "a table")
        misuse(function() local _ = c:get("k", nil, setmetatable({}, { __call = 5 })) end,
            "the loader must be a function")
        misuse(function() local _ = c:get_many({ "k" }, nil, {}) end, "load_many must be a function")
        misuse(function() local _ = larder.source.functions { load = {} } end, "load must be a function")
        misuse(function() local _ = larder.source.functions {} end, "load (or load_many)")
        local callable = setmetatable({}, { __call = function(self, key) return { self ~= nil, key } end })
        assert.same({ true, "k" }, (c:get("k", nil, callable)))
        assert.same({ a = 1 }, (c:get_many({ "a" }, setmetatable({}, { __call = function() return { a = 1 } end }))))
        local other = larder.open { source = larder.source.functions { load = callable } }
        assert.same({ true, "k" }, (other:get "k"))
        other:close()
    end)

    it("61 nested 200 deep across the C boundary come back, or fail and leave the cache well", function()
        local function nest(depth)
            return c:get("deep " .. depth, function()
                if depth == 0 then
                    error "bottom"
                end
                local value, err = nest(depth - 1)
                if err then
                    error(err)
                end
                return value
            end)
        end
        for _, depth in ipairs { 20, 200 } do
            local value, err = nest(depth)
            assert.is_nil(value)
            assert.equal("loader", err.code)
        end
        local fine = 0
        local function good(depth)
            return (c:get("good " .. depth, function()
                fine = fine + 1
                return depth == 0 and "bottom" or good(depth - 1)
            end))
        end
        assert.equal("bottom", good(60))
        next_is_fine()
    end)

    it("61 endless ones end with an error", function()
        local n = 0
        local function endless()
            n = n + 1
            return (c:get("endless " .. n, endless))
        end
        local fine, value = pcall(endless)
        assert.is_true(not fine or value == nil)
        next_is_fine()
    end)

    it("61 errors in __gc and __close of what a loader holds stop nothing", function()
        if not bed.is_jit then
            local chunk = assert(load [[
                local c = ...
                return c:get("k", function()
                    local x <close> = setmetatable({}, { __close = function() error "in close" end })
                    return 1
                end) ]])
            fails("loader", "in close", chunk(c))
        end
        bed.child_is_fine [[
            if warn then warn "@off" end
            local c = require "larder".open {}
            local proxy = newproxy and function(f) local p = newproxy(true) getmetatable(p).__gc = f return p end
                or function(f) return setmetatable({}, { __gc = f }) end
            for i = 1, 100 do
                c:get("k" .. i, function()
                    local x = proxy(function() c:get("from gc", function() return 1 end) c:set("gc", i) end)
                    x = nil
                    collectgarbage()
                    return i
                end)
            end
            assert(c:get "k50" == 50)
            print "fine" ]]
        next_is_fine()
    end)

    it("62 whose coroutine is dropped while it loads or waits leave nothing behind", function()
        for _ = 1, 200 do
            local co = coroutine.wrap(function()
                c:get("k", function() coroutine.yield() end)
            end)
            co()
        end
        collectgarbage()
        collectgarbage()
        next_is_fine()
        local host = test.new { seed = bed.seed }
        local other = larder.open { host = host }
        do -- waiters in coroutines that nobody will resume
            local leader = coroutine.wrap(function()
                other:get("k", function() coroutine.yield() return 1 end)
            end)
            leader()
            pcall(host.run, host, function()
                host:spawn(function() other:get("k", { wait = 1e6, timeout = 1e6 }, function() return 2 end) end)
                host:sleep(1)
                error "ends the run, not the waiter"
            end)
        end
        collectgarbage()
        collectgarbage()
        assert.is_not_nil((other:get("k", function() return 3 end)))
        other:close()
    end)

    it("62 a write bracket whose coroutine is dropped gives its marks back", function()
        local co = coroutine.wrap(function()
            c:write("k", function() coroutine.yield() end)
        end)
        co()
        assert.equal("loaded", select(3, c:get("k", function() return 1 end)))
        assert.equal("miss", select(2, c:peek "k"))
        co = nil -- luacheck: ignore 311
        collectgarbage()
        collectgarbage()
        assert.equal("loaded", select(3, c:get("k", function() return 1 end)))
        assert.equal("l1", select(3, c:get("k")))
    end)

    it("63 called from a hook or a finalizer work", function()
        local from_hook = 0
        local busy = false
        debug.sethook(function()
            if not busy then
                busy = true
                c:get("hook", function() return 1 end)
                c:set("hook2", 2)
                from_hook = from_hook + 1
                busy = false
            end
        end, "", 100)
        for i = 1, 500 do
            c:get("k" .. i % 10, function() return i end)
            c:set("s" .. i % 10, { i })
        end
        debug.sethook()
        assert.is_true(from_hook > 0 or bed.is_jit)
        assert.equal(2, (c:get "hook2") or 2)
        next_is_fine()
    end)

    it("64 out of memory inside is an error, and the next call works", function()
        if bed.is_watched then
            return
        end
        bed.child_is_fine([[
            local larder = require "larder"
            local c = larder.open { l1 = { bytes = "1M", shards = 1 } }
            local v, err = c:get("k", function()
                local t = {}
                for i = 1, 64 do t[i] = ("x"):rep(2 ^ 24 + i) end
                return table.concat(t)
            end)
            assert(v == nil and err.code == "loader", tostring(err))
            err = nil
            collectgarbage() collectgarbage()
            assert(c:get("k", function() return 1 end) == 1)
            local held, failure = c:set("big", ("y"):rep(2 ^ 24))
            assert(held == nil and failure.code == "too_large", tostring(failure))
            print "fine" ]], { before = "ulimit -v 400000" })
    end)
end)
