/* load.c - the work of flights: ask the source or the loader, seal what came, fill L1 where that is still right,
 * land the flights. Stages: ASK -> (ANSWER) -> TTL -> (TTLS) -> FILL -> DONE.
 *
 * Ended before it is done, it lands its flights unanswered: whoever waits asks again. */
#include "base/err.h"
#include "flow/op.h"

enum { ASK, ANSWER, TTLS, FILL, DONE };

typedef struct load {
    ldr_op op;
    ldr_ttls ttls;
    bool has_loader;
    ldr_request request;
    size_t n;
    ldr_flight **flights;
    ldr_item **items;
} load;

static void settle_request(load *l)
{
    for (size_t i = 0; i < l->n; i++) {
        ldr_item *item = l->items[i];
        if (item->state == LDR_UNANSWERED) {
            item->state = LDR_FAILED;
            item->err = l->request.err;
            if (item->err.code == LDR_OK)
                ldr_fail(&item->err, LDR_LOADER, "the load gave no answer for this key");
        }
        if (item->state == LDR_FOUND && item->kind == LDR_NONE)
            item->state = LDR_GONE;
    }
}

static void note_load(load *l, ldr_flight *flight)
{
    ldr_flow *f = l->op.flow;
    const ldr_item *item = &flight->item;
    uint64_t hash = flight->hash;
    if (item->state == LDR_FAILED) {
        ldr_meter_add(f->meter, LDR_M_load_errors, 1);
        ldr_backoff_failed(f->backoff, hash, ldr_clock_now(&f->clock));
        ldr_flow_error(f, item->key, &item->err);
    } else {
        ldr_backoff_worked(f->backoff, hash);
    }
    if (!ldr_events_want(&f->events, LDR_EVENT_load))
        return;
    ldr_event e = {.kind = LDR_EVENT_load, .took_us = flight->load_us};
    if (item->state == LDR_FAILED) {
        e.code = ldr_code_word(item->err.code);
        memcpy(e.message, item->err.message, sizeof e.message - 1);
    }
    ldr_events_note(&f->events, item->key, &e);
}

static void fill(void *ctx, ldr_flight *flight, enum ldr_leave leave)
{
    ldr_flow *f = ctx;
    ldr_record *r = flight->record;
    if (!r) {
        if (flight->answered && leave == LDR_LEAVE_GRANTED && f->shelf)
            ldr_shelf_erase(f->shelf, flight->item.key, flight->hash);
        return;
    }
    if (leave != LDR_LEAVE_GRANTED) {
        ldr_flow_refused(f, r->key, leave == LDR_LEAVE_VERSION ? "version" : "lease");
        return;
    }
    ldr_flow_rise(f, r->version); /* a set that comes later must not look older */
    ldr_flow_keep_at(f, r, flight->hash, flight->asked_us + flight->load_us);
}

/* The record that an answered item would become; false: it is not to be kept. */
static bool record_of(load *l, ldr_flight *flight, ldr_record *r, ldr_buf *made)
{
    ldr_flow *f = l->op.flow;
    ldr_item *item = &flight->item;
    *r = (ldr_record){.key = item->key, .kind = LDR_NONE, .version = item->version, .position = item->position,
                      .fingerprint = item->fingerprint, .load_us = flight->load_us};
    flight->soft_us = flight->asked_us;
    flight->answered = item->state != LDR_FAILED;
    if (item->state == LDR_FAILED)
        return false;
    int sealed = item->state == LDR_FOUND
                     ? ldr_seal(&f->sealing, ldr_buf_slice(&item->out), item->kind, r, made, &item->err) : LDR_OK;
    if (sealed == LDR_NOMEM) { /* the value is there: it is given, and not kept */
        ldr_err_clear(&item->err);
        return false;
    }
    if (sealed != LDR_OK) {
        item->state = LDR_FAILED;
        return false;
    }
    bool kept = ldr_flow_expiry(f, &l->ttls, item, flight->asked_us, r) && !item->no_store && f->shelf;
    flight->soft_us = kept ? r->soft_us : flight->asked_us;
    return kept;
}

static void land(load *l, ldr_flight *flight)
{
    ldr_flow *f = l->op.flow;
    ldr_record r;
    ldr_buf made = LDR_BUF(&f->mem);
    flight->record = record_of(l, flight, &r, &made) ? &r : NULL;
    note_load(l, flight);
    flight->load = NULL;
    ldr_flight_end(f->flights, flight, fill, f);
    ldr_buf_free(&made);
}

static void ask(load *l)
{
    ldr_flow *f = l->op.flow;
    int64_t now = l->op.owner.at_once ? l->op.begun_us : ldr_clock_now(&f->clock);
    for (size_t i = 0; i < l->n; i++)
        l->flights[i]->asked_us = now;
    ldr_meter_add(f->meter, LDR_M_loads, l->n);
    l->request.deadline_us = ldr_time_add(now, f->source_timeout_us);
    if (l->op.deadline_us >= l->request.deadline_us || l->has_loader)
        return;
    l->request.deadline_us = l->op.deadline_us;
    for (size_t i = 0; i < l->n; i++)
        l->flights[i]->cut_short = true;
}

static void answered(load *l)
{
    ldr_flow *f = l->op.flow;
    int64_t now = ldr_clock_now(&f->clock);
    for (size_t i = 0; i < l->n; i++)
        l->flights[i]->load_us = now - l->flights[i]->asked_us;
#ifdef LDR_BUG_AGE
    for (size_t i = 0; i < l->n; i++)
        l->flights[i]->asked_us = now;
#endif
    ldr_meter_note(f->meter, LDR_LAT_load, (now - l->flights[0]->asked_us) * 1000, l->n);
    settle_request(l);
}

static ldr_want want_call(load *l, int verb)
{
    l->request.verb = verb;
    return (ldr_want){.kind = LDR_WANT_CALL, .deadline_us = l->op.deadline_us, .request = &l->request};
}

static ldr_want load_step(ldr_op *op)
{
    load *l = (load *)op;
    ldr_flow *f = op->flow;
    switch (op->stage) {
    case ASK:
        ask(l);
        op->stage = ANSWER;
        if (l->has_loader || !f->source->ops->run)
            return want_call(l, LDR_LOAD);
        return (ldr_want){.kind = LDR_WANT_JOB, .deadline_us = l->request.deadline_us, .request = &l->request};
    case ANSWER:
        answered(l);
        op->stage = TTLS;
        if (!l->has_loader)
            ldr_drop_outgrown(f);
        if (f->asks_ttl)
            return want_call(l, LDR_TTL);
        /* fall through */
    case TTLS:
        op->stage = FILL;
        /* fall through */
    case FILL:
        for (size_t i = 0; i < l->n; i++) {
            land(l, l->flights[i]);
            l->flights[i] = NULL;
        }
        op->stage = DONE;
    }
    return (ldr_want){.kind = LDR_WANT_DONE};
}

static void load_end(ldr_op *op)
{
    load *l = (load *)op;
    ldr_mem mem = op->flow->mem;
    for (size_t i = 0; i < l->n; i++) {
        if (!l->flights[i])
            continue;
        l->flights[i]->item.state = LDR_UNANSWERED;
        l->flights[i]->load = NULL;
        ldr_flight_end(op->flow->flights, l->flights[i], NULL, NULL);
    }
    ldr_mem_free(&mem, l);
}

static bool uses_call(const ldr_flow *f, bool has_loader)
{
    return has_loader || !f->source->ops->run || f->asks_ttl;
}

ldr_op *ldr_load_begin(ldr_flow *f, ldr_flight **flights, size_t n, const ldr_loading *how)
{
    load *l = ldr_mem_zero(&f->mem, 1, sizeof *l + n * (sizeof *l->flights + sizeof *l->items));
    if (!l)
        return NULL;
    ldr_owner owner = *how->owner;
    if (!uses_call(f, how->has_loader)) /* another thread may drive and end it, and nothing is made inside its calls */
        owner.parent = NULL;
    ldr_op_init_until(&l->op, f, &owner, how->deadline_us);
    l->op.begun_us = how->now_us;
    l->op.step = load_step;
    l->op.end = load_end;
    l->ttls = how->ttls;
    l->has_loader = how->has_loader;
    l->n = n;
    l->flights = (ldr_flight **)(void *)(l + 1);
    l->items = (ldr_item **)(void *)(l->flights + n);
    for (size_t i = 0; i < n; i++) {
        ldr_flight_hold(flights[i]);
        l->flights[i] = flights[i];
        l->items[i] = &flights[i]->item;
    }
    l->request = (ldr_request){.items = l->items, .n_items = n, .clock = &f->clock};
    if (ldr_load_uses_call(&l->op)) /* else another thread may drive it, and it makes no calls that could form a ring */
        for (size_t i = 0; i < n; i++)
            flights[i]->load = &l->op;
    return &l->op;
}

bool ldr_load_is_for(const ldr_op *op, ldr_slice key)
{
    const load *l = (const load *)op;
    bool is = false;
    for (size_t i = 0; op->step == load_step && i < l->n && !is; i++)
        is = l->flights[i] && ldr_slice_eq(l->items[i]->key, key);
    return is;
}

bool ldr_load_uses_call(const ldr_op *op)
{
    return uses_call(op->flow, ((const load *)op)->has_loader);
}
