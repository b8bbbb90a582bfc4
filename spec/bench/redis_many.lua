-- redis_many.lua - many keys from Redis, values of 64 bytes, a unix socket, no shelf of the process before it:
-- get_many of 100 keys, against an MGET of 100 by hiredis in C; and 64 coroutines of larder.run that read a key each,
-- again and again, against 64 GETs in one pipeline of hiredis. Last, for information, larder.run begun and ended for
-- each 64.
--
-- under: lua5.4 luajit
package.path = "./?.lua;" .. package.path
local larder = require "larder"
local redis = require "spec.support.bench_redis"

local N_KEYS, SIDE_BY_SIDE, EACH = 1000, 64, 8

local place = redis.engine == "LuaJIT" and 0.1 or 0

local function hundreds(cache, keys)
    local lists, at = {}, 0
    for i = 1, N_KEYS / 100 do
        lists[i] = {}
        for j = 1, 100 do
            lists[i][j] = keys[(i - 1) * 100 + j]
        end
    end
    return function(n)
        for _ = 1, n do
            at = at % #lists + 1
            local list = lists[at]
            local values = cache:get_many(list)
            if values[list[1]] ~= redis.value or values[list[100]] ~= redis.value then
                error "another value"
            end
        end
    end
end

-- n reads by 64 coroutines, `each` by every one.
local function coroutines(cache, keys, each)
    local readers, from = {}, 0
    for i = 1, SIDE_BY_SIDE do
        readers[i] = function()
            for j = 1, each do
                if cache:get(keys[(from + i + j * SIDE_BY_SIDE) % N_KEYS + 1]) ~= redis.value then
                    error "another value"
                end
            end
        end
    end
    return function(n)
        for _ = 1, n / (SIDE_BY_SIDE * each) do
            from = from + SIDE_BY_SIDE * each
            larder.run(readers)
        end
    end
end

redis.with(function()
    local keys, peers_keys = redis.keys(N_KEYS)
    local cache = redis.open { l1 = false }
    local peer = redis.probe.peer(redis.path, peers_keys, redis.value)
    if cache then
        redis.fill(cache, keys)
    end
    local function pipe(n)
        peer:pipe(n, SIDE_BY_SIDE)
    end
    redis.compare { place = 22 + place, work = redis.engine .. ": get_many of 100 from Redis", n = 20,
        ours = cache and hundreds(cache, keys), peer = "hiredis MGET", theirs = function(n)
            peer:mget(n)
        end, reach = 1.5 }
    redis.compare { place = 23 + place, work = redis.engine .. ": 64 coroutines read from Redis, a key",
        n = SIDE_BY_SIDE * EACH * 4, ours = cache and coroutines(cache, keys, EACH), peer = "64 GETs in one pipeline",
        theirs = pipe, reach = 1.5 }
    redis.compare { place = 23.2 + place, work = redis.engine .. ": the same, one read a coroutine",
        n = SIDE_BY_SIDE * EACH * 4, ours = cache and coroutines(cache, keys, 1), peer = "64 GETs in one pipeline",
        theirs = pipe }
    if cache then
        assert(cache:stats().misses == 0, "every read was to be a hit")
        cache:close()
    end
end)
