-- writes.lua - the verbs that change: set, set_many, delete, delete_many, touch, invalidate, invalidate_all, write.

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
            state.spread(st, key)
        end
        return true
    end
    for i, key in ipairs(keys) do
        version, code, message, fine = op:written(i)
        if version or not code or code == "lost" then
            state.spread(st, key)
        end
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
        return then_tell(st, one(st, "set", key, value, o))
    elseif st.ttl_function then
        local wrong
        o, wrong = calls.with_ttls(st, key, value, o)
        if not o then
            return then_tell(st, nil, wrong)
        end
    end
    local version, code, message, held = st.core:tier_set(key, value, o)
    if not version then
        return then_tell(st, nil, failure(code, message, held))
    end
    state.spread(st, key)
    return then_tell(st, version)
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
    for _, key in ipairs(keys) do
        if not st.writes_source or #key == 0 or #key > 65535 or not st.core:fits(map[key]) then
            versions[key], errs[key] = writes.set(self, key, map[key], o)
        else
            check_model("cache:set_many", st, key)
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

function writes.delete_many(self, keys, opts)
    local st = check(self, "delete_many")
    local list = reads.distinct("cache:delete_many", keys)
    local o = options.verb("delete_many", opts)
    local errs, first = {}, nil
    local fine, code, message = st.core:enter()
    if not fine then
        return nil, errors.new(code, message)
    end
    for _, key in ipairs(list) do
        local done, err = writes.delete(self, key, o)
        if not done then
            errs[key], first = err, first or err
        end
    end
    if first then
        return nil, errors.new(first.code, first.message, first, { errs = errs })
    end
    return true
end

function writes.touch(self, key, ttl)
    local st = check(self, "touch")
    check_key("cache:touch", key)
    options.ttl_argument("touch", ttl)
    local held, code, message = st.core:touch(key, ttl)
    if code then
        return nil, errors.new(code, message)
    end
    return held
end

function writes.invalidate(self, key, opts)
    local st = check(self, "invalidate")
    check_key("cache:invalidate", key)
    options.verb("invalidate", opts)
    local fine, code, message = st.core:drop(key)
    if not fine then
        return nil, errors.new(code, message)
    end
    state.spread(st, key)
    return then_tell(st, true)
end

function writes.invalidate_all(self)
    local st = check(self, "invalidate_all")
    local fine, code, message = st.core:drop_all()
    if not fine then
        return nil, errors.new(code, message)
    end
    state.spread(st)
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

local function end_write(st, keys, marks, close_bypass, fine, ...)
    close_bypass()
    marks:release()
    for _, key in ipairs(keys) do
        state.spread(st, key)
    end
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
    return end_write(st, list, marks, open_bypass(st, list), xpcall(fn, errors.handler, ...))
end

return writes
