-- state.lua - what a cache handle stands for: its core, options and host. The handle is a table that holds it under a
-- private name; every verb begins with check(self).

local errors = require "larder.errors"
local schema = require "larder.schema"

local state = {}

local PRIVATE = {}
local LONGEST_KEY = 65535

function state.attach(handle, st)
    rawset(handle, PRIVATE, st)
end

-- The state behind self; raises at the user's line when it is no cache.
function state.check(self, verb)
    local st = type(self) == "table" and rawget(self, PRIVATE)
    if not st then
        errors.misuse(1, "cache:%s: self is not a cache, got %s; call it with a colon", verb, errors.show(self))
    end
    return st
end

---- namesakes: what one cache changes, the others of its name forget ------------------------------------------------

local families = setmetatable({}, { __mode = "v" }) -- name -> the states of that name

-- Adds a cache to those of its name; gives all of them.
function state.join(st)
    local family = families[st.name] or setmetatable({}, { __mode = "k" })
    families[st.name], st.family, family[st] = family, family, true
    return family
end

-- One may be half collected: its core then refuses.
local function drop(other, key)
    if key then
        other.core:drop(key)
    else
        other.core:drop_all()
    end
    if other.listening then
        state.tell(other)
    end
end

-- The namesakes forget the key; all keys without one.
function state.spread(st, key)
    if not st.family then
        return
    end
    local others = {} -- handlers may open more of the name
    for other in next, st.family do
        others[#others + 1] = other ~= st and other or nil
    end
    for _, other in ipairs(others) do
        pcall(drop, other, key)
    end
end

---- events ----------------------------------------------------------------------------------------------------------

-- Is somebody telling already, further down on this stack? A coroutine that was left within a handler, or was dropped
-- there, holds up nobody.
local function is_telling(st)
    local teller = st.teller[1]
    if teller == nil then
        return false
    end
    local now = type(teller) ~= "thread" and "normal" or coroutine.status(teller)
    return now == "running" or now == "normal"
end

local function tell_all(st)
    local e = st.core:event()
    while e do
        e.cache = st.handle[1]
        if e.code or e.message then
            e.err = errors.new(e.code or "source", e.message or e.code)
            e.code, e.message = nil, nil
        end
        st.events:fire(e)
        e = st.core:event()
    end
end

-- Hands what happened to the handlers. What they cause is told in the same round, not within theirs.
function state.tell(st)
    if is_telling(st) then
        return
    end
    st.teller[1] = coroutine.running() or st
    local fine, err = pcall(tell_all, st)
    st.teller[1] = nil
    if not fine then
        error(err, 0)
    end
end

function state.check_key(who, key)
    if type(key) ~= "string" then
        schema.refuse(who, "the key", "a string", key)
    end
end

-- Where a SQL source is asked or written, the key must name a model. (One that is empty or too long is told so later.)
function state.check_model(who, st, key)
    local models = st.models
    if models and #key > 0 and #key <= LONGEST_KEY and not models[key:match("^([^:]*):")] then
        errors.misuse(1, "%s: the key %s names no model of the source (%s): keys are model:id", who, errors.show(key),
            st.model_names)
    end
end

-- Passes its arguments on, after the handlers heard of what they came with.
function state.then_tell(st, ...)
    if st.listening then
        state.tell(st)
    end
    return ...
end

return state
