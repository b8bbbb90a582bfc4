/* op_begin.c - an operation's begin: the checked options of a verb -> an operation of the core that borrows nothing of
 * Lua's, for keys and values are copied into its userdata's own bytes. */
#include "bind/core.h"

#include <stdio.h>
#include <stdlib.h>

static void post(void *ctx, uint64_t id)
{
    ldr_loop_post(ctx, id);
}

/* parent: stack index of the load's op in whose loader this call is made */
static ldr_owner owner_of(lua_State *L, ldr_lua_op *lop, bool can_wait, int parent)
{
    ldr_owner owner = {.host = lop->shared, .can_wait = can_wait};
    lop->incarnation = lop->shared->cache->incarnation;
    if (lop->shared->loop)
        ldr_loop_claim(lop->shared->loop, lop->shared->cache->pid);
    if (lop->shared->loop && (can_wait || lop->shared->cache->flow.l2)) {
        owner.waker = (ldr_waker){.wake = post, .ctx = lop->shared->loop, .id = lop->id};
        lop->is_posted = true;
    }
    if (parent != 0 && lua_isuserdata(L, parent)) {
        ldr_lua_op *p = luaL_checkudata(L, parent, LDR_LUA_OP);
        owner.parent = p->op && p->shared == lop->shared && !ldr_lua_op_is_parents(p) ? p->op : NULL;
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
    a->only_seek = ldr_lua_field_bool(L, opts, "only_seek");
    int64_t waited_us = ldr_lua_field_us(L, opts, "waited");
    a->is_sought = waited_us != LDR_UNSET;
    a->waited_us = a->is_sought ? waited_us : 0;
}

/* cache:get_op(key | keys, opts, has_loader, can_wait, parent) -> op | nil, code, message */
int ldr_lua_get_op(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    lua_settop(L, 6);
    ldr_lua_op *lop = ldr_lua_op_new(L, ud->shared);
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
        ldr_owner owner = owner_of(L, lop, lua_toboolean(L, 5), 6);
        lop->is_get = true;
        lop->op = ldr_get_begin(f, &a, &owner);
        code = lop->op ? LDR_OK : ldr_fail_oom(&err);
    }
    if (code == LDR_OK)
        return 1;
    ldr_lua_op_finish(lop);
    return ldr_lua_fail(L, &err);
}

static int keep_values(lua_State *L, ldr_lua_cache *ud, ldr_lua_op *lop, ldr_err *err)
{
    int code = LDR_OK, top = lua_gettop(L);
    ldr_hit_buffers *b = ldr_lua_buffers(L, ud);
    for (size_t i = 0; i < lop->n_keys && code == LDR_OK; i++) {
        ldr_slice value;
        lua_rawgeti(L, 4, (int)(i + 1));
        code = ldr_lua_value(L, lua_gettop(L), &value, &lop->kinds[i], &b->made, err);
        if (code == LDR_OK)
            code = keep(lop, lop->n_keys + i, value, err);
        lua_pop(L, 1);
    }
    ldr_lua_buffers_done(ud, b);
    lua_settop(L, top);
    return code;
}

/* cache:put_op("set" | "delete", keys, values | nil, opts, parent) -> op | nil, code, message */
int ldr_lua_put_op(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    bool stores = *luaL_checkstring(L, 2) == 's';
    lua_settop(L, 6);
    ldr_lua_op *lop = ldr_lua_op_new(L, ud->shared);
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
        ldr_owner owner = owner_of(L, lop, false, 6);
        lop->op = ldr_put_begin(f, &w, &owner);
        code = lop->op ? LDR_OK : ldr_fail_oom(&err);
    }
    if (code == LDR_OK)
        return 1;
    ldr_lua_op_finish(lop);
    return ldr_lua_fail(L, &err);
}

static void read_forgetting(lua_State *L, int opts, ldr_forgetting *w)
{
    w->timeout_us = w->ttl_us = LDR_UNSET;
    if (!lua_istable(L, opts))
        return;
    w->timeout_us = ldr_lua_field_us(L, opts, "timeout");
    w->ttl_us = ldr_lua_field_us(L, opts, "ttl");
    lua_getfield(L, opts, "token");
    w->token = lua_isstring(L, -1) ? strtoull(lua_tostring(L, -1), NULL, 16) : 0;
    lua_pop(L, 1);
}

/* cache:forget_op("keys" | "all" | "touch" | "open" | "close", keys | nil, opts) -> op | nil, code, message. opts: timeout; ttl
 * (touch); token (open, close: what cache:token() gave) */
int ldr_lua_forget_op(lua_State *L)
{
    static const char *const kinds[] = {"keys", "all", "touch", "open", "close", NULL};
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_flow *f = &ud->shared->cache->flow;
    ldr_forgetting w = {.kind = luaL_checkoption(L, 2, NULL, kinds)};
    lua_settop(L, 4);
    ldr_lua_op *lop = ldr_lua_op_new(L, ud->shared);
    ldr_err err = {0};
    w.n_keys = w.kind == LDR_FORGET_ALL ? 0 : count_keys(L, 3);
    read_forgetting(L, 4, &w);
    int code = ldr_cache_enter(ud->shared->cache, &err);
    if (code == LDR_OK && !f->l2)
        code = ldr_fail(&err, LDR_UNSUPPORTED, "there is no l2");
    if (code == LDR_OK && !reserve(lop, w.n_keys, w.n_keys))
        code = ldr_fail_oom(&err);
    if (code == LDR_OK && w.n_keys > 0)
        code = keep_keys(L, lop, 3, &err);
    if (code == LDR_OK) {
        settle(lop, w.n_keys);
        w.keys = lop->slices;
        ldr_owner owner = owner_of(L, lop, false, 0);
        lop->op = ldr_forget_begin(f, &w, &owner);
        code = lop->op ? LDR_OK : ldr_fail_oom(&err);
    }
    if (code == LDR_OK)
        return 1;
    ldr_lua_op_finish(lop);
    return ldr_lua_fail(L, &err);
}

/* cache:tend_op() -> op: a round of tending, for a test host that carries talks itself; nothing: there is no need of one */
int ldr_lua_tend_op(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    ldr_cache *c = ud->shared->cache;
    ldr_err err = {0};
    if (!c->sharing.tends || ldr_cache_enter(c, &err) != LDR_OK)
        return 0;
    ldr_lua_op *lop = ldr_lua_op_new(L, ud->shared);
    ldr_owner owner = owner_of(L, lop, false, 0);
    lop->op = ldr_tend_begin(&c->sharing.tending, &owner);
    if (lop->op)
        return 1;
    ldr_lua_op_finish(lop);
    return 0;
}

/* cache:token() -> 16 hex digits */
int ldr_lua_token(lua_State *L)
{
    ldr_flow *f = &ldr_lua_cache_check(L, 1)->shared->cache->flow;
    char text[17];
    if (!f->l2)
        luaL_error(L, "there is no l2");
    snprintf(text, sizeof text, "%016llx", (unsigned long long)ldr_l2_token(f->l2));
    lua_pushstring(L, text);
    return 1;
}
