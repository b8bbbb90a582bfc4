/* tend_server.h - rounds of tending on a virtual clock, their questions carried to a server that is made up here. */
#ifndef SPEC_TEND_SERVER_H
#define SPEC_TEND_SERVER_H

#include "tend_bed.h"

#include "l2/scripts.h"

#include <stdio.h>
#include <stdlib.h>

#pragma GCC diagnostic ignored "-Wunused-function" /* no spec needs all of them */

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

#endif
