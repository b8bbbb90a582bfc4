-- drive.lua - the only loop that steps an operation from Lua: satisfies what it wants with the host's scheduler.
--
-- C does in op:run() what needs no Lua (jobs in line, loads by a source on Larder's thread); here are calls of Lua
-- functions, waits, and loads that call Lua functions. Such a load runs beside its caller where the host has tasks, so
-- that the caller's deadline holds; else it runs in the caller's place.
--
-- A context belongs to one call of the user: its loader and arguments, what the loader gave, and what it failed with.

local calls = require "larder.calls"
local errors = require "larder.errors"

local drive = {}

local run

-- Runs an operation that nobody waits for, or whose waiters are woken by what it does.
local function run_alone(st, op, context)
    run(st, op, context)
    op:finish()
end

-- New work: beside the caller where there are tasks, else in its place.
local function start(st, op, context)
    local sched = st.sched
    if sched:can_wait() then
        sched:spawn(run_alone, st, op, context)
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
        while op:job_runs() do
            sched:wait(op:id())
        end
    else
        op:job()
    end
end

function run(st, op, context)
    local sched = st.sched
    while true do
        local want, a, background = op:run(not sched:can_wait())
        if want == "done" then
            return
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

-- Steps a read to its end. The operation is left for its results; the caller finishes it.
drive.run = run

-- Steps a write to its end, but not beyond its deadline where a store that is a Lua function takes longer: then gives
-- nil and the error (the work goes on and finishes the operation itself), else true.
function drive.write(st, op, context)
    local sched = st.sched
    local want, deadline = op:run(not sched:can_wait())
    while want ~= "done" do
        if want == "call" and sched:can_wait() then
            local ended, left = false, false
            sched:spawn(function()
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
        elseif want == "job" then
            job(st, op)
        end
        want, deadline = op:run(not sched:can_wait())
    end
    return true
end

return drive
