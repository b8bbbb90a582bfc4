/* loop.c - larder.loop: what the Lua hosts wait with.
 *
 *   loop.new() -> loop | nil, message
 *   l:wait([seconds]) -> ids, overflow    nil: no limit; overflow: ids were dropped, look at everything
 *   l:post(id)    l:fd() -> descriptor    l:close() (again is fine)
 *   l:may_yield() -> can the caller's coroutine yield here?  (nginx takes coroutine.isyieldable away)
 *   l:listen() -> path of a unix socket | nil, message    l:accept() -> is this process connected to it?
 *
 * Invariant: the table that takes the ids has its room before any id leaves the mailbox, so none is lost. */
#include "bind/loop.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define NAME "larder.loop"
#define BATCH 32 /* ids a wait gives; what is left makes the next wait return at once */

static ldr_loop **box(lua_State *L, int idx)
{
    return luaL_checkudata(L, idx, NAME);
}

ldr_loop *ldr_lua_loop(lua_State *L, int idx)
{
    ldr_loop *l = *box(L, idx);
    if (!l)
        luaL_argerror(L, idx, "the loop is closed");
    return l;
}

static int new(lua_State *L)
{
    ldr_loop **l = lua_newuserdata(L, sizeof(ldr_loop *));
    *l = NULL;
    luaL_getmetatable(L, NAME);
    lua_setmetatable(L, -2);
    *l = ldr_loop_new(&ldr_mem_system);
    if (*l)
        return 1;
    lua_pushnil(L);
    lua_pushliteral(L, "larder.loop: out of memory or file descriptors");
    return 2;
}

/* Microseconds, rounded up so that nobody wakes too early; -1: no limit. */
static int64_t timeout_us(lua_State *L, int idx)
{
    if (lua_isnoneornil(L, idx))
        return -1;
    double us = ceil(luaL_checknumber(L, idx) * 1e6);
    luaL_argcheck(L, us >= 0, idx, "seconds, 0 or more, wanted");
    return us < 9e18 ? (int64_t)us : -1;
}

static int wait(lua_State *L)
{
    uint64_t ids[BATCH];
    bool overflow = false;
    ldr_loop *l = ldr_lua_loop(L, 1);
    int64_t limit_us = timeout_us(L, 2);
    lua_createtable(L, BATCH, 0);
    size_t n = ldr_loop_wait(l, limit_us, ids, BATCH, &overflow);
    for (size_t i = 0; i < n; i++) {
        lua_pushinteger(L, (lua_Integer)ids[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_pushboolean(L, overflow);
    return 2;
}

static int post(lua_State *L)
{
    ldr_loop_post(ldr_lua_loop(L, 1), (uint64_t)luaL_checkinteger(L, 2));
    return 0;
}

static int fd(lua_State *L)
{
    lua_pushinteger(L, ldr_loop_fd(ldr_lua_loop(L, 1)));
    return 1;
}

static int may_yield(lua_State *L)
{
    lua_pushboolean(L, lua_isyieldable(L));
    return 1;
}

static int listen_at(lua_State *L)
{
    const char *path = ldr_loop_listen(ldr_lua_loop(L, 1));
    if (path) {
        lua_pushstring(L, path);
        return 1;
    }
    lua_pushnil(L);
    lua_pushfstring(L, "larder.loop: no unix socket in $TMPDIR or /tmp: %s", strerror(errno));
    return 2;
}

static int accept_peer(lua_State *L)
{
    lua_pushboolean(L, ldr_loop_accept(ldr_lua_loop(L, 1)));
    return 1;
}

static int shut(lua_State *L)
{
    ldr_loop **l = box(L, 1);
    ldr_loop_free(*l);
    *l = NULL;
    return 0;
}

static const luaL_Reg methods[] = {
    {"wait", wait}, {"post", post}, {"fd", fd}, {"listen", listen_at}, {"accept", accept_peer},
    {"may_yield", may_yield},
    {"close", shut}, {"__gc", shut}, {NULL, NULL},
};
static const luaL_Reg functions[] = {{"new", new}, {NULL, NULL}};

int luaopen_larder_loop(lua_State *L)
{
    luaL_newmetatable(L, NAME);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    return 1;
}
