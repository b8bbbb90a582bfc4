-- nginx.lua - the host inside a worker of nginx (lua-nginx-module): whoever waits yields, and nobody blocks the worker.
--
-- SQL and talks with Redis run on Larder's own thread, which posts the ids of those whom it woke (nginx_pump.lua). Work
-- that must outlive its request, such as a load by a Lua function, runs in a timer of its own.
--
-- Invariants: between an operation's look at its state and the registering of its wait nobody else runs, and a post
-- comes after the state has changed; so a post that finds nobody waiting may be dropped. Every wait looks at the
-- mailbox itself once in LOOK seconds, so the loss of a pump costs time but never a wake-up.

local errors = require "larder.errors"
local pump = require "larder.host.nginx_pump"
local schema = require "larder.schema"
local semaphore = require "ngx.semaphore"

local ngx = ngx
local running = coroutine.running
local huge, max, min = math.huge, math.max, math.min

local LOOK = 1 -- seconds
local LEAST = 0.001 -- seconds; nginx's timers know no less
local MOST_TIMERS = 128 -- half of what nginx runs at once unless it is told otherwise

local YIELDING = { rewrite = true, server_rewrite = true, access = true, content = true, timer = true, ssl_cert = true,
    ssl_session_fetch = true, ssl_client_hello = true }

local nginx = {}
nginx.__index = nginx

function nginx.new(core)
    return setmetatable({
        kind = "nginx", now = core.now, loop = assert(core.loop()),
        waiting = {}, -- id -> { sema, seen = when its coroutine was last known to live }
        early = {}, -- ids that Lua woke before anybody waited
        jobs = {}, -- id -> operation: kept while Larder's thread works on it, whatever becomes of the request
        groups = setmetatable({}, { __mode = "k" }), -- coroutine -> the larder.run it belongs to
    }, nginx)
end

-- May the caller wait here?
function nginx:can_wait()
    return YIELDING[ngx.get_phase()] == true and self.loop:may_yield()
end

-- The error of whoever would have to wait where that cannot be.
function nginx.stuck()
    local phase = ngx.get_phase()
    local where = YIELDING[phase] and "within a function that cannot yield, in the phase " or "in the phase "
    local what = "source and shared tier cannot be asked " .. where .. phase .. ": it would block the worker"
    return errors.new("unsupported", what)
end

---- waiting -----------------------------------------------------------------------------------------------------------

function nginx:wake(id)
    local waiter = self.waiting[id]
    if waiter then
        waiter.sema:post(1)
    else
        self.early[id] = true
    end
end

function nginx:forget(id)
    self.early[id], self.waiting[id] = nil, nil
end

-- Until wake(id) or a post of the id: true, which means: look again. Or until the clock shows `deadline` (nil: no
-- limit): false, "deadline". One coroutine waits for an id.
function nginx:wait(id, deadline)
    if self.early[id] then
        self.early[id] = nil
        return true
    end
    local waiter = { sema = semaphore.new() }
    self.waiting[id] = waiter
    local woken, left
    repeat
        waiter.seen = self.now()
        left = (deadline or huge) - waiter.seen
        pump.hear(self)
        pump.see_to(self)
        woken = waiter.sema:wait(left > 0 and max(LEAST, min(left, LOOK)) or 0)
        if not woken and pump.hear(self) > 0 then -- the pump should have heard that
            self.pump = nil
        end
    until woken or left <= 0
    self.waiting[id] = nil
    return woken == true, not woken and "deadline" or nil
end

-- Runs the job of an operation, or its talk with the shared tier, on Larder's thread.
function nginx:job(op)
    local id = op:id()
    self.jobs[id] = op
    if not op:submit(true) then
        op:job()
    end
    while op:job_runs() do
        self:wait(id)
    end
    self.jobs[id] = nil
end

function nginx:sleep(seconds)
    if type(seconds) ~= "number" or not (seconds >= 0 and seconds < huge) then
        schema.refuse("larder.sleep", "the time", "seconds, 0 or more", seconds)
    elseif not self:can_wait() then
        errors.misuse(1, "larder.sleep: not in nginx's phase %s, which cannot yield", ngx.get_phase())
    end
    ngx.sleep(seconds)
    return true
end

---- side by side ------------------------------------------------------------------------------------------------------

-- Runs f in a timer, so that it outlives the request; in the caller's place when nginx is short of timers.
function nginx.detach(_, f, ...)
    local many = ngx.timer.running_count() + ngx.timer.pending_count() >= MOST_TIMERS
    local fine = not many and ngx.timer.at(0, function(_, ...)
        f(...)
    end, ...)
    if not fine then
        f(...)
    end
end

local function add(self, group, f, ...)
    if not schema.is_callable(f) then
        errors.misuse(1, "larder.run: a function is wanted, got %s", errors.show(f))
    end
    group.n = group.n + 1
    assert(ngx.thread.spawn(function(...)
        self.groups[running()] = group
        local fine, e = xpcall(f, errors.handler, ...)
        if not fine and not group.failed then
            group.failed, group.error = true, e.cause
        end
        group.n = group.n - 1
        group.sema:post(1)
    end, ...))
end

-- One more light thread within the larder.run that the caller belongs to.
function nginx:spawn(f, ...)
    local group = self.groups[running()]
    if not group then
        errors.misuse(1, "larder.spawn: only inside larder.run")
    end
    add(self, group, f, ...)
end

-- Each function in a light thread; returns when all ended, or raises the first error then. run(f, ...), run { f, ... }
function nginx:run(first, ...)
    local list = { first, ... }
    if type(first) == "table" and not schema.is_callable(first) then
        list = first
    end
    local group = { n = 0, sema = semaphore.new() }
    for _, f in ipairs(list) do
        add(self, group, f)
    end
    while group.n > 0 do
        group.sema:wait(LOOK)
    end
    if group.failed then
        error(group.error, 0)
    end
    return true
end

return nginx
