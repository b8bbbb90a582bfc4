/* seal_spec.c - codecs and compression: a value comes back equal or is refused; hostile frames do no harm. */
#include "base/clock.h"
#include "record/codec_zstd.h"
#include "seal_bed.h"

#include <zstd.h>

#define MIB ((size_t)1 << 20)

/* ---- which codec does what --------------------------------------------------------------------------------- */

static void strings_stay_as_they_are_under_every_codec(void **state)
{
    (void)state;
    ldr_slice binary = ldr_slice_of("\xff\0\"x", 4);
    for (int codec = LDR_CODEC_MSGPACK; codec <= LDR_CODEC_RAW; codec++) {
        ldr_sealing s = sealing(codec, 0);
        ldr_buf made = LDR_BUF(&ldr_mem_system);
        ldr_record r = {0}, kept;
        assert_int_equal(ldr_seal(&s, binary, LDR_STRING, &r, &made, NULL), LDR_OK);
        assert_ptr_equal(r.value.p, binary.p);
        assert_int_equal(r.kind, LDR_STRING);
        assert_false(r.compressed);
        assert_true(comes_back(&s, binary, LDR_STRING, &kept));
        assert_true(comes_back(&s, NO_KEY, LDR_STRING, &kept));
        assert_true(comes_back(&s, NO_KEY, LDR_NONE, &kept));
        ldr_buf_free(&made);
    }
}

static void msgpack_keeps_tables_as_they_are(void **state)
{
    (void)state;
    ldr_sealing s = sealing(LDR_CODEC_MSGPACK, 0);
    ldr_record kept;
    ldr_slice bytes = ldr_slice_of("\x81\x01\xc0", 3);
    assert_true(comes_back(&s, bytes, LDR_MSGPACK, &kept));
    assert_int_equal(kept.kind, LDR_MSGPACK);
}

static void raw_refuses_tables(void **state)
{
    (void)state;
    ldr_sealing s = sealing(LDR_CODEC_RAW, 0);
    ldr_buf made = LDR_BUF(&ldr_mem_system);
    ldr_record r = {.key = ldr_slice_str("user:1"), .version = 8};
    ldr_err err;
    assert_int_equal(ldr_seal(&s, ldr_slice_of("\x80", 1), LDR_MSGPACK, &r, &made, &err), LDR_UNSUPPORTED);
    assert_int_equal(err.code, LDR_UNSUPPORTED);
    assert_string_equal(err.message,
                        "codec raw cannot keep the value of key \"user:1\": it holds something else than a string");
    assert_null(r.value.p);
    assert_int_equal(r.version, 8);
    assert_int_equal(ldr_seal(&s, ldr_slice_str("1"), LDR_JSON, &r, &made, &err), LDR_UNSUPPORTED);
    ldr_buf_free(&made);
}

static void a_record_says_itself_how_it_was_kept(void **state)
{
    (void)state;
    ldr_sealing json = sealing(LDR_CODEC_JSON, 0), raw = sealing(LDR_CODEC_RAW, 0);
    ldr_buf made = LDR_BUF(&ldr_mem_system), back = LDR_BUF(&ldr_mem_system);
    ldr_record r = {0};
    ldr_slice out;
    int kind;
    assert_int_equal(ldr_seal(&json, ldr_slice_of("\x91\x07", 2), LDR_MSGPACK, &r, &made, NULL), LDR_OK);
    assert_int_equal(r.kind, LDR_JSON);
    assert_true(ldr_slice_eq(r.value, ldr_slice_str("[7]")));
    assert_int_equal(ldr_unseal(&raw, &r, &out, &kind, &back, NULL), LDR_OK);
    assert_int_equal(kind, LDR_MSGPACK);
    assert_true(ldr_slice_eq(out, ldr_slice_of("\x91\x07", 2)));
    ldr_buf_free(&made);
    ldr_buf_free(&back);
}

/* ---- compression ------------------------------------------------------------------------------------------- */

static char *words(size_t n, uint64_t seed)
{
    char *p = ldr_mem_new(&ldr_mem_system, n);
    ldr_rng r = {.s = seed};
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + (ldr_rng_next(&r) & 3));
    return p;
}

static void long_values_are_compressed_from_the_minimum_on(void **state)
{
    (void)state;
    static const size_t sizes[] = {499, 500, 501, 5000, 3 * MIB};
    char *p = words(3 * MIB, 1);
    ldr_sealing s = sealing(LDR_CODEC_MSGPACK, 500), off = sealing(LDR_CODEC_MSGPACK, 0);
    ldr_record kept;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_true(comes_back(&s, ldr_slice_of(p, sizes[i]), LDR_STRING, &kept));
        assert_int_equal(kept.compressed, sizes[i] >= 500);
        assert_true(kept.value.n <= sizes[i]);
        assert_true(comes_back(&off, ldr_slice_of(p, sizes[i]), LDR_STRING, &kept));
        assert_false(kept.compressed);
    }
    ldr_mem_free(&ldr_mem_system, p);
}

static void values_that_do_not_shrink_stay_as_they_are(void **state)
{
    (void)state;
    ldr_sealing s = sealing(LDR_CODEC_MSGPACK, 1);
    ldr_record kept;
    ldr_rng r = {.s = 3};
    char p[5000];
    for (size_t i = 0; i < sizeof p; i++)
        p[i] = (char)ldr_rng_next(&r);
    for (size_t n = 0; n <= sizeof p; n += n < 64 ? 1 : 617) {
        assert_true(comes_back(&s, ldr_slice_of(p, n), LDR_STRING, &kept));
        assert_false(kept.compressed);
    }
}

/* Zeros shrink more than reading back allows for: they must be kept as they are, not lost as a bomb. */
static void values_that_shrink_too_well_come_back(void **state)
{
    (void)state;
    char *zeros = ldr_mem_zero(&ldr_mem_system, 8, MIB);
    ldr_sealing s = sealing(LDR_CODEC_MSGPACK, 1);
    ldr_record kept;
    for (size_t n = 100; n <= 8 * MIB; n *= 3)
        assert_true(comes_back(&s, ldr_slice_of(zeros, n), LDR_STRING, &kept));
    assert_true(comes_back(&s, ldr_slice_of(zeros, 8 * MIB), LDR_STRING, &kept));
    assert_false(kept.compressed);
    ldr_mem_free(&ldr_mem_system, zeros);
}

static void json_is_compressed_after_it_was_made(void **state)
{
    (void)state;
    ldr_sealing s = sealing(LDR_CODEC_JSON, 64);
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_record kept;
    ldr_pack_array(&b, 1000);
    for (int i = 0; i < 1000; i++)
        ldr_pack_int(&b, i % 7);
    assert_true(comes_back(&s, ldr_buf_slice(&b), LDR_MSGPACK, &kept));
    assert_true(kept.compressed);
    assert_int_equal(kept.kind, LDR_JSON);
    ldr_buf_free(&b);
}

static void values_that_look_compressed_are_only_values(void **state)
{
    (void)state;
    char *p = words(4000, 2), frame[4000];
    ldr_sealing s = sealing(LDR_CODEC_MSGPACK, 1);
    ldr_record kept;
    size_t n = ZSTD_compress(frame, sizeof frame, p, 4000, 3);
    assert_true(comes_back(&s, ldr_slice_of(frame, n), LDR_STRING, &kept));
    ldr_mem_free(&ldr_mem_system, p);
}

#define BYTES(s) {s, sizeof(s) - 1}

/* ---- hostile frames ---------------------------------------------------------------------------------------- */

static int unseal_frame(ldr_slice frame, ldr_buf *back, ldr_slice *out)
{
    ldr_sealing s = sealing(LDR_CODEC_MSGPACK, 1);
    ldr_record r = {.key = ldr_slice_str("k"), .kind = LDR_STRING, .compressed = true, .value = frame};
    int kind;
    return ldr_unseal(&s, &r, out, &kind, back, NULL);
}

static void damaged_frames_are_told(void **state)
{
    (void)state;
    char *p = words(600, 4);
    ldr_buf frame = LDR_BUF(&ldr_mem_system), back = LDR_BUF(&ldr_mem_system);
    ldr_slice out;
    assert_int_equal(ldr_zstd_write(ldr_slice_of(p, 600), &frame), LDR_OK);
    for (size_t n = 0; n < frame.n; n++) {
        char *cut = ldr_mem_dup(&ldr_mem_system, frame.p, n);
        assert_int_equal(unseal_frame(ldr_slice_of(cut, n), &back, &out), LDR_CORRUPT);
        ldr_mem_free(&ldr_mem_system, cut);
    }
    /* One bit of the frame's head is spare: then the value must be the same. */
    for (size_t bit = 0; bit < frame.n * 8; bit++) {
        frame.p[bit / 8] ^= (char)(1 << bit % 8);
        int code = unseal_frame(ldr_buf_slice(&frame), &back, &out);
        assert_true(code == LDR_CORRUPT || (code == LDR_OK && ldr_slice_eq(out, ldr_slice_of(p, 600))));
        frame.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    ldr_buf_byte(&frame, 0);
    assert_int_equal(unseal_frame(ldr_buf_slice(&frame), &back, &out), LDR_CORRUPT);
    ldr_buf_free(&frame);
    ldr_buf_free(&back);
    ldr_mem_free(&ldr_mem_system, p);
}

static void doubled_frames_are_told(void **state)
{
    (void)state;
    char *p = words(600, 5);
    ldr_buf frame = LDR_BUF(&ldr_mem_system), back = LDR_BUF(&ldr_mem_system);
    ldr_slice out;
    assert_int_equal(ldr_zstd_write(ldr_slice_of(p, 600), &frame), LDR_OK);
    assert_int_equal(ldr_zstd_write(ldr_slice_of(p, 600), &frame), LDR_OK);
    assert_int_equal(unseal_frame(ldr_buf_slice(&frame), &back, &out), LDR_CORRUPT);
    ldr_buf_free(&frame);
    ldr_buf_free(&back);
    ldr_mem_free(&ldr_mem_system, p);
}

static void bombs_are_told_before_memory_is_taken(void **state)
{
    (void)state;
    char *zeros = ldr_mem_zero(&ldr_mem_system, 8, MIB), frame[2000];
    bed_mem bed;
    ldr_buf back = LDR_BUF(bed_mem_init(&bed, 0));
    ldr_slice out;
    size_t n = ZSTD_compress(frame, sizeof frame, zeros, 8 * MIB, 3);
    assert_false(ZSTD_isError(n));
    assert_int_equal(unseal_frame(ldr_slice_of(frame, n), &back, &out), LDR_CORRUPT);
    assert_int_equal(bed.n_calls, 0);
    n = ZSTD_compress(frame, sizeof frame, zeros, 64 * 1024, 3);
    assert_int_equal(unseal_frame(ldr_slice_of(frame, n), &back, &out), LDR_OK);
    ldr_buf_free(&back);
    ldr_mem_free(&ldr_mem_system, zeros);
}

/* Sizes by hand: a frame of one empty block that says it holds 2^40 bytes, one that says nothing, a skippable one. */
static void frames_that_lie_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *p;
        size_t n;
    } lies[] = {
        BYTES("\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\x01\0\0\x01\0\0"),
        BYTES("\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0"),
        BYTES("\x28\xb5\x2f\xfd\x20\x40\x01\0\0"),
        BYTES("\x28\xb5\x2f\xfd\x00\x58\x01\0\0"),
        BYTES("\x28\xb5\x2f\xfd\x20\x00\x01\0\0"),
        BYTES("\x50\x2a\x4d\x18\x04\0\0\0abcd"),
        BYTES("not a frame at all"),
        BYTES(""),
    };
    ldr_buf back = LDR_BUF(&ldr_mem_system);
    ldr_slice out;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++)
        assert_int_equal(unseal_frame(ldr_slice_of(lies[i].p, lies[i].n), &back, &out), LDR_CORRUPT);
    ldr_buf_free(&back);
}

static void values_beyond_512_mib_are_not_compressed(void **state)
{
    (void)state;
    ldr_buf out = LDR_BUF(&ldr_mem_system);
    assert_int_equal(ldr_zstd_write(ldr_slice_of("", LDR_VALUE_MAX_BYTES + 1), &out), LDR_TOO_LARGE);
    assert_int_equal(ldr_zstd_read(ldr_slice_of("", LDR_VALUE_MAX_BYTES + 1), &out), LDR_CORRUPT);
    ldr_buf_free(&out);
}

/* ---- out of memory ----------------------------------------------------------------------------------------- */

static void each_failed_allocation_of_ours_is_told(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    table(&b);
    for (int way = 0; way < 4; way++)
        for (long n = 1;; n++) {
            bed_mem bed;
            const ldr_mem *mem = bed_mem_init(&bed, n);
            int codec = way & 1 ? LDR_CODEC_JSON : LDR_CODEC_MSGPACK;
            int code = there_and_back(mem, codec, way & 2 ? 1 : 0, ldr_buf_slice(&b));
            bool reached = bed.n_calls >= n;
            assert_int_equal(code, reached ? LDR_NOMEM : LDR_OK);
            assert_int_equal(bed.n_alive, 0);
            if (!reached)
                break;
        }
    ldr_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_stay_as_they_are_under_every_codec),
        cmocka_unit_test(msgpack_keeps_tables_as_they_are),
        cmocka_unit_test(raw_refuses_tables),
        cmocka_unit_test(a_record_says_itself_how_it_was_kept),
        cmocka_unit_test(long_values_are_compressed_from_the_minimum_on),
        cmocka_unit_test(values_that_do_not_shrink_stay_as_they_are),
        cmocka_unit_test(values_that_shrink_too_well_come_back),
        cmocka_unit_test(json_is_compressed_after_it_was_made),
        cmocka_unit_test(values_that_look_compressed_are_only_values),
        cmocka_unit_test(damaged_frames_are_told),
        cmocka_unit_test(doubled_frames_are_told),
        cmocka_unit_test(bombs_are_told_before_memory_is_taken),
        cmocka_unit_test(frames_that_lie_are_told),
        cmocka_unit_test(values_beyond_512_mib_are_not_compressed),
        cmocka_unit_test(each_failed_allocation_of_ours_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
