/* bell.c - see bell.h.
 *
 * Invariant: of the numbers up to `last`, each was heard, or a GAP was given after it was rung. So whoever makes all that he
 * holds suspect at each GAP holds nothing that a lost message was about. */
#include "bus/bell.h"

/* ---- messages --------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Cuts off the next word and the space behind it; false: there is none. */
static bool next_word(ldr_slice *rest, ldr_slice *word)
{
    const char *space = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;
    if (!space || space == rest->p)
        return false;
    *word = ldr_slice_of(rest->p, (size_t)(space - rest->p));
    *rest = ldr_slice_of(space + 1, rest->n - word->n - 1);
    return true;
}

/* Decimal, leading zeros or not, at most 2^63 - 1. */
static bool read_number(ldr_slice word, uint64_t *out)
{
    uint64_t n = 0;
    if (word.n > 19)
        return false;
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] < '0' || word.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(word.p[i] - '0');
    }
    *out = n;
    return n <= INT64_MAX;
}

static bool read_hex(ldr_slice word, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < word.n; i++) {
        int digit = hex_digit(word.p[i]);
        if (digit < 0)
            return false;
        n = n << 4 | (uint64_t)digit;
    }
    *out = n;
    return word.n == 16;
}

static int kind_of(ldr_slice word)
{
    static const char kinds[] = "dsaw"; /* in the order of enum ldr_bell_kind */
    const char *at = word.n == 1 ? memchr(kinds, word.p[0], 4) : NULL;
    return at ? (int)(at - kinds) : -1;
}

bool ldr_bell_read(ldr_slice payload, ldr_bell_message *out)
{
    ldr_slice rest = payload, seq, kind, version, origin;
    uint64_t number;
    *out = (ldr_bell_message){0};
    if (!next_word(&rest, &seq) || !next_word(&rest, &kind) || !next_word(&rest, &version) || !next_word(&rest, &origin))
        return false;
    out->kind = kind_of(kind);
    if (out->kind < 0 || !read_number(seq, &out->seq) || !read_number(version, &number) || !read_hex(origin, &out->origin))
        return false;
    out->version = (int64_t)number;
    out->key = rest;
    if ((out->kind == LDR_BELL_WAKE) != (out->seq == 0) || rest.n == 0)
        return false;
    return out->kind != LDR_BELL_ALL || read_hex(rest, &out->gen);
}

/* ---- what was heard ------------------------------------------------------------------------------------------ */

void ldr_bell_begin(ldr_bell *b)
{
    b->knows = false;
    b->behind = 0;
}

static enum ldr_bell_verdict gap(ldr_bell *b, uint64_t last)
{
    b->last = last;
    b->behind = 0;
#ifdef LDR_BUG_BELL_GAP
    return LDR_BELL_IN_ORDER;
#endif
    return LDR_BELL_GAP;
}

enum ldr_bell_verdict ldr_bell_hear(ldr_bell *b, uint64_t seq)
{
    if (seq == 0)
        return LDR_BELL_IN_ORDER;
    if (seq <= b->last)
        return LDR_BELL_OLD;
    if (seq - b->last > 1)
        return gap(b, seq);
    b->last = seq;
    if (b->last >= b->behind) { /* what the last pulse said may be missing still */
        b->behind = b->behind && b->last < b->seen ? b->seen : 0;
        b->behind_us = b->seen_us;
    }
    return LDR_BELL_IN_ORDER;
}

enum ldr_bell_verdict ldr_bell_pulse(ldr_bell *b, uint64_t seq, int64_t now_us, int64_t grace_us)
{
    bool first = !b->knows;
    b->knows = true;
#ifdef LDR_BUG_BELL_START
    if (first)
        b->last = seq;
#endif
    if (seq == b->last)
        return LDR_BELL_IN_ORDER;
    if (first || seq < b->last)
        return gap(b, seq);
    b->seen = seq;
    b->seen_us = now_us;
    if (b->behind == 0) {
        b->behind = seq;
        b->behind_us = now_us;
    }
    return now_us - b->behind_us < grace_us ? LDR_BELL_IN_ORDER : gap(b, seq);
}
