/* wait_spec.c - reads that wait for each other: who loads, who joins, who gives up when, and who would wait for himself. */
#include "flow_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SEC ((int64_t)LDR_SEC)

/* ---- waiting ------------------------------------------------------------------------------------------------------ */

static void many_callers_one_load(void **state)
{
    (void)state;
    house *h = house_plain();
    task *t[500];
    for (int i = 0; i < 500; i++)
        t[i] = ask(h, "k");
    assert_int_equal(counted(h, LDR_M_loads), 1);
    give(t[0]->spawned, "v", 1);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(t[i]->n_wakes, 1);
        check_read(t[i], i ? LDR_JOINED : LDR_LOADED, "v");
    }
    assert_int_equal(counted(h, LDR_M_joined), 499);
    house_free(h);
}

static void the_deadline_ends_the_call_not_the_load(void **state)
{
    (void)state;
    house *h = house_plain();
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.has_loader = true;
    a.timeout_us = 3 * SEC;
    task *t = begin_get(h, &a, "k"), *load = t->spawned;
    house_pass(h, 3 * SEC - 1);
    assert_false(t->ended);
    house_pass(h, 1);
    check_failed(t, LDR_TIMEOUT);
    assert_true(wants_source(load));
    task *late = ask(h, "k"); /* the load is still the one to join */
    assert_null(late->spawned);
    give(load, "v", 1);
    check_read(late, LDR_JOINED, "v");
    check_read(ask(h, "k"), LDR_HIT_L1, "v");
    house_free(h);
}

static void a_short_deadline_of_the_leader_is_not_the_others(void **state)
{
    (void)state;
    house *h = house_plain();
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.timeout_us = 1 * SEC;
    task *t = begin_get(h, &a, "k"), *other = ask(h, "k");
    assert_int_equal(t->spawned->want.deadline_us, house_now(h) + SEC);
    house_pass(h, SEC - 1);
    give_error(t->spawned, LDR_TIMEOUT); /* the source stopped itself */
    check_failed(t, LDR_TIMEOUT);
    assert_true(wants_source(other->spawned)); /* asks with its own time */
    give(other->spawned, "v", 1);
    check_read(other, LDR_LOADED, "v");
    house_free(h);
}

static task *waiter(house *h, int on_timeout, task **leader)
{
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.on_timeout = on_timeout;
    a.wait_us = 2 * SEC;
    *leader = ask_load(h, "k");
    task *t = begin_get(h, &a, "k");
    house_pass(h, 2 * SEC - 1);
    assert_false(t->ended);
    assert_null(t->spawned);
    house_pass(h, 1);
    return t;
}

static void waited_out_loads_by_itself_and_keeps_nothing(void **state)
{
    (void)state;
    house *h = house_plain();
    task *leader, *t = waiter(h, LDR_ON_TIMEOUT_LOAD, &leader);
    assert_true(wants_source(t->spawned));
    give(t->spawned, "own", 5);
    check_read(t, LDR_LOADED, "own");
    assert_null(peek(h, "k"));
    task *third = ask(h, "k"); /* the first load is still listed */
    assert_null(third->spawned);
    give(leader->spawned, "v", 6);
    check_read(third, LDR_JOINED, "v");
    check_read(leader, LDR_LOADED, "v");
    assert_string_equal(peek(h, "k"), "v");
    house_free(h);
}

static void waited_out_alone_fails_and_times_out_too(void **state)
{
    (void)state;
    house *h = house_plain();
    task *leader, *t = waiter(h, LDR_ON_TIMEOUT_LOAD, &leader);
    house_pass(h, 5 * SEC);
    check_failed(t, LDR_TIMEOUT);
    t = waiter(h, LDR_ON_TIMEOUT_LOAD, &leader);
    give_error(t->spawned, LDR_SOURCE);
    check_failed(t, LDR_SOURCE);
    house_free(h);
}

static void waited_out_gives_an_error_or_what_is_stale(void **state)
{
    (void)state;
    house *h = house_stale();
    task *leader, *t = waiter(h, LDR_ON_TIMEOUT_ERROR, &leader);
    check_failed(t, LDR_TIMEOUT);
    t = waiter(h, LDR_ON_TIMEOUT_STALE, &leader);
    check_failed(t, LDR_TIMEOUT);
    give(h->tasks[0].spawned, "v", 1);
    house_pass(h, 10 * SEC);
    t = waiter(h, LDR_ON_TIMEOUT_STALE, &leader);
    check_read(t, LDR_STALE, "v");
    house_free(h);
}

static void a_dropped_leader_is_replaced(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask_load(h, "k"), *b = ask_load(h, "k"), *c = ask_load(h, "k");
    task_end(a->spawned);
    house_run(h);
    check_failed(a, LDR_LOADER);
    assert_true(wants_source(b->spawned));
    assert_null(c->spawned);
    give(b->spawned, "v", 1);
    check_read(b, LDR_LOADED, "v");
    check_read(c, LDR_JOINED, "v");
    assert_int_equal(counted(h, LDR_M_loads), 2);
    house_free(h);
}

static void a_leader_that_leaves_does_not_take_the_load_along(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask(h, "k"), *b = ask(h, "k"), *load = a->spawned;
    task_end(a);
    give(load, "v", 1);
    check_read(b, LDR_JOINED, "v");
    house_free(h);
}

static void who_waits_for_a_load_that_closing_drops_is_told_of_the_closing(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask(h, "k"), *b = ask(h, "k"), *load = a->spawned;
    ldr_cache_shut(h->cache, 0);
    task_end(load); /* as the thread's queue does, before those who wait have looked */
    house_run(h);
    check_failed(a, LDR_CLOSED);
    check_failed(b, LDR_CLOSED);
    house_free(h);
}

static void closing_ends_all_waits(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask(h, "k"), *b = ask(h, "k"), *load = a->spawned;
    invalidate(h, "k"); /* a load that nobody may join has waiters too */
    task *c = ask(h, "k");
    ldr_cache_shut(h->cache, 0);
    house_run(h);
    check_failed(a, LDR_CLOSED);
    check_failed(b, LDR_CLOSED);
    check_failed(c, LDR_CLOSED);
    give(load, "v", 1);
    assert_null(peek(h, "k"));
    house_free(h);
}

static void without_a_guard_each_loads(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.no_guard = true}, .read_pattern = LDR_READ_THROUGH});
    task *a = ask(h, "k"), *b = ask(h, "k");
    give(a->spawned, "v", 1);
    give(b->spawned, "w", 2);
    check_read(a, LDR_LOADED, "v");
    check_read(b, LDR_LOADED, "w");
    assert_string_equal(peek(h, "k"), "w");
    house_free(h);
}

static void a_host_that_cannot_wait_loads_for_itself(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask_load(h, "k");
    h->can_wait = false;
    task *b = ask_load(h, "k");
    assert_true(wants_source(b->spawned));
    give(b->spawned, "v", 1);
    check_read(b, LDR_LOADED, "v");
    assert_string_equal(peek(h, "k"), "v");
    int other;
    h->host = &other; /* another host's load goes on by itself: it is waited for */
    task *c = ask_load(h, "j");
    h->host = h;
    task *d = ask_load(h, "j");
    assert_null(d->spawned);
    give(c->spawned, "v", 1);
    check_read(d, LDR_JOINED, "v");
    task_end(a);
    house_free(h);
}

/* ---- refresh ------------------------------------------------------------------------------------------------------ */

static task *refresh(house *h, const char *key)
{
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.refresh = true;
    return begin_get(h, &a, key);
}

static void refresh_loads_anew(void **state)
{
    (void)state;
    house *h = house_plain();
    load_key(h, "k", "v", 1);
    task *old = refresh(h, "k"), *new = refresh(h, "k");
    assert_true(wants_source(new->spawned)); /* does not join what began before it */
    task *third = begin_get(h, &(ldr_asking)LDR_ASKING_DEFAULTS, "k");
    check_read(third, LDR_HIT_L1, "v"); /* meanwhile the old one serves */
    give(new->spawned, "w", 0);
    give(old->spawned, "old", 0);
    check_read(new, LDR_LOADED, "w");
    check_read(old, LDR_LOADED, "old");
    assert_string_equal(peek(h, "k"), "w");
    house_free(h);
}

static void a_failed_refresh_is_told(void **state)
{
    (void)state;
    house *h = house_stale();
    load_key(h, "k", "v", 1);
    task *t = refresh(h, "k");
    give_error(t->spawned, LDR_SOURCE);
    check_failed(t, LDR_SOURCE);
    assert_string_equal(peek(h, "k"), "v");
    house_pass(h, 11 * SEC);
    t = refresh(h, "k");
    assert_true(wants_source(t->spawned)); /* whatever the back-off */
    give_error(t->spawned, LDR_SOURCE);
    check_read(t, LDR_STALE, "v");
    house_free(h);
}

static void a_refresh_that_finds_nothing_takes_the_old_value_away(void **state)
{
    (void)state;
    house *h = house_plain();
    load_key(h, "k", "v", 1);
    task *t = refresh(h, "k");
    give(t->spawned, NULL, 0);
    check_read(t, LDR_ABSENT, "");
    assert_null(peek(h, "k"));
    house_free(h);
}

/* ---- rings ----------------------------------------------------------------------------------------------------------- */

static task *ask_inside(house *h, task *load, const char *key)
{
    h->parent = load;
    task *t = ask_load(h, key);
    h->parent = NULL;
    return t;
}

static void a_loader_that_asks_for_its_own_key(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask_load(h, "a");
    check_failed(ask_inside(h, a->spawned, "a"), LDR_REJECTED);
    ldr_asking asking = LDR_ASKING_DEFAULTS;
    asking.has_loader = asking.refresh = asking.no_guard = true;
    h->parent = a->spawned;
    check_failed(begin_get(h, &asking, "a"), LDR_REJECTED);
    task_end(set(h, "a", "set"));
    h->parent = NULL;
    check_read(ask_inside(h, a->spawned, "a"), LDR_HIT_L1, "set");
    invalidate(h, "a");
    check_failed(ask_inside(h, a->spawned, "a"), LDR_REJECTED); /* also when its load is listed no more */
    give(a->spawned, "v", 1);
    check_read(a, LDR_LOADED, "v");
    house_free(h);
}

static void a_nested_ring(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask_load(h, "a");
    task *b = ask_inside(h, a->spawned, "b");
    check_failed(ask_inside(h, b->spawned, "a"), LDR_REJECTED);
    give(b->spawned, "b", 1);
    check_read(b, LDR_LOADED, "b");
    give(a->spawned, "a", 1);
    check_read(a, LDR_LOADED, "a");
    house_free(h);
}

static void a_ring_of_two_parents(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask_load(h, "a"), *b = ask_load(h, "b");
    const char *keys[] = {"free", "a"};
    ldr_asking asking = LDR_ASKING_DEFAULTS;
    asking.has_loader = true;
    h->parent = b->spawned;
    task *b_asks = begin_get_many(h, &asking, keys, 2); /* waits for two: the ring is in the second */
    h->parent = NULL;
    assert_false(b_asks->ended);
    check_failed(ask_inside(h, a->spawned, "b"), LDR_REJECTED);
    task *a_asks = ask_inside(h, a->spawned, "free"); /* though it was asked for beside "a", it waits for nobody */
    give(b_asks->spawned, "f", 1);
    check_read(a_asks, LDR_JOINED, "f");
    give(a->spawned, "a", 1);
    assert_true(b_asks->ended);
    task_end(b_asks);
    give(b->spawned, "b", 1);
    check_read(b, LDR_LOADED, "b");
    check_read(a, LDR_LOADED, "a");
    house_free(h);
}

static void no_ring_no_refusal(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask_load(h, "a"), *b = ask_load(h, "b");
    task *a_asks = ask_inside(h, a->spawned, "b"), *c = ask_load(h, "a");
    assert_false(a_asks->ended);
    assert_false(c->ended);
    give(b->spawned, "b", 1);
    check_read(a_asks, LDR_JOINED, "b");
    give(a->spawned, "a", 1);
    check_read(c, LDR_JOINED, "a");
    task_end(a);
    task_end(b);
    house_free(h);
}

static void a_call_may_outlive_the_load_it_was_made_in(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask_load(h, "a");
    task *inner = ask_inside(h, a->spawned, "b");
    give(a->spawned, "a", 1);
    task *again = ask_inside(h, inner->spawned, "a");
    check_read(again, LDR_HIT_L1, "a");
    give(inner->spawned, "b", 1);
    check_read(inner, LDR_LOADED, "b");
    task_end(a);
    house_free(h);
}

static void what_stands_on_one_stack_is_refused(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask_load(h, "a");
    ldr_asking asking = LDR_ASKING_DEFAULTS;
    ldr_slice key = ldr_slice_str("a");
    asking.keys = &key;
    asking.n_keys = 1;
    ldr_owner owner = {.host = h->host, .can_wait = true, .is_stack = true};
    ldr_op *op = ldr_get_begin(h->flow, &asking, &owner);
    assert_int_equal(ldr_op_step(op).kind, LDR_WANT_DONE);
    assert_int_equal(ldr_get_answer(op, 0)->err.code, LDR_REJECTED);
    ldr_op_end(op);
    task_end(a);
    house_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_callers_one_load),
        cmocka_unit_test(the_deadline_ends_the_call_not_the_load),
        cmocka_unit_test(a_short_deadline_of_the_leader_is_not_the_others),
        cmocka_unit_test(waited_out_loads_by_itself_and_keeps_nothing),
        cmocka_unit_test(waited_out_alone_fails_and_times_out_too),
        cmocka_unit_test(waited_out_gives_an_error_or_what_is_stale),
        cmocka_unit_test(a_dropped_leader_is_replaced),
        cmocka_unit_test(a_leader_that_leaves_does_not_take_the_load_along),
        cmocka_unit_test(who_waits_for_a_load_that_closing_drops_is_told_of_the_closing),
        cmocka_unit_test(closing_ends_all_waits),
        cmocka_unit_test(without_a_guard_each_loads),
        cmocka_unit_test(a_host_that_cannot_wait_loads_for_itself),
        cmocka_unit_test(refresh_loads_anew),
        cmocka_unit_test(a_failed_refresh_is_told),
        cmocka_unit_test(a_refresh_that_finds_nothing_takes_the_old_value_away),
        cmocka_unit_test(a_loader_that_asks_for_its_own_key),
        cmocka_unit_test(a_nested_ring),
        cmocka_unit_test(a_ring_of_two_parents),
        cmocka_unit_test(no_ring_no_refusal),
        cmocka_unit_test(a_call_may_outlive_the_load_it_was_made_in),
        cmocka_unit_test(what_stands_on_one_stack_is_refused),
    };
    return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
