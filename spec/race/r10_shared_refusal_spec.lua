-- R10 between processes: the tiers have a write that the source then refuses. Wrong outcome: a row that never was is
-- read by others. Here: the source is asked first; what it refused is nowhere, and what was held before is served
-- again.
-- R11: several keys at once. Nothing is promised over keys: a reader may see one of them new and another old while a
-- set_many is under way, as he may in the source's own tables without a transaction. Promised is, key by key, what is
-- promised of one key: whole rows, none older than what a returned call wrote, and an outcome of its own for each.
-- Wrong outcome: a batch that broke off counts as done for all its keys, and the rest keep the old row in the shared
-- tier.

local schedule = require "spec.support.schedule"

local gives = schedule.gives

describe("R10, a write that the source refuses:", function()
    schedule.both("is nowhere, at no time", function(s)
        local a, b, c = s:process "a", s:process "b", s:process "c"
        gives(10, "loaded", c, "item:1")
        local before, after = s:stop("a", "source"), s:stop("a", "source", "answered")
        local write = s:begin(function() return a:set("item:1", { price = -1 }) end)
        before:reached()
        gives(10, "loaded", b, "item:1") -- the mark stands: from the source
        before:go()
        after:reached()
        gives(10, "loaded", b, "item:1")
        after:go()
        local version, err = write:result()
        assert.same({ nil, "rejected" }, { version, err.code })
        gives(10, "l2", b, "item:1") -- what was held stands
        gives(10, "l2", a, "item:1")
        assert.equal(0, s:ring "c") -- nobody needs to hear of it
        gives(10, "l1", c, "item:1")
    end)

    schedule.both("that makes a row is nowhere either", function(s)
        local a, b = s:process "a", s:process "b"
        local version, err = a:set("item:9", { name = "item 1", price = 9 }) -- that name is taken
        assert.same({ nil, "rejected" }, { version, err.code })
        gives(nil, "absent", b, "item:9")
        gives(nil, "absent", a, "item:9")
    end)

    schedule.both("a condition that does not hold: what may be old is forgotten", function(s)
        local a, b = s:process "a", s:process "b"
        gives(10, "loaded", a, "item:1")
        local version = a:get_entry "item:1".version
        s:sql "UPDATE items SET price = 12 WHERE id = 1" -- nobody was told
        local _, err = b:set("item:1", { price = 11 }, { if_version = version })
        assert.equal("conflict", err.code)
        s:ring "a"
        gives(12, "loaded", a, "item:1")
    end)
end)

describe("R11, several keys at once:", function()
    local function prices(cache)
        local rows, errs = cache:get_many { "item:1", "item:2" }
        assert.same({}, errs)
        return { rows["item:1"].price, rows["item:2"].price }
    end

    local function set_both(s, a)
        return s:begin(function()
            return a:set_many({ ["item:1"] = { price = 11 }, ["item:2"] = { price = 21 } }, { timeout = 0.2 })
        end)
    end

    schedule.both("each key by itself is new when the call has returned", function(s)
        local a, b = s:process "a", s:process "b"
        assert.same({ 10, 20 }, prices(b))
        local mark, set = s:stop("a", "mark", "answered"), s:stop("a", "set")
        local write = set_both(s, a)
        mark:reached()
        s:evict "item:2" -- whose mark is gone with it
        mark:go()
        set:reached()
        s:subscribe "b" -- what b holds is suspect
        assert.same({ 11, 21 }, prices(b)) -- from the source: there is no old row
        set:go()
        local versions, errs = write:result()
        assert.same({}, errs)
        assert.is_true(versions["item:1"] ~= nil and versions["item:2"] ~= nil)
        s:ring "b"
        assert.same({ 11, 21 }, prices(b))
        assert.same({ 11, 21 }, prices(a))
    end)

    schedule.both("a batch that broke off in the midst leaves no old row", function(s)
        local a, b = s:process "a", s:process "b"
        assert.same({ 10, 20 }, prices(b))
        assert(a:set_many { ["item:3"] = { price = 31 }, ["item:4"] = { price = 41 } }) -- the server knows the scripts
        s:ring "b"
        local set = s:stop("a", "set")
        local write = set_both(s, a)
        set:reached():go(1) -- the link breaks after the first key
        local _, errs = write:result()
        assert.same({}, errs) -- the source has both
        assert.same({ 11, 21 }, prices(a))
        s:ring "b"
        s:pass(1.3) -- its mark has ended
        s:tend "a" -- tells the shared tier what it did not confirm
        s:ring "b"
        assert.same({ 11, 21 }, prices(b))
    end)
end)
