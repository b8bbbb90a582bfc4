/* value.h - a Lua value <-> the bytes that the core keeps: a string as it is, everything else one msgpack object.
 *
 *   boolean            msgpack bool
 *   integer            msgpack int, at most INT64_MAX; in LuaJIT also a double with an integral value within +-2^53
 *                      (not -0), an int64_t cdata, and a uint64_t cdata up to INT64_MAX
 *   other number       msgpack float 64: NaN, inf and -0.0 survive
 *   string             whole value: LDR_STRING, borrowed; inside a table: msgpack str, any bytes
 *   table              keys exactly 1..n, n >= 1: msgpack array; every other one, the empty one too: msgpack map with
 *                      string, number and boolean keys; metatables are neither asked nor kept
 *   larder.null        msgpack nil (light userdata NULL; not a NULL pointer cdata)
 *
 * Nothing else can be kept: functions, threads, other userdata and cdata, larder.null, tables or cdata as keys, more
 * than LDR_LUA_DEPTH tables in each other (so a table that holds itself). A table met twice becomes two. */
#ifndef LDR_BIND_VALUE_H
#define LDR_BIND_VALUE_H

#include "base/buf.h"
#include "base/err.h"
#include "bind/compat.h"

#define LDR_LUA_DEPTH 100                     /* tables in each other */
#define LDR_LUA_VALUE_BYTES ((size_t)512 << 20) /* longest value, made or borrowed */
#define LDR_LUA_TABLE_ENTRIES (1u << 26)        /* in one table: LuaJIT raises beyond */

/* Must run once in each Lua state before the two below (LuaJIT's int64_t cdata are made by a Lua helper). May raise. */
void ldr_lua_value_open(lua_State *L);

/* What the core keeps of the value at idx. `bytes` is borrowed from Lua's string or from `made` (cleared first; the
 * caller's). Calls no metamethod and leaves the stack as it was. LDR_OK, LDR_UNSUPPORTED (err names the place:
 * "value.items[3] is a function"), LDR_TOO_LARGE, LDR_NOMEM. Raises nothing of its own; LuaJIT may raise when its stack
 * cannot grow, so anchor `made`. */
int ldr_lua_value(lua_State *L, int idx, ldr_slice *bytes, int *kind, ldr_buf *made, ldr_err *err);

/* Pushes the value (nil for LDR_NONE) or pushes nothing. Bytes may be hostile: depth is bounded, and no more room is
 * made than the bytes can fill. LDR_OK; LDR_CORRUPT; LDR_UNSUPPORTED: an integer key that this Lua cannot hold
 * (LuaJIT, no double equals it); LDR_TOO_LARGE: more entries than a table may have. May raise Lua's memory error. */
int ldr_lua_push(lua_State *L, ldr_slice bytes, int kind, ldr_err *err);

/* ---- LuaJIT's 64-bit integers (value_number.c) -------------------------------------------------------------- */

#define LDR_LUA_EXACT ((int64_t)1 << 53) /* doubles within +- this are integers where integral */

/* Is the number at idx an integer by the rules above? Never a cdata. */
bool ldr_lua_integral(lua_State *L, int idx, int64_t *out);
/* The integer in the cdata at idx; false: it is no such cdata. Always false in Lua 5.4. */
bool ldr_lua_cdata_integer(lua_State *L, int idx, int64_t *out);
/* Pushes the integer: a number where this Lua has one that is equal, else an int64_t cdata. */
void ldr_lua_pushint64(lua_State *L, int64_t v);

int luaopen_larder_value(lua_State *L);

#endif
