/* fifo.c - the oldest leaves, used or not. One queue; hits leave no trace. */
#include "policy/all.h"

static uint32_t fifo_victim(ldr_policy *p)
{
    uint32_t slot = p->state->queues[0].tail;
    return slot == LDR_NO_SLOT ? slot : ldr_policy_take(p, slot);
}

const ldr_policy_ops ldr_policy_fifo = {.name = "fifo", .victim = fifo_victim};
