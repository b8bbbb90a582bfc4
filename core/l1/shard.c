/* shard.c - life of a shard, and what a writer's turn does to entries.
 *
 * A turn makes the sequence word odd before its first change and even at its end; what readers copy in between
 * they throw away. */
#include "l1/shard.h"

#include "base/hash.h"
#include "larder.h"
#include <string.h>

/* ---- a turn ------------------------------------------------------------------------------------------------ */

static uint64_t slot_hash(void *ctx, uint32_t slot)
{
    const ldr_turn *t = ctx;
    return ldr_hash(ldr_block_key(ldr_block_at(t, slot)), t->seed);
}

static uint32_t slot_weight(void *ctx, uint32_t slot)
{
    return ldr_slot_units(ctx, slot);
}

static ldr_words words_of(ldr_turn *t, const ldr_pages *pages)
{
    return (ldr_words){.base = t->base, .pages = ldr_pages_dir(t->base, pages)};
}

void ldr_turn_begin(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    pthread_mutex_lock(&sh->lock);
    t->base = (char *)sh;
    t->policy.state = &sh->policy;
    t->policy.nodes = (ldr_nodes){.base = t->base, .pages = ldr_pages_dir(t->base, &sh->slots),
                                  .shift = LDR_SLOTS_SHIFT, .stride = sizeof(ldr_slot)};
    t->policy.ghost_room = (ldr_ghost_room){.ring = words_of(t, &sh->ring), .table = words_of(t, &sh->table)};
    t->policy.owner = (ldr_policy_owner){.hash = slot_hash, .ctx = t};
    t->policy.owner.weight = sh->most_entries ? NULL : slot_weight;
}

void ldr_turn_changes(ldr_turn *t)
{
    if (t->shard->seq % 2 == 0)
        ldr_store32(&t->shard->seq, t->shard->seq + 1);
    if (!t->shard->has_origin) {
        __atomic_store_n(&t->shard->origin_us, t->now_us, __ATOMIC_RELEASE);
        t->shard->has_origin = true;
    }
}

void ldr_turn_end(ldr_turn *t)
{
    if (t->shard->seq % 2 != 0)
        ldr_store32(&t->shard->seq, t->shard->seq + 1);
    pthread_mutex_unlock(&t->shard->lock);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static uint32_t add_directory(ldr_pages *pages, uint32_t at, uint64_t items, uint32_t a_page)
{
    uint64_t most = items / a_page + 2;
    *pages = (ldr_pages){.dir = at, .most = (uint32_t)most};
    return at + (uint32_t)(most / 2 + 1);
}

/* Directories that never stand in the way: pages take at most half of the shard. Gives the unit behind them. */
static uint32_t lay_out(ldr_shard *sh, const ldr_shard_plan *plan)
{
    uint64_t slots = (uint64_t)plan->units / 2 * LDR_UNIT / sizeof(ldr_slot);
    if (plan->most_entries && plan->most_entries < slots)
        slots = plan->most_entries;
    uint32_t at = (sizeof(ldr_shard) + LDR_UNIT - 1) / LDR_UNIT;
    at = add_directory(&sh->slots, at, slots, LDR_SLOTS_PAGE);
    sh->slot_bits = 32 - (uint32_t)__builtin_clz(sh->slots.most * LDR_SLOTS_PAGE);
    at = add_directory(&sh->buckets, at, slots / 8, LDR_BUCKETS_PAGE);
    at = add_directory(&sh->extras, at, slots / 8, LDR_BUCKETS_PAGE);
    at = add_directory(&sh->ring, at, ldr_ghosts_ring_words((uint32_t)slots), LDR_WORDS_PAGE);
    return add_directory(&sh->table, at, ldr_ghosts_table_words((uint32_t)slots), LDR_WORDS_PAGE);
}

static int init_lock(ldr_shard *sh, const pthread_mutexattr_t *attr)
{
    return pthread_mutex_init(&sh->lock, attr) == 0 ? LDR_OK : LDR_NOMEM;
}

int ldr_shard_init(ldr_shard *sh, const ldr_shard_plan *plan)
{
    uint32_t tables = lay_out(sh, plan);
    uint32_t begin = tables + ldr_arena_tables_units(plan->units);
    if (begin > plan->units / 2)
        return LDR_INVALID;
    ldr_arena_shape shape = {.base = (char *)sh, .tables = tables, .begin = begin, .units = plan->units - begin};
    ldr_arena_init(&sh->arena, &shape);
    sh->units = plan->units;
    sh->most_entries = plan->most_entries;
    sh->free_slot = LDR_NO_SLOT;
    sh->negatives_units = (uint64_t)((double)shape.units * plan->negatives);
    sh->negatives_most = plan->most_entries ? (uint32_t)(plan->most_entries * plan->negatives) : UINT32_MAX;
    ldr_queue_init(&sh->negatives);
    ldr_policy_init(&sh->policy, plan->most_entries ? plan->most_entries : shape.units);
    return init_lock(sh, plan->lock_attr);
}

void ldr_shard_clear(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    ldr_turn_changes(t);
    ldr_arena_clear(&sh->arena);
    ldr_index_clear(t);
    sh->free_slot = LDR_NO_SLOT;
    for (uint32_t i = sh->n_slots; i-- > 0;) {
        ldr_slot *s = ldr_slot_at(t, i);
        ldr_slot_changed(s);
        ldr_store32(&s->block, 0);
        ldr_node_set(&s->node.next, sh->free_slot);
        sh->free_slot = i;
    }
    uint32_t ghosts = sh->policy.ghosts.cap;
    sh->n_entries = 0;
    ldr_queue_init(&sh->negatives);
    ldr_policy_init(&sh->policy, sh->most_entries ? sh->most_entries : sh->arena.end - sh->arena.begin);
    ldr_ghosts_reset(&sh->policy.ghosts, &t->policy.ghost_room, ghosts);
}

/* ---- which queue an entry stands in ------------------------------------------------------------------------ */

static void leave_queue(ldr_turn *t, uint32_t slot)
{
    if (ldr_slot_at(t, slot)->node.queue == LDR_QUEUE_NEGATIVES)
        ldr_queue_drop(&t->shard->negatives, &t->policy.nodes, slot, ldr_slot_units(t, slot));
    else
        ldr_policy_remove(&t->policy, slot);
}

static void join_negatives(ldr_turn *t, uint32_t slot)
{
    ldr_slot *s = ldr_slot_at(t, slot);
    ldr_node_set_queue(&s->node, LDR_QUEUE_NEGATIVES);
    ldr_node_set_mark(&s->node, 0);
    ldr_queue_push(&t->shard->negatives, &t->policy.nodes, slot, ldr_slot_units(t, slot));
}

/* The oldest negatives leave until one of `units` keeps within the share; a single one always may stay. */
static void negatives_room(ldr_turn *t, uint32_t units)
{
    ldr_shard *sh = t->shard;
    const ldr_queue *q = &sh->negatives;
    while (q->n > 0 && (q->n >= sh->negatives_most || q->weight + units > sh->negatives_units))
        ldr_turn_drop(t, q->tail, LDR_GONE_EVICTED);
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

/* A record on its way in. */
typedef struct entry {
    const ldr_record *r;
    uint64_t hash;
    uint32_t units;
    uint16_t flags;
    bool negative;
} entry;

static void fill(ldr_turn *t, uint32_t slot, const entry *e)
{
    ldr_slot *s = ldr_slot_at(t, slot);
    ldr_block_ink ink = {.r = e->r, .flags = e->flags, .origin_us = t->shard->origin_us};
    ldr_block_write(ldr_unit_at(t->base, s->block), &ink);
    ldr_slot_set_due(s, ldr_due_of(t, ldr_record_hard_us(e->r)));
    ldr_slot_changed(s);
}

static enum ldr_shelf_put insert(ldr_turn *t, const entry *e)
{
    ldr_shard *sh = t->shard;
    uint8_t queue = e->negative ? LDR_QUEUE_NEGATIVES : ldr_policy_arrive(&t->policy, e->hash);
    while (sh->most_entries && sh->n_entries >= sh->most_entries)
        ldr_turn_evict(t);
    ldr_index_reserve(t, (uint32_t)e->hash);
    uint32_t slot = ldr_turn_slot(t);
    uint32_t block = slot == LDR_NO_SLOT ? 0 : ldr_turn_block(t, e->units);
    if (block == 0) {
        if (slot != LDR_NO_SLOT) {
            ldr_node_set(&ldr_slot_at(t, slot)->node.next, sh->free_slot);
            sh->free_slot = slot;
        }
        return LDR_SHELF_TOO_LARGE;
    }
    ldr_slot *s = ldr_slot_at(t, slot);
    ldr_store32(&s->hash, (uint32_t)e->hash);
    ldr_store32(&s->block, block);
    fill(t, slot, e);
    ldr_index_link(t, slot);
    sh->n_entries++;
    if (e->negative)
        join_negatives(t, slot);
    else
        ldr_policy_add(&t->policy, slot, queue);
    return LDR_SHELF_KEPT;
}

/* A block of another size takes the place of the slot's. */
static void exchange(ldr_turn *t, uint32_t slot, uint32_t block)
{
    ldr_slot *s = ldr_slot_at(t, slot);
    uint32_t old = s->block, old_units = ldr_slot_units(t, slot);
    ldr_store32(&s->block, block);
    uint32_t units = ldr_slot_units(t, slot);
    if (s->node.queue == LDR_QUEUE_NEGATIVES)
        t->shard->negatives.weight += units - (uint64_t)old_units;
    else if (t->policy.owner.weight)
        ldr_policy_resize(&t->policy, slot, old_units, units);
    ldr_arena_free(&t->shard->arena, old);
}

/* A held key's new record, where the queue stays the same. Its own entry may be evicted to make room: then it is
 * inserted. */
static enum ldr_shelf_put replace(ldr_turn *t, uint32_t slot, const entry *e)
{
    if (ldr_slot_units(t, slot) != e->units) {
        uint32_t n_gone = t->n_gone;
        uint32_t block = ldr_turn_block(t, e->units);
        bool gone = t->n_gone != n_gone && ldr_index_find(t, e->r->key, e->hash) != slot;
        if (gone) {
            if (block)
                ldr_arena_free(&t->shard->arena, block);
            return insert(t, e);
        }
        exchange(t, slot, block);
    }
    fill(t, slot, e);
    if (!e->negative) {
        ldr_policy_hit(&t->policy, slot);
        return LDR_SHELF_KEPT;
    }
    leave_queue(t, slot);
    join_negatives(t, slot);
    return LDR_SHELF_KEPT;
}

static int64_t version_of(const ldr_turn *t, uint32_t slot)
{
    ldr_record r;
    const void *block = ldr_block_at(t, slot);
    ldr_block_head h = ldr_block_load(block);
    ldr_block_read(&h, block, t->shard->origin_us, &r);
#ifdef LDR_BUG_SHELF_OLDER
    r.version = 0;
#endif
    return r.version;
}

static bool fits(const ldr_turn *t, const entry *e)
{
    const ldr_record *r = e->r;
    const ldr_arena *a = &t->shard->arena;
    size_t most = (size_t)(a->end - a->begin) * LDR_UNIT;
    return r->key.n <= UINT16_MAX && r->value.n <= LDR_BLOCK_MOST_VALUE && r->value.n <= most &&
           ldr_block_units_for(r, e->flags) <= a->end - a->begin;
}

/* The held entry that the new record may replace; LDR_NO_SLOT: none, or it had to go. */
static uint32_t held(ldr_turn *t, const entry *e)
{
    uint32_t slot = ldr_index_find(t, e->r->key, e->hash);
    if (slot == LDR_NO_SLOT || !ldr_slot_is_expired(t, slot))
        return slot;
    ldr_turn_drop(t, slot, LDR_GONE_EXPIRED);
    return LDR_NO_SLOT;
}

enum ldr_shelf_put ldr_turn_put(ldr_turn *t, const ldr_record *r, uint64_t hash)
{
    entry e = {.r = r, .hash = hash, .flags = ldr_record_flags(r), .negative = r->kind == LDR_NONE};
    ldr_turn_changes(t);
    ldr_index_prefetch(t, (uint32_t)hash);
    ldr_ghosts_prefetch(&t->shard->policy.ghosts, &t->policy.ghost_room, hash);
    ldr_turn_sweep(t);
    ldr_index_grow(t);
    uint32_t slot = held(t, &e);
    if (slot != LDR_NO_SLOT && r->version != 0 && version_of(t, slot) > r->version)
        return LDR_SHELF_OLDER;
    bool fit = fits(t, &e);
    if (slot != LDR_NO_SLOT && (!fit || e.negative || ldr_slot_at(t, slot)->node.queue == LDR_QUEUE_NEGATIVES)) {
        ldr_turn_drop(t, slot, LDR_GONE_ERASED);
        slot = LDR_NO_SLOT;
    }
    if (!fit)
        return LDR_SHELF_TOO_LARGE;
    e.units = ldr_block_units_for(r, e.flags);
    if (e.negative)
        negatives_room(t, e.units);
    return slot != LDR_NO_SLOT ? replace(t, slot, &e) : insert(t, &e);
}

bool ldr_turn_touch(ldr_turn *t, ldr_slice key, uint64_t hash, int64_t soft_us)
{
    uint32_t slot = ldr_index_find(t, key, hash);
    if (slot == LDR_NO_SLOT)
        return false;
    ldr_turn_changes(t);
    if (ldr_slot_is_expired(t, slot)) {
        ldr_turn_drop(t, slot, LDR_GONE_EXPIRED);
        return false;
    }
    void *block = ldr_block_at(t, slot);
    ldr_block_set_soft(block, soft_us, t->shard->origin_us);
    ldr_record r;
    ldr_block_head h = ldr_block_load(block);
    ldr_block_read(&h, block, t->shard->origin_us, &r);
    ldr_slot *s = ldr_slot_at(t, slot);
    ldr_slot_set_due(s, ldr_due_of(t, ldr_record_hard_us(&r)));
#ifndef LDR_BUG_SHELF_WORD
    ldr_slot_changed(s);
#endif
    return true;
}
