/* cache.c - checks the options of the C interface, builds the rooms, owns them, and starts anew after a fork. */
#include "cache.h"

#include "base/err.h"
#include "plugins.h"
#include "upkeep/errand.h"
#include "policy/policy.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define PAGE_BYTES 4096

/* Above 0: open, and in each incarnation and era of hearing another number, for a memo that remembers slots of the one
 * before must see it. */
enum { GATE_BUILDING = -1, GATE_SHUT = 0 };

static int32_t open_for(const ldr_cache *c)
{
    uint32_t era = atomic_load_explicit(&c->flow.era, memory_order_acquire);
    return (int32_t)((c->incarnation + era) % INT32_MAX) + 1;
}

static void era_moved(void *ctx)
{
    ldr_cache *c = ctx;
    int32_t gate = atomic_load(c->gate);
    while (gate > GATE_SHUT && !atomic_compare_exchange_weak(c->gate, &gate, open_for(c)))
        ;
}

#define MOST_INTERVAL 1e6 /* seconds */
#define LEASE_LEAST_US (60 * (int64_t)LDR_SEC) /* a load in this process is known to live: its lease is renewed so long */

static int64_t or_default(int64_t value, int64_t fallback)
{
    return value == 0 ? fallback : value == LDR_TTL_ZERO ? 0 : value;
}

static int check(const ldr_options *o, ldr_err *err)
{
    if (o->size != sizeof *o)
        return ldr_fail(err, LDR_INVALID, "options.size is %zu, wanted sizeof(ldr_options) = %zu", o->size, sizeof *o);
    if (!ldr_plan_of(o->read_pattern) || !ldr_plan_of(o->write_pattern))
        return ldr_fail(err, LDR_INVALID, "a pattern is out of range");
    if (o->level != LDR_EVENTUAL && o->level != LDR_WEAK)
        return ldr_fail(err, LDR_INVALID, "level %d is not built: eventual and weak are", o->level);
    if (!(o->jitter >= 0 && o->jitter <= 1))
        return ldr_fail(err, LDR_INVALID, "jitter must be within 0 to 1");
    if (o->on_timeout < LDR_ON_TIMEOUT_LOAD || o->on_timeout > LDR_ON_TIMEOUT_ERROR)
        return ldr_fail(err, LDR_INVALID, "on_timeout is out of range");
    if (o->codec < LDR_CODEC_MSGPACK || o->codec > LDR_CODEC_RAW)
        return ldr_fail(err, LDR_INVALID, "codec is out of range");
    if (o->l2_timeout_us < 0 || o->lock_ttl_us < 0 || o->lock_wait_us < LDR_TTL_ZERO || o->source_timeout_us < 0)
        return ldr_fail(err, LDR_INVALID, "a time-out is below 0");
    if (!(o->changes_interval <= MOST_INTERVAL)) /* also not a number */
        return ldr_fail(err, LDR_INVALID, "changes_interval is out of range");
    if (!(o->l1_negatives >= 0 && o->l1_negatives <= 1))
        return ldr_fail(err, LDR_INVALID, "l1_negatives must be within 0 to 1");
    if (o->ttl_us < LDR_TTL_ZERO || o->stale_ttl_us < 0 || o->negative_ttl_us < 0 || o->bound_hard_us < 0)
        return ldr_fail(err, LDR_INVALID, "a ttl is below 0");
    if (o->sqlite_file && (o->load || o->store || o->erase))
        return ldr_fail(err, LDR_INVALID, "two sources are named: SQLite and functions");
    return LDR_OK;
}

static void choose(ldr_flow *f, const ldr_options *o)
{
    f->read_plan = ldr_plan_of(o->read_pattern);
    f->write_plan = ldr_plan_of(o->write_pattern == LDR_READ_THROUGH ? LDR_WRITE_THROUGH : o->write_pattern);
    f->write_if_can = o->write_pattern == LDR_READ_THROUGH;
    f->level = o->level;
    f->on_timeout = o->on_timeout;
    f->no_guard = o->no_guard;
    f->source_timeout_us = or_default(o->source_timeout_us, 5 * LDR_SEC);
    f->lock_wait_us = or_default(o->lock_wait_us, 5 * LDR_SEC);
    f->shared_lease_us = f->lease_us = or_default(o->lock_ttl_us, f->source_timeout_us + LDR_SEC);
    f->mark_us = LDR_SEC;
    f->bracket_us = LEASE_LEAST_US;
    if (f->lease_us < LEASE_LEAST_US)
        f->lease_us = LEASE_LEAST_US;
    f->ttl_us = or_default(o->ttl_us, 300 * (int64_t)LDR_SEC);
    f->stale_us = o->stale_ttl_us;
    f->negative_us = o->negative_ttl_us;
    f->bound_hard_us = LDR_NEVER;
    f->jitter = o->jitter;
    f->sealing = (ldr_sealing){.codec = o->codec, .compress_min = o->compress_min, .mem = &f->mem};
}

static uint64_t draw_seed(uint64_t given)
{
    uint64_t seed = given;
    while (seed == 0)
        if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
            seed = (uint64_t)getpid() * 0x9E3779B97F4A7C15u + (uint64_t)(uintptr_t)&seed;
    return seed;
}

static int open_gate(ldr_cache *c, ldr_err *err)
{
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return ldr_fail_oom(err);
    madvise(page, PAGE_BYTES, MADV_WIPEONFORK);
    c->gate = page;
    *c->gate = open_for(c);
    c->pid = getpid();
    return LDR_OK;
}

/* The rooms whose locks and threads a fork breaks: made at open, and anew in a child. */
static int furnish(ldr_cache *c, ldr_err *err)
{
    ldr_flow *f = &c->flow;
    f->flights = ldr_flights_new(&f->mem);
    f->backoff = ldr_backoff_new(&f->mem);
    c->thread = ldr_thread_new(&f->mem);
    if (!f->flights || !f->backoff || !c->thread)
        return ldr_fail_oom(err);
    if (c->shelf_options.bytes == 0)
        return LDR_OK;
    return ldr_shelf_new(&c->shelf_options, &f->mem, &f->shelf, err);
}

static void empty(ldr_cache *c)
{
    ldr_thread_free(c->thread);
    ldr_shelf_free(c->flow.shelf);
    ldr_flights_free(c->flow.flights);
    ldr_backoff_free(c->flow.backoff, &c->flow.mem);
    c->thread = NULL;
    c->flow.shelf = NULL;
    c->flow.flights = NULL;
    c->flow.backoff = NULL;
}

/* Not where it is shut, or in a child that has not begun anew: then it holds nothing. */
static void changed_beside(void *ctx, ldr_slice key, int64_t version)
{
    ldr_cache *c = ctx;
    if (atomic_load(c->gate) <= GATE_SHUT)
        return;
    if (key.n > 0) {
        ldr_drop_changed(&c->flow, key, version);
        return;
    }
    if (c->flow.l2) /* there is a new generation, which the next question reads */
        ldr_l2_expire(c->flow.l2);
    ldr_drop_all(&c->flow, LDR_CAUSE_CHANGE);
}

static void join_hub(ldr_cache *c, const ldr_options *o, ldr_hub *hub)
{
    ldr_flow *f = &c->flow;
    if (!hub || !o->name || strlen(o->name) >= sizeof f->member.name)
        return;
    f->hub = hub;
    f->member = (ldr_hub_member){.changed = changed_beside, .ctx = c};
    memcpy(f->member.name, o->name, strlen(o->name) + 1);
    ldr_list_init(&f->member.link);
    ldr_hub_join(hub, &f->member);
}

static int listen_to_changes(ldr_cache *c, const ldr_options *o, ldr_err *err)
{
    ldr_flow *f = &c->flow;
    c->changes = (ldr_changes){.flow = f, .mark = LDR_UNSET};
    if (!f->source || !f->source->ops->run || o->changes_interval < 0 || !f->source->ops->can(f->source, LDR_CHANGES))
        return LDR_OK;
    c->changes.interval_us = o->changes_interval > 0 ? (int64_t)(o->changes_interval * LDR_SEC) : LDR_SEC / 10;
    if (c->changes.interval_us < LDR_MS)
        c->changes.interval_us = LDR_MS;
    return ldr_changes_begin(&c->changes, err);
}

static void shelf_by(const ldr_options *o, uint64_t seed, ldr_shelf_options *s)
{
    *s = (ldr_shelf_options){.seed = seed};
    if (o->no_l1)
        return;
    s->bytes = o->l1_bytes ? o->l1_bytes : 64u << 20;
    if (s->bytes < 64u << 10)
        s->bytes = 64u << 10;
    s->entries = o->l1_entries;
    s->shards = o->l1_shards;
    s->negatives = o->l1_negatives > 0 ? o->l1_negatives : 0.1;
    s->policy = o->l1_policy ? o->l1_policy : "s3fifo";
}

static int check_source(const ldr_flow *f, const ldr_options *o, ldr_err *err)
{
    bool writes = f->write_plan->write_source && !f->write_if_can;
    if (!f->source && (o->read_pattern != LDR_CACHE_ASIDE || writes))
        return ldr_fail(err, LDR_INVALID, "pattern %s needs a source",
                        writes ? f->write_plan->name : f->read_plan->name);
    return LDR_OK;
}

static int build(ldr_cache *c, const ldr_options *o, ldr_err *err)
{
    ldr_flow *f = &c->flow;
    f->seed = draw_seed(o->seed);
    atomic_store(&f->random, f->seed);
    choose(f, o);
    shelf_by(o, f->seed, &c->shelf_options);
    f->meter = ldr_meter_new(&f->mem);
    if (!f->meter)
        return ldr_fail_oom(err);
    ldr_events_init(&f->events, &f->mem, f->meter);
    int code = open_gate(c, err);
    if (code == LDR_OK)
        code = furnish(c, err);
    if (code == LDR_OK)
        code = ldr_plugins_open_source(o, &f->mem, &f->source, err);
    if (code == LDR_OK)
        code = check_source(f, o, err);
    if (code == LDR_OK && f->source && o->bound_hard_us > 0)
        f->bound_hard_us = o->bound_hard_us;
    if (code == LDR_OK)
        code = ldr_sharing_open(&c->sharing, f, o, err);
    return code == LDR_OK ? listen_to_changes(c, o, err) : code;
}

int ldr_cache_new(const ldr_options *o, const ldr_environment *env, ldr_cache **out, ldr_err *err)
{
    const ldr_mem *mem = env && env->mem ? env->mem : &ldr_mem_system;
    *out = NULL;
    int code = check(o, err);
    if (code != LDR_OK)
        return code;
    ldr_cache *c = ldr_mem_zero(mem, 1, sizeof *c);
    if (!c)
        return ldr_fail_oom(err);
    c->flow.mem = *mem;
    if (env && env->virtual_clock)
        ldr_clock_init_virtual(&c->flow.clock, env->virtual_start_us);
    else
        ldr_clock_init(&c->flow.clock);
    c->flow.era_moved = era_moved;
    c->flow.era_ctx = c;
    code = build(c, o, err);
    if (code == LDR_OK) {
        join_hub(c, o, env ? env->hub : NULL);
        *out = c;
        return LDR_OK;
    }
    ldr_cache_free(c);
    return code;
}

/* In a forked child: everything that the parent's threads may have held is left behind. */
static int start_anew(ldr_cache *c, ldr_err *err)
{
    ldr_flow *f = &c->flow;
    c->incarnation++;
    c->chore_runs = false;
    if (f->hub)
        ldr_hub_forked(f->hub);
    ldr_sharing_empty(&c->sharing, true);
    empty(c);
    uint32_t mask = atomic_load(&f->events.mask);
    ldr_events_init(&f->events, &f->mem, f->meter);
    ldr_events_listen(&f->events, mask);
    for (size_t i = 0; i < LDR_CACHE_DOORS; i++) /* the parent's other threads did not come along */
        atomic_store(&c->inside[i].n, 0);
    int code = furnish(c, err);
    if (code == LDR_OK)
        code = ldr_sharing_furnish(&c->sharing, err);
    if (code != LDR_OK) {
        ldr_sharing_empty(&c->sharing, false);
        empty(c);
        atomic_store(c->gate, GATE_SHUT);
        return code;
    }
    if (f->source && f->source->ops->forked)
        f->source->ops->forked(f->source);
    if (c->changes.interval_us > 0)
        ldr_changes_begin(&c->changes, NULL);
    c->pid = getpid();
    atomic_store_explicit(c->gate, open_for(c), memory_order_release);
    return LDR_OK;
}

/* The gate does not stand open: a child that was not here yet, or somebody closes the cache at this moment. */
static int pass_gate(ldr_cache *c, ldr_err *err)
{
    for (;;) {
        int32_t gate = GATE_SHUT;
        if (atomic_load(&c->state) == LDR_CACHE_CLOSED || (atomic_load(c->gate) == GATE_SHUT && c->pid == getpid()))
            return ldr_fail(err, LDR_CLOSED, "the cache is closed");
        if (atomic_compare_exchange_strong(c->gate, &gate, GATE_BUILDING))
            return start_anew(c, err);
        if (gate > GATE_SHUT)
            return LDR_OK;
        sched_yield();
    }
}

int ldr_cache_enter(ldr_cache *c, ldr_err *err)
{
    if (atomic_load_explicit(&c->state, memory_order_acquire) == LDR_CACHE_CLOSED)
        return ldr_fail(err, LDR_CLOSED, "the cache is closed");
    if (atomic_load_explicit(c->gate, memory_order_acquire) <= GATE_SHUT) {
        int code = pass_gate(c, err);
        if (code != LDR_OK)
            return code;
    }
    if (c->changes.interval_us > 0 && !c->chore_runs && !c->flow.clock.is_virtual)
        c->chore_runs = ldr_thread_chore(c->thread, ldr_changes_look, &c->changes);
    if (c->sharing.is_on && !c->sharing.has_begun)
        ldr_sharing_begin(&c->sharing);
    return LDR_OK;
}

void ldr_cache_look(ldr_cache *c)
{
    if (c->changes.interval_us > 0 && !c->chore_runs)
        ldr_changes_look(&c->changes);
}

void ldr_cache_poll(ldr_cache *c)
{
    ldr_cache_look(c);
    ldr_sharing_poll(&c->sharing);
}

void ldr_cache_shut(ldr_cache *c, int64_t wait_us)
{
    if (atomic_exchange(&c->state, LDR_CACHE_CLOSED) == LDR_CACHE_CLOSED)
        return;
    bool own = *c->gate > GATE_SHUT; /* not: a child that never used it. The parent's thread is not here */
    *c->gate = GATE_SHUT;
    if (!own)
        return;
    atomic_store(&c->flow.closing, true);
    if (c->flow.flights)
        ldr_flights_wake_all(c->flow.flights);
    ldr_sharing_stop(&c->sharing, wait_us);
    if (c->thread)
        ldr_thread_stop(c->thread, wait_us, ldr_errand_dropped);
}

/* Are these the rooms of a parent, in a child that never used them? */
static bool is_foreign(const ldr_cache *c)
{
    return c->pid != 0 && c->pid != getpid();
}

void ldr_cache_strip(ldr_cache *c)
{
    ldr_source *source = c->flow.source;
    c->flow.source = NULL;
    if (source && is_foreign(c) && source->ops->forked)
        source->ops->forked(source);
    if (source)
        source->ops->close(source);
    if (c->flow.hub && is_foreign(c))
        ldr_hub_forked(c->flow.hub);
    if (c->flow.hub)
        ldr_hub_leave(c->flow.hub, &c->flow.member);
    c->flow.hub = NULL;
    ldr_sharing_empty(&c->sharing, is_foreign(c));
    ldr_sharing_close(&c->sharing);
    empty(c);
}

void ldr_cache_free(ldr_cache *c)
{
    if (!c)
        return;
    ldr_mem mem = c->flow.mem;
    if (c->gate)
        ldr_cache_shut(c, 0);
    ldr_cache_strip(c);
    if (c->flow.meter && is_foreign(c)) /* its lock may have been held in the parent */
        ldr_events_init(&c->flow.events, &mem, c->flow.meter);
    if (c->flow.meter)
        ldr_events_fini(&c->flow.events);
    ldr_meter_free(c->flow.meter, &mem);
    if (c->gate)
        munmap((void *)c->gate, PAGE_BYTES);
    ldr_mem_free(&mem, c);
}

int ldr_cache_check_key(ldr_slice key, ldr_err *err)
{
    if (key.n == 0)
        return ldr_fail(err, LDR_INVALID, "a key must not be empty");
    if (key.n > 65535)
        return ldr_fail(err, LDR_TOO_LARGE, "a key of %zu bytes: at most 65535 are allowed", key.n);
    return LDR_OK;
}
