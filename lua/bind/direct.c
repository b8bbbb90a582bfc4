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
    ldr_op *op;
} seat;

static const char seat_key;

static int seat_gc(lua_State *L)
{
    seat *s = lua_touserdata(L, 1);
    ldr_op_end(s->op);
    s->op = NULL;
    return 0;
}

static seat *take_seat(lua_State *L)
{
    ldr_lua_getregistry(L, &seat_key);
    seat *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (s) {
        ldr_op_end(s->op); /* of a call that Lua's memory error cut short */
        s->op = NULL;
        return s;
    }
    s = lua_newuserdata(L, sizeof *s);
    s->op = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, seat_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    ldr_lua_setregistry(L, &seat_key);
    return s;
}

/* Argument 1 is a cache that was entered, 2 a key that was checked. Gives value, outcome | nil, code, message. */
int ldr_lua_load_now(lua_State *L, bool held)
{
    ldr_lua_cache *ud = lua_touserdata(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    ldr_err err;
    ldr_slice key;
    key.p = lua_tolstring(L, 2, &key.n);
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.keys = &key;
    a.n_keys = 1;
    a.level = f->level;
    a.not_held = !held;
    ldr_owner owner = {.host = ud->shared};
    seat *s = take_seat(L);
    s->op = ldr_get_begin(f, &a, &owner);
    if (!s->op) {
        ldr_fail_oom(&err);
        return ldr_lua_fail(L, &err);
    }
    ldr_errand_run(s->op); /* a caller that cannot wait is never parked: it loads for itself */
    int n = push_result(L, ldr_get_answer(s->op, 0));
    ldr_op_end(s->op);
    s->op = NULL;
    return n;
}
