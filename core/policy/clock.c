/* clock.c - a FIFO that gives a second chance: a marked entry that reaches the tail loses its mark and goes
 * back to the head (F. Corbato, "A Paging Experiment with the Multics System", 1968). An insertion leaves the
 * mark clear. */
#include "policy/all.h"

static uint32_t clock_victim(ldr_policy *p)
{
    const ldr_queue *q = &p->state->queues[0];
    uint32_t chances = q->n; /* readers may go on marking: nobody gets two chances in one search */
    while (q->tail != LDR_NO_SLOT) {
        uint32_t slot = q->tail;
        ldr_node *n = ldr_node_at(&p->nodes, slot);
        if (ldr_node_mark(n) == 0 || chances-- == 0)
            return ldr_policy_take(p, slot);
        ldr_node_set_mark(n, 0);
        ldr_policy_move(p, slot, 0);
    }
    return LDR_NO_SLOT;
}

const ldr_policy_ops ldr_policy_clock = {.name = "clock", .mark_max = 1, .victim = clock_victim};
