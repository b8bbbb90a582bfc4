/* bench_probe.c - what the benches compare with, as a Lua module that is built when it is first asked for (bench.lua).
 *
 *   probe.select(file, sql)      a prepared SELECT by SQLite's C interface; s(id) gives the row as a table
 *   probe.resident([pid])        bytes resident of a process
 *   probe.fill(path, n)          n entries of 16 + 64 bytes to a memcached on a unix socket; how many it then holds
 *   probe.now                    address of a C function that gives a cached time, as ngx.now */
#include "bind/compat.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the bare SELECT ---------------------------------------------------------------------------------------- */

static void push_column(lua_State *L, sqlite3_stmt *s, int c)
{
    switch (sqlite3_column_type(s, c)) {
    case SQLITE_INTEGER:
        lua_pushinteger(L, (lua_Integer)sqlite3_column_int64(s, c));
        break;
    case SQLITE_FLOAT:
        lua_pushnumber(L, sqlite3_column_double(s, c));
        break;
    case SQLITE_NULL:
        lua_pushnil(L);
        break;
    default: {
        const char *text = sqlite3_column_blob(s, c);
        lua_pushlstring(L, text, (size_t)sqlite3_column_bytes(s, c));
    }
    }
}

static int select_row(lua_State *L)
{
    sqlite3_stmt *s = lua_touserdata(L, lua_upvalueindex(1));
    sqlite3_bind_int64(s, 1, (sqlite3_int64)lua_tonumber(L, 1));
    if (sqlite3_step(s) != SQLITE_ROW)
        return luaL_error(L, "no such row");
    int n = sqlite3_column_count(s);
    lua_createtable(L, 0, n);
    for (int c = 0; c < n; c++) {
        push_column(L, s, c);
        lua_setfield(L, -2, sqlite3_column_name(s, c));
    }
    sqlite3_reset(s);
    return 1;
}

static int select_new(lua_State *L)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    if (sqlite3_open_v2(luaL_checkstring(L, 1), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(db, luaL_checkstring(L, 2), -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
        return luaL_error(L, "%s", sqlite3_errmsg(db));
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, select_row, 1);
    return 1;
}

/* ---- memory ------------------------------------------------------------------------------------------------- */

static int resident(lua_State *L)
{
    char path[64] = "/proc/self/statm";
    unsigned long size = 0, pages = 0;
    if (lua_isnumber(L, 1))
        snprintf(path, sizeof path, "/proc/%d/statm", (int)lua_tonumber(L, 1));
    FILE *f = fopen(path, "r");
    if (!f)
        return luaL_error(L, "%s: cannot be read", path);
    int n = fscanf(f, "%lu %lu", &size, &pages);
    fclose(f);
    lua_pushnumber(L, n == 2 ? (double)pages * (double)sysconf(_SC_PAGESIZE) : 0);
    return 1;
}

static int dial(lua_State *L, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    for (int i = 0; fd >= 0 && i < 500; i++) {
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
            return fd;
        usleep(10000);
    }
    return luaL_error(L, "nobody listens on %s", path);
}

static double curr_items(FILE *f)
{
    char line[512];
    double n = 0;
    fputs("stats\r\n", f);
    fflush(f);
    while (fgets(line, sizeof line, f) && strncmp(line, "END", 3) != 0)
        if (strncmp(line, "STAT curr_items ", 16) == 0)
            n = strtod(line + 16, NULL);
    return n;
}

static int fill(lua_State *L)
{
    int fd = dial(L, luaL_checkstring(L, 1)), n = (int)luaL_checkinteger(L, 2);
    FILE *f = fdopen(fd, "r+");
    char value[65];
    memset(value, 'v', 64);
    value[64] = 0;
    for (int i = 0; i < n; i++)
        fprintf(f, "set key:%012d 0 0 64 noreply\r\n%s\r\n", i, value);
    fflush(f);
    lua_pushnumber(L, curr_items(f));
    fclose(f);
    return 1;
}

/* ---- the module --------------------------------------------------------------------------------------------- */

static double now(void)
{
    static volatile double cached = 1e9;
    return cached;
}

__attribute__((visibility("default"))) int luaopen_bench_probe(lua_State *L)
{
    static const luaL_Reg functions[] = {{"select", select_new}, {"resident", resident}, {"fill", fill}, {NULL, NULL}};
    lua_createtable(L, 0, 4);
    for (const luaL_Reg *f = functions; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
    lua_pushlightuserdata(L, (void *)(uintptr_t)now);
    lua_setfield(L, -2, "now");
    return 1;
}
