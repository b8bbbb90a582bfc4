/* sharing.h - the part of a cache that talks to Redis: made at open, anew in a forked child; and the hub of its namesakes. */
#ifndef LDR_SHARING_H
#define LDR_SHARING_H

#include "flow/op.h"
#include "upkeep/listener.h"

typedef struct ldr_sharing {
    ldr_flow *flow;
    bool is_on;             /* an l2 was named */
    bool bus;
    ldr_address address;
    char name[65];
    int64_t timeout_us, tombstone_us;
    ldr_listener *listener; /* NULL on a virtual clock ... */
    ldr_tending tending;    /* ... where whoever polls tends */
    bool tends;
    atomic_bool has_begun;
    void (*leaving)(void *ctx); /* told before the links go, also in a child: who has them on a loop takes them off */
    void *ctx;
} ldr_sharing;

int ldr_sharing_open(ldr_sharing *s, ldr_flow *f, const ldr_options *o, ldr_err *err); /* touches no server */
int ldr_sharing_furnish(ldr_sharing *s, ldr_err *err); /* also in a child, after ldr_sharing_empty(s, true) */
void ldr_sharing_begin(ldr_sharing *s);                /* with the first use: the listener's thread starts. Again: fine */
void ldr_sharing_poll(ldr_sharing *s);                 /* a round of tending, where there is no thread */
void ldr_sharing_stop(ldr_sharing *s, int64_t wait_us);
void ldr_sharing_empty(ldr_sharing *s, bool is_foreign); /* is_foreign: these are a parent's, left without a word */
void ldr_sharing_close(ldr_sharing *s);

#endif
