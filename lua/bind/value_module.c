/* value_module.c - larder.value: the codec alone, for specs and tools. Bytes are one byte of kind, then the payload.
 *
 *   value.encode(v) -> bytes | nil, code, message        value.decode(bytes) -> v | nil, code, message
 *   value.null                                           light userdata NULL
 *
 * Invariant: the buffer that encode fills belongs to a userdata, so that no error of Lua leaks it. */
#include "bind/value.h"

static int gc_buf(lua_State *L)
{
    ldr_buf_free(lua_touserdata(L, 1));
    return 0;
}

static ldr_buf *push_buf(lua_State *L)
{
    ldr_buf *b = lua_newuserdata(L, sizeof *b);
    *b = LDR_BUF(&ldr_mem_system);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setmetatable(L, -2);
    return b;
}

static int push_failure(lua_State *L, const ldr_err *err)
{
    lua_pushnil(L);
    lua_pushstring(L, ldr_code_word(err->code));
    lua_pushstring(L, err->message);
    return 3;
}

static int encode(lua_State *L)
{
    ldr_err err = {0};
    ldr_slice bytes;
    int kind;
    luaL_Buffer out;
    luaL_checkany(L, 1);
    ldr_buf *made = push_buf(L);
    if (ldr_lua_value(L, 1, &bytes, &kind, made, &err) != LDR_OK)
        return push_failure(L, &err);
    luaL_buffinit(L, &out);
    luaL_addchar(&out, (char)kind);
    luaL_addlstring(&out, bytes.p, bytes.n);
    luaL_pushresult(&out);
    return 1;
}

static int decode(lua_State *L)
{
    ldr_err err = {0};
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, n > 0, 1, "a byte of kind, then the payload");
    if (ldr_lua_push(L, ldr_slice_of(s + 1, n - 1), (unsigned char)s[0], &err) != LDR_OK)
        return push_failure(L, &err);
    return 1;
}

LDR_API int luaopen_larder_value(lua_State *L)
{
    ldr_lua_value_open(L);
    lua_createtable(L, 0, 3);
    lua_createtable(L, 0, 1); /* the buffer's metatable */
    lua_pushcfunction(L, gc_buf);
    lua_setfield(L, -2, "__gc");
    lua_pushcclosure(L, encode, 1);
    lua_setfield(L, -2, "encode");
    lua_pushcfunction(L, decode);
    lua_setfield(L, -2, "decode");
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    return 1;
}
