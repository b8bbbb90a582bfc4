/* drop.c - the tiers forget: at once, for with L1 alone there is nobody to wait for. The source is never touched. */
#include "flow/op.h"

static const char *const causes[] = {
    [LDR_CAUSE_DELETE] = "delete", [LDR_CAUSE_INVALIDATE] = "invalidate", [LDR_CAUSE_ALL] = "all",
    [LDR_CAUSE_WRITE] = "write",   [LDR_CAUSE_CHANGE] = "change",         [LDR_CAUSE_GAP] = "gap",
};

typedef struct dropping {
    ldr_flow *flow;
    ldr_slice key;
    uint64_t hash;
    int64_t version;
} dropping;

void ldr_flow_invalidated(ldr_flow *f, ldr_slice key, enum ldr_cause cause)
{
    ldr_meter_add(f->meter, LDR_M_invalidations, 1);
    if (ldr_events_want(&f->events, LDR_EVENT_invalidate))
        ldr_events_note(&f->events, key, &(ldr_event){.kind = LDR_EVENT_invalidate, .cause = causes[cause],
                                                      .remote = cause == LDR_CAUSE_CHANGE || cause == LDR_CAUSE_GAP});
}

static void erase(void *ctx)
{
    dropping *d = ctx;
    if (d->flow->shelf)
        ldr_shelf_erase(d->flow->shelf, d->key, d->hash);
}

void ldr_drop_silently(ldr_flow *f, ldr_slice key)
{
    dropping d = {.flow = f, .key = key, .hash = ldr_hash(key, f->seed)};
    ldr_flights_break(f->flights, key, d.hash, 0, erase, &d);
}

void ldr_drop(ldr_flow *f, ldr_slice key, enum ldr_cause cause)
{
    ldr_drop_silently(f, key);
    ldr_flow_invalidated(f, key, cause);
}

void ldr_drop_all_silently(ldr_flow *f)
{
    ldr_flights_break_all(f->flights);
    if (f->shelf)
        ldr_shelf_clear(f->shelf);
}

void ldr_drop_all(ldr_flow *f, enum ldr_cause cause)
{
    ldr_drop_all_silently(f);
    ldr_flow_invalidated(f, ldr_slice_str(""), cause);
}

static void erase_older(void *ctx)
{
    dropping *d = ctx;
    ldr_flow *f = d->flow;
    if (!f->shelf)
        return;
    ldr_record r;
    ldr_buf bytes = LDR_BUF(&f->mem);
    int64_t now = ldr_clock_now(&f->clock);
    bool newer = d->version > 0 && ldr_shelf_read(f->shelf, d->key, d->hash, now, false, &r, &bytes, NULL) &&
                 r.version >= d->version;
    ldr_buf_free(&bytes);
    if (newer || !ldr_shelf_erase(f->shelf, d->key, d->hash))
        d->flow = NULL;
}

void ldr_drop_changed(ldr_flow *f, ldr_slice key, int64_t version)
{
    dropping d = {.flow = f, .key = key, .hash = ldr_hash(key, f->seed), .version = version};
    ldr_flights_break(f->flights, key, d.hash, version, erase_older, &d);
    if (d.flow)
        ldr_flow_invalidated(f, key, LDR_CAUSE_CHANGE);
}

void ldr_flow_heard(ldr_flow *f, const ldr_bell_message *m)
{
    switch (m->kind) {
    case LDR_BELL_ALL:
        ldr_l2_set_generation(f->l2, m->gen);
        ldr_drop_all(f, LDR_CAUSE_CHANGE);
        ldr_leases_wake_all(f->leases);
        return;
    case LDR_BELL_DROP:
    case LDR_BELL_SET:
        ldr_drop_changed(f, m->key, m->version);
        break;
    default:
        break;
    }
#ifdef LDR_BUG_WAKE_DEAF
    return;
#endif
    ldr_leases_wake(f->leases, ldr_hash(m->key, f->seed));
}

/* The bound counts from when the source was asked: touching again and again does not move it. */
static int64_t latest_soft(ldr_flow *f, ldr_slice key, uint64_t hash)
{
    ldr_record r;
    ldr_buf bytes = LDR_BUF(&f->mem);
    int64_t now = ldr_clock_now(&f->clock), latest = now; /* not to be read: it only expires */
    if (f->shelf && ldr_shelf_read(f->shelf, key, hash, now, false, &r, &bytes, NULL))
        latest = ldr_time_add(r.asked_us, f->bound_hard_us) - r.stale_us;
    ldr_buf_free(&bytes);
    return latest;
}

void ldr_drop_outgrown(ldr_flow *f)
{
    if (!f->source || !f->source->ops->epoch)
        return;
    int64_t epoch = f->source->ops->epoch(f->source);
    if (atomic_load_explicit(&f->epoch, memory_order_relaxed) != epoch && atomic_exchange(&f->epoch, epoch) != epoch)
        ldr_drop_all(f, LDR_CAUSE_GAP);
}

bool ldr_touch(ldr_flow *f, ldr_slice key, int64_t ttl_us)
{
    int64_t now = ldr_clock_now(&f->clock);
    uint64_t hash = ldr_hash(key, f->seed);
    int64_t ttl = ttl_us > 0 && ttl_us < LDR_MS ? LDR_MS : ttl_us;
    int64_t soft = ldr_time_add(now, ttl), latest = f->bound_hard_us == LDR_NEVER ? LDR_NEVER : latest_soft(f, key, hash);
    return f->shelf && ldr_shelf_touch(f->shelf, key, hash, now, soft < latest ? soft : latest);
}
