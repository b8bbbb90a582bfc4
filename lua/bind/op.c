/* op.c - an operation as userdata: begin it, run it as far as this host can without Lua, answer its calls, take its
 * results. The words that run() gives are the wants that are left for Lua: done call job spawn park. */
#include "bind/core.h"
#include "upkeep/errand.h"

#include <stdlib.h>

static ldr_lua_op *check(lua_State *L)
{
    ldr_lua_op *lop = luaL_checkudata(L, 1, LDR_LUA_OP);
    if (!lop->op)
        luaL_error(L, "a larder operation that has ended");
    return lop;
}

static _Atomic uint64_t last_id; /* never one twice in a process: a late wake-up must not reach another operation */

static ldr_lua_op *op_new(lua_State *L, ldr_lua_shared *s)
{
    ldr_lua_op *lop = lua_newuserdata(L, sizeof *lop);
    *lop = (ldr_lua_op){.shared = s, .bytes = LDR_BUF(&s->cache->flow.mem)};
    s->refs++;
    lop->id = atomic_fetch_add(&last_id, 1) + 1;
    luaL_getmetatable(L, LDR_LUA_OP);
    lua_setmetatable(L, -2);
    return lop;
}

static void finish(ldr_lua_op *lop)
{
    ldr_lua_shared *s = lop->shared;
    if (!s)
        return;
    ldr_mem mem = s->cache->flow.mem;
    while (atomic_load_explicit(&lop->job_runs, memory_order_acquire)) /* dropped meanwhile; its statement has a deadline */
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    ldr_op_end(lop->op);
    lop->op = NULL;
    lop->shared = NULL;
    ldr_buf_free(&lop->bytes);
    ldr_mem_free(&mem, lop->slices);
    ldr_mem_free(&mem, lop->kinds);
    if (s->closed && s->refs == 2) /* this one and the closed cache's own */
        ldr_cache_strip(s->cache);
    ldr_lua_shared_release(s);
}

/* finish(): ends it and frees what it holds; also by the collector */
static int op_finish(lua_State *L)
{
    finish(luaL_checkudata(L, 1, LDR_LUA_OP));
    return 0;
}

/* ---- begin ---------------------------------------------------------------------------------------------------- */

static void post(void *ctx, uint64_t id)
{
    ldr_loop_post(ctx, id);
}

/* owner table: can_wait, parent (the load's op in whose loader this call is made) */
static ldr_owner owner_of(lua_State *L, const ldr_lua_op *lop, int can_wait, int parent)
{
    ldr_owner owner = {.host = lop->shared, .can_wait = lua_toboolean(L, can_wait)};
    if (lop->shared->loop && owner.can_wait)
        owner.waker = (ldr_waker){.wake = post, .ctx = lop->shared->loop, .id = lop->id};
    if (lua_isuserdata(L, parent)) {
        ldr_lua_op *p = luaL_checkudata(L, parent, LDR_LUA_OP);
        owner.parent = p->op && p->shared == lop->shared ? p->op : NULL;
    }
    return owner;
}

static bool reserve(ldr_lua_op *lop, size_t n, size_t n_slices)
{
    const ldr_mem *mem = &lop->shared->cache->flow.mem;
    lop->n_keys = n;
    lop->slices = ldr_mem_zero(mem, n_slices + 1, sizeof *lop->slices);
    lop->kinds = ldr_mem_zero(mem, n + 1, sizeof *lop->kinds);
    return lop->slices && lop->kinds;
}

/* Copies slice i into the operation's own bytes; all are pointed there by settle() once they are in. */
static int keep(ldr_lua_op *lop, size_t i, ldr_slice s, ldr_err *err)
{
    ldr_buf_add(&lop->bytes, s.p, s.n);
    lop->slices[i].n = s.n;
    return lop->bytes.oom ? ldr_fail_oom(err) : LDR_OK;
}

static void settle(ldr_lua_op *lop, size_t n_slices)
{
    const char *at = lop->bytes.p;
    for (size_t i = 0; i < n_slices; at += lop->slices[i++].n)
        lop->slices[i].p = at;
}

static int keep_keys(lua_State *L, ldr_lua_op *lop, int idx, ldr_err *err)
{
    bool one = lua_type(L, idx) == LUA_TSTRING;
    int code = LDR_OK;
    for (size_t i = 0; i < lop->n_keys && code == LDR_OK; i++) {
        ldr_slice key;
        if (one)
            lua_pushvalue(L, idx);
        else
            lua_rawgeti(L, idx, (int)(i + 1));
        key.p = lua_tolstring(L, -1, &key.n);
        code = ldr_cache_check_key(key, err);
        if (code == LDR_OK)
            code = keep(lop, i, key, err);
        lua_pop(L, 1);
    }
    return code;
}

static size_t count_keys(lua_State *L, int idx)
{
    return lua_type(L, idx) == LUA_TSTRING ? 1 : ldr_lua_rawlen(L, idx);
}

static void read_asking(lua_State *L, int opts, ldr_asking *a)
{
    if (!lua_istable(L, opts))
        return;
    static const char *const guards[] = {"lock", "none", NULL};
    a->level = ldr_lua_field_word(L, opts, "level", ldr_lua_levels, a->level);
    a->on_timeout = ldr_lua_field_word(L, opts, "on_timeout", ldr_lua_on_timeout, -1);
    a->no_guard = ldr_lua_field_word(L, opts, "guard", guards, 0) == 1;
    a->timeout_us = ldr_lua_field_us(L, opts, "timeout");
    a->wait_us = ldr_lua_field_us(L, opts, "lock_wait");
    a->ttls.ttl_us = ldr_lua_field_us(L, opts, "ttl");
    a->ttls.stale_us = ldr_lua_field_us(L, opts, "stale_ttl");
    a->ttls.negative_us = ldr_lua_field_us(L, opts, "negative_ttl");
    a->refresh = ldr_lua_field_bool(L, opts, "refresh");
}

/* cache:get_op(key | keys, opts, has_loader, can_wait, parent) -> op | nil, code, message */
int ldr_lua_get_op(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    lua_settop(L, 6);
    ldr_lua_op *lop = op_new(L, ud->shared);
    ldr_err err = {0};
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.level = f->level;
    a.has_loader = lua_toboolean(L, 4);
    read_asking(L, 3, &a);
    int code = ldr_cache_enter(ud->shared->cache, &err);
    a.n_keys = count_keys(L, 2);
    if (code == LDR_OK && !reserve(lop, a.n_keys, a.n_keys))
        code = ldr_fail_oom(&err);
    if (code == LDR_OK)
        code = keep_keys(L, lop, 2, &err);
    if (code == LDR_OK) {
        settle(lop, a.n_keys);
        a.keys = lop->slices;
        ldr_owner owner = owner_of(L, lop, 5, 6);
        lop->is_get = true;
        lop->op = ldr_get_begin(f, &a, &owner);
        code = lop->op ? LDR_OK : ldr_fail_oom(&err);
    }
    if (code == LDR_OK)
        return 1;
    finish(lop);
    return ldr_lua_fail(L, &err);
}

static int keep_values(lua_State *L, ldr_lua_cache *ud, ldr_lua_op *lop, ldr_err *err)
{
    int code = LDR_OK;
    for (size_t i = 0; i < lop->n_keys && code == LDR_OK; i++) {
        ldr_slice value;
        lua_rawgeti(L, 4, (int)(i + 1));
        code = ldr_lua_value(L, lua_gettop(L), &value, &lop->kinds[i], &ud->hit.made, err);
        if (code == LDR_OK)
            code = keep(lop, lop->n_keys + i, value, err);
        lua_pop(L, 1);
    }
    return code;
}

/* cache:put_op("set" | "delete", keys, values | nil, opts, parent) -> op | nil, code, message */
int ldr_lua_put_op(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    bool stores = *luaL_checkstring(L, 2) == 's';
    lua_settop(L, 6);
    ldr_lua_op *lop = op_new(L, ud->shared);
    ldr_err err = {0};
    ldr_writing w = {.verb = stores ? LDR_STORE : LDR_ERASE, .level = f->level, .n_keys = count_keys(L, 3)};
    ldr_lua_read_writing(L, 5, &w);
    int code = ldr_cache_enter(ud->shared->cache, &err);
    if (code == LDR_OK && !reserve(lop, w.n_keys, 2 * w.n_keys))
        code = ldr_fail_oom(&err);
    if (code == LDR_OK)
        code = keep_keys(L, lop, 3, &err);
    if (code == LDR_OK && stores)
        code = keep_values(L, ud, lop, &err);
    if (code == LDR_OK) {
        settle(lop, 2 * w.n_keys);
        w.keys = lop->slices;
        w.values = lop->slices + w.n_keys;
        w.kinds = lop->kinds;
        ldr_owner owner = owner_of(L, lop, 0, 6);
        lop->op = ldr_put_begin(f, &w, &owner);
        code = lop->op ? LDR_OK : ldr_fail_oom(&err);
    }
    if (code == LDR_OK)
        return 1;
    finish(lop);
    return ldr_lua_fail(L, &err);
}

/* ---- stepping ------------------------------------------------------------------------------------------------- */

/* An operation that was spawned becomes an op of its own: it belongs to the caller of run(). */
static void push_spawned(lua_State *L, ldr_lua_op *lop)
{
    ldr_lua_op *spawned = op_new(L, lop->shared);
    spawned->op = lop->want.op;
}

static bool needs_lua(const ldr_want *want)
{
    if (want->background)
        return !want->op->flow->source->ops->run || want->op->flow->asks_ttl;
    return ldr_load_uses_call(want->op);
}

/* What C can do of a want by itself; false: it is for Lua. inline: jobs may block this thread. */
static bool satisfy(ldr_lua_op *lop, bool in_line)
{
    ldr_cache *c = lop->shared->cache;
    ldr_flow *f = &c->flow;
    if (f->clock.is_virtual && !in_line) /* the test host decides when */
        return false;
    if (lop->want.kind == LDR_WANT_JOB && in_line) {
        f->source->ops->run(f->source, lop->want.request);
        return true;
    }
    if (lop->want.kind != LDR_WANT_SPAWN || needs_lua(&lop->want))
        return false;
    bool away = !in_line || lop->want.background;
    if (!away || !ldr_errand_send(c->thread, lop->want.op)) {
        ldr_errand_run(lop->want.op);
        ldr_op_end(lop->want.op);
    }
    return true;
}

static double seconds(int64_t us)
{
    return us == LDR_NEVER ? HUGE_VAL : (double)us / 1e6;
}

/* run(in_line) -> "done" | "job" | "spawn", op, background | "call" or "park", deadline (seconds of the cache's clock) */
static int op_run(lua_State *L)
{
    static const char *const words[] = {"done", "job", "call", "spawn", "park"};
    ldr_lua_op *lop = check(L);
    bool in_line = lua_toboolean(L, 2);
    do
        lop->want = ldr_op_step(lop->op);
    while (satisfy(lop, in_line));
    lua_pushstring(L, words[lop->want.kind]);
    if (lop->want.kind == LDR_WANT_PARK || lop->want.kind == LDR_WANT_CALL) {
        lua_pushnumber(L, seconds(lop->want.deadline_us));
        return 2;
    }
    if (lop->want.kind == LDR_WANT_SPAWN) {
        push_spawned(L, lop);
        lua_pushboolean(L, lop->want.background);
        return 3;
    }
    return 1;
}

static void job_ended(void *ctx, uint64_t id)
{
    ldr_lua_op *lop = ctx;
    ldr_loop *loop = lop->shared->loop;
    atomic_store_explicit(&lop->job_runs, false, memory_order_release); /* from here on lop may be gone */
    ldr_loop_post(loop, id);
}

/* submit() -> true when the job was given to Larder's thread, which posts this op's id; else run it in line */
static int op_submit(lua_State *L)
{
    ldr_lua_op *lop = check(L);
    ldr_cache *c = lop->shared->cache;
    ldr_waker waker = {.wake = job_ended, .ctx = lop, .id = lop->id};
    bool sent = false;
    if (lop->want.kind == LDR_WANT_JOB && lop->shared->loop && !c->flow.clock.is_virtual) {
        atomic_store(&lop->job_runs, true);
        sent = ldr_errand_request(c->thread, &c->flow, lop->want.request, waker);
        if (!sent)
            atomic_store(&lop->job_runs, false);
    }
    lua_pushboolean(L, sent);
    return 1;
}

/* job_runs() -> boolean: the submitted job has not ended; a wake-up before that means nothing */
static int op_job_runs(lua_State *L)
{
    lua_pushboolean(L, atomic_load_explicit(&check(L)->job_runs, memory_order_acquire));
    return 1;
}

/* job(): runs the wanted job in line */
static int op_job(lua_State *L)
{
    ldr_lua_op *lop = check(L);
    ldr_flow *f = &lop->shared->cache->flow;
    if (lop->want.kind == LDR_WANT_JOB)
        f->source->ops->run(f->source, lop->want.request);
    return 0;
}

static int op_id(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)((ldr_lua_op *)luaL_checkudata(L, 1, LDR_LUA_OP))->id);
    return 1;
}

/* ---- calls ---------------------------------------------------------------------------------------------------- */

static ldr_request *request_of(lua_State *L, ldr_lua_op *lop)
{
    if (lop->want.kind != LDR_WANT_CALL)
        luaL_error(L, "a larder operation that wants no call");
    return lop->want.request;
}

/* call() -> verb, number of items */
static int op_call(lua_State *L)
{
    static const char *const verbs[] = {"load", "store", "delete", "version", "changes", "ttl"};
    ldr_request *r = request_of(L, check(L));
    lua_pushstring(L, verbs[r->verb]);
    lua_pushinteger(L, (lua_Integer)r->n_items);
    return 2;
}

static ldr_item *item_of(lua_State *L, ldr_lua_op *lop)
{
    ldr_request *r = request_of(L, lop);
    lua_Integer i = luaL_checkinteger(L, 2);
    if (i < 1 || (size_t)i > r->n_items)
        luaL_error(L, "item %d of %d", (int)i, (int)r->n_items);
    return r->items[i - 1];
}

/* item(i) -> key, value (of a store; of a ttl: what is to be kept), if_version (decimal string | false | nil),
 * state (of a ttl: found gone failed) */
static int op_item(lua_State *L)
{
    ldr_lua_op *lop = check(L);
    ldr_item *item = item_of(L, lop);
    ldr_err err;
    bool loaded = item->kind != LDR_NONE && item->out.n > 0 && lop->want.request->verb == LDR_TTL;
    lua_pushlstring(L, item->key.p, item->key.n);
    if (ldr_lua_push(L, loaded ? ldr_buf_slice(&item->out) : item->value, loaded ? item->kind : item->value_kind, &err))
        lua_pushnil(L);
    if (item->if_version == LDR_MUST_BE_ABSENT)
        lua_pushboolean(L, false);
    else
        ldr_lua_push_version(L, item->if_version > 0 ? item->if_version : 0);
    lua_pushstring(L, item->state == LDR_FAILED ? "failed" : item->state == LDR_GONE ? "gone" : "found");
    return 4;
}

static void read_answer(lua_State *L, int opts, ldr_item *item)
{
    if (!lua_istable(L, opts))
        return;
    item->ttl_us = ldr_lua_field_us(L, opts, "ttl");
    item->stale_ttl_us = ldr_lua_field_us(L, opts, "stale_ttl");
    lua_getfield(L, opts, "version");
    if (!lua_isnil(L, -1))
        item->version = strtoll(lua_tostring(L, -1), NULL, 10);
    lua_getfield(L, opts, "store");
    item->no_store = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
    lua_pop(L, 2);
}

/* give(i, value, opts): item i is there. A value that cannot be kept fails the item: -> nil, code, message */
static int op_give(lua_State *L)
{
    ldr_lua_op *lop = check(L);
    ldr_item *item = item_of(L, lop);
    ldr_buf made = LDR_BUF(&lop->shared->cache->flow.mem);
    ldr_slice bytes;
    int code = ldr_lua_value(L, 3, &bytes, &item->kind, &made, &item->err);
    if (code == LDR_OK && item->kind == LDR_STRING) {
        ldr_buf_clear(&item->out);
        ldr_buf_add(&item->out, bytes.p, bytes.n);
        code = item->out.oom ? ldr_fail_oom(&item->err) : LDR_OK;
    } else if (code == LDR_OK) {
        ldr_buf_free(&item->out);
        item->out = made;
        made = LDR_BUF(made.mem);
    }
    ldr_buf_free(&made);
    item->state = code == LDR_OK ? LDR_FOUND : LDR_FAILED;
    read_answer(L, 4, item);
    if (code != LDR_OK)
        return ldr_lua_fail(L, &item->err);
    lua_pushboolean(L, true);
    return 1;
}

/* give_nothing(i, opts): a load says "there is no such thing"; a store or delete says "done" (opts.version) */
static int op_give_nothing(lua_State *L)
{
    ldr_lua_op *lop = check(L);
    ldr_item *item = item_of(L, lop);
    item->state = lop->want.request->verb == LDR_LOAD ? LDR_GONE : LDR_FOUND;
    item->kind = LDR_NONE;
    read_answer(L, 3, item);
    return 0;
}

/* give_ttl(i, ttl, stale_ttl): seconds, nil: the cache's */
static int op_give_ttl(lua_State *L)
{
    ldr_item *item = item_of(L, check(L));
    if (!lua_isnoneornil(L, 3))
        item->ttl_us = ldr_lua_us(L, 3);
    if (!lua_isnoneornil(L, 4))
        item->stale_ttl_us = ldr_lua_us(L, 4);
    return 0;
}

static int code_of(const char *word)
{
    for (int code = 1; code < LDR_N_CODES; code++)
        if (strcmp(ldr_code_word(code), word) == 0)
            return code;
    return LDR_LOADER;
}

/* give_error(i, code, message, version) */
static int op_give_error(lua_State *L)
{
    ldr_item *item = item_of(L, check(L));
    item->state = LDR_FAILED;
    ldr_fail(&item->err, code_of(luaL_checkstring(L, 3)), "%s", luaL_checkstring(L, 4));
    item->err.version = (int64_t)strtoll(luaL_optstring(L, 5, "0"), NULL, 10);
    return 0;
}

/* ---- results -------------------------------------------------------------------------------------------------- */

static size_t index_of(lua_State *L, const ldr_lua_op *lop)
{
    lua_Integer i = luaL_optinteger(L, 2, 1);
    if (i < 1 || (size_t)i > lop->n_keys)
        luaL_error(L, "result %d of %d", (int)i, (int)lop->n_keys);
    return (size_t)i - 1;
}

/* answer(i, no_value) -> true, value, outcome, tier, version, age, ttl, led, weaker | nil, code, message */
static int op_answer(lua_State *L)
{
    static const char *const tiers[] = {"none", "l1", "l2", "source", "loader"};
    ldr_lua_op *lop = check(L);
    const ldr_answer *a = ldr_get_answer(lop->op, index_of(L, lop));
    ldr_err err;
    if (a->err.code != LDR_OK)
        return ldr_lua_fail(L, &a->err);
    lua_pushboolean(L, true);
    if (lua_toboolean(L, 3) || a->kind == LDR_NONE)
        lua_pushnil(L);
    else if (ldr_lua_push(L, a->value, a->kind, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    int64_t now = ldr_clock_now(&lop->shared->cache->flow.clock);
    lua_pushstring(L, ldr_lua_outcome(a));
    lua_pushstring(L, tiers[a->tier]);
    ldr_lua_push_version(L, a->version);
    lua_pushnumber(L, a->tier == LDR_TIER_NONE ? 0 : seconds(now - a->asked_us));
    lua_pushnumber(L, a->soft_us == LDR_NEVER ? HUGE_VAL : seconds(a->soft_us - now));
    lua_pushboolean(L, ldr_get_led(lop->op, index_of(L, lop)));
    lua_pushboolean(L, a->weaker);
    return 9;
}

/* written(i) -> version | nil, code, message, version */
static int op_written(lua_State *L)
{
    ldr_lua_op *lop = check(L);
    int64_t version;
    const ldr_err *err = ldr_put_result(lop->op, index_of(L, lop), &version);
    if (err->code != LDR_OK)
        return ldr_lua_fail(L, err);
    ldr_lua_push_version(L, version);
    return 1;
}

/* expired() -> nil, code, message: what a caller is told whose deadline passed while the store was out */
static int op_expired(lua_State *L)
{
    ldr_lua_op *lop = check(L);
    ldr_err err;
    ldr_put_expired(lop->op, &err);
    return ldr_lua_fail(L, &err);
}

void ldr_lua_op_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"run", op_run},   {"submit", op_submit}, {"job_runs", op_job_runs}, {"job", op_job},   {"id", op_id},
        {"call", op_call}, {"item", op_item},     {"give", op_give}, {"give_nothing", op_give_nothing},
        {"give_ttl", op_give_ttl}, {"give_error", op_give_error}, {"answer", op_answer},
        {"written", op_written},   {"expired", op_expired},       {"finish", op_finish}, {NULL, NULL},
    };
    luaL_newmetatable(L, LDR_LUA_OP);
    lua_pushcfunction(L, op_finish);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, LDR_LUA_OP);
    lua_setfield(L, -2, "__metatable");
    lua_newtable(L);
    for (const luaL_Reg *m = methods; m->name; m++) {
        lua_pushcfunction(L, m->func);
        lua_setfield(L, -2, m->name);
    }
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
