-- shared_reads_spec.lua - reads over a shared tier: what it answers, what it keeps, how old that is.

local bed = require "spec.support.bed"
local larder = require "larder"
local redis = require "spec.support.redis"
local shared = require "spec.support.shared"

local server, n
local gives = shared.gives

local function calls_of(command)
    local stats = server:call("INFO", "commandstats")
    return tonumber(stats:match("cmdstat_" .. command .. ":calls=(%d+)")) or 0
end

-- One that keeps, one that has no L1: it always asks the shared tier.
local function pair(options)
    n = n + 1
    local function open(l1)
        local given = { name = "reads" .. n, l2 = server.url, l1 = l1 }
        for name, value in pairs(options or {}) do
            given[name] = value
        end
        return shared.open(given)
    end
    return open(nil), open(false)
end

local function loads(value, err, opts)
    return function()
        return value, err, opts
    end
end

local function must_not_load()
    error "nothing must be loaded"
end

describe("a read over a shared tier", function()
    setup(function()
        server, n = redis.start(), 0
    end)

    teardown(function()
        server:close()
    end)

    it("has the outcome l2, then l1", function()
        local a, b = pair()
        gives(nil, "miss", a, "k")
        gives("v", "loaded", b, "k", loads "v")
        gives("v", "l2", b, "k", must_not_load)
        gives("v", "l2", a, "k", must_not_load)
        gives("v", "l1", a, "k", must_not_load)
        gives("v", "l2", b, "k", { consistency = "weak" })
        local s = a:stats()
        assert.same({ 1, 1, 2, 1 }, { s.hits_l1, s.hits_l2, s.hits, s.misses })
        assert.equal(2 / 3, s.hit_rate)
        assert.is_true(s.latency.l2.count > 0 and s.latency.l2.p50 > 0)
        a:close() b:close()
    end)

    it("says so in events", function()
        local a, b = pair()
        local heard = {}
        for _, name in ipairs { "hit", "miss", "load", "fill" } do
            a:on(name, function(e) heard[#heard + 1] = name .. " " .. e.key .. " " .. tostring(e.tier) end)
        end
        b:set("k", 1)
        a:get "k"
        a:get "k"
        shared.held(a, "k")
        local told = "\n" .. table.concat(heard, "\n") .. "\n"
        for _, line in ipairs { "fill k l1", "hit k l2", "hit k l1" } do
            assert.truthy(told:find("\n" .. line .. "\n", 1, true), told)
        end
        assert.is_nil(told:find("miss", 1, true))
        a:close() b:close()
    end)

    it("keeps falsehood, null and absence apart", function()
        local a, b = pair { negative_ttl = 60 }
        for key, value in pairs { no = false, null = larder.null, empty = "", zero = 0 } do
            gives(value, "loaded", b, key, loads(value))
            gives(value, "l2", a, key)
            gives(value, "l1", a, key)
        end
        gives(nil, "absent", b, "none", loads(nil))
        gives(nil, "absent", a, "none", must_not_load)
        assert.same({ nil, "absent" }, { a:peek "none" })
        assert.is_true(a:stats().absent == 1 and a:stats().loads == 0)
        a:close() b:close()
    end)

    it("keeps no absence without a negative_ttl, and nothing that a loader does not want kept", function()
        local a, b = pair()
        gives(nil, "absent", a, "k", loads(nil))
        gives(nil, "absent", a, "k", loads(nil))
        gives(1, "loaded", a, "m", loads(1, nil, { store = false }))
        gives(nil, "miss", b, "m")
        gives(1, "loaded", a, "m", loads(1, nil, { ttl = 0 }))
        gives(nil, "miss", b, "m")
        a:close() b:close()
    end)

    it("peeks at this process alone", function()
        local a, b = pair()
        b:set("k", 1)
        assert.same({ nil, "miss" }, { a:peek "k" })
        assert.equal(1, shared.held(a, "k"))
        assert.same({ 1, "l1" }, { a:peek "k" })
        assert.same({ nil, "miss" }, { b:peek "k" })
        a:close() b:close()
    end)

    it("counts age and ttl through the tiers", function()
        local a, b = pair { ttl = 100 }
        b:get("k", loads(1, nil, { ttl = 50, version = "9007199254740993" }))
        larder.sleep(0.05)
        local from_l2, from_l1 = a:get_entry "k", a:get_entry "k"
        assert.same({ "l2", "l2", "9007199254740993" }, { from_l2.tier, from_l2.outcome, from_l2.version })
        assert.same({ "l1", "l1", "9007199254740993" }, { from_l1.tier, from_l1.outcome, from_l1.version })
        for _, entry in ipairs { from_l2, from_l1 } do
            assert.is_true(entry.age >= 0.05 and entry.age < 5, entry.age)
            assert.is_true(math.abs(entry.age + entry.ttl - 50) < 0.001, entry.ttl)
            assert.same({ false, "eventual" }, { entry.stale, entry.level })
        end
        a:close() b:close()
    end)

    it("loads what has expired there, and gives it stale when that fails", function()
        local a, b = pair { ttl = 0.02, stale_ttl = 60 }
        b:get("k", loads "old")
        larder.sleep(0.03)
        gives("old", "stale", a, "k", loads(nil, "down"))
        local entry = a:get_entry("k", loads(nil, "down"))
        assert.same({ "old", true, "l2", "weak" }, { entry.value, entry.stale, entry.tier, entry.level })
        assert.is_true(entry.ttl < 0)
        gives("old", "stale", b, "k", { consistency = "weak" }, must_not_load)
        gives("new", "loaded", a, "k", loads "new")
        larder.sleep(0.03)
        gives("new", "stale", b, "k", loads(nil, "down"))
        a:close() b:close()
    end)

    it("gives nothing past stale_ttl", function()
        local a, b = pair { ttl = 0.01, stale_ttl = 0.01 }
        b:get("k", loads "old")
        larder.sleep(0.03)
        gives(nil, "loader", a, "k", loads(nil, "down"))
        a:close() b:close()
    end)

    it("refreshes for all", function()
        local a, b = pair()
        a:get("k", loads(1))
        assert.equal(2, (b:refresh("k", loads(2))))
        gives(2, "l2", b, "k")
        gives(3, "loaded", a, "k", { refresh = true }, loads(3))
        gives(3, "l2", b, "k")
        assert.equal(3, shared.held(a, "k"))
        bed.fails("loader", nil, a:refresh("k", loads(nil, "down")))
        gives(3, "l2", b, "k")
        a:close() b:close()
    end)

    it("takes no lease and loads always without the guard", function()
        local a, b = pair()
        gives(1, "loaded", b, "k", { guard = "none" }, loads(1))
        gives(1, "l2", b, "k", must_not_load)
        gives(1, "l2", a, "k", { guard = "none" }, must_not_load)
        a:close() b:close()
    end)

    it("asks once for many keys", function()
        local a, b = pair()
        local keys, map = {}, {}
        for i = 1, 300 do
            keys[i] = "k" .. i
            map[keys[i]] = i % 3 > 0 and i or nil
        end
        b:set_many(map)
        local mgets, gets = calls_of "mget", calls_of "get"
        local values, errs = a:get_many(keys)
        assert.same({}, errs)
        assert.same(map, values)
        assert.same({ 1, 0 }, { calls_of "mget" - mgets, calls_of "get" - gets })
        local s = a:stats()
        assert.same({ 200, 100 }, { s.hits_l2, s.misses })
        a:get_many(keys)
        assert.equal(400, a:stats().hits)
        a:close() b:close()
    end)

    it("loads together what no tier has", function()
        local a, b = pair { negative_ttl = 60 }
        a:set("here", 1)
        b:set("there", 2)
        b:get("gone", loads(nil))
        local asked = {}
        local values, errs = a:get_many({ "here", "there", "gone", "x", "y", "bad" }, function(keys)
            asked[#asked + 1] = keys
            return { x = 3 }, { bad = "no" }
        end)
        assert.same({ { "x", "y", "bad" } }, asked)
        assert.same({ here = 1, there = 2, x = 3 }, values)
        assert.equal("loader", errs.bad.code)
        gives(3, "l2", b, "x")
        gives(nil, "absent", b, "y")
        a:close() b:close()
    end)

    it("gives values of every kind and size as they were", function()
        local values = { 0, -1, 1.5, 2 ^ 53, "x", ("long"):rep(500000), { 1, 2, { a = {} } },
            { deep = { deeper = "x" } }, true, false }
        for _, options in ipairs { {}, { codec = "json" }, { compress = { min = 1 } } } do
            local a, b = pair(options)
            for i, value in ipairs(values) do
                assert.is_string((b:set("k" .. i, value)))
                gives(value, "l2", a, "k" .. i)
                assert.same(value, shared.held(a, "k" .. i))
            end
            a:close() b:close()
        end
        local a, b = pair { codec = "raw" }
        b:set("k", "raw\0bytes")
        gives("raw\0bytes", "l2", a, "k")
        bed.fails("unsupported", nil, b:set("k", {}))
        gives("raw\0bytes", "l2", b, "k")
        a:close() b:close()
    end)

    it("holds what L1 is too small for", function()
        local a, b = pair { l1 = { bytes = "64K" } }
        local big = ("x"):rep(1000000)
        assert.is_string((a:set("k", big)))
        gives(big, "l2", a, "k")
        gives(big, "l2", b, "k")
        a:close() b:close()
    end)

    it("keeps the namespaces apart", function()
        local a, b = pair(), pair()
        a:set("k", 1)
        gives(nil, "miss", b, "k")
        b:invalidate_all()
        a:invalidate "other"
        gives(1, "l1", a, "k")
        a:close() b:close()
    end)

    it("takes what is damaged, foreign or of another type as missing", function()
        local a, b = pair()
        local name = "ldr1:reads" .. n .. ":k"
        for _, damage in ipairs { { "SET", name, "rubbish" }, { "SET", name, "" }, { "APPEND", name, "x" },
            { "SETRANGE", name, "30", "\0\0\0" }, { "LPUSH", name, "x" } } do
            server:call("DEL", name)
            b:set("k", "value of some length that can be damaged")
            if damage[1] == "LPUSH" then
                server:call("DEL", name)
            end
            server:call((table.unpack or unpack)(damage)) -- luacheck: ignore 113
            local value, how = shared.read(b, "k", loads "loaded")
            assert.same({ "loaded", "loaded" }, { value, how }, damage[1])
            assert.is_true(how == "loaded")
        end
        a:close() b:close()
    end)
end)

describe("SQLite behind a shared tier", function()
    local file, db, remove

    setup(function()
        server, n = redis.start(), 100
    end)

    teardown(function()
        server:close()
    end)

    before_each(function()
        file, db, remove = bed.items { changes = true }
    end)

    after_each(function()
        remove()
    end)

    local function source()
        local item = { table = "items", key = "id", version = "version" }
        return larder.source.sqlite { file = file, models = { item = item } }
    end

    it("is asked once for all", function()
        local a, b = pair { source = source() }
        gives("item 1", "loaded", { get = function(_, key)
            local row, err, how = a:get(key)
            return row and row.name, err, how
        end }, "item:1")
        assert.equal("l2", (select(3, b:get "item:1")))
        assert.equal("item 1", b:get "item:1".name)
        assert.equal("absent", (select(3, b:get "item:99")))
        assert.equal(1, b:stats().loads)
        local entry, again = a:get_entry "item:1", b:get_entry "item:1"
        assert.equal(entry.version, again.version)
        a:close() b:close()
    end)

    it("makes rows of other columns misses", function()
        local a, b = pair { source = source() }
        a:get "item:1"
        assert.equal("l2", (select(3, b:get "item:1")))
        assert(db:exec "ALTER TABLE items ADD COLUMN colour TEXT DEFAULT 'red'")
        b:get "item:2" -- the source is asked: it tells of its columns
        local row, _, how = b:get "item:1"
        assert.same({ "red", "loaded" }, { row.colour, how })
        row, _, how = b:get "item:1"
        assert.same({ "red", "l2" }, { row.colour, how })
        a:close() b:close()
    end)

    it("reads directly, and with others beside", function()
        local a, b = pair { source = source() }
        larder.run(function()
            assert.equal("item 2", a:get "item:2".name)
        end, function()
            assert.equal("item 3", b:get "item:3".name)
        end)
        assert.equal("l2", (select(3, b:get "item:2")))
        assert.equal("l2", (select(3, a:get "item:3")))
        a:close() b:close()
    end)
end)
