/* module.c - larder.core: what the Lua side asks of C. One source for Lua 5.4 and LuaJIT.
 *
 *   open(options [, loop]) -> cache | nil, code, message      loop() -> a new mailbox | nil, message
 *   encode(value) -> bytes | nil, code, message                decode(bytes) -> value | nil, code, message
 *   now() -> seconds of CLOCK_MONOTONIC    null    version     digest(bytes) -> 16 hex digits
 *   migrate(options) -> sql | nil, code, message    memo_* (memo_get.c)    sqlite (sqlite.c) */
#include "base/hash.h"
#include "bind/core.h"
#include "bind/loop.h"
#include "bind/memo.h"
#include "bind/sqlite.h"

#include <dlfcn.h>
#include <pthread.h>

LDR_API int luaopen_larder_core(lua_State *L);

/* LuaJIT unloads modules before it has run the last finalizers of a closing state, and some may be ours. */
static void stay_loaded(void)
{
    Dl_info here;
    if (dladdr((const void *)(uintptr_t)luaopen_larder_core, &here) && here.dli_fname)
        dlopen(here.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

static ldr_hub *hub;

static void make_hub(void)
{
    hub = ldr_hub_new(&ldr_mem_system);
}

/* Never freed: caches of any state may be in it until the process ends. */
ldr_hub *ldr_lua_hub(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_hub);
    return hub;
}

/* The clock of ldr_clock_now with all its digits, so that what takes less than a microsecond can be measured. */
static int now(lua_State *L)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    lua_pushnumber(L, (double)t.tv_sec + (double)t.tv_nsec / 1e9);
    return 1;
}

static int digest(lua_State *L)
{
    size_t n;
    const char *p = luaL_checklstring(L, 1, &n);
    char text[40];
    int len = snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)ldr_hash(ldr_slice_of(p, n), 0),
                       (unsigned long long)ldr_hash(ldr_slice_of(p, n), 0x9E3779B97F4A7C15u));
    lua_pushlstring(L, text, (size_t)len);
    return 1;
}

/* Field `from` of what another module's opener gives becomes field `to` of the table on top. */
static void take(lua_State *L, lua_CFunction opener, const char *from, const char *to)
{
    lua_pushcfunction(L, opener);
    lua_call(L, 0, 1);
    lua_getfield(L, -1, from);
    lua_setfield(L, -3, to);
    lua_pop(L, 1);
}

int luaopen_larder_core(lua_State *L)
{
    stay_loaded();
    ldr_lua_op_register(L);
    ldr_lua_mark_register(L);
    lua_createtable(L, 0, 16);
    ldr_lua_cache_register(L);
    take(L, luaopen_larder_value, "encode", "encode");
    take(L, luaopen_larder_value, "decode", "decode");
    take(L, luaopen_larder_value, "null", "null");
    take(L, luaopen_larder_loop, "new", "loop");
    ldr_lua_memo_open(L);
    ldr_lua_sqlite_register(L);
    ldr_lua_migrate_register(L);
    lua_pushcfunction(L, now);
    lua_setfield(L, -2, "now");
    lua_pushcfunction(L, digest);
    lua_setfield(L, -2, "digest");
    lua_pushliteral(L, LARDER_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
