-- shared_bytes_spec.lua - each byte: the connection is cut after the n-th byte of what Redis answers, or that byte is
-- flipped, for every n of a look-up, a lease, a fill, a mark and a set; and every byte of a record as it lies there is
-- flipped in turn. What is read is what the table holds.

local bed = require "spec.support.bed"
local larder = require "larder"
local outage = require "spec.support.outage"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"

local step = 29 -- where not all is to be proved
local masks = bed.count({ 1, 2, 4, 8, 16, 32, 64, 128 }, { 1, 16 })
local b, bare, figures

local function say(...)
    figures[#figures + 1] = (...):format(select(2, ...))
end

-- mask is a power of two.
local function xor(byte, mask)
    return byte + (math.floor(byte / mask) % 2 == 1 and -mask or mask)
end

-- A cache of the same name without L1, on a way of its own: what Redis would give another process.
local function open_bare()
    bare = assert(larder.open { name = b.name, l2 = b.server.url, l1 = false, ttl = 3,
        source = larder.source.sqlite { file = b.file,
            models = { item = { table = "items", version = "version" } } } })
end

-- Redis is asked again: the breaker is closed.
local function serves()
    redis.wait_until(function()
        return b.through:invalidate "item:5"
    end, 3000, "an answer of Redis")
end

-- Whoever reads Redis finds the table's price, soon.
local function converges()
    local from = posix.now()
    redis.wait_until(function()
        local row = bare:get "item:1"
        b:judge(1, row.price, from)
        return row.price == b:price(1)
    end, outage.heal_ms, "the table's price")
end

-- A miss with all that it asks, then a write, while byte n of the answers is struck. False: there are not so many.
local function strike(order, n)
    b.proxy "pass"
    serves()
    assert.is_true(b.through:invalidate "item:1")
    if order:find "^on data cut" then
        b.proxy "reset"
    end
    b.proxy(order:format(n))
    local before = b.proxy:count().fired
    local row, err = b:timed(b.ms, "get", b.through.get, b.through, "item:1", b.opts)
    assert.is_true(row ~= nil and row.price == b:price(1) or err ~= nil and err.code == "timeout",
        ("byte %d: %s, not %s; %s"):format(n, row and row.price or "-", b:price(1), tostring(err)))
    b:write(b.through, 1)
    row, err = b:timed(b.ms, "get", b.through.get, b.through, "item:1", b.opts)
    assert.is_true(row ~= nil and row.price == b:price(1) or err ~= nil and err.code == "timeout",
        ("after the write, byte %d: %s, not %s; %s"):format(n, row and row.price or "-", b:price(1), tostring(err)))
    b:timed(1200, "invalidate", b.through.invalidate, b.through, "item:1")
    local fired = b.proxy:count().fired > before
    b.proxy "pass"
    converges()
    return fired
end

describe("a byte", function()
    setup(function()
        figures = {}
        b = outage.start()
        b:begin { cold = true }
        open_bare()
    end)

    teardown(function()
        bare:close()
        b:finish()
        outage.stop(b)
        for _, line in ipairs(figures) do
            print("# " .. line)
        end
    end)

    after_each(function()
        b.proxy "pass"
    end)

    for _, fault in ipairs {
        { "cut", "on data when item:1 cut %d" },
        { "cut of the handshake", "on data cut %d", 60, 3 },
        { "flipped", "on data when item:1 flip %d 1" },
        { "flipped all", "on data when item:1 flip %d 255" },
    } do
        it("of an answer is " .. fault[1], function()
            local n, fired = 0, 0
            b.slowest, b.excess = 0, -math.huge
            while n < (fault[3] or math.huge) do
                local struck = strike(fault[2], n)
                if not struck and not fault[3] then
                    break
                end
                n, fired = n + (bed.prove and 1 or fault[4] or step), fired + (struck and 1 or 0)
            end
            assert.is_true(fault[3] ~= nil or n > 300, ("only %d bytes"):format(n))
            say("%s: %d bytes of %d struck, slowest %.0f ms, latest %.0f ms past its deadline", fault[1], fired, n,
                b.slowest, b.excess)
        end)
    end

    it("of a record is flipped", function()
        local name = "ldr1:" .. b.name .. ":item:1"
        local counts = { l2 = 0, loaded = 0 }
        redis.wait_until(function()
            bare:get "item:1"
            return select(3, bare:get "item:1") == "l2"
        end, nil, "a record in Redis")
        local record, version = b.server:call("GET", name), bare:get_entry("item:1").version
        for at = 1, #record, bed.count(1, 7) do
            for _, mask in ipairs(masks) do
                local byte = string.char(xor(record:byte(at), mask))
                b.server:call("SET", name, record:sub(1, at - 1) .. byte .. record:sub(at + 1))
                local entry, err = bare:get_entry "item:1"
                assert.is_table(entry and entry.value, tostring(err))
                assert.same({ b:price(1), version }, { entry.value.price, entry.version }, ("byte %d"):format(at))
                assert.is_true(entry.age >= 0 and entry.ttl <= 3 and entry.ttl > 0, ("byte %d"):format(at))
                counts[entry.outcome] = counts[entry.outcome] + 1
            end
        end
        say("record: %d bytes, %d reads from it, %d from the source", #record, counts.l2, counts.loaded)
        b.server:call("DEL", name)
    end)
end)
