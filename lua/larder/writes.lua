-- writes.lua - the verbs that change: set, set_many, delete, delete_many, touch, invalidate, invalidate_all, write.
--
-- Where there is a shared tier each of them is an operation, for it has to be asked or told; a list of keys is one.

local calls = require "larder.calls"
local drive = require "larder.drive"
local errors = require "larder.errors"
local options = require "larder.options"
local reads = require "larder.reads"
local schema = require "larder.schema"
local state = require "larder.state"

local writes = {}

local check, check_key, check_model, then_tell = state.check, state.check_key, state.check_model, state.then_tell
local type = type

local function failure(code, message, version)
    return errors.new(code, message, nil, version and { version = version })
end

-- One write operation for a list of keys. each(i, key, version or nil, err) is told what became of each.
local function operate(st, verb, keys, values, o, each)
    local stuck = st.shares and drive.stuck(st)
    if stuck then
        return nil, stuck
    end
    local op, code, message, version = st.core:put_op(verb, keys, values, o, st.parents[calls.here(st)])
    if not op then
        return nil, failure(code, message, version)
    end
    local context = { originals = {} }
    for i, key in ipairs(values and keys or {}) do
        context.originals[key] = values[i]
    end
    local fine, err = drive.write(st, op, context)
    if not fine then
        for i, key in ipairs(keys) do
            each(i, key, nil, err)
        end
        return true
    end
    for i, key in ipairs(keys) do
        version, code, message, fine = op:written(i)
        each(i, key, version, not version and code and calls.error_of(st, context, key, code, message, fine) or nil)
    end
    st.sched:forget(op:id())
    op:finish()
    return true
end

local function one(st, verb, key, value, o)
    local version, err
    local values = verb == "set" and { value } or nil
    local fine, trouble = operate(st, verb, { key }, values, o, function(_, _, v, e)
        version, err = v, e
    end)
    if not fine then
        return nil, trouble
    end
    return version, err
end

local function check_version(who, st, o)
    if o and o.version and st.core:writes_source("set") then
        errors.misuse(1, "%s: version = is only for caches whose source gives none", who)
    end
end

function writes.set(self, key, value, opts)
    local st = check(self, "set")
    check_key("cache:set", key)
    if value == nil then
        schema.refuse("cache:set", "the value", "anything but nil (larder.null, or cache:delete)", value)
    end
    local o = options.verb("set", opts)
    if st.writes_source then
        check_model("cache:set", st, key)
        check_version("cache:set", st, o)
    end
    if st.ttl_function and not st.writes_source then -- C asks them only where the source is written
        local wrong
        o, wrong = calls.with_ttls(st, key, value, o)
        if not o then
            return then_tell(st, nil, wrong)
        end
    end
    if st.writes_source or st.shares then
        return then_tell(st, one(st, "set", key, value, o))
    end
    local version, code, message, held = st.core:tier_set(key, value, o)
    if not version then
        return then_tell(st, nil, failure(code, message, held))
    end
    return then_tell(st, version)
end

local function is_key(key)
    return #key >= 1 and #key <= 65535
end

local function sorted_keys(who, map)
    if type(map) ~= "table" then
        schema.refuse(who, "the values", "a table of values by key", map)
    end
    local keys = {}
    for key in next, map do
        if type(key) ~= "string" then
            schema.refuse(who, "the values", "a table of values by key, each key a string", key)
        end
        keys[#keys + 1] = key
    end
    table.sort(keys)
    return keys
end

function writes.set_many(self, map, opts)
    local st = check(self, "set_many")
    local keys = sorted_keys("cache:set_many", map)
    local o = options.verb("set_many", opts)
    local fine, code, message = st.core:enter()
    if not fine then
        return nil, errors.new(code, message)
    end
    local versions, errs, good, values = {}, {}, {}, {}
    local together = st.writes_source or st.shares and not st.ttl_function
    for _, key in ipairs(keys) do
        if not together or not is_key(key) or not st.core:fits(map[key]) then
            versions[key], errs[key] = writes.set(self, key, map[key], o)
        else
            if st.writes_source then
                check_model("cache:set_many", st, key)
            end
            good[#good + 1], values[#values + 1] = key, map[key]
        end
    end
    if #good > 0 then
        local done, err = operate(st, "set", good, values, o, function(_, key, version, e)
            versions[key], errs[key] = version, e
        end)
        for _, key in ipairs(done and {} or good) do
            errs[key] = err
        end
    end
    return then_tell(st, versions, errs)
end

function writes.delete(self, key, opts)
    local st = check(self, "delete")
    check_key("cache:delete", key)
    local o = options.verb("delete", opts)
    if st.core:writes_source("delete") then
        check_model("cache:delete", st, key)
    end
    local _, err = one(st, "delete", key, nil, o)
    if err then
        return then_tell(st, nil, err)
    end
    return then_tell(st, true)
end

-- All keys in one operation; gives the errors by key, and the first.
local function delete_together(st, keys, o)
    local errs, first = {}, nil
    local function note(_, key, _, err)
        errs[key], first = err, first or err
    end
    local fine, err = operate(st, "delete", keys, nil, o, note)
    for i, key in ipairs(fine and {} or keys) do
        note(i, key, nil, err)
    end
    return errs, first
end

local function delete_each(self, keys, o)
    local errs, first = {}, nil
    for _, key in ipairs(keys) do
        local done, err = writes.delete(self, key, o)
        if not done then
            errs[key], first = err, first or err
        end
    end
    return errs, first
end

-- Those that no operation can be made of come last.
local function delete_list(self, st, keys, o)
    local good, bad = {}, {}
    for _, key in ipairs(keys) do
        local list = is_key(key) and good or bad
        list[#list + 1] = key
        if list == good and st.core:writes_source("delete") then
            check_model("cache:delete_many", st, key)
        end
    end
    local errs, first = delete_together(st, good, o)
    local more, next_first = delete_each(self, bad, o)
    for key, err in next, more do
        errs[key] = err
    end
    return errs, first or next_first
end

function writes.delete_many(self, keys, opts)
    local st = check(self, "delete_many")
    local list = reads.distinct("cache:delete_many", keys)
    local o = options.verb("delete_many", opts)
    local fine, code, message = st.core:enter()
    if not fine then
        return nil, errors.new(code, message)
    end
    local errs, first
    if st.shares then
        errs, first = delete_list(self, st, list, o)
    else
        errs, first = delete_each(self, list, o)
    end
    if first then
        return then_tell(st, nil, errors.new(first.code, first.message, first, { errs = errs }))
    end
    return then_tell(st, true)
end

---- what the shared tier is told, no value among it ------------------------------------------------------------------

-- Steps what was begun for the shared tier to its end. The operation (the caller finishes it), or nil and an error.
local function forget(st, kind, keys, o)
    local stuck = drive.stuck(st)
    if stuck then
        return nil, stuck
    end
    local op, code, message = st.core:forget_op(kind, keys, o)
    if not op then
        return nil, errors.new(code, message)
    end
    local fine, err = drive.write(st, op, {})
    st.sched:forget(op:id())
    return fine and op or nil, err
end

-- true or nil and an error: was the one key forgotten, or all of them?
local function forgotten(st, kind, keys, o)
    local op, err = forget(st, kind, keys, o)
    if not op then
        return nil, err
    end
    local fine, code, message = op:forgotten(1)
    op:finish()
    if not fine then
        return nil, errors.new(code, message)
    end
    return true
end

local function touch_shared(st, key, ttl)
    local op, err = forget(st, "touch", { key }, { ttl = ttl })
    if not op then
        return nil, err
    end
    local held = op:was_held()
    local fine, code, message = op:forgotten(1)
    op:finish()
    if not fine then
        return nil, errors.new(code, message)
    end
    return held
end

function writes.touch(self, key, ttl)
    local st = check(self, "touch")
    check_key("cache:touch", key)
    options.ttl_argument("touch", ttl)
    if st.shares then
        return then_tell(st, touch_shared(st, key, ttl))
    end
    local held, code, message = st.core:touch(key, ttl)
    if code then
        return nil, errors.new(code, message)
    end
    return held
end

function writes.invalidate(self, key, opts)
    local st = check(self, "invalidate")
    check_key("cache:invalidate", key)
    local o = options.verb("invalidate", opts)
    if st.shares then
        return then_tell(st, forgotten(st, "keys", { key }, o))
    end
    local fine, code, message = st.core:drop(key)
    if not fine then
        return nil, errors.new(code, message)
    end
    return then_tell(st, true)
end

function writes.invalidate_all(self)
    local st = check(self, "invalidate_all")
    if st.shares then
        return then_tell(st, forgotten(st, "all"))
    end
    local fine, code, message = st.core:drop_all()
    if not fine then
        return nil, errors.new(code, message)
    end
    return then_tell(st, true)
end

---- write(keys, fn, ...) ---------------------------------------------------------------------------------------------

local function open_bypass(st, keys)
    st.bypass = st.bypass or setmetatable({}, { __mode = "k" })
    local here = calls.here(st)
    local before = st.bypass[here]
    local set = setmetatable({}, { __index = before })
    for _, key in ipairs(keys) do
        set[key] = true
    end
    st.bypass[here] = set
    return function()
        st.bypass[here] = before
        if next(st.bypass) == nil then
            st.bypass = nil
        end
    end
end

-- The shared tier hears of the end before the marks go here. What it does not confirm is sent again; where it could not
-- be told at all, the marks see to that.
local function close_bracket(st, keys, token)
    local op = token and forget(st, "close", keys, { token = token })
    if op then
        op:finish()
    end
    return op ~= nil
end

local function end_write(st, keys, marks, token, close_bypass, fine, ...)
    close_bypass()
    marks:release(close_bracket(st, keys, token))
    if fine then
        return then_tell(st, ...)
    end
    return then_tell(st, nil, errors.caught((...)))
end

function writes.write(self, keys, fn, ...)
    local st = check(self, "write")
    local list = reads.distinct("cache:write", type(keys) == "string" and { keys } or keys)
    if not schema.is_callable(fn) then
        schema.refuse("cache:write", "the writing", "a function", fn)
    end
    local marks, code, message = st.core:mark(list)
    if not marks then
        return nil, errors.new(code, message)
    end
    local token
    if st.shares then
        token = st.core:token()
        local op, err = forget(st, "open", list, { token = token })
        if not op then
            marks:release(true)
            return then_tell(st, nil, err)
        end
        op:finish() -- out of reach: the writing goes on, and what is held there is dropped later
    end
    return end_write(st, list, marks, token, open_bypass(st, list), xpcall(fn, errors.handler, ...))
end

return writes
