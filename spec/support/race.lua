-- race.lua - schedules of races: many small ones drawn from a seed, on the test host, and one that is written down.

local bed = require "spec.support.bed"
local test = require "larder.host.test"

local race = { seed = bed.seed % 1000000 }

-- How many drawn schedules a scenario is run with.
race.n = bed.count(2000, 60)

-- A host of the seed; host.draw(n) gives 1 to n, host:pause() sleeps up to 10 s, or just lets others run.
function race.host(seed)
    local host = test.new { seed = seed }
    local state = seed % 2147483646 + 1
    function host.draw(n)
        state = state * 48271 % 2147483647
        return state % n + 1
    end
    function host.pause()
        host:sleep((host.draw(5) - 1) * 2.5)
    end
    return host
end

-- Runs scenario(host, seed) with every seed; an error names the seed that showed it.
function race.all(scenario)
    for seed = race.seed, race.seed + race.n - 1 do
        local fine, err = pcall(scenario, race.host(seed), seed)
        if not fine then
            error(("seed %d (LARDER_SEED=%d): %s"):format(seed, seed, tostring(err)), 0)
        end
    end
end

-- Runs n tasks, each calling fn(i).
function race.tasks(host, ...)
    local list = {}
    for _, spec in ipairs { ... } do
        for i = 1, spec[1] do
            list[#list + 1] = function()
                spec[2](i)
            end
        end
    end
    host:run(list)
end

return race
