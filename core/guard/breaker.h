/* breaker.h - a circuit breaker: after a failure nobody tries until the back-off has passed, then one does (half-open);
 * it works: all may; it fails: the back-off doubles. So an outage costs one time-out, not one a call. Pure; thread-safe. */
#ifndef LDR_GUARD_BREAKER_H
#define LDR_GUARD_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct ldr_breaker {
    int64_t first_us, most_us;   /* the back-off's limits */
    _Atomic int64_t until_us;    /* 0: closed; else nobody tries before */
    _Atomic int64_t backoff_us;
    atomic_bool probing;         /* somebody tries */
} ldr_breaker;

void ldr_breaker_init(ldr_breaker *b, int64_t first_us, int64_t most_us);
/* May I try now? A true in half-open state makes the caller the probe: it must say worked or failed. */
bool ldr_breaker_admits(ldr_breaker *b, int64_t now_us);
void ldr_breaker_worked(ldr_breaker *b);
void ldr_breaker_failed(ldr_breaker *b, int64_t now_us);
bool ldr_breaker_is_open(const ldr_breaker *b);

#endif
