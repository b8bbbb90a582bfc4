/* room.c - who has to leave, and memory for who comes: slots, blocks, pages, ghosts.
 *
 * Nothing here fails but for what no eviction can help: every loop evicts, moves, or ends. While blocks are moved
 * each block in the arena belongs to a slot in the index: who holds a new block links it before asking again. */
#include "l1/shard.h"

#include "base/hash.h"

#define PATIENCE 8 /* evictions beyond what would be enough, before blocks are moved */

/* ---- leaving ----------------------------------------------------------------------------------------------- */

static void tell(ldr_turn *t, uint32_t slot, enum ldr_gone why)
{
    if (why == LDR_GONE_ERASED)
        return;
    bool expired = why == LDR_GONE_EXPIRED || ldr_slot_is_due(t, slot);
    t->n_evicted += !expired;
    if (t->watch && t->watch->gone)
        t->watch->gone(t->watch->ctx, ldr_block_key(ldr_block_at(t, slot)),
                       (size_t)ldr_slot_units(t, slot) * LDR_UNIT + sizeof(ldr_slot), expired);
}

void ldr_turn_forget(ldr_turn *t, uint32_t slot, enum ldr_gone why)
{
    ldr_shard *sh = t->shard;
    ldr_slot *s = ldr_slot_at(t, slot);
    tell(t, slot, why);
    ldr_index_unlink(t, slot);
    if (why != LDR_GONE_LOST)
        ldr_arena_free(&sh->arena, s->block);
    ldr_store32(&s->block, 0);
    ldr_slot_changed(s);
    ldr_node_set(&s->node.next, sh->free_slot);
    sh->free_slot = slot;
    sh->n_entries--;
    t->n_gone++;
}

void ldr_turn_drop(ldr_turn *t, uint32_t slot, enum ldr_gone why)
{
    if (ldr_slot_at(t, slot)->node.queue == LDR_QUEUE_NEGATIVES)
        ldr_queue_drop(&t->shard->negatives, &t->policy.nodes, slot, ldr_slot_units(t, slot));
    else
        ldr_policy_remove(&t->policy, slot);
    ldr_turn_forget(t, slot, why);
}

/* ---- ghosts ------------------------------------------------------------------------------------------------ */

static uint32_t ghosts_wanted(const ldr_shard *sh)
{
    bool full = sh->most_entries && sh->n_entries >= sh->most_entries;
    uint64_t n = full ? sh->most_entries : sh->n_entries;
    return (uint32_t)(n * 9 / 10);
}

static bool pages_for(ldr_turn *t, ldr_pages *pages, uint32_t words)
{
    uint32_t n = words / LDR_WORDS_PAGE;
    while (pages->n < n)
        if (!ldr_turn_page(t, pages, LDR_WORDS_PAGE_UNITS, true))
            return false;
    return true;
}

/* Room for as many ghosts as the shelf's size asks for; when that has grown by a quarter, anew. */
static void make_ghosts(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    uint32_t wanted = ghosts_wanted(sh);
    if (wanted <= sh->ghosts_wanted + sh->ghosts_wanted / 4 || t->making_ghosts)
        return;
    t->making_ghosts = true;
    sh->ghosts_wanted = wanted;
    ldr_ghosts_reset(&sh->policy.ghosts, &t->policy.ghost_room, 0);
    while (wanted > 0 && !(pages_for(t, &sh->ring, ldr_ghosts_ring_words(wanted)) &&
                           pages_for(t, &sh->table, ldr_ghosts_table_words(wanted))))
        wanted /= 2;
    ldr_ghosts_reset(&sh->policy.ghosts, &t->policy.ghost_room, wanted);
    t->making_ghosts = false;
}

/* ---- eviction ---------------------------------------------------------------------------------------------- */

/* Who will probably be evicted next is brought near while this write goes on: its index line, its block, and the
 * slot of the one behind it. */
static void prefetch_next(const ldr_turn *t, uint8_t queue)
{
    uint32_t next = t->shard->policy.queues[queue].tail;
    if (next == LDR_NO_SLOT)
        return;
    const ldr_slot *s = ldr_slot_at(t, next);
    const char *block = ldr_unit_at(t->base, s->block);
    ldr_index_prefetch(t, s->hash);
    ldr_ghosts_prefetch(&t->shard->policy.ghosts, &t->policy.ghost_room, s->hash);
    __builtin_prefetch(block, 1);
    __builtin_prefetch(block + 64, 1);
    if (s->node.prev != LDR_NO_SLOT)
        __builtin_prefetch(ldr_slot_at(t, s->node.prev), 1);
}

bool ldr_turn_evict(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    if (t->policy.ops->ghosts)
        make_ghosts(t);
    sh->policy.capacity = sh->policy.queues[0].weight + sh->policy.queues[1].weight;
    uint32_t slot = ldr_policy_victim(&t->policy);
    if (slot != LDR_NO_SLOT) {
        ldr_turn_forget(t, slot, LDR_GONE_EVICTED);
        prefetch_next(t, ldr_slot_at(t, slot)->node.queue);
        return true;
    }
    if (sh->negatives.tail == LDR_NO_SLOT)
        return false;
    ldr_turn_drop(t, sh->negatives.tail, LDR_GONE_EVICTED);
    return true;
}

/* ---- moving ------------------------------------------------------------------------------------------------ */

static void move_block(void *ctx, uint32_t from, uint32_t to)
{
    ldr_turn *t = ctx;
    const void *block = ldr_unit_at(t->base, from);
    uint32_t hash = (uint32_t)ldr_hash(ldr_block_key(block), t->seed);
    uint32_t slot = ldr_index_find_block(t, hash, from);
    if (to == 0) {
        ldr_turn_drop(t, slot, LDR_GONE_LOST);
        return;
    }
    uint32_t old_units = ldr_slot_units(t, slot);
    ldr_block_move(ldr_unit_at(t->base, to), block);
    ldr_slot *s = ldr_slot_at(t, slot);
    ldr_store32(&s->block, to);
    uint32_t units = ldr_slot_units(t, slot);
    if (s->node.queue == LDR_QUEUE_NEGATIVES)
        t->shard->negatives.weight += units - (uint64_t)old_units;
    else if (t->policy.owner.weight)
        ldr_policy_resize(&t->policy, slot, old_units, units);
}

static ldr_arena_mover mover_of(ldr_turn *t)
{
    return (ldr_arena_mover){.move = move_block, .ctx = t};
}

uint32_t ldr_turn_block(ldr_turn *t, uint32_t units)
{
    ldr_arena *a = &t->shard->arena;
    int patience = PATIENCE;
    for (;;) {
        uint32_t block = ldr_arena_alloc(a, units);
        if (block)
            return block;
        bool enough = a->free_units >= units + (uint64_t)units / 8;
        if ((enough && patience-- <= 0) || !ldr_turn_evict(t))
            break;
    }
    ldr_arena_mover mover = mover_of(t);
    return ldr_arena_alloc_moving(a, units, &mover);
}

bool ldr_turn_page(ldr_turn *t, ldr_pages *pages, uint32_t units, bool hard)
{
    ldr_arena *a = &t->shard->arena;
    if (pages->n >= pages->most)
        return false;
    uint32_t page = ldr_arena_page(a, units);
    if (!page) {
        while (hard && a->free_units < 2 * units && ldr_turn_evict(t))
            continue;
        ldr_arena_mover mover = mover_of(t);
        if (hard || a->free_units >= 4 * units)
            page = ldr_arena_page_moving(a, units, &mover);
    }
    if (!page)
        return false;
    ldr_store32(ldr_pages_dir(t->base, pages) + pages->n, page);
    ldr_store32(&pages->n, pages->n + 1);
    return true;
}

/* ---- slots ------------------------------------------------------------------------------------------------- */

static bool more_slots(ldr_turn *t, bool hard)
{
    ldr_shard *sh = t->shard;
    uint32_t first = sh->n_slots;
    if (!ldr_turn_page(t, &sh->slots, LDR_SLOT_PAGE_UNITS, hard))
        return false;
    for (uint32_t i = LDR_SLOTS_PAGE; i-- > 0;) {
        ldr_slot *s = ldr_slot_at(t, first + i);
        atomic_store_explicit(&s->word, 0, memory_order_release);
        ldr_node_set_mark(&s->node, 0);
        ldr_store32(&s->block, 0);
        ldr_node_set(&s->node.next, sh->free_slot);
        sh->free_slot = first + i;
    }
    ldr_store32(&sh->n_slots, first + LDR_SLOTS_PAGE);
    return true;
}

uint32_t ldr_turn_slot(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    while (sh->free_slot == LDR_NO_SLOT && !more_slots(t, false))
        if (!ldr_turn_evict(t) && !more_slots(t, true))
            return LDR_NO_SLOT;
    uint32_t slot = sh->free_slot;
    sh->free_slot = ldr_slot_at(t, slot)->node.next;
    return slot;
}
