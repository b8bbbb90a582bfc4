--- Look-ups of coroutines that run side by side, as one question to Redis.
-- The first that comes leads: it gives way once, so that all who are ready come along, asks for the keys of all, and
-- rouses them. What Redis does not hold its reader then loads by itself, as if it had asked alone.
-- @module larder.gather
local drive = require "larder.drive"

local gather = {}

local MOST = 512 -- keys of one question
local ONLY_SEEK = { only_seek = true }

-- What the tiers hold of the keys, into the batch.
local function seek(st, batch)
    local sched = st.sched
    local op = st.core:get_op(batch.keys, ONLY_SEEK, batch.has_loader, true)
    if not op then
        return -- each reader hears why
    end
    local err = drive.run(st, op, {})
    sched:forget(op:id())
    if not err then
        op:sought(batch.values, batch.outcomes)
    end
    op:finish()
end

local function lead(st, batch, slot)
    local sched = st.sched
    sched.give_way()
    if st[slot] == batch then
        st[slot] = nil
    end
    local fine, err = pcall(seek, st, batch)
    batch.done = true
    for i = 2, #batch.keys do
        sched:rouse(batch.tasks[i])
    end
    if not fine then
        error(err, 0)
    end
end

--- What the tiers hold of a key, for a task that may rest.
-- @param st the state of a cache with a shared shelf
-- @param key a string that may be a key
-- @param has_loader does the call have one?
-- @param task the caller's, as scheduler:resting() gave it
-- @return the value, its outcome (none: it is to be loaded), and when it was begun to be sought
function gather.seek(st, key, has_loader, task)
    local slot = has_loader and "seeking_loads" or "seeking"
    local batch = st[slot]
    local i = batch and #batch.keys + 1 or 1
    if batch and i <= MOST then
        batch.keys[i], batch.tasks[i] = key, task
        local rest = st.sched.rest
        repeat
            rest()
        until batch.done
    else
        i, batch = 1, { keys = { key }, tasks = { task }, values = {}, outcomes = {}, has_loader = has_loader,
            began = st.sched:now(), done = false }
        st[slot] = batch
        lead(st, batch, slot)
    end
    return batch.values[i], batch.outcomes[i], batch.began
end

return gather
