-- hit.lua - what a hit costs, as ratios within one run: minimum and median over rounds.
--
--   lua5.4 spec/bench/hit.lua [rounds]      luajit [-joff] spec/bench/hit.lua [rounds [constant]]
--
-- Rounds of the two sides alternate, so that what else the machine does meets both. Without the cache (larder.core) the
-- memo stands over slots of its own: the same C and Lua on the hit path, and nothing behind it.
local rounds = tonumber(arg and arg[1]) or 9
local N_KEYS, N_LOOKS = 1000, 20000
local is_jit = rawget(_G, "jit") ~= nil
local with_jit = is_jit and (jit.status())
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

-- In its home, ngx.now is a C function called by FFI (lua-resty-core) that reads a cached time. "constant" instead is
-- a Lua function that the compiler folds away: the cheapest that there can be.
local function constant_now()
    return 1e9
end

local function ffi_now()
    local now = require("ffi").cast("double (*)(void)", require("spec.support.probe").now)
    return function()
        return now()
    end
end

local function lrucache()
    local now = arg and arg[2] == "constant" and constant_now or ffi_now()
    rawset(_G, "ngx", { now = now, config = { debug = false }, log = function() end, ALERT = 2 })
    local c = require("resty.lrucache").new(N_KEYS + 24)
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

-- Each side gets its own copy of the loop, so that neither runs in a trace made for the other.
local function loop_for()
    local f = assert((loadstring or load)(string.dump(get_all)))
    for i = 1, 3 do
        local name, value = debug.getupvalue(get_all, i)
        if name then
            debug.setupvalue(f, i, value)
        end
    end
    return f
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

local function time(work, subject, passes)
    collectgarbage()
    local from = os.clock()
    assert(work(subject, passes) == passes * N_LOOKS)
    return (os.clock() - from) / (passes * N_LOOKS) * 1e9
end

local function sorted(t)
    table.sort(t)
    return t
end

local function compare(name, mine, theirs, reach)
    local a, b, ratio = {}, {}, {}
    time(mine.work, mine.subject, mine.passes)
    time(theirs.work, theirs.subject, theirs.passes)
    for i = 1, rounds do
        a[i] = time(mine.work, mine.subject, mine.passes)
        b[i] = time(theirs.work, theirs.subject, theirs.passes)
        ratio[i] = a[i] / b[i]
    end
    sorted(a)
    sorted(b)
    sorted(ratio)
    local middle = math.floor((rounds + 1) / 2)
    print(("%-57s %7.1f ns  peer %7.1f ns  ratio min %.2f median %.2f  reach %s"):format(name, a[middle], b[middle],
        ratio[1], ratio[middle], reach))
end

local function hits(cache, passes)
    return { work = loop_for(), subject = cache, passes = passes or PASSES }
end

local function text_value(key)
    return text_of(key)
end

local function row_value(_, i)
    return row_of(i)
end

local whole = (pcall(require, "larder"))
print(whole and "over a cache" or "over the memo alone: larder could not be loaded")
if with_jit then
    print("lrucache's ngx.now: " .. (arg and arg[2] or "a C function by FFI; run with `constant` for the other peer"))
end

local engine = is_jit and (with_jit and "LuaJIT" or "LuaJIT -joff") or _VERSION

local function row(text, ...)
    compare(engine .. ": " .. text, ...)
end

if is_jit then
    row("hit, 64-byte string / lrucache get", hits(open_cache(text_value)), hits(lrucache()),
        with_jit and "<= 1" or "<= 0.5")
else
    row("hit, 64-byte string / t:get(k)", hits(open_cache(text_value)), hits(plain_table()), "<= 3")
end

local few = math.max(1, math.floor(PASSES / 10))
local json = { work = decode_all, subject = json_texts(), passes = few }
row("hit, table of 8 fields, copy / cjson decode", hits(open_cache(row_value), few), json, "<= 0.5")
row("hit, the same, shared / string hit", hits(open_cache(row_value, true)), hits(open_cache(text_value)), "about 1")

local codec = require "spec.support.codec"
local packed = { decode = codec.decode, texts = {} }
for i, key in ipairs(keys) do
    packed.texts[key] = codec.encode(row_of(i))
end
local decoding = { work = decode_all, subject = packed, passes = few }
row("decode of the table, no memo / cjson decode", decoding, json, "<= 0.5")
