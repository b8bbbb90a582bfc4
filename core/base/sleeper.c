/* sleeper.c - a flag under a mutex, and a condition on the machine's monotonic clock.
 *
 * Invariant: the flag is up from a wake until the sleep that it ends (or that follows) takes it down. */
#include "base/sleeper.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

void ldr_sleeper_init(ldr_sleeper *s)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->woken, &attr);
    pthread_condattr_destroy(&attr);
    s->is_woken = false;
}

void ldr_sleeper_fini(ldr_sleeper *s)
{
    pthread_cond_destroy(&s->woken);
    pthread_mutex_destroy(&s->lock);
}

void ldr_sleeper_wake(void *ctx, uint64_t id)
{
    ldr_sleeper *s = ctx;
    (void)id;
    pthread_mutex_lock(&s->lock);
    s->is_woken = true;
    pthread_cond_signal(&s->woken);
    pthread_mutex_unlock(&s->lock);
}

bool ldr_sleeper_sleep_until(ldr_sleeper *s, int64_t deadline_us)
{
    struct timespec at = {.tv_sec = deadline_us / LDR_SEC, .tv_nsec = deadline_us % LDR_SEC * 1000};
    pthread_mutex_lock(&s->lock);
    int rc = 0;
    while (!s->is_woken && rc != ETIMEDOUT)
        rc = deadline_us == LDR_NEVER ? pthread_cond_wait(&s->woken, &s->lock)
                                      : pthread_cond_timedwait(&s->woken, &s->lock, &at);
    bool was_woken = s->is_woken;
    s->is_woken = false;
    pthread_mutex_unlock(&s->lock);
    return was_woken;
}
