-- shared_virtual_spec.lua - a shared tier on the virtual clock: talks are carried by a function of the test host, which
-- may let time pass before and after the server does its work; nobody listens unless it is polled.

local bed = require "spec.support.bed"
local fake_redis = require "spec.support.fake_redis"
local larder = require "larder"
local test = require "larder.host.test"

local fails = bed.fails

-- A host, its fake server, and how long a talk takes on the way there and back; late.lost: no answer comes.
local function bench(seed)
    local host, fake, late
    late = { there = 0, back = 0 }
    host = test.new { seed = seed or bed.seed % 1000, redis = function(bytes)
        late.n = (late.n or 0) + 1
        host:sleep(late.there)
        local reply = fake:feed(bytes)
        host:sleep(late.back)
        while late.rings and fake.published[1] do
            host:hear(table.remove(fake.published, 1).payload)
        end
        return not late.lost and reply or nil
    end }
    fake = fake_redis.new { now = function()
        return math.floor(host:now() * 1e6)
    end }
    return host, fake, late
end

local function open(host, options)
    local given = { name = "virtual", l2 = "redis://fake", host = host }
    for name, value in pairs(options or {}) do
        given[name] = value
    end
    return assert(larder.open(given))
end

describe("a fake server on the virtual clock", function()
    it("is looked up, leased and filled, also outside of tasks", function()
        local host, fake = bench()
        local cache, bare = open(host), open(host, { l1 = false })
        assert.same({ "v", nil, "loaded" }, { cache:get("k", function() return "v" end) })
        assert.same({ "v", nil, "l2" }, { bare:get "k" })
        assert.is_string(fake:ask("GET", "ldr1:virtual:k"))
        assert.is_string((bare:set("k", "w")))
        assert.same({ "w", nil, "l2" }, { cache:get "k" })
        assert.is_true(bare:delete "k")
        assert.same({ nil, nil, "miss" }, { bare:get "k" })
        cache:close()
        bare:close()
    end)

    it("may be late: others go on meanwhile, and age counts", function()
        local host, _, late = bench()
        local cache = open(host, { ttl = 100 })
        late.there, late.back = 0.25, 0.25
        local ran
        host:run(function()
            assert.same({ "v", nil, "loaded" }, { cache:get("k", function() return "v" end) })
        end, function()
            host:sleep(0.1)
            ran = host:now()
        end)
        assert.is_true(ran < host:now())
        local bare = open(host, { l1 = false })
        host:run(function()
            local entry = bare:get_entry "k"
            assert.equal("l2", entry.tier)
            assert.is_true(entry.age >= 0.5 and entry.age <= 2, entry.age)
        end)
        cache:close()
        bare:close()
    end)

    it("that does not answer costs no read its value, and a delete is lost until it was polled", function()
        local host, fake, late = bench()
        local cache = open(host)
        assert.is_string((cache:set("k", "old")))
        late.lost = true
        assert.equal("w", (cache:get("m", function() return "w" end)))
        fails("lost", nil, cache:delete "k")
        late.lost = false
        cache:set("k", "older", { version = "1" }) -- refused: the delete was done, it is only not known
        for _ = 1, 5 do
            host:advance(2)
            assert.is_true(cache:poll())
        end
        assert.equal(1, cache:stats().resends)
        assert.is_nil((cache:get "k"))
        assert.is_table(fake.published)
        cache:close()
    end)

    it("is asked for one load by many callers", function()
        local host = bench()
        local cache = open(host)
        local loads = 0
        local function load()
            loads = loads + 1
            host:sleep(2)
            return "v"
        end
        local tasks = {}
        for i = 1, 10 do
            tasks[i] = function()
                assert.equal("v", (cache:get("k", load)))
            end
        end
        host:run(tasks)
        assert.equal(1, loads)
        cache:close()
    end)

    it("waits for another's lease no longer than it may, and is woken when that ends", function()
        local host, _, late = bench()
        late.rings = true
        local one, two = open(host), open(host, { l1 = false })
        local loads, took = 0, nil
        local function slow()
            loads = loads + 1
            host:sleep(3)
            return "slow"
        end
        host:run(function()
            one:get("k", slow)
        end, function()
            host:sleep(1)
            local began = host:now()
            assert.same({ "slow" }, { (two:get("k", slow)) })
            took = host:now() - began
        end)
        assert.equal(1, loads)
        assert.is_true(took >= 2 and took <= 6, took)
        host:run(function()
            one:get("m", slow)
        end, function()
            host:sleep(1)
            fails("timeout", nil, two:get("m", { wait = 0.5, on_timeout = "error" }, slow))
        end)
        one:close()
        two:close()
    end)
end)
