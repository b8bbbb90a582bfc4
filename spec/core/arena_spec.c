/* arena_spec.c - blocks and pages: nothing overlaps, nothing is lost, all of it can be had again. */
#include "bed.h"
#include "l1/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define UNITS 8192u
#define MOST 4096

/* What is in the arena by the test's own book: each block is filled with its number. */
typedef struct book {
    _Alignas(64) char memory[(UNITS + 2048) * LDR_UNIT];
    ldr_arena arena;
    uint32_t blocks[MOST], units[MOST], n;
    uint32_t n_moved, n_lost;
    uint32_t pages[MOST], n_pages, page_units;
} book;

static void book_init(book *b)
{
    memset(b, 0, sizeof *b);
    uint32_t tables = 8, begin = tables + ldr_arena_tables_units(UNITS);
    ldr_arena_shape shape = {.base = b->memory, .tables = tables, .begin = begin, .units = UNITS};
    ldr_arena_init(&b->arena, &shape);
    b->page_units = 24;
}

static uint32_t *words(book *b, uint32_t unit)
{
    return ldr_unit_at(b->memory, unit);
}

static void fill(book *b, uint32_t unit, uint32_t units, uint32_t what)
{
    for (uint32_t i = 1; i < units * 2; i++)
        words(b, unit)[i] = what;
}

static void check_block(book *b, uint32_t i)
{
    assert_true(ldr_arena_units(&b->arena, b->blocks[i]) >= b->units[i]);
    for (uint32_t w = 1; w < b->units[i] * 2; w++)
        assert_int_equal(words(b, b->blocks[i])[w], b->units[i] * 7 + 1);
}

static void forget(book *b, uint32_t i)
{
    b->n--;
    b->blocks[i] = b->blocks[b->n];
    b->units[i] = b->units[b->n];
}

static void note(book *b, uint32_t block, uint32_t units)
{
    if (units < 2)
        units = 2;
    fill(b, block, units, units * 7 + 1);
    b->blocks[b->n] = block;
    b->units[b->n++] = units;
}

static void moved(void *ctx, uint32_t from, uint32_t to)
{
    book *b = ctx;
    uint32_t i = 0;
    while (b->blocks[i] != from)
        assert_true(++i < b->n);
    check_block(b, i);
    if (!to) {
        b->n_lost++;
        forget(b, i);
        return;
    }
    b->n_moved++;
    b->blocks[i] = to;
    fill(b, to, b->units[i], b->units[i] * 7 + 1);
}

static void check(book *b)
{
    const char *wrong = ldr_arena_verify(&b->arena);
    if (wrong)
        fail_msg("%s", wrong);
    for (uint32_t i = 0; i < b->n; i++)
        check_block(b, i);
    for (uint32_t i = 0; i < b->n_pages; i++)
        for (uint32_t w = 0; w < b->page_units * 2; w++)
            assert_int_equal(words(b, b->pages[i])[w], 0xABCD0000u + i);
}

static void add_page(book *b, uint32_t page)
{
    assert_int_equal((uintptr_t)words(b, page) % 64, 0);
    for (uint32_t w = 0; w < b->page_units * 2; w++)
        words(b, page)[w] = 0xABCD0000u + b->n_pages;
    b->pages[b->n_pages++] = page;
}

static void one_block_takes_all_and_gives_it_back(void **state)
{
    (void)state;
    static book b;
    book_init(&b);
    uint32_t all = b.arena.free_units;
    uint32_t block = ldr_arena_alloc(&b.arena, all);
    assert_true(block != 0);
    assert_int_equal(ldr_arena_alloc(&b.arena, 1), 0);
    ldr_arena_free(&b.arena, block);
    assert_int_equal(b.arena.free_units, all);
    assert_int_equal(ldr_arena_alloc(&b.arena, all + 1), 0);
    check(&b);
}

static void neighbours_merge_in_any_order(void **state)
{
    (void)state;
    static book b;
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int i = 0; i < 6; i++) {
        book_init(&b);
        uint32_t all = b.arena.free_units, blocks[3];
        for (int k = 0; k < 3; k++)
            blocks[k] = ldr_arena_alloc(&b.arena, 10);
        for (int k = 0; k < 3; k++) {
            ldr_arena_free(&b.arena, blocks[orders[i][k]]);
            check(&b);
        }
        assert_int_equal(ldr_arena_alloc(&b.arena, all), blocks[0]);
    }
}

/* Every other small block is free: half of the arena, but no large piece. */
static void chequer(book *b, uint32_t units)
{
    uint32_t block;
    while ((block = ldr_arena_alloc(&b->arena, units)) != 0)
        note(b, block, units);
    for (uint32_t i = b->n; i-- > 0;)
        if (i % 2 == 0) {
            ldr_arena_free(&b->arena, b->blocks[i]);
            forget(b, i);
        }
}

static void a_large_block_is_had_by_moving_small_ones(void **state)
{
    (void)state;
    static book b;
    book_init(&b);
    chequer(&b, 13);
    uint32_t units = b.arena.free_units * 3 / 4;
    assert_int_equal(ldr_arena_alloc(&b.arena, units), 0);
    ldr_arena_mover mover = {.move = moved, .ctx = &b};
    uint32_t block = ldr_arena_alloc_moving(&b.arena, units, &mover);
    assert_true(block != 0);
    note(&b, block, units);
    assert_int_equal(b.n_lost, 0);
    assert_true(b.n_moved > 0);
    check(&b);
}

static void where_there_is_no_room_blocks_are_lost(void **state)
{
    (void)state;
    static book b;
    book_init(&b);
    uint32_t block;
    while ((block = ldr_arena_alloc(&b.arena, 11)) != 0)
        note(&b, block, 11);
    ldr_arena_mover mover = {.move = moved, .ctx = &b};
    block = ldr_arena_alloc_moving(&b.arena, 1000, &mover);
    assert_true(block != 0);
    note(&b, block, 1000);
    assert_true(b.n_lost >= 1000 / 11 && b.n_lost <= 1000 / 11 + 2);
    check(&b);
    assert_int_equal(ldr_arena_alloc_moving(&b.arena, UNITS + 1, &mover), 0);
}

static void pages_come_from_above_until_the_floor(void **state)
{
    (void)state;
    static book b;
    book_init(&b);
    chequer(&b, 9);
    ldr_arena_mover mover = {.move = moved, .ctx = &b};
    for (uint32_t page; (page = ldr_arena_page_moving(&b.arena, b.page_units, &mover)) != 0;)
        add_page(&b, page);
    assert_true(b.n_pages >= UNITS / 2 / b.page_units - 1);
    assert_true(b.arena.end >= b.arena.floor);
    check(&b);
    ldr_arena_clear(&b.arena);
    b.n = 0;
    check(&b);
}

static void step(book *b, ldr_rng *rng, const ldr_arena_mover *mover)
{
    uint64_t r = ldr_rng_next(rng);
    uint32_t units = r % 10 == 0 ? (uint32_t)(r >> 32) % 400 + 1 : (uint32_t)(r >> 32) % 40 + 1, block = 0, page = 0;
    switch (r >> 8 & 15) {
    case 0: block = ldr_arena_alloc_moving(&b->arena, units, mover); break;
    case 1: page = (r >> 20 & 15) == 0 ? ldr_arena_page_moving(&b->arena, b->page_units, mover) : 0; break;
    case 2: page = (r >> 20 & 15) == 0 ? ldr_arena_page(&b->arena, b->page_units) : 0; break;
    case 3: case 4: case 5: case 6: case 7:
        if (b->n > 0) {
            uint32_t i = (uint32_t)(r >> 40) % b->n;
            check_block(b, i);
            ldr_arena_free(&b->arena, b->blocks[i]);
            forget(b, i);
        }
        break;
    default: block = ldr_arena_alloc(&b->arena, units);
    }
    if (block)
        note(b, block, units);
    if (page)
        add_page(b, page);
}

static void anything_at_random(void **state)
{
    (void)state;
    static book b;
    ldr_rng rng = bed_rng("arena");
    for (long round = 0; round < bed_times(10, 300); round++) {
        book_init(&b);
        ldr_arena_mover mover = {.move = moved, .ctx = &b};
        for (int i = 0; i < 6000; i++) {
            step(&b, &rng, &mover);
            if (i % 500 == 0)
                check(&b);
        }
        check(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_block_takes_all_and_gives_it_back),
        cmocka_unit_test(neighbours_merge_in_any_order),
        cmocka_unit_test(a_large_block_is_had_by_moving_small_ones),
        cmocka_unit_test(where_there_is_no_room_blocks_are_lost),
        cmocka_unit_test(pages_come_from_above_until_the_floor),
        cmocka_unit_test(anything_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
