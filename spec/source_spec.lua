-- source_spec.lua - descriptions of sources: copied, checked, refused at the user's line.

local source = require "larder.source"

local function nothing() end

local function refused(make, given, text)
    local fine, e = pcall(make, given)
    assert.is_false(fine)
    assert.matches("source_spec%.lua:%d+: larder%.source%.", e)
    assert.is_truthy(e:find(text, 1, true), e .. "\nlacks: " .. text)
end

describe("larder.source.sqlite", function()
    it("gives a plain copy, models by name", function()
        local columns = { "id", "title" }
        local s = source.sqlite { file = "shop.db", timeout = 2, models = {
            product = { table = "products", version = "version", updated_at = "changed", columns = columns,
                sql = { load = "SELECT 1" } },
            line = { table = "lines", key = { "invoice", "n" } },
            a = { table = "a" },
        } }
        columns[1] = "changed"
        assert.is_true(source.is(s))
        assert.is_true(source.can_store(s))
        assert.same({ kind = "sqlite", file = "shop.db", timeout = 2, models = {
            { name = "a", table = "a", key = { "id" } },
            { name = "line", table = "lines", key = { "invoice", "n" } },
            { name = "product", table = "products", key = { "id" }, version = "version", updated_at = "changed",
                columns = { "id", "title" }, sql = { load = "SELECT 1" } },
        } }, setmetatable(s, nil))
    end)

    it("refuses what it cannot work with", function()
        local one = { table = "t" }
        refused(source.sqlite, nil, "options must be a table")
        refused(source.sqlite, { models = { a = one } }, "file must be")
        refused(source.sqlite, { file = "x" }, "models must be")
        refused(source.sqlite, { file = "x", models = {} }, "at least one model")
        refused(source.sqlite, { file = "x\0y", models = { a = one } }, "file")
        refused(source.sqlite, { file = "x", models = { a = one }, pool = 3 }, "unknown option pool")
        refused(source.sqlite, { file = "x", models = { a = one }, timeout = 0 }, "timeout")
        refused(source.sqlite, { file = "x", models = { ["a:b"] = one } }, "model's name")
        refused(source.sqlite, { file = "x", models = { one } }, "model's name")
        refused(source.sqlite, { file = "x", models = { a = {} } }, "models.a: table")
        refused(source.sqlite, { file = "x", models = { a = 5 } }, "models.a: options must be a table")
        for option, bad in pairs { table = 5, key = {}, version = "", updated_at = 1, columns = { 1 }, sql = 5 } do
            local model = { table = "t" }
            model[option] = bad
            refused(source.sqlite, { file = "x", models = { a = model } }, "models.a: " .. option)
        end
        refused(source.sqlite, { file = "x", models = { a = { table = "t", key = { "a", "" } } } }, "key")
        refused(source.sqlite, { file = "x", models = { a = { table = "t", columns = { "a", x = "b" } } } }, "columns")
        refused(source.sqlite, { file = "x", models = { a = { table = "t", sql = { lod = "x" } } } }, "sql.lod")
    end)
end)

describe("larder.source.functions", function()
    it("gives a copy", function()
        local callable = setmetatable({}, { __call = nothing })
        local given = { load = nothing, store = callable }
        local s = source.functions(given)
        given.load = nil
        assert.same({ "functions", nothing, callable, 5 }, { s.kind, s.load, s.store, s.timeout })
        assert.is_true(source.can_store(s))
        assert.is_false(source.can_store(source.functions { load_many = nothing }))
    end)

    it("refuses what it cannot work with", function()
        refused(source.functions, {}, "load (or load_many)")
        refused(source.functions, { load = 5 }, "load must be a function, got 5")
        refused(source.functions, { load = nothing, lod_many = nothing }, "unknown option lod_many")
        refused(source.functions, { load = setmetatable({}, {}) }, "load must be a function")
    end)
end)

it("larder.source.postgres is not built yet", function()
    refused(source.postgres, { conninfo = "dbname=shop" }, "not built yet")
end)
