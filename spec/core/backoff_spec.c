/* backoff_spec.c - a failed key waits 1 s, doubling to 30 s, until it works; keys of one place forget each other. */
#include "guard/backoff.h"

#include "bed.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SEC 1000000
#define PLACES 1024

static int setup(void **state)
{
    *state = ldr_backoff_new(&ldr_mem_system);
    return *state == NULL;
}

static int teardown(void **state)
{
    ldr_backoff_free(*state, &ldr_mem_system);
    return 0;
}

static void it_doubles_to_thirty_seconds(void **state)
{
    static const int64_t seconds[] = {1, 2, 4, 8, 16, 30, 30, 30};
    int64_t now = 5;
    assert_false(ldr_backoff_waits(*state, 7, now));
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        ldr_backoff_failed(*state, 7, now);
        assert_true(ldr_backoff_waits(*state, 7, now));
        now += seconds[i] * SEC;
        assert_true(ldr_backoff_waits(*state, 7, now - 1));
        assert_false(ldr_backoff_waits(*state, 7, now));
    }
    ldr_backoff_worked(*state, 7);
    assert_false(ldr_backoff_waits(*state, 7, now));
    ldr_backoff_failed(*state, 7, now);
    assert_false(ldr_backoff_waits(*state, 7, now + SEC));
}

static void keys_keep_apart(void **state)
{
    ldr_backoff_failed(*state, 7, 0);
    assert_false(ldr_backoff_waits(*state, 8, 0));
    assert_false(ldr_backoff_waits(*state, 7 + PLACES, 0));
    ldr_backoff_worked(*state, 7 + PLACES);
    assert_true(ldr_backoff_waits(*state, 7, 0));
    ldr_backoff_failed(*state, 7 + PLACES, 0); /* takes the place */
    assert_false(ldr_backoff_waits(*state, 7, 0));
    assert_true(ldr_backoff_waits(*state, 7 + PLACES, 0));
    ldr_backoff_worked(*state, 7);
    assert_true(ldr_backoff_waits(*state, 7 + PLACES, 0));
    ldr_backoff_failed(*state, 0, 0); /* a hash of 0 is a hash */
    assert_true(ldr_backoff_waits(*state, 0, 0));
}

static void *hammer(void *b)
{
    for (uint64_t i = 0; i < 20000; i++) {
        ldr_backoff_failed(b, i % 100, 0);
        ldr_backoff_waits(b, i % 100, 0);
        ldr_backoff_worked(b, i % 100);
    }
    return NULL;
}

static void threads_leave_nothing_behind(void **state)
{
    pthread_t t[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, *state), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    for (uint64_t i = 0; i < 100; i++) {
        ldr_backoff_worked(*state, i);
        assert_false(ldr_backoff_waits(*state, i, 0));
    }
}

static void no_memory_is_null(void **state)
{
    (void)state;
    bed_mem m;
    assert_null(ldr_backoff_new(bed_mem_init(&m, 1)));
    ldr_backoff_free(NULL, &m.mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_doubles_to_thirty_seconds, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_keep_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_leave_nothing_behind, setup, teardown),
        cmocka_unit_test(no_memory_is_null),
    };
    return cmocka_run_group_tests_name("backoff", tests, NULL, NULL);
}
