-- namesakes_spec.lua - caches of one name in one program hear each other; caches of different names never meet.

local bed = require "spec.support.bed"
local larder = require "larder"
local posix = require "spec.support.posix"
local test = require "larder.host.test"

local a, b, other

local function held(cache, key)
    return (select(2, cache:peek(key)))
end

describe("two caches of one name", function()
    before_each(function()
        a, b, other = larder.open { name = "shop" }, larder.open { name = "shop" }, larder.open { name = "other" }
        for _, cache in ipairs { a, b, other } do
            cache:set("k", "old")
            cache:set("m", "old")
        end
        a:set("k", "old") b:set("m", "old")
        for _, key in ipairs { "k", "m" } do
            for _, cache in ipairs { a, b } do
                cache:get(key, function() return "old" end)
                cache:get(key)
                assert.equal("l1", held(cache, key))
            end
        end
    end)

    after_each(function()
        a:close()
        b:close()
        other:close()
    end)

    it("forget what the other set, deleted, invalidated or wrote", function()
        local changes = {
            set = function() a:set("k", "new") end,
            set_table = function() a:set("k", { "new" }) end,
            set_many = function() a:set_many { k = "new" } end,
            delete = function() a:delete "k" end,
            delete_many = function() a:delete_many { "k" } end,
            invalidate = function() a:invalidate "k" end,
            write = function() a:write("k", function() end) end,
            broken_write = function() a:write("k", function() error "x" end) end,
        }
        for name, change in pairs(changes) do
            b:get("k", function() return "old" end)
            b:get "k"
            change()
            assert.equal("miss", held(b, "k"), name)
            assert.equal("miss", (select(3, b:get "k")), name)
            assert.equal("l1", held(b, "m"), name)
            assert.equal("l1", held(other, "k"), name)
        end
        a:invalidate_all()
        assert.equal("miss", held(b, "m"))
        assert.equal("l1", held(other, "m"))
    end)

    it("keep what the other only read or loaded", function()
        a:invalidate "k"
        b:get("k", function() return "b's" end)
        a:get("k", function() return "a's" end)
        a:refresh("k", function() return "a's" end)
        a:touch("k", 5)
        assert.equal("b's", (b:get "k"))
    end)

    it("do not fill what they began to load before the other's change", function()
        local host = test.new { seed = bed.seed }
        local one, two = larder.open { name = "x", host = host }, larder.open { name = "x", host = host }
        local truth = "old"
        host:run(function()
            two:get("k", function() local value = truth host:sleep(10) return value end)
        end, function()
            host:sleep(5)
            truth = "new"
            one:invalidate "k"
        end)
        assert.equal("miss", held(two, "k"))
        one:close()
        two:close()
    end)

    it("tell their own handlers, and go on when one is closed or collected", function()
        local heard = {}
        b:on("invalidate", function(e) heard[#heard + 1] = e.key end)
        a:set("k", 1)
        assert.same({ "k" }, heard)
        b:close()
        assert.is_string((a:set("k", 2)))
        for _ = 1, 20 do
            larder.open { name = "shop" }:set("k", 1)
        end
        collectgarbage()
        collectgarbage()
        assert.is_string((a:set("k", 3)))
        assert.equal(3, (a:get "k"))
    end)

    it("hear of writes through a source, also of lost ones", function()
        local rows = {}
        local lost = false
        local function open()
            return larder.open { name = "rows", source = larder.source.functions {
                load = function(key) return rows[key] end,
                store = function(key, value)
                    rows[key] = value
                    if lost then
                        error "broken pipe"
                    end
                    return true
                end,
                delete = function(key) rows[key] = nil return true end,
            } }
        end
        local one, two = open(), open()
        one:set("k", 1)
        assert.equal(1, (two:get "k"))
        one:set("k", 2)
        assert.equal(2, (two:get "k"))
        lost = true
        bed.fails("lost", nil, one:set("k", 3))
        assert.equal(3, (two:get "k"))
        lost = false
        one:delete "k"
        assert.equal("absent", (select(3, two:get "k")))
        one:close()
        two:close()
    end)

    it("hear of each other across Lua states, and tell their handlers with their next call", function()
        local heard = {}
        b:on("invalidate", function(e) heard[#heard + 1] = e.key end)
        posix.threads(1, [[
            local cache = require("larder").open { name = "shop" }
            cache:set("k", 1)
            cache:set("m", 1)
            cache:close()
        ]])
        assert.same({ "miss", "miss", "miss", "miss" }, { held(a, "k"), held(b, "k"), held(a, "m"), held(b, "m") })
        b:get "other"
        assert.same({ "k", "m" }, heard)
        assert.equal("l1", held(other, "k"))
    end)

    it("tell handlers of others also after a quick set", function()
        local heard = 0
        b:on("invalidate", function() heard = heard + 1 end)
        for i = 1, 200 do
            b:get("k", function() return "held" end)
            a:set("k", "string " .. i)
        end
        assert.equal(200, heard)
    end)

    it("private ones, without a name, never meet", function()
        local one, two = larder.open {}, larder.open {}
        one:set("k", 1)
        two:set("k", 2)
        assert.equal(1, (one:get "k"))
        one:invalidate_all()
        assert.equal(2, (two:get "k"))
        one:close()
        two:close()
    end)
end)
