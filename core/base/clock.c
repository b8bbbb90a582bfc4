/* clock.c - the machine's monotonic clock, exact and coarse, or a virtual one that only the test moves.
 *
 * The coarse clock moves with the kernel's tick and lags by one tick, more where ticks come late, as they do on a virtual
 * machine whose processor was taken away. coarse_lag_us is four ticks and as many milliseconds: within that of its
 * expiry an entry is judged by the exact clock. What a tick is late beyond it, an entry may be served late. */
#include "base/clock.h"

#include <time.h>

#define NS_PER_US 1000
#define LATE_TICKS 4

static int64_t read_us(clockid_t id)
{
    struct timespec t;
    if (clock_gettime(id, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * LDR_SEC + t.tv_nsec / NS_PER_US;
}

static int64_t tick_us(void)
{
    struct timespec t;
    if (clock_getres(CLOCK_MONOTONIC_COARSE, &t) != 0)
        return 10 * LDR_MS;
    return (int64_t)t.tv_sec * LDR_SEC + (t.tv_nsec + NS_PER_US - 1) / NS_PER_US;
}

void ldr_clock_init(ldr_clock *c)
{
    *c = (ldr_clock){.coarse_lag_us = LATE_TICKS * (tick_us() + LDR_MS)};
}

void ldr_clock_init_virtual(ldr_clock *c, int64_t start_us)
{
    *c = (ldr_clock){.virtual_us = start_us, .is_virtual = 1};
}

void ldr_clock_advance(ldr_clock *c, int64_t by_us)
{
    int64_t now = __atomic_load_n(&c->virtual_us, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&c->virtual_us, &now, ldr_time_add(now, by_us), 1, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
        ;
}

int64_t ldr_clock_now(const ldr_clock *c)
{
    if (c->is_virtual)
        return __atomic_load_n(&c->virtual_us, __ATOMIC_RELAXED);
    return read_us(CLOCK_MONOTONIC);
}

int64_t ldr_clock_coarse(const ldr_clock *c)
{
    if (c->is_virtual)
        return __atomic_load_n(&c->virtual_us, __ATOMIC_RELAXED);
    return read_us(CLOCK_MONOTONIC_COARSE);
}

int64_t ldr_time_add(int64_t at_us, int64_t by_us)
{
    int64_t sum;
    if (at_us == LDR_NEVER || by_us == LDR_NEVER)
        return LDR_NEVER;
    if (__builtin_add_overflow(at_us, by_us, &sum))
        return by_us > 0 ? LDR_NEVER : INT64_MIN;
    return sum;
}

uint64_t ldr_rng_next(ldr_rng *r)
{
    uint64_t z = (r->s += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* The upper 53 bits: every value is a double, and 1.0 is never reached. */
double ldr_rng_unit(ldr_rng *r)
{
    return (double)(ldr_rng_next(r) >> 11) * 0x1p-53;
}
