/* read.c - find and copy without a lock.
 *
 * What is read while a writer is at work may be anything: every number is checked before it is followed, and
 * nothing is believed before the sequence word was seen unchanged. After a few vain tries the lock is taken. */
#include "l1/read.h"

#include <endian.h>

#define TRIES 16
#define MOST_CHAIN 64 /* buckets; what is torn may lead in a circle */

enum look { MISSING, FOUND, TORN };

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static bool unchanged(const ldr_shard *sh, uint32_t seq)
{
#ifdef LDR_BUG_NO_SEQ
    return (void)sh, (void)seq, true;
#endif
    return ldr_load32(&sh->seq) == seq;
}

static ldr_slot *slot_at(ldr_shard *sh, uint32_t slot)
{
    char *base = (char *)sh;
    uint32_t page = ldr_load32(ldr_pages_dir(base, &sh->slots) + (slot >> LDR_SLOTS_SHIFT));
    return (ldr_slot *)ldr_unit_at(base, page) + (slot & (LDR_SLOTS_PAGE - 1));
}

static const ldr_w32 *line_at(ldr_shard *sh, const ldr_pages *pages, uint32_t b)
{
    char *base = (char *)sh;
    uint32_t page = ldr_load32(ldr_pages_dir(base, pages) + b / LDR_BUCKETS_PAGE);
    return (const ldr_w32 *)ldr_unit_at(base, page) + b % LDR_BUCKETS_PAGE * LDR_BUCKET_WORDS;
}

static const ldr_w32 *first_line(ldr_shard *sh, uint32_t hash)
{
    uint32_t n = ldr_load32(&sh->n_buckets);
    return n ? line_at(sh, &sh->buckets, ldr_bucket_of(hash, n)) : NULL;
}

/* NULL: there is none, or the link is torn. */
static const ldr_w32 *next_line(ldr_shard *sh, const ldr_w32 *line)
{
    uint32_t link = ldr_load32(line + LDR_BUCKET_CELLS);
    return link - 1 < ldr_load32(&sh->extras.n) * LDR_BUCKETS_PAGE ? line_at(sh, &sh->extras, link - 1) : NULL;
}

static void copy_words(char *out, const ldr_w64 *from, size_t n_words)
{
    for (size_t i = 0; i < n_words; i++) {
        uint64_t v = ldr_load64(from + i);
        memcpy(out + 8 * i, &v, 8);
    }
}

/* Copies the block if it is the key's. */
static enum look copy(ldr_look_up *l, uint32_t unit, uint32_t seq)
{
    ldr_shard *sh = l->shard;
    if (unit == 0 || unit >= sh->units - LDR_BLOCK_HEAD / LDR_UNIT)
        return TORN;
    const char *block = ldr_unit_at((char *)sh, unit);
    l->head = ldr_block_load(block);
    if (ldr_block_key_size(&l->head) != l->key.n)
        return MISSING;
    size_t words = (ldr_block_size(&l->head) + 7) / 8;
    if (words > sh->units - unit)
        return TORN;
    if (l->bytes->cap < words * 8) {
        if (!unchanged(sh, seq))
            return TORN;
        if (!ldr_buf_reserve(l->bytes, words * 8))
            return MISSING;
    }
    copy_words(l->bytes->p, (const ldr_w64 *)(const void *)block, words);
    const char *key = l->bytes->p + LDR_BLOCK_HEAD + ldr_block_fields_size(&l->head);
    if (memcmp(key, l->key.p, l->key.n) != 0)
        return MISSING;
    l->bytes->n = words * 8;
    return FOUND;
}

static enum look look_at(ldr_look_up *l, uint32_t slot, uint32_t seq)
{
    if (slot >= ldr_load32(&l->shard->n_slots))
        return TORN;
    ldr_slot *s = slot_at(l->shard, slot);
    l->slot = s;
    l->slot_number = slot;
    l->word = atomic_load_explicit(&s->word, memory_order_acquire);
    return ldr_load32(&s->hash) == (uint32_t)l->hash ? copy(l, ldr_load32(&s->block), seq) : MISSING;
}

static enum look look(ldr_look_up *l, uint32_t seq)
{
    ldr_shard *sh = l->shard;
    uint32_t mask = (1u << sh->slot_bits) - 1, chain = 0;
    uint32_t want = (uint32_t)l->hash & ~mask;
    for (const ldr_w32 *line = first_line(sh, (uint32_t)l->hash); line; line = next_line(sh, line)) {
        for (uint32_t i = 0; i < LDR_BUCKET_CELLS; i++) {
            uint32_t cell = ldr_load32(line + i);
            if (cell - want - 1 >= mask) /* another tag, or empty */
                continue;
            enum look got = look_at(l, cell - want - 1, seq);
            if (got != MISSING)
                return got;
        }
        if (++chain > MOST_CHAIN)
            return TORN;
    }
    return MISSING;
}

static bool look_locked(ldr_look_up *l)
{
    pthread_mutex_lock(&l->shard->lock);
    l->origin_us = l->shard->origin_us;
    enum look got = look(l, l->shard->seq);
    pthread_mutex_unlock(&l->shard->lock);
    return got == FOUND;
}

bool ldr_shard_look(ldr_look_up *l)
{
    ldr_shard *sh = l->shard;
    for (int i = 0; i < TRIES; i++) {
        uint32_t seq = ldr_load32(&sh->seq);
        if (seq % 2 == 0) {
            l->origin_us = __atomic_load_n(&sh->origin_us, __ATOMIC_ACQUIRE);
            enum look got = look(l, seq);
            if (got != TORN && unchanged(sh, seq))
                return got == FOUND;
        }
        relax();
    }
    return look_locked(l);
}
