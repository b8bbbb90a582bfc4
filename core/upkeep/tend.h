/* tend.h - what the shared shelf needs from time to time, as an operation: leases that are due are renewed, what Redis did
 * not confirm is dropped there again, and the pulse tells whether the bell was heard to the end. Whoever has a loop steps
 * it: the listener's thread, or a test host. */
#ifndef LDR_UPKEEP_TEND_H
#define LDR_UPKEEP_TEND_H

#include "flow/op.h"

typedef struct ldr_tending {
    ldr_flow *flow;
    ldr_bell bell;
    int64_t pulse_us; /* when the next pulse is due */
} ldr_tending;

#define LDR_PULSE_US ((int64_t)1000000)       /* between two pulses */
#define LDR_PULSE_GRACE_US ((int64_t)200000)  /* a change may be heard so much later than its number was read */

void ldr_tend_init(ldr_tending *t, ldr_flow *f);
ldr_op *ldr_tend_begin(ldr_tending *t, const ldr_owner *owner); /* one round; NULL: out of memory */
int64_t ldr_tend_due(const ldr_tending *t);                     /* when the next round is wanted */
void ldr_tend_subscribed(ldr_tending *t);                       /* a new subscription stands: what came before is not known */
void ldr_tend_message(ldr_tending *t, ldr_slice payload);       /* the bell rang */

#endif
