/* meter.h - counters and latency histograms. Counters are striped, so that threads do not share a cache line;
 * a sum read while others count may lag by what is being counted. One X-macro row a counter (metrics.def). */
#ifndef LDR_METER_METER_H
#define LDR_METER_METER_H

#include "base/mem.h"
#include <stdatomic.h>
#include <stdint.h>

enum ldr_metric {
#define X(name, help) LDR_M_##name,
#include "meter/metrics.def"
#undef X
    LDR_N_METRICS
};

enum ldr_latency { LDR_LAT_get = 0, LDR_LAT_l1, LDR_LAT_l2, LDR_LAT_load, LDR_N_LATENCIES };

#define LDR_HISTOGRAM_BUCKETS 512 /* log2 of nanoseconds, 8 steps an octave: within 12.5 % */
#define LDR_METER_STRIPES 8

typedef struct ldr_meter ldr_meter;

ldr_meter *ldr_meter_new(const ldr_mem *mem); /* NULL: out of memory */
void ldr_meter_free(ldr_meter *m, const ldr_mem *mem);
void ldr_meter_add(ldr_meter *m, enum ldr_metric what, uint64_t n); /* any thread */
uint64_t ldr_meter_sum(const ldr_meter *m, enum ldr_metric what);
const char *ldr_metric_name(enum ldr_metric what);
const char *ldr_metric_help(enum ldr_metric what);

/* Notes one duration that stands for `weight` of them (a sampled one). Negative counts as 0. */
void ldr_meter_note(ldr_meter *m, enum ldr_latency what, int64_t ns, uint64_t weight);
/* count, and the upper edge in ns of the bucket where each quantile q[i] in 0..1 lies (0 when nothing was noted). */
uint64_t ldr_meter_quantiles(const ldr_meter *m, enum ldr_latency what, const double *q, int64_t *ns, size_t n);

#endif
