-- R4 between processes: a writer drops the key within its transaction; a reader of another process loads the row of
-- before and fills the shared tier; the writer commits. Wrong outcome: the old row lies there until its ttl, though
-- the writer "has dropped it". Here: the bracket of cache:write marks the key in the shared tier before the
-- transaction. While the mark stands nobody is given a lease or what is held, and a lease of before is broken; its
-- end drops the key again.

local schedule = require "spec.support.schedule"

local gives = schedule.gives

-- b's own transaction, which stands still before its commit and goes on when told.
local function writer(s, b, drops)
    local gate = {}
    local task = s:begin(function()
        return b:write("item:1", function()
            s:sql "BEGIN IMMEDIATE"
            s:sql "UPDATE items SET price = 11 WHERE id = 1"
            if drops then
                assert(b:invalidate "item:1")
            end
            gate.inside = true
            s.base:wake(gate)
            s.base:wait "commit"
            s:sql "COMMIT"
            return true
        end)
    end)
    s.base:wait(gate)
    return function()
        s.base:wake "commit"
        assert(task:result())
    end
end

describe("R4, a fill between drop and commit, over processes:", function()
    for title, drops in pairs { ["dropped inside"] = true, ["not dropped inside"] = false } do
        schedule.both("who reads while the transaction is open fills nothing, " .. title, function(s)
            local a, b, c = s:process "a", s:process "b", s:process "c"
            gives(10, "loaded", c, "item:1")
            local commit = writer(s, b, drops)
            local n = #s.talks
            gives(10, "loaded", a, "item:1") -- committed, and read from the source itself
            assert.equal(0, s:count("a", "fill", n))
            assert.same({ nil, "miss" }, { a:peek "item:1" })
            commit()
            gives(11, "loaded", a, "item:1")
            s:ring "c"
            gives(11, "l2", c, "item:1")
        end)
    end

    schedule.both("who holds a lease from before fills nothing after the commit", function(s)
        local a, b, c = s:process "a", s:process "b", s:process "c"
        local source = s:stop("a", "source", "answered")
        local reader = s:begin(function() return assert(a:get "item:1").price end)
        source:reached()
        local commit = writer(s, b, true)
        commit()
        source:go()
        assert.equal(10, reader:result())
        assert.same({ nil, "miss" }, { a:peek "item:1" })
        gives(11, "loaded", c, "item:1")
        gives(11, "l2", a, "item:1")
    end)

    schedule.both("who holds a lease from before fills nothing while the transaction is open", function(s)
        local a, b, c = s:process "a", s:process "b", s:process "c"
        local source = s:stop("a", "source", "answered")
        local reader = s:begin(function() return assert(a:get "item:1").price end)
        source:reached()
        local commit = writer(s, b)
        source:go()
        assert.equal(10, reader:result())
        gives(10, "loaded", c, "item:1") -- and not from the shared tier
        commit()
        gives(11, "loaded", c, "item:1")
        gives(11, "l2", a, "item:1")
    end)

    schedule.both("a write through the cache: who reads before its commit fills nothing after it", function(s)
        local a, b, c = s:process "a", s:process "b", s:process "c"
        local before, set = s:stop("b", "source"), s:stop("b", "set")
        local write = s:begin(function() return assert(b:set("item:1", { price = 11 })) end)
        before:reached()
        gives(10, "loaded", a, "item:1") -- the mark stands
        assert.same({ nil, "miss" }, { a:peek "item:1" })
        before:go()
        set:reached()
        gives(11, "loaded", c, "item:1") -- committed; the mark stands
        set:go()
        write:result()
        gives(11, "l2", a, "item:1")
        gives(11, "l2", c, "item:1")
    end)
end)
