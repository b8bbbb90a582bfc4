/* capi_spec.c - the verbs of larder.h as a C program uses them: values, errors, callbacks, threads, fork, many openings. */
#include "bed.h"
#include "larder.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SEC ((int64_t)LDR_SEC)

static ldr_cache *opened(ldr_options o)
{
    ldr_cache *c;
    ldr_err err;
    o.size = sizeof o;
    o.l1_bytes = o.l1_bytes ? o.l1_bytes : 1 << 20;
    if (ldr_open(&o, &c, &err) != LDR_OK)
        fail_msg("open: %s", err.message);
    return c;
}

static int set(ldr_cache *c, const char *key, const char *value)
{
    return ldr_set(c, key, strlen(key), value, strlen(value), NULL, NULL, NULL);
}

static void holds(ldr_cache *c, const char *key, int outcome, const char *value)
{
    ldr_value v;
    ldr_err err;
    if (ldr_get(c, key, strlen(key), NULL, &v, &err) != LDR_OK)
        fail_msg("get: %s", err.message);
    assert_int_equal(v.outcome, outcome);
    if (value) {
        assert_int_equal(v.kind, LDR_STRING);
        assert_int_equal(v.size, strlen(value));
        assert_memory_equal(v.data, value, v.size);
    } else {
        assert_int_equal(v.kind, LDR_NONE);
        assert_int_equal(v.size, 0);
    }
    ldr_value_free(c, &v);
}

/* ---- verbs ----------------------------------------------------------------------------------------------------- */

static void the_verbs(void **state)
{
    (void)state;
    ldr_cache *c = opened((ldr_options){0});
    int64_t first, second;
    ldr_value v;
    holds(c, "k", LDR_MISS, NULL);
    assert_int_equal(ldr_set(c, "k", 1, "v", 1, NULL, &first, NULL), LDR_OK);
    holds(c, "k", LDR_HIT_L1, "v");
    assert_int_equal(ldr_peek(c, "k", 1, &v, NULL), LDR_OK);
    assert_int_equal(v.outcome, LDR_HIT_L1);
    assert_int_equal(v.version, first);
    assert_in_range(v.ttl_us, 290 * SEC, 300 * SEC);
    assert_in_range(v.age_us, 0, 10 * SEC);
    ldr_value_free(c, &v);
    assert_int_equal(ldr_set(c, "k", 1, "", 0, NULL, &second, NULL), LDR_OK);
    assert_true(second > first);
    holds(c, "k", LDR_HIT_L1, "");
    assert_int_equal(ldr_delete(c, "k", 1, NULL), LDR_OK);
    holds(c, "k", LDR_MISS, NULL);
    set(c, "k", "w");
    assert_int_equal(ldr_invalidate(c, "k", 1, NULL), LDR_OK);
    assert_int_equal(ldr_peek(c, "k", 1, &v, NULL), LDR_OK);
    assert_int_equal(v.outcome, LDR_MISS);
    ldr_value_free(c, &v);
    ldr_stats_snapshot s = {.size = sizeof s};
    ldr_stats(c, &s);
    assert_int_equal(s.hits, 2);
    assert_int_equal(s.misses, 2);
    assert_int_equal(s.entries, 0);
    ldr_close(c, SEC);
    ldr_close(NULL, 0);
}

static void keys_have_bounds(void **state)
{
    (void)state;
    ldr_cache *c = opened((ldr_options){0});
    char *key = calloc(1, 65536);
    ldr_value v;
    ldr_err err = {0};
    assert_int_equal(ldr_get(c, "", 0, NULL, &v, &err), LDR_INVALID);
    assert_true(err.message[0] != '\0');
    assert_int_equal(ldr_set(c, key, 65536, "v", 1, NULL, NULL, NULL), LDR_TOO_LARGE);
    assert_int_equal(ldr_delete(c, key, 65536, &err), LDR_TOO_LARGE);
    assert_int_equal(ldr_invalidate(c, key, 0, &err), LDR_INVALID);
    assert_int_equal(ldr_peek(c, key, 65536, &v, &err), LDR_TOO_LARGE);
    assert_int_equal(ldr_set(c, key, 65535, "v", 1, NULL, NULL, NULL), LDR_OK);
    assert_int_equal(ldr_get(c, key, 65535, NULL, &v, &err), LDR_OK);
    assert_int_equal(v.outcome, LDR_HIT_L1);
    ldr_value_free(c, &v);
    free(key);
    ldr_close(c, SEC);
}

static void options_are_checked(void **state)
{
    (void)state;
    const ldr_options bad[] = {
        {.read_pattern = 9}, {.write_pattern = -1}, {.level = 2}, {.jitter = 1.5}, {.jitter = -0.1}, {.jitter = 0.0 / 0.0},
        {.ttl_us = -2}, {.stale_ttl_us = -1}, {.negative_ttl_us = -1}, {.bound_hard_us = -1}, {.on_timeout = 3}, {.codec = 3},
        {.lock_ttl_us = -1}, {.source_timeout_us = -1}, {.lock_wait_us = -2}, {.changes_interval = 0.0 / 0.0},
        {.changes_interval = 1e300}, {.l1_negatives = 2}, {.l1_policy = "best"}, {.l1_shards = 3},
        {.read_pattern = LDR_READ_THROUGH}, {.write_pattern = LDR_WRITE_THROUGH}, {.write_pattern = LDR_WRITE_AROUND},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ldr_options o = bad[i];
        ldr_cache *c;
        ldr_err err = {0};
        o.size = sizeof o;
        if (ldr_open(&o, &c, &err) != LDR_INVALID)
            fail_msg("options %zu were not refused", i);
        assert_true(err.message[0] != '\0');
        assert_null(c);
    }
    ldr_options o = {.size = sizeof o + 8};
    ldr_cache *c;
    assert_int_equal(ldr_open(&o, &c, NULL), LDR_INVALID);
    o.size = 0;
    assert_int_equal(ldr_open(&o, &c, NULL), LDR_INVALID);
}

static void an_older_program_goes_on_working(void **state)
{
    (void)state;
    ldr_options o = {.size = offsetof(ldr_options, seed), .l1_bytes = 1 << 20};
    ldr_cache *c;
    assert_int_equal(ldr_open(&o, &c, NULL), LDR_OK);
    struct {
        size_t size;
        uint64_t hits, guard;
    } old = {.size = 16, .guard = 77};
    set(c, "k", "v");
    holds(c, "k", LDR_HIT_L1, "v");
    ldr_stats(c, (ldr_stats_snapshot *)(void *)&old);
    assert_int_equal(old.hits, 1);
    assert_int_equal(old.guard, 77);
    ldr_get_options g = {.size = offsetof(ldr_get_options, refresh)};
    ldr_value v;
    assert_int_equal(ldr_get(c, "k", 1, &g, &v, NULL), LDR_OK);
    ldr_value_free(c, &v);
    g.size = sizeof g + 1;
    assert_int_equal(ldr_get(c, "k", 1, &g, &v, NULL), LDR_INVALID);
    ldr_set_options w = {.size = sizeof w, .kind = LDR_JSON};
    assert_int_equal(ldr_set(c, "k", 1, "v", 1, &w, NULL, NULL), LDR_INVALID);
    w = (ldr_set_options){.size = sizeof w, .version = -1};
    assert_int_equal(ldr_set(c, "k", 1, "v", 1, &w, NULL, NULL), LDR_INVALID);
    ldr_close(c, SEC);
}

static void conditions_of_a_set(void **state)
{
    (void)state;
    ldr_cache *c = opened((ldr_options){0});
    ldr_set_options o = {.size = sizeof o, .if_version = LDR_MUST_BE_ABSENT};
    int64_t version;
    ldr_err err;
    assert_int_equal(ldr_set(c, "k", 1, "v", 1, &o, &version, &err), LDR_OK);
    assert_int_equal(ldr_set(c, "k", 1, "w", 1, &o, NULL, &err), LDR_CONFLICT);
    assert_int_equal(err.version, version);
    o.if_version = version;
    assert_int_equal(ldr_set(c, "k", 1, "w", 1, &o, NULL, &err), LDR_OK);
    o = (ldr_set_options){.size = sizeof o, .ttl_us = LDR_TTL_ZERO};
    assert_int_equal(ldr_set(c, "k", 1, "x", 1, &o, NULL, &err), LDR_OK);
    holds(c, "k", LDR_MISS, NULL);
    ldr_close(c, SEC);
}

/* ---- loaders ----------------------------------------------------------------------------------------------------- */

typedef struct script {
    ldr_cache *cache;
    const char *value; /* NULL: says nothing */
    int code, kind;
    const char *failure;
    const char *asks; /* another key, asked with the same script's plain loader */
    int asked_code;
    _Atomic int n_calls;
} script;

static int plain_load(void *arg, ldr_call *call)
{
    (void)arg;
    return ldr_call_answer(call, "inner", 5, LDR_STRING, 0);
}

static int play(void *arg, ldr_call *call)
{
    script *s = arg;
    atomic_fetch_add(&s->n_calls, 1);
    if (s->asks) {
        ldr_get_options o = {.size = sizeof o, .load = plain_load};
        ldr_value v;
        s->asked_code = ldr_get(s->cache, s->asks, strlen(s->asks), &o, &v, NULL);
        ldr_value_free(s->cache, &v);
    }
    if (s->failure)
        ldr_call_fail(call, s->failure);
    else if (s->value && ldr_call_answer(call, s->value, strlen(s->value), s->kind, 0) != LDR_OK)
        return LDR_NOMEM;
    return s->code;
}

static int get_by(ldr_cache *c, const char *key, script *s, int *outcome)
{
    ldr_get_options o = {.size = sizeof o, .load = play, .arg = s};
    ldr_value v;
    ldr_err err = {0};
    s->cache = c;
    int code = ldr_get(c, key, strlen(key), &o, &v, &err);
    assert_int_equal(code, err.code);
    *outcome = v.outcome;
    ldr_value_free(c, &v);
    return code;
}

static void loaders_answer(void **state)
{
    (void)state;
    ldr_cache *c = opened((ldr_options){.negative_ttl_us = SEC});
    int outcome;
    script s = {.value = "v"};
    assert_int_equal(get_by(c, "k", &s, &outcome), LDR_OK);
    assert_int_equal(outcome, LDR_LOADED);
    assert_int_equal(get_by(c, "k", &s, &outcome), LDR_OK);
    assert_int_equal(outcome, LDR_HIT_L1);
    assert_int_equal(s.n_calls, 1);
    holds(c, "k", LDR_HIT_L1, "v");
    s = (script){0};
    assert_int_equal(get_by(c, "absent", &s, &outcome), LDR_OK);
    assert_int_equal(outcome, LDR_ABSENT);
    holds(c, "absent", LDR_ABSENT, NULL);
    ldr_close(c, SEC);
}

static void loaders_fail(void **state)
{
    (void)state;
    ldr_cache *c = opened((ldr_options){0});
    static const struct {
        script s;
        int code;
    } rows[] = {
        {{.code = LDR_UNAVAILABLE}, LDR_UNAVAILABLE}, {{.failure = "no"}, LDR_LOADER}, {{.code = 12345}, LDR_LOADER},
        {{.code = -1}, LDR_LOADER}, {{.value = "v", .code = LDR_SOURCE}, LDR_SOURCE}, {{.value = "v", .kind = LDR_JSON}, LDR_NOMEM},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        script s = rows[i].s;
        int outcome;
        assert_int_equal(get_by(c, "k", &s, &outcome), rows[i].code);
        holds(c, "k", LDR_MISS, NULL);
    }
    ldr_close(c, SEC);
}

static void loaders_may_ask_for_other_keys_not_their_own(void **state)
{
    (void)state;
    ldr_cache *c = opened((ldr_options){0});
    int outcome;
    script s = {.value = "v", .asks = "other"};
    assert_int_equal(get_by(c, "k", &s, &outcome), LDR_OK);
    assert_int_equal(s.asked_code, LDR_OK);
    holds(c, "other", LDR_HIT_L1, "inner");
    s = (script){.value = "v", .asks = "own"};
    assert_int_equal(get_by(c, "own", &s, &outcome), LDR_OK);
    assert_int_equal(s.asked_code, LDR_REJECTED);
    ldr_close(c, SEC);
}

/* ---- the functions source ------------------------------------------------------------------------------------------ */

typedef struct shop {
    char value[64];
    bool is_there;
    int n_loads, n_stores, refuse_with;
} shop;

static int shop_load(void *arg, ldr_call *call)
{
    shop *s = arg;
    size_t size;
    assert_memory_equal(ldr_call_key(call, &size), "k", 1);
    assert_int_equal(size, 1);
    s->n_loads++;
    return s->is_there ? ldr_call_answer(call, s->value, strlen(s->value), LDR_STRING, 0) : LDR_OK;
}

static int shop_store(void *arg, ldr_call *call)
{
    shop *s = arg;
    size_t size;
    int kind;
    s->n_stores++;
    if (s->refuse_with == LDR_SOURCE)
        ldr_call_fail(call, "no room");
    if (s->refuse_with)
        return s->refuse_with;
    const char *value = ldr_call_value(call, &size, &kind);
    assert_int_equal(kind, LDR_STRING);
    assert_int_equal(ldr_call_if_version(call), LDR_ANY);
    memcpy(s->value, value, size);
    s->value[size] = '\0';
    s->is_there = true;
    return LDR_OK;
}

static int shop_erase(void *arg, ldr_call *call)
{
    (void)call;
    ((shop *)arg)->is_there = false;
    return LDR_OK;
}

static void a_functions_source_is_read_and_written(void **state)
{
    (void)state;
    shop s = {.value = "v1", .is_there = true};
    ldr_cache *c = opened((ldr_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_THROUGH, .load = shop_load,
                                        .store = shop_store, .erase = shop_erase, .functions_arg = &s});
    ldr_err err;
    holds(c, "k", LDR_LOADED, "v1");
    holds(c, "k", LDR_HIT_L1, "v1");
    assert_int_equal(set(c, "k", "v2"), LDR_OK);
    assert_string_equal(s.value, "v2");
    holds(c, "k", LDR_HIT_L1, "v2");
    s.refuse_with = LDR_SOURCE;
    assert_int_equal(ldr_set(c, "k", 1, "v3", 2, NULL, NULL, &err), LDR_SOURCE);
    assert_non_null(strstr(err.message, "no room"));
    holds(c, "k", LDR_HIT_L1, "v2");
    s.refuse_with = LDR_LOST;
    assert_int_equal(set(c, "k", "v3"), LDR_LOST);
    holds(c, "k", LDR_LOADED, "v2"); /* forgotten, asked again */
    assert_int_equal(ldr_delete(c, "k", 1, NULL), LDR_OK);
    holds(c, "k", LDR_ABSENT, NULL);
    assert_int_equal(s.n_loads, 3);
    ldr_close(c, SEC);
}

static void a_weak_set_over_functions_is_stored_before_it_returns(void **state)
{
    (void)state;
    shop s = {.value = "v1", .is_there = true};
    ldr_cache *c = opened((ldr_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_THROUGH, .load = shop_load,
                                        .store = shop_store, .functions_arg = &s, .level = LDR_WEAK});
    assert_int_equal(set(c, "k", "v2"), LDR_OK);
    assert_string_equal(s.value, "v2");
    s.refuse_with = LDR_SOURCE;
    assert_int_equal(set(c, "k", "v3"), LDR_OK); /* counted only */
    holds(c, "k", LDR_LOADED, "v2");
    ldr_close(c, SEC);
}

/* ---- threads ------------------------------------------------------------------------------------------------------- */

#define N_THREADS 12

typedef struct crowd {
    ldr_cache *cache;
    pthread_barrier_t start;
    _Atomic int n_loads, n_wrong;
    int round;
} crowd;

static int slow_load(void *arg, ldr_call *call)
{
    crowd *c = arg;
    struct timespec a_moment = {.tv_nsec = 500000};
    atomic_fetch_add(&c->n_loads, 1);
    nanosleep(&a_moment, NULL);
    return ldr_call_answer(call, "value", 5, LDR_STRING, 0);
}

static void *ask_together(void *arg)
{
    crowd *c = arg;
    char key[16];
    ldr_get_options o = {.size = sizeof o, .load = slow_load, .arg = c};
    for (int round = 0; round < c->round; round++) {
        ldr_value v;
        size_t n = (size_t)snprintf(key, sizeof key, "key%d", round);
        pthread_barrier_wait(&c->start);
        if (ldr_get(c->cache, key, n, &o, &v, NULL) != LDR_OK || v.size != 5 || memcmp(v.data, "value", 5) != 0)
            atomic_fetch_add(&c->n_wrong, 1);
        ldr_value_free(c->cache, &v);
    }
    return NULL;
}

static void many_threads_one_load(void **state)
{
    (void)state;
    crowd c = {.cache = opened((ldr_options){0}), .round = (int)bed_times(100, 1000)};
    pthread_t t[N_THREADS];
    pthread_barrier_init(&c.start, NULL, N_THREADS);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, ask_together, &c), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(c.n_wrong, 0);
    assert_int_equal(c.n_loads, c.round);
    ldr_stats_snapshot s = {.size = sizeof s};
    ldr_stats(c.cache, &s);
    assert_int_equal(s.loads, c.round);
    assert_int_equal(s.hits + s.misses, c.round * N_THREADS);
    pthread_barrier_destroy(&c.start);
    ldr_close(c.cache, SEC);
}

/* Readers and writers of a few keys: a value is whole and of its key, and set is followed by get. */
static void *mix(void *arg)
{
    crowd *c = arg;
    ldr_rng rng = {.s = (uint64_t)(uintptr_t)&rng};
    for (int i = 0; i < c->round; i++) {
        char key[8], text[32];
        size_t n = (size_t)snprintf(key, sizeof key, "k%d", (int)(ldr_rng_next(&rng) % 8));
        unsigned what = ldr_rng_next(&rng) % 10;
        size_t size = (size_t)snprintf(text, sizeof text, "%s=%d", key, i);
        ldr_value v = {0};
        if (what == 0)
            ldr_set(c->cache, key, n, text, size, NULL, NULL, NULL);
        else if (what == 1)
            ldr_delete(c->cache, key, n, NULL);
        else if (what == 2)
            ldr_invalidate(c->cache, key, n, NULL);
        else if (ldr_get(c->cache, key, n, NULL, &v, NULL) != LDR_OK)
            atomic_fetch_add(&c->n_wrong, 1);
        if (v.size > 0 && (v.size < n + 2 || memcmp(v.data, key, n) != 0 || v.data[n] != '='))
            atomic_fetch_add(&c->n_wrong, 1);
        ldr_value_free(c->cache, &v);
    }
    return NULL;
}

static void threads_read_and_write(void **state)
{
    (void)state;
    crowd c = {.cache = opened((ldr_options){.l1_bytes = 64 << 10}), .round = (int)bed_times(10000, 300000)};
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, mix, &c), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(c.n_wrong, 0);
    ldr_close(c.cache, SEC);
}

/* ---- waiting, closing ------------------------------------------------------------------------------------------------ */

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool inside, entered, open;
    ldr_cache *cache;
    int code; /* what the waiter got */
} gate;

static void gate_tell(gate *g, bool *what)
{
    pthread_mutex_lock(&g->lock);
    *what = true;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
}

static void gate_wait(gate *g, const bool *what)
{
    pthread_mutex_lock(&g->lock);
    while (!*what)
        pthread_cond_wait(&g->moved, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static int load_at_gate(void *arg, ldr_call *call)
{
    gate *g = arg;
    gate_tell(g, &g->inside);
    gate_wait(g, &g->open);
    return ldr_call_answer(call, "late", 4, LDR_STRING, 0);
}

static void *lead_at_gate(void *arg)
{
    gate *g = arg;
    ldr_get_options o = {.size = sizeof o, .load = load_at_gate, .arg = g};
    ldr_value v;
    ldr_get(g->cache, "k", 1, &o, &v, NULL);
    ldr_value_free(g->cache, &v);
    return NULL;
}

static void a_waiter_has_its_own_deadline(void **state)
{
    (void)state;
    gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .cache = opened((ldr_options){0})};
    pthread_t leader;
    ldr_value v;
    assert_int_equal(pthread_create(&leader, NULL, lead_at_gate, &g), 0);
    gate_wait(&g, &g.inside);
    ldr_get_options o = {.size = sizeof o, .timeout_us = 5000, .load = load_at_gate, .arg = &g};
    assert_int_equal(ldr_get(g.cache, "k", 1, &o, &v, NULL), LDR_TIMEOUT);
    gate_tell(&g, &g.open);
    pthread_join(leader, NULL);
    holds(g.cache, "k", LDR_HIT_L1, "late");
    ldr_close(g.cache, SEC);
}

static int load_until_told(void *arg, ldr_call *call)
{
    gate *g = arg;
    gate_tell(g, &g->inside);
    gate_wait(g, &g->open);
    (void)call;
    return LDR_SOURCE;
}

static void *lead_until_told(void *arg)
{
    gate *g = arg;
    ldr_get_options o = {.size = sizeof o, .load = load_until_told, .arg = g};
    ldr_value v;
    ldr_get(g->cache, "k", 1, &o, &v, NULL);
    return NULL;
}

static void *wait_for_leader(void *arg)
{
    gate *g = arg;
    ldr_get_options o = {.size = sizeof o, .load = load_until_told, .arg = g};
    ldr_value v;
    gate_tell(g, &g->entered);
    g->code = ldr_get(g->cache, "k", 1, &o, &v, NULL);
    gate_tell(g, &g->open); /* now the leader may end, too */
    return NULL;
}

static void close_ends_waits_and_waits_for_who_is_inside(void **state)
{
    (void)state;
    gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .cache = opened((ldr_options){0})};
    pthread_t leader, waiter;
    assert_int_equal(pthread_create(&leader, NULL, lead_until_told, &g), 0);
    gate_wait(&g, &g.inside);
    assert_int_equal(pthread_create(&waiter, NULL, wait_for_leader, &g), 0);
    gate_wait(&g, &g.entered);
    nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL); /* whether it waits already or not: it is told */
    ldr_close(g.cache, 60 * SEC);
    pthread_join(waiter, NULL);
    pthread_join(leader, NULL);
    assert_true(g.code == LDR_CLOSED);
}

/* ---- fork ------------------------------------------------------------------------------------------------------------- */

static int in_child(int (*what)(ldr_cache *c), ldr_cache *c)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(what(c));
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int child_uses(ldr_cache *c)
{
    ldr_value v;
    ldr_stats_snapshot s = {.size = sizeof s};
    if (ldr_get(c, "k", 1, NULL, &v, NULL) != LDR_OK || v.outcome != LDR_MISS)
        return 1;
    if (ldr_set(c, "k", 1, "child", 5, NULL, NULL, NULL) != LDR_OK || ldr_get(c, "k", 1, NULL, &v, NULL) != LDR_OK)
        return 2;
    if (v.outcome != LDR_HIT_L1 || v.size != 5)
        return 3;
    ldr_value_free(c, &v);
    ldr_stats(c, &s);
    ldr_clock clock;
    ldr_clock_init(&clock);
    int64_t begun = ldr_clock_now(&clock);
    ldr_close(c, 20 * SEC);
    if (ldr_clock_now(&clock) - begun >= 20 * SEC) /* it waited for somebody who is not inside */
        return 5;
    return s.entries == 1 ? 0 : 4;
}

static int child_closes(ldr_cache *c)
{
    ldr_close(c, SEC);
    return 0;
}

static void *child_thread(void *arg)
{
    ldr_value v;
    static int wrong;
    int code = ldr_get(arg, "k", 1, NULL, &v, NULL);
    return code == LDR_OK && v.outcome == LDR_MISS ? NULL : &wrong;
}

static int child_threads(ldr_cache *c)
{
    pthread_t t[4];
    int wrong = 0;
    for (int i = 0; i < 4; i++)
        if (pthread_create(&t[i], NULL, child_thread, c) != 0)
            return 9;
    for (int i = 0; i < 4; i++) {
        void *got;
        pthread_join(t[i], &got);
        wrong += got != NULL;
    }
    ldr_close(c, SEC);
    return wrong;
}

static int grandchild(ldr_cache *c)
{
    return child_uses(c) == 0 ? 0 : 1;
}

static int child_forks(ldr_cache *c)
{
    int status;
    set(c, "k", "child");
    pid_t pid = fork();
    if (pid == 0)
        _exit(grandchild(c));
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return 1;
    ldr_close(c, SEC);
    return 0;
}

static void a_child_starts_anew(void **state)
{
    (void)state;
    ldr_cache *c = opened((ldr_options){0});
    set(c, "k", "parent");
    assert_int_equal(in_child(child_uses, c), 0);
    assert_int_equal(in_child(child_closes, c), 0);
    assert_int_equal(in_child(child_threads, c), 0);
    assert_int_equal(in_child(child_forks, c), 0);
    holds(c, "k", LDR_HIT_L1, "parent");
    ldr_close(c, SEC);
}

/* ---- again and again ---------------------------------------------------------------------------------------------------- */

static int n_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static long resident_pages(void)
{
    long all, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &all, &resident), 2);
    fclose(f);
    return resident;
}

/* Sanitizers and valgrind keep freed blocks for a while. */
static bool memory_is_our_own(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#else
    const char *loaded = getenv("LD_PRELOAD");
    return !loaded || !strstr(loaded, "vgpreload");
#endif
}

static void opening_a_thousand_times_leaves_nothing(void **state)
{
    (void)state;
    shop s = {.value = "v", .is_there = true};
    long times = bed_times(1000, 10000), resident = 0;
    int files = n_files();
    for (long i = 0; i < times; i++) {
        ldr_cache *c = opened((ldr_options){.read_pattern = LDR_READ_THROUGH, .load = shop_load, .functions_arg = &s});
        holds(c, "k", LDR_LOADED, "v");
        ldr_close(c, 0);
        if (i == times / 5)
            resident = resident_pages();
    }
    assert_int_equal(n_files(), files);
    if (memory_is_our_own())
        assert_true(resident_pages() <= resident + 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_verbs),
        cmocka_unit_test(keys_have_bounds),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(an_older_program_goes_on_working),
        cmocka_unit_test(conditions_of_a_set),
        cmocka_unit_test(loaders_answer),
        cmocka_unit_test(loaders_fail),
        cmocka_unit_test(loaders_may_ask_for_other_keys_not_their_own),
        cmocka_unit_test(a_functions_source_is_read_and_written),
        cmocka_unit_test(a_weak_set_over_functions_is_stored_before_it_returns),
        cmocka_unit_test(many_threads_one_load),
        cmocka_unit_test(threads_read_and_write),
        cmocka_unit_test(a_waiter_has_its_own_deadline),
        cmocka_unit_test(close_ends_waits_and_waits_for_who_is_inside),
        cmocka_unit_test(a_child_starts_anew),
        cmocka_unit_test(opening_a_thousand_times_leaves_nothing),
    };
    return cmocka_run_group_tests_name("capi", tests, NULL, NULL);
}
