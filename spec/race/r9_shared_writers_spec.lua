-- R9, R9c, R9d between processes: the source commits one write, then another; what the writers then say to the shared
-- tier comes in the other order. Wrong outcome: the row that lost lies there, and in L1, until its ttl. Here: a set
-- is taken under the own mark or over a lower version, versions are the source's own (one sequence a table, drawn
-- under its lock, never used twice), and where nothing is held any more nothing is put.

local schedule = require "spec.support.schedule"

local gives = schedule.gives

-- A set in process `name` that has committed, and has not told the shared tier yet.
local function late_set(s, name, cache, price)
    local set = s:stop(name, "source", "answered")
    local write = s:begin(function() return assert(cache:set("item:1", { price = price })) end)
    set:reached()
    return function()
        set:go()
        return write:result()
    end
end

-- All read what the source has.
local function all_agree(s, ...)
    for _, name in ipairs { "a", "b", "c" } do
        s:ring(name)
    end
    local price = s:price(1)
    for _, cache in ipairs { ... } do
        local row = cache:get "item:1"
        assert.equal(price, row and row.price)
    end
end

local function processes(s, held)
    local a, b, c = s:process "a", s:process "b", s:process "c"
    if held then
        gives(10, "loaded", c, "item:1")
    end
    return a, b, c
end

describe("R9, two writers whose sets overtake each other:", function()
    for title, held in pairs { ["over a row that is held"] = true, ["where nothing is held"] = false } do
        schedule.both("the later write's set comes first, " .. title, function(s)
            local a, b, c = processes(s, held)
            local set = late_set(s, "a", a, 11)
            assert(b:set("item:1", { price = 12 }))
            set()
            assert.equal(12, s:price(1))
            gives(12, "l2", a, "item:1") -- its own L1 keeps nothing of what lost
            all_agree(s, a, b, c)
            gives(12, "l1", b, "item:1")
        end)

        schedule.both("both are under way, the later one's comes last, " .. title, function(s)
            local a, b, c = processes(s, held)
            local first = late_set(s, "a", a, 11)
            local second = late_set(s, "b", b, 12)
            first()
            s:ring "c"
            gives(12, "loaded", c, "item:1") -- b's mark stands
            second()
            all_agree(s, a, b, c)
        end)
    end

    schedule.both("the bell tells of them in the other order", function(s)
        local a, b, c = processes(s, true)
        local set = late_set(s, "a", a, 11)
        assert(b:set("item:1", { price = 12 }))
        s:ring "c"
        gives(12, "l2", c, "item:1")
        set()
        s:ring "c"
        gives(12, "l1", c, "item:1") -- the older news take nothing away
        all_agree(s, a, b, c)
    end)

    schedule.both("a delete is overtaken by an older set", function(s)
        local a, b, c = processes(s, true)
        local set = late_set(s, "a", a, 11)
        assert(b:delete "item:1")
        set()
        s:ring "c"
        gives(nil, "absent", c, "item:1")
        all_agree(s, a, b, c)
    end)
end)

describe("R9c, a row that is deleted and made anew under a writer:", function()
    schedule.both("his statement waits behind both", function(s)
        local a, b, c = processes(s, true)
        local source, first = s:stop("a", "source"), c:get_entry "item:1".version
        local write = s:begin(function() return assert(a:set("item:1", { price = 11 })) end)
        source:reached()
        assert(b:delete "item:1")
        local made = assert(b:set("item:1", { name = "anew", price = 12 }))
        local _, err = c:set("item:1", { price = 13 }, { if_version = first }) -- that was another row
        assert.equal("conflict", err and err.code)
        source:go()
        local version = write:result()
        assert.equal(11, s:price(1))
        assert.is_true(tonumber(version) > tonumber(made)) -- not old + 1: that number was the new row's
        all_agree(s, a, b, c)
        assert.equal("anew", c:get("item:1").name)
    end)

    schedule.both("his set comes after both", function(s)
        local a, b, c = processes(s, true)
        local set = late_set(s, "a", a, 11)
        assert(b:delete "item:1")
        assert(b:set("item:1", { name = "anew", price = 12 }))
        set()
        all_agree(s, a, b, c)
        assert.equal("anew", c:get("item:1").name)
    end)

    schedule.both("his statement waits behind the delete, the insert behind him", function(s)
        local a, b, c = processes(s, true)
        local before, set = s:stop("a", "source"), s:stop("a", "set")
        local write = s:begin(function() return assert(a:set("item:1", { name = "his", price = 11 })) end)
        before:reached()
        assert(b:delete "item:1")
        before:go()
        set:reached()
        assert(b:set("item:1", { price = 12 }))
        set:go()
        write:result()
        all_agree(s, a, b, c)
        assert.equal("his", c:get("item:1").name)
    end)
end)

describe("R9d, a key that is evicted under a write:", function()
    schedule.both("the older write's set finds nothing", function(s)
        local a, b, c = processes(s, true)
        local set = late_set(s, "a", a, 11)
        assert(b:set("item:1", { price = 12 }))
        s:evict "item:1"
        set()
        s:ring "c"
        gives(12, "loaded", c, "item:1")
        gives(12, "l2", a, "item:1")
        all_agree(s, a, b, c)
    end)

    schedule.both("the older write's set finds a newer lease, and breaks it", function(s)
        local a, b, c = processes(s)
        local set = late_set(s, "a", a, 11)
        s:evict "item:1"
        local source = s:stop("c", "source", "answered")
        local reader = s:begin(function() return (c:get "item:1") end)
        source:reached()
        assert(b:set("item:1", { price = 12 }))
        s:evict "item:1"
        set()
        source:go()
        assert.equal(11, reader:result().price)
        gives(12, "loaded", a, "item:1")
        all_agree(s, a, b, c)
    end)
end)
