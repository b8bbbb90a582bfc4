/* hit.c - a read that L1 answers: no operation, no flight, no source. */
#include "base/err.h"
#include "flow/op.h"

static int outcome_at(int64_t now_us, int level, const ldr_record *r)
{
    enum ldr_verdict verdict = ldr_level_judge(level, r, now_us);
    return verdict == LDR_ASK           ? LDR_MISS
           : verdict == LDR_SERVE_STALE ? LDR_STALE
           : r->kind == LDR_NONE        ? LDR_ABSENT
                                        : LDR_HIT_L1;
}

/* The message is read only where there is an error. */
void ldr_answer_clear(ldr_answer *a)
{
    a->value = (ldr_slice){0};
    a->kind = LDR_NONE;
    a->outcome = LDR_MISS;
    a->tier = LDR_TIER_NONE;
    a->version = a->asked_us = a->soft_us = 0;
    a->weaker = false;
    a->err.code = LDR_OK;
    a->err.version = 0;
    a->err.message[0] = '\0';
    a->ref = (ldr_slot_ref){0};
}

/* Kept before something may have been missed. */
static bool is_suspect(const ldr_flow *f, const ldr_record *r)
{
#ifdef LDR_BUG_NEVER_SUSPECT
    return false;
#endif
    return r->suspect != (int64_t)atomic_load_explicit(&f->era, memory_order_acquire);
}

bool ldr_flow_look(ldr_flow *f, const ldr_look *what, ldr_hit_buffers *b, ldr_answer *out, int64_t *hard_us)
{
    ldr_record r;
    ldr_answer_clear(out);
    if (!f->shelf || !ldr_shelf_read(f->shelf, what->key, what->hash, what->now_us, what->touch, &r, &b->bytes, &out->ref))
        return false;
    if (is_suspect(f, &r)) {
        ldr_answer_clear(out);
        return false;
    }
    if (r.kind != LDR_NONE && ldr_unseal(&f->sealing, &r, &out->value, &out->kind, &b->made, &out->err) != LDR_OK) {
        if (out->err.code == LDR_CORRUPT)
            ldr_shelf_erase(f->shelf, what->key, what->hash);
        ldr_answer_clear(out);
        return false;
    }
    out->tier = LDR_TIER_L1;
    out->version = r.version;
    out->asked_us = r.asked_us;
    out->soft_us = r.soft_us;
    out->outcome = outcome_at(what->now_us, what->level, &r);
    if (hard_us)
        *hard_us = ldr_record_hard_us(&r);
    return true;
}

static const char *outcome_word(const ldr_answer *a)
{
    return a->outcome == LDR_STALE    ? "stale"
           : a->outcome == LDR_ABSENT ? "absent"
           : a->tier == LDR_TIER_L2   ? "l2"
                                      : "l1";
}

void ldr_flow_count_hit(ldr_flow *f, ldr_slice key, const ldr_answer *a)
{
    bool shared = a->tier == LDR_TIER_L2;
    ldr_meter_add(f->meter, shared ? LDR_M_hits_l2 : LDR_M_hits_l1, 1);
    if (a->outcome == LDR_STALE)
        ldr_meter_add(f->meter, LDR_M_stale, 1);
    if (a->outcome == LDR_ABSENT)
        ldr_meter_add(f->meter, LDR_M_absent, 1);
    enum ldr_event_kind kind = a->outcome == LDR_STALE ? LDR_EVENT_stale : LDR_EVENT_hit;
    if (ldr_events_want(&f->events, kind))
        ldr_events_note(&f->events, key, &(ldr_event){.kind = kind, .tier = shared ? "l2" : "l1", .outcome = outcome_word(a),
                                                      .age_us = ldr_clock_now(&f->clock) - a->asked_us});
}

bool ldr_flow_hit(ldr_flow *f, const ldr_look *what, ldr_hit_buffers *b, ldr_answer *out)
{
    if (!ldr_flow_look(f, what, b, out, NULL) || out->outcome == LDR_MISS)
        return false;
    ldr_flow_count_hit(f, what->key, out);
    return true;
}

bool ldr_flow_peek(ldr_flow *f, ldr_slice key, ldr_hit_buffers *b, ldr_answer *out)
{
    ldr_look look = {.key = key, .hash = ldr_hash(key, f->seed), .level = LDR_WEAK, .now_us = ldr_clock_now(&f->clock)};
    return ldr_flow_look(f, &look, b, out, NULL);
}
