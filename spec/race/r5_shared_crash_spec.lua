-- R5 between processes: a writer dies after its commit, before it told the shared tier. Wrong outcome: the old row is
-- served until its ttl, and longer where its age is forgotten on the way. Here: as long as the dead writer's mark
-- stands all read the source. After it
--   with the change table any process that lives tells the shared tier and so all the others;
--   without it what was held before is served once more, but by nobody longer than its ttl + stale_ttl after it
--   was loaded.

local schedule = require "spec.support.schedule"

local gives = schedule.gives

-- Process b sets the row, with 0.2 s for it, and dies before it says so. Its mark stands 1.2 s.
local function dies_after_commit(s, b)
    local source = s:stop("b", "source", "answered")
    s:begin(function() b:set("item:1", { price = 11 }, { timeout = 0.2 }) end)
    source:reached()
    s:kill "b"
    source:go()
    assert.equal(11, s:price(1))
end

describe("R5, a writer that dies between commit and drop:", function()
    schedule.both("with the change table all hear of it", function(s)
        local a, b = s:process("a", { changes = { interval = 1 } }), s:process "b"
        local c, d = s:process "c", s:process "d"
        s:look "a"
        gives(10, "loaded", c, "item:1")
        gives(10, "l2", a, "item:1")
        gives(10, "l2", d, "item:1")
        dies_after_commit(s, b)
        s:look "a"
        gives(11, "loaded", a, "item:1")
        s:tend "a" -- and tells the shared tier
        s:ring "c"
        gives(11, "loaded", c, "item:1")
        s:pass(1.3)
        gives(11, "loaded", a, "item:1") -- the mark has ended
        gives(11, "l2", c, "item:1")
        s:ring "d"
        gives(11, "l2", d, "item:1")
    end, { changes = true })

    schedule.both("with it and nobody alive who starts next tells the shared tier", function(s)
        local a, b = s:process("a", { changes = { interval = 1 } }), s:process "b"
        gives(10, "loaded", a, "item:1")
        s:look "a"
        s:pass(1.1)
        s:tend "a" -- what is known to be told lies in the shared tier
        dies_after_commit(s, b)
        s:kill "a"
        s:pass(1.3)
        local c, d = s:process("c", { changes = { interval = 1 } }), s:process "d"
        s:look "c"
        gives(11, "loaded", c, "item:1") -- the shared tier has not heard yet
        s:tend "c"
        gives(11, "l2", d, "item:1")
    end, { changes = true })

    schedule.both("without it the mark and the hard bound hold", function(s)
        local given = { ttl = 2.2, stale_ttl = 0.6 }
        local a, b, c, d = s:process("a", given), s:process("b", given), s:process("c", given), s:process("d", given)
        local began = s:now()
        gives(10, "loaded", a, "item:1")
        dies_after_commit(s, b)
        gives(11, "loaded", c, "item:1") -- while the mark stands ...
        assert.same({ nil, "miss" }, { c:peek "item:1" }) -- ... nothing is kept, and nothing of before is given
        s:pass(1.3)
        local row, _, how = c:get "item:1"
        assert.same({ 10, "l2" }, { row.price, how }) -- nobody knows better
        s:pass(began + 2.4 - s:now())
        row, _, how = d:get("item:1", { consistency = "weak" })
        assert.same({ 10, "stale" }, { row.price, how })
        s:pass(began + 2.9 - s:now())
        for _, cache in ipairs { a, c, d } do
            row = cache:get("item:1", { consistency = "weak" })
            assert.equal(11, row.price)
        end
    end)
end)
