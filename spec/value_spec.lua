-- value_spec.lua - every value that can be kept comes back equal, in both Luas and from one to the other; everything
-- else is refused by name; bytes from a stranger are refused without harm.

local codec = require "spec.support.codec"
local values = require "spec.support.values"

local is_jit = rawget(_G, "jit") ~= nil
local prove = os.getenv("LARDER_PROVE") == "1"
local seed = tonumber(os.getenv("LARDER_SEED")) or os.time()
local null = codec.null
local same = values.same

local function back(value)
    local bytes, code, message = codec.encode(value)
    assert(bytes, tostring(code) .. ": " .. tostring(message))
    return codec.decode(bytes)
end

local function comes_back(value)
    local got, code, message = back(value)
    assert.is_nil(code, message)
    assert.is_true(same(value, got))
end

local function refused(code, value, pattern)
    local bytes, got, message = codec.encode(value)
    assert.is_nil(bytes)
    assert.equal(code, got)
    assert.truthy(message:find(pattern), message)
end

local function corrupt(bytes)
    local value, code, message = codec.decode(bytes)
    assert.is_nil(value)
    assert.equal("corrupt", code)
    assert.is_string(message)
end

local function nested(depth)
    local t = {}
    for _ = 2, depth do
        t = { t }
    end
    return t
end

describe("a value that can be kept", function()
    it("is a boolean, a string of any bytes, or larder.null", function()
        local all = {}
        for i = 0, 255 do
            all[i + 1] = string.char(i)
        end
        for _, v in ipairs { true, false, "", "a\0b", table.concat(all), ("x"):rep(100000), "\1\146\1\2",
            "LDR\1", null } do
            comes_back(v)
            comes_back { v, key = v }
        end
    end)

    it("is a number, integers and floats kept apart", function()
        for _, v in ipairs { 0, 1, -1, 2147483648, 9007199254740991, 9007199254740992, -9007199254740992, 0.5, -0.0,
            1e308, 5e-324, 1 / 0, -1 / 0, 0 / 0, 2 ^ 63, -2 ^ 63 } do
            comes_back(v)
            comes_back { v }
        end
        if not is_jit then
            comes_back(1.0)
            assert.equal("float", math.type(back(1.0)))
            assert.equal("integer", math.type(back(1)))
            comes_back(math.maxinteger)
            comes_back(math.mininteger)
            comes_back(9007199254740993)
        end
    end)

    it("is an empty table, an array, a record", function()
        comes_back {}
        comes_back { {}, a = {} }
        comes_back { 1, 2, 3 }
        comes_back { id = 1, name = "x", tags = { "a", "b" }, more = { deep = { er = true } } }
        assert.equal("\1\128", codec.encode {})
        assert.equal("\1\147\1\2\3", codec.encode { 1, 2, 3 })
    end)

    it("is an array that was filled backwards", function()
        local t = {}
        for i = 20, 1, -1 do
            t[i] = i
        end
        comes_back(t)
        assert.equal(0xdc, codec.encode(t):byte(2))
    end)

    it("is a table with holes, never shortened", function()
        comes_back { 1, nil, 3 }
        comes_back { nil, nil, 3 }
        comes_back { [1000000] = "far", [1] = "near" }
        comes_back { [0] = "zero", "one", [-1] = "minus" }
    end)

    it("is a table with keys of several kinds", function()
        comes_back { 1, 2, x = 3 }
        comes_back { [1.5] = "a", [true] = "b", [false] = "c", ["1"] = "d", [1] = "e", [2 ^ 53] = "f", [""] = "g" }
        comes_back { [1 / 0] = 1, [-1 / 0] = 2, [0.1] = 3 }
    end)

    it("may hold one table twice, which becomes two", function()
        local twice = { 1 }
        local got = back { twice, twice }
        assert.is_true(same({ { 1 }, { 1 } }, got))
        assert.are_not.equal(got[1], got[2])
    end)

    it("is at most 100 tables deep", function()
        comes_back(nested(100))
        refused("unsupported", nested(101), "more than 100 tables deep")
        refused("unsupported", nested(100000), "more than 100 tables deep")
        local loop = {}
        loop.loop = loop
        refused("unsupported", loop, "holds itself")
    end)

    it("may have very many elements", function()
        local n = prove and 10000000 or 100000
        local t = {}
        for i = 1, n do
            t[i] = i
        end
        local got = back(t)
        assert.equal(n, #got)
        for i = 1, n do
            if got[i] ~= i then
                error("element " .. i)
            end
        end
    end)

    it("is read raw: no metamethod is called and no metatable kept", function()
        local function never()
            error("called")
        end
        local meta = { __index = never, __pairs = never, __len = never, __ipairs = never, __gc = never, __eq = never,
            __tostring = never, __metatable = false, __name = "x" }
        local got = back(setmetatable({ 1, 2, inner = setmetatable({ 5 }, meta) }, meta))
        assert.is_true(same({ 1, 2, inner = { 5 } }, got))
        assert.is_nil(debug.getmetatable(got))
        debug.setmetatable(got, nil)
        meta.__gc = nil
    end)
end)

describe("a value that cannot be kept", function()
    it("is named with its place", function()
        refused("unsupported", nil, "^value is nil")
        refused("unsupported", print, "^value is a function")
        refused("unsupported", coroutine.create(print), "^value is a thread")
        refused("unsupported", io.stdout, "^value is a userdata")
        refused("unsupported", { items = { 1, 2, print } }, "^value%.items%[3%] is a function")
        refused("unsupported", { ["a b\n"] = { [true] = { [1.5] = io.stdout } } },
            '^value%["a b\\x0a"%]%[true%]%[1%.5%] is a userdata')
        refused("unsupported", { [{}] = 1 }, "^value%[a table%] cannot be kept: a key is")
        refused("unsupported", { x = { [null] = 1 } }, "^value%.x%[a userdata%] cannot be kept: a key is")
    end)

    it("leaves the codec as it was", function()
        for _ = 1, 100 do
            codec.encode { 1, { 2, { print } } }
        end
        comes_back { 1, { 2, { 3 } } }
    end)

    if prove then
        it("is longer than 512 MiB", function()
            local piece = ("x"):rep(2 ^ 28)
            refused("too_large", { piece, piece, piece }, "longer than 512 MiB")
            piece = ("x"):rep(2 ^ 29 + 1)
            refused("too_large", piece, "longer than 512 MiB")
            refused("too_large", { piece }, "longer than 512 MiB")
        end)
    end
end)

if is_jit then
    describe("in LuaJIT", function()
        local ffi = require "ffi"
        local function literal(text) -- Lua 5.4 cannot read it
            return assert(loadstring("return " .. text))()
        end

        it("an integral double within 2^53 is an integer", function()
            assert.equal("\1\1", codec.encode(1.0))
            assert.equal("\1\203\128\0\0\0\0\0\0\0", codec.encode(-0.0))
            assert.equal(0xcb, codec.encode(2 ^ 53 + 2):byte(2))
        end)

        it("an integer beyond 2^53 is an int64_t", function()
            for _, text in ipairs { "9007199254740993", "-9007199254740993", "9223372036854775807" } do
                local n = literal(text .. "LL")
                local got = back { n }[1]
                assert.equal("cdata", type(got))
                assert.is_true(ffi.istype("int64_t", got))
                assert.is_true(got == n)
            end
            local lowest = literal "-9223372036854775807LL - 1LL"
            assert.is_true(back(lowest) == lowest)
            assert.equal(5, back(literal "5LL"))
            assert.equal("number", type(back(ffi.new("int64_t", 2 ^ 53))))
        end)

        it("a uint64_t is kept up to 2^63 - 1, other cdata are refused", function()
            assert.equal(7, back(literal "7ULL"))
            assert.is_true(back(literal "9223372036854775807ULL") == literal "9223372036854775807LL")
            refused("unsupported", literal "9223372036854775808ULL", "^value is a cdata")
            refused("unsupported", { ffi.new("int[2]") }, "^value%[1%] is a cdata")
            refused("unsupported", ffi.new("void *"), "^value is a cdata")
            refused("unsupported", ffi.new("int32_t", 1), "^value is a cdata")
            refused("unsupported", { [literal "1LL"] = 1 }, "a key is")
        end)

        it("an integer key that no double equals is refused", function()
            local value, code = codec.decode("\1\129\207\0\32\0\0\0\0\0\1\1")
            assert.is_nil(value)
            assert.equal("unsupported", code)
            assert.equal(1, codec.decode("\1\129\207\0\64\0\0\0\0\0\0\1")[2 ^ 54])
        end)
    end)
end

describe("bytes from a stranger", function()
    it("are refused when malformed", function()
        for _, bytes in ipairs {
            "\1", "\1\193", "\1\1\1", "\1\146\1", "\1\129\161a", "\1\217\255a", "\1\219\255\255\255\255a", "\1\218\1",
            "\1\203\0\0", "\1\129\192\1", "\1\129\144\1", "\1\129\128\1", "\1\129\203\127\248\0\0\0\0\0\0\1",
            "\1\129\202\127\192\0\0\1", "\1\207\255\255\255\255\255\255\255\255", "\1\212\1\1", "\1\199\0\1",
            "\1\201\255\255\255\255\1", "\1\214\255\0\0\0\0", "\2{}", "\9x", "\255" } do
            corrupt(bytes)
        end
        assert.is_nil((codec.decode("\3")))
        assert.is_true(same({ 0.5, "bin" }, codec.decode("\1\146\202\63\0\0\0\196\3bin")))
    end)

    it("make no room for what they only announce", function()
        collectgarbage()
        collectgarbage()
        local before = collectgarbage("count")
        corrupt("\1\221\255\255\255\255")
        corrupt("\1\223\255\255\255\255")
        corrupt("\1\221\1\0\0\0" .. ("\1"):rep(1000))
        corrupt("\1" .. ("\221\0\0\128\0"):rep(99) .. ("\1"):rep(40000))
        assert.is_true(collectgarbage("count") - before < 4096)
    end)

    it("are refused when deeper than 100", function()
        corrupt("\1" .. ("\145"):rep(100000) .. "\1")
        corrupt("\1" .. ("\145"):rep(101) .. "\1")
        corrupt("\1" .. ("\129\161a"):rep(100000) .. "\1")
        assert.is_table(codec.decode("\1" .. ("\145"):rep(100) .. "\1"))
    end)

    it("are refused when cut anywhere, and never harm when damaged", function()
        local draw = values.new(seed, null)
        local allowed = { corrupt = true, unsupported = true, too_large = true }
        for _ = 1, prove and 2000 or 100 do
            local bytes = codec.encode(draw:value())
            if bytes:byte() == 1 then
                for i = 1, math.min(#bytes - 1, 200) do
                    corrupt(bytes:sub(1, i))
                end
                for _ = 1, 50 do
                    local at = draw:below(#bytes - 1) + 2
                    local damaged = bytes:sub(1, at - 1) .. string.char(draw:below(256)) .. bytes:sub(at + 1)
                    local _, code = codec.decode(damaged)
                    assert.is_true(code == nil or allowed[code], "LARDER_SEED=" .. seed)
                end
            end
        end
    end)
end)

describe("random values", function()
    it("come back equal", function()
        local n = prove and 100000 or 2000
        print(("\nrandom values: %d, LARDER_SEED=%d"):format(n, seed))
        local draw = values.new(seed, null)
        for i = 1, n do
            local value = draw:value()
            local got, code, message = back(value)
            if code or not same(value, got) then
                error(("value %d of LARDER_SEED=%d: %s"):format(i, seed, message or "not equal"))
            end
        end
    end)

    it("come back equal from bytes that the other Lua wrote", function()
        local n = prove and 100000 or 2000
        local other = is_jit and "lua5.4" or "luajit"
        local path = os.tmpname()
        local command = ("%s spec/support/values.lua %d %d %s"):format(other, seed, n, path)
        local status = os.execute(command)
        assert(status == true or status == 0, "failed: " .. command)
        local file = assert(io.open(path, "rb"))
        local read, why = values.read(file, codec, seed, n)
        file:close()
        os.remove(path)
        assert.equal(n, read, why)
    end)
end)
