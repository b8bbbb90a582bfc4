/* share.c - see share.h. */
#include "flow/share.h"

#include "base/err.h"

ldr_share *ldr_share_new(ldr_op *load, ldr_flight *const *flights, size_t n, const ldr_loading *how)
{
    ldr_flow *f = load->flow;
    ldr_share *s = ldr_mem_zero(&f->mem, 1, sizeof *s + n * (sizeof *s->keys + sizeof *s->asked));
    if (!s)
        return NULL;
    s->flow = f;
    s->n = n;
    s->how = *how;
    s->keys = (ldr_share_key *)(s + 1);
    s->asked = (ldr_l2_item **)(void *)(s->keys + n);
    ldr_exchange_init(&s->ex, &f->mem);
    for (size_t i = 0; i < n; i++) {
        ldr_share_key *k = &s->keys[i];
        k->flight = flights[i];
        k->item.key = flights[i]->item.key;
        k->owner = &load->owner;
        ldr_list_init(&k->lease.link);
        ldr_list_init(&k->wait.link);
        k->need = !flights[i]->may_fill ? LDR_SHARE_LOAD : how->refresh || how->is_sought ? LDR_SHARE_LEASE
                                                                                   : LDR_SHARE_SEEK;
    }
    return s;
}

void ldr_share_free(ldr_share *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        ldr_lease_end(s->flow->leases, &s->keys[i].lease);
        ldr_lease_wait_end(s->flow->leases, &s->keys[i].wait);
    }
    ldr_exchange_free(&s->ex);
    ldr_mem mem = s->flow->mem;
    ldr_mem_free(&mem, s);
}

bool ldr_share_any(const ldr_share *s, enum ldr_share_need need)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->keys[i].need == need)
            return true;
    return false;
}

/* ---- asking ------------------------------------------------------------------------------------------------- */

static void wake(void *ctx, uint64_t id)
{
    ldr_share_key *k = ctx;
    atomic_store(&k->woken, true);
    if (k->owner->waker.wake)
        k->owner->waker.wake(k->owner->waker.ctx, k->owner->waker.id);
    (void)id;
}

/* Listens before it asks, so that a lease that ends right after the answer is heard of. */
static void listen_for(ldr_share *s, ldr_share_key *k)
{
    atomic_store(&k->woken, false);
    ldr_lease_wait_end(s->flow->leases, &k->wait);
    k->wait = (ldr_lease_wait){.hash = k->flight->hash, .wake = wake, .ctx = k};
    ldr_list_init(&k->wait.link);
    ldr_lease_wait_begin(s->flow->leases, &k->wait);
}

static void prepare(ldr_share *s, ldr_share_key *k, int verb)
{
    if (verb == LDR_L2_FILL)
        k->item.record = k->flight->record;
    else if (verb != LDR_L2_RELEASE)
        k->item.least = ldr_resend_owed(s->flow->resend, k->item.key);
    if (verb != LDR_L2_LEASE)
        return;
    if (k->item.token == 0)
        k->item.token = ldr_l2_token(s->flow->l2);
    k->item.for_us = s->flow->shared_lease_us;
    k->item.force = k->item.force || s->how.refresh || s->how.no_wait || k->item.least > 0;
    if (!s->how.no_wait)
        listen_for(s, k);
}

/* The shelf said nothing of use: the source is asked, and L1 alone may keep what it says. */
static void out_of_reach(ldr_share *s, ldr_share_key *k)
{
    ldr_lease_wait_end(s->flow->leases, &k->wait);
    if (k->need == LDR_SHARE_FILL || k->need == LDR_SHARE_RELEASE) {
        k->right = LDR_RIGHT_NONE; /* whether the lease still stood is not known */
        k->need = LDR_SHARE_OVER;
    } else {
        k->right = LDR_RIGHT_L1;
        k->need = LDR_SHARE_LOAD;
    }
}

ldr_exchange *ldr_share_ask(ldr_share *s, enum ldr_share_need need, int verb)
{
    s->n_asked = 0;
    s->verb = verb;
    for (size_t i = 0; i < s->n; i++) {
        if (s->keys[i].need != need)
            continue;
        prepare(s, &s->keys[i], verb);
        s->asked[s->n_asked++] = &s->keys[i].item;
    }
    if (s->n_asked == 0)
        return NULL;
    if (ldr_l2_ask(s->flow->l2, &s->ex, verb, s->asked, s->n_asked, ldr_clock_now(&s->flow->clock)) == LDR_OK)
        return &s->ex;
    for (size_t i = 0; i < s->n; i++)
        if (s->keys[i].need == need)
            out_of_reach(s, &s->keys[i]);
    return NULL;
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

/* A value that the source fails to replace may still do, within its hard expiry. */
static void remember_stale(ldr_share *s, ldr_share_key *k)
{
    ldr_flow *f = s->flow;
    const ldr_record *r = &k->item.found;
    ldr_slice value;
    ldr_buf made = LDR_BUF(&f->mem);
    ldr_err err;
    int kind;
    if (!k->item.is_found || r->kind == LDR_NONE || k->flight->stale)
        return;
    if (ldr_unseal(&f->sealing, r, &value, &kind, &made, &err) == LDR_OK) {
        ldr_stale *stale = ldr_mem_new(&f->mem, sizeof *stale + value.n);
        if (stale) {
            *stale = (ldr_stale){.kind = kind, .version = r->version, .asked_us = r->asked_us, .soft_us = r->soft_us,
                                 .hard_us = ldr_record_hard_us(r), .n = value.n};
            if (value.n > 0)
                memcpy(stale->bytes, value.p, value.n);
            k->flight->stale = stale;
        }
    }
    ldr_buf_free(&made);
}

/* Where the source has not said its shape yet it is asked once, and what was found is for when it does not answer. */
static bool has_shape(const ldr_share *s, ldr_share_key *k)
{
    const ldr_flow *f = s->flow;
    if (ldr_flow_has_shape(f, &k->item.found, s->how.has_loader))
        return true;
    k->item.force = true;
    k->item.is_found = f->source->ops->fingerprint(f->source, k->item.key) == 0;
    return false;
}

static bool may_serve(ldr_share *s, ldr_share_key *k)
{
    if (!k->item.is_found || s->how.refresh || !has_shape(s, k))
        return false;
    return ldr_level_judge(s->how.level, &k->item.found, ldr_clock_now(&s->flow->clock)) != LDR_ASK;
}

static void sought(ldr_share *s, ldr_share_key *k)
{
    switch (k->item.state) {
    case LDR_L2_HELD:
        k->need = may_serve(s, k) ? LDR_SHARE_SERVE : LDR_SHARE_LEASE;
        break;
    case LDR_L2_NOTHING:
        k->need = LDR_SHARE_LEASE;
        break;
    case LDR_L2_MARKED:
        k->need = LDR_SHARE_LOAD;
        k->right = LDR_RIGHT_NONE;
        break;
    default:
        out_of_reach(s, k);
    }
    if (k->need == LDR_SHARE_LOAD || k->need == LDR_SHARE_LEASE)
        remember_stale(s, k);
}

static void begin_lease(ldr_share *s, ldr_share_key *k)
{
    int64_t now = ldr_clock_now(&s->flow->clock);
    ldr_meter_add(s->flow->meter, LDR_M_leases, 1);
    k->right = LDR_RIGHT_ALL;
    k->need = LDR_SHARE_LOAD;
    k->lease.key = k->item.key;
    k->lease.hash = k->flight->hash;
    k->lease.token = k->item.token;
    k->lease.ttl_us = s->flow->shared_lease_us;
    k->lease.since_us = now;
    k->lease.until_us = ldr_time_add(now, k->lease.ttl_us);
    ldr_lease_begin(s->flow->leases, &k->lease);
}

static void asked_lease(ldr_share *s, ldr_share_key *k)
{
    switch (k->item.state) {
    case LDR_L2_LEASED:
        begin_lease(s, k);
        break;
    case LDR_L2_TAKEN:
        ldr_meter_add(s->flow->meter, LDR_M_lease_waits, 1);
        k->need = LDR_SHARE_WAIT;
        return;
    case LDR_L2_HELD: {
        bool forced = k->item.force;
        k->right = LDR_RIGHT_NONE;
        k->need = may_serve(s, k) ? LDR_SHARE_SERVE : forced || !k->item.force ? LDR_SHARE_LOAD : LDR_SHARE_LEASE;
        break; /* of another shape: the lease is asked for once more, whatever is held */
    }
    case LDR_L2_MARKED:
        k->right = LDR_RIGHT_NONE;
        k->need = LDR_SHARE_LOAD;
        break;
    default:
        out_of_reach(s, k);
    }
    ldr_lease_wait_end(s->flow->leases, &k->wait);
    if (k->need == LDR_SHARE_LOAD)
        remember_stale(s, k);
}

static void filled(ldr_share *s, ldr_share_key *k)
{
    if (k->item.state == LDR_L2_REFUSED)
        ldr_flow_refused_by(s->flow, k->item.key, "l2", k->item.why);
    if (k->item.state != LDR_L2_DONE)
        k->right = LDR_RIGHT_NONE;
    k->need = LDR_SHARE_OVER;
}

static void move_on(ldr_share *s, ldr_share_key *k)
{
    if (k->item.state == LDR_L2_AGAIN)
        return;
    switch (s->verb) {
    case LDR_L2_LOOKUP: sought(s, k); break;
    case LDR_L2_LEASE: asked_lease(s, k); break;
    default: filled(s, k);
    }
    if (s->verb == LDR_L2_FILL || s->verb == LDR_L2_RELEASE)
        ldr_lease_end(s->flow->leases, &k->lease);
}

void ldr_share_take(ldr_share *s)
{
    int64_t now = ldr_clock_now(&s->flow->clock);
    ldr_l2_answer(s->flow->l2, &s->ex, s->verb, s->asked, s->n_asked, now);
    if (s->verb == LDR_L2_LOOKUP && s->ex.err.code == LDR_OK && s->ex.sent_us > 0)
        ldr_meter_note(s->flow->meter, LDR_LAT_l2, (now - s->ex.sent_us) * 1000, s->n_asked);
    for (size_t i = 0; i < s->n_asked; i++)
        move_on(s, (ldr_share_key *)((char *)s->asked[i] - offsetof(ldr_share_key, item)));
}

/* ---- waiting for another process ----------------------------------------------------------------------------- */

bool ldr_share_may_park(ldr_share *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->keys[i].need == LDR_SHARE_WAIT && atomic_load(&s->keys[i].woken))
            return false;
    return true;
}

int64_t ldr_share_until(const ldr_share *s)
{
    int64_t until = s->how.wait_until_us < s->how.deadline_us ? s->how.wait_until_us : s->how.deadline_us;
    int64_t now = ldr_clock_now(&s->flow->clock);
    for (size_t i = 0; i < s->n; i++) {
        int64_t end = ldr_time_add(now, s->keys[i].item.wait_us + LDR_MS);
#ifdef LDR_BUG_WAIT_BLIND
        end = LDR_NEVER;
#endif
#ifdef LDR_BUG_WAIT_POLLS
        end = ldr_time_add(now, 10 * LDR_MS);
#endif
        if (s->keys[i].need == LDR_SHARE_WAIT && end < until)
            until = end;
    }
    return until;
}

static void waited_out(ldr_share *s, ldr_share_key *k)
{
    k->right = LDR_RIGHT_NONE;
    k->need = s->how.on_timeout == LDR_ON_TIMEOUT_LOAD ? LDR_SHARE_LOAD : LDR_SHARE_LATE;
    ldr_lease_wait_end(s->flow->leases, &k->wait);
}

void ldr_share_woken(ldr_share *s)
{
    int64_t now = ldr_clock_now(&s->flow->clock);
    bool late = now >= s->how.wait_until_us || now >= s->how.deadline_us;
    for (size_t i = 0; i < s->n; i++) {
        ldr_share_key *k = &s->keys[i];
        if (k->need == LDR_SHARE_WAIT && late)
            waited_out(s, k);
        else if (k->need == LDR_SHARE_WAIT)
            k->need = LDR_SHARE_SEEK;
    }
}
