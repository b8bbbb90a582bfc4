-- Reads and writes of a real table by many coroutines on Larder's own thread, while others write the table: nobody
-- reads what is older than what the cache was told of before, and in the end the cache and the table agree.

local bed = require "spec.support.bed"
local larder = require "larder"
local race = require "spec.support.race"

describe("rows under many coroutines (seeds from " .. race.seed .. "):", function()
    local file, db, remove

    before_each(function()
        file, db, remove = bed.items { changes = true }
    end)

    after_each(function()
        remove()
    end)

    local function life(seed, options)
        options.source = larder.source.sqlite { file = file,
            models = { item = { table = "items", version = "version" } } }
        local c = assert(larder.open(options))
        local draw = race.host(seed).draw
        local last, settled = {}, {}
        for id = 1, 3 do
            last[id], settled[id] = 1000 * seed % 1000000, 0
        end
        local function pause()
            larder.sleep(draw(4) / 4000)
        end
        -- prices of a row only rise, so that a read can be judged
        local function write_row(id)
            last[id] = last[id] + 1
            return last[id]
        end
        local function read(id)
            local key, floor = "item:" .. id, settled[id]
            local kind = draw(4)
            local row, err
            if kind == 1 then
                row, err = c:refresh(key)
            elseif kind == 2 then
                local rows, errs = c:get_many { "item:1", "item:2", "item:3" }
                row, err = rows[key], errs[key]
            else
                row, err = c:get(key)
            end
            assert(not err, tostring(err))
            if row and row.price ~= larder.null and row.price < floor then
                error(("item %d: read %d, but %d had been written before"):format(id, row.price, floor))
            end
        end
        local tasks = {}
        for _ = 1, 6 do
            tasks[#tasks + 1] = function()
                for _ = 1, 15 do
                    pause()
                    read(draw(3))
                end
            end
        end
        for id = 1, 3 do
            tasks[#tasks + 1] = function() -- one writer a row, through the cache or beside it
                for _ = 1, 8 do
                    pause()
                    local price, kind = write_row(id), draw(3)
                    if kind == 1 then
                        assert(c:set("item:" .. id, { price = price }))
                    elseif kind == 2 then
                        assert(c:write("item:" .. id, function()
                            assert(db:query("UPDATE items SET price = ? WHERE id = ?", price, id))
                            return true
                        end))
                    else
                        assert(db:query("UPDATE items SET price = ? WHERE id = ?", price, id))
                        assert(c:invalidate("item:" .. id))
                    end
                    settled[id] = price
                end
            end
        end
        larder.run(tasks)
        for id = 1, 3 do
            local price = db:query("SELECT price FROM items WHERE id = ?", id)[1].price
            assert.equal(price, c:get("item:" .. id).price)
        end
        c:close()
    end

    local n = bed.count(100, 6)
    for name, options in pairs {
        ["write_through"] = {}, ["write_around"] = { pattern = "write_around" },
        ["with changes"] = { changes = { interval = 0.002 } },
        ["without l1"] = { l1 = false }, ["without guard"] = { guard = "none" },
    } do
        it(name, function()
            for seed = race.seed, race.seed + n - 1 do
                local given = {}
                for key, value in pairs(options) do
                    given[key] = value
                end
                given.changes = given.changes or false
                life(seed, given)
            end
        end)
    end
end)
