/* flow_bed.c - see flow_bed.h. */
#include "flow_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define START_US (1000 * (int64_t)LDR_SEC)

/* ---- the fake source ---------------------------------------------------------------------------------------- */

static house *house_of(ldr_source *s)
{
    return ldr_list_of(s, house, source);
}

static void run_source(ldr_source *s, ldr_request *r)
{
    (void)s, (void)r;
    fail_msg("the house never runs a job by itself");
}

static bool can(ldr_source *s, int verb)
{
    const house_options *o = &house_of(s)->options;
    return verb == LDR_STORE ? !o->cannot_store : verb == LDR_ERASE ? !o->cannot_delete : verb == LDR_LOAD;
}

static bool versioned(ldr_source *s, ldr_slice key)
{
    (void)key;
    return !house_of(s)->options.unversioned;
}

static void close_source(ldr_source *s)
{
    assert_non_null(house_of(s)->cache);
}

/* ---- the house ---------------------------------------------------------------------------------------------- */

static void choose_source(house *h, const house_options *o)
{
    h->ops = (ldr_source_ops){.name = "fake", .run = o->calls ? NULL : run_source, .can = can, .versioned = versioned,
                              .close = close_source};
    h->source.ops = &h->ops;
    h->flow->source = &h->source;
    h->flow->read_plan = ldr_plan_of(o->read_pattern);
    h->flow->write_plan = ldr_plan_of(o->write_pattern == LDR_READ_THROUGH ? LDR_WRITE_THROUGH : o->write_pattern);
    h->flow->write_if_can = o->write_pattern == LDR_READ_THROUGH;
    if (o->bound_hard_us)
        h->flow->bound_hard_us = o->bound_hard_us;
}

house *house_new(const house_options *o)
{
    house *h = calloc(1, sizeof *h);
    ldr_err err;
    assert_non_null(h);
    h->options = *o;
    ldr_options c = o->cache;
    c.size = sizeof c;
    c.seed = c.seed ? c.seed : 7;
    c.l1_bytes = c.l1_bytes ? c.l1_bytes : 1 << 20;
    ldr_environment env = {.mem = bed_mem_init(&h->mem, 0), .virtual_clock = true, .virtual_start_us = START_US};
    if (ldr_cache_new(&c, &env, &h->cache, &err) != LDR_OK)
        fail_msg("open: %s", err.message);
    h->flow = &h->cache->flow;
    h->can_wait = true;
    h->host = h;
    if (!o->no_source)
        choose_source(h, o);
    return h;
}

void house_free(house *h)
{
    for (size_t i = 0; i < h->n_tasks; i++)
        task_end(&h->tasks[i]);
    assert_int_equal(ldr_flights_under_way(h->flow->flights), 0);
    if (h->flow->shelf) {
        const char *wrong = ldr_shelf_verify(h->flow->shelf);
        if (wrong)
            fail_msg("shelf: %s", wrong);
    }
    ldr_cache_free(h->cache);
    assert_int_equal(h->mem.n_alive, 0);
    free(h);
}

int64_t house_now(const house *h)
{
    return ldr_clock_now(&h->flow->clock);
}

/* ---- tasks -------------------------------------------------------------------------------------------------- */

static void wake(void *ctx, uint64_t id)
{
    house *h = ctx;
    h->tasks[id].woken = true;
    h->tasks[id].n_wakes++;
}

static task *task_new(house *h)
{
    size_t i = 0;
    while (i < h->n_tasks && h->tasks[i].used)
        i++;
    assert_true(i < TASKS_MOST);
    if (i == h->n_tasks)
        h->n_tasks++;
    h->tasks[i] = (task){.h = h, .id = i, .used = true};
    return &h->tasks[i];
}

static void step(task *t)
{
    house *h = t->h;
    t->woken = t->ready = false;
    t->want = ldr_op_step(t->op);
    if (t->want.kind == LDR_WANT_SPAWN) {
        task *child = task_new(h);
        child->op = t->want.op;
        child->is_spawned = true;
        child->maker = t;
        t->spawned = child;
        step(child);
        step(t); /* the child may have ended by now */
    } else if (t->want.kind == LDR_WANT_DONE) {
        t->ended = true;
        if (t->is_spawned)
            task_end(t);
    }
}

void task_end(task *t)
{
    ldr_op_end(t->op);
    if (t->maker && t->maker->spawned == t)
        t->maker->spawned = NULL;
    t->op = NULL;
    t->ended = true;
    free(t->bytes);
    t->bytes = NULL;
    t->used = false;
}

static bool can_go_on(const task *t)
{
    if (!t->op || t->ended)
        return false;
    if (t->want.kind == LDR_WANT_PARK)
        return t->woken || house_now(t->h) >= t->want.deadline_us;
    return t->ready;
}

void house_run(house *h)
{
    bool any = true;
    while (any) {
        any = false;
        for (size_t i = 0; i < h->n_tasks; i++)
            if (can_go_on(&h->tasks[i])) {
                step(&h->tasks[i]);
                any = true;
            }
    }
}

static int64_t next_deadline(const house *h, int64_t until)
{
    for (size_t i = 0; i < h->n_tasks; i++) {
        const task *t = &h->tasks[i];
        if (t->op && !t->ended && t->want.kind == LDR_WANT_PARK && t->want.deadline_us < until)
            until = t->want.deadline_us;
    }
    return until;
}

void house_pass(house *h, int64_t us)
{
    int64_t until = house_now(h) + us;
    while (house_now(h) < until) {
        int64_t next = next_deadline(h, until);
        ldr_clock_advance(&h->flow->clock, next - house_now(h));
        house_run(h);
    }
}

/* ---- beginning ---------------------------------------------------------------------------------------------- */

static ldr_owner owner_of(task *t)
{
    house *h = t->h;
    return (ldr_owner){.waker = {.wake = wake, .ctx = h, .id = t->id}, .host = h->host, .can_wait = h->can_wait,
                       .parent = h->parent ? h->parent->op : NULL};
}

static void keep_bytes(task *t, const char *const *keys, size_t n, const char *value)
{
    size_t size = value ? strlen(value) : 0;
    assert_true(n <= KEYS_MOST);
    for (size_t i = 0; i < n; i++)
        size += strlen(keys[i]);
    char *to = t->bytes = malloc(size + 1);
    assert_non_null(to);
    for (size_t i = 0; i < n; to += t->keys[i++].n) {
        t->keys[i] = ldr_slice_of(to, strlen(keys[i]));
        memcpy(to, keys[i], t->keys[i].n);
    }
    for (size_t i = 0; value && i < n; i++) {
        memcpy(to, value, strlen(value));
        t->values[i] = ldr_slice_of(to, strlen(value));
    }
    t->n_keys = n;
}

static task *started(task *t)
{
    assert_non_null(t->op);
    step(t);
    house_run(t->h);
    return t;
}

task *begin_get_many(house *h, const ldr_asking *a, const char *const *keys, size_t n)
{
    task *t = task_new(h);
    ldr_asking asking = *a;
    ldr_owner owner = owner_of(t);
    keep_bytes(t, keys, n, NULL);
    asking.keys = t->keys;
    asking.n_keys = n;
    t->is_get = true;
    t->op = ldr_get_begin(h->flow, &asking, &owner);
    return started(t);
}

task *begin_get(house *h, const ldr_asking *a, const char *key)
{
    return begin_get_many(h, a, &key, 1);
}

task *begin_put(house *h, const ldr_writing *w, const char *key, const char *value)
{
    task *t = task_new(h);
    ldr_writing writing = *w;
    ldr_owner owner = owner_of(t);
    keep_bytes(t, &key, 1, value);
    writing.verb = value ? LDR_STORE : LDR_ERASE;
    writing.keys = t->keys;
    writing.values = t->values;
    writing.kinds = t->kinds;
    writing.n_keys = 1;
    t->op = ldr_put_begin(h->flow, &writing, &owner);
    return started(t);
}

task *ask(house *h, const char *key)
{
    return begin_get(h, &(ldr_asking)LDR_ASKING_DEFAULTS, key);
}

task *ask_load(house *h, const char *key)
{
    ldr_asking a = LDR_ASKING_DEFAULTS;
    a.has_loader = true;
    return begin_get(h, &a, key);
}

static const ldr_writing plain = {.timeout_us = LDR_UNSET, .if_version = LDR_ANY, .ttls = {LDR_UNSET, LDR_UNSET, LDR_UNSET}};

task *set(house *h, const char *key, const char *value)
{
    return begin_put(h, &plain, key, value);
}

task *del(house *h, const char *key)
{
    return begin_put(h, &plain, key, NULL);
}

void invalidate(house *h, const char *key)
{
    ldr_drop(h->flow, ldr_slice_str(key), LDR_CAUSE_INVALIDATE);
    house_run(h);
}

void changed(house *h, const char *key, int64_t version)
{
    ldr_drop_changed(h->flow, ldr_slice_str(key), version);
    house_run(h);
}

/* ---- answering ---------------------------------------------------------------------------------------------- */

bool wants_source(const task *t)
{
    return t && t->op && !t->ended && !t->ready && (t->want.kind == LDR_WANT_JOB || t->want.kind == LDR_WANT_CALL);
}

void fill_item(ldr_item *item, const char *value, int64_t version)
{
    item->state = value ? LDR_FOUND : LDR_GONE;
    item->kind = value ? LDR_STRING : LDR_NONE;
    item->version = version;
    if (value)
        ldr_buf_add(&item->out, value, strlen(value));
}

void proceed(task *t)
{
    t->ready = true;
    house_run(t->h);
}

void give(task *t, const char *value, int64_t version)
{
    assert_true(wants_source(t));
    ldr_request *r = t->want.request;
    for (size_t i = 0; i < r->n_items; i++) {
        fill_item(r->items[i], r->verb == LDR_LOAD ? value : NULL, version);
        if (r->verb != LDR_LOAD)
            r->items[i]->state = LDR_FOUND;
    }
    proceed(t);
}

void give_error(task *t, int code)
{
    assert_true(wants_source(t));
    t->want.request->err = (ldr_err){.code = code, .message = "the fake source says no"};
    proceed(t);
}

/* ---- results ------------------------------------------------------------------------------------------------ */

const ldr_answer *answer_of(const task *t)
{
    assert_true(t->ended);
    return ldr_get_answer(t->op, 0);
}

static const char *text_of(ldr_slice s)
{
    static char text[4][256];
    static unsigned at;
    char *out = text[at++ % 4];
    size_t n = s.n < 255 ? s.n : 255;
    if (n)
        memcpy(out, s.p, n);
    out[n] = '\0';
    return out;
}

const char *value_of(const task *t)
{
    return text_of(answer_of(t)->value);
}

int outcome_of(const task *t)
{
    return answer_of(t)->outcome;
}

int error_of(const task *t)
{
    int64_t version;
    assert_true(t->ended);
    return t->is_get ? ldr_get_answer(t->op, 0)->err.code : ldr_put_result(t->op, 0, &version)->code;
}

int64_t version_of(const task *t)
{
    int64_t version;
    assert_true(t->ended);
    assert_int_equal(ldr_put_result(t->op, 0, &version)->code, LDR_OK);
    return version;
}

const char *peek(house *h, const char *key)
{
    ldr_hit_buffers b = {LDR_BUF(&h->mem.mem), LDR_BUF(&h->mem.mem)};
    ldr_answer a;
    const char *text = NULL;
    if (ldr_flow_peek(h->flow, ldr_slice_str(key), &b, &a))
        text = a.kind == LDR_NONE ? "-" : text_of(a.value);
    ldr_buf_free(&b.bytes);
    ldr_buf_free(&b.made);
    return text;
}

uint64_t counted(const house *h, enum ldr_metric what)
{
    return ldr_meter_sum(h->flow->meter, what);
}

/* ---- what most reads need ----------------------------------------------------------------------------------- */

house *house_plain(void)
{
    return house_new(&(house_options){.read_pattern = LDR_READ_THROUGH});
}

house *house_stale(void)
{
    const ldr_options times = {.ttl_us = 10 * (int64_t)LDR_SEC, .stale_ttl_us = 100 * (int64_t)LDR_SEC};
    return house_new(&(house_options){.cache = times, .read_pattern = LDR_READ_THROUGH});
}

void load_key(house *h, const char *key, const char *value, int64_t version)
{
    task *t = ask(h, key);
    give(t->spawned, value, version);
    assert_int_equal(outcome_of(t), LDR_LOADED);
    task_end(t);
}

void check_read(task *t, int outcome, const char *value)
{
    assert_int_equal(error_of(t), LDR_OK);
    assert_int_equal(outcome_of(t), outcome);
    assert_string_equal(value_of(t), value);
    task_end(t);
}

void check_failed(task *t, int code)
{
    assert_int_equal(error_of(t), code);
    assert_true(answer_of(t)->err.message[0] != '\0');
    task_end(t);
}
