-- shared_faults_spec.lua - a Redis that fails in every way known: reads of every pattern go on from the source and give
-- what the table holds, no call outlives its deadline, writes say what became of them, and within a second after the
-- fault all serves as ever, nothing of before included.

local bed = require "spec.support.bed"
local outage = require "spec.support.outage"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"
local shell = require "spec.support.shell"

local rounds = bed.count(5, 1)
local black_ms = bed.count(5000, 1500)
local b, figures

local function config(name, value)
    return function()
        b.server:config(name, value)
    end
end

local function order(text)
    return function()
        b.proxy(text)
    end
end

-- A fault that strikes one reply is ordered again before each call.
local function each_time(text)
    return function()
        b.tick = order(text)
    end
end

local function hex(text)
    return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function pass()
    b.tick = nil
    b.proxy "pass"
end

local http = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"

-- All records and the bell become lists.
local strange = [[
    for _, key in ipairs(redis.call("KEYS", "ldr1*")) do
        redis.call("DEL", key)
        redis.call("LPUSH", key, "x")
    end
]]

-- MISCONF: a save that failed, for its folder is gone.
local function no_disk()
    local folder = b.server.folder .. "/gone"
    b.server:config("stop-writes-on-bgsave-error", "yes")
    b.server:config("save", "3600 1")
    shell.run("mkdir " .. folder)
    b.server:config("dir", folder)
    shell.run("rmdir " .. folder)
    b.server:call "BGSAVE"
    redis.wait_until(function()
        return b.server:info "rdb_last_bgsave_status" == "err"
    end, nil, "a save that fails")
end

-- LOADING: a server that reads back what it had, slowly.
local loader
local function load_slowly()
    for i = 1, 300 do
        b.server:call("SET", "filler" .. i, ("x"):rep(1024))
    end
    b.server:config("loading-process-events-interval-bytes", 1024)
    b.server:config("key-load-delay", bed.count(15000, 10000))
    loader = assert(redis.dial(b.server.path))
    loader:send "DEBUG RELOAD\r\n"
    redis.wait_until(function()
        local one = assert(redis.dial(b.server.path))
        local answer = one:ask("GET", "x")
        one:close()
        return answer and tostring(answer.err):find "^LOADING"
    end, nil, "LOADING")
end

local function loaded()
    assert.equal("OK", assert(loader:read(20000)).ok)
    loader:close()
    b.server:config("key-load-delay", 0)
end

-- Values that were written after the copy was made are in Redis no more, but older ones are.
local function restore()
    b.server:save "old"
    b:write(b.through, 1)
    b:write(b.through, 3)
    b.old_until = posix.now() + outage.heal_ms
    b.server:restart { copy = "old" }
end

-- tiers: what writes of the tiers alone are told; nil: that depends. begin: options of the caches.
local faults = {
    { "refuses", make = order "refuse", tiers = "fails" },
    { "hangs when it is connected to", make = function()
        b.proxy "hang"
        b.proxy "reset"
    end, tiers = "fails" },
    { "is stopped, and comes back empty", make = function() b.server:kill() end,
        heal = function() b.server:restart() end, tiers = "fails" },
    { "is frozen", make = function() b.server:pause() end, heal = function() b.server:resume() end, tiers = "fails" },
    { "answers garbage", make = each_time("garbage " .. hex "\0\1\2 garbage \r\n\r\n") },
    { "answers as a web server", make = each_time("replace " .. hex(http)) },
    { "drips", make = order "drip 1 20", tiers = "fails" },
    { "is slow, 200 and 50 ms", make = order "delay 150 100", begin = { l2_timeout = 1, timeout = 3 }, slow = true },
    { "is slow beyond its time", make = order "delay 250 50", tiers = "fails" },
    { "cuts its replies", make = each_time "on data cut 7" },
    { "cuts the bell", make = each_time "on bell cut 20", tiers = "fine" },
    { "loses answers after their effect", make = each_time "on data drop_reply" },
    { "loses requests", make = each_time "on data cut_request 10" },
    { "swallows everything", make = order "blackhole", hold_ms = black_ms, tiers = "fails" },
    { "is full and evicts nothing", make = config("maxmemory", 1), heal = config("maxmemory", 0) },
    { "is full and evicts anything", make = function()
        b.server:config("maxmemory-policy", "allkeys-lru")
        b.tick = function()
            b.server:config("maxmemory", tonumber(b.server:info "used_memory") - 1024)
        end
    end, heal = function()
        b.tick = nil
        b.server:config("maxmemory", 0)
        b.server:config("maxmemory-policy", "noeviction")
    end },
    { "is flushed again and again", make = function()
        b.tick = function() b.server:call "FLUSHALL" end
    end, tiers = "fine" },
    { "was restarted empty", make = function() b.server:restart() end },
    { "was restored from an old copy", make = restore },
    { "is loading", make = load_slowly, heal = loaded, tiers = "fails" },
    { "is read-only", make = function() b.server:call("REPLICAOF", "127.0.0.1", posix.free_port()) end,
        heal = function() b.server:call("REPLICAOF", "NO", "ONE") end, tiers = "fails" },
    { "cannot save, and takes no writes", make = no_disk, heal = function()
        b.server:config("stop-writes-on-bgsave-error", "no")
    end, tiers = "fails" },
    { "has lists where records belong", make = function()
        b.tick = function()
            b.server:call("EVAL", strange, 0)
        end
    end, heal = function()
        b.tick = nil
    end },
    { "wants a password", make = function()
        b.server:config("requirepass", "secret")
        b.server:call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        b.server:call("CLIENT", "KILL", "TYPE", "pubsub")
    end, heal = config("requirepass", ""), tiers = "fails" },
}

local function hold(fault)
    local until_ms = posix.now() + (fault.hold_ms or 0)
    local n = 0
    repeat
        b:use(fault)
        n = n + 1
    until n >= rounds and posix.now() >= until_ms
end

local function episode(fault)
    b:begin(fault.begin)
    fault.make()
    hold(fault)
    local heal = fault.heal or pass
    heal()
    local took = b:recovers(fault.heal_ms)
    local heard = b:hears()
    local line = "%-34s %4d calls, slowest %4.0f ms, latest %5.0f ms past its deadline; serves after %4.0f ms, "
        .. "hears after %3.0f ms; %d old"
    figures[#figures + 1] = line:format(fault[1], b.calls, b.slowest, b.excess, took, heard, b.n_old)
    b:finish()
end

describe("a Redis that", function()
    setup(function()
        figures = {}
        b = outage.start { config = { ["enable-debug-command"] = "yes", ["enable-protected-configs"] = "yes" } }
    end)

    teardown(function()
        outage.stop(b)
        for _, line in ipairs(figures) do
            print("# " .. line)
        end
    end)

    after_each(function()
        b:mend()
    end)

    for _, fault in ipairs(faults) do
        it(fault[1], function()
            episode(fault)
        end)
    end
end)
