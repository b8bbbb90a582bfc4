/* cell.c - reads a cell; only the scripts write one. The drawing is in cell.h.
 *
 * Invariant: no byte of the head is believed that is not as a script writes it, and what decides about a value is there
 * twice (asked, soft, gen), or in the envelope too (version): one damaged byte makes a miss, or changes nothing. */
#include "l2/cell.h"

#include "base/clock.h"
#include "l2/parts.h"

#define X(name, width) width +
_Static_assert(LDR_CELL_FIELDS(X) 0 == LDR_CELL_HEAD_BYTES, "cell.h draws the head");
#undef X

#define LAYOUT '1'

bool ldr_cell_digits(const char *p, size_t n, int64_t *out)
{
    int64_t v = 0;
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, p[i] - '0', &v))
            return false;
    *out = v;
    return n > 0;
}

bool ldr_cell_hex(const char *p, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *out = v;
    return n == 16;
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

static bool read_head(const head *h, ldr_cell *c)
{
    return ldr_cell_digits(h->version, WIDTH_version, &c->version) && ldr_cell_digits(h->floor, WIDTH_floor, &c->floor) &&
           ldr_cell_hex(h->lease, WIDTH_lease, &c->lease) && ldr_cell_digits(h->l_end, WIDTH_l_end, &c->lease_end_us) &&
           ldr_cell_hex(h->mark, WIDTH_mark, &c->mark) && ldr_cell_digits(h->m_end, WIDTH_m_end, &c->mark_end_us) &&
           (*h->waited == '0' || *h->waited == '1') && ldr_cell_digits(h->asked, WIDTH_asked, &c->asked_us) &&
           ldr_cell_digits(h->soft, WIDTH_soft, &c->soft_us) && ldr_cell_hex(h->gen, WIDTH_gen, &c->gen) &&
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
    *out = r;
    return LDR_OK;
}
