-- calls.lua - answers what an operation wants of Lua functions: loaders of a call, the functions source, ttl functions.
--
-- Loaders run under xpcall in the caller's coroutine (or a task of their own), so they may yield. What one coroutine is
-- loading is noted, so that calls made inside know their parent and a ring of loads is refused instead of waited for.

local errors = require "larder.errors"
local options = require "larder.options"
local schema = require "larder.schema"

local calls = {}

local running = coroutine.running
local unpack = table.unpack or unpack -- luacheck: ignore 113
-- The third result of a loader that ends in `return other_cache:get(key)`: it says nothing about this cache.
local OUTCOMES = { l1 = true, l2 = true, loaded = true, joined = true, stale = true, absent = true, miss = true }
local FAILURES = 256 -- failed loads whose error objects are kept for those who waited for them

-- What stands for the running coroutine as a table key; the main chunk has none in LuaJIT.
function calls.here(st)
    return running() or st
end

-- Memory or stack may be short: nothing is made before the note is taken back, and no more than three results are
-- looked at, else this coroutine would be within that call for ever.
local function ended(st, here, before, fine, first, second, third)
    st.parents[here], st.n_calls = before, st.n_calls - 1
    if not fine then
        return false, errors.caught(first)
    end
    return true, first, second, third
end

local function guarded(st, op, fn, ...)
    local here = calls.here(st)
    local before = st.parents[here]
    st.parents[here], st.n_calls = op or before, st.n_calls + 1
    return ended(st, here, before, xpcall(fn, errors.handler, ...))
end

-- What a loader returned as its error, as ours.
local function returned_error(err)
    return errors.new("loader", "the loader returned an error: " .. errors.text(err), err)
end

-- Keeps the whole error object for the caller and for those who wait; C carries only code and message.
local function fail(st, op, i, key, err, context)
    context.errors = context.errors or {}
    context.errors[key] = err
    local at = st.n_failures % FAILURES + 1
    local old = st.failures[at]
    if old and st.failed[old] == at then
        st.failed[old] = nil
    end
    st.n_failures = st.n_failures + 1
    st.failures[at], st.failed[key] = key, at
    st.failure_of[at] = err
    op:give_error(i, err.code, errors.text(err.message):sub(1, 200), err.version)
end

-- The error object behind a code and message of C for this key: this call's own, or the one that was waited for.
function calls.error_of(st, context, key, code, message, version)
    local own = context and context.errors and context.errors[key]
    if own and own.code == code then
        return own
    end
    local at = st.failed[key]
    if at and st.failure_of[at].code == code and errors.text(st.failure_of[at].message):sub(1, 200) == message then
        return st.failure_of[at]
    end
    return errors.new(code, message, nil, version and { version = version })
end

-- One key's answer of a loader: value, err, opts.
local function give_loaded(st, op, i, key, context, value, err, opts)
    if err ~= nil then
        return fail(st, op, i, key, returned_error(err), context)
    end
    if OUTCOMES[opts] then
        opts = nil
    elseif opts ~= nil then
        local wrong
        opts, wrong = options.answer(opts)
        if not opts then
            return fail(st, op, i, key, wrong, context)
        end
    end
    if value == nil then
        if opts and opts.negative_ttl then
            opts.ttl = opts.negative_ttl
        end
        op:give_nothing(i, opts)
        return
    end
    local fine, code, message = op:give(i, value, opts)
    if fine then
        context.values = context.values or {}
        context.values[key] = value
    else
        fail(st, op, i, key, errors.new(code, ("key %s: %s"):format(errors.show(key), message)), context)
    end
end

local function load_one(st, op, i, key, context, fn)
    local args = context.args
    local fine, value, err, opts
    if args then
        fine, value, err, opts = guarded(st, op, fn, key, unpack(args, 1, args.n))
    else
        fine, value, err, opts = guarded(st, op, fn, key)
    end
    if fine then
        give_loaded(st, op, i, key, context, value, err, opts)
    else
        fail(st, op, i, key, value, context)
    end
end

local function as_table(value)
    return type(value) == "table" and value or {}
end

local function load_many(st, op, n, context, fn)
    local keys = {}
    for i = 1, n do
        keys[i] = op:item(i)
    end
    local fine, values, errs, opts = guarded(st, op, fn, { unpack(keys, 1, n) })
    local whole
    if not fine then
        whole = values
    elseif type(values) ~= "table" then
        whole = errs ~= nil and returned_error(errs)
            or errors.new("loader", "load_many must give a table of values by key, got " .. errors.show(values))
    end
    for i = 1, n do
        local key = keys[i]
        if whole then
            fail(st, op, i, key, whole, context)
        else
            give_loaded(st, op, i, key, context, values[key], as_table(errs)[key], as_table(opts)[key])
        end
    end
end

local function answer_load(st, op, n, context)
    local src = st.source
    local one, many = context.loader, context.load_many
    if not one and not many then
        one, many = src.load, src.load_many
    end
    if many and (n > 1 or not one) then
        return load_many(st, op, n, context, many)
    end
    for i = 1, n do
        load_one(st, op, i, op:item(i), context, one)
    end
end

---- store and delete -------------------------------------------------------------------------------------------------

-- `nil, err` of a store: no effect. A conflict keeps its code and version; all else is the source's error.
local function refusal(key, err)
    local text = ("the source refused key %s: %s"):format(errors.show(key), errors.text(err))
    if errors.is(err) and (err.code == "conflict" or err.code == "rejected") then
        return errors.new(err.code, text, err, { version = err.version })
    end
    return errors.new("source", text, err)
end

local function give_stored(st, op, i, key, context, version, err)
    if version == nil or version == false then
        local why = err == nil and "it gave neither a version nor an error" or err
        return fail(st, op, i, key, refusal(key, why), context)
    elseif version == true then
        op:give_nothing(i)
        return
    end
    local fine, text = schema.version(version)
    if fine then
        op:give_nothing(i, { version = text })
    else
        local what = ("the source's version for key %s must be %s, got %s; the write may have taken effect")
        fail(st, op, i, key, errors.new("lost", what:format(errors.show(key), text, errors.show(version))), context)
    end
end

local function answer_write(st, op, n, context, verb)
    local fn = st.source[verb]
    for i = 1, n do
        local key, value, if_version = op:item(i)
        local fine, version, err
        if verb == "store" then
            if context.originals and context.originals[key] ~= nil then
                value = context.originals[key]
            end
            fine, version, err = guarded(st, op, fn, key, value, if_version)
        else
            fine, version, err = guarded(st, op, fn, key, if_version)
        end
        if fine then
            give_stored(st, op, i, key, context, version, err)
        else
            local what = "the source's %s of key %s raised; it may have taken effect: %s"
            local text = what:format(verb, errors.show(key), version.message)
            fail(st, op, i, key, errors.new("lost", text, version.cause), context)
        end
    end
end

---- ttl functions ----------------------------------------------------------------------------------------------------

local function asked_ttl(st, op, name, key, value)
    local fn = st.options[name .. "_fn"]
    if not fn then
        return true
    end
    local fine, ttl = guarded(st, op, fn, key, value, { name = st.name })
    if not fine then
        return nil, ttl
    elseif ttl == nil then
        return true
    end
    local checked, err = options.answered_ttl(name, ttl)
    if not checked then
        return nil, err
    end
    return true, checked
end

-- What the functions say where no operation asks: a copy of the options with their ttls; or nil and an error.
function calls.with_ttls(st, key, value, o)
    local copy = {}
    for name, given in next, o or {} do
        copy[name] = given
    end
    for _, name in ipairs { "ttl", "stale_ttl" } do
        if copy[name] == nil then
            local fine, ttl = asked_ttl(st, nil, name, key, value)
            if not fine then
                return nil, ttl
            end
            copy[name] = ttl
        end
    end
    return copy
end

local function answer_ttl(st, op, n, context)
    for i = 1, n do
        local key, value, _, state = op:item(i)
        if state ~= "failed" then
            local absent = state == "gone"
            local fine, ttl = asked_ttl(st, op, absent and "negative_ttl" or "ttl", key, value)
            local stale_fine, stale_ttl = true, nil
            if fine and not absent then
                stale_fine, stale_ttl = asked_ttl(st, op, "stale_ttl", key, value)
            end
            if not fine or not stale_fine then
                fail(st, op, i, key, fine and stale_ttl or ttl, context)
            else
                op:give_ttl(i, ttl, stale_ttl)
            end
        end
    end
end

-- Answers the call that the operation wants.
function calls.answer(st, op, context)
    local verb, n = op:call()
    if verb == "load" then
        answer_load(st, op, n, context)
    elseif verb == "ttl" then
        answer_ttl(st, op, n, context)
    else
        answer_write(st, op, n, context, verb)
    end
end

return calls
