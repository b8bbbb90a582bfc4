/* op.c - the life of any operation: who made it, inside which load's call, until when. */
#include "flow/op.h"

void ldr_op_init(ldr_op *op, ldr_flow *flow, const ldr_owner *owner, int64_t timeout_us)
{
    ldr_op_init_until(op, flow, owner, LDR_NEVER);
    op->begun_us = ldr_clock_now(&flow->clock);
    op->deadline_us = ldr_time_add(op->begun_us, timeout_us);
}

void ldr_op_init_until(ldr_op *op, ldr_flow *flow, const ldr_owner *owner, int64_t deadline_us)
{
    op->flow = flow;
    op->owner = *owner;
    op->deadline_us = deadline_us;
    ldr_list_init(&op->inner);
    ldr_list_init(&op->sibling);
    if (owner->parent)
        ldr_list_push(&owner->parent->inner, &op->sibling);
}

ldr_want ldr_op_step(ldr_op *op)
{
    return op->step(op);
}

void ldr_op_end(ldr_op *op)
{
    if (!op)
        return;
    while (!ldr_list_empty(&op->inner)) { /* what was begun inside may outlive it: it moves up */
        ldr_op *child = ldr_list_of(op->inner.next, ldr_op, sibling);
        ldr_list_drop(&child->sibling);
        child->owner.parent = op->owner.parent;
        if (op->owner.parent)
            ldr_list_push(&op->owner.parent->inner, &child->sibling);
    }
    ldr_list_drop(&op->sibling);
    op->end(op);
}
