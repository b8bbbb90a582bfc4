-- shared_cycles_spec.lua - servers that go and come, connections that are killed, again and again: afterwards the
-- process has as many descriptors and as much memory as before.

local bed = require "spec.support.bed"
local outage = require "spec.support.outage"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"
local shell = require "spec.support.shell"

local cycles = bed.count(300, 24)
local b, figures

local function descriptors()
    local text = shell.run(("ls /proc/%d/fd | wc -l"):format(posix.getpid()))
    return tonumber((text:gsub("%s", "")))
end

-- Kilobytes of this process that are in memory.
local function memory()
    collectgarbage()
    collectgarbage()
    for line in io.lines "/proc/self/status" do
        local kb = line:match "^VmRSS:%s*(%d+)"
        if kb then
            return tonumber(kb)
        end
    end
end

local function kill_connections()
    b.server:call("CLIENT", "KILL", "TYPE", "pubsub")
    b.server:call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
end

local deeds = {
    kill_connections,
    function() b.proxy "reset" end,
    function() b.server:restart() end,
    function()
        b.proxy "refuse"
        b.through:get("item:2", { refresh = true, timeout = 1 })
        b.proxy "pass"
    end,
}

-- All cares are over: the bell is heard, a drop is confirmed, an entry is trusted.
local function settle()
    local heard = b.through:stats().bell_heard
    redis.wait_until(function()
        local fine = b.through:invalidate "item:1"
        b.through:get "item:1"
        return fine and select(2, b.through:peek "item:1") == "l1" and b.through:stats().bell_heard > heard
    end, 5000, "service")
end

local function cycle(i)
    deeds[i % #deeds + 1]()
    b:read(b.through, 1)
    b:write(b.through, 1)
    b:read(b.through, 1)
    b.through:get_many { "item:1", "item:2", "item:3" }
    settle()
end

describe("300 times a server that goes and comes", function()
    setup(function()
        figures = {}
        b = outage.start()
        b:begin { cold = true }
    end)

    teardown(function()
        b:finish()
        outage.stop(b)
        for _, line in ipairs(figures) do
            print("# " .. line)
        end
    end)

    it("leaves descriptors and memory as they were", function()
        for i = 1, 12 do -- what is made once is made
            cycle(i)
        end
        local fds, kb, most = descriptors(), memory(), 0
        for i = 1, cycles do
            cycle(i)
            most = i % 10 == 0 and math.max(most, memory()) or most
        end
        local fds_now, kb_now = descriptors(), memory()
        figures[1] = ("%d cycles: %d descriptors, then %d; %d kB, then %d (at most %d); slowest call %.0f ms")
            :format(cycles, fds, fds_now, kb, kb_now, most, b.slowest)
        assert.is_true(fds_now <= fds + 2, figures[1]) -- idle connections may be one or two more
        assert.is_true(bed.is_watched or kb_now <= kb * 1.02 + 512, figures[1])
    end)
end)
