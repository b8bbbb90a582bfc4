-- checker_profiles.lua - what the runs that are judged differ in: how the caches are opened, what is done how often,
-- which faults there are, and within which time all agree when they are over.
local larder = require "larder"

local profiles = {}

local USUAL = { get = 40, get_entry = 10, load = 10, get_many = 8, refresh = 1, set = 14, rejected = 1, outside = 2,
    delete = 3, invalidate = 3, invalidate_all = 0.3 }

-- USUAL with these changes.
local function weights(changes)
    local all = {}
    for name, weight in pairs(USUAL) do
        all[name] = weight
    end
    for name, weight in pairs(changes) do
        all[name] = weight
    end
    return all
end

-- Whatever is lost, however a process ends: nothing is read that is older than 2 s.
profiles.bound = {
    ids = 12, ttl = 1.5, stale_ttl = 0.5, negative_ttl = 1, hard = 2, changes = false, settle_ms = 4000,
    weights = weights { touch = 1 },
    faults = { "kill", "kill", "stop", "cut", "flush", "freeze", "restart" },
}

-- With the change table nothing stays that is not so any more, however long it might be kept.
profiles.changes = {
    ids = 12, ttl = 300, stale_ttl = 0, negative_ttl = 300, hard = 300, changes = { interval = 0.1 },
    settle_ms = 4000,
    weights = weights {},
    faults = { "kill", "kill", "stop", "cut", "flush", "freeze", "restart" },
}

-- The same where the source has no versions: the cache draws its own.
profiles.unversioned = {
    ids = 12, ttl = 300, stale_ttl = 0, negative_ttl = 300, hard = 300, changes = { interval = 0.1 },
    settle_ms = 4000,
    weights = weights { get_entry = 0 }, is_unversioned = true,
    faults = { "kill", "kill", "stop", "cut", "flush", "freeze", "restart" },
}

-- Without the change table the bell alone sees to that, where every writer lives on and all write through the cache.
profiles.bell = {
    ids = 12, ttl = 300, stale_ttl = 0, negative_ttl = 300, hard = 300, changes = false, settle_ms = 4000,
    weights = weights { outside = 0 },
    faults = { "stop", "cut", "cut", "flush", "freeze", "restart" },
}

-- The log of a process in one of its lives.
function profiles.log(folder, number, life)
    return ("%s/%s.%s.log"):format(folder, number, life)
end

-- Without any fault, with slow loads: what is written while they load is seen by all within the soft bound. All load
-- and write the same row for a moment, then leave it alone for seconds: nothing mends what stayed.
profiles.calm = {
    ids = 100, ttl = 300, stale_ttl = 0, negative_ttl = 300, hard = 300, soft_ms = 1000, changes = false,
    settle_ms = 4000, slow_ms = 40, slice_ms = 50, tasks = 8,
    weights = { get = 40, get_many = 5, load = 10, reload = 40, set = 6, delete = 1, invalidate = 3 },
    faults = {},
}

function profiles.options(profile, url, file)
    return {
        name = "judged", l2 = { url = url, timeout = 0.25 }, ttl = profile.ttl, stale_ttl = profile.stale_ttl,
        negative_ttl = profile.negative_ttl, bound = { hard = profile.hard }, changes = profile.changes,
        pattern = { "read_through", "write_through" }, guard = { lock = { ttl = 0.5 } },
        source = larder.source.sqlite { file = file, timeout = 2, models = {
            item = { table = "items", key = "id", version = not profile.is_unversioned and "version" or nil } } },
    }
end

-- A verb's name by its weight, from the draw.
function profiles.drawn(profile, draw)
    if not profile.names then
        profile.names, profile.sum = {}, 0
        for name, weight in pairs(profile.weights) do
            profile.names[#profile.names + 1] = name
            profile.sum = profile.sum + weight
        end
        table.sort(profile.names)
    end
    local at = draw:below(10000) / 10000 * profile.sum
    for _, name in ipairs(profile.names) do
        at = at - profile.weights[name]
        if at < 0 then
            return name
        end
    end
    return "get"
end

return profiles
