/* base_spec.c - the floor: memory, buffers, slices, lists, hash, clock, errors. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/list.h"
#include "bed.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- mem --------------------------------------------------------------------------------------------------- */

static void mem_gives_grows_and_frees(void **state)
{
    (void)state;
    char *p = ldr_mem_new(&ldr_mem_system, 3);
    memcpy(p, "abc", 3);
    p = ldr_mem_grow(&ldr_mem_system, p, 5000);
    assert_memory_equal(p, "abc", 3);
    ldr_mem_free(&ldr_mem_system, p);
    ldr_mem_free(&ldr_mem_system, NULL);
}

static void mem_of_no_size_is_not_out_of_memory(void **state)
{
    (void)state;
    void *p = ldr_mem_new(&ldr_mem_system, 0), *q = ldr_mem_zero(&ldr_mem_system, 0, 8);
    assert_non_null(p);
    assert_non_null(q);
    ldr_mem_free(&ldr_mem_system, p);
    ldr_mem_free(&ldr_mem_system, q);
}

static void mem_zero_is_zero(void **state)
{
    (void)state;
    unsigned char *p = ldr_mem_zero(&ldr_mem_system, 7, 9);
    for (int i = 0; i < 63; i++)
        assert_int_equal(p[i], 0);
    ldr_mem_free(&ldr_mem_system, p);
}

static void mem_refuses_sizes_that_overflow(void **state)
{
    (void)state;
    volatile size_t huge = SIZE_MAX;
    char keep[1] = "x";
    assert_null(ldr_mem_new(&ldr_mem_system, huge));
    assert_null(ldr_mem_zero(&ldr_mem_system, huge / 2, 3));
    assert_null(ldr_mem_zero(&ldr_mem_system, 1, huge));
    assert_null(ldr_mem_dup(&ldr_mem_system, keep, huge));
    assert_null(ldr_mem_grow(&ldr_mem_system, NULL, (size_t)PTRDIFF_MAX + 1));
}

static void mem_dup_ends_with_a_nul(void **state)
{
    (void)state;
    char *p = ldr_mem_dup(&ldr_mem_system, "a\0b", 3), *q = ldr_mem_dup(&ldr_mem_system, NULL, 0);
    assert_memory_equal(p, "a\0b\0", 4);
    assert_string_equal(q, "");
    ldr_mem_free(&ldr_mem_system, p);
    ldr_mem_free(&ldr_mem_system, q);
}

static void mem_that_fails_gives_null(void **state)
{
    (void)state;
    bed_mem bed;
    const ldr_mem *m = bed_mem_init(&bed, 1);
    assert_null(ldr_mem_new(m, 8));
    bed.fail_at = 2;
    assert_null(ldr_mem_zero(m, 1, 8));
    bed.fail_at = 3;
    assert_null(ldr_mem_dup(m, "a", 1));
    char *p = ldr_mem_dup(m, "a", 1);
    bed.fail_at = 5;
    assert_null(ldr_mem_grow(m, p, 100));
    assert_string_equal(p, "a");
    ldr_mem_free(m, p);
    assert_int_equal(bed.n_alive, 0);
}

/* ---- buf --------------------------------------------------------------------------------------------------- */

static void write_all(ldr_buf *b)
{
    ldr_buf_add(b, "ab", 2);
    ldr_buf_add(b, NULL, 0);
    ldr_buf_byte(b, 0xff);
    ldr_buf_str(b, "cd");
    ldr_buf_fmt(b, "%s=%d", "e", 5);
    ldr_buf_fmt(b, "%s", "");
    for (int i = 0; i < 1000; i++)
        ldr_buf_byte(b, (unsigned char)i);
}

static void buf_keeps_what_is_appended(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    write_all(&b);
    assert_false(b.oom);
    assert_int_equal(b.n, 1008);
    assert_memory_equal(b.p, "ab\xff" "cde=5\0\1\2", 11);
    assert_int_equal((unsigned char)b.p[1007], 999 % 256);
    assert_int_equal(ldr_buf_slice(&b).n, 1008);
    ldr_buf_clear(&b);
    assert_int_equal(b.n, 0);
    assert_true(b.cap >= 1008);
    ldr_buf_free(&b);
    ldr_buf_free(&b);
    assert_null(b.p);
}

static void buf_reserves_exactly_enough_or_more(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    assert_true(ldr_buf_reserve(&b, 0));
    for (size_t n = 1; n < 5000; n = n * 3 + 1) {
        assert_true(ldr_buf_reserve(&b, n));
        assert_true(b.cap - b.n >= n);
        memset(b.p + b.n, 'x', n);
        b.n += n;
    }
    ldr_buf_free(&b);
}

static void buf_reports_overflow_as_oom(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_buf_str(&b, "kept");
    assert_false(ldr_buf_reserve(&b, SIZE_MAX));
    assert_true(b.oom);
    ldr_buf_str(&b, "ignored");
    assert_int_equal(b.n, 4);
    ldr_buf_clear(&b);
    assert_false(b.oom);
    ldr_buf_byte(&b, 'x');
    assert_false(ldr_buf_reserve(&b, PTRDIFF_MAX));
    ldr_buf_free(&b);
}

static void buf_survives_each_failed_growth(void **state)
{
    (void)state;
    for (long n = 1;; n++) {
        bed_mem bed;
        ldr_buf b = LDR_BUF(bed_mem_init(&bed, n));
        write_all(&b);
        bool reached = bed.n_calls >= n;
        assert_int_equal(b.oom, reached);
        assert_true(reached ? b.n < 1008 : b.n == 1008);
        ldr_buf_free(&b);
        assert_int_equal(bed.n_alive, 0);
        if (!reached)
            break;
    }
}

/* ---- slices, lists ----------------------------------------------------------------------------------------- */

static void slices_compare_bytes(void **state)
{
    (void)state;
    assert_true(ldr_slice_eq(ldr_slice_str("a"), ldr_slice_of("ab", 1)));
    assert_false(ldr_slice_eq(ldr_slice_str("a"), ldr_slice_str("b")));
    assert_false(ldr_slice_eq(ldr_slice_str("a"), ldr_slice_str("ab")));
    assert_true(ldr_slice_eq(ldr_slice_of(NULL, 0), ldr_slice_str("")));
}

typedef struct member {
    int id;
    ldr_list node;
} member;

static void lists_keep_order_and_drop_twice(void **state)
{
    (void)state;
    ldr_list head;
    member m[3] = {{.id = 0}, {.id = 1}, {.id = 2}};
    ldr_list_init(&head);
    assert_true(ldr_list_empty(&head));
    for (int i = 0; i < 3; i++)
        ldr_list_push(&head, &m[i].node);
    ldr_list_drop(&m[1].node);
    ldr_list_drop(&m[1].node);
    assert_int_equal(ldr_list_of(head.next, member, node)->id, 0);
    assert_int_equal(ldr_list_of(head.prev, member, node)->id, 2);
    ldr_list_drop(&m[0].node);
    ldr_list_drop(&m[2].node);
    assert_true(ldr_list_empty(&head));
}

/* ---- hash -------------------------------------------------------------------------------------------------- */

static void hash_depends_on_bytes_and_seed(void **state)
{
    (void)state;
    ldr_slice a = ldr_slice_str("product:1"), b = ldr_slice_str("product:2");
    assert_true(ldr_hash(a, 1) == ldr_hash(ldr_slice_str("product:1"), 1));
    assert_true(ldr_hash(a, 1) != ldr_hash(b, 1));
    assert_true(ldr_hash(a, 1) != ldr_hash(a, 2));
    assert_true(ldr_hash(ldr_slice_of(NULL, 0), 0) == ldr_hash(ldr_slice_str(""), 0));
}

/* The figure of XXH3 for no bytes, 2D06800538D394C2, is in its own test vectors: bytes at rest depend on it. */
static void checksum_is_the_low_half_of_xxh3(void **state)
{
    (void)state;
    assert_true(ldr_hash(ldr_slice_str(""), 0) == UINT64_C(0x2D06800538D394C2));
    assert_true(ldr_checksum(ldr_slice_str("")) == 0x38D394C2u);
}

/* ---- clock ------------------------------------------------------------------------------------------------- */

/* A machine that is held up may hold up its tick, too: then, and only then, it lags more. */
static void coarse_lags_no_more_than_it_says(void **state)
{
    (void)state;
    ldr_clock c;
    int n_late = 0;
    ldr_clock_init(&c);
    assert_true(c.coarse_lag_us > LDR_MS);
    for (int i = 0; i < 20000; i++) {
        int64_t before = ldr_clock_now(&c), coarse = ldr_clock_coarse(&c), after = ldr_clock_now(&c);
        assert_true(coarse <= after);
        assert_true(before <= after);
        n_late += coarse + c.coarse_lag_us < before;
    }
    if (n_late > 0)
        print_message("# the coarse clock was held up in %d of 20000 looks\n", n_late);
    assert_true(n_late < 20000 / 2);
}

static void virtual_clock_moves_only_when_told(void **state)
{
    (void)state;
    ldr_clock c;
    ldr_clock_init_virtual(&c, 500);
    assert_int_equal(c.coarse_lag_us, 0);
    assert_int_equal(ldr_clock_now(&c), 500);
    ldr_clock_advance(&c, 2 * LDR_SEC);
    assert_int_equal(ldr_clock_now(&c), 2000500);
    assert_int_equal(ldr_clock_coarse(&c), 2000500);
}

static void times_saturate(void **state)
{
    (void)state;
    assert_int_equal(ldr_time_add(1, 2), 3);
    assert_int_equal(ldr_time_add(1, -2), -1);
    assert_true(ldr_time_add(LDR_NEVER, -5) == LDR_NEVER);
    assert_true(ldr_time_add(5, LDR_NEVER) == LDR_NEVER);
    assert_true(ldr_time_add(-5, LDR_NEVER) == LDR_NEVER);
    assert_true(ldr_time_add(LDR_NEVER - 1, 2) == LDR_NEVER);
    assert_true(ldr_time_add(INT64_MIN, -1) == INT64_MIN);
}

/* splitmix64 from seed 0 begins so in its author's test values. */
static void rng_is_splitmix64(void **state)
{
    (void)state;
    ldr_rng r = {.s = 0};
    assert_true(ldr_rng_next(&r) == UINT64_C(0xE220A8397B1DCDAF));
    assert_true(ldr_rng_next(&r) == UINT64_C(0x6E789E6AA1B965F4));
    double low = 1, high = 0;
    for (int i = 0; i < 10000; i++) {
        double u = ldr_rng_unit(&r);
        assert_true(u >= 0 && u < 1);
        low = u < low ? u : low;
        high = u > high ? u : high;
    }
    assert_true(low < 0.01 && high > 0.99);
}

/* ---- err --------------------------------------------------------------------------------------------------- */

static void every_code_has_a_word_and_a_sentence(void **state)
{
    (void)state;
    for (int code = 0; code < LDR_N_CODES; code++) {
        assert_true(strlen(ldr_strerror(code)) > 5);
        assert_true(strlen(ldr_code_word(code)) > 1);
        assert_null(strchr(ldr_code_word(code), ' '));
    }
    assert_string_equal(ldr_code_word(LDR_TOO_LARGE), "too_large");
    assert_string_equal(ldr_code_word(LDR_NOMEM), "unavailable");
    assert_string_equal(ldr_strerror(LDR_TIMEOUT), "deadline passed");
    assert_string_equal(ldr_strerror(-1), "unknown error");
    assert_string_equal(ldr_strerror(LDR_N_CODES), "unknown error");
    assert_string_equal(ldr_code_word(99), "unknown");
}

static void fail_gives_its_code_and_cuts_its_message(void **state)
{
    (void)state;
    ldr_err e = {.version = 7};
    char longer[1000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(ldr_fail(NULL, LDR_BUSY, "%s", "nobody listens"), LDR_BUSY);
    assert_int_equal(ldr_fail(&e, LDR_SOURCE, "%s", longer), LDR_SOURCE);
    assert_int_equal(strlen(e.message), sizeof e.message - 1);
    assert_int_equal(e.version, 0);
    assert_int_equal(ldr_fail_oom(&e), LDR_NOMEM);
    assert_string_equal(e.message, "out of memory");
    ldr_fail(&e, LDR_LOADER, "again: %s", e.message);
    assert_string_equal(e.message, "again: out of memory");
    ldr_err_clear(&e);
    ldr_err_clear(NULL);
    assert_int_equal(e.code, LDR_OK);
    assert_string_equal(e.message, "");
}

static void keys_are_printable_in_messages(void **state)
{
    (void)state;
    char out[LDR_KEY_TEXT], all[256];
    assert_string_equal(ldr_key_text(ldr_slice_str("user:1"), out), "user:1");
    assert_string_equal(ldr_key_text(ldr_slice_of("a\0\n\\\xff", 5), out), "a\\x00\\x0a\\x5c\\xff");
    assert_string_equal(ldr_key_text(ldr_slice_of(NULL, 0), out), "");
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    for (size_t n = 0; n <= sizeof all; n++)
        for (size_t from = 0; from + n <= sizeof all; from += 37) {
            ldr_key_text(ldr_slice_of(all + from, n), out);
            assert_true(strlen(out) < LDR_KEY_TEXT - 4);
        }
    memset(all, 'k', sizeof all);
    assert_int_equal(strlen(ldr_key_text(ldr_slice_of(all, 64), out)), 64);
    assert_string_equal(ldr_key_text(ldr_slice_of(all, 65), out) + 64, "...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mem_gives_grows_and_frees),
        cmocka_unit_test(mem_of_no_size_is_not_out_of_memory),
        cmocka_unit_test(mem_zero_is_zero),
        cmocka_unit_test(mem_refuses_sizes_that_overflow),
        cmocka_unit_test(mem_dup_ends_with_a_nul),
        cmocka_unit_test(mem_that_fails_gives_null),
        cmocka_unit_test(buf_keeps_what_is_appended),
        cmocka_unit_test(buf_reserves_exactly_enough_or_more),
        cmocka_unit_test(buf_reports_overflow_as_oom),
        cmocka_unit_test(buf_survives_each_failed_growth),
        cmocka_unit_test(slices_compare_bytes),
        cmocka_unit_test(lists_keep_order_and_drop_twice),
        cmocka_unit_test(hash_depends_on_bytes_and_seed),
        cmocka_unit_test(checksum_is_the_low_half_of_xxh3),
        cmocka_unit_test(coarse_lags_no_more_than_it_says),
        cmocka_unit_test(virtual_clock_moves_only_when_told),
        cmocka_unit_test(times_saturate),
        cmocka_unit_test(rng_is_splitmix64),
        cmocka_unit_test(every_code_has_a_word_and_a_sentence),
        cmocka_unit_test(fail_gives_its_code_and_cuts_its_message),
        cmocka_unit_test(keys_are_printable_in_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
