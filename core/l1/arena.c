/* arena.c - blocks and pages of arena.h.
 *
 * A block's words: header; in a free one also next and prev of its class, and its size in its last word.
 * Two free blocks never touch. The stop is a used block of size 0 whose header says whether the last is free. */
#include "l1/arena.h"

#include <string.h>

#define FREE 1u
#define PREV_FREE 2u
#define SMALL_CLASSES 64u /* one size each */
#define STEPS 32u         /* classes a power of two above */
#define LEAST_UNITS 2u
#define GRAIN 128u /* units a cell of the map stands for */
#define UNKNOWN 0xFFu
#define LINE_UNITS 8u /* the first page ends at a cache line's begin */

enum word { HEADER, NEXT, PREV };

static ldr_w32 *word_at(const ldr_arena *a, uint32_t block, enum word w)
{
    return (ldr_w32 *)ldr_unit_at(ldr_arena_base(a), block) + w;
}

static uint32_t get(const ldr_arena *a, uint32_t block, enum word w)
{
    return *word_at(a, block, w);
}

static void put(const ldr_arena *a, uint32_t block, enum word w, uint32_t v)
{
    ldr_store32(word_at(a, block, w), v);
}

static uint32_t size_of(const ldr_arena *a, uint32_t block)
{
    return get(a, block, HEADER) >> 2;
}

bool ldr_arena_is_free(const ldr_arena *a, uint32_t block)
{
    return (get(a, block, HEADER) & FREE) != 0;
}

static ldr_w32 *foot_before(const ldr_arena *a, uint32_t block)
{
    return (ldr_w32 *)ldr_unit_at(ldr_arena_base(a), block) - 1;
}

/* ---- size classes ------------------------------------------------------------------------------------------ */

static uint32_t log2_of(uint32_t v)
{
    return 31 - (uint32_t)__builtin_clz(v);
}

static uint32_t class_of(uint32_t units)
{
    if (units < SMALL_CLASSES)
        return units;
    uint32_t lg = log2_of(units);
    return SMALL_CLASSES + (lg - 6) * STEPS + ((units >> (lg - 5)) & (STEPS - 1));
}

/* The first class in which every block is large enough. */
static uint32_t class_for(uint32_t units)
{
    return units < SMALL_CLASSES ? units : class_of(units + (1u << (log2_of(units) - 5)) - 1);
}

static ldr_w32 *class_head(const ldr_arena *a, uint32_t c)
{
    return (ldr_w32 *)ldr_unit_at(ldr_arena_base(a), a->heads) + c;
}

/* The first class from c on that has a free block; n_classes: none. */
static uint32_t class_with_room(const ldr_arena *a, uint32_t c)
{
    if (c >= a->n_classes)
        return a->n_classes;
    uint32_t w = c / 64;
    uint64_t bits = a->bits[w] & (~(uint64_t)0 << (c % 64));
    if (bits == 0) {
        uint64_t words = w + 1 < 64 ? a->summary & (~(uint64_t)0 << (w + 1)) : 0;
        if (words == 0)
            return a->n_classes;
        w = (uint32_t)__builtin_ctzll(words);
        bits = a->bits[w];
    }
    return w * 64 + (uint32_t)__builtin_ctzll(bits);
}

static void class_mark(ldr_arena *a, uint32_t c, bool any)
{
    uint64_t bit = (uint64_t)1 << (c % 64);
    a->bits[c / 64] = any ? a->bits[c / 64] | bit : a->bits[c / 64] & ~bit;
    bit = (uint64_t)1 << (c / 64);
    a->summary = a->bits[c / 64] ? a->summary | bit : a->summary & ~bit;
}

/* ---- the map of block starts ------------------------------------------------------------------------------- */

static uint8_t *cell_of(const ldr_arena *a, uint32_t block)
{
    return (uint8_t *)ldr_unit_at(ldr_arena_base(a), a->map) + (block - a->begin) / GRAIN;
}

/* The lowest is kept: that of the first block, which a search may end at, is never lost. */
static void note_start(const ldr_arena *a, uint32_t block)
{
    uint8_t *cell = cell_of(a, block), at = (uint8_t)((block - a->begin) % GRAIN);
    if (at < *cell)
        *cell = at;
}

static void forget_start(const ldr_arena *a, uint32_t gone)
{
    uint8_t *cell = cell_of(a, gone);
    if (*cell == (gone - a->begin) % GRAIN)
        *cell = UNKNOWN;
}

static uint32_t block_around(const ldr_arena *a, uint32_t unit)
{
    uint32_t grain = (unit - a->begin) / GRAIN;
    const uint8_t *map = ldr_unit_at(ldr_arena_base(a), a->map);
    while (map[grain] == UNKNOWN || a->begin + grain * GRAIN + map[grain] > unit)
        grain--; /* ends: the first block begins at `begin` */
    uint32_t block = a->begin + grain * GRAIN + map[grain];
    while (block + size_of(a, block) <= unit)
        block += size_of(a, block);
    return block;
}

/* ---- free blocks ------------------------------------------------------------------------------------------- */

static void set_prev_free(const ldr_arena *a, uint32_t block, bool is)
{
    uint32_t h = get(a, block, HEADER);
    put(a, block, HEADER, is ? h | PREV_FREE : h & ~PREV_FREE);
}

static void link_free(ldr_arena *a, uint32_t block, uint32_t units)
{
    uint32_t c = class_of(units), first = *class_head(a, c);
    put(a, block, HEADER, units << 2 | FREE);
    put(a, block, NEXT, first);
    put(a, block, PREV, 0);
    ldr_store32(foot_before(a, block + units), units);
    if (first)
        put(a, first, PREV, block);
    else
        class_mark(a, c, true);
    *class_head(a, c) = block;
    set_prev_free(a, block + units, true);
    a->free_units += units;
}

static void unlink_free(ldr_arena *a, uint32_t block)
{
    uint32_t units = size_of(a, block), c = class_of(units);
    uint32_t next = get(a, block, NEXT), prev = get(a, block, PREV);
    if (next)
        put(a, next, PREV, prev);
    if (prev) {
        put(a, prev, NEXT, next);
    } else {
        *class_head(a, c) = next;
        if (!next)
            class_mark(a, c, false);
    }
    a->free_units -= units;
}

/* Makes `units` of a free block a used one; what is too small to be a block stays with it. */
static uint32_t take(ldr_arena *a, uint32_t block, uint32_t units)
{
    uint32_t have = size_of(a, block);
    unlink_free(a, block);
    if (have - units >= LEAST_UNITS) {
        link_free(a, block + units, have - units);
        note_start(a, block + units);
    } else {
        units = have;
        set_prev_free(a, block + units, false);
    }
    put(a, block, HEADER, units << 2);
    return block;
}

uint32_t ldr_arena_alloc(ldr_arena *a, uint32_t units)
{
    if (units < LEAST_UNITS)
        units = LEAST_UNITS;
    if (units > a->free_units)
        return 0;
    uint32_t c = class_with_room(a, class_for(units));
    if (c < a->n_classes)
        return take(a, *class_head(a, c), units);
    uint32_t first = *class_head(a, class_of(units));
    return first && size_of(a, first) >= units ? take(a, first, units) : 0;
}

void ldr_arena_free(ldr_arena *a, uint32_t block)
{
    uint32_t h = get(a, block, HEADER), units = h >> 2, next = block + units;
    if (h & PREV_FREE) {
        uint32_t before = ldr_peek32(foot_before(a, block));
        unlink_free(a, block - before);
        forget_start(a, block);
        block -= before;
        units += before;
    }
    if (get(a, next, HEADER) & FREE) {
        units += size_of(a, next);
        unlink_free(a, next);
        forget_start(a, next);
    }
    link_free(a, block, units);
}

/* ---- pages, and making room -------------------------------------------------------------------------------- */

static void set_stop(ldr_arena *a, uint32_t end, bool last_is_free)
{
    a->end = end;
    put(a, end, HEADER, last_is_free ? PREV_FREE : 0);
}

uint32_t ldr_arena_page(ldr_arena *a, uint32_t units)
{
    if (!(get(a, a->end, HEADER) & PREV_FREE))
        return 0;
    uint32_t have = ldr_peek32(foot_before(a, a->end)), last = a->end - have;
    if (have < units || have == units + 1 || a->end - a->floor < units + 1)
        return 0;
    unlink_free(a, last);
    set_stop(a, a->end - units, false);
    if (have > units)
        link_free(a, last, have - units);
    return a->end + 1;
}

/* Makes [lo, hi) free but for what must stay; gives the free block around it. */
static uint32_t vacate(ldr_arena *a, uint32_t lo, uint32_t hi, const ldr_arena_mover *mover)
{
    uint32_t start = block_around(a, lo), at = start;
    while (at < hi) {
        uint32_t units = size_of(a, at);
        if (ldr_arena_is_free(a, at)) {
            unlink_free(a, at);
            set_prev_free(a, at + units, false);
        } else {
            mover->move(mover->ctx, at, ldr_arena_alloc(a, units));
        }
        if (at != start)
            forget_start(a, at);
        at += size_of(a, at);
        put(a, start, HEADER, (at - start) << 2 | (get(a, start, HEADER) & PREV_FREE));
    }
    ldr_arena_free(a, start);
    return block_around(a, lo);
}

uint32_t ldr_arena_page_moving(ldr_arena *a, uint32_t units, const ldr_arena_mover *mover)
{
    if (a->end - a->floor < units + LEAST_UNITS)
        return 0;
    vacate(a, a->end - units - LEAST_UNITS, a->end, mover);
    return ldr_arena_page(a, units);
}

static uint32_t largest_free(const ldr_arena *a)
{
    for (uint32_t w = LDR_ARENA_BIT_WORDS; w-- > 0;)
        if (a->bits[w])
            return *class_head(a, w * 64 + 63 - (uint32_t)__builtin_clzll(a->bits[w]));
    return a->begin;
}

uint32_t ldr_arena_alloc_moving(ldr_arena *a, uint32_t units, const ldr_arena_mover *mover)
{
    if (units < LEAST_UNITS)
        units = LEAST_UNITS;
    if (units > a->end - a->begin)
        return 0;
    uint32_t lo = largest_free(a);
    if (lo > a->end - units)
        lo = a->end - units;
    lo = block_around(a, lo);
    return take(a, vacate(a, lo, lo + units, mover), units);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static uint32_t classes_for(uint32_t units)
{
    uint32_t n = class_of(units < SMALL_CLASSES ? SMALL_CLASSES : units) + 1;
    return (n + 1) & ~1u;
}

uint32_t ldr_arena_tables_units(uint32_t units)
{
    return classes_for(units) / 2 + (units / GRAIN + 8) / 8;
}

void ldr_arena_clear(ldr_arena *a)
{
    char *base = ldr_arena_base(a);
    memset(ldr_unit_at(base, a->heads), 0, (size_t)a->n_classes * 4);
    memset(ldr_unit_at(base, a->map), UNKNOWN, (a->end - a->begin) / GRAIN + 1);
    memset(a->bits, 0, sizeof a->bits);
    a->summary = 0;
    a->free_units = 0;
    set_stop(a, a->end, true);
    link_free(a, a->begin, a->end - a->begin);
    note_start(a, a->begin);
}

void ldr_arena_init(ldr_arena *a, const ldr_arena_shape *shape)
{
    *a = (ldr_arena){.self = (uint64_t)((char *)a - shape->base), .begin = shape->begin};
    a->end = ((shape->begin + shape->units) & ~(LINE_UNITS - 1)) - 1;
    a->floor = shape->begin + shape->units / 2;
    a->n_classes = classes_for(shape->units);
    a->heads = shape->tables;
    a->map = shape->tables + a->n_classes / 2;
    ldr_arena_clear(a);
}

uint32_t ldr_arena_next(const ldr_arena *a, uint32_t block)
{
    uint32_t next = block ? block + size_of(a, block) : a->begin;
    return next < a->end ? next : 0;
}

static const char *verify_lists(const ldr_arena *a, uint32_t n_free)
{
    for (uint32_t c = 0; c < a->n_classes; c++) {
        bool any = *class_head(a, c) != 0;
        if (any != ((a->bits[c / 64] >> (c % 64) & 1) != 0))
            return "arena: a class's bit is wrong";
        for (uint32_t b = *class_head(a, c); b; b = get(a, b, NEXT))
            if (n_free-- == 0 || !ldr_arena_is_free(a, b) || class_of(size_of(a, b)) != c)
                return "arena: a class holds what it should not";
    }
    return n_free ? "arena: a free block is in no class" : NULL;
}

const char *ldr_arena_verify(const ldr_arena *a)
{
    uint32_t n_free = 0, units = 0, at = a->begin;
    bool before = false;
    while (at < a->end) {
        uint32_t h = get(a, at, HEADER);
        if (h >> 2 < LEAST_UNITS || h >> 2 > a->end - at)
            return "arena: a block's size is impossible";
        if (before != ((h & PREV_FREE) != 0) || (before && (h & FREE)))
            return "arena: a block is wrong about the one before";
        if (block_around(a, at + (h >> 2) - 1) != at)
            return "arena: the map of starts is wrong";
        before = (h & FREE) != 0;
        n_free += before;
        units += before ? h >> 2 : 0;
        at += h >> 2;
    }
    if (at != a->end || before != ((get(a, a->end, HEADER) & PREV_FREE) != 0))
        return "arena: the last block does not end at the stop";
    return units == a->free_units ? verify_lists(a, n_free) : "arena: free units do not add up";
}
