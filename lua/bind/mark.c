/* mark.c - the marks of cache:write(keys, fn): from mark to release the keys are filled by nobody. */
#include "bind/core.h"

#include <unistd.h>

#define LDR_LUA_MARKS "larder.marks"

typedef struct marks {
    ldr_lua_shared *shared;
    uint32_t incarnation; /* the cache's: in a forked child the marks are the parent's */
    size_t n;
    ldr_mark *mark;
    ldr_slice *keys;
    ldr_buf bytes;
} marks;

typedef struct erasing {
    ldr_flow *flow;
    ldr_slice key;
} erasing;

static void erase(void *ctx, enum ldr_leave leave)
{
    erasing *e = ctx;
    (void)leave;
    if (e->flow->shelf)
        ldr_shelf_erase(e->flow->shelf, e->key, ldr_hash(e->key, e->flow->seed));
}

static void tell(ldr_flow *f, ldr_slice key)
{
    if (f->resend)
        ldr_resend_add(f->resend, key, 0);
    ldr_flow_invalidated(f, key, LDR_CAUSE_WRITE);
    ldr_flow_spread(f, key, 0);
}

/* is_told: the shared shelf, the namesakes and the handlers know already. */
static void release(marks *m, bool is_told)
{
    if (!m->shared)
        return;
    ldr_flow *f = &m->shared->cache->flow;
    bool is_here = m->incarnation == m->shared->cache->incarnation && m->shared->cache->pid == getpid();
    for (size_t i = 0; is_here && i < m->n; i++) {
        if (!m->mark[i].state)
            continue;
        ldr_mark_end(f->flights, &m->mark[i], 0, erase, &(erasing){f, m->keys[i]});
        if (!is_told)
            tell(f, m->keys[i]);
    }
    ldr_mem mem = f->mem;
    ldr_mem_free(&mem, m->mark);
    ldr_mem_free(&mem, m->keys);
    ldr_buf_free(&m->bytes);
    ldr_lua_shared_leave(m->shared);
    m->shared = NULL;
}

/* release(is_told) */
static int marks_release(lua_State *L)
{
    release(luaL_checkudata(L, 1, LDR_LUA_MARKS), lua_toboolean(L, 2));
    return 0;
}

static bool take_keys(lua_State *L, marks *m, size_t n, ldr_err *err)
{
    const ldr_mem *mem = &m->shared->cache->flow.mem;
    m->bytes = LDR_BUF(mem);
    m->mark = ldr_mem_zero(mem, n + 1, sizeof *m->mark);
    m->keys = ldr_mem_zero(mem, n + 1, sizeof *m->keys);
    for (size_t i = 0; m->mark && m->keys && i < n; i++) {
        lua_rawgeti(L, 2, (int)(i + 1));
        m->keys[i].p = lua_tolstring(L, -1, &m->keys[i].n);
        lua_pop(L, 1);
        if (ldr_cache_check_key(m->keys[i], err) != LDR_OK)
            return false;
        ldr_buf_add(&m->bytes, m->keys[i].p, m->keys[i].n);
    }
    if (!m->mark || !m->keys || m->bytes.oom) {
        ldr_fail_oom(err);
        return false;
    }
    const char *at = m->bytes.p;
    for (size_t i = 0; i < n; at += m->keys[i++].n)
        m->keys[i].p = at;
    return true;
}

/* cache:mark(keys) -> marks | nil, code, message */
int ldr_lua_mark(lua_State *L)
{
    ldr_lua_cache *ud = ldr_lua_cache_check(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    ldr_err err = {0};
    if (ldr_cache_enter(ud->shared->cache, &err) != LDR_OK)
        return ldr_lua_fail(L, &err);
    marks *m = lua_newuserdata(L, sizeof *m);
    *m = (marks){.shared = ud->shared, .incarnation = ud->shared->cache->incarnation};
    ud->shared->refs++;
    luaL_getmetatable(L, LDR_LUA_MARKS);
    lua_setmetatable(L, -2);
    size_t n = ldr_lua_rawlen(L, 2);
    bool ok = take_keys(L, m, n, &err);
    ldr_flow *f = &ud->shared->cache->flow;
    while (ok && m->n < n) {
        ok = ldr_mark_begin(f->flights, m->keys[m->n], ldr_hash(m->keys[m->n], f->seed), &m->mark[m->n]);
        m->n += ok;
        if (!ok)
            ldr_fail_oom(&err);
    }
    if (ok)
        return 1;
    release(m, true);
    return ldr_lua_fail(L, &err);
}

void ldr_lua_mark_register(lua_State *L)
{
    static const luaL_Reg methods[] = {{"release", marks_release}, {NULL, NULL}};
    ldr_lua_class(L, LDR_LUA_MARKS, methods, marks_release);
}
