/* resend_spec.c - what Redis must forget and did not confirm: nothing that was added is lost before it was confirmed, in no
 * order of adding, sending and confirming; bounded, and right without memory. */
#include "l2/resend.h"

#include "bed.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void add(ldr_resend *r, const char *key, int64_t version)
{
    ldr_resend_add(r, ldr_slice_str(key), version);
}

static void done(ldr_resend *r, const char *key, int64_t version)
{
    ldr_resend_done(r, ldr_slice_str(key), version);
}

static void check_next(ldr_resend *r, const char *key, int64_t version)
{
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    int64_t v = -1;
    assert_true(ldr_resend_next(r, &b, &v));
    assert_true(ldr_slice_eq(ldr_buf_slice(&b), ldr_slice_str(key)));
    assert_int_equal(v, version);
    ldr_buf_free(&b);
}

static void check_empty(ldr_resend *r)
{
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    int64_t v;
    assert_false(ldr_resend_next(r, &b, &v));
    assert_false(ldr_resend_any(r));
    assert_int_equal(ldr_resend_count(r), 0);
    ldr_buf_free(&b);
}

static void keys_come_in_turn_until_confirmed(void **state)
{
    (void)state;
    ldr_resend *r = ldr_resend_new(&ldr_mem_system, 0, 0);
    check_empty(r);
    add(r, "a", 1);
    add(r, "b", 2);
    check_next(r, "a", 1);
    check_next(r, "b", 2);
    check_next(r, "a", 1);
    done(r, "a", 1);
    check_next(r, "b", 2);
    done(r, "b", 2);
    done(r, "b", 2);
    done(r, "never", 0);
    check_empty(r);
    ldr_resend_free(r);
    ldr_resend_free(NULL);
}

static void the_highest_version_counts_and_unknown_wins(void **state)
{
    (void)state;
    ldr_resend *r = ldr_resend_new(&ldr_mem_system, 0, 0);
    add(r, "a", 5);
    add(r, "a", 3);
    check_next(r, "a", 5);
    add(r, "a", 0);
    check_next(r, "a", 0);
    add(r, "a", 9);
    check_next(r, "a", 0);
    assert_int_equal(ldr_resend_count(r), 1);
    ldr_resend_free(r);
}

static void what_is_owed_is_known_until_it_is_confirmed(void **state)
{
    (void)state;
    ldr_slice a = ldr_slice_str("a"), b = ldr_slice_str("b");
    ldr_resend *r = ldr_resend_new(&ldr_mem_system, 0, 0);
    assert_int_equal(ldr_resend_owed(r, a), 0);
    add(r, "a", 7);
    assert_int_equal(ldr_resend_owed(r, a), 7);
    assert_int_equal(ldr_resend_owed(r, b), 0);
    add(r, "b", 0);
    assert_true(ldr_resend_owed(r, b) == INT64_MAX);
    check_next(r, "a", 7);
    assert_int_equal(ldr_resend_owed(r, a), 7);
    done(r, "a", 7);
    assert_int_equal(ldr_resend_owed(r, a), 0);
    ldr_resend_add_all(r);
    assert_true(ldr_resend_owed(r, a) == INT64_MAX && ldr_resend_all(r));
    ldr_resend_all_done(r);
    assert_int_equal(ldr_resend_owed(r, a) + ldr_resend_owed(r, b), 0);
    ldr_resend_free(r);
}

static void what_was_added_after_it_was_sent_stays(void **state)
{
    (void)state;
    ldr_resend *r = ldr_resend_new(&ldr_mem_system, 0, 0);
    add(r, "a", 5);
    check_next(r, "a", 5);
    add(r, "a", 7);
    done(r, "a", 5);
    check_next(r, "a", 7);
    done(r, "a", 7);
    check_empty(r);
    add(r, "b", 0);
    check_next(r, "b", 0);
    add(r, "b", 0); /* the same once more: what was sent says nothing of it */
    done(r, "b", 0);
    check_next(r, "b", 0);
    done(r, "b", 0);
    check_empty(r);
    ldr_resend_free(r);
}

static void beyond_its_room_all_is_to_be_forgotten(void **state)
{
    (void)state;
    ldr_resend *r = ldr_resend_new(&ldr_mem_system, 3, 0);
    add(r, "a", 1);
    add(r, "b", 1);
    add(r, "c", 1);
    add(r, "c", 2);
    assert_false(ldr_resend_all(r));
    add(r, "d", 1);
    assert_true(ldr_resend_all(r));
    assert_int_equal(ldr_resend_count(r), 0);
    ldr_resend_all_done(r);
    check_empty(r);
    ldr_resend_free(r);
    r = ldr_resend_new(&ldr_mem_system, 0, 4096);
    char big[5000];
    memset(big, 'x', sizeof big);
    ldr_resend_add(r, ldr_slice_of(big, sizeof big), 1);
    assert_true(ldr_resend_all(r));
    ldr_resend_free(r);
}

static void all_covers_what_was_there_when_it_was_asked(void **state)
{
    (void)state;
    ldr_resend *r = ldr_resend_new(&ldr_mem_system, 0, 0);
    add(r, "a", 1);
    ldr_resend_add_all(r);
    add(r, "b", 1); /* not sent yet: covered */
    assert_true(ldr_resend_all(r));
    add(r, "c", 1); /* sent already: not covered */
    ldr_resend_all_done(r);
    assert_false(ldr_resend_all(r));
    check_next(r, "c", 1);
    done(r, "c", 1);
    check_empty(r);
    ldr_resend_add_all(r);
    assert_true(ldr_resend_all(r));
    ldr_resend_add_all(r); /* once more meanwhile */
    ldr_resend_all_done(r);
    assert_true(ldr_resend_all(r));
    ldr_resend_all_done(r);
    check_empty(r);
    ldr_resend_free(r);
}

static void count_call(void *ctx)
{
    ++*(int *)ctx;
}

static void the_first_that_waits_is_told(void **state)
{
    (void)state;
    int n = 0;
    ldr_resend *r = ldr_resend_new(&ldr_mem_system, 0, 0);
    ldr_resend_on_change(r, count_call, &n);
    add(r, "a", 1);
    add(r, "b", 1);
    assert_int_equal(n, 1);
    done(r, "a", 1);
    check_next(r, "a", 1);
    check_next(r, "b", 1);
    done(r, "a", 1);
    done(r, "b", 1);
    ldr_resend_add_all(r);
    assert_int_equal(n, 2);
    ldr_resend_on_change(r, NULL, NULL);
    assert_true(ldr_resend_all(r));
    ldr_resend_all_done(r);
    add(r, "a", 1);
    assert_int_equal(n, 2);
    ldr_resend_free(r);
}

/* ---- against a model ------------------------------------------------------------------------------------------ */

#define N_KEYS 12

typedef struct model {
    ldr_resend *r;
    long owed[N_KEYS]; /* number of the last addition of it; 0: Redis knows */
    long n_added;
} model;

static bool holds(ldr_resend *r, int key)
{
    bool found = false;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    int64_t v;
    for (size_t n = ldr_resend_count(r); n > 0 && !found; n--)
        found = ldr_resend_next(r, &b, &v) && b.n == 1 && b.p[0] == 'a' + key;
    ldr_buf_free(&b);
    return found;
}

static void confirm(model *m, long until, int only)
{
    for (int k = 0; k < N_KEYS; k++)
        if ((only < 0 || only == k) && m->owed[k] <= until)
            m->owed[k] = 0;
}

static void nothing_owed_is_forgotten(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("resend");
    for (long round = bed_times(500, 50000); round > 0; round--) {
        model m = {.r = ldr_resend_new(&ldr_mem_system, 1 + ldr_rng_next(&rng) % N_KEYS, 0)};
        long sent = 0;      /* additions that the question under way covers */
        int flying = -1;    /* its key; -2: all; -1: none */
        int64_t version = 0;
        for (int step = 0; step < 80; step++) {
            uint64_t what = ldr_rng_next(&rng) % 8;
            int key = (int)(ldr_rng_next(&rng) % N_KEYS);
            char name[2] = {(char)('a' + key), 0};
            if (what < 4) {
                m.owed[key] = ++m.n_added;
                add(m.r, name, (int64_t)(ldr_rng_next(&rng) % 3));
            } else if (what == 4 && key == 0) {
                ldr_resend_add_all(m.r);
            } else if (flying == -1) {
                ldr_buf b = LDR_BUF(&ldr_mem_system);
                sent = m.n_added;
                flying = ldr_resend_all(m.r) ? -2 : ldr_resend_next(m.r, &b, &version) ? b.p[0] - 'a' : -1;
                ldr_buf_free(&b);
            } else if (ldr_rng_next(&rng) % 3 == 0) {
                flying = -1; /* it failed */
            } else {
                name[0] = (char)('a' + flying);
                confirm(&m, sent, flying == -2 ? -1 : flying);
                if (flying == -2)
                    ldr_resend_all_done(m.r);
                else
                    done(m.r, name, version);
                flying = -1;
            }
            for (int k = 0; k < N_KEYS && flying == -1; k++)
                if (m.owed[k] && !holds(m.r, k) && !ldr_resend_all(m.r))
                    fail_msg("key %c is owed and forgotten", 'a' + k);
        }
        ldr_resend_free(m.r);
    }
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static void without_memory_all_is_to_be_forgotten(void **state)
{
    (void)state;
    for (long at = 1; at < 400; at++) {
        bed_mem m;
        ldr_resend *r = ldr_resend_new(bed_mem_init(&m, at), 0, 0);
        if (!r) {
            assert_int_equal(at, 1);
            continue;
        }
        for (int i = 0; i < 200; i++) {
            char key[16];
            snprintf(key, sizeof key, "%d", i);
            add(r, key, 1);
        }
        bool all = ldr_resend_all(r);
        assert_true(all || ldr_resend_count(r) == 200);
        assert_true(all || at > 200);
        ldr_resend_free(r);
        assert_int_equal(m.n_alive, 0);
    }
}

static void *add_many(void *r)
{
    for (int i = 0; i < 2000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i % 300);
        add(r, key, i);
    }
    return NULL;
}

static void many_may_add(void **state)
{
    (void)state;
    ldr_resend *r = ldr_resend_new(&ldr_mem_system, 0, 0);
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    pthread_t t[2];
    int64_t version;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, add_many, r), 0);
    for (int i = 0; i < 2000; i++)
        if (ldr_resend_next(r, &b, &version))
            ldr_resend_done(r, ldr_buf_slice(&b), version);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    while (ldr_resend_next(r, &b, &version))
        ldr_resend_done(r, ldr_buf_slice(&b), version);
    check_empty(r);
    ldr_buf_free(&b);
    ldr_resend_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_in_turn_until_confirmed),
        cmocka_unit_test(the_highest_version_counts_and_unknown_wins),
        cmocka_unit_test(what_is_owed_is_known_until_it_is_confirmed),
        cmocka_unit_test(what_was_added_after_it_was_sent_stays),
        cmocka_unit_test(beyond_its_room_all_is_to_be_forgotten),
        cmocka_unit_test(all_covers_what_was_there_when_it_was_asked),
        cmocka_unit_test(the_first_that_waits_is_told),
        cmocka_unit_test(nothing_owed_is_forgotten),
        cmocka_unit_test(without_memory_all_is_to_be_forgotten),
        cmocka_unit_test(many_may_add),
    };
    return cmocka_run_group_tests_name("resend", tests, NULL, NULL);
}
