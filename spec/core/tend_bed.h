/* tend_bed.h - what tending needs of a flow, and no more: no shelf, no source. */
#ifndef SPEC_TEND_BED_H
#define SPEC_TEND_BED_H

#include "bed.h"
#include "upkeep/tend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BED_NAME "shop"
#define BED_BELL "ldr1.bell:" BED_NAME
#define BED_ORIGIN "00000000000000ab"

typedef struct bed_flow {
    ldr_flow flow;
    atomic_int n_wakes;
    ldr_lease_wait wait;
    bed_mem mem;
} bed_flow;

static inline void bed_wake(void *ctx, uint64_t id)
{
    (void)id;
    atomic_fetch_add(&((bed_flow *)ctx)->n_wakes, 1);
}

/* mem NULL: the system's. virtual_us 0: the machine's clock. */
static inline void bed_flow_init(bed_flow *b, const ldr_mem *mem, int64_t virtual_us)
{
    ldr_err err;
    ldr_flow *f = &b->flow;
    memset(b, 0, sizeof *b);
    f->mem = mem ? *mem : ldr_mem_system;
    if (virtual_us)
        ldr_clock_init_virtual(&f->clock, virtual_us);
    else
        ldr_clock_init(&f->clock);
    f->seed = 1;
    f->flights = ldr_flights_new(&f->mem);
    f->meter = ldr_meter_new(&f->mem);
    f->leases = ldr_leases_new(&f->mem);
    f->resend = ldr_resend_new(&f->mem, 0, 0);
    assert_int_equal(ldr_l2_new(&(ldr_l2_options){.name = BED_NAME, .seed = 7}, &f->mem, &f->l2, &err), LDR_OK);
    assert_true(f->flights && f->meter && f->leases && f->resend);
    ldr_events_init(&f->events, &f->mem, f->meter);
    b->wait = (ldr_lease_wait){.hash = ldr_hash(ldr_slice_str("waited"), f->seed), .wake = bed_wake, .ctx = b};
    ldr_lease_wait_begin(f->leases, &b->wait);
}

static inline void bed_flow_fini(bed_flow *b)
{
    ldr_flow *f = &b->flow;
    ldr_lease_wait_end(f->leases, &b->wait);
    ldr_events_fini(&f->events);
    ldr_l2_free(f->l2);
    ldr_resend_free(f->resend);
    ldr_leases_free(f->leases);
    ldr_meter_free(f->meter, &f->mem);
    ldr_flights_free(f->flights);
}

static inline uint64_t bed_count(bed_flow *b, enum ldr_metric what)
{
    return ldr_meter_sum(b->flow.meter, what);
}

#endif
