/* event.h - what happened, for handlers: noted by operations on any thread, drained by the owner of the handlers.
 *
 * Only events somebody listens to are noted (one relaxed load otherwise). The queue is bounded in number and bytes: what
 * does not fit is counted as events_dropped, never waited for. */
#ifndef LDR_FLOW_EVENT_H
#define LDR_FLOW_EVENT_H

#include "base/list.h"
#include "base/mem.h"
#include "base/slice.h"
#include "larder.h"
#include "meter/meter.h"
#include <pthread.h>
#include <stdint.h>

#define LDR_EVENTS(X)                                                                                            \
    X(hit) X(miss) X(load) X(stale) X(fill) X(refused) X(evict) X(expire) X(invalidate) X(write) X(lost) X(error) \
    X(reconnect)

enum ldr_event_kind {
#define X(name) LDR_EVENT_##name,
    LDR_EVENTS(X)
#undef X
    LDR_N_EVENTS
};

/* Fields that a kind does not use are 0 or NULL. Words are static strings. */
typedef struct ldr_event {
    ldr_list link;
    int kind;
    const char *tier, *outcome, *reason, *cause, *code;
    bool remote;
    bool of_peer; /* `key` is not a key, but the server's name */
    int64_t age_us, took_us, version;
    uint64_t bytes;
    ldr_slice key;
    char message[sizeof ((ldr_err *)0)->message]; /* error, load: what went wrong; empty: nothing */
    char key_bytes[];
} ldr_event;

#define LDR_EVENTS_MOST 10000
#define LDR_EVENTS_MOST_BYTES ((size_t)16 << 20)

typedef struct ldr_events {
    _Atomic uint32_t mask; /* bit per kind that is listened to */
    pthread_mutex_t lock;
    ldr_list queue;
    size_t n_queued, n_bytes;
    const ldr_mem *mem;
    ldr_meter *meter;
} ldr_events;

void ldr_events_init(ldr_events *q, const ldr_mem *mem, ldr_meter *meter);
void ldr_events_fini(ldr_events *q);
void ldr_events_listen(ldr_events *q, uint32_t mask);
static inline bool ldr_events_want(ldr_events *q, enum ldr_event_kind kind)
{
    return atomic_load_explicit(&q->mask, memory_order_relaxed) >> kind & 1;
}
void ldr_events_note(ldr_events *q, ldr_slice key, const ldr_event *what); /* copies; call when wanted */
ldr_event *ldr_events_take(ldr_events *q);                                /* NULL: none. Freed by ldr_events_drop */
void ldr_events_drop(ldr_events *q, ldr_event *e);
const char *ldr_event_name(int kind);

#endif
