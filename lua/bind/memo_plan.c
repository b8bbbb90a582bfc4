/* memo_plan.c - private copies of tables, for callers who may change what they get.
 *
 * A table's plan is made once, when it is memoized, and followed at each hit. Lua 5.4 follows a flat list, which is
 * cheaper to walk than a table is to traverse; LuaJIT clones tables as a whole and only has to be told which fields are
 * tables again. Invariant: a plan is never handed out. Its size is bounded, and with it the recursion. */
#include "bind/memo.h"
#include "bind/value.h"

typedef struct budget {
    int nodes;
    size_t bytes;
} budget;

static bool spend(lua_State *L, int idx, budget *b)
{
    size_t bytes = lua_type(L, idx) == LUA_TSTRING ? ldr_lua_rawlen(L, idx) : 0;
    if (bytes > b->bytes)
        return false;
    b->bytes -= bytes;
    return true;
}

static bool key_allowed(lua_State *L, int idx, budget *b)
{
    int type = lua_type(L, idx);
    return (type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN) && spend(L, idx, b);
}

static bool allowed(lua_State *L, int idx, budget *b)
{
    switch (lua_type(L, idx)) {
    case LUA_TSTRING:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TTABLE:
    case LUA_TLIGHTUSERDATA:
    case LDR_TCDATA:
        return b->nodes-- > 0 && spend(L, idx, b);
    default:
        return false;
    }
}

static bool make(lua_State *L, int t, budget *b);

/* The value on top becomes its plan where it is a table. */
static bool replace_table(lua_State *L, budget *b)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        return true;
    if (!make(L, lua_gettop(L), b))
        return false;
    lua_remove(L, -2);
    return true;
}

#if LDR_LUAJIT

/* Stack: plan, flat, key, value. Takes the value. */
static bool add_field(lua_State *L, int plan, budget *b)
{
    bool table = lua_type(L, -1) == LUA_TTABLE;
    if (!key_allowed(L, -2, b) || !allowed(L, -1, b) || !replace_table(L, b))
        return false;
    int key = plan + 2;
    if (table) {
        int n = (int)ldr_lua_rawlen(L, plan);
        lua_pushvalue(L, key);
        lua_rawseti(L, plan, n + 1);
        lua_rawseti(L, plan, n + 2);
        lua_pushboolean(L, 1); /* holds the field's place in the flat table */
    }
    lua_pushvalue(L, key);
    lua_insert(L, -2);
    lua_rawset(L, plan + 1);
    return true;
}

static bool make(lua_State *L, int t, budget *b)
{
    int top = lua_gettop(L), plan = top + 1;
    luaL_checkstack(L, 8, "larder.memo");
    lua_createtable(L, 1, 0);
    lua_createtable(L, (int)ldr_lua_rawlen(L, t), 0);
    lua_pushvalue(L, -1);
    lua_rawseti(L, plan, 1);
    for (lua_pushnil(L); lua_next(L, t) != 0;)
        if (!add_field(L, plan, b)) {
            lua_settop(L, top);
            return false;
        }
    lua_settop(L, plan);
    return true;
}

#else

static size_t array_length(lua_State *L, int t)
{
    size_t n = ldr_lua_rawlen(L, t);
    for (size_t i = 1; i <= n; i++) {
        bool hole = lua_rawgeti(L, t, (lua_Integer)i) == LUA_TNIL;
        lua_pop(L, 1);
        if (hole)
            return i - 1;
    }
    return n;
}

static bool add_array(lua_State *L, int t, int plan, budget *b)
{
    size_t n = array_length(L, t);
    lua_pushinteger(L, (lua_Integer)n);
    lua_rawseti(L, plan, 1);
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, t, (lua_Integer)i);
        if (!allowed(L, -1, b) || !replace_table(L, b))
            return false;
        lua_rawseti(L, plan, (lua_Integer)i + 2);
    }
    return true;
}

static bool in_array(lua_State *L, int idx, size_t n)
{
    return lua_isinteger(L, idx) && lua_tointeger(L, idx) >= 1 && (size_t)lua_tointeger(L, idx) <= n;
}

static bool add_hash(lua_State *L, int t, int plan, budget *b)
{
    size_t n = ldr_lua_rawlen(L, plan) - 2, n_hash = 0;
    for (lua_pushnil(L); lua_next(L, t) != 0;) {
        if (in_array(L, -2, n)) {
            lua_pop(L, 1);
            continue;
        }
        if (!key_allowed(L, -2, b) || !allowed(L, -1, b) || !replace_table(L, b))
            return false;
        lua_rawseti(L, plan, (lua_Integer)(n + 4 + 2 * n_hash));
        lua_pushvalue(L, -1);
        lua_rawseti(L, plan, (lua_Integer)(n + 3 + 2 * n_hash++));
    }
    lua_pushinteger(L, (lua_Integer)n_hash);
    lua_rawseti(L, plan, 2);
    return true;
}

static bool make(lua_State *L, int t, budget *b)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, 8, "larder.memo");
    lua_createtable(L, 2, 0);
    lua_pushinteger(L, 0);
    lua_rawseti(L, top + 1, 2); /* its length is right from the start */
    if (add_array(L, t, top + 1, b) && add_hash(L, t, top + 1, b))
        return true;
    lua_settop(L, top);
    return false;
}

static int number_at(lua_State *L, int plan, int i)
{
    lua_rawgeti(L, plan, i);
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n;
}

static void push_copy_of(lua_State *L, int plan, int i)
{
    if (lua_rawgeti(L, plan, i) != LUA_TTABLE)
        return;
    ldr_lua_plan_copy(L, lua_gettop(L));
    lua_replace(L, -2);
}

void ldr_lua_plan_copy(lua_State *L, int plan)
{
    int n_array = number_at(L, plan, 1), n_hash = number_at(L, plan, 2), i = 3;
    luaL_checkstack(L, 8, "larder.memo");
    lua_createtable(L, n_array, n_hash);
    int copy = lua_gettop(L);
    for (; i < 3 + n_array; i++) {
        push_copy_of(L, plan, i);
        lua_rawseti(L, copy, i - 2);
    }
    for (int end = i + 2 * n_hash; i < end; i += 2) {
        lua_rawgeti(L, plan, i);
        push_copy_of(L, plan, i + 1);
        lua_rawset(L, copy);
    }
}

#endif

bool ldr_lua_plan_make(lua_State *L, int t, size_t bytes)
{
    budget b = {.nodes = LDR_LUA_MEMO_NODES, .bytes = bytes};
    return make(L, t, &b);
}
