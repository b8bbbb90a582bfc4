-- entry_spec.lua - what get_entry says beside the value.

local larder = require "larder"

describe("cache:get_entry", function()
    local cache

    before_each(function()
        cache = assert(larder.open { ttl = 10 })
    end)

    after_each(function()
        cache:close()
    end)

    it("says where a value came from and how old it is", function()
        local entry = cache:get_entry("k", function()
            return "v", nil, { version = 7 }
        end)
        assert.same({ "v", "loaded", "loader", "7", false, "eventual" },
            { entry.value, entry.outcome, entry.tier, entry.version, entry.stale, entry.level })
        entry = cache:get_entry "k"
        assert.same({ "v", "l1", "l1", "7", false, "eventual" },
            { entry.value, entry.outcome, entry.tier, entry.version, entry.stale, entry.level })
        assert.is_true(entry.age >= 0 and entry.ttl > 0 and entry.ttl <= 10)
    end)

    it("of what is not held has neither age nor ttl nor tier", function()
        local entry = cache:get_entry "nothing"
        assert.equal("miss", entry.outcome)
        assert.same({}, { entry.value, entry.age, entry.ttl, entry.tier, entry.version })
    end)
end)
