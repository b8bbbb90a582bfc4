/* get.h - a read while it is under way: shared by get.c (its stages, flights) and get_look.c (what the tiers hold). */
#ifndef LDR_FLOW_GET_H
#define LDR_FLOW_GET_H

#include "flow/op.h"

enum ldr_get_state { LDR_ASKING_KEY, LDR_WAITING_KEY, LDR_SETTLED_KEY };

typedef struct ldr_get_key {
    ldr_slice key;
    uint64_t hash;
    enum ldr_get_state state;
    bool led, loads, waited_out; /* led: its flight is this call's. loads: that load was begun. waited_out: joins no more */
    uint64_t news;               /* of the key's doorkeeper, before the shared shelf was asked */
    ldr_flight *flight;
    ldr_waiter waiter;
    ldr_hit_buffers buffers;
    ldr_answer answer;           /* before SETTLED: what L1 had at the last look */
} ldr_get_key;

/* The look at the shared shelf, without a flight. */
typedef struct ldr_get_seek {
    ldr_exchange ex; /* its replies live as long as the operation: answers borrow from them */
    size_t n;
    ldr_l2_item *items;
    ldr_l2_item **asked; /* n of them, of ... */
    ldr_get_key **keys;  /* ... these keys */
} ldr_get_seek;

typedef struct ldr_reading {
    ldr_op op;
    ldr_asking asking;
    int64_t now_us; /* of this step: reading the clock is a good part of a miss */
    int64_t wait_until_us;
    size_t n_settled;
    ldr_flight **flights; /* room for one a key: those to be loaded, later those waited for */
    ldr_get_key *keys;
    ldr_get_key *looked; /* the key whose `held` question is being answered */
    ldr_get_seek *seek;  /* NULL: no shared shelf, or it was not asked */
} ldr_reading;

/* get_look.c */
void ldr_get_answer_with(ldr_reading *g, ldr_get_key *k, const ldr_answer *a); /* settles the key */
void ldr_get_fail(ldr_reading *g, ldr_get_key *k, const ldr_err *err);
void ldr_get_fail_with(ldr_reading *g, ldr_get_key *k, int code, const char *what);
bool ldr_get_asks_somebody(const ldr_reading *g);
void ldr_get_look(ldr_reading *g, ldr_get_key *k);
bool ldr_get_look_at(ldr_reading *g, ldr_get_key *k, bool touch);
bool ldr_get_answer_held(ldr_reading *g, ldr_get_key *k);      /* where the source gave nothing: what L1 holds by now */
/* Asks the shared shelf for all keys that L1 did not answer; NULL: there is nothing to ask. */
ldr_exchange *ldr_get_seek_ask(ldr_reading *g);
bool ldr_get_seek_take(ldr_reading *g); /* true: the same once more. Keys that were not answered stay ASKING */

#endif
