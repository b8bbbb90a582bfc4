/* verify.c - checks every invariant of a shard, for tests: each entry is in its bucket and in one queue, each block
 * belongs to one entry, all counts add up. */
#include "l1/shard.h"

#include "base/hash.h"

static const char *verify_entry(const ldr_turn *t, uint32_t slot)
{
    const ldr_slot *s = ldr_slot_at(t, slot);
    if (s->block < t->shard->arena.begin || s->block >= t->shard->arena.end)
        return "slot's block is outside the arena";
    ldr_block_head h = ldr_block_load(ldr_block_at(t, slot));
    if (ldr_arena_is_free(&t->shard->arena, s->block) ||
        ldr_block_size(&h) > (size_t)ldr_slot_units(t, slot) * LDR_UNIT)
        return "slot's block is free or too small";
    bool same = (uint32_t)ldr_hash(ldr_block_key(ldr_block_at(t, slot)), t->seed) == s->hash;
    return same ? NULL : "slot's hash is not its key's";
}

static const char *verify_entries(const ldr_turn *t)
{
    const char *wrong = NULL;
    for (uint32_t slot = 0; slot < t->shard->n_slots && !wrong; slot++)
        if (ldr_slot_at(t, slot)->block != 0)
            wrong = verify_entry(t, slot);
    return wrong;
}

static const char *verify_slots(const ldr_turn *t)
{
    uint32_t n_free = 0, used = 0;
    const ldr_shard *sh = t->shard;
    for (uint32_t slot = sh->free_slot; slot != LDR_NO_SLOT; slot = ldr_slot_at(t, slot)->node.next)
        if (slot >= sh->n_slots || ldr_slot_at(t, slot)->block != 0 || ++n_free > sh->n_slots)
            return "list of free slots is broken";
    for (uint32_t slot = 0; slot < sh->n_slots; slot++)
        used += ldr_slot_at(t, slot)->block != 0;
    return used == sh->n_entries && used + n_free == sh->n_slots ? NULL : "slots do not add up";
}

static const char *verify_blocks(const ldr_turn *t)
{
    uint32_t n = 0;
    const ldr_arena *a = &t->shard->arena;
    for (uint32_t b = ldr_arena_next(a, 0); b; b = ldr_arena_next(a, b))
        n += !ldr_arena_is_free(a, b);
    return n == t->shard->n_entries ? NULL : "a block belongs to nobody";
}

static const char *verify_queues(ldr_turn *t)
{
    const ldr_shard *sh = t->shard;
    const char *wrong = ldr_queue_verify(&sh->negatives, &t->policy.nodes, sh->n_slots);
    uint64_t weight = 0;
    for (uint32_t s = sh->negatives.head; !wrong && s != LDR_NO_SLOT; s = ldr_slot_at(t, s)->node.next)
        weight += ldr_slot_units(t, s);
    if (!wrong && weight != sh->negatives.weight)
        wrong = "weight of negatives does not add up";
    if (!wrong)
        wrong = ldr_policy_verify(&t->policy);
    uint32_t n = sh->negatives.n + sh->policy.queues[0].n + sh->policy.queues[1].n;
    return wrong || n == sh->n_entries ? wrong : "an entry stands in no queue";
}

const char *ldr_shard_verify(ldr_turn *t)
{
    const char *wrong = ldr_arena_verify(&t->shard->arena);
    if (!wrong)
        wrong = verify_slots(t);
    if (!wrong)
        wrong = ldr_index_verify(t);
    if (!wrong)
        wrong = verify_entries(t);
    if (!wrong)
        wrong = verify_queues(t);
    return wrong ? wrong : verify_blocks(t);
}
