/* policy_spec.c - each policy by small sequences made by hand, ghosts against a plain list. */
#include "bed.h"
#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define N 64
#define WORDS 4096

/* A cache of `capacity` letters: slot i holds the letter 'a' + i, and its hash is i + 1. */
typedef struct toy {
    ldr_node nodes[N];
    bool held[N];
    uint32_t page, n, capacity, weights[N];
    _Alignas(64) uint32_t ring[WORDS];
    _Alignas(64) uint32_t table[WORDS];
    uint32_t pages[WORDS / LDR_WORDS_PAGE];
    ldr_policy_state state;
    ldr_policy policy;
    char left[256]; /* letters in the order in which they left */
} toy;

static uint64_t toy_hash(void *ctx, uint32_t slot)
{
    (void)ctx;
    return slot + 1;
}

static uint32_t toy_weight(void *ctx, uint32_t slot)
{
    return ((toy *)ctx)->weights[slot];
}

static void words_of(ldr_words *w, uint32_t *words, uint32_t *pages)
{
    for (uint32_t i = 0; i < WORDS / LDR_WORDS_PAGE; i++)
        pages[i] = i * LDR_WORDS_PAGE * 4 / 8;
    *w = (ldr_words){.base = (char *)words, .pages = pages};
}

static void toy_init(toy *t, const char *policy, uint32_t capacity)
{
    memset(t, 0, sizeof *t);
    t->capacity = capacity;
    t->policy.ops = ldr_policy_find(policy);
    assert_non_null(t->policy.ops);
    t->policy.state = &t->state;
    t->policy.nodes = (ldr_nodes){.base = (char *)t->nodes, .pages = &t->page, .shift = 31, .stride = sizeof(ldr_node)};
    words_of(&t->policy.ghost_room.ring, t->ring, t->pages);
    words_of(&t->policy.ghost_room.table, t->table, t->pages);
    t->policy.owner = (ldr_policy_owner){.hash = toy_hash, .ctx = t};
    ldr_policy_init(&t->state, capacity);
    ldr_ghosts_reset(&t->state.ghosts, &t->policy.ghost_room, capacity * 9 / 10);
}

static void toy_evict(toy *t)
{
    t->state.capacity = t->state.queues[0].weight + t->state.queues[1].weight;
    uint32_t slot = ldr_policy_victim(&t->policy);
    assert_true(slot < N && t->held[slot]);
    t->held[slot] = false;
    t->n--;
    t->left[strlen(t->left)] = (char)('a' + slot);
}

static void toy_ask(toy *t, char letter)
{
    uint32_t slot = (uint32_t)(letter - 'a');
    if (t->held[slot]) {
        ldr_policy_hit(&t->policy, slot);
        return;
    }
    uint8_t queue = ldr_policy_arrive(&t->policy, slot + 1);
    while (t->n >= t->capacity)
        toy_evict(t);
    ldr_policy_add(&t->policy, slot, queue);
    t->held[slot] = true;
    t->n++;
}

/* Gives the letters that left while `asked` was asked. */
static const char *toy_run(toy *t, const char *asked)
{
    memset(t->left, 0, sizeof t->left);
    for (; *asked; asked++)
        toy_ask(t, *asked);
    assert_null(ldr_policy_verify(&t->policy));
    return t->left;
}

static void toy_drop(toy *t, char letter)
{
    ldr_policy_remove(&t->policy, (uint32_t)(letter - 'a'));
    t->held[letter - 'a'] = false;
    t->n--;
}

/* ---- the algorithms ---------------------------------------------------------------------------------------- */

static void fifo_forgets_in_order_of_arrival(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "fifo", 3);
    assert_string_equal(toy_run(&t, "abcaaade"), "ab");
}

static void lru_forgets_what_was_used_longest_ago(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "lru", 3);
    assert_string_equal(toy_run(&t, "abcabdae"), "cb");
}

static void clock_gives_a_second_chance(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "clock", 3);
    assert_string_equal(toy_run(&t, "abcad"), "b"); /* a goes back to the head: d a c */
    assert_string_equal(toy_run(&t, "e"), "c");
    assert_string_equal(toy_run(&t, "f"), "a");
}

static void clock_with_all_marked_forgets_the_oldest(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "clock", 3);
    assert_string_equal(toy_run(&t, "abcabcd"), "a");
}

static void sieve_leaves_survivors_where_they_are(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "sieve", 3);
    assert_string_equal(toy_run(&t, "abcad"), "b"); /* the hand is at c; a stays at the tail */
    assert_string_equal(toy_run(&t, "e"), "c");
    assert_string_equal(toy_run(&t, "f"), "d");
    assert_string_equal(toy_run(&t, "aef"), "");
}

static void sieve_hand_survives_a_removal(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "sieve", 4);
    assert_string_equal(toy_run(&t, "abcdae"), "b"); /* the hand is at c */
    toy_drop(&t, 'c');
    assert_string_equal(toy_run(&t, "fg"), "d");
    toy_drop(&t, 'e');
    assert_string_equal(toy_run(&t, "hi"), "f");
}

static void s3fifo_keeps_what_is_used_twice_while_small(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "s3fifo", 10);
    assert_string_equal(toy_run(&t, "abcdefghijaabk"), "b"); /* a went to main; b was used once only */
    assert_string_equal(toy_run(&t, "lm"), "cd");
    assert_int_equal(t.nodes[0].queue, 1);
}

static void s3fifo_takes_a_ghost_to_main(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "s3fifo", 10);
    assert_string_equal(toy_run(&t, "abcdefghijk"), "a");
    assert_string_equal(toy_run(&t, "a"), "b");
    assert_int_equal(t.nodes[0].queue, 1);
    assert_int_equal(t.state.ghosts.n, 1);
}

static void s3fifo_counts_no_further_than_three(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "s3fifo", 10);
    toy_run(&t, "aaaaaaaaa");
    assert_int_equal(ldr_node_mark(&t.nodes[0]), 3);
}

static void s3fifo_with_nothing_small_left_evicts_main(void **state)
{
    (void)state;
    toy t;
    toy_init(&t, "s3fifo", 3);
    assert_string_equal(toy_run(&t, "aaabbbcccd"), "a");
    assert_string_equal(toy_run(&t, "e"), "d");
}

static void weights_are_kept(void **state)
{
    (void)state;
    for (size_t i = 0; ldr_policy_at(i); i++) {
        toy t;
        toy_init(&t, ldr_policy_at(i)->name, 4);
        t.policy.owner.weight = toy_weight;
        for (uint32_t k = 0; k < N; k++)
            t.weights[k] = k + 1;
        toy_run(&t, "abcdaaefggghij");
        uint32_t held = (uint32_t)(t.held[9] ? 9 : 8);
        ldr_policy_resize(&t.policy, held, held + 1, 70);
        t.weights[held] = 70;
        assert_null(ldr_policy_verify(&t.policy));
    }
}

static void an_empty_policy_has_no_victim(void **state)
{
    (void)state;
    for (size_t i = 0; ldr_policy_at(i); i++) {
        toy t;
        toy_init(&t, ldr_policy_at(i)->name, 4);
        assert_int_equal(ldr_policy_victim(&t.policy), LDR_NO_SLOT);
        toy_run(&t, "ab");
        toy_drop(&t, 'a');
        toy_drop(&t, 'b');
        assert_int_equal(ldr_policy_victim(&t.policy), LDR_NO_SLOT);
    }
    assert_null(ldr_policy_find("none such"));
}

/* ---- ghosts ------------------------------------------------------------------------------------------------ */

typedef struct list {
    uint64_t hashes[512];
    uint32_t n;
} list;

static bool list_take(list *l, uint64_t hash)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->hashes[i] != hash)
            continue;
        memmove(l->hashes + i, l->hashes + i + 1, (--l->n - i) * sizeof hash);
        return true;
    }
    return false;
}

static void list_add(list *l, uint64_t hash, uint32_t cap)
{
    if (l->n == cap)
        list_take(l, l->hashes[0]);
    l->hashes[l->n++] = hash;
}

/* share: of 100 steps, how many take; a span little larger than the capacity makes many holes. */
static void ghosts_against_list(ldr_rng *rng, uint32_t cap, uint32_t span, uint32_t share)
{
    static toy t;
    static list l;
    toy_init(&t, "s3fifo", 2);
    l.n = 0;
    ldr_ghosts *g = &t.state.ghosts;
    const ldr_ghost_room *room = &t.policy.ghost_room;
    ldr_ghosts_reset(g, room, cap);
    for (int i = 0; i < 20000; i++) {
        uint64_t r = ldr_rng_next(rng);
        uint64_t hash = (r >> 32) % span * 0x9E3779B97F4A7C15u;
        bool held = list_take(&l, hash);
        assert_int_equal(ldr_ghosts_take(g, room, hash), held);
        if (r % 100 >= share) {
            ldr_ghosts_add(g, room, hash);
            list_add(&l, hash, cap);
        }
        assert_int_equal(g->n, l.n);
        if (i % 1000 == 0)
            assert_null(ldr_ghosts_verify(g, room));
    }
    assert_null(ldr_ghosts_verify(g, room));
}

static void ghosts_are_an_exact_fifo(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("ghosts");
    for (long round = 0; round < bed_times(1, 20); round++)
        for (uint32_t cap = 1; cap <= 512; cap = cap * 3 / 2 + 1) {
            ghosts_against_list(&rng, cap, cap * 4, 5);
            ghosts_against_list(&rng, cap, cap + cap / 4 + 1, 40);
            ghosts_against_list(&rng, cap, cap * 2, 20);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fifo_forgets_in_order_of_arrival),
        cmocka_unit_test(lru_forgets_what_was_used_longest_ago),
        cmocka_unit_test(clock_gives_a_second_chance),
        cmocka_unit_test(clock_with_all_marked_forgets_the_oldest),
        cmocka_unit_test(sieve_leaves_survivors_where_they_are),
        cmocka_unit_test(sieve_hand_survives_a_removal),
        cmocka_unit_test(s3fifo_keeps_what_is_used_twice_while_small),
        cmocka_unit_test(s3fifo_takes_a_ghost_to_main),
        cmocka_unit_test(s3fifo_counts_no_further_than_three),
        cmocka_unit_test(s3fifo_with_nothing_small_left_evicts_main),
        cmocka_unit_test(weights_are_kept),
        cmocka_unit_test(an_empty_policy_has_no_victim),
        cmocka_unit_test(ghosts_are_an_exact_fifo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
