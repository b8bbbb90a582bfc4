/* ghost.h - an exact FIFO of hashes of what has left, with look-up and removal, in about 11 bytes each.
 *
 * A ring keeps the low half of each hash in order of arrival (0: a hole). A table of buckets, 15 cells and a
 * count of those that had to go further, finds a ring place by its low half; a cell holds the place and as many
 * bits of the high half as fit beside it. Holes are closed a few places an insertion, so that the ring, a quarter
 * larger than the capacity, never runs full and no insertion is slow.
 *
 * Pure: words are reached through pages that the owner provides. */
#ifndef LDR_POLICY_GHOST_H
#define LDR_POLICY_GHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LDR_WORDS_SHIFT 8 /* 256 words a page */
#define LDR_WORDS_PAGE (1u << LDR_WORDS_SHIFT)

/* An array of words in pages: page i begins pages[i] * 8 bytes behind base. */
typedef struct ldr_words {
    char *base;
    const uint32_t *pages;
} ldr_words;

static inline uint32_t *ldr_words_at(const ldr_words *w, uint32_t i)
{
    char *page = w->base + (size_t)w->pages[i >> LDR_WORDS_SHIFT] * 8;
    return (uint32_t *)(void *)page + (i & (LDR_WORDS_PAGE - 1));
}

typedef struct ldr_ghosts {
    uint32_t cap;        /* how many it may hold; 0: none */
    uint32_t n;          /* how many it holds */
    uint32_t ring_words; /* places in the ring */
    uint32_t n_buckets;
    uint32_t place_bits; /* of a cell, for ring place + 1 */
    uint64_t head, tail; /* the ring is [head, tail) modulo ring_words */
    uint64_t from, to;   /* closing holes: next place to look at, next place to fill, plus 1; from 0: at rest */
} ldr_ghosts;

typedef struct ldr_ghost_room {
    ldr_words ring, table;
} ldr_ghost_room;

uint32_t ldr_ghosts_ring_words(uint32_t cap); /* a multiple of LDR_WORDS_PAGE, as is the next */
uint32_t ldr_ghosts_table_words(uint32_t cap);

/* Forgets all and sets the capacity; the room must be as large as the two functions above say. */
void ldr_ghosts_reset(ldr_ghosts *g, const ldr_ghost_room *room, uint32_t cap);
void ldr_ghosts_add(ldr_ghosts *g, const ldr_ghost_room *room, uint64_t hash); /* the oldest leaves when full */
bool ldr_ghosts_take(ldr_ghosts *g, const ldr_ghost_room *room, uint64_t hash); /* true: was there, is no more */
void ldr_ghosts_prefetch(const ldr_ghosts *g, const ldr_ghost_room *room, uint64_t hash); /* soon: add or take */
const char *ldr_ghosts_verify(const ldr_ghosts *g, const ldr_ghost_room *room);

#endif
