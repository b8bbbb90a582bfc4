-- state.lua - what a cache handle stands for: its core, options and host. The handle is a table that holds it under a
-- private name; every verb begins with check(self).

local errors = require "larder.errors"

local state = {}

local PRIVATE = {}

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

-- Hands what happened to the handlers. What they cause is told in the same round, not within theirs.
function state.tell(st)
    if st.telling then
        return
    end
    st.telling = true
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
    st.telling = false
end

return state
