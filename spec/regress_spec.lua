-- regress_spec.lua - defects that were found by reading: each stands here as it was shown. What may end a process is
-- tried in a child.

local bed = require "spec.support.bed"
require "spec.support.posix" -- built here, loaded by children

local HEAD = [[local larder, posix = require "larder", require "spec.support.posix"
    local function on_collect(f)
        if rawget(_G, "newproxy") then
            local proxy = newproxy(true)
            getmetatable(proxy).__gc = f
            return proxy
        end
        return setmetatable({}, { __gc = f })
    end
    local function as_child(f)
        local pid = posix.fork()
        if pid == 0 then
            local fine, e = pcall(f)
            io.stderr:write(fine and "" or tostring(e))
            posix.exit(fine and 0 or 1)
        end
        assert(posix.wait(pid) == 0, "the child failed")
    end
]]

local function fine(code)
    bed.child_is_fine(HEAD .. code .. '\nprint "fine"')
end

-- A table of integers from 1, and a source over it.
local SOURCE = [[
    local file = os.tmpname()
    os.remove(file)
    local db = assert(require "larder.sqlite".open(file, { create = true }))
    assert(db:exec "CREATE TABLE numbers (id INTEGER PRIMARY KEY, v)")
    assert(db:exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
        .. "INSERT INTO numbers SELECT i, i FROM n"))
    db:close()
    local source = larder.source.sqlite { file = file, models = { n = { table = "numbers" } } }
    local function remove()
        for _, tail in ipairs { "", "-wal", "-shm" } do os.remove(file .. tail) end
    end
]]

describe("the memo in a forked child", function()
    for _, first in ipairs { 'set("other", 1)', 'peek "other"', 'get_many({ "other" })', 'invalidate "other"' } do
        it("knows nothing of the parent's, also when the first verb is " .. first, function()
            fine([[
                local c = larder.open {}
                c:set("k", "parent")
                for _ = 1, 3 do assert(c:get "k" == "parent") end
                as_child(function()
                    c:]] .. first .. [[

                    local value, err, outcome = c:get "k"
                    assert(value == nil and err == nil and outcome == "miss", tostring(value))
                    c:set("k", "child")
                    assert(c:get "k" == "child")
                    assert(c:get "k" == "child")
                end)
                assert(c:get "k" == "parent")
            ]])
        end)
    end
end)

describe("an operation that is under way when the process forks", function()
    it("ends with an error in the child, and nothing there waits for the parent's thread", function()
        fine(SOURCE .. [[
            local c = assert(larder.open { source = source, ttl = function() return 1 end, pattern = "write_through" })
            local pid
            local value, err
            larder.run(function()
                value, err = c:get("n:7", { timeout = 1 }) -- the statement runs on the thread
            end, function()
                pid = posix.fork()
            end)
            if pid == 0 then
                local well = value == nil and err.code == "unavailable" and c:get "n:8".v == 8
                collectgarbage()
                for i = 1, 100 do well = well and c:get("n:" .. i).v == i end
                c:close()
                posix.exit(well and 0 or 1)
            end
            assert(posix.wait(pid) == 0)
            assert(value.v == 7)
            remove()
        ]])
    end)

    it("leaves nothing behind in the child where it is dropped there", function()
        fine [[
            local c = larder.open {}
            local held = {}
            for i = 1, 40 do -- each is led by a coroutine that will never go on
                held[i] = coroutine.create(function() c:get("k" .. i, coroutine.yield) end)
                coroutine.resume(held[i])
            end
            as_child(function()
                assert(c:get("k1", function() return "own" end) == "own")
                held = nil
                collectgarbage()
                collectgarbage()
                for i = 1, 64 do assert(c:get("x" .. i, function() return i end) == i) end
            end)
        ]]
    end)
end)

describe("a finalizer", function()
    -- What waits for its finalizer when the collector may run again meets it in the midst of the next call.
    local LATER = [[
        collectgarbage("setpause", 100)
        local function later(f)
            collectgarbage "stop"
            for _ = 1, 1000 do on_collect(f) end
            collectgarbage "restart"
        end
    ]]

    it("may use the cache whose value is just being handed out", function()
        fine(LATER .. [[
            local c = larder.open { l1 = { memo = 0 } }
            local function rows(letter)
                local t = {}
                for i = 1, 2000 do t[i] = letter:rep(20) end
                return t
            end
            c:set("x", rows "x")
            c:set("y", rows "y")
            c:set("text", ("t"):rep(200000))
            local n = 0
            for _ = 1, 10 do
                later(function() n = n + 1; c:peek "text"; c:set("w", { n }); c:get_entry "y" end)
                local got = c:get "x"
                assert(#got == 2000)
                for i = 1, 2000 do assert(got[i] == ("x"):rep(20)) end
            end
            collectgarbage()
            assert(n > 0)
        ]])
    end)

    it("may load while what was loaded is handed out", function()
        fine(SOURCE .. LATER .. [[
            local c = assert(larder.open { source = source, ttl = 0 })
            local wide = assert(require "larder.sqlite".open(file))
            for i = 1, 100 do assert(wide:exec("ALTER TABLE numbers ADD COLUMN c" .. i .. " DEFAULT " .. i)) end
            wide:close()
            local n = 0
            for i = 1, 20 do
                later(function() n = n + 1; c:get("n:" .. n % 500 + 1) end)
                local row = c:get("n:" .. i)
                assert(row.id == i and row.v == i and row.c1 == 1 and row.c100 == 100)
            end
            collectgarbage()
            assert(n > 0)
            remove()
        ]])
    end)

    it("that comes after the cache's own at the state's end is told, and nothing breaks", function()
        fine [[
            local c
            KEPT = on_collect(function()
                pcall(function() return c:get "k" end)
                pcall(function() return c:set("k", "w") end)
                pcall(function() return c:stats() end)
            end)
            c = larder.open {}
            c:set("k", "v")
            for _ = 1, 3 do assert(c:get "k" == "v") end
        ]]
    end)
end)

describe("a host's early wakes", function()
    it("do not pile up: what was posted of an ended operation is taken back", function()
        fine(SOURCE .. [[
            local c = assert(larder.open { source = source, ttl = 0 })
            local keys, made = {}, {}
            for i = 1, 100 do keys[i], made[i] = "n:" .. i, "made:" .. i end
            larder.run(function()
                for _ = 1, 20 do
                    assert(c:get_many(keys)["n:9"].v == 9)
                    c:get_many(made, function(list)
                        local values = {}
                        for _, key in ipairs(list) do values[key] = 1 end
                        return values
                    end)
                end
                for i = 1, 300 do assert(c:get("n:" .. i).v == i) end
                larder.sleep(0.01)
            end)
            assert(next(require "larder.hosts".find().early) == nil)
            c:close()
            remove()
        ]])
    end)
end)

describe("a larder.run that was cut short from outside", function()
    it("does not make a later load outside of it fail", function()
        local larder, broken = require "larder", false
        local host = require("larder.host.test").new { poll = function()
            if broken then
                broken = false
                error("interrupted", 0)
            end
            return {}
        end }
        local c = assert(larder.open { host = host })
        local went, e = pcall(host.run, host, function()
            host:sleep(1)
            broken = true
            host:sleep(1)
        end)
        assert.is_false(went)
        assert.equal("interrupted", e)
        assert.same({ 1, nil, "loaded" }, { c:get("k", function() return 1 end) })
    end)
end)

describe("a loader whose results do not fit twice on the stack", function()
    it("gives its value, and its coroutine is not within that load afterwards", function()
        local larder = require "larder"
        local unpack = table.unpack or unpack -- luacheck: ignore 113
        local c = larder.open {}
        local n = bed.is_jit and 7000 or 600000
        local function load()
            return unpack({ 1 }, 1, n)
        end
        assert.same({ 1, nil, "loaded" }, { c:get("k", load) })
        assert.same({ 2, nil, "loaded" }, { c:refresh("k", function() return 2 end) })
    end)
end)
