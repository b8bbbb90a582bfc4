/* threads_bench.c - reads of a C program through ldr_get: two threads on one cache against one.
 *
 * 1,000 keys, values of 64 bytes, all hits. The gain is reads a second of both threads together over those of one:
 * on the wall, in rounds in which the machine gave each thread a processor of its own nearly all the time (others are
 * run again, up to a limit), and by the threads' own CPU time. Prints rows of the table of all benches. */
#include "larder.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 9, MOST_ROUNDS = 150, KEYS = 1000, READS = 400000, VALUE = 64 };
#define OWN 0.95 /* of the time on the wall: it had a processor of its own */

typedef struct reader {
    _Alignas(128) ldr_cache *cache;
    double cpu_ns;
    unsigned long missed;
} reader;

static char keys[KEYS][16];
static int order[65536];

static double ns_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *read_all(void *arg)
{
    reader *r = arg;
    double began = ns_of(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < READS; i++) {
        ldr_value v;
        const char *key = keys[order[i & 65535]];
        int code = ldr_get(r->cache, key, sizeof keys[0], NULL, &v, NULL);
        r->missed += code != LDR_OK || v.size != VALUE;
        ldr_value_free(r->cache, &v);
    }
    r->cpu_ns = ns_of(CLOCK_THREAD_CPUTIME_ID) - began;
    return NULL;
}

/* ns on the wall and of CPU a thread for a round of n threads */
static void run(ldr_cache *cache, int n, double *wall, double *cpu)
{
    pthread_t threads[2];
    reader readers[2] = {{.cache = cache}, {.cache = cache}};
    double began = ns_of(CLOCK_MONOTONIC);
    for (int i = 0; i < n; i++)
        pthread_create(&threads[i], NULL, read_all, &readers[i]);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    *wall = ns_of(CLOCK_MONOTONIC) - began;
    *cpu = 0;
    for (int i = 0; i < n; i++) {
        *cpu += readers[i].cpu_ns / n;
        if (readers[i].missed) {
            fprintf(stderr, "threads_bench: %lu reads were no hits\n", readers[i].missed);
            exit(1);
        }
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void row(const char *place, const char *work, double *two, double *one, double *gain)
{
    qsort(two, ROUNDS, sizeof *two, by_size);
    qsort(one, ROUNDS, sizeof *one, by_size);
    qsort(gain, ROUNDS, sizeof *gain, by_size);
    double median = gain[ROUNDS / 2];
    printf("@row\t%s\t%s\t%.0f ns a read\tone thread, %.0f ns\t%.2f\t%.2f\t>= 1.6\t%s\n", place, work, two[ROUNDS / 2],
           one[ROUNDS / 2], gain[0], median, median >= 1.6 ? "yes" : "NO");
}

int main(void)
{
    ldr_cache *cache;
    ldr_options o = {.size = sizeof o};
    static const char value[VALUE] = "a value of some sort";
    static double wall[2][ROUNDS], cpu[2][ROUNDS], gain[ROUNDS], cpu_gain[ROUNDS];
    unsigned x = 12345;
    int n_loud = 0;
    if (ldr_open(&o, &cache, NULL) != LDR_OK)
        return 1;
    for (int i = 0; i < KEYS; i++) {
        char text[24];
        snprintf(text, sizeof text, "product:%08d", i);
        memcpy(keys[i], text, sizeof keys[i]);
        ldr_set_options s = {.size = sizeof s, .kind = LDR_STRING};
        if (ldr_set(cache, keys[i], sizeof keys[i], value, VALUE, &s, NULL, NULL) != LDR_OK)
            return 1;
    }
    for (int i = 0; i < 65536; i++) {
        x = x * 1103515245u + 12345u;
        order[i] = (int)(x / 65536u % KEYS);
    }
    int n_quiet = 0, n_rounds = 0;
    run(cache, 2, &wall[1][0], &cpu[1][0]); /* warms up */
    while (n_quiet < ROUNDS && n_rounds++ < MOST_ROUNDS) {
        bool quiet = true;
        for (int n = 1; n <= 2; n++) {
            double *w = &wall[n - 1][n_quiet], *c = &cpu[n - 1][n_quiet];
            run(cache, n, w, c);
            quiet = quiet && *c > OWN * *w;
            *w /= (double)READS * n;
            *c /= READS;
        }
        gain[n_quiet] = wall[0][n_quiet] / wall[1][n_quiet];
        cpu_gain[n_quiet] = 2 * cpu[0][n_quiet] / cpu[1][n_quiet];
        n_quiet += quiet || MOST_ROUNDS - n_rounds < ROUNDS - n_quiet; /* at the end any will do */
        n_loud += !quiet;
    }
    printf("%d rounds, of which %d had not a processor a thread\n", n_rounds, n_loud);
    row("07.10", "C: ldr_get by 2 threads, on the wall", wall[1], wall[0], gain);
    row("07.20", "C: ldr_get by 2 threads, by their CPU time", cpu[1], cpu[0], cpu_gain);
    ldr_close(cache, 0);
    return 0;
}
