/* tend_spec.c - rounds of tending: leases, what is sent again, the pulse, the bell. */
#include "tend_server.h"

/* ---- leases --------------------------------------------------------------------------------------------------------- */

static void hold(server *s, ldr_lease *lease, const char *key, int64_t ttl_us)
{
    *lease = (ldr_lease){.key = ldr_slice_str(key), .token = 9, .ttl_us = ttl_us, .since_us = now(s)};
    lease->until_us = now(s) + ttl_us;
    ldr_lease_begin(s->b.flow.leases, lease);
}

static void a_lease_is_renewed_when_it_is_due(void **state)
{
    server *s = *state;
    ldr_lease lease;
    settle(s);
    hold(s, &lease, "user:1", LDR_SEC);
    assert_int_equal(ldr_tend_due(&s->t), now(s) + LDR_SEC / 2);
    settle(s);
    assert_int_equal(s->n_asked[SHA_RENEW], 0);
    pass(s, LDR_SEC / 2);
    settle(s);
    assert_int_equal(s->n_asked[SHA_RENEW], 1);
    assert_string_equal(s->last_key, "ldr1:shop:user:1");
    assert_int_equal(bed_count(&s->b, LDR_M_renewals), 1);
    pass(s, LDR_SEC / 2);
    settle(s);
    assert_int_equal(s->n_asked[SHA_RENEW], 2);
    ldr_lease_end(s->b.flow.leases, &lease);
    pass(s, LDR_SEC);
    settle(s);
    assert_int_equal(s->n_asked[SHA_RENEW], 2);
}

static void many_leases_of_long_keys_are_renewed_in_one_round(void **state)
{
    enum { N = 150 };
    server *s = *state;
    static ldr_lease leases[N];
    static char keys[N][65536];
    for (int i = 0; i < N; i++) {
        memset(keys[i], 'a', i % 10 ? 20 : 65535);
        hold(s, &leases[i], keys[i], LDR_SEC);
    }
    pass(s, LDR_SEC / 2);
    tend(s);
    assert_int_equal(s->n_asked[SHA_RENEW], N);
    for (int i = 0; i < N; i++)
        ldr_lease_end(s->b.flow.leases, &leases[i]);
}

static void a_renewal_that_failed_is_tried_once_more(void **state)
{
    server *s = *state;
    ldr_lease lease;
    settle(s);
    hold(s, &lease, "k", LDR_SEC);
    pass(s, LDR_SEC / 2);
    s->is_down = true;
    int before = s->n_talks;
    tend(s);
    assert_int_equal(s->n_talks, before + 2);
    assert_int_equal(bed_count(&s->b, LDR_M_renewals), 0);
    ldr_lease_end(s->b.flow.leases, &lease);
}

static void a_refused_renewal_is_not_asked_again(void **state)
{
    server *s = *state;
    ldr_lease lease;
    settle(s);
    hold(s, &lease, "k", LDR_SEC);
    pass(s, LDR_SEC / 2);
    s->state = LDR_L2_REFUSED;
    tend(s);
    assert_int_equal(s->n_asked[SHA_RENEW], 1);
    assert_int_equal(bed_count(&s->b, LDR_M_renewals), 0);
    ldr_lease_end(s->b.flow.leases, &lease);
}

static void a_script_that_the_server_forgot_is_sent_anew(void **state)
{
    server *s = *state;
    ldr_lease lease;
    settle(s);
    hold(s, &lease, "k", LDR_SEC);
    pass(s, LDR_SEC / 2);
    tend(s); /* from here on it is believed to be known */
    pass(s, LDR_SEC / 2);
    s->forgets = 1;
    tend(s);
    assert_int_equal(bed_count(&s->b, LDR_M_renewals), 2);
    pass(s, LDR_SEC / 2);
    s->forgets = 1000; /* never knows what it was just given */
    int before = s->n_talks;
    tend(s);
    assert_true(s->n_talks - before < 8);
    ldr_lease_end(s->b.flow.leases, &lease);
}

/* ---- drops ---------------------------------------------------------------------------------------------------------- */

static void owe(server *s, int n)
{
    char key[32];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "user:%d", i);
        ldr_resend_add(s->b.flow.resend, ldr_slice_str(key), i % 3);
    }
}

static void unconfirmed_drops_are_sent_in_batches(void **state)
{
    server *s = *state;
    settle(s);
    owe(s, 150);
    assert_true(ldr_tend_due(&s->t) <= now(s));
    tend(s);
    assert_int_equal(s->n_asked[SHA_DROP], 64);
    settle(s);
    assert_int_equal(s->n_asked[SHA_DROP], 150);
    assert_int_equal(bed_count(&s->b, LDR_M_resends), 150);
    assert_false(ldr_resend_any(s->b.flow.resend));
    assert_true(ldr_tend_due(&s->t) > now(s));
}

static void long_keys_are_sent_a_few_at_a_time(void **state)
{
    server *s = *state;
    static char key[65535];
    memset(key, 'k', sizeof key);
    for (int i = 0; i < 20; i++) {
        key[0] = (char)('a' + i);
        ldr_resend_add(s->b.flow.resend, ldr_slice_of(key, sizeof key), 1);
    }
    tend(s);
    assert_true(s->n_asked[SHA_DROP] >= 1 && s->n_asked[SHA_DROP] <= 4);
    settle(s);
    assert_int_equal(s->n_asked[SHA_DROP], 20);
    assert_false(ldr_resend_any(s->b.flow.resend));
}

static void what_the_server_refuses_is_kept_and_tried_again(void **state)
{
    server *s = *state;
    settle(s);
    s->error = "READONLY no";
    owe(s, 10);
    int from = s->n_talks;
    for (int i = 0; i < 100; i++) { /* five seconds */
        settle(s);
        pass(s, LDR_SEC / 20);
    }
    assert_true(s->n_talks - from < 60);
    assert_int_equal(ldr_resend_count(s->b.flow.resend), 10);
    assert_int_equal(bed_count(&s->b, LDR_M_resends), 0);
    s->error = NULL;
    pass(s, LDR_RESEND_AGAIN_US);
    settle(s);
    assert_false(ldr_resend_any(s->b.flow.resend));
    assert_int_equal(bed_count(&s->b, LDR_M_resends), 10);
}

static void add_again(server *s)
{
    ldr_resend_add(s->b.flow.resend, ldr_slice_str("user:0"), 0);
}

static void what_is_added_while_it_is_sent_is_sent_again(void **state)
{
    server *s = *state;
    settle(s);
    owe(s, 1);
    s->meanwhile = add_again;
    tend(s);
    assert_int_equal(s->n_asked[SHA_DROP], 1);
    assert_true(ldr_resend_any(s->b.flow.resend));
    settle(s);
    assert_int_equal(s->n_asked[SHA_DROP], 2);
    assert_false(ldr_resend_any(s->b.flow.resend));
}

static void all_is_one_question(void **state)
{
    server *s = *state;
    settle(s);
    owe(s, 5);
    ldr_resend_add_all(s->b.flow.resend);
    s->meanwhile = add_again;
    settle(s);
    assert_int_equal(s->n_asked[SHA_DROP_ALL], 1);
    assert_int_equal(s->n_asked[SHA_DROP], 1); /* what came meanwhile */
    assert_false(ldr_resend_any(s->b.flow.resend));
    ldr_resend_add_all(s->b.flow.resend);
    s->is_down = true;
    tend(s);
    assert_true(ldr_resend_all(s->b.flow.resend));
    s->is_down = false;
    pass(s, LDR_SEC);
    settle(s);
    assert_int_equal(s->n_asked[SHA_DROP_ALL], 2);
    assert_false(ldr_resend_any(s->b.flow.resend));
}

/* ---- the pulse -------------------------------------------------------------------------------------------------------- */

static void a_pulse_comes_once_a_second(void **state)
{
    server *s = *state;
    settle(s);
    assert_int_equal(s->n_pulses, 1);
    for (int i = 0; i < 100; i++) {
        settle(s);
        pass(s, LDR_SEC / 10);
    }
    assert_int_equal(s->n_pulses, 10);
}

static void a_pulse_that_failed_comes_again_soon(void **state)
{
    server *s = *state;
    settle(s);
    s->is_down = true;
    pass(s, LDR_SEC);
    int from = s->n_talks;
    for (int i = 0; i < 1000; i++) { /* ten seconds */
        settle(s);
        pass(s, LDR_SEC / 100);
    }
    assert_in_range(s->n_talks - from, 35, 60);
    owe(s, 3);
    settle(s);
    s->is_down = false;
    pass(s, LDR_PULSE_AGAIN_MOST_US);
    settle(s);
    assert_false(ldr_resend_any(s->b.flow.resend)); /* it works again: nobody waits for a better time */
    assert_int_equal(ldr_tend_due(&s->t), now(s) + LDR_PULSE_US);
}

/* ---- the bell --------------------------------------------------------------------------------------------------------- */

static void a_message_that_is_missing_is_noticed(void **state)
{
    server *s = *state;
    s->sequence = 4;
    listen(s);
    uint64_t before = suspected(s);
    int wakes = atomic_load(&s->b.n_wakes);
    say(s, 5, 's', "user:1");
    assert_int_equal(suspected(s), before);
    say(s, 7, 'd', "user:2");
    assert_int_equal(suspected(s), before + 1);
    assert_true(atomic_load(&s->b.n_wakes) > wakes);
    assert_int_equal(bed_count(&s->b, LDR_M_bell_gaps), 1);
    assert_int_equal(bed_count(&s->b, LDR_M_bell_heard), 2);
    assert_int_equal(bed_count(&s->b, LDR_M_invalidations), 2); /* heard all the same */
}

static void the_last_message_missing_is_noticed_by_the_pulse(void **state)
{
    server *s = *state;
    s->sequence = 4;
    listen(s);
    uint64_t before = suspected(s);
    s->sequence = 5;
    pass(s, LDR_PULSE_US);
    settle(s);
    assert_int_equal(suspected(s), before);
    assert_int_equal(ldr_tend_due(&s->t), now(s) + LDR_PULSE_GRACE_US);
    s->is_down = true; /* no further word of the server is needed */
    pass(s, LDR_PULSE_GRACE_US);
    settle(s);
    assert_int_equal(suspected(s), before + 1);
    s->is_down = false;
    pass(s, LDR_PULSE_US);
    settle(s);
    assert_int_equal(suspected(s), before + 1);
}

static void a_message_within_the_grace_is_in_time(void **state)
{
    server *s = *state;
    listen(s);
    uint64_t before = suspected(s);
    s->sequence = 1;
    pass(s, LDR_PULSE_US);
    settle(s);
    pass(s, LDR_PULSE_GRACE_US / 2);
    say(s, 1, 's', "k");
    pass(s, LDR_PULSE_US * 2);
    settle(s);
    assert_int_equal(suspected(s), before);
    assert_int_equal(bed_count(&s->b, LDR_M_bell_gaps), 0);
}

static void hear_three(server *s)
{
    for (uint64_t seq = 5; seq <= 7; seq++)
        say(s, seq, 's', "k");
}

static void a_message_while_the_pulse_is_asked_is_no_fall(void **state)
{
    server *s = *state;
    s->sequence = 4;
    listen(s);
    uint64_t before = suspected(s);
    s->meanwhile = hear_three; /* the answer still says 4 */
    pass(s, LDR_PULSE_US);
    tend(s);
    assert_int_equal(suspected(s), before);
    s->sequence = 7;
    pass(s, LDR_PULSE_US);
    settle(s);
    assert_int_equal(suspected(s), before);
}

static void a_subscription_suspects_what_was_before(void **state)
{
    server *s = *state;
    s->sequence = 40;
    settle(s);
    assert_int_equal(suspected(s), 0);
    ldr_tend_subscribed(&s->t);
    assert_int_equal(suspected(s), 1);
    settle(s);
    assert_int_equal(suspected(s), 1); /* nothing was rung in between: once is enough */
    ldr_tend_lost(&s->t);
    assert_int_equal(suspected(s), 2);
    ldr_tend_lost(&s->t);
    assert_int_equal(suspected(s), 2);
    ldr_tend_subscribed(&s->t);
    s->sequence = 41; /* before or after it? */
    settle(s);
    assert_int_equal(suspected(s), 4);
    assert_int_equal(bed_count(&s->b, LDR_M_bell_gaps), 0);
}

/* Who should hear the bell and cannot: what is rung meanwhile may be about anything that was kept meanwhile. */
static void whoever_cannot_hear_suspects_what_is_rung(void **state)
{
    server *s = *state;
    s->t.wants_bell = true;
    settle(s);
    long from = suspected(s);
    for (int i = 1; i <= 10; i++) {
        s->sequence += 3;
        pass(s, LDR_PULSE_US);
        settle(s);
        assert_int_equal(suspected(s), from + i);
        pass(s, LDR_PULSE_US); /* nothing was rung */
        settle(s);
        assert_int_equal(suspected(s), from + i);
    }
}

static void without_a_subscription_the_bell_is_not_judged(void **state)
{
    server *s = *state;
    for (int i = 0; i < 10; i++) {
        s->sequence += 3;
        pass(s, LDR_PULSE_US);
        settle(s);
    }
    assert_int_equal(suspected(s), 0);
}

static void what_is_no_message_is_not_heard(void **state)
{
    server *s = *state;
    listen(s);
    uint64_t before = suspected(s);
    ldr_tend_message(&s->t, ldr_slice_str("hello"));
    ldr_tend_message(&s->t, ldr_slice_str(""));
    assert_int_equal(bed_count(&s->b, LDR_M_bell_heard), 0);
    assert_int_equal(suspected(s), before);
    int wakes = atomic_load(&s->b.n_wakes);
    say(s, 0, 'w', "waited");
    assert_int_equal(atomic_load(&s->b.n_wakes), wakes + 1);
    assert_int_equal(suspected(s), before);
}

/* ---- news --------------------------------------------------------------------------------------------------------------- */

static void an_emptied_server_is_suspicious(void **state)
{
    server *s = *state;
    s->sequence = 9;
    listen(s);
    uint64_t before = suspected(s);
    s->sequence = 0;
    pass(s, LDR_PULSE_US);
    settle(s);
    assert_true(suspected(s) > before);
}

static void another_generation_drops_all(void **state)
{
    server *s = *state;
    listen(s);
    uint64_t before = suspected(s), dropped = bed_count(&s->b, LDR_M_invalidations);
    s->gen = 0xdef;
    pass(s, LDR_PULSE_US);
    settle(s);
    assert_true(suspected(s) > before);
    assert_int_equal(bed_count(&s->b, LDR_M_invalidations), dropped + 1);
    assert_true(ldr_tend_due(&s->t) > now(s));
}

static void a_clock_set_back_drops_all_there(void **state)
{
    server *s = *state;
    listen(s);
    uint64_t before = suspected(s);
    s->clock_us = -3600 * (int64_t)LDR_SEC;
    pass(s, LDR_PULSE_US);
    settle(s);
    assert_true(suspected(s) > before);
    assert_int_equal(s->n_asked[SHA_DROP_ALL], 1);
    assert_false(ldr_resend_any(s->b.flow.resend));
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

static void out_of_memory_nothing_is_forgotten(void **state)
{
    (void)state;
    for (long at = 1; at < 60; at++) {
        static server s;
        bed_mem m;
        ldr_lease lease;
        set_up(&s, bed_mem_init(&m, 0));
        hold(&s, &lease, "k", LDR_SEC);
        pass(&s, LDR_SEC / 2);
        owe(&s, 3);
        m.fail_at = m.n_calls + at;
        for (int i = 0; i < 30; i++) {
            tend(&s);
            pass(&s, LDR_SEC / 4);
        }
        assert_false(ldr_resend_any(s.b.flow.resend));
        assert_int_equal(s.n_asked[SHA_DROP] + 3 * s.n_asked[SHA_DROP_ALL] >= 3, 1);
        assert_true(s.n_pulses >= 5 && s.n_asked[SHA_RENEW] >= 5);
        ldr_lease_end(s.b.flow.leases, &lease);
        ldr_tend_fini(&s.t);
        bed_flow_fini(&s.b);
        ldr_buf_free(&s.answer);
        assert_int_equal(m.n_alive, 0);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_lease_is_renewed_when_it_is_due),
        T(many_leases_of_long_keys_are_renewed_in_one_round),
        T(a_renewal_that_failed_is_tried_once_more),
        T(a_refused_renewal_is_not_asked_again),
        T(a_script_that_the_server_forgot_is_sent_anew),
        T(unconfirmed_drops_are_sent_in_batches),
        T(long_keys_are_sent_a_few_at_a_time),
        T(what_the_server_refuses_is_kept_and_tried_again),
        T(what_is_added_while_it_is_sent_is_sent_again),
        T(all_is_one_question),
        T(a_pulse_comes_once_a_second),
        T(a_pulse_that_failed_comes_again_soon),
        T(a_message_that_is_missing_is_noticed),
        T(the_last_message_missing_is_noticed_by_the_pulse),
        T(a_message_within_the_grace_is_in_time),
        T(a_message_while_the_pulse_is_asked_is_no_fall),
        T(a_subscription_suspects_what_was_before),
        T(without_a_subscription_the_bell_is_not_judged),
        T(whoever_cannot_hear_suspects_what_is_rung),
        T(what_is_no_message_is_not_heard),
        T(an_emptied_server_is_suspicious),
        T(another_generation_drops_all),
        T(a_clock_set_back_drops_all_there),
        cmocka_unit_test(out_of_memory_nothing_is_forgotten),
    };
    return cmocka_run_group_tests_name("tend", tests, NULL, NULL);
}
