/* dial.h - a connection being made, in steps that do not block: a name is looked up, its addresses are tried in turn, each
 * with its share of the time. Who makes it waits between the steps as it likes, by poll or in a loop. */
#ifndef LDR_NET_DIAL_H
#define LDR_NET_DIAL_H

#include "base/clock.h"
#include "base/slice.h"
#include "net/resolve.h"
#include "wire/url.h"

enum ldr_dial_state { LDR_DIAL_WAITS = 0, LDR_DIAL_CONNECTED, LDR_DIAL_FAILED };

typedef struct ldr_dial {
    const ldr_address *address;
    ldr_resolver *resolver;
    ldr_lookup *lookup; /* under way; NULL */
    ldr_places places;
    unsigned next;      /* the place that is tried after this one */
    int fd;             /* connected: take it and set -1 here; else of the try under way, -1 none */
    int64_t until_us;   /* of it all; times are of CLOCK_MONOTONIC */
    int64_t try_until_us;
    struct {
        int fd; /* -1: only the time */
        short events;
        int64_t until_us;
    } wait;        /* LDR_DIAL_WAITS: for what */
    bool is_local; /* failed for a want of this process (descriptors, memory): it says nothing of the server */
    ldr_err err;   /* LDR_TIMEOUT LDR_UNAVAILABLE LDR_NOMEM, with the server's name */
} ldr_dial;

void ldr_dial_init(ldr_dial *d); /* nothing under way */
void ldr_dial_begin(ldr_dial *d, const ldr_address *a, ldr_resolver *r, int64_t until_us);
int ldr_dial_step(ldr_dial *d, int64_t now_us);
int ldr_dial_finish(ldr_dial *d, const ldr_clock *machine); /* steps and polls to the end: CONNECTED or FAILED */
void ldr_dial_end(ldr_dial *d); /* closes what is under way; again is harmless */

#endif
