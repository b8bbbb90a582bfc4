/* bell.h - the bell: what the other processes say about keys, and whether all of it was heard. Pure: no sockets, no clock.
 *
 * A message is  "SEQ KIND VERSION ORIGIN KEY"  with single spaces, KEY being the rest (any bytes):
 *   d  the key was dropped or deleted: VERSION is its floor, 0 unknown        s  the key has a new value of VERSION
 *   a  everything: KEY is the new generation (16 hex)                          w  its lease was released: SEQ is 0, for only
 *                                                                                 who waits has a use for it
 * SEQ is drawn in the script that makes the change (HINCRBY of the bell's s), so a number that is missing is a change that
 * was not heard. ORIGIN: the writer's random number, 16 hex. */
#ifndef LDR_BUS_BELL_H
#define LDR_BUS_BELL_H

#include "base/slice.h"
#include <stdint.h>

enum ldr_bell_kind { LDR_BELL_DROP, LDR_BELL_SET, LDR_BELL_ALL, LDR_BELL_WAKE };

typedef struct ldr_bell_message {
    uint64_t seq;
    int kind;
    int64_t version;
    uint64_t origin, gen;
    ldr_slice key; /* borrowed */
} ldr_bell_message;

bool ldr_bell_read(ldr_slice payload, ldr_bell_message *out); /* false: no such message */

/* What was heard so far. One owner. Zero at first. */
typedef struct ldr_bell {
    uint64_t last;    /* numbers up to this one were heard, or a GAP was given after they were rung */
    bool knows;       /* there was a pulse since the subscription: what it does not hear may still be under way */
    uint64_t behind;  /* a pulse said that `behind` was rung and it was not heard yet; 0: nothing is missing */
    int64_t behind_us; /* since when */
    uint64_t seen;     /* likewise what the last pulse said, while something is missing: the next to be missed */
    int64_t seen_us;
} ldr_bell;

enum ldr_bell_verdict { LDR_BELL_IN_ORDER, LDR_BELL_OLD /* heard before */, LDR_BELL_GAP /* something was missed */ };

/* A new subscription: what was rung between `last` and now was not heard. Its owner suspects all that he has kept, and the
 * first pulse or message says whether that was enough. */
void ldr_bell_begin(ldr_bell *b);
enum ldr_bell_verdict ldr_bell_hear(ldr_bell *b, uint64_t seq); /* seq 0: has no number, in order */
/* The server's sequence, read on another link after all that was heard so far. GAP: rung at least grace_us ago and not
 * heard, or the number fell, or, at the first one since the subscription, anything not heard. */
enum ldr_bell_verdict ldr_bell_pulse(ldr_bell *b, uint64_t seq, int64_t now_us, int64_t grace_us);

#endif
