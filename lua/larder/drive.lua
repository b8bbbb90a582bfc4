-- drive.lua - the only loop that steps an operation from Lua: satisfies what it wants with the host's scheduler.
--
-- C does in op:run() what needs no Lua (jobs and talks in line, loads by a source on Larder's thread); here are calls
-- of Lua functions, waits, and loads that call Lua functions. A talk with the shared tier is a job, too. Such a load
-- runs beside its caller where the host has tasks, so that the caller's deadline holds; else it runs in the caller's
-- place.
-- A host that must not be blocked (it has `stuck`) may find itself where it cannot wait either: then what would have to
-- wait is given up, and the host's error says why.
--
-- A context belongs to one call of the user: its loader and arguments, what the loader gave, and what it failed with.

local calls = require "larder.calls"
local errors = require "larder.errors"

local drive = {}

local LOOK = 1 -- seconds

local run

-- Steps once, as far as C comes, which leaves talks to a host that carries them itself (`redis`). First result: the
-- host cannot wait here and must not be blocked.
local function step(sched, op)
    local can_wait = sched:can_wait()
    local stuck = not can_wait and sched.stuck ~= nil
    return stuck, op:run(not can_wait and not stuck and not sched.redis, stuck)
end

-- The host's error where the caller can neither wait nor be blocked; else nil.
function drive.stuck(st)
    local sched = st.sched
    return sched.stuck and not sched:can_wait() and sched:stuck() or nil
end

-- Runs an operation that nobody waits for, or whose waiters are woken by what it does.
local function run_alone(st, op, context)
    run(st, op, context)
    op:finish()
    st.sched:forget(op:id())
end

-- Work that others may wait for too: it may outlive the caller where the host knows how.
local function beside(sched, f, ...)
    local begin = sched.detach or sched.spawn
    begin(sched, f, ...)
end

-- New work: beside the caller where there are tasks, else in its place.
local function start(st, op, context)
    local sched = st.sched
    if sched:can_wait() then
        beside(sched, run_alone, st, op, context)
    else
        run_alone(st, op, context)
    end
end

-- A job where other tasks may run meanwhile: Larder's thread, or the test host's idea of time.
local function job(st, op)
    local sched = st.sched
    if sched.job then
        sched:job(op)
    elseif op:submit() then
        while op:job_runs() do -- in a child forked meanwhile, it does not; but nobody says so
            sched:wait(op:id(), sched:now() + LOOK)
        end
    else
        op:job()
    end
end

function run(st, op, context)
    local sched = st.sched
    while true do
        local stuck, want, a, background = step(sched, op)
        if want == "done" then
            return
        elseif stuck and (want == "job" or want == "park") then
            context.refused = sched:stuck()
            return context.refused
        elseif want == "call" then
            calls.answer(st, op, context)
        elseif want == "spawn" then
            start(st, a, background and {} or context)
        elseif want == "job" then
            job(st, op)
        elseif want == "park" then
            sched:wait(op:id(), a, true)
        end
    end
end

-- Steps a read to its end. The operation is left for its results; the caller finishes it. Gives an error where the
-- operation itself had to be given up; a load that was given up is noted in context.refused.
drive.run = run

-- Steps a write to its end, but not beyond its deadline where a store that is a Lua function takes longer: then gives
-- nil and the error (the work goes on and finishes the operation itself), else true.
function drive.write(st, op, context)
    local sched = st.sched
    local stuck, want, deadline = step(sched, op)
    while want ~= "done" do
        if want == "call" and sched:can_wait() then
            local ended, left = false, false
            beside(sched, function()
                calls.answer(st, op, context)
                if left then
                    return run_alone(st, op, context)
                end
                ended = true
                sched:wake(op:id())
            end)
            sched:wait(op:id(), deadline)
            if not ended then
                left = true
                local _, code, message = op:expired()
                return nil, errors.new(code, message)
            end
        elseif want == "call" then
            calls.answer(st, op, context)
        elseif want == "spawn" then
            start(st, deadline, {})
        elseif want == "job" and stuck then
            op:finish()
            return nil, sched:stuck()
        elseif want == "job" then
            job(st, op)
        end
        stuck, want, deadline = step(sched, op)
    end
    return true
end

return drive
