/* clock.h - time and randomness are handed in. All times are int64 microseconds of one monotonic clock.
 *
 * `now` is exact; `coarse` is what a memo's hit reads. It lags by at most `coarse_lag_us`, unless the machine holds up its
 * own tick for longer. With a virtual clock (the test host) both give the same word, which only the test moves. */
#ifndef LDR_BASE_CLOCK_H
#define LDR_BASE_CLOCK_H

#include <stdint.h>

#define LDR_NEVER INT64_MAX /* an expiry or deadline that never comes */
#define LDR_MS 1000
#define LDR_SEC 1000000

typedef struct ldr_clock {
    int64_t virtual_us;    /* used when is_virtual; read and written as a relaxed atomic */
    int64_t coarse_lag_us; /* 0 when virtual */
    int is_virtual;
} ldr_clock;

void ldr_clock_init(ldr_clock *c);                           /* the machine's CLOCK_MONOTONIC */
void ldr_clock_init_virtual(ldr_clock *c, int64_t start_us); /* stands still until ldr_clock_advance */
void ldr_clock_advance(ldr_clock *c, int64_t by_us);         /* virtual only */
int64_t ldr_clock_now(const ldr_clock *c);
int64_t ldr_clock_coarse(const ldr_clock *c);

int64_t ldr_time_add(int64_t at_us, int64_t by_us); /* saturates at LDR_NEVER */

/* splitmix64: small, seeded, good enough for jitter and tests. Not thread-safe: one state an owner. */
typedef struct ldr_rng {
    uint64_t s;
} ldr_rng;
uint64_t ldr_rng_next(ldr_rng *r);
double ldr_rng_unit(ldr_rng *r); /* in [0,1) */

#endif
