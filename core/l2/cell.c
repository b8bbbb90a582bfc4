/* cell.c - reads a cell; only the scripts write one. The drawing is in cell.h.
 *
 * Invariant: no byte of the head is believed that is not as a script writes it, and what decides about a value is there
 * twice (asked, soft, gen), or in the envelope too (version): one damaged byte makes a miss, or changes nothing. */
#include "l2/cell.h"

#include "base/clock.h"
#include "l2/parts.h"
#include "record/bytes.h"

#define X(name, width) width +
_Static_assert(LDR_CELL_FIELDS(X) 0 == LDR_CELL_HEAD_BYTES, "cell.h draws the head");
#undef X

#define LAYOUT '1'

#define EIGHT_TIMES(byte) (UINT64_C(0x0101010101010101) * (byte))

/* A head is two hundred digits, read at every hit: eight at a time. The lowest byte is the first digit. */
static bool eight_digits(const char *p, int64_t *out)
{
    const uint64_t pairs = UINT64_C(0x000000FF000000FF);
    uint64_t v = ldr_get_le(p, 8) ^ EIGHT_TIMES('0');
    if (((v + EIGHT_TIMES(0x76)) | v) & EIGHT_TIMES(0x80)) /* a byte above 9 */
        return false;
    v = v * 10 + (v >> 8);
    v = ((v & pairs) * (100 + (UINT64_C(1000000) << 32)) + (v >> 16 & pairs) * (1 + (UINT64_C(10000) << 32))) >> 32;
    *out = (int64_t)v;
    return true;
}

static inline bool digits(const char *p, size_t n, int64_t *out) /* inline: n is mostly known */
{
    int64_t v = 0, part;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        if (!eight_digits(p + i, &part) || __builtin_mul_overflow(v, 100000000, &v) || __builtin_add_overflow(v, part, &v))
            return false;
    for (; i < n; i++)
        if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, p[i] - '0', &v))
            return false;
    *out = v;
    return n > 0;
}

bool ldr_cell_digits(const char *p, size_t n, int64_t *out)
{
    return digits(p, n, out);
}

/* Letters have bit 6, digits have not: v is what it must be where its nibbles, written anew, give it again. */
static bool eight_hex(const char *p, uint64_t *out)
{
    uint64_t v = ldr_get_le(p, 8), letters = v >> 6 & EIGHT_TIMES(1), nibbles = (v & EIGHT_TIMES(0xf)) + letters * 9;
    if (nibbles + EIGHT_TIMES('0') + letters * ('a' - '0' - 10) != v || (nibbles & EIGHT_TIMES(0xf0)) != 0 ||
        ((nibbles + EIGHT_TIMES(6)) & EIGHT_TIMES(0x10)) != letters << 4)
        return false;
    v = (nibbles << 4 | nibbles >> 8) & UINT64_C(0x00FF00FF00FF00FF); /* byte by byte, the first one lowest */
    v = (v | v >> 8) & UINT64_C(0x0000FFFF0000FFFF);
    *out = __builtin_bswap32((uint32_t)(v | v >> 16));
    return true;
}

/* No time, nobody's token: most of a head. */
static bool is_zero(const char *p, size_t n)
{
    return n == 16 && ldr_get_le(p, 8) == EIGHT_TIMES('0') && ldr_get_le(p + 8, 8) == EIGHT_TIMES('0');
}

bool ldr_cell_hex(const char *p, size_t n, uint64_t *out)
{
    uint64_t high = 0, low = 0;
    if (!is_zero(p, n) && (n != 16 || !eight_hex(p, &high) || !eight_hex(p + 8, &low)))
        return false;
    *out = high << 32 | low;
    return true;
}

/* The fields where they lie. */
typedef struct head {
#define X(name, width) const char *name;
    LDR_CELL_FIELDS(X)
#undef X
} head;

enum {
#define X(name, width) WIDTH_##name = width,
    LDR_CELL_FIELDS(X)
#undef X
};

static head fields_of(const char *p)
{
    head h;
#define X(name, width) h.name = p, p += width;
    LDR_CELL_FIELDS(X)
#undef X
    return h;
}

static inline bool read_end(const char *p, int64_t *out)
{
    *out = 0;
    return is_zero(p, 16) || digits(p, 16, out);
}

static bool read_head(const head *h, ldr_cell *c)
{
    return digits(h->version, WIDTH_version, &c->version) && digits(h->floor, WIDTH_floor, &c->floor) &&
           ldr_cell_hex(h->lease, WIDTH_lease, &c->lease) && read_end(h->l_end, &c->lease_end_us) &&
           ldr_cell_hex(h->mark, WIDTH_mark, &c->mark) && read_end(h->m_end, &c->mark_end_us) &&
           (*h->waited == '0' || *h->waited == '1') && digits(h->asked, WIDTH_asked, &c->asked_us) &&
           digits(h->soft, WIDTH_soft, &c->soft_us) && ldr_cell_hex(h->gen, WIDTH_gen, &c->gen) &&
           memcmp(h->asked, h->again, WIDTH_again) == 0;
}

int ldr_cell_read(ldr_slice bytes, ldr_cell *out)
{
    ldr_cell c = {0};
    if (bytes.n > 0 && *bytes.p > LAYOUT && *bytes.p <= '9')
        return LDR_UNSUPPORTED;
    if (bytes.n < LDR_CELL_HEAD_BYTES || *bytes.p != LAYOUT)
        return LDR_CORRUPT;
    head h = fields_of(bytes.p);
    if (!read_head(&h, &c))
        return LDR_CORRUPT;
    c.waited = *h.waited == '1';
    if (c.soft_us == LDR_CELL_NEVER)
        c.soft_us = LDR_NEVER;
    c.envelope = ldr_slice_of(bytes.p + LDR_CELL_HEAD_BYTES, bytes.n - LDR_CELL_HEAD_BYTES);
    *out = c;
    return LDR_OK;
}

/* A version that a script drew is not in the envelope, which was written before; then it is the floor too. */
static bool is_version_of(const ldr_cell *c, const ldr_record *r)
{
#ifdef LDR_BUG_CELL_VERSION
    return true;
#endif
    return r->version == c->version || (r->version == 0 && c->version == c->floor);
}

int ldr_cell_record(const ldr_cell *c, ldr_slice key, int64_t local_us, int64_t server_us, ldr_record *out)
{
    ldr_record r;
    int64_t behind;
    int code = ldr_envelope_read(c->envelope, key, local_us, &r);
    if (code != LDR_OK)
        return code;
    if (!is_version_of(c, &r) || c->asked_us > server_us || __builtin_sub_overflow(local_us, server_us, &behind))
        return LDR_CORRUPT;
    r.version = c->version;
    r.asked_us = ldr_time_add(c->asked_us, behind);
    r.soft_us = ldr_time_add(c->soft_us, behind);
#ifdef LDR_BUG_CELL_AGE
    r.soft_us = ldr_time_add(local_us, c->soft_us - c->asked_us), r.asked_us = local_us;
#endif
    *out = r;
    return LDR_OK;
}
