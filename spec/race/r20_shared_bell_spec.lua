-- R20: a message of the bell is lost (Redis' publish is at most once). Wrong outcome: L1 gives the old row until its
-- ttl. Here: each change has a number, drawn in the script that makes it; the next message that comes, or the pulse,
-- shows that one is missing, and what L1 holds is not believed until it was read again. So it is after a lost
-- subscription.
-- R21: the news of a change overtake what a reader was told before it. Wrong outcome: he keeps the old row in L1, and
-- the news have passed. Here: L1 takes nothing that was asked for before the news.
-- R22: the same with the own write, whose news come after its answer, or while another coroutine is reading.

local schedule = require "spec.support.schedule"

local gives = schedule.gives

-- a holds the row in L1 and has heard all; then b changes it, and a does not hear that.
local function missed(s)
    local a, b = s:process "a", s:process "b"
    s:ring "a"
    gives(10, "loaded", a, "item:1")
    s:ring "a" -- its own fill rings no bell, and what it holds is not suspect
    s:tend "a"
    gives(10, "l1", a, "item:1")
    assert(b:set("item:1", { price = 11 }))
    assert.equal(1, s:miss "a")
    gives(10, "l1", a, "item:1")
    return a, b
end

describe("R20, a message that is lost:", function()
    schedule.both("the next one shows it", function(s)
        local a, b = missed(s)
        assert(b:set("item:2", { price = 21 }))
        s:ring "a"
        assert.same({ nil, "miss" }, { a:peek "item:1" })
        gives(11, "l2", a, "item:1")
        gives(11, "l1", a, "item:1")
        assert.equal(1, a:stats().bell_gaps)
    end)

    schedule.both("it was the last one: the pulse shows it", function(s)
        local a = missed(s)
        s:pass(1.01)
        s:tend "a" -- the number is ahead of what was heard: it may be under way ...
        s:pass(0.21)
        s:tend "a" -- ... but not so long
        gives(11, "l2", a, "item:1")
        assert.equal(1, a:stats().bell_gaps)
    end)

    schedule.both("what comes late, doubled or in another order changes nothing", function(s)
        local a, b = s:process "a", s:process "b"
        gives(10, "loaded", a, "item:1")
        for price = 11, 13 do
            assert(b:set("item:1", { price = price }))
        end
        s:miss "a"
        local n = #s.payloads
        for _, i in ipairs { n, n - 2, n, n - 1, n - 2 } do
            s.of.a.core:hear(s.payloads[i])
            local row = a:get "item:1"
            assert.equal(13, row.price)
        end
        gives(13, "l1", a, "item:1")
    end)

    schedule.both("a subscription that broke makes all suspect, at once and again when it stands", function(s)
        local a, b = missed(s)
        s:unsubscribe "a"
        gives(11, "l2", a, "item:1")
        assert(b:set("item:1", { price = 12 }))
        s:subscribe "a"
        gives(12, "l2", a, "item:1")
    end)

    schedule.both("nothing was rung, for the set was lost, and the row has been loaded anew since", function(s)
        local a, b, c = s:process "a", s:process "b", s:process "c"
        gives(10, "loaded", b, "item:1")
        local set = s:stop("a", "set")
        local write = s:begin(function() return assert(a:set("item:1", { price = 11 })) end)
        set:reached()
        s:evict "item:1" -- and the mark with it
        set:go "unsent"
        write:result()
        gives(11, "loaded", c, "item:1")
        s:tend "a" -- what was not confirmed is said once more
        s:ring "b"
        gives(11, "l2", b, "item:1")
    end)

    schedule.both("the server was emptied, and its numbers begin anew", function(s)
        local a, b = missed(s)
        s:flush()
        assert(b:set("item:2", { price = 21 })) -- whose number is one that a has heard
        s:ring "a"
        s:pass(1.01)
        s:tend "a"
        gives(11, "loaded", a, "item:1")
    end)
end)

describe("R21, news that overtake an answer:", function()
    schedule.both("of a look-up that found the old row", function(s)
        local a, b = s:process "a", s:process "b"
        gives(10, "loaded", b, "item:1")
        local lookup = s:stop("a", "lookup", "answered")
        local reader = s:begin(function() return (a:get "item:1").price end)
        lookup:reached()
        assert(b:set("item:1", { price = 11 }))
        s:ring "a" -- where there is nothing to forget
        lookup:go()
        assert.equal(10, reader:result()) -- it asked before
        assert.same({ nil, "miss" }, { a:peek "item:1" })
        gives(11, "l2", a, "item:1")
        gives(11, "l1", a, "item:1")
    end)

    schedule.both("of a look-up, and an invalidation by another program's request", function(s)
        local a, b = s:process "a", s:process "b"
        gives(10, "loaded", b, "item:1")
        local lookup = s:stop("a", "lookup", "answered")
        local reader = s:begin(function() return (a:get "item:1").price end)
        lookup:reached()
        s:sql "UPDATE items SET price = 11 WHERE id = 1"
        assert(b:invalidate "item:1")
        s:ring "a"
        lookup:go()
        assert.equal(10, reader:result())
        gives(11, "loaded", a, "item:1")
    end)

    schedule.both("of a fill that the shared tier took", function(s)
        local a, b = s:process "a", s:process "b"
        local fill = s:stop("a", "fill", "answered")
        local reader = s:begin(function() return (a:get "item:1").price end)
        fill:reached()
        assert(b:set("item:1", { price = 11 }))
        s:ring "a"
        fill:go()
        assert.equal(10, reader:result())
        assert.same({ nil, "miss" }, { a:peek "item:1" })
        gives(11, "l2", a, "item:1")
    end)

    for verb, held in pairs { lookup = true, fill = false } do
        schedule.both("of a " .. verb .. ", and a subscription that broke meanwhile", function(s)
            local a, b = s:process "a", s:process "b"
            if held then
                gives(10, "loaded", b, "item:1")
            end
            local stop = s:stop("a", verb, "answered")
            local reader = s:begin(function() return (a:get "item:1").price end)
            stop:reached()
            assert(b:set("item:1", { price = 11 }))
            s:unsubscribe "a"
            s:subscribe "a" -- from here on it hears again, and that was before
            stop:go()
            assert.equal(10, reader:result())
            gives(11, "l2", a, "item:1")
        end)
    end

    schedule.both("of a fill, and a gap that was noticed meanwhile", function(s)
        local a, b = s:process "a", s:process "b"
        local fill = s:stop("a", "fill", "answered")
        local reader = s:begin(function() return (a:get "item:1").price end)
        fill:reached()
        assert(b:set("item:1", { price = 11 }))
        s:miss "a"
        assert(b:set("item:2", { price = 21 }))
        s:ring "a"
        fill:go()
        assert.equal(10, reader:result())
        gives(11, "l2", a, "item:1")
    end)
end)

describe("R22, news of the own write:", function()
    schedule.both("who wrote reads what he wrote, before and after its news come", function(s)
        local a = s:process "a"
        gives(10, "loaded", a, "item:1")
        for price = 11, 13 do
            assert(a:set("item:1", { price = price }))
            gives(price, "l1", a, "item:1")
            if price > 11 then
                s:ring "a" -- of the one before, too
            end
            gives(price, "l1", a, "item:1")
        end
        assert(a:delete "item:1")
        gives(nil, "absent", a, "item:1")
        s:ring "a"
        gives(nil, "absent", a, "item:1")
    end)

    schedule.both("another coroutine's look-up of before keeps nothing", function(s)
        local a, b = s:process "a", s:process "b"
        gives(10, "loaded", b, "item:1")
        local lookup = s:stop("a", "lookup", "answered")
        local reader = s:begin(function() return (a:get "item:1").price end)
        lookup:reached()
        assert(a:set("item:1", { price = 11 }))
        lookup:go()
        assert.equal(10, reader:result())
        gives(11, "l1", a, "item:1")
        s:ring "a"
        gives(11, "l1", a, "item:1")
    end)

    schedule.both("another coroutine's look-up keeps nothing of what was deleted", function(s)
        local a, b = s:process "a", s:process "b"
        gives(10, "loaded", b, "item:1")
        local lookup = s:stop("a", "lookup", "answered")
        local reader = s:begin(function() return (a:get "item:1").price end)
        lookup:reached()
        assert(a:delete "item:1")
        lookup:go()
        assert.equal(10, reader:result())
        gives(nil, "absent", a, "item:1")
    end)

    schedule.both("another coroutine's look-up keeps nothing while the write is under way", function(s)
        local a, b = s:process "a", s:process "b"
        gives(10, "loaded", b, "item:1")
        local lookup, set = s:stop("a", "lookup", "answered"), s:stop("a", "set", "answered")
        local reader = s:begin(function() return (a:get "item:1").price end)
        lookup:reached()
        local write = s:begin(function() return assert(a:set("item:1", { price = 11 })) end)
        set:reached()
        s:ring "a" -- the news come before the answer is read
        lookup:go()
        assert.equal(10, reader:result())
        assert.same({ nil, "miss" }, { a:peek "item:1" })
        set:go()
        write:result()
        gives(11, "l1", a, "item:1")
    end)
end)
