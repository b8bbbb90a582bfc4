/* tend_spec.c - rounds of tending on a virtual clock, their questions carried to a server that is made up here. */
#include "tend_bed.h"

#include "l2/scripts.h"
#include "upkeep/changes.h"

#include <stdio.h>
#include <stdlib.h>

#define START_US (1000 * (int64_t)LDR_SEC)
#define SERVER_US (1700000000 * (int64_t)LDR_SEC)

/* ---- a server ---------------------------------------------------------------------------------------------------- */

enum { SHA_RENEW, SHA_DROP, SHA_DROP_ALL, N_SHAS };

typedef struct server {
    bed_flow b;
    ldr_tending t;
    bool is_down;
    int forgets;           /* so many times it does not know the script */
    uint64_t gen, sequence;
    long long mark;        /* of changes; 0: none lies there */
    int n_marks;           /* written */
    int64_t clock_us;      /* added to its clock */
    int state;             /* that scripts answer: enum ldr_l2_state */
    const char *error;     /* what they answer instead */
    int n_talks, n_asked[N_SHAS], n_pulses;
    char last_key[64];     /* of the last script */
    void (*meanwhile)(struct server *s); /* while a question is under way, once */
    ldr_buf answer;
} server;

static const char *sha_of(int i)
{
    const ldr_script *scripts[] = {&ldr_script_renew, &ldr_script_drop, &ldr_script_drop_all};
    return scripts[i]->sha;
}

static ldr_slice next_arg(const char **p)
{
    size_t n = strtoul(*p + 1, (char **)(uintptr_t)p, 10);
    ldr_slice arg = ldr_slice_of(*p + 2, n);
    *p += 2 + n + 2;
    return arg;
}

static int64_t server_us(const server *s)
{
    return SERVER_US + s->clock_us + ldr_clock_now(&s->b.flow.clock) - START_US;
}

static void answer_script(server *s, ldr_slice sha, ldr_slice key)
{
    if (s->forgets > 0 || s->error) {
        ldr_buf_fmt(&s->answer, "-%s\r\n", s->forgets > 0 ? "NOSCRIPT no such" : s->error);
        s->forgets -= s->forgets > 0;
        return;
    }
    for (int i = 0; i < N_SHAS; i++)
        s->n_asked[i] += ldr_slice_eq(sha, ldr_slice_of(sha_of(i), 40));
    snprintf(s->last_key, sizeof s->last_key, "%.*s", (int)(key.n < 60 ? key.n : 60), key.p);
    ldr_buf_fmt(&s->answer, "*5\r\n:%d\r\n:%lld\r\n$19\r\n%019d\r\n:0\r\n:0\r\n", s->state,
                (long long)server_us(s), 99);
}

static void answer_command(server *s, const ldr_slice *argv, size_t n)
{
    char number[24];
    if (ldr_slice_eq(argv[0], ldr_slice_str("EVALSHA")) && n > 4) {
        answer_script(s, argv[1], argv[3]);
    } else if (ldr_slice_eq(argv[0], ldr_slice_str("SCRIPT"))) {
        ldr_buf_str(&s->answer, "$2\r\nok\r\n");
    } else if (ldr_slice_eq(argv[0], ldr_slice_str("HMGET"))) {
        int size = snprintf(number, sizeof number, "%llu", (unsigned long long)s->sequence);
        ldr_buf_fmt(&s->answer, "*3\r\n$16\r\n%016llx\r\n$%d\r\n%s\r\n", (unsigned long long)s->gen, size, number);
        size = snprintf(number, sizeof number, "%lld", s->mark);
        if (s->mark)
            ldr_buf_fmt(&s->answer, "$%d\r\n%s\r\n", size, number);
        else
            ldr_buf_str(&s->answer, "$-1\r\n");
        s->n_pulses++;
    } else if (ldr_slice_eq(argv[0], ldr_slice_str("HSET"))) {
        s->mark = strtoll(argv[3].p, NULL, 10);
        s->n_marks++;
        ldr_buf_str(&s->answer, ":0\r\n");
    } else if (ldr_slice_eq(argv[0], ldr_slice_str("TIME"))) {
        int64_t at = server_us(s);
        int size = snprintf(number, sizeof number, "%lld", (long long)(at / LDR_SEC));
        ldr_buf_fmt(&s->answer, "*2\r\n$%d\r\n%s\r\n$6\r\n%06d\r\n", size, number, (int)(at % LDR_SEC));
    } else {
        ldr_buf_str(&s->answer, ":1\r\n");
    }
}

static void carry(server *s, ldr_exchange *ex)
{
    s->n_talks++;
    ex->sent_us = ldr_clock_now(&s->b.flow.clock);
    if (s->meanwhile) {
        void (*meanwhile)(server *s) = s->meanwhile;
        s->meanwhile = NULL;
        meanwhile(s);
    }
    if (s->is_down) {
        ex->done = true;
        ex->err = (ldr_err){.code = LDR_UNAVAILABLE, .message = "refused"};
        return;
    }
    ldr_buf_clear(&s->answer);
    for (const char *p = ex->out.p, *end = p + ex->out.n; p < end;) {
        ldr_slice argv[20];
        size_t n = strtoul(p + 1, (char **)(uintptr_t)&p, 10);
        p += 2;
        for (size_t i = 0; i < n; i++)
            argv[i] = next_arg(&p);
        answer_command(s, argv, n);
    }
    ex->sent = true;
    ldr_exchange_feed(ex, ldr_buf_slice(&s->answer));
}

/* ---- rounds -------------------------------------------------------------------------------------------------------- */

static int64_t now(server *s)
{
    return ldr_clock_now(&s->b.flow.clock);
}

static void pass(server *s, int64_t us)
{
    ldr_clock_advance(&s->b.flow.clock, us);
}

/* One round; false: there was no memory for it. */
static bool tend(server *s)
{
    ldr_owner owner = {.host = s};
    ldr_op *op = ldr_tend_begin(&s->t, &owner);
    int stage = 0;
    if (!op)
        return false;
    for (ldr_want want; (want = ldr_op_step(op)).kind != LDR_WANT_DONE;) {
        assert_int_equal(want.kind, LDR_WANT_TALK);
        assert_true(op->stage >= stage && s->n_talks < 1000);
        stage = op->stage;
        carry(s, want.exchange);
    }
    ldr_op_end(op);
    return true;
}

/* Whatever is due at this moment. */
static void settle(server *s)
{
    for (int n = 0; ldr_tend_due(&s->t) <= now(s); n++) {
        assert_true(n < 100);
        tend(s);
    }
}

static void set_up(server *s, const ldr_mem *mem)
{
    memset(s, 0, sizeof *s);
    bed_flow_init(&s->b, mem, START_US);
    s->gen = 0xabc;
    s->state = LDR_L2_DONE;
    s->answer = LDR_BUF(&ldr_mem_system);
    ldr_tend_init(&s->t, &s->b.flow);
}

static int setup(void **state)
{
    static server the;
    set_up(&the, NULL);
    *state = &the;
    return 0;
}

static int teardown(void **state)
{
    server *s = *state;
    ldr_tend_fini(&s->t);
    bed_flow_fini(&s->b);
    ldr_buf_free(&s->answer);
    return 0;
}

static uint64_t suspected(server *s)
{
    return bed_count(&s->b, LDR_M_suspicions);
}

static void say(server *s, uint64_t seq, char kind, const char *key)
{
    char text[128];
    int n = snprintf(text, sizeof text, "%llu %c 5 " BED_ORIGIN " %s", (unsigned long long)seq, kind, key);
    ldr_tend_message(&s->t, ldr_slice_of(text, (size_t)n));
}

/* Subscribed, with the first pulse behind it. */
static void listen(server *s)
{
    settle(s);
    ldr_tend_subscribed(&s->t);
    settle(s);
}

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

/* ---- a change table -------------------------------------------------------------------------------------------------------- */

/* Rows oldest ... newest; the row n is of key "item:n". At most `most` are told at a time. */
typedef struct table {
    ldr_source source;
    int64_t oldest, newest, most;
    int code;
    ldr_changes changes;
} table;

static void run(ldr_source *source, ldr_request *r)
{
    table *t = (table *)source;
    char key[32];
    if (t->code) {
        r->err.code = t->code;
        return;
    }
    if (r->mark == LDR_UNSET)
        r->mark = t->newest;
    if (r->mark > t->newest || (r->mark < t->newest && t->oldest > r->mark + 1)) {
        r->flood(r->ctx, "gap");
        r->mark = t->newest;
    }
    for (int64_t n = 0; r->mark < t->newest && n < t->most; n++) {
        snprintf(key, sizeof key, "item:%lld", (long long)++r->mark);
        r->changed(r->ctx, ldr_slice_str(key), r->mark);
    }
}

static void follow(server *s, table *t, int64_t oldest, int64_t newest)
{
    static const ldr_source_ops ops = {.name = "table", .run = run};
    ldr_err err;
    *t = (table){.source = {.ops = &ops}, .oldest = oldest, .newest = newest, .most = 1000};
    t->changes.flow = &s->b.flow;
    s->b.flow.source = &t->source;
    assert_int_equal(ldr_changes_begin(&t->changes, &err), LDR_OK);
}

/* So many seconds, with ten looks each. */
static void live(server *s, table *t, int seconds)
{
    for (int i = 0; i < seconds * 10; i++) {
        settle(s);
        ldr_changes_look(&t->changes);
        settle(s);
        pass(s, LDR_SEC / 10);
    }
}

static void what_changed_in_our_absence_is_dropped_there(void **state)
{
    server *s = *state;
    table t;
    s->mark = 90;
    follow(s, &t, 1, 100);
    settle(s);
    assert_int_equal(s->n_asked[SHA_DROP], 0);
    ldr_changes_look(&t.changes);
    settle(s);
    assert_int_equal(s->n_asked[SHA_DROP], 10);
    assert_string_equal(s->last_key, "ldr1:shop:item:100");
    assert_int_equal(s->mark, 90); /* comes with the next pulse */
    live(s, &t, 3);
    assert_int_equal(s->mark, 100);
    assert_int_equal(s->n_marks, 1);
    assert_int_equal(s->n_asked[SHA_DROP], 10);
    t.newest = 103;
    live(s, &t, 3);
    assert_int_equal(s->mark, 103);
    assert_int_equal(s->n_marks, 2);
    assert_int_equal(s->n_asked[SHA_DROP], 13);
}

static void a_long_absence_is_made_up_in_parts(void **state)
{
    server *s = *state;
    table t;
    s->mark = 50;
    follow(s, &t, 1, 100);
    t.most = 7;
    t.code = LDR_BUSY;
    live(s, &t, 2);
    assert_int_equal(s->mark, 50);
    t.code = LDR_OK;
    settle(s);
    ldr_changes_look(&t.changes);
    assert_int_equal(ldr_resend_count(s->b.flow.resend), 7);
    live(s, &t, 4);
    assert_int_equal(s->n_asked[SHA_DROP], 50);
    assert_int_equal(s->mark, 100);
}

static void without_a_mark_all_that_is_known_is_told(void **state)
{
    server *s = *state;
    table t;
    follow(s, &t, 1, 5);
    live(s, &t, 2);
    assert_int_equal(s->n_asked[SHA_DROP], 5);
    assert_int_equal(s->mark, 5);
    assert_int_equal(s->n_asked[SHA_DROP_ALL], 0);
}

static void what_cannot_be_told_any_more_forgets_all(void **state)
{
    server *s = *state;
    const struct {
        int64_t mark, oldest, newest;
    } cases[] = {{0, 2, 5}, {90, 92, 100}, {90, 101, 100}, {90, 1, 80}, {90, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        table t;
        s->mark = cases[i].mark;
        follow(s, &t, cases[i].oldest, cases[i].newest);
        live(s, &t, 3);
        assert_int_equal(s->n_asked[SHA_DROP_ALL], 1);
        assert_int_equal(s->n_asked[SHA_DROP], 0);
        assert_int_equal(s->mark, cases[i].newest);
        teardown(state);
        setup(state);
    }
}

static void while_the_server_is_away_nothing_is_said(void **state)
{
    server *s = *state;
    table t;
    s->mark = 90;
    s->is_down = true;
    follow(s, &t, 1, 100);
    live(s, &t, 2);
    t.newest = 102;
    live(s, &t, 2);
    assert_int_equal(ldr_resend_count(s->b.flow.resend), 2);
    s->is_down = false;
    s->error = "READONLY no";
    live(s, &t, 2);
    assert_int_equal(ldr_resend_count(s->b.flow.resend), 12);
    assert_int_equal(s->mark, 90);
    s->error = NULL;
    live(s, &t, 3);
    assert_int_equal(s->mark, 102);
}

static void fall_back(server *s)
{
    s->sequence = 0;
    s->mark = 40;
}

static void a_mark_is_not_said_before_an_emptied_server_has_forgotten(void **state)
{
    server *s = *state;
    table t;
    s->sequence = 9;
    follow(s, &t, 1, 100);
    live(s, &t, 3);
    assert_int_equal(s->mark, 100);
    fall_back(s); /* an old copy */
    s->error = "READONLY no";
    live(s, &t, 3);
    assert_int_equal(s->mark, 40);
    s->error = NULL;
    live(s, &t, 3);
    assert_int_equal(s->n_asked[SHA_DROP_ALL], 1);
    assert_int_equal(s->mark, 100);
}

static void others_are_not_held_back_by_who_is_behind(void **state)
{
    server *s = *state;
    table t;
    s->mark = 100;
    follow(s, &t, 1, 100);
    live(s, &t, 2);
    s->mark = 120; /* of somebody whose look was later */
    t.newest = 110;
    live(s, &t, 3);
    assert_int_equal(s->n_marks, 1);
    s->mark = 120;
    live(s, &t, 5);
    assert_int_equal(s->n_marks, 1);
    t.newest = 130;
    live(s, &t, 2);
    assert_int_equal(s->mark, 130);
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
        T(what_changed_in_our_absence_is_dropped_there),
        T(a_long_absence_is_made_up_in_parts),
        T(without_a_mark_all_that_is_known_is_told),
        T(what_cannot_be_told_any_more_forgets_all),
        T(while_the_server_is_away_nothing_is_said),
        T(a_mark_is_not_said_before_an_emptied_server_has_forgotten),
        T(others_are_not_held_back_by_who_is_behind),
        cmocka_unit_test(out_of_memory_nothing_is_forgotten),
    };
    return cmocka_run_group_tests_name("tend", tests, NULL, NULL);
}
