/* value_encode.c - a Lua value is written as one msgpack object.
 *
 * Recursion is bounded by LDR_LUA_DEPTH. Each table on the way is a `place`, linked upward, from which an error's path
 * is told. Invariant: every function leaves the Lua stack as it found it, also when it fails, and no Lua code runs, so
 * a table is the same when it is counted and when it is written. */
#include "bind/value.h"
#include "record/pack.h"

#include <stdio.h>

#define SLOTS_A_LEVEL 4 /* key and value of the table's traversal, and two to look at them */
#define PATH_BYTES 160

typedef struct place {
    const struct place *up;
    int key;      /* stack index of the key under way; 0: it is `i` */
    lua_Integer i;
    int depth;
} place;

typedef struct writer {
    lua_State *L;
    ldr_buf *b;
    ldr_err *err;
} writer;

/* ---- where: "value.items[3]" --------------------------------------------------------------------------------- */

typedef struct path {
    char text[PATH_BYTES];
    size_t n;
} path;

static void path_add(path *p, const char *s)
{
    size_t n = strlen(s);
    if (n > sizeof p->text - 1 - p->n)
        n = sizeof p->text - 1 - p->n;
    memcpy(p->text + p->n, s, n);
    p->n += n;
    p->text[p->n] = '\0';
}

static bool is_name(ldr_slice s)
{
    if (s.n == 0 || s.n > 40 || (s.p[0] >= '0' && s.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c != '_' && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z'))
            return false;
    }
    return true;
}

static void path_add_string(path *p, ldr_slice s)
{
    char text[LDR_KEY_TEXT];
    bool name = is_name(s);
    path_add(p, name ? "." : "[\"");
    path_add(p, ldr_key_text(s, text));
    path_add(p, name ? "" : "\"]");
}

static void path_add_key(path *p, lua_State *L, const place *at)
{
    char text[48];
    int type = at->key ? lua_type(L, at->key) : LUA_TNIL;
    if (type == LUA_TSTRING) {
        size_t n;
        const char *s = lua_tolstring(L, at->key, &n);
        path_add_string(p, ldr_slice_of(s, n));
        return;
    }
    if (type == LUA_TNIL)
        snprintf(text, sizeof text, "[%lld]", (long long)at->i);
    else if (type == LUA_TNUMBER)
        snprintf(text, sizeof text, "[%.17g]", (double)lua_tonumber(L, at->key));
    else if (type == LUA_TBOOLEAN)
        snprintf(text, sizeof text, "[%s]", lua_toboolean(L, at->key) ? "true" : "false");
    else
        snprintf(text, sizeof text, "[a %s]", lua_typename(L, type));
    path_add(p, text);
}

static void path_of(path *p, lua_State *L, const place *at)
{
    const place *chain[LDR_LUA_DEPTH + 1];
    int n = 0;
    for (; at && n <= LDR_LUA_DEPTH; at = at->up)
        chain[n++] = at;
    p->n = 0;
    path_add(p, "value");
    while (n > 0)
        path_add_key(p, L, chain[--n]);
}

static int refuse(const writer *w, const place *at, int code, const char *why)
{
    path p;
    path_of(&p, w->L, at);
    return ldr_fail(w->err, code, "%s%s %s", p.text, p.n == sizeof p.text - 1 ? "..." : "", why);
}

static int refuse_type(const writer *w, const place *at, int idx)
{
    char why[64];
    int type = lua_type(w->L, idx);
    const char *name = type == LDR_TCDATA ? "cdata" : lua_typename(w->L, type);
    snprintf(why, sizeof why, "is %s%s and cannot be kept", type == LUA_TNIL ? "" : "a ", name);
    return refuse(w, at, LDR_UNSUPPORTED, why);
}

/* ---- scalars -------------------------------------------------------------------------------------------------- */

static int put_string(const writer *w, const place *at, int idx)
{
    size_t n;
    const char *s = lua_tolstring(w->L, idx, &n);
    if (n > LDR_LUA_VALUE_BYTES || w->b->n > LDR_LUA_VALUE_BYTES - n)
        return refuse(w, at, LDR_TOO_LARGE, "makes the value longer than 512 MiB");
    ldr_pack_str(w->b, ldr_slice_of(s, n));
    return LDR_OK;
}

static void put_number(const writer *w, int idx)
{
    int64_t v;
    if (ldr_lua_integral(w->L, idx, &v))
        ldr_pack_int(w->b, v);
    else
        ldr_pack_double(w->b, (double)lua_tonumber(w->L, idx));
}

static int put_cdata(const writer *w, const place *at, int idx)
{
    int64_t v;
    if (!ldr_lua_cdata_integer(w->L, idx, &v))
        return refuse_type(w, at, idx);
    ldr_pack_int(w->b, v);
    return LDR_OK;
}

static int put_null(const writer *w, const place *at, int idx)
{
    if (lua_touserdata(w->L, idx) != NULL)
        return refuse_type(w, at, idx);
    ldr_pack_nil(w->b);
    return LDR_OK;
}

/* ---- tables --------------------------------------------------------------------------------------------------- */

typedef struct shape {
    size_t n;
    bool array; /* keys are exactly 1..n, n >= 1 */
} shape;

/* n keys, all integers from 1 to n: then each of them is there, for no key is met twice. */
static shape shape_of(lua_State *L, int t)
{
    shape s = {0, true};
    int64_t top = 0, key;
    for (lua_pushnil(L); lua_next(L, t) != 0; lua_pop(L, 1)) {
        s.n++;
        if (!s.array)
            continue;
        s.array = lua_type(L, -2) == LUA_TNUMBER && ldr_lua_integral(L, -2, &key) && key >= 1;
        if (s.array && key > top)
            top = key;
    }
#ifdef LDR_BUG_VALUE_HOLES
    top = (int64_t)s.n;
#endif
    s.array = s.array && s.n > 0 && (uint64_t)top == s.n;
    return s;
}

static int put_value(const writer *w, const place *up, int idx);

static int put_array(const writer *w, place *here, int t, size_t n)
{
    ldr_pack_array(w->b, (uint32_t)n);
    for (here->i = 1; (size_t)here->i <= n && !w->b->oom; here->i++) {
        lua_rawgeti(w->L, t, (int)here->i);
        int code = put_value(w, here, lua_gettop(w->L));
        lua_pop(w->L, 1);
        if (code)
            return code;
    }
    return LDR_OK;
}

static int put_key(const writer *w, const place *here)
{
    switch (lua_type(w->L, here->key)) {
    case LUA_TSTRING:
        return put_string(w, here, here->key);
    case LUA_TNUMBER:
        put_number(w, here->key);
        return LDR_OK;
    case LUA_TBOOLEAN:
        ldr_pack_bool(w->b, lua_toboolean(w->L, here->key));
        return LDR_OK;
    default:
        return refuse(w, here, LDR_UNSUPPORTED, "cannot be kept: a key is a string, a number or a boolean");
    }
}

static int put_map(const writer *w, place *here, int t, size_t n)
{
    ldr_pack_map(w->b, (uint32_t)n);
    lua_pushnil(w->L);
    here->key = lua_gettop(w->L);
    while (lua_next(w->L, t) != 0) {
        int code = put_key(w, here);
        if (!code)
            code = put_value(w, here, here->key + 1);
        lua_pop(w->L, 1);
        if (code || w->b->oom) {
            lua_pop(w->L, 1);
            return code;
        }
    }
    return LDR_OK;
}

static int put_table(const writer *w, const place *up, int t)
{
    place here = {.up = up, .depth = up ? up->depth + 1 : 1};
    if (here.depth > LDR_LUA_DEPTH)
        return refuse(w, up, LDR_UNSUPPORTED, "is more than 100 tables deep, or the value holds itself");
    if (!lua_checkstack(w->L, SLOTS_A_LEVEL))
        return refuse(w, up, LDR_UNSUPPORTED, "is too deep for the Lua stack");
    if (w->b->n > LDR_LUA_VALUE_BYTES)
        return refuse(w, up, LDR_TOO_LARGE, "makes the value longer than 512 MiB");
    shape s = shape_of(w->L, t);
    if (s.n > LDR_LUA_TABLE_ENTRIES)
        return refuse(w, up, LDR_TOO_LARGE, "has too many elements");
    return s.array ? put_array(w, &here, t, s.n) : put_map(w, &here, t, s.n);
}

static int put_value(const writer *w, const place *up, int idx)
{
    switch (lua_type(w->L, idx)) {
    case LUA_TBOOLEAN:
        ldr_pack_bool(w->b, lua_toboolean(w->L, idx));
        return LDR_OK;
    case LUA_TNUMBER:
        put_number(w, idx);
        return LDR_OK;
    case LUA_TSTRING:
        return put_string(w, up, idx);
    case LUA_TTABLE:
        return put_table(w, up, idx);
    case LUA_TLIGHTUSERDATA:
        return put_null(w, up, idx);
    case LDR_TCDATA:
        return put_cdata(w, up, idx);
    default:
        return refuse_type(w, up, idx);
    }
}

static int borrow(const writer *w, int idx, ldr_slice *bytes)
{
    size_t n;
    const char *s = lua_tolstring(w->L, idx, &n);
    if (n > LDR_LUA_VALUE_BYTES)
        return refuse(w, NULL, LDR_TOO_LARGE, "is longer than 512 MiB");
    *bytes = ldr_slice_of(s, n);
    return LDR_OK;
}

int ldr_lua_value(lua_State *L, int idx, ldr_slice *bytes, int *kind, ldr_buf *made, ldr_err *err)
{
    writer w = {.L = L, .b = made, .err = err};
    idx = ldr_lua_absindex(L, idx);
    ldr_buf_clear(made);
    *kind = lua_type(L, idx) == LUA_TSTRING ? LDR_STRING : LDR_MSGPACK;
    if (*kind == LDR_STRING)
        return borrow(&w, idx, bytes);
    if (!lua_checkstack(L, SLOTS_A_LEVEL))
        return refuse(&w, NULL, LDR_UNSUPPORTED, "is too deep for the Lua stack");
    int code = put_value(&w, NULL, idx);
    if (code)
        return code;
    if (made->oom)
        return ldr_fail_oom(err);
    if (made->n > LDR_LUA_VALUE_BYTES)
        return refuse(&w, NULL, LDR_TOO_LARGE, "is longer than 512 MiB");
    *bytes = ldr_buf_slice(made);
    return LDR_OK;
}
