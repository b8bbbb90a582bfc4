/* memo_get.c - what Lua sees of the memo.
 *
 *   memo_get(handle, memo, slow [, direct]) -> get    Lua 5.4: get(self, key [, opts] [, loader, ...]) answers from
 *                                          the memo, or calls slow with the same arguments, which may yield. LuaJIT:
 *                                          nil, for get must be a Lua function there (larder.memo)
 *   memo_parts(memo) -> check, memo, index, values, plans, shared    for larder.memo: addresses and tables
 *   memo_checker(memo) -> function(i) -> boolean                     the same check without FFI
 *   memo_counts(memo) -> hits, entries
 *
 * Only a string key of the very handle, without a table of options, is answered here: all else is slow's to judge.
 *
 * direct: { core = cache, state = table, host = table, refused = function(key, code, message) }. The plain get(self, key)
 * that the memo cannot answer is then read(key) of that cache, unless something is under way that slow must judge. */
#include "bind/memo.h"

static ldr_lua_memo *arg_memo(lua_State *L, int idx)
{
    return luaL_checkudata(L, idx, "larder.memo");
}

static void push_part(lua_State *L, int memo, int i)
{
    ldr_lua_getanchor(L, memo);
    lua_rawgeti(L, -1, i);
    lua_remove(L, -2);
}

#if LDR_LUAJIT

static int memo_get(lua_State *L)
{
    lua_pushnil(L);
    return 1;
}

#else

enum {
    MEMO = 1, HANDLE, INDEX, VALUES, SLOW, L1,
    CORE, STATE, HOST, REFUSED, LISTENING, BYPASS, N_CALLS, ALIVE, /* nil each where nothing is read directly */
    N_UPVALUES = ALIVE
};

#define UP(i) lua_upvalueindex(i)

static bool is_plain(lua_State *L)
{
    int opts = lua_type(L, 3);
    return lua_type(L, 2) == LUA_TSTRING && (opts <= LUA_TNIL || opts == LUA_TFUNCTION) &&
           lua_rawequal(L, 1, UP(HANDLE));
}

/* Pushes the value; false: nothing is pushed, or only what slow will not see. */
static bool answer(lua_State *L, ldr_lua_memo *m)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, UP(INDEX)) != LUA_TNUMBER)
        return false;
    lua_Integer i = lua_tointegerx(L, -1, NULL);
    if (!ldr_lua_memo_check(m, (uint32_t)i))
        return false;
    if (lua_rawgeti(L, UP(VALUES), i) == LUA_TTABLE && !m->shared)
        ldr_lua_plan_copy(L, lua_gettop(L));
    return true;
}

static int give_all(lua_State *L, int status, lua_KContext from)
{
    (void)status;
    return lua_gettop(L) - (int)from;
}

static bool is_zero(lua_State *L, int table, int name)
{
    lua_pushvalue(L, UP(name));
    return lua_rawget(L, UP(table)) == LUA_TNUMBER && lua_tonumber(L, -1) == 0;
}

static bool is_set(lua_State *L, int table, int name)
{
    lua_pushvalue(L, UP(name));
    lua_rawget(L, UP(table));
    return lua_toboolean(L, -1);
}

/* No handler listens, no read must go past the cache, no Lua function of its own is under way, and no other coroutine
 * could run meanwhile. */
static bool is_quiet(lua_State *L)
{
    return !lua_isnil(L, UP(CORE)) && !is_set(L, STATE, LISTENING) && !is_set(L, STATE, BYPASS) &&
           is_zero(L, STATE, N_CALLS) && is_zero(L, HOST, ALIVE);
}

static int read_direct(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, UP(CORE));
    lua_replace(L, 1);
    lua_pushnil(L);
    lua_pushvalue(L, UP(MEMO));
    const ldr_lua_memo *m = lua_touserdata(L, 4);
    int n = m->read(L), top = lua_gettop(L);
    if (n == 2) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 3;
    }
    lua_pushvalue(L, UP(REFUSED));
    for (int i = 0; i < 3; i++) /* key, code, message */
        lua_pushvalue(L, i == 0 ? 2 : top - n + 1 + i);
    lua_call(L, 3, LUA_MULTRET);
    return lua_gettop(L) - top;
}

static int get(lua_State *L)
{
    int n = lua_gettop(L);
    bool plain = is_plain(L);
    if (plain && answer(L, lua_touserdata(L, UP(MEMO)))) {
        lua_pushnil(L);
        lua_pushvalue(L, UP(L1));
        return 3;
    }
    if (plain && n == 2 && is_quiet(L))
        return read_direct(L);
    lua_settop(L, n);
    lua_pushvalue(L, UP(SLOW));
    lua_insert(L, 1);
    lua_callk(L, n, LUA_MULTRET, 0, give_all);
    return give_all(L, LUA_OK, 0);
}

static void push_direct(lua_State *L, const ldr_lua_memo *m, int direct)
{
    static const char *const parts[] = {"core", "state", "host", "refused"};
    static const char *const names[] = {"listening", "bypass", "n_calls", "alive"};
    bool given = lua_istable(L, direct);
    for (int i = 0; i < 4; i++) {
        lua_pushnil(L);
        if (given) {
            lua_getfield(L, direct, parts[i]);
            lua_replace(L, -2);
            luaL_argcheck(L, i > 0 || (m->read && lua_touserdata(L, -1) == m->owner), direct, "not the memo's cache");
        }
    }
    for (int i = 0; i < 4; i++)
        lua_pushstring(L, names[i]);
}

static int memo_get(lua_State *L)
{
    const ldr_lua_memo *m = arg_memo(L, 2);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_settop(L, 4);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 1);
    push_part(L, 2, 1);
    push_part(L, 2, 3);
    lua_pushvalue(L, 3);
    lua_pushliteral(L, "l1");
    push_direct(L, m, 4);
    lua_pushcclosure(L, get, N_UPVALUES);
    return 1;
}

#endif

static int memo_parts(lua_State *L)
{
    ldr_lua_memo *m = arg_memo(L, 1);
    int (*check)(ldr_lua_memo *, uint32_t) = ldr_lua_memo_check;
    void *address;
    memcpy(&address, &check, sizeof address);
    lua_pushlightuserdata(L, address);
    lua_pushlightuserdata(L, m);
    push_part(L, 1, 1);
    push_part(L, 1, 3);
    push_part(L, 1, 4);
    lua_pushboolean(L, m->shared);
    return 6;
}

static int check(lua_State *L)
{
    ldr_lua_memo *m = lua_touserdata(L, lua_upvalueindex(1));
    uint32_t i = (uint32_t)lua_tointeger(L, 1);
    lua_pushboolean(L, i - 1 < m->n && ldr_lua_memo_check(m, i));
    return 1;
}

static int memo_checker(lua_State *L)
{
    arg_memo(L, 1);
    lua_settop(L, 1);
    lua_pushcclosure(L, check, 1);
    return 1;
}

static int memo_counts(lua_State *L)
{
    const ldr_lua_memo *m = arg_memo(L, 1);
    lua_pushinteger(L, (lua_Integer)m->hits);
    lua_pushinteger(L, (lua_Integer)m->entries);
    return 2;
}

void ldr_lua_memo_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"memo_get", memo_get},       {"memo_parts", memo_parts}, {"memo_checker", memo_checker},
        {"memo_counts", memo_counts}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
