-- shared_bound_spec.lua - bound.hard over a shared shelf: what is found there is served no longer than the reader's own
-- bound allows since the source was asked, whatever others touched and whatever their bounds are.

local larder = require "larder"
local redis = require "spec.support.redis"

describe("bound.hard over a shared shelf", function()
    local server, caches

    local function open(options)
        options.name, options.l2, options.l1 = "bound", server.url, false
        options.source = larder.source.functions { load = function() return "row" end }
        caches[#caches + 1] = assert(larder.open(options))
        return caches[#caches]
    end

    before_each(function()
        server, caches = redis.start(), {}
    end)

    after_each(function()
        for _, cache in ipairs(caches) do
            cache:close()
        end
        server:close()
    end)

    it("cuts what was touched", function()
        local one, other = open { ttl = 20, stale_ttl = 10, bound = { hard = 30 } }, open { bound = { hard = 30 } }
        one:get "k"
        assert.is_true(one:touch("k", 1000))
        for _, cache in ipairs { one, other } do
            local entry = cache:get_entry "k"
            assert.equal("l2", entry.outcome)
            assert.is_true(entry.ttl <= 30, entry.ttl)
        end
    end)

    it("cuts what others keep for longer", function()
        local one, other = open { ttl = 300, stale_ttl = 100 }, open { bound = { hard = 30 } }
        one:get "k"
        assert.is_true(one:get_entry("k").ttl > 290)
        assert.is_true(other:get_entry("k").ttl <= 30)
        assert.is_true(one:touch("k", math.huge))
        assert.equal(math.huge, one:get_entry("k").ttl)
        assert.is_true(other:get_entry("k").ttl <= 30)
        assert.equal("l2", select(3, other:get "k"))
    end)

    it("is none where there is no source", function()
        local one = assert(larder.open { name = "free", l2 = server.url, l1 = false, bound = { hard = 30 } })
        caches[1] = one
        one:set("k", 1, { ttl = 100 })
        assert.is_true(one:get_entry("k").ttl > 90)
    end)
end)
