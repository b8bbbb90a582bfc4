/* backoff.c - see backoff.h. One mutex: it is taken only where a load failed or a stale entry is asked for. */
#include "guard/backoff.h"

#include <pthread.h>
#include <stdatomic.h>

#define N_PLACES 1024

typedef struct place {
    uint64_t hash;
    int64_t retry_us, delay_us;
} place;

struct ldr_backoff {
    pthread_mutex_t lock;
    _Atomic uint32_t n_used; /* 0: nothing ever failed, and nobody needs the lock */
    place places[N_PLACES];
};

ldr_backoff *ldr_backoff_new(const ldr_mem *mem)
{
    ldr_backoff *b = ldr_mem_zero(mem, 1, sizeof *b);
    if (b)
        pthread_mutex_init(&b->lock, NULL);
    return b;
}

void ldr_backoff_free(ldr_backoff *b, const ldr_mem *mem)
{
    if (b)
        pthread_mutex_destroy(&b->lock);
    ldr_mem_free(mem, b);
}

bool ldr_backoff_waits(ldr_backoff *b, uint64_t hash, int64_t now_us)
{
    if (atomic_load(&b->n_used) == 0)
        return false;
    pthread_mutex_lock(&b->lock);
    const place *p = &b->places[hash % N_PLACES];
    bool waits = p->hash == hash && p->delay_us > 0 && now_us < p->retry_us;
    pthread_mutex_unlock(&b->lock);
    return waits;
}

void ldr_backoff_failed(ldr_backoff *b, uint64_t hash, int64_t now_us)
{
    pthread_mutex_lock(&b->lock);
    place *p = &b->places[hash % N_PLACES];
    if (p->delay_us == 0)
        atomic_fetch_add(&b->n_used, 1);
    int64_t delay = p->hash == hash && p->delay_us > 0 ? p->delay_us * 2 : LDR_BACKOFF_FIRST_US;
    *p = (place){.hash = hash, .delay_us = delay < LDR_BACKOFF_MAX_US ? delay : LDR_BACKOFF_MAX_US};
    p->retry_us = now_us + p->delay_us;
    pthread_mutex_unlock(&b->lock);
}

void ldr_backoff_worked(ldr_backoff *b, uint64_t hash)
{
    if (atomic_load(&b->n_used) == 0)
        return;
    pthread_mutex_lock(&b->lock);
    place *p = &b->places[hash % N_PLACES];
    if (p->hash == hash && p->delay_us > 0) {
        *p = (place){0};
        atomic_fetch_sub(&b->n_used, 1);
    }
    pthread_mutex_unlock(&b->lock);
}
