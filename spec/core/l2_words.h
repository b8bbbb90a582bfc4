/* l2_words.h - short ways to say each verb about the key "k" to the shelf of a spec, and what then is asserted. One spec a
 * program: its bed and shelf are here. */
#ifndef SPEC_L2_WORDS_H
#define SPEC_L2_WORDS_H

#include "bed.h"
#include "l2_bed.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#pragma GCC diagnostic ignored "-Wunused-function" /* no spec says all of them */

#define A 0xa
#define B 0xb

static l2_bed bed;
static ldr_l2 *shelf;

static int open_bed(void **state)
{
    (void)state;
    l2_bed_open(&bed);
    return 0;
}

static int close_bed(void **state)
{
    (void)state;
    l2_bed_close(&bed);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    l2_do(&bed, "FLUSHALL", NULL);
    l2_do(&bed, "CONFIG", "SET", "maxmemory", "0", NULL);
    shelf = l2_shelf(7);
    l2_hear(&bed);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ldr_l2_free(shelf);
    return 0;
}

static ldr_l2_item said;

static int say(int verb, ldr_l2_item item)
{
    said = item;
    return l2_say(&bed, shelf, verb, &said);
}

static int look(void)
{
    return say(LDR_L2_LOOKUP, l2_item(A));
}

static int lease(uint64_t token)
{
    return say(LDR_L2_LEASE, l2_item(token));
}

static int with_record(int verb, uint64_t token, const char *value, int64_t version)
{
    ldr_record r = l2_record(value ? value : "", version);
    ldr_l2_item item = l2_item(token);
    item.record = value ? &r : NULL;
    item.version = version;
    return say(verb, item);
}

static int fill(uint64_t token, const char *value, int64_t version)
{
    return with_record(LDR_L2_FILL, token, value, version);
}

static int set(uint64_t token, const char *value, int64_t version)
{
    return with_record(LDR_L2_SET, token, value, version);
}

static int mark(uint64_t token)
{
    return say(LDR_L2_MARK, l2_item(token));
}

static int put(const char *value, int64_t version, int64_t if_version)
{
    ldr_record r = l2_record(value ? value : "", version);
    ldr_l2_item item = l2_item(0);
    item.record = value ? &r : NULL;
    item.version = version;
    item.if_version = if_version;
    return say(LDR_L2_PUT, item);
}

static int drop(int64_t version)
{
    ldr_l2_item item = l2_item(0);
    item.version = version;
    return say(LDR_L2_DROP, item);
}

static void hold(const char *value, int64_t version)
{
    assert_int_equal(lease(A), LDR_L2_LEASED);
    assert_int_equal(fill(A, value, version), LDR_L2_DONE);
    l2_hear(&bed);
}

static void evict(void)
{
    l2_do(&bed, "DEL", L2_KEY, NULL);
}

static void assert_held(const char *value, int64_t version)
{
    assert_int_equal(look(), LDR_L2_HELD);
    assert_true(said.is_found);
    assert_true(ldr_slice_eq(said.found.value, ldr_slice_str(value)));
    assert_true(said.found.version == version);
}

static void assert_nothing(void)
{
    assert_int_equal(look(), LDR_L2_NOTHING);
    assert_false(said.is_found);
}

static void assert_refused(int state, const char *why)
{
    assert_int_equal(state, LDR_L2_REFUSED);
    assert_string_equal(said.why, why);
}

/* The only message since: "SEQ rest" with that rest; NULL: there was none. */
static void assert_heard(const char *words)
{
    char want[160];
    snprintf(want, sizeof want, "%s %016llx k", words ? words : "", (unsigned long long)ldr_l2_origin(shelf));
    assert_int_equal(l2_hear(&bed), words ? 1 : 0);
    if (words)
        assert_string_equal(strchr(bed.heard[0], ' ') + 1, want);
}

static int64_t ttl_ms(void)
{
    return l2_number(&bed, "PTTL", L2_KEY);
}

/* Until the server's clock has moved so far. */
static void pass(int64_t us)
{
    int64_t until = bed_now() + us;
    while (bed_now() <= until)
        l2_do(&bed, "PING", NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define RUN(tests) cmocka_run_group_tests(tests, open_bed, close_bed)

#endif
