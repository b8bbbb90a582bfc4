/* put_spec.c - set and delete, stage by stage: by every write pattern, with and without versions, strong and weak in haste. */
#include "flow_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SEC ((int64_t)LDR_SEC)

static const ldr_writing plain = {.timeout_us = LDR_UNSET, .if_version = LDR_ANY, .ttls = {LDR_UNSET, LDR_UNSET, LDR_UNSET}};

static house *through(void)
{
    return house_new(&(house_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_THROUGH});
}

static house *aside(void)
{
    return house_new(&(house_options){.unversioned = true});
}

static void holds(house *h, const char *key, const char *value)
{
    const char *held = peek(h, key);
    if (!value)
        assert_null(held);
    else
        assert_string_equal(held ? held : "(nothing)", value);
}

static int64_t done(task *t)
{
    int64_t version = version_of(t);
    task_end(t);
    return version;
}

static void check_error(task *t, int code)
{
    assert_int_equal(error_of(t), code);
    task_end(t);
}

static void fill(house *h, const char *key, const char *value, int64_t version)
{
    task *t = ask(h, key);
    give(t->spawned, value, version);
    task_end(t);
}

/* ---- the tiers alone ---------------------------------------------------------------------------------------------- */

static void cache_aside_writes_the_tiers(void **state)
{
    (void)state;
    house *h = aside();
    int64_t first = done(set(h, "k", "v"));
    holds(h, "k", "v");
    int64_t second = done(set(h, "k", "w"));
    assert_true(second > first && first > 0);
    done(del(h, "k"));
    holds(h, "k", NULL);
    assert_true(done(set(h, "k", "x")) > second); /* rising over deletes too */
    assert_int_equal(counted(h, LDR_M_writes), 4);
    assert_int_equal(counted(h, LDR_M_invalidations), 1);
    house_free(h);
}

static void put_now_does_the_same(void **state)
{
    (void)state;
    house *h = aside();
    ldr_slice key = ldr_slice_str("k"), value = ldr_slice_str("v");
    int kind = LDR_STRING;
    int64_t version, later;
    ldr_err err;
    ldr_writing w = plain;
    w.verb = LDR_STORE;
    w.keys = &key, w.values = &value, w.kinds = &kind, w.n_keys = 1;
    assert_false(ldr_put_needs_source(h->flow, LDR_STORE));
    assert_int_equal(ldr_put_now(h->flow, &w, &version, &err), LDR_OK);
    holds(h, "k", "v");
    w.if_version = version;
    assert_int_equal(ldr_put_now(h->flow, &w, &later, &err), LDR_OK);
    assert_true(later > version);
    assert_int_equal(ldr_put_now(h->flow, &w, &later, &err), LDR_CONFLICT);
    assert_true(err.version > version);
    w.verb = LDR_ERASE;
    w.if_version = LDR_ANY;
    assert_int_equal(ldr_put_now(h->flow, &w, &later, &err), LDR_OK);
    holds(h, "k", NULL);
    house_free(h);
}

static task *set_if(house *h, int64_t if_version, const char *value)
{
    ldr_writing w = plain;
    w.if_version = if_version;
    return begin_put(h, &w, "k", value);
}

static void if_version_is_looked_at(void **state)
{
    (void)state;
    house *h = aside();
    int64_t v = done(set_if(h, LDR_MUST_BE_ABSENT, "v"));
    task *t = set_if(h, LDR_MUST_BE_ABSENT, "w");
    int64_t ignored;
    assert_int_equal(ldr_put_result(t->op, 0, &ignored)->version, v);
    check_error(t, LDR_CONFLICT);
    check_error(set_if(h, v + 1, "w"), LDR_CONFLICT);
    check_error(set_if(h, v + 1, NULL), LDR_CONFLICT);
    assert_int_equal(counted(h, LDR_M_invalidations), 0);
    holds(h, "k", "v");
    int64_t w = done(set_if(h, v, "w"));
    holds(h, "k", "w");
    done(set_if(h, w, NULL));
    holds(h, "k", NULL);
    house_free(h);
}

static task *set_version(house *h, int64_t version, const char *value)
{
    ldr_writing w = plain;
    w.version = version;
    return begin_put(h, &w, "k", value);
}

static void a_given_version_rises(void **state)
{
    (void)state;
    house *h = aside();
    assert_int_equal(done(set_version(h, 1000, "v")), 1000);
    check_error(set_version(h, 999, "w"), LDR_CONFLICT);
    holds(h, "k", "v");
    assert_int_equal(done(set_version(h, 1000, "w")), 1000);
    assert_true(done(set(h, "k", "x")) > 1000); /* what is drawn is above what was seen */
    holds(h, "k", "x");
    assert_int_equal(done(set_version(h, INT64_MAX, "y")), INT64_MAX);
    assert_int_equal(done(set(h, "k", "z")), INT64_MAX);
    holds(h, "k", "z");
    house_free(h);
}

static void a_set_is_newer_than_what_a_loader_gave(void **state)
{
    (void)state;
    house *h = aside();
    task *t = ask_load(h, "k");
    give(t->spawned, "loaded", 5000); /* the loader's version is far above any that was drawn */
    task_end(t);
    assert_true(done(set(h, "k", "set")) > 5000);
    holds(h, "k", "set");
    house_free(h);
}

static void a_set_over_a_versioned_source_stands_until_a_load(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){0}); /* cache_aside, the source draws versions */
    fill(h, "k", "v", 500);
    done(set(h, "k", "set"));
    holds(h, "k", "set");
    invalidate(h, "k");
    fill(h, "k", "w", 501);
    holds(h, "k", "w");
    house_free(h);
}

static void ttl_nothing_takes_away(void **state)
{
    (void)state;
    house *h = aside();
    ldr_writing w = plain;
    w.ttls.ttl_us = 0;
    done(set(h, "k", "v"));
    done(begin_put(h, &w, "k", "w"));
    holds(h, "k", NULL);
    w.ttls.ttl_us = 2 * SEC;
    done(begin_put(h, &w, "k", "w"));
    house_pass(h, 2 * SEC - 1);
    holds(h, "k", "w");
    house_pass(h, 1);
    holds(h, "k", NULL);
    house_free(h);
}

static char *big_text(void)
{
    char *big = malloc(100001);
    assert_non_null(big);
    memset(big, 'x', 100000);
    big[100000] = '\0';
    return big;
}

static void what_fits_nowhere_is_too_large(void **state)
{
    (void)state;
    char *big = big_text();
    house *h = house_new(&(house_options){.cache = {.l1_bytes = 64 << 10, .l1_shards = 1}, .no_source = true});
    done(set(h, "k", "v"));
    check_error(set(h, "k", big), LDR_TOO_LARGE);
    house_free(h);
    h = house_new(&(house_options){.cache = {.l1_bytes = 64 << 10, .l1_shards = 1}, .write_pattern = LDR_WRITE_THROUGH});
    task *t = set(h, "k", big);
    give(t, NULL, 7);
    assert_int_equal(done(t), 7); /* the source has it */
    holds(h, "k", NULL);
    house_free(h);
    free(big);
}

static void raw_refuses_tables(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.codec = LDR_CODEC_RAW}, .no_source = true});
    ldr_slice key = ldr_slice_str("k"), value = ldr_slice_of("\x80", 1);
    int kind = LDR_MSGPACK;
    int64_t version;
    ldr_err err;
    ldr_writing w = plain;
    done(set(h, "k", "v"));
    w.verb = LDR_STORE;
    w.keys = &key, w.values = &value, w.kinds = &kind, w.n_keys = 1;
    assert_int_equal(ldr_put_now(h->flow, &w, &version, &err), LDR_UNSUPPORTED);
    holds(h, "k", "v");
    house_free(h);
}

static void without_a_shelf_a_set_is_a_set_of_nothing(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.no_l1 = true}, .no_source = true});
    assert_true(done(set(h, "k", "v")) > 0);
    done(del(h, "k"));
    holds(h, "k", NULL);
    house_free(h);
}

/* ---- through the source --------------------------------------------------------------------------------------------- */

static void write_through_keeps_the_new_version(void **state)
{
    (void)state;
    house *h = through();
    fill(h, "k", "v", 1);
    task *t = set(h, "k", "w");
    assert_int_equal(t->want.kind, LDR_WANT_JOB);
    assert_int_equal(t->want.request->verb, LDR_STORE);
    assert_true(ldr_slice_eq(t->want.request->items[0]->value, ldr_slice_str("w")));
    holds(h, "k", "v");
    give(t, NULL, 2);
    assert_int_equal(done(t), 2);
    holds(h, "k", "w");
    assert_int_equal(counted(h, LDR_M_invalidations), 0);
    t = del(h, "k");
    assert_int_equal(t->want.request->verb, LDR_ERASE);
    give(t, NULL, 3);
    assert_int_equal(done(t), 3);
    holds(h, "k", NULL);
    house_free(h);
}

static void the_row_that_came_back_is_kept(void **state)
{
    (void)state;
    house *h = through();
    task *t = set(h, "k", "as given");
    fill_item(t->want.request->items[0], "as the source has it", 9);
    proceed(t);
    done(t);
    holds(h, "k", "as the source has it");
    house_free(h);
}

static void age_counts_from_before_the_source_answered(void **state)
{
    (void)state;
    house *h = through();
    task *t = set(h, "k", "v");
    int64_t sent = house_now(h);
    house_pass(h, 3 * SEC);
    give(t, NULL, 1);
    done(t);
    t = ask(h, "k");
    assert_int_equal(answer_of(t)->asked_us, sent);
    assert_int_equal(answer_of(t)->soft_us, sent + 300 * SEC);
    task_end(t);
    house_free(h);
}

static void write_around_forgets(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_AROUND});
    fill(h, "k", "v", 1);
    task *t = set(h, "k", "w");
    give(t, NULL, 2);
    assert_int_equal(done(t), 2);
    holds(h, "k", NULL);
    assert_int_equal(counted(h, LDR_M_invalidations), 1);
    house_free(h);
}

static void errors_without_effect_change_nothing(void **state)
{
    (void)state;
    static const int codes[] = {LDR_SOURCE, LDR_REJECTED, LDR_UNAVAILABLE, LDR_TIMEOUT};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        house *h = through();
        fill(h, "k", "v", 1);
        task *t = set(h, "k", "w");
        give_error(t, codes[i]);
        check_error(t, codes[i]);
        holds(h, "k", "v");
        house_free(h);
    }
}

static void a_lost_write_makes_the_tiers_forget(void **state)
{
    (void)state;
    house *h = through();
    fill(h, "k", "v", 1);
    task *t = set(h, "k", "w");
    give_error(t, LDR_LOST);
    check_error(t, LDR_LOST);
    holds(h, "k", NULL);
    fill(h, "k", "v", 1);
    t = set(h, "k", "w");
    proceed(t); /* not a word of the source */
    check_error(t, LDR_LOST);
    holds(h, "k", NULL);
    house_free(h);
}

static void a_conflict_makes_the_tiers_forget_what_lost(void **state)
{
    (void)state;
    house *h = through();
    fill(h, "k", "v", 1);
    ldr_writing w = plain;
    w.if_version = 1;
    task *t = begin_put(h, &w, "k", "w");
    assert_int_equal(t->want.request->items[0]->if_version, 1);
    ldr_item *item = t->want.request->items[0];
    item->state = LDR_FAILED;
    item->err = (ldr_err){.code = LDR_CONFLICT, .version = 5};
    proceed(t);
    check_error(t, LDR_CONFLICT);
    holds(h, "k", NULL); /* else who reads again and tries again is told the same for ever */
    house_free(h);
}

static void a_dropped_write_makes_the_tiers_forget(void **state)
{
    (void)state;
    house *h = through();
    fill(h, "k", "v", 1);
    task *t = set(h, "k", "w");
    task_end(t);
    holds(h, "k", NULL);
    fill(h, "k", "w", 2); /* the mark is gone */
    holds(h, "k", "w");
    house_free(h);
}

static void unsupported_verbs(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.write_pattern = LDR_WRITE_THROUGH, .cannot_store = true, .cannot_delete = true});
    check_error(set(h, "k", "v"), LDR_UNSUPPORTED);
    check_error(del(h, "k"), LDR_UNSUPPORTED);
    house_free(h);
    h = house_new(&(house_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_READ_THROUGH, .cannot_store = true,
                                   .cannot_delete = true, .unversioned = true});
    done(set(h, "k", "v")); /* read_through over what cannot store: the tiers alone */
    holds(h, "k", "v");
    done(del(h, "k"));
    holds(h, "k", NULL);
    house_free(h);
}

static void a_ttl_function_is_asked_for_what_was_written(void **state)
{
    (void)state;
    house *h = through();
    h->flow->asks_ttl = true;
    task *t = set(h, "k", "v");
    give(t, NULL, 1);
    assert_int_equal(t->want.kind, LDR_WANT_CALL);
    assert_int_equal(t->want.request->verb, LDR_TTL);
    t->want.request->items[0]->ttl_us = SEC;
    proceed(t);
    done(t);
    holds(h, "k", "v");
    t = set(h, "k", "w");
    give(t, NULL, 2);
    t->want.request->items[0]->state = LDR_FAILED;
    t->want.request->items[0]->err.code = LDR_INVALID;
    proceed(t);
    assert_int_equal(done(t), 2); /* the source has it: to say that nothing happened would be a lie */
    holds(h, "k", NULL);
    house_free(h);
}

/* ---- two writes of one key ------------------------------------------------------------------------------------------- */

static void versions_decide_between_writers(void **state)
{
    (void)state;
    house *h = through();
    task *a = set(h, "k", "one"), *b = set(h, "k", "two");
    give(b, NULL, 2);
    holds(h, "k", "two");
    give(a, NULL, 1);
    done(a), done(b);
    holds(h, "k", "two");
    assert_int_equal(counted(h, LDR_M_refused), 1);
    house_free(h);
}

static void overlapping_writes_without_versions_are_forgotten(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_THROUGH,
                                          .calls = true, .unversioned = true});
    task *a = set(h, "k", "one"), *b = set(h, "k", "two");
    assert_int_equal(a->want.kind, LDR_WANT_CALL);
    give(b, NULL, 0);
    holds(h, "k", NULL);
    give(a, NULL, 0);
    holds(h, "k", NULL); /* whose was the last one, nobody knows */
    assert_true(done(b) > 0);
    assert_true(done(a) > 0);
    task *c = set(h, "k", "three");
    give(c, NULL, 0);
    done(c);
    holds(h, "k", "three");
    house_free(h);
}

static void an_invalidation_meets_a_write(void **state)
{
    (void)state;
    house *h = through();
    task *a = set(h, "k", "one");
    invalidate(h, "k"); /* of a later foreign change, perhaps: of no known version */
    give(a, NULL, 1);
    assert_int_equal(done(a), 1);
    holds(h, "k", NULL);
    a = set(h, "k", "two");
    ldr_drop_all(h->flow, LDR_CAUSE_ALL);
    give(a, NULL, 2);
    done(a);
    holds(h, "k", NULL);
    a = set(h, "k", "three");
    changed(h, "k", 3); /* its own news */
    give(a, NULL, 3);
    done(a);
    holds(h, "k", "three");
    a = set(h, "k", "four");
    changed(h, "k", 5);
    give(a, NULL, 4);
    done(a);
    holds(h, "k", NULL);
    house_free(h);
}

/* ---- weak -------------------------------------------------------------------------------------------------------------- */

static task *set_weakly(house *h, const char *value)
{
    ldr_writing w = plain;
    w.level = LDR_WEAK;
    return begin_put(h, &w, "k", value);
}

static void a_weak_write_answers_at_once(void **state)
{
    (void)state;
    house *h = through();
    task *t = set_weakly(h, "v"), *tail = t->spawned;
    done(t); /* its bytes are gone with it */
    holds(h, "k", "v");
    assert_true(wants_source(tail));
    assert_true(ldr_slice_eq(tail->want.request->items[0]->key, ldr_slice_str("k")));
    assert_true(ldr_slice_eq(tail->want.request->items[0]->value, ldr_slice_str("v")));
    give(tail, NULL, 4);
    t = ask(h, "k");
    assert_int_equal(answer_of(t)->version, 4);
    assert_string_equal(value_of(t), "v");
    task_end(t);
    assert_int_equal(counted(h, LDR_M_writes), 1);
    assert_int_equal(counted(h, LDR_M_weak_failures), 0);
    t = set_weakly(h, NULL);
    tail = t->spawned;
    done(t);
    holds(h, "k", NULL);
    give(tail, NULL, 5);
    house_free(h);
}

static void a_weak_write_that_fails_is_counted_and_forgotten(void **state)
{
    (void)state;
    house *h = through();
    task *t = set_weakly(h, "v");
    give_error(t->spawned, LDR_REJECTED);
    done(t);
    assert_int_equal(counted(h, LDR_M_weak_failures), 1);
    assert_int_equal(counted(h, LDR_M_errors), 0);
    holds(h, "k", NULL); /* never a failed write */
    house_free(h);
}

static void the_second_weak_write_stands(void **state)
{
    (void)state;
    house *h = through();
    task *a = set_weakly(h, "one"), *b = set_weakly(h, "two");
    holds(h, "k", "two");
    give(a->spawned, NULL, 1);
    holds(h, "k", "two"); /* the first one's tail has nothing to say any more */
    give(b->spawned, NULL, 2);
    holds(h, "k", "two");
    done(a), done(b);
    a = set_weakly(h, "three"), b = set_weakly(h, "four");
    give_error(a->spawned, LDR_SOURCE);
    holds(h, "k", "four");
    give(b->spawned, NULL, 4);
    holds(h, "k", "four");
    done(a), done(b);
    house_free(h);
}

static void no_load_fills_behind_a_weak_write(void **state)
{
    (void)state;
    house *h = through();
    task *t = set_weakly(h, "new"), *tail = t->spawned;
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.refresh = true;
    task *r = begin_get(h, &a, "k");
    give(r->spawned, "old", 1); /* the source does not have it yet */
    task_end(r);
    holds(h, "k", "new");
    give(tail, NULL, 2);
    done(t);
    house_free(h);
}

static void a_weak_write_that_is_dropped_ends_its_mark(void **state)
{
    (void)state;
    house *h = through();
    task *t = set_weakly(h, "v");
    task_end(t->spawned);
    done(t);
    holds(h, "k", NULL);
    fill(h, "k", "w", 2);
    holds(h, "k", "w");
    house_free(h);
}

static void what_no_codec_keeps_is_not_written_weakly(void **state)
{
    (void)state;
    house *h = house_new(&(house_options){.cache = {.codec = LDR_CODEC_RAW}, .write_pattern = LDR_WRITE_THROUGH});
    ldr_writing w = plain;
    ldr_slice key = ldr_slice_str("k"), value = ldr_slice_of("\x80", 1);
    int kind = LDR_MSGPACK;
    w.level = LDR_WEAK;
    w.verb = LDR_STORE;
    w.keys = &key, w.values = &value, w.kinds = &kind, w.n_keys = 1;
    ldr_op *op = ldr_put_begin(h->flow, &w, &(ldr_owner){.host = h});
    assert_int_equal(ldr_op_step(op).kind, LDR_WANT_DONE);
    int64_t version;
    assert_int_equal(ldr_put_result(op, 0, &version)->code, LDR_UNSUPPORTED);
    assert_int_equal(counted(h, LDR_M_weak_failures), 0);
    ldr_op_end(op);
    house_free(h);
}

static void too_large_for_the_tiers_is_written_weakly(void **state)
{
    (void)state;
    char *big = big_text();
    house *h = house_new(&(house_options){.cache = {.l1_bytes = 64 << 10, .l1_shards = 1}, .write_pattern = LDR_WRITE_THROUGH});
    task *t = set_weakly(h, big);
    assert_int_equal(error_of(t), LDR_OK);
    give(t->spawned, NULL, 1);
    task_end(t);
    house_free(h);
    free(big);
}

/* ---- dropping ------------------------------------------------------------------------------------------------------------ */

static void changes_of_others_drop_what_is_older(void **state)
{
    (void)state;
    house *h = through();
    fill(h, "k", "v", 5);
    changed(h, "k", 5);
    holds(h, "k", "v"); /* it has that version already */
    changed(h, "k", 4);
    holds(h, "k", "v");
    assert_int_equal(counted(h, LDR_M_invalidations), 0);
    changed(h, "k", 6);
    holds(h, "k", NULL);
    fill(h, "k", "w", 7);
    changed(h, "k", 0); /* of no known version */
    holds(h, "k", NULL);
    assert_int_equal(counted(h, LDR_M_invalidations), 2);
    house_free(h);
}

static void drop_all_forgets_all(void **state)
{
    (void)state;
    house *h = through();
    fill(h, "a", "1", 1);
    fill(h, "b", "2", 2);
    task *t = ask(h, "c");
    ldr_drop_all(h->flow, LDR_CAUSE_ALL);
    give(t->spawned, "3", 3);
    assert_string_equal(value_of(t), "3");
    task_end(t);
    holds(h, "a", NULL);
    holds(h, "b", NULL);
    holds(h, "c", NULL);
    house_free(h);
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

/* Drives a write of two keys by hand under failing memory; gives the number of keys that the source was asked to write. */
static size_t write_two(house *h, ldr_op *op)
{
    ldr_want want = ldr_op_step(op);
    ldr_op *tail = NULL;
    size_t n = 0;
    if (want.kind == LDR_WANT_SPAWN) {
        tail = want.op;
        want = ldr_op_step(tail);
        ldr_op_step(op);
    }
    if (want.kind == LDR_WANT_JOB) {
        n = want.request->n_items;
        for (size_t i = 0; i < n; i++)
            want.request->items[i]->state = LDR_FOUND, want.request->items[i]->version = 9;
        want = ldr_op_step(tail ? tail : op);
    }
    assert_int_equal(want.kind, LDR_WANT_DONE);
    ldr_op_end(tail);
    (void)h;
    return n;
}

static bool sweep(house *h, const ldr_writing *w, long n)
{
    h->mem.fail_at = h->mem.n_calls + n;
    ldr_op *op = ldr_put_begin(h->flow, w, &(ldr_owner){.host = h});
    if (op) {
        size_t written = write_two(h, op), fine = 0;
        for (size_t i = 0; i < 2; i++) {
            int64_t version;
            int code = ldr_put_result(op, i, &version)->code;
            assert_true(code == LDR_OK || code == LDR_NOMEM);
            fine += code == LDR_OK;
        }
        assert_true(w->level == LDR_WEAK || written == fine); /* who is told "no memory" wrote nothing */
        ldr_op_end(op);
    }
    bool all = h->mem.n_calls < h->mem.fail_at;
    h->mem.fail_at = 0;
    return all;
}

static void no_memory_is_an_error_without_effect(void **state)
{
    (void)state;
    ldr_slice keys[] = {ldr_slice_str("a"), ldr_slice_str("b")}, values[] = {ldr_slice_str("1"), ldr_slice_str("2")};
    int kinds[] = {LDR_STRING, LDR_STRING};
    for (int level = LDR_EVENTUAL; level <= LDR_WEAK; level++) {
        for (long n = 1;; n++) {
            assert_true(n < 60);
            house *h = through();
            ldr_writing w = plain;
            w.verb = LDR_STORE;
            w.keys = keys, w.values = values, w.kinds = kinds, w.n_keys = 2;
            w.level = level;
            bool all = sweep(h, &w, n);
            task *t = set(h, "a", "again");
            give(t, NULL, 10);
            done(t);
            holds(h, "a", "again");
            house_free(h);
            if (all)
                break;
        }
    }
}

/* A look that cannot be made is no proof that nothing is there. */
static void no_memory_to_look_is_no_leave_to_write(void **state)
{
    (void)state;
    for (long n = 1; n < 20; n++) {
        house *h = aside();
        done(set(h, "k", "v"));
        ldr_slice key = ldr_slice_str("k"), value = ldr_slice_str("w");
        int kind = LDR_STRING;
        int64_t version;
        ldr_err err;
        ldr_writing w = plain;
        w.verb = LDR_STORE;
        w.if_version = LDR_MUST_BE_ABSENT;
        w.keys = &key, w.values = &value, w.kinds = &kind, w.n_keys = 1;
        h->mem.fail_at = h->mem.n_calls + n;
        int code = ldr_put_now(h->flow, &w, &version, &err);
        assert_true(code == LDR_CONFLICT || code == LDR_NOMEM);
        bool all = h->mem.n_calls < h->mem.fail_at;
        h->mem.fail_at = 0;
        holds(h, "k", "v");
        house_free(h);
        if (all)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache_aside_writes_the_tiers),
        cmocka_unit_test(put_now_does_the_same),
        cmocka_unit_test(if_version_is_looked_at),
        cmocka_unit_test(a_given_version_rises),
        cmocka_unit_test(a_set_is_newer_than_what_a_loader_gave),
        cmocka_unit_test(a_set_over_a_versioned_source_stands_until_a_load),
        cmocka_unit_test(ttl_nothing_takes_away),
        cmocka_unit_test(what_fits_nowhere_is_too_large),
        cmocka_unit_test(raw_refuses_tables),
        cmocka_unit_test(without_a_shelf_a_set_is_a_set_of_nothing),
        cmocka_unit_test(write_through_keeps_the_new_version),
        cmocka_unit_test(the_row_that_came_back_is_kept),
        cmocka_unit_test(age_counts_from_before_the_source_answered),
        cmocka_unit_test(write_around_forgets),
        cmocka_unit_test(errors_without_effect_change_nothing),
        cmocka_unit_test(a_lost_write_makes_the_tiers_forget),
        cmocka_unit_test(a_conflict_makes_the_tiers_forget_what_lost),
        cmocka_unit_test(a_dropped_write_makes_the_tiers_forget),
        cmocka_unit_test(unsupported_verbs),
        cmocka_unit_test(a_ttl_function_is_asked_for_what_was_written),
        cmocka_unit_test(versions_decide_between_writers),
        cmocka_unit_test(overlapping_writes_without_versions_are_forgotten),
        cmocka_unit_test(an_invalidation_meets_a_write),
        cmocka_unit_test(a_weak_write_answers_at_once),
        cmocka_unit_test(a_weak_write_that_fails_is_counted_and_forgotten),
        cmocka_unit_test(the_second_weak_write_stands),
        cmocka_unit_test(no_load_fills_behind_a_weak_write),
        cmocka_unit_test(a_weak_write_that_is_dropped_ends_its_mark),
        cmocka_unit_test(what_no_codec_keeps_is_not_written_weakly),
        cmocka_unit_test(too_large_for_the_tiers_is_written_weakly),
        cmocka_unit_test(changes_of_others_drop_what_is_older),
        cmocka_unit_test(drop_all_forgets_all),
        cmocka_unit_test(no_memory_is_an_error_without_effect),
        cmocka_unit_test(no_memory_to_look_is_no_leave_to_write),
    };
    return cmocka_run_group_tests_name("put", tests, NULL, NULL);
}
