/* lru.c - who was used longest ago leaves. One queue; a hit moves to its head, hence hits need the lock. */
#include "policy/all.h"

static void lru_hit(ldr_policy *p, uint32_t slot)
{
    if (p->state->queues[0].head != slot)
        ldr_policy_move(p, slot, 0);
}

static uint32_t lru_victim(ldr_policy *p)
{
    uint32_t slot = p->state->queues[0].tail;
    return slot == LDR_NO_SLOT ? slot : ldr_policy_take(p, slot);
}

const ldr_policy_ops ldr_policy_lru = {.name = "lru", .hit = lru_hit, .victim = lru_victim};
