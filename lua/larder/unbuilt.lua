-- unbuilt.lua - what this release knows by name but does not do: one table of everything that raises
-- "not built yet", each with its sentence. The README's list is checked against it.
--
-- A row: the kind, the names that are not built, the names that are (where there are any), and how the thing is
-- written by a user ("%s" is the name).

local errors = require "larder.errors"
local version = require "larder.version"

local unbuilt = {}

local rows = {
    { kind = "level", form = 'consistency = "%s"', names = { "strong", "session" }, built = { "eventual", "weak" } },
    { kind = "pattern", form = 'pattern = "%s"', names = { "write_behind", "refresh_ahead" },
        built = { "cache_aside", "read_through", "write_around", "write_through" } },
    { kind = "guard", form = 'guard = "%s"', names = { "xfetch", "background" }, built = { "lock", "none" } },
    { kind = "policy", form = 'l1.policy = "%s"',
        names = { "lfu", "arc", "lirs", "twoq", "wtinylfu", "gdsf", "auto" },
        built = { "fifo", "lru", "clock", "sieve", "s3fifo" } },
    { kind = "host", form = 'host = "%s"', names = { "luv", "copas" }, built = { "blocking", "nginx" } },
    { kind = "strategy", form = 'strategy = "%s"', names = { "lazy", "delayed", "event" }, built = { "immediate" } },
    { kind = "bus", form = 'bus = "%s"', names = { "stream", "tracking" }, built = { "pubsub" } },
    { kind = "scheme", form = "an l2 with a URL of %s://", names = { "rediss", "redis+cluster", "redis+sentinel" },
        built = { "redis", "redis+unix" } },
    { kind = "option", form = "the option %s of larder.open",
        names = { "write_behind", "l1.shared", "refresh_ahead", "loads", "idle_ttl", "bloom" } },
    { kind = "opt", form = "the option %s", names = { "tags", "depends_on", "after", "on" } },
    { kind = "source", form = "larder.source.%s", names = { "postgres" }, built = { "sqlite", "functions" } },
    { kind = "verb", form = "cache:%s", names = { "update", "incr", "lock", "invalidate_tag", "invalidate_entity",
        "invalidate_match", "session", "emit", "warm", "flush", "pending", "dead_letters", "retry_dead_letters",
        "drop_dead_letters", "check", "reconcile", "prometheus", "explain" } },
    { kind = "field", form = "cache.%s", names = { "shared" } },
    { kind = "module", form = "larder.%s", names = { "sim", "policy", "compat" } },
    { kind = "command", form = "the command larder %s",
        names = { "sim", "reconcile", "check", "stats", "top", "explain", "warm", "dead-letters" },
        built = { "demo", "migrate", "bench" } },
}

local by_kind = {}
for _, row in ipairs(rows) do
    by_kind[row.kind] = row
    row.set = {}
    for _, name in ipairs(row.names) do
        row.set[name] = true
    end
end

-- Is this name known, but not built?
function unbuilt.has(kind, name)
    return by_kind[kind].set[name] == true
end

-- The names of a kind that are not built, and those that are (both in the table's order).
function unbuilt.names(kind)
    return by_kind[kind].names, by_kind[kind].built or {}
end

-- For example: consistency = "strong" is not built yet (larder 0.1.0); built: eventual, weak
function unbuilt.sentence(kind, name)
    local row = by_kind[kind]
    local text = row.form:format(name) .. " is not built yet (larder " .. version .. ")"
    return row.built and text .. "; built: " .. table.concat(row.built, ", ") or text
end

-- Raises the sentence at the user's line. `who` (optional) is the call that was made.
function unbuilt.raise(kind, name, who)
    local text = unbuilt.sentence(kind, name)
    local said = not who or text:find(who, 1, true)
    errors.misuse(1, "%s", said and text or who .. ": " .. text)
end

-- Raises when the name is not built; else does nothing.
function unbuilt.check(kind, name, who)
    if unbuilt.has(kind, name) then
        unbuilt.raise(kind, name, who)
    end
end

-- A function that raises the sentence: stands in the place of a verb.
function unbuilt.raiser(kind, name)
    return function()
        unbuilt.raise(kind, name)
    end
end

-- A table that raises the sentence at each use: stands in the place of a module or a field.
function unbuilt.stub(kind, name)
    local raise = unbuilt.raiser(kind, name)
    return setmetatable({}, { __index = raise, __newindex = raise, __call = raise })
end

-- Everything, in order: { kind=, name=, sentence= }.
function unbuilt.all()
    local list = {}
    for _, row in ipairs(rows) do
        for _, name in ipairs(row.names) do
            list[#list + 1] = { kind = row.kind, name = name, sentence = unbuilt.sentence(row.kind, name) }
        end
    end
    return list
end

return unbuilt
