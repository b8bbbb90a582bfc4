-- inputs_keys_spec.lua - bad input, items 1-17: keys. Each gives what docs/inputs.md says, and the next call works.

local bed = require "spec.support.bed"
local larder = require "larder"

local fails, misuse = bed.fails, bed.misuse

local c

-- The key is kept, read, peeked, touched, loaded, written and deleted like any other.
local function is_fine(key)
    assert(c:set(key, "v"))
    assert.equal("v", (c:get(key)))
    assert.equal("v", (c:get(key)))
    assert.equal("v", (c:peek(key)))
    assert.is_true(c:touch(key, 10))
    assert.equal("v", c:get_entry(key).value)
    assert.equal("v", c:get_many { key }[key])
    assert.is_true((c:invalidate(key)))
    assert.equal(key, (c:get(key, function(given) return given end)))
    assert.equal(key, (c:get(key)))
    assert.is_true((c:delete(key)))
    assert.equal("miss", select(3, c:get(key)))
    assert.equal(1, (c:write(key, function() return 1 end)))
    local versions = c:set_many { [key] = 5 }
    assert.is_string(versions[key])
    assert.is_true((c:delete_many { key }))
end

local function is_error(code, key)
    fails(code, nil, c:get(key))
    fails(code, nil, c:get(key, print))
    fails(code, nil, c:get_entry(key))
    fails(code, nil, c:peek(key))
    fails(code, nil, c:refresh(key, print))
    fails(code, nil, c:set(key, 1))
    fails(code, nil, c:delete(key))
    fails(code, nil, c:touch(key, 1))
    fails(code, nil, c:invalidate(key))
    fails(code, nil, c:write(key, print))
    assert.equal(code, select(2, c:get_many { key })[key].code)
    assert.equal(code, select(2, c:set_many { [key] = 1 })[key].code)
    assert.equal(code, select(2, c:delete_many { key }).errs[key].code)
    is_fine "next"
end

describe("keys:", function()
    before_each(function() c = assert(larder.open {}) end)
    after_each(function() c:close() end)

    it("1 empty is invalid", function() is_error("invalid", "") end)

    it("2 with NUL is a key, whole", function()
        is_fine "a\0b"
        is_fine "\0"
        c:set("a\0b", 1)
        c:set("a\0c", 2)
        c:set("a", 3)
        assert.same({ 1, 2, 3 }, { (c:get "a\0b"), (c:get "a\0c"), (c:get "a") })
    end)

    it("3 with CR and LF is a key", function() is_fine "a\r\nb\n" end)

    it("4 that looks like a protocol is a key", function() is_fine "\r\n$5\r\nhello\r\n*1\r\n" end)

    it("5 of all 256 bytes is a key, and so is each byte", function()
        local bytes = {}
        for i = 0, 255 do
            bytes[#bytes + 1] = string.char(i)
            is_fine(string.char(i))
        end
        is_fine(table.concat(bytes))
    end)

    it("6 of 1 kB and of 65,535 bytes is a key", function()
        is_fine(("k"):rep(1024))
        is_fine(("k"):rep(65535))
    end)

    it("7 of 65,536 bytes and more is too_large, before it is copied", function()
        is_error("too_large", ("k"):rep(65536))
        is_error("too_large", ("k"):rep(1048576))
        local before = c:stats().bytes
        local huge = ("k"):rep(bed.count(600, 64) * 1048576)
        fails("too_large", nil, c:get(huge))
        fails("too_large", nil, c:set(huge, 1))
        assert.equal(before, c:stats().bytes)
        huge = nil -- luacheck: ignore 311
        collectgarbage()
    end)

    it("8 numbers raise; \"1\", \"1.0\" and \"01\" are three keys", function()
        misuse(function() local _ = c:get(1) end, "the key must be a string, got 1")
        misuse(function() local _ = c:set(1.0, 1) end, "the key must be a string, got 1")
        misuse(function() local _ = c:delete(1) end, "the key must be a string, got 1")
        for i, key in ipairs { "1", "1.0", "01" } do
            c:set(key, i)
        end
        assert.same({ 1, 2, 3 }, { (c:get "1"), (c:get "1.0"), (c:get "01") })
    end)

    it("9 NaN, infinities and -0.0 raise", function()
        misuse(function() local _ = c:get(0 / 0) end, "a string, got NaN")
        misuse(function() local _ = c:get(1 / 0) end, "a string, got inf")
        misuse(function() local _ = c:get(-1 / 0) end, "a string, got -inf")
        misuse(function() local _ = c:get(-0.0) end, "a string, got -0")
    end)

    it("10 nil, booleans, tables, functions, userdata and coroutines raise", function()
        misuse(function() local _ = c:get(nil) end, "a string, got nil")
        misuse(function() local _ = c:get(true) end, "a string, got true")
        misuse(function() local _ = c:get {} end, "a string, got a table")
        misuse(function() local _ = c:get(print) end, "a string, got a function")
        misuse(function() local _ = c:get(io.stdout) end, "a string, got a userdata")
        misuse(function() local _ = c:get(larder.null) end, "a string, got a userdata")
        misuse(function() local _ = c:get(coroutine.create(print)) end, "a string, got a coroutine")
        for _, verb in ipairs { "get_entry", "peek", "refresh", "set", "delete", "touch", "invalidate" } do
            misuse(function() local _ = c[verb](c, true) end, "cache:" .. verb, "the key must be a string, got true")
        end
        is_fine "next"
    end)

    it("11 with braces are keys", function()
        for _, key in ipairs { "{tag}", "a{tag}b", "{}", "{", "}", "}{" } do
            is_fine(key)
        end
    end)

    it("12 with glob characters are taken literally", function()
        for _, key in ipairs { "*", "?", "[a-z]", "a*", "\\*" } do
            is_fine(key)
            c:set("abc", 1)
            c:set(key, 2)
            c:invalidate(key)
            c:delete(key)
            assert.equal(1, (c:get "abc"))
        end
    end)

    it("13 with the bytes of names inside are keys like others", function()
        for _, key in ipairs { "ldr1:shop:k", "ldr1.lock", "ldr1.", "lock:k", "get", "__index", "larder.cache" } do
            is_fine(key)
        end
        c:set("get", 1)
        assert.equal(1, (c:get "get"))
    end)

    it("14 of no UTF-8, overlong, with U+2028 are keys", function()
        for _, key in ipairs { "\255\254", "\192\175", "\237\160\128", "\226\128\168", "\195" } do
            is_fine(key)
        end
    end)

    it("15 that differ in case, spaces or normal form are different", function()
        local keys = { "k", "K", "k ", " k", "k\t", "\195\169", "e\204\129" }
        for i, key in ipairs(keys) do
            c:set(key, i)
        end
        for i, key in ipairs(keys) do
            assert.equal(i, (c:get(key)))
        end
    end)

    it("16 that are objects with __tostring raise, and it is not called", function()
        local called = 0
        local object = setmetatable({}, { __tostring = function() called = called + 1 return "k" end, __name = "k" })
        misuse(function() local _ = c:get(object) end, "a string, got a table")
        misuse(function() local _ = c:set(object, 1) end, "a string, got a table")
        assert.equal(0, called)
    end)

    it("17 that are absent, however many, take a bounded part of the budget", function()
        c:close()
        c = larder.open { l1 = { bytes = "4M" }, negative_ttl = 1000 }
        for i = 1, 100 do
            c:set("held " .. i, i)
        end
        local n = bed.count(1000000, 100000)
        local function nobody() end
        for i = 1, n do
            c:get("absent " .. i, nobody)
        end
        local s = c:stats()
        assert.is_true(s.bytes <= 4194304, s.bytes)
        assert.is_true(s.entries < n / 2)
        local held = 0
        for i = 1, 100 do
            held = held + (c:peek("held " .. i) and 1 or 0)
        end
        assert.equal(100, held) -- the quota is of absences alone
    end)
end)
