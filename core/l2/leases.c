/* leases.c - see leases.h. One lock; leases in one ring, for a process holds few at a time; waits in chains by hash.
 *
 * `due_us` is not later than any lease's renewal; it is looked up anew only when it has passed, so that one who begins and
 * ends leases all day wakes nobody: whoever renews comes once in half a lease's time, and may find nothing to do.
 * A wait's `wake` is called under the lock: after ldr_lease_wait_end returned it is not called any more. */
#include "l2/leases.h"

#include "base/clock.h"

#include <pthread.h>

#define N_CHAINS 64

struct ldr_leases {
    ldr_mem mem;
    pthread_mutex_t lock;
    ldr_list leases;
    ldr_list waits[N_CHAINS];
    int64_t due_us;
    void (*changed)(void *ctx);
    void *ctx;
};

ldr_leases *ldr_leases_new(const ldr_mem *mem)
{
    ldr_leases *l = ldr_mem_zero(mem, 1, sizeof *l);
    if (!l)
        return NULL;
    l->mem = *mem;
    l->due_us = LDR_NEVER;
    pthread_mutex_init(&l->lock, NULL);
    ldr_list_init(&l->leases);
    for (size_t i = 0; i < N_CHAINS; i++)
        ldr_list_init(&l->waits[i]);
    return l;
}

void ldr_leases_free(ldr_leases *l)
{
    if (!l)
        return;
    ldr_mem mem = l->mem;
    pthread_mutex_destroy(&l->lock);
    ldr_mem_free(&mem, l);
}

void ldr_leases_forked(ldr_leases *l)
{
    pthread_mutex_init(&l->lock, NULL);
    l->due_us = LDR_NEVER;
    ldr_list_init(&l->leases);
    for (size_t i = 0; i < N_CHAINS; i++)
        ldr_list_init(&l->waits[i]);
}

/* ---- leases -------------------------------------------------------------------------------------------------- */

static int64_t last_of(const ldr_lease *lease)
{
    return ldr_time_add(lease->since_us, LDR_LEASE_MOST_US);
}

/* LDR_NEVER: it lives as long as it may. */
static int64_t due_of(const ldr_lease *lease)
{
    int64_t half = lease->until_us - lease->ttl_us / 2;
#ifdef LDR_BUG_LEASE_FOREVER
    return half;
#endif
    return lease->until_us < last_of(lease) ? half : LDR_NEVER;
}

void ldr_leases_on_change(ldr_leases *l, void (*changed)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&l->lock);
    l->changed = changed;
    l->ctx = ctx;
    pthread_mutex_unlock(&l->lock);
}

void ldr_lease_begin(ldr_leases *l, ldr_lease *lease)
{
    int64_t due = due_of(lease);
    pthread_mutex_lock(&l->lock);
    ldr_list_init(&lease->link);
    ldr_list_push(&l->leases, &lease->link);
    if (due < l->due_us) {
        l->due_us = due;
        if (l->changed)
            l->changed(l->ctx);
    }
    pthread_mutex_unlock(&l->lock);
}

static void leave(ldr_leases *l, ldr_list *link)
{
    pthread_mutex_lock(&l->lock);
    if (link->next)
        ldr_list_drop(link);
    pthread_mutex_unlock(&l->lock);
}

void ldr_lease_end(ldr_leases *l, ldr_lease *lease)
{
    leave(l, &lease->link);
}

int64_t ldr_leases_due(ldr_leases *l)
{
    pthread_mutex_lock(&l->lock);
    int64_t due = l->due_us;
    pthread_mutex_unlock(&l->lock);
    return due;
}

/* Never beyond the longest life: what is renewed last ends there. */
static void renew(ldr_lease *lease, int64_t now_us)
{
    int64_t until = ldr_time_add(now_us, lease->ttl_us), last = last_of(lease);
    lease->until_us = until < last ? until : last;
}

static void copy(const ldr_lease *lease, int64_t now_us, char *to, ldr_lease *out)
{
    *out = *lease;
    ldr_list_init(&out->link);
    out->ttl_us = lease->until_us > now_us ? lease->until_us - now_us : 1;
    out->key = ldr_slice_of(to, lease->key.n);
    if (lease->key.n > 0)
        memcpy(to, lease->key.p, lease->key.n);
}

/* Takes what is due into `out` and says when the rest is; a lease whose key does not fit stays due. */
static size_t take(ldr_leases *l, int64_t now_us, ldr_lease *out, size_t max, ldr_slice room)
{
    size_t n = 0, used = 0;
    l->due_us = LDR_NEVER;
    for (ldr_list *at = l->leases.next; at != &l->leases; at = at->next) {
        ldr_lease *lease = ldr_list_of(at, ldr_lease, link);
        if (due_of(lease) <= now_us && n < max && lease->key.n <= room.n - used) {
            renew(lease, now_us);
            copy(lease, now_us, (char *)(uintptr_t)room.p + used, &out[n++]);
            used += lease->key.n;
        }
        int64_t due = due_of(lease);
        l->due_us = due < l->due_us ? due : l->due_us;
    }
    return n;
}

size_t ldr_leases_take_due(ldr_leases *l, int64_t now_us, ldr_lease *out, size_t max, char *to, size_t room)
{
    pthread_mutex_lock(&l->lock);
    size_t n = l->due_us <= now_us ? take(l, now_us, out, max, ldr_slice_of(to, room)) : 0;
    pthread_mutex_unlock(&l->lock);
    return n;
}

/* ---- waits --------------------------------------------------------------------------------------------------- */

static ldr_list *chain_of(ldr_leases *l, uint64_t hash)
{
    return &l->waits[hash % N_CHAINS];
}

void ldr_lease_wait_begin(ldr_leases *l, ldr_lease_wait *w)
{
    pthread_mutex_lock(&l->lock);
    ldr_list_init(&w->link);
    ldr_list_push(chain_of(l, w->hash), &w->link);
    pthread_mutex_unlock(&l->lock);
}

void ldr_lease_wait_end(ldr_leases *l, ldr_lease_wait *w)
{
    leave(l, &w->link);
}

static void wake_chain(ldr_list *chain, const uint64_t *hash)
{
    for (ldr_list *at = chain->next; at != chain; at = at->next) {
        ldr_lease_wait *w = ldr_list_of(at, ldr_lease_wait, link);
        if (!hash || w->hash == *hash)
            w->wake(w->ctx, w->id);
    }
}

void ldr_leases_wake(ldr_leases *l, uint64_t hash)
{
    pthread_mutex_lock(&l->lock);
    wake_chain(chain_of(l, hash), &hash);
    pthread_mutex_unlock(&l->lock);
}

void ldr_leases_wake_all(ldr_leases *l)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < N_CHAINS; i++)
        wake_chain(&l->waits[i], NULL);
    pthread_mutex_unlock(&l->lock);
}
