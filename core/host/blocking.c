/* blocking.c - the blocking host: the C interface's verbs, each an operation stepped to its end on the calling thread.
 *
 * Jobs run in line; a caller that must wait for another thread's load sleeps on a condition of its own. */
#include "base/err.h"
#include "base/sleeper.h"
#include "cache.h"
#include "upkeep/errand.h"
#include <pthread.h>
#include <time.h>

#define NAP_NS 100000

struct ldr_call {
    ldr_item *item;
    int verb;
};

/* What a caller's thread brings to the stepping of an operation. */
typedef struct stepping {
    ldr_cache *cache;
    ldr_sleeper *sleeper;
    ldr_load_fn load; /* of the call; NULL: the source's functions */
    void *arg;
} stepping;

/* ---- calls ------------------------------------------------------------------------------------------------ */

const char *ldr_call_key(const ldr_call *call, size_t *size)
{
    *size = call->item->key.n;
    return call->item->key.p;
}

const char *ldr_call_value(const ldr_call *call, size_t *size, int *kind)
{
    *size = call->item->value.n;
    *kind = call->item->value_kind;
    return call->item->value.p;
}

int64_t ldr_call_if_version(const ldr_call *call)
{
    return call->item->if_version;
}

int ldr_call_answer(ldr_call *call, const void *data, size_t size, int kind, int64_t version)
{
    ldr_item *item = call->item;
    if ((kind != LDR_STRING && kind != LDR_MSGPACK && kind != LDR_NONE) || version < 0)
        return LDR_INVALID;
    ldr_buf_clear(&item->out);
    ldr_buf_add(&item->out, data, kind == LDR_NONE ? 0 : size);
    if (item->out.oom)
        return LDR_NOMEM;
    item->state = kind == LDR_NONE ? LDR_GONE : LDR_FOUND;
    item->kind = kind;
    item->version = version;
    return LDR_OK;
}

void ldr_call_ttl(ldr_call *call, int64_t ttl_us, int64_t stale_ttl_us)
{
    call->item->ttl_us = ttl_us;
    call->item->stale_ttl_us = stale_ttl_us;
}

void ldr_call_fail(ldr_call *call, const char *message)
{
    call->item->state = LDR_FAILED;
    ldr_fail(&call->item->err, call->verb == LDR_LOAD ? LDR_LOADER : LDR_SOURCE, "%s", message);
}

static void call_item(ldr_load_fn fn, void *arg, ldr_item *item, int verb)
{
    char text[LDR_KEY_TEXT];
    ldr_call call = {.item = item, .verb = verb};
    int code = fn ? fn(arg, &call) : LDR_UNSUPPORTED;
    if (code < LDR_OK || code >= LDR_N_CODES)
        code = LDR_LOADER;
    if (item->state == LDR_FAILED)
        return;
    if (code != LDR_OK) {
        item->state = LDR_FAILED;
        ldr_fail(&item->err, code, "key \"%s\": the callback gave %s", ldr_key_text(item->key, text), ldr_code_word(code));
    } else if (item->state == LDR_UNANSWERED) {
        item->state = verb == LDR_LOAD ? LDR_GONE : LDR_FOUND;
    }
}

static ldr_load_fn function_for(const ldr_functions *fns, int verb)
{
    return verb == LDR_LOAD ? fns->load : verb == LDR_STORE ? fns->store : verb == LDR_ERASE ? fns->erase : fns->version;
}

static void call_functions(const stepping *s, ldr_request *r)
{
    const ldr_functions *fns = s->cache->flow.source ? ldr_source_functions(s->cache->flow.source) : NULL;
    bool own = s->load && r->verb == LDR_LOAD;
    ldr_load_fn fn = own ? s->load : fns ? function_for(fns, r->verb) : NULL;
    for (size_t i = 0; i < r->n_items; i++)
        call_item(fn, own ? s->arg : fns ? fns->arg : NULL, r->items[i], r->verb);
}

/* ---- stepping --------------------------------------------------------------------------------------------- */

static void drive(const stepping *s, ldr_op *op)
{
    for (;;) {
        ldr_want want = ldr_op_step(op);
        switch (want.kind) {
        case LDR_WANT_JOB:
            op->flow->source->ops->run(op->flow->source, want.request);
            break;
        case LDR_WANT_TALK:
            ldr_links_talk(op->flow->links, want.exchange, want.deadline_us);
            break;
        case LDR_WANT_CALL:
            call_functions(s, want.request);
            break;
        case LDR_WANT_SPAWN:
            if (want.background && op->flow->source->ops->run && ldr_errand_send(s->cache->thread, want.op))
                break;
            drive(s, want.op);
            ldr_op_end(want.op);
            break;
        case LDR_WANT_PARK:
            ldr_sleeper_sleep_until(s->sleeper, want.deadline_us);
            break;
        default:
            return;
        }
    }
}

/* Every thread is a host: it can wait, for other threads go on, but not for what it began itself further up its stack,
 * in whose callback it is. */
static ldr_owner owner_of(ldr_sleeper *s)
{
    return (ldr_owner){.waker = {.wake = ldr_sleeper_wake, .ctx = s}, .host = (const void *)(uintptr_t)pthread_self(),
                       .can_wait = true, .is_stack = true};
}

static _Atomic int64_t *door_of(ldr_cache *c)
{
    uint64_t id = (uint64_t)(uintptr_t)pthread_self();
    return &c->inside[(id * 0x9E3779B97F4A7C15u >> 60) % LDR_CACHE_DOORS].n;
}

/* Whoever got in goes out by leave(), and touches the cache no more. */
static int enter(ldr_cache *c, ldr_err *err)
{
    int code = atomic_load(c->gate) > 0 ? LDR_OK : ldr_cache_enter(c, err); /* a child starts to count anew: before it is in */
    if (code != LDR_OK)
        return code;
    atomic_fetch_add(door_of(c), 1);
    code = ldr_cache_enter(c, err);
    if (code != LDR_OK)
        atomic_fetch_sub(door_of(c), 1);
    return code;
}

static int enter_with(ldr_cache *c, ldr_slice key, ldr_err *err)
{
    int code = ldr_cache_check_key(key, err);
    return code == LDR_OK ? enter(c, err) : code;
}

static void leave(ldr_cache *c)
{
    atomic_fetch_sub(door_of(c), 1);
}

static bool is_empty(ldr_cache *c)
{
    int64_t n = 0;
    for (size_t i = 0; i < LDR_CACHE_DOORS; i++)
        n += atomic_load(&c->inside[i].n);
    return n == 0;
}

/* ---- verbs ------------------------------------------------------------------------------------------------ */

/* Options of a program that was built against an older header: what it does not know is 0. */
static int options_of(void *own, size_t own_size, const void *given, ldr_err *err)
{
    size_t size = own_size;
    if (given)
        memcpy(&size, given, sizeof size); /* the first field of each */
    if (size < sizeof size || size > own_size)
        return ldr_fail(err, LDR_INVALID, "options.size is %zu, wanted the sizeof of the struct, %zu", size, own_size);
    memset(own, 0, own_size);
    if (given)
        memcpy(own, given, size);
    return LDR_OK;
}

int ldr_open(const ldr_options *options, ldr_cache **out, ldr_err *err)
{
    ldr_options o;
    *out = NULL;
    int code = options_of(&o, sizeof o, options, err);
    if (code != LDR_OK)
        return code;
    o.size = sizeof o;
    return ldr_cache_new(&o, NULL, out, err);
}

void ldr_close(ldr_cache *cache, int64_t timeout_us)
{
    if (!cache)
        return;
    ldr_clock clock;
    ldr_clock_init(&clock);
    int64_t until = ldr_time_add(ldr_clock_now(&clock), timeout_us);
    ldr_cache_shut(cache, timeout_us);
    while (!is_empty(cache) && ldr_clock_now(&clock) < until)
        nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    if (is_empty(cache)) /* else somebody is still inside, beyond the time that was given: their memory stays theirs */
        ldr_cache_free(cache);
}

void ldr_value_free(ldr_cache *cache, ldr_value *value)
{
    ldr_mem_free(&cache->flow.mem, value->held);
    *value = (ldr_value){.kind = LDR_NONE};
}

/* The answer becomes the caller's: its bytes are those of the hit's buffer, which is given away, or a copy. */
static int give(ldr_cache *c, const ldr_answer *a, ldr_buf *owned, ldr_value *value)
{
    int64_t now = ldr_clock_now(&c->flow.clock);
    *value = (ldr_value){.kind = a->kind, .outcome = a->outcome, .version = a->version, .size = a->value.n};
    value->age_us = a->tier == LDR_TIER_NONE ? 0 : now - a->asked_us;
    value->ttl_us = a->soft_us == LDR_NEVER ? LDR_NEVER : a->soft_us - now;
    if (a->kind == LDR_NONE)
        return LDR_OK;
    if (owned && a->value.p >= owned->p && a->value.p < owned->p + owned->n + 1) {
        value->held = owned->p;
        value->data = a->value.p;
        *owned = LDR_BUF(owned->mem);
        return LDR_OK;
    }
    value->held = ldr_mem_dup(&c->flow.mem, a->value.p, a->value.n);
    value->data = value->held;
    return value->held ? LDR_OK : LDR_NOMEM;
}

static int64_t said(int64_t option)
{
    return option == 0 ? LDR_UNSET : option == LDR_TTL_ZERO ? 0 : option;
}

static int get_by_operation(ldr_cache *c, ldr_slice key, const ldr_get_options *o, ldr_value *value, ldr_err *err)
{
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.keys = &key;
    a.n_keys = 1;
    a.level = c->flow.level;
    a.has_loader = o->load != NULL;
    a.refresh = o->refresh;
    a.timeout_us = said(o->timeout_us);
    a.ttls = (ldr_ttls){said(o->ttl_us), said(o->stale_ttl_us), said(o->negative_ttl_us)};
    ldr_sleeper sleeper;
    ldr_sleeper_init(&sleeper);
    ldr_owner owner = owner_of(&sleeper);
    ldr_op *op = ldr_get_begin(&c->flow, &a, &owner);
    int code = op ? LDR_OK : ldr_fail_oom(err);
    if (op) {
        drive(&(stepping){.cache = c, .sleeper = &sleeper, .load = o->load, .arg = o->arg}, op);
        const ldr_answer *answer = ldr_get_answer(op, 0);
        code = answer->err.code;
        if (code != LDR_OK && err)
            *err = answer->err;
        if (code == LDR_OK && give(c, answer, NULL, value) != LDR_OK)
            code = ldr_fail_oom(err);
        ldr_op_end(op);
    }
    ldr_sleeper_fini(&sleeper);
    return code;
}

int ldr_get(ldr_cache *cache, const void *key, size_t key_size, const ldr_get_options *options, ldr_value *value,
            ldr_err *err)
{
    ldr_get_options o;
    ldr_slice k = ldr_slice_of(key, key_size);
    ldr_flow *f = &cache->flow;
    *value = (ldr_value){.kind = LDR_NONE};
    int code = options_of(&o, sizeof o, options, err);
    if (code == LDR_OK)
        code = enter_with(cache, k, err);
    if (code != LDR_OK)
        return code;
    ldr_hit_buffers b = {LDR_BUF(&f->mem), LDR_BUF(&f->mem)};
    ldr_answer hit;
    ldr_look look = {.key = k, .hash = ldr_hash(k, f->seed), .level = f->level, .touch = true,
                     .now_us = ldr_clock_now(&f->clock)};
    if (o.refresh || !ldr_flow_hit(f, &look, &b, &hit))
        code = get_by_operation(cache, k, &o, value, err);
    else if (give(cache, &hit, b.made.n ? &b.made : &b.bytes, value) != LDR_OK)
        code = ldr_fail_oom(err);
    ldr_buf_free(&b.bytes);
    ldr_buf_free(&b.made);
    leave(cache);
    return code;
}

int ldr_peek(ldr_cache *cache, const void *key, size_t key_size, ldr_value *value, ldr_err *err)
{
    ldr_slice k = ldr_slice_of(key, key_size);
    *value = (ldr_value){.kind = LDR_NONE};
    int code = enter_with(cache, k, err);
    if (code != LDR_OK)
        return code;
    ldr_hit_buffers b = {LDR_BUF(&cache->flow.mem), LDR_BUF(&cache->flow.mem)};
    ldr_answer held;
    if (ldr_flow_peek(&cache->flow, k, &b, &held) && give(cache, &held, b.made.n ? &b.made : &b.bytes, value) != LDR_OK)
        code = ldr_fail_oom(err);
    ldr_buf_free(&b.bytes);
    ldr_buf_free(&b.made);
    leave(cache);
    return code;
}

static int put(ldr_cache *c, const ldr_writing *w, int64_t *version, ldr_err *err)
{
    int64_t ignored;
    int code = enter_with(c, w->keys[0], err);
    if (code != LDR_OK)
        return code;
    ldr_sleeper sleeper;
    ldr_sleeper_init(&sleeper);
    ldr_owner owner = owner_of(&sleeper);
    ldr_op *op = ldr_put_begin(&c->flow, w, &owner);
    code = op ? LDR_OK : ldr_fail_oom(err);
    if (op) {
        drive(&(stepping){.cache = c, .sleeper = &sleeper}, op);
        const ldr_err *failed = ldr_put_result(op, 0, version ? version : &ignored);
        code = failed->code;
        if (code != LDR_OK && err)
            *err = *failed;
        ldr_op_end(op);
    }
    ldr_sleeper_fini(&sleeper);
    leave(c);
    return code;
}

int ldr_set(ldr_cache *cache, const void *key, size_t key_size, const void *data, size_t size,
            const ldr_set_options *options, int64_t *version, ldr_err *err)
{
    ldr_set_options o;
    ldr_slice k = ldr_slice_of(key, key_size), v = ldr_slice_of(data, size);
    int code = options_of(&o, sizeof o, options, err);
    if (code != LDR_OK)
        return code;
    if (o.kind != LDR_STRING && o.kind != LDR_MSGPACK)
        return ldr_fail(err, LDR_INVALID, "kind %d cannot be set", o.kind);
    if (o.version < 0 || o.if_version < LDR_MUST_BE_ABSENT)
        return ldr_fail(err, LDR_INVALID, "a version is below 0");
    ldr_writing w = {.verb = LDR_STORE, .keys = &k, .values = &v, .kinds = &o.kind, .n_keys = 1,
                     .level = cache->flow.level, .version = o.version,
                     .if_version = o.if_version ? o.if_version : LDR_ANY, .timeout_us = said(o.timeout_us),
                     .ttls = {said(o.ttl_us), said(o.stale_ttl_us), LDR_UNSET}};
    return put(cache, &w, version, err);
}

int ldr_delete(ldr_cache *cache, const void *key, size_t key_size, ldr_err *err)
{
    ldr_slice k = ldr_slice_of(key, key_size);
    ldr_writing w = {.verb = LDR_ERASE, .keys = &k, .n_keys = 1, .level = cache->flow.level, .if_version = LDR_ANY,
                     .timeout_us = LDR_UNSET, .ttls = {LDR_UNSET, LDR_UNSET, LDR_UNSET}};
    return put(cache, &w, NULL, err);
}

int ldr_invalidate(ldr_cache *cache, const void *key, size_t key_size, ldr_err *err)
{
    ldr_slice k = ldr_slice_of(key, key_size);
    int code = enter_with(cache, k, err);
    if (code != LDR_OK)
        return code;
    ldr_drop(&cache->flow, k, LDR_CAUSE_INVALIDATE);
    leave(cache);
    return LDR_OK;
}

void ldr_stats(ldr_cache *cache, ldr_stats_snapshot *out)
{
    const ldr_meter *m = cache->flow.meter;
    ldr_stats_snapshot s = {.size = out->size < sizeof s ? out->size : sizeof s};
#define SUM(name) s.name = ldr_meter_sum(m, LDR_M_##name)
    SUM(hits_l1), SUM(hits_l2), SUM(misses), SUM(loads), SUM(joined), SUM(stale);
    SUM(absent), SUM(refused), SUM(errors), SUM(evictions);
#undef SUM
    s.hits = s.hits_l1 + s.hits_l2;
    if (enter(cache, NULL) == LDR_OK) {
        ldr_shelf *shelf = cache->flow.shelf;
        s.entries = shelf ? ldr_shelf_entries(shelf) : 0;
        s.bytes = shelf ? ldr_shelf_bytes(shelf) : 0;
        leave(cache);
    }
    memcpy(out, &s, s.size);
}
