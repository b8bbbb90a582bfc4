/* memo.c - what the memo remembers, who leaves when it is full, and the one check that lets a hit through.
 *
 * Invariant: entry[i-1] is filled last and emptied first, so an error of Lua in between leaves an entry that answers
 * nothing. index[key] = i is the only way to entry i; keys[i] says which key that is. */
#include "bind/memo.h"

#include <dlfcn.h>

enum { INDEX = 1, KEYS, VALUES, PLANS };

#define META "larder.memo"
#define CACHE_LINE 64

/* ---- the check ------------------------------------------------------------------------------------------------ */

static inline int64_t coarse_us(const ldr_lua_memo *m)
{
    struct timespec t;
    if (!m->gettime)
        return ldr_clock_coarse(m->clock);
    (void)m->gettime(CLOCK_MONOTONIC_COARSE, &t); /* find_gettime saw it succeed */
    return (int64_t)t.tv_sec * LDR_SEC + t.tv_nsec / 1000;
}

static inline bool is_fresh(const ldr_lua_memo *m, const ldr_lua_memo_entry *e)
{
    return e->fresh_us == LDR_NEVER || coarse_us(m) < e->fresh_us;
}

static inline int look(ldr_lua_memo *m, uint32_t i)
{
    ldr_lua_memo_entry *e = &m->entry[i - 1];
    if (__atomic_load_n(m->gate, __ATOMIC_ACQUIRE) != m->pass)
        return 0;
    if (atomic_load_explicit(e->at, memory_order_acquire) != e->word || !is_fresh(m, e))
        return 0;
    uint8_t mark = atomic_load_explicit(e->mark, memory_order_relaxed);
    if (mark < e->mark_max)
        atomic_store_explicit(e->mark, (uint8_t)(mark + 1), memory_order_relaxed);
    e->used = true;
    m->hits++;
    return 1;
}

static int64_t now_ns(const ldr_lua_memo *m)
{
    struct timespec t;
    if (m->clock->is_virtual || clock_gettime(CLOCK_MONOTONIC, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static __attribute__((noinline)) int look_timed(ldr_lua_memo *m, uint32_t i)
{
    int64_t from = now_ns(m);
    int hit = look(m, i);
    if (hit && m->sampled)
        m->sampled(m->sampled_arg, now_ns(m) - from);
    return hit;
}

int ldr_lua_memo_check(ldr_lua_memo *m, uint32_t i)
{
    if (__builtin_expect(m->hits % LDR_LUA_MEMO_SAMPLE == LDR_LUA_MEMO_SAMPLE - 1, 0))
        return look_timed(m, i);
    return look(m, i);
}

/* ---- making --------------------------------------------------------------------------------------------------- */

/* The kernel's own clock_gettime: half the price of a hit's time. Where it is not to be had (other systems, under a
 * debugger of memory), the core's clock is asked. */
static void find_gettime(ldr_lua_memo *m)
{
    if (m->clock->is_virtual)
        return;
    struct timespec t;
    void *vdso = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
    void *f = vdso ? dlsym(vdso, "__vdso_clock_gettime") : NULL;
    memcpy(&m->gettime, &f, sizeof f);
    if (m->gettime && m->gettime(CLOCK_MONOTONIC_COARSE, &t) != 0)
        m->gettime = NULL;
    if (vdso)
        dlclose(vdso);
}

/* What the memo looks at is the cache's, which is collected next; whoever is collected later may still ask. */
static int memo_gc(lua_State *L)
{
    ldr_lua_memo *m = luaL_checkudata(L, 1, META);
    m->open = 0;
    m->gate = &m->open;
    return 0;
}

static void set_metatable(lua_State *L)
{
    if (luaL_newmetatable(L, META)) {
        lua_pushcfunction(L, memo_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushliteral(L, "larder.memo");
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

static void empty(ldr_lua_memo *m, uint32_t i)
{
    m->entry[i - 1] = (ldr_lua_memo_entry){.at = &m->nowhere, .word = 1};
}

static ldr_lua_memo *new_memo(lua_State *L, uint32_t n)
{
    size_t entries = (size_t)n * sizeof(ldr_lua_memo_entry);
    char *p = lua_newuserdata(L, sizeof(ldr_lua_memo) + CACHE_LINE + entries);
    ldr_lua_memo *m = (ldr_lua_memo *)(void *)p;
    memset(m, 0, sizeof *m);
    uintptr_t behind = (uintptr_t)(p + sizeof *m);
    m->entry = (ldr_lua_memo_entry *)(void *)(p + sizeof *m + (-behind & (CACHE_LINE - 1)));
    m->n = n;
    for (uint32_t i = 1; i <= n; i++)
        empty(m, i);
    return m;
}

ldr_lua_memo *ldr_lua_memo_new(lua_State *L, uint32_t n, const ldr_clock *clock, const int32_t *gate)
{
    ldr_lua_memo *m = new_memo(L, n);
    m->clock = clock;
    m->open = m->pass = 1;
    m->gate = gate ? gate : &m->open;
    find_gettime(m);
    set_metatable(L);
    lua_createtable(L, PLANS, 0);
    for (int i = INDEX; i <= PLANS; i++) {
        lua_newtable(L);
        lua_rawseti(L, -2, i);
    }
    ldr_lua_setanchor(L, -2);
    return m;
}

/* ---- remembering ---------------------------------------------------------------------------------------------- */

static bool is_kept(lua_State *L, int idx, size_t key_bytes)
{
    switch (lua_type(L, idx)) {
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TLIGHTUSERDATA:
    case LUA_TTABLE:
    case LDR_TCDATA:
        return key_bytes <= LDR_LUA_MEMO_BYTES;
    case LUA_TSTRING:
        return key_bytes + ldr_lua_rawlen(L, idx) <= LDR_LUA_MEMO_BYTES;
    default:
        return false;
    }
}

/* Pushes what values[i] and plans[i] are to be: two values, or none and false. */
static bool push_kept(lua_State *L, const ldr_lua_memo *m, int value, size_t key_bytes)
{
    if (!is_kept(L, value, key_bytes))
        return false;
    if (lua_type(L, value) != LUA_TTABLE || m->shared) {
        lua_pushvalue(L, value);
        lua_pushboolean(L, 0);
        return true;
    }
    if (!ldr_lua_plan_make(L, value, LDR_LUA_MEMO_BYTES - key_bytes))
        return false;
#if LDR_LUAJIT
    bool flat = ldr_lua_rawlen(L, -1) == 1;
    lua_rawgeti(L, -1, 1);
    lua_insert(L, -2);
    if (!flat)
        return true;
    lua_pop(L, 1);
#endif
    lua_pushboolean(L, 0);
    return true;
}

/* index[keys[i]] = nil, if that is i. */
static void unmap(lua_State *L, ldr_lua_memo *m, int index, uint32_t i)
{
    lua_rawgeti(L, index + KEYS - INDEX, (int)i);
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushvalue(L, -1);
        lua_rawget(L, index);
        bool ours = (uint32_t)lua_tointeger(L, -1) == i;
        lua_pop(L, 1);
        if (ours) {
            lua_pushvalue(L, -1);
            lua_pushnil(L);
            lua_rawset(L, index);
            m->entries--;
        }
    }
    lua_pop(L, 1);
}

static uint32_t advance(ldr_lua_memo *m)
{
    for (;;) {
        uint32_t i = m->hand;
        m->hand = i + 1 == m->n ? 0 : i + 1;
        if (!m->entry[i].used)
            return i + 1;
        m->entry[i].used = false;
    }
}

/* The place of the key: where it is, or the one of an entry that leaves. Empties it. */
static uint32_t take_place(lua_State *L, ldr_lua_memo *m, int index, int key)
{
    lua_pushvalue(L, key);
    lua_rawget(L, index);
    uint32_t i = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (i != 0) {
        empty(m, i);
        return i;
    }
    i = advance(m);
    empty(m, i);
    unmap(L, m, index, i);
    lua_pushvalue(L, key);
    lua_rawseti(L, index + KEYS - INDEX, (int)i);
    lua_pushvalue(L, key);
    lua_pushinteger(L, (lua_Integer)i);
    lua_rawset(L, index);
    m->entries++;
    return i;
}

static void fill(ldr_lua_memo *m, uint32_t i, const ldr_slot_ref *ref, int64_t soft_us)
{
    bool never = soft_us == LDR_NEVER;
    m->entry[i - 1] = (ldr_lua_memo_entry){
        .at = ref->at,
        .mark = ref->mark,
        .fresh_us = never ? LDR_NEVER : ldr_time_add(soft_us, -m->clock->coarse_lag_us),
        .word = ref->word,
        .mark_max = ref->mark_max,
    };
}

/* Pushes index, keys, values, plans; gives the stack index of the first. */
static int push_tables(lua_State *L, int memo)
{
    ldr_lua_getanchor(L, memo);
    int anchor = lua_gettop(L);
    for (int i = INDEX; i <= PLANS; i++)
        lua_rawgeti(L, anchor, i);
    return anchor + 1;
}

bool ldr_lua_memo_put(lua_State *L, int memo, int key, int value, const ldr_slot_ref *ref, int64_t soft_us)
{
    ldr_lua_memo *m = lua_touserdata(L, memo);
    int top = lua_gettop(L);
    if (m->n == 0 || !ref->at || !ref->mark || lua_type(L, key) != LUA_TSTRING)
        return false;
    luaL_checkstack(L, 12, "larder.memo");
    memo = ldr_lua_absindex(L, memo);
    key = ldr_lua_absindex(L, key);
    if (!push_kept(L, m, ldr_lua_absindex(L, value), ldr_lua_rawlen(L, key)))
        return false;
    int index = push_tables(L, memo);
    uint32_t i = take_place(L, m, index, key);
    lua_pushvalue(L, top + 1);
    lua_rawseti(L, index + VALUES - INDEX, (int)i);
    lua_pushvalue(L, top + 2);
    lua_rawseti(L, index + PLANS - INDEX, (int)i);
    fill(m, i, ref, soft_us);
    lua_settop(L, top);
    return true;
}

void ldr_lua_memo_clear(lua_State *L, int memo)
{
    ldr_lua_memo *m = lua_touserdata(L, memo);
    int top = lua_gettop(L);
    luaL_checkstack(L, 12, "larder.memo");
    int index = push_tables(L, ldr_lua_absindex(L, memo));
    m->pass = __atomic_load_n(m->gate, __ATOMIC_ACQUIRE);
    for (uint32_t i = 1; i <= m->n; i++) {
        empty(m, i);
        unmap(L, m, index, i);
        for (int t = KEYS; t <= PLANS; t++) {
            lua_pushnil(L);
            lua_rawseti(L, index + t - INDEX, (int)i);
        }
    }
    lua_settop(L, top);
}
