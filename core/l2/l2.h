/* l2.h - the shared shelf on Redis, as questions and answers: a verb's commands are put into an exchange, and what the
 * exchange brought back is read into the items. No sockets, no waiting: who steps the operation carries the exchange.
 *
 * All that changes a cell is a script (redis/NAME.lua, compiled in) on the cell's key and the bell's: atomic, on the server's
 * clock. A script that the server does not know is loaded: the answer then is LDR_L2_AGAIN and the same question is put
 * anew. A look-up is no script: GET or MGET, and TIME. Where it is more than a second since, the look-up also reads the
 * namespace's generation and the bell's number (one HMGET in the same round trip).
 *
 * Keys: the record of k is ldr1:NAME:k, the bell's hash (g generation, s sequence, m the mark of the source's changes) is
 * ldr1.bell:NAME, and so is its channel. */
#ifndef LDR_L2_L2_H
#define LDR_L2_L2_H

#include "base/clock.h"
#include "l2/cell.h"
#include "record/item.h"
#include "wire/exchange.h"

enum ldr_l2_verb {
    LDR_L2_LOOKUP = 0, /* what is held */
    LDR_L2_LEASE,      /* after a look-up that gave nothing fresh: look again, and take the lease */
    LDR_L2_FILL,       /* `record` in, where the lease stands and it is not older; ends the lease in any case */
    LDR_L2_RELEASE,    /* ends the lease without a value */
    LDR_L2_RENEW,      /* the lease lives lease_us more */
    LDR_L2_MARK,       /* a write begins: breaks the lease; what was held is served to nobody while the mark stands */
    LDR_L2_SET,        /* a write that the source has: where the own mark or a lower version stands, and it is not older;
                          record NULL: nothing can be kept, the cell becomes a tombstone. Ends the mark */
    LDR_L2_UNMARK,     /* a write that certainly had no effect: ends the mark, what was held stands */
    LDR_L2_PUT,        /* a write of the tiers alone: on its conditions; draws a version where none is given. record NULL: a
                          tombstone of that version */
    LDR_L2_DROP,       /* forget: a tombstone with `version` as its floor (0: the highest known); on its conditions. Without a
                          token a value of that version or a later one stands. Ends
                          the own mark where a token is given; another's stands, but without a version its writer's SET is refused */
    LDR_L2_TOUCH,      /* another soft expiry; hard moves along */
    LDR_L2_DROP_ALL,   /* a new generation: one item whose key is not looked at, or none (then ex->err says why it failed) */
    LDR_L2_N_VERBS
};

enum ldr_l2_state {
    LDR_L2_NOTHING = 0, /* LOOKUP: no value (or a damaged one, or of another generation) */
    LDR_L2_HELD,        /* LOOKUP, LEASE: `found` is within its hard expiry and not marked; whether that is fresh, its reader says */
    LDR_L2_LEASED,      /* LEASE: yours, for lease_us */
    LDR_L2_TAKEN,       /* LEASE: somebody loads; `wait_us` until his lease ends at the latest */
    LDR_L2_MARKED,      /* LOOKUP, LEASE: a write is under way: load, do not fill */
    LDR_L2_DONE,        /* FILL RENEW MARK SET PUT DROP ...: it is so now; `version` */
    LDR_L2_REFUSED,     /* FILL SET RENEW: `why` lease | version; nothing of it is held there now */
    LDR_L2_CONFLICT,    /* PUT DROP with a condition: `version` is what is held (0: nothing) */
    LDR_L2_FAILED,      /* err: LDR_UNAVAILABLE (refused: OOM, READONLY, LOADING, another type, ...), LDR_LOST (sent, unknown) */
    LDR_L2_AGAIN        /* ask the same once more */
};

typedef struct ldr_l2_item {
    ldr_slice key;           /* borrowed */
    uint64_t token;          /* of the lease or mark; never 0 */
    const ldr_record *record; /* FILL SET PUT: what is to be held, its times on the cache's clock; borrowed */
    int64_t version;         /* in: SET DROP PUT 0 none; out: as it is now */
    bool unnumbered;         /* PUT: the drawn version is only given back: the value is held with version 0 and the floor
                                stays, for the source's own versions are other numbers */
    int64_t least;           /* LOOKUP LEASE: what is of a lower version does not count as found (resend.h); 0: all does */
    int64_t if_version;      /* PUT DROP: LDR_ANY, LDR_MUST_BE_ABSENT, or what must be held */
    int64_t for_us;          /* LEASE RENEW: how long; MARK: the deadline plus 1 s; TOUCH: ttl (0: only expires) */
    bool force;              /* LEASE: whatever is held and whoever loads (refresh; guard none) */
    bool is_touched;         /* TOUCH out: something was held */
    bool is_damaged;         /* LOOKUP out, LEASE in and out: what lies there cannot be read here, and does not count as held */
    int state;               /* enum ldr_l2_state */
    const char *why;         /* static; REFUSED: "lease" "version" "size"; else NULL, or what was found there: "corrupt" (of
                                another type, too), "format" (a later one) */
    int64_t wait_us;
    ldr_record found;        /* borrows from the exchange; what has expired softly is here too, for when the source fails */
    bool is_found;           /* `found` holds something (also with LEASED, TAKEN, MARKED) */
    ldr_err err;
} ldr_l2_item;

typedef struct ldr_l2_options {
    const char *name;     /* namespace */
    int64_t tombstone_us; /* 0: 60 s; at least twice the longest lease */
    uint64_t seed;        /* of tokens */
    int64_t bound_us;     /* the oldest that what is found may become, stale too, whatever was touched; 0: no bound */
} ldr_l2_options;

typedef struct ldr_l2 ldr_l2; /* thread-safe */

int ldr_l2_new(const ldr_l2_options *o, const ldr_mem *mem, ldr_l2 **out, ldr_err *err);
void ldr_l2_free(ldr_l2 *l);
uint64_t ldr_l2_token(ldr_l2 *l); /* a fresh one: random, never 0 */

/* Clears ex and writes the question. now_us: the cache's clock. LDR_OK or LDR_NOMEM. */
int ldr_l2_ask(ldr_l2 *l, ldr_exchange *ex, int verb, ldr_l2_item *const *items, size_t n, int64_t now_us);
/* Reads what came, when ex is done; each item gets its state. True: some are LDR_L2_AGAIN. */
bool ldr_l2_answer(ldr_l2 *l, ldr_exchange *ex, int verb, ldr_l2_item *const *items, size_t n, int64_t now_us);

/* Generation and sequence as last read. `moved` tells of a change that nobody here made: an emptied or restored server,
 * an invalidate_all elsewhere, the server's clock set back; called from the thread that answers. */
enum ldr_l2_news { LDR_L2_NEWS_GENERATION, LDR_L2_NEWS_EMPTIED, LDR_L2_NEWS_CLOCK, LDR_L2_NEWS_SEQUENCE };
void ldr_l2_listen(ldr_l2 *l, void (*moved)(void *ctx, enum ldr_l2_news news, uint64_t sequence), void *ctx);
bool ldr_l2_is_due(const ldr_l2 *l, int64_t now_us); /* generation and sequence were read more than a second ago */
void ldr_l2_expire(ldr_l2 *l);                        /* they are not to be trusted: the next question reads them */
void ldr_l2_set_generation(ldr_l2 *l, uint64_t gen);  /* the bell told of a new one */
/* A question that only reads generation, sequence, mark and time: a heartbeat. `mark` is written before, but not LDR_UNSET. */
typedef struct ldr_l2_pulse {
    uint64_t sequence;
    int64_t mark; /* nothing here is of before the source's change of this number or an earlier one; 0: not known */
} ldr_l2_pulse;
int ldr_l2_ask_pulse(ldr_l2 *l, ldr_exchange *ex, int64_t mark, int64_t now_us);
bool ldr_l2_answer_pulse(ldr_l2 *l, ldr_exchange *ex, int64_t now_us, ldr_l2_pulse *out, ldr_err *err);

ldr_slice ldr_l2_channel(const ldr_l2 *l); /* the bell's channel */
uint64_t ldr_l2_origin(const ldr_l2 *l);   /* as the bell's messages of this shelf have it */
void ldr_l2_forked(ldr_l2 *l, uint64_t seed); /* in a child, before any use: its tokens must not be the parent's */

#endif
