/* sqlite.c - a small SQLite binding for examples, specs and tools: databases and statements as userdata.
 *
 *   core.sqlite(file [, { create = true }]) -> db | nil, message
 *   db:exec(sql) -> true | nil, message            one or more statements, results thrown away
 *   db:query(sql, ...) -> rows | nil, message      one statement; a row is a table by column name, NULL is left out
 *   db:prepare(sql) -> stmt | nil, message         stmt:rows(...) -> rows, stmt:run(...) -> true, stmt:close()
 *   db:changes() -> rows that the newest statement changed         db:close()
 *
 * Values bound: nil and larder.null (NULL), integers, floats, booleans (0 and 1), strings (text). A statement that is
 * still open when its database closes keeps the connection until it is closed or collected. */
#include "bind/sqlite.h"
#include "bind/value.h"

#include <sqlite3.h>
#include <string.h>

#define DB "larder.sqlite"
#define STMT "larder.sqlite.statement"
#define BUSY_MS 5000

/* ---- checks and failures ------------------------------------------------------------------------------------ */

static int failed(lua_State *L, sqlite3 *db)
{
    lua_pushnil(L);
    lua_pushstring(L, sqlite3_errmsg(db));
    return 2;
}

static sqlite3 *check_db(lua_State *L)
{
    sqlite3 **db = luaL_checkudata(L, 1, DB);
    luaL_argcheck(L, *db, 1, "the database is closed");
    return *db;
}

static sqlite3_stmt *check_stmt(lua_State *L)
{
    sqlite3_stmt **stmt = luaL_checkudata(L, 1, STMT);
    luaL_argcheck(L, *stmt, 1, "the statement is closed");
    return *stmt;
}

/* ---- values ------------------------------------------------------------------------------------------------- */

static int bind_number(lua_State *L, sqlite3_stmt *stmt, int at, int idx)
{
    int64_t whole;
    if (ldr_lua_integral(L, idx, &whole))
        return sqlite3_bind_int64(stmt, at, whole);
    return sqlite3_bind_double(stmt, at, lua_tonumber(L, idx));
}

static int bind_string(lua_State *L, sqlite3_stmt *stmt, int at, int idx)
{
    size_t n;
    const char *p = lua_tolstring(L, idx, &n);
    return sqlite3_bind_text64(stmt, at, p, n, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static int bind_one(lua_State *L, sqlite3_stmt *stmt, int at, int idx)
{
    int64_t whole;
    switch (lua_type(L, idx)) {
    case LUA_TNIL: return sqlite3_bind_null(stmt, at);
    case LUA_TBOOLEAN: return sqlite3_bind_int(stmt, at, lua_toboolean(L, idx));
    case LUA_TNUMBER: return bind_number(L, stmt, at, idx);
    case LUA_TSTRING: return bind_string(L, stmt, at, idx);
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(L, idx))
            return sqlite3_bind_null(stmt, at);
        break;
    }
    if (ldr_lua_cdata_integer(L, idx, &whole))
        return sqlite3_bind_int64(stmt, at, whole);
    return luaL_argerror(L, idx, "nil, a boolean, a number or a string expected");
}

/* Binds the arguments first..top. */
static int bind_all(lua_State *L, sqlite3_stmt *stmt, int first)
{
    int given = lua_gettop(L) - first + 1, wanted = sqlite3_bind_parameter_count(stmt);
    if (given != wanted)
        return luaL_error(L, "the statement has %d parameters, got %d values", wanted, given);
    sqlite3_reset(stmt);
    for (int i = 0; i < given; i++) {
        int rc = bind_one(L, stmt, i + 1, first + i);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

static void push_column(lua_State *L, sqlite3_stmt *stmt, int i)
{
    switch (sqlite3_column_type(stmt, i)) {
    case SQLITE_NULL: lua_pushnil(L); break;
    case SQLITE_INTEGER: ldr_lua_pushint64(L, sqlite3_column_int64(stmt, i)); break;
    case SQLITE_FLOAT: lua_pushnumber(L, sqlite3_column_double(stmt, i)); break;
    default: {
        const char *p = sqlite3_column_blob(stmt, i); /* before the size, which it may change */
        lua_pushlstring(L, p ? p : "", (size_t)sqlite3_column_bytes(stmt, i));
    }
    }
}

static void push_row(lua_State *L, sqlite3_stmt *stmt)
{
    int n = sqlite3_column_count(stmt);
    lua_createtable(L, 0, n);
    for (int i = 0; i < n; i++) {
        push_column(L, stmt, i);
        lua_setfield(L, -2, sqlite3_column_name(stmt, i));
    }
}

/* ---- statements --------------------------------------------------------------------------------------------- */

/* Pushes a new statement, or gives false. */
static bool push_stmt(lua_State *L, sqlite3 *db, int sql)
{
    size_t n;
    const char *text = luaL_checklstring(L, sql, &n);
    luaL_argcheck(L, n < INT32_MAX, sql, "too long");
    sqlite3_stmt **stmt = lua_newuserdata(L, sizeof(sqlite3_stmt *));
    *stmt = NULL;
    luaL_getmetatable(L, STMT);
    lua_setmetatable(L, -2);
    if (sqlite3_prepare_v2(db, text, (int)n, stmt, NULL) != SQLITE_OK)
        return false;
    luaL_argcheck(L, *stmt, sql, "no statement in it");
    return true;
}

static int stmt_rows_from(lua_State *L, sqlite3_stmt *stmt, int first)
{
    int rc = bind_all(L, stmt, first);
    if (rc != SQLITE_OK)
        return failed(L, sqlite3_db_handle(stmt));
    lua_newtable(L);
    for (int n = 1; (rc = sqlite3_step(stmt)) == SQLITE_ROW; n++) {
        push_row(L, stmt);
        lua_rawseti(L, -2, n);
    }
    if (rc != SQLITE_DONE) {
        failed(L, sqlite3_db_handle(stmt));
        sqlite3_reset(stmt);
        return 2;
    }
    sqlite3_reset(stmt);
    return 1;
}

static int stmt_rows(lua_State *L)
{
    return stmt_rows_from(L, check_stmt(L), 2);
}

static int stmt_run(lua_State *L)
{
    sqlite3_stmt *stmt = check_stmt(L);
    int rc = bind_all(L, stmt, 2);
    while (rc == SQLITE_OK || rc == SQLITE_ROW)
        rc = sqlite3_step(stmt);
    if (rc != SQLITE_DONE) {
        failed(L, sqlite3_db_handle(stmt));
        sqlite3_reset(stmt);
        return 2;
    }
    sqlite3_reset(stmt);
    lua_pushboolean(L, true);
    return 1;
}

static int stmt_close(lua_State *L)
{
    sqlite3_stmt **stmt = luaL_checkudata(L, 1, STMT);
    sqlite3_finalize(*stmt);
    *stmt = NULL;
    return 0;
}

/* ---- databases ---------------------------------------------------------------------------------------------- */

static int db_prepare(lua_State *L)
{
    sqlite3 *db = check_db(L);
    return push_stmt(L, db, 2) ? 1 : failed(L, db);
}

static int db_query(lua_State *L)
{
    sqlite3 *db = check_db(L);
    if (!push_stmt(L, db, 2))
        return failed(L, db);
    lua_replace(L, 1); /* keeps the statement; the database lives as long as it does */
    sqlite3_stmt *stmt = check_stmt(L);
    int n = stmt_rows_from(L, stmt, 3);
    sqlite3_finalize(stmt);
    *(sqlite3_stmt **)lua_touserdata(L, 1) = NULL;
    return n;
}

static int db_exec(lua_State *L)
{
    sqlite3 *db = check_db(L);
    if (sqlite3_exec(db, luaL_checkstring(L, 2), NULL, NULL, NULL) != SQLITE_OK)
        return failed(L, db);
    lua_pushboolean(L, true);
    return 1;
}

static int db_changes(lua_State *L)
{
    lua_pushinteger(L, sqlite3_changes(check_db(L)));
    return 1;
}

static int db_close(lua_State *L)
{
    sqlite3 **db = luaL_checkudata(L, 1, DB);
    sqlite3_close_v2(*db);
    *db = NULL;
    return 0;
}

static int open_flags(lua_State *L, int options)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (lua_istable(L, options)) {
        lua_getfield(L, options, "create");
        flags |= lua_toboolean(L, -1) ? SQLITE_OPEN_CREATE : 0;
        lua_pop(L, 1);
    }
    return flags;
}

static int db_open(lua_State *L)
{
    size_t n;
    const char *file = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, strlen(file) == n, 1, "a zero byte in the file's name");
    sqlite3 **db = lua_newuserdata(L, sizeof(sqlite3 *));
    *db = NULL;
    luaL_getmetatable(L, DB);
    lua_setmetatable(L, -2);
    if (sqlite3_open_v2(file, db, open_flags(L, 2), NULL) != SQLITE_OK) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s: %s", file, *db ? sqlite3_errmsg(*db) : "not enough memory");
        sqlite3_close_v2(*db);
        *db = NULL;
        return 2;
    }
    sqlite3_busy_timeout(*db, BUSY_MS);
    return 1;
}

/* ---- registration ------------------------------------------------------------------------------------------- */

static const luaL_Reg db_methods[] = {
    {"exec", db_exec},       {"query", db_query}, {"prepare", db_prepare},
    {"changes", db_changes}, {"close", db_close}, {NULL, NULL},
};
static const luaL_Reg stmt_methods[] = {{"rows", stmt_rows}, {"run", stmt_run}, {"close", stmt_close}, {NULL, NULL}};

static void metatable(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction close)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__close");
    lua_newtable(L);
    for (; methods->name; methods++) {
        lua_pushcfunction(L, methods->func);
        lua_setfield(L, -2, methods->name);
    }
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void ldr_lua_sqlite_register(lua_State *L)
{
    metatable(L, DB, db_methods, db_close);
    metatable(L, STMT, stmt_methods, stmt_close);
    lua_pushcfunction(L, db_open);
    lua_setfield(L, -2, "sqlite");
}
