/* ghost.c - the ring and the table of ghost.h.
 *
 * Invariant: each ring place in [head, tail) that is not a hole has exactly one cell, in the first bucket from
 * its home on that had a free cell when it was put there; the count of every bucket it passed includes it. */
#include "policy/ghost.h"

#include "policy/line.h"

#define BUCKET 16u
#define CELLS (BUCKET - 1) /* the last word of a bucket counts those that passed it */
#define CELL_BITS ((1u << CELLS) - 1)
#define CLOSING_STEPS 16

typedef struct found {
    uint32_t bucket, cell;
} found;

/* The page may have held what a reader without a lock still looks at (and will throw away): see l1/word.h. */
static void set(uint32_t *word, uint32_t v)
{
    __atomic_store_n(word, v, __ATOMIC_RELEASE);
}

static uint32_t low(uint64_t hash)
{
    uint32_t v = (uint32_t)hash;
    return v ? v : 1;
}

static uint32_t home(const ldr_ghosts *g, uint32_t v)
{
    uint32_t mixed = v * 0x9E3779B1u;
    return (uint32_t)((uint64_t)mixed * g->n_buckets >> 32);
}

static uint32_t *bucket_at(const ldr_ghost_room *room, uint32_t b)
{
    return ldr_words_at(&room->table, b * BUCKET);
}

static uint32_t place_of(const ldr_ghosts *g, uint64_t at)
{
    return (uint32_t)(at < g->ring_words ? at : at - g->ring_words);
}

static uint32_t *ring_at(const ldr_ghosts *g, const ldr_ghost_room *room, uint64_t at)
{
    return ldr_words_at(&room->ring, place_of(g, at));
}

static uint32_t whole_pages(uint64_t words)
{
    return (uint32_t)((words + LDR_WORDS_PAGE - 1) / LDR_WORDS_PAGE * LDR_WORDS_PAGE);
}

uint32_t ldr_ghosts_ring_words(uint32_t cap)
{
    return whole_pages((uint64_t)cap + cap / 4 + 1);
}

uint32_t ldr_ghosts_table_words(uint32_t cap)
{
    return whole_pages(((uint64_t)cap * 3 / 2 / CELLS + 1) * BUCKET);
}

void ldr_ghosts_reset(ldr_ghosts *g, const ldr_ghost_room *room, uint32_t cap)
{
    *g = (ldr_ghosts){.cap = cap};
    if (cap == 0)
        return;
    g->ring_words = ldr_ghosts_ring_words(cap);
    uint32_t words = ldr_ghosts_table_words(cap);
    g->n_buckets = words / BUCKET;
    g->place_bits = 32 - (uint32_t)__builtin_clz(g->ring_words);
    for (uint32_t i = 0; i < words; i++)
        set(ldr_words_at(&room->table, i), 0);
}

static uint32_t cell_place(const ldr_ghosts *g, uint32_t cell)
{
    return (cell & ((1u << g->place_bits) - 1)) - 1;
}

/* The first cell on v's way that agrees with `want` in the bits of `mask` and whose ring place holds v. */
static inline bool find(const ldr_ghosts *g, const ldr_ghost_room *room, uint32_t v, uint32_t want, uint32_t mask, found *f)
{
    uint32_t b = home(g, v);
    for (uint32_t tried = 0; tried < g->n_buckets; tried++) {
        const uint32_t *cells = bucket_at(room, b);
        for (uint32_t bits = ldr_line_match(cells, want, mask) & CELL_BITS; bits; bits &= bits - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(bits);
            if (cells[i] == 0 || *ldr_words_at(&room->ring, cell_place(g, cells[i])) != v)
                continue;
            *f = (found){.bucket = b, .cell = i};
            return true;
        }
        if (cells[CELLS] == 0)
            return false;
        b = b + 1 == g->n_buckets ? 0 : b + 1;
    }
    return false;
}

static void put_cell(const ldr_ghosts *g, const ldr_ghost_room *room, uint32_t v, uint32_t cell)
{
    uint32_t b = home(g, v);
    for (;;) { /* ends: there are more cells than ghosts */
        uint32_t *cells = bucket_at(room, b);
        uint32_t empty = ldr_line_match(cells, 0, UINT32_MAX) & CELL_BITS;
        if (empty) {
            set(&cells[__builtin_ctz(empty)], cell);
            return;
        }
        set(&cells[CELLS], cells[CELLS] + 1);
        b = b + 1 == g->n_buckets ? 0 : b + 1;
    }
}

static void clear_cell(const ldr_ghosts *g, const ldr_ghost_room *room, uint32_t v, found f)
{
    set(&bucket_at(room, f.bucket)[f.cell], 0);
    for (uint32_t b = home(g, v); b != f.bucket; b = b + 1 == g->n_buckets ? 0 : b + 1) {
        uint32_t *passed = &bucket_at(room, b)[CELLS];
        set(passed, *passed - 1);
    }
}

static bool find_place(const ldr_ghosts *g, const ldr_ghost_room *room, uint64_t at, found *f)
{
    uint32_t mask = (1u << g->place_bits) - 1;
    return find(g, room, *ring_at(g, room, at), place_of(g, at) + 1, mask, f);
}

static void skip_holes(ldr_ghosts *g, const ldr_ghost_room *room)
{
    while (g->head < g->tail && *ring_at(g, room, g->head) == 0)
        g->head++;
}

static void drop_oldest(ldr_ghosts *g, const ldr_ghost_room *room)
{
    skip_holes(g, room);
    if (g->head == g->tail)
        return;
    found f;
    uint32_t *v = ring_at(g, room, g->head);
    if (find_place(g, room, g->head, &f))
        clear_cell(g, room, *v, f);
    set(v, 0);
    g->head++;
    g->n--;
    if (g->head < g->tail)
        ldr_ghosts_prefetch(g, room, *ring_at(g, room, g->head)); /* the next to go */
}

/* Moves the ghost at `from` to the hole at `to`, both counted from 1. */
static void move_up(ldr_ghosts *g, const ldr_ghost_room *room)
{
    found f;
    uint32_t *v = ring_at(g, room, g->from - 1);
    if (find_place(g, room, g->from - 1, &f)) {
        uint32_t *cell = &bucket_at(room, f.bucket)[f.cell];
        uint32_t mask = (1u << g->place_bits) - 1;
        set(ring_at(g, room, g->to - 1), *v);
        set(cell, (*cell & ~mask) | (place_of(g, g->to - 1) + 1));
    }
    set(v, 0);
}

static void end_closing(ldr_ghosts *g)
{
    g->head = g->head < g->to ? g->to : g->head;
    g->from = 0;
}

/* Closes holes towards the newest end, from the newest to the oldest, so that order is kept. */
static void close_holes(ldr_ghosts *g, const ldr_ghost_room *room, uint64_t steps)
{
    if (g->from == 0 && g->tail - g->head - g->n > g->cap / 8)
        g->from = g->to = g->tail;
    for (; g->from != 0 && steps > 0; steps--) {
        if (g->from <= g->head) {
            end_closing(g);
            return;
        }
        if (*ring_at(g, room, g->from - 1) != 0) {
            if (g->from != g->to)
                move_up(g, room);
            g->to--;
        }
        g->from--;
    }
}

/* Keeps head below ring_words, and so all places below twice that: see place_of. */
static void wind_back(ldr_ghosts *g)
{
    if (g->head < g->ring_words)
        return;
    if (g->from != 0 && g->from <= g->head)
        end_closing(g);
    g->head -= g->ring_words;
    g->tail -= g->ring_words;
    if (g->from == 0)
        return;
    g->from -= g->ring_words;
    g->to -= g->ring_words;
}

void ldr_ghosts_add(ldr_ghosts *g, const ldr_ghost_room *room, uint64_t hash)
{
    if (g->cap == 0)
        return;
    wind_back(g);
    while (g->n >= g->cap)
        drop_oldest(g, room);
    close_holes(g, room, CLOSING_STEPS);
    if (g->tail - g->head >= g->ring_words) {
        close_holes(g, room, 2 * (uint64_t)g->ring_words);
        skip_holes(g, room);
    }
    if (g->tail - g->head >= g->ring_words)
        drop_oldest(g, room);
    uint32_t v = low(hash);
    set(ring_at(g, room, g->tail), v);
    put_cell(g, room, v, (uint32_t)(hash >> 32) << g->place_bits | (place_of(g, g->tail) + 1));
    g->tail++;
    g->n++;
}

bool ldr_ghosts_take(ldr_ghosts *g, const ldr_ghost_room *room, uint64_t hash)
{
    found f;
    if (g->n == 0)
        return false;
    uint32_t v = low(hash), mask = (1u << g->place_bits) - 1;
    if (!find(g, room, v, (uint32_t)(hash >> 32) << g->place_bits, ~mask, &f))
        return false;
    uint32_t place = cell_place(g, bucket_at(room, f.bucket)[f.cell]);
    clear_cell(g, room, v, f);
    set(ldr_words_at(&room->ring, place), 0);
    g->n--;
    return true;
}

void ldr_ghosts_prefetch(const ldr_ghosts *g, const ldr_ghost_room *room, uint64_t hash)
{
    if (g->cap != 0)
        __builtin_prefetch(bucket_at(room, home(g, low(hash))), 1);
}

const char *ldr_ghosts_verify(const ldr_ghosts *g, const ldr_ghost_room *room)
{
    uint32_t in_ring = 0, in_table = 0;
    if (g->cap == 0)
        return g->n ? "ghosts without a capacity" : NULL;
    if (g->tail - g->head > g->ring_words)
        return "ghost ring longer than its room";
    for (uint64_t at = g->head; at < g->tail; at++) {
        found f;
        if (*ring_at(g, room, at) == 0)
            continue;
        in_ring++;
        if (!find_place(g, room, at, &f))
            return "ghost without a cell";
    }
    for (uint32_t b = 0; b < g->n_buckets; b++)
        for (uint32_t i = 0; i < CELLS; i++)
            in_table += bucket_at(room, b)[i] != 0;
    if (in_ring != g->n || in_table != g->n)
        return "ghosts do not add up";
    return g->n <= g->cap ? NULL : "more ghosts than may be";
}
