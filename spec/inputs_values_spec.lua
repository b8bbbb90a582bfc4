-- inputs_values_spec.lua - bad input, items 18-37: values, through set and get and loaders of a real cache. Each gives
-- what docs/inputs.md says, and the next good call works.

local bed = require "spec.support.bed"
local larder = require "larder"
local values = require "spec.support.values"

local fails, misuse, null = bed.fails, bed.misuse, bed.null
local is_jit = bed.is_jit

local c

local function same(expected, got)
    if type(expected) == "table" and expected == got then
        return
    end
    assert.is_true(values.same(expected, got), "not equal")
end

-- Kept by set and by a loader, and read back equal: by the shelf, by the memo, by an entry, by peek.
local function comes_back(value, expected)
    if expected == nil then
        expected = value
    end
    assert(c:set("k", value))
    for _ = 1, 3 do
        local got, err, outcome = c:get "k"
        assert.is_nil(err)
        assert.equal("l1", outcome)
        same(expected, got)
    end
    same(expected, (c:peek "k"))
    same(expected, c:get_entry("k").value)
    c:delete "k"
    same(value, (c:get("k", function() return value end))) -- who loaded gets the very value
    same(expected, (c:get "k"))
    c:delete "k"
end

-- Refused by set and by a loader with this code; what was held stays.
local function is_refused(code, value, pattern)
    c:set("k", "held")
    fails(code, pattern, c:set("k", value))
    assert.equal("held", (c:get "k"))
    fails(code, pattern, c:refresh("k", function() return value end))
    assert.equal("held", (c:get "k"))
    fails(code, pattern, c:get("other", function() return value end))
    assert.equal("fine", (c:get("other", function() return "fine" end)))
    c:delete_many { "k", "other" }
end

describe("values:", function()
    before_each(function() c = assert(larder.open {}) end)
    after_each(function() c:close() end)

    it("18 nil raises in set; of a loader it is absent, told from a miss", function()
        misuse(function() local _ = c:set("k", nil) end, "cache:set", "the value must be anything but nil")
        assert.equal("absent", select(3, c:get("k", function() return nil end)))
        assert.equal("miss", select(3, c:get "k"))
    end)

    it("19 false is no miss", function()
        comes_back(false)
        comes_back { false, a = false }
        local n = 0
        c:get("f", function() n = n + 1 return false end)
        c:get("f", function() n = n + 1 return false end)
        assert.equal(1, n)
    end)

    it("20 \"\" and {} are values", function()
        comes_back ""
        comes_back {}
        comes_back { {}, a = {}, b = { {} } }
    end)

    it("21 NaN, infinities and -0.0 come back", function()
        for _, value in ipairs { 0 / 0, 1 / 0, -1 / 0, -0.0, 5e-324, 1.7976931348623157e308 } do
            comes_back(value)
            comes_back { value }
        end
    end)

    it("22 integers and floats up to every edge keep value and kind", function()
        for _, value in ipairs { 2 ^ 53, -2 ^ 53, 2 ^ 53 + 2, 2 ^ 63, -2 ^ 63, 2 ^ 64, 1e15, 0.1 } do
            comes_back(value)
        end
        local edges = { values.int64(2097152, 1), values.int64(-2097152, -1), values.int64(2147483647, 4294967295),
            values.int64(-2147483648, 0) }
        for _, value in ipairs(edges) do
            comes_back(value)
            comes_back { value }
        end
        if not is_jit then
            comes_back(1)
            comes_back(1.0)
            c:set("k", 1.0)
            assert.equal("float", math.type((c:get "k")))
            c:set("k", 1)
            assert.equal("integer", math.type((c:get "k")))
        end
    end)

    it("23 tables with holes keep every place", function()
        comes_back { 1, nil, 3 }
        comes_back { nil, nil, 3 }
        comes_back { [1] = 1, [1000] = 2 }
        comes_back { [2 ^ 31] = 1 }
    end)

    it("24 mixed keys come back", function() comes_back { 1, 2, a = 3, [10] = 4, ["1"] = 5 } end)

    it("25 float and boolean keys come back", function()
        comes_back { [1.5] = 1, [true] = 2, [false] = 3, [-1] = 4, [0] = 5, [1e300] = 6, [1 / 0] = 7 }
    end)

    it("26 rings are refused", function()
        local ring = {}
        ring[1] = ring
        is_refused("unsupported", ring)
        local a, b = {}, {}
        a.b, b.a = b, a
        is_refused("unsupported", { a })
        local key = {}
        is_refused("unsupported", { [key] = 1 })
    end)

    it("27 the same subtable twice comes back as two", function()
        local sub = { 1 }
        comes_back { sub, sub, x = sub }
        c:set("k", { sub, sub })
        local got = c:get "k"
        assert.are_not.equal(got[1], got[2])
    end)

    it("28 depth 100 comes back, 101 and 100,000 are refused", function()
        local function nested(depth)
            local t = {}
            for _ = 2, depth do
                t = { t }
            end
            return t
        end
        comes_back(nested(100))
        is_refused("unsupported", nested(101))
        is_refused("unsupported", nested(100000))
    end)

    it("29 very many elements are kept where they fit, else too_large", function()
        local n = bed.count(10000000, 1000000)
        local t = {}
        for i = 1, n do
            t[i] = i % 100
        end
        if n > 1000000 then
            c:close()
            c = larder.open { l1 = { bytes = "64M", shards = 1 } }
        end
        local version, err = c:set("k", t)
        assert.is_true(version ~= nil or err.code == "too_large")
        local got = c:get("k", function() return t end)
        assert.equal(n, #got)
        assert.equal(n % 100, got[n])
    end)

    it("30 functions, coroutines, userdata are refused, int64 cdata are integers, other cdata are refused", function()
        is_refused("unsupported", print, "function")
        is_refused("unsupported", coroutine.create(print), "thread")
        is_refused("unsupported", io.stdout, "userdata")
        is_refused("unsupported", { { print } }, "function")
        is_refused("unsupported", { [print] = 1 })
        if is_jit then
            local ffi = require "ffi"
            comes_back(ffi.new("int64_t", 5), 5)
            comes_back(values.int64(-2147483648, 1))
            is_refused("unsupported", ffi.new("uint64_t", -1))
            is_refused("unsupported", ffi.new("int[4]"))
            is_refused("unsupported", { ffi.new("void *") })
        end
    end)

    it("31 metatables are not asked: tables are taken raw", function()
        local called = 0
        local function count() called = called + 1 return 1 end
        local mt = { __index = count, __newindex = count, __len = count, __pairs = count, __ipairs = count,
            __eq = count, __tostring = count, __call = count, __gc = nil, __mode = "v" }
        comes_back(setmetatable({ 1, 2, x = { 3 } }, mt), { 1, 2, x = { 3 } })
        assert.equal(0, called)
        c:set("k", setmetatable({}, mt))
        assert.is_nil(getmetatable((c:get "k")))
    end)

    it("32 a __pairs that raises or changes the table is not called", function()
        comes_back(setmetatable({ 1 }, { __pairs = function() error "no" end }), { 1 })
        local t
        t = setmetatable({ 1, 2 }, { __pairs = function() t[1] = nil return next, t end })
        comes_back(t, { 1, 2 })
    end)

    it("33, 34 a value too large for every tier is too_large in set, given by a load, and not kept", function()
        local big = ("x"):rep(bed.count(512, 80) * 1048576)
        fails("too_large", "bytes", c:set("k", big))
        local got, err, outcome = c:get("k", function() return big end)
        assert.is_true(got == big and err == nil and outcome == "loaded")
        assert.equal("miss", select(2, c:peek "k"))
        big, got = nil, nil -- luacheck: ignore 311
        collectgarbage()
        assert(c:set("k", 1))
    end)

    it("35 a value larger than the local cache is given, not kept; others stay", function()
        c:close()
        c = larder.open { l1 = { bytes = "1M", shards = 1 } }
        c:set("small", 1)
        local big = ("x"):rep(2000000)
        local got, err, outcome = c:get("k", function() return big end)
        assert.is_true(got == big and err == nil and outcome == "loaded")
        assert.equal(1, (c:get "small"))
        assert.equal(1, c:stats().refused)
    end)

    it("36 bytes that look like records, compressed data or byte code are bytes", function()
        for _, codec in ipairs { "msgpack", "json", "raw" } do
            c:close()
            c = larder.open { codec = codec, compress = { min = 64 } }
            for _, bytes in ipairs { "ldr1\1\0\0\0" .. ("\255"):rep(64), "\40\181\47\253" .. ("z"):rep(200),
                "\221\255\255\255\255", "\27Lua" .. ("\0"):rep(100), ("a"):rep(100000), "\27LJ\2" } do
                assert(c:set("k", bytes))
                assert.is_true(c:get "k" == bytes)
                assert.is_true(c:get "k" == bytes)
            end
        end
    end)

    it("37 what callers change, given or got, changes nothing that others get", function()
        local given = { 1, sub = { 2 } }
        c:set("k", given)
        given.sub[1] = "changed"
        for _ = 1, 3 do
            local got = c:get "k"
            assert.same({ 1, sub = { 2 } }, got)
            got.sub[1], got.new = "changed", true
        end
        c:get_entry("k").value.sub[1] = "changed"
        local peeked = c:peek "k"
        peeked[1] = "changed"
        c:get_many({ "k" }).k[1] = "changed"
        assert.same({ 1, sub = { 2 } }, (c:get "k"))
        c:close()
        c = larder.open { l1 = { values = "shared" } }
        c:set("k", { 1 })
        c:get "k"
        assert.equal(c:get "k", (c:get "k"))
    end)

    it("37 keys of a json or raw cache: what the codec cannot keep is refused, or comes back", function()
        c:close()
        c = larder.open { codec = "raw" }
        comes_back "bytes"
        fails("unsupported", nil, c:set("k", { 1 }))
        c:close()
        c = larder.open { codec = "json" }
        comes_back "bytes \255"
        comes_back { a = { 1, 2, "x" } }
        comes_back(1.5)
        comes_back(false)
    end)
end)

describe("random values", function()
    local n, seed = bed.count(100000, 2000), bed.seed

    it(("come back equal through a cache: %d of seed %d"):format(n, seed), function()
        local draw = values.new(seed, null)
        c = larder.open { l1 = { bytes = "16M", shards = 1 } }
        for i = 1, n do
            local value = draw:value()
            assert(c:set("k", value))
            local got = c:get "k"
            assert.is_true(values.same(value, got), ("value %d of seed %d"):format(i, seed))
            got = c:get "k"
            assert.is_true(values.same(value, got), ("value %d of seed %d, by the memo"):format(i, seed))
        end
        c:close()
    end)
end)
