-- verbs_close_spec.lua - what a cache tells of itself (events, stats) and how it ends (close).

local bed = require "spec.support.bed"
local larder = require "larder"
local test = require "larder.host.test"

local fails, misuse = bed.fails, bed.misuse

local function results(...)
    return { n = select("#", ...), ... }
end

describe("on", function()
    local c, heard

    -- Hears of these events; each is noted as a line of the named fields.
    local function hear(...)
        for _, name in ipairs { ... } do
            c:on(name, function(e)
                assert.equal(name, e.name)
                assert.equal(c, e.cache)
                heard[#heard + 1] = e
            end)
        end
    end

    local function lines(...)
        local out = {}
        for i, e in ipairs(heard) do
            local parts = { e.name }
            for _, field in ipairs { ... } do
                parts[#parts + 1] = tostring(e[field])
            end
            out[i] = table.concat(parts, " ")
        end
        heard = {}
        return out
    end

    before_each(function()
        c, heard = assert(larder.open { stale_ttl = 100 }), {}
    end)

    after_each(function()
        c:close()
    end)

    it("tells of misses, loads, fills and hits, after the operation, in order", function()
        hear("hit", "miss", "load", "fill")
        c:get "k"
        c:get("k", function() assert.equal(0, #heard - 1) return 1 end)
        c:get "k"
        c:get "k"
        assert.same({ "miss k local nil", "miss k local nil", "load k local nil", "fill k local l1", "hit k local l1",
            "hit k local l1" }, (function(l) table.sort(l, function(a, b)
                local rank = { miss = 1, load = 2, fill = 3, hit = 4 }
                return rank[a:match "%a+"] < rank[b:match "%a+"]
            end) return l end)(lines("key", "origin", "tier")))
    end)

    it("hits: tier, outcome, age; loads: seconds and err", function()
        hear("hit", "load", "stale", "error")
        c:get("k", function() return 1 end)
        c:get "k"
        assert.equal("number", type(heard[1].seconds))
        assert.same({ "l1", "l1" }, { heard[2].tier, heard[2].outcome })
        assert.is_true(heard[2].age >= 0)
        heard = {}
        c:touch("k", 0)
        assert.equal("stale", select(3, c:get("k", function() error "down" end)))
        local by_name = {}
        for _, e in ipairs(heard) do
            by_name[e.name] = e
        end
        assert.equal("loader", by_name.load.err.code)
        assert.equal("loader", by_name.error.err.code)
        assert.truthy(by_name.error.err.message:find "down")
        assert.equal("k", by_name.stale.key)
    end)

    it("writes and invalidations, with version and cause", function()
        hear("write", "invalidate")
        local version = c:set("k", 1)
        assert.same({ "write k " .. version }, lines("key", "version"))
        c:invalidate "k"
        assert.same({ "invalidate k invalidate" }, lines("key", "cause"))
        c:delete "k"
        local said = table.concat(lines("key", "cause"), "; ")
        assert.truthy(said:find("invalidate k delete", 1, true), said)
        c:invalidate_all()
        assert.same({ "invalidate  all" }, lines("key", "cause"))
        c:write("k", function() end)
        assert.same({ "invalidate k write" }, lines("key", "cause"))
    end)

    it("refusals with their reason, evictions and expiries with their bytes", function()
        hear("refused", "evict", "expire")
        c:get("k", function(key) c:invalidate(key) return 1 end)
        assert.same({ "refused k lease" }, lines("key", "reason"))
        c:close()
        c = larder.open { l1 = { entries = 2, shards = 1 } }
        hear "evict"
        for i = 1, 5 do
            c:set("k" .. i, i)
        end
        assert.equal(3, #heard)
        assert.is_true(heard[1].bytes > 0)
    end)

    it("ends by what it gave, again is fine", function()
        local n = 0
        local off = c:on("hit", function() n = n + 1 end)
        c:set("k", 1)
        c:get "k"
        off()
        off()
        c:get "k"
        assert.equal(1, n)
    end)

    it("a handler that raises stops nothing and goes to on_error", function()
        c:close()
        local errs, n = {}, 0
        c = larder.open { on_error = function(err) errs[#errs + 1] = err error "again" end }
        c:on("hit", function() error "broken handler" end)
        c:on("hit", function() n = n + 1 end)
        c:set("k", 1)
        assert.equal(1, (c:get "k"))
        assert.equal(1, n)
        assert.equal("loader", errs[1].code)
        assert.truthy(errs[1].message:find "broken handler")
    end)

    it("a handler may call the cache, add and drop handlers, raise and yield", function()
        local seen = {}
        c:on("write", function(e)
            seen[#seen + 1] = e.key
            if #seen < 5 then
                c:set("k" .. #seen, 1)
            end
        end)
        c:set("k0", 1)
        c:set("last", 1)
        assert.same({ "k0", "k1", "k2", "k3", "k4", "last" }, seen)
        local co = coroutine.wrap(function()
            c:on("invalidate", function() coroutine.yield "from the handler" end)
            c:invalidate "k0"
            return "done"
        end)
        assert.equal("from the handler", co())
        assert.equal("done", co())
        c:set("after", 1)
        assert.equal("after", seen[#seen])
    end)

    it("a handler whose coroutine is dropped leaves the next events alone", function()
        local co = coroutine.wrap(function()
            c:on("invalidate", function(e) if e.key == "first" then coroutine.yield() end end)
            c:invalidate "first"
        end)
        co()
        co = nil -- luacheck: ignore 311
        collectgarbage()
        collectgarbage()
        local n = 0
        c:on("write", function() n = n + 1 end)
        c:set("k", 1)
        assert.equal(1, n)
    end)

    it("hears of names that nobody emits, and raises for what is no name or handler", function()
        assert.equal("function", type(c:on("my own", print)))
        misuse(function() local _ = c:on(5, print) end, "cache:on", "the event must be a string, got 5")
        misuse(function() local _ = c:on("hit") end, "the handler must be a function, got nil")
    end)

    it("counts hits that are told of", function()
        hear "hit"
        c:set("k", 1)
        for _ = 1, 10 do
            c:get "k"
        end
        assert.equal(10, c:stats().hits)
        assert.equal(10, #heard)
    end)
end)

describe("stats", function()
    local c

    before_each(function() c = assert(larder.open { stale_ttl = 100, negative_ttl = 100 }) end)
    after_each(function() c:close() end)

    it("counts each get once: hits or misses", function()
        local s = c:stats()
        assert.same({ 0, 0, 0, 0, 0, 0 }, { s.hits, s.misses, s.hit_rate, s.loads, s.entries, s.hits_l2 })
        c:get "none" -- a miss
        c:get("k", function() return 1 end) -- loaded
        for _ = 1, 6 do
            c:get "k" -- hits
        end
        c:get("gone", function() end) -- loaded, absent
        c:get "gone" -- a hit, absent
        c:get("bad", function() error "x" end) -- an error
        c:peek "k"
        s = c:stats()
        assert.same({ 7, 7, 0, 4 }, { s.hits, s.hits_l1, s.hits_l2, s.misses })
        assert.equal(7 / 11, s.hit_rate)
        assert.same({ 3, 1, 2 }, { s.loads, s.errors, s.absent })
        assert.equal(2, s.entries)
        assert.is_true(s.bytes > 0 and s.memo >= 1)
        assert.equal(11, s.latency.get.count)
        assert.equal(3, s.latency.load.count)
        for _, what in ipairs { "get", "l1", "l2", "load" } do
            for _, q in ipairs { "p50", "p95", "p99" } do
                assert.equal("number", type(s.latency[what][q]))
            end
        end
    end)

    it("counts each key of get_many once", function()
        c:set("a", 1)
        c:get_many({ "a", "b", "a", "c" }, function() return { b = 1 } end)
        local s = c:stats()
        assert.same({ 1, 2 }, { s.hits, s.misses })
    end)

    it("counts stale answers as hits, refusals and evictions by name", function()
        c:set("k", 1)
        c:touch("k", 0)
        c:get("k", { consistency = "weak" })
        local s = c:stats()
        assert.same({ 1, 1, 0 }, { s.hits, s.stale, s.misses })
        c:get("r", function(key) c:delete(key) return 1 end)
        assert.equal(1, c:stats().refused)
        c:close()
        c = larder.open { l1 = { entries = 10, shards = 1 } }
        for i = 1, 25 do
            c:set("k" .. i, 1)
        end
        s = c:stats()
        assert.same({ 15, 10 }, { s.evictions, s.entries })
    end)

    it("is a table of the caller's own", function()
        c:stats().hits = 1000
        assert.equal(0, c:stats().hits)
    end)
end)

describe("close", function()
    it("is true, again too; every later call gives closed", function()
        local c = larder.open { negative_ttl = 1 }
        c:set("k", 1)
        c:get "k"
        c:get "k"
        assert.same(results(true), results(c:close()))
        assert.same(results(true), results(c:close(1)))
        local calls = {
            get = { "k" }, get_entry = { "k" }, get_many = { { "k" } }, peek = { "k" }, refresh = { "k", print },
            set = { "k", 1 }, set_many = { { k = 1 } }, delete = { "k" }, delete_many = { { "k" } }, touch = { "k", 1 },
            invalidate = { "k" }, invalidate_all = {}, write = { "k", print }, stats = {}, on = { "hit", print },
        }
        for verb, args in pairs(calls) do
            local value, err = c[verb](c, (table.unpack or unpack)(args)) -- luacheck: ignore 113
            assert.is_nil(value, verb)
            assert.equal("closed", err and err.code, verb)
        end
        fails("closed", nil, c:get("k", function() error "must not be called" end))
        assert.truthy(tostring(c):find "larder cache")
    end)

    it("calls the wrapped function all the same", function()
        local c = larder.open {}
        local f = c:wrap(function(x) return x * 2 end)
        c:close()
        assert.equal(42, (f(21)))
    end)

    it("raises for what is no timeout", function()
        local c = larder.open {}
        misuse(function() local _ = c:close(-1) end, "cache:close", "got -1")
        misuse(function() local _ = c:close "x" end, 'got "x"')
        assert.is_true((c:close(0)))
    end)

    it("while others wait: they get closed, the loader runs to its end", function()
        local host = test.new { seed = bed.seed }
        local c = larder.open { host = host }
        local all, ended = {}, false
        host:run(function()
            for i = 1, 5 do
                host:spawn(function()
                    all[i] = results(c:get("k", function() host:sleep(10) ended = true return 1 end))
                end)
            end
            host:sleep(1)
            assert.is_true((c:close()))
        end)
        for i = 1, 5 do
            fails("closed", nil, all[i][1], all[i][2])
        end
        assert.is_true(ended)
    end)

    it("in the loader: the loader's caller gets what it returned, or closed", function()
        local c = larder.open {}
        local value, err = c:get("k", function() c:close() return 5 end)
        assert.is_true(value == 5 or err.code == "closed")
        fails("closed", nil, c:get "k")
    end)

    it("in a write bracket, in a handler, in a ttl function, in a store", function()
        local c = larder.open {}
        assert.equal("x", (c:write("k", function() c:close() return "x" end)))
        c = larder.open {}
        c:on("write", function() c:close() end)
        assert.is_string((c:set("k", 1)))
        fails("closed", nil, c:get "k")
        c = larder.open { ttl = function() c:close() return 5 end }
        c:get("k", function() return 1 end)
        fails("closed", nil, c:get "k")
        c = larder.open { source = larder.source.functions { load = print,
            store = function() c:close() return true end } }
        c:set("k", 1)
        fails("closed", nil, c:get "k")
        c = larder.open { source = larder.source.functions { load_many = function() c:close() return {} end } }
        c:get_many { "a", "b" }
        fails("closed", nil, c:get "k")
    end)

    if not bed.is_jit then
        it("happens at the end of a scope that says <close>", function()
            local chunk = assert(load [[
                local larder = ...
                local kept
                do
                    local c <close> = larder.open {}
                    kept = c
                    c:set("k", 1)
                end
                return kept:get "k" ]])
            local _, err = chunk(larder)
            assert.equal("closed", err.code)
        end)
    end
end)
