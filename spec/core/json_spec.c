/* json_spec.c - msgpack as JSON text: it comes back equal or is refused; hostile bytes of both kinds do no harm. */
#include "base/clock.h"
#include "record/codec_json.h"
#include "seal_bed.h"

#include <float.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>

/* ---- json: the same or refused ----------------------------------------------------------------------------- */

static const char *text_of(const ldr_buf *msgpack, ldr_buf *text)
{
    const char *why;
    ldr_buf_clear(text);
    assert_int_equal(ldr_json_write(ldr_buf_slice(msgpack), text, &why), LDR_OK);
    ldr_buf_byte(text, 0);
    return text->p;
}

static void json_text_is_plain(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system), text = LDR_BUF(&ldr_mem_system);
    ldr_pack_map(&b, 5);
    ldr_pack_str(&b, ldr_slice_str("z"));
    ldr_pack_int(&b, 1);
    ldr_pack_str(&b, ldr_slice_str("a"));
    ldr_pack_double(&b, 1.0);
    ldr_pack_str(&b, ldr_slice_str(""));
    ldr_pack_array(&b, 2);
    ldr_pack_nil(&b);
    ldr_pack_bool(&b, false);
    ldr_pack_str(&b, ldr_slice_str("\xc3\xa9\n\""));
    ldr_pack_str(&b, ldr_slice_of("\0", 1));
    ldr_pack_str(&b, ldr_slice_str("m"));
    ldr_pack_map(&b, 0);
    assert_string_equal(text_of(&b, &text),
                        "{\"z\":1,\"a\":1.0,\"\":[null,false],\"\xc3\xa9\\n\\\"\":\"\\u0000\",\"m\":{}}");
    ldr_buf_free(&b);
    ldr_buf_free(&text);
}

static void check_json(const ldr_buf *b)
{
    ldr_sealing s = sealing(LDR_CODEC_JSON, 0);
    ldr_record kept;
    assert_false(b->oom);
    assert_true(comes_back(&s, ldr_buf_slice(b), LDR_MSGPACK, &kept));
    assert_int_equal(kept.kind, LDR_JSON);
}

static void json_keeps_integers_and_floats_apart(void **state)
{
    (void)state;
    static const int64_t ints[] = {0, 1, -1, 127, 128, -32, -33, INT64_C(9007199254740993), INT64_MAX, INT64_MIN};
    static const double reals[] = {0.0, -0.0, 1.0, -1.0, 0.1, 1e15, 1e16, 1e17, 1e22, 1e300, 123456789012345680.0,
                                   9007199254740992.0, DBL_MAX, -DBL_MAX, DBL_MIN, 5e-324, DBL_EPSILON};
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) {
        ldr_buf_clear(&b);
        ldr_pack_int(&b, ints[i]);
        check_json(&b);
    }
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        ldr_buf_clear(&b);
        ldr_pack_double(&b, reals[i]);
        check_json(&b);
    }
    ldr_buf_free(&b);
}

static double random_double(ldr_rng *r)
{
    double d;
    do {
        uint64_t bits = ldr_rng_next(r);
        memcpy(&d, &bits, sizeof d);
    } while (!isfinite(d));
    return d;
}

static void json_keeps_random_numbers(void **state)
{
    (void)state;
    ldr_rng r = bed_rng("json_keeps_random_numbers");
    uint32_t n = (uint32_t)bed_times(20000, 2000000);
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_pack_array(&b, 2 * n);
    for (uint32_t i = 0; i < n; i++) {
        ldr_pack_double(&b, random_double(&r));
        ldr_pack_int(&b, (int64_t)ldr_rng_next(&r) >> ldr_rng_next(&r) % 64);
    }
    check_json(&b);
    ldr_buf_free(&b);
}

static void json_ignores_the_locale(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system), text = LDR_BUF(&ldr_mem_system);
    const char *found = setlocale(LC_ALL, "de_DE.UTF-8");
    ldr_pack_double(&b, 1.5);
    assert_string_equal(text_of(&b, &text), "1.5");
    check_json(&b);
    setlocale(LC_ALL, "C");
    if (!found)
        printf("# json_ignores_the_locale: no locale with a comma is installed here\n");
    ldr_buf_free(&b);
    ldr_buf_free(&text);
}

/* A random tree, only of what JSON can keep; keys carry their number, so that none comes twice. */
static void random_string(ldr_rng *r, ldr_buf *b, int number)
{
    static const char *const parts[] = {"a", "\xc3\xa9", "\xe2\x80\xa8", "\xf0\x9f\x98\x80",
                                        "\"", "\\", "\n", "/", "\x7f"};
    char text[64];
    int n = number < 0 ? 0 : snprintf(text, sizeof text, "%d", number);
    for (uint64_t k = ldr_rng_next(r) % 8; k > 0; k--)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s", parts[ldr_rng_next(r) % 9]);
    ldr_pack_str(b, ldr_slice_of(text, (size_t)n));
}

static void random_tree(ldr_rng *r, ldr_buf *b, int depth)
{
    uint32_t n = (uint32_t)(ldr_rng_next(r) % 5);
    switch (ldr_rng_next(r) % (depth > 0 ? 8 : 5)) {
    case 0: ldr_pack_nil(b); break;
    case 1: ldr_pack_bool(b, n & 1); break;
    case 2: ldr_pack_int(b, (int64_t)ldr_rng_next(r) >> ldr_rng_next(r) % 64); break;
    case 3: ldr_pack_double(b, random_double(r)); break;
    case 4: random_string(r, b, -1); break;
    case 5: case 6:
        ldr_pack_array(b, n);
        for (uint32_t i = 0; i < n; i++)
            random_tree(r, b, depth - 1);
        break;
    default:
        ldr_pack_map(b, n);
        for (uint32_t i = 0; i < n; i++) {
            random_string(r, b, (int)i);
            random_tree(r, b, depth - 1);
        }
    }
}

static void json_keeps_random_trees(void **state)
{
    (void)state;
    ldr_rng r = bed_rng("json_keeps_random_trees");
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    for (long i = 0, n = bed_times(3000, 100000); i < n; i++) {
        ldr_buf_clear(&b);
        random_tree(&r, &b, 6);
        check_json(&b);
    }
    ldr_buf_free(&b);
}

static void nest(ldr_buf *b, int levels)
{
    ldr_buf_clear(b);
    for (int i = 0; i < levels; i++) {
        if (i % 2) {
            ldr_pack_map(b, 1);
            ldr_pack_str(b, ldr_slice_str("k"));
        } else {
            ldr_pack_array(b, 1);
        }
    }
    ldr_pack_nil(b);
}

static void json_keeps_a_hundred_levels_and_no_more(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system), text = LDR_BUF(&ldr_mem_system);
    const char *why = NULL;
    nest(&b, 100);
    check_json(&b);
    nest(&b, 101);
    assert_int_equal(ldr_json_write(ldr_buf_slice(&b), &text, &why), LDR_UNSUPPORTED);
    assert_string_equal(why, "tables more than 100 deep");
    nest(&b, 100000);
    assert_int_equal(ldr_json_write(ldr_buf_slice(&b), &text, &why), LDR_UNSUPPORTED);
    assert_int_equal(text.n, 0);
    ldr_buf_free(&b);
    ldr_buf_free(&text);
}

static const struct {
    const char *bytes;
    size_t n;
    const char *why;
} refused[] = {
    {"\xcb\x7f\xf8\0\0\0\0\0\0", sizeof("\xcb\x7f\xf8\0\0\0\0\0\0") - 1, "a float that is not finite"},
    {"\xcb\x7f\xf0\0\0\0\0\0\0", sizeof("\xcb\x7f\xf0\0\0\0\0\0\0") - 1, "a float that is not finite"},
    {"\xca\xff\x80\0\0", sizeof("\xca\xff\x80\0\0") - 1, "a float that is not finite"},
    {"\x91\xcf\x80\0\0\0\0\0\0\0", sizeof("\x91\xcf\x80\0\0\0\0\0\0\0") - 1, "an integer above 2^63 - 1"},
    {"\xc4\x01" "a", sizeof("\xc4\x01" "a") - 1, "binary or extension bytes"},
    {"\x91\xd4\x01" "a", sizeof("\x91\xd4\x01" "a") - 1, "binary or extension bytes"},
    {"\xa1\xff", sizeof("\xa1\xff") - 1, "a string that is not UTF-8"},
    {"\xa1\x80", sizeof("\xa1\x80") - 1, "a string that is not UTF-8"},
    {"\xa2\xc0\x80", sizeof("\xa2\xc0\x80") - 1, "a string that is not UTF-8"},
    {"\xa2" "a\xc3", sizeof("\xa2" "a\xc3") - 1, "a string that is not UTF-8"},
    {"\xa2\xc3\x28", sizeof("\xa2\xc3\x28") - 1, "a string that is not UTF-8"},
    {"\xa3\xe0\x80\x80", sizeof("\xa3\xe0\x80\x80") - 1, "a string that is not UTF-8"},
    {"\xa3\xed\xa0\x80", sizeof("\xa3\xed\xa0\x80") - 1, "a string that is not UTF-8"},
    {"\xa4\xf0\x80\x80\x80", sizeof("\xa4\xf0\x80\x80\x80") - 1, "a string that is not UTF-8"},
    {"\xa4\xf4\x90\x80\x80", sizeof("\xa4\xf4\x90\x80\x80") - 1, "a string that is not UTF-8"},
    {"\xa4\xf5\x80\x80\x80", sizeof("\xa4\xf5\x80\x80\x80") - 1, "a string that is not UTF-8"},
    {"\x81\x01\x02", sizeof("\x81\x01\x02") - 1, "a map key that is not a string"},
    {"\x81\xc3\x02", sizeof("\x81\xc3\x02") - 1, "a map key that is not a string"},
    {"\x81\xcb\x3f\xf8\0\0\0\0\0\0\x02", 11, "a map key that is not a string"},
    {"\x81\xc0\x02", sizeof("\x81\xc0\x02") - 1, "a map key that is not a string"},
    {"\x81\xa1\xff\x02", sizeof("\x81\xa1\xff\x02") - 1, "a map key that is not UTF-8 or has a NUL byte"},
    {"\x81\xa1\0\x02", sizeof("\x81\xa1\0\x02") - 1, "a map key that is not UTF-8 or has a NUL byte"},
    {"\x82\xa1" "a\x01\xa1" "a\x02", sizeof("\x82\xa1" "a\x01\xa1" "a\x02") - 1, "a map key twice"},
    {"", sizeof("") - 1, "bytes that are not msgpack"},
    {"\xc1", sizeof("\xc1") - 1, "bytes that are not msgpack"},
    {"\xdd\xff\xff\xff\xff", sizeof("\xdd\xff\xff\xff\xff") - 1, "bytes that are not msgpack"},
    {"\xdf\xff\xff\xff\xff\x01\x01", sizeof("\xdf\xff\xff\xff\xff\x01\x01") - 1, "bytes that are not msgpack"},
    {"\xdb\xff\xff\xff\xff", sizeof("\xdb\xff\xff\xff\xff") - 1, "bytes that are not msgpack"},
    {"\x92\x01\xa2" "a", sizeof("\x92\x01\xa2" "a") - 1, "bytes that are not msgpack"},
    {"\x82\xa1" "a\x91\x01\xc1", sizeof("\x82\xa1" "a\x91\x01\xc1") - 1, "bytes that are not msgpack"},
    {"\x01\x01", sizeof("\x01\x01") - 1, "bytes behind its end"},
};

static void json_refuses_what_it_cannot_keep(void **state)
{
    (void)state;
    ldr_sealing s = sealing(LDR_CODEC_JSON, 1);
    ldr_buf made = LDR_BUF(&ldr_mem_system);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        ldr_record r = {.key = ldr_slice_str("k")};
        ldr_err err;
        char want[200];
        snprintf(want, sizeof want, "codec json cannot keep the value of key \"k\": it holds %s", refused[i].why);
        ldr_slice bytes = ldr_slice_of(refused[i].bytes, refused[i].n);
        assert_int_equal(ldr_seal(&s, bytes, LDR_MSGPACK, &r, &made, &err), LDR_UNSUPPORTED);
        assert_string_equal(err.message, want);
    }
    ldr_buf_free(&made);
}

static void json_text_that_is_not_ours_is_corrupt(void **state)
{
    (void)state;
    static const char *const bad[] = {"", " ", "{", "[1,]", "nul", "01", "1 2", "\"\xff\"", "{\"a\":1,\"a\":2}",
                                      "9223372036854775808", "1e999", "\"a", "{1:2}", "[1}", "NaN", "\"\\ud800\"",
                                      "{\"\\u0000\":1}", "'a'"};
    ldr_sealing s = sealing(LDR_CODEC_JSON, 0);
    ldr_buf back = LDR_BUF(&ldr_mem_system);
    ldr_err err;
    ldr_slice out;
    int kind;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ldr_record r = {.key = ldr_slice_str("k"), .kind = LDR_JSON, .value = ldr_slice_str(bad[i])};
        assert_int_equal(ldr_unseal(&s, &r, &out, &kind, &back, &err), LDR_CORRUPT);
        assert_string_equal(err.message, "the kept value of key \"k\" is damaged: not a JSON text of ours");
    }
    ldr_buf_free(&back);
}

static void json_text_may_lie_in_the_buffer_it_is_read_to(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_buf_str(&b, " [1, {\"a\": \"\\u0000\"}, 2.5e0] ");
    assert_int_equal(ldr_json_read(ldr_buf_slice(&b), &b), LDR_OK);
    assert_true(ldr_slice_eq(ldr_buf_slice(&b),
                             ldr_slice_of("\x93\x01\x81\xa1" "a\xa1\0\xcb\x40\x04\0\0\0\0\0\0", 16)));
    ldr_buf_free(&b);
}

static void json_text_too_deep_is_corrupt(void **state)
{
    (void)state;
    static const int levels[] = {101, 2047, 2049, 100000};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        ldr_buf text = LDR_BUF(&ldr_mem_system), out = LDR_BUF(&ldr_mem_system);
        for (int k = 0; k < levels[i]; k++)
            ldr_buf_byte(&text, '[');
        for (int k = 0; k < levels[i]; k++)
            ldr_buf_byte(&text, ']');
        assert_int_equal(ldr_json_read(ldr_buf_slice(&text), &out), LDR_CORRUPT);
        ldr_buf_free(&text);
        ldr_buf_free(&out);
    }
    ldr_buf text = LDR_BUF(&ldr_mem_system), out = LDR_BUF(&ldr_mem_system);
    for (int k = 0; k < 101; k++)
        ldr_buf_str(&text, "{\"a\":");
    ldr_buf_byte(&text, '1');
    for (int k = 0; k < 101; k++)
        ldr_buf_byte(&text, '}');
    assert_int_equal(ldr_json_read(ldr_buf_slice(&text), &out), LDR_CORRUPT);
    ldr_buf_free(&text);
    ldr_buf_free(&out);
}

/* What random bytes are taken for must come back as what they were taken for. */
static void random_msgpack_does_no_harm(void **state)
{
    (void)state;
    static const unsigned char liked[] = {0x80, 0x81, 0x90, 0x91, 0x92, 0xa0, 0xa1, 0xca, 0xcb, 0xdc, 0xde, 0xd9};
    ldr_rng r = bed_rng("random_msgpack_does_no_harm");
    ldr_buf b = LDR_BUF(&ldr_mem_system), text = LDR_BUF(&ldr_mem_system);
    for (long i = 0, n = bed_times(20000, 2000000); i < n; i++) {
        const char *why = NULL;
        ldr_buf_clear(&b);
        ldr_buf_clear(&text);
        for (uint64_t k = ldr_rng_next(&r) % 20; k > 0; k--)
            ldr_buf_byte(&b, ldr_rng_next(&r) & 1 ? liked[ldr_rng_next(&r) % sizeof liked]
                                                  : (unsigned char)ldr_rng_next(&r));
        int code = ldr_json_write(ldr_buf_slice(&b), &text, &why);
        assert_true(code == LDR_OK || (code == LDR_UNSUPPORTED && why));
        if (code == LDR_OK) {
            assert_int_equal(ldr_json_read(ldr_buf_slice(&text), &b), LDR_OK);
            check_json(&b);
        }
    }
    ldr_buf_free(&b);
    ldr_buf_free(&text);
}

/* ---- out of memory ------------------------------------------------------------------------------------------ */

/* jansson has an allocator of its own for the whole process: here it counts and fails too. */
static long json_calls, json_fail_at, json_alive;

static void *json_malloc(size_t n)
{
    if (++json_calls == json_fail_at)
        return NULL;
    json_alive++;
    return malloc(n);
}

static void json_free(void *p)
{
    json_alive -= p != NULL;
    free(p);
}

/* jansson's parser cannot always tell a failed allocation from a bad text: either is an error and nothing leaks. */
static void each_failed_allocation_of_json_is_told(void **state)
{
    (void)state;
    long n_nomem = 0, n_other = 0;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    table(&b);
    json_set_alloc_funcs(json_malloc, json_free);
    for (json_fail_at = 1;; json_fail_at++) {
        json_calls = json_alive = 0;
        int code = there_and_back(&ldr_mem_system, LDR_CODEC_JSON, 0, ldr_buf_slice(&b));
        assert_int_equal(json_alive, 0);
        if (json_calls < json_fail_at) {
            assert_int_equal(code, LDR_OK);
            break;
        }
        assert_true(code == LDR_NOMEM || code == LDR_CORRUPT);
        n_nomem += code == LDR_NOMEM;
        n_other += code == LDR_CORRUPT;
    }
    json_set_alloc_funcs(malloc, free);
    printf("# json allocations failed: %ld told as memory, %ld as corrupt\n", n_nomem, n_other);
    ldr_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_text_is_plain),
        cmocka_unit_test(json_keeps_integers_and_floats_apart),
        cmocka_unit_test(json_keeps_random_numbers),
        cmocka_unit_test(json_ignores_the_locale),
        cmocka_unit_test(json_keeps_random_trees),
        cmocka_unit_test(json_keeps_a_hundred_levels_and_no_more),
        cmocka_unit_test(json_refuses_what_it_cannot_keep),
        cmocka_unit_test(json_text_that_is_not_ours_is_corrupt),
        cmocka_unit_test(json_text_may_lie_in_the_buffer_it_is_read_to),
        cmocka_unit_test(json_text_too_deep_is_corrupt),
        cmocka_unit_test(random_msgpack_does_no_harm),
        cmocka_unit_test(each_failed_allocation_of_json_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
