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

/* Argument 1 is a cache that was entered, 2 a key that was checked. Gives value, outcome | nil, code, message. */
int ldr_lua_load_now(lua_State *L, const ldr_look *look, bool held)
{
    ldr_lua_cache *ud = lua_touserdata(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    ldr_err err;
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.keys = &look->key;
    a.n_keys = 1;
    a.level = f->level;
    a.not_held = !held;
    a.now_us = look->now_us;
    seat *s = take_seat(L, ud);
    ldr_owner owner = {.host = ud->shared, .at_once = true};
    if (f->l2)
        owner.waker = ldr_errand_waker(&s->sleeper);
    s->op = ldr_get_begin(f, &a, &owner);
    if (!s->op) {
        ldr_fail_oom(&err);
        return ldr_lua_fail(L, &err);
    }
    s->shared = ud->shared;
    s->shared->refs++;
    ldr_errand_run(s->op, f->l2 ? &s->sleeper : NULL); /* of its own process it never waits: it loads for itself */
    int n = push_result(L, ldr_get_answer(s->op, 0));
    leave(s);
    return n;
}
