/* tend.c - see tend.h. One round, in three stages that each put a question as long as there is one to put:
 *
 *   RENEW   leases that are due, in batches             RESEND  one batch of keys to be dropped, or all of the namespace
 *   PULSE   the bell's number, once a second; after one that failed sooner, and then as often as the breaker lets it through
 *
 * Invariant: whenever a message of the bell may have been missed, the flow is made to suspect what L1 holds, and who waits
 * for another's lease looks again, for the word of its end may be what was missed. */
#include "upkeep/tend.h"

#include "base/err.h"

#define MOST_ITEMS 64
#define MOST_BATCHES 16      /* of renewals in one round */
#define ROOM_BYTES 131072    /* for the keys of one batch; one key has 65,535 at most */
#define MOST_TRIES 3         /* of one question that is to be put anew */
#define REST_US 10000        /* without memory */

enum { RENEW = 0, RESEND, PULSE, END };

typedef struct round {
    ldr_op op;
    ldr_tending *t;
    ldr_exchange ex;
    int verb;            /* that was asked */
    bool asked;
    unsigned n_tries, n_batches;
    size_t n;            /* items still to be asked */
    uint64_t last;       /* heard when the pulse was asked */
    int64_t mark;        /* written with it */
    ldr_l2_item items[MOST_ITEMS], *asking[MOST_ITEMS];
    ldr_lease leases[MOST_ITEMS];
    int64_t versions[MOST_ITEMS]; /* that were asked; an answer changes an item's */
    ldr_buf keys, one;
} round;

/* ---- suspicion --------------------------------------------------------------------------------------------- */

static void suspect(ldr_tending *t)
{
    ldr_flow_suspect(t->flow);
    ldr_leases_wake_all(t->flow->leases);
}

/* knew: there was a pulse before; else what was missed was rung before the subscription, most likely. */
static void judge(ldr_tending *t, bool knew, enum ldr_bell_verdict verdict)
{
    if (verdict != LDR_BELL_GAP)
        return;
    if (knew)
        ldr_meter_add(t->flow->meter, LDR_M_bell_gaps, 1);
    suspect(t);
}

static void told(void *ctx, enum ldr_l2_news news, uint64_t sequence)
{
    ldr_tending *t = ctx;
    (void)sequence;
    suspect(t);
    atomic_fetch_or(&t->news, 1u << news);
    if (t->changed)
        t->changed(t->ctx);
}

/* What must not be done by the thread that was told. */
static void heed_news(ldr_tending *t)
{
    unsigned news = atomic_exchange(&t->news, 0);
    if (news & 1u << LDR_L2_NEWS_GENERATION)
        ldr_drop_all(t->flow, LDR_CAUSE_GAP);
    /* What is kept there lives longer than it may, or is of an old copy. */
    if (news & (1u << LDR_L2_NEWS_CLOCK | 1u << LDR_L2_NEWS_EMPTIED))
        ldr_resend_add_all(t->flow->resend);
    if (news & 1u << LDR_L2_NEWS_SEQUENCE)
        t->pulse_us = 0;
}

void ldr_tend_on_change(ldr_tending *t, void (*changed)(void *ctx), void *ctx)
{
    t->changed = changed;
    t->ctx = ctx;
    ldr_leases_on_change(t->flow->leases, changed, ctx);
    ldr_resend_on_change(t->flow->resend, changed, ctx);
}

void ldr_tend_init(ldr_tending *t, ldr_flow *f)
{
    *t = (ldr_tending){.flow = f, .mark_said = LDR_UNSET};
    ldr_l2_listen(f->l2, told, t);
}

void ldr_tend_fini(ldr_tending *t)
{
    ldr_l2_listen(t->flow->l2, NULL, NULL);
    ldr_tend_on_change(t, NULL, NULL);
}

/* ---- the bell ---------------------------------------------------------------------------------------------- */

void ldr_tend_subscribed(ldr_tending *t)
{
    ldr_bell_begin(&t->bell);
    t->listens = true;
    t->pulse_us = 0;
    suspect(t);
}

void ldr_tend_lost(ldr_tending *t)
{
    if (!t->listens)
        return;
    t->listens = false;
#ifndef LDR_BUG_LOSS_TRUSTED
    suspect(t);
#endif
}

void ldr_tend_message(ldr_tending *t, ldr_slice payload)
{
    ldr_bell_message m;
    if (!ldr_bell_read(payload, &m))
        return; /* a stranger's; one of ours that is damaged leaves its number out, which is noticed */
    ldr_meter_add(t->flow->meter, LDR_M_bell_heard, 1);
    judge(t, t->bell.knows, ldr_bell_hear(&t->bell, m.seq));
    ldr_flow_heard(t->flow, &m);
}

static int64_t late_us(const ldr_tending *t)
{
    return t->listens && t->bell.behind ? t->bell.behind_us + LDR_PULSE_GRACE_US : LDR_NEVER;
}

int64_t ldr_tend_due(const ldr_tending *t)
{
    if (atomic_load(&t->news))
        return t->rest_us;
    int64_t due = t->pulse_us, renew = ldr_leases_due(t->flow->leases), late = late_us(t);
    due = renew < due ? renew : due;
    due = late < due ? late : due;
    if (t->resend_us < due && ldr_resend_any(t->flow->resend))
        due = t->resend_us;
    return due > t->rest_us ? due : t->rest_us;
}

/* ---- a question -------------------------------------------------------------------------------------------- */

static int64_t now_us(const round *o)
{
    return ldr_clock_now(&o->t->flow->clock);
}

static bool rest(round *o)
{
    o->t->rest_us = ldr_time_add(now_us(o), REST_US);
    return false;
}

/* Puts the question about the n items that are left. */
static bool ask(round *o, int verb)
{
    o->verb = verb;
    return ldr_l2_ask(o->t->flow->l2, &o->ex, verb, o->asking, o->n, now_us(o)) == LDR_OK || rest(o);
}

static ldr_l2_item *next_item(round *o)
{
    ldr_l2_item *item = &o->items[o->n];
    *item = (ldr_l2_item){.if_version = LDR_ANY};
    o->asking[o->n++] = item;
    return item;
}

/* Reads the answer: what is to be asked once more moves to the front. `settled` is called with each of the others. */
static void read_answer(round *o, void (*settled)(round *o, ldr_l2_item *item))
{
    size_t n_asked = o->n;
    ldr_l2_answer(o->t->flow->l2, &o->ex, o->verb, o->asking, n_asked, now_us(o));
    o->n = 0;
    for (size_t i = 0; i < n_asked; i++) {
        ldr_l2_item *item = o->asking[i];
        if (item->state == LDR_L2_AGAIN && o->n_tries < MOST_TRIES)
            o->asking[o->n++] = item;
        else
            settled(o, item);
    }
}

/* ---- RENEW ------------------------------------------------------------------------------------------------- */

static bool ask_renew(round *o)
{
    ldr_leases *leases = o->t->flow->leases;
    if (o->n > 0)
        return ask(o, LDR_L2_RENEW);
    int64_t now = now_us(o);
    if (ldr_leases_due(leases) > now || o->n_batches++ == MOST_BATCHES)
        return false;
    ldr_buf_clear(&o->keys);
    if (!ldr_buf_reserve(&o->keys, ROOM_BYTES))
        return rest(o);
    size_t n = ldr_leases_take_due(leases, now, o->leases, MOST_ITEMS, o->keys.p, ROOM_BYTES);
    for (size_t i = 0; i < n; i++) {
        ldr_l2_item *item = next_item(o);
        item->key = o->leases[i].key;
        item->token = o->leases[i].token;
        item->for_us = o->leases[i].ttl_us;
    }
    return n > 0 && ask(o, LDR_L2_RENEW);
}

/* One that failed is asked once more at once: the next time that it is due its lease is over. */
static void renewed(round *o, ldr_l2_item *item)
{
    if (item->state == LDR_L2_DONE)
        ldr_meter_add(o->t->flow->meter, LDR_M_renewals, 1);
    else if (item->state == LDR_L2_FAILED && o->n_tries == 1)
        o->asking[o->n++] = item;
}

static bool answer_renew(round *o)
{
    read_answer(o, renewed);
    return true;
}

/* ---- RESEND ------------------------------------------------------------------------------------------------ */

static void resend_failed(round *o)
{
    ldr_tending *t = o->t;
    int64_t now = now_us(o);
    t->resend_us = ldr_time_add(now, LDR_RESEND_AGAIN_US);
    if (t->pulse_wait_us == 0 && now < t->pulse_us) /* which finds out whether the server is there at all */
        t->pulse_us = now;
}

/* Up to MOST_ITEMS keys that find room in the buffer: what is known of each is where it begins, for the buffer moves. */
static void take_keys(round *o)
{
    ldr_resend *r = o->t->flow->resend;
    size_t n_keys = ldr_resend_count(r), starts[MOST_ITEMS];
    int64_t version;
    ldr_buf_clear(&o->keys);
    while (o->n < n_keys && o->n < MOST_ITEMS && o->keys.n < ROOM_BYTES && ldr_resend_next(r, &o->one, &version)) {
        if (!ldr_buf_reserve(&o->keys, o->one.n))
            break;
        starts[o->n] = o->keys.n;
        ldr_buf_add(&o->keys, o->one.p, o->one.n);
        ldr_l2_item *item = next_item(o);
        item->version = version;
        item->key.n = o->one.n;
        o->versions[item - o->items] = version;
    }
    for (size_t i = 0; i < o->n; i++)
        o->items[i].key.p = o->keys.p + starts[i];
}

static bool ask_resend(round *o)
{
    ldr_resend *r = o->t->flow->resend;
    if (o->n > 0)
        return ask(o, o->verb);
    if (o->n_batches++ > 0 || o->t->resend_us > now_us(o) || !ldr_resend_any(r))
        return false;
    if (ldr_resend_all(r)) {
        next_item(o);
        return ask(o, LDR_L2_DROP_ALL);
    }
    take_keys(o);
    return o->n > 0 ? ask(o, LDR_L2_DROP) : rest(o);
}

static void dropped(round *o, ldr_l2_item *item)
{
    ldr_flow *f = o->t->flow;
    if (item->state == LDR_L2_FAILED || item->state == LDR_L2_AGAIN) {
        resend_failed(o);
#ifndef LDR_BUG_RESEND_ONCE
        return;
#endif
    }
    ldr_meter_add(f->meter, LDR_M_resends, 1);
    if (o->verb == LDR_L2_DROP_ALL)
        ldr_resend_all_done(f->resend);
    else
        ldr_resend_done(f->resend, item->key, o->versions[item - o->items]);
}

static bool answer_resend(round *o)
{
    read_answer(o, dropped);
    return o->n > 0;
}

/* ---- PULSE ------------------------------------------------------------------------------------------------- */

/* The mark that the pulse is to write. Processes are ahead of each other: a lower one than what is there is written only once,
 * for a change table that was made anew. */
static int64_t mark_to_say(const ldr_tending *t)
{
    int64_t mark = ldr_resend_mark(t->flow->resend);
    bool says = mark > t->mark_there || (mark < t->mark_there && mark != t->mark_said);
    return says ? mark : LDR_UNSET;
}

static bool ask_pulse(round *o)
{
    ldr_tending *t = o->t;
    int64_t now = now_us(o);
    if (late_us(t) <= now)
        judge(t, true, ldr_bell_pulse(&t->bell, t->bell.behind, now, LDR_PULSE_GRACE_US));
    if (t->pulse_us > now)
        return false;
    o->last = t->bell.last;
    o->mark = mark_to_say(t);
    return ldr_l2_ask_pulse(t->flow->l2, &o->ex, o->mark, now) == LDR_OK || rest(o);
}

static void pulse_failed(ldr_tending *t, int64_t now)
{
    int64_t wait = t->pulse_wait_us ? t->pulse_wait_us : LDR_PULSE_AGAIN_US;
    t->pulse_us = ldr_time_add(now, wait);
    t->pulse_wait_us = wait * 2 < LDR_PULSE_AGAIN_MOST_US ? wait * 2 : LDR_PULSE_AGAIN_MOST_US;
}

/* The bell's number, asked when `last` was heard. */
static void count(ldr_tending *t, uint64_t sequence, uint64_t last, int64_t now)
{
    if (!t->listens) { /* what was rung is known, but not what it said */
#ifndef LDR_BUG_DEAF_TRUSTED
        if (t->wants_bell && sequence != t->bell.last)
            suspect(t);
#endif
        t->bell.last = sequence;
        return;
    }
    if (sequence >= last && sequence < t->bell.last) /* heard while the question was under way: rung after it */
        sequence = t->bell.last;
    bool knew = t->bell.knows;
    judge(t, knew, ldr_bell_pulse(&t->bell, sequence, now, LDR_PULSE_GRACE_US));
}

static void note_mark(ldr_tending *t, int64_t said, int64_t there)
{
    t->mark_there = there;
    t->mark_said = said == LDR_UNSET ? t->mark_said : said;
    ldr_resend_found(t->flow->resend, there);
}

static bool answer_pulse(round *o)
{
    ldr_tending *t = o->t;
    ldr_err err = {0};
    ldr_l2_pulse pulse;
    int64_t now = now_us(o);
    if (!ldr_l2_answer_pulse(t->flow->l2, &o->ex, now, &pulse, &err)) {
        pulse_failed(t, now);
        return false;
    }
    if (t->pulse_wait_us) /* it works again: what could not be sent may go now */
        t->resend_us = 0;
    t->pulse_wait_us = 0;
    t->pulse_us = ldr_time_add(now, LDR_PULSE_US);
    note_mark(t, o->mark, pulse.mark);
    count(t, pulse.sequence, o->last, now);
    return false;
}

/* ---- the round --------------------------------------------------------------------------------------------- */

/* ask: false: nothing is to be asked (any more). answer: false: the stage is over. */
static const struct {
    bool (*ask)(round *o);
    bool (*answer)(round *o);
} stages[] = {
    [RENEW] = {ask_renew, answer_renew},
    [RESEND] = {ask_resend, answer_resend},
    [PULSE] = {ask_pulse, answer_pulse},
};

static void next_stage(round *o)
{
    o->op.stage++;
    o->n = o->n_tries = o->n_batches = 0;
}

static ldr_want step(ldr_op *op)
{
    round *o = (round *)op;
    if (o->asked && !stages[op->stage].answer(o))
        next_stage(o);
    else if (o->n == 0)
        o->n_tries = 0;
    o->asked = false;
    for (heed_news(o->t); op->stage < END; next_stage(o)) {
        if (!stages[op->stage].ask(o))
            continue;
        o->asked = true;
        o->n_tries++;
        return (ldr_want){.kind = LDR_WANT_TALK, .exchange = &o->ex, .deadline_us = op->deadline_us};
    }
    return (ldr_want){.kind = LDR_WANT_DONE};
}

static void end(ldr_op *op)
{
    round *o = (round *)op;
    ldr_mem mem = op->flow->mem;
    ldr_exchange_free(&o->ex);
    ldr_buf_free(&o->keys);
    ldr_buf_free(&o->one);
    ldr_mem_free(&mem, o);
}

ldr_op *ldr_tend_begin(ldr_tending *t, const ldr_owner *owner)
{
    ldr_flow *f = t->flow;
    round *o = ldr_mem_zero(&f->mem, 1, sizeof *o);
    if (!o)
        return NULL;
    ldr_op_init_until(&o->op, f, owner, LDR_NEVER);
    o->op.step = step;
    o->op.end = end;
    o->t = t;
    ldr_exchange_init(&o->ex, &f->mem);
    o->keys = LDR_BUF(&f->mem);
    o->one = LDR_BUF(&f->mem);
    return &o->op;
}
