/* flow.h - what every operation works with: the rooms below, and the choices made at open. Owned by the cache. */
#ifndef LDR_FLOW_FLOW_H
#define LDR_FLOW_FLOW_H

#include "base/clock.h"
#include "bus/bell.h"
#include "bus/hub.h"
#include "flow/event.h"
#include "guard/backoff.h"
#include "guard/flight.h"
#include "l1/shelf.h"
#include "l2/l2.h"
#include "l2/leases.h"
#include "l2/resend.h"
#include "meter/meter.h"
#include "net/links.h"
#include "source/source.h"

/* One row a pattern: which stages its verbs take. The flows read the row, never the pattern's name. */
typedef struct ldr_plan {
    const char *name;
    bool read_source;  /* a read miss asks the cache's source */
    bool write_source; /* set and delete go to the source first */
    bool write_keeps;  /* after the source the tiers get the new version; else they forget the key */
} ldr_plan;

const ldr_plan *ldr_plan_of(int pattern); /* enum ldr_pattern; NULL: none such */

typedef struct ldr_flow {
    ldr_mem mem;
    ldr_clock clock;
    ldr_shelf *shelf; /* NULL: l1 = false */
    uint64_t seed;    /* of key hashes, the shelf's too */
    ldr_flights *flights;
    ldr_backoff *backoff;
    ldr_meter *meter;
    ldr_source *source; /* NULL: none */
    ldr_l2 *l2;         /* the shared shelf; NULL: none, and so are leases and resend */
    ldr_leases *leases;
    ldr_resend *resend; /* what Redis did not confirm and must forget when it is back */
    ldr_links *links;   /* who carries what is asked of it */
    ldr_hub *hub;       /* NULL: alone in this process */
    ldr_hub_member member;
    ldr_events events;
    ldr_sealing sealing;
    const ldr_plan *read_plan, *write_plan;
    int level, on_timeout;
    bool no_guard;
    bool write_if_can; /* a write that the source does not know goes to the tiers alone; else it is unsupported */
    bool asks_ttl; /* ttls are functions of the embedder: the flow wants a call LDR_TTL */
    int64_t lease_us; /* how long a load may hold others of this process back */
    int64_t shared_lease_us; /* and those of other processes, before it is renewed: lock.ttl */
    int64_t mark_us;         /* how long a mark of a write stands beyond its deadline */
    int64_t bracket_us;      /* and that of cache:write, whose end nobody knows */
    int64_t lock_wait_us, source_timeout_us;
    int64_t share_timeout_us; /* of one question to the shared shelf; 0: there is none */
    int64_t ttl_us, stale_us, negative_us, bound_hard_us; /* LDR_NEVER: no bound */
    double jitter;
    _Atomic int64_t epoch;    /* of the source, when last looked at */
    _Atomic uint32_t era;     /* of hearing: what L1 kept in an earlier one is suspect, for something may have been missed */
    void (*era_moved)(void *ctx); /* told after it moved; NULL: nobody */
    void *era_ctx;
    atomic_bool closing;      /* who waits is told LDR_CLOSED */
    _Atomic uint64_t drawn;   /* the last version that Larder drew */
    _Atomic uint64_t random;  /* state of jitter's draws */
} ldr_flow;

/* The times of a record that begins to be kept: asked plus what the answer, the call or the cache says, with
 * jitter, cut by bound_hard where there is a source. False: not kept (ttl 0). LDR_UNSET: not said. */
typedef struct ldr_ttls {
    int64_t ttl_us, stale_us, negative_us;
} ldr_ttls;
bool ldr_flow_expiry(ldr_flow *f, const ldr_ttls *said, const ldr_item *answer, int64_t asked_us, ldr_record *r);

int64_t ldr_flow_draw(ldr_flow *f); /* a version of Larder's own: rising, above all that ldr_flow_rise was told of */
void ldr_flow_rise(ldr_flow *f, int64_t version);

/* Are the columns of a record of the shared shelf those that the source has now? (A loader's values have none.) */
bool ldr_flow_has_shape(const ldr_flow *f, const ldr_record *r, bool has_loader);
/* Something may have been missed: what L1 holds is not served before it was read again. */
void ldr_flow_suspect(ldr_flow *f);
/* The namesakes in this process hear of a change. version: 0 unless it is one that they too can compare. */
void ldr_flow_spread(ldr_flow *f, ldr_slice key, int64_t version);
/* What another process said; from any thread. */
void ldr_flow_heard(ldr_flow *f, const ldr_bell_message *m);

/* What the shelf tells of entries that leave: counts, events. */
ldr_shelf_watch ldr_flow_watch(ldr_flow *f);

/* Writes a sealed record to the shelf, counts and tells what became of it. Call under the key's stripe lock. now_us: the
 * time now or a little before, where it is known. */
enum ldr_kept { LDR_KEPT, LDR_NOT_KEPT, LDR_KEPT_OLDER, LDR_KEPT_TOO_LARGE };
enum ldr_kept ldr_flow_keep(ldr_flow *f, ldr_record *r, uint64_t hash);
enum ldr_kept ldr_flow_keep_at(ldr_flow *f, ldr_record *r, uint64_t hash, int64_t now_us);
void ldr_flow_refused(ldr_flow *f, ldr_slice key, const char *reason);
void ldr_flow_refused_by(ldr_flow *f, ldr_slice key, const char *tier, const char *reason);
void ldr_flow_error(ldr_flow *f, ldr_slice key, const ldr_err *err); /* tells; LDR_LOST also as an event of its own */

#endif
