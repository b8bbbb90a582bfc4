/* l2_verbs_spec.c - looking up, leases and fills on the shared shelf, against a real Redis: one test a rule. */
#include "l2_words.h"

/* ---- look-up ------------------------------------------------------------------------------------------------- */

static void a_look_up_finds_what_was_filled(void **state)
{
    (void)state;
    assert_nothing();
    hold("v", 3);
    int64_t before = bed_now();
    assert_held("v", 3);
    assert_true(said.found.asked_us <= before && said.found.asked_us > before - LDR_SEC);
    assert_true(said.found.soft_us - said.found.asked_us == 300 * (int64_t)LDR_SEC);
    assert_int_equal(bed.ex.n_commands, 2); /* TIME and GET: nothing else was due */
    ldr_l2_expire(shelf);
    assert_held("v", 3);
    assert_int_equal(bed.ex.n_commands, 3);
}

static void many_are_looked_up_at_once(void **state)
{
    (void)state;
    ldr_l2_item items[3], *asked[3];
    hold("v", 3);
    assert_held("v", 3);
    l2_do(&bed, "RPUSH", "ldr1:shop:list", "x", NULL);
    for (int i = 0; i < 3; i++)
        asked[i] = &items[i], items[i] = l2_item(A);
    items[0].key = ldr_slice_str("none");
    items[2].key = ldr_slice_str("list");
    assert_int_equal(ldr_l2_ask(shelf, &bed.ex, LDR_L2_LOOKUP, asked, 3, bed_now()), LDR_OK);
    assert_int_equal(bed.ex.n_commands, 2);
    ldr_links_talk(bed.links.links, &bed.ex, LDR_NEVER);
    assert_false(ldr_l2_answer(shelf, &bed.ex, LDR_L2_LOOKUP, asked, 3, bed_now()));
    assert_int_equal(items[0].state, LDR_L2_NOTHING);
    assert_int_equal(items[1].state, LDR_L2_HELD);
    assert_true(ldr_slice_eq(items[1].found.value, ldr_slice_str("v")));
    assert_int_equal(items[2].state, LDR_L2_NOTHING);
}

static void what_is_marked_is_said_to_be(void **state)
{
    (void)state;
    hold("v", 3);
    mark(B);
    assert_int_equal(look(), LDR_L2_MARKED);
    assert_true(said.is_found && said.found.version == 3); /* for who fails to load */
}

static void a_mark_ends_by_itself(void **state)
{
    (void)state;
    hold("v", 3);
    ldr_l2_item m = l2_item(B);
    m.for_us = 20 * LDR_MS;
    say(LDR_L2_MARK, m);
    assert_int_equal(look(), LDR_L2_MARKED);
    pass(25 * LDR_MS);
    assert_held("v", 3);
}

static void another_generation_is_nothing(void **state)
{
    (void)state;
    ldr_l2 *other = l2_shelf(8);
    ldr_l2_item all = l2_item(0);
    hold("v", 3);
    assert_held("v", 3);
    assert_int_equal(l2_say(&bed, other, LDR_L2_DROP_ALL, &all), LDR_L2_DONE);
    ldr_l2_expire(shelf);
    assert_nothing();
    assert_int_equal(lease(A), LDR_L2_LEASED);
    assert_false(said.is_found);
    assert_refused(fill(A, "old", 2), "version"); /* what was known of versions is still known */
    assert_int_equal(lease(A), LDR_L2_LEASED);
    assert_int_equal(fill(A, "v", 3), LDR_L2_DONE);
    assert_held("v", 3);
    ldr_l2_free(other);
}

/* What is older than a change that the server did not confirm is served to nobody here, not even where all fails. */
static void what_is_below_the_least_is_nothing(void **state)
{
    (void)state;
    ldr_l2_item item = l2_item(0);
    hold("v", 3);
    item.least = 3;
    assert_int_equal(say(LDR_L2_LOOKUP, item), LDR_L2_HELD);
    item.least = 4;
    assert_int_equal(say(LDR_L2_LOOKUP, item), LDR_L2_NOTHING);
    assert_false(said.is_found);
    item = l2_item(A);
    item.least = INT64_MAX;
    item.force = true;
    assert_int_equal(say(LDR_L2_LEASE, item), LDR_L2_LEASED);
    assert_false(said.is_found);
    assert_int_equal(fill(A, "new", 4), LDR_L2_DONE);
    assert_held("new", 4);
}

static void what_expired_hard_is_nothing(void **state)
{
    (void)state;
    ldr_record r = l2_record("v", 3);
    ldr_l2_item item = l2_item(A);
    item.record = &r;
    r.soft_us = r.asked_us + 10 * LDR_MS;
    lease(A);
    say(LDR_L2_FILL, item);
    ldr_l2_item other = l2_item(B); /* keeps the cell alive beyond it */
    other.force = true;
    assert_int_equal(say(LDR_L2_LEASE, other), LDR_L2_LEASED);
    pass(12 * LDR_MS);
    assert_nothing();
}

/* ---- lease --------------------------------------------------------------------------------------------------- */

static void a_lease_is_one_callers(void **state)
{
    (void)state;
    assert_int_equal(lease(A), LDR_L2_LEASED);
    assert_true(ttl_ms() > 5500 && ttl_ms() <= 6000);
    assert_int_equal(lease(B), LDR_L2_TAKEN);
    assert_true(said.wait_us > 4 * (int64_t)LDR_SEC && said.wait_us <= L2_LEASE_US);
    assert_int_equal(lease(A), LDR_L2_LEASED); /* whose answer was lost */
}

static void a_lease_that_ended_is_the_next_ones(void **state)
{
    (void)state;
    ldr_l2_item item = l2_item(A);
    item.for_us = 20 * LDR_MS;
    assert_int_equal(say(LDR_L2_LEASE, item), LDR_L2_LEASED);
    pass(25 * LDR_MS);
    assert_int_equal(lease(B), LDR_L2_LEASED);
    assert_refused(fill(A, "late", 9), "lease");
    assert_int_equal(fill(B, "v", 1), LDR_L2_DONE);
    assert_held("v", 1);
}

static void a_lease_that_ended_fills_no_more(void **state)
{
    (void)state;
    ldr_l2_item item = l2_item(A);
    item.for_us = 20 * LDR_MS;
    say(LDR_L2_LEASE, item);
    pass(25 * LDR_MS);
    assert_refused(say(LDR_L2_RENEW, l2_item(A)), "lease");
    assert_refused(fill(A, "late", 9), "lease");
    assert_nothing();
}

static void a_lease_looks_again(void **state)
{
    (void)state;
    hold("v", 3);
    assert_int_equal(lease(B), LDR_L2_HELD);
    assert_true(said.is_found && ldr_slice_eq(said.found.value, ldr_slice_str("v")));
}

static void a_stale_value_stays_under_the_lease(void **state)
{
    (void)state;
    ldr_record r = l2_record("old", 3);
    ldr_l2_item item = l2_item(A);
    item.record = &r;
    r.asked_us -= 400 * (int64_t)LDR_SEC;
    r.soft_us -= 400 * (int64_t)LDR_SEC;
    r.stale_us = 102 * (int64_t)LDR_SEC;
    lease(A);
    assert_int_equal(say(LDR_L2_FILL, item), LDR_L2_DONE);
    assert_true(ttl_ms() > 1000 && ttl_ms() <= 2000);
    assert_int_equal(lease(B), LDR_L2_LEASED);
    assert_true(said.is_found && ldr_slice_eq(said.found.value, ldr_slice_str("old")));
    assert_true(ttl_ms() > 5500); /* raised: the lease must live */
    assert_held("old", 3);
    assert_true(said.found.soft_us < bed_now());
    say(LDR_L2_RELEASE, l2_item(B));
    assert_held("old", 3);
}

static void who_must_load_takes_the_lease(void **state)
{
    (void)state;
    hold("v", 3);
    ldr_l2_item item = l2_item(B);
    item.force = true;
    assert_int_equal(say(LDR_L2_LEASE, item), LDR_L2_LEASED);
    item.token = A;
    assert_int_equal(say(LDR_L2_LEASE, item), LDR_L2_LEASED);
    assert_refused(fill(B, "w", 4), "lease");
    assert_int_equal(fill(A, "x", 4), LDR_L2_DONE);
    mark(B);
    assert_int_equal(say(LDR_L2_LEASE, item), LDR_L2_MARKED);
}

static void a_mark_gives_no_lease(void **state)
{
    (void)state;
    mark(B);
    assert_int_equal(lease(A), LDR_L2_MARKED);
    assert_false(said.is_found);
}

static void assert_told(void)
{
    assert_true(l2_hear(&bed) > 0);
    assert_memory_equal(bed.heard[0], "0 w 0 ", 6);
    evict();
}

static void somebody_waits(void)
{
    assert_int_equal(lease(A), LDR_L2_LEASED);
    assert_int_equal(lease(B), LDR_L2_TAKEN);
    assert_int_equal(l2_hear(&bed), 0);
}

static void who_waits_is_told(void **state)
{
    (void)state;
    lease(A);
    fill(A, "v", 3);
    assert_heard(NULL); /* nobody waits */
    evict();
    somebody_waits();
    fill(A, "v", 3);
    assert_told();
    somebody_waits();
    say(LDR_L2_RELEASE, l2_item(A));
    assert_told();
    somebody_waits();
    mark(B);
    assert_told();
    drop(9);
    l2_hear(&bed);
    somebody_waits();
    assert_refused(fill(A, "old", 2), "version");
    assert_told();
}

static void a_lease_is_renewed(void **state)
{
    (void)state;
    ldr_l2_item item = l2_item(A);
    ldr_cell c;
    item.for_us = LDR_SEC;
    say(LDR_L2_LEASE, item);
    assert_true(l2_cell(&bed, &c));
    int64_t end = c.lease_end_us;
    assert_int_equal(say(LDR_L2_RENEW, l2_item(A)), LDR_L2_DONE);
    assert_true(l2_cell(&bed, &c) && c.lease_end_us > end + 3 * (int64_t)LDR_SEC);
    assert_true(ttl_ms() > 5500);
    assert_refused(say(LDR_L2_RENEW, l2_item(B)), "lease");
    drop(0);
    assert_refused(say(LDR_L2_RENEW, l2_item(A)), "lease");
}

static void a_release_leaves_nothing(void **state)
{
    (void)state;
    lease(A);
    assert_int_equal(say(LDR_L2_RELEASE, l2_item(B)), LDR_L2_DONE);
    assert_int_equal(l2_number(&bed, "EXISTS", L2_KEY), 1);
    assert_int_equal(say(LDR_L2_RELEASE, l2_item(A)), LDR_L2_DONE);
    assert_int_equal(l2_number(&bed, "EXISTS", L2_KEY), 0);
}

/* ---- fill ---------------------------------------------------------------------------------------------------- */

static void a_fill_needs_the_lease(void **state)
{
    (void)state;
    assert_refused(fill(A, "v", 3), "lease");
    lease(A);
    assert_refused(fill(B, "v", 3), "lease");
    assert_nothing();
    assert_int_equal(fill(A, "v", 3), LDR_L2_DONE);
    assert_refused(fill(A, "again", 4), "lease");
    assert_held("v", 3);
}

static void an_evicted_lease_fills_no_more(void **state) /* R2 */
{
    (void)state;
    lease(A);
    evict();
    assert_refused(fill(A, "v", 3), "lease");
    assert_nothing();
}

static void a_drop_breaks_the_lease(void **state) /* R1, R8 */
{
    (void)state;
    lease(A);
    drop(0);
    assert_refused(fill(A, "v", 3), "lease");
    lease(A);
    mark(B);
    assert_refused(fill(A, "v", 3), "lease");
    say(LDR_L2_UNMARK, l2_item(B));
    assert_nothing();
}

static void an_older_fill_is_refused(void **state) /* R9 */
{
    (void)state;
    const int64_t big = (INT64_C(1) << 53) + 1;
    drop(big);
    lease(A);
    assert_refused(fill(A, "old", big - 1), "version");
    assert_nothing();
    lease(A);
    assert_int_equal(fill(A, "v", big), LDR_L2_DONE);
    assert_held("v", big);
    drop(INT64_MAX);
    lease(A);
    assert_refused(fill(A, "old", INT64_MAX - 1), "version");
    lease(A);
    assert_int_equal(fill(A, "v", INT64_MAX), LDR_L2_DONE);
    assert_held("v", INT64_MAX);
}

static void what_lives_for_ever_does(void **state)
{
    (void)state;
    ldr_record r = l2_record("v", 3);
    ldr_l2_item item = l2_item(A);
    item.record = &r;
    r.soft_us = LDR_NEVER;
    lease(A);
    assert_int_equal(say(LDR_L2_FILL, item), LDR_L2_DONE);
    assert_int_equal(ttl_ms(), -1);
    assert_held("v", 3);
    assert_true(said.found.soft_us == LDR_NEVER);
    mark(A);
    assert_int_equal(ttl_ms(), -1); /* never lowered */
}

static void absence_is_filled_like_a_value(void **state)
{
    (void)state;
    ldr_record r = l2_record("", 0);
    ldr_l2_item item = l2_item(A);
    item.record = &r;
    r.kind = LDR_NONE;
    lease(A);
    assert_int_equal(say(LDR_L2_FILL, item), LDR_L2_DONE);
    assert_int_equal(look(), LDR_L2_HELD);
    assert_int_equal(said.found.kind, LDR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_look_up_finds_what_was_filled),
        T(many_are_looked_up_at_once),
        T(what_is_marked_is_said_to_be),
        T(a_mark_ends_by_itself),
        T(another_generation_is_nothing),
        T(what_is_below_the_least_is_nothing),
        T(what_expired_hard_is_nothing),
        T(a_lease_is_one_callers),
        T(a_lease_that_ended_is_the_next_ones),
        T(a_lease_that_ended_fills_no_more),
        T(a_lease_looks_again),
        T(a_stale_value_stays_under_the_lease),
        T(who_must_load_takes_the_lease),
        T(a_mark_gives_no_lease),
        T(who_waits_is_told),
        T(a_lease_is_renewed),
        T(a_release_leaves_nothing),
        T(a_fill_needs_the_lease),
        T(an_evicted_lease_fills_no_more),
        T(a_drop_breaks_the_lease),
        T(an_older_fill_is_refused),
        T(what_lives_for_ever_does),
        T(absence_is_filled_like_a_value),
    };
    return RUN(tests);
}
