--- LuaJIT's way to the memo's check: a C function called by FFI, which a trace calls directly.
-- The word of a slot is read inside that function, so no trace can keep an old one.
-- @module larder.ffi
local ffi = require "ffi"

local M = {}

-- Made once: each time a function's type is named in words, LuaJIT makes a new one, and it has room for 65,536.
local check_type = ffi.typeof "int (*)(void *, uint32_t)"

--- The check of one memo.
-- @param address light userdata: the C function
-- @param memo light userdata: the memo; the caller keeps its owner alive
-- @return function(i) -> whether entry i may be served now (then one hit is counted)
function M.checker(address, memo)
    local check = ffi.cast(check_type, address)
    local pointer = ffi.cast("void *", memo)
    return function(i)
        return check(pointer, i) ~= 0
    end
end

return M
