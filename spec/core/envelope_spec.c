/* envelope_spec.c - bytes at rest: what is written comes back, and whatever is damaged is told. */
#include "base/clock.h"
#include "base/hash.h"
#include "bed.h"
#include "record/record.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW INT64_C(1000000000)
#define AT_FORMAT 4
#define AT_FLAGS 6

static ldr_record plain(void)
{
    return (ldr_record){.key = ldr_slice_str("product:7"),
                        .value = ldr_slice_of("kept \0 value", 12),
                        .kind = LDR_STRING,
                        .asked_us = NOW - 5,
                        .soft_us = NOW + 300 * LDR_SEC};
}

static ldr_record full(void)
{
    ldr_record r = plain();
    int64_t i = 1;
    r.kind = LDR_MSGPACK;
    r.compressed = true;
#define X(name) r.name = INT64_C(0x1122334455) * i++;
    LDR_RECORD_FIELDS(X)
#undef X
    return r;
}

static ldr_buf written(const ldr_record *r)
{
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    assert_int_equal(ldr_envelope_write(r, NOW, &b), LDR_OK);
    return b;
}

static void assert_same(const ldr_record *a, const ldr_record *b)
{
    assert_true(ldr_slice_eq(a->key, b->key));
    assert_true(ldr_slice_eq(a->value, b->value));
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->compressed, b->compressed);
    assert_true(a->asked_us == b->asked_us);
    assert_true(a->soft_us == b->soft_us);
#define X(name) assert_true(a->name == b->name);
    LDR_RECORD_FIELDS(X)
#undef X
}

static int read_at(ldr_slice bytes, int64_t now_us, ldr_record *out)
{
    return ldr_envelope_read(bytes, ldr_slice_str("product:7"), now_us, out);
}

/* In a copy of its exact size, so that a sanitizer sees a byte too many. */
static int read_exact(ldr_slice bytes)
{
    ldr_record out;
    char *copy = ldr_mem_new(&ldr_mem_system, bytes.n);
    if (bytes.n)
        memcpy(copy, bytes.p, bytes.n);
    int code = read_at(ldr_slice_of(copy, bytes.n), NOW, &out);
    ldr_mem_free(&ldr_mem_system, copy);
    return code;
}

static void sign_anew(ldr_buf *b)
{
    uint32_t sum = ldr_checksum(ldr_slice_of(b->p, b->n - 4));
    for (int i = 0; i < 4; i++)
        b->p[b->n - 4 + (size_t)i] = (char)(sum >> 8 * i);
}

/* ---- what is written comes back ---------------------------------------------------------------------------- */

static void check_comes_back(const ldr_record *r)
{
    ldr_record out;
    ldr_buf b = written(r);
    assert_int_equal(read_at(ldr_buf_slice(&b), NOW, &out), LDR_OK);
    assert_same(r, &out);
    assert_int_equal(ldr_envelope_read(ldr_buf_slice(&b), ldr_slice_of(NULL, 0), NOW, &out), LDR_OK);
    ldr_buf_free(&b);
}

static void records_come_back(void **state)
{
    (void)state;
    ldr_record r = plain();
    check_comes_back(&r);
    r = full();
    check_comes_back(&r);
    r.value = ldr_slice_of(NULL, 0);
    check_comes_back(&r);
    r.soft_us = LDR_NEVER;
    check_comes_back(&r);
    r.stale_us = LDR_NEVER;
    check_comes_back(&r);
    r.soft_us = NOW - 50; /* stale already */
    check_comes_back(&r);
}

static void absent_records_come_back(void **state)
{
    (void)state;
    ldr_record r = plain();
    r.kind = LDR_NONE;
    r.value = ldr_slice_of(NULL, 0);
    r.version = 3;
    check_comes_back(&r);
}

static void an_envelope_looks_as_drawn(void **state)
{
    (void)state;
    static const char head[] = "\xF1LDR"
                               "\x01\x00"
                               "\x02\x20"
                               "\x01\0\0\0"
                               "\x02\0\0\0"
                               "\x05\0\0\0\0\0\0\0"
                               "\x40\x42\x0f\0\0\0\0\0"
                               "\x09\0\0\0\0\0\0\0"
                               "k"
                               "vv";
    ldr_record r = {.key = ldr_slice_str("k"), .value = ldr_slice_str("vv"), .kind = LDR_MSGPACK, .version = 9,
                    .asked_us = NOW - 5, .soft_us = NOW + LDR_SEC};
    ldr_buf b = written(&r);
    assert_int_equal(b.n, sizeof head - 1 + 4);
    assert_memory_equal(b.p, head, sizeof head - 1);
    assert_memory_equal(b.p + b.n - 4, "\x84\xf5\x9e\x3b", 4);
    ldr_buf_free(&b);
}

static void times_are_durations_for_another_clock(void **state)
{
    (void)state;
    ldr_record r = plain(), out;
    ldr_buf b = written(&r);
    assert_int_equal(read_at(ldr_buf_slice(&b), 70, &out), LDR_OK);
    assert_int_equal(out.asked_us, 65);
    assert_int_equal(out.soft_us, 70 + 300 * LDR_SEC);
    ldr_buf_free(&b);
}

static void extreme_times_saturate(void **state)
{
    (void)state;
    static const int64_t all[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
    enum { N = sizeof all / sizeof all[0] };
    for (int i = 0; i < N * N * N * N; i++) {
        ldr_record r = plain(), out;
        ldr_buf b = LDR_BUF(&ldr_mem_system);
        r.asked_us = all[i % N];
        r.soft_us = all[i / N % N];
        assert_int_equal(ldr_envelope_write(&r, all[i / N / N % N], &b), LDR_OK);
        assert_int_equal(read_at(ldr_buf_slice(&b), all[i / N / N / N], &out), LDR_OK);
        if (r.soft_us == LDR_NEVER)
            assert_true(out.soft_us == LDR_NEVER);
        ldr_buf_free(&b);
    }
}

static void a_record_of_the_future_has_no_age(void **state)
{
    (void)state;
    ldr_record r = plain(), out;
    r.asked_us = NOW + 3;
    ldr_buf b = written(&r);
    assert_int_equal(read_at(ldr_buf_slice(&b), NOW, &out), LDR_OK);
    assert_true(out.asked_us == NOW);
    ldr_buf_free(&b);
}

static void writing_appends(void **state)
{
    (void)state;
    ldr_record r = plain(), out;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_buf_str(&b, "before");
    assert_int_equal(ldr_envelope_write(&r, NOW, &b), LDR_OK);
    assert_int_equal(read_at(ldr_slice_of(b.p + 6, b.n - 6), NOW, &out), LDR_OK);
    assert_same(&r, &out);
    ldr_buf_free(&b);
}

/* ---- limits ------------------------------------------------------------------------------------------------ */

static void keys_and_values_have_limits(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_record r = plain();
    r.value.n = LDR_VALUE_MAX_BYTES + 1; /* never looked at */
    assert_int_equal(ldr_envelope_write(&r, NOW, &b), LDR_TOO_LARGE);
    r = plain();
    r.key.n = 65536;
    assert_int_equal(ldr_envelope_write(&r, NOW, &b), LDR_TOO_LARGE);
    assert_int_equal(b.n, 0);
    char *key = ldr_mem_zero(&ldr_mem_system, 65535, 1);
    r.key = ldr_slice_of(key, 65535);
    assert_int_equal(ldr_envelope_write(&r, NOW, &b), LDR_OK);
    ldr_record out;
    assert_int_equal(ldr_envelope_read(ldr_buf_slice(&b), r.key, NOW, &out), LDR_OK);
    ldr_mem_free(&ldr_mem_system, key);
    ldr_buf_free(&b);
}

static void writing_survives_each_failed_allocation(void **state)
{
    (void)state;
    ldr_record r = full();
    for (long n = 1;; n++) {
        bed_mem bed;
        ldr_buf b = LDR_BUF(bed_mem_init(&bed, n));
        int code = ldr_envelope_write(&r, NOW, &b);
        bool reached = bed.n_calls >= n;
        assert_int_equal(code, reached ? LDR_NOMEM : LDR_OK);
        assert_true(!reached || b.n == 0);
        ldr_buf_free(&b);
        assert_int_equal(bed.n_alive, 0);
        if (!reached)
            break;
    }
}

/* ---- damage ------------------------------------------------------------------------------------------------ */

static bool told(int code)
{
    return code == LDR_CORRUPT || code == LDR_UNSUPPORTED;
}

static void check_flips(const ldr_record *r)
{
    ldr_buf b = written(r);
    for (size_t bit = 0; bit < b.n * 8; bit++) {
        b.p[bit / 8] ^= (char)(1 << bit % 8);
        int code = read_exact(ldr_buf_slice(&b));
        bool in_format = bit / 8 >= AT_FORMAT && bit / 8 < AT_FORMAT + 2;
        assert_true(in_format ? told(code) : code == LDR_CORRUPT);
        b.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_int_equal(read_exact(ldr_buf_slice(&b)), LDR_OK);
    ldr_buf_free(&b);
}

static void each_flipped_bit_is_told(void **state)
{
    (void)state;
    ldr_record r = plain();
    check_flips(&r);
    r = full();
    check_flips(&r);
}

static void each_truncation_is_told(void **state)
{
    (void)state;
    ldr_record r = full();
    ldr_buf b = written(&r);
    for (size_t n = 0; n < b.n; n++) {
        assert_int_equal(read_exact(ldr_slice_of(b.p, n)), LDR_CORRUPT);
        assert_int_equal(read_exact(ldr_slice_of(b.p + b.n - n, n)), LDR_CORRUPT);
    }
    ldr_buf_free(&b);
}

static void doubled_and_longer_bytes_are_told(void **state)
{
    (void)state;
    ldr_record r = plain();
    ldr_buf b = written(&r);
    size_t n = b.n;
    ldr_buf_byte(&b, 0);
    assert_int_equal(read_exact(ldr_buf_slice(&b)), LDR_CORRUPT);
    b.n = n;
    assert_int_equal(ldr_envelope_write(&r, NOW, &b), LDR_OK);
    assert_int_equal(read_exact(ldr_buf_slice(&b)), LDR_CORRUPT);
    assert_int_equal(read_exact(ldr_slice_of(NULL, 0)), LDR_CORRUPT);
    ldr_buf_free(&b);
}

static void another_key_is_told(void **state)
{
    (void)state;
    ldr_record r = plain(), out = {.version = 77};
    ldr_buf b = written(&r);
    assert_int_equal(ldr_envelope_read(ldr_buf_slice(&b), ldr_slice_str("product:8"), NOW, &out), LDR_CORRUPT);
    assert_int_equal(ldr_envelope_read(ldr_buf_slice(&b), ldr_slice_str("product:"), NOW, &out), LDR_CORRUPT);
    assert_int_equal(out.version, 77);
    ldr_buf_free(&b);
}

static void a_later_format_shows_in_six_bytes(void **state)
{
    (void)state;
    assert_int_equal(read_exact(ldr_slice_of("\xF1LDR\x02\x00", 6)), LDR_UNSUPPORTED);
    assert_int_equal(read_exact(ldr_slice_of("\xF1LDR\x00\x01 and anything", 19)), LDR_UNSUPPORTED);
    assert_int_equal(read_exact(ldr_slice_of("\xF1LDR\x02", 5)), LDR_CORRUPT);
    assert_int_equal(read_exact(ldr_slice_of("\xF1LDR\x00\x00", 6)), LDR_CORRUPT);
    assert_int_equal(read_exact(ldr_slice_of("\xF1LDR\x01\x00", 6)), LDR_CORRUPT);
}

/* A field that this program does not know: written by a later one, whole and signed. */
static void a_later_field_is_unsupported(void **state)
{
    (void)state;
    ldr_record r = plain();
    ldr_buf b = written(&r);
    size_t at = 32;
    assert_true(ldr_buf_reserve(&b, 8));
    memmove(b.p + at + 8, b.p + at, b.n - at);
    b.n += 8;
    b.p[AT_FLAGS + 1] |= 0x10;
    sign_anew(&b);
    assert_int_equal(read_exact(ldr_buf_slice(&b)), LDR_UNSUPPORTED);
    ldr_buf_free(&b);
}

/* Signed bytes that no writer of ours makes. */
static void signed_nonsense_is_told(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned char byte;
    } lies[] = {
        {AT_FORMAT, 0},       {23, 0x80} /* an age below 0 */, {AT_FLAGS + 1, 0x60} /* absent, with a value */,
        {10, 0xff} /* key size */, {15, 0xff} /* value size */, {8, 0}, {12, 0}, {12, 0xff}, {AT_FLAGS, 1},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        ldr_record r = plain();
        ldr_buf b = written(&r);
        b.p[lies[i].at] = (char)lies[i].byte;
        sign_anew(&b);
        assert_int_equal(read_exact(ldr_buf_slice(&b)), LDR_CORRUPT);
        ldr_buf_free(&b);
    }
    ldr_record r = {.key = ldr_slice_str("product:7"), .kind = LDR_NONE, .compressed = true};
    ldr_buf b = written(&r);
    assert_int_equal(read_exact(ldr_buf_slice(&b)), LDR_CORRUPT);
    ldr_buf_free(&b);
}

/* Random damage, signed anew half of the time, so that it gets behind the checksum: no crash, no byte beyond. */
static void random_damage_does_no_harm(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("random_damage_does_no_harm");
    for (long i = 0, n = bed_times(20000, 1000000); i < n; i++) {
        ldr_record r = full();
        ldr_buf b = written(&r);
        for (int k = (int)(ldr_rng_next(&rng) % 4); k >= 0; k--)
            b.p[ldr_rng_next(&rng) % b.n] = (char)ldr_rng_next(&rng);
        if (ldr_rng_next(&rng) & 1)
            sign_anew(&b);
        int code = read_exact(ldr_buf_slice(&b));
        assert_true(code == LDR_OK || told(code));
        ldr_buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(absent_records_come_back),
        cmocka_unit_test(an_envelope_looks_as_drawn),
        cmocka_unit_test(times_are_durations_for_another_clock),
        cmocka_unit_test(extreme_times_saturate),
        cmocka_unit_test(a_record_of_the_future_has_no_age),
        cmocka_unit_test(writing_appends),
        cmocka_unit_test(keys_and_values_have_limits),
        cmocka_unit_test(writing_survives_each_failed_allocation),
        cmocka_unit_test(each_flipped_bit_is_told),
        cmocka_unit_test(each_truncation_is_told),
        cmocka_unit_test(doubled_and_longer_bytes_are_told),
        cmocka_unit_test(another_key_is_told),
        cmocka_unit_test(a_later_format_shows_in_six_bytes),
        cmocka_unit_test(a_later_field_is_unsupported),
        cmocka_unit_test(signed_nonsense_is_told),
        cmocka_unit_test(random_damage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
