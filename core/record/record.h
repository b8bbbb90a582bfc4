/* record.h - one cached thing: its value, its version, its times, and what later rooms need to judge it.
 *
 * All fields exist from the start. On the shelf and at rest a field that is zero takes no room: a flag word says
 * which fields follow, each 8 bytes, in the order of LDR_RECORD_FIELDS. A record never owns its bytes.
 *
 * At rest a record lies in an envelope. All words are little-endian, wherever it was written:
 *
 *    0        4        6       8          12           16            24                  32
 *   +--------+--------+-------+----------+------------+-------------+-------------------+----------------+
 *   | F1 LDR | format | flags | key size | value size | age_us      | left_us           | fields ...     |
 *   +--------+--------+-------+----------+------------+-------------+-------------------+----------------+
 *     magic    u16      u16     u32        u32          now - asked   soft - now; NEVER   8 bytes a flag
 *
 *   +---------+-----------+----------+
 *   | key ... | value ... | checksum |   u32 of all the bytes before it
 *   +---------+-----------+----------+
 *
 * Any format begins with the same magic and its number: the first 6 bytes tell a later one. */
#ifndef LDR_RECORD_RECORD_H
#define LDR_RECORD_RECORD_H

#include "base/buf.h"
#include "base/slice.h"
#include "larder.h"

/* One row a field that may be left out: X(name). Add a row at the end; never reorder (bytes at rest). */
#define LDR_RECORD_FIELDS(X)                                                                                     \
    X(stale_us)    /* hard expiry minus soft expiry */                                                           \
    X(version)     /* the source's version, 0 none */                                                            \
    X(position)    /* commit position of the source's snapshot, 0 unknown */                                     \
    X(load_us)     /* how long the load took (XFetch's delta) */                                                 \
    X(mark)        /* write mark or lease token */                                                               \
    X(pending)     /* queue number of a pending write, 0 none */                                                 \
    X(tag_gens)    /* hash of tag and dependency generations */                                                  \
    X(fingerprint) /* of the model's columns */                                                                  \
    X(suspect)     /* epoch in which it became suspect, 0 not */

typedef struct ldr_record {
    ldr_slice key, value;
    uint8_t kind;       /* enum ldr_kind */
    bool compressed;    /* value is a zstd frame of a value of this kind */
    int64_t asked_us;   /* when the source was asked: age counts from here */
    int64_t soft_us;    /* soft expiry: asked_us + ttl; LDR_NEVER */
#define X(name) int64_t name;
    LDR_RECORD_FIELDS(X)
#undef X
} ldr_record;

int64_t ldr_record_hard_us(const ldr_record *r); /* soft + stale, saturating */

/* Flag word and optional fields, as the shelf and the envelope keep them. */
#define LDR_RECORD_FIELD_BITS 13 /* bits of the flag word that say which fields follow, used and to come */
#define LDR_RECORD_FIELD_MASK ((1u << LDR_RECORD_FIELD_BITS) - 1)
#define LDR_RECORD_MAX_FIELDS_BYTES (9 * 8)
uint16_t ldr_record_flags(const ldr_record *r); /* bit i: field i follows; plus kind, compressed */
size_t ldr_record_fields_size(uint16_t flags);
size_t ldr_record_fields_write(const ldr_record *r, char *out); /* gives bytes written */
void ldr_record_fields_read(ldr_record *r, uint16_t flags, const char *in); /* sets kind, compressed, all fields */
bool ldr_record_flags_known(uint16_t flags); /* false: a field follows that this program does not know */

/* ---- bytes at rest (L2, queue): magic, format number, flags, times, fields, key, value, checksum ----------- */
#define LDR_ENVELOPE_FORMAT 1
#define LDR_VALUE_MAX_BYTES ((size_t)512 << 20)

/* Appends r to b. Times at rest are durations counted back from `now_us`, for clocks of two machines are never
 * compared: age and the time left. LDR_OK, LDR_NOMEM, LDR_TOO_LARGE (value over 512 MiB, key over 65,535 bytes);
 * b is as it was when not LDR_OK. */
int ldr_envelope_write(const ldr_record *r, int64_t now_us, ldr_buf *b);
/* Reads an envelope that must be exactly `bytes`, and carry `key` when key.n > 0. The record borrows from bytes.
 * LDR_OK; LDR_UNSUPPORTED: a later format or a field of one (treat as a miss); LDR_CORRUPT: anything else wrong. */
int ldr_envelope_read(ldr_slice bytes, ldr_slice key, int64_t now_us, ldr_record *out);

/* ---- value <-> what a tier keeps --------------------------------------------------------------------------- */
typedef struct ldr_sealing {
    int codec;            /* enum ldr_codec */
    size_t compress_min;  /* 0: off */
    const ldr_mem *mem;
} ldr_sealing;

/* A caller's value (LDR_STRING or LDR_MSGPACK) made ready to be kept: json text where the codec says so,
 * compressed where that makes it shorter. Sets r->value, kind, compressed; bytes that had to be made live in
 * `made` (cleared first). LDR_OK, LDR_UNSUPPORTED (the codec cannot keep this value equal), LDR_NOMEM. */
int ldr_seal(const ldr_sealing *s, ldr_slice value, int kind, ldr_record *r, ldr_buf *made, ldr_err *err);
/* The reverse: LDR_STRING or LDR_MSGPACK bytes in *value, borrowed from r->value or `made`.
 * LDR_CORRUPT when the bytes are damaged or inflate beyond 512 MiB or 1,000 times their size (+ 64 KiB). */
int ldr_unseal(const ldr_sealing *s, const ldr_record *r, ldr_slice *value, int *kind, ldr_buf *made, ldr_err *err);

#endif
