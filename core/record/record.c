/* record.c - packs a record's optional fields: a flag word, then 8 bytes for each field that is not zero.
 *
 *   bit 0 ... 12    field i of LDR_RECORD_FIELDS follows (9 are used)
 *   bit 13, 14      kind
 *   bit 15          compressed */
#include "record/record.h"

#include "base/clock.h"
#include "record/bytes.h"

enum field {
#define X(name) FIELD_##name,
    LDR_RECORD_FIELDS(X)
#undef X
    N_FIELDS
};

_Static_assert(N_FIELDS * 8 == LDR_RECORD_MAX_FIELDS_BYTES, "record.h counts the fields");
_Static_assert(N_FIELDS <= LDR_RECORD_FIELD_BITS, "a field needs a bit of the flag word");

#define KIND_SHIFT LDR_RECORD_FIELD_BITS
#define COMPRESSED 0x8000u

int64_t ldr_record_hard_us(const ldr_record *r)
{
    return ldr_time_add(r->soft_us, r->stale_us);
}

uint16_t ldr_record_flags(const ldr_record *r)
{
    unsigned flags = (r->kind & 3u) << KIND_SHIFT | (r->compressed ? COMPRESSED : 0);
#define X(name) flags |= (unsigned)(r->name != 0) << FIELD_##name;
    LDR_RECORD_FIELDS(X)
#undef X
#ifdef LDR_BUG_RECORD_FIELD
    flags &= ~(1u << FIELD_mark); /* but fields_write still writes it */
#endif
    return (uint16_t)flags;
}

size_t ldr_record_fields_size(uint16_t flags)
{
    return 8 * (size_t)__builtin_popcount(flags & LDR_RECORD_FIELD_MASK);
}

size_t ldr_record_fields_write(const ldr_record *r, char *out)
{
    char *p = out;
#define X(name)                                                                                                  \
    if (r->name != 0) {                                                                                          \
        ldr_put_le(p, (uint64_t)r->name, 8);                                                                     \
        p += 8;                                                                                                  \
    }
    LDR_RECORD_FIELDS(X)
#undef X
    return (size_t)(p - out);
}

void ldr_record_fields_read(ldr_record *r, uint16_t flags, const char *in)
{
    r->kind = (flags >> KIND_SHIFT) & 3;
    r->compressed = (flags & COMPRESSED) != 0;
#define X(name)                                                                                                  \
    r->name = 0;                                                                                                 \
    if (flags & (1u << FIELD_##name)) {                                                                          \
        r->name = (int64_t)ldr_get_le(in, 8);                                                                    \
        in += 8;                                                                                                 \
    }
    LDR_RECORD_FIELDS(X)
#undef X
    (void)in;
}

bool ldr_record_flags_known(uint16_t flags)
{
    return (flags & LDR_RECORD_FIELD_MASK) >> N_FIELDS == 0;
}
