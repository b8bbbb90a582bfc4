/* race_spec.c - the races that a cache in one process can lose, each as one fixed schedule. Each goes wrong with a seeded
 * bug (spec/bugs.list names it beside the schedule below).
 *
 * R1 stale set · R4 invalidate before commit · R8 negative fill · R9 two writers · R21 invalidation overtakes a fill ·
 * R29 late holder · P6 one loader · P7 what came before an invalidation is joined by nobody. */
#include "flow_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static house *through(void)
{
    return house_new(&(house_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_THROUGH});
}

static house *unversioned(void)
{
    return house_new(&(house_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_THROUGH,
                                      .unversioned = true, .cache.negative_ttl_us = LDR_SEC});
}

static void holds(house *h, const char *value)
{
    const char *held = peek(h, "k");
    if (!value)
        assert_null(held);
    else
        assert_string_equal(held ? held : "(nothing)", value);
}

static void check(task *t, const char *value)
{
    assert_int_equal(error_of(t), LDR_OK);
    assert_string_equal(value_of(t), value);
    task_end(t);
}

/* FILL_ANYWAY. A misses and reads v1; B invalidates after its commit of v2; A's fill comes last. */
static void r1_stale_set_after_an_invalidation(void **state)
{
    (void)state;
    house *h = unversioned();
    task *a = ask(h, "k");
    fill_item(a->spawned->want.request->items[0], "v1", 0);
    invalidate(h, "k");
    proceed(a->spawned);
    check(a, "v1"); /* it asked before: it may have the old value ... */
    holds(h, NULL); /* ... and nobody after it */
    assert_int_equal(counted(h, LDR_M_refused), 1);
    house_free(h);
}

static void r1_stale_set_after_a_set_and_a_delete(void **state)
{
    (void)state;
    house *h = unversioned();
    h->flow->write_plan = ldr_plan_of(LDR_CACHE_ASIDE);
    task *a = ask(h, "k");
    task_end(set(h, "k", "v2"));
    give(a->spawned, "v1", 0);
    check(a, "v1");
    holds(h, "v2");
    invalidate(h, "k");
    a = ask(h, "k");
    task_end(del(h, "k"));
    give(a->spawned, "v2", 0);
    check(a, "v2");
    holds(h, NULL);
    house_free(h);
}

static void r1_stale_set_after_invalidate_all(void **state)
{
    (void)state;
    house *h = unversioned();
    task *a = ask(h, "k");
    ldr_drop_all(h->flow, LDR_CAUSE_ALL);
    give(a->spawned, "v1", 0);
    check(a, "v1");
    holds(h, NULL);
    house_free(h);
}

/* MARK_IGNORED. B has marked and not committed yet; A reads the old row, and lands before B ends. */
static void r4_a_load_within_a_write(void **state)
{
    (void)state;
    house *h = unversioned();
    task *b = set(h, "k", "v2");
    task *a = ask(h, "k");
    give(a->spawned, "v1", 0);
    check(a, "v1");
    holds(h, NULL); /* between here and B's end somebody would read v1 after B's commit */
    give(b, NULL, 0);
    task_end(b);
    holds(h, "v2");
    house_free(h);
}

/* FILL_ANYWAY. The same, landing after B ended; and begun before B began. */
static void r4_a_load_that_meets_a_write(void **state)
{
    (void)state;
    house *h = unversioned();
    task *early = ask(h, "k"), *b = set(h, "k", "v2"), *within = ask(h, "k");
    assert_true(wants_source(within->spawned)); /* the early one is joined by nobody */
    give(b, NULL, 0);
    give(within->spawned, "v1", 0);
    give(early->spawned, "v1", 0);
    task_end(within), task_end(early), task_end(b);
    holds(h, "v2");
    house_free(h);
}

/* The bracket of a caller's own transaction is a mark like a write's. */
static void erase_key(void *ctx, enum ldr_leave leave)
{
    house *h = ctx;
    (void)leave;
    ldr_slice k = ldr_slice_str("k");
    ldr_shelf_erase(h->flow->shelf, k, ldr_hash(k, h->flow->seed));
}

static void r4_a_load_within_a_bracket(void **state)
{
    (void)state;
    house *h = unversioned();
    ldr_slice k = ldr_slice_str("k");
    ldr_mark mark;
    assert_true(ldr_mark_begin(h->flow->flights, k, ldr_hash(k, h->flow->seed), &mark));
    task *a = ask(h, "k"), *late = NULL;
    give(a->spawned, "v1", 0);
    check(a, "v1");
    holds(h, NULL);
    late = ask(h, "k");
    ldr_mark_end(h->flow->flights, &mark, 0, erase_key, h);
    give(late->spawned, "v1", 0);
    check(late, "v1");
    holds(h, NULL);
    task *after = ask(h, "k");
    give(after->spawned, "v2", 0);
    check(after, "v2");
    holds(h, "v2");
    house_free(h);
}

/* FILL_ANYWAY. A finds no row; B inserts it; A's "there is no such thing" comes last. */
static void r8_negative_fill_while_an_insert_happens(void **state)
{
    (void)state;
    house *h = unversioned();
    task *a = ask(h, "k"), *b = set(h, "k", "v1");
    give(b, NULL, 0);
    task_end(b);
    give(a->spawned, NULL, 0);
    assert_int_equal(outcome_of(a), LDR_ABSENT);
    task_end(a);
    holds(h, "v1");
    house_free(h);
}

/* NEGATIVE_FILL. The insert is somebody else's and comes with its version: absent has none to compare. */
static void r8_negative_fill_while_a_foreign_insert_is_told(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.read_pattern = LDR_READ_THROUGH, .cache.negative_ttl_us = LDR_SEC});
    task *a = ask(h, "k");
    changed(h, "k", 5);
    give(a->spawned, NULL, 0);
    assert_int_equal(outcome_of(a), LDR_ABSENT);
    task_end(a);
    holds(h, NULL);
    a = ask(h, "k");
    give(a->spawned, "v5", 5);
    check(a, "v5");
    house_free(h);
}

/* LAST_WRITER. Commits v1, then v2 which is a delete; their ends come v2, then v1: nothing is held that could refuse v1. */
static void r9_two_writers_end_in_the_other_order(void **state)
{
    (void)state;
    house *h = through();
    task *one = set(h, "k", "v1"), *two = del(h, "k");
    give(two, NULL, 2);
    holds(h, NULL);
    give(one, NULL, 1);
    task_end(one), task_end(two);
    holds(h, NULL);
    house_free(h);
}

/* LAST_WRITER. R9d: v2 is set and leaves the full shelf while the writer of v1 is still on its way back. */
static void r9_the_later_version_left_in_between(void **state)
{
    (void)state;
    house *h = through();
    task *one = set(h, "k", "v1"), *two = set(h, "k", "v2");
    give(two, NULL, 2);
    holds(h, "v2");
    ldr_slice k = ldr_slice_str("k");
    ldr_shelf_erase(h->flow->shelf, k, ldr_hash(k, h->flow->seed)); /* evicted: nobody is told */
    give(one, NULL, 1);
    task_end(one), task_end(two);
    holds(h, NULL);
    house_free(h);
}

/* LAST_WRITER. Without versions nobody knows whose commit was the last. */
static void r9_two_writers_without_versions(void **state)
{
    (void)state;
    house *h = unversioned();
    task *one = set(h, "k", "v1"), *two = set(h, "k", "v2");
    give(two, NULL, 0);
    give(one, NULL, 0);
    task_end(one), task_end(two);
    holds(h, NULL);
    house_free(h);
}

/* LAST_WRITER. A foreign write follows ours; its author invalidates before our answer is back. */
static void r9_an_invalidation_follows_a_commit(void **state)
{
    (void)state;
    house *h = through();
    task *one = set(h, "k", "v1");
    invalidate(h, "k");
    give(one, NULL, 1);
    task_end(one);
    holds(h, NULL);
    house_free(h);
}

/* FILL_ANYWAY. The question is out, the change is told, then the old answer comes. */
static void r21_a_change_overtakes_a_fill(void **state)
{
    (void)state;
    house *h = through();
    task *a = ask(h, "k");
    changed(h, "k", 2);
    give(a->spawned, "v1", 1);
    check(a, "v1");
    holds(h, NULL);
    a = ask(h, "k");
    changed(h, "k", 3);
    give(a->spawned, "v3", 3); /* the answer was newer than the news: it may stay */
    check(a, "v3");
    holds(h, "v3");
    house_free(h);
}

/* JOIN_BROKEN. Whoever comes after an invalidation, a delete or a set never joins a load that began before. */
static void nobody_joins_what_began_before(void **state)
{
    (void)state;
    house *h = unversioned();
    h->flow->write_plan = ldr_plan_of(LDR_CACHE_ASIDE);
    task *old = ask(h, "k");
    invalidate(h, "k");
    task *second = ask(h, "k");
    assert_true(wants_source(second->spawned));
    task_end(del(h, "k"));
    task *third = ask(h, "k");
    assert_true(wants_source(third->spawned));
    changed(h, "k", 0);
    task *fourth = ask(h, "k"), *fifth = ask(h, "k");
    assert_true(wants_source(fourth->spawned));
    assert_null(fifth->spawned);
    give(fourth->spawned, "v4", 0);
    give(old->spawned, "v1", 0);
    give(third->spawned, "v3", 0);
    give(second->spawned, "v2", 0);
    check(fifth, "v4");
    holds(h, "v4");
    house_free(h);
}

/* NO_SECOND_LOOK. D waited for a load that was dropped; before D comes to the door again somebody else filled the key. */
static void p6_one_loader_though_one_comes_late_to_the_door(void **state)
{
    (void)state;
    house *h = through();
    task *b = ask(h, "k"), *d = ask(h, "k"), *load = b->spawned;
    ldr_op_end(load->op);
    load->op = NULL;
    ldr_slice k = ldr_slice_str("k");
    ldr_record r = {.key = k, .value = ldr_slice_str("filled"), .asked_us = house_now(h), .soft_us = LDR_NEVER};
    ldr_flow_keep(h->flow, &r, ldr_hash(k, h->flow->seed));
    house_run(h);
    assert_true(d->ended);
    assert_null(d->spawned);
    check(d, "filled");
    assert_int_equal(counted(h, LDR_M_loads), 1);
    house_free(h);
}

/* LEASE_UNFENCED. A holder that slept too long is replaced, and its late answer is not stored over the newer one. */
static void r29_a_late_holder_is_fenced_off(void **state)
{
    (void)state;
    house *h = unversioned();
    task *a = ask_load(h, "k");
    house_pass(h, h->flow->lease_us + 1);
    task *b = ask_load(h, "k");
    assert_true(wants_source(b->spawned));
    give(b->spawned, "new", 0);
    check(b, "new");
    give(a->spawned, "old", 0);
    task_end(a);
    holds(h, "new");
    house_free(h);
}

/* RING. Two loaders that wait for each other are told so instead of waiting. */
static void r_two_loaders_in_a_ring(void **state)
{
    (void)state;
    house *h = through();
    task *a = ask_load(h, "a"), *b = ask_load(h, "b");
    h->parent = a->spawned;
    task *a_asks = ask_load(h, "b");
    assert_false(a_asks->ended);
    h->parent = b->spawned;
    task *b_asks = ask_load(h, "a");
    h->parent = NULL;
    assert_true(b_asks->ended);
    assert_int_equal(error_of(b_asks), LDR_REJECTED);
    house_free(h);
}

/* A load that Larder's thread may drive and end stands in no list of its caller's loader, which another thread walks. */
static void a_load_that_wants_no_call_is_nobodys_child(void **state)
{
    (void)state;
    house *h = through();
    task *outer = ask_load(h, "a");
    h->parent = outer->spawned;
    task *inner = ask(h, "b");
    h->parent = NULL;
    assert_ptr_equal(inner->op->owner.parent, outer->spawned->op);
    assert_null(inner->spawned->op->owner.parent);
    assert_true(ldr_list_empty(&inner->spawned->op->sibling));
    house_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r1_stale_set_after_an_invalidation),
        cmocka_unit_test(r1_stale_set_after_a_set_and_a_delete),
        cmocka_unit_test(r1_stale_set_after_invalidate_all),
        cmocka_unit_test(r4_a_load_within_a_write),
        cmocka_unit_test(r4_a_load_that_meets_a_write),
        cmocka_unit_test(r4_a_load_within_a_bracket),
        cmocka_unit_test(r8_negative_fill_while_an_insert_happens),
        cmocka_unit_test(r8_negative_fill_while_a_foreign_insert_is_told),
        cmocka_unit_test(r9_two_writers_end_in_the_other_order),
        cmocka_unit_test(r9_the_later_version_left_in_between),
        cmocka_unit_test(r9_two_writers_without_versions),
        cmocka_unit_test(r9_an_invalidation_follows_a_commit),
        cmocka_unit_test(r21_a_change_overtakes_a_fill),
        cmocka_unit_test(nobody_joins_what_began_before),
        cmocka_unit_test(p6_one_loader_though_one_comes_late_to_the_door),
        cmocka_unit_test(r29_a_late_holder_is_fenced_off),
        cmocka_unit_test(r_two_loaders_in_a_ring),
        cmocka_unit_test(a_load_that_wants_no_call_is_nobodys_child),
    };
    return cmocka_run_group_tests_name("race", tests, NULL, NULL);
}
