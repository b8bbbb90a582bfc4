/* op_call.c - what an operation asks of Lua functions, item by item, and how their answers get into it. */
#include "bind/core.h"

#include <stdlib.h>

static ldr_request *request_of(lua_State *L, ldr_lua_op *lop)
{
    if (lop->want.kind != LDR_WANT_CALL)
        luaL_error(L, "a larder operation that wants no call");
    return lop->want.request;
}

/* call() -> verb, number of items */
int ldr_lua_op_call(lua_State *L)
{
    static const char *const verbs[] = {"load", "store", "delete", "version", "changes", "ttl"};
    ldr_request *r = request_of(L, ldr_lua_op_check(L));
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
int ldr_lua_op_item(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    ldr_item *item = item_of(L, lop);
    ldr_err err;
    bool loaded = item->kind != LDR_NONE && item->out.n > 0 && lop->want.request->verb == LDR_TTL;
    lua_pushlstring(L, item->key.p, item->key.n);
    if (item->state == LDR_GONE)
        lua_pushnil(L);
    else if (ldr_lua_push(L, loaded ? ldr_buf_slice(&item->out) : item->value, loaded ? item->kind : item->value_kind, &err))
        lua_pushnil(L);
    if (item->if_version == LDR_MUST_BE_ABSENT)
        lua_pushboolean(L, false);
    else if (item->if_version == 0) /* a condition too: without it the store would be blind */
        lua_pushliteral(L, "0");
    else
        ldr_lua_push_version(L, item->if_version);
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
int ldr_lua_op_give(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
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
int ldr_lua_op_give_nothing(lua_State *L)
{
    ldr_lua_op *lop = ldr_lua_op_check(L);
    ldr_item *item = item_of(L, lop);
    item->state = lop->want.request->verb == LDR_LOAD ? LDR_GONE : LDR_FOUND;
    item->kind = LDR_NONE;
    read_answer(L, 3, item);
    return 0;
}

/* give_ttl(i, ttl, stale_ttl): seconds, nil: the cache's */
int ldr_lua_op_give_ttl(lua_State *L)
{
    ldr_item *item = item_of(L, ldr_lua_op_check(L));
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
int ldr_lua_op_give_error(lua_State *L)
{
    ldr_item *item = item_of(L, ldr_lua_op_check(L));
    item->state = LDR_FAILED;
    ldr_fail(&item->err, code_of(luaL_checkstring(L, 3)), "%s", luaL_checkstring(L, 4));
    item->err.version = (int64_t)strtoll(luaL_optstring(L, 5, "0"), NULL, 10);
    return 0;
}
