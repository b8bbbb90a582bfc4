-- nginx_pump.lua - how a post from Larder's own thread reaches who waits in a worker of nginx.
--
-- Posts come into the mailbox (the loop) of this Lua state. nginx watches only its own sockets, so the mailbox has one.
-- A timer that never ends, the pump, sleeps on it: a byte says that something was posted. Without a socket it polls.
--
-- Host: { loop, waiting = id -> { sema, seen }, jobs = id -> operation }. Whoever is told is no longer in `waiting`.

local ngx = ngx

local pump = {}

local POLL = 0.001 -- seconds; nginx's timers know no less
local GONE = 3 -- seconds; a waiter that was not seen so long is gone with its request
local LONGEST = 2147483 -- seconds; what nginx's timers can hold
local NOBODY = 0 -- an id that no operation has
local MOST_TURNS = 100000 -- then a fresh timer goes on, so that no memory of nginx's can pile up

local function tell(host, id)
    local waiter = host.waiting[id]
    host.waiting[id] = nil
    waiter.sema:post(1)
end

-- Takes what was posted and gives the number of ids. Never blocks.
function pump.hear(host)
    local n = 0
    repeat
        local ids, overflow = host.loop:wait(0)
        for _, id in ipairs(ids) do
            host.jobs[id] = nil
            if host.waiting[id] then
                tell(host, id)
            end
        end
        if overflow then -- nobody knows whose ids were dropped: all look again
            for id in pairs(host.waiting) do
                tell(host, id)
            end
        end
        n = n + #ids
    until #ids == 0
    return n
end

-- A socket that the mailbox writes to, or nil.
local function connect(host)
    local sock = ngx.socket.tcp()
    local path, why = host.loop:listen()
    local fine = path
    if path then
        fine, why = sock:connect("unix:" .. path)
    end
    if host.loop:accept() and fine then
        return sock
    end
    ngx.log(ngx.WARN, "larder: looks every ", POLL, " s for the answers of its thread, for want of a socket: ", why)
end

-- Does anybody wait whose request still lives, or is a job under way?
local function is_wanted(host)
    for id, waiter in pairs(host.waiting) do
        if host.now() - waiter.seen > GONE then
            host.waiting[id] = nil
        end
    end
    for id, op in pairs(host.jobs) do
        if not op:job_runs() then
            host.jobs[id] = nil
        end
    end
    return next(host.waiting) ~= nil or next(host.jobs) ~= nil
end

-- Sleeps until a byte comes, or a moment where there is no socket. False: the socket is of no more use.
local function doze(sock)
    if not sock then
        ngx.sleep(POLL)
        return true
    end
    sock:settimeout(LONGEST * 1000)
    local _, why = sock:receiveany(64)
    return why == nil or why == "timeout"
end

local function shut(sock)
    if sock then
        sock:close()
    end
end

-- While the worker leaves, it looks around all the time: nginx waits for it, and nobody is left to tell it to end.
local function run(host, me)
    local sock, leaving, turns = connect(host), false, 0
    while host.pump == me and turns < MOST_TURNS do
        pump.hear(host)
        if not leaving and ngx.worker.exiting() then
            leaving = true
            shut(sock)
            sock = nil
        elseif leaving and not is_wanted(host) then
            break
        elseif not doze(sock) and host.pump == me then
            sock = connect(host)
        end
        turns = turns + 1
    end
    shut(sock)
end

-- A timer far away: nginx calls it when the worker leaves, and the pump looks around.
local function watch_the_end(host)
    host.watched = ngx.timer.at(LONGEST, function(leaving)
        host.loop:post(NOBODY)
        if not leaving then
            watch_the_end(host)
        end
    end)
end

-- Sees to it that there is a pump. One that was taken out of host.pump notices and ends.
function pump.see_to(host)
    if host.pump then
        return
    end
    local me = {}
    host.pump = me
    local fine, why = ngx.timer.at(0, function()
        local well, trouble = pcall(run, host, me)
        if host.pump == me then
            host.pump = nil
        end
        if not well then
            ngx.log(ngx.ERR, "larder: the wait for its thread broke off and begins anew: ", tostring(trouble))
        end
        if next(host.waiting) ~= nil and not host.pump then
            pump.see_to(host)
        end
    end)
    if not fine then
        host.pump = nil
        ngx.log(ngx.WARN, "larder: no timer to wait for its thread, so answers come late: ", why)
    elseif not host.watched then
        watch_the_end(host)
    end
end

return pump
