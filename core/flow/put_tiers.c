/* put_tiers.c - a write of the tiers alone, on this process's shelf. Where there is a shared shelf it is asked first, and
 * its answer is applied here; else the write is done at once. */
#include "base/err.h"
#include "flow/put.h"

typedef struct tier_write {
    ldr_put *p;
    ldr_put_key *k;
} tier_write;

/* The version held, 0 where there is none; false: no memory to look. */
static bool held_version(ldr_flow *f, const ldr_put_key *k, bool *held, int64_t *version)
{
    ldr_record r;
    ldr_buf bytes = LDR_BUF(&f->mem);
    *held = f->shelf && ldr_shelf_read(f->shelf, k->item.key, k->hash, ldr_clock_now(&f->clock), false, &r, &bytes, NULL)
            && r.kind != LDR_NONE;
    *version = *held ? r.version : 0;
    bool looked = !bytes.oom;
    ldr_buf_free(&bytes);
    return looked;
}

static bool condition_holds(ldr_put *p, ldr_put_key *k)
{
    char text[LDR_KEY_TEXT];
    bool held;
    int64_t wanted = p->writing.if_version, given = p->writing.version, is;
    if (wanted == LDR_ANY && given == 0)
        return true;
    bool looked = held_version(p->op.flow, k, &held, &is);
    if (looked && (wanted == LDR_MUST_BE_ABSENT ? !held : wanted == LDR_ANY ? given >= is : held && is == wanted))
        return true;
    k->item.state = LDR_FAILED;
    if (!looked) {
        ldr_fail_oom(&k->item.err);
        return false;
    }
    ldr_fail(&k->item.err, LDR_CONFLICT, "key \"%s\": version %lld is held", ldr_key_text(k->item.key, text), (long long)is);
    k->item.err.version = is;
    return false;
}

/* Fits no tier: an error only where no source is going to have it. */
static void too_large(ldr_put *p, ldr_put_key *k)
{
    char text[LDR_KEY_TEXT];
    if (p->is_weak)
        return;
    k->item.state = LDR_FAILED;
    ldr_fail(&k->item.err, LDR_TOO_LARGE, "key \"%s\": a value of %zu bytes fits no tier", ldr_key_text(k->item.key, text),
             k->record.value.n);
}

static void write_tiers(void *ctx)
{
    tier_write *w = ctx;
    ldr_put *p = w->p;
    ldr_put_key *k = w->k;
    ldr_flow *f = p->op.flow;
    if (!condition_holds(p, k))
        return;
    k->item.state = LDR_FOUND;
    ldr_flow_rise(f, p->writing.version);
    k->item.version = p->writing.version > 0 ? p->writing.version : ldr_flow_draw(f);
    if (p->writing.verb == LDR_ERASE || !k->kept_times) {
        if (f->shelf)
            ldr_shelf_erase(f->shelf, k->item.key, k->hash);
        return;
    }
    k->record.version = f->source && f->source->ops->versioned(f->source, k->item.key) ? 0 : k->item.version;
    if (ldr_flow_keep_at(f, &k->record, k->hash, p->asked_us) == LDR_KEPT_TOO_LARGE)
        too_large(p, k);
}

static void tiers_told(ldr_put *p, ldr_put_key *k, int64_t version)
{
    ldr_flow *f = p->op.flow;
    if (k->item.state != LDR_FAILED || k->item.err.code == LDR_LOST)
        ldr_flow_spread(f, k->item.key, version);
    ldr_put_told(p, k);
    if (p->writing.verb == LDR_ERASE && (k->item.state != LDR_FAILED || k->item.err.code == LDR_LOST))
        ldr_flow_invalidated(f, k->item.key, LDR_CAUSE_DELETE);
}

void ldr_put_tiers(ldr_put *p, ldr_put_key *k)
{
    ldr_flow *f = p->op.flow;
    p->asked_us = ldr_clock_now(&f->clock);
    if (p->writing.verb == LDR_ERASE || ldr_put_make_record(p, k, k->item.value, k->item.value_kind))
        ldr_flights_break(f->flights, k->item.key, k->hash, 0, write_tiers, &(tier_write){p, k});
    tiers_told(p, k, 0);
}

/* ---- with the shared shelf -------------------------------------------------------------------------------------- */

void ldr_put_mark_tiers(ldr_put *p, ldr_put_key *k)
{
    ldr_flow *f = p->op.flow;
    if (p->writing.verb == LDR_STORE && !ldr_put_make_record(p, k, k->item.value, k->item.value_kind)) {
        ldr_put_told(p, k);
        return;
    }
    if (ldr_mark_begin(f->flights, k->item.key, k->hash, &k->mark))
        return;
    k->item.state = LDR_FAILED;
    ldr_fail_oom(&k->item.err);
    ldr_put_told(p, k);
}

static void keep_shared(void *ctx, enum ldr_leave leave)
{
    tier_write *w = ctx;
    ldr_put *p = w->p;
    ldr_put_key *k = w->k;
    ldr_flow *f = p->op.flow;
    bool unsent = k->item.state == LDR_FAILED && k->item.err.code == LDR_UNAVAILABLE;
    if (unsent) /* nothing was changed anywhere */
        return;
    bool keeps = k->item.state != LDR_FAILED && p->writing.verb == LDR_STORE && k->kept_times;
    if (keeps && leave == LDR_LEAVE_GRANTED)
        ldr_flow_keep_at(f, &k->record, k->hash, p->asked_us);
    else if (f->shelf)
        ldr_shelf_erase(f->shelf, k->item.key, k->hash);
}

void ldr_put_apply_tiers(ldr_put *p, ldr_put_key *k)
{
    if (!k->mark.state)
        return;
    ldr_flow *f = p->op.flow;
    bool numbered = !(f->source && f->source->ops->versioned(f->source, k->item.key));
    int64_t version = k->item.state == LDR_FAILED || !numbered ? 0 : k->item.version;
    k->record.version = version;
    ldr_flow_rise(f, version);
    ldr_mark_end(f->flights, &k->mark, version, keep_shared, &(tier_write){p, k});
    tiers_told(p, k, version);
}

