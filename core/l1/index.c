/* index.c - buckets of slot numbers, in pages that are only ever added to.
 *
 * Invariant: bucket b of n holds exactly the entries whose ldr_bucket_of(hash, n) is b. Growing splits one bucket:
 * no pause, no second table. */
#include "l1/shard.h"

#define LOAD_NUM 5 /* entries a bucket, at most LOAD_NUM / LOAD_DEN on average */
#define LOAD_DEN 4
#define MOST_SPLITS 2 /* a write */

static uint32_t *bucket_at(const ldr_turn *t, uint32_t b)
{
    ldr_words w = {.base = t->base, .pages = ldr_pages_dir(t->base, &t->shard->buckets)};
    return ldr_words_at(&w, b);
}

static uint32_t *bucket_for(const ldr_turn *t, uint32_t hash)
{
    return bucket_at(t, ldr_bucket_of(hash, t->shard->n_buckets));
}

uint32_t ldr_index_find(const ldr_turn *t, ldr_slice key, uint64_t hash)
{
    if (t->shard->n_buckets == 0)
        return LDR_NO_SLOT;
    uint32_t slot = *bucket_for(t, (uint32_t)hash);
    while (slot != LDR_NO_SLOT) {
        const ldr_slot *s = ldr_slot_at(t, slot);
        if (s->hash == (uint32_t)hash && ldr_slice_eq(ldr_block_key(ldr_unit_at(t->base, s->block)), key))
            break;
        slot = s->chain;
    }
    return slot;
}

uint32_t ldr_index_find_block(const ldr_turn *t, uint32_t hash, uint32_t block)
{
    uint32_t slot = *bucket_for(t, hash);
    while (slot != LDR_NO_SLOT && ldr_slot_at(t, slot)->block != block)
        slot = ldr_slot_at(t, slot)->chain;
    return slot;
}

void ldr_index_link(ldr_turn *t, uint32_t slot)
{
    ldr_slot *s = ldr_slot_at(t, slot);
    uint32_t *bucket = bucket_for(t, s->hash);
    ldr_store32(&s->chain, *bucket);
    ldr_store32(bucket, slot);
}

void ldr_index_unlink(ldr_turn *t, uint32_t slot)
{
    const ldr_slot *s = ldr_slot_at(t, slot);
    uint32_t *at = bucket_for(t, s->hash);
    while (*at != slot)
        at = &ldr_slot_at(t, *at)->chain;
    ldr_store32(at, s->chain);
}

static bool more_buckets(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    if (sh->n_buckets % LDR_WORDS_PAGE != 0)
        return true;
    if (!ldr_turn_page(t, &sh->buckets, LDR_WORDS_PAGE_UNITS, sh->n_buckets == 0))
        return false;
    for (uint32_t i = 0; i < LDR_WORDS_PAGE; i++)
        ldr_store32(bucket_at(t, sh->n_buckets + i), LDR_NO_SLOT);
    return true;
}

/* The new bucket takes those of its older half whose hash has one bit more. */
static void split(ldr_turn *t)
{
    uint32_t made = t->shard->n_buckets, n = made + 1;
    uint32_t top = 1u << (31 - __builtin_clz(made));
    uint32_t *from = bucket_at(t, made - top), *to = bucket_at(t, made);
    uint32_t slot = *from;
    while (slot != LDR_NO_SLOT) {
        ldr_slot *s = ldr_slot_at(t, slot);
        uint32_t next = s->chain;
        if (ldr_bucket_of(s->hash, n) == made) {
            ldr_store32(from, next);
            ldr_store32(&s->chain, *to);
            ldr_store32(to, slot);
        } else {
            from = &s->chain;
        }
        slot = next;
    }
    ldr_store32(&t->shard->n_buckets, n);
}

void ldr_index_grow(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    if (sh->n_buckets == 0) {
        if (more_buckets(t))
            ldr_store32(&sh->n_buckets, LDR_WORDS_PAGE);
        return;
    }
    for (int i = 0; i < MOST_SPLITS; i++) {
        if ((uint64_t)(sh->n_entries + 1) * LOAD_DEN <= (uint64_t)sh->n_buckets * LOAD_NUM || !more_buckets(t))
            return;
        split(t);
    }
}

void ldr_index_clear(ldr_turn *t)
{
    for (uint32_t b = 0; b < t->shard->n_buckets; b++)
        ldr_store32(bucket_at(t, b), LDR_NO_SLOT);
}
