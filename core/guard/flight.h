/* flight.h - the doorkeeper: which loads and writes of a key are under way, and what they may still do.
 *
 * A key has a state here only while something of it is under way. Its generation moves with each write and each
 * invalidation; a load remembers the generation it began in and may fill only where that still stands (races R1,
 * R4, R8, R21 within a process). A caller joins a load that is listed; a write or invalidation takes it off the
 * list, so whoever comes later never joins a load that began before. Thread-safe: one mutex a stripe; what is
 * done to the shelf for a key is done under its stripe's mutex, hence in one order for all.
 *
 * Invariant: state.refs = flights of the key + marks of the key. */
#ifndef LDR_GUARD_FLIGHT_H
#define LDR_GUARD_FLIGHT_H

#include "base/list.h"
#include "record/record.h"
#include "record/item.h"

#include <stdatomic.h>

/* How a waiting operation is told: any thread may call it; it must only post, never step. */
typedef struct ldr_waker {
    void (*wake)(void *ctx, uint64_t id);
    void *ctx;
    uint64_t id;
} ldr_waker;

typedef struct ldr_waiter {
    ldr_list link;
    ldr_waker waker;
} ldr_waiter;

typedef struct ldr_flights ldr_flights;
typedef struct ldr_keystate ldr_keystate;

/* What a shared tier held past its soft expiry: the answer where the source has none. */
typedef struct ldr_stale {
    int kind;
    int64_t version, asked_us, soft_us, hard_us;
    size_t n;
    char bytes[];
} ldr_stale;

typedef struct ldr_flight {
    ldr_keystate *state;
    ldr_list link;         /* in its key's flights */
    ldr_item item;         /* the question (its key lives as long as the flight) and, once done, the answer */
    uint64_t hash;
    uint64_t gen, news;    /* of the key when the load began */
    _Atomic uint32_t refs; /* raised by who holds it already, or under the lock; lowered under the lock */
    bool may_fill;
    bool cut_short;        /* the source was given less time than its own, for the leader's deadline was near */
    atomic_bool done;      /* item is final; UNANSWERED: the leader was dropped, ask again. Read it by ldr_flight_done */
    ldr_list waiters;
    void *load;            /* the operation that loads, NULL before and after; for operations of the same host */
    const void *host;      /* of the leader */
    int64_t began_us, asked_us, load_us, soft_us;
    bool answered;         /* while landing: the source has spoken, what L1 holds is older */
    ldr_record *record;    /* while landing: what would be kept, NULL nothing */
    bool is_shared;        /* the answer is the shared tier's, not the source's */
    ldr_stale *stale;      /* freed with the flight; NULL none */
} ldr_flight;

enum ldr_flight_role { LDR_FLIGHT_LED, LDR_FLIGHT_JOINED, LDR_FLIGHT_HELD, LDR_FLIGHT_NOMEM };

typedef struct ldr_flight_ask {
    ldr_slice key;
    uint64_t hash;
    bool join;             /* may join a listed load, and list the new one; false: a load of one's own */
    bool may_fill;
    int64_t now_us, lease_us; /* a listed load that began more than lease_us ago is joined by nobody and fills no more */
    const void *host;      /* identity of the asking loop or thread */
    ldr_waiter *waiter;    /* woken when the flight has landed; ldr_flight_leave takes it off */
    bool (*held)(void *ctx); /* under the lock, before a new load: is it in the shelf by now? NULL: no */
    void *ctx;
} ldr_flight_ask;

/* Why a fill or write was or was not allowed. */
enum ldr_leave { LDR_LEAVE_GRANTED = 0, LDR_LEAVE_LEASE, LDR_LEAVE_VERSION };

ldr_flights *ldr_flights_new(const ldr_mem *mem); /* NULL: out of memory */
void ldr_flights_free(ldr_flights *f);            /* nothing may be under way */

/* Joins or leads. *out is held by the caller until ldr_flight_leave. */
enum ldr_flight_role ldr_flight_begin(ldr_flights *f, const ldr_flight_ask *ask, ldr_flight **out);
void ldr_flight_hold(ldr_flight *flight); /* one more holder; each one leaves */
bool ldr_flight_done(const ldr_flight *flight);
/* Lands it: calls `fill(ctx, flight, leave)` under the lock, then wakes all waiters. fill may be NULL. */
void ldr_flight_land(ldr_flights *f, ldr_flight *flight,
                     void (*fill)(void *ctx, ldr_flight *flight, enum ldr_leave leave), void *ctx);
/* The same, and then a holder without a waiter leaves it. */
void ldr_flight_end(ldr_flights *f, ldr_flight *flight,
                    void (*fill)(void *ctx, ldr_flight *flight, enum ldr_leave leave), void *ctx);
void ldr_flight_leave(ldr_flights *f, ldr_flight *flight, ldr_waiter *waiter);

/* A fill that takes no flight: what was read elsewhere after ldr_flights_news gave `since` is kept by `keep(ctx)`, under the
 * lock, unless some key of the stripe was written or invalidated meanwhile, or is being written. False: not kept. */
uint64_t ldr_flights_news(ldr_flights *f, uint64_t hash);
bool ldr_flights_fill(ldr_flights *f, uint64_t hash, uint64_t since, void (*keep)(void *ctx), void *ctx);

/* A write of the key is under way: loads may go on but none fills until the mark is gone. False: out of memory. */
typedef struct ldr_mark {
    ldr_keystate *state; /* NULL: no mark */
    uint64_t gen, breaks;
} ldr_mark;
bool ldr_mark_begin(ldr_flights *f, ldr_slice key, uint64_t hash, ldr_mark *out);
/* Ends it. `apply(ctx, leave)` runs under the lock. With version > 0 leave is VERSION where a newer one is known; it is
 * LEASE where an invalidation of no known version, or with version 0 also another write, met this one: then nobody
 * knows whose is the last word. */
void ldr_mark_end(ldr_flights *f, ldr_mark *mark, int64_t version, void (*apply)(void *ctx, enum ldr_leave leave),
                  void *ctx);

/* Something about the key changed: loads under way may not fill (with version > 0: unless they bring that version
 * or a later one) and nobody joins them any more. `apply` (may be NULL) runs under the lock. */
void ldr_flights_break(ldr_flights *f, ldr_slice key, uint64_t hash, int64_t version, void (*apply)(void *ctx),
                       void *ctx);
void ldr_flights_break_all(ldr_flights *f);
void ldr_flights_wake_all(ldr_flights *f); /* all who wait for any load look again */
size_t ldr_flights_under_way(ldr_flights *f); /* keys that have a state: 0 when all is quiet */

#endif
