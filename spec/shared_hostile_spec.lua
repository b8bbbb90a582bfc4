-- shared_hostile_spec.lua - a hostile server plays each malformed reply of spec/core/hostile_replies.txt in each phase
-- of a conversation, and replies damaged at random: the value comes from the source or the call's time is over; no
-- crash, no hang, no memory that grows, and service within a second once it behaves.

local bed = require "spec.support.bed"
local hostile = require "spec.support.hostile"
local outage = require "spec.support.outage"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"
local values = require "spec.support.values"

local every = bed.count(1, 40)
local b, figures, replies, slowest_service, slowest_bell

local function say(...)
    figures[#figures + 1] = (...):format(select(2, ...))
end

-- In this phase a connection must be made for the reply to be played.
local makes_connection = { connect = true, handshake = true, auth = true, subscription = true }

-- A miss with a lease and a fill, many keys, a write, a drop; each in time, each right.
local function use(what)
    local function right(row, err)
        local fine = row and row.price == b:price(1) or err and err.code == "timeout"
        assert.is_true(fine, ("%s: %s, %s"):format(what, row and row.price or "-", tostring(err)))
    end
    right(b:timed(b.ms, what, b.through.get, b.through, "item:1", b.opts))
    local many, errs = b:timed(b.ms, what, b.through.get_many, b.through, { "item:1", "item:2" }, b.opts)
    right(many["item:1"], errs["item:1"])
    local version, err = b:timed(b.ms, what, b.through.set, b.through, "item:1", { price = b:fresh_price() }, b.opts)
    assert.is_true(version ~= nil or err.code == "timeout" or err.code == "lost", tostring(err))
    right(b:timed(b.ms, what, b.through.get, b.through, "item:1", b.opts))
    local fine
    fine, err = b:timed(1200, what, b.through.invalidate, b.through, "item:1")
    assert.is_true(fine or err.code == "lost", tostring(err))
end

-- Once it behaves: writes are confirmed, what was filled is found there, the bell is heard. A message that never ends
-- swallows those behind it until the link is found dead; meanwhile the pulse says that they are missing.
local function serves(what, deaf_ms)
    local from = posix.now()
    redis.wait_until(function()
        local fine = b.through:invalidate "item:2"
        b.through:get "item:2"
        return fine and select(2, b.through:peek "item:2") == "l1"
    end, outage.heal_ms, what .. ": service")
    slowest_service = math.max(slowest_service, posix.now() - from)
    local heard = b.through:stats().bell_heard
    redis.wait_until(function()
        b.through:invalidate "item:2"
        return b.through:stats().bell_heard > heard
    end, outage.heal_ms + (deaf_ms or 0), what .. ": the bell")
    slowest_bell = math.max(slowest_bell, posix.now() - from)
end

local function play(phase, bytes, what)
    local fired = b.proxy:count().fired
    b.through:invalidate "item:1"
    hostile.play(b.proxy, phase, bytes)
    if makes_connection[phase] then
        b.proxy "reset"
    elseif phase == "push" then
        b.server:call("PUBLISH", "ldr1.bell:" .. b.name, "x")
    end
    use(what)
    if phase == "subscription" and bytes ~= "" then
        b.proxy:wait("fired", fired + 1, 2000)
    end
    b.proxy "pass"
    serves(what, (phase == "push" or phase == "subscription") and 3000)
end

local function memory_kb()
    collectgarbage()
    collectgarbage()
    for line in io.lines "/proc/self/status" do
        local kb = line:match "^VmRSS:%s*(%d+)"
        if kb then
            return tonumber(kb)
        end
    end
end

describe("a hostile server", function()
    setup(function()
        figures, replies = {}, hostile.replies()
        b = outage.start { config = { requirepass = "secret" } }
        b.server:call("AUTH", "secret")
        b:begin { cold = true, url = (b.proxy.url:gsub("://", "://:secret@", 1)) }
        slowest_service, slowest_bell = 0, 0
        b.through:get "item:1"
    end)

    teardown(function()
        b.proxy "pass"
        b:finish()
        outage.stop(b)
        for _, line in ipairs(figures) do
            print("# " .. line)
        end
    end)

    after_each(function()
        b.proxy "pass"
    end)

    local phases = { [0] = "auth" }
    for i, name in ipairs(hostile.names) do
        phases[i] = name
    end
    for i = 0, #phases do
        local phase = phases[i]
        it("is outlived in the phase " .. phase, function()
            local n, fired = 0, b.proxy:count().fired
            b.slowest, slowest_service, slowest_bell = 0, 0, 0
            local before
            for k = i % every + 1, #replies, every do
                local reply = replies[k]
                play(phase, reply.bytes, ("%s, line %d (%s)"):format(phase, reply.line, reply.kind))
                n = n + 1
                if n == 3 then
                    before = memory_kb()
                end
            end
            local grown = memory_kb() - before
            fired = b.proxy:count().fired - fired
            local line = "%-12s %3d replies, %3d played; slowest call %3.0f ms, service within %3.0f ms, "
                .. "bell %4.0f ms, grew by %d kB"
            say(line, phase, n, fired, b.slowest, slowest_service, slowest_bell, grown)
            assert.is_true(fired >= n * 0.8, ("only %d of %d were played"):format(fired, n))
            assert.is_true(bed.is_watched or grown < 16 * 1024, ("%d kB"):format(grown))
        end)
    end

    it("is outlived where it damages replies at random", function()
        local draw = values.new(bed.seed)
        local n = bed.count(500, 40)
        b.slowest, slowest_service = 0, 0
        for i = 1, n do
            b.through:invalidate "item:1"
            local at, mask = draw:below(300), 1 + draw:below(255)
            b.proxy(("on data when item:1 flip %d %d"):format(at, mask))
            use(("damage %d: byte %d, mask %d; LARDER_SEED=%d"):format(i, at, mask, bed.seed))
            b.proxy "pass"
            serves "damage"
        end
        say("%d random damages; slowest call %.0f ms, service within %.0f ms", n, b.slowest, slowest_service)
    end)
end)
