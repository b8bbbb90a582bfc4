-- R21: a row is read; somebody else changes it, and the news of the change is handled; then the old row is filled.
-- Here: the news raises the version that a fill of the key must have, so the old row is refused.

local bed = require "spec.support.bed"
local larder = require "larder"
local race = require "spec.support.race"

describe("R21, news that overtake a fill (seeds from " .. race.seed .. "):", function()
    local file, db, remove, c

    before_each(function()
        file, db, remove = bed.items { changes = true }
    end)

    after_each(function()
        c:close()
        remove()
    end)

    local function open(host)
        c = assert(larder.open { host = host, changes = true, source = larder.source.sqlite {
            file = file, timeout = 1000, models = { item = { table = "items", version = "version" } } } })
        host.poll()
    end

    local function change(price)
        assert(db:query("UPDATE items SET price = ? WHERE id = 1", price))
    end

    it("the schedule written down", function()
        local host = race.host(1)
        function host:job(op)
            op:job()
            self:sleep(10)
        end
        open(host)
        local refused = {}
        c:on("refused", function(e) refused[#refused + 1] = e.reason end)
        host:run(function()
            assert.equal(10, c:get("item:1").price)
        end, function()
            host:sleep(5)
            change(11)
            host:advance(1)
            host.poll()
            assert.equal(11, c:get("item:1", { timeout = 100 }).price) -- joins nothing that began before
        end)
        assert.equal(11, c:get("item:1", { timeout = 100 }).price)
        assert.same({ "version" }, refused)
    end)

    it("in drawn schedules", function()
        race.n = bed.count(300, 15)
        race.all(function(host, seed)
            function host.job(_, op)
                host.pause()
                op:job()
                host.pause()
            end
            open(host)
            local price, heard = 1000 * (seed % 100), 0
            change(price)
            host:advance(1)
            host.poll()
            race.tasks(host, { 4, function()
                for _ = 1, 3 do
                    host.pause()
                    local floor = heard
                    local row = assert(c:get("item:1", { timeout = 1000, wait = 1000 }))
                    assert(row.price >= floor, ("read %d, but %d had been heard of"):format(row.price, floor))
                end
            end }, { 1, function()
                for _ = 1, 4 do
                    host.pause()
                    price = price + 1
                    change(price)
                    local mine = price
                    host.pause()
                    host:advance(1)
                    host.poll()
                    heard = mine
                end
            end })
            local row = assert(c:get("item:1", { timeout = 1000 }))
            assert(row.price == price, ("%d is held, %d is true"):format(row.price, price))
            c:close()
        end)
    end)
end)
