/* ear.h - the subscriber link of a listener: connects, subscribes to the bell, hands on what it hears, notices that the link
 * is dead, and connects again after a back-off. Never blocks but to connect. One thread at a time. */
#ifndef LDR_UPKEEP_EAR_H
#define LDR_UPKEEP_EAR_H

#include "upkeep/tend.h"

#define LDR_EAR_QUIET_US ((int64_t)2000000)  /* nothing was heard for so long: PING */
#define LDR_EAR_DEAD_US ((int64_t)1000000)   /* and no answer to that for so long: the link is dead */
#define LDR_EAR_LEAST_US ((int64_t)500000)   /* a subscription has so long to be confirmed, or l2.timeout where that is longer */
#define LDR_EAR_FIRST_US ((int64_t)20000)    /* back-off before connecting again, doubling ... */
#define LDR_EAR_MOST_US ((int64_t)500000)    /* ... up to this; less a random half of it */
#define LDR_EAR_ROUND_BYTES ((size_t)262144) /* are read at most before the others have their turn */

typedef struct ldr_ear {
    ldr_tending *tend;
    int fd;             /* -1: none */
    ldr_link *link;     /* NULL: none */
    atomic_bool hears;  /* the subscription stands; read by any thread */
    bool was_lost;      /* it stood before */
    bool complained;    /* an error was told since it stood last */
    bool refused;       /* the server will not have the subscription */
    bool heard_whole;   /* a reply, since this was set back */
    int64_t dial_us;    /* without a link: when the next is tried */
    int64_t wait_us;    /* the last back-off, 0: none */
    int64_t heard_us, pinged_us; /* the last whole reply; the PING that has no answer, 0: none */
    ldr_rng rng;
    ldr_err why;        /* what ended the last link */
    char bytes[65536];
} ldr_ear;

void ldr_ear_init(ldr_ear *e, ldr_tending *t);
void ldr_ear_close(ldr_ear *e); /* tells nobody: closes the descriptor, frees the link */
/* What is due: connects, asks a link that is quiet, gives one up that is dead. */
void ldr_ear_tend(ldr_ear *e, int64_t now_us);
int64_t ldr_ear_due(const ldr_ear *e);
short ldr_ear_events(const ldr_ear *e); /* to poll e->fd for */
void ldr_ear_move(ldr_ear *e, short revents, int64_t now_us); /* what poll gave: reads and sends a bounded amount */

#endif
