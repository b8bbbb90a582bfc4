/* shard.h - one shard of the shelf: its layout, and a writer's turn on it. Only core/l1 reads this.
 *
 *   +--------+-----------------------+--------------------------------------+
 *   | shard  | directories of pages  | arena: blocks ...     ... pages      |
 *   +--------+-----------------------+--------------------------------------+
 *
 * Everything is counted in units of 8 bytes from the shard's begin; no pointer inside, so that processes may map
 * it at different addresses. Pages hold slots, index buckets, and the ring and table of ghosts. A slot's page is
 * never given back: its word and mark are never other data.
 *
 * Invariant between turns: an entry is a slot with block != 0 that stands in the bucket of its hash and in exactly
 * one queue, of the policy or of negatives; any other slot is in the list of free ones. */
#ifndef LDR_L1_SHARD_H
#define LDR_L1_SHARD_H

#include "l1/arena.h"
#include "l1/block.h"
#include "l1/shelf.h"
#include "policy/policy.h"
#include <pthread.h>
#include <stdalign.h>

#define LDR_SLOTS_SHIFT 6 /* 64 slots a page */
#define LDR_SLOTS_PAGE (1u << LDR_SLOTS_SHIFT)
#define LDR_QUEUE_NEGATIVES 0xFF

typedef struct ldr_slot {
    ldr_node node;         /* node.due: when to look whether it is expired, see sweep.c */
    _Atomic uint32_t word; /* changes whenever what the slot holds changes */
    uint32_t hash;         /* low half of the key's hash */
    uint32_t block;        /* 0: free; then node.next leads to the next free one */
} ldr_slot;

_Static_assert(sizeof(ldr_slot) == 24, "what an entry costs is a promise");

#define LDR_SLOT_PAGE_UNITS (LDR_SLOTS_PAGE * sizeof(ldr_slot) / LDR_UNIT)
#define LDR_WORDS_PAGE_UNITS (LDR_WORDS_PAGE * 4 / LDR_UNIT)
#define LDR_BUCKET_WORDS 16 /* a cache line: 15 cells and a link, see index.c */
#define LDR_BUCKET_CELLS 15
#define LDR_BUCKETS_PAGE (LDR_WORDS_PAGE / LDR_BUCKET_WORDS)

/* Pages of one kind: the directory stands at unit `dir` and has room for `most`. */
typedef struct ldr_pages {
    uint32_t dir, n, most;
} ldr_pages;

typedef struct ldr_shard {
    /* what readers look at */
    alignas(64) uint32_t seq; /* odd: a writer is at work */
    uint32_t n_buckets, n_slots, units;
    uint32_t slot_bits; /* of an index cell, for slot + 1 */
    int64_t origin_us; /* times are kept relative to this: the first write's */
    ldr_pages slots, buckets, extras;
    /* what only writers look at */
    alignas(64) pthread_mutex_t lock;
    ldr_pages ring, table;
    uint32_t n_entries, most_entries; /* most: 0 no limit */
    uint32_t free_slot, free_extra, sweep_at; /* free_extra: number + 1; 0: none */
    uint32_t negatives_most, ghosts_wanted;
    uint64_t negatives_units;
    bool has_origin;
    ldr_queue negatives;
    ldr_policy_state policy;
    ldr_arena arena;
} ldr_shard;

/* What a shard is made from; all shards of a shelf have the same. */
typedef struct ldr_shard_plan {
    uint32_t units, most_entries;
    double negatives;
    const pthread_mutexattr_t *lock_attr; /* NULL: of one process */
} ldr_shard_plan;

/* A writer's turn: between begin and end it holds the shard's lock. */
typedef struct ldr_turn {
    ldr_shard *shard;
    char *base;
    int64_t now_us;
    uint64_t seed;
    const ldr_shelf_watch *watch;
    uint32_t n_evicted, n_gone; /* n_gone: entries that left for any reason */
    bool making_ghosts;
    ldr_policy policy;
} ldr_turn;

enum ldr_gone { LDR_GONE_ERASED, LDR_GONE_EVICTED, LDR_GONE_EXPIRED, LDR_GONE_LOST /* evicted, block not freed */ };

/* shard.c: life of a shard, and what a turn can do */
int ldr_shard_init(ldr_shard *sh, const ldr_shard_plan *plan); /* LDR_OK; LDR_INVALID: too small; LDR_NOMEM */
void ldr_shard_clear(ldr_turn *t);
enum ldr_shelf_put ldr_turn_put(ldr_turn *t, const ldr_record *r, uint64_t hash);
bool ldr_turn_touch(ldr_turn *t, ldr_slice key, uint64_t hash, int64_t soft_us);
const char *ldr_shard_verify(ldr_turn *t);
void ldr_turn_begin(ldr_turn *t); /* shard, seed, policy.ops, now_us and watch are set */
void ldr_turn_end(ldr_turn *t);
void ldr_turn_changes(ldr_turn *t); /* before the first change: readers turn away until the end */

/* index.c: hash -> slot */
uint32_t ldr_index_find(const ldr_turn *t, ldr_slice key, uint64_t hash);     /* LDR_NO_SLOT: not held */
uint32_t ldr_index_find_block(const ldr_turn *t, uint32_t hash, uint32_t block);
void ldr_index_prefetch(const ldr_turn *t, uint32_t hash);
void ldr_index_reserve(ldr_turn *t, uint32_t hash); /* before a slot is made: so that link cannot fail */
void ldr_index_link(ldr_turn *t, uint32_t slot);
void ldr_index_unlink(ldr_turn *t, uint32_t slot);
void ldr_index_grow(ldr_turn *t); /* a few buckets more, where the load asks for it */
void ldr_index_clear(ldr_turn *t);
const char *ldr_index_verify(const ldr_turn *t);

/* room.c: who has to leave, and memory for who comes */
bool ldr_turn_evict(ldr_turn *t); /* false: nobody is left */
void ldr_turn_drop(ldr_turn *t, uint32_t slot, enum ldr_gone why);
void ldr_turn_forget(ldr_turn *t, uint32_t slot, enum ldr_gone why); /* as drop, for who stands in no queue */
uint32_t ldr_turn_block(ldr_turn *t, uint32_t units); /* evicts until there is one; 0: larger than the arena */
uint32_t ldr_turn_slot(ldr_turn *t);                  /* evicts until there is one; LDR_NO_SLOT: never */
bool ldr_turn_page(ldr_turn *t, ldr_pages *pages, uint32_t units, bool hard); /* one more page; hard: evict for it */

/* sweep.c: expired entries leave a few a write */
uint16_t ldr_due_of(const ldr_turn *t, int64_t hard_us);
bool ldr_slot_is_expired(const ldr_turn *t, uint32_t slot);
bool ldr_slot_is_due(const ldr_turn *t, uint32_t slot); /* expired, as far as can be told without its block */
void ldr_turn_sweep(ldr_turn *t);

static inline uint32_t *ldr_pages_dir(char *base, const ldr_pages *p)
{
    return ldr_unit_at(base, p->dir);
}

static inline ldr_slot *ldr_slot_at(const ldr_turn *t, uint32_t slot)
{
    return (ldr_slot *)(void *)ldr_node_at(&t->policy.nodes, slot);
}

static inline void *ldr_block_at(const ldr_turn *t, uint32_t slot)
{
    return ldr_unit_at(t->base, ldr_slot_at(t, slot)->block);
}

static inline uint32_t ldr_slot_units(const ldr_turn *t, uint32_t slot)
{
    return ldr_arena_units(&t->shard->arena, ldr_slot_at(t, slot)->block);
}

static inline void ldr_slot_changed(ldr_slot *s)
{
    uint32_t word = atomic_load_explicit(&s->word, memory_order_relaxed);
    atomic_store_explicit(&s->word, word + 1, memory_order_release);
}

static inline void ldr_slot_set_due(ldr_slot *s, uint16_t due)
{
    __atomic_store_n(&s->node.due, due, __ATOMIC_RELEASE);
}

/* Which bucket of n (0 < n): the low bits, one fewer where that bucket is not split off yet. */
static inline uint32_t ldr_bucket_of(uint32_t hash, uint32_t n)
{
    uint32_t mask = UINT32_MAX >> __builtin_clz(n | 1);
    uint32_t b = hash & mask;
    return b < n ? b : hash & (mask >> 1);
}

#endif
