/* shelf_bench.c - what the shelf costs: ns a read and a write, bytes an entry, two threads against one.
 *
 * Prints the least and the median of several rounds. Keys of 16 bytes, values of 64 bytes of kind LDR_STRING. */
#include "l1/shelf.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9
#define KEY 16
#define VALUE 64

/* CPU time of this process: on a machine with other work a wall clock would count that too. */
static double now_ns(void)
{
    struct timespec t;
    clock_gettime(getenv("WALL") ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, double *rounds, const char *unit)
{
    qsort(rounds, ROUNDS, sizeof *rounds, by_value);
    printf("%-44s min %8.1f  median %8.1f %s\n", what, rounds[0], rounds[ROUNDS / 2], unit);
    fflush(stdout);
}

static ldr_shelf *shelf_new(size_t bytes, uint32_t entries, uint32_t shards)
{
    ldr_shelf *s;
    ldr_shelf_options o = {.bytes = bytes, .entries = entries, .shards = shards, .negatives = 0.1,
                           .policy = getenv("POLICY") ? getenv("POLICY") : "s3fifo", .seed = 1};
    if (ldr_shelf_new(&o, &ldr_mem_system, &s, NULL) != 0)
        exit(1);
    return s;
}

static void key_of(uint32_t i, char key[KEY + 1])
{
    snprintf(key, KEY + 1, "key:%012u", i);
}

static void write_one(ldr_shelf *s, const char *key)
{
    static const char value[VALUE] = "a value of some sort";
    ldr_record r = {.key = {key, KEY}, .value = {value, VALUE}, .asked_us = 1, .soft_us = 300000000};
    ldr_shelf_write(s, &r, ldr_shelf_hash(s, r.key), 1, NULL, NULL);
}

static char (*keys_new(uint32_t n, uint32_t from))[KEY]
{
    char(*keys)[KEY] = malloc((size_t)n * KEY), key[KEY + 1];
    for (uint32_t i = 0; i < n; i++) {
        key_of(from + i, key);
        memcpy(keys[i], key, KEY);
    }
    return keys;
}

static void shuffle(char (*keys)[KEY], uint32_t n)
{
    ldr_rng rng = {.s = 7};
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(ldr_rng_next(&rng) % (i + 1));
        char t[KEY];
        memcpy(t, keys[i], KEY);
        memcpy(keys[i], keys[j], KEY);
        memcpy(keys[j], t, KEY);
    }
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

typedef struct reader {
    _Alignas(128) ldr_shelf *shelf;
    char (*keys)[KEY];
    uint32_t n_keys, n_reads, misses;
} reader;

static void *read_all(void *arg)
{
    reader *job = arg;
    ldr_buf bytes = LDR_BUF(&ldr_mem_system);
    uint32_t at = 0;
    for (uint32_t i = 0; i < job->n_reads; i++) {
        ldr_record out;
        ldr_slot_ref ref;
        ldr_slice key = {job->keys[at], KEY};
        at = at + 1 == job->n_keys ? 0 : at + 1;
        job->misses += !ldr_shelf_read(job->shelf, key, ldr_shelf_hash(job->shelf, key), 2, true, &out, &bytes, &ref);
    }
    ldr_buf_free(&bytes);
    return NULL;
}

static double read_round(const reader *job, int n_threads)
{
    pthread_t threads[2];
    reader jobs[2] = {*job, *job};
    double began = now_ns();
    for (int i = 1; i < n_threads; i++)
        pthread_create(&threads[i], NULL, read_all, &jobs[i]);
    read_all(&jobs[0]);
    for (int i = 1; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    return (now_ns() - began) / job->n_reads / (getenv("WALL") ? 1 : n_threads);
}

static void bench_read(uint32_t n_keys)
{
    double one[ROUNDS], two[ROUNDS], gain[ROUNDS];
    char what[64];
    reader job = {.shelf = shelf_new((size_t)64 << 20, 0, 0), .keys = keys_new(n_keys, 0), .n_keys = n_keys,
                  .n_reads = 2000000};
    for (uint32_t i = 0; i < n_keys; i++)
        write_one(job.shelf, job.keys[i]);
    shuffle(job.keys, n_keys);
    for (int i = 0; i < ROUNDS; i++) {
        one[i] = read_round(&job, 1);
        two[i] = read_round(&job, 2);
        gain[i] = 2 * one[i] / two[i];
    }
    snprintf(what, sizeof what, "read, %u keys", n_keys);
    report(what, one, "ns");
    snprintf(what, sizeof what, "read, %u keys, 2 threads against 1", n_keys);
    report(what, gain, "x");
    ldr_shelf_free(job.shelf);
    free(job.keys);
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

static void bench_write(uint32_t shards)
{
    enum { N = 100000, SPAN = 400000 };
    double ns[ROUNDS];
    char what[64];
    ldr_shelf *s = shelf_new((size_t)64 << 20, N, shards);
    char(*keys)[KEY] = keys_new(SPAN, 0);
    shuffle(keys, SPAN);
    for (uint32_t i = 0; i < SPAN; i++)
        write_one(s, keys[i]);
    for (int r = 0; r < ROUNDS; r++) {
        double began = now_ns();
        for (uint32_t i = 0; i < SPAN; i++)
            write_one(s, keys[i]);
        ns[r] = (now_ns() - began) / SPAN;
    }
    snprintf(what, sizeof what, "write with eviction, 100000 entries, %u shards", shards);
    report(what, ns, "ns");
    ldr_shelf_free(s);
    free(keys);
}

/* ---- memory ------------------------------------------------------------------------------------------------ */

static size_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0;
    if (fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void memory_line(const char *what, const ldr_shelf *s, size_t before)
{
    double n = (double)ldr_shelf_entries(s);
    printf("%-44s %8.0f entries, resident %6.2f, counted %6.2f bytes an entry above key and value\n", what, n,
           (double)(resident_bytes() - before) / n - KEY - VALUE, (double)ldr_shelf_bytes(s) / n - KEY - VALUE);
    fflush(stdout);
}

static void bench_memory(const char *what, size_t bytes, uint32_t entries)
{
    char key[KEY + 1], line[64];
    size_t before = resident_bytes();
    ldr_shelf *s = shelf_new(bytes, entries, 0);
    for (uint32_t i = 0; i < 1000000; i++) {
        key_of(i, key);
        write_one(s, key);
    }
    snprintf(line, sizeof line, "%s, filled", what);
    memory_line(line, s, before);
    for (uint32_t i = 1000000; i < 4000000; i++) {
        key_of(i, key);
        write_one(s, key);
    }
    snprintf(line, sizeof line, "%s, 3,000,000 later", what);
    memory_line(line, s, before);
    ldr_shelf_free(s);
}

int main(int n_args, char **args)
{
    if (n_args > 1 && strcmp(args[1], "write") == 0) {
        bench_write(1);
        return 0;
    }
    if (n_args > 1 && strcmp(args[1], "read") == 0) {
        bench_read(1000);
        return 0;
    }
    bench_memory("memory, 256 MiB, entries = 1,000,000", (size_t)256 << 20, 1000000);
    bench_memory("memory, 150 MB", (size_t)150000000, 0);
    bench_read(1000);
    bench_read(100000);
    bench_write(1);
    bench_write(8);
    return 0;
}
