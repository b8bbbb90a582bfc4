/* rules_spec.c - what is pure or nearly so: levels, the table of patterns, the queue of events. */
#include "coherence/level.h"
#include "flow/flow.h"

#include "bed.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* ---- level --------------------------------------------------------------------------------------------------- */

static void levels_judge_by_the_soft_expiry(void **state)
{
    (void)state;
    ldr_record r = {.asked_us = 0, .soft_us = 100, .stale_us = 50};
    assert_int_equal(ldr_level_judge(LDR_EVENTUAL, &r, 99), LDR_SERVE);
    assert_int_equal(ldr_level_judge(LDR_EVENTUAL, &r, 100), LDR_ASK);
    assert_int_equal(ldr_level_judge(LDR_WEAK, &r, 99), LDR_SERVE);
    assert_int_equal(ldr_level_judge(LDR_WEAK, &r, 100), LDR_SERVE_STALE);
    r.soft_us = LDR_NEVER;
    assert_int_equal(ldr_level_judge(LDR_EVENTUAL, &r, LDR_NEVER - 1), LDR_SERVE);
}

/* ---- plan ---------------------------------------------------------------------------------------------------- */

static void patterns_are_rows(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool writes, keeps;
    } rows[LDR_N_PATTERNS] = {
        [LDR_CACHE_ASIDE] = {"cache_aside", false, false},
        [LDR_READ_THROUGH] = {"read_through", false, false},
        [LDR_WRITE_AROUND] = {"write_around", true, false},
        [LDR_WRITE_THROUGH] = {"write_through", true, true},
    };
    for (int i = 0; i < LDR_N_PATTERNS; i++) {
        const ldr_plan *p = ldr_plan_of(i);
        assert_string_equal(p->name, rows[i].name);
        assert_true(p->read_source);
        assert_int_equal(p->write_source, rows[i].writes);
        assert_int_equal(p->write_keeps, rows[i].keeps);
    }
    assert_null(ldr_plan_of(-1));
    assert_null(ldr_plan_of(LDR_N_PATTERNS));
}

/* ---- events -------------------------------------------------------------------------------------------------- */

typedef struct events_bed {
    bed_mem mem;
    ldr_meter *meter;
    ldr_events q;
} events_bed;

static int setup(void **state)
{
    events_bed *b = calloc(1, sizeof *b);
    bed_mem_init(&b->mem, 0);
    b->meter = ldr_meter_new(&ldr_mem_system);
    ldr_events_init(&b->q, &b->mem.mem, b->meter);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    events_bed *b = *state;
    ldr_events_fini(&b->q);
    ldr_meter_free(b->meter, &ldr_mem_system);
    long left = b->mem.n_alive;
    free(b);
    return left == 0 ? 0 : 1;
}

static void note(events_bed *b, const char *key)
{
    ldr_events_note(&b->q, ldr_slice_str(key), &(ldr_event){.kind = LDR_EVENT_fill, .version = 3, .tier = "l1"});
}

static void only_what_is_listened_to_is_wanted(void **state)
{
    events_bed *b = *state;
    for (int kind = 0; kind < LDR_N_EVENTS; kind++)
        assert_false(ldr_events_want(&b->q, kind));
    ldr_events_listen(&b->q, 1u << LDR_EVENT_fill | 1u << LDR_EVENT_error);
    for (int kind = 0; kind < LDR_N_EVENTS; kind++)
        assert_int_equal(ldr_events_want(&b->q, kind), kind == LDR_EVENT_fill || kind == LDR_EVENT_error);
    assert_string_equal(ldr_event_name(LDR_EVENT_invalidate), "invalidate");
}

static void events_come_in_order_with_their_own_key(void **state)
{
    events_bed *b = *state;
    char key[] = "k0";
    for (int i = 0; i < 3; i++, key[1]++)
        note(b, key);
    key[1] = '0';
    for (int i = 0; i < 3; i++, key[1]++) {
        ldr_event *e = ldr_events_take(&b->q);
        assert_true(ldr_slice_eq(e->key, ldr_slice_str(key)));
        assert_int_equal(e->version, 3);
        assert_string_equal(e->tier, "l1");
        ldr_events_drop(&b->q, e);
    }
    assert_null(ldr_events_take(&b->q));
}

static void a_full_queue_drops_and_counts(void **state)
{
    events_bed *b = *state;
    for (int i = 0; i < LDR_EVENTS_MOST + 5; i++)
        note(b, "k");
    assert_int_equal(ldr_meter_sum(b->meter, LDR_M_events_dropped), 5);
    ldr_events_drop(&b->q, ldr_events_take(&b->q));
    note(b, "k");
    note(b, "k");
    assert_int_equal(ldr_meter_sum(b->meter, LDR_M_events_dropped), 6);
}

static void long_keys_fill_it_by_bytes(void **state)
{
    events_bed *b = *state;
    enum { LONG = 65535 };
    char *key = malloc(LONG + 1);
    assert_non_null(key);
    memset(key, 'k', LONG);
    key[LONG] = '\0';
    for (int i = 0; i < 1000; i++)
        note(b, key);
    uint64_t dropped = ldr_meter_sum(b->meter, LDR_M_events_dropped);
    assert_in_range((1000 - dropped) * (LONG + sizeof(ldr_event)), LDR_EVENTS_MOST_BYTES - 2 * LONG, LDR_EVENTS_MOST_BYTES);
    for (ldr_event *e; (e = ldr_events_take(&b->q)) != NULL;)
        ldr_events_drop(&b->q, e);
    note(b, key);
    assert_int_equal(ldr_meter_sum(b->meter, LDR_M_events_dropped), dropped);
    free(key);
}

static void no_memory_is_a_dropped_event(void **state)
{
    events_bed *b = *state;
    b->mem.fail_at = b->mem.n_calls + 1;
    note(b, "k");
    assert_int_equal(ldr_meter_sum(b->meter, LDR_M_events_dropped), 1);
    assert_null(ldr_events_take(&b->q));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_judge_by_the_soft_expiry),
        cmocka_unit_test(patterns_are_rows),
        cmocka_unit_test_setup_teardown(only_what_is_listened_to_is_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(events_come_in_order_with_their_own_key, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_drops_and_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(long_keys_fill_it_by_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(no_memory_is_a_dropped_event, setup, teardown),
    };
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
