/* bed.h - what the C specs share: memory that fails at the n-th call and counts what is alive, and a seed. */
#ifndef SPEC_BED_H
#define SPEC_BED_H

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct bed_mem {
    ldr_mem mem;
    long n_calls; /* that allocated or grew */
    long n_alive;
    long fail_at; /* the call with this number fails; 0: none */
} bed_mem;

static inline void *bed_realloc(void *ctx, void *p, size_t size)
{
    bed_mem *b = ctx;
    if (size == 0) {
        b->n_alive -= p != NULL;
        free(p);
        return NULL;
    }
    if (++b->n_calls == b->fail_at)
        return NULL;
    b->n_alive += p == NULL;
    return realloc(p, size);
}

/* b must not move afterwards: the ldr_mem points at it. */
static inline const ldr_mem *bed_mem_init(bed_mem *b, long fail_at)
{
    *b = (bed_mem){.mem = {.realloc = bed_realloc, .ctx = b}, .fail_at = fail_at};
    return &b->mem;
}

/* Printed, and taken from LARDER_SEED where that is set, so that a red run can be had again. */
static inline ldr_rng bed_rng(const char *what)
{
    const char *given = getenv("LARDER_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("# %s: LARDER_SEED=%llu\n", what, (unsigned long long)seed);
    return (ldr_rng){.s = seed};
}

/* How often: few by default, many under LARDER_PROVE=1. */
static inline long bed_times(long few, long many)
{
    const char *prove = getenv("LARDER_PROVE");
    return prove && prove[0] == '1' ? many : few;
}

#endif
