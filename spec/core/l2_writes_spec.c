/* l2_writes_spec.c - writes and forgetting on the shared shelf, against a real Redis: one test a rule. */
#include "l2_words.h"

/* ---- set ----------------------------------------------------------------------------------------------------- */

static void a_write_sets_under_its_mark(void **state)
{
    (void)state;
    assert_int_equal(mark(A), LDR_L2_DONE);
    assert_int_equal(set(A, "v", 3), LDR_L2_DONE);
    assert_held("v", 3);
    assert_heard("s 3");
    mark(A);
    assert_int_equal(set(A, NULL, 4), LDR_L2_DONE);
    assert_nothing();
    assert_heard("d 4");
    assert_true(ttl_ms() > 59000 && ttl_ms() <= 60000);
    lease(A);
    assert_refused(fill(A, "v", 3), "version");
}

static void an_older_write_is_refused(void **state) /* R9 */
{
    (void)state;
    mark(A);
    mark(B);
    assert_int_equal(set(B, "new", 4), LDR_L2_DONE);
    l2_hear(&bed);
    assert_refused(set(A, "old", 3), "version");
    assert_heard("s 3"); /* others may hold what is older still */
    assert_held("new", 4);
}

static void a_newer_write_needs_no_mark_where_a_version_is_held(void **state)
{
    (void)state;
    mark(A);
    mark(B);
    set(B, "old", 3);
    assert_int_equal(set(A, "new", 4), LDR_L2_DONE);
    assert_held("new", 4);
}

static void another_mark_stands_over_a_set(void **state)
{
    (void)state;
    hold("v", 2);
    mark(A);
    mark(B);
    assert_int_equal(set(A, "w", 3), LDR_L2_DONE);
    assert_int_equal(look(), LDR_L2_MARKED);
    assert_int_equal(set(B, "x", 4), LDR_L2_DONE);
    assert_held("x", 4);
}

static void an_evicted_cell_refuses_a_set(void **state) /* R9d */
{
    (void)state;
    mark(A);
    mark(B);
    set(B, "new", 4);
    evict();
    l2_hear(&bed);
    assert_refused(set(A, "old", 3), "lease");
    assert_heard("s 3");
    assert_nothing();
    assert_int_equal(l2_number(&bed, "EXISTS", L2_KEY), 0);
}

static void a_set_without_mark_or_value_breaks_the_lease(void **state)
{
    (void)state;
    mark(A);
    evict();
    lease(B);
    assert_refused(set(A, "v", 3), "version");
    assert_refused(fill(B, "old", 2), "lease");
    lease(B);
    assert_refused(fill(B, "old", 2), "version");
    assert_nothing();
}

static void without_versions_the_order_of_two_writes_is_unknown(void **state)
{
    (void)state;
    hold("v", 0);
    mark(A);
    mark(B);
    assert_refused(set(A, "a", 0), "version");
    assert_heard("d 0");
    assert_int_equal(look(), LDR_L2_MARKED);
    assert_refused(set(B, "b", 0), "version"); /* its mark was poisoned, and ends all the same */
    assert_int_equal(look(), LDR_L2_NOTHING);
    evict();
    mark(A);
    mark(B);
    assert_int_equal(set(B, "b", 0), LDR_L2_DONE);
    assert_true(said.version > 0);
    assert_refused(set(A, "a", 0), "version");
    assert_nothing();
}

static void a_version_is_drawn_above_all_that_is_known(void **state)
{
    (void)state;
    mark(A);
    assert_int_equal(set(A, "a", 0), LDR_L2_DONE);
    int64_t first = said.version;
    assert_true(first > INT64_C(1500000000000000)); /* the server's time */
    assert_held("a", first);
    assert_int_equal(put("b", 0, LDR_ANY), LDR_L2_DONE);
    assert_true(said.version > first);
    drop(INT64_C(4099999999999999999));
    assert_int_equal(put("c", 0, LDR_ANY), LDR_L2_DONE);
    assert_true(said.version == INT64_C(4100000000000000000));
    assert_held("c", INT64_C(4100000000000000000));
    drop(INT64_MAX);
    assert_int_equal(put("d", 0, LDR_ANY), LDR_L2_CONFLICT); /* there is none above */
    assert_true(said.version == INT64_MAX);
}

static void a_write_without_effect_leaves_what_was(void **state)
{
    (void)state;
    hold("v", 3);
    mark(A);
    say(LDR_L2_UNMARK, l2_item(B));
    assert_int_equal(look(), LDR_L2_MARKED);
    say(LDR_L2_UNMARK, l2_item(A));
    assert_held("v", 3);
    evict();
    mark(A);
    say(LDR_L2_UNMARK, l2_item(A));
    assert_int_equal(l2_number(&bed, "EXISTS", L2_KEY), 0);
}

static void a_later_mark_does_not_shorten_an_earlier_one(void **state)
{
    (void)state;
    ldr_cell c;
    ldr_l2_item item = l2_item(B);
    mark(A);
    assert_true(l2_cell(&bed, &c));
    int64_t end = c.mark_end_us;
    item.for_us = LDR_MS;
    say(LDR_L2_MARK, item);
    assert_true(l2_cell(&bed, &c) && c.mark == B && c.mark_end_us == end);
}

/* ---- the tiers alone ----------------------------------------------------------------------------------------- */

static void a_put_has_conditions(void **state)
{
    (void)state;
    assert_int_equal(put("a", 0, 5), LDR_L2_CONFLICT);
    assert_true(said.version == 0);
    assert_int_equal(put("a", 5, LDR_MUST_BE_ABSENT), LDR_L2_DONE);
    assert_heard("s 5");
    assert_int_equal(put("b", 0, LDR_MUST_BE_ABSENT), LDR_L2_CONFLICT);
    assert_true(said.version == 5);
    assert_int_equal(put("b", 4, LDR_ANY), LDR_L2_CONFLICT);
    assert_int_equal(put("b", 6, 4), LDR_L2_CONFLICT);
    assert_held("a", 5);
    assert_heard(NULL);
    assert_int_equal(put("b", 6, 5), LDR_L2_DONE);
    assert_held("b", 6);
    assert_int_equal(put(NULL, 0, LDR_ANY), LDR_L2_DONE);
    assert_true(said.version > 6);
    assert_nothing();
    assert_int_equal(put("c", 0, LDR_MUST_BE_ABSENT), LDR_L2_DONE);
}

static void a_put_breaks_the_lease_and_leaves_the_mark(void **state)
{
    (void)state;
    lease(A);
    put("v", 0, LDR_ANY);
    assert_refused(fill(A, "old", 0), "lease");
    mark(A);
    put("w", 0, LDR_ANY);
    assert_int_equal(look(), LDR_L2_MARKED);
    say(LDR_L2_UNMARK, l2_item(A));
    assert_int_equal(look(), LDR_L2_HELD);
}

static void a_number_that_is_not_the_sources_is_not_kept(void **state)
{
    (void)state;
    ldr_record r = l2_record("v", 0);
    ldr_l2_item item = l2_item(0);
    hold("old", 3);
    item.record = &r;
    item.unnumbered = true;
    assert_int_equal(say(LDR_L2_PUT, item), LDR_L2_DONE);
    assert_true(said.version > INT64_C(1500000000000000));
    assert_heard("s 0");
    assert_held("v", 0);
    mark(A);
    assert_int_equal(set(A, "w", 4), LDR_L2_DONE);
    assert_held("w", 4);
}

static void a_drop_leaves_a_tombstone(void **state)
{
    (void)state;
    hold("v", 3);
    assert_int_equal(drop(0), LDR_L2_DONE);
    assert_heard("d 0"); /* whatever others hold */
    assert_nothing();
    assert_true(ttl_ms() > 59000);
    lease(A);
    assert_refused(fill(A, "old", 2), "version");
    drop(9);
    assert_heard("d 9");
    ldr_l2_item item = l2_item(0);
    item.if_version = 3;
    assert_int_equal(say(LDR_L2_DROP, item), LDR_L2_CONFLICT);
    hold("w", 9);
    item.if_version = 9;
    assert_int_equal(say(LDR_L2_DROP, item), LDR_L2_DONE);
    evict();
    drop(0);
    assert_int_equal(l2_number(&bed, "EXISTS", L2_KEY), 0); /* nothing is known */
}

/* A changed row that was loaded anew before its change was noticed: who holds the older one must hear of it. */
static void a_drop_of_what_was_filled_is_told_once(void **state)
{
    (void)state;
    hold("v", 5);
    l2_hear(&bed);
    assert_int_equal(drop(4), LDR_L2_DONE);
    assert_heard("d 4");
    assert_int_equal(drop(5), LDR_L2_DONE);
    assert_heard("d 5");
    drop(5);
    drop(4);
    assert_heard(NULL);
    assert_held("v", 5);
    mark(A);
    set(A, "w", 6);
    assert_heard("s 6");
    drop(6); /* was told by who wrote it */
    assert_heard(NULL);
    assert_held("w", 6);
    evict();
    hold("x", 2);
    l2_do(&bed, "CONFIG", "SET", "maxmemory", "1", NULL);
    assert_int_equal(drop(2), LDR_L2_DONE);
    assert_heard("d 2");
    assert_held("x", 2);
}

static void a_drop_ends_the_own_mark_only(void **state)
{
    (void)state;
    hold("v", 3);
    mark(A);
    say(LDR_L2_DROP, l2_item(B));
    assert_int_equal(look(), LDR_L2_MARKED);
    assert_refused(set(A, "w", 4), "version"); /* it may be older than what was to be forgotten */
    assert_int_equal(look(), LDR_L2_NOTHING);
    mark(A);
    say(LDR_L2_DROP, l2_item(0));
    assert_int_equal(look(), LDR_L2_MARKED);
    say(LDR_L2_DROP, l2_item(A)); /* the end of a bracket within which somebody forgot the key */
    assert_int_equal(look(), LDR_L2_NOTHING);
    mark(A);
    say(LDR_L2_DROP, l2_item(B));
    say(LDR_L2_UNMARK, l2_item(A));
    assert_int_equal(look(), LDR_L2_NOTHING);
    evict();
    mark(A);
    drop(4);
    assert_refused(set(A, "v", 3), "version");
    mark(A);
    drop(4);
    assert_int_equal(set(A, "w", 4), LDR_L2_DONE);
    assert_held("w", 4);
    mark(A);
    say(LDR_L2_DROP, l2_item(A));
    assert_nothing();
}

static void a_touch_moves_the_expiry(void **state)
{
    (void)state;
    ldr_record r = l2_record("v", 3);
    ldr_l2_item item = l2_item(A);
    assert_int_equal(say(LDR_L2_TOUCH, item), LDR_L2_DONE);
    assert_false(said.is_touched);
    item.record = &r;
    r.stale_us = 50 * (int64_t)LDR_SEC;
    lease(A);
    say(LDR_L2_FILL, item);
    item.for_us = 1000 * (int64_t)LDR_SEC;
    assert_int_equal(say(LDR_L2_TOUCH, item), LDR_L2_DONE);
    assert_true(said.is_touched);
    assert_true(ttl_ms() > 1049000 && ttl_ms() <= 1050100);
    assert_held("v", 3);
    assert_true(said.found.soft_us > bed_now() + 999 * (int64_t)LDR_SEC);
    item.for_us = 0;
    say(LDR_L2_TOUCH, item);
    assert_held("v", 3);
    assert_true(said.found.soft_us <= bed_now());
    assert_true(ttl_ms() > 49000 && ttl_ms() <= 50100);
    item.for_us = LDR_NEVER;
    say(LDR_L2_TOUCH, item);
    assert_int_equal(ttl_ms(), -1);
    assert_held("v", 3);
    assert_true(said.found.soft_us == LDR_NEVER);
}

static void all_is_forgotten_at_once(void **state)
{
    (void)state;
    hold("v", 3);
    assert_int_equal(ldr_l2_ask(shelf, &bed.ex, LDR_L2_DROP_ALL, NULL, 0, bed_now()), LDR_OK);
    ldr_links_talk(bed.links.links, &bed.ex, LDR_NEVER);
    assert_false(ldr_l2_answer(shelf, &bed.ex, LDR_L2_DROP_ALL, NULL, 0, bed_now()));
    assert_int_equal(bed.ex.err.code, LDR_OK);
    assert_int_equal(l2_hear(&bed), 1);
    assert_memory_equal(bed.heard[0], "1 a 0 ", 6);
    assert_nothing();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_write_sets_under_its_mark),
        T(an_older_write_is_refused),
        T(a_newer_write_needs_no_mark_where_a_version_is_held),
        T(another_mark_stands_over_a_set),
        T(an_evicted_cell_refuses_a_set),
        T(a_set_without_mark_or_value_breaks_the_lease),
        T(without_versions_the_order_of_two_writes_is_unknown),
        T(a_version_is_drawn_above_all_that_is_known),
        T(a_write_without_effect_leaves_what_was),
        T(a_later_mark_does_not_shorten_an_earlier_one),
        T(a_put_has_conditions),
        T(a_put_breaks_the_lease_and_leaves_the_mark),
        T(a_number_that_is_not_the_sources_is_not_kept),
        T(a_drop_leaves_a_tombstone),
        T(a_drop_of_what_was_filled_is_told_once),
        T(a_drop_ends_the_own_mark_only),
        T(a_touch_moves_the_expiry),
        T(all_is_forgotten_at_once),
    };
    return RUN(tests);
}
