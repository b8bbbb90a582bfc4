-- shared.lua - caches over one Redis server in one program.
--
-- Caches of one name in one process hear each other without Redis; shared.beside opens one in a process of its own.
-- shared.open gives a cache that hears the bell already: what it kept before its subscription stood is suspect.

local assert = require "luassert"
local bed = require "spec.support.bed"
local larder = require "larder"
local redis = require "spec.support.redis"

local shared = {}

-- A cache that hears the bell. options: those of larder.open.
function shared.open(options)
    local cache = assert(larder.open(options))
    redis.wait_until(function()
        return cache:stats().suspicions > 0
    end, nil, "the subscription")
    return cache
end

-- Runs code in another process, with `cache` opened by the options (a string of Lua: what is given beside name and
-- l2). What it prints must end with "fine", which is added.
function shared.beside(server, name, code, options)
    bed.child_is_fine(([[
        local larder = require "larder"
        local cache = assert(larder.open { name = %q, l2 = %q, %s })
        %s
        cache:close()
        print "fine"
    ]]):format(name, server.url, options or "", code))
end

-- The key's value, outcome and, where it failed, the code.
function shared.read(cache, key, ...)
    local value, err, outcome = cache:get(key, ...)
    return value, outcome or err.code
end

-- Asserts what get gives.
function shared.gives(value, outcome, cache, key, ...)
    local got, how = shared.read(cache, key, ...)
    assert.same({ value, outcome }, { got, how })
end

-- Reads the key until L1 holds it, for the bell may still ring for a change that was made just before; gives the value.
function shared.held(cache, key)
    local value
    redis.wait_until(function()
        value = cache:get(key)
        return select(2, cache:peek(key)) == "l1"
    end, nil, key .. " in L1")
    return value
end

-- Waits until the cache has forgotten the key: another process changed it.
function shared.forgets(cache, key)
    redis.wait_until(function()
        return select(2, cache:peek(key)) == "miss"
    end, nil, key .. " forgotten")
end

return shared
