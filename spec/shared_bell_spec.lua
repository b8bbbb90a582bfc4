-- shared_bell_spec.lua - two processes, and a bell that is not heard as it was rung: messages lost, doubled, late, out
-- of order, the link or the server gone. Nothing is older than the bound, and all converge: what was missed is noticed
-- by the next number, or by the pulse, once a second. (P7, R20, R22)

local bed = require "spec.support.bed"
local outage = require "spec.support.outage"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"

local CHANGES = 20
-- A pulse a second, its grace of 200 ms, and a read.
local NOTICED_MS = 1200 + outage.slack_ms
local b, figures, slowest

local function say(...)
    figures[#figures + 1] = (...):format(select(2, ...))
end

-- The other process changes a row.
local function change(id)
    local price = b:fresh_price()
    assert.truthy(b.other:ask("return set('item:%d', %d)", id, price))
    b:became(id, price)
    assert.equal(price, b:price(id))
end

-- This process reads all rows; gives how many were old.
local function read_all()
    local n_old = 0
    for id = 1, outage.rows do
        local from = posix.now()
        local row = assert(b.through:get("item:" .. id))
        n_old = n_old + (b:judge(id, row.price, from) and 1 or 0)
    end
    return n_old
end

local function converges(ms)
    local from = posix.now()
    redis.wait_until(function()
        return read_all() == 0
    end, ms or NOTICED_MS, "what the table holds")
    local took = posix.now() - from
    slowest = math.max(slowest, took)
    assert.equal(0, read_all())
    return took
end

-- All rows in L1, and it trusts them.
local function settle()
    redis.wait_until(function()
        read_all()
        for id = 1, outage.rows do
            if select(2, b.through:peek("item:" .. id)) ~= "l1" then
                return false
            end
        end
        return true
    end, nil, "all in L1")
end

local function begin(ttl, bound)
    b:begin { cold = true, ttl = ttl, bound = bound }
    b.bound_ms = (bound or ttl) * 1000
    b.other:ask("return open(%q, %q, %q, %g)", b.name, b.server.url, b.file, ttl)
    redis.wait_until(function()
        return b.through:stats().suspicions > 0
    end, nil, "the subscription")
    settle()
end

-- A sequence of changes, each read at once; own ones between, for their messages count, too.
local function sequence()
    for i = 1, CHANGES do
        if i % 5 == 2 then
            b:write(b.through, i % outage.rows + 1)
        else
            change(i % outage.rows + 1)
        end
        read_all()
    end
end

describe("a bell", function()
    setup(function()
        figures = {}
        b = outage.start()
    end)

    before_each(function()
        slowest = 0
    end)

    after_each(function()
        b.proxy "bell pass"
        b:mend()
    end)

    teardown(function()
        outage.stop(b)
        for _, line in ipairs(figures) do
            print("# " .. line)
        end
    end)

    it("that is heard says each change at once, the own ones are no gaps", function()
        begin(300)
        local took = {}
        local gaps = b.through:stats().bell_gaps
        for i = 1, bed.count(500, 40) do
            local id = i % outage.rows + 1
            if i % 3 == 0 then
                b:write(b.through, id)
            else
                change(id)
            end
            took[i] = converges(1000)
        end
        table.sort(took)
        say("heard: p50 %.1f ms, p99 %.1f ms", took[#took / 2], took[math.ceil(#took * 0.99)])
        local s = b.through:stats()
        assert.equal(gaps, s.bell_gaps)
        assert.is_true(s.bell_heard >= #took, s.bell_heard)
        b:finish()
    end)

    -- The other process knows of no bound: what it stores lives as long as the ttl says.
    for _, case in ipairs { { "ttl", 0.4 }, { "bound", 300, 0.4 } } do
        it("of which nothing is heard leaves nothing older than the " .. case[1], function()
            begin(case[2], case[3])
            b.proxy "bell drop all"
            local until_ms, n_old, n = posix.now() + bed.count(10000, 2500), 0, 0
            while posix.now() < until_ms do
                change(n % outage.rows + 1)
                n_old, n = n_old + read_all(), n + 1
            end
            converges()
            say("all lost, %s 0.4 s: %d changes, %d reads of before, none beyond it", case[1], n, n_old)
            assert.is_true(n_old > 0, "the messages were heard")
            b:finish()
        end)
    end

    it("of which nothing is heard is found out by the pulse", function()
        begin(300)
        b.proxy "bell drop all"
        for _ = 1, bed.count(20, 2) do
            sequence()
            converges()
        end
        say("all lost, ttl 300 s: converged within %.0f ms", slowest)
        b:finish()
    end)

    for _, rule in ipairs { "drop %d", "double %d", "delay %d 150", "delay %d 400", "swap %d" } do
        it("with one message of a sequence: " .. rule, function()
            begin(300)
            for k = 1, CHANGES, bed.count(1, 6) do
                b.proxy("bell " .. rule:format(k))
                sequence()
                converges()
            end
            b.proxy "bell pass"
            b.proxy(("bell " .. rule):format(CHANGES)) -- and the last one
            sequence()
            converges()
            say("%s: converged within %.0f ms", rule:format(0), slowest)
            b:finish()
        end)
    end

    it("that is always late is found out", function()
        begin(300)
        b.proxy "bell stall 500"
        sequence()
        converges()
        say("all 500 ms late: converged within %.0f ms", slowest)
        b:finish()
    end)

    it("whose link is killed is heard again", function()
        begin(300)
        for _ = 1, bed.count(100, 5) do
            b.server:call("CLIENT", "KILL", "TYPE", "pubsub")
            sequence()
            converges()
            settle()
        end
        say("link killed: converged within %.0f ms, %d subscriptions", slowest, b.through:stats().reconnects)
        assert.is_true(b.through:stats().reconnects > 0)
        b:finish()
    end)

    it("that cannot be subscribed to any more is missed by nobody's reader", function()
        begin(300)
        b.proxy "on bell blackhole"
        b.server:call("CLIENT", "KILL", "TYPE", "pubsub")
        for _ = 1, bed.count(10, 2) do
            sequence()
            converges()
            settle()
        end
        b.proxy "pass"
        say("no bell at all: converged within %.0f ms", slowest)
        change(1)
        converges(outage.heal_ms)
        b:finish()
    end)

    it("whose server is restarted is heard again", function()
        begin(300)
        for _ = 1, bed.count(20, 2) do
            b.server:restart()
            sequence()
            converges()
            settle()
        end
        say("server restarted: converged within %.0f ms", slowest)
        b:finish()
    end)

    it("with a message that never ends is heard again", function()
        begin(300)
        local head = "*3\r\n$7\r\nmessage\r\n$100000\r\n"
        b.proxy("on bell replace " .. head:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
        change(1)
        local from, heard = posix.now(), b.through:stats().bell_heard
        redis.wait_until(function()
            posix.sleep(20)
            change(1)
            return b.through:stats().bell_heard > heard
        end, 3000 + outage.heal_ms, "the bell")
        local took = posix.now() - from
        converges()
        say("never ends: heard again after %.0f ms, converged within %.0f ms", took, slowest)
        b:finish()
    end)

    it("that strangers ring is not believed", function()
        begin(300)
        local channel = "ldr1.bell:" .. b.name
        for _, words in ipairs { "", "x", "1", "9999999999999999999 d 0 0123456789abcdef item:1", "0 d 0 0 item:1",
            "18446744073709551615 s 1 0123456789abcdef k", "5 q 1 0123456789abcdef k", ("y"):rep(200000), "\0\255\r\n",
            "7 a 0 0123456789abcdef zzzz", "-1 d 0 0123456789abcdef k", "1 d 0 0123456789abcdef " } do
            b.server:call("PUBLISH", channel, words)
            change(1)
            converges()
        end
        say("strangers: converged within %.0f ms", slowest)
        b:finish()
    end)
end)
