-- blocking.lua - the host of plain Lua: nothing else runs the process, so whoever waits runs the other tasks.
--
-- One scheduler a Lua state. The clock is the core's with the state's mailbox: { now, wait, pending }, see
-- scheduler.lua; tasks run in the order in which they became ready.

local scheduler = require "larder.host.scheduler"

local blocking = {}

function blocking.new(clock)
    local sched = scheduler.new(clock)
    sched.kind = "blocking"
    return sched
end

return blocking
