/* flow.c - what several operations share: expiry of a new record, keeping it, telling what became of it. */
#include "flow/flow.h"

static double unit_draw(ldr_flow *f)
{
    ldr_rng r = {.s = atomic_fetch_add_explicit(&f->random, 0x9E3779B97F4A7C15u, memory_order_relaxed)};
    return ldr_rng_unit(&r);
}

static int64_t first_said(int64_t a, int64_t b, int64_t c)
{
    return a != LDR_UNSET ? a : b != LDR_UNSET ? b : c;
}

bool ldr_flow_expiry(ldr_flow *f, const ldr_ttls *said, const ldr_item *answer, int64_t asked_us, ldr_record *r)
{
    bool gone = answer->state == LDR_GONE;
    int64_t ttl = gone ? first_said(answer->ttl_us, said->negative_us, f->negative_us)
                       : first_said(answer->ttl_us, said->ttl_us, f->ttl_us);
    int64_t stale = gone ? 0 : first_said(answer->stale_ttl_us, said->stale_us, f->stale_us);
    if (ttl <= 0)
        return false;
    if (f->jitter > 0 && ttl != LDR_NEVER)
        ttl = (int64_t)((double)ttl * (1 - f->jitter * unit_draw(f)));
    if (ttl > f->bound_hard_us)
        ttl = f->bound_hard_us;
    if (ttl < LDR_MS)
        ttl = LDR_MS;
    if (f->bound_hard_us != LDR_NEVER && stale > f->bound_hard_us - ttl)
        stale = f->bound_hard_us > ttl ? f->bound_hard_us - ttl : 0;
    r->asked_us = asked_us;
    r->soft_us = ldr_time_add(asked_us, ttl);
    r->stale_us = stale > 0 ? stale : 0;
    return true;
}

int64_t ldr_flow_draw(ldr_flow *f)
{
    uint64_t last = atomic_load_explicit(&f->drawn, memory_order_relaxed), next;
    do
        next = last < INT64_MAX ? last + 1 : last; /* versions of somebody else's may stand at the very end */
    while (!atomic_compare_exchange_weak_explicit(&f->drawn, &last, next, memory_order_relaxed, memory_order_relaxed));
    return (int64_t)next;
}

void ldr_flow_rise(ldr_flow *f, int64_t version)
{
    uint64_t last = atomic_load_explicit(&f->drawn, memory_order_relaxed);
    while (version > 0 && last < (uint64_t)version &&
           !atomic_compare_exchange_weak_explicit(&f->drawn, &last, (uint64_t)version, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

static void entry_gone(void *ctx, ldr_slice key, size_t bytes, bool expired)
{
    ldr_flow *f = ctx;
    ldr_meter_add(f->meter, expired ? LDR_M_expirations : LDR_M_evictions, 1);
    enum ldr_event_kind kind = expired ? LDR_EVENT_expire : LDR_EVENT_evict;
    if (ldr_events_want(&f->events, kind))
        ldr_events_note(&f->events, key, &(ldr_event){.kind = kind, .tier = "l1", .bytes = bytes});
}

ldr_shelf_watch ldr_flow_watch(ldr_flow *f)
{
    return (ldr_shelf_watch){.gone = entry_gone, .ctx = f};
}

void ldr_flow_refused_by(ldr_flow *f, ldr_slice key, const char *tier, const char *reason)
{
    ldr_meter_add(f->meter, LDR_M_refused, 1);
    if (ldr_events_want(&f->events, LDR_EVENT_refused))
        ldr_events_note(&f->events, key, &(ldr_event){.kind = LDR_EVENT_refused, .tier = tier, .reason = reason});
}

void ldr_flow_refused(ldr_flow *f, ldr_slice key, const char *reason)
{
    ldr_flow_refused_by(f, key, "l1", reason);
}

bool ldr_flow_has_shape(const ldr_flow *f, const ldr_record *r, bool has_loader)
{
    if (has_loader || !f->source || !f->source->ops->fingerprint || r->kind == LDR_NONE)
        return true;
    return r->fingerprint == f->source->ops->fingerprint(f->source, r->key);
}

void ldr_flow_spread(ldr_flow *f, ldr_slice key, int64_t version)
{
    if (f->hub)
        ldr_hub_tell(f->hub, &f->member, key, version);
}

void ldr_flow_suspect(ldr_flow *f)
{
    ldr_flights_break_all(f->flights); /* first: what is kept in the new era began in it, or is refused */
    atomic_fetch_add_explicit(&f->era, 1, memory_order_acq_rel);
    if (f->era_moved)
        f->era_moved(f->era_ctx);
    ldr_meter_add(f->meter, LDR_M_suspicions, 1);
}

static void note_error(ldr_flow *f, ldr_slice key, const ldr_err *err, enum ldr_event_kind kind)
{
    if (!ldr_events_want(&f->events, kind))
        return;
    ldr_event e = {.kind = kind, .code = ldr_code_word(err->code)};
    memcpy(e.message, err->message, sizeof e.message - 1);
    ldr_events_note(&f->events, key, &e);
}

void ldr_flow_error(ldr_flow *f, ldr_slice key, const ldr_err *err)
{
    note_error(f, key, err, LDR_EVENT_error);
    if (err->code == LDR_LOST)
        note_error(f, key, err, LDR_EVENT_lost);
}

enum ldr_kept ldr_flow_keep_at(ldr_flow *f, ldr_record *r, uint64_t hash, int64_t now_us)
{
    if (!f->shelf)
        return LDR_NOT_KEPT;
    ldr_shelf_watch watch = ldr_flow_watch(f);
    r->suspect = atomic_load_explicit(&f->era, memory_order_relaxed);
    enum ldr_shelf_put put = ldr_shelf_write(f->shelf, r, hash, now_us, &watch, NULL);
    if (put == LDR_SHELF_OLDER) {
        ldr_flow_refused(f, r->key, "version");
        return LDR_KEPT_OLDER;
    }
    if (put == LDR_SHELF_TOO_LARGE) {
        ldr_flow_refused(f, r->key, "size");
        return LDR_KEPT_TOO_LARGE;
    }
    if (ldr_events_want(&f->events, LDR_EVENT_fill))
        ldr_events_note(&f->events, r->key, &(ldr_event){.kind = LDR_EVENT_fill, .tier = "l1", .version = r->version});
    return LDR_KEPT;
}

enum ldr_kept ldr_flow_keep(ldr_flow *f, ldr_record *r, uint64_t hash)
{
    return ldr_flow_keep_at(f, r, hash, ldr_clock_now(&f->clock));
}
