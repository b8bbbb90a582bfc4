-- R1 and R2 between processes: a reader loaded a row and is about to fill the shared tier; meanwhile the row was
-- changed. Wrong outcome: the old row lies in the shared tier until its ttl. Here: the drop breaks the reader's
-- lease, and a lease that is not there (dropped, evicted, flushed) refuses the fill; it is never "set if absent".

local schedule = require "spec.support.schedule"

local gives = schedule.gives

-- A reader in process a that holds the row of before, and fills when it is let go on.
local function late_reader(s, a)
    local source = s:stop("a", "source", "answered")
    local reader = s:begin(function()
        return assert(a:get "item:1").price
    end)
    source:reached()
    return function()
        source:go()
        assert.equal(10, reader:result()) -- it asked before: it may have it
    end
end

describe("R1, a fill that is older than a drop, over processes:", function()
    schedule.both("another program's write and an invalidation overtake it", function(s)
        local a, b, c = s:process "a", s:process "b", s:process "c"
        local fill = late_reader(s, a)
        s:sql "UPDATE items SET price = 11 WHERE id = 1"
        assert(b:invalidate "item:1")
        fill()
        gives(11, "loaded", c, "item:1")
        gives(11, "l2", b, "item:1")
        assert.same({ nil, "miss" }, { a:peek "item:1" })
        gives(11, "l2", a, "item:1")
        assert.is_true(a:stats().refused >= 1)
    end)

    schedule.both("a write through the cache overtakes it", function(s)
        local a, b, c = s:process "a", s:process "b", s:process "c"
        local fill = late_reader(s, a)
        assert(b:set("item:1", { price = 11 }))
        fill()
        gives(11, "l2", c, "item:1")
        gives(11, "l2", a, "item:1")
    end)

    schedule.both("an invalidate_all overtakes it", function(s)
        local a, b, c = s:process "a", s:process "b", s:process "c"
        local fill = late_reader(s, a)
        s:sql "UPDATE items SET price = 11 WHERE id = 1"
        assert(b:invalidate_all())
        fill() -- of the generation before, as far as a knows
        gives(11, "loaded", b, "item:1")
        s:ring "c" -- or it finds out within a second
        gives(11, "l2", c, "item:1")
        s:ring "a"
        gives(11, "l2", a, "item:1")
    end)
end)

describe("R2, a fill whose owner is gone:", function()
    local ways = {
        ["evicted"] = function(s) s:evict "item:1" end,
        ["flushed"] = function(s) s:flush() end,
    }
    for how, lose in pairs(ways) do
        schedule.both("the lease is " .. how .. " while it loads", function(s)
            local a, c = s:process "a", s:process "c"
            local fill = late_reader(s, a)
            lose(s)
            s:sql "UPDATE items SET price = 11 WHERE id = 1" -- whose drop came before, or found nothing
            fill()
            assert.same({ nil, "miss" }, { a:peek "item:1" })
            gives(11, "loaded", c, "item:1")
            gives(11, "l2", a, "item:1")
        end)

        schedule.both("the lease and the write after it are " .. how, function(s)
            local a, b, c = s:process "a", s:process "b", s:process "c"
            local fill = late_reader(s, a)
            assert(b:set("item:1", { price = 11 }))
            lose(s)
            fill()
            gives(11, "loaded", c, "item:1")
        end)
    end
end)
