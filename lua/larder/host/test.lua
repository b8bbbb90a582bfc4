-- test.lua - the host of tests: a clock that only moves when nothing can run, and an order drawn from a seed.
--
-- The same seed gives the same schedule, in every Lua. Time jumps to the next timer as soon as no task is ready, so
-- that hours pass in no time. What really runs elsewhere (jobs on a thread) may be heard by `poll`; while such work
-- is pending the clock stands still.

local core = require "larder.core"
local scheduler = require "larder.host.scheduler"

local test = {}

local START = 1000000 -- seconds

-- A small generator that gives the same numbers with integers and with doubles (Park and Miller's).
local function generator(seed)
    local state = seed % 2147483646 + 1
    return function(n)
        state = state * 48271 % 2147483647
        return state % n + 1
    end
end

-- The clocks of caches count microseconds: what is due at `at` must be due by them too.
local function follow(ud, at)
    local by = math.ceil(at * 1e6 - 0.01) - math.floor(ud:now() * 1e6 + 0.5)
    if by > 0 then
        ud:advance((by + 0.25) / 1e6)
    end
end

local function move_to(host, at)
    local by = at - host.at
    if by > 0 then
        host.at = at
        for ud in next, host.caches do
            if not pcall(follow, ud, at) then -- collected, but for the table's own entry
                host.caches[ud] = nil
            end
        end
        if host.moved then
            host.moved(by, at)
        end
    end
end

local function heard(host, seconds)
    if not host.poll then
        return {}
    end
    return host.poll(seconds)
end

local function wait(host, seconds, at)
    local ids, overflow = heard(host, 0)
    if #ids > 0 or overflow or seconds == 0 then
        return ids, overflow
    elseif host.pending and host.pending() > 0 then
        return heard(host, nil)
    elseif not seconds then
        return nil
    end
    move_to(host, at or host.at + seconds)
    return {}
end

local function keep_trace(sched)
    local lines = {}
    sched.lines = lines
    sched.note = function(task)
        lines[#lines + 1] = ("%.6f task %d"):format(sched.host.at, task.number)
    end
end

-- A scheduler (see scheduler.lua) on a virtual clock. options: seed (default 1), start (seconds), trace = true,
-- moved = function(by, now) after each step of the clock, poll = function(seconds or nil) -> ids, overflow and
-- pending = function() -> n for real work, redis = function(bytes) -> reply bytes, or nil (none came): the server of
-- the caches' l2, which may let time pass. Without it a real one is talked to, in no time. Beside a scheduler's
-- functions it has advance, trace, poll, hear and tend.
function test.new(options)
    options = options or {}
    local host = { at = options.start or START, moved = options.moved, poll = options.poll, pending = options.pending,
        caches = setmetatable({}, { __mode = "k" }) }
    local loop
    if not options.poll then -- what a cache's own steps post is heard by the next look around
        loop = assert(core.loop())
        host.poll = function()
            return loop:wait(0)
        end
    end
    local sched = scheduler.new {
        now = function()
            return host.at
        end,
        wait = function(seconds, at)
            return wait(host, seconds, at)
        end,
    }
    sched.kind, sched.host, sched.seed, sched.loop = "test", host, options.seed or 1, loop
    sched.choose = generator(sched.seed)
    if options.trace then
        keep_trace(sched)
    end

    -- The clock jumps, and nobody runs meanwhile: as if the process had stood still.
    function sched.advance(_, seconds)
        move_to(host, host.at + seconds)
    end

    -- The seed of the next cache: no two draw the same tokens.
    local n_caches = 0
    function sched.next_seed()
        n_caches = n_caches + 1
        return sched.seed + (n_caches - 1) * 1000003
    end

    -- From now on the clock of this cache (its core) moves with this one.
    function sched.attach(_, ud)
        host.caches[ud] = true
        follow(ud, host.at)
    end

    -- Runs what is due in the caches: they look for changes that others made.
    function sched.poll()
        for ud in next, host.caches do
            ud:poll(sched.redis ~= nil)
            if sched.redis then
                sched:tend(ud)
            end
        end
    end

    -- The bell rang with these bytes; true: a subscription stands from now on, false: it does no more. All caches with
    -- an l2 hear it.
    function sched.hear(_, what)
        for ud in next, host.caches do
            if ud:shares() then
                ud:hear(what)
            end
        end
    end

    -- A round of what a listener does, its talks carried as those of an operation are.
    function sched:tend(ud)
        local op = ud:tend_op()
        while op and op:run() == "job" do
            self:job(op)
        end
        if op then
            op:finish()
        end
    end

    -- What an operation wants done: a talk with the shared tier is carried by options.redis, where there is one.
    sched.redis = options.redis
    function sched.job(_, op)
        local bytes = options.redis and op:bytes()
        if bytes then
            op:feed(options.redis(bytes))
        else
            op:job()
        end
    end

    -- Which task ran when: a list of lines (with trace = true).
    function sched:trace()
        return self.lines or {}
    end
    return sched
end

return test
