/* get_spec.c - a read, stage by stage: what it gives, whom it waits for, what it keeps, under every option. */
#include "flow_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SEC ((int64_t)LDR_SEC)

static house *plain_house(void)
{
    return house_new(&(house_options){.read_pattern = LDR_READ_THROUGH});
}

static house *stale_house(void)
{
    return house_new(&(house_options){.cache = {.ttl_us = 10 * SEC, .stale_ttl_us = 100 * SEC}, .read_pattern = LDR_READ_THROUGH});
}

/* Fills the key through a load, so that it is held from now on. */
static void fill(house *h, const char *key, const char *value, int64_t version)
{
    task *t = ask(h, key);
    give(t->spawned, value, version);
    assert_int_equal(outcome_of(t), LDR_LOADED);
    task_end(t);
}

static void check(task *t, int outcome, const char *value)
{
    assert_int_equal(error_of(t), LDR_OK);
    assert_int_equal(outcome_of(t), outcome);
    assert_string_equal(value_of(t), value);
    task_end(t);
}

static void check_error(task *t, int code)
{
    assert_int_equal(error_of(t), code);
    assert_true(answer_of(t)->err.message[0] != '\0');
    task_end(t);
}

/* ---- the ways a read ends ------------------------------------------------------------------------------------- */

static void a_miss_loads_and_is_kept(void **state)
{
    (void)state;
    house *h = plain_house();
    task *t = ask(h, "k");
    assert_false(t->ended);
    assert_int_equal(t->want.kind, LDR_WANT_PARK);
    assert_int_equal(t->spawned->want.kind, LDR_WANT_JOB);
    house_pass(h, 7);
    give(t->spawned, "v", 3);
    assert_true(ldr_get_led(t->op, 0));
    assert_int_equal(answer_of(t)->tier, LDR_TIER_SOURCE);
    assert_int_equal(answer_of(t)->version, 3);
    assert_int_equal(answer_of(t)->asked_us, house_now(h) - 7);
    check(t, LDR_LOADED, "v");
    t = ask(h, "k");
    assert_int_equal(answer_of(t)->version, 3);
    check(t, LDR_HIT_L1, "v");
    assert_int_equal(counted(h, LDR_M_loads), 1);
    assert_int_equal(counted(h, LDR_M_misses), 1);
    assert_int_equal(counted(h, LDR_M_hits_l1), 1);
    house_free(h);
}

static void nobody_to_ask_is_a_miss(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.no_source = true});
    check(ask(h, "k"), LDR_MISS, "");
    task *t = ask_load(h, "k"); /* a loader of the call is somebody */
    assert_int_equal(t->spawned->want.kind, LDR_WANT_CALL);
    give(t->spawned, "v", 0);
    assert_int_equal(answer_of(t)->tier, LDR_TIER_LOADER);
    check(t, LDR_LOADED, "v");
    check(ask(h, "k"), LDR_HIT_L1, "v");
    house_free(h);
}

static void a_source_without_run_is_called(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.read_pattern = LDR_READ_THROUGH, .calls = true});
    task *t = ask(h, "k");
    assert_int_equal(t->spawned->want.kind, LDR_WANT_CALL);
    assert_int_equal(t->spawned->want.request->verb, LDR_LOAD);
    assert_true(ldr_load_uses_call(t->spawned->op));
    give(t->spawned, "v", 0);
    check(t, LDR_LOADED, "v");
    house_free(h);
}

static void no_shelf_still_joins(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.no_l1 = true}, .read_pattern = LDR_READ_THROUGH});
    task *a = ask(h, "k"), *b = ask(h, "k");
    assert_null(b->spawned);
    give(a->spawned, "v", 1);
    check(a, LDR_LOADED, "v");
    check(b, LDR_JOINED, "v");
    task *c = ask(h, "k");
    assert_non_null(c->spawned);
    give(c->spawned, "w", 2);
    check(c, LDR_LOADED, "w");
    house_free(h);
}

static void many_keys_are_one_request(void **state)
{
    (void)state;
    house *h = plain_house();
    const char *keys[] = {"a", "b", "c", "d", "b"};
    fill(h, "c", "held", 1);
    ldr_asking asking = LDR_ASKING_DEFAULTS;
    task *t = begin_get_many(h, &asking, keys, 5);
    ldr_request *r = t->spawned->want.request;
    assert_int_equal(r->n_items, 3); /* b once, c held */
    fill_item(r->items[0], "1", 1);
    fill_item(r->items[1], NULL, 0);
    r->items[2]->state = LDR_FAILED;
    r->items[2]->err.code = LDR_SOURCE;
    proceed(t->spawned);
    assert_true(t->ended);
    assert_int_equal(ldr_get_answer(t->op, 0)->outcome, LDR_LOADED);
    assert_int_equal(ldr_get_answer(t->op, 1)->outcome, LDR_ABSENT);
    assert_int_equal(ldr_get_answer(t->op, 2)->outcome, LDR_HIT_L1);
    assert_int_equal(ldr_get_answer(t->op, 3)->err.code, LDR_SOURCE);
    assert_int_equal(ldr_get_answer(t->op, 4)->outcome, LDR_ABSENT);
    assert_int_equal(counted(h, LDR_M_misses), 5);
    assert_int_equal(counted(h, LDR_M_errors), 1);
    task_end(t);
    t = begin_get_many(h, &asking, keys, 0);
    assert_true(t->ended);
    task_end(t);
    house_free(h);
}

static void an_unanswered_item_fails(void **state)
{
    (void)state;
    house *h = plain_house();
    task *t = ask(h, "k");
    proceed(t->spawned);
    check_error(t, LDR_LOADER);
    house_free(h);
}

static void absent_is_kept_for_its_own_ttl(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.negative_ttl_us = 2 * SEC}, .read_pattern = LDR_READ_THROUGH});
    task *t = ask(h, "k");
    give(t->spawned, NULL, 0);
    check(t, LDR_ABSENT, "");
    assert_string_equal(peek(h, "k"), "-");
    check(ask(h, "k"), LDR_ABSENT, "");
    house_pass(h, 2 * SEC);
    t = ask(h, "k");
    assert_true(wants_source(t->spawned));
    give(t->spawned, "v", 1);
    check(t, LDR_LOADED, "v");
    house_free(h);
}

static void absent_without_a_ttl_is_not_kept_and_takes_the_old_value_away(void **state)
{
    (void)state;
    house *h = stale_house();
    fill(h, "k", "v", 1);
    house_pass(h, 11 * SEC);
    task *t = ask(h, "k");
    give(t->spawned, NULL, 0);
    check(t, LDR_ABSENT, "");
    assert_null(peek(h, "k"));
    t = ask(h, "k");
    give_error(t->spawned, LDR_SOURCE);
    check_error(t, LDR_SOURCE); /* the row is gone: nothing stale to give */
    house_free(h);
}

/* ---- times ---------------------------------------------------------------------------------------------------- */

static int64_t kept_for(house *h, const ldr_asking *a)
{
    task *t = begin_get(h, a, "k");
    give(t->spawned, "v", 0);
    int64_t ttl = answer_of(t)->soft_us == LDR_NEVER ? LDR_NEVER : answer_of(t)->soft_us - house_now(h);
    bool held = peek(h, "k") != NULL;
    task_end(t);
    invalidate(h, "k");
    return held ? ttl : -1;
}

static void ttl_of_the_call_wins(void **state)
{
    (void)state;
    house *h = plain_house();
    ldr_asking a = LDR_ASKING_DEFAULTS;
    assert_int_equal(kept_for(h, &a), 300 * SEC);
    a.ttls.ttl_us = 5 * SEC;
    assert_int_equal(kept_for(h, &a), 5 * SEC);
    a.ttls.ttl_us = 0;
    assert_int_equal(kept_for(h, &a), -1);
    a.ttls.ttl_us = 1;
    assert_int_equal(kept_for(h, &a), LDR_MS);
    a.ttls.ttl_us = LDR_NEVER;
    assert_int_equal(kept_for(h, &a), LDR_NEVER);
    house_free(h);
}

static void ttl_of_the_answer_wins_over_the_calls(void **state)
{
    (void)state;
    house *h = plain_house();
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.ttls = (ldr_ttls){1 * SEC, 1 * SEC, 1 * SEC};
    task *t = begin_get(h, &a, "k");
    ldr_item *item = t->spawned->want.request->items[0];
    fill_item(item, "v", 1);
    item->ttl_us = 7 * SEC;
    item->stale_ttl_us = 0;
    proceed(t->spawned);
    assert_int_equal(answer_of(t)->soft_us, house_now(h) + 7 * SEC);
    task_end(t);
    t = begin_get(h, &a, "no");
    item = t->spawned->want.request->items[0];
    fill_item(item, "v", 1);
    item->no_store = true;
    proceed(t->spawned);
    check(t, LDR_LOADED, "v");
    assert_null(peek(h, "no"));
    house_free(h);
}

static void for_ever_is_for_ever(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.ttl_us = LDR_NEVER, .jitter = 0.5}, .read_pattern = LDR_READ_THROUGH});
    fill(h, "k", "v", 1);
    house_pass(h, 3000000000 * SEC);
    check(ask(h, "k"), LDR_HIT_L1, "v");
    house_free(h);
}

static void jitter_shortens_only(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.ttl_us = 100 * SEC, .jitter = 0.5}, .read_pattern = LDR_READ_THROUGH});
    ldr_asking a = LDR_ASKING_DEFAULTS;
    int64_t least = LDR_NEVER, most = 0;
    for (int i = 0; i < 200; i++) {
        int64_t ttl = kept_for(h, &a);
        least = ttl < least ? ttl : least;
        most = ttl > most ? ttl : most;
    }
    assert_in_range(least, 50 * SEC, 55 * SEC);
    assert_in_range(most, 95 * SEC, 100 * SEC);
    house_free(h);
}

static void the_hard_bound_cuts_all(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.stale_ttl_us = 20 * SEC}, .read_pattern = LDR_READ_THROUGH,
                                          .bound_hard_us = 30 * SEC});
    ldr_asking a = LDR_ASKING_DEFAULTS;
    assert_int_equal(kept_for(h, &a), 30 * SEC);
    a.ttls.ttl_us = LDR_NEVER;
    assert_int_equal(kept_for(h, &a), 30 * SEC);
    a.ttls.ttl_us = 25 * SEC;
    task *t = begin_get(h, &a, "k");
    give(t->spawned, "v", 1);
    task_end(t);
    house_pass(h, 20 * SEC);
    assert_true(ldr_touch(h->flow, ldr_slice_str("k"), 100 * SEC)); /* counts from when the source was asked */
    house_pass(h, 9 * SEC);
    assert_string_equal(peek(h, "k"), "v");
    house_pass(h, 1 * SEC);
    assert_null(peek(h, "k"));
    house_free(h);
}

static void touch_moves_the_expiry(void **state)
{
    (void)state;
    house *h = stale_house();
    assert_false(ldr_touch(h->flow, ldr_slice_str("k"), SEC));
    fill(h, "k", "v", 1);
    assert_true(ldr_touch(h->flow, ldr_slice_str("k"), 50 * SEC));
    house_pass(h, 49 * SEC);
    check(ask(h, "k"), LDR_HIT_L1, "v");
    assert_true(ldr_touch(h->flow, ldr_slice_str("k"), 0)); /* only expires: it may still do as stale */
    task *t = ask(h, "k");
    give_error(t->spawned, LDR_SOURCE);
    check(t, LDR_STALE, "v");
    house_free(h);
}

/* ---- failures --------------------------------------------------------------------------------------------------- */

static void an_error_is_an_error_and_is_not_kept(void **state)
{
    (void)state;
    house *h = plain_house();
    task *a = ask(h, "k"), *b = ask(h, "k");
    give_error(a->spawned, LDR_UNAVAILABLE);
    check_error(a, LDR_UNAVAILABLE);
    check_error(b, LDR_UNAVAILABLE);
    assert_int_equal(counted(h, LDR_M_load_errors), 1);
    assert_int_equal(counted(h, LDR_M_errors), 2);
    task *c = ask(h, "k"); /* without anything stale it is tried at once */
    give(c->spawned, "v", 1);
    check(c, LDR_LOADED, "v");
    house_free(h);
}

static void stale_if_error_with_back_off(void **state)
{
    (void)state;
    house *h = stale_house();
    fill(h, "k", "v", 1);
    house_pass(h, 10 * SEC);
    int64_t wait = 1 * SEC, spent = 10 * SEC;
    while (spent + wait < 110 * SEC) {
        task *t = ask(h, "k");
        assert_true(wants_source(t->spawned));
        give_error(t->spawned, LDR_SOURCE);
        assert_true(answer_of(t)->weaker);
        check(t, LDR_STALE, "v");
        house_pass(h, wait - 1);
        check(ask(h, "k"), LDR_STALE, "v"); /* not asked yet */
        house_pass(h, 1);
        spent += wait;
        wait = wait * 2 < 30 * SEC ? wait * 2 : 30 * SEC;
    }
    house_pass(h, 110 * SEC - spent);
    task *t = ask(h, "k"); /* past the hard expiry: asked whatever the back-off, and the error is told */
    assert_true(wants_source(t->spawned));
    give_error(t->spawned, LDR_SOURCE);
    check_error(t, LDR_SOURCE);
    t = ask(h, "k");
    give(t->spawned, "w", 2);
    check(t, LDR_LOADED, "w");
    house_pass(h, 10 * SEC);
    t = ask(h, "k");
    assert_true(wants_source(t->spawned)); /* what worked is forgiven */
    give_error(t->spawned, LDR_SOURCE);
    check(t, LDR_STALE, "w");
    house_pass(h, 1 * SEC);
    t = ask(h, "k");
    assert_true(wants_source(t->spawned));
    give(t->spawned, "x", 3);
    check(t, LDR_LOADED, "x");
    house_free(h);
}

static void nothing_stale_after_an_invalidation(void **state)
{
    (void)state;
    house *h = stale_house();
    fill(h, "k", "v", 1);
    house_pass(h, 11 * SEC);
    task *t = ask(h, "k"); /* has seen the stale value ... */
    invalidate(h, "k");
    give_error(t->spawned, LDR_SOURCE);
    check_error(t, LDR_SOURCE); /* ... which is gone by now */
    house_free(h);
}

static void a_failed_load_gives_what_somebody_set_meanwhile(void **state)
{
    (void)state;
    house *h = stale_house();
    task *t = ask(h, "k");
    task_end(set(h, "k", "set"));
    give_error(t->spawned, LDR_SOURCE);
    check(t, LDR_HIT_L1, "set");
    house_free(h);
}

static void weak_gives_what_is_held(void **state)
{
    (void)state;
    house *h = stale_house();
    fill(h, "k", "v", 1);
    house_pass(h, 50 * SEC);
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.level = LDR_WEAK;
    task *t = begin_get(h, &a, "k");
    assert_false(answer_of(t)->weaker);
    check(t, LDR_STALE, "v");
    house_pass(h, 60 * SEC);
    t = begin_get(h, &a, "k"); /* nothing within the hard expiry: as eventual */
    give(t->spawned, "w", 2);
    check(t, LDR_LOADED, "w");
    house_free(h);
}

static void raw_codec_refuses_tables(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.codec = LDR_CODEC_RAW}, .read_pattern = LDR_READ_THROUGH});
    task *t = ask(h, "k");
    ldr_item *item = t->spawned->want.request->items[0];
    fill_item(item, "\x80", 1);
    item->kind = LDR_MSGPACK;
    proceed(t->spawned);
    check_error(t, LDR_UNSUPPORTED);
    assert_null(peek(h, "k"));
    house_free(h);
}

static void too_large_is_given_and_not_kept(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.l1_bytes = 64 << 10, .l1_shards = 1}, .read_pattern = LDR_READ_THROUGH});
    char *big = malloc(100001);
    assert_non_null(big);
    memset(big, 'x', 100000);
    big[100000] = '\0';
    task *t = ask(h, "k");
    give(t->spawned, big, 1);
    assert_int_equal(answer_of(t)->value.n, 100000);
    assert_int_equal(outcome_of(t), LDR_LOADED);
    task_end(t);
    assert_null(peek(h, "k"));
    assert_int_equal(counted(h, LDR_M_refused), 1);
    free(big);
    house_free(h);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------ */

static void many_callers_one_load(void **state)
{
    (void)state;
    house *h = plain_house();
    task *t[500];
    for (int i = 0; i < 500; i++)
        t[i] = ask(h, "k");
    assert_int_equal(counted(h, LDR_M_loads), 1);
    give(t[0]->spawned, "v", 1);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(t[i]->n_wakes, 1);
        check(t[i], i ? LDR_JOINED : LDR_LOADED, "v");
    }
    assert_int_equal(counted(h, LDR_M_joined), 499);
    house_free(h);
}

static void the_deadline_ends_the_call_not_the_load(void **state)
{
    (void)state;
    house *h = plain_house();
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.has_loader = true;
    a.timeout_us = 3 * SEC;
    task *t = begin_get(h, &a, "k"), *load = t->spawned;
    house_pass(h, 3 * SEC - 1);
    assert_false(t->ended);
    house_pass(h, 1);
    check_error(t, LDR_TIMEOUT);
    assert_true(wants_source(load));
    task *late = ask(h, "k"); /* the load is still the one to join */
    assert_null(late->spawned);
    give(load, "v", 1);
    check(late, LDR_JOINED, "v");
    check(ask(h, "k"), LDR_HIT_L1, "v");
    house_free(h);
}

static void a_short_deadline_of_the_leader_is_not_the_others(void **state)
{
    (void)state;
    house *h = plain_house();
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.timeout_us = 1 * SEC;
    task *t = begin_get(h, &a, "k"), *other = ask(h, "k");
    assert_int_equal(t->spawned->want.deadline_us, house_now(h) + SEC);
    house_pass(h, SEC - 1);
    give_error(t->spawned, LDR_TIMEOUT); /* the source stopped itself */
    check_error(t, LDR_TIMEOUT);
    assert_true(wants_source(other->spawned)); /* asks with its own time */
    give(other->spawned, "v", 1);
    check(other, LDR_LOADED, "v");
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
    house *h = plain_house();
    task *leader, *t = waiter(h, LDR_ON_TIMEOUT_LOAD, &leader);
    assert_true(wants_source(t->spawned));
    give(t->spawned, "own", 5);
    check(t, LDR_LOADED, "own");
    assert_null(peek(h, "k"));
    task *third = ask(h, "k"); /* the first load is still listed */
    assert_null(third->spawned);
    give(leader->spawned, "v", 6);
    check(third, LDR_JOINED, "v");
    check(leader, LDR_LOADED, "v");
    assert_string_equal(peek(h, "k"), "v");
    house_free(h);
}

static void waited_out_alone_fails_and_times_out_too(void **state)
{
    (void)state;
    house *h = plain_house();
    task *leader, *t = waiter(h, LDR_ON_TIMEOUT_LOAD, &leader);
    house_pass(h, 5 * SEC);
    check_error(t, LDR_TIMEOUT);
    t = waiter(h, LDR_ON_TIMEOUT_LOAD, &leader);
    give_error(t->spawned, LDR_SOURCE);
    check_error(t, LDR_SOURCE);
    house_free(h);
}

static void waited_out_gives_an_error_or_what_is_stale(void **state)
{
    (void)state;
    house *h = stale_house();
    task *leader, *t = waiter(h, LDR_ON_TIMEOUT_ERROR, &leader);
    check_error(t, LDR_TIMEOUT);
    t = waiter(h, LDR_ON_TIMEOUT_STALE, &leader);
    check_error(t, LDR_TIMEOUT);
    give(h->tasks[0].spawned, "v", 1);
    house_pass(h, 10 * SEC);
    t = waiter(h, LDR_ON_TIMEOUT_STALE, &leader);
    check(t, LDR_STALE, "v");
    house_free(h);
}

static void a_dropped_leader_is_replaced(void **state)
{
    (void)state;
    house *h = plain_house();
    task *a = ask_load(h, "k"), *b = ask_load(h, "k"), *c = ask_load(h, "k");
    task_end(a->spawned);
    house_run(h);
    check_error(a, LDR_LOADER);
    assert_true(wants_source(b->spawned));
    assert_null(c->spawned);
    give(b->spawned, "v", 1);
    check(b, LDR_LOADED, "v");
    check(c, LDR_JOINED, "v");
    assert_int_equal(counted(h, LDR_M_loads), 2);
    house_free(h);
}

static void a_leader_that_leaves_does_not_take_the_load_along(void **state)
{
    (void)state;
    house *h = plain_house();
    task *a = ask(h, "k"), *b = ask(h, "k"), *load = a->spawned;
    task_end(a);
    give(load, "v", 1);
    check(b, LDR_JOINED, "v");
    house_free(h);
}

static void closing_ends_all_waits(void **state)
{
    (void)state;
    house *h = plain_house();
    task *a = ask(h, "k"), *b = ask(h, "k"), *load = a->spawned;
    invalidate(h, "k"); /* a load that nobody may join has waiters too */
    task *c = ask(h, "k");
    ldr_cache_shut(h->cache, 0);
    house_run(h);
    check_error(a, LDR_CLOSED);
    check_error(b, LDR_CLOSED);
    check_error(c, LDR_CLOSED);
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
    check(a, LDR_LOADED, "v");
    check(b, LDR_LOADED, "w");
    assert_string_equal(peek(h, "k"), "w");
    house_free(h);
}

static void a_host_that_cannot_wait_loads_for_itself(void **state)
{
    (void)state;
    house *h = plain_house();
    task *a = ask_load(h, "k");
    h->can_wait = false;
    task *b = ask_load(h, "k");
    assert_true(wants_source(b->spawned));
    give(b->spawned, "v", 1);
    check(b, LDR_LOADED, "v");
    assert_string_equal(peek(h, "k"), "v");
    int other;
    h->host = &other; /* another host's load goes on by itself: it is waited for */
    task *c = ask_load(h, "j");
    h->host = h;
    task *d = ask_load(h, "j");
    assert_null(d->spawned);
    give(c->spawned, "v", 1);
    check(d, LDR_JOINED, "v");
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
    house *h = plain_house();
    fill(h, "k", "v", 1);
    task *old = refresh(h, "k"), *new = refresh(h, "k");
    assert_true(wants_source(new->spawned)); /* does not join what began before it */
    task *third = begin_get(h, &(ldr_asking)LDR_ASKING_DEFAULTS, "k");
    check(third, LDR_HIT_L1, "v"); /* meanwhile the old one serves */
    give(new->spawned, "w", 0);
    give(old->spawned, "old", 0);
    check(new, LDR_LOADED, "w");
    check(old, LDR_LOADED, "old");
    assert_string_equal(peek(h, "k"), "w");
    house_free(h);
}

static void a_failed_refresh_is_told(void **state)
{
    (void)state;
    house *h = stale_house();
    fill(h, "k", "v", 1);
    task *t = refresh(h, "k");
    give_error(t->spawned, LDR_SOURCE);
    check_error(t, LDR_SOURCE);
    assert_string_equal(peek(h, "k"), "v");
    house_pass(h, 11 * SEC);
    t = refresh(h, "k");
    assert_true(wants_source(t->spawned)); /* whatever the back-off */
    give_error(t->spawned, LDR_SOURCE);
    check(t, LDR_STALE, "v");
    house_free(h);
}

static void a_refresh_that_finds_nothing_takes_the_old_value_away(void **state)
{
    (void)state;
    house *h = plain_house();
    fill(h, "k", "v", 1);
    task *t = refresh(h, "k");
    give(t->spawned, NULL, 0);
    check(t, LDR_ABSENT, "");
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
    house *h = plain_house();
    task *a = ask_load(h, "a");
    check_error(ask_inside(h, a->spawned, "a"), LDR_REJECTED);
    ldr_asking asking = LDR_ASKING_DEFAULTS;
    asking.has_loader = asking.refresh = asking.no_guard = true;
    h->parent = a->spawned;
    check_error(begin_get(h, &asking, "a"), LDR_REJECTED);
    task_end(set(h, "a", "set"));
    h->parent = NULL;
    check(ask_inside(h, a->spawned, "a"), LDR_HIT_L1, "set");
    invalidate(h, "a");
    check_error(ask_inside(h, a->spawned, "a"), LDR_REJECTED); /* also when its load is listed no more */
    give(a->spawned, "v", 1);
    check(a, LDR_LOADED, "v");
    house_free(h);
}

static void a_nested_ring(void **state)
{
    (void)state;
    house *h = plain_house();
    task *a = ask_load(h, "a");
    task *b = ask_inside(h, a->spawned, "b");
    check_error(ask_inside(h, b->spawned, "a"), LDR_REJECTED);
    give(b->spawned, "b", 1);
    check(b, LDR_LOADED, "b");
    give(a->spawned, "a", 1);
    check(a, LDR_LOADED, "a");
    house_free(h);
}

static void a_ring_of_two_parents(void **state)
{
    (void)state;
    house *h = plain_house();
    task *a = ask_load(h, "a"), *b = ask_load(h, "b");
    const char *keys[] = {"free", "a"};
    ldr_asking asking = LDR_ASKING_DEFAULTS;
    asking.has_loader = true;
    h->parent = b->spawned;
    task *b_asks = begin_get_many(h, &asking, keys, 2); /* waits for two: the ring is in the second */
    h->parent = NULL;
    assert_false(b_asks->ended);
    check_error(ask_inside(h, a->spawned, "b"), LDR_REJECTED);
    task *a_asks = ask_inside(h, a->spawned, "free"); /* though it was asked for beside "a", it waits for nobody */
    give(b_asks->spawned, "f", 1);
    check(a_asks, LDR_JOINED, "f");
    give(a->spawned, "a", 1);
    assert_true(b_asks->ended);
    task_end(b_asks);
    give(b->spawned, "b", 1);
    check(b, LDR_LOADED, "b");
    check(a, LDR_LOADED, "a");
    house_free(h);
}

static void no_ring_no_refusal(void **state)
{
    (void)state;
    house *h = plain_house();
    task *a = ask_load(h, "a"), *b = ask_load(h, "b");
    task *a_asks = ask_inside(h, a->spawned, "b"), *c = ask_load(h, "a");
    assert_false(a_asks->ended);
    assert_false(c->ended);
    give(b->spawned, "b", 1);
    check(a_asks, LDR_JOINED, "b");
    give(a->spawned, "a", 1);
    check(c, LDR_JOINED, "a");
    task_end(a);
    task_end(b);
    house_free(h);
}

static void a_call_may_outlive_the_load_it_was_made_in(void **state)
{
    (void)state;
    house *h = plain_house();
    task *a = ask_load(h, "a");
    task *inner = ask_inside(h, a->spawned, "b");
    give(a->spawned, "a", 1);
    task *again = ask_inside(h, inner->spawned, "a");
    check(again, LDR_HIT_L1, "a");
    give(inner->spawned, "b", 1);
    check(inner, LDR_LOADED, "b");
    task_end(a);
    house_free(h);
}

static void what_stands_on_one_stack_is_refused(void **state)
{
    (void)state;
    house *h = plain_house();
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

/* ---- ttl functions ----------------------------------------------------------------------------------------------------- */

static void a_ttl_function_is_asked(void **state)
{
    (void)state;
    house *h = plain_house();
    h->flow->asks_ttl = true;
    task *t = ask(h, "k");
    give(t->spawned, "v", 1);
    task *load = t->spawned;
    assert_int_equal(load->want.kind, LDR_WANT_CALL);
    assert_int_equal(load->want.request->verb, LDR_TTL);
    load->want.request->items[0]->ttl_us = 3 * SEC;
    proceed(load);
    assert_int_equal(answer_of(t)->soft_us, house_now(h) + 3 * SEC);
    check(t, LDR_LOADED, "v");
    house_free(h);
}

/* ---- memory -------------------------------------------------------------------------------------------------------------- */

static void a_waiter_is_small(void **state)
{
    (void)state;
    house *h = stale_house();
    char big[4001];
    memset(big, 'x', 4000);
    big[4000] = '\0';
    fill(h, "k", big, 1);
    house_pass(h, 11 * SEC);
    task *leader = ask(h, "k"), *t[100];
    long before = h->mem.n_alive;
    for (int i = 0; i < 100; i++)
        t[i] = ask(h, "k");
    assert_int_equal(h->mem.n_alive, before + 100); /* one block each: no copy of the stale value */
    give(leader->spawned, "v", 2);
    for (int i = 0; i < 100; i++)
        task_end(t[i]);
    house_free(h);
}

static void no_memory_is_an_error(void **state)
{
    (void)state;
    for (long n = 1; n < 40; n++) {
        house *h = stale_house();
        h->mem.fail_at = h->mem.n_calls + n;
        ldr_asking a = LDR_ASKING_DEFAULTS;
        ldr_slice key = ldr_slice_str("k");
        ldr_owner owner = {.host = h, .can_wait = true};
        a.keys = &key;
        a.n_keys = 1;
        ldr_op *op = ldr_get_begin(h->flow, &a, &owner);
        if (op) {
            ldr_want want = ldr_op_step(op);
            if (want.kind == LDR_WANT_SPAWN) {
                ldr_want job = ldr_op_step(want.op);
                fill_item(job.request->items[0], "value", 1);
                if (job.request->items[0]->out.oom) {
                    job.request->items[0]->state = LDR_FAILED;
                    job.request->items[0]->err.code = LDR_NOMEM;
                }
                ldr_op_step(want.op);
                ldr_op_end(want.op);
                want = ldr_op_step(op);
            }
            assert_int_equal(want.kind, LDR_WANT_DONE);
            int code = ldr_get_answer(op, 0)->err.code;
            assert_true(code == LDR_OK || code == LDR_NOMEM);
            ldr_op_end(op);
        }
        bool all = h->mem.n_calls < h->mem.fail_at;
        h->mem.fail_at = 0;
        task *t = ask(h, "k");
        if (!t->ended)
            give(t->spawned, "value", 1);
        assert_string_equal(value_of(t), "value");
        task_end(t);
        house_free(h);
        if (all)
            return;
    }
    fail_msg("a get with more than 40 allocations");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_miss_loads_and_is_kept),
        cmocka_unit_test(nobody_to_ask_is_a_miss),
        cmocka_unit_test(a_source_without_run_is_called),
        cmocka_unit_test(no_shelf_still_joins),
        cmocka_unit_test(many_keys_are_one_request),
        cmocka_unit_test(an_unanswered_item_fails),
        cmocka_unit_test(absent_is_kept_for_its_own_ttl),
        cmocka_unit_test(absent_without_a_ttl_is_not_kept_and_takes_the_old_value_away),
        cmocka_unit_test(ttl_of_the_call_wins),
        cmocka_unit_test(ttl_of_the_answer_wins_over_the_calls),
        cmocka_unit_test(for_ever_is_for_ever),
        cmocka_unit_test(jitter_shortens_only),
        cmocka_unit_test(the_hard_bound_cuts_all),
        cmocka_unit_test(touch_moves_the_expiry),
        cmocka_unit_test(an_error_is_an_error_and_is_not_kept),
        cmocka_unit_test(stale_if_error_with_back_off),
        cmocka_unit_test(nothing_stale_after_an_invalidation),
        cmocka_unit_test(a_failed_load_gives_what_somebody_set_meanwhile),
        cmocka_unit_test(weak_gives_what_is_held),
        cmocka_unit_test(raw_codec_refuses_tables),
        cmocka_unit_test(too_large_is_given_and_not_kept),
        cmocka_unit_test(many_callers_one_load),
        cmocka_unit_test(the_deadline_ends_the_call_not_the_load),
        cmocka_unit_test(a_short_deadline_of_the_leader_is_not_the_others),
        cmocka_unit_test(waited_out_loads_by_itself_and_keeps_nothing),
        cmocka_unit_test(waited_out_alone_fails_and_times_out_too),
        cmocka_unit_test(waited_out_gives_an_error_or_what_is_stale),
        cmocka_unit_test(a_dropped_leader_is_replaced),
        cmocka_unit_test(a_leader_that_leaves_does_not_take_the_load_along),
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
        cmocka_unit_test(a_ttl_function_is_asked),
        cmocka_unit_test(a_waiter_is_small),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests_name("get", tests, NULL, NULL);
}
