-- shared_writes_spec.lua - writes over a shared tier: what each pattern leaves where, conditions, versions, and what is
-- told when the server cannot be reached.

local bed = require "spec.support.bed"
local larder = require "larder"
local redis = require "spec.support.redis"
local shared = require "spec.support.shared"

local server, n = nil, 0
local fails, gives = bed.fails, shared.gives

local function name()
    n = n + 1
    return "writes" .. n
end

-- Two caches over the same rows: a keeps in L1, b asks the shared tier each time.
local function over(rows, pattern, options)
    local given = { name = name(), l2 = server.url, pattern = pattern, source = larder.source.functions {
        load = function(key) return rows[key] end,
        store = function(key, value)
            if rows.refuses then
                return nil, "refused"
            end
            rows[key] = value
            if rows.breaks then
                error "broken pipe"
            end
            return true
        end,
        delete = function(key) rows[key] = nil return true end } }
    for option, value in pairs(options or {}) do
        given[option] = value
    end
    local a = shared.open(given)
    given.l1 = false
    return a, shared.open(given)
end

local function tiers(options)
    local given = { name = name(), l2 = server.url }
    for option, value in pairs(options or {}) do
        given[option] = value
    end
    local a = shared.open(given)
    given.l1 = false
    return a, shared.open(given)
end

local function read_aside(cache, key)
    return shared.read(cache, key, function() return "loaded" end)
end

describe("a write over a shared tier", function()
    setup(function()
        server = redis.start()
    end)

    teardown(function()
        server:close()
    end)

    local after_set = { cache_aside = "l2", read_through = "l2", write_through = "l2", write_around = "loaded" }

    for pattern, outcome in pairs(after_set) do
        it("goes where the pattern says: " .. pattern, function()
            local rows = { k = "old" }
            local a, b = over(rows, pattern)
            gives("old", "loaded", a, "k")
            gives("old", "l2", b, "k")
            assert.is_string((a:set("k", "new")))
            assert.equal(pattern == "cache_aside" and "old" or "new", rows.k)
            gives("new", outcome, b, "k")
            gives("new", "l2", b, "k")
            local versions, errs = a:set_many { k = 1, m = 2 }
            assert.same({}, errs)
            assert.is_true(versions.k ~= nil and versions.m ~= nil)
            gives(1, outcome, b, "k")
            gives(2, outcome, b, "m")
            assert.is_true(a:delete "k")
            rows.m = pattern == "cache_aside" and 2 or rows.m
            assert.is_true(a:delete_many { "m", "none" })
            gives(pattern == "cache_aside" and "old" or nil, pattern == "cache_aside" and "loaded" or "absent", b, "k")
            assert.equal(pattern == "cache_aside" and 2 or nil, rows.m)
            a:close() b:close()
        end)
    end

    it("is one round trip for many keys of the tiers", function()
        local a, b = tiers()
        local map, keys = {}, {}
        for i = 1, 100 do
            keys[i] = "k" .. i
            map[keys[i]] = i
        end
        a:set("warm", 1)
        local versions, errs = a:set_many(map)
        assert.same({}, errs)
        local seen = {}
        for _, key in ipairs(keys) do
            assert.is_string(versions[key])
            seen[#seen + 1] = b:get(key)
        end
        assert.equal(100, #seen)
        assert.is_true(a:delete_many(keys))
        assert.same({}, (b:get_many(keys)))
        a:close() b:close()
    end)

    it("answers for each key by itself", function()
        local a, b = tiers()
        local versions, errs = a:set_many { good = 1, bad = print, [""] = 1, [("x"):rep(65536)] = 1 }
        assert.is_string(versions.good)
        assert.same({ "unsupported", "invalid", "too_large" },
            { errs.bad.code, errs[""].code, errs[("x"):rep(65536)].code })
        gives(1, "l2", b, "good")
        local err = fails("invalid", nil, a:delete_many { "good", "" })
        assert.is_nil(err.errs.good)
        assert.equal("invalid", err.errs[""].code)
        gives(nil, "miss", b, "good")
        a:close() b:close()
    end)

    it("holds its conditions there, too", function()
        local a, b = tiers()
        local first = a:set("k", 1, { if_version = false })
        assert.is_string(first)
        local err = fails("conflict", nil, b:set("k", 2, { if_version = false }))
        assert.equal(first, err.version)
        local second = b:set("k", 2, { if_version = first })
        assert.is_string(second)
        err = fails("conflict", nil, a:set("k", 3, { if_version = first }))
        assert.equal(second, err.version)
        gives(2, "l2", b, "k")
        fails("conflict", nil, a:delete("k", { if_version = first }))
        gives(2, "l2", b, "k")
        assert.is_true(a:delete("k", { if_version = second }))
        gives(nil, "miss", b, "k")
        fails("conflict", nil, b:set("k", 3, { if_version = second }))
        a:close() b:close()
    end)

    it("draws versions that rise for all, over deletes too", function()
        local a, b = tiers()
        local last = "0"
        local function rises(version)
            assert.is_true(#version > #last or #version == #last and version > last, last .. " " .. version)
            last = version
        end
        for _ = 1, 20 do
            rises(a:set("k", 1))
            rises(b:set("k", 2))
            assert.is_true(a:delete "k")
            rises(b:set("k", 3))
        end
        local huge = "9223372036854775000"
        assert.equal(huge, (a:set("k", 4, { version = huge })))
        local err = fails("conflict", nil, b:set("k", 5, { version = "9007199254740993" }))
        assert.equal(huge, err.version)
        rises(b:set("k", 6))
        assert.is_true(a:delete "k")
        fails("conflict", nil, b:set("k", 7, { version = "9007199254740993" }))
        rises(a:set("k", 8))
        a:close() b:close()
    end)

    it("forgets for all what is invalidated", function()
        local rows = { k = "old", m = "old" }
        local a, b = over(rows)
        for _, key in ipairs { "k", "m" } do
            b:get(key)
            shared.held(a, key)
        end
        rows.k = "new"
        assert.is_true(b:invalidate "k")
        assert.same({ nil, "miss" }, { a:peek "k" })
        assert.same({ "old", "l1" }, { a:peek "m" })
        gives("new", "loaded", a, "k")
        rows.m = "new"
        assert.is_true(b:invalidate_all())
        assert.same({ nil, "miss" }, { a:peek "m" })
        gives("new", "loaded", b, "m")
        gives("new", "loaded", b, "k")
        gives("new", "l2", a, "m")
        a:close() b:close()
    end)

    it("touches all tiers", function()
        local a, b = tiers { stale_ttl = 60 }
        a:set("k", 1, { ttl = 30 })
        assert.is_true(a:touch("k", 500))
        assert.is_true(a:get_entry "k".ttl > 400 and b:get_entry "k".ttl > 400)
        assert.is_true(b:touch("k", 0))
        assert.equal("loaded", (select(2, read_aside(b, "k"))))
        assert.is_false(a:touch("none", 5))
        bed.misuse(function() a:touch("k", -1) end, "ttl")
        a:close() b:close()
    end)

    it("brackets the caller's own writing", function()
        local rows = { k = "old" }
        local a, b = over(rows, "cache_aside")
        b:get "k"
        shared.held(a, "k")
        local one, two, three = a:write({ "k", "m" }, function(x)
            gives("old", "loaded", b, "k") -- a mark stands: it is read past the tiers, and not kept
            assert.equal("loaded", (select(3, a:get "k")))
            rows.k = "new"
            return 1, nil, x
        end, "x")
        assert.same({ 1, nil, "x" }, { one, two, three })
        gives("new", "loaded", b, "k")
        gives("new", "l2", a, "k")
        local err = fails("loader", "broken", a:write("k", function()
            rows.k = "newer"
            error "broken"
        end))
        assert.truthy(err.message:find("shared_writes_spec", 1, true))
        gives("newer", "loaded", b, "k")
        a:close() b:close()
    end)

    it("tells handlers once of each", function()
        local a, b = tiers()
        local heard = {}
        for _, event in ipairs { "write", "invalidate" } do
            a:on(event, function(e)
                if e.origin == "local" then
                    heard[#heard + 1] = ("%s %s %s"):format(event, e.key, tostring(e.cause))
                end
            end)
        end
        a:set("k", 1)
        a:delete "k"
        a:invalidate "m"
        a:write("w", function() end)
        a:invalidate_all()
        assert.same({ "write k nil", "write k nil", "invalidate k delete", "invalidate m invalidate",
            "invalidate w write", "invalidate  all" }, heard)
        a:close() b:close()
    end)

    it("leaves nothing of a refused or lost write", function()
        local rows = { k = "old" }
        local a, b = over(rows, "write_through")
        b:get "k"
        rows.refuses = true
        fails("source", "refused", a:set("k", "new"))
        gives("old", "l2", b, "k")
        rows.refuses, rows.breaks = nil, true
        fails("lost", nil, a:set("k", "new"))
        gives("new", "loaded", b, "k")
        a:close() b:close()
    end)

    it("asks ttl functions", function()
        local function ttl(key)
            return key == "short" and 0.01 or 100
        end
        local a, b = tiers { ttl = ttl }
        local versions, errs = a:set_many { short = 1, long = 2 }
        assert.same({}, errs)
        assert.is_string(versions.short)
        larder.sleep(0.02)
        gives(nil, "miss", b, "short")
        gives(2, "l2", b, "long")
        a:close() b:close()
        a, b = over({}, "write_through", { ttl = ttl })
        a:set_many { short = 1, long = 2 }
        larder.sleep(0.02)
        gives(1, "loaded", b, "short")
        gives(2, "l2", b, "long")
        a:close() b:close()
    end)

    it("reaches the source in the background when weak", function()
        local rows = {}
        local a, b = over(rows, "write_through")
        assert.is_string((a:set("k", "weak", { consistency = "weak" })))
        assert.equal("weak", rows.k)
        assert.equal("weak", (b:get "k"))
        a:close() b:close()
    end)

    it("refuses a value that fits no tier, and changes nothing then", function()
        local a, b = tiers()
        a:set("k", 1)
        fails("unsupported", nil, a:set("k", print))
        gives(1, "l2", b, "k")
        a:close() b:close()
    end)

    it("is heard of by other processes", function()
        local rows = { k = "old", m = "old", w = "old", d = "old" }
        local a, b = over(rows, "cache_aside")
        local heard = {}
        for key in pairs(rows) do
            shared.held(a, key)
        end
        a:on("invalidate", function(e) heard[e.key] = e.origin end)
        shared.beside(server, "writes" .. n, [[
            assert(cache:set("k", "new"))
            assert(cache:invalidate "m")
            assert(cache:write("w", function() return true end))
            assert(cache:delete "d")
        ]])
        for key in pairs(rows) do
            shared.forgets(a, key)
        end
        gives("new", "l2", a, "k")
        gives("old", "loaded", a, "m")
        assert.same({ k = "remote", m = "remote", w = "remote", d = "remote" }, heard)
        shared.held(a, "k")
        shared.beside(server, "writes" .. n, "assert(cache:invalidate_all())")
        shared.forgets(a, "k")
        gives("old", "loaded", a, "k")
        a:close() b:close()
    end)
end)

describe("SQLite and a shared tier", function()
    local file, db, remove, a, b

    before_each(function()
        server = redis.start()
        file, db, remove = bed.items { changes = true }
        local given = { name = name(), l2 = server.url, source = larder.source.sqlite { file = file, models = {
            item = { table = "items", key = "id", version = "version" } } } }
        a = shared.open(given)
        given.l1 = false
        b = shared.open(given)
    end)

    after_each(function()
        a:close() b:close()
        remove()
        server:close()
    end)

    it("write through with the row's versions", function()
        local version = a:set("item:1", { name = "new", price = 1 })
        assert.equal(version, b:get_entry "item:1".version)
        assert.same({ "new", "l2" }, { b:get "item:1".name, (select(3, b:get "item:1")) })
        fails("conflict", nil, b:set("item:1", { price = 2 }, { if_version = "1" }))
        assert.is_string((b:set("item:1", { price = 2 }, { if_version = version })))
        assert.equal(2, a:get "item:1".price)
        fails("rejected", nil, a:set("item:1", { price = -1 }))
        assert.equal(2, b:get "item:1".price)
        assert.is_true(a:delete "item:1")
        gives(nil, "absent", b, "item:1")
        local versions = a:set_many { ["item:2"] = { price = 7 }, ["item:3"] = { price = 8 } }
        assert.is_true(tonumber(versions["item:3"]) > tonumber(version))
        assert.same({ 7, 8 }, { b:get "item:2".price, b:get "item:3".price })
    end)

    it("hear of changes by other programs", function()
        shared.held(a, "item:4")
        assert(db:exec "UPDATE items SET price = 99 WHERE id = 4")
        redis.wait_until(function()
            return a:get "item:4".price == 99
        end)
    end)

    it("write on while Redis is away, and nothing old is there when it is back", function()
        b:get "item:1"
        local version = b:get_entry "item:1".version
        server:kill()
        assert.is_string((a:set("item:1", { price = 55 })))
        assert.equal(55, a:get "item:1".price)
        assert.is_true(a:get_entry "item:1".version > version)
        server:restart()
        redis.wait_until(function()
            return a:get "item:1" and b:get_entry "item:1".tier == "l2"
        end)
        assert.equal(55, b:get "item:1".price)
    end)
end)

describe("when Redis is not there", function()
    local cache

    before_each(function()
        server = redis.start()
    end)

    after_each(function()
        cache:close()
        server:close()
    end)

    it("a set is unavailable, what forgets is lost, and own L1 forgets", function()
        cache = shared.open { name = name(), l2 = server.url }
        local heard = {}
        for _, event in ipairs { "lost", "error" } do
            cache:on(event, function(e) heard[event] = e.err.code end)
        end
        for _, key in ipairs { "k", "m", "w" } do
            cache:set(key, "old")
            shared.held(cache, key)
        end
        server:kill()
        fails("unavailable", nil, cache:set("k", "new"))
        assert.equal("unavailable", heard.error)
        local value, how = read_aside(cache, "k")
        assert.is_true(value == "old" and how == "l1" or value == "loaded", "unchanged, but all may be suspect")
        fails("lost", nil, cache:delete "k")
        fails("lost", nil, cache:invalidate "m")
        assert.same({ "lost", "lost" }, { heard.lost, heard.error })
        assert.same({ nil, "miss" }, { cache:peek "k" })
        assert.equal("done", (cache:write("w", function() return "done" end)))
        fails("lost", nil, cache:invalidate_all())
        fails("unavailable", nil, cache:touch("k", 5))
        local err = fails("lost", nil, cache:delete_many { "k", "m" })
        assert.same({ "lost", "lost" }, { err.errs.k.code, err.errs.m.code })
    end)

    it("what it did not confirm is dropped when it is back", function()
        local id = name()
        cache = shared.open { name = id, l2 = server.url }
        for _, key in ipairs { "k", "m", "w", "stays" } do
            cache:set(key, "old")
        end
        server:pause()
        fails("lost", nil, cache:invalidate("k", { timeout = 0.2 }))
        assert.equal(1, (cache:write("w", function() return 1 end)))
        fails("lost", nil, cache:delete("m", { timeout = 0.2 }))
        server:resume()
        redis.wait_until(function()
            return cache:get "k" == nil and cache:get "m" == nil and cache:get "w" == nil and cache:get "stays" == "old"
                and cache:stats().resends > 0
        end)
    end)

    it("reads go on, and service is back within a second", function()
        cache = shared.open { name = name(), l2 = server.url }
        cache:on("reconnect", function(e) cache.peer = e.peer end)
        gives("loaded", "loaded", cache, "k", function() return "loaded" end)
        server:kill()
        gives("again", "loaded", cache, "m", function() return "again" end)
        gives("again", "l1", cache, "m")
        server:restart()
        local began = require("spec.support.posix").now()
        redis.wait_until(function()
            return cache:set("k", 1)
        end)
        assert.is_true(require("spec.support.posix").now() - began < 1000)
        redis.wait_until(function()
            cache:poll()
            return cache.peer ~= nil
        end)
        assert.truthy(cache.peer:find("redis.sock", 1, true))
    end)
end)
