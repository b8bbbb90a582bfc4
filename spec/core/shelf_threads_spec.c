/* shelf_threads_spec.c - readers without a lock beside writers: a value is never torn, never another key's.
 *
 * Each value is full of one 8-byte word that is made from its key and its version: any mixture is seen. Built
 * with SAN=thread it also shows that no access races. With LDR_BUG_NO_SEQ readers skip the second look at the
 * sequence word: then it must fail. */
#include "bed.h"
#include "l1/shelf.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define KEYS 4 /* few, so that readers and writers meet */
#define MOST_WORDS 1000
#ifdef __SANITIZE_THREAD__
#define WRITES 4000
#else
#define WRITES 80000
#endif

typedef struct yard {
    ldr_shelf *shelf;
    _Atomic bool stop;
    _Atomic unsigned hits, wrong;
    uint64_t seed;
    long n_writes;
} yard;

static uint64_t stamp(uint64_t key, uint64_t version)
{
    return (key << 40 | version) * 0x9E3779B97F4A7C15u + 1;
}

static ldr_slice key_of(const uint64_t *key)
{
    return ldr_slice_of(key, sizeof *key);
}

static bool is_whole(uint64_t key, const ldr_record *r)
{
    uint64_t first, word;
    if (r->kind == LDR_NONE)
        return r->value.n == 0;
    if (r->value.n == 0 || r->value.n % 8 != 0)
        return false;
    first = stamp(key, (uint64_t)r->version);
    for (size_t i = 0; i < r->value.n; i += 8) {
        memcpy(&word, r->value.p + i, 8);
        if (word != first)
            return false;
    }
    return true;
}

static void *reading(void *arg)
{
    yard *y = arg;
    ldr_buf bytes = LDR_BUF(&ldr_mem_system);
    ldr_rng rng = {.s = y->seed * 31};
    while (!y->stop) {
        ldr_record out;
        ldr_slot_ref ref;
        uint64_t key = ldr_rng_next(&rng) % KEYS;
        ldr_slice k = key_of(&key);
        if (!ldr_shelf_read(y->shelf, k, ldr_shelf_hash(y->shelf, k), 1, true, &out, &bytes, &ref))
            continue;
        y->hits++;
        y->wrong += !is_whole(key, &out);
        if (ref.mark)
            ldr_slot_mark(&ref);
    }
    ldr_buf_free(&bytes);
    return NULL;
}

static void write_one(yard *y, ldr_rng *rng)
{
    uint64_t value[MOST_WORDS], bits = ldr_rng_next(rng), key = bits % KEYS;
    ldr_record r = {.key = key_of(&key), .soft_us = LDR_NEVER, .version = (int64_t)(ldr_rng_next(rng) >> 30) + 1};
    size_t words = bits >> 10 & 1 ? MOST_WORDS : (bits >> 20) % MOST_WORDS + 1;
    for (size_t i = 0; i < words; i++)
        value[i] = stamp(key, (uint64_t)r.version);
    r.value = ldr_slice_of(value, words * 8);
    uint64_t hash = ldr_shelf_hash(y->shelf, r.key);
    if ((bits >> 11 & 15) == 0) {
        r.kind = LDR_NONE;
        r.value.n = 0;
    }
    if ((bits >> 15 & 7) == 0 || ldr_shelf_write(y->shelf, &r, hash, 1, NULL, NULL) == LDR_SHELF_OLDER)
        ldr_shelf_erase(y->shelf, r.key, hash);
    if ((bits >> 18 & 3) == 0)
        ldr_shelf_touch(y->shelf, r.key, hash, 1, 1000000);
}

static void *writing(void *arg)
{
    yard *y = arg;
    ldr_rng rng = {.s = y->seed};
    for (long i = 0; i < y->n_writes; i++) {
        write_one(y, &rng);
        if (i % 4096 == 4095)
            ldr_shelf_clear(y->shelf);
    }
    return NULL;
}

/* Keys that differ all the time: eviction, moving, pages carved from where records were. */
static void *flooding(void *arg)
{
    yard *y = arg;
    static const char value[300];
    ldr_rng rng = {.s = y->seed + 1};
    for (long i = 0; i < y->n_writes; i++) {
        uint64_t key = KEYS + ldr_rng_next(&rng) % 100000;
        ldr_record r = {.key = key_of(&key), .value = {value, i < y->n_writes / 2 ? 300 : 1}, .soft_us = LDR_NEVER};
        ldr_shelf_write(y->shelf, &r, ldr_shelf_hash(y->shelf, r.key), 1, NULL, NULL);
    }
    return NULL;
}

static void run(const char *policy, ldr_rng *rng)
{
    pthread_t readers[2], writers[2];
    yard y = {.seed = ldr_rng_next(rng), .n_writes = bed_times(WRITES, 20 * WRITES)};
    ldr_shelf_options o = {.bytes = 128 << 10, .shards = 1, .negatives = 0.1, .policy = policy, .seed = 5};
    assert_int_equal(ldr_shelf_new(&o, &ldr_mem_system, &y.shelf, NULL), LDR_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, reading, &y), 0);
    assert_int_equal(pthread_create(&writers[0], NULL, writing, &y), 0);
    assert_int_equal(pthread_create(&writers[1], NULL, flooding, &y), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(writers[i], NULL);
    y.stop = true;
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    const char *wrong = ldr_shelf_verify(y.shelf);
    ldr_shelf_free(y.shelf);
    assert_null(wrong);
    assert_int_equal(y.wrong, 0);
    assert_true(y.hits > 0);
}

static void values_are_never_torn(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("threads");
    run("s3fifo", &rng);
    run("lru", &rng);
    run("sieve", &rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_are_never_torn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
