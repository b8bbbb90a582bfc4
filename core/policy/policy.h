/* policy.h - who leaves when the shelf is full. An algorithm is one file and one const table of functions.
 *
 * Pure: it works on slot numbers, reads no clock, allocates nothing, knows no pointer of its own: each node is
 * reached through the `nodes` it is given, so that the same file serves heap, shared memory and simulator.
 * All that lasts is in ldr_policy_state, which holds no pointer; an ldr_policy is a view made for a call.
 * All calls are made under one lock, but for marks: readers may raise them at any time. */
#ifndef LDR_POLICY_POLICY_H
#define LDR_POLICY_POLICY_H

#include "policy/ghost.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LDR_NO_SLOT UINT32_MAX

/* What a policy keeps in each slot. `mark` may be raised by readers without a lock (relaxed atomics). */
typedef struct ldr_node {
    uint32_t prev, next;  /* neighbours in a queue: prev is nearer to the head (newer) */
    _Atomic uint8_t mark; /* visited bit or hit count */
    uint8_t queue;        /* which of the policy's queues it stands in */
    uint16_t due;         /* the owner's own; no policy looks at it */
} ldr_node;

/* Where nodes are: page i begins pages[i] * 8 bytes behind base and holds 1 << shift nodes, stride bytes apart. */
typedef struct ldr_nodes {
    char *base;
    const uint32_t *pages;
    uint32_t shift, stride;
} ldr_nodes;

static inline ldr_node *ldr_node_at(const ldr_nodes *n, uint32_t slot)
{
    size_t in_page = slot & ((1u << n->shift) - 1);
    return (ldr_node *)(void *)(n->base + (size_t)n->pages[slot >> n->shift] * 8 + in_page * n->stride);
}

static inline uint8_t ldr_node_mark(ldr_node *n)
{
    return atomic_load_explicit(&n->mark, memory_order_relaxed);
}

/* A node is written by these only: a reader without a lock may still look at its page as at what it was before. */
static inline void ldr_node_set_mark(ldr_node *n, uint8_t mark)
{
    atomic_store_explicit(&n->mark, mark, memory_order_release);
}

static inline void ldr_node_set(uint32_t *link, uint32_t slot)
{
    __atomic_store_n(link, slot, __ATOMIC_RELEASE);
}

static inline void ldr_node_set_queue(ldr_node *n, uint8_t queue)
{
    __atomic_store_n(&n->queue, queue, __ATOMIC_RELEASE);
}

/* Newest at the head, oldest at the tail. weight: sum of what its entries count. */
typedef struct ldr_queue {
    uint32_t head, tail, n;
    uint64_t weight;
} ldr_queue;

#define LDR_POLICY_QUEUES 2

typedef struct ldr_policy_state {
    ldr_queue queues[LDR_POLICY_QUEUES];
    uint64_t capacity; /* what may be held, in the owner's weights; kept up to date by the owner */
    uint32_t hand;     /* sieve: where the next search begins */
    ldr_ghosts ghosts;
} ldr_policy_state;

/* What a policy may ask its owner of a slot that it holds. */
typedef struct ldr_policy_owner {
    uint64_t (*hash)(void *ctx, uint32_t slot);
    uint32_t (*weight)(void *ctx, uint32_t slot); /* NULL: each counts 1 */
    void *ctx;
} ldr_policy_owner;

typedef struct ldr_policy {
    const struct ldr_policy_ops *ops;
    ldr_policy_state *state;
    ldr_nodes nodes;
    ldr_ghost_room ghost_room; /* used only with ops->ghosts and a ghost capacity > 0 */
    ldr_policy_owner owner;
} ldr_policy;

/* An algorithm. Functions may be NULL where it says so. */
typedef struct ldr_policy_ops {
    const char *name;
    uint8_t mark_max; /* a hit raises the slot's mark by one, at most to this; 0: it is not marked */
    bool ghosts;      /* remembers hashes of what left: the owner makes room for them */
    /* A key that is not held will be added: before anything is evicted for it. Gives the queue it will go to.
     * NULL: queue 0. */
    uint8_t (*arrive)(ldr_policy *p, uint64_t hash);
    void (*hit)(ldr_policy *p, uint32_t slot); /* NULL: the mark says it all */
    uint32_t (*victim)(ldr_policy *p);         /* takes one out and gives it; LDR_NO_SLOT: holds nothing */
    void (*removed)(ldr_policy *p, uint32_t slot); /* before a slot is taken out for another reason; NULL */
} ldr_policy_ops;

const ldr_policy_ops *ldr_policy_find(const char *name); /* NULL: no such policy */
const ldr_policy_ops *ldr_policy_at(size_t i);           /* NULL behind the last: for lists and tests */

void ldr_policy_init(ldr_policy_state *s, uint64_t capacity);
uint8_t ldr_policy_arrive(ldr_policy *p, uint64_t hash);
void ldr_policy_add(ldr_policy *p, uint32_t slot, uint8_t queue); /* with the mark at 0 */
void ldr_policy_hit(ldr_policy *p, uint32_t slot);                /* under the lock: exact for every policy */
uint32_t ldr_policy_victim(ldr_policy *p);
void ldr_policy_remove(ldr_policy *p, uint32_t slot);
void ldr_policy_resize(ldr_policy *p, uint32_t slot, uint32_t old_weight, uint32_t new_weight);
const char *ldr_policy_verify(ldr_policy *p); /* NULL, or what is wrong with its queues */

/* For the algorithms, and for owners with a queue of their own. */
void ldr_queue_init(ldr_queue *q);
void ldr_queue_push(ldr_queue *q, const ldr_nodes *nodes, uint32_t slot, uint32_t weight);
void ldr_queue_drop(ldr_queue *q, const ldr_nodes *nodes, uint32_t slot, uint32_t weight);
const char *ldr_queue_verify(const ldr_queue *q, const ldr_nodes *nodes, uint32_t most);
uint32_t ldr_policy_weight(const ldr_policy *p, uint32_t slot);
void ldr_policy_move(ldr_policy *p, uint32_t slot, uint8_t queue); /* to the head of a queue */
uint32_t ldr_policy_take(ldr_policy *p, uint32_t slot);            /* out of its queue; gives slot */

#endif
