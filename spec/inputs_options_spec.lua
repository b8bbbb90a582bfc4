-- inputs_options_spec.lua - bad input, items 38-50: TTL and options, at open, at the call, from loaders and ttl
-- functions. Each gives what docs/inputs.md says.

local bed = require "spec.support.bed"
local larder = require "larder"
local test = require "larder.host.test"

local fails, misuse = bed.fails, bed.misuse

-- A ttl that is none raises at open and at each verb, and is invalid from a loader or a function.
local function is_no_ttl(value, shown)
    for _, name in ipairs { "ttl", "stale_ttl", "negative_ttl" } do
        misuse(function() local _ = larder.open { [name] = value } end, "larder.open: " .. name, "got " .. shown)
    end
    local c = larder.open {}
    for _, name in ipairs { "ttl", "stale_ttl", "negative_ttl" } do
        misuse(function() local _ = c:get("k", { [name] = value }) end, "cache:get: " .. name, "got " .. shown)
        fails("invalid", name, c:get("k", function() return 1, nil, { [name] = value } end))
    end
    misuse(function() local _ = c:set("k", 1, { ttl = value }) end, "cache:set: ttl", "got " .. shown)
    misuse(function() local _ = c:set_many({ k = 1 }, { stale_ttl = value }) end, "cache:set_many: stale_ttl")
    misuse(function() local _ = c:touch("k", value) end, "cache:touch: ttl", "got " .. shown)
    assert.equal("miss", select(2, c:peek "k"))
    c:close()
    c = larder.open { ttl = function() return value end }
    fails("invalid", "ttl", c:get("k", function() return 1 end))
    fails("invalid", "ttl", c:set("k", 1))
    c:close()
end

describe("TTL and options:", function()
    it("38 a ttl of 0 keeps nothing", function()
        local c = larder.open { ttl = 0 }
        c:set("k", 1)
        assert.equal("miss", select(2, c:peek "k"))
        c:set("k", 1, { ttl = 5 })
        assert.equal("l1", select(2, c:peek "k"))
        c:set("k", 2, { ttl = 0 })
        assert.equal("miss", select(2, c:peek "k"))
        c:close()
    end)

    it("39 a negative ttl is none", function()
        is_no_ttl(-1, "-1")
        is_no_ttl(-math.huge, "-inf")
        is_no_ttl(-1e-300, "-1e-300")
    end)

    it("40 NaN is none", function() is_no_ttl(0 / 0, "NaN") end)

    it("41, 42 infinity never expires; what is huge does not wrap around", function()
        for _, ttl in ipairs { math.huge, 1e308, 2 ^ 63, 2 ^ 64, 1e300 } do
            local host = test.new { seed = 1 }
            local c = larder.open { host = host, ttl = ttl, stale_ttl = ttl, negative_ttl = ttl, jitter = 0.5 }
            c:set("k", 1)
            c:get("gone", function() end)
            c:get("loaded", function() return 1, nil, { ttl = ttl, stale_ttl = ttl } end)
            host:advance(3e7)
            assert.same({ "l1", "absent", "l1" }, { (select(3, c:get "k")), (select(3, c:get "gone")),
                (select(3, c:get "loaded")) })
            assert.is_true(c:touch("k", ttl))
            assert.is_true(c:get_entry("k").ttl > 1e7)
            c:close()
        end
    end)

    it("43 what is above 0 is kept, at least 1 ms", function()
        local host = test.new { seed = 1 }
        local c = larder.open { host = host, ttl = 0.0001, jitter = 1 }
        c:set("k", 1)
        host:advance(0.0009)
        assert.equal("l1", select(2, c:peek "k"))
        host:advance(0.0001)
        assert.equal("miss", select(2, c:peek "k"))
        c:close()
    end)

    it("44 \"10\" is none, nor is any other type", function()
        is_no_ttl("10", '"10"')
        is_no_ttl({}, "a table")
        is_no_ttl(true, "true")
        is_no_ttl(larder.null, "a userdata")
    end)

    it("45 jitter is from 0 to 1 and shortens only", function()
        for _, wrong in ipairs { -0.1, 1.1, 0 / 0, math.huge, "0.5" } do
            misuse(function() local _ = larder.open { jitter = wrong } end, "jitter", "from 0 to 1")
        end
        local c = larder.open { ttl = 60, jitter = 1 }
        local shorter = 0
        for _ = 1, 50 do
            c:set("k", 1)
            local ttl = c:get_entry("k").ttl or 0 -- nil: drawn so short that it is gone already
            assert.is_true(ttl <= 60)
            shorter = shorter + (ttl < 59 and 1 or 0)
        end
        assert.is_true(shorter > 0)
        c:close()
    end)

    it("46 unknown names list the valid ones; misspelt words name what there is", function()
        misuse(function() local _ = larder.open { tll = 5 } end, "larder.open: unknown option tll", "valid are: bound",
            "stale_ttl, ttl")
        misuse(function() local _ = larder.open { l1 = { size = 5 } } end, "unknown option l1.size", "l1.bytes")
        misuse(function() local _ = larder.open { 5 } end, "unknown option")
        misuse(function() local _ = larder.open { [true] = 5 } end, "unknown option")
        misuse(function() local _ = larder.open { consistency = "evntual" } end,
            "consistency", '"evntual"', "eventual, weak")
        misuse(function() local _ = larder.open { guard = "locks" } end, "guard", '"locks"')
        misuse(function() local _ = larder.open { guard = { lock = { waits = 5 } } } end,
            "guard.lock.waits", "guard.lock.wait")
        misuse(function() local _ = larder.open { codec = "mesgpack" } end, "codec", "msgpack, json, raw")
        misuse(function() local _ = larder.open { l1 = { policy = "lfru" } } end, "l1.policy", "s3fifo")
        misuse(function() local _ = larder.open { name = "a b" } end, "name", '"a b"')
        misuse(function() local _ = larder.open { name = "" } end, "name")
        misuse(function() local _ = larder.open { name = ("n"):rep(65) } end, "name")
        misuse(function() local _ = larder.open { host = "ngnix" } end, "host", '"ngnix"')
        misuse(function() local _ = larder.source.sqlite { fil = "x" } end,
            "larder.source.sqlite", "unknown option fil")
        misuse(function() local _ = larder.source.functions { loader = print } end, "unknown option loader", "load")
    end)

    it("47 types that are wrong are named", function()
        misuse(function() local _ = larder.open(5) end, "larder.open: options must be a table, got 5")
        misuse(function() local _ = larder.open "x" end, "must be a table", '"x"')
        misuse(function() local _ = larder.open { consistency = 5 } end, "consistency", "got 5")
        misuse(function() local _ = larder.open { consistency = {} } end, "consistency", "got a table")
        misuse(function() local _ = larder.open { l1 = true } end, "l1 must be a table or false", "got true")
        misuse(function() local _ = larder.open { source = {} } end, "source", "got a table")
        misuse(function() local _ = larder.open { source = print } end, "source", "got a function")
        misuse(function() local _ = larder.open { on_error = "x" } end, "on_error", '"x"')
        misuse(function() local _ = larder.open { guard = 5 } end, "guard", "got 5")
        misuse(function() local _ = larder.open { pattern = 5 } end, "pattern", "got 5")
        misuse(function() local _ = larder.open { host = 5 } end, "host", "got 5")
        local c = larder.open {}
        misuse(function() local _ = c:get("k", { consistency = 5 }) end, "cache:get: consistency", "got 5")
        misuse(function() local _ = c:get("k", { timeout = "1" }) end, "timeout", 'got "1"')
        misuse(function() local _ = c:get("k", { wait = -1 }) end, "wait", "got -1")
        misuse(function() local _ = c:get("k", { refresh = 1 }) end, "refresh", "got 1")
        c:close()
        assert.equal("userdata", type(larder.null))
        assert(larder.open()):close()
        assert(larder.open(nil)):close()
    end)

    it("47 a host that is any other table raises", function()
        misuse(function() local _ = larder.open { host = {} } end, "host")
    end)

    it("48 capacities: 0, below, fractions, NaN and what is too huge raise; 1 entry and odd shards are fine", function()
        for _, wrong in ipairs { 0, -1, 0.5, 1.5, 0 / 0, math.huge, -math.huge, 65535, "64", "64X",
            "1.5M", "-1M", "", {} } do
            misuse(function() local _ = larder.open { l1 = { bytes = wrong } } end, "l1.bytes")
        end
        for _, wrong in ipairs { 0, -1, 0.5, 0 / 0, math.huge, "10" } do
            misuse(function() local _ = larder.open { l1 = { entries = wrong } } end, "l1.entries")
            misuse(function() local _ = larder.open { l1 = { shards = wrong } } end, "l1.shards")
        end
        for _, wrong in ipairs { -1, 0.5, 0 / 0, math.huge, "10" } do
            misuse(function() local _ = larder.open { l1 = { memo = wrong } } end, "l1.memo")
        end
        local c = larder.open { l1 = { entries = 1 } }
        for i = 1, 20 do
            assert(c:set("k" .. i, i))
        end
        assert.is_true(c:stats().entries <= 1)
        c:close()
        c = larder.open { l1 = { bytes = 65536, entries = 2 ^ 31, memo = 0, negatives = 0 } }
        assert(c:set("k", 1))
        assert.equal(1, (c:get "k"))
        assert.equal(0, c:stats().memo)
        assert.is_true(c:stats().bytes <= 65536)
        c:close()
        c = larder.open { l1 = { shards = 3 } }
        assert(c:set("k", 1))
        c:close()
        for _, size in ipairs { 2 ^ 40, 2 ^ 53, "8000T" } do
            misuse(function() local _ = larder.open { l1 = { bytes = size } } end, "l1", "shards")
        end
        misuse(function() local _ = larder.open { l1 = { bytes = 65536, shards = 4 } } end,
            "65536 bytes are too few for 4")
        misuse(function() local _ = larder.open { l1 = { entries = 2, shards = 4 } } end, "2 entries are fewer than 4")
        misuse(function() local _ = larder.open { l1 = { shards = 1025 } } end, "l1.shards", "from 1 to 1024")
    end)

    it("49 the tables given are copied: later changes change nothing", function()
        local l1 = { entries = 10 }
        local opts = { ttl = 50, l1 = l1, guard = { lock = { wait = 1 } }, pattern = { "cache_aside" } }
        local c = larder.open(opts)
        opts.ttl, l1.entries, opts.pattern[1], opts.guard.lock.wait = "x", "y", "z", "w"
        c:set("k", 1)
        assert.is_true(c:get_entry("k").ttl > 49)
        local get_opts = setmetatable({}, { __index = { ttl = "not read" } })
        assert.equal(1, (c:get("k", get_opts)))
        local given = { ttl = 5 }
        c:get("other", given, function() given.ttl = 500 return 1 end)
        assert.is_true(c:get_entry("other").ttl <= 5)
        assert.equal(500, given.ttl)
        c:close()
        local functions = { load = function() return 1 end }
        local src = larder.source.functions(functions)
        functions.load = nil
        c = larder.open { source = src }
        assert.equal(1, (c:get "k"))
        c:close()
    end)

    it("50 what contradicts itself raises at open", function()
        misuse(function() local _ = larder.open { consistency = "strong", stale_ttl = 5 } end, "strong", "stale_ttl")
        misuse(function() local _ = larder.open { consistency = "strong" } end, "not built yet")
        misuse(function() local _ = larder.open { guard = "background" } end, "background", "stale_ttl")
        misuse(function() local _ = larder.open { guard = "background", stale_ttl = 5 } end, "not built yet")
        misuse(function() local _ = larder.open { guard = { "none", "lock" } } end, "none", "alone")
        misuse(function() local _ = larder.open { bound = { soft = 5, hard = 4 } } end, "bound.soft", "bound.hard")
        misuse(function() local _ = larder.open { pattern = "write_through" } end, "needs a source")
        misuse(function() local _ = larder.open { pattern = { "cache_aside", "read_through" } } end, "pattern")
        misuse(function() local _ = larder.open { changes = true } end, "changes", "source")
        misuse(function() local _ = larder.open { name = "x", l2 = "rediss://h" } end, "rediss", "not built yet")
        misuse(function() local _ = larder.open { bus = "tracking" } end, "needs an l2")
        misuse(function() local _ = larder.open { write_behind = {} } end, "not built yet")
        misuse(function() local _ = larder.open { l1 = { shared = "/x" } } end, "not built yet")
    end)

    it("50 l1 = false keeps nothing; loads are still joined", function()
        local host = test.new { seed = 1 }
        local c = larder.open { host = host, l1 = false }
        assert.is_string((c:set("k", 1)))
        assert.equal("miss", select(3, c:get "k"))
        assert.equal("miss", select(2, c:peek "k"))
        assert.is_false(c:touch("k", 5))
        assert.is_true((c:delete "k"))
        assert.is_true((c:invalidate_all()))
        local n, outcomes = 0, {}
        local list = {}
        for i = 1, 5 do
            list[i] = function()
                local _, _, outcome = c:get("k", function() n = n + 1 host:sleep(1) return 1 end)
                outcomes[outcome] = (outcomes[outcome] or 0) + 1
            end
        end
        host:run(list)
        assert.equal(1, n)
        assert.same({ loaded = 1, joined = 4 }, outcomes)
        local s = c:stats()
        assert.same({ 0, 0 }, { s.entries, s.bytes })
        c:close()
    end)
end)
