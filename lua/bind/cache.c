/* cache.c - a cache as userdata: what needs no operation (hits, tier-only sets, drops, figures, events). */
#include "bind/core.h"
#include "bind/memo.h"
#include "upkeep/errand.h"

#include <stdlib.h>

/* ---- life --------------------------------------------------------------------------------------------------- */

ldr_lua_cache *ldr_lua_cache_new(lua_State *L)
{
    ldr_lua_cache *ud = lua_newuserdata(L, sizeof *ud);
    *ud = (ldr_lua_cache){0};
    luaL_getmetatable(L, LDR_LUA_CACHE);
    lua_setmetatable(L, -2);
    ud->shared = calloc(1, sizeof *ud->shared);
    if (!ud->shared)
        luaL_error(L, "not enough memory");
    ud->shared->refs = 1;
    return ud;
}

void ldr_lua_shared_release(ldr_lua_shared *s)
{
    if (--s->refs > 0)
        return;
    ldr_cache_free(s->cache);
    free(s);
}

void ldr_lua_shared_leave(ldr_lua_shared *s)
{
    if (s->closed && !s->collected && s->refs == 2) /* this one and the closed cache's own */
        ldr_cache_strip(s->cache);
    ldr_lua_shared_release(s);
}

static void check_open(lua_State *L, const ldr_lua_cache *ud)
{
    if (!ud->shared || !ud->shared->cache)
        luaL_error(L, "a larder cache that was never opened, or is collected already");
}

ldr_lua_cache *ldr_lua_cache_check(lua_State *L, int idx)
{
    ldr_lua_cache *ud = luaL_checkudata(L, idx, LDR_LUA_CACHE);
    check_open(L, ud);
    return ud;
}

#define BUFFERS "larder.buffers"

static int buffers_gc(lua_State *L)
{
    ldr_hit_buffers *b = luaL_checkudata(L, 1, BUFFERS);
    ldr_buf_free(&b->bytes);
    ldr_buf_free(&b->made);
    return 0;
}

/* Finalizers run with the collector stopped. */
ldr_hit_buffers *ldr_lua_buffers(lua_State *L, ldr_lua_cache *ud)
{
    if (lua_gc(L, LUA_GCISRUNNING, 0) == 1)
        return &ud->hit;
    ldr_hit_buffers *b = lua_newuserdata(L, sizeof *b);
    *b = (ldr_hit_buffers){LDR_BUF(ud->hit.bytes.mem), LDR_BUF(ud->hit.made.mem)};
    if (luaL_newmetatable(L, BUFFERS)) {
        lua_pushcfunction(L, buffers_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return b;
}

void ldr_lua_buffers_done(ldr_lua_cache *ud, ldr_hit_buffers *b)
{
    if (b == &ud->hit)
        return;
    ldr_buf_free(&b->bytes);
    ldr_buf_free(&b->made);
}

static int cache_gc(lua_State *L)
{
    ldr_lua_cache *ud = luaL_checkudata(L, 1, LDR_LUA_CACHE);
    ldr_lua_shared *s = ud->shared;
    ud->shared = NULL;
    ldr_buf_free(&ud->hit.bytes);
    ldr_buf_free(&ud->hit.made);
    if (!s)
        return 0;
    if (s->cache)
        ldr_cache_shut(s->cache, 0);
    s->closed = s->collected = true;
    ldr_lua_shared_release(s);
    return 0;
}

/* A newer incarnation has another shelf, a newer era of hearing distrusts what the one before kept: until the memo is cleared
 * here it answers nothing. */
static int enter(lua_State *L, ldr_lua_cache *ud, int memo, ldr_err *err)
{
    int code = ldr_cache_enter(ud->shared->cache, err);
    if (code != LDR_OK || !memo)
        return code;
    int32_t pass = atomic_load_explicit(ud->shared->cache->gate, memory_order_acquire);
    if (ud->pass != pass && lua_isuserdata(L, memo)) {
        ldr_lua_memo_clear(L, memo);
        ud->pass = pass;
    }
    return code;
}

/* The key at idx, checked; the code tells what is wrong with it or with the cache. */
static int enter_with_key(lua_State *L, ldr_lua_cache *ud, ldr_slice *key, int memo, ldr_err *err)
{
    key->p = luaL_checklstring(L, 2, &key->n);
    int code = enter(L, ud, memo, err);
    return code == LDR_OK ? ldr_cache_check_key(*key, err) : code;
}

/* ---- reads -------------------------------------------------------------------------------------------------- */

static int push_answer(lua_State *L, const ldr_answer *a)
{
    ldr_err err;
    if (a->kind == LDR_NONE)
        lua_pushnil(L);
    else if (ldr_lua_push(L, a->value, a->kind, &err) != LDR_OK)
        return 0;
    lua_pushstring(L, ldr_lua_outcome(a));
    return 2;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void note_hit(void *meter, int64_t ns)
{
    ldr_meter_note(meter, LDR_LAT_l1, ns, LDR_LUA_MEMO_SAMPLE);
    ldr_meter_note(meter, LDR_LAT_get, ns, LDR_LUA_MEMO_SAMPLE);
}

static int level_at(lua_State *L, int idx, const ldr_flow *f)
{
    const char *word = lua_tostring(L, idx);
    return !word ? f->level : *word == 'w' ? LDR_WEAK : LDR_EVENTUAL;
}

/* The key is at 2, the level, where it is not the cache's, at 3. */
static ldr_look look_for(lua_State *L, const ldr_flow *f, ldr_slice key)
{
    return (ldr_look){.key = key, .hash = ldr_hash(key, f->seed), .level = level_at(L, 3, f), .touch = true,
                      .now_us = ldr_clock_now(&f->clock)};
}

/* What a hit gives, 0 where there is none; *held then says whether something is held all the same. */
static int hit(lua_State *L, ldr_lua_cache *ud, ldr_look *look, bool *held)
{
    ldr_flow *f = &ud->shared->cache->flow;
    ldr_err err;
    ldr_slice key;
    ldr_answer a;
    if (enter_with_key(L, ud, &key, 4, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    *look = look_for(L, f, key);
    bool timed = ud->ticks++ % LDR_LUA_MEMO_SAMPLE == 0; /* one in so many is timed and stands for all */
    int64_t begun = timed ? now_ns() : 0;
    bool remembers = lua_type(L, 4) == LUA_TUSERDATA;
    ldr_hit_buffers *b = ldr_lua_buffers(L, ud);
    int n = ldr_flow_hit(f, look, b, &a) ? push_answer(L, &a) : 0;
    *held = a.tier == LDR_TIER_L1;
    ldr_lua_buffers_done(ud, b);
    if (n == 0)
        return 0;
    if (timed)
        note_hit(f->meter, now_ns() - begun);
    if (n == 2 && a.outcome == LDR_HIT_L1 && a.ref.at && remembers)
        ldr_lua_memo_put(L, 4, 2, lua_gettop(L) - 1, &a.ref, a.soft_us);
    return n;
}

/* hit(key, level, memo) -> value, outcome; nothing when an operation is needed; nil, code, message when refused */
static int cache_hit(lua_State *L)
{
    ldr_look look;
    bool held;
    return hit(L, ldr_lua_cache_check(L, 1), &look, &held);
}

/* The userdata at 1 is a cache, what is at 2 a string. */
static int read_known(lua_State *L)
{
    ldr_look look;
    bool held;
    ldr_lua_cache *ud = lua_touserdata(L, 1);
    check_open(L, ud);
    int n = hit(L, ud, &look, &held);
    return n ? n : ldr_lua_load_now(L, &look, held);
}

/* read(key, nil, memo) -> as hit; where that gives nothing, as load; nothing: the key is no string. Only where the source
 * needs no Lua. */
static int cache_read(lua_State *L)
{
    luaL_checkudata(L, 1, LDR_LUA_CACHE);
    return lua_type(L, 2) == LUA_TSTRING ? read_known(L) : 0;
}

/* peek(key) -> value, outcome | nil, "miss" */
static int cache_peek(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_err err;
    ldr_slice key;
    ldr_answer a;
    if (enter_with_key(L, ud, &key, 0, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    ldr_hit_buffers *b = ldr_lua_buffers(L, ud);
    int n = ldr_flow_peek(&ud->shared->cache->flow, key, b, &a) ? push_answer(L, &a) : 0;
    ldr_lua_buffers_done(ud, b);
    if (n > 0)
        return n;
    lua_pushnil(L);
    lua_pushliteral(L, "miss");
    return 2;
}

/* entry(key, level) -> value, outcome, version, age, ttl; nothing when an operation is needed */
static int cache_entry(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    ldr_err err;
    ldr_slice key;
    ldr_answer a;
    if (enter_with_key(L, ud, &key, 0, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    ldr_look look = look_for(L, f, key);
    ldr_hit_buffers *b = ldr_lua_buffers(L, ud);
    int n = ldr_flow_hit(f, &look, b, &a) ? push_answer(L, &a) : 0;
    ldr_lua_buffers_done(ud, b);
    if (n == 0)
        return 0;
    int64_t now = ldr_clock_now(&f->clock);
    ldr_lua_push_version(L, a.version);
    lua_pushnumber(L, (double)(now - a.asked_us) / 1e6);
    lua_pushnumber(L, a.soft_us == LDR_NEVER ? HUGE_VAL : (double)(a.soft_us - now) / 1e6);
    return 5;
}

/* ---- writes to the tiers alone -------------------------------------------------------------------------------- */

static int64_t version_at(lua_State *L, int table, const char *name, int64_t fallback)
{
    lua_getfield(L, table, name);
    int64_t v = fallback;
    if (lua_isboolean(L, -1))
        v = LDR_MUST_BE_ABSENT;
    else if (!lua_isnil(L, -1))
        v = strtoll(lua_tostring(L, -1), NULL, 10);
    lua_pop(L, 1);
    return v;
}

void ldr_lua_read_writing(lua_State *L, int opts, ldr_writing *w)
{
    w->if_version = LDR_ANY;
    w->timeout_us = w->ttls.ttl_us = w->ttls.stale_us = w->ttls.negative_us = LDR_UNSET;
    if (!lua_istable(L, opts))
        return;
    w->level = ldr_lua_field_word(L, opts, "level", ldr_lua_levels, w->level);
    w->timeout_us = ldr_lua_field_us(L, opts, "timeout");
    w->ttls.ttl_us = ldr_lua_field_us(L, opts, "ttl");
    w->ttls.stale_us = ldr_lua_field_us(L, opts, "stale_ttl");
    w->version = version_at(L, opts, "version", 0);
    w->if_version = version_at(L, opts, "if_version", LDR_ANY);
}

/* tier_set(key, value, opts) -> version | nil, code, message, version */
static int cache_tier_set(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    ldr_err err;
    ldr_slice key, value;
    int kind;
    if (enter_with_key(L, ud, &key, 0, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    ldr_writing w = {.verb = LDR_STORE, .keys = &key, .values = &value, .kinds = &kind, .n_keys = 1, .level = f->level};
    ldr_lua_read_writing(L, 4, &w);
    int64_t version;
    ldr_hit_buffers *b = ldr_lua_buffers(L, ud);
    int code = ldr_lua_value(L, 3, &value, &kind, &b->made, &err);
    if (code == LDR_OK)
        code = ldr_put_now(f, &w, &version, &err);
    ldr_lua_buffers_done(ud, b);
    if (code != LDR_OK)
        return ldr_lua_fail(L, &err);
    ldr_lua_push_version(L, version);
    return 1;
}

/* fits(value) -> boolean: can the value be kept at all? */
static int cache_fits(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_slice bytes;
    int kind;
    ldr_err err;
    ldr_hit_buffers *b = ldr_lua_buffers(L, ud);
    lua_pushboolean(L, ldr_lua_value(L, 2, &bytes, &kind, &b->made, &err) == LDR_OK);
    ldr_lua_buffers_done(ud, b);
    return 1;
}

/* writes_source("set" | "delete") -> boolean: does the write need an operation? */
static int cache_writes_source(lua_State *L)
{
    ldr_flow *f = &ldr_lua_cache_check(L, 1)->shared->cache->flow;
    int verb = *luaL_checkstring(L, 2) == 's' ? LDR_STORE : LDR_ERASE;
    lua_pushboolean(L, ldr_put_needs_source(f, verb));
    return 1;
}

/* shares() -> boolean: is there a shared shelf? Then each write, invalidation and touch needs an operation */
static int cache_shares(lua_State *L)
{
    lua_pushboolean(L, ldr_lua_cache_check(L, 1)->shared->cache->flow.l2 != NULL);
    return 1;
}

static int cache_drop(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_err err;
    ldr_slice key;
    if (enter_with_key(L, ud, &key, 0, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    ldr_drop(&ud->shared->cache->flow, key, LDR_CAUSE_INVALIDATE);
    ldr_flow_spread(&ud->shared->cache->flow, key, 0);
    lua_pushboolean(L, true);
    return 1;
}

static int cache_drop_all(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_err err;
    if (enter(L, ud, 0, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    ldr_drop_all(&ud->shared->cache->flow, LDR_CAUSE_ALL);
    ldr_flow_spread(&ud->shared->cache->flow, ldr_slice_str(""), 0);
    lua_pushboolean(L, true);
    return 1;
}

static int cache_touch(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_err err;
    ldr_slice key;
    if (enter_with_key(L, ud, &key, 0, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    lua_pushboolean(L, ldr_touch(&ud->shared->cache->flow, key, ldr_lua_us(L, 3)));
    return 1;
}

/* ---- figures and events --------------------------------------------------------------------------------------- */

static void set_number(lua_State *L, const char *name, double v)
{
    lua_pushnumber(L, v);
    lua_setfield(L, -2, name);
}

static void set_count(lua_State *L, const char *name, uint64_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
    lua_setfield(L, -2, name);
}

static void push_latency(lua_State *L, const ldr_meter *m, enum ldr_latency what)
{
    static const double q[] = {0.5, 0.95, 0.99};
    int64_t ns[3];
    lua_createtable(L, 0, 4);
    set_count(L, "count", ldr_meter_quantiles(m, what, q, ns, 3));
    set_number(L, "p50", (double)ns[0] / 1e9);
    set_number(L, "p95", (double)ns[1] / 1e9);
    set_number(L, "p99", (double)ns[2] / 1e9);
}

/* stats() -> table of counters, entries, bytes, latency. Works on a closed cache too, with what was counted. */
static int cache_stats(lua_State *L)
{
    ldr_flow *f = &ldr_lua_cache_check(L, 1)->shared->cache->flow;
    static const char *const names[] = {"get", "l1", "l2", "load"};
    lua_createtable(L, 0, LDR_N_METRICS + 8);
    for (int i = 0; i < LDR_N_METRICS; i++)
        set_count(L, ldr_metric_name(i), ldr_meter_sum(f->meter, i));
    set_count(L, "entries", f->shelf ? ldr_shelf_entries(f->shelf) : 0);
    set_count(L, "bytes", f->shelf ? ldr_shelf_bytes(f->shelf) : 0);
    lua_createtable(L, 0, LDR_N_LATENCIES);
    for (int i = 0; i < LDR_N_LATENCIES; i++) {
        push_latency(L, f->meter, i);
        lua_setfield(L, -2, names[i]);
    }
    lua_setfield(L, -2, "latency");
    return 1;
}

/* listen{ name = true, ... }: from now on these kinds are noted */
static int cache_listen(lua_State *L)
{
    ldr_flow *f = &ldr_lua_cache_check(L, 1)->shared->cache->flow;
    uint32_t mask = 0;
    luaL_checktype(L, 2, LUA_TTABLE);
    for (int kind = 0; kind < LDR_N_EVENTS; kind++)
        if (ldr_lua_field_bool(L, 2, ldr_event_name(kind)))
            mask |= 1u << kind;
    ldr_events_listen(&f->events, mask);
    return 0;
}

static void set_word(lua_State *L, const char *name, const char *word)
{
    if (!word || !*word)
        return;
    lua_pushstring(L, word);
    lua_setfield(L, -2, name);
}

static void push_event(lua_State *L, const ldr_event *e)
{
    lua_createtable(L, 0, 8);
    set_word(L, "name", ldr_event_name(e->kind));
    lua_pushlstring(L, e->key.p, e->key.n);
    lua_setfield(L, -2, e->of_peer ? "peer" : "key");
    set_word(L, "origin", e->remote ? "remote" : "local");
    set_word(L, "tier", e->tier);
    set_word(L, "outcome", e->outcome);
    set_word(L, "reason", e->reason);
    set_word(L, "cause", e->cause);
    set_word(L, "code", e->code);
    set_word(L, "message", e->message);
    if (e->kind == LDR_EVENT_hit || e->kind == LDR_EVENT_stale)
        set_number(L, "age", (double)e->age_us / 1e6);
    if (e->kind == LDR_EVENT_load)
        set_number(L, "seconds", (double)e->took_us / 1e6);
    if (e->kind == LDR_EVENT_evict || e->kind == LDR_EVENT_expire)
        set_count(L, "bytes", e->bytes);
    if (e->version > 0) {
        ldr_lua_push_version(L, e->version);
        lua_setfield(L, -2, "version");
    }
}

/* event() -> table | nil: the oldest event not yet taken */
static int cache_event(lua_State *L)
{
    ldr_flow *f = &ldr_lua_cache_check(L, 1)->shared->cache->flow;
    ldr_event *e = ldr_events_take(&f->events);
    if (!e)
        return 0;
    push_event(L, e);
    ldr_events_drop(&f->events, e);
    return 1;
}

/* ---- time and end ----------------------------------------------------------------------------------------------- */

static int cache_now(lua_State *L)
{
    lua_pushnumber(L, (double)ldr_clock_now(&ldr_lua_cache_check(L, 1)->shared->cache->flow.clock) / 1e6);
    return 1;
}

/* advance(seconds): a virtual clock only */
static int cache_advance(lua_State *L)
{
    ldr_clock *clock = &ldr_lua_cache_check(L, 1)->shared->cache->flow.clock;
    if (!clock->is_virtual)
        return luaL_error(L, "advance: this cache has the machine's clock");
    ldr_clock_advance(clock, ldr_lua_us(L, 2));
    return 0;
}

/* poll(look_only) -> true | nil, code, message. look_only: the source is asked for changes; who polls carries the rest */
static int cache_poll(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_err err;
    if (enter(L, ud, 0, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    if (lua_toboolean(L, 2))
        ldr_cache_look(ud->shared->cache);
    else
        ldr_cache_poll(ud->shared->cache);
    lua_pushboolean(L, true);
    return 1;
}

/* hear(bytes): the bell rang; hear(true): a subscription stands from now on; hear(false): it does no more. For a test host,
 * which has no listener */
static int cache_hear(lua_State *L)
{
    ldr_sharing *s = &ldr_lua_cache_check(L, 1)->shared->cache->sharing;
    ldr_slice bytes;
    if (!s->tends)
        return luaL_error(L, "hear: this cache has a listener of its own, or nothing to hear");
    if (lua_isboolean(L, 2)) {
        (lua_toboolean(L, 2) ? ldr_tend_subscribed : ldr_tend_lost)(&s->tending);
        return 0;
    }
    bytes.p = luaL_checklstring(L, 2, &bytes.n);
    ldr_tend_message(&s->tending, bytes);
    return 0;
}

/* enter() -> true | nil, code, message */
static int cache_enter(lua_State *L)
{
    ldr_err err;
    if (enter(L, ldr_lua_cache_check(L, 1), 0, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

static int cache_close(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    int64_t wait = ldr_lua_us(L, 2);
    ldr_cache_shut(ud->shared->cache, wait == LDR_UNSET ? 0 : wait);
    ud->shared->closed = true;
    if (ud->shared->refs == 1)
        ldr_cache_strip(ud->shared->cache);
    return 0;
}

/* memo(n, shared) -> the memo of this cache */
static int cache_memo(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_cache *c = ud->shared->cache;
    ldr_lua_memo *m = ldr_lua_memo_new(L, (uint32_t)luaL_checkinteger(L, 2), &c->flow.clock, (const int32_t *)c->gate);
    m->shared = lua_toboolean(L, 3);
    m->sampled = note_hit;
    m->sampled_arg = c->flow.meter;
    m->read = read_known;
    m->owner = ud;
    return 1;
}

static const luaL_Reg methods[] = {
    {"hit", cache_hit},         {"peek", cache_peek},     {"entry", cache_entry},     {"tier_set", cache_tier_set},
    {"drop", cache_drop},       {"touch", cache_touch},   {"drop_all", cache_drop_all}, {"stats", cache_stats},
    {"listen", cache_listen},   {"event", cache_event},   {"now", cache_now},         {"advance", cache_advance},
    {"poll", cache_poll},       {"enter", cache_enter},   {"close", cache_close},     {"memo", cache_memo},
    {"fits", cache_fits},       {"writes_source", cache_writes_source}, {"get_op", ldr_lua_get_op}, {"put_op", ldr_lua_put_op},
    {"mark", ldr_lua_mark},     {"forget_op", ldr_lua_forget_op}, {"token", ldr_lua_token}, {"shares", cache_shares},
    {"read", cache_read},       {"read_many", ldr_lua_read_many}, {"quick", ldr_lua_quick}, {"trouble", ldr_lua_trouble}, {"tend_op", ldr_lua_tend_op},
    {"hear", cache_hear},
    {NULL, NULL},
};

void ldr_lua_cache_register(lua_State *L)
{
    ldr_lua_class(L, LDR_LUA_CACHE, methods, cache_gc);
    lua_pushcfunction(L, ldr_lua_open_options);
    lua_setfield(L, -2, "open");
}
