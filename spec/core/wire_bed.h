/* wire_bed.h - what the specs of the wire share: bytes in three ways of coming, memory with a high-water mark, damage. */
#ifndef SPEC_WIRE_BED_H
#define SPEC_WIRE_BED_H

#include "base/err.h"
#include "bed.h"
#include "hostile_replies.h"
#include "wire/link.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const ldr_reply_limits hostile_limits = {.bytes = HOSTILE_STRING, .elements = HOSTILE_ELEMENTS, .depth = HOSTILE_DEPTH};

enum way { WHOLE, BYTEWISE, CUT, N_WAYS };

/* How many of the n bytes left come next. */
static inline size_t next_cut(enum way way, size_t n, ldr_rng *rng)
{
    size_t most = (ldr_rng_next(rng) & 1) ? 7 : 700;
    size_t cut = way == WHOLE ? n : way == BYTEWISE ? 1 : 1 + ldr_rng_next(rng) % most;
    return cut < n ? cut : n;
}

/* Counts bytes; `most` is the highest sum of all that was alive. */
typedef struct weighed {
    ldr_mem mem;
    size_t now, most;
} weighed;

static inline void *weighed_realloc(void *ctx, void *p, size_t size)
{
    weighed *w = ctx;
    w->now -= p ? malloc_usable_size(p) : 0;
    if (size == 0) {
        free(p);
        return NULL;
    }
    p = realloc(p, size);
    w->now += malloc_usable_size(p);
    w->most = w->now > w->most ? w->now : w->most;
    return p;
}

static inline const ldr_mem *weighed_init(weighed *w)
{
    *w = (weighed){.mem = {.realloc = weighed_realloc, .ctx = w}};
    return &w->mem;
}

static inline void add_good(ldr_buf *b, ldr_rng *rng, int depth)
{
    static const char *const some[] = {"+OK\r\n", "-ERR no\r\n", ":42\r\n", ":-1\r\n", "$-1\r\n", "*-1\r\n", "$0\r\n\r\n",
                                       "$5\r\nhello\r\n", "$9\r\na\r\nb\0c\r\nd\r\n", "*0\r\n"};
    static const size_t sizes[] = {5, 9, 5, 5, 5, 5, 6, 11, 15, 4};
    size_t k = ldr_rng_next(rng) % 12;
    if (k < 10) {
        ldr_buf_add(b, some[k], sizes[k]);
    } else if (k == 10 || depth == HOSTILE_DEPTH) {
        size_t n = ldr_rng_next(rng) % 300;
        ldr_buf_fmt(b, "$%zu\r\n", n);
        while (n-- > 0)
            ldr_buf_byte(b, (unsigned char)ldr_rng_next(rng));
        ldr_buf_str(b, "\r\n");
    } else {
        size_t n = ldr_rng_next(rng) % 6;
        ldr_buf_fmt(b, "*%zu\r\n", n);
        while (n-- > 0)
            add_good(b, rng, depth + 1);
    }
}

static inline void damage_once(ldr_buf *b, ldr_rng *rng)
{
    static const char nasty[] = "+-:$*\r\n0123456789%~#_>|,(=!\0\xff";
    size_t at = b->n ? ldr_rng_next(rng) % b->n : 0;
    char c = nasty[ldr_rng_next(rng) % (sizeof nasty - 1)];
    if (b->n == 0 || !ldr_buf_reserve(b, 1))
        return;
    switch (ldr_rng_next(rng) % 5) {
    case 0: b->p[at] ^= (char)(1 << ldr_rng_next(rng) % 8); break;
    case 1: b->p[at] = c; break;
    case 2: memmove(b->p + at, b->p + at + 1, --b->n - at); break;
    case 3: memmove(b->p + at + 1, b->p + at, b->n++ - at); b->p[at] = c; break;
    default: b->n = at; break;
    }
}

/* A good reply with one to four things wrong. */
static inline void damaged(ldr_buf *b, ldr_rng *rng)
{
    ldr_buf_clear(b);
    add_good(b, rng, 0);
    for (size_t n = 1 + ldr_rng_next(rng) % 4; n > 0; n--)
        damage_once(b, rng);
}

static inline bool is_printable(const char *s)
{
    for (; *s; s++)
        if (*s < 0x20 || *s > 0x7e)
            return false;
    return true;
}

#endif
