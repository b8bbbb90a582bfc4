/* record_spec.c - the packing of a record's fields, and msgpack token by token both ways. */
#include "base/clock.h"
#include "bed.h"
#include "record/pack.h"
#include "record/record.h"
#include "record/unpack.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum field {
#define X(name) FIELD_##name,
    LDR_RECORD_FIELDS(X)
#undef X
    N_FIELDS
};

static int64_t *field(ldr_record *r, int i)
{
    int64_t *at[] = {
#define X(name) &r->name,
        LDR_RECORD_FIELDS(X)
#undef X
    };
    return at[i];
}

/* ---- fields ------------------------------------------------------------------------------------------------ */

static void check_kept(ldr_record *r, size_t n_set)
{
    char bytes[LDR_RECORD_MAX_FIELDS_BYTES + 1];
    ldr_record back;
    memset(&back, 0xee, sizeof back);
    memset(bytes, 0x55, sizeof bytes);
    uint16_t flags = ldr_record_flags(r);
    assert_true(ldr_record_flags_known(flags));
    assert_int_equal(ldr_record_fields_size(flags), 8 * n_set);
    assert_int_equal(ldr_record_fields_write(r, bytes), 8 * n_set);
    assert_int_equal(bytes[8 * n_set], 0x55);
    ldr_record_fields_read(&back, flags, bytes);
    for (int i = 0; i < N_FIELDS; i++)
        assert_true(*field(&back, i) == *field(r, i));
    assert_int_equal(back.kind, r->kind);
    assert_int_equal(back.compressed, r->compressed);
}

static const int64_t edges[] = {1, -1, 255, 256, INT32_MAX, INT64_MAX, INT64_MIN, INT64_C(0x0102030405060708)};
#define N_EDGES (sizeof edges / sizeof edges[0])

static void each_field_alone_is_kept(void **state)
{
    (void)state;
    for (int i = 0; i < N_FIELDS; i++)
        for (size_t e = 0; e < N_EDGES; e++) {
            ldr_record r = {0};
            *field(&r, i) = edges[e];
            check_kept(&r, 1);
        }
}

static void all_fields_together_are_kept(void **state)
{
    (void)state;
    ldr_record r = {.kind = LDR_JSON, .compressed = true};
    for (int i = 0; i < N_FIELDS; i++)
        *field(&r, i) = 1000 + i;
    check_kept(&r, N_FIELDS);
}

static void every_subset_of_fields_is_kept(void **state)
{
    (void)state;
    for (unsigned set = 0; set < 1u << N_FIELDS; set++) {
        ldr_record r = {0};
        for (int i = 0; i < N_FIELDS; i++)
            *field(&r, i) = set >> i & 1 ? (int64_t)(set * 31u) + i + 1 : 0;
        check_kept(&r, (size_t)__builtin_popcount(set));
    }
}

static void each_kind_is_kept_without_any_field(void **state)
{
    (void)state;
    for (int kind = LDR_STRING; kind <= LDR_NONE; kind++)
        for (int compressed = 0; compressed < 2; compressed++) {
            ldr_record r = {.kind = (uint8_t)kind, .compressed = compressed != 0};
            check_kept(&r, 0);
        }
}

static void fields_lie_little_endian_in_their_order(void **state)
{
    (void)state;
    ldr_record r = {.stale_us = 0x0102, .version = -2, .suspect = 1};
    char bytes[LDR_RECORD_MAX_FIELDS_BYTES];
    assert_int_equal(ldr_record_flags(&r), 1 << 0 | 1 << 1 | 1 << 8);
    assert_int_equal(ldr_record_fields_write(&r, bytes), 24);
    assert_memory_equal(bytes, "\x02\x01\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0\0\0\0\0", 24);
}

static void flags_of_later_fields_are_not_known(void **state)
{
    (void)state;
    for (int bit = N_FIELDS; bit < LDR_RECORD_FIELD_BITS; bit++)
        assert_false(ldr_record_flags_known((uint16_t)(1u << bit)));
    assert_true(ldr_record_flags_known(0xe1ff));
}

static void hard_expiry_saturates(void **state)
{
    (void)state;
    ldr_record r = {.soft_us = 100, .stale_us = 20};
    assert_int_equal(ldr_record_hard_us(&r), 120);
    r.stale_us = LDR_NEVER;
    assert_true(ldr_record_hard_us(&r) == LDR_NEVER);
    r = (ldr_record){.soft_us = LDR_NEVER, .stale_us = 5};
    assert_true(ldr_record_hard_us(&r) == LDR_NEVER);
}

/* ---- pack and unpack --------------------------------------------------------------------------------------- */

static ldr_token only_token(const ldr_buf *b)
{
    ldr_token t;
    ldr_unpack u = ldr_unpack_of(ldr_buf_slice(b));
    assert_true(ldr_unpack_next(&u, &t));
    assert_ptr_equal(u.p, u.end);
    return t;
}

static void integers_come_back_whatever_their_width(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    for (int shift = 0; shift < 64; shift++)
        for (int off = -2; off <= 2; off++)
            for (int neg = 0; neg < 2; neg++) {
                uint64_t bits = (UINT64_C(1) << shift) + (uint64_t)(int64_t)off;
                int64_t v = (int64_t)(neg ? 0 - bits : bits);
                ldr_buf_clear(&b);
                ldr_pack_int(&b, v);
                ldr_token t = only_token(&b);
                assert_int_equal(t.type, LDR_TOKEN_INT);
                assert_true(t.i == v);
            }
    ldr_buf_free(&b);
}

static void floats_keep_every_bit(void **state)
{
    (void)state;
    const double all[] = {0.0, -0.0, 1.0, 0.1, 1e300, -1e-300, 5e-324, HUGE_VAL, -HUGE_VAL, NAN, 9007199254740993.0};
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        ldr_buf_clear(&b);
        ldr_pack_double(&b, all[i]);
        ldr_token t = only_token(&b);
        assert_int_equal(t.type, LDR_TOKEN_DOUBLE);
        assert_memory_equal(&t.d, &all[i], sizeof t.d);
    }
    ldr_buf_free(&b);
}

static void strings_come_back_whatever_their_length(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
    char *bytes = ldr_mem_zero(&ldr_mem_system, 65536, 1);
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    bytes[0] = '\xff';
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        ldr_buf_clear(&b);
        ldr_pack_str(&b, ldr_slice_of(bytes, sizes[i]));
        ldr_token t = only_token(&b);
        assert_int_equal(t.type, LDR_TOKEN_STR);
        assert_true(ldr_slice_eq(t.s, ldr_slice_of(bytes, sizes[i])));
    }
    ldr_buf_free(&b);
    ldr_mem_free(&ldr_mem_system, bytes);
}

static void a_string_over_4_gib_sets_oom(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_pack_str(&b, ldr_slice_of("", (size_t)UINT32_MAX + 1));
    assert_true(b.oom);
    ldr_buf_free(&b);
}

static void row(ldr_buf *b)
{
    ldr_pack_map(b, 3);
    ldr_pack_str(b, ldr_slice_str("id"));
    ldr_pack_int(b, 300);
    ldr_pack_str(b, ldr_slice_str("tags"));
    ldr_pack_array(b, 20);
    for (int i = 0; i < 20; i++)
        ldr_pack_bool(b, i % 2 == 0);
    ldr_pack_nil(b);
    ldr_pack_double(b, 1.0);
}

static void a_row_reads_as_it_was_written(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_token t;
    row(&b);
    ldr_unpack u = ldr_unpack_of(ldr_buf_slice(&b));
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_MAP && t.n == 3);
    assert_true(ldr_unpack_next(&u, &t) && ldr_slice_eq(t.s, ldr_slice_str("id")));
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_INT && t.i == 300);
    assert_true(ldr_unpack_skip(&u));
    ldr_unpack tags = u;
    assert_true(ldr_unpack_next(&tags, &t) && t.type == LDR_TOKEN_ARRAY && t.n == 20);
    assert_true(ldr_unpack_next(&tags, &t) && t.type == LDR_TOKEN_BOOL && t.b);
    assert_true(ldr_unpack_next(&tags, &t) && t.type == LDR_TOKEN_BOOL && !t.b);
    assert_true(ldr_unpack_skip(&u));
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_NIL);
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_DOUBLE && t.d == 1.0);
    assert_false(ldr_unpack_next(&u, &t));
    assert_false(ldr_unpack_skip(&u));
    ldr_buf_free(&b);
}

static void a_cut_row_is_never_whole(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    row(&b);
    for (size_t n = 0; n < b.n; n++) {
        char *exact = ldr_mem_dup(&ldr_mem_system, b.p, n);
        ldr_unpack u = ldr_unpack_of(ldr_slice_of(exact, n));
        assert_false(ldr_unpack_skip(&u));
        ldr_mem_free(&ldr_mem_system, exact);
    }
    ldr_buf_free(&b);
}

static void counts_beyond_the_bytes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } lies[] = {
        {"\xdd\xff\xff\xff\xff\xc0", 6}, {"\xdf\xff\xff\xff\xff\xc0", 6}, {"\xdc\x00\x02\xc0", 4}, {"\x81\xc0", 2},
        {"\xdb\xff\xff\xff\xff" "a", 6}, {"\xc6\xff\xff\xff\xff" "a", 6}, {"\xc9\xff\xff\xff\xff\x01", 6},
        {"\xa2" "a", 2},                 {"\xd8\x01" "a", 3},             {"\xd4", 1},
        {"\xc1", 1},                     {"\xca\0\0\0", 4},               {"\xcf\0", 2},
        {"\xd9", 1},                     {"\xc7\x00", 2},                 {"\x92\xc0", 2},
    };
    ldr_token t;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        ldr_unpack u = ldr_unpack_of(ldr_slice_of(lies[i].bytes, lies[i].n));
        assert_false(ldr_unpack_next(&u, &t));
    }
}

static void foreign_forms_are_told_apart(void **state)
{
    (void)state;
    ldr_token t;
    ldr_unpack u = ldr_unpack_of(ldr_slice_of("\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xca\x3f\x80\0\0\xc4\x01z\xd5\xfe"
                                              "12\xd0\xff\xd1\x80\0\xcf\0\0\0\0\0\0\0\x07", 35));
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_UINT && t.u == UINT64_MAX);
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_DOUBLE && t.d == 1.0);
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_BIN && ldr_slice_eq(t.s, ldr_slice_str("z")));
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_EXT && t.ext_type == -2 && t.s.n == 2);
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_INT && t.i == -1);
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_INT && t.i == -32768);
    assert_true(ldr_unpack_next(&u, &t) && t.type == LDR_TOKEN_INT && t.i == 7);
    assert_ptr_equal(u.p, u.end);
}

static void depth_costs_no_stack_to_skip(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    for (int i = 0; i < DEEP; i++)
        ldr_pack_array(&b, 1);
    ldr_pack_nil(&b);
    ldr_unpack u = ldr_unpack_of(ldr_buf_slice(&b));
    assert_true(ldr_unpack_skip(&u));
    ldr_buf_free(&b);
}

static void random_bytes_do_no_harm(void **state)
{
    (void)state;
    ldr_rng r = bed_rng("random_bytes_do_no_harm");
    for (long i = 0, n = bed_times(20000, 2000000); i < n; i++) {
        size_t size = ldr_rng_next(&r) % 24;
        char *bytes = ldr_mem_zero(&ldr_mem_system, size, 1);
        for (size_t at = 0; at < size; at++)
            bytes[at] = (char)ldr_rng_next(&r);
        ldr_unpack u = ldr_unpack_of(ldr_slice_of(bytes, size));
        bool whole = ldr_unpack_skip(&u);
        assert_true(u.p <= u.end && (size > 0 || !whole));
        ldr_mem_free(&ldr_mem_system, bytes);
    }
}

static void a_row_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (long n = 1;; n++) {
        bed_mem bed;
        ldr_buf b = LDR_BUF(bed_mem_init(&bed, n));
        for (int i = 0; i < 50; i++)
            row(&b);
        bool reached = bed.n_calls >= n;
        assert_int_equal(b.oom, reached);
        ldr_buf_free(&b);
        assert_int_equal(bed.n_alive, 0);
        if (!reached)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_alone_is_kept),
        cmocka_unit_test(all_fields_together_are_kept),
        cmocka_unit_test(every_subset_of_fields_is_kept),
        cmocka_unit_test(each_kind_is_kept_without_any_field),
        cmocka_unit_test(fields_lie_little_endian_in_their_order),
        cmocka_unit_test(flags_of_later_fields_are_not_known),
        cmocka_unit_test(hard_expiry_saturates),
        cmocka_unit_test(integers_come_back_whatever_their_width),
        cmocka_unit_test(floats_keep_every_bit),
        cmocka_unit_test(strings_come_back_whatever_their_length),
        cmocka_unit_test(a_string_over_4_gib_sets_oom),
        cmocka_unit_test(a_row_reads_as_it_was_written),
        cmocka_unit_test(a_cut_row_is_never_whole),
        cmocka_unit_test(counts_beyond_the_bytes_are_refused),
        cmocka_unit_test(foreign_forms_are_told_apart),
        cmocka_unit_test(depth_costs_no_stack_to_skip),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(a_row_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
