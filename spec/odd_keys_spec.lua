-- odd_keys_spec.lua - empty and too long keys over a SQL source: the same answer whichever way they come in.

local larder = require "larder"
local sqlite = require "larder.sqlite"

describe("over a SQL source", function()
    local file, cache

    setup(function()
        file = os.tmpname()
        local db = assert(sqlite.open(file, { create = true }))
        assert(db:exec "CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT)")
        db:close()
        cache = assert(larder.open { source = larder.source.sqlite { file = file, models = { t = { table = "t" } } } })
    end)

    teardown(function()
        cache:close()
        os.remove(file)
    end)

    local function codes_of(key)
        local codes = {}
        local function note(_, err)
            codes[#codes + 1] = err and err.code or "none"
        end
        note(cache:get(key))
        note(cache:get(key, {}))
        note(cache:get_entry(key))
        note(cache:refresh(key))
        note(cache:peek(key))
        note(cache:set(key, { a = "x" }))
        note(cache:delete(key))
        local _, errs = cache:get_many { key }
        note(nil, errs[key])
        _, errs = cache:set_many { [key] = { a = "x" } }
        note(nil, errs[key])
        return table.concat(codes, " ")
    end

    it("an empty key is invalid", function()
        assert.equal(("invalid "):rep(9):sub(1, -2), codes_of "")
    end)

    it("a key over 65,535 bytes is too_large", function()
        assert.equal(("too_large "):rep(9):sub(1, -2), codes_of(("t:"):rep(33000)))
    end)

    it("a key without a model raises, at the caller's line", function()
        local fine, message = pcall(cache.get, cache, "x:1")
        assert.is_false(fine)
        assert.matches("names no model", message)
    end)
end)
