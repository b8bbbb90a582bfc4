-- layers_spec.lua - a cache as the loader of another: its third result is an outcome, and no options.

local larder = require "larder"

describe("a loader that ends in another cache's get", function()
    local near, far
    before_each(function()
        near, far = assert(larder.open {}), assert(larder.open {})
    end)
    after_each(function()
        near:close()
        far:close()
    end)

    local function through(key)
        return far:get(key, nil, function()
            return "from afar"
        end)
    end

    it("gives its value, whichever way it was answered there", function()
        assert.same({ "from afar", nil, "loaded" }, { near:get("k", nil, through) })
        near:invalidate("k")
        assert.same({ "from afar", nil, "loaded" }, { near:get("k", nil, through) })
        assert.same({ "from afar", nil, "l1" }, { near:get("k", nil, through) })
    end)

    it("passes absence on", function()
        local value, err, outcome = near:get("k", nil, function(key)
            return far:get(key, nil, function() end)
        end)
        assert.same({ nil, nil, "absent" }, { value, err, outcome })
    end)

    it("still refuses any other word", function()
        local _, err = near:get("k", nil, function()
            return 1, nil, "300"
        end)
        assert.equal("invalid", err.code)
    end)
end)
