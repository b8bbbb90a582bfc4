/* fault_spec.c - each allocation of a cache's life fails in turn, once or from there on: an error that says so, a handle
 * that goes on working, and nothing left behind. */
#include "bed.h"
#include "cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SEC ((int64_t)LDR_SEC)

typedef struct scarce {
    ldr_mem mem;
    long n_calls, n_alive, fail_at;
    bool for_good; /* the failing one and all after it */
} scarce;

static void *scarce_realloc(void *ctx, void *p, size_t size)
{
    scarce *s = ctx;
    if (size == 0) {
        s->n_alive -= p != NULL;
        free(p);
        return NULL;
    }
    s->n_calls++;
    if (s->fail_at && (s->for_good ? s->n_calls >= s->fail_at : s->n_calls == s->fail_at))
        return NULL;
    s->n_alive += p == NULL;
    return realloc(p, size);
}

typedef struct shop {
    char value[32];
    bool is_there;
    ldr_cache *cache;
} shop;

static int load(void *arg, ldr_call *call)
{
    shop *s = arg;
    return s->is_there ? ldr_call_answer(call, s->value, strlen(s->value), LDR_STRING, 0) : LDR_OK;
}

static int store(void *arg, ldr_call *call)
{
    shop *s = arg;
    size_t size;
    int kind;
    const char *value = ldr_call_value(call, &size, &kind);
    memcpy(s->value, value, size);
    s->value[size] = '\0';
    s->is_there = true;
    return LDR_OK;
}

static int erase(void *arg, ldr_call *call)
{
    (void)call;
    ((shop *)arg)->is_there = false;
    return LDR_OK;
}

static bool is_fine(int code)
{
    return code == LDR_OK || code == LDR_NOMEM;
}

static int open_cache(const ldr_options *o, scarce *s, ldr_cache **out, ldr_err *err)
{
    ldr_environment env = {.mem = &s->mem};
    ldr_options own = *o;
    own.size = sizeof own;
    own.l1_bytes = 1 << 20;
    own.seed = 5;
    return ldr_cache_new(&own, &env, out, err);
}

/* A read that gave an answer gave the true one. */
static void read_key(ldr_cache *c, const shop *s, bool refresh)
{
    ldr_get_options o = {.size = sizeof o, .refresh = refresh};
    ldr_value v;
    ldr_err err = {0};
    int code = ldr_get(c, "key", 3, &o, &v, &err);
    assert_true(is_fine(code));
    assert_int_equal(code, err.code);
    if (code == LDR_OK && v.kind == LDR_STRING)
        assert_true(s->is_there && v.size == strlen(s->value) && memcmp(v.data, s->value, v.size) == 0);
    else if (code == LDR_OK)
        assert_false(s->is_there && v.outcome != LDR_MISS);
    ldr_value_free(c, &v);
}

/* "No memory" means that the source was not written. */
static void write_key(ldr_cache *c, shop *s, const char *value)
{
    char before[32];
    bool was_there = s->is_there;
    ldr_err err = {0};
    memcpy(before, s->value, sizeof before);
    int code = value ? ldr_set(c, "key", 3, value, strlen(value), NULL, NULL, &err) : ldr_delete(c, "key", 3, &err);
    assert_true(is_fine(code));
    if (code == LDR_OK && value)
        assert_string_equal(s->value, value);
    else if (code == LDR_OK)
        assert_false(s->is_there);
    else
        assert_true(s->is_there == was_there && strcmp(s->value, before) == 0);
}

static void live(ldr_cache *c, shop *s)
{
    read_key(c, s, false);
    read_key(c, s, false);
    write_key(c, s, "one, long enough");
    read_key(c, s, false);
    read_key(c, s, true);
    write_key(c, s, NULL);
    read_key(c, s, false);
    write_key(c, s, "two, long enough, too");
    ldr_invalidate(c, "key", 3, NULL);
    read_key(c, s, false);
    ldr_value v;
    assert_true(is_fine(ldr_peek(c, "key", 3, &v, NULL)));
    ldr_value_free(c, &v);
}

/* True: the script ended before its n-th allocation. */
static bool one_round(const ldr_options *o, long n, bool for_good)
{
    shop s = {.value = "zero, long enough", .is_there = true};
    scarce mem = {.mem = {.realloc = scarce_realloc, .ctx = &mem}, .fail_at = n, .for_good = for_good};
    ldr_options own = *o;
    ldr_cache *c;
    ldr_err err = {0};
    own.functions_arg = &s;
    int code = open_cache(&own, &mem, &c, &err);
    assert_true(is_fine(code));
    if (code != LDR_OK) {
        assert_null(c);
        assert_int_equal(err.code, LDR_NOMEM);
        assert_int_equal(mem.n_alive, 0);
        return false;
    }
    ldr_events_listen(&c->flow.events, ~0u);
    live(c, &s);
    bool all = mem.n_calls < n;
    mem.fail_at = 0; /* and now that there is memory again all goes well */
    ldr_value v;
    assert_int_equal(ldr_set(c, "key", 3, "after", 5, NULL, NULL, &err), LDR_OK);
    assert_int_equal(ldr_get(c, "key", 3, NULL, &v, &err), LDR_OK);
    assert_true(v.size == 5 && memcmp(v.data, "after", 5) == 0);
    ldr_value_free(c, &v);
    assert_int_equal(ldr_flights_under_way(c->flow.flights), 0);
    assert_null(ldr_shelf_verify(c->flow.shelf));
    ldr_close(c, SEC);
    assert_int_equal(mem.n_alive, 0);
    return all;
}

static void sweep(const ldr_options *o)
{
    for (int for_good = 0; for_good < 2; for_good++) {
        long n = 1;
        while (!one_round(o, n, for_good))
            assert_true(n++ < 2000);
        assert_true(n > 20);
    }
}

static void with_a_source_that_is_written_through(void **state)
{
    (void)state;
    sweep(&(ldr_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_THROUGH, .load = load, .store = store,
                         .erase = erase, .negative_ttl_us = SEC, .stale_ttl_us = SEC});
}

static void with_a_source_that_is_written_around(void **state)
{
    (void)state;
    sweep(&(ldr_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_AROUND, .load = load, .store = store,
                         .erase = erase});
}

static void with_compression(void **state)
{
    (void)state;
    sweep(&(ldr_options){.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_THROUGH, .load = load, .store = store,
                         .erase = erase, .compress_min = 1});
}

/* Weak writes answer before the source does: their part is that nothing is left behind. */
static bool weak_round(long n, bool for_good)
{
    shop s = {.value = "zero", .is_there = true};
    scarce mem = {.mem = {.realloc = scarce_realloc, .ctx = &mem}, .fail_at = n, .for_good = for_good};
    ldr_options o = {.read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_WRITE_THROUGH, .load = load, .store = store,
                     .erase = erase, .functions_arg = &s, .level = LDR_WEAK};
    ldr_cache *c;
    ldr_err err;
    if (open_cache(&o, &mem, &c, &err) != LDR_OK)
        return false;
    int code = ldr_set(c, "key", 3, "weak", 4, NULL, NULL, &err);
    assert_true(is_fine(code));
    if (code == LDR_NOMEM)
        assert_string_equal(s.value, "zero");
    read_key(c, &s, false);
    assert_true(is_fine(ldr_delete(c, "key", 3, &err)));
    bool all = mem.n_calls < n;
    mem.fail_at = 0;
    assert_int_equal(ldr_set(c, "key", 3, "after", 5, NULL, NULL, &err), LDR_OK);
    read_key(c, &s, false);
    assert_int_equal(ldr_flights_under_way(c->flow.flights), 0);
    ldr_close(c, SEC);
    assert_int_equal(mem.n_alive, 0);
    return all;
}

static void with_weak_writes(void **state)
{
    (void)state;
    for (int for_good = 0; for_good < 2; for_good++) {
        long n = 1;
        while (!weak_round(n, for_good))
            assert_true(n++ < 2000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_source_that_is_written_through),
        cmocka_unit_test(with_a_source_that_is_written_around),
        cmocka_unit_test(with_compression),
        cmocka_unit_test(with_weak_writes),
    };
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
