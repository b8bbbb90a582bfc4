/* tend.h - what the shared shelf needs from time to time, as an operation: leases that are due are renewed, what Redis did
 * not confirm is dropped there again, and the pulse tells whether the bell was heard to the end. It also carries the mark of
 * the source's change table, for who comes after all of us are gone (changes.h). Whoever has a loop steps it: the listener's
 * thread, or a test host. One thread at a time; only `news` is written by others. */
#ifndef LDR_UPKEEP_TEND_H
#define LDR_UPKEEP_TEND_H

#include "flow/op.h"

typedef struct ldr_tending {
    ldr_flow *flow;
    ldr_bell bell;
    bool wants_bell;      /* it should hear: as long as no subscription stands, whatever was rung makes L1 suspect */
    bool listens;         /* a subscription stands: the bell is judged */
    int64_t pulse_us;     /* when the next pulse is due */
    int64_t pulse_wait_us; /* after the last pulse failed: how long until this one; 0: it did not */
    int64_t resend_us;    /* not before, for the last try failed */
    int64_t rest_us;      /* nothing before: there was no memory */
    int64_t mark_there, mark_said; /* of the source's changes: read last; written last, LDR_UNSET never */
    _Atomic unsigned news; /* a bit each: what was told by ldr_l2_listen and not dealt with yet */
    void (*changed)(void *ctx); /* told from any thread when a round may be due earlier than was said; NULL: nobody */
    void *ctx;
} ldr_tending;

#define LDR_PULSE_US ((int64_t)1000000)       /* between two pulses */
#define LDR_PULSE_GRACE_US ((int64_t)200000)  /* a change may be heard so much later than its number was read */
#define LDR_PULSE_AGAIN_US ((int64_t)20000)   /* after one that failed; doubling ... */
#define LDR_PULSE_AGAIN_MOST_US ((int64_t)250000) /* ... up to this */

#define LDR_RESEND_AGAIN_US ((int64_t)250000) /* drops that the server refused are tried once more after it */

/* From now on `t` hears what the flow's l2, leases and resend have to say; `changed` may be NULL. */
void ldr_tend_init(ldr_tending *t, ldr_flow *f);
void ldr_tend_on_change(ldr_tending *t, void (*changed)(void *ctx), void *ctx);
void ldr_tend_fini(ldr_tending *t); /* they tell it no more */
ldr_op *ldr_tend_begin(ldr_tending *t, const ldr_owner *owner); /* one round; NULL: out of memory */
int64_t ldr_tend_due(const ldr_tending *t);                     /* when the next round is wanted */
void ldr_tend_subscribed(ldr_tending *t);                       /* a new subscription stands: what came before is not known */
void ldr_tend_lost(ldr_tending *t);                             /* it stands no more */
void ldr_tend_message(ldr_tending *t, ldr_slice payload);       /* the bell rang */

#endif
