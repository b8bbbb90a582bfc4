/* resend.c - see resend.h. One mutex, a table of chains, and a queue in the order in which keys are sent.
 *
 * Invariant: a key that was added waits here, or `all` waits, until its drop was confirmed that was sent after the last
 * time it was added. Each addition has a number of its own; what was sent when number n was the last confirms up to n. */
#include "l2/resend.h"

#include "base/hash.h"
#include "base/list.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#define LEAST_CHAINS 64

typedef struct waiting {
    ldr_list link;         /* in the queue */
    struct waiting *chain; /* the next of the same place */
    uint64_t hash;
    int64_t version;
    uint64_t added, sent;  /* number of the last addition; that number when it was given out last, 0 never */
    size_t n;
    char key[];
} waiting;

struct ldr_resend {
    ldr_mem mem;
    pthread_mutex_t lock;
    void (*changed)(void *ctx);
    void *ctx;
    ldr_list queue;
    waiting **chains;
    size_t n_chains, n_keys, n_bytes, most_keys, most_bytes;
    uint64_t seed, number; /* of the last addition */
    bool all;
    atomic_bool waits;     /* any() as it was when the lock was given up last: who only looks needs no lock */
    uint64_t all_added, all_asked; /* likewise; all_asked 0: nobody sends it */
    int64_t base, heard, mark; /* of a change table; LDR_UNSET */
};

ldr_resend *ldr_resend_new(const ldr_mem *mem, size_t most_keys, size_t most_bytes)
{
    ldr_resend *r = ldr_mem_zero(mem, 1, sizeof *r);
    if (!r)
        return NULL;
    r->mem = *mem;
    r->most_keys = most_keys ? most_keys : 65536;
    r->most_bytes = most_bytes ? most_bytes : (size_t)8 << 20;
    r->seed = (uint64_t)(uintptr_t)r * 0x9E3779B97F4A7C15u; /* where memory lies is not for strangers to choose */
    pthread_mutex_init(&r->lock, NULL);
    ldr_list_init(&r->queue);
    r->base = r->heard = r->mark = LDR_UNSET;
    return r;
}

/* ---- the table -------------------------------------------------------------------------------------------- */

static waiting **place_of(ldr_resend *r, ldr_slice key, uint64_t hash)
{
    waiting **at = &r->chains[hash & (r->n_chains - 1)];
    while (*at && ((*at)->hash != hash || !ldr_slice_eq(ldr_slice_of((*at)->key, (*at)->n), key)))
        at = &(*at)->chain;
    return at;
}

static waiting *find(ldr_resend *r, ldr_slice key, uint64_t hash)
{
    return r->n_chains ? *place_of(r, key, hash) : NULL;
}

static void drop(ldr_resend *r, waiting *w)
{
    *place_of(r, ldr_slice_of(w->key, w->n), w->hash) = w->chain;
    ldr_list_drop(&w->link);
    r->n_keys--;
    r->n_bytes -= sizeof *w + w->n;
    ldr_mem_free(&r->mem, w);
}

/* Drops the keys that were added up to that number. */
static void drop_until(ldr_resend *r, uint64_t number)
{
    ldr_list *next;
    for (ldr_list *at = r->queue.next; at != &r->queue; at = next) {
        next = at->next;
        waiting *w = ldr_list_of(at, waiting, link);
        if (w->added <= number)
            drop(r, w);
    }
}

/* As many chains as keys, at least. False: no memory. */
static bool widen(ldr_resend *r)
{
    if (r->n_keys < r->n_chains)
        return true;
    size_t n = r->n_chains ? r->n_chains * 2 : LEAST_CHAINS;
    waiting **chains = ldr_mem_zero(&r->mem, n, sizeof *chains);
    if (!chains)
        return false;
    for (ldr_list *at = r->queue.next; at != &r->queue; at = at->next) {
        waiting *w = ldr_list_of(at, waiting, link);
        w->chain = chains[w->hash & (n - 1)];
        chains[w->hash & (n - 1)] = w;
    }
    ldr_mem_free(&r->mem, r->chains);
    r->chains = chains;
    r->n_chains = n;
    return true;
}

/* False: no room or no memory. */
static bool insert(ldr_resend *r, ldr_slice key, uint64_t hash, int64_t version)
{
    size_t bytes = sizeof(waiting) + key.n;
    if (r->n_keys >= r->most_keys || bytes > r->most_bytes - r->n_bytes || !widen(r))
        return false;
    waiting *w = ldr_mem_new(&r->mem, bytes);
    if (!w)
        return false;
    *w = (waiting){.hash = hash, .version = version, .added = r->number, .n = key.n};
    memcpy(w->key, key.p, key.n);
    *place_of(r, key, hash) = w;
    ldr_list_push(&r->queue, &w->link);
    r->n_keys++;
    r->n_bytes += bytes;
    return true;
}

void ldr_resend_free(ldr_resend *r)
{
    if (!r)
        return;
    ldr_mem mem = r->mem;
    drop_until(r, UINT64_MAX);
    ldr_mem_free(&mem, r->chains);
    pthread_mutex_destroy(&r->lock);
    ldr_mem_free(&mem, r);
}

/* ---- adding ----------------------------------------------------------------------------------------------- */

void ldr_resend_on_change(ldr_resend *r, void (*changed)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&r->lock);
    r->changed = changed;
    r->ctx = ctx;
    pthread_mutex_unlock(&r->lock);
}

static bool any(const ldr_resend *r)
{
    return r->all || r->n_keys > 0;
}

static void want_all(ldr_resend *r)
{
    drop_until(r, UINT64_MAX);
    r->all = true;
    r->all_added = r->number;
    r->mark = LDR_UNSET;
}

static void want_key(ldr_resend *r, ldr_slice key, int64_t version)
{
    if (r->all && r->all_added > r->all_asked) { /* it is not sent yet: this key is forgotten with it */
        r->all_added = r->number;
        return;
    }
    uint64_t hash = ldr_hash(key, r->seed);
    waiting *w = find(r, key, hash);
    if (w) {
        w->added = r->number;
        w->version = w->version == 0 || version == 0 ? 0 : w->version > version ? w->version : version;
    } else if (!insert(r, key, hash, version)) {
        want_all(r);
    }
}

static void add(ldr_resend *r, const ldr_slice *key, int64_t version)
{
    pthread_mutex_lock(&r->lock);
    bool waited = any(r);
    r->number++;
    if (key)
        want_key(r, *key, version);
    else
        want_all(r);
    atomic_store(&r->waits, any(r));
    if (!waited && r->changed)
        r->changed(r->ctx);
    pthread_mutex_unlock(&r->lock);
}

void ldr_resend_add(ldr_resend *r, ldr_slice key, int64_t version)
{
    add(r, &key, version);
}

void ldr_resend_add_all(ldr_resend *r)
{
    add(r, NULL, 0);
}

bool ldr_resend_any(ldr_resend *r)
{
    pthread_mutex_lock(&r->lock);
    bool is = any(r);
    pthread_mutex_unlock(&r->lock);
    return is;
}

size_t ldr_resend_count(ldr_resend *r)
{
    pthread_mutex_lock(&r->lock);
    size_t n = r->n_keys;
    pthread_mutex_unlock(&r->lock);
    return n;
}

int64_t ldr_resend_owed(ldr_resend *r, ldr_slice key)
{
    if (!atomic_load(&r->waits))
        return 0;
    pthread_mutex_lock(&r->lock);
    const waiting *w = find(r, key, ldr_hash(key, r->seed));
    bool unknown = r->all || (w && w->version == 0);
    int64_t owed = unknown ? INT64_MAX : w ? w->version : 0;
    pthread_mutex_unlock(&r->lock);
    return owed;
}

/* ---- a change table --------------------------------------------------------------------------------------- */

void ldr_resend_found(ldr_resend *r, int64_t mark)
{
    pthread_mutex_lock(&r->lock);
    if (r->base == LDR_UNSET)
        r->base = mark;
    pthread_mutex_unlock(&r->lock);
}

int64_t ldr_resend_base(ldr_resend *r)
{
    pthread_mutex_lock(&r->lock);
    int64_t base = r->base;
    pthread_mutex_unlock(&r->lock);
    return base;
}

/* With nothing that waits, all that was heard is confirmed. */
static void settle(ldr_resend *r)
{
    bool waits = any(r);
    atomic_store(&r->waits, waits);
#ifdef LDR_BUG_MARK_EARLY
    waits = false;
#endif
    if (!waits)
        r->mark = r->heard;
}

void ldr_resend_heard(ldr_resend *r, int64_t mark)
{
    pthread_mutex_lock(&r->lock);
    r->heard = mark;
    settle(r);
    pthread_mutex_unlock(&r->lock);
}

int64_t ldr_resend_mark(ldr_resend *r)
{
    pthread_mutex_lock(&r->lock);
    int64_t mark = r->mark;
    pthread_mutex_unlock(&r->lock);
    return mark;
}

/* ---- sending ---------------------------------------------------------------------------------------------- */

bool ldr_resend_all(ldr_resend *r)
{
    pthread_mutex_lock(&r->lock);
    bool all = r->all;
    if (all)
        r->all_asked = r->number;
    pthread_mutex_unlock(&r->lock);
    return all;
}

void ldr_resend_all_done(ldr_resend *r)
{
    pthread_mutex_lock(&r->lock);
    if (r->all_added <= r->all_asked)
        r->all = false;
    drop_until(r, r->all_asked);
    settle(r);
    pthread_mutex_unlock(&r->lock);
}

bool ldr_resend_next(ldr_resend *r, ldr_buf *key, int64_t *version)
{
    pthread_mutex_lock(&r->lock);
    bool is = r->n_keys > 0;
    ldr_buf_clear(key);
    if (is) {
        waiting *w = ldr_list_of(r->queue.next, waiting, link);
        ldr_buf_add(key, w->key, w->n);
        w->sent = w->added;
        *version = w->version;
        ldr_list_drop(&w->link);
        ldr_list_push(&r->queue, &w->link);
    }
    pthread_mutex_unlock(&r->lock);
    return is && !key->oom;
}

void ldr_resend_done(ldr_resend *r, ldr_slice key, int64_t version)
{
    pthread_mutex_lock(&r->lock);
    waiting *w = find(r, key, ldr_hash(key, r->seed));
#ifdef LDR_BUG_RESEND_DONE
    if (w)
        w->sent = w->added, w->version = version;
#endif
    if (w && w->sent == w->added && w->version == version)
        drop(r, w);
    settle(r);
    pthread_mutex_unlock(&r->lock);
}
