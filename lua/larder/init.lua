--- Larder: a cache in front of a database that says which guarantee held.
-- `larder.open` gives a cache; `larder.run`, `spawn` and `sleep` run coroutines side by side on the blocking host.
-- @module larder

local there, core = pcall(require, "larder.core")
if not there then
    local this = rawget(_G, "jit") and rawget(_G, "jit").version or _VERSION
    error("larder: no C module for this Lua (" .. this .. "); in a checkout `make all` builds those for Lua 5.4 and "
        .. "LuaJIT\n" .. tostring(core), 0)
end
local cache = require "larder.cache"
local errors = require "larder.errors"
local hosts = require "larder.hosts"
local source = require "larder.source"
local unbuilt = require "larder.unbuilt"

local larder = {
    _VERSION = "larder " .. core.version,
    null = core.null,
    source = source,
}

--- Opens a cache. Misuse raises; run-time trouble gives nil and an error object.
-- @tparam[opt] table options see docs/reference.md
-- @return the cache, or nil and an error
function larder.open(options)
    if options == larder then
        errors.misuse(1, "larder.open: called with a colon; it wants a dot: larder.open { ... }")
    end
    return cache.open(options, hosts.find)
end

--- Runs functions side by side, each in a coroutine; returns when all ended, then raises the first error.
-- @param ... functions, or one list of them
function larder.run(...)
    return hosts.find():run(...)
end

--- Starts one more function beside the others; only inside `larder.run`.
-- @tparam function fn
-- @param ... its arguments
function larder.spawn(fn, ...)
    return hosts.find():spawn(fn, ...)
end

--- Waits; inside `larder.run` the others go on meanwhile.
-- @tparam number seconds
function larder.sleep(seconds)
    return hosts.find():sleep(seconds)
end

for _, name in ipairs((unbuilt.names "module")) do
    larder[name] = unbuilt.stub("module", name)
end

return larder
