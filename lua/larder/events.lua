-- events.lua - who wants to hear of what: handlers by the name of the event.
--
-- The list of a name is never changed, only replaced, so that handlers may come and go while one is running: who is
-- taken off is not called any more, who comes on hears the next event. A handler that raises is reported and stops
-- nothing.

local errors = require "larder.errors"
local schema = require "larder.schema"

local events = {}
events.__index = events

-- A registry. report (optional): function(err) for handlers that raised; what it raises itself is dropped.
function events.new(report)
    return setmetatable({ lists = {}, report = report }, events)
end

local function without(list, entry)
    local rest = {}
    for _, other in ipairs(list) do
        if other ~= entry then
            rest[#rest + 1] = other
        end
    end
    return rest[1] and rest or nil
end

local function with(list, entry)
    local longer = {}
    for i, other in ipairs(list or {}) do
        longer[i] = other
    end
    longer[#longer + 1] = entry
    return longer
end

local function check(name, fn)
    if type(name) ~= "string" or name == "" then
        schema.refuse("cache:on", "the event", "a string", name)
    elseif not schema.is_callable(fn) then
        schema.refuse("cache:on", "the handler", "a function", fn)
    end
end

-- Calls fn(e) at each event of this name, after the handlers that are there; gives a function that ends it.
function events:on(name, fn)
    check(name, fn)
    local entry = { fn = fn }
    self.lists[name] = with(self.lists[name], entry)
    return function()
        if not entry.off then
            entry.off = true
            self.lists[name] = without(self.lists[name], entry)
        end
    end
end

-- Does anybody want to hear of this?
function events:has(name)
    return self.lists[name] ~= nil
end

local function complain(self, e, err)
    err.message = ("a handler of the event %s failed: %s"):format(errors.show(e.name), err.message)
    if self.report then
        pcall(self.report, err)
    end
end

-- Runs the handlers of e.name, in the order in which they came.
function events:fire(e)
    for _, entry in ipairs(self.lists[e.name] or {}) do
        if not entry.off then
            local fine, err = xpcall(entry.fn, errors.handler, e)
            if not fine then
                complain(self, e, errors.is(err) and err or errors.handler(err))
            end
        end
    end
end

return events
