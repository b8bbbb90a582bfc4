-- R29: the holder of a lease pauses past its end; another one loads and fills; then the first one's late result
-- comes. Wrong outcome: it lies over the newer one. Here: a fill needs the very lease that stands, so one that has
-- ended or was replaced fills nothing; and a set needs its own mark, or a lower version.
-- R30: the holder dies. Wrong outcome: all wait for as long as they are ready to wait. Here: his lease says how long
-- it can still last, and who waits looks again then.
-- R31: those who wait ask again and again. Wrong outcome: load for the server, and the value is seen a nap later.
-- Here: the end of a lease that somebody waits for is rung, and until then nobody asks.

local schedule = require "spec.support.schedule"

local gives = schedule.gives

local lock = { "lock", lock = { ttl = 0.5 } }
local given = { guard = lock, negative_ttl = 1000 }

-- Process a holds the lease and has the source's answer: what `key` was. Gives what lets it go on, and then its price.
local function holder(s, a, key)
    local source = s:stop("a", "source", "answered")
    local reader = s:begin(function()
        local row = a:get(key)
        return row and row.price
    end)
    source:reached()
    return function(how)
        source:go(how)
        return reader:result()
    end
end

local function insert(s)
    s:sql "INSERT INTO items (id, name, price) VALUES (9, 'nine', 9)" -- by another program, and nobody is told
end

describe("R29, a lease that its holder outlived:", function()
    schedule.both("another one has filled since", function(s)
        local a, b, c = s:process("a", given), s:process("b", given), s:process("c", given)
        local fill = holder(s, a, "item:9") -- absent: there is no version that would tell
        insert(s)
        s:pass(0.55) -- and nobody renews: the process stands still
        gives(9, "loaded", b, "item:9")
        assert.is_nil(fill())
        assert.same({ nil, "miss" }, { a:peek "item:9" })
        gives(9, "l2", c, "item:9")
        gives(9, "l2", a, "item:9")
        assert.equal(1, a:stats().refused)
    end)

    schedule.both("another one holds it now, who is still loading", function(s)
        local a, b, c = s:process("a", given), s:process("b", given), s:process("c", given)
        local fill = holder(s, a, "item:9")
        insert(s)
        s:pass(0.55)
        local source = s:stop("b", "source", "answered")
        local reader = s:begin(function() return (b:get "item:9").price end)
        source:reached()
        assert.is_nil(fill())
        source:go()
        assert.equal(9, reader:result()) -- and its lease was not ended by the late one's
        gives(9, "l2", c, "item:9")
    end)

    schedule.both("nobody came meanwhile", function(s)
        local a, c = s:process("a", given), s:process("c", given)
        local fill = holder(s, a, "item:9")
        insert(s)
        s:pass(0.55)
        assert.is_nil(fill())
        gives(9, "loaded", c, "item:9")
    end)

    schedule.both("a holder that lives renews it", function(s)
        local a, c = s:process("a", { guard = { "lock", lock = { ttl = 0.8 } } }), s:process("c", given)
        local fill = holder(s, a, "item:1")
        for _ = 1, 3 do
            s:pass(0.45)
            s:tend "a"
        end
        assert.equal(10, fill())
        gives(10, "l2", c, "item:1")
        assert.is_true(a:stats().renewals >= 3)
    end)

    schedule.both("a late set, whose mark has ended", function(s)
        local a, b, c = s:process("a", given), s:process("b", given), s:process("c", given)
        local source = s:stop("a", "source", "answered")
        local write = s:begin(function()
            return assert(a:set("item:1", { price = 11 }, { timeout = 0.1 }))
        end)
        source:reached()
        s:pass(1.2) -- its mark stood 1.1 s
        assert(b:set("item:1", { price = 12 }))
        source:go()
        write:result()
        gives(12, "l2", c, "item:1")
        gives(12, "l2", a, "item:1")
    end)

    schedule.both("a statement is not sent once its mark may have ended", function(s)
        local a, b = s:process("a", given), s:process("b", given)
        local before = s:stop("a", "source")
        local write = s:begin(function()
            return a:set("item:1", { price = 11 }, { timeout = 0.1 })
        end)
        before:reached()
        s:pass(1.2)
        gives(10, "loaded", b, "item:1")
        before:go()
        local version, err = write:result()
        assert.same({ nil, "timeout" }, { version, err.code })
        assert.equal(10, s:price(1))
        gives(10, "l1", b, "item:1")
    end)
end)

describe("R30, a holder that dies:", function()
    schedule.both("is replaced when its lease has ended", function(s)
        local a, b, c = s:process("a", given), s:process("b", given), s:process("c", given)
        holder(s, a, "item:1")
        local began, n = s:now(), #s.talks
        s:kill "a"
        local waiters = {}
        for i, cache in ipairs { b, c } do
            waiters[i] = s:begin(function() return (cache:get "item:1").price end)
        end
        s:pass(0.49)
        assert.equal(0, s:count("b", "source", n) + s:count("c", "source", n))
        for _, one in ipairs(waiters) do -- who replaced it fills, and the other one's wait ends with its lease
            s:pass(0.06)
            s:ring "b"
            s:ring "c"
            assert.equal(10, one:result())
        end
        assert.is_true(s:now() - began < 0.62) -- two rounds of 0.06
        assert.equal(1, s:count("b", "source", n) + s:count("c", "source", n))
    end)

    schedule.both("is not waited for at all by who gives up earlier", function(s)
        local a, b = s:process("a", given), s:process("b", given)
        holder(s, a, "item:1")
        s:kill "a"
        local row, _, how = b:get("item:1", { wait = 0.1 })
        assert.same({ 10, "loaded" }, { row.price, how })
        assert.same({ nil, "miss" }, { b:peek "item:1" }) -- it loaded without the lease
        local _, err = b:get("item:1", { wait = 0.05, on_timeout = "error" })
        assert.equal("timeout", err.code)
    end)
end)

describe("R31, those who wait for another process's load:", function()
    schedule.both("are woken by its fill, and ask nothing before", function(s)
        local a, b = s:process("a", { guard = { "lock", lock = { ttl = 2 } } }), s:process("b", given)
        local fill = holder(s, a, "item:1")
        local n = #s.talks
        local waiter = s:begin(function()
            local row, _, how = b:get "item:1"
            return row.price, how, s:now()
        end)
        s:pass(0.5)
        assert.equal(2, s:count("b", nil, n)) -- a look-up, and the question for the lease
        assert.equal(10, fill())
        local woken = s:now()
        s:ring "b"
        local price, how, at = waiter:result()
        assert.same({ 10, "l2" }, { price, how })
        assert.is_true(at - woken < 0.01)
        assert.equal(3, s:count("b", nil, n)) -- and the look-up that found it
        assert.equal(0, s:count("b", "source", n))
    end)

    schedule.both("are woken when it failed, or was overtaken by a write", function(s)
        local a, b = s:process("a", { guard = { "lock", lock = { ttl = 2 } } }), s:process("b", given)
        local c = s:process "c"
        local fill = holder(s, a, "item:1")
        local waiter = s:begin(function() return (b:get "item:1").price end)
        s:pass(0.01)
        local began = s:now()
        assert(c:set("item:1", { price = 11 }))
        s:ring "b"
        assert.equal(11, waiter:result())
        assert.is_true(s:now() - began < 0.01)
        assert.equal(10, fill())
        gives(11, "l2", a, "item:1")
    end)

    schedule.both("look again when the word of its end is lost", function(s)
        local a, b = s:process("a", given), s:process("b", given)
        local fill = holder(s, a, "item:1")
        local n = #s.talks
        local waiter = s:begin(function() return (b:get "item:1").price end)
        s:pass(0.1)
        assert.equal(10, fill())
        s:miss "b"
        assert.equal(10, waiter:result()) -- at the end that the lease would have had
        assert.equal(3, s:count("b", nil, n))
        assert.equal(0, s:count("b", "source", n))
    end)
end)
