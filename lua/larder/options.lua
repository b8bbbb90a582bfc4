-- options.lua - every option of the Lua side, checked in one place: one row an option, from which check, default
-- and docs come.
--
-- options.open and options.verb read the user's table and give a plain flat copy with defaults; later changes of
-- the user's table change nothing. What is impossible by itself or together raises at the user's line; what is
-- known but not built raises the sentence of unbuilt.lua, after everything else was found right.

local errors = require "larder.errors"
local schema = require "larder.schema"
local source = require "larder.source"
local unbuilt = require "larder.unbuilt"

local options = {}

local ON_TIMEOUT = { "stale", "load", "error" }
-- One word of a kind of unbuilt.lua.
local function word_of(kind)
    local missing, built = unbuilt.names(kind)
    return schema.word(built, missing)
end

local GUARDS = { lock = true, xfetch = true, background = true, none = true }

---- options with a shape of their own ----------------------------------------------------------------------------

local function namespace(value)
    local fine = type(value) == "string" and #value >= 1 and #value <= 64 and not value:find("[^A-Za-z0-9_.-]")
    return fine, fine and value or "1 to 64 of A-Z a-z 0-9 _ . -"
end

local PATTERNS = {
    cache_aside = "read", read_through = "read",
    write_around = "write", write_through = "write", write_behind = "write",
    refresh_ahead = "ahead",
}

local PATTERNS_WANTED = "one of cache_aside, read_through, write_around, write_through, or a list of one for "
    .. "reading and one for writing"

-- The pattern words as { read =, write =, ahead = }: at most one of each.
local function pattern(value)
    local list = type(value) == "string" and { value } or type(value) == "table" and schema.strings(value)
    if not list then
        return false, PATTERNS_WANTED
    end
    local chosen = {}
    for _, word in ipairs(list) do
        local part = PATTERNS[word]
        if not part then
            return false, PATTERNS_WANTED, word
        elseif chosen[part] then
            return false, "one word for reading and one for writing", chosen[part] .. ", " .. word
        end
        chosen[part] = word
    end
    return true, chosen
end

local guard_schema = schema.new({
    { "lock", rows = {
        { "ttl", schema.some_seconds, unit = "s", doc = "how long a dead holder keeps the lock (source timeout + 1)" },
        { "wait", schema.seconds, unit = "s", doc = "how long a caller waits for another's load (5)" },
        { "on_timeout", schema.word(ON_TIMEOUT), doc = "then: stale, load or error (load)" },
    }, doc = "one loader a key" },
    { "xfetch", hidden = true, rows = { { "beta", schema.some_seconds, doc = "how early" } },
        doc = "early refresh by chance" },
    { "background", hidden = true, rows = {}, doc = "stale is served while one loads" },
}, "guard.")

local GUARD_WANTED = "lock, none, or a table such as { lock = { wait = 5 } }"

-- The named guards as { lock = true, none = true, lock_ttl =, lock_wait =, lock_on_timeout = }.
local function guard(value, who)
    local chosen, named = {}, {}
    if type(value) == "string" then
        value = { value }
    elseif type(value) ~= "table" or next(value) == nil then
        return schema.refuse(who, "guard", GUARD_WANTED, value)
    end
    for key, word in next, value do
        if type(key) ~= "number" then
            named[key] = word
        elseif not GUARDS[word] then
            schema.refuse(who, "guard", GUARD_WANTED, word)
        else
            chosen[word] = true
        end
    end
    for key, inner in next, schema.read(guard_schema, named, who) do
        chosen[key:gsub("^guard_", "")] = inner
    end
    if chosen.none and (chosen.lock or chosen.xfetch or chosen.background) then
        errors.misuse(1, '%s: guard = "none" stands alone', who)
    end
    return chosen
end

-- A number of shards, rounded up to a power of two.
local function shards(value)
    local fine, result = schema.integer(1, 1024)(value)
    local power = 1
    while fine and power < result do
        power = power * 2
    end
    return fine, fine and power or result
end

local function as_is(value)
    return true, value
end

local function changes(value)
    if type(value) == "table" or type(value) == "boolean" then
        return true, value
    end
    return false, "true, false or a table { interval = }"
end

local changes_schema = schema.new({
    { "interval", schema.some_seconds, default = 0.1, unit = "s", to = "interval", doc = "how often to look" },
}, "changes.")

local function l2(value)
    if type(value) == "table" or type(value) == "string" or value == false then
        return true, value
    end
    return false, 'a URL such as "redis://127.0.0.1:6379/0", or a table { url =, timeout =, password = }'
end

-- Neither a URL nor a password is shown in a message, whatever is wrong with it.
local function secret(wanted)
    return function(value)
        local fine = type(value) == "string" and value ~= "" and not value:find("\0", 1, true)
        return fine, fine and value or wanted, not fine and "(not shown)" or nil
    end
end

local l2_schema = schema.new({
    { "url", secret 'a URL such as "redis://127.0.0.1:6379/0"', to = "url",
        doc = "redis://[user:password@]host[:port][/db] or redis+unix://[user:password@]/path[?db=n]" },
    { "timeout", schema.some_seconds, default = 1, to = "timeout", unit = "s", doc = "of one question to it" },
    { "password", secret "a string, not empty, without NUL bytes", to = "password", doc = "where the URL has none" },
}, "l2.")

local BUSES = word_of "bus"

local function bus(value)
    if value == false then
        return true, false
    end
    local fine, result = BUSES(value)
    return fine, fine and result or '"pubsub" or false'
end

local function compress(value)
    return value == false or type(value) == "table", value == false and {} or value
end

local compress_schema = schema.new({
    { "min", schema.bytes(1), default = 1024, to = "min", unit = "bytes", doc = "smaller values are kept as they are" },
    { "with", schema.word { "zstd" }, default = "zstd", to = "with", doc = "the method" },
}, "compress.")

local function a_source(value)
    if source.is(value) then
        return true, value
    end
    return false, "what larder.source.sqlite or larder.source.functions gives"
end

local function host(value)
    if type(value) == "table" then
        local fine = type(value.now) == "function" and type(value.wait) == "function"
            and type(value.can_wait) == "function"
        return fine, fine and value or "a name, or a host made by Larder"
    end
    return word_of "host"(value)
end

---- the rows -------------------------------------------------------------------------------------------------------

local open_schema = schema.new {
    { "name", namespace, doc = "namespace of keys and events (default: private)" },
    { "pattern", pattern, doc = "how reads and writes go; default read_through with a source, else cache_aside" },
    { "consistency", word_of "level", default = "eventual", to = "level", doc = "how fresh a read must be" },
    { "guard", as_is, doc = "what a miss does while another loads the same key (default lock)" },
    { "l1", off = true, default = true, rows = {
        { "bytes", schema.bytes(65536), default = 67108864, unit = "bytes", doc = "the budget; counts everything" },
        { "entries", schema.integer(1, 2 ^ 31), doc = "limit of entries (default: bytes alone)" },
        { "shards", shards, doc = "parts with a lock of their own, rounded up to a power of two (default: by cores)" },
        { "policy", word_of "policy", default = "s3fifo", doc = "who leaves when full" },
        { "values", schema.word { "copy", "shared" }, default = "copy", doc = "shared: tables are given, not copied" },
        { "memo", schema.integer(0, 2 ^ 31), default = 1024, doc = "entries kept as Lua values beside the shelf" },
        { "negatives", schema.number(0, 1), default = 0.1, doc = "share of l1 that absent entries may take" },
        { "shared", unbuilt = "option", doc = "one shelf for several processes" },
    }, doc = "the local shelf; false: none" },
    { "l2", l2, doc = "the shared tier: the URL of a Redis server, or a table { url, timeout, password }" },
    { "source", a_source, doc = "where the truth is" },
    { "ttl", schema.ttl_or_function, default = 300, unit = "s", doc = "how long an entry is fresh" },
    { "stale_ttl", schema.ttl_or_function, default = 0, unit = "s", doc = "how long it may be served stale after" },
    { "negative_ttl", schema.ttl_or_function, default = 0, unit = "s", doc = "how long absence is kept" },
    { "jitter", schema.number(0, 1), default = 0, doc = "ttl is shortened by up to this share, by chance" },
    { "bound", rows = {
        { "soft", schema.some_seconds, unit = "s",
            doc = "how old a read may be without faults: changes are looked for at least twice as often" },
        { "hard", schema.some_seconds, unit = "s", doc = "how old at most; cuts every ttl (default ttl + stale_ttl)" },
    }, doc = "what eventual promises" },
    { "codec", schema.word { "msgpack", "json", "raw" }, default = "msgpack", doc = "how values become bytes" },
    { "compress", compress, doc = "{ min = bytes, with = \"zstd\" }; false: off (default)" },
    { "bus", bus, doc = "how other processes hear of changes; default pubsub with l2, else false" },
    { "write_behind", unbuilt = "option", doc = "the durable queue" },
    { "changes", changes, doc = "hear of changes by other programs; default: where the change table exists" },
    { "host", host, doc = "who waits (default: found by itself)" },
    { "on_error", schema.callable, doc = "function(err): every failure, also what a caller got" },
    { "log", schema.callable, doc = "function(level, text)" },
    { "refresh_ahead", unbuilt = "option", doc = "when to reload before expiry" },
    { "loads", unbuilt = "option", doc = "limits of concurrent loads" },
    { "idle_ttl", unbuilt = "option", doc = "entries that nobody reads expire earlier" },
    { "bloom", unbuilt = "option", doc = "a filter of keys that exist" },
}

local CALL_ROWS = {
    consistency = { word_of "level", to = "level", doc = "the level of this call" },
    timeout = { schema.seconds, unit = "s", doc = "bounds the whole call" },
    guard = { as_is, doc = "the guard of this call" },
    ttl = { schema.ttl, unit = "s", doc = "of what this call stores" },
    stale_ttl = { schema.ttl, unit = "s", doc = "of what this call stores" },
    negative_ttl = { schema.ttl, unit = "s", doc = "of an absence that this call stores" },
    wait = { schema.seconds, to = "lock_wait", unit = "s", doc = "for another's load" },
    on_timeout = { schema.word(ON_TIMEOUT), doc = "what to do when wait has passed" },
    refresh = { schema.boolean, doc = "load anew" },
    version = { schema.version, doc = "the value's version, where the source gives none" },
    if_version = { schema.if_version, doc = "only when this version is current; false: only when absent" },
    strategy = { word_of "strategy", doc = "when it takes effect" },
    prefix = { schema.text(256), doc = "of the keys; required where others share them" },
    key = { schema.callable, doc = "function(...) -> key" },
    tags = { unbuilt = "opt", doc = "names to invalidate by" },
    depends_on = { unbuilt = "opt", doc = "entities this depends on" },
    after = { unbuilt = "opt", doc = "seconds to wait before a delayed invalidation" },
    on = { unbuilt = "opt", doc = "the event a held invalidation waits for" },
}

local READ = "consistency timeout guard ttl stale_ttl negative_ttl tags depends_on wait on_timeout"
local VERBS = {
    get = READ .. " refresh", get_entry = READ .. " refresh", get_many = READ .. " refresh", refresh = READ,
    set = "ttl stale_ttl tags depends_on version if_version consistency timeout",
    set_many = "ttl stale_ttl tags depends_on consistency timeout",
    delete = "if_version consistency timeout",
    delete_many = "consistency timeout",
    invalidate = "strategy after on timeout",
    wrap = "prefix ttl key tags depends_on guard consistency",
}

local function verb_schema(names)
    local rows = {}
    for name in names:gmatch("%S+") do
        local row = { name }
        for field, value in pairs(CALL_ROWS[name]) do
            row[field == 1 and 2 or field] = value
        end
        rows[#rows + 1] = row
    end
    return schema.new(rows)
end

local verb_schemas = {}
for verb, names in pairs(VERBS) do
    verb_schemas[verb] = verb_schema(names)
end

options.schemas = { open = open_schema, verbs = verb_schemas, guard = guard_schema, changes = changes_schema,
    compress = compress_schema, l2 = l2_schema }

---- what cannot be together ------------------------------------------------------------------------------------------

local function refuse(who, text)
    errors.misuse(1, "%s: %s", who, text)
end

local NEEDS_SOURCE = 'pattern = "%s" needs a source: larder.source.sqlite { ... } or larder.source.functions { ... }'

local function check_patterns(who, chosen, src)
    local read, write = chosen.read, chosen.write
    if read == "read_through" and not src then
        refuse(who, NEEDS_SOURCE:format(read))
    elseif write and not src then
        refuse(who, NEEDS_SOURCE:format(write))
    elseif write and not source.can_store(src) then
        local text = 'pattern = "%s" needs a source that can store: give larder.source.functions a store'
        refuse(who, text:format(write))
    end
end

local function settle_patterns(who, o)
    local chosen, src = o.pattern or {}, o.source
    check_patterns(who, chosen, src)
    o.pattern = nil
    o.refresh_ahead = chosen.ahead ~= nil
    o.read_pattern = chosen.read or (src and "read_through" or "cache_aside")
    o.write_pattern = chosen.write
    if not o.write_pattern then
        local through = o.read_pattern == "read_through" and source.can_store(src)
        o.write_pattern = through and "write_through" or "cache_aside"
    end
end

-- The guards into flat options; only what was given.
local function settle_guard(who, o)
    local chosen = o.guard and guard(o.guard, who)
    if not chosen then
        return
    end
    o.guard = chosen.none and "none" or "lock"
    o.xfetch, o.background = chosen.xfetch, chosen.background
    o.lock_ttl, o.lock_wait = chosen.lock_ttl, o.lock_wait or chosen.lock_wait
    o.on_timeout = o.on_timeout or chosen.lock_on_timeout
end

local function default_guard(o)
    o.guard = o.guard or "lock"
    o.source_timeout = o.source and o.source.timeout or 5
    o.lock_ttl = o.lock_ttl or o.source_timeout + 1
    o.lock_wait = o.lock_wait or 5
    o.on_timeout = o.on_timeout or "load"
end

local TTLS = { "ttl", "stale_ttl", "negative_ttl" }

-- A ttl that is a function stands under ttl_fn.
local function settle_ttls(o)
    for _, name in ipairs(TTLS) do
        if o[name] ~= nil and type(o[name]) ~= "number" then
            o[name .. "_fn"], o[name] = o[name], nil
        end
    end
end

local function settle_changes(who, o)
    local given = o.changes
    o.changes, o.changes_required = "auto", false
    if given == false then
        o.changes = false
    elseif given ~= nil then
        if not o.source or o.source.kind ~= "sqlite" then
            refuse(who, "changes needs a source with a change table: larder.source.sqlite")
        end
        o.changes_interval_given = type(given) == "table" and rawget(given, "interval") ~= nil
        o.changes = schema.read(changes_schema, given == true and {} or given, who)
        o.changes_required = true
    end
end

local function settle_compress(who, o)
    if o.compress and next(o.compress) ~= nil then
        o.compress_min = schema.read(compress_schema, o.compress, who).min
    end
    o.compress = nil
end

-- The shared tier into flat options: l2 l2_url l2_timeout l2_password bus.
local function settle_l2(who, o)
    local given = o.l2
    o.l2 = given ~= nil and given ~= false
    if not o.l2 then
        if o.bus then
            refuse(who, ('bus = "%s" needs an l2: processes hear of changes through it'):format(o.bus))
        end
        o.bus = false
        return
    end
    local read = schema.read(l2_schema, type(given) == "string" and { url = given } or given, who)
    if not read.url then
        schema.refuse(who, "l2.url", "a URL such as \"redis://127.0.0.1:6379/0\"", nil)
    elseif not o.name then
        refuse(who, "l2 needs a name: the namespace that its caches share")
    end
    o.l2_url, o.l2_timeout, o.l2_password = read.url, read.timeout, read.password
    if o.bus == nil then
        o.bus = "pubsub"
    end
end

local function keeps_stale(o)
    return o.stale_ttl_fn ~= nil or o.stale_ttl ~= nil and o.stale_ttl > 0
end

local function check_together(who, o)
    if o.level == "strong" and keeps_stale(o) then
        refuse(who, 'consistency = "strong" and stale_ttl exclude each other: strong never gives a stale value')
    elseif o.background and not keeps_stale(o) then
        refuse(who, 'guard = "background" needs a stale_ttl')
    elseif o.bound_soft and o.bound_hard and o.bound_soft > o.bound_hard then
        refuse(who, "bound.soft must not be longer than bound.hard")
    end
end

local function check_built(who, o)
    unbuilt.check("level", o.level, who)
    unbuilt.check("pattern", o.write_pattern, who)
    unbuilt.check("policy", o.l1_policy, who)
    unbuilt.check("strategy", o.strategy, who)
    unbuilt.check("host", o.host, who)
    unbuilt.check("bus", o.bus, who)
    local scheme = o.l2_url and o.l2_url:match "^(%a[%w+.-]*)://"
    unbuilt.check("scheme", scheme and scheme:lower(), who)
    if o.refresh_ahead then
        unbuilt.raise("pattern", "refresh_ahead", who)
    end
    for _, word in ipairs { "xfetch", "background" } do
        if o[word] then
            unbuilt.raise("guard", word, who)
        end
    end
end

---- the doors --------------------------------------------------------------------------------------------------------

-- larder.open's table as a flat copy with defaults: name read_pattern write_pattern level guard lock_ttl lock_wait
-- on_timeout l1 l1_* l2 l2_* bus ttl stale_ttl negative_ttl (or *_fn) jitter bound_soft bound_hard codec compress_min
-- source source_timeout changes changes_required on_error log host.
function options.open(given)
    local who = "larder.open"
    local o = schema.read(open_schema, given == nil and {} or given, who)
    settle_patterns(who, o)
    settle_guard(who, o)
    settle_ttls(o)
    settle_changes(who, o)
    settle_compress(who, o)
    settle_l2(who, o)
    check_together(who, o)
    check_built(who, o)
    default_guard(o)
    o.bound, o.refresh_ahead = nil, nil
    return o
end

local read_mark = {} -- metatable of what options.verb gave

-- A verb's opts as a flat copy: level timeout guard lock_ttl lock_wait on_timeout ttl stale_ttl negative_ttl refresh
-- version if_version prefix key; nil stays nil. What it gave once is taken as it is.
function options.verb(verb, given)
    if given == nil or getmetatable(given) == read_mark then
        return given
    end
    local who = "cache:" .. verb
    local o = schema.read(verb_schemas[verb], given, who)
    settle_guard(who, o)
    check_built(who, o)
    return setmetatable(o, read_mark)
end

-- A ttl given as an argument (cache:touch); raises when it is none.
function options.ttl_argument(verb, value)
    local fine, wanted = schema.ttl(value)
    if not fine then
        schema.refuse("cache:" .. verb, "ttl", wanted, value)
    end
    return value
end

---- what loaders and ttl functions answer ----------------------------------------------------------------------------

-- A ttl that a loader or a ttl function gave: the number, or nil and an error `invalid`.
function options.answered_ttl(name, value)
    local fine, wanted = schema.ttl(value)
    if fine then
        return value
    end
    return nil, errors.new("invalid", ("%s must be %s, got %s"):format(name, wanted, errors.show(value)))
end

local ANSWERS = { ttl = schema.ttl, stale_ttl = schema.ttl, negative_ttl = schema.ttl, version = schema.version,
    store = schema.boolean }

local function answer_row(name, value)
    local parse = ANSWERS[name]
    if name == "tags" or name == "depends_on" then
        return nil, errors.new("unsupported", unbuilt.sentence("opt", name))
    elseif not parse then
        return nil, errors.new("invalid", "a loader's opts has the unknown name " .. errors.show(name)
            .. "; valid are: negative_ttl, stale_ttl, store, ttl, version")
    end
    local fine, result = parse(value)
    if fine then
        return true, result
    end
    return nil, errors.new("invalid", ("a loader's %s must be %s, got %s"):format(name, result, errors.show(value)))
end

-- A loader's third result: a flat copy { ttl, stale_ttl, version, store }, or nil and an error; never raises.
function options.answer(given)
    if type(given) ~= "table" then
        return nil, errors.new("invalid", "a loader's third result must be a table, got " .. errors.show(given))
    end
    local o = {}
    for name, value in next, given do
        local fine, result = answer_row(name, value)
        if not fine then
            return nil, result
        end
        o[name] = result
    end
    return o
end

return options
