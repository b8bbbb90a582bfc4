-- values_worker.lua - random values written to Redis and read from there, in the Lua that runs this; used by the spec
-- itself, and by a process of the other Lua (crew.lua).
local larder = require "larder"
local values = require "spec.support.values"

local function key(i)
    return "value:" .. i
end

return function(url)
    local cache = assert(larder.open { name = "values", l2 = { url = url, timeout = 10 }, l1 = false })
    local told = {}

    -- The n values of a seed, all at once.
    function told.write(seed, n)
        local draw, map = values.new(seed, larder.null), {}
        for i = 1, n do
            map[key(i)] = draw:value()
        end
        local versions, errs = cache:set_many(map)
        local _, err = next(errs)
        if err then
            error(tostring(err))
        end
        local written = 0
        for _ in pairs(versions) do
            written = written + 1
        end
        return written
    end

    -- The same ones read back: how many were equal, half of them asked for one by one; raises for the first that is
    -- not. loose: they are of the other Lua.
    function told.read(seed, n, loose)
        local draw, keys = values.new(seed, larder.null), {}
        for i = 1, n do
            keys[i] = key(i)
        end
        local all = cache:get_many(keys)
        for i = 1, n do
            local expected, got, err = draw:value(), all[key(i)], nil
            if i % 2 == 0 then
                got, err = cache:get(key(i))
            end
            if not values.same(expected, got, loose) then
                error(("value %d of seed %d is not equal: %s"):format(i, seed, tostring(err or got)))
            end
        end
        return n
    end

    function told.close()
        cache:close()
    end

    return told
end
