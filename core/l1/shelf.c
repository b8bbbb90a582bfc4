/* shelf.c - the front of the shelf: one mapping, cut into shards of equal size by the top bits of the hash.
 *
 * The shelf itself holds all pointers; the mapping holds none. Pages of the mapping that were never used cost
 * no memory. */
#include "l1/shelf.h"

#include "base/err.h"
#include "base/hash.h"
#include "l1/read.h"
#include <sys/mman.h>
#include <unistd.h>

#define LEAST_BYTES ((size_t)64 << 10)
#define LEAST_SHARD_BYTES ((size_t)32 << 10)
#define GOOD_SHARD_BYTES ((size_t)4 << 20) /* where the number of shards is ours to choose */
#define MOST_SHARDS 1024u

struct ldr_shelf {
    const ldr_mem *mem;
    char *base;
    size_t mapped_bytes, shard_bytes;
    uint32_t n_shards, shard_shift; /* hash >> shard_shift is the shard, where there is more than one */
    uint64_t seed;
    const ldr_policy_ops *policy;
};

static ldr_shard *shard_at(const ldr_shelf *s, uint32_t i)
{
    return (ldr_shard *)(void *)(s->base + i * s->shard_bytes);
}

static ldr_shard *shard_for(const ldr_shelf *s, uint64_t hash)
{
    return shard_at(s, s->n_shards > 1 ? (uint32_t)(hash >> s->shard_shift) : 0);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static uint32_t shards_by_processors(const ldr_shelf_options *o)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t n = 1;
    while ((long)n < 4 * processors && n < MOST_SHARDS && o->bytes / (2 * (size_t)n) >= GOOD_SHARD_BYTES &&
           (o->entries == 0 || o->entries / (2 * n) >= 1024))
        n *= 2;
    return n;
}

static int check(const ldr_shelf_options *o, ldr_err *err)
{
    if (o->bytes < LEAST_BYTES)
        return ldr_fail(err, LDR_INVALID, "shelf: bytes: %zu is less than 65,536", o->bytes);
    if ((o->shards & (o->shards - 1)) != 0 || o->shards > MOST_SHARDS)
        return ldr_fail(err, LDR_INVALID, "shelf: shards: %u is no power of two up to %u", o->shards, MOST_SHARDS);
    if (!(o->negatives >= 0 && o->negatives <= 1))
        return ldr_fail(err, LDR_INVALID, "shelf: negatives: not a share between 0 and 1");
    if (!o->policy || !ldr_policy_find(o->policy))
        return ldr_fail(err, LDR_INVALID, "shelf: policy: no such policy: %s", o->policy ? o->policy : "(none)");
    return LDR_OK;
}

static int map(ldr_shelf *s, const ldr_shelf_options *o, ldr_err *err)
{
    s->n_shards = o->shards ? o->shards : shards_by_processors(o);
    if (o->entries && o->entries < s->n_shards)
        return ldr_fail(err, LDR_INVALID, "shelf: %u entries are fewer than %u shards", o->entries, s->n_shards);
    s->shard_shift = 64 - (uint32_t)__builtin_ctz(s->n_shards);
    s->shard_bytes = o->bytes / s->n_shards & ~(size_t)63;
    s->mapped_bytes = s->shard_bytes * s->n_shards;
    if (s->shard_bytes < LEAST_SHARD_BYTES)
        return ldr_fail(err, LDR_INVALID, "shelf: %zu bytes are too few for %u shards", o->bytes, s->n_shards);
    if (s->shard_bytes / LDR_UNIT > LDR_ARENA_MOST_UNITS)
        return ldr_fail(err, LDR_INVALID, "shelf: a shard holds less than 8 GiB: %u shards are too few", s->n_shards);
    void *p = mmap(NULL, s->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return ldr_fail_oom(err);
    s->base = p;
    return LDR_OK;
}

static uint32_t share_of(uint32_t entries, uint32_t n_shards, uint32_t i)
{
    return entries / n_shards + (i < entries % n_shards);
}

static int init_shards(ldr_shelf *s, const ldr_shelf_options *o, ldr_err *err)
{
    for (uint32_t i = 0; i < s->n_shards; i++) {
        ldr_shard_plan plan = {.units = (uint32_t)(s->shard_bytes / LDR_UNIT), .negatives = o->negatives,
                               .most_entries = share_of(o->entries, s->n_shards, i)};
        int code = ldr_shard_init(shard_at(s, i), &plan);
        if (code == LDR_OK)
            continue;
        while (i-- > 0)
            pthread_mutex_destroy(&shard_at(s, i)->lock);
        munmap(s->base, s->mapped_bytes);
        return code == LDR_NOMEM ? ldr_fail_oom(err)
                                 : ldr_fail(err, code, "shelf: %zu bytes are too few for %u shards", o->bytes, s->n_shards);
    }
    return LDR_OK;
}

int ldr_shelf_new(const ldr_shelf_options *o, const ldr_mem *mem, ldr_shelf **out, ldr_err *err)
{
    *out = NULL;
    int code = check(o, err);
    if (code != LDR_OK)
        return code;
    ldr_shelf *s = ldr_mem_zero(mem, 1, sizeof *s);
    if (!s)
        return ldr_fail_oom(err);
    s->mem = mem;
    s->seed = o->seed;
    s->policy = ldr_policy_find(o->policy);
    code = map(s, o, err);
    if (code == LDR_OK)
        code = init_shards(s, o, err);
    if (code != LDR_OK) {
        ldr_mem_free(mem, s);
        return code;
    }
    *out = s;
    return LDR_OK;
}

void ldr_shelf_free(ldr_shelf *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->n_shards; i++)
        pthread_mutex_destroy(&shard_at(s, i)->lock);
    munmap(s->base, s->mapped_bytes);
    ldr_mem_free(s->mem, s);
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

uint64_t ldr_shelf_hash(const ldr_shelf *s, ldr_slice key)
{
    return ldr_hash(key, s->seed);
}

static ldr_turn turn_on(const ldr_shelf *s, ldr_shard *sh, int64_t now_us)
{
    return (ldr_turn){.shard = sh, .seed = s->seed, .now_us = now_us, .policy.ops = s->policy};
}

static void mark_hit(const ldr_shelf *s, const ldr_look_up *l, const ldr_slot_ref *ref)
{
    if (!s->policy->hit) {
        ldr_slot_mark(ref);
        return;
    }
    ldr_turn t = turn_on(s, l->shard, 0);
    ldr_turn_begin(&t);
    if (atomic_load_explicit(ref->at, memory_order_relaxed) == ref->word &&
        l->slot->node.queue != LDR_QUEUE_NEGATIVES)
        ldr_policy_hit(&t.policy, l->slot_number);
    ldr_turn_end(&t);
}

bool ldr_shelf_read(ldr_shelf *s, ldr_slice key, uint64_t hash, int64_t now_us, bool touch, ldr_record *out,
                    ldr_buf *bytes, ldr_slot_ref *ref)
{
    ldr_look_up l = {.shard = shard_for(s, hash), .key = key, .hash = hash, .bytes = bytes};
    ldr_buf_clear(bytes);
    if (!ldr_shard_look(&l))
        return false;
    ldr_block_read(&l.head, bytes->p, l.origin_us, out);
    out->key = key;
    if (ldr_record_hard_us(out) <= now_us)
        return false;
    ldr_slot_ref at = {.at = &l.slot->word, .mark = &l.slot->node.mark, .word = l.word,
                       .mark_max = s->policy->mark_max};
    if (touch)
        mark_hit(s, &l, &at);
    if (s->policy->hit)
        at.mark = NULL;
    if (ref)
        *ref = at;
    return true;
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

enum ldr_shelf_put ldr_shelf_write(ldr_shelf *s, const ldr_record *r, uint64_t hash, int64_t now_us,
                                   const ldr_shelf_watch *watch, uint32_t *n_evicted)
{
    ldr_turn t = turn_on(s, shard_for(s, hash), now_us);
    t.watch = watch;
    ldr_turn_begin(&t);
    enum ldr_shelf_put put = ldr_turn_put(&t, r, hash);
    ldr_turn_end(&t);
    if (n_evicted)
        *n_evicted += t.n_evicted;
    return put;
}

bool ldr_shelf_erase(ldr_shelf *s, ldr_slice key, uint64_t hash)
{
    ldr_turn t = turn_on(s, shard_for(s, hash), 0);
    ldr_turn_begin(&t);
    uint32_t slot = ldr_index_find(&t, key, hash);
    if (slot != LDR_NO_SLOT) {
        ldr_turn_changes(&t);
        ldr_turn_drop(&t, slot, LDR_GONE_ERASED);
    }
    ldr_turn_end(&t);
    return slot != LDR_NO_SLOT;
}

bool ldr_shelf_touch(ldr_shelf *s, ldr_slice key, uint64_t hash, int64_t now_us, int64_t soft_us)
{
    ldr_turn t = turn_on(s, shard_for(s, hash), now_us);
    ldr_turn_begin(&t);
    bool held = ldr_turn_touch(&t, key, hash, soft_us);
    ldr_turn_end(&t);
    return held;
}

/* ---- all shards -------------------------------------------------------------------------------------------- */

void ldr_shelf_clear(ldr_shelf *s)
{
    for (uint32_t i = 0; i < s->n_shards; i++) {
        ldr_turn t = turn_on(s, shard_at(s, i), 0);
        ldr_turn_begin(&t);
        if (t.shard->has_origin)
            ldr_shard_clear(&t);
        ldr_turn_end(&t);
    }
}

uint64_t ldr_shelf_entries(const ldr_shelf *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->n_shards; i++) {
        ldr_turn t = turn_on(s, shard_at(s, i), 0);
        ldr_turn_begin(&t);
        n += t.shard->n_entries;
        ldr_turn_end(&t);
    }
    return n;
}

uint64_t ldr_shelf_bytes(const ldr_shelf *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->n_shards; i++) {
        ldr_turn t = turn_on(s, shard_at(s, i), 0);
        ldr_turn_begin(&t);
        n += (uint64_t)(t.shard->units - t.shard->arena.free_units) * LDR_UNIT;
        ldr_turn_end(&t);
    }
    return n;
}

const char *ldr_shelf_verify(ldr_shelf *s)
{
    const char *wrong = NULL;
    for (uint32_t i = 0; i < s->n_shards && !wrong; i++) {
        ldr_turn t = turn_on(s, shard_at(s, i), 0);
        ldr_turn_begin(&t);
        wrong = ldr_shard_verify(&t);
        ldr_turn_end(&t);
    }
    return wrong;
}
