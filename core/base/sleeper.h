/* sleeper.h - where one thread sleeps until another wakes it, or a deadline passes. A wake that comes before the sleep is
 * kept: no wake-up is lost. Several wakes before one sleep are one. */
#ifndef LDR_BASE_SLEEPER_H
#define LDR_BASE_SLEEPER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct ldr_sleeper {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool is_woken;
} ldr_sleeper;

void ldr_sleeper_init(ldr_sleeper *s);
void ldr_sleeper_fini(ldr_sleeper *s); /* nobody sleeps, nobody will wake */
void ldr_sleeper_wake(void *ctx, uint64_t id); /* from any thread; ctx is the sleeper: the function of an ldr_waker */
/* Until woken, or until deadline_us on CLOCK_MONOTONIC (LDR_NEVER: no limit). Gives whether it was woken. */
bool ldr_sleeper_sleep_until(ldr_sleeper *s, int64_t deadline_us);

#endif
