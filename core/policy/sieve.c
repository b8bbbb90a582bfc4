/* sieve.c - a hand goes from tail to head and evicts the first entry without a mark; those with one lose it and
 * stay where they are (Y. Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024). */
#include "policy/all.h"

static void sieve_removed(ldr_policy *p, uint32_t slot)
{
    if (p->state->hand == slot)
        p->state->hand = ldr_node_at(&p->nodes, slot)->prev;
}

static uint32_t sieve_victim(ldr_policy *p)
{
    const ldr_queue *q = &p->state->queues[0];
    uint32_t slot = p->state->hand == LDR_NO_SLOT ? q->tail : p->state->hand;
    if (slot == LDR_NO_SLOT)
        return slot;
    ldr_node *n = ldr_node_at(&p->nodes, slot);
    for (uint32_t left = q->n; left > 0 && ldr_node_mark(n) != 0; left--) {
        ldr_node_set_mark(n, 0);
        slot = n->prev == LDR_NO_SLOT ? q->tail : n->prev;
        n = ldr_node_at(&p->nodes, slot);
    }
    p->state->hand = n->prev;
    return ldr_policy_take(p, slot);
}

const ldr_policy_ops ldr_policy_sieve = {
    .name = "sieve", .mark_max = 1, .victim = sieve_victim, .removed = sieve_removed};
