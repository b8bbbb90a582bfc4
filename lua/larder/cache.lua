-- cache.lua - larder.open: options in, a handle out. The handle is a table with its own `get`, in LuaJIT also its own
-- `set`; all other verbs are found through its metatable.

local core = require "larder.core"
local errors = require "larder.errors"
local events = require "larder.events"
local memo = require "larder.memo"
local options = require "larder.options"
local quick = require "larder.quick"
local reads = require "larder.reads"
local schema = require "larder.schema"
local state = require "larder.state"
local unbuilt = require "larder.unbuilt"
local wrap = require "larder.wrap"
local writes = require "larder.writes"

local cache = {}

local USUAL_INTERVAL = 0.1 -- seconds between looks for changes, as options.lua has it

local check = state.check
local verbs = {}
cache.verbs = verbs -- what a handle finds by name; the docs are checked against it

for _, module in ipairs { reads, writes } do
    for name, fn in pairs(module) do
        verbs[name] = fn
    end
end
verbs.get, verbs.direct, verbs.distinct = nil, nil, nil

for _, name in ipairs((unbuilt.names "verb")) do
    verbs[name] = unbuilt.raiser("verb", name)
end

---- events -----------------------------------------------------------------------------------------------------------

-- The quick set tells nobody.
local function choose_set(family)
    for member in next, family.members do
        local handle = member.handle[1]
        if handle then
            handle.set = not family.is_heard and member.fast_set or nil
        end
    end
end

local function listen(st)
    local wanted, any = {}, false
    for name in next, st.events.lists do
        wanted[name], any = true, true
    end
    st.core:listen(wanted)
    st.listening = any
    state.count_listeners(st.family)
    local handle = st.handle[1]
    if handle then -- a hit that the memo answers tells nobody
        handle.get = wanted.hit and reads.get or st.fast_get
    end
    choose_set(st.family)
end

function verbs.on(self, name, fn)
    local st = check(self, "on")
    local off = st.events:on(name, fn)
    local open, code, message = st.core:enter()
    if not open then
        return nil, errors.new(code, message)
    end
    listen(st)
    return function()
        off()
        listen(st)
    end
end

---- figures ----------------------------------------------------------------------------------------------------------

function verbs.stats(self)
    local st = check(self, "stats")
    local open, code, message = st.core:enter()
    if not open then
        return nil, errors.new(code, message)
    end
    local s = st.core:stats()
    local hits, entries = core.memo_counts(st.memo)
    s.hits_l1, s.memo = s.hits_l1 + hits, entries
    s.hits = s.hits_l1 + s.hits_l2
    s.hit_rate = s.hits + s.misses > 0 and s.hits / (s.hits + s.misses) or 0
    s.latency.l1.count, s.latency.get.count = s.hits_l1, s.hits + s.misses
    return s
end

---- the decorator ----------------------------------------------------------------------------------------------------

function verbs.wrap(self, fn, opts)
    local st = check(self, "wrap")
    local handle = self
    return wrap.make({
        get = function(key, o, loader, ...)
            return handle:get(key, o, loader, ...)
        end,
        refresh = function(key, o, loader, ...)
            return handle:refresh(key, o, loader, ...)
        end,
        invalidate = function(key)
            return handle:invalidate(key)
        end,
        null = core.null,
        digest = core.digest,
        is_shared = st.shares,
    }, fn, opts)
end

---- hosts without a loop ----------------------------------------------------------------------------------------------

-- Runs what is due. On the machine's clock Larder's threads have done it already.
function verbs.poll(self, seconds)
    local st = check(self, "poll")
    if seconds ~= nil and not schema.seconds(seconds) then
        schema.refuse("cache:poll", "the time", "seconds, 0 or more", seconds)
    end
    local tends = st.sched.redis ~= nil
    local fine, code, message = st.core:poll(tends)
    if not fine then
        return nil, errors.new(code, message)
    elseif tends then
        st.sched:tend(st.core)
    end
    return state.then_tell(st, true)
end

---- the end ----------------------------------------------------------------------------------------------------------

function verbs.close(self, timeout)
    local st = check(self, "close")
    if timeout ~= nil and not schema.seconds(timeout) then
        schema.refuse("cache:close", "the timeout", "seconds, 0 or more", timeout)
    end
    state.then_tell(st)
    st.core:close(timeout or st.options.source_timeout)
    return true
end

local function show(self)
    local st = rawget(self, "get") and check(self, "tostring")
    return ("larder cache %s"):format(st and st.name and '"' .. st.name .. '"' or "(private)")
end

---- opening ----------------------------------------------------------------------------------------------------------

-- The models by name, and their names for messages; nil where keys need none.
local function models_of(src)
    if not src or src.kind ~= "sqlite" then
        return nil
    end
    local by_name, names = {}, {}
    for i, model in ipairs(src.models) do
        by_name[model.name], names[i] = true, model.name
    end
    return by_name, table.concat(names, ", ")
end

local function flat(o, host)
    local given = {}
    for name, value in next, o do
        given[name] = value
    end
    given.asks_ttl = o.ttl_fn ~= nil or o.stale_ttl_fn ~= nil or o.negative_ttl_fn ~= nil
    given.virtual_start = host.kind == "test" and host:now() or nil
    given.seed = host.kind == "test" and host:next_seed() or nil
    given.alone = host.kind == "test" and host.alone or nil -- of its namesakes it hears only by the bell
    if o.bound_soft and (o.changes == "auto" or o.changes and not o.changes_interval_given) then
        -- how late a change of another program may be heard is half of what may be served late
        given.changes = { interval = math.min(USUAL_INTERVAL, o.bound_soft / 2) }
    end
    return given
end

-- Every failure, also one that its caller was told of: to on_error, and to the log.
local function complain(o, err)
    if o.log then
        o.log("error", tostring(err))
    end
    if o.on_error then
        o.on_error(err)
    end
end

local function log_gap(o, e)
    if e.cause == "gap" then
        o.log("warn", "changes of other programs were missed: everything that was cached is dropped")
    end
end

local function listen_for_owner(st, o)
    if o.on_error or o.log then
        st.events:on("error", function(e)
            complain(o, e.err)
        end)
    end
    if o.log then
        st.events:on("invalidate", function(e)
            log_gap(o, e)
        end)
    end
    listen(st)
end

-- Is what L1 does not hold read in one call of C? No Lua function may be asked, and the host may be blocked; where
-- there is an l2 that may take until another process's load has ended, and a virtual clock does not move meanwhile.
local function reads_directly(o, host)
    if o.ttl_fn or o.stale_ttl_fn or o.negative_ttl_fn or host.stuck then
        return false
    elseif o.l2 then
        return host.kind == "blocking" and (not o.source or o.source.kind == "sqlite")
    end
    return o.source and o.source.kind == "sqlite"
end

local function new_state(o, ud, host)
    local models, names = models_of(o.source)
    local st = {
        core = ud, options = o, sched = host, source = o.source, name = o.name,
        models = models, model_names = names,
        writes_source = ud:writes_source("set"), shares = ud:shares(),
        ttl_function = o.ttl_fn or o.stale_ttl_fn,
        direct = reads_directly(o, host),
        gathers = o.l2 and host.kind == "blocking",
        memo = ud:memo(o.l1 and o.l1_memo or 0, o.l1_values == "shared"),
        parents = setmetatable({}, { __mode = "k" }),
        n_calls = 0, -- of Lua functions that have not ended; a coroutine that was dropped in one counts for ever
        teller = setmetatable({}, { __mode = "v" }),
        failed = {}, failures = {}, failure_of = {}, n_failures = 0,
        handle = setmetatable({}, { __mode = "v" }),
    }
    st.events = events.new(function(err)
        complain(o, err)
    end)
    return st
end

local mt = {
    __index = function(_, name)
        local verb = verbs[name]
        if verb == nil and unbuilt.has("field", name) then
            unbuilt.raise("field", name)
        end
        return verb
    end,
    __name = "larder.cache",
    __metatable = false,
    __close = function(self)
        verbs.close(self)
    end,
    __tostring = show,
}

local function refused(_, code, message)
    return nil, errors.new(code, message)
end

-- A cache by checked options on a host (a scheduler): the handle, or nil and an error.
function cache.open(given, default_host)
    local o = options.open(given)
    local host = type(o.host) == "table" and o.host or default_host(o.host)
    local ud, code, message = core.open(flat(o, host), host.loop)
    if not ud then
        if code == "invalid" and message:find("shelf: ", 1, true) == 1 then -- sizes that exclude each other
            errors.misuse(1, "larder.open: l1: %s", message:sub(8))
        elseif code == "invalid" and message:find(" URL", 1, true) then -- it never quotes it
            errors.misuse(1, "larder.open: l2: %s", message)
        end
        return nil, errors.new(code, message)
    end
    local st = new_state(o, ud, host)
    local handle = {}
    st.handle[1] = handle
    state.attach(handle, st)
    local slow, direct = reads.get, nil
    if st.direct then
        slow, direct = reads.direct(st, handle)
    end
    st.fast_get = memo.get(core, handle, st.memo, slow, direct)
    handle.get = st.fast_get
    if not (st.writes_source or st.ttl_function or st.shares) then
        st.fast_set = quick.set(handle, writes.set, ud, refused)
    end
    state.join(st)
    if host.attach then
        host:attach(ud)
    end
    listen_for_owner(st, o)
    return setmetatable(handle, mt)
end

return cache
