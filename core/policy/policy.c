/* policy.c - the table of policies, and what they share: queues of slots with a weight. */
#include "policy/policy.h"

#include "policy/all.h"
#include <string.h>

static const ldr_policy_ops *const policies[] = {
    &ldr_policy_fifo, &ldr_policy_lru, &ldr_policy_clock, &ldr_policy_sieve, &ldr_policy_s3fifo,
};

#define N_POLICIES (sizeof policies / sizeof policies[0])

const ldr_policy_ops *ldr_policy_at(size_t i)
{
    return i < N_POLICIES ? policies[i] : NULL;
}

const ldr_policy_ops *ldr_policy_find(const char *name)
{
    for (size_t i = 0; i < N_POLICIES; i++)
        if (strcmp(policies[i]->name, name) == 0)
            return policies[i];
    return NULL;
}

/* ---- queues ------------------------------------------------------------------------------------------------ */

void ldr_queue_init(ldr_queue *q)
{
    *q = (ldr_queue){.head = LDR_NO_SLOT, .tail = LDR_NO_SLOT};
}

void ldr_queue_push(ldr_queue *q, const ldr_nodes *nodes, uint32_t slot, uint32_t weight)
{
    ldr_node *n = ldr_node_at(nodes, slot);
    ldr_node_set(&n->prev, LDR_NO_SLOT);
    ldr_node_set(&n->next, q->head);
    if (q->head == LDR_NO_SLOT)
        q->tail = slot;
    else
        ldr_node_set(&ldr_node_at(nodes, q->head)->prev, slot);
    q->head = slot;
    q->n++;
    q->weight += weight;
}

void ldr_queue_drop(ldr_queue *q, const ldr_nodes *nodes, uint32_t slot, uint32_t weight)
{
    const ldr_node *n = ldr_node_at(nodes, slot);
    if (n->prev == LDR_NO_SLOT)
        q->head = n->next;
    else
        ldr_node_set(&ldr_node_at(nodes, n->prev)->next, n->next);
    if (n->next == LDR_NO_SLOT)
        q->tail = n->prev;
    else
        ldr_node_set(&ldr_node_at(nodes, n->next)->prev, n->prev);
    q->n--;
    q->weight -= weight;
}

const char *ldr_queue_verify(const ldr_queue *q, const ldr_nodes *nodes, uint32_t most)
{
    uint32_t n = 0, before = LDR_NO_SLOT;
    for (uint32_t slot = q->head; slot != LDR_NO_SLOT; slot = ldr_node_at(nodes, slot)->next) {
        if (slot >= most)
            return "queue leads to a slot that is none";
        if (ldr_node_at(nodes, slot)->prev != before)
            return "queue is not linked both ways";
        if (++n > q->n)
            return "queue is longer than it says";
        before = slot;
    }
    if (n != q->n)
        return "queue is shorter than it says";
    return q->tail == before ? NULL : "queue has another tail";
}

/* ---- what every policy does -------------------------------------------------------------------------------- */

void ldr_policy_init(ldr_policy_state *s, uint64_t capacity)
{
    *s = (ldr_policy_state){.capacity = capacity, .hand = LDR_NO_SLOT};
    for (int i = 0; i < LDR_POLICY_QUEUES; i++)
        ldr_queue_init(&s->queues[i]);
}

uint32_t ldr_policy_weight(const ldr_policy *p, uint32_t slot)
{
    return p->owner.weight ? p->owner.weight(p->owner.ctx, slot) : 1;
}

uint8_t ldr_policy_arrive(ldr_policy *p, uint64_t hash)
{
    return p->ops->arrive ? p->ops->arrive(p, hash) : 0;
}

static void push(ldr_policy *p, uint32_t slot, uint8_t queue)
{
    ldr_node_set_queue(ldr_node_at(&p->nodes, slot), queue);
    ldr_queue_push(&p->state->queues[queue], &p->nodes, slot, ldr_policy_weight(p, slot));
}

void ldr_policy_add(ldr_policy *p, uint32_t slot, uint8_t queue)
{
    ldr_node_set_mark(ldr_node_at(&p->nodes, slot), 0);
    push(p, slot, queue);
}

void ldr_policy_hit(ldr_policy *p, uint32_t slot)
{
    if (p->ops->hit) {
        p->ops->hit(p, slot);
        return;
    }
    ldr_node *n = ldr_node_at(&p->nodes, slot);
    uint8_t mark = ldr_node_mark(n);
    if (mark < p->ops->mark_max)
        ldr_node_set_mark(n, mark + 1);
}

uint32_t ldr_policy_take(ldr_policy *p, uint32_t slot)
{
    ldr_queue *q = &p->state->queues[ldr_node_at(&p->nodes, slot)->queue];
    ldr_queue_drop(q, &p->nodes, slot, ldr_policy_weight(p, slot));
    return slot;
}

void ldr_policy_move(ldr_policy *p, uint32_t slot, uint8_t queue)
{
    ldr_policy_take(p, slot);
    push(p, slot, queue);
}

uint32_t ldr_policy_victim(ldr_policy *p)
{
    return p->ops->victim(p);
}

void ldr_policy_remove(ldr_policy *p, uint32_t slot)
{
    if (p->ops->removed)
        p->ops->removed(p, slot);
    ldr_policy_take(p, slot);
}

void ldr_policy_resize(ldr_policy *p, uint32_t slot, uint32_t old_weight, uint32_t new_weight)
{
    ldr_queue *q = &p->state->queues[ldr_node_at(&p->nodes, slot)->queue];
    q->weight = q->weight - old_weight + new_weight;
}

static const char *verify_queue(ldr_policy *p, uint8_t queue)
{
    const ldr_queue *q = &p->state->queues[queue];
    const char *wrong = ldr_queue_verify(q, &p->nodes, LDR_NO_SLOT);
    uint64_t weight = 0;
    for (uint32_t slot = q->head; !wrong && slot != LDR_NO_SLOT; slot = ldr_node_at(&p->nodes, slot)->next) {
        weight += ldr_policy_weight(p, slot);
        if (ldr_node_at(&p->nodes, slot)->queue != queue)
            wrong = "slot stands in another queue than it says";
    }
    if (!wrong && weight != q->weight)
        wrong = "weights of a queue do not add up";
    return wrong;
}

const char *ldr_policy_verify(ldr_policy *p)
{
    const char *wrong = NULL;
    for (uint8_t i = 0; i < LDR_POLICY_QUEUES && !wrong; i++)
        wrong = verify_queue(p, i);
    if (!wrong && p->ops->ghosts)
        wrong = ldr_ghosts_verify(&p->state->ghosts, &p->ghost_room);
    return wrong;
}
