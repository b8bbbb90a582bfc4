/* get_spec.c - a read, stage by stage: what it gives, what it keeps and how long, what it says where the source fails. */
#include "flow_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SEC ((int64_t)LDR_SEC)

/* ---- the ways a read ends ------------------------------------------------------------------------------------- */

static void a_miss_loads_and_is_kept(void **state)
{
    (void)state;
    house *h = house_plain();
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
    check_read(t, LDR_LOADED, "v");
    t = ask(h, "k");
    assert_int_equal(answer_of(t)->version, 3);
    check_read(t, LDR_HIT_L1, "v");
    assert_int_equal(counted(h, LDR_M_loads), 1);
    assert_int_equal(counted(h, LDR_M_misses), 1);
    assert_int_equal(counted(h, LDR_M_hits_l1), 1);
    house_free(h);
}

static void nobody_to_ask_is_a_miss(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.no_source = true});
    check_read(ask(h, "k"), LDR_MISS, "");
    task *t = ask_load(h, "k"); /* a loader of the call is somebody */
    assert_int_equal(t->spawned->want.kind, LDR_WANT_CALL);
    give(t->spawned, "v", 0);
    assert_int_equal(answer_of(t)->tier, LDR_TIER_LOADER);
    check_read(t, LDR_LOADED, "v");
    check_read(ask(h, "k"), LDR_HIT_L1, "v");
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
    check_read(t, LDR_LOADED, "v");
    house_free(h);
}

static void no_shelf_still_joins(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.no_l1 = true}, .read_pattern = LDR_READ_THROUGH});
    task *a = ask(h, "k"), *b = ask(h, "k");
    assert_null(b->spawned);
    give(a->spawned, "v", 1);
    check_read(a, LDR_LOADED, "v");
    check_read(b, LDR_JOINED, "v");
    task *c = ask(h, "k");
    assert_non_null(c->spawned);
    give(c->spawned, "w", 2);
    check_read(c, LDR_LOADED, "w");
    house_free(h);
}

static void many_keys_are_one_request(void **state)
{
    (void)state;
    house *h = house_plain();
    const char *keys[] = {"a", "b", "c", "d", "b"};
    load_key(h, "c", "held", 1);
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
    house *h = house_plain();
    task *t = ask(h, "k");
    proceed(t->spawned);
    check_failed(t, LDR_LOADER);
    house_free(h);
}

static void absent_is_kept_for_its_own_ttl(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.negative_ttl_us = 2 * SEC}, .read_pattern = LDR_READ_THROUGH});
    task *t = ask(h, "k");
    give(t->spawned, NULL, 0);
    check_read(t, LDR_ABSENT, "");
    assert_string_equal(peek(h, "k"), "-");
    check_read(ask(h, "k"), LDR_ABSENT, "");
    house_pass(h, 2 * SEC);
    t = ask(h, "k");
    assert_true(wants_source(t->spawned));
    give(t->spawned, "v", 1);
    check_read(t, LDR_LOADED, "v");
    house_free(h);
}

static void absent_without_a_ttl_is_not_kept_and_takes_the_old_value_away(void **state)
{
    (void)state;
    house *h = house_stale();
    load_key(h, "k", "v", 1);
    house_pass(h, 11 * SEC);
    task *t = ask(h, "k");
    give(t->spawned, NULL, 0);
    check_read(t, LDR_ABSENT, "");
    assert_null(peek(h, "k"));
    t = ask(h, "k");
    give_error(t->spawned, LDR_SOURCE);
    check_failed(t, LDR_SOURCE); /* the row is gone: nothing stale to give */
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
    house *h = house_plain();
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
    house *h = house_plain();
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
    check_read(t, LDR_LOADED, "v");
    assert_null(peek(h, "no"));
    house_free(h);
}

static void for_ever_is_for_ever(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.ttl_us = LDR_NEVER, .jitter = 0.5}, .read_pattern = LDR_READ_THROUGH});
    load_key(h, "k", "v", 1);
    house_pass(h, 3000000000 * SEC);
    check_read(ask(h, "k"), LDR_HIT_L1, "v");
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
    house *h = house_stale();
    assert_false(ldr_touch(h->flow, ldr_slice_str("k"), SEC));
    load_key(h, "k", "v", 1);
    assert_true(ldr_touch(h->flow, ldr_slice_str("k"), 50 * SEC));
    house_pass(h, 49 * SEC);
    check_read(ask(h, "k"), LDR_HIT_L1, "v");
    assert_true(ldr_touch(h->flow, ldr_slice_str("k"), 0)); /* only expires: it may still do as stale */
    task *t = ask(h, "k");
    give_error(t->spawned, LDR_SOURCE);
    check_read(t, LDR_STALE, "v");
    house_free(h);
}

/* ---- failures --------------------------------------------------------------------------------------------------- */

static void an_error_is_an_error_and_is_not_kept(void **state)
{
    (void)state;
    house *h = house_plain();
    task *a = ask(h, "k"), *b = ask(h, "k");
    give_error(a->spawned, LDR_UNAVAILABLE);
    check_failed(a, LDR_UNAVAILABLE);
    check_failed(b, LDR_UNAVAILABLE);
    assert_int_equal(counted(h, LDR_M_load_errors), 1);
    assert_int_equal(counted(h, LDR_M_errors), 2);
    task *c = ask(h, "k"); /* without anything stale it is tried at once */
    give(c->spawned, "v", 1);
    check_read(c, LDR_LOADED, "v");
    house_free(h);
}

static void stale_if_error_with_back_off(void **state)
{
    (void)state;
    house *h = house_stale();
    load_key(h, "k", "v", 1);
    house_pass(h, 10 * SEC);
    int64_t wait = 1 * SEC, spent = 10 * SEC;
    while (spent + wait < 110 * SEC) {
        task *t = ask(h, "k");
        assert_true(wants_source(t->spawned));
        give_error(t->spawned, LDR_SOURCE);
        assert_true(answer_of(t)->weaker);
        check_read(t, LDR_STALE, "v");
        house_pass(h, wait - 1);
        check_read(ask(h, "k"), LDR_STALE, "v"); /* not asked yet */
        house_pass(h, 1);
        spent += wait;
        wait = wait * 2 < 30 * SEC ? wait * 2 : 30 * SEC;
    }
    house_pass(h, 110 * SEC - spent);
    task *t = ask(h, "k"); /* past the hard expiry: asked whatever the back-off, and the error is told */
    assert_true(wants_source(t->spawned));
    give_error(t->spawned, LDR_SOURCE);
    check_failed(t, LDR_SOURCE);
    t = ask(h, "k");
    give(t->spawned, "w", 2);
    check_read(t, LDR_LOADED, "w");
    house_pass(h, 10 * SEC);
    t = ask(h, "k");
    assert_true(wants_source(t->spawned)); /* what worked is forgiven */
    give_error(t->spawned, LDR_SOURCE);
    check_read(t, LDR_STALE, "w");
    house_pass(h, 1 * SEC);
    t = ask(h, "k");
    assert_true(wants_source(t->spawned));
    give(t->spawned, "x", 3);
    check_read(t, LDR_LOADED, "x");
    house_free(h);
}

static void nothing_stale_after_an_invalidation(void **state)
{
    (void)state;
    house *h = house_stale();
    load_key(h, "k", "v", 1);
    house_pass(h, 11 * SEC);
    task *t = ask(h, "k"); /* has seen the stale value ... */
    invalidate(h, "k");
    give_error(t->spawned, LDR_SOURCE);
    check_failed(t, LDR_SOURCE); /* ... which is gone by now */
    house_free(h);
}

static void a_failed_load_gives_what_somebody_set_meanwhile(void **state)
{
    (void)state;
    house *h = house_stale();
    task *t = ask(h, "k");
    task_end(set(h, "k", "set"));
    give_error(t->spawned, LDR_SOURCE);
    check_read(t, LDR_HIT_L1, "set");
    house_free(h);
}

static void weak_gives_what_is_held(void **state)
{
    (void)state;
    house *h = house_stale();
    load_key(h, "k", "v", 1);
    house_pass(h, 50 * SEC);
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.level = LDR_WEAK;
    task *t = begin_get(h, &a, "k");
    assert_false(answer_of(t)->weaker);
    check_read(t, LDR_STALE, "v");
    house_pass(h, 60 * SEC);
    t = begin_get(h, &a, "k"); /* nothing within the hard expiry: as eventual */
    give(t->spawned, "w", 2);
    check_read(t, LDR_LOADED, "w");
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
    check_failed(t, LDR_UNSUPPORTED);
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

/* ---- ttl functions ----------------------------------------------------------------------------------------------------- */

static void a_ttl_function_is_asked(void **state)
{
    (void)state;
    house *h = house_plain();
    h->flow->asks_ttl = true;
    task *t = ask(h, "k");
    give(t->spawned, "v", 1);
    task *load = t->spawned;
    assert_int_equal(load->want.kind, LDR_WANT_CALL);
    assert_int_equal(load->want.request->verb, LDR_TTL);
    load->want.request->items[0]->ttl_us = 3 * SEC;
    proceed(load);
    assert_int_equal(answer_of(t)->soft_us, house_now(h) + 3 * SEC);
    check_read(t, LDR_LOADED, "v");
    house_free(h);
}

/* ---- memory -------------------------------------------------------------------------------------------------------------- */

static void a_waiter_is_small(void **state)
{
    (void)state;
    house *h = house_stale();
    char big[4001];
    memset(big, 'x', 4000);
    big[4000] = '\0';
    load_key(h, "k", big, 1);
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
        house *h = house_stale();
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
        cmocka_unit_test(a_ttl_function_is_asked),
        cmocka_unit_test(a_waiter_is_small),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests_name("get", tests, NULL, NULL);
}
