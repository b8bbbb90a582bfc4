/* hub.c - see hub.h. Members lie in buckets by the hash of their name, each with a lock: who tells holds his bucket's for as
 * long as he tells, so that a member that has left is told nothing. A member that is alone takes no lock. */
#include "bus/hub.h"

#include "base/hash.h"
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define N_BUCKETS 32

typedef struct bucket {
    pthread_mutex_t lock;
    ldr_list members;
    atomic_size_t n;
} bucket;

struct ldr_hub {
    ldr_mem mem;
    pid_t pid;
    bucket buckets[N_BUCKETS];
};

ldr_hub *ldr_hub_new(const ldr_mem *mem)
{
    ldr_hub *h = ldr_mem_zero(mem, 1, sizeof *h);
    if (!h)
        return NULL;
    h->mem = *mem;
    h->pid = getpid();
    for (size_t i = 0; i < N_BUCKETS; i++) {
        pthread_mutex_init(&h->buckets[i].lock, NULL);
        ldr_list_init(&h->buckets[i].members);
    }
    return h;
}

void ldr_hub_free(ldr_hub *h)
{
    if (!h)
        return;
    ldr_mem mem = h->mem;
    for (size_t i = 0; i < N_BUCKETS; i++)
        pthread_mutex_destroy(&h->buckets[i].lock);
    ldr_mem_free(&mem, h);
}

static bucket *bucket_of(ldr_hub *h, const ldr_hub_member *m)
{
    return &h->buckets[ldr_hash(ldr_slice_str(m->name), 0) % N_BUCKETS];
}

static bool is_member(const bucket *b, const ldr_hub_member *m)
{
    const ldr_list *at = b->members.next;
    while (at != &b->members && at != &m->link)
        at = at->next;
    return at == &m->link;
}

void ldr_hub_join(ldr_hub *h, ldr_hub_member *m)
{
    bucket *b = bucket_of(h, m);
    pthread_mutex_lock(&b->lock);
    ldr_list_push(&b->members, &m->link);
    atomic_fetch_add(&b->n, 1);
    pthread_mutex_unlock(&b->lock);
}

void ldr_hub_leave(ldr_hub *h, ldr_hub_member *m)
{
    bucket *b = bucket_of(h, m);
    pthread_mutex_lock(&b->lock);
    if (is_member(b, m)) {
        ldr_list_drop(&m->link);
        atomic_fetch_sub(&b->n, 1);
    }
    pthread_mutex_unlock(&b->lock);
}

void ldr_hub_tell(ldr_hub *h, const ldr_hub_member *from, ldr_slice key, int64_t version)
{
    bucket *b = bucket_of(h, from);
    if (atomic_load(&b->n) < 2)
        return;
    pthread_mutex_lock(&b->lock);
    for (ldr_list *at = b->members.next; at != &b->members; at = at->next) {
        ldr_hub_member *m = ldr_list_of(at, ldr_hub_member, link);
        if (m != from && strcmp(m->name, from->name) == 0)
            m->changed(m->ctx, key, version);
    }
    pthread_mutex_unlock(&b->lock);
}

/* A thread that is not here any more may have been changing a list: it is whole in the direction of `next` at any moment. */
static void mend(bucket *b)
{
    size_t n = 0;
    ldr_list *at = &b->members;
    for (; at->next != &b->members; at = at->next, n++)
        at->next->prev = at;
    b->members.prev = at;
    atomic_store(&b->n, n);
}

void ldr_hub_forked(ldr_hub *h)
{
    if (h->pid == getpid())
        return;
    h->pid = getpid();
    for (size_t i = 0; i < N_BUCKETS; i++) {
        pthread_mutex_init(&h->buckets[i].lock, NULL);
        mend(&h->buckets[i]);
    }
}
