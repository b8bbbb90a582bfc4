-- Drawn schedules of processes over one shared tier and SQLite: each talk, each statement and each message of the
-- bell takes as long as the seed says, some requests and answers are lost, keys are evicted, messages are missed.
-- Judged: who wrote, or heard of a write, reads nothing older; in the end, when the losses were noticed, all read
-- what the table has.

local bed = require "spec.support.bed"
local race = require "spec.support.race"
local schedule = require "spec.support.schedule"

local names = { "a", "b", "c" }

-- prices of a row only rise, and one process writes it: so that a read can be judged
local function life(s, draw, faults)
    local caches, settled, price = {}, {}, {}
    local floors = { a = {}, b = {}, c = {} }
    for i, name in ipairs(names) do
        caches[name] = s:process(name, { guard = { "lock", lock = { ttl = 0.5 } } })
        settled[i], price[i] = i * 10, i * 10
        for _, other in ipairs(names) do
            floors[other][i] = i * 10
        end
    end
    local function nap(longest)
        s:pass(draw(100) / 100 * longest)
    end
    function s.pause(_, what)
        nap(draw(20) == 1 and 0.8 or 0.02)
        if faults and not what:find "answered" and what ~= "source" and draw(15) == 1 then
            return draw(2) == 1 and "unsent" or "unheard"
        end
    end
    local function read(name, i)
        local floor = floors[name][i]
        local row, err = caches[name]:get("item:" .. i, { timeout = 60 })
        assert(row, tostring(err))
        assert(row.price >= floor, ("%s read %d of item %d, and knew of %d"):format(name, row.price, i, floor))
    end
    local function write(name, i)
        local key = "item:" .. i
        price[i] = price[i] + 1
        local mine, kind = price[i], draw(3)
        if kind == 1 then
            s:sql("UPDATE items SET price = ? WHERE id = ?", mine, i)
            nap(0.02)
            caches[name]:invalidate(key) -- where that is not confirmed it is sent again
        elseif kind == 2 then
            caches[name]:write(key, function()
                return s:sql("UPDATE items SET price = ? WHERE id = ?", mine, i)
            end)
        else
            assert(caches[name]:set(key, { price = mine }))
        end
        floors[name][i] = mine
        settled[i] = mine
    end
    local function hear(name)
        local known = { settled[1], settled[2], settled[3] }
        s:ring(name)
        for i = 1, faults and 0 or 3 do
            floors[name][i] = math.max(floors[name][i], known[i])
        end
    end
    local tasks = {}
    for i, name in ipairs(names) do
        tasks[#tasks + 1] = s:begin(function()
            for _ = 1, 5 do
                nap(0.1)
                write(name, i)
            end
        end)
        for _ = 1, 2 do
            tasks[#tasks + 1] = s:begin(function()
                for _ = 1, 8 do
                    nap(0.05)
                    read(name, draw(3))
                end
            end)
        end
        tasks[#tasks + 1] = s:begin(function()
            for _ = 1, 10 do
                nap(0.1)
                local kind = faults and draw(6) or 0
                if kind == 1 then
                    s:miss(name)
                elseif kind == 2 then
                    s:evict("item:" .. draw(3))
                else
                    hear(name)
                end
                s:tend(name)
            end
        end)
    end
    for _, task in ipairs(tasks) do
        task:result()
    end
    s.pause = nil
    for _ = 1, 4 do
        s:pass(2.5)
        for _, name in ipairs(names) do
            s:tend(name)
            s:ring(name)
        end
    end
    for _, name in ipairs(names) do
        for i = 1, 3 do
            assert.equal(s:price(i), caches[name]:get("item:" .. i).price)
        end
    end
end

describe("processes over one shared tier (seeds from " .. race.seed .. "):", function()
    for title, faults in pairs { ["pauses"] = false, ["pauses and losses"] = true } do
        it(title, function()
            for seed = race.seed, race.seed + bed.count(1000, 20) - 1 do
                local fine, err = pcall(schedule.run, "virtual", {}, function(s)
                    life(s, race.host(seed).draw, faults)
                end)
                if not fine then
                    error(("seed %d (LARDER_SEED=%d): %s"):format(seed, seed, tostring(err)), 0)
                end
            end
        end)
    end
end)
