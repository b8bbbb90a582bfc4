-- hit.lua - what a hit costs, as ratios within one run: minimum and median over rounds.
--
--   lua5.4 spec/bench/hit.lua      luajit [-joff] spec/bench/hit.lua
--
-- Without the cache (larder.core) the memo stands over slots of its own: the same C and Lua on the hit path, and
-- nothing behind it.
package.path = "./?.lua;" .. package.path
local bench = require "spec.support.bench"

local N_KEYS, N_LOOKS = 1000, 20000
local is_jit, with_jit = bench.is_jit, bench.with_jit
local PASSES = with_jit and 50 or 5

local keys, order = {}, {}
for i = 1, N_KEYS do
    keys[i] = ("product:%06d"):format(i * 7919 % 1000003)
end
do -- drawn one by one, from a fixed seed: a shuffled cycle would be a list in perfect order to an LRU
    local x = 12345
    for i = 1, N_LOOKS do
        x = (x * 48271) % 2147483647
        order[i] = keys[math.floor(x / 8) % N_KEYS + 1]
    end
end

local function text_of(key)
    return (key .. ("-"):rep(64)):sub(1, 64)
end

local function row_of(i)
    return { id = i, name = "product " .. i, price = i + 0.25, stock = i % 50, active = i % 2 == 0,
        vendor = "vendor " .. i % 20, url = "https://example.org/p/" .. i, weight = i * 1.5 }
end

-- ---- the caches ---------------------------------------------------------------------------------------------------

local function memo_cache(value_of, shared)
    local probe = require "spec.support.probe"
    local p = probe.new(1024, shared, true)
    for i, key in ipairs(keys) do
        assert(p:put(key, value_of(key, i), i, 1e15))
    end
    local cache = { probe = p }
    cache.get = require("larder.memo").get(probe.core, cache, p:memo(), function()
        error("a hit was expected")
    end)
    return cache
end

local function open_cache(value_of, shared)
    local ok, larder = pcall(require, "larder")
    if not (ok and type(larder) == "table" and larder.open) then
        return memo_cache(value_of, shared)
    end
    local cache = larder.open { l1 = { values = shared and "shared" or "copy" } }
    for i, key in ipairs(keys) do
        assert(cache:set(key, value_of(key, i)))
    end
    for _ = 1, 2 do
        for _, key in ipairs(keys) do
            assert(cache:get(key) ~= nil)
        end
    end
    return cache
end

-- ---- the peers ----------------------------------------------------------------------------------------------------

local Plain = {}
Plain.__index = Plain
function Plain:get(key)
    local value = self.values[key]
    return value, nil, "l1"
end

local function plain_table()
    local t = setmetatable({ values = {} }, Plain)
    for _, key in ipairs(keys) do
        t.values[key] = text_of(key)
    end
    return t
end

local function lrucache(constant)
    local c = bench.lrucache(N_KEYS + 24, constant)
    for _, key in ipairs(keys) do
        c:set(key, text_of(key), 3600)
    end
    return c
end

local function json_texts()
    local cjson = require "cjson"
    local t = { decode = cjson.decode, texts = {} }
    for i, key in ipairs(keys) do
        t.texts[key] = cjson.encode(row_of(i))
    end
    return t
end

-- ---- measuring ----------------------------------------------------------------------------------------------------

local function get_all(cache, passes)
    local n = 0
    for _ = 1, passes do
        for i = 1, N_LOOKS do
            if cache:get(order[i]) ~= nil then
                n = n + 1
            end
        end
    end
    return n
end

local function decode_all(t, passes)
    local decode, texts, n = t.decode, t.texts, 0
    for _ = 1, passes do
        for i = 1, N_LOOKS do
            if decode(texts[order[i]]) then
                n = n + 1
            end
        end
    end
    return n
end

local function working(work, subject, passes)
    return function()
        assert(work(subject, passes) == passes * N_LOOKS)
        return passes * N_LOOKS
    end
end

local function hits(cache, passes)
    return working(bench.own(get_all), cache, passes or PASSES)
end

local function text_value(key)
    return text_of(key)
end

local function row_value(_, i)
    return row_of(i)
end

local place = is_jit and (with_jit and 0.3 or 0.6) or 0
local function row(at, text, ours, peer, theirs, reach)
    bench.compare { place = at + place, work = bench.engine .. ": " .. text, ours = ours, peer = peer, theirs = theirs,
        reach = reach }
end

local strings = open_cache(text_value)
local work = "hit, 64-byte string"
if arg and arg[1] == "constant" then
    row(1.01, work, hits(strings), "lrucache get, ngx.now a constant", hits(lrucache(true)))
    return
elseif with_jit then
    row(1, work, hits(strings), "lrucache get", hits(lrucache()), 1)
    os.execute "luajit spec/bench/hit.lua constant" -- lrucache keeps the ngx.now that it met first
elseif is_jit then
    row(1, work, hits(strings), "lrucache get", hits(lrucache()), 0.5)
else
    row(1, work, hits(strings), "t:get(k)", hits(plain_table()), 3)
end

local few = math.max(1, math.floor(PASSES / 10))
local json = working(decode_all, json_texts(), few)
row(2, "hit, table of 8 fields, copy", hits(open_cache(row_value), few), "cjson decode", json, 0.5)
row(2.1, 'the same, values = "shared"', hits(open_cache(row_value, true)), "our string hit", hits(strings), 1.1)

local codec = require "spec.support.codec"
local packed = { decode = codec.decode, texts = {} }
for i, key in ipairs(keys) do
    packed.texts[key] = codec.encode(row_of(i))
end
row(9.6, "decode of the table, no memo", working(decode_all, packed, few), "cjson decode", json)
