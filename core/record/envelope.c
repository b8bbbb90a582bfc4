/* envelope.c - a record as bytes at rest; the drawing is in record.h.
 *
 * Invariant of reading: no size is used before it is checked against the bytes that are there, and no field is
 * believed before the checksum holds, but for magic and format, by which a later format says that it is one. */
#include "base/clock.h"
#include "base/hash.h"
#include "record/bytes.h"
#include "record/record.h"

#define MAGIC "\xF1LDR"
#define HEADER_BYTES 32
#define CHECKSUM_BYTES 4
#define MAX_KEY_BYTES 65535

enum offset { AT_FORMAT = 4, AT_FLAGS = 6, AT_KEY_SIZE = 8, AT_VALUE_SIZE = 12, AT_AGE = 16, AT_LEFT = 24 };

/* asked_us may be a little ahead of a coarse now. */
static int64_t age_us(const ldr_record *r, int64_t now_us)
{
    int64_t age;
    if (__builtin_sub_overflow(now_us, r->asked_us, &age))
        return now_us > 0 ? LDR_NEVER : 0;
    return age > 0 ? age : 0;
}

static int64_t left_us(const ldr_record *r, int64_t now_us)
{
    int64_t left;
    if (r->soft_us == LDR_NEVER)
        return LDR_NEVER;
    if (__builtin_sub_overflow(r->soft_us, now_us, &left))
        return now_us > 0 ? INT64_MIN : LDR_NEVER;
    return left;
}

static void write_header(const ldr_record *r, int64_t now_us, uint16_t flags, char *p)
{
    memcpy(p, MAGIC, 4);
    ldr_put_le(p + AT_FORMAT, LDR_ENVELOPE_FORMAT, 2);
    ldr_put_le(p + AT_FLAGS, flags, 2);
    ldr_put_le(p + AT_KEY_SIZE, r->key.n, 4);
    ldr_put_le(p + AT_VALUE_SIZE, r->value.n, 4);
    ldr_put_le(p + AT_AGE, (uint64_t)age_us(r, now_us), 8);
    ldr_put_le(p + AT_LEFT, (uint64_t)left_us(r, now_us), 8);
}

int ldr_envelope_write(const ldr_record *r, int64_t now_us, ldr_buf *b)
{
    if (r->value.n > LDR_VALUE_MAX_BYTES || r->key.n > MAX_KEY_BYTES)
        return LDR_TOO_LARGE;
    uint16_t flags = ldr_record_flags(r);
    size_t size = HEADER_BYTES + ldr_record_fields_size(flags) + r->key.n + r->value.n + CHECKSUM_BYTES;
    if (!ldr_buf_reserve(b, size))
        return LDR_NOMEM;
    char *p = b->p + b->n;
    write_header(r, now_us, flags, p);
    b->n += HEADER_BYTES + ldr_record_fields_write(r, p + HEADER_BYTES);
    ldr_buf_add(b, r->key.p, r->key.n);
    ldr_buf_add(b, r->value.p, r->value.n);
    uint32_t sum = ldr_checksum(ldr_slice_of(p, size - CHECKSUM_BYTES));
    ldr_put_le(b->p + b->n, sum, CHECKSUM_BYTES);
    b->n += CHECKSUM_BYTES;
    return LDR_OK;
}

/* What of the first bytes any format shares. */
static int check_format(ldr_slice bytes)
{
    if (bytes.n < AT_FLAGS || memcmp(bytes.p, MAGIC, 4) != 0)
        return LDR_CORRUPT;
    uint64_t format = ldr_get_le(bytes.p + AT_FORMAT, 2);
    if (format > LDR_ENVELOPE_FORMAT)
        return LDR_UNSUPPORTED;
    return format == LDR_ENVELOPE_FORMAT && bytes.n >= HEADER_BYTES + CHECKSUM_BYTES ? LDR_OK : LDR_CORRUPT;
}

static bool checksum_holds(ldr_slice bytes)
{
    size_t n = bytes.n - CHECKSUM_BYTES;
#ifdef LDR_BUG_ENVELOPE_SUM
    return true;
#endif
    return ldr_get_le(bytes.p + n, CHECKSUM_BYTES) == ldr_checksum(ldr_slice_of(bytes.p, n));
}

/* Cuts fields, key and value out of bytes whose sizes may be lies; *out is set only when they fit exactly. */
static bool cut(ldr_slice bytes, uint16_t flags, ldr_record *out)
{
    uint64_t key = ldr_get_le(bytes.p + AT_KEY_SIZE, 4), value = ldr_get_le(bytes.p + AT_VALUE_SIZE, 4);
    uint64_t fields = ldr_record_fields_size(flags);
    if (key > MAX_KEY_BYTES || value > LDR_VALUE_MAX_BYTES)
        return false;
    if (bytes.n != HEADER_BYTES + fields + key + value + CHECKSUM_BYTES)
        return false;
    const char *p = bytes.p + HEADER_BYTES + fields;
    out->key = ldr_slice_of(p, (size_t)key);
    out->value = ldr_slice_of(p + key, (size_t)value);
    return true;
}

static bool makes_sense(const ldr_record *r, int64_t age)
{
    return age >= 0 && (r->kind != LDR_NONE || (r->value.n == 0 && !r->compressed));
}

int ldr_envelope_read(ldr_slice bytes, ldr_slice key, int64_t now_us, ldr_record *out)
{
    ldr_record r = {0};
    int code = check_format(bytes);
    if (code != LDR_OK)
        return code;
    uint16_t flags = (uint16_t)ldr_get_le(bytes.p + AT_FLAGS, 2);
    if (!cut(bytes, flags, &r) || !checksum_holds(bytes))
        return LDR_CORRUPT;
    if (!ldr_record_flags_known(flags))
        return LDR_UNSUPPORTED;
#ifdef LDR_BUG_ENVELOPE_KEY
    key.n = 0;
#endif
    if (key.n > 0 && !ldr_slice_eq(key, r.key))
        return LDR_CORRUPT;
    int64_t age = (int64_t)ldr_get_le(bytes.p + AT_AGE, 8);
    ldr_record_fields_read(&r, flags, bytes.p + HEADER_BYTES);
    if (!makes_sense(&r, age))
        return LDR_CORRUPT;
    r.asked_us = ldr_time_add(now_us, -age);
    r.soft_us = ldr_time_add(now_us, (int64_t)ldr_get_le(bytes.p + AT_LEFT, 8));
    *out = r;
    return LDR_OK;
}
