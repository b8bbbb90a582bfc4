/* changes_spec.c - a change table and the mark in Redis: what other programs changed is dropped there however long nobody
 * looked, and the mark says no more than that. The source is made up here, and so is the server. */
#include "tend_server.h"

#include "upkeep/changes.h"

/* Rows oldest ... newest; the row n is of key "item:n". At most `most` are told at a time. */
typedef struct table {
    ldr_source source;
    int64_t oldest, newest, most;
    int code;
    ldr_changes changes;
} table;

static void run(ldr_source *source, ldr_request *r)
{
    table *t = (table *)source;
    char key[32];
    if (t->code) {
        r->err.code = t->code;
        return;
    }
    if (r->mark == LDR_UNSET)
        r->mark = t->newest;
    if (r->mark > t->newest || (r->mark < t->newest && t->oldest > r->mark + 1)) {
        r->flood(r->ctx, "gap");
        r->mark = t->newest;
    }
    for (int64_t n = 0; r->mark < t->newest && n < t->most; n++) {
        snprintf(key, sizeof key, "item:%lld", (long long)++r->mark);
        r->changed(r->ctx, ldr_slice_str(key), r->mark);
    }
}

static void follow(server *s, table *t, int64_t oldest, int64_t newest)
{
    static const ldr_source_ops ops = {.name = "table", .run = run};
    ldr_err err;
    *t = (table){.source = {.ops = &ops}, .oldest = oldest, .newest = newest, .most = 1000};
    t->changes.flow = &s->b.flow;
    s->b.flow.source = &t->source;
    assert_int_equal(ldr_changes_begin(&t->changes, &err), LDR_OK);
}

/* So many seconds, with ten looks each. */
static void live(server *s, table *t, int seconds)
{
    for (int i = 0; i < seconds * 10; i++) {
        settle(s);
        ldr_changes_look(&t->changes);
        settle(s);
        pass(s, LDR_SEC / 10);
    }
}

static void what_changed_in_our_absence_is_dropped_there(void **state)
{
    server *s = *state;
    table t;
    s->mark = 90;
    follow(s, &t, 1, 100);
    settle(s);
    assert_int_equal(s->n_asked[SHA_DROP], 0);
    ldr_changes_look(&t.changes);
    settle(s);
    assert_int_equal(s->n_asked[SHA_DROP], 10);
    assert_string_equal(s->last_key, "ldr1:shop:item:100");
    assert_int_equal(s->mark, 90); /* comes with the next pulse */
    live(s, &t, 3);
    assert_int_equal(s->mark, 100);
    assert_int_equal(s->n_marks, 1);
    assert_int_equal(s->n_asked[SHA_DROP], 10);
    t.newest = 103;
    live(s, &t, 3);
    assert_int_equal(s->mark, 103);
    assert_int_equal(s->n_marks, 2);
    assert_int_equal(s->n_asked[SHA_DROP], 13);
}

static void a_long_absence_is_made_up_in_parts(void **state)
{
    server *s = *state;
    table t;
    s->mark = 50;
    follow(s, &t, 1, 100);
    t.most = 7;
    t.code = LDR_BUSY;
    live(s, &t, 2);
    assert_int_equal(s->mark, 50);
    t.code = LDR_OK;
    settle(s);
    ldr_changes_look(&t.changes);
    assert_int_equal(ldr_resend_count(s->b.flow.resend), 7);
    live(s, &t, 4);
    assert_int_equal(s->n_asked[SHA_DROP], 50);
    assert_int_equal(s->mark, 100);
}

static void without_a_mark_all_that_is_known_is_told(void **state)
{
    server *s = *state;
    table t;
    follow(s, &t, 1, 5);
    live(s, &t, 2);
    assert_int_equal(s->n_asked[SHA_DROP], 5);
    assert_int_equal(s->mark, 5);
    assert_int_equal(s->n_asked[SHA_DROP_ALL], 0);
}

static void what_cannot_be_told_any_more_forgets_all(void **state)
{
    server *s = *state;
    const struct {
        int64_t mark, oldest, newest;
    } cases[] = {{0, 2, 5}, {90, 92, 100}, {90, 101, 100}, {90, 1, 80}, {90, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        table t;
        s->mark = cases[i].mark;
        follow(s, &t, cases[i].oldest, cases[i].newest);
        live(s, &t, 3);
        assert_int_equal(s->n_asked[SHA_DROP_ALL], 1);
        assert_int_equal(s->n_asked[SHA_DROP], 0);
        assert_int_equal(s->mark, cases[i].newest);
        teardown(state);
        setup(state);
    }
}

static void while_the_server_is_away_nothing_is_said(void **state)
{
    server *s = *state;
    table t;
    s->mark = 90;
    s->is_down = true;
    follow(s, &t, 1, 100);
    live(s, &t, 2);
    t.newest = 102;
    live(s, &t, 2);
    assert_int_equal(ldr_resend_count(s->b.flow.resend), 2);
    s->is_down = false;
    s->error = "READONLY no";
    live(s, &t, 2);
    assert_int_equal(ldr_resend_count(s->b.flow.resend), 12);
    assert_int_equal(s->mark, 90);
    s->error = NULL;
    live(s, &t, 3);
    assert_int_equal(s->mark, 102);
}

static void fall_back(server *s)
{
    s->sequence = 0;
    s->mark = 40;
}

static void a_mark_is_not_said_before_an_emptied_server_has_forgotten(void **state)
{
    server *s = *state;
    table t;
    s->sequence = 9;
    follow(s, &t, 1, 100);
    live(s, &t, 3);
    assert_int_equal(s->mark, 100);
    fall_back(s); /* an old copy */
    s->error = "READONLY no";
    live(s, &t, 3);
    assert_int_equal(s->mark, 40);
    s->error = NULL;
    live(s, &t, 3);
    assert_int_equal(s->n_asked[SHA_DROP_ALL], 1);
    assert_int_equal(s->mark, 100);
}

static void others_are_not_held_back_by_who_is_behind(void **state)
{
    server *s = *state;
    table t;
    s->mark = 100;
    follow(s, &t, 1, 100);
    live(s, &t, 2);
    s->mark = 120; /* of somebody whose look was later */
    t.newest = 110;
    live(s, &t, 3);
    assert_int_equal(s->n_marks, 1);
    s->mark = 120;
    live(s, &t, 5);
    assert_int_equal(s->n_marks, 1);
    t.newest = 130;
    live(s, &t, 2);
    assert_int_equal(s->mark, 130);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_changed_in_our_absence_is_dropped_there),
        T(a_long_absence_is_made_up_in_parts),
        T(without_a_mark_all_that_is_known_is_told),
        T(what_cannot_be_told_any_more_forgets_all),
        T(while_the_server_is_away_nothing_is_said),
        T(a_mark_is_not_said_before_an_emptied_server_has_forgotten),
        T(others_are_not_held_back_by_who_is_behind),
    };
    return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
