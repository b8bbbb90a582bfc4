/* l2_cell_spec.c - a cell's bytes: what is written comes back; whatever byte or bit is damaged, the value is the same or none. */
#include "base/hash.h"
#include "bed.h"
#include "l2/cell.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LOCAL INT64_C(5000000000)
#define SERVER INT64_C(1790000000000000)
#define NEVER "9999999999999999"

/* As a script writes it. */
static ldr_buf cell_of(const ldr_record *r, int64_t version, int64_t floor, const char *soft)
{
    char times[64], head[256];
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    snprintf(times, sizeof times, "%016" PRId64 "%s%016x", SERVER - 7, soft, 0xabc);
    snprintf(head, sizeof head, "1%019" PRId64 "%019" PRId64 "%016x%016" PRId64 "%016x%016" PRId64 "0%s%s", version, floor,
             0xfeed, SERVER + 5, 0, INT64_C(0), times, times);
    ldr_buf_str(&b, head);
    assert_int_equal(b.n, LDR_CELL_HEAD_BYTES);
    if (r)
        assert_int_equal(ldr_envelope_write(r, LOCAL, &b), LDR_OK);
    return b;
}

static ldr_record record(int64_t version)
{
    return (ldr_record){.key = ldr_slice_str("k"), .value = ldr_slice_str("a value"), .kind = LDR_STRING, .version = version,
                        .asked_us = LOCAL - 9, .soft_us = LOCAL + LDR_SEC, .stale_us = 33};
}

static int read_record(ldr_slice bytes, ldr_cell *c, ldr_record *out)
{
    int code = ldr_cell_read(bytes, c);
    return code != LDR_OK ? code : ldr_cell_record(c, ldr_slice_str("k"), LOCAL, SERVER, out);
}

static void a_cell_comes_back(void **state)
{
    (void)state;
    ldr_record r = record(4), out;
    ldr_cell c;
    ldr_buf b = cell_of(&r, 4, 4, "1790000001000000");
    assert_int_equal(read_record(ldr_buf_slice(&b), &c, &out), LDR_OK);
    assert_true(c.version == 4 && c.floor == 4 && c.lease == 0xfeed && c.lease_end_us == SERVER + 5 && c.mark == 0);
    assert_true(c.mark_end_us == 0 && !c.waited && c.asked_us == SERVER - 7 && c.gen == 0xabc);
    assert_true(out.version == 4 && out.asked_us == LOCAL - 7 && out.soft_us == LOCAL + LDR_SEC && out.stale_us == 33);
    assert_true(ldr_slice_eq(out.value, r.value));
    assert_int_equal(ldr_cell_record(&c, ldr_slice_str("j"), LOCAL, SERVER, &out), LDR_CORRUPT);
    assert_int_equal(ldr_cell_record(&c, ldr_slice_str("k"), LOCAL, SERVER - 8, &out), LDR_CORRUPT); /* not asked yet */
    ldr_buf_free(&b);
    b = cell_of(&r, 4, 4, NEVER);
    assert_int_equal(read_record(ldr_buf_slice(&b), &c, &out), LDR_OK);
    assert_true(c.soft_us == LDR_NEVER && out.soft_us == LDR_NEVER);
    ldr_buf_free(&b);
}

static void a_head_alone_is_a_cell(void **state)
{
    (void)state;
    ldr_cell c;
    ldr_buf b = cell_of(NULL, 0, INT64_MAX, "0000000000000000");
    assert_int_equal(ldr_cell_read(ldr_buf_slice(&b), &c), LDR_OK);
    assert_true(c.envelope.n == 0 && c.floor == INT64_MAX);
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(ldr_cell_read(ldr_slice_of(b.p, n), &c), LDR_CORRUPT);
    b.p[0] = '2';
    assert_int_equal(ldr_cell_read(ldr_buf_slice(&b), &c), LDR_UNSUPPORTED);
    b.p[0] = '1';
    memcpy(b.p + 1, "9999999999999999999", 19); /* more than 2^63 - 1 */
    assert_int_equal(ldr_cell_read(ldr_buf_slice(&b), &c), LDR_CORRUPT);
    ldr_buf_free(&b);
}

static void a_drawn_version_is_the_heads(void **state)
{
    (void)state;
    ldr_record r = record(0), out;
    ldr_cell c;
    ldr_buf b = cell_of(&r, 4, 4, NEVER);
    assert_int_equal(read_record(ldr_buf_slice(&b), &c, &out), LDR_OK);
    assert_true(out.version == 4);
    ldr_buf_free(&b);
    b = cell_of(&r, 4, 5, NEVER);
    assert_int_equal(read_record(ldr_buf_slice(&b), &c, &out), LDR_CORRUPT);
    ldr_buf_free(&b);
    r.version = 3;
    b = cell_of(&r, 4, 4, NEVER);
    assert_int_equal(read_record(ldr_buf_slice(&b), &c, &out), LDR_CORRUPT);
    ldr_buf_free(&b);
}

/* The value, its version, its times and its generation are what they were, or it is a miss. */
static void assert_same_or_none(const ldr_buf *b, const ldr_record *was)
{
    ldr_cell c;
    ldr_record out;
    if (read_record(ldr_buf_slice(b), &c, &out) != LDR_OK || c.gen != 0xabc)
        return;
    assert_true(ldr_slice_eq(out.value, was->value) && ldr_slice_eq(out.key, was->key));
    assert_true(out.version == was->version && out.kind == was->kind && out.compressed == was->compressed);
    assert_true(out.asked_us == was->asked_us && out.soft_us == was->soft_us && out.stale_us == was->stale_us);
}

static void check_damage(int64_t version, int64_t head_version, int64_t floor)
{
    ldr_record r = record(version), was;
    ldr_cell c;
    ldr_buf b = cell_of(&r, head_version, floor, "1790000001000000");
    assert_int_equal(read_record(ldr_buf_slice(&b), &c, &was), LDR_OK);
    for (size_t i = 0; i < b.n; i++) {
        char kept = b.p[i];
        for (int v = 0; v < 256; v++) {
            b.p[i] = (char)v;
            assert_same_or_none(&b, &was);
        }
        b.p[i] = kept;
    }
    while (b.n-- > 0)
        assert_same_or_none(&b, &was);
    ldr_buf_free(&b);
}

static void no_damaged_byte_makes_another_value(void **state)
{
    (void)state;
    check_damage(4, 4, 4);
    check_damage(0, SERVER + 4, SERVER + 4); /* drawn */
    check_damage(0, 0, 0);
    check_damage(0, 0, 17);
}

static void no_bytes_are_too_strange(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("cells");
    ldr_record r = record(4);
    ldr_buf b = cell_of(&r, 4, 4, NEVER);
    for (long i = bed_times(20000, 2000000); i > 0; i--) {
        ldr_cell c;
        ldr_record out;
        char copy[512];
        size_t n = ldr_rng_next(&rng) % (b.n + 1);
        memcpy(copy, b.p, b.n);
        for (uint64_t k = ldr_rng_next(&rng) % 5; k > 0; k--)
            copy[ldr_rng_next(&rng) % b.n] = (char)ldr_rng_next(&rng);
        (void)read_record(ldr_slice_of(copy, ldr_rng_next(&rng) % 2 ? n : b.n), &c, &out);
    }
    ldr_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_comes_back),
        cmocka_unit_test(a_head_alone_is_a_cell),
        cmocka_unit_test(a_drawn_version_is_the_heads),
        cmocka_unit_test(no_damaged_byte_makes_another_value),
        cmocka_unit_test(no_bytes_are_too_strange),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
