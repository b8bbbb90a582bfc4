/* meter.c - striped counters and log-linear histograms; see meter.h. Nothing here takes a lock. */
#include "meter/meter.h"

#include <pthread.h>
#include <string.h>

#define LINE_WORDS 8 /* of a cache line; two stripes are at least one apart, wherever the allocator put them */

typedef struct stripe {
    _Atomic uint64_t n[LDR_N_METRICS + LINE_WORDS];
} stripe;

struct ldr_meter {
    stripe stripes[LDR_METER_STRIPES];
    _Atomic uint64_t histogram[LDR_N_LATENCIES][LDR_HISTOGRAM_BUCKETS];
};

static const char *const names[] = {
#define X(name, help) #name,
#include "meter/metrics.def"
#undef X
};

static const char *const helps[] = {
#define X(name, help) help,
#include "meter/metrics.def"
#undef X
};

ldr_meter *ldr_meter_new(const ldr_mem *mem)
{
    return ldr_mem_zero(mem, 1, sizeof(ldr_meter));
}

void ldr_meter_free(ldr_meter *m, const ldr_mem *mem)
{
    ldr_mem_free(mem, m);
}

/* Threads are told apart by the address of their stack block: no thread-local state, no system call. */
static size_t stripe_of_thread(void)
{
    uint64_t id = (uint64_t)pthread_self();
    return (size_t)((id * 0x9E3779B97F4A7C15u) >> 61) % LDR_METER_STRIPES;
}

void ldr_meter_add(ldr_meter *m, enum ldr_metric what, uint64_t n)
{
    atomic_fetch_add_explicit(&m->stripes[stripe_of_thread()].n[what], n, memory_order_relaxed);
}

uint64_t ldr_meter_sum(const ldr_meter *m, enum ldr_metric what)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < LDR_METER_STRIPES; i++)
        sum += atomic_load_explicit(&m->stripes[i].n[what], memory_order_relaxed);
    return sum;
}

const char *ldr_metric_name(enum ldr_metric what)
{
    return names[what];
}

const char *ldr_metric_help(enum ldr_metric what)
{
    return helps[what];
}

static size_t bucket_of(int64_t ns)
{
    uint64_t v = ns < 0 ? 0 : (uint64_t)ns;
    if (v < 8)
        return (size_t)v;
    unsigned msb = 63u - (unsigned)__builtin_clzll(v);
    return (size_t)(msb - 2) * 8 + ((v >> (msb - 3)) & 7);
}

static int64_t bucket_edge(size_t i)
{
    if (i < 8)
        return (int64_t)i;
    unsigned msb = (unsigned)(i / 8) + 2;
    if (msb > 61)
        return INT64_MAX;
    return (int64_t)(((8 + (i % 8) + 1) << (msb - 3)) - 1);
}

void ldr_meter_note(ldr_meter *m, enum ldr_latency what, int64_t ns, uint64_t weight)
{
    atomic_fetch_add_explicit(&m->histogram[what][bucket_of(ns)], weight, memory_order_relaxed);
}

uint64_t ldr_meter_quantiles(const ldr_meter *m, enum ldr_latency what, const double *q, int64_t *ns, size_t n)
{
    uint64_t copy[LDR_HISTOGRAM_BUCKETS], total = 0;
    for (size_t i = 0; i < LDR_HISTOGRAM_BUCKETS; i++)
        total += copy[i] = atomic_load_explicit(&m->histogram[what][i], memory_order_relaxed);
    for (size_t k = 0; k < n; k++) {
        uint64_t wanted = (uint64_t)(q[k] * (double)total), seen = 0;
        ns[k] = 0;
        for (size_t i = 0; total > 0 && i < LDR_HISTOGRAM_BUCKETS; i++) {
            seen += copy[i];
            if (seen > wanted || seen == total) {
                ns[k] = bucket_edge(i);
                break;
            }
        }
    }
    return total;
}
