-- shared_hosts_spec.lua - a shared tier from coroutines, from children of a fork, from several Lua states, and with a
-- server that is away, frozen or slow.

local bed = require "spec.support.bed"
local larder = require "larder"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"
local shared = require "spec.support.shared"

local server, n = nil, 0

local function open(options)
    n = n + 1
    local given = { name = "hosts" .. n, l2 = server.url }
    for name, value in pairs(options or {}) do
        given[name] = value
    end
    return shared.open(given), given
end

local function tasks(count, fn)
    local list = {}
    for i = 1, count do
        list[i] = function()
            fn(i)
        end
    end
    larder.run(list)
end

-- The milliseconds that fn takes.
local function time(fn)
    local began = posix.now()
    fn()
    return posix.now() - began
end

before_each(function()
    server = redis.start()
end)

after_each(function()
    server:close()
end)

describe("coroutines side by side", function()
    it("read, load and write 64 keys at once", function()
        local cache, given = open()
        given.l1 = false
        local bare = shared.open(given)
        local loads = 0
        tasks(64, function(i)
            local value, err, how = cache:get("k" .. i, function(key)
                loads = loads + 1
                larder.sleep(0.001)
                return key .. "!"
            end)
            assert.same({ "k" .. i .. "!", nil, "loaded" }, { value, err, how })
        end)
        assert.equal(64, loads)
        tasks(64, function(i)
            assert.equal("l2", (select(3, bare:get("k" .. i))))
            assert.is_string((bare:set("k" .. i, i)))
            assert.equal(i, (bare:get("k" .. i)))
            assert.is_true(bare:invalidate("k" .. i))
            assert.equal("miss", (select(3, bare:get("k" .. i))))
            assert.is_true(bare:delete("k" .. i))
            assert.equal(i, bare:write("k" .. i, function()
                larder.sleep(0.001)
                return i
            end))
        end)
        cache:close() bare:close()
    end)

    it("load one key once, whoever asks", function()
        local cache, given = open()
        given.l1 = false
        local bare = shared.open(given)
        local loads = 0
        local function load()
            loads = loads + 1
            larder.sleep(0.05)
            return "v"
        end
        tasks(64, function(i)
            assert.equal("v", ((i % 2 == 0 and cache or bare):get("k", load)))
        end)
        assert.equal(1, loads)
        cache:close() bare:close()
    end)

    it("let loaders use the cache, and refuse rings", function()
        local cache = open()
        tasks(4, function(i)
            local value = cache:get("outer" .. i, function()
                return (cache:get("inner", function()
                    larder.sleep(0.01)
                    return "x"
                end)) .. i
            end)
            assert.equal("x" .. i, value)
        end)
        local err = bed.fails("loader", nil, cache:get("ring", function()
            return cache:get("ring", print)
        end))
        assert.equal("rejected", err.cause.code)
        cache:close()
    end)

    it("work in coroutines of the user's own, too", function()
        local cache = open()
        local co = coroutine.wrap(function()
            cache:set("k", 1)
            coroutine.yield((cache:get "k"))
            local one = cache:get("m", function() return coroutine.yield "within" end)
            coroutine.yield(one)
            return cache:write("k", function() return coroutine.yield "writing" end)
        end)
        assert.equal(1, co())
        assert.equal("within", co())
        assert.equal("loaded", co "loaded")
        assert.equal("writing", co())
        assert.equal("written", co "written")
        cache:close()
    end)

    it("give up what is dropped in a loader or in a bracket", function()
        local cache = open()
        local co = coroutine.create(function()
            cache:write("k", coroutine.yield)
        end)
        coroutine.resume(co)
        co = nil -- luacheck: ignore 311
        collectgarbage()
        collectgarbage()
        assert.equal("v", (cache:get("k", function() return "v" end)))
        cache:close()
    end)
end)

describe("a process of its own", function()
    it("hears the others, and has links of its own after a fork", function()
        local cache = open()
        cache:set("k", "parent's")
        shared.held(cache, "k")
        local child = posix.fork()
        if child == 0 then
            local fine = pcall(function()
                assert(select(2, cache:peek "k") == "miss")
                assert(cache:get "k" == "parent's")
                assert(cache:set("k", "child's"))
                larder.run(function() assert(cache:get "k" == "child's") end)
                cache:close()
            end)
            posix.exit(fine and 0 or 1)
        end
        assert.equal(0, posix.wait(child))
        shared.forgets(cache, "k")
        assert.equal("child's", (cache:get "k"))
        for i = 1, 20 do
            assert.is_string((cache:set("k" .. i, i)))
        end
        cache:close()
    end)

    it("that never uses what it inherited leaves the parent alone", function()
        local cache = open()
        cache:set("k", 1)
        local child = posix.fork()
        if child == 0 then
            collectgarbage()
            cache:close()
            posix.exit(0)
        end
        assert.equal(0, posix.wait(child))
        cache:set("k", 2)
        assert.equal(2, shared.held(cache, "k"))
        assert.equal(0, cache:stats().reconnects)
        cache:close()
    end)

    it("waits for the load of another, which wakes it", function()
        local cache, given = open()
        local child = posix.fork()
        if child == 0 then
            local fine = pcall(function()
                assert(cache:get("k", function()
                    server:call("SET", "loading", "1")
                    larder.sleep(0.3)
                    return "child's"
                end) == "child's")
            end)
            posix.exit(fine and 0 or 1)
        end
        redis.wait_until(function() return server:call("EXISTS", "loading") == 1 end)
        local value
        local took = time(function()
            value = cache:get("k", function() return "parent's" end)
        end)
        assert.equal("child's", value)
        assert.is_true(took < 1000, took)
        assert.equal(0, posix.wait(child))
        assert.is_string(given.name)
        cache:close()
    end)

    it("may hold several Lua states, which hear each other", function()
        local cache, given = open()
        cache:set("k", "old")
        shared.held(cache, "k")
        posix.threads(4, ([[
            local cache = require("larder").open { name = %q, l2 = %q }
            for i = 1, 50 do
                assert(cache:set("t" .. i, i))
                assert(cache:get("t" .. i))
                assert(cache:invalidate "k")
            end
            cache:close()
        ]]):format(given.name, server.url))
        assert.same({ nil, "miss" }, { cache:peek "k" })
        assert.equal("miss", (select(3, cache:get "k")))
        assert.equal(50, (cache:get "t50"))
        cache:close()
    end)

    it("opens and closes without leaving anything", function()
        local function descriptors()
            local list = io.popen("ls /proc/" .. posix.getpid() .. "/fd | wc -l")
            local count = tonumber((list:read "*a"))
            list:close()
            return count
        end
        local before = descriptors()
        for i = 1, bed.count(1000, 50) do
            local cache = assert(larder.open { name = "opened", l2 = server.url })
            cache:set("k", i)
            cache:close()
        end
        collectgarbage()
        collectgarbage()
        assert.is_true(descriptors() <= before + 2)
    end)
end)

describe("a server that is away", function()
    local function reads(cache, key)
        local value
        local took = time(function()
            value = cache:get(key, function() return "loaded" end)
        end)
        assert.equal("loaded", value)
        return took
    end

    it("at open costs nothing but the tier", function()
        server:kill()
        n = n + 1
        local cache = assert(larder.open { name = "hosts" .. n, l2 = { url = server.url, timeout = 0.3 } })
        assert.is_true(reads(cache, "k") < 400)
        assert.equal("l1", (select(3, cache:get "k")))
        server:restart()
        redis.wait_until(function()
            return cache:set("m", 1)
        end)
        assert.equal(1, (cache:get "m"))
        cache:close()
    end)

    it("and frozen costs one time-out, not one a call", function()
        local cache = open { l2 = { url = server.url, timeout = 0.2 } }
        cache:set("k", 1)
        server:pause()
        local first = reads(cache, "a")
        assert.is_true(first < 400, first)
        local rest = time(function()
            for i = 1, 20 do
                reads(cache, "b" .. i)
            end
        end)
        assert.is_true(rest < 700, rest)
        local took = time(function()
            tasks(16, function(i) reads(cache, "c" .. i) end)
        end)
        assert.is_true(took < 500, took)
        server:resume()
        redis.wait_until(function()
            return cache:set("k", 2)
        end)
        cache:close(1)
    end)

    it("keeps calls within their own deadline", function()
        local cache = open { l2 = { url = server.url, timeout = 5 } }
        cache:set("k", 1)
        server:pause()
        for _, call in ipairs {
            function() cache:get("x1", { timeout = 0.2 }, function() return 1 end) end,
            function() cache:set("x2", 1, { timeout = 0.2 }) end,
            function() cache:delete("x3", { timeout = 0.2 }) end,
            function() cache:invalidate("x4", { timeout = 0.2 }) end,
            function() cache:get_many({ "x5", "x6" }, { timeout = 0.2 }, function() return {} end) end,
        } do
            local took = time(call)
            assert.is_true(took < 350, took)
            took = time(function() larder.run(call) end)
            assert.is_true(took < 350, took)
        end
        server:resume()
        cache:close(1)
    end)

    it("does not hold up close", function()
        local cache = open()
        cache:set("k", 1)
        server:pause()
        assert.is_true(time(function() cache:close(0.2) end) < 500)
        server:resume()
    end)
end)
