-- reader.lua - another process of a spec (crew.lua): a cache over the same Redis and table, and what it is given.
--
--   open(name, url, file, ttl [, l2 timeout])     read(key) -> "price outcome"     read_all(n) -> "1=10 2=20 ..."
--   held(key)     set(key, price)     stat(name)
local larder = require "larder"
local posix = require "spec.support.posix"

local function word_of(row, err, outcome)
    return row and ("%d"):format(row.price) or err and err.code or outcome
end

return function()
    local cache
    local told = { ms = 0 }

    function told.open(name, url, file, ttl, timeout)
        cache = assert(larder.open {
            name = name, l2 = { url = url, timeout = timeout or 0.2 }, ttl = ttl,
            source = larder.source.sqlite { file = file, models = { item = { table = "items", version = "version" } } },
        })
        return cache:get "item:1".price
    end

    function told.close()
        if cache then
            cache:close(0.2)
            cache = nil
        end
        return true
    end

    function told.read(key)
        local row, err, outcome = cache:get(key, { timeout = 1 })
        return word_of(row, err, outcome) .. " " .. (outcome or "error")
    end

    -- Also how many ms the slowest of these calls took.
    function told.read_all(n, seconds)
        local list, slowest = {}, 0
        for i = 1, n do
            local from = posix.now()
            list[i] = i .. "=" .. word_of(cache:get("item:" .. i, { timeout = seconds or 1 }))
            slowest = math.max(slowest, posix.now() - from)
        end
        return ("%s ms=%.0f"):format(table.concat(list, " "), slowest)
    end

    function told.set(key, price)
        local version, err = cache:set(key, { price = price })
        return version or err.code
    end

    -- What is held in its own memory: the price, or "miss".
    function told.held(key)
        local row, outcome = cache:peek(key)
        return row and ("%d"):format(row.price) or outcome
    end

    function told.stat(name)
        return cache:stats()[name]
    end

    return told
end
