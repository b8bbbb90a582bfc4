/* migrate.c - core.migrate(options) -> sql | nil, code, message: makes a SQLite table ready, or says how.
 *
 * options: file, table, key (a list of columns), version (a column), changes (boolean), mode: print (default), apply,
 * print_undo, undo. The Lua side (larder.cli.migrate) checks them; here only what C needs is looked at. */
#include "base/mem.h"
#include "bind/core.h"
#include "bind/sqlite.h"
#include "source/sqlite_migrate.h"

#define SCRIPT "larder.script"

static const char *const modes[] = {
    [LDR_MIGRATE_PRINT] = "print",           [LDR_MIGRATE_APPLY] = "apply",
    [LDR_MIGRATE_PRINT_UNDO] = "print_undo", [LDR_MIGRATE_UNDO] = "undo", NULL,
};

/* The script's bytes are freed by the collector, whatever raises. */
static int script_gc(lua_State *L)
{
    ldr_buf_free(luaL_checkudata(L, 1, SCRIPT));
    return 0;
}

static ldr_buf *new_script(lua_State *L)
{
    ldr_buf *b = lua_newuserdata(L, sizeof *b);
    *b = LDR_BUF(&ldr_mem_system);
    luaL_getmetatable(L, SCRIPT);
    lua_setmetatable(L, -2);
    return b;
}

/* A string field, left on the stack so that it stays alive; NULL where there is none. */
static const char *field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
}

static void read_key(lua_State *L, ldr_migrate_options *o)
{
    lua_getfield(L, 1, "key");
    if (!lua_istable(L, -1))
        return;
    int list = lua_gettop(L);
    o->n_key = ldr_lua_rawlen(L, list);
    luaL_argcheck(L, o->n_key > 0 && o->n_key <= 64, 1, "key: 1 to 64 columns");
    const char **names = lua_newuserdata(L, o->n_key * sizeof *names);
    for (size_t i = 0; i < o->n_key; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "key: a list of strings");
        names[i] = lua_tostring(L, -1); /* the list keeps it */
        lua_pop(L, 1);
    }
    o->key = names;
}

static int migrate(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    ldr_migrate_options o = {.size = sizeof o};
    o.file = field(L, "file");
    o.table = field(L, "table");
    o.version = field(L, "version");
    luaL_argcheck(L, o.file && o.table, 1, "file and table must be strings");
    read_key(L, &o);
    o.changes = ldr_lua_field_bool(L, 1, "changes");
    o.mode = ldr_lua_field_word(L, 1, "mode", modes, LDR_MIGRATE_PRINT);
    ldr_buf *script = new_script(L);
    ldr_err err = {0};
    if (ldr_sqlite_migrate(&o, script, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    lua_pushlstring(L, script->p ? script->p : "", script->n);
    return 1;
}

void ldr_lua_migrate_register(lua_State *L)
{
    luaL_newmetatable(L, SCRIPT);
    lua_pushcfunction(L, script_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_pushcfunction(L, migrate);
    lua_setfield(L, -2, "migrate");
}
