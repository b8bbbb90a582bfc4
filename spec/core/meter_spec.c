/* meter_spec.c - sums lose nothing, whatever thread counts; quantiles stay within an eighth of a sorted list's. */
#include "meter/meter.h"

#include "bed.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    *state = ldr_meter_new(&ldr_mem_system);
    return *state == NULL;
}

static int teardown(void **state)
{
    ldr_meter_free(*state, &ldr_mem_system);
    return 0;
}

#define N_THREADS 4

static void *count(void *m)
{
    for (int i = 0; i < 10000; i++) {
        ldr_meter_add(m, LDR_M_hits_l1, 1);
        ldr_meter_add(m, LDR_M_events_dropped, 3);
        ldr_meter_note(m, LDR_LAT_get, i, 2);
    }
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    pthread_t t[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, count, *state), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(ldr_meter_sum(*state, LDR_M_hits_l1), N_THREADS * 10000);
    assert_int_equal(ldr_meter_sum(*state, LDR_M_events_dropped), N_THREADS * 30000);
    assert_int_equal(ldr_meter_quantiles(*state, LDR_LAT_get, NULL, NULL, 0), N_THREADS * 20000);
    for (int i = 0; i < LDR_N_METRICS; i++)
        if (i != LDR_M_hits_l1 && i != LDR_M_events_dropped)
            assert_int_equal(ldr_meter_sum(*state, i), 0);
}

static int64_t quantile(void *m, double q)
{
    int64_t ns = -1;
    ldr_meter_quantiles(m, LDR_LAT_load, &q, &ns, 1);
    return ns;
}

static void nothing_noted_is_nothing(void **state)
{
    assert_int_equal(quantile(*state, 0.5), 0);
    assert_int_equal(quantile(*state, 1), 0);
    assert_int_equal(ldr_meter_quantiles(*state, LDR_LAT_load, NULL, NULL, 0), 0);
}

/* The edge given is never below the value and at most an eighth above it. */
static void check_edge(int64_t value)
{
    ldr_meter *m = ldr_meter_new(&ldr_mem_system);
    ldr_meter_note(m, LDR_LAT_load, value, 1);
    int64_t got = quantile(m, 0.5);
    assert_true(got >= value);
    if (value < (int64_t)1 << 61)
        assert_true(got - value <= value / 8);
    assert_int_equal(quantile(m, 0), got);
    assert_int_equal(quantile(m, 1), got);
    ldr_meter_free(m, &ldr_mem_system);
}

static void every_octave_has_its_edges(void **state)
{
    (void)state;
    for (int64_t v = 0; v < 300; v++)
        check_edge(v);
    for (int bit = 3; bit < 63; bit++) {
        check_edge(((int64_t)1 << bit) - 1);
        check_edge((int64_t)1 << bit);
        check_edge(((int64_t)1 << bit) + 1);
    }
    check_edge(INT64_MAX);
}

static void below_zero_counts_as_zero(void **state)
{
    ldr_meter_note(*state, LDR_LAT_load, -5, 1);
    ldr_meter_note(*state, LDR_LAT_load, INT64_MIN, 1);
    assert_int_equal(quantile(*state, 0.5), 0);
    assert_int_equal(ldr_meter_quantiles(*state, LDR_LAT_load, NULL, NULL, 0), 2);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_are_a_sorted_lists(void **state)
{
    static const double q[] = {0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1};
    enum { N = 20000, NQ = sizeof q / sizeof *q };
    static int64_t all[N];
    ldr_rng rng = bed_rng("quantiles");
    for (int i = 0; i < N; i++) {
        all[i] = (int64_t)(ldr_rng_next(&rng) >> (1 + ldr_rng_next(&rng) % 62));
        ldr_meter_note(*state, LDR_LAT_load, all[i], 1);
    }
    qsort(all, N, sizeof *all, by_size);
    int64_t got[NQ];
    assert_int_equal(ldr_meter_quantiles(*state, LDR_LAT_load, q, got, NQ), N);
    for (size_t i = 0; i < NQ; i++) {
        int64_t true_one = all[(size_t)(q[i] * N) < N ? (size_t)(q[i] * N) : N - 1];
        assert_true(got[i] >= true_one);
        if (true_one < (int64_t)1 << 61)
            assert_true(got[i] - true_one <= true_one / 8);
    }
}

static void a_weight_stands_for_so_many(void **state)
{
    ldr_meter_note(*state, LDR_LAT_load, 1, 99);
    ldr_meter_note(*state, LDR_LAT_load, 1000, 1);
    assert_int_equal(quantile(*state, 0.98), 1);
    assert_in_range(quantile(*state, 0.99), 1000, 1125);
}

static void every_counter_has_a_name_and_help(void **state)
{
    (void)state;
    assert_string_equal(ldr_metric_name(LDR_M_hits_l1), "hits_l1");
    for (int i = 0; i < LDR_N_METRICS; i++) {
        assert_true(strlen(ldr_metric_name(i)) > 0);
        assert_true(strlen(ldr_metric_help(i)) > 10);
    }
}

static void no_memory_is_null(void **state)
{
    (void)state;
    bed_mem m;
    assert_null(ldr_meter_new(bed_mem_init(&m, 1)));
    ldr_meter_free(NULL, &m.mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(threads_lose_no_count, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_noted_is_nothing, setup, teardown),
        cmocka_unit_test(every_octave_has_its_edges),
        cmocka_unit_test_setup_teardown(below_zero_counts_as_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(quantiles_are_a_sorted_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(a_weight_stands_for_so_many, setup, teardown),
        cmocka_unit_test(every_counter_has_a_name_and_help),
        cmocka_unit_test(no_memory_is_null),
    };
    return cmocka_run_group_tests_name("meter", tests, NULL, NULL);
}
