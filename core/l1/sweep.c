/* sweep.c - entries past their hard expiry leave by and by: every few writes one looks at the next slots.
 *
 * So that a look touches no block, a slot keeps a tick of about 17 s, in 16 bits that wrap around, in which it
 * falls due; FAR says: not within the half of the circle ahead, never looked at. A tick that is due is only a
 * hint: the block says the truth. */
#include "l1/shard.h"

#define TICK_SHIFT 24
#define FAR 0xFFFFu
#define CIRCLE 0xFFFFu /* ticks 0 ... 0xFFFE */
#define HALF (CIRCLE / 2)
#define EVERY 8 /* writes */
#define LOOKS 8

static int64_t tick_of(const ldr_turn *t, int64_t us)
{
    int64_t since;
    if (__builtin_sub_overflow(us, t->shard->origin_us, &since))
        return us < 0 ? 0 : INT64_MAX;
    return since < 0 ? 0 : since >> TICK_SHIFT;
}

uint16_t ldr_due_of(const ldr_turn *t, int64_t hard_us)
{
    int64_t due = tick_of(t, hard_us), now = tick_of(t, t->now_us);
    if (due > now && due - now >= HALF)
        return FAR;
    return (uint16_t)((due < now ? now : due) % CIRCLE);
}

bool ldr_slot_is_expired(const ldr_turn *t, uint32_t slot)
{
    ldr_record r;
    const void *block = ldr_block_at(t, slot);
    ldr_block_head h = ldr_block_load(block);
    ldr_block_read(&h, block, t->shard->origin_us, &r);
    return ldr_record_hard_us(&r) <= t->now_us;
}

static bool is_due(const ldr_slot *s, uint32_t now_tick)
{
    if (s->block == 0 || s->node.due == FAR)
        return false;
    uint32_t since = now_tick - s->node.due;
    return (now_tick >= s->node.due ? since : since + CIRCLE) < HALF;
}

static uint32_t now_tick_of(const ldr_turn *t)
{
    return (uint32_t)(tick_of(t, t->now_us) % CIRCLE);
}

bool ldr_slot_is_due(const ldr_turn *t, uint32_t slot)
{
    return is_due(ldr_slot_at(t, slot), now_tick_of(t)) && ldr_slot_is_expired(t, slot);
}

void ldr_turn_sweep(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    if (sh->seq / 2 % EVERY != 0 || sh->n_slots == 0)
        return;
    uint32_t now_tick = now_tick_of(t);
    for (int i = 0; i < LOOKS; i++) {
        uint32_t slot = sh->sweep_at < sh->n_slots ? sh->sweep_at : 0;
        sh->sweep_at = slot + 1;
        if (is_due(ldr_slot_at(t, slot), now_tick) && ldr_slot_is_expired(t, slot))
            ldr_turn_drop(t, slot, LDR_GONE_EXPIRED);
    }
}
