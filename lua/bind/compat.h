/* compat.h - what differs between Lua 5.4 and LuaJIT 2.1, in one place, so that the binding is one source.
 *
 * LDR_LUAJIT is 1 or 0. Everything here is raw: no metamethod is ever called by it. */
#ifndef LDR_BIND_COMPAT_H
#define LDR_BIND_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#if LUA_VERSION_NUM == 501
#define LDR_LUAJIT 1
#define LDR_TCDATA 10 /* the type tag of LuaJIT's cdata, which its headers do not name */

static inline size_t ldr_lua_rawlen(lua_State *L, int idx)
{
    return lua_objlen(L, idx);
}

static inline int ldr_lua_absindex(lua_State *L, int idx)
{
    return idx > 0 || idx <= LUA_REGISTRYINDEX ? idx : lua_gettop(L) + idx + 1;
}

/* The one table that a userdata keeps alive. */
static inline void ldr_lua_getanchor(lua_State *L, int ud)
{
    lua_getfenv(L, ud);
}

static inline void ldr_lua_setanchor(lua_State *L, int ud) /* pops the table */
{
    lua_setfenv(L, ud);
}
#else
#define LDR_LUAJIT 0
#define LDR_TCDATA (-2) /* a type that no value has */

static inline size_t ldr_lua_rawlen(lua_State *L, int idx)
{
    return (size_t)lua_rawlen(L, idx);
}

static inline int ldr_lua_absindex(lua_State *L, int idx)
{
    return lua_absindex(L, idx);
}

static inline void ldr_lua_getanchor(lua_State *L, int ud)
{
    lua_getiuservalue(L, ud, 1);
}

static inline void ldr_lua_setanchor(lua_State *L, int ud)
{
    lua_setiuservalue(L, ud, 1);
}
#endif

/* registry[address] where `address` is that of a static of ours. */
static inline void ldr_lua_getregistry(lua_State *L, const void *address)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)address);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

static inline void ldr_lua_setregistry(lua_State *L, const void *address) /* pops the value */
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)address);
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

#endif
