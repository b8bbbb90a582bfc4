-- verbs_functions_spec.lua - caches over larder.source.functions: with and without store, delete and load_many, in each
-- pattern; versions, refusals, lost writes.

local bed = require "spec.support.bed"
local larder = require "larder"

local fails, misuse = bed.fails, bed.misuse

local function results(...)
    return { n = select("#", ...), ... }
end

-- A table that plays the source: rows { value, version } by key; log of the calls; `down` makes all fail.
local function new_store()
    local s = { rows = {}, version = 0, log = {} }
    local function note(...)
        s.log[#s.log + 1] = table.concat({ ... }, " ")
    end
    function s.load(key)
        note("load", key)
        if s.down then
            return nil, "the source is down"
        end
        local row = s.rows[key]
        if row then
            return row[1], nil, { version = row[2] }
        end
    end
    function s.load_many(keys)
        note("load_many", table.concat(keys, ","))
        local values, opts = {}, {}
        for _, key in ipairs(keys) do
            local row = s.rows[key]
            if row then
                values[key], opts[key] = row[1], { version = row[2] }
            end
        end
        return values, nil, opts
    end
    function s.check(key, if_version)
        local row = s.rows[key]
        if if_version == false and row or if_version and not (row and tostring(row[2]) == if_version) then
            return false
        end
        return true
    end
    function s.store(key, value, if_version)
        note("store", key, tostring(if_version))
        if s.down then
            return nil, "the source is down"
        elseif not s.check(key, if_version) then
            return nil, s.conflict
        end
        s.version = s.version + 1
        s.rows[key] = { value, s.version }
        return s.version
    end
    function s.delete(key, if_version)
        note("delete", key, tostring(if_version))
        if s.down then
            return nil, "the source is down"
        elseif not s.check(key, if_version) then
            return nil, s.conflict
        end
        s.rows[key] = nil
        s.version = s.version + 1
        return s.version
    end
    return s
end

local s, c

local function fresh(names, options)
    s = new_store()
    local functions = {}
    for name in names:gmatch "%S+" do
        functions[name] = s[name]
    end
    options = options or {}
    options.source = larder.source.functions(functions)
    c = assert(larder.open(options))
end

describe("read_through over functions", function()
    after_each(function() c:close() end)

    it("asks the source for what is missing, once, and keeps its version", function()
        fresh "load store"
        s.rows.k = { "v", 5 }
        assert.same(results("v", nil, "loaded"), results(c:get "k"))
        assert.same(results("v", nil, "l1"), results(c:get "k"))
        assert.same({ "load k" }, s.log)
        local entry = c:get_entry "k"
        assert.equal("5", entry.version)
        assert.same(results(nil, nil, "absent"), results(c:get "none"))
        entry = c:get_entry "none"
        assert.equal("absent", entry.outcome)
        assert.equal("source", entry.tier)
    end)

    it("prefers the call's loader", function()
        fresh "load"
        s.rows.k = { "source", 1 }
        assert.equal("call's", (c:get("k", function() return "call's" end)))
        assert.same({}, s.log)
    end)

    it("gives a source's error as loader, and a stale value within stale_ttl", function()
        fresh("load", { stale_ttl = 60 })
        s.rows.k = { "v", 1 }
        s.down = true
        local err = fails("loader", "the source is down", c:get "k")
        assert.equal("the source is down", err.cause)
        s.down = false
        assert.equal("v", (c:get("k", { refresh = true })))
        s.down = true
        c:touch("k", 0)
        assert.same(results("v", nil, "stale"), results(c:get "k"))
    end)

    it("asks load_many for many and for one, load for one and, alone, for many", function()
        fresh "load load_many"
        s.rows = { a = { 1, 1 }, b = { 2, 2 }, c = { 3, 3 } }
        assert.same(results({ a = 1, b = 2 }, {}), results(c:get_many { "a", "b", "none" }))
        assert.same(results(3, nil, "loaded"), results(c:get "c"))
        assert.same({ "load_many a,b,none", "load c" }, s.log)
        assert.equal("2", c:get_entry("b").version)
        c:close()
        fresh "load_many"
        s.rows = { a = { 1, 1 } }
        assert.same(results(1, nil, "loaded"), results(c:get "a"))
        assert.same({ "load_many a" }, s.log)
        c:close()
        fresh "load"
        s.rows = { a = { 1, 1 }, b = { 2, 2 } }
        assert.same(results({ a = 1, b = 2 }, {}), results(c:get_many { "a", "b" }))
        assert.same({ "load a", "load b" }, s.log)
    end)

    it("without store: set and delete act on the tiers only", function()
        fresh "load"
        assert.is_string((c:set("k", 1)))
        assert.equal(1, (c:get "k"))
        assert.is_true((c:delete "k"))
        assert.same({}, s.log)
        assert.same(results(nil, nil, "absent"), results(c:get "k"))
    end)

    it("with store: set writes the source first and keeps the new version", function()
        fresh "load store"
        assert.equal("1", (c:set("k", { x = 1 })))
        assert.same({ "store k nil" }, s.log)
        assert.same(results({ x = 1 }, nil, "l1"), results(c:get "k"))
        assert.equal("1", c:get_entry("k").version)
    end)

    it("without delete: a delete is unsupported and changes nothing", function()
        fresh("load store", { pattern = "write_through" })
        c:set("k", 1)
        fails("unsupported", "delete", c:delete "k")
        assert.equal(1, (c:get "k"))
    end)
end)

describe("a write through functions", function()
    before_each(function() fresh "load store delete" end)
    after_each(function() c:close() end)

    it("that the source refused has no effect: source, with what it said as cause", function()
        c:set("k", 1)
        s.down = true
        assert.equal("the source is down", fails("source", "is down", c:set("k", 2)).cause)
        fails("source", "is down", c:delete "k")
        assert.same(results(1, nil, "l1"), results(c:get "k"))
        s.down = false
        assert.is_true((c:delete "k"))
        assert.same(results(nil, nil, "absent"), results(c:get "k"))
    end)

    it("that raised is lost, and the tiers forget", function()
        c:close()
        local rows = { k = 1 }
        c = larder.open { source = larder.source.functions {
            load = function(key) return rows[key] end,
            store = function(key, value)
                rows[key] = value
                error("broken pipe")
            end,
            delete = function() error "broken" end,
        } }
        c:get "k"
        local err = fails("lost", "broken pipe", c:set("k", 2))
        assert.truthy(tostring(err.cause):find "broken pipe")
        assert.same(results(2, nil, "loaded"), results(c:get "k"))
        fails("lost", "broken", c:delete "k")
        assert.same(results(2, nil, "loaded"), results(c:get "k"))
    end)

    it("that gave no version that can be one is lost", function()
        c:close()
        local answer
        c = larder.open { source = larder.source.functions {
            load = function() end,
            store = function() return answer end,
        } }
        for _, wrong in ipairs { -1, 1.5, "x", {}, 2 ^ 63 } do
            answer = wrong
            fails("lost", "version", c:set("k", 1))
        end
        answer = nil
        fails("source", "neither a version nor an error", c:set("k", 1))
        answer = true
        assert.is_string((c:set("k", 1)))
        answer = "0012"
        assert.equal("12", (c:set("k", 1)))
    end)

    it("hands if_version on as a decimal string, or false, and gives a conflict with its version", function()
        s.conflict = setmetatable({}, getmetatable(select(2, c:get "")))
        s.conflict.code, s.conflict.message, s.conflict.version = "conflict", "another version", "77"
        assert.equal("1", (c:set("k", 1, { if_version = false })))
        local err = fails("conflict", "another version", c:set("k", 2, { if_version = false }))
        assert.equal("77", err.version)
        assert.equal("2", (c:set("k", 2, { if_version = 1 })))
        fails("conflict", nil, c:set("k", 3, { if_version = "1" }))
        fails("conflict", nil, c:set("k", 3, { if_version = 0 }))
        fails("conflict", nil, c:delete("k", { if_version = 1 }))
        assert.is_true((c:delete("k", { if_version = "2" })))
        assert.same({ "store k false", "store k false", "store k 1", "store k 1", "store k 0", "delete k 1",
            "delete k 2" }, s.log)
    end)

    it("refuses a version of the caller's: the source gives it", function()
        misuse(function() local _ = c:set("k", 1, { version = 5 }) end, "cache:set", "version")
    end)

    it("gives the store the very value, and keeps a copy", function()
        local value = { 1, 2 }
        c:set("k", value)
        assert.equal(value, s.rows.k[1])
        value[1] = "changed"
        assert.same({ 1, 2 }, (c:get "k"))
    end)

    it("stores nothing that cannot be kept", function()
        fails("unsupported", nil, c:set("k", print))
        fails("unsupported", nil, c:set("k", { coroutine.create(print) }))
        assert.same({}, s.log)
    end)

    it("of many: versions and errs by key", function()
        local versions, errs = c:set_many { a = 1, b = print, c = 3 }
        assert.same({ a = "1", c = "2" }, versions)
        assert.equal("unsupported", errs.b.code)
        assert.same(results(true), results(c:delete_many { "a", "none" }))
        s.down = true
        local err = fails("source", nil, c:delete_many { "c" })
        assert.equal("source", err.errs.c.code)
    end)

    it("of a value too large for L1 stands", function()
        c:close()
        fresh("load store", { l1 = { bytes = "64K" } })
        local big = ("x"):rep(300000)
        assert.equal("1", (c:set("k", big)))
        assert.same(results(nil, "miss"), results(c:peek "k"))
        assert.same(results(big, nil, "loaded"), results(c:get "k"))
        assert.same(results(nil, "miss"), results(c:peek "k"))
    end)
end)

describe("the patterns over functions:", function()
    after_each(function() c:close() end)

    it("write_around writes the source and forgets", function()
        fresh("load store delete", { pattern = { "read_through", "write_around" } })
        assert.equal("1", (c:set("k", 1)))
        assert.same(results(nil, "miss"), results(c:peek "k"))
        assert.same(results(1, nil, "loaded"), results(c:get "k"))
        c:set("k", 2)
        assert.same(results(2, nil, "loaded"), results(c:get "k"))
    end)

    it("write_through keeps what it wrote", function()
        fresh("load store delete", { pattern = "write_through" })
        c:set("k", 1)
        assert.same(results(1, nil, "l1"), results(c:get "k"))
        assert.same({ "store k nil" }, s.log)
    end)

    it("cache_aside never writes the source; a read without loader asks it", function()
        fresh("load store delete", { pattern = "cache_aside" })
        s.rows.k = { "row", 3 }
        assert.same(results("row", nil, "loaded"), results(c:get "k"))
        c:set("k", "tier")
        c:delete "k"
        assert.same({ "load k" }, s.log)
        assert.same(results("row", nil, "loaded"), results(c:get "k"))
    end)

    it("what cannot be raises at open", function()
        fresh "load"
        local read_only = larder.source.functions { load = print }
        local both = larder.source.functions { load = print, store = print }
        misuse(function() local _ = larder.open { pattern = "read_through" } end, "read_through", "needs a source")
        misuse(function() local _ = larder.open { pattern = "write_through" } end, "write_through", "needs a source")
        misuse(function() local _ = larder.open { pattern = "write_around", source = read_only } end,
            "write_around", "store")
        misuse(function() local _ = larder.open { pattern = { "cache_aside", "read_through" }, source = both } end,
            "one word for reading and one for writing", "cache_aside, read_through")
        misuse(function() local _ = larder.open { pattern = "write_behind", source = both } end, "not built yet")
        misuse(function() local _ = larder.open { pattern = "refresh_ahead", source = both } end, "not built yet")
        misuse(function() local _ = larder.open { pattern = "read_trough", source = both } end,
            "pattern", '"read_trough"')
    end)
end)

describe("weak over functions", function()
    after_each(function() c:close() end)

    it("answers a write from the tiers and writes the source once, before set returns", function()
        fresh("load store delete", { consistency = "weak" })
        assert.is_string((c:set("k", 1)))
        assert.same({ "store k nil" }, s.log)
        s.down = true
        assert.is_string((c:set("k", 2)))
        assert.equal(2, #s.log)
        s.down = false
        assert.equal(1, s.rows.k[1])
    end)

    it("gives whatever is held within the hard expiry, and loads where nothing is", function()
        fresh("load store", { stale_ttl = 60 })
        s.rows.k = { "v", 1 }
        c:get "k"
        c:touch("k", 0)
        s.rows.k = { "newer", 2 }
        assert.same(results("v", nil, "stale"), results(c:get("k", { consistency = "weak" })))
        assert.same(results("newer", nil, "loaded"), results(c:get "k"))
        assert.same(results("newer", nil, "l1"), results(c:get("k", { consistency = "weak" })))
        assert.same(results(nil, nil, "absent"), results(c:get("none", { consistency = "weak" })))
    end)
end)

describe("ttl functions", function()
    after_each(function() c:close() end)

    it("are asked with key, value and context, for loads and for sets", function()
        local asked = {}
        local function ttl(key, value, ctx)
            asked[#asked + 1] = { key, value, ctx.name }
            return 42
        end
        s = new_store()
        s.rows.k = { { 1 }, 1 }
        c = larder.open { name = "shop", ttl = ttl, source = larder.source.functions { load = s.load } }
        c:get "k"
        assert.is_true(c:get_entry("k").ttl > 41 and c:get_entry("k").ttl <= 42)
        c:set("k2", "two")
        assert.is_true(c:get_entry("k2").ttl <= 42)
        assert.same({ { "k", { 1 }, "shop" }, { "k2", "two", "shop" } }, asked)
    end)

    it("that give nil leave the default, 0 keeps nothing, stale and negative ones count too", function()
        c = larder.open {
            ttl = function(key) return key == "zero" and 0 or nil end,
            stale_ttl = function() return 7 end,
            negative_ttl = function() return 30 end,
        }
        c:get("k", function() return 1 end)
        assert.is_true(c:get_entry("k").ttl > 299)
        c:get("zero", function() return 1 end)
        assert.same(results(nil, "miss"), results(c:peek "zero"))
        c:set("zero", 1)
        assert.same(results(nil, "miss"), results(c:peek "zero"))
        c:get("gone", function() end)
        assert.same(results(nil, "absent"), results(c:peek "gone"))
    end)

    it("that give what is no ttl, or raise, are errors and store nothing", function()
        local answer
        c = larder.open { ttl = function() if answer == "raise" then error "ttl broke" end return answer end }
        for _, wrong in ipairs { -1, "10", 0 / 0, {} } do
            answer = wrong
            fails("invalid", "ttl", c:get("k", function() return 1 end))
            fails("invalid", "ttl", c:set("k", 1))
        end
        answer = "raise"
        fails("loader", "ttl broke", c:get("k", function() return 1 end))
        fails("loader", "ttl broke", c:set("k", 1))
        local _, errs = c:set_many { k = 1 }
        assert.equal("loader", errs.k.code)
        assert.same(results(nil, "miss"), results(c:peek "k"))
    end)
end)
