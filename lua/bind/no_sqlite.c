/* no_sqlite.c - stands in for sqlite.c in a build with WITH_SQLITE=0: who opens a database is told so. */
#include "bind/sqlite.h"

static int refuse(lua_State *L)
{
    lua_pushnil(L);
    lua_pushliteral(L, "this build of larder has no SQLite (WITH_SQLITE=0)");
    return 2;
}

void ldr_lua_sqlite_register(lua_State *L)
{
    lua_pushcfunction(L, refuse);
    lua_setfield(L, -2, "sqlite");
}
