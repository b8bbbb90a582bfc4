-- wrap.lua - the decorator: a callable with the results of a function, kept by its arguments.
--
-- What is kept is the results as they are, nils too. One result that is no table is kept as itself; anything else as
-- a list: a shape ("v" a value, "n" a nil, one letter a result) and then the values. First result nil with second
-- non-nil is a failure: passed on, not kept. What the function raises is raised again; when the cache is in trouble
-- the function is called, or, where it was called already, its results are given.
--
-- api = { get = function(key, opts, loader, ...) -> value, err, outcome, invalidate = function(key),
-- refresh = as get, null = larder.null, digest = function(bytes) -> string (optional), is_shared = true where others
-- have keys there }

local arguments = require "larder.arguments"
local errors = require "larder.errors"
local options = require "larder.options"
local schema = require "larder.schema"

local wrap = {}

local unpack = table.unpack or unpack -- luacheck: ignore 113

local LONGEST_KEY = 65535

---- results -----------------------------------------------------------------------------------------------------------

local function pack(...)
    return { n = select("#", ...), ... }
end

-- Results as one value of the cache.
local function keepable(results)
    if results.n == 1 and results[1] ~= nil and type(results[1]) ~= "table" then
        return results[1]
    end
    local shape, kept = {}, { "" }
    for i = 1, results.n do
        shape[i] = results[i] == nil and "n" or "v"
        if results[i] ~= nil then
            kept[#kept + 1] = results[i]
        end
    end
    kept[1] = table.concat(shape)
    return kept
end

-- The results in a value of the cache; nil when it is none of ours.
local function results_of(kept)
    if type(kept) ~= "table" then
        return { n = 1, kept }
    end
    local shape = kept[1]
    if type(shape) ~= "string" or shape:find("[^nv]") then
        return nil
    end
    local results, at = { n = #shape }, 1
    for i = 1, #shape do
        if shape:byte(i) == 118 then -- "v"
            at = at + 1
            results[i] = kept[at]
        end
    end
    return results
end

local function is_failure(results)
    return results[1] == nil and results[2] ~= nil
end

---- calls -------------------------------------------------------------------------------------------------------------

local failed = {} -- metatable of a failure's results, as they travel through the cache as a cause

function failed.__tostring(results)
    return errors.text(results[2])
end

-- The loader: `call` is what the caller of this one call looks at afterwards.
local function load(_, self, call, ...)
    call.began = true
    local results = pack(self.fn(...))
    call.results = results
    if is_failure(results) then
        return nil, setmetatable(results, failed)
    end
    return keepable(results)
end

-- What the cache answered as results; the function is called where the cache could not help. A failure of this very
-- call gives way to a stale value.
local function settle(self, call, value, err, ...)
    local held = err == nil and value ~= nil
    if call.results and not (held and is_failure(call.results)) then
        return unpack(call.results, 1, call.results.n)
    elseif held then
        local results = results_of(value)
        if results then
            return unpack(results, 1, results.n)
        end
    elseif errors.is(err) and err.code == "loader" then
        local cause = err.cause
        if getmetatable(cause) == failed then
            return unpack(cause, 1, cause.n)
        elseif call.began or cause ~= nil then
            error(cause, 0)
        end
    end
    return self.fn(...)
end

local methods = {}
local mt = { __index = methods, __name = "larder.wrapped" }

local function too_long(self, key)
    return self.digest and self.prefix .. ":#" .. self.digest(key) or nil
end

local function own_key(self, ...)
    local key = self.key(...)
    if type(key) ~= "string" then
        errors.misuse(1, "cache:wrap: key = function must give a string, got %s", errors.show(key))
    end
    return self.given_prefix and self.given_prefix .. ":" .. key or key
end

-- The key of a call; nil: too long, the call goes past the cache.
local function key_of(self, ...)
    local key
    if self.key then
        key = own_key(self, ...)
    else
        local text, at, wrong = arguments.text(self.null, ...)
        if not text then
            local text_of = "cache:wrap (%s): argument %d cannot be part of a key: %s; give key = function(...)"
            errors.misuse(1, text_of, self.prefix, at, wrong)
        end
        key = self.prefix .. ":" .. text
    end
    return #key <= LONGEST_KEY and key or too_long(self, key)
end

local function through(self, verb, ...)
    local key = key_of(self, ...)
    if not key then
        return self.fn(...)
    end
    local call = {}
    local value, err = verb(key, self.opts, load, self, call, ...)
    return settle(self, call, value, err, ...)
end

local function inner_of(wrapped)
    if getmetatable(wrapped) ~= mt then
        errors.misuse(1, "cache:wrap: call its methods with a colon, got %s for self", errors.show(wrapped))
    end
    return wrapped[mt]
end

function mt.__call(wrapped, ...)
    local self = inner_of(wrapped)
    return through(self, self.get, ...)
end

-- Loads anew for these arguments, and gives the results.
function methods:refresh(...)
    local inner = inner_of(self)
    return through(inner, inner.refresh, ...)
end

-- Forgets the results for these arguments.
function methods:invalidate(...)
    local inner = inner_of(self)
    local key = key_of(inner, ...)
    if not key then
        return true
    end
    return inner.invalidate(key)
end

local n_private = 0

local function private_prefix()
    n_private = n_private + 1
    return "wrap." .. n_private
end

-- The callable for fn over a cache. opts: prefix ttl key guard consistency (options.lua).
function wrap.make(api, fn, opts)
    if not schema.is_callable(fn) then
        errors.misuse(1, "cache:wrap: a function is wanted, got %s", errors.show(fn))
    end
    local o = options.verb("wrap", opts == nil and {} or opts)
    if api.is_shared and not o.prefix then
        errors.misuse(1, "cache:wrap: prefix is required with l2: other processes have keys there, too")
    end
    return setmetatable({ [mt] = {
        fn = fn, get = api.get, refresh = api.refresh, invalidate = api.invalidate, null = api.null,
        digest = api.digest, opts = o, key = o.key, given_prefix = o.prefix, prefix = o.prefix or private_prefix(),
    } }, mt)
end

return wrap
