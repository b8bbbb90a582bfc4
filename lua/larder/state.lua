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

---- namesakes: what one changes the others forget (C sees to that), and their handlers hear of it ---------------------

local families = setmetatable({}, { __mode = "v" }) -- name -> the caches of that name in this Lua state

-- Makes the cache one of its name's. A family: { members = set of states, is_heard = does one of them listen? }
function state.join(st)
    local family = st.name and families[st.name] or { members = setmetatable({}, { __mode = "k" }), is_heard = false }
    if st.name then
        families[st.name] = family
    end
    st.family, family.members[st] = family, true
end

-- One of the family began or ceased to listen.
function state.count_listeners(family)
    family.is_heard = false
    for member in next, family.members do
        family.is_heard = family.is_heard or member.listening
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

local function tell_family(family)
    local listening = {} -- handlers may open more of the name
    for member in next, family.members do
        listening[#listening + 1] = member.listening and member or nil
    end
    for _, member in ipairs(listening) do
        state.tell(member)
    end
end

-- Passes its arguments on, after the handlers heard of what they came with.
function state.then_tell(st, ...)
    if st.family.is_heard then
        tell_family(st.family)
    end
    return ...
end

return state
