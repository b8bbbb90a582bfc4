/* unpack.c - one switch over msgpack's first bytes. Invariant: p <= end, and nothing before the check is read. */
#include "record/unpack.h"

static size_t left(const ldr_unpack *u)
{
    return (size_t)(u->end - u->p);
}

static bool take(ldr_unpack *u, size_t width, uint64_t *v)
{
    if (left(u) < width)
        return false;
    *v = 0;
    for (size_t i = 0; i < width; i++)
        *v = *v << 8 | *u->p++;
    return true;
}

static bool nil(ldr_token *t)
{
    t->type = LDR_TOKEN_NIL;
    return true;
}

static bool boolean(ldr_token *t, bool b)
{
    t->type = LDR_TOKEN_BOOL;
    t->b = b;
    return true;
}

static bool integer(ldr_token *t, int64_t i)
{
    t->type = LDR_TOKEN_INT;
    t->i = i;
    return true;
}

static bool unsign(ldr_token *t, uint64_t u)
{
    if (u <= INT64_MAX)
        return integer(t, (int64_t)u);
    t->type = LDR_TOKEN_UINT;
    t->u = u;
    return true;
}

static bool sign(ldr_token *t, uint64_t v, size_t width)
{
    int spare = 64 - 8 * (int)width;
    return integer(t, (int64_t)(v << spare) >> spare);
}

static bool real(ldr_token *t, uint64_t bits, size_t width)
{
    uint32_t low = (uint32_t)bits;
    float f;
    t->type = LDR_TOKEN_DOUBLE;
    if (width == 8) {
        memcpy(&t->d, &bits, sizeof bits);
        return true;
    }
    memcpy(&f, &low, sizeof f);
    t->d = f;
    return true;
}

static bool bytes(ldr_unpack *u, ldr_token *t, int type, uint64_t n)
{
    if (left(u) < n)
        return false;
    t->type = type;
    t->s = ldr_slice_of(u->p, (size_t)n);
    u->p += n;
    return true;
}

static bool ext(ldr_unpack *u, ldr_token *t, uint64_t n)
{
    uint64_t kind;
    if (!take(u, 1, &kind))
        return false;
    t->ext_type = (int8_t)kind;
    return bytes(u, t, LDR_TOKEN_EXT, n);
}

static bool container(ldr_unpack *u, ldr_token *t, int type, uint64_t n)
{
#ifdef LDR_BUG_UNPACK_COUNT
    n = n > left(u) ? 0 : n;
#endif
    if (n > left(u) / (type == LDR_TOKEN_MAP ? 2 : 1))
        return false;
    t->type = type;
    t->n = (uint32_t)n;
    return true;
}

/* Tokens whose first byte is 0xc0 to 0xdf; widths double from one first byte to the next. */
static bool long_form(ldr_unpack *u, ldr_token *t, unsigned c)
{
    uint64_t v;
    switch (c) {
    case 0xc0:
        return nil(t);
    case 0xc2: case 0xc3:
        return boolean(t, c == 0xc3);
    case 0xc4: case 0xc5: case 0xc6:
        return take(u, (size_t)1 << (c - 0xc4), &v) && bytes(u, t, LDR_TOKEN_BIN, v);
    case 0xc7: case 0xc8: case 0xc9:
        return take(u, (size_t)1 << (c - 0xc7), &v) && ext(u, t, v);
    case 0xca: case 0xcb:
        return take(u, (size_t)4 << (c - 0xca), &v) && real(t, v, (size_t)4 << (c - 0xca));
    case 0xcc: case 0xcd: case 0xce: case 0xcf:
        return take(u, (size_t)1 << (c - 0xcc), &v) && unsign(t, v);
    case 0xd0: case 0xd1: case 0xd2: case 0xd3:
        return take(u, (size_t)1 << (c - 0xd0), &v) && sign(t, v, (size_t)1 << (c - 0xd0));
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8:
        return ext(u, t, UINT64_C(1) << (c - 0xd4));
    case 0xd9: case 0xda: case 0xdb:
        return take(u, (size_t)1 << (c - 0xd9), &v) && bytes(u, t, LDR_TOKEN_STR, v);
    case 0xdc: case 0xdd:
        return take(u, (size_t)2 << (c - 0xdc), &v) && container(u, t, LDR_TOKEN_ARRAY, v);
    case 0xde: case 0xdf:
        return take(u, (size_t)2 << (c - 0xde), &v) && container(u, t, LDR_TOKEN_MAP, v);
    default:
        return false; /* 0xc1 is never used */
    }
}

bool ldr_unpack_next(ldr_unpack *u, ldr_token *t)
{
    if (u->p == u->end)
        return false;
    unsigned c = *u->p++;
    if (c < 0x80)
        return integer(t, (int64_t)c);
    if (c >= 0xe0)
        return integer(t, (int64_t)c - 0x100);
    if (c < 0x90)
        return container(u, t, LDR_TOKEN_MAP, c & 0x0f);
    if (c < 0xa0)
        return container(u, t, LDR_TOKEN_ARRAY, c & 0x0f);
    if (c < 0xc0)
        return bytes(u, t, LDR_TOKEN_STR, c & 0x1f);
    return long_form(u, t, c);
}

/* `due` cannot overflow: it grows by at most the bytes left, each time that a byte is read. */
bool ldr_unpack_skip(ldr_unpack *u)
{
    ldr_token t;
    for (uint64_t due = 1; due > 0; due--) {
        if (!ldr_unpack_next(u, &t))
            return false;
        if (t.type == LDR_TOKEN_ARRAY)
            due += t.n;
        else if (t.type == LDR_TOKEN_MAP)
            due += 2 * (uint64_t)t.n;
    }
    return true;
}
