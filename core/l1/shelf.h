/* shelf.h - the local shelf (L1): records in one arena of offsets, sharded, within a byte budget that counts
 * everything (index, slots, slack, ghosts) and is never exceeded.
 *
 * Writers take the mutex of the key's shard; readers take no lock: they read under the shard's sequence word,
 * copy out with relaxed atomics, and look again. Each slot has a word that changes whenever what it holds
 * changes, and slot memory is never used for anything else: who remembers (slot, word) can tell with one load
 * that the entry is still the same. Thread-safe but for new and free. */
#ifndef LDR_L1_SHELF_H
#define LDR_L1_SHELF_H

#include "base/buf.h"
#include "base/clock.h"
#include "record/record.h"
#include <stdatomic.h>

typedef struct ldr_shelf ldr_shelf;

typedef struct ldr_shelf_options {
    size_t bytes;        /* the whole mapping; at least 64 KiB, else raised to it by the caller's check */
    uint32_t entries;    /* 0: no limit but bytes */
    uint32_t shards;     /* power of two; 0: by processors, while a shard keeps at least 4 MiB */
    double negatives;    /* share of bytes (and of entries) for LDR_NONE records */
    const char *policy;  /* name of a row of the policy table */
    uint64_t seed;       /* of the key hash */
} ldr_shelf_options;

/* Where an entry stands, for a memo: `word` equals *at as long as the entry is unchanged. */
typedef struct ldr_slot_ref {
    _Atomic uint32_t *at; /* the slot's word, valid for the shelf's life */
    _Atomic uint8_t *mark; /* what a hit marks (policy bits); NULL where a hit must go through ldr_shelf_read */
    uint32_t word;
    uint8_t mark_max; /* a hit raises *mark by one while it is below this; 0: nothing to mark */
} ldr_slot_ref;

/* Tells the policy of a hit on an entry that is remembered. Plain loads and stores do as well: of two hits at
 * once one may be lost. ref->mark must not be NULL. */
static inline void ldr_slot_mark(const ldr_slot_ref *ref)
{
    uint8_t mark = atomic_load_explicit(ref->mark, memory_order_relaxed);
    if (mark < ref->mark_max)
        atomic_store_explicit(ref->mark, mark + 1, memory_order_relaxed);
}

/* What happened to entries during a write; called under the shard's lock: note and return. */
typedef struct ldr_shelf_watch {
    void (*gone)(void *ctx, ldr_slice key, size_t bytes, bool expired); /* evicted, or found past its hard expiry */
    void *ctx;
} ldr_shelf_watch;

enum ldr_shelf_put {
    LDR_SHELF_KEPT = 0,
    LDR_SHELF_OLDER,     /* an entry with a higher version is held: refused */
    LDR_SHELF_TOO_LARGE, /* larger than a shard can ever hold; an older entry of the key is erased */
};

int ldr_shelf_new(const ldr_shelf_options *o, const ldr_mem *mem, ldr_shelf **out, ldr_err *err);
void ldr_shelf_free(ldr_shelf *s);

uint64_t ldr_shelf_hash(const ldr_shelf *s, ldr_slice key);

/* Finds the entry and copies it: *out describes it, its bytes (key excluded) live in `bytes` (cleared first; grown).
 * touch: tell the policy of the hit. ref may be NULL. Gives false when not held or past its hard expiry at now_us
 * (expired entries are left for writers), or when memory for the copy cannot be had. */
bool ldr_shelf_read(ldr_shelf *s, ldr_slice key, uint64_t hash, int64_t now_us, bool touch, ldr_record *out,
                    ldr_buf *bytes, ldr_slot_ref *ref);
/* Inserts or replaces; evicts until there is room. A record that is not older replaces (equal versions do; version
 * 0 always does). n_evicted (may be NULL) is added to. */
enum ldr_shelf_put ldr_shelf_write(ldr_shelf *s, const ldr_record *r, uint64_t hash, int64_t now_us,
                                   const ldr_shelf_watch *watch, uint32_t *n_evicted);
bool ldr_shelf_erase(ldr_shelf *s, ldr_slice key, uint64_t hash); /* false: was not held */
/* Sets the soft expiry (hard moves along, stale_us kept). soft_us <= now only expires. false: not held. */
bool ldr_shelf_touch(ldr_shelf *s, ldr_slice key, uint64_t hash, int64_t now_us, int64_t soft_us);
void ldr_shelf_clear(ldr_shelf *s); /* all entries, every slot's word changes; O(entries) here, rare */
uint64_t ldr_shelf_entries(const ldr_shelf *s);
uint64_t ldr_shelf_bytes(const ldr_shelf *s); /* in use of the budget: all that was carved from the arena */

/* Self check for tests: every invariant of index, arena and policy lists; NULL or what is wrong. */
const char *ldr_shelf_verify(ldr_shelf *s);

#endif
