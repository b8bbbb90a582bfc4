-- redis_hit.lua - what a hit in Redis costs one caller, values of 64 bytes, a unix socket, no shelf of the process
-- before it: cache:get, against a GET by hiredis in C that reads the value and frees the reply.
-- Last, for information, with the server on the processor of its caller: on a quiet machine the most of a round trip
-- is the waking of a processor that sleeps, which is the same for both sides and hides the rest.
--
-- under: lua5.4 luajit
package.path = "./?.lua;" .. package.path
local redis = require "spec.support.bench_redis"

local N_KEYS = 1000

redis.with(function()
    local keys, peers_keys = redis.keys(N_KEYS)
    local cache = redis.open { l1 = false }
    local peer = redis.probe.peer(redis.path, peers_keys, redis.value)
    local at = 0
    if cache then
        redis.fill(cache, keys)
    end
    local function ours(n)
        for _ = 1, n do
            at = at % N_KEYS + 1
            if cache:get(keys[at]) ~= redis.value then
                error "another value"
            end
        end
    end
    local function row(place, what, pinned, reach)
        redis.compare { place = place + (redis.engine == "LuaJIT" and 0.1 or 0), work = redis.engine .. ": " .. what,
            n = 200, pinned = pinned, ours = cache and ours, peer = "hiredis GET", theirs = function(n)
                peer:get(n)
            end, reach = reach }
    end
    row(21, "hit in Redis, 64 bytes", false, 1.35)
    row(21.2, "the same, all on one processor", true)
    if cache then
        assert(cache:stats().misses == 0, "every read was to be a hit")
        cache:close()
    end
end)
