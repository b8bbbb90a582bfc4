/* op.h - an operation is a value that is stepped. A step never blocks, never calls back, and says what it wants:
 *
 *   DONE   the results are in the operation
 *   JOB    run `request` on the flow's source wherever blocking is allowed, then step again
 *   CALL   a function of the embedder must answer `request` (its items, or its err), then step again
 *   TALK   carry `exchange` to the shared shelf and back, by deadline_us at the latest, then step again
 *   SPAWN  `op` is new work of its own: drive it to its end (then ldr_op_end it), before or beside the next step
 *   PARK   step again when the waker was called, or at `deadline_us`
 *
 * Stages only grow within one round. An operation is stepped by one thread at a time and ended once, in any
 * stage: what it held is given back and those who wait for it are woken. */
#ifndef LDR_FLOW_OP_H
#define LDR_FLOW_OP_H

#include "base/hash.h"
#include "coherence/level.h"
#include "flow/flow.h"

enum ldr_want_kind { LDR_WANT_DONE = 0, LDR_WANT_JOB, LDR_WANT_CALL, LDR_WANT_SPAWN, LDR_WANT_PARK, LDR_WANT_TALK };

#define LDR_TTL (LDR_CHANGES + 1) /* verb of a CALL: fill ttl_us and stale_ttl_us of the items that are FOUND */

typedef struct ldr_want {
    int kind;
    int64_t deadline_us;
    ldr_request *request;
    ldr_exchange *exchange;
    ldr_op *op;
    bool background; /* SPAWN: nobody waits for it */
} ldr_want;

/* Who steps an operation: told once, before the first step. */
typedef struct ldr_owner {
    ldr_waker waker;
    const void *host; /* identity of the loop or thread; operations of one host never run at the same time */
    bool at_once;     /* what it begins is stepped without delay: the time of its caller is its own */
    bool can_wait;    /* the host has other work that may land a flight while this operation is parked */
    bool is_stack;    /* what else this host has under way waits until this operation has ended: it is its caller's */
    ldr_op *parent;   /* the operation in whose call this one is made (the load of a loader), NULL none */
} ldr_owner;

struct ldr_op {
    ldr_flow *flow;
    ldr_want (*step)(ldr_op *op);
    void (*end)(ldr_op *op);
    ldr_owner owner;
    ldr_list inner;         /* operations made inside this one's call ... */
    ldr_list sibling;       /* ... linked by this */
    ldr_flight **parked;    /* the n_parked flights it waits for, for the search of rings */
    size_t n_parked;
    int stage;
    int64_t begun_us, deadline_us;
};

ldr_want ldr_op_step(ldr_op *op);
void ldr_op_end(ldr_op *op); /* NULL is fine */
void ldr_op_init(ldr_op *op, ldr_flow *flow, const ldr_owner *owner, int64_t timeout_us); /* from now */
void ldr_op_init_until(ldr_op *op, ldr_flow *flow, const ldr_owner *owner, int64_t deadline_us); /* reads no clock */

/* ---- get: one key or many --------------------------------------------------------------------------------- */

typedef struct ldr_asking {
    const ldr_slice *keys; /* borrowed until the operation ends */
    size_t n_keys;
    int level;             /* enum ldr_level */
    ldr_ttls ttls;         /* LDR_UNSET each: the cache's */
    int64_t timeout_us;    /* LDR_UNSET: lock wait + the shared shelf's + the source's */
    int64_t wait_us;       /* LDR_UNSET: the cache's */
    int on_timeout;        /* enum ldr_on_timeout, -1: the cache's */
    bool has_loader;       /* a loader of the call: wins over the source */
    bool refresh, no_guard;
    bool only_seek;        /* what the tiers do not hold stays without an answer: nobody loads it */
    bool is_sought;        /* the shared shelf was just asked, and had nothing of use ... */
    int64_t waited_us;     /* ... which took so much of the caller's time */
    bool not_held;         /* the caller has just looked: L1 holds nothing of the key */
    int64_t now_us;        /* the caller has just read the clock, LDR_UNSET: it is to be read */
} ldr_asking;

#define LDR_ASKING_DEFAULTS                                                                                      \
    {.ttls = {LDR_UNSET, LDR_UNSET, LDR_UNSET}, .timeout_us = LDR_UNSET, .wait_us = LDR_UNSET, .on_timeout = -1, \
     .now_us = LDR_UNSET}

enum ldr_tier { LDR_TIER_NONE = 0, LDR_TIER_L1, LDR_TIER_L2, LDR_TIER_SOURCE, LDR_TIER_LOADER };

/* One key's answer; bytes are valid until the operation ends. */
typedef struct ldr_answer {
    ldr_slice value;
    int kind, outcome, tier;
    int64_t version, asked_us, soft_us;
    bool weaker;  /* stale where the level asked for more */
    ldr_err err;  /* code LDR_OK: fine */
    ldr_slot_ref ref; /* at NULL: the value cannot be remembered beside the shelf */
} ldr_answer;

void ldr_answer_clear(ldr_answer *a); /* to that of a miss, but for most of the room for an error's message */

/* What L1 holds of a key within its hard expiry, opened. outcome: what the level says (LDR_MISS: the source must be
 * asked, the entry is for when that fails). Nothing counted. hard_us may be NULL. False: nothing (or no memory). */
typedef struct ldr_hit_buffers {
    ldr_buf bytes, made;
} ldr_hit_buffers;
typedef struct ldr_look {
    ldr_slice key;
    uint64_t hash;
    int level;
    bool touch;
    int64_t now_us;
} ldr_look;
bool ldr_flow_look(ldr_flow *f, const ldr_look *what, ldr_hit_buffers *b, ldr_answer *out, int64_t *hard_us);
void ldr_flow_count_hit(ldr_flow *f, ldr_slice key, const ldr_answer *a);

/* A hit without an operation: judges, unseals, counts. False: an operation is needed (or nothing is held). now_us of
 * `what` is the time now.
 * bytes and made are the caller's buffers; the answer borrows from them. */
bool ldr_flow_hit(ldr_flow *f, const ldr_look *what, ldr_hit_buffers *b, ldr_answer *out);
/* What is held, whatever its age within its hard expiry: nothing counted, no promotion. False: nothing. */
bool ldr_flow_peek(ldr_flow *f, ldr_slice key, ldr_hit_buffers *b, ldr_answer *out);

ldr_op *ldr_get_begin(ldr_flow *f, const ldr_asking *a, const ldr_owner *owner); /* NULL: out of memory */
const ldr_answer *ldr_get_answer(const ldr_op *op, size_t i);
bool ldr_get_is_settled(const ldr_op *op, size_t i); /* false, of an operation that is done: see only_seek */
bool ldr_get_led(const ldr_op *op, size_t i); /* this call's own load answered */

/* ---- load: the work of one or more flights ------------------------------------------------------------------ */

typedef struct ldr_loading {
    ldr_ttls ttls;
    int64_t deadline_us;   /* of the caller who leads */
    int64_t now_us;        /* the caller's time, which is the load's where it is stepped at once */
    int64_t wait_until_us; /* so long it waits for a load of another process, then does on_timeout */
    int on_timeout, level;
    bool has_loader;
    bool is_sought;        /* the shared shelf was just asked, and had nothing of use */
    bool refresh;          /* whatever is held: load anew */
    bool no_wait;          /* whoever else loads: load too */
    const ldr_owner *owner;
} ldr_loading;
ldr_op *ldr_load_begin(ldr_flow *f, ldr_flight **flights, size_t n, const ldr_loading *how); /* NULL: out of memory */
bool ldr_load_uses_call(const ldr_op *load); /* it will want a CALL: no other thread can drive it */
bool ldr_load_is_for(const ldr_op *op, ldr_slice key); /* op is a load, and of this key among others */

/* ---- put: set and delete, one key or many -------------------------------------------------------------------- */

typedef struct ldr_writing {
    int verb;            /* LDR_STORE or LDR_ERASE */
    const ldr_slice *keys, *values; /* borrowed until the operation ends; values NULL for LDR_ERASE */
    const int *kinds;
    size_t n_keys;
    int level;
    ldr_ttls ttls;
    int64_t timeout_us;  /* LDR_UNSET: the shared shelf's + the source's */
    int64_t version;     /* 0: drawn */
    int64_t if_version;  /* LDR_ANY: no condition */
} ldr_writing;

ldr_op *ldr_put_begin(ldr_flow *f, const ldr_writing *w, const ldr_owner *owner); /* NULL: out of memory */
bool ldr_put_needs_source(ldr_flow *f, int verb);    /* it goes through the source */
bool ldr_put_needs_operation(ldr_flow *f, int verb); /* else ldr_put_now does */
/* A write of one key to the tiers alone, at once. LDR_OK with *version, or err's code. */
int ldr_put_now(ldr_flow *f, const ldr_writing *w, int64_t *version, ldr_err *err);
/* The error of key i (code LDR_OK: fine); *version gets its version, 0 none. */
const ldr_err *ldr_put_result(const ldr_op *op, size_t i, int64_t *version);
/* The caller's deadline passed while a call was out: what the caller is told. The operation goes on. */
void ldr_put_expired(const ldr_op *op, ldr_err *err);

/* ---- forget: invalidate, invalidate_all, touch, the bracket of cache:write, where there is a shared shelf ------- */

enum ldr_forget_kind {
    LDR_FORGET_KEYS, LDR_FORGET_ALL, LDR_FORGET_TOUCH,
    LDR_FORGET_OPEN, /* somebody writes these keys by other means: nobody fills them there ... */
    LDR_FORGET_CLOSE /* ... until here, where they are forgotten */
};

typedef struct ldr_forgetting {
    int kind;
    const ldr_slice *keys; /* borrowed until the operation ends */
    size_t n_keys;
    int64_t ttl_us;        /* TOUCH */
    int64_t timeout_us;    /* LDR_UNSET: the source's */
    uint64_t token;        /* OPEN, CLOSE: the same */
} ldr_forgetting;

ldr_op *ldr_forget_begin(ldr_flow *f, const ldr_forgetting *what, const ldr_owner *owner); /* NULL: out of memory */
const ldr_err *ldr_forget_result(const ldr_op *op, size_t i); /* of key i; LDR_LOST: not confirmed, it is sent again */
bool ldr_forget_held(const ldr_op *op);                       /* TOUCH: was it held? */

/* ---- drop: at once, no operation --------------------------------------------------------------------------- */

enum ldr_cause { LDR_CAUSE_DELETE, LDR_CAUSE_INVALIDATE, LDR_CAUSE_ALL, LDR_CAUSE_WRITE, LDR_CAUSE_CHANGE, LDR_CAUSE_GAP };

void ldr_drop(ldr_flow *f, ldr_slice key, enum ldr_cause cause);
void ldr_flow_invalidated(ldr_flow *f, ldr_slice key, enum ldr_cause cause); /* counts and tells */
void ldr_drop_all(ldr_flow *f, enum ldr_cause cause);
void ldr_drop_silently(ldr_flow *f, ldr_slice key); /* neither counted nor told */
void ldr_drop_all_silently(ldr_flow *f);
/* A change made by somebody else: an entry that already has that version (or a later one) stays. version 0: unknown. */
void ldr_drop_changed(ldr_flow *f, ldr_slice key, int64_t version);
/* After the source was asked: where its epoch moved (a table was altered), all that was cached before is dropped. */
void ldr_drop_outgrown(ldr_flow *f);
bool ldr_touch(ldr_flow *f, ldr_slice key, int64_t ttl_us);

#endif
