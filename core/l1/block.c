/* block.c - records in and out of the arena, by whole words that readers may look at meanwhile. */
#include "l1/block.h"

#include "base/clock.h"
#include <endian.h>
#include <string.h>

#define TIME_BITS 48
#define TIME_MOST (((int64_t)1 << (TIME_BITS - 1)) - 1) /* as soft expiry: never */
#define TIME_MASK (((uint64_t)1 << TIME_BITS) - 1)
#define COARSE_SHIFT 12
#define COARSE_ASKED ((uint32_t)1 << 31)
#define COARSE_SOFT ((uint32_t)1 << 30)

/* ---- times ------------------------------------------------------------------------------------------------- */

static uint64_t time_in(int64_t us, int64_t origin_us, uint32_t coarse_bit, uint32_t *sizes)
{
    int64_t t;
    if (us == LDR_NEVER)
        return (uint64_t)TIME_MOST;
    if (__builtin_sub_overflow(us, origin_us, &t))
        t = us < 0 ? INT64_MIN : INT64_MAX;
    if (t < TIME_MOST && t > -TIME_MOST)
        return (uint64_t)t & TIME_MASK;
    *sizes |= coarse_bit;
    t >>= COARSE_SHIFT;
    t = t > TIME_MOST ? TIME_MOST : t < -TIME_MOST ? -TIME_MOST : t;
    return (uint64_t)t & TIME_MASK;
}

static int64_t time_out(uint64_t bits, int64_t origin_us, bool coarse)
{
    int64_t t = (int64_t)(bits << (64 - TIME_BITS)) >> (64 - TIME_BITS), us;
    if (t == TIME_MOST && !coarse)
        return LDR_NEVER;
    if (coarse)
        t = (int64_t)((uint64_t)t << COARSE_SHIFT);
    if (__builtin_add_overflow(t, origin_us, &us))
        return t < 0 ? INT64_MIN : LDR_NEVER;
    return us;
}

static void times_in(ldr_block_head *h, int64_t asked_us, int64_t soft_us, int64_t origin_us)
{
    h->sizes &= ~(COARSE_ASKED | COARSE_SOFT);
    uint64_t asked = time_in(asked_us, origin_us, COARSE_ASKED, &h->sizes);
    uint64_t soft = time_in(soft_us, origin_us, COARSE_SOFT, &h->sizes);
    h->times = asked | soft << TIME_BITS;
    h->rest = (h->rest & ~(uint64_t)UINT32_MAX) | soft >> 16;
}

static int64_t asked_out(const ldr_block_head *h, int64_t origin_us)
{
    return time_out(h->times & TIME_MASK, origin_us, (h->sizes & COARSE_ASKED) != 0);
}

static int64_t soft_out(const ldr_block_head *h, int64_t origin_us)
{
    uint64_t soft = h->times >> TIME_BITS | (h->rest & UINT32_MAX) << 16;
    return time_out(soft, origin_us, (h->sizes & COARSE_SOFT) != 0);
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

/* Writes bytes as whole words: `word` holds the first `filled` bits of the next one. */
typedef struct pen {
    ldr_w64 *at;
    uint64_t word;
    unsigned filled;
} pen;

static uint64_t load_le(const char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return le64toh(v);
}

static void pen_word(pen *w, uint64_t v)
{
    ldr_store64(w->at++, htole64(w->filled ? w->word | v << w->filled : v));
    w->word = w->filled ? v >> (64 - w->filled) : 0;
}

static void pen_bytes(pen *w, const char *p, size_t n)
{
    if (w->filled == 0)
        for (uint64_t v; n >= 8; p += 8, n -= 8) {
            memcpy(&v, p, 8);
            ldr_store64(w->at++, v);
        }
    for (; n >= 8; p += 8, n -= 8)
        pen_word(w, load_le(p, 8));
    if (n == 0)
        return;
    uint64_t v = load_le(p, n);
    unsigned filled = w->filled + 8 * (unsigned)n;
    if (filled < 64) {
        w->word |= v << w->filled;
        w->filled = filled;
        return;
    }
    pen_word(w, v);
    w->filled = filled - 64;
}

static void pen_end(pen *w)
{
    if (w->filled)
        ldr_store64(w->at, htole64(w->word));
}

static void head_store(void *block, const ldr_block_head *h)
{
    ldr_store32((ldr_w32 *)block + 1, h->sizes);
    ldr_store64((ldr_w64 *)block + 1, htole64(h->times));
    ldr_store64((ldr_w64 *)block + 2, htole64(h->rest));
}

uint32_t ldr_block_units_for(const ldr_record *r, uint16_t flags)
{
    size_t n = LDR_BLOCK_HEAD + ldr_flags_fields_size(flags) + r->key.n + r->value.n;
    return (uint32_t)((n + LDR_UNIT - 1) / LDR_UNIT);
}

void ldr_block_write(void *block, const ldr_block_ink *ink)
{
    const ldr_record *r = ink->r;
    ldr_block_head h = {.sizes = (uint32_t)r->value.n};
    h.rest = (uint64_t)r->key.n << 32 | (uint64_t)ink->flags << 48;
    times_in(&h, r->asked_us, r->soft_us, ink->origin_us);
    head_store(block, &h);
    pen w = {.at = (ldr_w64 *)block + LDR_BLOCK_HEAD / 8};
    char fields[LDR_RECORD_MAX_FIELDS_BYTES];
    if (ldr_block_fields_size(&h))
        pen_bytes(&w, fields, ldr_record_fields_write(r, fields));
    pen_bytes(&w, r->key.p, r->key.n);
    pen_bytes(&w, r->value.p, r->value.n);
    pen_end(&w);
}

void ldr_block_set_soft(void *block, int64_t soft_us, int64_t origin_us)
{
    ldr_block_head h = ldr_block_load(block);
    times_in(&h, asked_out(&h, origin_us), soft_us, origin_us);
    head_store(block, &h);
}

void ldr_block_move(void *to, const void *from)
{
    ldr_block_head h = ldr_block_load(from);
    size_t words = (ldr_block_size(&h) + 7) / 8;
    head_store(to, &h);
    for (size_t i = LDR_BLOCK_HEAD / 8; i < words; i++)
        ldr_store64((ldr_w64 *)to + i, ((const ldr_w64 *)from)[i]);
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

ldr_block_head ldr_block_load(const void *block)
{
    return (ldr_block_head){.sizes = ldr_load32((const ldr_w32 *)block + 1),
                            .times = le64toh(ldr_load64((const ldr_w64 *)block + 1)),
                            .rest = le64toh(ldr_load64((const ldr_w64 *)block + 2))};
}

void ldr_block_read(const ldr_block_head *h, const char *bytes, int64_t origin_us, ldr_record *out)
{
    const char *p = bytes + LDR_BLOCK_HEAD;
    ldr_record_fields_read(out, ldr_block_flags(h), p);
    out->asked_us = asked_out(h, origin_us);
    out->soft_us = soft_out(h, origin_us);
    p += ldr_block_fields_size(h);
    out->key = ldr_slice_of(p, ldr_block_key_size(h));
    out->value = ldr_slice_of(p + out->key.n, ldr_block_value_size(h));
}

ldr_slice ldr_block_key(const void *block)
{
    ldr_block_head h = ldr_block_load(block);
    return ldr_slice_of((const char *)block + LDR_BLOCK_HEAD + ldr_block_fields_size(&h), ldr_block_key_size(&h));
}
