-- R1: a reader misses and reads the old value; a writer commits a new one and drops the key; the reader fills the old
-- value, and it stays until its ttl. Here: what the reader fills is refused, and nobody who comes after the drop
-- gets a value from before it.

local larder = require "larder"
local race = require "spec.support.race"

-- What each way of telling the cache does once `truth` has the new value.
local drops = {
    invalidate = function(c) return c:invalidate "k" end,
    delete = function(c) return c:delete "k" end,
    invalidate_all = function(c) return c:invalidate_all() end,
    set = function(c, value) return c:set("k", value) end,
}

describe("R1, a fill that is older than a drop (seeds from " .. race.seed .. "):", function()
    for name, drop in pairs(drops) do
        it("by " .. name .. ", the schedule written down", function()
            local host = race.host(1)
            local c = larder.open { host = host }
            local truth, reader, late = 1, nil, nil
            local function load()
                local value = truth
                host:sleep(10)
                return value
            end
            host:run(function()
                reader = c:get("k", load)
            end, function()
                host:sleep(5)
                truth = 2
                assert(drop(c, 2))
                late = c:get("k", load)
            end)
            assert.equal(1, reader) -- it asked before: it may have it
            assert.equal(2, late)
            assert.equal(2, (c:get("k", load)))
            assert.is_true(c:stats().refused >= 1)
            c:close()
        end)

        it("by " .. name .. ", in drawn schedules", function()
            race.all(function(host)
                local c = larder.open { host = host }
                local truth, settled = 0, 0
                race.tasks(host, { 4, function()
                    for _ = 1, 4 do
                        host.pause()
                        local floor = settled
                        local value = c:get("k", { timeout = 1000, wait = 1000 }, function()
                            host.pause()
                            local read = truth
                            host.pause()
                            return read
                        end)
                        assert(value >= floor, ("read %s, %d had been told of before"):format(tostring(value), floor))
                    end
                end }, { 2, function()
                    for _ = 1, 3 do
                        host.pause()
                        if name == "set" then -- the caller's write and its set are one step
                            truth = truth + 1
                            assert(c:set("k", truth))
                            settled = truth
                        else
                            truth = truth + 1
                            local mine = truth
                            host.pause()
                            assert(drop(c))
                            settled = math.max(settled, mine)
                        end
                    end
                end })
                local value = c:get("k", function() return truth end)
                assert(value == truth, ("%s is held, %d is true"):format(tostring(value), truth))
                c:close()
            end)
        end)
    end
end)
