/* quick.c - a set that a LuaJIT trace calls directly, by FFI: a string under a key, to the tiers alone, without options.
 *
 *   cache:quick() -> address of the function, address of the cache (the caller keeps the userdata alive)
 *   cache:trouble() -> nil, code, message    why the newest one failed
 *
 * Nothing of Lua is touched by it: no stack, no memory, no error. */
#include "bind/core.h"

#define EXACT ((uint64_t)1 << 53) /* a double holds every whole number up to here */
#define NOT_DONE 0
#define FAILED (-1)

/* The version; NOT_DONE: nothing was done, cache:tier_set must be asked; FAILED: cache:trouble() says why. */
static double quick_set(ldr_lua_cache *ud, const char *key, size_t n_key, const char *value, size_t n_value)
{
    ldr_cache *c = ud->shared ? ud->shared->cache : NULL; /* NULL: collected, at the state's end */
    ldr_err unused;
    ldr_slice k = ldr_slice_of(key, n_key), v = ldr_slice_of(value, n_value);
    int kind = LDR_STRING;
    int64_t version;
    if (!c || atomic_load_explicit(c->gate, memory_order_acquire) <= 0 || ldr_cache_check_key(k, &unused) != LDR_OK ||
        atomic_load_explicit(&c->flow.drawn, memory_order_relaxed) >= EXACT)
        return NOT_DONE;
    ldr_writing w = {.verb = LDR_STORE, .keys = &k, .values = &v, .kinds = &kind, .n_keys = 1, .level = c->flow.level,
                     .if_version = LDR_ANY, .timeout_us = LDR_UNSET, .ttls = {LDR_UNSET, LDR_UNSET, LDR_UNSET}};
    return ldr_put_now(&c->flow, &w, &version, &ud->trouble) == LDR_OK ? (double)version : FAILED;
}

int ldr_lua_quick(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    double (*set)(ldr_lua_cache *, const char *, size_t, const char *, size_t) = quick_set;
    void *address;
    memcpy(&address, &set, sizeof address);
    lua_pushlightuserdata(L, address);
    lua_pushlightuserdata(L, ud);
    return 2;
}

int ldr_lua_trouble(lua_State *L)
{
    return ldr_lua_fail(L, &ldr_lua_cache_check(L, 1)->trouble);
}
