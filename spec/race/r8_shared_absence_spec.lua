-- R8 between processes: a reader finds that there is no such row; a writer of another process makes it, and its drop
-- finds nothing that is held; the reader fills "absent" into the shared tier. Wrong outcome: the new row is invisible
-- to all until negative_ttl. Here: an absence needs the lease, too, and a write or drop breaks it also where nothing
-- is held.

local schedule = require "spec.support.schedule"

local gives = schedule.gives

describe("R8, an absence that is older than the insert, over processes:", function()
    local ways = {
        ["a set"] = function(_, b)
            assert(b:set("item:9", { name = "nine", price = 9 }))
        end,
        ["another program and an invalidation"] = function(s, b)
            s:sql "INSERT INTO items (id, name, price) VALUES (9, 'nine', 9)"
            assert(b:invalidate "item:9")
        end,
        ["the bracket of a write"] = function(s, b)
            assert(b:write("item:9", function()
                return s:sql "INSERT INTO items (id, name, price) VALUES (9, 'nine', 9)"
            end))
        end,
    }
    for how, insert in pairs(ways) do
        schedule.both("the row was made by " .. how, function(s)
            local a, b, c = s:process("a", { negative_ttl = 1000 }), s:process "b", s:process "c"
            local source = s:stop("a", "source", "answered")
            local reader = s:begin(function() return (select(3, a:get "item:9")) end)
            source:reached()
            insert(s, b)
            source:go()
            assert.equal("absent", reader:result()) -- it asked before
            assert.same({ nil, "miss" }, { a:peek "item:9" })
            gives(9, how == "a set" and "l2" or "loaded", c, "item:9")
            gives(9, "l2", a, "item:9")
        end)
    end

    schedule.both("an absence that is held ends with the insert", function(s)
        local a, b = s:process("a", { negative_ttl = 1000 }), s:process("b", { negative_ttl = 1000 })
        gives(nil, "absent", a, "item:9")
        gives(nil, "absent", b, "item:9")
        assert.equal(1, s:count("a", "fill") + s:count("b", "fill") - 2) -- beside what each read first
        assert(b:set("item:9", { name = "nine", price = 9 }))
        s:ring "a"
        gives(9, "l2", a, "item:9")
    end)
end)
