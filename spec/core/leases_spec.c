/* leases_spec.c - the leases that are held here are renewed in time and not for ever; who waits is woken, and after it left
 * no more. */
#include "l2/leases.h"

#include "base/clock.h"
#include "bed.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#define SEC (int64_t)LDR_SEC
#define TTL (4 * SEC)

static int setup(void **state)
{
    *state = ldr_leases_new(&ldr_mem_system);
    return *state == NULL;
}

static int teardown(void **state)
{
    ldr_leases_free(*state);
    return 0;
}

static ldr_lease lease_of(const char *key, int64_t since_us)
{
    return (ldr_lease){.key = ldr_slice_str(key), .hash = 1, .token = 9, .ttl_us = TTL, .since_us = since_us,
                       .until_us = since_us + TTL};
}

static void a_lease_is_due_at_half_its_time(void **state)
{
    char room[64];
    ldr_lease a = lease_of("a", 0), out[2];
    assert_true(ldr_leases_due(*state) == LDR_NEVER);
    ldr_lease_begin(*state, &a);
    assert_true(ldr_leases_due(*state) == TTL / 2);
    assert_int_equal(ldr_leases_take_due(*state, TTL / 2 - 1, out, 2, room, sizeof room), 0);
    assert_int_equal(ldr_leases_take_due(*state, TTL / 2, out, 2, room, sizeof room), 1);
    assert_true(ldr_slice_eq(out[0].key, a.key) && out[0].key.p == room && out[0].token == 9 && out[0].ttl_us == TTL);
    assert_true(ldr_leases_due(*state) == TTL);
    ldr_lease_end(*state, &a);
    ldr_lease_end(*state, &a);
    assert_int_equal(ldr_leases_take_due(*state, 10 * SEC, out, 2, room, sizeof room), 0);
    assert_true(ldr_leases_due(*state) == LDR_NEVER);
    ldr_lease never_begun = {0};
    ldr_lease_end(*state, &never_begun);
}

static void a_lease_lives_a_minute_at_most(void **state)
{
    char room[8];
    ldr_lease a = lease_of("a", 5 * SEC), out;
    int64_t at, end = 0;
    int n = 0;
    ldr_lease_begin(*state, &a);
    while ((at = ldr_leases_due(*state)) != LDR_NEVER) {
        assert_true(n++ < 100);
        assert_true(at < 5 * SEC + LDR_LEASE_MOST_US);
        assert_int_equal(ldr_leases_take_due(*state, at, &out, 1, room, sizeof room), 1);
        end = at + out.ttl_us;
    }
    assert_true(end == 5 * SEC + LDR_LEASE_MOST_US && a.until_us == end);
    ldr_lease_end(*state, &a);
}

static void what_does_not_fit_stays_due(void **state)
{
    char room[4];
    ldr_lease leases[3] = {lease_of("aaa", 0), lease_of("bbb", 0), lease_of("cc", 0)}, out[3];
    for (int i = 0; i < 3; i++)
        ldr_lease_begin(*state, &leases[i]);
    assert_int_equal(ldr_leases_take_due(*state, 2 * SEC, out, 3, room, sizeof room), 1);
    assert_true(ldr_leases_due(*state) <= 2 * SEC);
    assert_int_equal(ldr_leases_take_due(*state, 2 * SEC, out, 3, room, sizeof room), 1);
    assert_true(ldr_slice_eq(out[0].key, ldr_slice_str("bbb")));
    assert_int_equal(ldr_leases_take_due(*state, 2 * SEC, out, 0, room, sizeof room), 0);
    assert_int_equal(ldr_leases_take_due(*state, 2 * SEC, out, 3, room, sizeof room), 1);
    assert_true(ldr_leases_due(*state) == 4 * SEC);
    for (int i = 0; i < 3; i++)
        ldr_lease_end(*state, &leases[i]);
}

static void count(void *ctx)
{
    ++*(int *)ctx;
}

static void who_renews_is_told_only_of_what_is_earlier(void **state)
{
    int n = 0;
    ldr_leases_on_change(*state, count, &n);
    for (int i = 0; i < 100; i++) {
        ldr_lease a = lease_of("a", i);
        ldr_lease_begin(*state, &a);
        ldr_lease_end(*state, &a);
    }
    assert_int_equal(n, 1);
    ldr_lease b = lease_of("b", 0);
    b.ttl_us = b.until_us = SEC;
    ldr_lease_begin(*state, &b);
    assert_int_equal(n, 2);
    assert_true(ldr_leases_due(*state) == SEC / 2);
    ldr_lease_end(*state, &b);
}

static void woken(void *ctx, uint64_t id)
{
    *(atomic_int *)ctx += (int)id;
}

static void who_waits_for_a_key_is_woken(void **state)
{
    atomic_int n = 0;
    ldr_lease_wait a = {.hash = 5, .wake = woken, .ctx = &n, .id = 1}, b = {.hash = 5, .wake = woken, .ctx = &n, .id = 10},
                   c = {.hash = 5 + 64, .wake = woken, .ctx = &n, .id = 100}, never_begun = {0};
    ldr_lease_wait_begin(*state, &a);
    ldr_lease_wait_begin(*state, &b);
    ldr_lease_wait_begin(*state, &c);
    ldr_leases_wake(*state, 5);
    assert_int_equal(n, 11);
    ldr_lease_wait_end(*state, &a);
    ldr_lease_wait_end(*state, &a);
    ldr_lease_wait_end(*state, &never_begun);
    ldr_leases_wake_all(*state);
    assert_int_equal(n, 121);
    ldr_lease_wait_end(*state, &b);
    ldr_lease_wait_end(*state, &c);
    ldr_leases_wake_all(*state);
    assert_int_equal(n, 121);
}

static void a_child_forgets_the_parents(void **state)
{
    ldr_lease a = lease_of("a", 0);
    ldr_lease_wait w = {.hash = 5, .wake = woken};
    ldr_lease_begin(*state, &a);
    ldr_lease_wait_begin(*state, &w);
    ldr_leases_forked(*state);
    assert_true(ldr_leases_due(*state) == LDR_NEVER);
    ldr_leases_wake_all(*state);
}

static void *load(void *l)
{
    atomic_int n = 0;
    for (int i = 0; i < 2000; i++) {
        ldr_lease a = lease_of("key", i);
        ldr_lease_wait w = {.hash = (uint64_t)i % 3, .wake = woken, .ctx = &n, .id = 1};
        ldr_lease_begin(l, &a);
        ldr_lease_wait_begin(l, &w);
        ldr_leases_wake(l, (uint64_t)i % 3);
        ldr_lease_wait_end(l, &w);
        ldr_lease_end(l, &a);
    }
    return (void *)(intptr_t)(n >= 2000);
}

static void *renew(void *l)
{
    char room[256];
    ldr_lease out[8];
    for (int64_t now = 0; now < 2000; now++) {
        if (ldr_leases_due(l) <= now + 2 * SEC)
            ldr_leases_take_due(l, now + 2 * SEC, out, 8, room, sizeof room);
        ldr_leases_wake_all(l);
    }
    return (void *)1;
}

static void threads_do_not_meet(void **state)
{
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, i < 2 ? load : renew, *state), 0);
    for (int i = 0; i < 3; i++) {
        void *ok;
        pthread_join(t[i], &ok);
        assert_non_null(ok);
    }
    assert_null(ldr_leases_new(&(ldr_mem){.realloc = bed_realloc, .ctx = &(bed_mem){.fail_at = 1}}));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_lease_is_due_at_half_its_time),
        T(a_lease_lives_a_minute_at_most),
        T(what_does_not_fit_stays_due),
        T(who_renews_is_told_only_of_what_is_earlier),
        T(who_waits_for_a_key_is_woken),
        T(a_child_forgets_the_parents),
        T(threads_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
