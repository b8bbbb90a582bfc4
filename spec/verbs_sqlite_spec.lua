-- verbs_sqlite_spec.lua - the verbs over a real SQLite table, read and written by others beside the cache.

local bed = require "spec.support.bed"
local larder = require "larder"

local fails, misuse, null = bed.fails, bed.misuse, bed.null

local function results(...)
    return { n = select("#", ...), ... }
end

local file, db, remove, c

local function open(options)
    options = options or {}
    options.source = larder.source.sqlite { file = file, models = {
        item = { table = "items", version = options.version ~= false and "version" or nil } } }
    options.version = nil
    c = assert(larder.open(options))
end

local function row(id)
    return db:query("SELECT * FROM items WHERE id = ?", id)[1]
end

describe("a cache over SQLite", function()
    before_each(function()
        file, db, remove = bed.items()
        open()
    end)

    after_each(function()
        c:close()
        remove()
    end)

    it("reads a row: all columns, key and version too; NULL is null", function()
        db:query "UPDATE items SET name = NULL WHERE id = 1"
        local value, err, outcome = c:get "item:1"
        assert.is_nil(err)
        assert.equal("loaded", outcome)
        assert.same({ id = 1, name = null, price = 10, version = row(1).version }, value)
        assert.equal("l1", select(3, c:get "item:1"))
        assert.equal(tostring(value.version), c:get_entry("item:1").version)
        assert.equal("l1", c:get_entry("item:1").tier)
        assert.equal("source", c:get_entry("item:2").tier)
    end)

    it("gives the direct way what the long way gives", function()
        local direct = results(c:get "item:1")
        c:invalidate "item:1"
        local long = results(c:get("item:1", {}))
        assert.same(direct, long)
        assert.same(results(nil, nil, "absent"), results(c:get "item:99"))
        assert.same(results(nil, nil, "absent"), results(c:get("item:99", {})))
        larder.run(function()
            c:invalidate "item:1"
            assert.same(direct, results(c:get "item:1"))
        end)
    end)

    it("raises for a key without a model where the source is asked, and only there", function()
        misuse(function() local _ = c:get "nokey" end, "cache:get", '"nokey" names no model', "item")
        misuse(function() local _ = c:get "other:1" end, "names no model")
        misuse(function() local _ = c:get_entry "x" end, "cache:get_entry", "names no model")
        misuse(function() local _ = c:get_many { "item:1", "x" } end, "cache:get_many", "names no model")
        misuse(function() local _ = c:refresh "x" end, "cache:refresh", "names no model")
        misuse(function() local _ = c:set("x", {}) end, "cache:set", "names no model")
        misuse(function() local _ = c:delete "x" end, "cache:delete", "names no model")
        misuse(function() local _ = c:set_many { x = {} } end, "cache:set_many", "names no model")
        misuse(function() local _ = c:delete_many { "x" } end, "names no model")
        assert.equal("mine", (c:get("x", function() return "mine" end)))
        assert.equal("mine", (c:get "x")) -- held: nobody is asked
        assert.is_true((c:invalidate "other:1"))
        assert.same(results(nil, "miss"), results(c:peek "other:1"))
    end)

    it("gives errors for ids that can be none", function()
        for _, key in ipairs { "item:", "item:1:2", "item:%zz" } do
            local value, err, outcome = c:get(key)
            assert.is_nil(value)
            assert.is_true(err and err.code == "invalid" or outcome == "absent", key)
        end
    end)

    it("writes some of the columns and caches the row that came back", function()
        local version = assert(c:set("item:1", { price = 11 }))
        assert.same({ id = 1, name = "item 1", price = 11, version = tonumber(version) }, row(1))
        assert.same(results(row(1), nil, "l1"), results(c:get "item:1"))
        assert(c:set("item:70", { name = "new" }))
        assert.same(results({ id = 70, name = "new", price = null, version = row(70).version }, nil, "l1"),
            results(c:get "item:70"))
        assert(c:set("item:1", { name = null }))
        assert.is_nil(row(1).name)
    end)

    it("takes a read, changed row back as a blind set", function()
        local value = c:get "item:1"
        db:query "UPDATE items SET price = 77 WHERE id = 1"
        value.name = "changed"
        assert(c:set("item:1", value))
        assert.equal(10, row(1).price)
        assert.equal("changed", row(1).name)
    end)

    it("refuses what is no row of the model: invalid, nothing written", function()
        fails("invalid", "foo", c:set("item:1", { foo = 1 }))
        fails("invalid", "id", c:set("item:1", { id = 2, price = 1 }))
        fails("invalid", "row", c:set("item:1", 5))
        fails("invalid", nil, c:set("item:1", "text"))
        fails("unsupported", nil, c:set("item:1", { price = print }))
        assert.equal(10, row(1).price)
        assert.equal(10, c:get("item:1").price)
    end)

    it("gives a broken constraint as rejected, with nothing changed anywhere", function()
        c:get "item:1"
        fails("rejected", "CHECK", c:set("item:1", { price = -1 }))
        fails("rejected", "UNIQUE", c:set("item:50", { name = "item 2" }))
        assert.equal(10, c:get("item:1").price)
        assert.is_nil(row(50))
    end)

    it("looks at if_version in the source", function()
        local version = c:get_entry("item:1").version
        db:query "UPDATE items SET price = 77 WHERE id = 1"
        local err = fails("conflict", "version", c:set("item:1", { price = 12 }, { if_version = version }))
        assert.equal(tostring(row(1).version), err.version)
        assert.equal(77, row(1).price)
        assert(c:set("item:1", { price = 12 }, { if_version = tostring(row(1).version) }))
        fails("conflict", nil, c:set("item:1", { price = 13 }, { if_version = false }))
        assert(c:set("item:60", { price = 13 }, { if_version = false }))
        fails("conflict", nil, c:delete("item:60", { if_version = 1 }))
        assert.is_true((c:delete("item:60", { if_version = tostring(row(60).version) })))
        fails("conflict", nil, c:set("item:1", { price = 13 }, { if_version = 0 }))
        misuse(function() local _ = c:set("item:1", {}, { version = 5 }) end, "version")
    end)

    it("deletes the row; an absent row is true; what comes back has a higher version", function()
        local before = c:get_entry("item:1").version
        assert.same(results(true), results(c:delete "item:1"))
        assert.is_nil(row(1))
        assert.same(results(nil, nil, "absent"), results(c:get "item:1"))
        assert.same(results(true), results(c:delete "item:1"))
        assert(c:set("item:1", { name = "again" }))
        assert.is_true(tonumber(c:get_entry("item:1").version) > tonumber(before))
    end)

    it("of many: rows by key, each asked once; sets and deletes with errs by key", function()
        assert.same(results({ ["item:1"] = row(1), ["item:2"] = row(2) }, {}),
            results(c:get_many { "item:1", "item:2", "item:77", "item:1" }))
        local versions, errs = c:set_many { ["item:1"] = { price = 1 }, ["item:2"] = { price = -2 },
            ["item:3"] = { price = 3 } }
        assert.same({ ["item:1"] = tostring(row(1).version), ["item:3"] = tostring(row(3).version) }, versions)
        assert.equal("rejected", errs["item:2"].code)
        assert.same({ 1, 20, 3 }, { row(1).price, row(2).price, row(3).price })
        assert.equal(20, c:get("item:2").price)
        assert.is_true((c:delete_many { "item:1", "item:77" }))
        assert.is_nil(row(1))
    end)

    it("invalidate touches no row; the next read sees what others wrote", function()
        c:get "item:1"
        db:query "UPDATE items SET price = 99 WHERE id = 1"
        assert.equal(10, c:get("item:1").price)
        c:invalidate "item:1"
        assert.equal(99, c:get("item:1").price)
        db:query "UPDATE items SET price = 98 WHERE id = 1"
        assert.equal(98, c:refresh("item:1").price)
        db:query "UPDATE items SET price = 97 WHERE id = 1"
        assert.equal(97, c:get("item:1", { refresh = true }).price)
    end)

    it("write brackets a transaction of the caller's own", function()
        c:get "item:1"
        assert.equal("done", c:write("item:1", function()
            db:query "UPDATE items SET price = 55 WHERE id = 1"
            assert.equal(55, c:get("item:1").price)
            return "done"
        end))
        assert.equal(55, c:get("item:1").price)
    end)

    it("a plain get of the key that is being loaded, from inside its loader, is rejected", function()
        local err
        assert.equal(7, c:get("item:1", nil, function()
            err = select(2, c:get "item:1")
            return { price = 7 }
        end).price)
        assert.equal("rejected", err and err.code)
    end)

    it("a plain get lets the other coroutines go on while a row is read", function()
        local steps = {}
        larder.run(function()
            larder.spawn(function()
                steps[#steps + 1] = "other"
            end)
            assert.equal(10, c:get("item:1").price)
            steps[#steps + 1] = "read"
        end)
        assert.same({ "other", "read" }, steps)
    end)

    it("times out at once with timeout = 0, and answers from L1 all the same", function()
        fails("timeout", nil, c:get("item:1", { timeout = 0 }))
        c:get "item:1"
        assert.equal("l1", select(3, c:get("item:1", { timeout = 0 })))
        fails("timeout", nil, c:set("item:1", { price = 1 }, { timeout = 0 }))
        assert.equal(10, row(1).price)
    end)

    it("waits for a lock no longer than its deadline", function()
        assert(db:exec "BEGIN EXCLUSIVE")
        local now = require("larder.core").now
        local began = now()
        local _, err = c:set("item:1", { price = 1 }, { timeout = 0.1 })
        assert.is_true(err.code == "timeout" or err.code == "busy" or err.code == "unavailable", tostring(err))
        assert.is_true(now() - began < 1.5)
        assert(db:exec "ROLLBACK")
        assert.equal(10, row(1).price)
        assert(c:set("item:1", { price = 1 }))
    end)

    it("a weak set answers first; the row is written by the time the cache is closed", function()
        assert.is_string((c:set("item:1", { price = 44 }, { consistency = "weak" })))
        c:close(5)
        assert.equal(44, row(1).price)
    end)
end)

describe("a cache over SQLite, opened", function()
    before_each(function()
        file, db, remove = bed.items { changes = true }
    end)

    after_each(function()
        remove()
    end)

    it("on a missing file: unavailable, and no file is made", function()
        local other = file .. ".none"
        local source = larder.source.sqlite { file = other, models = { item = { table = "items" } } }
        fails("unavailable", nil, larder.open { source = source })
        assert.is_nil(io.open(other))
    end)

    it("with changes, hears of what others wrote", function()
        open { changes = { interval = 0.01 } }
        c:get "item:1"
        db:query "UPDATE items SET price = 1000 WHERE id = 1"
        local now = require("larder.core").now
        local deadline = now() + 5
        while c:get("item:1").price ~= 1000 and now() < deadline do
            larder.sleep(0.005)
        end
        assert.equal(1000, c:get("item:1").price)
        c:close()
    end)

    it("with changes asked for and no change table: an error that names the command", function()
        remove()
        file, db, remove = bed.items()
        local _, err = larder.open { changes = true, source = larder.source.sqlite {
            file = file, models = { item = { table = "items", version = "version" } } } }
        assert.is_table(err)
        assert.truthy(err.message:find("larder migrate", 1, true), tostring(err))
    end)

    it("without a version column works, its own versions rising", function()
        open { version = false }
        assert.equal(10, c:get("item:1").price)
        assert.is_string((c:set("item:1", { price = 5 })))
        assert.equal(5, c:get("item:1").price)
        c:close()
    end)

    it("write_around and cache_aside as the table of patterns says", function()
        open { pattern = "write_around" }
        c:set("item:1", { price = 3 })
        assert.equal(3, row(1).price)
        assert.same(results(nil, "miss"), results(c:peek "item:1"))
        c:close()
        open { pattern = "cache_aside" }
        c:set("item:1", { price = 4 })
        assert.equal(3, row(1).price)
        assert.same({ price = 4 }, (c:get "item:1"))
        c:delete "item:1"
        assert.equal(3, row(1).price)
        assert.equal(3, c:get("item:1").price)
        c:close()
    end)
end)
