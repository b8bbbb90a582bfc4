-- rush.lua - a process of the stampede: callers of one missing key as coroutines of larder.run. Who loads is written
-- down outside of the cache, in a list of Redis, by a connection of its own: "loads:KEY", one "pid time" a loader's
-- begin.
local larder = require "larder"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"

return function(path)
    local cache = assert(larder.open { name = "rush", l2 = "redis+unix://" .. path, guard = { lock = { ttl = 0.5 } } })
    local own = assert(redis.dial(path))
    local pid = posix.getpid()
    local told = {}

    -- The first of all loaders takes that long, or until "go:KEY" is there; the others answer at once.
    local function load(key, seconds)
        local rank = own:ask("RPUSH", "loads:" .. key, ("%d %.3f"):format(pid, posix.now()))
        if rank == 1 and seconds >= 0 then
            larder.sleep(seconds)
        elseif rank == 1 then
            repeat
                larder.sleep(0.002)
            until own:ask("EXISTS", "go:" .. key) == 1
        end
        return ("%s, load %d"):format(key, rank)
    end

    -- n callers at once. Gives what they got, "50 x value" or several of these with "; " between.
    function told.rush(key, n, seconds)
        local counts, names, tasks = {}, {}, {}
        for i = 1, n do
            tasks[i] = function()
                local value, err = cache:get(key, { timeout = 15 }, function() return load(key, seconds) end)
                local name = value or tostring(err)
                if not counts[name] then
                    names[#names + 1] = name
                end
                counts[name] = (counts[name] or 0) + 1
            end
        end
        larder.run(tasks)
        for i, name in ipairs(names) do
            names[i] = ("%d x %s"):format(counts[name], name)
        end
        return table.concat(names, "; ")
    end

    -- What is held here without asking anybody, and what a reader is given here.
    function told.held(key)
        local value, outcome = cache:peek(key)
        return value or outcome
    end

    function told.read(key)
        local value, err, outcome = cache:get(key)
        return value or err and tostring(err) or outcome
    end

    -- From here on the cache hears the bell: what it keeps is not suspect any more.
    function told.ready()
        redis.wait_until(function()
            return cache:stats().suspicions > 0
        end, nil, "the subscription")
        return true
    end

    function told.close()
        cache:close()
    end

    return told
end
