/* util.c - small things that every file of the binding needs. */
#include "bind/core.h"

#include <math.h>

void ldr_lua_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    lua_newtable(L);
    for (const luaL_Reg *m = methods; m->name; m++) {
        lua_pushcfunction(L, m->func);
        lua_setfield(L, -2, m->name);
    }
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int ldr_lua_fail(lua_State *L, const ldr_err *err)
{
    lua_pushnil(L);
    lua_pushstring(L, ldr_code_word(err->code));
    lua_pushstring(L, err->message);
    if (err->code != LDR_CONFLICT)
        return 3;
    ldr_lua_push_version(L, err->version);
    return 4;
}

int64_t ldr_lua_us(lua_State *L, int idx)
{
    if (lua_type(L, idx) != LUA_TNUMBER)
        return LDR_UNSET;
    double us = lua_tonumber(L, idx) * 1e6;
    if (us >= 9.2e18)
        return LDR_NEVER;
    if (us <= 0 || isnan(us))
        return 0;
    return us < 1 ? 1 : (int64_t)us;
}

int64_t ldr_lua_field_us(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    int64_t us = ldr_lua_us(L, -1);
    lua_pop(L, 1);
    return us;
}

const char *const ldr_lua_levels[] = {"eventual", "weak", NULL};
const char *const ldr_lua_on_timeout[] = {"load", "stale", "error", NULL};

int ldr_lua_field_word(lua_State *L, int table, const char *name, const char *const *words, int fallback)
{
    lua_getfield(L, table, name);
    const char *word = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    int found = fallback;
    for (int i = 0; word && words[i]; i++)
        if (strcmp(words[i], word) == 0)
            found = i;
    lua_pop(L, 1);
    return found;
}

bool ldr_lua_field_bool(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    bool v = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return v;
}

const char *ldr_lua_outcome(const ldr_answer *a)
{
    static const char *const words[] = {
        [LDR_MISS] = "miss",     [LDR_HIT_L1] = "l1",   [LDR_HIT_L2] = "l2",        [LDR_LOADED] = "loaded",
        [LDR_JOINED] = "joined", [LDR_STALE] = "stale", [LDR_ABSENT] = "absent",
    };
    return words[a->outcome];
}

void ldr_lua_push_version(lua_State *L, int64_t version)
{
    char text[24], *at = text + sizeof text;
    if (version <= 0) {
        lua_pushnil(L);
        return;
    }
    for (; version > 0; version /= 10)
        *--at = (char)('0' + version % 10);
    lua_pushlstring(L, at, (size_t)(text + sizeof text - at));
}
