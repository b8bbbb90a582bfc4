/* get_look.c - what the tiers hold of the keys of a read: L1, then the shared shelf; and how a key is settled. A hit of the
 * shared shelf takes no flight: nobody waits for it but its caller. */
#include "base/err.h"
#include "flow/get.h"

static void settle(ldr_reading *g, ldr_get_key *k)
{
    k->state = LDR_SETTLED_KEY;
    g->n_settled++;
}

static void count_answer(ldr_reading *g, ldr_get_key *k)
{
    ldr_flow *f = g->op.flow;
    const ldr_answer *a = &k->answer;
    if (a->tier == LDR_TIER_L1 || (a->tier == LDR_TIER_L2 && a->outcome != LDR_JOINED)) {
        ldr_flow_count_hit(f, k->key, a);
        return;
    }
    ldr_meter_add(f->meter, LDR_M_misses, 1);
    if (a->outcome == LDR_JOINED)
        ldr_meter_add(f->meter, LDR_M_joined, 1);
    if (a->outcome == LDR_ABSENT)
        ldr_meter_add(f->meter, LDR_M_absent, 1);
    if (a->err.code)
        ldr_meter_add(f->meter, LDR_M_errors, 1);
    if (ldr_events_want(&f->events, LDR_EVENT_miss))
        ldr_events_note(&f->events, k->key, &(ldr_event){.kind = LDR_EVENT_miss});
}

void ldr_get_answer_with(ldr_reading *g, ldr_get_key *k, const ldr_answer *a)
{
    k->answer = *a;
    count_answer(g, k);
    settle(g, k);
}

void ldr_get_fail(ldr_reading *g, ldr_get_key *k, const ldr_err *err)
{
    ldr_get_answer_with(g, k, &(ldr_answer){.kind = LDR_NONE, .err = *err});
}

void ldr_get_fail_with(ldr_reading *g, ldr_get_key *k, int code, const char *what)
{
    char text[LDR_KEY_TEXT];
    ldr_err err;
    ldr_fail(&err, code, "get of key \"%s\": %s", ldr_key_text(k->key, text), what);
    ldr_get_fail(g, k, &err);
}

bool ldr_get_asks_somebody(const ldr_reading *g)
{
    return g->asking.has_loader || (g->op.flow->source && g->op.flow->read_plan->read_source);
}

/* ---- L1 ----------------------------------------------------------------------------------------------------- */

bool ldr_get_look_at(ldr_reading *g, ldr_get_key *k, bool touch)
{
    ldr_flow *f = g->op.flow;
    ldr_look look = {.key = k->key, .hash = k->hash, .level = g->asking.level, .touch = touch,
                     .now_us = g->now_us};
    return ldr_flow_look(f, &look, &k->buffers, &k->answer, NULL) && k->answer.outcome != LDR_MISS;
}

static bool is_fresh(const ldr_reading *g, const ldr_get_key *k)
{
    return k->answer.tier == LDR_TIER_L1 && g->now_us < k->answer.soft_us;
}

/* Answers with the value of the last look, past its soft expiry; false: there was none. */
static bool answer_stale(ldr_reading *g, ldr_get_key *k)
{
    ldr_answer a = k->answer;
    if (a.tier != LDR_TIER_L1 || a.kind == LDR_NONE)
        return false;
    a.outcome = LDR_STALE;
    a.weaker = g->asking.level != LDR_WEAK;
    a.ref = (ldr_slot_ref){0};
    ldr_get_answer_with(g, k, &a);
    return true;
}

/* Where the source gave nothing: what L1 holds by now, for what it held at first may have been dropped meanwhile. (To
 * who asked for a refresh, what is fresh is no answer.) */
bool ldr_get_answer_held(ldr_reading *g, ldr_get_key *k)
{
    bool admitted = ldr_get_look_at(g, k, false);
    if (g->asking.refresh && is_fresh(g, k))
        return false;
    if (!admitted)
        return answer_stale(g, k);
    ldr_get_answer_with(g, k, &k->answer);
    return true;
}

void ldr_get_look(ldr_reading *g, ldr_get_key *k)
{
    ldr_flow *f = g->op.flow;
    if (!g->asking.not_held && ldr_get_look_at(g, k, true) && !g->asking.refresh) {
        ldr_get_answer_with(g, k, &k->answer);
    } else if (!ldr_get_asks_somebody(g) && !f->l2) {
        ldr_get_answer_with(g, k, &(ldr_answer){.kind = LDR_NONE, .outcome = LDR_MISS});
    } else if (g->asking.refresh || !ldr_backoff_waits(f->backoff, k->hash, g->now_us) ||
               !answer_stale(g, k)) { /* in its back-off, with nothing stale to give: it is tried after all */
        ldr_buf_free(&k->buffers.bytes);
        ldr_buf_free(&k->buffers.made);
    }
}

/* ---- the shared shelf --------------------------------------------------------------------------------------- */

static ldr_get_seek *seek_new(ldr_flow *f, size_t n)
{
    size_t per_key = sizeof(ldr_l2_item) + sizeof(ldr_l2_item *) + sizeof(ldr_get_key *);
    ldr_get_seek *s = ldr_mem_new(&f->mem, sizeof *s + n * per_key);
    if (!s)
        return NULL;
    s->n = 0;
    s->items = (ldr_l2_item *)(void *)(s + 1);
    s->asked = (ldr_l2_item **)(void *)(s->items + n);
    s->keys = (ldr_get_key **)(void *)(s->asked + n);
    ldr_exchange_init(&s->ex, &f->mem);
    return s;
}

static void collect(ldr_reading *g, ldr_get_seek *s)
{
    s->n = 0;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        ldr_get_key *k = &g->keys[i];
        if (k->state != LDR_ASKING_KEY)
            continue;
        s->items[s->n].key = k->key; /* a look-up reads no more, and answers all that is read afterwards */
        s->items[s->n].least = ldr_resend_owed(g->op.flow->resend, k->key);
        s->asked[s->n] = &s->items[s->n];
        s->keys[s->n++] = k;
        k->news = ldr_flights_news(g->op.flow->flights, k->hash);
    }
}

ldr_exchange *ldr_get_seek_ask(ldr_reading *g)
{
    ldr_flow *f = g->op.flow;
    if (!f->l2 || g->asking.refresh)
        return NULL;
    if (!g->seek)
        g->seek = seek_new(f, g->asking.n_keys);
    ldr_get_seek *s = g->seek;
    if (!s)
        return NULL;
    collect(g, s);
    bool asked = s->n > 0 && ldr_l2_ask(f->l2, &s->ex, LDR_L2_LOOKUP, s->asked, s->n, g->now_us) == LDR_OK;
    return asked ? &s->ex : NULL;
}

typedef struct keeping {
    ldr_flow *flow;
    ldr_record *record;
    uint64_t hash;
    int64_t now_us;
} keeping;

static void keep(void *ctx)
{
    keeping *k = ctx;
    ldr_flow_keep_at(k->flow, k->record, k->hash, k->now_us);
}

/* L1 gets it too, unless the key was changed since the shared shelf was asked. */
static void promote(ldr_reading *g, const ldr_get_key *k, ldr_record *r)
{
    ldr_flow *f = g->op.flow;
    if (!f->shelf)
        return;
    r->key = k->key;
    keeping what = {.flow = f, .record = r, .hash = k->hash, .now_us = g->now_us};
    if (!ldr_flights_fill(f->flights, k->hash, k->news, keep, &what))
        ldr_flow_refused(f, k->key, "lease");
}

/* The record becomes the key's answer; false: it could not be opened. */
static bool serve(ldr_reading *g, ldr_get_key *k, ldr_record *r)
{
    ldr_flow *f = g->op.flow;
    ldr_answer *a = &k->answer;
    a->value = (ldr_slice){0};
    a->kind = LDR_NONE;
    a->err.code = LDR_OK;
    if (r->kind != LDR_NONE && ldr_unseal(&f->sealing, r, &a->value, &a->kind, &k->buffers.made, &a->err) != LDR_OK) {
        ldr_err_clear(&a->err);
        return false;
    }
    bool fresh = g->now_us < r->soft_us;
    a->outcome = !fresh ? LDR_STALE : r->kind == LDR_NONE ? LDR_ABSENT : LDR_HIT_L2;
    a->tier = LDR_TIER_L2;
    a->version = r->version;
    a->asked_us = r->asked_us;
    a->soft_us = r->soft_us;
    a->weaker = false;
    a->ref = (ldr_slot_ref){0};
    promote(g, k, r);
    count_answer(g, k);
    settle(g, k);
    return true;
}

/* Nobody can be asked: what the shared shelf said is the last word. */
static void settle_without(ldr_reading *g, ldr_get_key *k, const ldr_l2_item *item)
{
    char text[LDR_KEY_TEXT];
    ldr_err err;
    if (item->state != LDR_L2_FAILED) {
        ldr_get_answer_with(g, k, &(ldr_answer){.kind = LDR_NONE, .outcome = LDR_MISS});
        return;
    }
    ldr_fail(&err, item->err.code, "get of key \"%s\": %.150s", ldr_key_text(k->key, text), item->err.message);
    ldr_get_fail(g, k, &err);
}

static void found(ldr_reading *g, ldr_get_key *k, ldr_l2_item *item)
{
    bool may = item->state == LDR_L2_HELD && item->is_found && ldr_flow_has_shape(g->op.flow, &item->found, g->asking.has_loader) &&
               ldr_level_judge(g->asking.level, &item->found, g->now_us) != LDR_ASK;
    if ((!may || !serve(g, k, &item->found)) && !ldr_get_asks_somebody(g))
        settle_without(g, k, item);
}

bool ldr_get_seek_take(ldr_reading *g)
{
    ldr_flow *f = g->op.flow;
    ldr_get_seek *s = g->seek;
    bool again = ldr_l2_answer(f->l2, &s->ex, LDR_L2_LOOKUP, s->asked, s->n, g->now_us);
    if (s->ex.err.code == LDR_OK)
        ldr_meter_note(f->meter, LDR_LAT_l2, (g->now_us - s->ex.sent_us) * 1000, s->n);
    for (size_t i = 0; i < s->n && !again; i++)
        found(g, s->keys[i], &s->items[i]);
    return again;
}
