/* bell_spec.c - the bell: its messages are read or refused, and whatever is lost, doubled or overtaken, a number that was
 * not heard is noticed at the next message or pulse. */
#include "bus/bell.h"

#include "bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GRACE 200

static ldr_slice text(const char *s)
{
    return ldr_slice_str(s);
}

static void every_kind_is_read(void **state)
{
    (void)state;
    ldr_bell_message m;
    assert_true(ldr_bell_read(text("7 d 12 00000000000000ff user:1"), &m));
    assert_int_equal(m.seq, 7);
    assert_int_equal(m.kind, LDR_BELL_DROP);
    assert_int_equal(m.version, 12);
    assert_int_equal(m.origin, 255);
    assert_true(ldr_slice_eq(m.key, text("user:1")));
    assert_true(ldr_bell_read(text("9223372036854775807 s 0000000000000000012 ffffffffffffffff a b  c "), &m));
    assert_int_equal(m.kind, LDR_BELL_SET);
    assert_true(m.seq == INT64_MAX && m.version == 12 && m.origin == UINT64_MAX);
    assert_true(ldr_slice_eq(m.key, text("a b  c ")));
    assert_true(ldr_bell_read(text("8 a 0 0000000000000001 00000000deadbeef"), &m));
    assert_int_equal(m.kind, LDR_BELL_ALL);
    assert_int_equal(m.gen, 0xdeadbeef);
    assert_true(ldr_bell_read(text("0 w 0 0000000000000001 k"), &m));
    assert_int_equal(m.kind, LDR_BELL_WAKE);
    assert_true(ldr_bell_read(ldr_slice_of("1 d 0 0000000000000001 \0\n", 25), &m));
    assert_int_equal(m.key.n, 2);
}

static void what_is_no_message_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", " ", "7", "7 d", "7 d 0", "7 d 0 0000000000000001", "7 d 0 0000000000000001 ", " 7 d 0 0000000000000001 k",
        "7  d 0 0000000000000001 k", "0 d 0 0000000000000001 k", "1 w 0 0000000000000001 k", "x d 0 0000000000000001 k",
        "-1 d 0 0000000000000001 k", "7 x 0 0000000000000001 k", "7 dd 0 0000000000000001 k", "7 d -1 0000000000000001 k",
        "7 d 1e3 0000000000000001 k", "7 d 0 1 k", "7 d 0 000000000000000g k", "7 d 0 00000000000000001 k",
        "9223372036854775808 d 0 0000000000000001 k", "7 d 9223372036854775808 0000000000000001 k",
        "99999999999999999999999 d 0 0000000000000001 k", "7 a 0 0000000000000001 k", "7 a 0 0000000000000001 000000000000001",
        "+7 d 0 0000000000000001 k", "7 \0 0 0000000000000001 k",
    };
    ldr_bell_message m;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (ldr_bell_read(text(bad[i]), &m))
            fail_msg("taken as a message: \"%s\"", bad[i]);
}

static void random_bytes_are_read_within_their_bounds(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("bytes");
    static const char alphabet[] = "0 1 7 d s a w f 0000000000000001 k";
    for (long i = bed_times(20000, 2000000); i > 0; i--) {
        size_t n = ldr_rng_next(&rng) % 60;
        char *exact = malloc(n + 1); /* so that a read beyond it is seen */
        char *bytes = realloc(exact, n ? n : 1);
        for (size_t k = 0; k < n; k++)
            bytes[k] = alphabet[ldr_rng_next(&rng) % (sizeof alphabet - 1)];
        ldr_bell_message m;
        if (ldr_bell_read(ldr_slice_of(bytes, n), &m))
            assert_true(m.key.p >= bytes && m.key.n > 0 && m.key.p + m.key.n == bytes + n);
        free(bytes);
    }
}

/* ---- order --------------------------------------------------------------------------------------------------- */

static ldr_bell known(uint64_t last)
{
    ldr_bell b = {.last = last};
    ldr_bell_begin(&b);
    assert_int_equal(ldr_bell_pulse(&b, last, 0, GRACE), LDR_BELL_IN_ORDER);
    return b;
}

static void numbers_in_order_are_in_order(void **state)
{
    (void)state;
    ldr_bell b = known(4);
    assert_int_equal(ldr_bell_hear(&b, 5), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_hear(&b, 5), LDR_BELL_OLD);
    assert_int_equal(ldr_bell_hear(&b, 0), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_hear(&b, 6), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_pulse(&b, 6, 1, GRACE), LDR_BELL_IN_ORDER);
    assert_int_equal(b.last, 6);
}

static void a_missing_number_is_a_gap_once(void **state)
{
    (void)state;
    ldr_bell b = known(4);
    assert_int_equal(ldr_bell_hear(&b, 6), LDR_BELL_GAP);
    assert_int_equal(ldr_bell_hear(&b, 5), LDR_BELL_OLD);
    assert_int_equal(ldr_bell_hear(&b, 7), LDR_BELL_IN_ORDER);
}

static void the_last_message_lost_is_told_by_pulses(void **state)
{
    (void)state;
    ldr_bell b = known(4);
    assert_int_equal(ldr_bell_pulse(&b, 6, 1000, GRACE), LDR_BELL_IN_ORDER); /* may be under way */
    assert_int_equal(ldr_bell_hear(&b, 5), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_pulse(&b, 6, 1000 + GRACE - 1, GRACE), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_pulse(&b, 9, 1000 + GRACE, GRACE), LDR_BELL_GAP);
    assert_int_equal(b.last, 9);
    assert_int_equal(b.behind, 0);
}

static void what_comes_within_the_grace_is_no_gap(void **state)
{
    (void)state;
    ldr_bell b = known(4);
    assert_int_equal(ldr_bell_pulse(&b, 6, 1000, GRACE), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_hear(&b, 5), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_hear(&b, 6), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_pulse(&b, 8, 5000, GRACE), LDR_BELL_IN_ORDER);
    assert_int_equal(b.behind_us, 5000);
}

static void a_number_that_fell_is_a_gap(void **state)
{
    (void)state;
    ldr_bell b = known(4);
    assert_int_equal(ldr_bell_pulse(&b, 0, 1, GRACE), LDR_BELL_GAP);
    assert_int_equal(ldr_bell_hear(&b, 1), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_hear(&b, 2), LDR_BELL_IN_ORDER);
}

static void a_subscription_knows_nothing_of_before(void **state)
{
    (void)state;
    ldr_bell b = known(4);
    ldr_bell_begin(&b);
    assert_int_equal(ldr_bell_pulse(&b, 4, 1, GRACE), LDR_BELL_IN_ORDER); /* nothing was rung at all */
    ldr_bell_begin(&b);
    assert_int_equal(ldr_bell_pulse(&b, 5, 2, GRACE), LDR_BELL_GAP);
    ldr_bell_begin(&b);
    assert_int_equal(ldr_bell_hear(&b, 6), LDR_BELL_IN_ORDER);
    assert_int_equal(ldr_bell_pulse(&b, 6, 3, GRACE), LDR_BELL_IN_ORDER);
    ldr_bell_begin(&b);
    assert_int_equal(ldr_bell_hear(&b, 8), LDR_BELL_GAP);
    ldr_bell fresh = {0};
    ldr_bell_begin(&fresh);
    assert_int_equal(ldr_bell_pulse(&fresh, 5000, 4, GRACE), LDR_BELL_GAP);
}

/* ---- against a model: the world rings, loses, doubles and shuffles; the model remembers what was not heard. ------ */

#define MOST_FLYING 8

typedef struct world {
    ldr_bell b;
    ldr_rng rng;
    uint64_t rung;                  /* the server's number */
    uint64_t flying[MOST_FLYING];   /* sent, not arrived */
    size_t n_flying;
    uint64_t lost;                  /* the highest number that will never arrive and was not noticed; 0 none */
    int64_t now_us;
} world;

static uint64_t below(world *w, uint64_t n)
{
    return ldr_rng_next(&w->rng) % n;
}

static void take_off(world *w, size_t i)
{
    for (w->n_flying--; i < w->n_flying; i++)
        w->flying[i] = w->flying[i + 1];
}

static void lose(world *w, uint64_t seq)
{
    if (seq > w->lost)
        w->lost = seq;
}

static void ring(world *w)
{
    uint64_t seq = ++w->rung;
    if (below(w, 10) == 0 || w->n_flying == MOST_FLYING) {
        lose(w, seq);
        return;
    }
    w->flying[w->n_flying++] = seq;
}

/* A GAP makes all suspect that is kept: whatever was rung before now does no more harm. */
static void judge(world *w, enum ldr_bell_verdict verdict)
{
    if (verdict == LDR_BELL_GAP)
        w->lost = 0;
}

static void arrive(world *w)
{
    if (w->n_flying == 0)
        return;
    size_t i = below(w, 8) ? 0 : below(w, w->n_flying); /* mostly in order */
    uint64_t seq = w->flying[i];
    if (below(w, 10))
        take_off(w, i); /* else it comes once more */
    judge(w, ldr_bell_hear(&w->b, seq));
    if (w->lost && w->lost < seq)
        fail_msg("%llu was lost and %llu was heard", (unsigned long long)w->lost, (unsigned long long)seq);
}

/* Twice, with all that flew arrived and the grace over in between: then nothing may be missing. */
static void settle(world *w)
{
    judge(w, ldr_bell_pulse(&w->b, w->rung, w->now_us, GRACE));
    while (w->n_flying > 0) {
        uint64_t seq = w->flying[0];
        take_off(w, 0);
        judge(w, ldr_bell_hear(&w->b, seq));
    }
    w->now_us += GRACE;
    judge(w, ldr_bell_pulse(&w->b, w->rung, w->now_us, GRACE));
    if (w->lost)
        fail_msg("%llu was lost, the server is at %llu, and two pulses said nothing", (unsigned long long)w->lost,
                 (unsigned long long)w->rung);
}

static void resubscribe(world *w)
{
    w->n_flying = 0;
    w->lost = 0; /* its owner suspects all that was before */
    ldr_bell_begin(&w->b);
    for (uint64_t n = below(w, 3); n > 0; n--)
        ring(w);
    judge(w, ldr_bell_pulse(&w->b, w->rung, w->now_us, GRACE));
    if (w->lost)
        fail_msg("%llu was rung after the subscription and lost, the first pulse said nothing", (unsigned long long)w->lost);
}

static void empty_the_server(world *w)
{
    w->rung = 0;
    w->n_flying = 0;
    w->lost = 0;
    judge(w, ldr_bell_pulse(&w->b, 0, w->now_us, GRACE));
    assert_int_equal(w->b.last, 0);
}

static void whatever_is_lost_is_noticed(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("bell");
    for (long round = bed_times(3000, 300000); round > 0; round--) {
        world w = {.rng.s = ldr_rng_next(&rng), .rung = ldr_rng_next(&rng) % 3};
        resubscribe(&w);
        for (int step = 0; step < 60; step++) {
            w.now_us += (int64_t)below(&w, 50);
            switch (below(&w, 16)) {
            case 0: resubscribe(&w); break;
            case 1: settle(&w); break;
            case 2: judge(&w, ldr_bell_pulse(&w.b, w.rung, w.now_us, GRACE)); break;
            case 3: if (below(&w, 4) == 0) empty_the_server(&w); break;
            case 4: case 5: case 6: case 7: case 8: arrive(&w); break;
            default: ring(&w); break;
            }
        }
        settle(&w);
    }
}

static void nothing_lost_is_no_gap(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("calm bell");
    ldr_bell b = known(0);
    uint64_t rung = 0, heard = 0;
    int64_t now = 0;
    for (long i = bed_times(20000, 2000000); i > 0; i--) {
        now += 10;
        uint64_t what = ldr_rng_next(&rng) % 8;
        if (what < 3)
            rung++;
        else if (what < 7 && heard < rung)
            assert_int_equal(ldr_bell_hear(&b, ++heard), LDR_BELL_IN_ORDER);
        else if (rung - heard < 5) /* each is heard within the grace */
            assert_int_equal(ldr_bell_pulse(&b, rung, now, 100000), LDR_BELL_IN_ORDER);
        if (rung - heard >= 5)
            while (heard < rung)
                assert_int_equal(ldr_bell_hear(&b, ++heard), LDR_BELL_IN_ORDER);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(what_is_no_message_is_refused),
        cmocka_unit_test(random_bytes_are_read_within_their_bounds),
        cmocka_unit_test(numbers_in_order_are_in_order),
        cmocka_unit_test(a_missing_number_is_a_gap_once),
        cmocka_unit_test(the_last_message_lost_is_told_by_pulses),
        cmocka_unit_test(what_comes_within_the_grace_is_no_gap),
        cmocka_unit_test(a_number_that_fell_is_a_gap),
        cmocka_unit_test(a_subscription_knows_nothing_of_before),
        cmocka_unit_test(whatever_is_lost_is_noticed),
        cmocka_unit_test(nothing_lost_is_no_gap),
    };
    return cmocka_run_group_tests_name("bell", tests, NULL, NULL);
}
