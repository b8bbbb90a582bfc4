/* direct.c - a read that this thread takes to its end in C: the source answers jobs, no Lua function is asked, and
 * no other coroutine could run meanwhile. No userdata is made, nothing is left behind. */
#include "bind/core.h"
#include "upkeep/errand.h"

static int push_result(lua_State *L, const ldr_answer *a)
{
    ldr_err err;
    if (a->err.code != LDR_OK)
        return ldr_lua_fail(L, &a->err);
    if (a->kind == LDR_NONE)
        lua_pushnil(L);
    else if (ldr_lua_push(L, a->value, a->kind, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    lua_pushstring(L, ldr_lua_outcome(a));
    return 2;
}

/* What must be given back even when pushing the value raises Lua's memory error: the operation, in a full userdata that
 * each state makes once and uses again. */
typedef struct seat {
    ldr_op *op;             /* NULL: nobody sits here */
    ldr_lua_shared *shared; /* whose it is; held */
    ldr_sleeper sleeper;    /* where it waits for another process's load */
} seat;

static const char seat_key;

static void leave(seat *s)
{
    if (!s->op)
        return;
    ldr_op_end(s->op);
    s->op = NULL;
    ldr_lua_shared_leave(s->shared);
}

static int seat_gc(lua_State *L)
{
    seat *s = lua_touserdata(L, 1);
    leave(s);
    ldr_sleeper_fini(&s->sleeper);
    return 0;
}

static seat *push_seat(lua_State *L)
{
    seat *s = lua_newuserdata(L, sizeof *s);
    s->op = NULL;
    ldr_sleeper_init(&s->sleeper);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, seat_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return s;
}

static seat *states_seat(lua_State *L)
{
    ldr_lua_getregistry(L, &seat_key);
    seat *s = lua_touserdata(L, -1);
    if (!s) {
        s = push_seat(L);
        ldr_lua_setregistry(L, &seat_key);
    }
    lua_pop(L, 1);
    return s;
}

/* A finalizer (it runs with the collector stopped) may stand in the midst of a call that has the state's seat. */
static seat *take_seat(lua_State *L, ldr_lua_cache *ud)
{
    if (lua_gc(L, LUA_GCISRUNNING, 0) != 1)
        return push_seat(L);
    if (!ud->seat)
        ud->seat = states_seat(L);
    leave(ud->seat); /* of a call that Lua's memory error cut short */
    return ud->seat;
}

/* Runs the asking to its end in the state's seat; NULL: out of memory. */
static seat *run(lua_State *L, const ldr_asking *a)
{
    ldr_lua_cache *ud = lua_touserdata(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    seat *s = take_seat(L, ud);
    ldr_owner owner = {.host = ud->shared, .at_once = true};
    if (f->l2)
        owner.waker = ldr_errand_waker(&s->sleeper);
    s->op = ldr_get_begin(f, a, &owner);
    if (!s->op)
        return NULL;
    s->shared = ud->shared;
    s->shared->refs++;
    ldr_errand_run(s->op, f->l2 ? &s->sleeper : NULL); /* of its own process it never waits: it loads for itself */
    return s;
}

static int fail_oom(lua_State *L)
{
    ldr_err err;
    ldr_fail_oom(&err);
    return ldr_lua_fail(L, &err);
}

/* Argument 1 is a cache that was entered, 2 a key that was checked. Gives value, outcome | nil, code, message. */
int ldr_lua_load_now(lua_State *L, const ldr_look *look, bool held)
{
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.keys = &look->key;
    a.n_keys = 1;
    a.level = ((ldr_lua_cache *)lua_touserdata(L, 1))->shared->cache->flow.level;
    a.not_held = !held;
    a.now_us = look->now_us;
    seat *s = run(L, &a);
    if (!s)
        return fail_oom(L);
    int n = push_result(L, ldr_get_answer(s->op, 0));
    leave(s);
    return n;
}

/* ---- many keys ------------------------------------------------------------------------------------------------ */

#define MOST_KEYS 8192
enum { KEYS = 2, VALUES = 4, ERRORS };

/* Puts a hash where it is not yet; false: it is there, so a key may come twice. */
static bool add(uint64_t *set, size_t mask, uint64_t hash)
{
    hash |= hash == 0;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        if (set[i] == hash)
            return false;
        if (set[i] == 0) {
            set[i] = hash;
            return true;
        }
    }
}

/* The list at KEYS as slices of its strings, in a userdata that is pushed; NULL: not n keys, each once. */
static const ldr_slice *push_keys(lua_State *L, size_t n, uint64_t seed)
{
    size_t mask = 4;
    ldr_err err;
    while (mask < 2 * n)
        mask *= 2;
    ldr_slice *keys = lua_newuserdata(L, n * sizeof *keys + mask * sizeof(uint64_t));
    uint64_t *set = (uint64_t *)(void *)(keys + n);
    memset(set, 0, mask-- * sizeof *set);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, KEYS, (int)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            return NULL;
        keys[i].p = lua_tolstring(L, -1, &keys[i].n);
        lua_pop(L, 1); /* the list holds it */
        if (ldr_cache_check_key(keys[i], &err) != LDR_OK || !add(set, mask, ldr_hash(keys[i], seed)))
            return NULL;
    }
    return keys;
}

static void set_error(lua_State *L, const ldr_err *err)
{
    lua_createtable(L, 2, 0);
    lua_pushstring(L, ldr_code_word(err->code));
    lua_rawseti(L, -2, 1);
    lua_pushstring(L, err->message);
    lua_rawseti(L, -2, 2);
    lua_rawset(L, ERRORS);
}

static void set_answer(lua_State *L, const ldr_answer *a, int i)
{
    ldr_err err = {.code = LDR_OK};
    if (a->err.code == LDR_OK && a->kind == LDR_NONE)
        return;
    lua_rawgeti(L, KEYS, i);
    if (a->err.code != LDR_OK)
        set_error(L, &a->err);
    else if (ldr_lua_push(L, a->value, a->kind, &err) != LDR_OK)
        set_error(L, &err);
    else
        lua_rawset(L, VALUES);
}

/* read_many(keys) -> values, errors (of a key: { code, message }) | nil, code, message; nothing: not a plain list of keys, each
 * once. Only where a read needs no Lua. */
int ldr_lua_read_many(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    ldr_err err;
    ldr_asking a = LDR_ASKING_DEFAULTS;
    lua_settop(L, 2);
    a.n_keys = lua_istable(L, KEYS) && !lua_getmetatable(L, KEYS) ? ldr_lua_rawlen(L, KEYS) : 0;
    if (a.n_keys == 0 || a.n_keys > MOST_KEYS || !(a.keys = push_keys(L, a.n_keys, f->seed)))
        return 0;
    if (ldr_cache_enter(ud->shared->cache, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    a.level = f->level;
    lua_createtable(L, 0, (int)a.n_keys);
    lua_createtable(L, 0, 0);
    seat *s = run(L, &a);
    if (!s)
        return fail_oom(L);
    for (size_t i = 0; i < a.n_keys; i++)
        set_answer(L, ldr_get_answer(s->op, i), (int)i + 1);
    leave(s);
    lua_settop(L, ERRORS);
    return 2;
}
