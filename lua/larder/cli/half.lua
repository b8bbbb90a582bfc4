-- half.lua - one of the demo's two processes that share a cache: it replays every second request of the trace, with
-- writes of the products that are its own, and writes down what it read and when.

local history = require "larder.cli.history"
local larder = require "larder"
local replay = require "larder.cli.replay"
local shop = require "larder.cli.shop"
local trace = require "larder.cli.trace"

local half = {}

half.INTERVAL = 0.1 -- how often the caches look at the change table
local TTL = 120     -- what is left in a server that is not our own is gone after so long

-- Products all over the shop, by the trace's numbers: one for each.
function half.spread(distinct, n)
    local ids, keys, step = {}, {}, 7919
    while n % step == 0 do
        step = step + 2
    end
    for number = 1, distinct do
        ids[number] = number * step % n + 1
        keys[number] = "product:" .. ids[number]
    end
    return ids, keys
end

local function every_second(requests, side)
    local mine = {}
    for i = side, #requests, 2 do
        mine[#mine + 1] = requests[i]
    end
    return mine
end

local function open(plan, file)
    return assert(larder.open {
        name = plan.name, l2 = plan.url, l1 = { entries = plan.entries }, pattern = "write_through", ttl = TTL,
        changes = { interval = half.INTERVAL },
        source = larder.source.sqlite { file = file, models = { product = { table = "products",
            version = "version" } } },
    })
end

-- plan: url name entries seed before (history.lua); store: the shop; side: 1 or 2. Opens the cache; gives a function
-- that replays the half and gives its figures, the log of what was read, and the seconds of each read by outcome.
function half.prepare(plan, side, store, requests, keys, ids)
    local cache, log, took = open(plan, store.file), history.log(store, plan.before), {}
    cache:peek "product:1" -- its thread begins to listen
    return function(progress)
        local result = replay.run {
            cache = cache, truth = log, requests = every_second(requests, side), ids = ids, keys = keys,
            seed = plan.seed * 2 + side, progress = progress,
            may_write = function(id)
                return id % 2 == side - 1
            end,
            get = function(c, key)
                return c:get(key)
            end,
            note = function(outcome, seconds)
                took[outcome] = took[outcome] or {}
                table.insert(took[outcome], seconds)
            end,
            write = function(id, edition)
                return cache:set("product:" .. id, store:columns(id, edition))
            end,
            foreign = function(id, edition)
                return store:update("other", id, edition)
            end,
        }
        result.stats = cache:stats()
        cache:close()
        return result, log, took
    end
end

---- the other process -----------------------------------------------------------------------------------------------

local COUNTED = { "own_writes", "foreign_writes", "violations", "requests", "first_violation" }
half.STATS = { "hits", "hits_l1", "hits_l2", "misses", "loads", "leases", "lease_waits", "refused", "bell_heard",
    "bell_gaps", "reconnects", "suspicions", "errors" }

local function save(name, result, log, took)
    local file = assert(io.open(name, "w"))
    for _, field in ipairs(COUNTED) do
        if result[field] then
            file:write("f ", field, " ", tostring(result[field]):gsub("%s", " "), "\n")
        end
    end
    for _, field in ipairs(half.STATS) do
        file:write(("s %s %d\n"):format(field, result.stats[field]))
    end
    for outcome, list in pairs(took) do
        for _, seconds in ipairs(list) do
            file:write(("t %s %.9f\n"):format(outcome, seconds))
        end
    end
    log:save(file)
    assert(file:close())
end

-- What the other process saved: as half.prepare's function gives it.
function half.read(name)
    local result, log, took = { stats = {} }, history.log(), {}
    for line in io.lines(name) do
        local kind, field, value = line:match "^([fst]) (%S+) (.*)$"
        if kind == "f" then
            result[field] = tonumber(value) or value
        elseif kind == "s" then
            result.stats[field] = tonumber(value)
        elseif kind == "t" then
            took[field] = took[field] or {}
            table.insert(took[field], tonumber(value))
        elseif not log:take(line) then
            error("the other process wrote what cannot be read: " .. line, 0)
        end
    end
    return result, log, took
end

local function work(folder)
    local plan = assert(loadfile(folder .. "/plan.lua", "t"))()
    local read = assert(trace.read(plan.trace))
    local store = shop.open(plan.file, plan.products, plan.seed)
    local requests, distinct = trace.cut(read, plan.requests)
    local ids, keys = half.spread(distinct, plan.products)
    local go = half.prepare(plan, 2, store, requests, keys, ids)
    io.stdout:write "ready\n"
    io.stdout:flush()
    local result, log, took = go { at = function() end }
    store:close()
    save(folder .. "/half.log", result, log, took)
end

-- The whole of the other process: says "ready" when it begins, and "done" or why not.
function half.serve(folder)
    local fine, why = xpcall(work, debug.traceback, folder)
    io.stdout:write(fine and "done\n" or tostring(why) .. "\n")
    return fine and 0 or 1
end

return half
