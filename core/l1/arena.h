/* arena.h - the memory of one shard: records in blocks from below, pages that stay for ever from above.
 *
 *   begin                                              end
 *   +-------+------+-------+--------------------------+---+------+------+------+
 *   | block | free | block | free ...                 | | | page | page | page |
 *   +-------+------+-------+--------------------------+---+------+------+------+
 *                                                      stop ^ the roof: comes down, never goes up
 *
 * Blocks: two-level segregated fit on one flat row of size classes, merged at once when freed; 4 bytes a block
 * (size in units of 8 bytes, "free", "the one before is free"); a free block also keeps two links and, at its
 * end, its size. A map keeps one known block start per 128 units, so that any place can be vacated: its blocks
 * are moved elsewhere. So a page, or a large block, can be had from an arena full of small ones.
 *
 * No pointers inside: an arena may lie at another address in each process. Not thread-safe (the shard's mutex
 * is), but readers may look at its words: see word.h. */
#ifndef LDR_L1_ARENA_H
#define LDR_L1_ARENA_H

#include "l1/word.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LDR_ARENA_BIT_WORDS 16
#define LDR_ARENA_MOST_UNITS ((1u << 30) - 1)
#define LDR_BLOCK_HEADER_BYTES 4

typedef struct ldr_arena {
    uint64_t self;       /* bytes from base to this struct */
    uint32_t begin, end; /* units: where blocks may be; `end` is the stop */
    uint32_t floor;      /* the roof comes down no further */
    uint32_t heads, map; /* units: the classes' first free blocks; the map of block starts */
    uint32_t n_classes;
    uint32_t free_units;
    uint64_t summary, bits[LDR_ARENA_BIT_WORDS]; /* which words, which classes have free blocks */
} ldr_arena;

/* Called for a block that has to go from `from`: to `to`, or 0: there is no room for it, it is lost. */
typedef struct ldr_arena_mover {
    void (*move)(void *ctx, uint32_t from, uint32_t to);
    void *ctx;
} ldr_arena_mover;

uint32_t ldr_arena_tables_units(uint32_t units); /* what an arena of so many units needs for heads and map */

/* base: where unit 0 is. The tables stand at unit `tables`, blocks and pages in [begin, begin + units). */
typedef struct ldr_arena_shape {
    char *base;
    uint32_t tables, begin, units;
} ldr_arena_shape;
void ldr_arena_init(ldr_arena *a, const ldr_arena_shape *shape);
void ldr_arena_clear(ldr_arena *a); /* all blocks are gone, the roof stays */

uint32_t ldr_arena_alloc(ldr_arena *a, uint32_t units); /* unit of a block of at least `units`; 0: none free */
void ldr_arena_free(ldr_arena *a, uint32_t block);
/* Pages of whole cache lines stand on whole cache lines, where base does. */
uint32_t ldr_arena_page(ldr_arena *a, uint32_t units); /* from the roof, if free just below it; 0: it is not */
/* As alloc and page, but moving blocks that are in the way; 0: larger than the arena can hold. */
uint32_t ldr_arena_alloc_moving(ldr_arena *a, uint32_t units, const ldr_arena_mover *mover);
uint32_t ldr_arena_page_moving(ldr_arena *a, uint32_t units, const ldr_arena_mover *mover);

/* Every block in turn: first with 0, then with what was given; 0 behind the last. */
uint32_t ldr_arena_next(const ldr_arena *a, uint32_t block);
bool ldr_arena_is_free(const ldr_arena *a, uint32_t block);
const char *ldr_arena_verify(const ldr_arena *a); /* NULL, or what is wrong */

static inline char *ldr_arena_base(const ldr_arena *a)
{
    return (char *)(uintptr_t)a - a->self;
}

static inline uint32_t ldr_block_units(uint32_t header)
{
    return header >> 2;
}

static inline uint32_t ldr_arena_units(const ldr_arena *a, uint32_t block)
{
    return ldr_block_units(ldr_peek32(ldr_unit_at(ldr_arena_base(a), block)));
}

#endif
