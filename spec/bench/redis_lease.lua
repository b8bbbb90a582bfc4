-- redis_lease.lua - what a miss with its lease costs one caller on a unix socket: from the call of cache:get to the
-- call of the loader, so look-up and lease without the fill, against a GET of a value of 64 bytes by hiredis in C.
-- The loader asks that its value not be stored; what follows it is not measured. Last, for information, a whole miss
-- with its fill, against GET and SET.
--
-- under: lua5.4 luajit
package.path = "./?.lua;" .. package.path
local redis = require "spec.support.bench_redis"

local now = redis.probe.now
local place = redis.engine == "LuaJIT" and 0.1 or 0
local NOT_STORED = { store = false }

redis.with(function()
    local _, peers_keys = redis.keys(1000)
    local cache = redis.open { l1 = false, ttl = 3600 }
    local peer = redis.probe.peer(redis.path, peers_keys, redis.value)
    local n_keys = 0
    local function fresh_key()
        n_keys = n_keys + 1
        return ("absent:%08d"):format(n_keys)
    end

    local called
    local function loader()
        called = now()
        return redis.value, nil, NOT_STORED
    end
    local function ours(n)
        local took = 0
        for _ = 1, n do
            local key = fresh_key()
            local from = now()
            if cache:get(key, nil, loader) ~= redis.value then
                error "another value"
            end
            took = took + called - from
        end
        return took
    end
    local function row(at, what, pinned, reach)
        redis.compare { place = at + place, work = redis.engine .. ": " .. what, n = 100, pinned = pinned,
            ours = cache and ours, peer = "hiredis GET", theirs = function(n)
                peer:get(n)
            end, reach = reach }
    end
    row(27, "miss with its lease, no fill", false, 2.8)
    row(27.2, "the same, all on one processor", true)

    local function stored()
        return redis.value
    end
    redis.compare { place = 27.4 + place, work = redis.engine .. ": miss, a Lua loader, with its fill", n = 100,
        ours = cache and function(n)
            for _ = 1, n do
                if cache:get(fresh_key(), nil, stored) ~= redis.value then
                    error "another value"
                end
            end
        end, peer = "hiredis GET and SET", theirs = function(n)
            peer:get_set(n)
        end }
    if cache then
        assert(cache:stats().hits == 0, "every read was to be a miss")
        cache:close()
    end
end)
