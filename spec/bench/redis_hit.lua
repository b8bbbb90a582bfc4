-- redis_hit.lua - what a hit in Redis costs one caller, values of 64 bytes, a unix socket, no shelf of the process
-- before it: cache:get, against a GET by hiredis in C that reads the value and frees the reply.
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
    redis.compare { place = redis.engine == "LuaJIT" and 21.1 or 21, work = redis.engine .. ": hit in Redis, 64 bytes",
        n = 200, ours = cache and function(n)
            for _ = 1, n do
                at = at % N_KEYS + 1
                if cache:get(keys[at]) ~= redis.value then
                    error "another value"
                end
            end
        end, peer = "hiredis GET", theirs = function(n)
            peer:get(n)
        end, reach = 1.35 }
    if cache then
        assert(cache:stats().misses == 0, "every read was to be a hit")
        cache:close()
    end
end)
