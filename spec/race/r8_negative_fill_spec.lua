-- R8: a reader finds that there is no such thing; a writer makes it and drops the key, where nothing is held; the
-- reader fills "absent", and the new thing is invisible. Here: an absence needs the same right to be filled.

local bed = require "spec.support.bed"
local larder = require "larder"
local race = require "spec.support.race"

describe("R8, an absence that is older than the insert (seeds from " .. race.seed .. "):", function()
    local tells = {
        invalidate = function(c, rows) rows.k = 1 return c:invalidate "k" end,
        write = function(c, rows) return c:write("k", function() rows.k = 1 return true end) end,
        set = function(c) return c:set("k", 1) end,
    }
    for name, tell in pairs(tells) do
        it("told by " .. name .. ", the schedule written down and drawn ones", function()
            race.all(function(host)
                local rows = {}
                local c = larder.open { host = host, negative_ttl = 1000, source = larder.source.functions {
                    timeout = 1000,
                    load = function(key)
                        host.pause()
                        local value = rows[key]
                        host.pause()
                        return value
                    end,
                    store = function(key, value)
                        host.pause()
                        rows[key] = value
                        host.pause()
                        return true
                    end,
                } }
                local told = false
                race.tasks(host, { 3, function()
                    for _ = 1, 3 do
                        host.pause()
                        local before = told
                        local value, err, outcome = c:get("k", { timeout = 1000, wait = 1000 })
                        assert(not err, tostring(err))
                        assert(value == 1 or not before, "invisible after it was told of: " .. outcome)
                    end
                end }, { 1, function()
                    host.pause()
                    assert(tell(c, rows))
                    told = true
                end })
                assert(c:get "k" == 1, "invisible at the end")
                c:close()
            end)
        end)
    end

    it("heard of through the change table", function()
        local file, db, remove = bed.items { changes = true }
        local host = race.host(1)
        function host:job(op)
            op:job()
            self:sleep(10)
        end
        local c = assert(larder.open { host = host, negative_ttl = 1000, changes = true, source = larder.source.sqlite {
            file = file, timeout = 1000, models = { item = { table = "items", version = "version" } } } })
        host.poll()
        host:run(function()
            assert.equal("absent", select(3, c:get "item:9"))
        end, function()
            host:sleep(5)
            assert(db:query "INSERT INTO items (id, name, price) VALUES (9, 'nine', 9)")
            host:advance(1)
            host.poll()
            assert.equal("nine", c:get("item:9", { timeout = 100 }).name)
        end)
        assert.equal("nine", c:get("item:9", { timeout = 100 }).name)
        c:close()
        remove(db)
    end)
end)
