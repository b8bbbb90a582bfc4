/* share.h - what a load and the shared shelf say to each other, key by key. The load asks `verb` of the keys that need it
 * and carries the exchange; what came back moves each key on:
 *
 *   SEEK -> LEASE -> LOAD -> (fill or release) -> OVER        nothing fresh was held; or, before it:
 *   SEEK or LEASE -> SERVE -> OVER                            the shelf had it
 *   LEASE -> WAIT -> SEEK                                     another process loads
 *
 * Without a shared shelf there is no share, and every key begins at LOAD. */
#ifndef LDR_FLOW_SHARE_H
#define LDR_FLOW_SHARE_H

#include "flow/op.h"

enum ldr_share_need {
    LDR_SHARE_SEEK, LDR_SHARE_LEASE, LDR_SHARE_WAIT, LDR_SHARE_LOAD,
    LDR_SHARE_SERVE,   /* `record` holds what the shelf had, until the next question */
    LDR_SHARE_LATE,    /* waited too long, and the caller wants an error or a stale value for it */
    LDR_SHARE_FILL, LDR_SHARE_RELEASE, /* loaded: to be kept there, or not */
    LDR_SHARE_OVER
};

/* Who may keep what was loaded. */
enum ldr_share_right {
    LDR_RIGHT_NONE, /* a write is under way, or the lease is another's */
    LDR_RIGHT_L1,   /* the shared shelf is out of reach */
    LDR_RIGHT_ALL   /* the lease is held */
};

typedef struct ldr_share_key {
    enum ldr_share_need need;
    enum ldr_share_right right;
    ldr_l2_item item;
    ldr_lease lease;
    ldr_lease_wait wait;
    atomic_bool woken;
    const ldr_owner *owner; /* of the load, borrowed: who is woken */
    ldr_flight *flight;     /* borrowed from the load */
} ldr_share_key;

typedef struct ldr_share {
    ldr_flow *flow;
    ldr_exchange ex;
    int verb;           /* asked last */
    size_t n, n_asked;
    ldr_loading how;
    ldr_l2_item **asked; /* n_asked of them */
    ldr_share_key *keys; /* n */
} ldr_share;

/* load: its flow and owner are borrowed. NULL: no memory */
ldr_share *ldr_share_new(ldr_op *load, ldr_flight *const *flights, size_t n, const ldr_loading *how);
void ldr_share_free(ldr_share *s); /* leases end here but stand in Redis until they run out; NULL is fine */
bool ldr_share_any(const ldr_share *s, enum ldr_share_need need);
/* The exchange that asks `verb` of all keys with that need; NULL: there is none. Without memory those keys go on as if
 * the shelf were out of reach. */
ldr_exchange *ldr_share_ask(ldr_share *s, enum ldr_share_need need, int verb);
void ldr_share_take(ldr_share *s); /* what came back: keys move on; those to be asked again keep their need */
/* Before parking: false: something has changed already. After it, or when it gave false: ldr_share_woken. */
bool ldr_share_may_park(ldr_share *s);
int64_t ldr_share_until(const ldr_share *s); /* when the wait ends by itself */
void ldr_share_woken(ldr_share *s);          /* who waited looks again, or has waited too long */

#endif
