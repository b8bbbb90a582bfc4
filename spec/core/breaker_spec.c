/* breaker_spec.c - one try after a failure, at the time that was said, by one caller; the back-off doubles to its limit. */
#include "guard/breaker.h"

#include "bed.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FIRST 100
#define MOST 500

static int setup(void **state)
{
    static ldr_breaker b;
    ldr_breaker_init(&b, FIRST, MOST);
    *state = &b;
    return 0;
}

static void a_closed_one_admits_all(void **state)
{
    ldr_breaker *b = *state;
    for (int64_t now = 0; now < 10; now++)
        assert_true(ldr_breaker_admits(b, now));
    ldr_breaker_worked(b);
    assert_false(ldr_breaker_is_open(b));
}

static void a_failure_keeps_all_off_until_the_back_off_passed(void **state)
{
    ldr_breaker *b = *state;
    ldr_breaker_failed(b, 1000);
    assert_true(ldr_breaker_is_open(b));
    assert_false(ldr_breaker_admits(b, 1000));
    assert_false(ldr_breaker_admits(b, 1000 + FIRST - 1));
    assert_true(ldr_breaker_admits(b, 1000 + FIRST));
}

static void one_tries_and_no_other(void **state)
{
    ldr_breaker *b = *state;
    ldr_breaker_failed(b, 0);
    assert_true(ldr_breaker_admits(b, FIRST));
    assert_false(ldr_breaker_admits(b, FIRST));
    assert_false(ldr_breaker_admits(b, 10 * FIRST));
    ldr_breaker_worked(b);
    assert_false(ldr_breaker_is_open(b));
    assert_true(ldr_breaker_admits(b, FIRST));
    assert_true(ldr_breaker_admits(b, FIRST));
}

static void the_back_off_doubles_to_its_limit(void **state)
{
    ldr_breaker *b = *state;
    static const int64_t waits[] = {100, 200, 400, 500, 500, 500};
    int64_t now = 0;
    ldr_breaker_failed(b, now);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        assert_false(ldr_breaker_admits(b, now + waits[i] - 1));
        now += waits[i];
        assert_true(ldr_breaker_admits(b, now));
        ldr_breaker_failed(b, now);
    }
}

static void health_forgets_the_back_off(void **state)
{
    ldr_breaker *b = *state;
    for (int64_t now = 0; now <= 3000; now += 1000) {
        ldr_breaker_failed(b, now);
        assert_true(ldr_breaker_admits(b, now + 500));
    }
    ldr_breaker_worked(b);
    ldr_breaker_failed(b, 5000);
    assert_true(ldr_breaker_admits(b, 5000 + FIRST));
}

/* Eight were under way when the server went. */
static void one_outage_counts_once(void **state)
{
    ldr_breaker *b = *state;
    for (int64_t now = 0; now < 8; now++)
        ldr_breaker_failed(b, now);
    assert_true(ldr_breaker_admits(b, FIRST));
}

static void a_limit_that_is_no_power_of_two_is_kept_with_huge_numbers(void **state)
{
    ldr_breaker *b = *state;
    ldr_breaker_init(b, INT64_MAX / 2, INT64_MAX - 5);
    ldr_breaker_failed(b, 10);
    assert_true(ldr_breaker_admits(b, INT64_MAX / 2 + 10));
    ldr_breaker_failed(b, INT64_MAX / 2 + 10);
    assert_false(ldr_breaker_admits(b, INT64_MAX - 1));
    assert_true(ldr_breaker_is_open(b));
}

#define THREADS 4

typedef struct many {
    ldr_breaker b;
    _Atomic int64_t now;
} many;

/* Tries whenever it may, and now and then that works. */
static void *try_often(void *arg)
{
    many *m = arg;
    for (long i = 0, n = bed_times(20000, 1000000); i < n; i++) {
        int64_t now = atomic_fetch_add(&m->now, 7);
        bool was_open = ldr_breaker_is_open(&m->b);
        if (!ldr_breaker_admits(&m->b, now))
            continue;
        if (was_open && i % 4 == 0)
            ldr_breaker_worked(&m->b);
        else
            ldr_breaker_failed(&m->b, now);
    }
    return NULL;
}

/* Whatever they did: it can be closed, and it can be opened. */
static void many_threads_leave_it_whole(void **state)
{
    (void)state;
    many m = {.now = 1};
    pthread_t threads[THREADS];
    ldr_breaker_init(&m.b, FIRST, MOST);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, try_often, &m), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    int64_t later = m.now + 10 * MOST;
    assert_true(ldr_breaker_admits(&m.b, later));
    ldr_breaker_worked(&m.b);
    assert_true(ldr_breaker_admits(&m.b, later));
    ldr_breaker_failed(&m.b, later);
    assert_false(ldr_breaker_admits(&m.b, later));
    assert_true(ldr_breaker_admits(&m.b, later + FIRST));
    assert_false(ldr_breaker_admits(&m.b, later + FIRST));
}

#define ON_BREAKER(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BREAKER(a_closed_one_admits_all),
        ON_BREAKER(a_failure_keeps_all_off_until_the_back_off_passed),
        ON_BREAKER(one_tries_and_no_other),
        ON_BREAKER(the_back_off_doubles_to_its_limit),
        ON_BREAKER(health_forgets_the_back_off),
        ON_BREAKER(one_outage_counts_once),
        ON_BREAKER(a_limit_that_is_no_power_of_two_is_kept_with_huge_numbers),
        ON_BREAKER(many_threads_leave_it_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
