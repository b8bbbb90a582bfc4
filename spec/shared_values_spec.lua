-- shared_values_spec.lua - random values go through Redis between Lua 5.4 and LuaJIT, and from each to itself, without
-- any local shelf: equal by type and by their bytes.

local bed = require "spec.support.bed"
local crew = require "spec.support.crew"
local redis = require "spec.support.redis"
local program = require "spec.support.values_worker"

local BATCH = 500
local n = bed.count(100000, 2000)

describe(("%d random values through Redis (seed %d):"):format(n, bed.seed), function()
    local server, here, other, names

    setup(function()
        names = { bed.is_jit and "LuaJIT" or "Lua 5.4", bed.is_jit and "Lua 5.4" or "LuaJIT" }
        server = redis.start()
        here = program(server.url)
        local lua = bed.is_jit and "lua5.4" or "luajit"
        other = crew.hire("spec.support.values_worker", { lua = lua, args = { server.url } })
    end)

    teardown(function()
        here.close()
        other:close()
        server:close()
    end)

    it("written here, read here and by the other Lua", function()
        local own, others = 0, 0
        for at = 0, n - 1, BATCH do
            local seed = bed.seed + at
            assert.equal(BATCH, here.write(seed, BATCH))
            other:tell("return read(%d, %d, true)", seed, BATCH)
            own = own + here.read(seed, BATCH, false)
            others = others + other:hear(120000)
        end
        assert.same({ n, n }, { own, others })
        print(("# %s to itself: %d equal; to %s: %d equal"):format(names[1], own, names[2], others))
    end)

    it("written by the other Lua, read by it and here", function()
        local own, others = 0, 0
        for at = 0, n - 1, BATCH do
            local seed = bed.seed + 1000000 + at
            assert.equal(BATCH, other:ask("return write(%d, %d)", seed, BATCH))
            other:tell("return read(%d, %d, false)", seed, BATCH)
            own = own + here.read(seed, BATCH, true)
            others = others + other:hear(120000)
        end
        assert.same({ n, n }, { own, others })
        print(("# %s to itself: %d equal; to %s: %d equal"):format(names[2], others, names[1], own))
    end)
end)
