-- redis_server.lua - what a hit costs the server: CPU time by Redis' own statistics (INFO: used_cpu_user +
-- used_cpu_sys) for what Larder sends for 100 hits of 64 bytes, by get_many and by 100 coroutines, against 100 GETs
-- in one pipeline.
--
-- under: luajit
package.path = "./?.lua;" .. package.path
local bench = require "spec.support.bench"
local larder = require "larder"
local redis = require "spec.support.bench_redis"

local N_KEYS, MANY, TIMES, BLOCKS = 1000, 100, 50, 10

local function busy_ns(peer)
    return (peer:info "used_cpu_user" + peer:info "used_cpu_sys") * 1e9
end

-- ns of the server's CPU a hit, of both sides in turn, for each round
local function measure(peer, ours, theirs)
    local rounds = { {}, {} }
    for round = 0, bench.rounds do -- the first warms up
        local sum = { 0, 0 }
        for _ = 1, BLOCKS do
            for side, work in pairs { ours or false, theirs } do
                local from = busy_ns(peer)
                if work then
                    work()
                end
                sum[side] = sum[side] + busy_ns(peer) - from
            end
        end
        if round > 0 then
            rounds[1][round], rounds[2][round] = sum[1] / (BLOCKS * TIMES * MANY), sum[2] / (BLOCKS * TIMES * MANY)
        end
    end
    return ours and rounds[1], rounds[2]
end

redis.with(function()
    local keys, peers_keys = redis.keys(N_KEYS)
    local peer = redis.probe.peer(redis.path, peers_keys, redis.value)
    local cache = redis.open { l1 = false }
    local hundred, readers = {}, {}
    for i = 1, MANY do
        hundred[i] = keys[i]
        readers[i] = function()
            for j = 1, TIMES do
                if cache:get(keys[(i + j * MANY) % N_KEYS + 1]) ~= redis.value then
                    error "another value"
                end
            end
        end
    end
    if cache then
        redis.fill(cache, keys)
    end
    local function get_many()
        for _ = 1, TIMES do
            if cache:get_many(hundred)[hundred[MANY]] ~= redis.value then
                error "another value"
            end
        end
    end
    local function side_by_side()
        larder.run(readers)
    end
    local function pipe()
        peer:pipe(TIMES * MANY, MANY)
    end
    redis.row({ place = 26, work = "server CPU a hit, get_many of 100", peer = "100 GETs in a pipeline", reach = 2 },
        measure(peer, cache and get_many, pipe))
    redis.row({ place = 26.1, work = "server CPU a hit, 100 coroutines", peer = "100 GETs in a pipeline", reach = 2 },
        measure(peer, cache and side_by_side, pipe))
    if cache then
        assert(cache:stats().misses == 0, "every read was to be a hit")
        cache:close()
    end
end)
