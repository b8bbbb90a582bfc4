/* breaker.c - see breaker.h. Closed: until_us is 0, and admits() is one load. Open: until_us is the next try's time.
 *
 * Several that were under way when the server went each report their failure: only the first of them, and a probe's,
 * moves the back-off, else one outage would count once a caller. A probe that failed ends its probing last, so that
 * nobody sees the old time with nobody probing. */
#include "guard/breaker.h"

#include "base/clock.h"

void ldr_breaker_init(ldr_breaker *b, int64_t first_us, int64_t most_us)
{
    b->first_us = first_us;
    b->most_us = most_us;
    atomic_init(&b->until_us, 0);
    atomic_init(&b->backoff_us, 0);
    atomic_init(&b->probing, false);
}

bool ldr_breaker_admits(ldr_breaker *b, int64_t now_us)
{
    int64_t until_us = atomic_load(&b->until_us);
    if (until_us == 0)
        return true;
    if (now_us < until_us || atomic_exchange(&b->probing, true))
        return false;
    until_us = atomic_load(&b->until_us); /* a probe may have ended since the first look */
    if (until_us != 0 && now_us >= until_us)
        return true;
    atomic_store(&b->probing, false);
    return until_us == 0;
}

void ldr_breaker_worked(ldr_breaker *b)
{
    if (atomic_load(&b->until_us) == 0)
        return;
    atomic_store(&b->backoff_us, 0);
    atomic_store(&b->until_us, 0);
    atomic_store(&b->probing, false);
}

void ldr_breaker_failed(ldr_breaker *b, int64_t now_us)
{
    int64_t until_us = atomic_load(&b->until_us), backoff_us = atomic_load(&b->backoff_us);
#ifndef LDR_BUG_BREAKER_CROWD
    if (until_us != 0 && now_us < until_us)
        return;
#endif
    backoff_us = backoff_us == 0 ? b->first_us : backoff_us > b->most_us / 2 ? b->most_us : backoff_us * 2;
    if (!atomic_compare_exchange_strong(&b->until_us, &until_us, ldr_time_add(now_us, backoff_us)))
        return; /* somebody else's failure counted, and ended the probing */
    atomic_store(&b->backoff_us, backoff_us);
    atomic_store(&b->probing, false);
}

bool ldr_breaker_is_open(const ldr_breaker *b)
{
    return atomic_load(&b->until_us) != 0;
}
