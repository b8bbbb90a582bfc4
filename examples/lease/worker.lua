-- lease/worker.lua - one of the processes of main.lua: asks for a report that takes 0.3 s to compute.
package.path = arg[0]:gsub("[^/]+/[^/]+$", "") .. "?.lua;" .. package.path
local larder = require "larder"
local redis = require "redis"

local folder, name, key = arg[1], arg[2], arg[3]
local cache = assert(larder.open {
    name = "example.lease." .. folder:match "[^/]+$",
    l2 = redis.url(folder),
    ttl = 60,
    -- How long a holder that died may keep the others waiting (one that lives renews its lease), and how long they
    -- wait at most before they compute it for themselves.
    guard = { lock = { ttl = 0.5, wait = 5, on_timeout = "load" } },
})
io.stdout:setvbuf "line"

-- Seconds since the system started: the same clock in all processes.
local function now()
    local file = assert(io.open "/proc/uptime")
    local seconds = file:read "*n"
    file:close()
    return seconds
end

local began = now()
local function say(text)
    print(("%5.2f %s %s"):format(now() - began, name, text))
end

say "asks"
local report, err, outcome = cache:get(key, function()
    say "computes"
    larder.sleep(0.3)
    return "the report, computed by " .. name
end)
say(("has it (%s): %s"):format(outcome or "error", report or tostring(err)))
cache:close()
