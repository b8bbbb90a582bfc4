-- scheduler.lua - coroutines side by side in one Lua state: tasks, timers, and waits for ids that others wake.
--
-- A task is a coroutine of its own that runs until it waits. Whoever waits outside a task's own coroutine (the main
-- chunk, a coroutine the user made) pumps: it runs the other tasks from where it stands until what it waits for
-- came. A task that is being run is never in the ready queue, so a pump cannot resume what is beneath it on the
-- stack. Invariants: a waiter is done once; a task is in exactly one of: running, ready, parked by one waiter.
--
-- The clock is handed in: { now = function() -> seconds, wait = function(seconds or nil, at) -> ids, overflow,
-- pending = function() -> n (optional) }. `wait` gives the ids that were posted from outside, or nil when nothing
-- can ever come; `overflow` says that ids were dropped: all that wait look again. `pending` says how many wakes may
-- still come from outside; with none of them, no timer and nothing ready, a wait is a deadlock and raises.

local errors = require "larder.errors"
local heap = require "larder.host.heap"
local schema = require "larder.schema"

local running, resume, yield, status = coroutine.running, coroutine.resume, coroutine.yield, coroutine.status
local can_yield = coroutine.isyieldable
local unpack = table.unpack or unpack -- luacheck: ignore 113
local huge = math.huge

local PARK = {} -- what a task yields to its scheduler; any other yield is the user's own
local DEEPEST = 10 -- pumps within pumps; deeper ones only listen, so that the C stack suffices

local scheduler = {}
scheduler.__index = scheduler

function scheduler.new(clock)
    return setmetatable({
        clock = clock,
        timers = heap.new(),
        waiting = {}, -- id -> waiter, linked by `next`
        early = {}, -- ids that were woken before anybody waited
        ready = {}, first = 1, last = 0,
        tasks = setmetatable({}, { __mode = "k" }), -- coroutine -> task
        pumps = {}, depth = 0,
        active = nil, -- the innermost task that is being run
        n_tasks = 0, seq = 0, alive = 0, on_stack = 0,
    }, scheduler)
end

---- waiters -----------------------------------------------------------------------------------------------------------

local function new_waiter(self, id, at)
    self.seq = self.seq + 1
    local waiter = { id = id, at = at, seq = self.seq, done = false, woken = false }
    if id ~= nil then
        waiter.next = self.waiting[id]
        self.waiting[id] = waiter
    end
    if at and at < huge then
        self.timers:push(waiter)
    end
    return waiter
end

local function push_ready(self, task)
    self.last = self.last + 1
    self.ready[self.last] = task
end

-- Takes a waiter out of the chain of its id.
local function unlink(self, waiter)
    local at = self.waiting[waiter.id]
    if at == waiter then
        self.waiting[waiter.id] = waiter.next
        return
    end
    while at.next ~= waiter do
        at = at.next
    end
    at.next = waiter.next
end

-- The wait is over: woken, or by its deadline, or by a fault that it raises.
local function finish(self, waiter, woken, reason)
    if waiter.done then
        return
    end
    waiter.done, waiter.woken, waiter.reason = true, woken, reason
    self.timers:remove(waiter)
    if waiter.id ~= nil then
        unlink(self, waiter)
    end
    if waiter.task then
        push_ready(self, waiter.task)
    end
end

---- tasks -------------------------------------------------------------------------------------------------------------

local function add_task(self, group, f, ...)
    self.n_tasks = self.n_tasks + 1
    self.alive = self.alive + 1
    group.n = group.n + 1
    if type(f) ~= "function" then
        local callable = f
        f = function(...)
            return callable(...)
        end
    end
    local task = { number = self.n_tasks, group = group, co = coroutine.create(f), n = select("#", ...), ... }
    self.tasks[task.co] = task
    push_ready(self, task)
    return task
end

-- Of several errors in a group the first one counts; a string gets the traceback of its coroutine.
local function note_error(task, e)
    local group = task.group
    if not group.failed then
        group.failed = true
        group.error = type(e) == "string" and errors.trace_of(task.co, e) or e
    end
    if coroutine.close then
        coroutine.close(task.co) -- runs what it had still to close
    end
end

local function end_task(self, task, fine, e)
    self.tasks[task.co] = nil
    self.alive = self.alive - 1
    if not fine then
        note_error(task, e)
    end
    local group = task.group
    group.n = group.n - 1
    if group.n == 0 then
        finish(self, group.waiter, true)
    end
end

local function take_ready(self)
    local first = self.first
    if self.choose and self.last > first then
        local chosen = first + self.choose(self.last - first + 1) - 1
        self.ready[first], self.ready[chosen] = self.ready[chosen], self.ready[first]
    end
    local task = self.ready[first]
    self.ready[first] = nil
    self.first = first + 1
    if self.first > self.last then
        self.first, self.last = 1, 0
    end
    return task
end

-- Runs one task until it waits, yields or ends.
local function run_task(self, task)
    if self.note then
        self.note(task)
    end
    local before = self.active
    self.active, self.on_stack = task, self.on_stack + 1
    local n, fine, got = task.n
    if n > 0 then
        task.n = 0
        fine, got = resume(task.co, unpack(task, 1, n))
    else
        fine, got = resume(task.co)
    end
    self.active, self.on_stack = before, self.on_stack - 1
    if got == PARK and fine then
        return
    elseif status(task.co) == "dead" then
        end_task(self, task, fine, got)
    else
        push_ready(self, task)
    end
end

-- Runs the tasks that are ready now, each once; what becomes ready meanwhile comes after the next look around.
local function run_ready(self, waiter)
    local n = self.last - self.first + 1
    while n > 0 and self.first <= self.last and not waiter.done do
        run_task(self, take_ready(self))
        n = n - 1
    end
end

---- pumping -----------------------------------------------------------------------------------------------------------

local function expire(self)
    local timer = self.timers:first()
    if not timer then
        return
    end
    local now = self.clock.now()
    while timer and timer.at <= now do
        finish(self, timer, timer.id == nil, "deadline")
        timer = self.timers:first()
    end
end

-- Ids were dropped: all who wait for one look again, in the order in which they came.
local function wake_all(self)
    local all = {}
    for _, waiter in pairs(self.waiting) do
        while waiter do
            all[#all + 1] = waiter
            waiter = waiter.next
        end
    end
    table.sort(all, function(a, b)
        return a.seq < b.seq
    end)
    for _, waiter in ipairs(all) do
        finish(self, waiter, true)
    end
end

-- Hears what was posted and which timers are due. Gives false when nothing can ever come.
local function listen(self, seconds, at)
    local ids, overflow = self.clock.wait(seconds, at)
    for _, id in ipairs(ids or {}) do
        self:wake(id)
    end
    if overflow then
        wake_all(self)
    end
    expire(self)
    return ids ~= nil
end

local function oldest_parked(self)
    local oldest
    for _, waiter in pairs(self.waiting) do
        while waiter do
            if waiter.task and (not oldest or waiter.seq < oldest.seq) then
                oldest = waiter
            end
            waiter = waiter.next
        end
    end
    return oldest
end

-- Is one of the first n pumps on the stack kept from going on by what is above it?
local function holds_up_another(self, n)
    for depth = 1, n do
        if self.pumps[depth].done then
            return true
        end
    end
    return false
end

-- Nobody can wake anybody: the oldest parked task raises, or the one who pumps.
local function break_deadlock(self, waiter)
    local victim = not holds_up_another(self, self.depth - 1) and oldest_parked(self) or waiter
    finish(self, victim, false, "deadlock")
end

-- Nothing may be run: waits for the next timer or post.
local function idle(self, waiter, may_give_up)
    if may_give_up and (self.depth > DEEPEST or holds_up_another(self, self.depth - 1)) then
        finish(self, waiter, false, "blocked")
        return
    end
    local timer = self.timers:first()
    if timer then
        local seconds = timer.at - self.clock.now()
        listen(self, seconds > 0 and seconds or 0, timer.at)
        return
    end
    local pending = self.clock.pending
    if pending and pending() == 0 then
        -- a last look: what came since the last one is counted no more
        listen(self, 0)
        if not waiter.done and self.first > self.last then
            break_deadlock(self, waiter)
        end
    elseif not listen(self, nil) then
        break_deadlock(self, waiter)
    end
end

local function pump_until(self, waiter, may_give_up)
    local runs = self.depth <= DEEPEST
    while not waiter.done do
        if runs and self.first <= self.last then
            listen(self, 0)
        else
            idle(self, waiter, may_give_up)
        end
        if runs then
            run_ready(self, waiter)
        end
    end
end

local function pump(self, waiter, may_give_up)
    local depth, active = self.depth, self.active
    self.depth = depth + 1
    self.pumps[self.depth] = waiter
    local fine, e = pcall(pump_until, self, waiter, may_give_up)
    self.pumps[self.depth] = nil
    self.depth, self.active = depth, active
    if not fine then
        finish(self, waiter, false, "error")
        error(e, 0)
    end
end

-- Rests until the waiter is done: a task parks, anybody else pumps.
local function rest(self, waiter, may_give_up)
    local task = self.tasks[running()]
    if task and can_yield() then
        waiter.task = task
        while not waiter.done do
            yield(PARK)
        end
    else
        pump(self, waiter, may_give_up)
    end
    if waiter.reason == "deadlock" then
        errors.misuse(1, "larder.run: deadlock: nobody is left who could wake this wait")
    end
    return waiter.woken, waiter.reason
end

---- what others call --------------------------------------------------------------------------------------------------

-- The task whose own coroutine is running now; nil in the main chunk and in coroutines that a user made.
function scheduler:current()
    local co = running()
    return co and self.tasks[co]
end

function scheduler:now()
    return self.clock.now()
end

-- Among tasks of one scheduler: rest() gives way, and returns once somebody called rouse(task), or at any time before;
-- so it is for who looks again, and knows who will call. Only for a task, in its own coroutine.
function scheduler.rest()
    yield(PARK)
end

function scheduler:rouse(task)
    push_ready(self, task)
end

-- The task that may rest; nil where the caller is none, or cannot yield.
function scheduler:resting()
    local task = self.tasks[running()]
    return task and can_yield() and task or nil
end

-- All that are ready now run before the task goes on.
function scheduler.give_way()
    yield()
end

-- May others run while the caller waits here? A task parks; anybody else pumps, which helps only where there are
-- tasks that are not beneath on the stack. After a wait that was "blocked" this is false.
function scheduler:can_wait()
    if self:current() and can_yield() then
        return true
    end
    return self.active ~= nil and self.alive > self.on_stack and self.depth < DEEPEST
        and not holds_up_another(self, self.depth)
end

-- Waits until wake(id), or until the clock shows `deadline` (nil: no limit). True: woken, also before the call.
-- False and "deadline"; or, only with may_give_up, false and "blocked": this wait stands on the stack above one
-- that could go on, and may be what it waits for. Raises when nobody can ever wake it.
function scheduler:wait(id, deadline, may_give_up)
    if self.early[id] then
        self.early[id] = nil
        return true
    elseif deadline and deadline <= self.clock.now() then
        return false, "deadline"
    end
    local woken, reason = rest(self, new_waiter(self, id, deadline), may_give_up)
    return woken, reason
end

-- Wakes all who wait for the id; with nobody there it is kept for the next who does.
function scheduler:wake(id)
    local waiter = self.waiting[id]
    if not waiter then
        self.early[id] = true
    end
    while waiter do
        local following = waiter.next
        finish(self, waiter, true)
        waiter = following
    end
end

-- Nobody will wait for this id any more: a wake that was kept is dropped.
function scheduler:forget(id)
    self.early[id] = nil
end

-- Lets `seconds` pass; other tasks run meanwhile. Outside of tasks it just waits.
function scheduler:sleep(seconds)
    if type(seconds) ~= "number" or not (seconds >= 0 and seconds < huge) then
        schema.refuse("larder.sleep", "the time", "seconds, 0 or more", seconds)
    end
    rest(self, new_waiter(self, nil, self.clock.now() + seconds))
    return true
end

local function check_callable(who, f)
    if not schema.is_callable(f) then
        errors.misuse(1, "%s: a function is wanted, got %s", who, errors.show(f))
    end
end

-- Starts one more task within the run that the caller belongs to.
function scheduler:spawn(f, ...)
    check_callable("larder.spawn", f)
    if not self.active then
        errors.misuse(1, "larder.spawn: only inside larder.run")
    end
    return add_task(self, self.active.group, f, ...)
end

-- Each function in a coroutine of its own; returns true when these and all they spawned have ended, or raises the
-- first error then. run(f1, f2, ...) or run { f1, f2, ... }.
function scheduler:run(first, ...)
    local list = { first, ... }
    local n = select("#", ...) + 1
    if n == 1 and type(first) == "table" and not schema.is_callable(first) then
        list, n = first, #first
    elseif n == 1 and first == nil then
        n = 0
    end
    for i = 1, n do
        check_callable("larder.run", list[i])
    end
    local group = { n = 0, failed = false, waiter = new_waiter(self) }
    for i = 1, n do
        add_task(self, group, list[i])
    end
    if group.n > 0 then
        rest(self, group.waiter)
    end
    if group.failed then
        error(group.error, 0)
    end
    return true
end

return scheduler
