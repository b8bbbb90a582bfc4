/* flight.c - the table of keys under way; see flight.h. */
#include "guard/flight.h"

#include <pthread.h>

#define N_STRIPES 16
#define FIRST_BUCKETS 16

struct ldr_keystate {
    ldr_keystate *chain;
    ldr_flight *listed; /* the load that callers may join, NULL none */
    ldr_list flights;   /* all that are held, listed or not */
    uint64_t hash, gen, news;
    uint64_t breaks;    /* invalidations of no known version */
    int64_t newest;     /* the highest version known while something was under way */
    uint32_t refs, marks;
    size_t n_key;
    char key[];
};

typedef struct stripe {
    pthread_mutex_t lock;
    ldr_keystate **buckets;
    size_t n_buckets, n_states;
    size_t n_marks;        /* writes under way */
    _Atomic uint64_t news; /* moves with each write and invalidation; written under the lock */
} stripe;

struct ldr_flights {
    ldr_mem mem;
    stripe stripes[N_STRIPES];
};

static stripe *stripe_of(ldr_flights *f, uint64_t hash)
{
    return &f->stripes[(hash >> 57) % N_STRIPES];
}

static ldr_keystate **place_of(stripe *s, ldr_slice key, uint64_t hash)
{
    ldr_keystate **at = &s->buckets[hash & (s->n_buckets - 1)];
    while (*at && !((*at)->hash == hash && ldr_slice_eq(ldr_slice_of((*at)->key, (*at)->n_key), key)))
        at = &(*at)->chain;
    return at;
}

static void grow(const ldr_mem *mem, stripe *s)
{
    ldr_keystate **wider = ldr_mem_zero(mem, s->n_buckets * 2, sizeof *wider);
    if (!wider)
        return; /* longer chains still work */
    for (size_t i = 0; i < s->n_buckets; i++) {
        for (ldr_keystate *k = s->buckets[i], *next; k; k = next) {
            next = k->chain;
            ldr_keystate **at = &wider[k->hash & (s->n_buckets * 2 - 1)];
            k->chain = *at;
            *at = k;
        }
    }
    ldr_mem_free(mem, s->buckets);
    s->buckets = wider;
    s->n_buckets *= 2;
}

static ldr_keystate *state_of(ldr_flights *f, stripe *s, ldr_slice key, uint64_t hash)
{
    ldr_keystate **at = place_of(s, key, hash);
    if (*at)
        return *at;
    if (s->n_states >= 2 * s->n_buckets) {
        grow(&f->mem, s);
        at = place_of(s, key, hash);
    }
    ldr_keystate *k = ldr_mem_new(&f->mem, sizeof *k + key.n);
    if (!k)
        return NULL;
    *k = (ldr_keystate){.hash = hash, .n_key = key.n};
    ldr_list_init(&k->flights);
    memcpy(k->key, key.p, key.n);
    *at = k;
    s->n_states++;
    return k;
}

static void release(ldr_flights *f, stripe *s, ldr_keystate *k)
{
    if (--k->refs > 0)
        return;
    *place_of(s, ldr_slice_of(k->key, k->n_key), k->hash) = k->chain;
    s->n_states--;
    ldr_mem_free(&f->mem, k);
}

/* A state that was just looked up for somebody who then could not use it. */
static void release_unused(ldr_flights *f, stripe *s, ldr_keystate *k)
{
    k->refs++;
    release(f, s, k);
}

ldr_flights *ldr_flights_new(const ldr_mem *mem)
{
    ldr_flights *f = ldr_mem_zero(mem, 1, sizeof *f);
    if (!f)
        return NULL;
    f->mem = *mem;
    bool ok = true;
    for (size_t i = 0; i < N_STRIPES; i++) {
        stripe *s = &f->stripes[i];
        pthread_mutex_init(&s->lock, NULL);
        s->buckets = ldr_mem_zero(mem, FIRST_BUCKETS, sizeof *s->buckets);
        s->n_buckets = FIRST_BUCKETS;
        ok = ok && s->buckets;
    }
    if (ok)
        return f;
    ldr_flights_free(f);
    return NULL;
}

void ldr_flights_free(ldr_flights *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < N_STRIPES; i++) {
        pthread_mutex_destroy(&f->stripes[i].lock);
        ldr_mem_free(&f->mem, f->stripes[i].buckets);
    }
    ldr_mem mem = f->mem;
    ldr_mem_free(&mem, f);
}

static ldr_flight *flight_new(ldr_flights *f, ldr_keystate *k, const ldr_flight_ask *ask)
{
    ldr_flight *flight = ldr_mem_zero(&f->mem, 1, sizeof *flight);
    if (!flight)
        return NULL;
    flight->state = k;
    flight->hash = k->hash;
    flight->gen = k->gen;
    flight->news = k->news;
    flight->refs = 1;
    flight->may_fill = ask->may_fill;
    flight->host = ask->host;
    flight->began_us = ask->now_us;
    ldr_list_init(&flight->waiters);
    flight->item.key = ldr_slice_of(k->key, k->n_key);
    flight->item.if_version = LDR_ANY;
    flight->item.ttl_us = flight->item.stale_ttl_us = LDR_UNSET;
    flight->item.out.mem = &f->mem;
    k->refs++;
    ldr_list_push(&k->flights, &flight->link);
    if (ask->join)
        k->listed = flight;
    return flight;
}

static enum ldr_flight_role begin_locked(ldr_flights *f, stripe *s, const ldr_flight_ask *ask, ldr_flight **out)
{
    ldr_keystate *k = state_of(f, s, ask->key, ask->hash);
    if (!k)
        return LDR_FLIGHT_NOMEM;
    if (k->listed && ask->now_us - k->listed->began_us > ask->lease_us) { /* its lease ran out: fenced off */
        k->listed = NULL;
#ifndef LDR_BUG_LEASE_UNFENCED
        k->gen++;
#endif
    }
    if (ask->join && k->listed) {
        *out = k->listed;
        atomic_fetch_add_explicit(&k->listed->refs, 1, memory_order_relaxed);
        return LDR_FLIGHT_JOINED;
    }
#ifndef LDR_BUG_NO_SECOND_LOOK
    if (ask->held && ask->held(ask->ctx)) {
        release_unused(f, s, k);
        return LDR_FLIGHT_HELD;
    }
#endif
    *out = flight_new(f, k, ask);
    if (*out)
        return LDR_FLIGHT_LED;
    release_unused(f, s, k);
    return LDR_FLIGHT_NOMEM;
}

enum ldr_flight_role ldr_flight_begin(ldr_flights *f, const ldr_flight_ask *ask, ldr_flight **out)
{
    stripe *s = stripe_of(f, ask->hash);
    pthread_mutex_lock(&s->lock);
    enum ldr_flight_role role = begin_locked(f, s, ask, out);
    if (role == LDR_FLIGHT_LED || role == LDR_FLIGHT_JOINED)
        ldr_list_push(&(*out)->waiters, &ask->waiter->link);
    pthread_mutex_unlock(&s->lock);
    return role;
}

void ldr_flight_hold(ldr_flight *flight)
{
    atomic_fetch_add_explicit(&flight->refs, 1, memory_order_relaxed);
}

bool ldr_flight_done(const ldr_flight *flight)
{
    return atomic_load_explicit(&flight->done, memory_order_acquire);
}

static enum ldr_leave leave_to_fill(const ldr_flight *flight)
{
    const ldr_keystate *k = flight->state;
#ifdef LDR_BUG_FILL_ANYWAY
    return LDR_LEAVE_GRANTED;
#endif
    bool marked = k->marks > 0;
#ifdef LDR_BUG_MARK_IGNORED
    marked = false;
#endif
    if (!flight->may_fill || marked || k->gen != flight->gen)
        return LDR_LEAVE_LEASE;
    if (flight->item.version > 0)
        return flight->item.version >= k->newest ? LDR_LEAVE_GRANTED : LDR_LEAVE_VERSION;
#ifdef LDR_BUG_NEGATIVE_FILL
    return LDR_LEAVE_GRANTED;
#endif
    return k->news == flight->news ? LDR_LEAVE_GRANTED : LDR_LEAVE_LEASE;
}

static void wake(const ldr_waiter *w)
{
    if (w->waker.wake)
        w->waker.wake(w->waker.ctx, w->waker.id);
}

static void wake_all(ldr_flight *flight)
{
    while (!ldr_list_empty(&flight->waiters)) {
        ldr_waiter *w = ldr_list_of(flight->waiters.next, ldr_waiter, link);
        ldr_list_drop(&w->link);
        wake(w);
    }
}

typedef void fill_fn(void *ctx, ldr_flight *flight, enum ldr_leave leave);

/* A waiter that is woken looks at once, and may see `done` before it is woken: the lock is what it then leaves by. */
static void land_locked(ldr_flight *flight, fill_fn *fill, void *ctx)
{
    ldr_keystate *k = flight->state;
    if (fill)
        fill(ctx, flight, leave_to_fill(flight));
    if (k->listed == flight)
        k->listed = NULL;
    atomic_store_explicit(&flight->done, true, memory_order_release);
    wake_all(flight);
}

static void leave_locked(ldr_flights *f, stripe *s, ldr_flight *flight)
{
    ldr_keystate *k = flight->state;
    if (atomic_fetch_sub_explicit(&flight->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (k->listed == flight)
        k->listed = NULL;
    ldr_list_drop(&flight->link);
    ldr_buf_free(&flight->item.out);
    ldr_mem_free(&f->mem, flight->stale);
    ldr_mem_free(&f->mem, flight);
    release(f, s, k);
}

void ldr_flight_land(ldr_flights *f, ldr_flight *flight, fill_fn *fill, void *ctx)
{
    stripe *s = stripe_of(f, flight->hash);
    pthread_mutex_lock(&s->lock);
    land_locked(flight, fill, ctx);
    pthread_mutex_unlock(&s->lock);
}

void ldr_flight_end(ldr_flights *f, ldr_flight *flight, fill_fn *fill, void *ctx)
{
    stripe *s = stripe_of(f, flight->hash);
    pthread_mutex_lock(&s->lock);
    land_locked(flight, fill, ctx);
    leave_locked(f, s, flight);
    pthread_mutex_unlock(&s->lock);
}

void ldr_flight_leave(ldr_flights *f, ldr_flight *flight, ldr_waiter *waiter)
{
    stripe *s = stripe_of(f, flight->hash);
    pthread_mutex_lock(&s->lock);
    if (waiter)
        ldr_list_drop(&waiter->link);
    leave_locked(f, s, flight);
    pthread_mutex_unlock(&s->lock);
}

static void note_news(stripe *s)
{
    uint64_t news = atomic_load_explicit(&s->news, memory_order_relaxed);
    atomic_store_explicit(&s->news, news + 1, memory_order_release);
}

uint64_t ldr_flights_news(ldr_flights *f, uint64_t hash)
{
    return atomic_load_explicit(&stripe_of(f, hash)->news, memory_order_acquire);
}

bool ldr_flights_fill(ldr_flights *f, uint64_t hash, uint64_t since, void (*keep)(void *ctx), void *ctx)
{
    stripe *s = stripe_of(f, hash);
    pthread_mutex_lock(&s->lock);
    bool may = s->n_marks == 0 && atomic_load_explicit(&s->news, memory_order_relaxed) == since;
#ifdef LDR_BUG_SEEK_ANYWAY
    may = true;
#endif
    if (may)
        keep(ctx);
    pthread_mutex_unlock(&s->lock);
    return may;
}

bool ldr_mark_begin(ldr_flights *f, ldr_slice key, uint64_t hash, ldr_mark *out)
{
    stripe *s = stripe_of(f, hash);
    pthread_mutex_lock(&s->lock);
    ldr_keystate *k = state_of(f, s, key, hash);
    if (k) {
        k->refs++;
        k->marks++;
        s->n_marks++;
#ifndef LDR_BUG_OWN_WRITE
        note_news(s);
#endif
        k->listed = NULL;
        *out = (ldr_mark){.state = k, .gen = ++k->gen, .breaks = k->breaks};
    }
    pthread_mutex_unlock(&s->lock);
    return k != NULL;
}

static enum ldr_leave leave_to_keep(const ldr_keystate *k, const ldr_mark *mark, int64_t version)
{
#ifdef LDR_BUG_LAST_WRITER
    return LDR_LEAVE_GRANTED;
#endif
    if (version > 0 && version < k->newest)
        return LDR_LEAVE_VERSION;
    if (version > 0)
        return k->breaks == mark->breaks ? LDR_LEAVE_GRANTED : LDR_LEAVE_LEASE;
    return k->gen == mark->gen && k->marks == 0 ? LDR_LEAVE_GRANTED : LDR_LEAVE_LEASE;
}

void ldr_mark_end(ldr_flights *f, ldr_mark *mark, int64_t version, void (*apply)(void *ctx, enum ldr_leave leave),
                  void *ctx)
{
    ldr_keystate *k = mark->state;
    stripe *s = stripe_of(f, k->hash);
    pthread_mutex_lock(&s->lock);
    k->marks--;
    s->n_marks--;
#ifndef LDR_BUG_OWN_WRITE
    note_news(s);
#endif
    if (apply)
        apply(ctx, leave_to_keep(k, mark, version));
    if (version > k->newest)
        k->newest = version;
#ifndef LDR_BUG_MARK_SILENT
    if (version <= 0) /* what was written has no number: who is still writing cannot know to be later */
        k->breaks++;
#endif
    k->gen++;
    k->listed = NULL;
    release(f, s, k);
    pthread_mutex_unlock(&s->lock);
    mark->state = NULL;
}

static void unlist(ldr_keystate *k)
{
#ifndef LDR_BUG_JOIN_BROKEN
    k->listed = NULL;
#endif
}

static void break_state(ldr_keystate *k)
{
    unlist(k);
    k->gen++;
    k->breaks++;
}

static void break_for_version(ldr_keystate *k, int64_t version)
{
    unlist(k);
    k->news++;
    if (version > k->newest)
        k->newest = version;
}

void ldr_flights_break(ldr_flights *f, ldr_slice key, uint64_t hash, int64_t version, void (*apply)(void *ctx),
                       void *ctx)
{
    stripe *s = stripe_of(f, hash);
    pthread_mutex_lock(&s->lock);
    note_news(s);
    ldr_keystate *k = *place_of(s, key, hash);
    if (k && version > 0)
        break_for_version(k, version);
    else if (k)
        break_state(k);
    if (apply)
        apply(ctx);
    pthread_mutex_unlock(&s->lock);
}

static void each_state(ldr_flights *f, void (*what)(stripe *s, ldr_keystate *k))
{
    for (size_t i = 0; i < N_STRIPES; i++) {
        stripe *s = &f->stripes[i];
        pthread_mutex_lock(&s->lock);
        what(s, NULL);
        for (size_t b = 0; b < s->n_buckets; b++)
            for (ldr_keystate *k = s->buckets[b]; k; k = k->chain)
                what(s, k);
        pthread_mutex_unlock(&s->lock);
    }
}

static void break_each(stripe *s, ldr_keystate *k)
{
    if (k)
        break_state(k);
    else
        note_news(s);
}

void ldr_flights_break_all(ldr_flights *f)
{
    each_state(f, break_each);
}

static void wake_state(stripe *s, ldr_keystate *k)
{
    (void)s;
    if (!k)
        return;
    for (const ldr_list *of = k->flights.next; of != &k->flights; of = of->next) {
        const ldr_list *waiters = &ldr_list_of(of, ldr_flight, link)->waiters;
        for (const ldr_list *at = waiters->next; at != waiters; at = at->next)
            wake(ldr_list_of(at, ldr_waiter, link));
    }
}

void ldr_flights_wake_all(ldr_flights *f)
{
    each_state(f, wake_state);
}

size_t ldr_flights_under_way(ldr_flights *f)
{
    size_t n = 0;
    for (size_t i = 0; i < N_STRIPES; i++) {
        pthread_mutex_lock(&f->stripes[i].lock);
        n += f->stripes[i].n_states;
        pthread_mutex_unlock(&f->stripes[i].lock);
    }
    return n;
}
