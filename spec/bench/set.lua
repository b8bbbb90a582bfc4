-- set.lua - what a write costs when the cache is full and each new key drives one out: 100,000 entries, keys drawn from
-- twice as many in shuffled order, values of 64 bytes.
--
-- under: lua5.4 luajit
package.path = "./?.lua;" .. package.path
local bench = require "spec.support.bench"

local ENTRIES, KEYS, A_ROUND = 100000, 200000, 100000

local keys = {}
for i = 1, KEYS do
    keys[i] = ("product:%08d"):format(i)
end
bench.shuffle(keys)

local VALUE = ("v"):rep(64)

local function set_some(cache, from, to)
    for i = from, to do
        cache:set(keys[i], VALUE)
    end
end

local function set_expiring(cache, from, to)
    for i = from, to do
        cache:set(keys[i], VALUE, 300)
    end
end

-- Each call writes the next 100,000 keys of the circle.
local function writing(cache, set)
    local from = 1
    set(cache, 1, KEYS)
    return function()
        set(cache, from, from + A_ROUND - 1)
        from = from + A_ROUND
        if from > KEYS then
            from = 1
        end
        return A_ROUND
    end
end

local larder = require "larder"
local ours = writing(larder.open { l1 = { entries = ENTRIES } }, bench.own(set_some))
local work = bench.engine .. ": set with eviction, 100,000 entries"

if bench.is_jit then
    bench.compare { place = 4, work = work, ours = ours, peer = "lrucache set",
        theirs = writing(bench.lrucache(ENTRIES), bench.own(set_expiring)), reach = 0.75 }
else
    local t, n = {}, 0 -- luacheck: ignore 241
    -- a plain table that never forgets: no peer, only a floor
    local plain = { set = function(_, key, value)
        n = n + 1
        t[key] = { value, n }
    end }
    bench.compare { place = 4.5, work = work, ours = ours, peer = "t[key] = { value, time }, no eviction",
        theirs = writing(plain, bench.own(set_expiring)) }
end
