-- reads.lua - the verbs that read: get, get_entry, get_many, peek, refresh.
--
-- A hit is one call of C; only what L1 cannot answer makes an operation (drive.lua).

local calls = require "larder.calls"
local drive = require "larder.drive"
local errors = require "larder.errors"
local gather = require "larder.gather"
local options = require "larder.options"
local schema = require "larder.schema"
local state = require "larder.state"

local reads = {}

local LONGEST_KEY = 65535

local max, next = math.max, next
local check, check_key, check_model, then_tell = state.check, state.check_key, state.check_model, state.then_tell
local running, select, type = coroutine.running, select, type

local function pack(...)
    return { n = select("#", ...), ... }
end

-- [opts] [, loader, ...] as opts, loader, args.
local function arguments(who, opts, ...)
    if type(opts) == "function" then
        return nil, opts, select("#", ...) > 0 and pack(...) or nil
    elseif opts ~= nil and type(opts) ~= "table" then
        schema.refuse(who, "the second argument", "a table of options or a loader", opts)
    end
    local loader = ...
    if loader ~= nil and not schema.is_callable(loader) then
        schema.refuse(who, "the loader", "a function", loader)
    end
    return opts, loader, select("#", ...) > 1 and pack(select(2, ...)) or nil
end

-- Reads inside cache:write(keys, fn) of those keys go past the cache.
local function past_cache(st, key, o)
    local here = st.bypass and st.bypass[calls.here(st)]
    if here and here[key] then
        local copy = {}
        for name, value in next, o or {} do
            copy[name] = value
        end
        copy.refresh, copy.guard = true, "none"
        return copy
    end
end

-- An operation for the keys, stepped to its end. Gives it (the caller finishes it), or nil and an error.
local function operate(st, keys, o, context)
    local sched = st.sched
    local has_loader = context.loader ~= nil or context.load_many ~= nil
    local op, code, message = st.core:get_op(keys, o, has_loader, sched:can_wait(), st.parents[calls.here(st)])
    if not op then
        return nil, errors.new(code, message)
    end
    local err = drive.run(st, op, context)
    sched:forget(op:id())
    if err then
        op:finish()
        return nil, err
    end
    return op
end

-- Result i of an operation: fine, value, outcome, ... as op:answer gives them; the leader gets what its loader gave.
local function result(st, op, i, key, context)
    local own = context.values and context.values[key]
    local fine, value, outcome, tier, version, age, ttl, led, weaker = op:answer(i, own ~= nil)
    if not fine then
        return nil, context.refused or calls.error_of(st, context, key, value, outcome, tier)
    end
    if own ~= nil then
        if led and outcome == "loaded" then
            value = own
        else
            fine, value = op:answer(i, false)
        end
    end
    return fine, value, outcome, tier, version, age, ttl, weaker
end

local function ask(st, who, key, o, loader, args)
    if not loader then
        check_model(who, st, key)
    end
    local context = { loader = loader, args = args }
    local op, err = operate(st, key, o, context)
    if not op then
        return nil, err
    end
    return context, op
end

-- A read that C refused: raises where the key was the reason.
local function refused(st, who, key, code, message)
    check_model(who, st, key)
    return nil, errors.new(code, message)
end

-- A hit, or a load by a source that needs no Lua, where nothing else could go on meanwhile: one call of C.
local function read_now(st, who, key)
    local value, outcome, trouble = st.core:read(key, nil, st.memo)
    if trouble then
        return refused(st, who, key, outcome, trouble)
    end
    return value, nil, outcome
end

local function answer(st, op, key, context)
    local fine, value, outcome = result(st, op, 1, key, context)
    op:finish()
    if fine then
        return value, nil, outcome
    end
    return nil, value
end

-- L1, then what the shared shelf says to this task and to those beside it; then as if it had asked alone.
local function look_beside(st, key, task, loader, args)
    local value, outcome, trouble, began
    if st.options.l1 or #key == 0 or #key > LONGEST_KEY then
        value, outcome, trouble = st.core:hit(key, nil, st.memo)
    end
    if trouble then
        return nil, errors.new(outcome, trouble)
    elseif outcome then
        return value, nil, outcome
    end
    value, outcome, began = gather.seek(st, key, loader ~= nil, task)
    if outcome then
        return value, nil, outcome
    end
    local o = { waited = max(0, st.sched:now() - began) } -- the shared shelf has said that it has nothing
    local context, op = ask(st, "cache:get", key, o, loader, args)
    if not context then
        return nil, op
    end
    return answer(st, op, key, context)
end

-- What get does once the memo had no answer; also get with opts, and refresh (o.refresh).
local function get(st, who, key, o, loader, args)
    check_key(who, key)
    if st.direct and not (o or loader or st.bypass or st.parents[calls.here(st)] or st.sched:can_wait()) then
        return read_now(st, who, key)
    end
    o = past_cache(st, key, o) or o
    local task = not o and st.gathers and st.sched:resting()
    if task then
        return look_beside(st, key, task, loader, args)
    elseif not (o and o.refresh) then
        local value, outcome, trouble = st.core:hit(key, o and o.level, st.memo)
        if trouble then
            return nil, errors.new(outcome, trouble)
        elseif outcome then
            return value, nil, outcome
        end
    end
    local context, op = ask(st, who, key, o, loader, args)
    if not context then
        return nil, op
    end
    return answer(st, op, key, context)
end

function reads.get(self, key, opts, ...)
    local st = check(self, "get")
    if opts == nil and select("#", ...) == 0 then
        return then_tell(st, get(st, "cache:get", key))
    end
    local given, loader, args = arguments("cache:get", opts, ...)
    return then_tell(st, get(st, "cache:get", key, options.verb("get", given), loader, args))
end

-- get for a cache whose source needs no Lua: the plain call (a key, nothing else) goes to C at once; all other calls
-- are reads.get's. Second, with what C does so itself where get may be a C function (memo.get).
function reads.direct(st, handle)
    local ud, memo, sched, parents = st.core, st.memo, st.sched, st.parents
    local read, can_wait, resting, gathers = ud.read, sched.can_wait, sched.resting, st.gathers
    return function(self, key, opts, ...)
        if opts ~= nil or (...) ~= nil or self ~= handle or st.listening or st.bypass
            or (st.n_calls > 0 and parents[running() or st]) then
            return reads.get(self, key, opts, ...)
        elseif sched.alive ~= 0 then
            local task = gathers and resting(sched)
            if task and type(key) == "string" then
                return look_beside(st, key, task)
            elseif task or can_wait(sched) then
                return reads.get(self, key)
            end
        end
        local value, outcome, trouble = read(ud, key, nil, memo)
        if not outcome then -- the key is no string
            return reads.get(self, key)
        elseif trouble then
            return refused(st, "cache:get", key, outcome, trouble)
        end
        return value, nil, outcome
    end, { core = ud, state = st, host = sched, refused = function(key, code, message)
        return refused(st, "cache:get", key, code, message)
    end }
end

local function refreshing(o)
    local copy = { refresh = true }
    for name, value in next, o or {} do
        copy[name] = value
    end
    return copy
end

function reads.refresh(self, key, opts, ...)
    local st = check(self, "refresh")
    local given, loader, args = arguments("cache:refresh", opts, ...)
    local o = refreshing(options.verb("refresh", given))
    return then_tell(st, get(st, "cache:refresh", key, o, loader, args))
end

local function entry_of(value, outcome, version, age, ttl)
    return { value = value, outcome = outcome, version = version, age = age, ttl = ttl, tags = {} }
end

local function level_of(st, o, weaker)
    return weaker and "weak" or o and o.level or st.options.level
end

local function get_entry(st, key, o, loader, args)
    check_key("cache:get_entry", key)
    o = past_cache(st, key, o) or o
    if not (o and o.refresh) then
        local value, outcome, version, age, ttl = st.core:entry(key, o and o.level)
        if age then
            local entry = entry_of(value, outcome, version, age, ttl)
            entry.tier, entry.stale, entry.level = "l1", outcome == "stale", level_of(st, o)
            return entry
        elseif version then
            return nil, errors.new(outcome, version)
        end
    end
    local context, op = ask(st, "cache:get_entry", key, o, loader, args)
    if not context then
        return nil, op
    end
    local fine, value, outcome, tier, version, age, ttl, weaker = result(st, op, 1, key, context)
    op:finish()
    if not fine then
        return nil, value
    end
    local entry = entry_of(value, outcome, version, age, ttl)
    entry.tier = tier ~= "none" and tier or nil
    entry.stale, entry.level = outcome == "stale", level_of(st, o, weaker)
    return entry
end

function reads.get_entry(self, key, opts, ...)
    local st = check(self, "get_entry")
    local given, loader, args = arguments("cache:get_entry", opts, ...)
    return then_tell(st, get_entry(st, key, options.verb("get_entry", given), loader, args))
end

-- The distinct keys of a list, in order; raises at what is no key.
local function distinct(who, keys)
    if type(keys) ~= "table" then
        schema.refuse(who, "the keys", "a list of strings", keys)
    end
    local list, seen = {}, {}
    for _, key in ipairs(keys) do
        check_key(who, key)
        if not seen[key] then
            seen[key] = true
            list[#list + 1] = key
        end
    end
    return list
end
reads.distinct = distinct

-- Keys that cannot be asked for get their error here, so that the others are asked all the same.
local function askable(st, keys, loads, errs)
    local list = {}
    for _, key in ipairs(keys) do
        if #key == 0 then
            errs[key] = errors.new("invalid", "a key must not be empty")
        elseif #key > 65535 then
            errs[key] = errors.new("too_large", ("a key of %d bytes: at most 65535 are allowed"):format(#key))
        else
            if not loads then
                check_model("cache:get_many", st, key)
            end
            list[#list + 1] = key
        end
    end
    return list
end

-- Hits and loads that need no Lua, in one call of C; nothing where the list is not as it should be.
local function read_many(st, keys)
    for _, key in ipairs(st.models and type(keys) == "table" and keys or {}) do
        if type(key) == "string" then
            check_model("cache:get_many", st, key)
        end
    end
    local values, errs, message = st.core:read_many(keys)
    if message then
        return nil, errors.new(errs, message)
    end
    for key, err in next, errs or {} do
        errs[key] = errors.new(err[1], err[2])
    end
    return values, errs
end

local function get_many(st, keys, o, load_many)
    if st.direct and not (o or load_many or st.bypass or st.parents[calls.here(st)] or st.sched:can_wait()) then
        local values, errs = read_many(st, keys)
        if errs then
            return values, errs
        end
    end
    local values, errs = {}, {}
    local list = askable(st, distinct("cache:get_many", keys), load_many, errs)
    local here = st.bypass and st.bypass[calls.here(st)]
    for _, key in ipairs(here and list or {}) do
        o = here[key] and past_cache(st, key, o) or o
    end
    local fine, code, message = st.core:enter()
    if not fine then
        return nil, errors.new(code, message)
    elseif #list == 0 then
        return values, errs
    end
    local context = { load_many = load_many }
    local op, err = operate(st, list, o, context)
    if not op then
        return nil, err
    end
    for i, key in ipairs(list) do
        local good, value = result(st, op, i, key, context)
        if good then
            values[key] = value
        else
            errs[key] = value
        end
    end
    op:finish()
    return values, errs
end

function reads.get_many(self, keys, opts, load_many)
    local st = check(self, "get_many")
    if schema.is_callable(opts) and load_many == nil then
        opts, load_many = nil, opts
    elseif load_many ~= nil and not schema.is_callable(load_many) then
        schema.refuse("cache:get_many", "load_many", "a function", load_many)
    end
    return then_tell(st, get_many(st, keys, options.verb("get_many", opts), load_many))
end

function reads.peek(self, key)
    local st = check(self, "peek")
    check_key("cache:peek", key)
    local value, outcome, trouble = st.core:peek(key)
    if trouble then
        return nil, errors.new(outcome, trouble)
    end
    return value, outcome
end

return reads
