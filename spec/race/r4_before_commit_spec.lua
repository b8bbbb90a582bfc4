-- R4: a writer drops the key inside its transaction; a reader loads the value of before and fills it; the writer
-- commits. Here: cache:write marks the keys from before the transaction to after it; in between nobody fills.

local larder = require "larder"
local race = require "spec.support.race"

describe("R4, a fill between drop and commit (seeds from " .. race.seed .. "):", function()
    it("the schedule written down: nothing is held inside, nothing old after", function()
        local host = race.host(1)
        local c = larder.open { host = host }
        local committed = 1
        c:set("k", 1)
        host:run(function()
            c:write("k", function()
                host:sleep(10)
                committed = 2
                host:sleep(10)
            end)
        end, function() -- loads while the transaction is open
            host:sleep(1)
            c:invalidate "k"
            assert.equal(1, (c:get("k", function() return committed end)))
            assert.same({ nil, "miss" }, { c:peek "k" })
        end, function() -- reads before the commit, lands after the end
            host:sleep(5)
            c:get("k", { guard = "none" }, function()
                local value = committed
                host:sleep(20)
                return value
            end)
        end)
        assert.same({ nil, "miss" }, { c:peek "k" })
        assert.equal(2, (c:get("k", function() return committed end)))
        assert.is_true(c:stats().refused >= 2)
        c:close()
    end)

    it("in drawn schedules", function()
        race.all(function(host)
            local c = larder.open { host = host }
            local committed, settled = 0, 0
            race.tasks(host, { 4, function()
                for _ = 1, 4 do
                    host.pause()
                    local floor = settled
                    local value = c:get("k", { timeout = 1000, wait = 1000 }, function()
                        host.pause()
                        local read = committed
                        host.pause()
                        return read
                    end)
                    assert(value >= floor, ("read %d after %d was committed and told of"):format(value, floor))
                end
            end }, { 2, function()
                for _ = 1, 3 do
                    host.pause()
                    local mine
                    c:write("k", function()
                        host.pause()
                        committed = committed + 1
                        mine = committed
                        host.pause()
                    end)
                    settled = math.max(settled, mine)
                end
            end })
            assert(c:get("k", function() return committed end) == committed, "an old value is held at the end")
            c:close()
        end)
    end)
end)
