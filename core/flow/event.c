/* event.c - the bounded queue of events; see event.h. */
#include "flow/event.h"

static const char *const names[] = {
#define X(name) #name,
    LDR_EVENTS(X)
#undef X
};

void ldr_events_init(ldr_events *q, const ldr_mem *mem, ldr_meter *meter)
{
    *q = (ldr_events){.mem = mem, .meter = meter};
    pthread_mutex_init(&q->lock, NULL);
    ldr_list_init(&q->queue);
}

void ldr_events_fini(ldr_events *q)
{
    for (ldr_event *e; (e = ldr_events_take(q)) != NULL;)
        ldr_events_drop(q, e);
    pthread_mutex_destroy(&q->lock);
}

void ldr_events_listen(ldr_events *q, uint32_t mask)
{
    atomic_store_explicit(&q->mask, mask, memory_order_relaxed);
}

void ldr_events_note(ldr_events *q, ldr_slice key, const ldr_event *what)
{
    ldr_event *e = ldr_mem_new(q->mem, sizeof *e + key.n);
    bool kept = false;
    if (e) {
        *e = *what;
        memcpy(e->key_bytes, key.p, key.n);
        e->key = ldr_slice_of(e->key_bytes, key.n);
        pthread_mutex_lock(&q->lock);
        if (q->n_queued < LDR_EVENTS_MOST && q->n_bytes + sizeof *e + key.n <= LDR_EVENTS_MOST_BYTES) {
            ldr_list_push(&q->queue, &e->link);
            q->n_queued++;
            q->n_bytes += sizeof *e + key.n;
            kept = true;
        }
        pthread_mutex_unlock(&q->lock);
    }
    if (!kept) {
        ldr_mem_free(q->mem, e);
        ldr_meter_add(q->meter, LDR_M_events_dropped, 1);
    }
}

ldr_event *ldr_events_take(ldr_events *q)
{
    ldr_event *e = NULL;
    pthread_mutex_lock(&q->lock);
    if (!ldr_list_empty(&q->queue)) {
        e = ldr_list_of(q->queue.next, ldr_event, link);
        ldr_list_drop(&e->link);
        q->n_queued--;
        q->n_bytes -= sizeof *e + e->key.n;
    }
    pthread_mutex_unlock(&q->lock);
    return e;
}

void ldr_events_drop(ldr_events *q, ldr_event *e)
{
    ldr_mem_free(q->mem, e);
}

const char *ldr_event_name(int kind)
{
    return names[kind];
}
