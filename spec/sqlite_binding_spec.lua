-- sqlite_binding_spec.lua - the small SQLite binding that examples and tools use, and core.migrate.

local core = require "larder.core"
local sqlite = require "larder.sqlite"

local function temporary()
    local file = os.tmpname()
    os.remove(file)
    return file .. ".db", function()
        for _, tail in ipairs { "", "-wal", "-shm", "-journal" } do
            os.remove(file .. ".db" .. tail)
        end
    end
end

describe("larder.sqlite", function()
    local file, remove, db

    before_each(function()
        file, remove = temporary()
        db = assert(sqlite.open(file, { create = true }))
        assert(db:exec "CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    end)

    after_each(function()
        db:close()
        remove()
    end)

    it("does not make a file unasked", function()
        local other, message = sqlite.open(file .. ".none")
        assert.is_nil(other)
        assert.truthy(message:find(".none: unable to open", 1, true))
    end)

    it("gives back what was bound", function()
        local values = { 1, -2 ^ 52, 1.5, "text", "a\0b", "", true, core.null }
        for i = 1, #values do
            assert(db:query("INSERT INTO t VALUES (?, ?)", i, values[i]))
        end
        assert(db:query("INSERT INTO t VALUES (?, ?)", 9, nil))
        local rows = assert(db:query "SELECT v FROM t ORDER BY id")
        assert.equal(9, #rows)
        for i = 1, 6 do
            assert.equal(values[i], rows[i].v)
        end
        assert.equal(1, rows[7].v)
        assert.is_nil(rows[8].v)
        assert.is_nil(rows[9].v)
    end)

    it("keeps 64-bit integers", function()
        assert(db:exec "INSERT INTO t VALUES (1, 9007199254740993)")
        local v = db:query("SELECT v FROM t")[1].v
        assert(db:query("INSERT INTO t VALUES (2, ?)", v))
        assert.equal("9007199254740993", db:query("SELECT CAST(v AS TEXT) AS s FROM t WHERE id = 2")[1].s)
    end)

    it("prepares a statement that runs again and again", function()
        local put = assert(db:prepare "INSERT INTO t VALUES (?, ?)")
        for i = 1, 100 do
            assert.is_true(put:run(i, "v" .. i))
        end
        put:close()
        assert.has_error(function()
            put:run(101, 1)
        end)
        local get = assert(db:prepare "SELECT v FROM t WHERE id = ?")
        assert.equal("v7", get:rows(7)[1].v)
        assert.same({}, get:rows(700))
        get:close()
        assert(db:exec "DELETE FROM t WHERE id <= 10")
        assert.equal(10, db:changes())
    end)

    it("says what SQLite says", function()
        local rows, message = db:query "SELECT * FROM nowhere"
        assert.is_nil(rows)
        assert.equal("no such table: nowhere", message)
        assert(db:query("INSERT INTO t VALUES (1, 1)"))
        local fine, why = db:query("INSERT INTO t VALUES (1, 1)")
        assert.is_nil(fine)
        assert.truthy(why:find("UNIQUE", 1, true))
        fine, why = db:exec "NOT SQL"
        assert.is_nil(fine)
        assert.truthy(why:find("syntax error", 1, true))
        local put = db:prepare "INSERT INTO t VALUES (?, 1)"
        assert.is_nil((put:run(1)))
        assert.is_true(put:run(2))
    end)

    it("raises at misuse", function()
        assert.has_error(function()
            db:query("SELECT ?")
        end, "the statement has 1 parameters, got 0 values")
        assert.has_error(function()
            db:query("SELECT ?", {})
        end)
        assert.has_error(function()
            db:query("")
        end)
        db:close()
        assert.has_error(function()
            db:exec "SELECT 1"
        end)
    end)
end)

describe("core.migrate", function()
    local file, remove, db

    before_each(function()
        file, remove = temporary()
        db = assert(sqlite.open(file, { create = true }))
        assert(db:exec "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT)")
    end)

    after_each(function()
        db:close()
        remove()
    end)

    local function migrate(mode, more)
        local options = { file = file, table = "products", mode = mode }
        for name, value in pairs(more or {}) do
            options[name] = value
        end
        return core.migrate(options)
    end

    it("prints, applies, finds nothing to do, and takes it back", function()
        local printed = assert(migrate("print", { changes = true }))
        assert.truthy(printed:find("CREATE TABLE", 1, true))
        assert.truthy(printed:find("ldr_changes", 1, true))
        assert.is_nil((db:query "SELECT * FROM ldr_changes"))
        assert.equal(printed, migrate("apply", { changes = true }))
        assert.same({}, db:query "SELECT * FROM ldr_changes")
        assert(db:exec "INSERT INTO products (id, name) VALUES (1, 'tea')")
        assert.truthy(db:query("SELECT version FROM products")[1].version > 0)
        assert.equal("-- nothing to do\n", migrate("apply", { changes = true, key = { "id" } }))
        assert(migrate "undo")
        assert.is_nil((db:query "SELECT version FROM products"))
    end)

    it("gives a code and a message", function()
        local sql, code, message = core.migrate { file = file .. ".none", table = "products" }
        assert.is_nil(sql)
        assert.equal("unavailable", code)
        assert.equal("string", type(message))
        sql, code = migrate("apply", { key = { "name" } })
        assert.is_nil(sql)
        assert.equal("invalid", code)
    end)
end)
