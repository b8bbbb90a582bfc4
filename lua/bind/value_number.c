/* value_number.c - integers and floats kept apart, in both Luas.
 *
 * Lua 5.4 has both. LuaJIT has doubles, so an integral double within +-2^53 is an integer, and integers beyond are
 * int64_t cdata. Its C interface can neither make nor tell apart cdata: two small Lua functions in the registry do it,
 * and lua_topointer gives the address of what a cdata holds. */
#include "bind/value.h"

#include <math.h>

#if !LDR_LUAJIT

void ldr_lua_value_open(lua_State *L)
{
    (void)L;
}

bool ldr_lua_integral(lua_State *L, int idx, int64_t *out)
{
    if (!lua_isinteger(L, idx))
        return false;
    *out = (int64_t)lua_tointeger(L, idx);
    return true;
}

bool ldr_lua_cdata_integer(lua_State *L, int idx, int64_t *out)
{
    (void)L, (void)idx, (void)out;
    return false;
}

void ldr_lua_pushint64(lua_State *L, int64_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
}

#else

static const char make_key, tell_key; /* registry keys: their addresses */

static const char helpers[] = "local ffi = require 'ffi'\n"
                              "local istype = ffi.istype\n"
                              "local int64, uint64 = ffi.typeof 'int64_t', ffi.typeof 'uint64_t'\n"
                              "return function() return int64() end,\n"
                              "  function(x) return istype(int64, x) and 1 or istype(uint64, x) and 2 or 0 end\n";

void ldr_lua_value_open(lua_State *L)
{
    if (luaL_loadstring(L, helpers) != 0)
        lua_error(L);
    lua_call(L, 0, 2);
    ldr_lua_setregistry(L, &tell_key);
    ldr_lua_setregistry(L, &make_key);
}

bool ldr_lua_integral(lua_State *L, int idx, int64_t *out)
{
    const double limit = (double)LDR_LUA_EXACT;
    double d = lua_tonumber(L, idx);
    if (!(d >= -limit && d <= limit))
        return false;
    *out = (int64_t)d;
    return (double)*out == d && !(d == 0 && signbit(d));
}

bool ldr_lua_cdata_integer(lua_State *L, int idx, int64_t *out)
{
    idx = ldr_lua_absindex(L, idx);
    ldr_lua_getregistry(L, &tell_key);
    lua_pushvalue(L, idx);
    int what = lua_pcall(L, 1, 1, 0) == 0 ? (int)lua_tointeger(L, -1) : 0;
    lua_pop(L, 1);
    if (what == 0)
        return false;
    memcpy(out, lua_topointer(L, idx), sizeof *out);
    return what == 1 || *out >= 0;
}

void ldr_lua_pushint64(lua_State *L, int64_t v)
{
    if (v >= -LDR_LUA_EXACT && v <= LDR_LUA_EXACT) {
        lua_pushnumber(L, (lua_Number)v);
        return;
    }
    ldr_lua_getregistry(L, &make_key);
    lua_call(L, 0, 1);
    memcpy((void *)(uintptr_t)lua_topointer(L, -1), &v, sizeof v);
}

#endif
