/* s3fifo.c - a small queue sieves out what is used once, a main one keeps the rest, ghosts remember what the
 * small one let go (J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023).
 *
 * The small queue's share is a tenth. At its end an entry used twice or more goes to main with its count put
 * back to 0, any other leaves a ghost. Main gives as many rounds as the count says, at most 3. Main is evicted
 * from only while it holds more than its share or small is empty. Who comes back as a ghost goes to main. */
#include "policy/all.h"

enum { SMALL, MAIN };
#define MOST_MARKS 3
#define TO_MAIN 2

static uint64_t small_share(const ldr_policy *p)
{
    return p->state->capacity / 10;
}

static uint8_t s3fifo_arrive(ldr_policy *p, uint64_t hash)
{
    return ldr_ghosts_take(&p->state->ghosts, &p->ghost_room, hash) ? MAIN : SMALL;
}

/* Gives LDR_NO_SLOT when all of it went to main. */
static uint32_t small_victim(ldr_policy *p)
{
    const ldr_queue *q = &p->state->queues[SMALL];
    while (q->tail != LDR_NO_SLOT) {
        uint32_t slot = q->tail;
        ldr_node *n = ldr_node_at(&p->nodes, slot);
        if (ldr_node_mark(n) < TO_MAIN) {
            ldr_ghosts_add(&p->state->ghosts, &p->ghost_room, p->owner.hash(p->owner.ctx, slot));
            return ldr_policy_take(p, slot);
        }
        ldr_node_set_mark(n, 0);
        ldr_policy_move(p, slot, MAIN);
    }
    return LDR_NO_SLOT;
}

static uint32_t main_victim(ldr_policy *p)
{
    const ldr_queue *q = &p->state->queues[MAIN];
    uint64_t rounds = (uint64_t)q->n * MOST_MARKS; /* readers may go on marking */
    while (q->tail != LDR_NO_SLOT) {
        uint32_t slot = q->tail;
        ldr_node *n = ldr_node_at(&p->nodes, slot);
        uint8_t mark = ldr_node_mark(n);
        if (mark == 0 || rounds-- == 0)
            return ldr_policy_take(p, slot);
        ldr_node_set_mark(n, (mark < MOST_MARKS ? mark : MOST_MARKS) - 1);
        ldr_policy_move(p, slot, MAIN);
    }
    return LDR_NO_SLOT;
}

static uint32_t s3fifo_victim(ldr_policy *p)
{
    const ldr_queue *queues = p->state->queues;
    if (queues[MAIN].weight <= p->state->capacity - small_share(p)) {
        uint32_t slot = small_victim(p);
        if (slot != LDR_NO_SLOT)
            return slot;
    }
    uint32_t slot = main_victim(p);
    return slot != LDR_NO_SLOT ? slot : small_victim(p);
}

const ldr_policy_ops ldr_policy_s3fifo = {
    .name = "s3fifo", .mark_max = MOST_MARKS, .ghosts = true, .arrive = s3fifo_arrive, .victim = s3fifo_victim};
