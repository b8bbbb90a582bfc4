/* op.c - an operation as userdata: begin it, run it as far as this host can without Lua, answer its calls, take its
 * results. The words that run() gives are the wants that are left for Lua: done call job spawn park. */
#include "bind/core.h"
#include "upkeep/errand.h"

#include <stdlib.h>
#include <unistd.h>

ldr_lua_op *ldr_lua_op_check(lua_State *L)
{
    ldr_lua_op *lop = luaL_checkudata(L, 1, LDR_LUA_OP);
    if (!lop->op)
        luaL_error(L, "a larder operation that has ended");
    return lop;
}

static _Atomic uint64_t last_id; /* never one twice in a process: a late wake-up must not reach another operation */

ldr_lua_op *ldr_lua_op_new(lua_State *L, ldr_lua_shared *s)
{
    ldr_lua_op *lop = lua_newuserdata(L, sizeof *lop);
    *lop = (ldr_lua_op){.shared = s, .bytes = LDR_BUF(&s->cache->flow.mem)};
    s->refs++;
    lop->id = atomic_fetch_add(&last_id, 1) + 1;
    luaL_getmetatable(L, LDR_LUA_OP);
    lua_setmetatable(L, -2);
    return lop;
}

bool ldr_lua_op_is_parents(const ldr_lua_op *lop)
{
    ldr_cache *c = lop->shared->cache;
    return lop->incarnation != c->incarnation || (atomic_load(c->gate) <= 0 && c->pid != getpid());
}

static void end(ldr_lua_op *lop)
{
    ldr_loop *loop = lop->shared->loop;
    if (lop->want.kind == LDR_WANT_TALK && lop->is_on_channel && atomic_load(&lop->job_runs)) {
        ldr_links_withdraw(lop->shared->cache->flow.links, loop, lop->want.exchange);
        atomic_store(&lop->job_runs, false);
    }
    while (atomic_load_explicit(&lop->job_runs, memory_order_acquire)) /* dropped meanwhile; its statement has a deadline */
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    if (lop->want.kind == LDR_WANT_SPAWN) /* Lua had no memory to take it */
        ldr_op_end(lop->want.op);
    ldr_op_end(lop->op);
    if (lop->is_posted)
        ldr_loop_forget(loop, lop->id);
}

void ldr_lua_op_finish(ldr_lua_op *lop)
{
    ldr_lua_shared *s = lop->shared;
    if (!s)
        return;
    ldr_mem mem = s->cache->flow.mem;
    if (!ldr_lua_op_is_parents(lop))
        end(lop);
    lop->op = NULL;
    lop->shared = NULL;
    ldr_buf_free(&lop->bytes);
    ldr_mem_free(&mem, lop->slices);
    ldr_mem_free(&mem, lop->kinds);
    ldr_lua_shared_leave(s);
}

/* finish(): ends it and frees what it holds; also by the collector */
static int op_finish(lua_State *L)
{
    ldr_lua_op_finish(luaL_checkudata(L, 1, LDR_LUA_OP));
    return 0;
}

/* ---- stepping ------------------------------------------------------------------------------------------------- */

/* An operation that was spawned becomes an op of its own: it belongs to the caller of run(). */
static void push_spawned(lua_State *L, ldr_lua_op *lop)
{
    ldr_lua_op *spawned = ldr_lua_op_new(L, lop->shared);
    spawned->incarnation = lop->incarnation;
    spawned->op = lop->want.op;
    spawned->op->owner.waker.id = spawned->id; /* it is woken for itself */
    spawned->is_posted = lop->is_posted;
    lop->want.op = NULL;
}

/* Work that talks to the shared shelf waits for others at times: the scheduler lets other tasks run meanwhile. */
static bool needs_lua(const ldr_want *want, bool away)
{
    if (away && want->op->flow->l2 && !want->background)
        return true;
    if (want->background)
        return !want->op->flow->source->ops->run || want->op->flow->asks_ttl;
    return ldr_load_uses_call(want->op);
}

/* How a host does what would block: while others run on Larder's thread, in the caller's place, or not at all. */
enum jobs { JOBS_AWAY, JOBS_IN_LINE, JOBS_NEVER };

static void run_here(ldr_op *op)
{
    ldr_sleeper s;
    ldr_sleeper_init(&s);
    op->owner.waker = ldr_errand_waker(&s);
    ldr_errand_run(op, &s);
    ldr_op_end(op);
    ldr_sleeper_fini(&s);
}

/* What C can do of a want by itself; false: it is for Lua. */
static bool satisfy(ldr_lua_op *lop, enum jobs jobs)
{
    bool in_line = jobs == JOBS_IN_LINE;
    ldr_cache *c = lop->shared->cache;
    ldr_flow *f = &c->flow;
    if (f->clock.is_virtual && !in_line) /* the test host decides when */
        return false;
    if (lop->want.kind == LDR_WANT_JOB && in_line) {
        f->source->ops->run(f->source, lop->want.request);
        return true;
    }
    if (lop->want.kind == LDR_WANT_TALK && in_line) {
        ldr_links_talk(f->links, lop->want.exchange, lop->want.deadline_us);
        return true;
    }
    if (lop->want.kind != LDR_WANT_SPAWN || needs_lua(&lop->want, jobs == JOBS_AWAY))
        return false;
    if (jobs == JOBS_NEVER && !lop->want.background)
        return false;
    bool away = !in_line || lop->want.background;
    if (!away || !ldr_errand_send(c->thread, lop->want.op)) {
        run_here(lop->want.op);
    }
    return true;
}

static double seconds(int64_t us)
{
    return us == LDR_NEVER ? HUGE_VAL : (double)us / 1e6;
}

/* run(in_line, never) -> "done" | "job" | "spawn", op, background | "call" or "park", deadline (seconds of the cache's
 * clock). never: the caller can neither wait nor be blocked; what somebody waits for is given to Lua, to be refused */
static int op_run(lua_State *L)
{
    static const char *const words[] = {"done", "job", "call", "spawn", "park", "job"}; /* a talk is a job too */
    ldr_lua_op *lop = ldr_lua_op_check(L);
    enum jobs jobs = lua_toboolean(L, 2) ? JOBS_IN_LINE : lua_toboolean(L, 3) ? JOBS_NEVER : JOBS_AWAY;
    lop->want = (ldr_want){.kind = LDR_WANT_DONE};
    if (!ldr_lua_op_is_parents(lop)) {
        do
            lop->want = ldr_op_step(lop->op);
        while (satisfy(lop, jobs));
    }
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

static void talk_ended(void *ctx, ldr_exchange *ex)
{
    ldr_lua_op *lop = ctx;
    (void)ex;
    job_ended(lop, lop->id);
}

/* What many coroutines ask goes out in one go where this state's own loop carries it. */
static bool submit(ldr_lua_op *lop, bool by_thread)
{
    ldr_cache *c = lop->shared->cache;
    ldr_flow *f = &c->flow;
    ldr_waker waker = {.wake = job_ended, .ctx = lop, .id = lop->id};
    if (lop->want.kind != LDR_WANT_TALK || by_thread || ldr_loop_is_foreign(lop->shared->loop))
        return ldr_errand_satisfy(c->thread, f, &lop->want, waker);
    lop->want.exchange->ended = talk_ended;
    lop->want.exchange->ctx = lop;
    lop->is_on_channel = true;
    return ldr_links_submit(f->links, lop->shared->loop, lop->want.exchange, lop->want.deadline_us);
}

static bool is_job(const ldr_lua_op *lop)
{
    return lop->want.kind == LDR_WANT_JOB || lop->want.kind == LDR_WANT_TALK;
}

/* submit(by_thread) -> true when the job was given to Larder's thread or the loop's channel, which posts this op's id; else run it
 * in line. by_thread: the host does not always wait in its loop */
static int op_submit(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    ldr_cache *c = lop->shared->cache;
    bool sent = false;
    if (is_job(lop) && lop->shared->loop && !c->flow.clock.is_virtual) {
        lop->is_posted = true;
        lop->is_on_channel = false;
        atomic_store(&lop->job_runs, true);
        sent = submit(lop, lua_toboolean(L, 2));
        if (!sent)
            atomic_store(&lop->job_runs, false);
    }
    lua_pushboolean(L, sent);
    return 1;
}

/* job_runs() -> boolean: the submitted job has not ended; a wake-up before that means nothing */
static int op_job_runs(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    lua_pushboolean(L, atomic_load_explicit(&lop->job_runs, memory_order_acquire) && !ldr_lua_op_is_parents(lop));
    return 1;
}

/* job(): runs the wanted job in line */
static int op_job(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    ldr_flow *f = &lop->shared->cache->flow;
    if (lop->want.kind == LDR_WANT_JOB)
        f->source->ops->run(f->source, lop->want.request);
    else if (lop->want.kind == LDR_WANT_TALK && !lop->want.exchange->done)
        ldr_links_talk(f->links, lop->want.exchange, lop->want.deadline_us);
    return 0;
}

static int op_id(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)((ldr_lua_op *)luaL_checkudata(L, 1, LDR_LUA_OP))->id);
    return 1;
}

/* ---- results -------------------------------------------------------------------------------------------------- */

static size_t index_of(lua_State *L, const ldr_lua_op *lop)
{
    lua_Integer i = luaL_optinteger(L, 2, 1);
    if (i < 1 || (size_t)i > lop->n_keys)
        luaL_error(L, "result %d of %d", (int)i, (int)lop->n_keys);
    return (size_t)i - 1;
}

/* Nobody was asked: there is neither. */
static void push_age_and_ttl(lua_State *L, const ldr_answer *a, int64_t now)
{
    if (a->tier == LDR_TIER_NONE) {
        lua_pushnil(L);
        lua_pushnil(L);
        return;
    }
    lua_pushnumber(L, seconds(now - a->asked_us));
    lua_pushnumber(L, a->soft_us == LDR_NEVER ? HUGE_VAL : seconds(a->soft_us - now));
}

/* answer(i, no_value) -> true, value, outcome, tier, version, age, ttl, led, weaker | nil, code, message */
static int op_answer(lua_State *L)
{
    static const char *const tiers[] = {"none", "l1", "l2", "source", "loader"};
    ldr_lua_op *lop = ldr_lua_op_check(L);
    const ldr_answer *a = ldr_get_answer(lop->op, index_of(L, lop));
    ldr_err err;
    if (ldr_lua_op_is_parents(lop)) {
        ldr_fail(&err, LDR_UNAVAILABLE, "the process was forked while this was asked; it goes on in the parent");
        return ldr_lua_fail(L, &err);
    }
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
    push_age_and_ttl(L, a, now);
    lua_pushboolean(L, ldr_get_led(lop->op, index_of(L, lop)));
    lua_pushboolean(L, a->weaker);
    return 9;
}

/* sought(values, outcomes): of a read that only looked, what it found; the others have no outcome */
static int op_sought(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    ldr_err err;
    for (size_t i = 0; i < lop->n_keys && !ldr_lua_op_is_parents(lop); i++) {
        const ldr_answer *a = ldr_get_answer(lop->op, i);
        if (!ldr_get_is_settled(lop->op, i) || a->err.code != LDR_OK || ldr_lua_push(L, a->value, a->kind, &err) != LDR_OK)
            continue;
        lua_rawseti(L, 2, (int)i + 1);
        lua_pushstring(L, ldr_lua_outcome(a));
        lua_rawseti(L, 3, (int)i + 1);
    }
    return 0;
}

/* written(i) -> version | nil, code, message, version */
static int op_written(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    int64_t version;
    ldr_err forked;
    const ldr_err *err = ldr_put_result(lop->op, index_of(L, lop), &version);
    if (ldr_lua_op_is_parents(lop)) {
        ldr_fail(&forked, LDR_LOST, "the process was forked while this was written; it goes on in the parent");
        err = &forked;
    }
    if (err->code != LDR_OK)
        return ldr_lua_fail(L, err);
    ldr_lua_push_version(L, version);
    return 1;
}

/* expired() -> nil, code, message: what a caller is told whose deadline passed while the store was out */
static int op_expired(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    ldr_err err;
    ldr_put_expired(lop->op, &err);
    return ldr_lua_fail(L, &err);
}

/* forgotten(i) -> true | nil, code, message */
static int op_forgotten(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    ldr_err forked;
    const ldr_err *err = ldr_forget_result(lop->op, lop->n_keys > 0 ? index_of(L, lop) : 0);
    if (ldr_lua_op_is_parents(lop)) {
        ldr_fail(&forked, LDR_LOST, "the process was forked while this was asked; it goes on in the parent");
        err = &forked;
    }
    if (err->code != LDR_OK)
        return ldr_lua_fail(L, err);
    lua_pushboolean(L, true);
    return 1;
}

/* was_held() -> boolean: what was touched */
static int op_was_held(lua_State *L)
{
    lua_pushboolean(L, ldr_forget_held(ldr_lua_op_check(L)->op));
    return 1;
}

static ldr_exchange *talk_of(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    return lop->want.kind == LDR_WANT_TALK ? lop->want.exchange : NULL;
}

/* bytes() -> what its talk sends, now; nil: it wants a job. feed(bytes): the whole answer; feed(): none came. For a carrier
 * in Lua: the fake server of a test bed */
static int op_bytes(lua_State *L)
{
    ldr_exchange *ex = talk_of(L);
    if (!ex)
        return 0;
    ex->sent = true;
    ex->sent_us = ldr_clock_now(&ldr_lua_op_check(L)->shared->cache->flow.clock);
    lua_pushlstring(L, ex->out.p, ex->out.n);
    return 1;
}

static int op_feed(lua_State *L)
{
    ldr_exchange *ex = talk_of(L);
    ldr_slice bytes;
    if (!ex)
        return luaL_error(L, "a larder operation that talks to nobody");
    bytes.p = luaL_optlstring(L, 2, "", &bytes.n);
    ldr_exchange_feed(ex, bytes);
    return 0;
}

void ldr_lua_op_register(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"run", op_run},   {"submit", op_submit}, {"job_runs", op_job_runs}, {"job", op_job},   {"id", op_id},
        {"call", ldr_lua_op_call}, {"item", ldr_lua_op_item},     {"give", ldr_lua_op_give}, {"give_nothing", ldr_lua_op_give_nothing},
        {"give_ttl", ldr_lua_op_give_ttl}, {"give_error", ldr_lua_op_give_error}, {"answer", op_answer}, {"sought", op_sought},
        {"written", op_written},   {"expired", op_expired}, {"forgotten", op_forgotten}, {"was_held", op_was_held},
        {"bytes", op_bytes}, {"feed", op_feed},       {"finish", op_finish}, {NULL, NULL},
    };
    ldr_lua_class(L, LDR_LUA_OP, methods, op_finish);
}
