-- unbuilt_spec.lua - what is known by name and not built: each raises its sentence, and the README lists it.

local options = require "larder.options"
local source = require "larder.source"
local unbuilt = require "larder.unbuilt"

local function raised(f, ...)
    local fine, e = pcall(f, ...)
    assert.is_false(fine)
    return e
end

local stale = { stale_ttl = 1, source = source.functions { load = print, store = print } }

local function opened(option, value)
    return function()
        local given = { [option] = value }
        for name, other in pairs(option == "consistency" and {} or stale) do
            given[name] = other
        end
        options.open(given)
    end
end

-- How a row of each kind is run into by a user; kinds that are not here are of the cache or the command.
local ways = {
    level = function(name)
        return opened("consistency", name)
    end,
    pattern = function(name)
        return opened("pattern", { name })
    end,
    guard = function(name)
        return opened("guard", name)
    end,
    policy = function(name)
        return opened("l1", { policy = name })
    end,
    host = function(name)
        return opened("host", name)
    end,
    bus = function(name)
        return function()
            options.open { name = "x", l2 = "redis://localhost", bus = name }
        end
    end,
    scheme = function(name)
        return function()
            options.open { name = "x", l2 = name .. "://localhost" }
        end
    end,
    strategy = function(name)
        return function()
            options.verb("invalidate", { strategy = name })
        end
    end,
    option = function(name)
        local group, inner = name:match("^(%w+)%.(%w+)$")
        return opened(group or name, group and { [inner] = "x" } or {})
    end,
    opt = function(name)
        return function()
            options.verb((name == "after" or name == "on") and "invalidate" or "get", { [name] = {} })
        end
    end,
    source = function(name)
        return source[name]
    end,
}

describe("what is not built", function()
    it("raises its sentence where a user meets it", function()
        for _, row in ipairs(unbuilt.all()) do
            local way = ways[row.kind]
            if way then
                local e = raised(way(row.name))
                assert.is_truthy(e:find(row.sentence, 1, true), e .. "\nlacks: " .. row.sentence)
                assert.matches("unbuilt_spec%.lua:%d+: ", e)
            end
        end
    end)

    it("never shuts out what is built", function()
        for kind in pairs { level = 1, pattern = 1, guard = 1, policy = 1, host = 1, strategy = 1, source = 1, bus = 1,
            scheme = 1 } do
            local _, built = unbuilt.names(kind)
            assert.is_true(#built > 0)
            for _, name in ipairs(built) do
                assert.is_false(unbuilt.has(kind, name))
                if ways[kind] and kind ~= "source" then
                    ways[kind](name)()
                end
            end
        end
    end)

    it("has stand-ins for functions and modules", function()
        assert.matches("cache:update is not built yet", raised(unbuilt.raiser("verb", "update")))
        local sim = unbuilt.stub("module", "sim")
        assert.matches("larder%.sim is not built yet", raised(function()
            return sim.run
        end))
        assert.matches("unbuilt_spec%.lua:%d+: larder%.sim", raised(function()
            sim.run = 1
        end))
        assert.matches("larder%.compat%.mlcache is not built yet", raised(require, "larder.compat.mlcache"))
        assert.matches("larder%.compat%.lrucache is not built yet", raised(require, "larder.compat.lrucache"))
    end)

    it("stands in the README", function()
        local file = io.open("README.md")
        if not file then
            pending("there is no README yet")
            return
        end
        local text = file:read("*a")
        file:close()
        local list = text:match("[Nn]ot built yet.*")
        assert.is_string(list, "the README has no part about what is not built yet")
        for _, row in ipairs(unbuilt.all()) do
            assert.is_truthy(list:find(row.name, 1, true), "the README does not name " .. row.kind .. " " .. row.name)
        end
    end)
end)
