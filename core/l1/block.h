/* block.h - a record as it lies in the arena. Lives in a block of the arena; words are of 8 bytes, little-endian.
 *
 *    0          4            8            14           20         22      24
 *   +----------+------------+------------+------------+----------+-------+------------+---------+-----------+
 *   | header   | value size | asked      | soft       | key size | flags | fields ... | key ... | value ... |
 *   +----------+------------+------------+------------+----------+-------+------------+---------+-----------+
 *     arena's    30 bits      48 bits      48 bits      u16        u16     8 bytes each
 *
 * Times are microseconds from the shard's origin, its first write. Beyond 4 years from there a time is kept in
 * units of 4,096 us, rounded down (the two high bits of the value size say so). */
#ifndef LDR_L1_BLOCK_H
#define LDR_L1_BLOCK_H

#include "l1/word.h"
#include "record/record.h"

#define LDR_BLOCK_HEAD 24
#define LDR_BLOCK_MOST_VALUE (((size_t)1 << 30) - 1)

/* What the first three words say. */
typedef struct ldr_block_head {
    uint64_t times, rest; /* words 1 and 2 */
    uint32_t sizes;       /* the value size's word */
} ldr_block_head;

static inline uint32_t ldr_block_value_size(const ldr_block_head *h)
{
    return h->sizes & (uint32_t)LDR_BLOCK_MOST_VALUE;
}

static inline uint32_t ldr_block_key_size(const ldr_block_head *h)
{
    return (uint32_t)(h->rest >> 32) & 0xFFFF;
}

static inline uint16_t ldr_block_flags(const ldr_block_head *h)
{
    return (uint16_t)(h->rest >> 48);
}

static inline size_t ldr_flags_fields_size(uint16_t flags)
{
    unsigned fields = flags & LDR_RECORD_FIELD_MASK;
    return fields ? 8 * (size_t)__builtin_popcount(fields) : 0; /* mostly none: worth a branch */
}

static inline size_t ldr_block_fields_size(const ldr_block_head *h)
{
    return ldr_flags_fields_size(ldr_block_flags(h));
}

/* Bytes from the block's begin that the record fills. */
static inline size_t ldr_block_size(const ldr_block_head *h)
{
    return LDR_BLOCK_HEAD + ldr_block_fields_size(h) + ldr_block_key_size(h) + ldr_block_value_size(h);
}

ldr_block_head ldr_block_load(const void *block); /* as a reader: any moment, any bytes */
/* flags: ldr_record_flags(r). The key is at most 65,535 bytes, the value at most LDR_BLOCK_MOST_VALUE. */
uint32_t ldr_block_units_for(const ldr_record *r, uint16_t flags);
typedef struct ldr_block_ink {
    const ldr_record *r;
    uint16_t flags;
    int64_t origin_us;
} ldr_block_ink;
void ldr_block_write(void *block, const ldr_block_ink *ink); /* all but the arena's header */
void ldr_block_set_soft(void *block, int64_t soft_us, int64_t origin_us);
void ldr_block_move(void *to, const void *from); /* all but the arena's header */

/* What a block says. `bytes` are its own or a copy of them; key and value borrow from there. */
void ldr_block_read(const ldr_block_head *h, const char *bytes, int64_t origin_us, ldr_record *out);
ldr_slice ldr_block_key(const void *block);

#endif
