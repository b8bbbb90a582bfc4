/* value_decode.c - one msgpack object is built on the Lua stack as it is read.
 *
 * The reader is msgpack-c's unpack template with its own stack of LDR_LUA_DEPTH levels: no recursion, no object tree
 * in between. Every callback leaves exactly one new value on the Lua stack, or takes the finished ones off it.
 * Invariant: `left` bounds what all containers announced by the bytes there are (an element takes one byte at least),
 * so a lie about a length fails before room is made for it. */
#include "bind/value.h"

#include <math.h>

#define MSGPACK_EMBED_STACK_SIZE LDR_LUA_DEPTH
#include <msgpack/unpack.h>
#include <msgpack/unpack_define.h>

#define BAD (-1)
#define SLOTS_A_LEVEL 4
#define A_STRING (-1)

typedef struct target {
    lua_State *L;
    size_t left;
    const char *why;
    int code;
} target;

typedef struct item {
    int i; /* of an array: how many are in it; of a string: A_STRING. The value itself is on the Lua stack */
} item;

static int bad(target *t, int code, const char *why)
{
    t->code = code;
    t->why = why;
    return BAD;
}

static int open_container(target *t, uint64_t n_entries, uint64_t n_objects)
{
    if (n_objects > t->left)
        return bad(t, LDR_CORRUPT, "announces more elements than there are bytes");
    if (n_entries > LDR_LUA_TABLE_ENTRIES)
        return bad(t, LDR_TOO_LARGE, "holds a table of too many elements");
#ifndef LDR_BUG_VALUE_ROOM
    t->left -= (size_t)n_objects;
#endif
    if (!lua_checkstack(t->L, SLOTS_A_LEVEL))
        return bad(t, LDR_CORRUPT, "is too deep for the Lua stack");
    return 0;
}

/* ---- the template's callbacks --------------------------------------------------------------------------------- */

static inline item reader_root(target *t)
{
    (void)t;
    return (item){0};
}

#define READ_NUMBER(name, type, push)                                                                               \
    static inline int reader_##name(target *t, type v, item *o)                                                  \
    {                                                                                                            \
        o->i = 0;                                                                                                \
        push;                                                                                                    \
        return 0;                                                                                                \
    }

READ_NUMBER(uint8, uint8_t, lua_pushinteger(t->L, v))
READ_NUMBER(uint16, uint16_t, lua_pushinteger(t->L, v))
READ_NUMBER(uint32, uint32_t, lua_pushinteger(t->L, (lua_Integer)v))
READ_NUMBER(int8, int8_t, lua_pushinteger(t->L, v))
READ_NUMBER(int16, int16_t, lua_pushinteger(t->L, v))
READ_NUMBER(int32, int32_t, lua_pushinteger(t->L, v))
READ_NUMBER(int64, int64_t, ldr_lua_pushint64(t->L, v))
READ_NUMBER(float, float, lua_pushnumber(t->L, (lua_Number)v))
READ_NUMBER(double, double, lua_pushnumber(t->L, v))

static inline int reader_uint64(target *t, uint64_t v, item *o)
{
    o->i = 0;
    if (v > INT64_MAX)
        return bad(t, LDR_CORRUPT, "holds an integer above 2^63 - 1");
    ldr_lua_pushint64(t->L, (int64_t)v);
    return 0;
}

static inline int reader_nil(target *t, item *o)
{
    o->i = 0;
    lua_pushlightuserdata(t->L, NULL);
    return 0;
}

static inline int reader_true(target *t, item *o)
{
    o->i = 0;
    lua_pushboolean(t->L, 1);
    return 0;
}

static inline int reader_false(target *t, item *o)
{
    o->i = 0;
    lua_pushboolean(t->L, 0);
    return 0;
}

static inline int reader_str(target *t, const char *base, const char *p, unsigned int n, item *o)
{
    o->i = A_STRING;
    lua_pushlstring(t->L, n ? p : base, n); /* p is not set for an empty one */
    return 0;
}

static inline int reader_bin(target *t, const char *base, const char *p, unsigned int n, item *o)
{
    return reader_str(t, base, p, n, o);
}

static inline int reader_ext(target *t, const char *base, const char *p, unsigned int n, item *o)
{
    (void)base, (void)p, (void)n;
    o->i = 0;
    return bad(t, LDR_CORRUPT, "holds an extension type");
}

static inline int reader_array(target *t, unsigned int n, item *o)
{
    o->i = 0;
    if (open_container(t, n, n) != 0)
        return BAD;
    lua_createtable(t->L, (int)n, 0);
    return 0;
}

static inline int reader_map(target *t, unsigned int n, item *o)
{
    o->i = 0;
    if (open_container(t, n, (uint64_t)n * 2) != 0)
        return BAD;
    lua_createtable(t->L, 0, (int)n);
    return 0;
}

static inline int reader_array_item(target *t, item *array, item o)
{
    (void)o;
    lua_rawseti(t->L, -2, ++array->i);
    return 0;
}

/* The key below the top is an int64_t cdata: as a key it would be found by nobody. */
static int number_key(target *t)
{
    int64_t v;
    if (!ldr_lua_cdata_integer(t->L, -2, &v) || (double)v >= 0x1p63 || (int64_t)(double)v != v)
        return bad(t, LDR_UNSUPPORTED, "holds an integer key that no number of LuaJIT equals");
    lua_pushnumber(t->L, (lua_Number)v);
    lua_replace(t->L, -3);
    return 0;
}

static int check_key(target *t)
{
    switch (lua_type(t->L, -2)) {
    case LUA_TBOOLEAN:
        return 0;
    case LUA_TNUMBER:
        return isnan(lua_tonumber(t->L, -2)) ? bad(t, LDR_CORRUPT, "holds a key that is not a number") : 0;
    case LDR_TCDATA:
        return number_key(t);
    default:
        return bad(t, LDR_CORRUPT, "holds a nil or a table as key");
    }
}

static inline int reader_map_item(target *t, item *map, item key, item o)
{
    (void)map, (void)o;
    if (key.i != A_STRING && check_key(t) != 0)
        return BAD;
    lua_rawset(t->L, -3);
    return 0;
}

/* ---- the template --------------------------------------------------------------------------------------------- */

#define msgpack_unpack_struct(name) struct reader##name
#define msgpack_unpack_func(ret, name) static inline ret reader##name
#define msgpack_unpack_callback(name) reader##name
#define msgpack_unpack_object item
#define msgpack_unpack_user target

#include <msgpack/unpack_template.h>

static int fail(lua_State *L, int top, const target *t, ldr_err *err)
{
    lua_settop(L, top);
    return ldr_fail(err, t->code, "the value's msgpack %s", t->why);
}

static int push_msgpack(lua_State *L, ldr_slice bytes, ldr_err *err)
{
    struct reader_context reader;
    int top = lua_gettop(L);
    size_t off = 0;
    reader.user = (target){.L = L, .left = bytes.n, .why = "is malformed or too deep", .code = LDR_CORRUPT};
    if (bytes.n > LDR_LUA_VALUE_BYTES || !lua_checkstack(L, SLOTS_A_LEVEL)) {
        bad(&reader.user, LDR_CORRUPT, "is longer than 512 MiB, or the Lua stack is full");
        return fail(L, top, &reader.user, err);
    }
    reader_init(&reader);
    int got = bytes.n ? reader_execute(&reader, bytes.p, bytes.n, &off) : 0;
    if (got == 0)
        bad(&reader.user, LDR_CORRUPT, "is cut off");
    else if (got > 0 && off != bytes.n)
        bad(&reader.user, LDR_CORRUPT, "has bytes behind it");
    else if (got > 0)
        return LDR_OK;
    return fail(L, top, &reader.user, err);
}

int ldr_lua_push(lua_State *L, ldr_slice bytes, int kind, ldr_err *err)
{
    switch (kind) {
    case LDR_STRING:
        lua_pushlstring(L, bytes.n ? bytes.p : "", bytes.n);
        return LDR_OK;
    case LDR_NONE:
        lua_pushnil(L);
        return LDR_OK;
    case LDR_MSGPACK:
        return push_msgpack(L, bytes, err);
    default:
        return ldr_fail(err, LDR_CORRUPT, "a value of kind %d is not for Lua", kind);
    }
}
