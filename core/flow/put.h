/* put.h - a write while it is under way: shared by put.c (its stages), put_tiers.c (the tiers of this process) and
 * put_share.c (the shared shelf). */
#ifndef LDR_FLOW_PUT_H
#define LDR_FLOW_PUT_H

#include "flow/op.h"

typedef struct ldr_put_key {
    ldr_item item;
    uint64_t hash;
    ldr_mark mark;
    ldr_record record;
    ldr_buf made;
    bool kept_times; /* the record has an expiry: it may be kept */
    bool written;    /* the source has it: what fails later changes nothing about that */
    bool unshared;   /* the shared shelf did not take it: this process keeps nothing either */
} ldr_put_key;

typedef struct ldr_put {
    ldr_op op;
    ldr_writing writing;
    bool tail;  /* the background half of a weak write: owns its bytes, failures are counted only */
    bool is_weak; /* the tiers are written before a source that is going to have it too */
    int64_t asked_us; /* from here on the value counts as seen: age counts from before the source answered */
    ldr_request request;
    ldr_item **items;
    ldr_put_key *keys;
    struct ldr_put_share *share; /* NULL: no shared shelf */
} ldr_put;

/* put.c */
void ldr_put_told(ldr_put *p, ldr_put_key *k);
bool ldr_put_make_record(ldr_put *p, ldr_put_key *k, ldr_slice value, int kind); /* false: the item failed */
bool ldr_put_keeps(const ldr_put *p, const ldr_put_key *k); /* the tiers get what the source has now */

/* put_tiers.c */
void ldr_put_tiers(ldr_put *p, ldr_put_key *k);       /* this process's shelf alone, at once */
void ldr_put_mark_tiers(ldr_put *p, ldr_put_key *k);  /* before the shared shelf is asked to take a write of the tiers */
void ldr_put_apply_tiers(ldr_put *p, ldr_put_key *k); /* after it said what became of it */

/* put_share.c: each asks and gives the exchange, NULL: nothing to ask. */
bool ldr_put_share_new(ldr_put *p); /* false: no memory */
void ldr_put_share_free(ldr_put *p);
ldr_exchange *ldr_put_share_tiers(ldr_put *p); /* PUT or DROP of all keys */
ldr_exchange *ldr_put_share_mark(ldr_put *p);
ldr_exchange *ldr_put_share_close(ldr_put *p); /* SET, UNMARK or DROP: one kind after the other, until it gives NULL */
bool ldr_put_share_take(ldr_put *p);           /* true: the same must be asked once more */

#endif
