--- `set` of a string in LuaJIT: one C function called by FFI, so that a trace goes through it without leaving.
-- The version is made a string only where somebody looks at it: the compiler drops what is not used.
-- @module larder.quick
local M = {}

local format, rawequal, type = string.format, rawequal, type

local set_type -- made once: LuaJIT has room for 65,536 types, and never gives one back

local function setter(handle, slow, ud, failed)
    local ffi = require "ffi"
    set_type = set_type or ffi.typeof "double (*)(void *, const char *, size_t, const char *, size_t)"
    local address, pointer = ud:quick()
    local set = ffi.cast(set_type, address)
    local cache = ffi.cast("void *", pointer)
    return function(self, key, value, opts)
        if opts == nil and rawequal(self, handle) and type(key) == "string" and type(value) == "string" then
            local version = set(cache, key, #key, value, #value)
            if version > 0 then
                return format("%d", version)
            elseif version < 0 then
                return failed(ud:trouble())
            end
        end
        return slow(self, key, value, opts)
    end
end

--- The `set` of one cache handle; nil where there is nothing quicker than `slow`.
-- @param handle what `self` must be; anything else is left to `slow`
-- @param slow function(self, key, value, opts)
-- @param ud the cache's userdata
-- @param failed function(nil, code, message): gives what `set` gives then
function M.set(handle, slow, ud, failed)
    local jit = rawget(_G, "jit")
    if jit and jit.status() and pcall(require, "ffi") then
        return setter(handle, slow, ud, failed)
    end
end

return M
