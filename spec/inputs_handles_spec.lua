-- inputs_handles_spec.lua - bad input, items 65-77: handles and the process. Each gives what docs/inputs.md says, and
-- the next good call works. What may end a process is tried in a child.

local bed = require "spec.support.bed"
local larder = require "larder"
require "spec.support.posix" -- built here, loaded by children

local fails, misuse, is_jit = bed.fails, bed.misuse, bed.is_jit

local POSIX = [[local larder, posix = require "larder", require "spec.support.posix"
    local function rss()
        for line in io.lines "/proc/self/status" do
            local kb = line:match "^VmRSS:%s*(%d+)"
            if kb then return tonumber(kb) end
        end
    end
    local function n_fds()
        local pipe = io.popen "ls /proc/$PPID/fd | wc -l"
        local n = tonumber(pipe:read "*a")
        pipe:close()
        return n
    end
    local function items(file)
        local db = assert(require "larder.sqlite".open(file, { create = true }))
        assert(db:exec "CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, name, version INTEGER DEFAULT 1)")
        assert(db:exec "INSERT OR IGNORE INTO items (id, name) VALUES (1, 'one'), (2, 'two')")
        db:close()
        return larder.source.sqlite { file = file, models = { item = { table = "items" } } }
    end
    local function table_file()
        local name = os.tmpname()
        os.remove(name)
        return name .. ".db", function()
            for _, tail in ipairs { "", "-wal", "-shm" } do os.remove(name .. ".db" .. tail) end
        end
    end
]]

local function child_is_fine(code, options)
    bed.child_is_fine(POSIX .. code .. '\nprint "fine"', options)
end

describe("handles:", function()
    it("65 used after close give closed, closed twice is fine, in a loader and while others wait too", function()
        local c = larder.open {}
        c:close()
        c:close()
        fails("closed", nil, c:get "k")
        c = larder.open {}
        c:get("k", function() c:close() end)
        fails("closed", nil, c:get "k")
        c:close()
        local other, waiter = larder.open {}, nil
        larder.run(function()
            other:get("k", function() larder.sleep(0.05) end)
        end, function()
            larder.sleep(0.005)
            waiter = { other:get("k", print) }
        end, function()
            larder.sleep(0.01)
            other:close()
        end)
        fails("closed", nil, waiter[1], waiter[2])
    end)

    it("66 called with . for :, or with a self that is none, raise at the caller's line", function()
        local c = larder.open {}
        local verbs = { "get", "get_entry", "get_many", "peek", "refresh", "set", "set_many", "delete", "delete_many",
            "touch", "invalidate", "invalidate_all", "write", "on", "stats", "wrap", "close" }
        for _, verb in ipairs(verbs) do
            misuse(function() local _ = c[verb]("k") end, "cache:" .. verb, "self is not a cache", '"k"', "colon")
            misuse(function() local _ = c[verb]() end, "self is not a cache, got nil")
            misuse(function() local _ = c[verb]({}, "k") end, "self is not a cache, got a table")
            misuse(function() local _ = c[verb](io.stdout, "k") end, "got a userdata")
            misuse(function() local _ = c[verb](setmetatable({}, { __index = c }), "k") end, "self is not a cache")
        end
        misuse(function() local _ = getmetatable("").__index.get or c.get("k") end, "self is not a cache")
        c:set("k", 1)
        c:get "k"
        misuse(function() local _ = c.get("k") end, "self is not a cache")
        local other = larder.open {}
        other:set("k", 2)
        assert.equal(2, (c.get(other, "k")))
        assert.equal(1, (other.get(c, "k")))
        other:close()
        c:close()
    end)

    it("66 a verb that is not there is nil, one that is not built says so", function()
        local c = larder.open {}
        assert.is_nil(c.nothing)
        assert.is_nil(c[5])
        misuse(function() local _ = c:update("k", print) end, "cache:update", "not built yet")
        misuse(function() local _ = c.shared.hget end, "cache.shared", "not built yet")
        c:close()
    end)

    it("67 cannot be given another metatable, keep what is set in them, survive debug.setmetatable", function()
        local c = larder.open {}
        assert.is_false(pcall(setmetatable, c, {}))
        assert.is_false((getmetatable(c)))
        rawset(c, "set", nil)
        c.mine = 5
        assert.equal(5, c.mine)
        c.mine = nil
        assert.is_string((c:set("k", 1)))
        local mt = debug.getmetatable(c)
        debug.setmetatable(c, nil)
        assert.equal(1, (c:get "k"))
        assert.is_false(pcall(function() c:set("k", 2) end))
        debug.setmetatable(c, mt)
        assert.is_string((c:set("k", 2)))
        assert.equal(2, (c:get "k"))
        for key in pairs(c) do
            rawset(c, key, nil)
        end
        assert.is_false((pcall(c.set or print, c, "k", 3)) and false)
        collectgarbage()
    end)

    it("67 the userdata inside refuse what is not theirs", function()
        local core = require "larder.core"
        child_is_fine [[
            local core = require "larder.core"
            local loop = core.loop()
            local c = larder.open {}
            local found = {}
            local function walk(t, depth)
                for k, v in pairs(t) do
                    if type(v) == "userdata" then found[#found + 1] = v end
                    if type(v) == "table" and depth < 4 then walk(v, depth + 1) end
                end
            end
            walk(c, 0)
            found[#found + 1], found[#found + 2], found[#found + 3] = loop, io.stdout, larder.null
            local strange = { "x", 5, {}, print, true, io.stdout, loop, larder.null, "get", -1, 2 ^ 60, 0 / 0 }
            local function attack(methods)
                for _, f in pairs(methods) do
                    if type(f) == "function" then
                        for _, self in ipairs(strange) do
                            if not (self == loop and methods.post) then pcall(f, self, "k", "k", {}, 5) end
                        end
                        pcall(f)
                    end
                end
            end
            for _, ud in ipairs(found) do
                local mt = debug.getmetatable(ud)
                if mt and type(mt.__index) == "table" and ud ~= io.stdout then
                    attack(mt.__index)
                    for _, name in ipairs { "__gc", "__tostring" } do
                        if mt[name] then for _, self in ipairs(strange) do
                            if self ~= loop and self ~= io.stdout then pcall(mt[name], self) end
                        end end
                    end
                end
            end
            c:set("k", 1)
            assert(c:get "k" == 1)]]
        assert.equal("table", type(core))
    end)

    it("68 are collected at the end of the process in any order, used or closed or not", function()
        for _, how in ipairs { "", "os.exit(0)", "os.exit(0, true)", "os.exit(true, true)", "collectgarbage()",
            "larder = nil package.loaded['larder.core'] = nil collectgarbage() collectgarbage()" } do
            local text, status = bed.child(POSIX .. ([[
                local file, remove = table_file()
                local src = items(file)
                local all = {}
                for i = 1, 10 do
                    local c = larder.open { source = i %% 2 == 0 and src or nil }
                    c:set(i %% 2 == 0 and "item:1" or "k", i %% 2 == 0 and { name = "x" } or { i })
                    c:get(i %% 2 == 0 and "item:1" or "k")
                    all[i] = c
                    c:on("hit", function() return c end)
                    _G["f" .. i] = c:wrap(function() return c end)
                    if i %% 3 == 0 then c:close() end
                end
                _G.suspended = coroutine.wrap(function() all[1]:get("own", function() coroutine.yield() end) end)
                suspended()
                _G.writing = coroutine.wrap(function() all[3]:write("own", function() coroutine.yield() end) end)
                writing()
                remove()
                print "fine" io.stdout:flush()
                %s ]]):format(how))
            assert.same({ 0, "fine\n" }, { status, text }, how)
        end
    end)

    it("68 that a finalizer uses at the end give an answer or an error", function()
        child_is_fine [[
            local proxy = newproxy and function(f) local p = newproxy(true) getmetatable(p).__gc = f return p end
                or function(f) return setmetatable({}, { __gc = f }) end
            for i = 1, 5 do
                local c = larder.open {}
                _G["before" .. i] = proxy(function()
                    pcall(c.get, c, "k", function() return 1 end)
                    pcall(c.close, c)
                end)
                _G["c" .. i] = c
                _G["after" .. i] = proxy(function()
                    pcall(c.set, c, "k", 1)
                    pcall(c.set, c, "k", "text")
                    pcall(c.write, c, "k", function() end)
                    pcall(c.get_many, c, { "k", "x" }, function() return {} end)
                    pcall(c.stats, c)
                end)
            end]]
    end)

    it("69 used after a fork: parent and child each go on; the child's end leaves the parent alone", function()
        child_is_fine [[
            local file, remove = table_file()
            local c, plain = larder.open { source = items(file) }, larder.open { name = "plain" }
            c:get "item:1"
            plain:set("k", "parent's")
            plain:get "k"
            local queue = {}
            for i = 1, 4 do
                local pid = posix.fork()
                if pid == 0 then
                    local ok, err = pcall(function()
                        assert(c:get "item:1".name)
                        assert(select(3, c:get "item:2") == "loaded")
                        assert(c:set("item:1", { name = "child " .. i }))
                        assert(c:get "item:1".name)
                        assert(select(3, plain:get "k") == "miss") -- a fresh private shelf
                        plain:set("k", "child's")
                        assert(plain:get "k" == "child's")
                        assert(plain:get("new", function() return i end) == i)
                        if i == 2 then c:close() plain:close() end
                        if i == 3 then c, plain = nil, nil collectgarbage() collectgarbage() end
                    end)
                    if not ok then io.stderr:write(tostring(err), "\n") end
                    if i == 4 then os.exit(ok and 0 or 1, true) end
                    posix.exit(ok and 0 or 1)
                end
                queue[i] = pid
            end
            for _, pid in ipairs(queue) do assert(posix.wait(pid) == 0, "a child failed") end
            assert(plain:get "k" == "parent's")
            assert(c:refresh "item:1".name:match "child")
            assert(c:set("item:2", { name = "parent" }))
            c:close()
            remove()]]
    end)

    it("69 forked inside a loader or a run: the child may go on", function()
        child_is_fine [[
            local c = larder.open {}
            local pid
            local v = c:get("k", function()
                pid = posix.fork()
                return pid == 0 and "child" or "parent"
            end)
            if pid == 0 then
                local ok = pcall(function()
                    assert(v == "child" or v == nil)
                    assert(c:get("other", function() return 1 end) == 1)
                    larder.run(function() larder.sleep(0.01) end, function() assert(c:set("x", 1)) end)
                    c:close()
                end)
                posix.exit(ok and 0 or 1)
            end
            assert(v == "parent")
            assert(posix.wait(pid) == 0)
            assert(c:get "k" == "parent")
            larder.run(function() larder.sleep(0.01) end, function() assert(c:set("x", 1)) end)]]
    end)

    it("70 opened and closed very often leave no descriptor and no memory behind", function()
        child_is_fine(([[
            local file, remove = table_file()
            local src = items(file)
            local function round(n)
                for i = 1, n do
                    local c = larder.open { source = i %% 10 == 0 and src or nil, l1 = { bytes = "1M" } }
                    if i %% 10 == 0 then c:get "item:1" else c:set("k", { i }) c:get "k" end
                    if i %% 3 > 0 then c:close() end
                end
                c = nil
                collectgarbage() collectgarbage()
            end
            round(200)
            local fds, kb = n_fds(), rss()
            round(%d)
            assert(math.abs(n_fds() - fds) <= 4, "descriptors: " .. fds .. " then " .. n_fds())
            assert(rss() < kb + %d, "resident: " .. kb .. " then " .. rss())
            remove()]]):format(bed.count(10000, 1000), bed.is_watched and 1e6 or 8192))
    end)

    if is_jit then
        it("70 opened very often use up none of LuaJIT's types", function()
            local ffi = require "ffi"
            local function next_type()
                return tonumber(ffi.typeof "struct { int x; }")
            end
            local first = next_type()
            local step = next_type() - first
            local before = next_type()
            for _ = 1, 10 do
                local c = larder.open {}
                c:set("k", "v")
                c:get "k"
                c:close()
            end
            assert.is_true(next_type() - before <= step + 3)
        end)
    end

    it("71 two states in two threads each have their own; one process, many", function()
        child_is_fine [[
            posix.threads(4, [=[
                local larder = require "larder"
                for i = 1, 20 do
                    local c = larder.open { name = "shop" }
                    for k = 1, 50 do
                        c:get("k" .. k % 10, function() return { k } end)
                        c:set("s" .. k, k)
                    end
                    larder.run(function() larder.sleep(0.001) end, function() c:get("r", function() return 1 end) end)
                    if i % 2 == 0 then c:close() end
                end
            ]=])
            local c = larder.open {}
            c:set("k", 1)]]
    end)

    it("72 package.loaded reset and required again: old and new caches both work", function()
        child_is_fine [[
            local old = larder.open {}
            old:set("k", "old")
            for name in pairs(package.loaded) do
                if name:match "^larder" then package.loaded[name] = nil end
            end
            local again = require "larder"
            assert(again ~= larder)
            local new = again.open {}
            new:set("k", "new")
            assert(old:get "k" == "old" and new:get "k" == "new")
            assert(old:get("x", function() return (new:get "k") end) == "new")
            again.run(function() again.sleep(0.01) end, function() assert(old:set("y", 1)) end)
            assert(again.null == larder.null)
            local v, err = new:get ""
            assert(err.code == "invalid")
            old:close() new:close()]]
    end)

    it("73 signals during calls disturb nothing", function()
        child_is_fine [[
            local file, remove = table_file()
            local c = larder.open { source = items(file) }
            posix.disturb(200)
            local until_ = os.time() + 2
            for i = 1, 300 do
                assert(c:get "item:1".name)
                c:invalidate "item:1"
                assert(c:set("item:2", { name = "n" .. i }))
                larder.run(function() assert(c:refresh "item:1") larder.sleep(0.0005) end,
                    function() assert(c:get("own", function() larder.sleep(0.001) return 1 end)) c:delete "item:3" end)
            end
            assert(posix.disturb(0) > 0)
            local began = require("larder.core").now()
            posix.disturb(1000)
            larder.sleep(0.05)
            posix.disturb(0)
            assert(require("larder.core").now() - began >= 0.05)
            c:close()
            remove()]]
    end)

    it("73 leave the handlers of signals alone", function()
        child_is_fine [[
            local function signals()
                local out = {}
                for line in io.lines "/proc/self/status" do
                    out[#out + 1] = line:match "^Sig[BIC]%w*:.*"
                end
                return table.concat(out, " ")
            end
            local before = signals()
            local c = larder.open {}
            c:get("k", function() return 1 end)
            larder.run(function() larder.sleep(0.01) end)
            assert(signals() == before)
            c:close()
            assert(signals() == before)]]
    end)

    it("74 closed standard streams: descriptors 0 to 2 are used again without harm", function()
        local file = os.tmpname()
        bed.child(POSIX .. ([[
            local result = assert(io.open(%q, "w"))
            posix.close(0) posix.close(1) posix.close(2)
            local ok, err = pcall(function()
                local db, remove = table_file()
                local c = larder.open { source = items(db) }
                assert(c:get "item:1".name == "one")
                assert(c:set("item:1", { name = "two" }))
                larder.run(function() larder.sleep(0.01) assert(c:refresh "item:1".name == "two") end)
                c:close()
                remove()
            end)
            result:write(ok and "fine" or tostring(err))
            result:close()]]):format(file))
        local text = io.open(file):read "*a"
        os.remove(file)
        assert.equal("fine", text)
    end)

    it("74 another folder and umask change nothing once it is open", function()
        child_is_fine [[
            local file, remove = table_file()
            local cache_file = file:match "[^/]*$"
            items(file)
            local folder = file:sub(1, #file - #cache_file)
            assert(posix.chdir(folder))
            posix.umask(511)
            local c = larder.open { changes = false, source = larder.source.sqlite { file = cache_file,
                models = { item = { table = "items" } } } }
            assert(c:get "item:1")
            assert(posix.chdir "/")
            local list = {}
            for i = 1, 10 do
                list[i] = function() assert(c:refresh "item:1") assert(c:set("item:" .. i, { name = "n" })) end
            end
            larder.run(list)
            local other, err = larder.open { source = larder.source.sqlite { file = cache_file,
                models = { item = { table = "items" } } } }
            assert(other == nil and err.code == "unavailable")
            assert(c:refresh "item:1")
            c:close()
            remove()]]
    end)

    it("75 without descriptors or memory: an error or a working cache, never a crash", function()
        for _, limit in ipairs { "ulimit -n 10", "ulimit -n 7", "ulimit -n 5" } do
            local text, status = bed.child(POSIX .. [[
                local open = {}
                for i = 1, 20 do
                    local ok, c, err = pcall(larder.open, {})
                    if ok and c then
                        open[#open + 1] = c
                        assert(c:set("k", 1))
                        assert(c:get "k" == 1)
                    else
                        assert(ok and err.code or type(c) == "string")
                    end
                end
                pcall(function()
                    local file, remove = table_file()
                    local c, err = larder.open { source = items(file) }
                    if c then
                        local v, e = c:get "item:1"
                        assert(v or e.code)
                    else
                        assert(err.code)
                    end
                    remove()
                end)
                print "fine"]], { before = limit })
            assert.is_true(status == 0 and text:match "fine\n$" ~= nil
                or status == 1 and text:find("larder", 1, true) ~= nil, limit .. ": " .. status .. " " .. text)
        end
        for _, kb in ipairs(bed.is_watched and {} or { 60000, 90000, 120000, 200000, 400000 }) do
            local text, status = bed.child(POSIX .. [[
                local ok, err = pcall(function()
                    local all = {}
                    for i = 1, 10 do
                        local c, failure = larder.open { l1 = { bytes = "32M", shards = 1 } }
                        if not c then
                            assert(failure.code, tostring(failure))
                        else
                            all[#all + 1] = c
                            for k = 1, 200 do
                                local v, e = c:set("k" .. k, ("x"):rep(20000))
                                assert(v or e.code)
                            end
                            local v, e = c:get "k200"
                            assert(v or e == nil or e.code)
                        end
                    end
                end)
                if not ok then assert(tostring(err):find "memory", tostring(err)) end
                print "fine"]], { before = "ulimit -v " .. kb })
            assert.is_true(status == 0 and text:match "fine\n$" ~= nil or status == 1 and text:find "memory" ~= nil
                or text:find "error while loading shared" ~= nil or text:find "failed to map" ~= nil
                or text:find "error loading module" ~= nil, kb .. ": " .. status .. " " .. text)
        end
    end)

    it("76 a locale with a decimal comma changes nothing", function()
        child_is_fine [[
            local set
            for _, name in ipairs { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "it_IT.UTF-8", "pl_PL.UTF-8" } do
                set = set or os.setlocale(name)
            end
            for _, codec in ipairs { "msgpack", "json", "raw" } do
                local c = larder.open { codec = codec, ttl = 0.5, l1 = { bytes = "1M" } }
                if codec ~= "raw" then
                    c:set("k", { 1.5, -0.25, 1e100, "1,5" })
                    local t = c:get "k"
                    assert(t[1] == 1.5 and t[2] == -0.25 and t[3] == 1e100 and t[4] == "1,5")
                end
                local f = c:wrap(function(x) return "r" .. x * 2 end)
                assert(f(1.5) == f(1.5))
                local ok, err = pcall(c.get, c, 1.5)
                assert(not ok and err:find "the key must be a string")
                c:close()
            end]]
    end)

    it("77 with the JIT off, with a hook, under pressure on strings", function()
        local code = [[
            local c = larder.open { l1 = { bytes = "4M" } }
            for round = 1, 3 do
                for i = 1, 5000 do
                    local key = "k" .. i % 500
                    local v = c:get(key, function() return { i % 500, key } end)
                    assert(v[2] == key)
                    if i % 7 == 0 then c:set(key, { i % 500, key }) end
                end
                collectgarbage()
            end
            for i = 1, 200000 do
                local s = "pressure" .. i
                if i % 1000 == 0 then c:set(s, s) assert(c:get(s) == s) end
            end]]
        child_is_fine(code)
        child_is_fine("local n = 0 debug.sethook(function() n = n + 1 end, 'l')\n" .. code)
        child_is_fine("collectgarbage 'stop'\n" .. code)
        child_is_fine("collectgarbage('setstepmul', 1000) collectgarbage('setpause', 100)\n" .. code)
        if is_jit then
            child_is_fine(code, { args = "-joff" })
            child_is_fine(code, { args = "-Ohotloop=1 -Ohotexit=1" })
            child_is_fine("jit.off()\n" .. code)
        end
    end)
end)
