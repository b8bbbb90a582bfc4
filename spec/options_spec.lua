-- options_spec.lua - every option: its default, what it takes, what it refuses and how it says so.

local options = require "larder.options"
local schema = require "larder.schema"
local source = require "larder.source"

local function nothing() end

local function refused(given, ...)
    local fine, e = pcall(options.open, given)
    assert.is_false(fine)
    assert.matches("options_spec%.lua:%d+: larder%.open: ", e)
    for _, text in ipairs { ... } do
        assert.is_truthy(e:find(text, 1, true), e .. "\nlacks: " .. text)
    end
end

local function refused_opts(verb, given, text)
    local fine, e = pcall(options.verb, verb, given)
    assert.is_false(fine)
    assert.is_truthy(e:find("cache:" .. verb .. ": ", 1, true), e)
    assert.is_truthy(e:find(text, 1, true), e .. "\nlacks: " .. text)
end

local function sqlite(extra)
    local given = { file = "shop.db", models = { product = { table = "products" } } }
    for name, value in pairs(extra or {}) do
        given[name] = value
    end
    return source.sqlite(given)
end

describe("open", function()
    it("has safe defaults", function()
        for _, given in ipairs { {}, { l2 = false, bus = false, compress = false } } do
            local o = options.open(given)
            assert.same({ read_pattern = "cache_aside", write_pattern = "cache_aside", level = "eventual",
                guard = "lock", lock_ttl = 6, lock_wait = 5, on_timeout = "load", l1 = true, l1_bytes = 67108864,
                l1_policy = "s3fifo", l1_values = "copy", l1_memo = 1024, l1_negatives = 0.1, ttl = 300,
                stale_ttl = 0, negative_ttl = 0, jitter = 0, codec = "msgpack", source_timeout = 5,
                changes = "auto", changes_required = false, l2 = false, bus = false }, o)
        end
        assert.same(options.open {}, options.open(nil))
    end)

    it("takes everything that is built", function()
        local o = options.open {
            name = "shop", pattern = { "read_through", "write_around" }, consistency = "weak",
            guard = { lock = { ttl = 2, wait = 1, on_timeout = "stale" } },
            l1 = { bytes = "1M", entries = 10, shards = 1, policy = "lru", values = "shared", memo = 0, negatives = 0 },
            source = sqlite { timeout = 2 }, ttl = math.huge, stale_ttl = 0.5, negative_ttl = nothing, jitter = 1,
            bound = { soft = 1, hard = 3900 }, codec = "json", compress = { min = "2K", with = "zstd" },
            changes = { interval = 0.5 }, host = "blocking", on_error = nothing, log = nothing,
        }
        assert.equal("read_through", o.read_pattern)
        assert.equal("write_around", o.write_pattern)
        assert.equal("weak", o.level)
        assert.same({ 2, 1, "stale" }, { o.lock_ttl, o.lock_wait, o.on_timeout })
        assert.same({ 1048576, 10, 1 }, { o.l1_bytes, o.l1_entries, o.l1_shards })
        assert.same({ "lru", "shared", 0, 0 }, { o.l1_policy, o.l1_values, o.l1_memo, o.l1_negatives })
        assert.same({ math.huge, 0.5, 1 }, { o.ttl, o.stale_ttl, o.jitter })
        assert.is_nil(o.negative_ttl)
        assert.equal(nothing, o.negative_ttl_fn)
        assert.same({ 1, 3900, 2048, 2 }, { o.bound_soft, o.bound_hard, o.compress_min, o.source_timeout })
        assert.same({ interval = 0.5 }, o.changes)
        assert.is_true(o.changes_required)
    end)

    it("names what is unknown in full and what is valid", function()
        refused({ ttll = 1 }, "unknown option ttll", "bound, bus, changes", "stale_ttl, ttl")
        refused({ l1 = { byts = 1 } }, "unknown option l1.byts", "l1.bytes, l1.entries")
        refused({ guard = { lock = { hold = 1 } } }, "guard.lock.hold", "guard.lock.ttl")
        refused({ "shop" }, "unknown option [1]")
        refused({ changes = { every = 1 }, source = sqlite() }, "changes.every")
        refused({ compress = { level = 1 } }, "compress.level")
    end)

    it("says what was wanted and what was got", function()
        refused("shop", "options must be a table", '"shop"')
        refused({ ttl = "10" }, "ttl must be seconds", 'got "10"')
        refused({ l1 = 5 }, "l1 must be a table or false, got 5")
        refused({ name = "a b" }, "name must be", '"a b"')
        refused({ name = ("x"):rep(65) }, "name")
        refused({ name = "" }, "name")
        refused({ consistency = "strnog" }, "one of eventual, weak", "strnog")
        refused({ consistency = 1 }, "consistency", "got 1")
        refused({ pattern = { "read_trough" } }, "read_through", '"read_trough"')
        refused({ pattern = {} }, "pattern")
        refused({ guard = "luck" }, "guard must be lock, none", '"luck"')
        refused({ guard = {} }, "guard")
        refused({ codec = "xml" }, "msgpack, json, raw")
        refused({ host = "moon" }, "host")
        refused({ source = {} }, "larder.source.sqlite")
        refused({ on_error = 1 }, "a function")
        refused({ changes = 1 }, "changes")
        refused({ compress = true }, "compress")
        refused({ compress = { with = "gzip" } }, "zstd")
        refused({ l1 = { policy = "best" } }, "s3fifo")
        refused({ l1 = { values = "both" } }, "copy, shared")
    end)

    it("refuses numbers out of range", function()
        for _, bad in ipairs { -1, 0 / 0, -math.huge, true } do
            refused({ ttl = bad }, "ttl")
            refused({ stale_ttl = bad }, "stale_ttl")
            refused({ negative_ttl = bad }, "negative_ttl")
            refused({ jitter = bad }, "jitter")
            refused({ guard = { lock = { wait = bad } } }, "guard.lock.wait")
            refused({ bound = { hard = bad } }, "bound.hard")
        end
        for _, bad in ipairs { 0, -1, 1, 1.5, 70000.5, 2 ^ 60, 0 / 0, "64Q", "", "-1", "1e9", " 1M" } do
            refused({ l1 = { bytes = bad } }, "l1.bytes")
        end
        for _, bad in ipairs { 0, -1, 0.5, 2 ^ 40, 0 / 0, "1" } do
            refused({ l1 = { entries = bad } }, "l1.entries")
            refused({ l1 = { shards = bad } }, "l1.shards")
        end
        refused({ jitter = 1.01 }, "jitter")
        refused({ bound = { soft = 2, hard = 1 } }, "bound.soft")
    end)

    it("takes ttls of any size", function()
        for _, good in ipairs { 0, 0.0001, 1e308, 2 ^ 63, 2 ^ 64, math.huge } do
            assert.equal(good, options.open({ ttl = good }).ttl)
        end
    end)

    it("takes bytes as a number or with a unit", function()
        for text, bytes in pairs { ["65536"] = 65536, ["64K"] = 65536, ["64k"] = 65536, ["3M"] = 3 * 2 ^ 20,
            ["2G"] = 2 ^ 31, ["1T"] = 2 ^ 40 } do
            assert.equal(bytes, options.open({ l1 = { bytes = text } }).l1_bytes)
        end
        assert.equal(100000, options.open({ l1 = { bytes = 1e5 } }).l1_bytes)
    end)

    it("rounds shards up to a power of two", function()
        for given, got in pairs { 1, 2, 4, 4, 8, [1000] = 1024 } do
            assert.equal(got, options.open({ l1 = { shards = given } }).l1_shards)
        end
    end)

    it("opens without a shelf", function()
        local o = options.open { l1 = false }
        assert.is_false(o.l1)
        assert.is_nil(o.l1_bytes)
    end)

    it("keeps nothing of the table it was given", function()
        local l1, given = { bytes = "1M" }, { ttl = 5 }
        given.l1 = l1
        local o = options.open(given)
        given.ttl, l1.bytes = 7, "2M"
        assert.equal(5, o.ttl)
        assert.equal(1048576, o.l1_bytes)
    end)

    it("reads tables raw", function()
        local function bad()
            error("must not be called")
        end
        local mt = { __index = bad, __pairs = bad, __len = bad, __newindex = bad }
        local o = options.open(setmetatable({ l1 = setmetatable({ bytes = "1M" }, mt), ttl = 3,
            pattern = setmetatable({ "cache_aside" }, mt) }, mt))
        assert.equal(3, o.ttl)
        assert.equal(1048576, o.l1_bytes)
    end)
end)

describe("patterns", function()
    local reader = source.functions { load = nothing }
    local store = source.functions { load = nothing, store = nothing }

    local function chosen(pattern, src)
        local o = options.open { pattern = pattern, source = src }
        return o.read_pattern .. " " .. o.write_pattern
    end

    it("follow the source where none is named", function()
        assert.equal("cache_aside cache_aside", chosen(nil, nil))
        assert.equal("read_through write_through", chosen(nil, store))
        assert.equal("read_through cache_aside", chosen(nil, reader))
        assert.equal("read_through write_through", chosen("read_through", sqlite()))
    end)

    it("are one for reads and one for writes", function()
        assert.equal("cache_aside cache_aside", chosen("cache_aside", store))
        assert.equal("read_through write_around", chosen("write_around", store))
        assert.equal("cache_aside write_through", chosen({ "cache_aside", "write_through" }, store))
        refused({ pattern = { "cache_aside", "read_through" }, source = store }, "one word for reading")
        refused({ pattern = { "write_around", "write_through" }, source = store }, "one for writing")
        refused({ pattern = { "read_through", "read_through" }, source = store }, "one for writing")
    end)

    it("need what they work on", function()
        refused({ pattern = "read_through" }, "needs a source")
        for _, word in ipairs { "write_around", "write_through", "write_behind" } do
            refused({ pattern = word }, word, "needs a source")
            refused({ pattern = word, source = reader }, word, "store")
        end
    end)
end)

describe("what cannot be together", function()
    it("raises at open", function()
        refused({ consistency = "strong", stale_ttl = 1 }, "strong", "stale_ttl")
        refused({ consistency = "strong", stale_ttl = nothing }, "strong", "stale_ttl")
        refused({ guard = "background" }, "background", "stale_ttl")
        refused({ guard = { "none", "lock" } }, "none", "alone")
        refused({ changes = true }, "larder.source.sqlite")
        refused({ changes = {}, source = source.functions { load = nothing } }, "larder.source.sqlite")
    end)

    it("is said before what is not built", function()
        refused({ consistency = "strong" },
            'consistency = "strong" is not built yet (larder 0.1.0); built: eventual, weak')
        refused({ guard = { "background" }, stale_ttl = 1 }, "not built yet")
    end)
end)

describe("opts of a verb", function()
    it("become flat, and stay nil when there are none", function()
        assert.is_nil(options.verb("get", nil))
        local o = options.verb("get", { consistency = "weak", timeout = 2, ttl = 1, wait = 0, on_timeout = "error",
            guard = "none", refresh = true })
        assert.same({ level = "weak", timeout = 2, ttl = 1, lock_wait = 0, on_timeout = "error", guard = "none",
            refresh = true }, setmetatable(o, nil))
    end)

    it("are read once", function()
        local o = options.verb("get", { ttl = 1 })
        assert.equal(o, options.verb("get", o))
    end)

    it("are those of the verb", function()
        refused_opts("delete", { ttl = 1 }, "unknown option ttl; valid are: consistency, if_version, timeout")
        refused_opts("set", { refresh = true }, "unknown option refresh")
        refused_opts("get", { ttl = -1 }, "ttl must be")
        refused_opts("get", { timeout = "1" }, "timeout")
        refused_opts("get", 5, "options must be a table")
        refused_opts("get", { guard = { lock = { wait = "x" } } }, "guard.lock.wait")
    end)

    it("take versions as integers and decimal strings", function()
        for given, text in pairs { ["007"] = "7", ["9223372036854775807"] = "9223372036854775807", [0] = "0",
            [2 ^ 53] = "9007199254740992" } do
            assert.equal(text, options.verb("set", { version = given }).version)
        end
        assert.is_false(options.verb("delete", { if_version = false }).if_version)
        for _, bad in ipairs { "9223372036854775808", "-1", -1, 1.5, 0 / 0, 1 / 0, "", "1x", true } do
            refused_opts("set", { version = bad }, "version")
        end
        refused_opts("set", { version = false }, "version")
    end)

    it("take integers that only LuaJIT's cdata can hold", function()
        if not rawget(_G, "jit") then
            return
        end
        local big = loadstring("return 9223372036854775807LL")()
        assert.equal("9223372036854775807", schema.version_text(big))
        assert.is_nil(schema.version_text(loadstring("return -1LL")()))
        assert.is_nil(schema.version_text(loadstring("return 9223372036854775808ULL")()))
    end)

    it("say what is not built", function()
        refused_opts("get", { tags = {} }, "the option tags is not built yet")
        refused_opts("invalidate", { strategy = "lazy" }, 'strategy = "lazy" is not built yet')
        refused_opts("get", { consistency = "session" }, "not built yet")
        refused_opts("get", { guard = { xfetch = { beta = 1 } } }, "not built yet")
        assert.equal("immediate", options.verb("invalidate", { strategy = "immediate" }).strategy)
    end)

    it("check a ttl that is an argument", function()
        assert.equal(5, options.ttl_argument("touch", 5))
        local fine, e = pcall(options.ttl_argument, "touch", 0 / 0)
        assert.is_false(fine)
        assert.matches("cache:touch: ttl must be .*NaN", e)
    end)
end)

describe("what a loader answers", function()
    it("is checked without raising", function()
        assert.same({ ttl = 1, version = "3", store = false }, options.answer { ttl = 1, version = 3, store = false })
        for _, bad in ipairs { { ttl = -1 }, { ttl = 0 / 0 }, { stale_ttl = "1" }, { version = -1 }, { what = 1 },
            { store = 1 }, { 5 }, 7 } do
            local o, e = options.answer(bad)
            assert.is_nil(o)
            assert.equal("invalid", e.code)
        end
        local _, e = options.answer { tags = { "a" } }
        assert.equal("unsupported", e.code)
        assert.equal("invalid", select(2, options.answered_ttl("ttl", nil)).code)
        assert.equal(math.huge, options.answered_ttl("ttl", math.huge))
    end)
end)

describe("every option", function()
    it("has a line of docs", function()
        local function look(made)
            for _, row in ipairs(made.rows) do
                assert.is_string(row.doc, row.path)
                if row.inner then
                    look(row.inner)
                end
            end
        end
        look(options.schemas.open)
        for _, made in pairs(options.schemas.verbs) do
            look(made)
        end
        look(source.schemas.model)
    end)
end)
