/* listener.h - a cache's ear: one thread with the subscriber link to Redis, which also tends (tend.h). Starts with the first
 * use of the cache, blocks all signals, reconnects with a back-off of at most half a second; the connection lost or made
 * again makes all that L1 holds suspect. */
#ifndef LDR_UPKEEP_LISTENER_H
#define LDR_UPKEEP_LISTENER_H

#include "upkeep/tend.h"

typedef struct ldr_listener ldr_listener;

/* bus false: no subscriber link, only tending. NULL: out of memory. */
ldr_listener *ldr_listener_new(ldr_flow *f, bool bus);
bool ldr_listener_start(ldr_listener *l); /* again is fine; false: no thread can be had */
void ldr_listener_stop(ldr_listener *l, int64_t wait_us); /* unconfirmed drops get wait_us to be sent; then it is gone */
void ldr_listener_free(ldr_listener *l);  /* after stop; in a forked child without: forgets the parent's thread and link */
bool ldr_listener_hears(const ldr_listener *l); /* the subscription stands */

#endif
