/* golden_spec.c - miss counts of every policy on real traces, equal to the last miss to a published simulator's.
 *
 * examples/data carries one trace and its rows; TRACES=folder runs all that is there (golden.csv, NAME.txt.gz). */
#include "base/err.h"
#include "l1/shelf.h"
#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DATA "examples/data"

typedef struct trace {
    char name[64];
    uint32_t *keys;
    size_t n, cap;
} trace;

typedef struct row {
    char trace[64], policy[32];
    unsigned size, misses;
} row;

static bool trace_load(trace *t, const char *folder, const char *name)
{
    char command[512], line[64];
    if (strcmp(t->name, name) == 0)
        return true;
    snprintf(command, sizeof command, "gzip -dc '%s/%s.txt.gz' 2>/dev/null", folder, name);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    t->n = 0;
    while (fgets(line, sizeof line, f)) {
        if (t->n == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 1 << 16;
            t->keys = realloc(t->keys, t->cap * sizeof *t->keys);
            assert_non_null(t->keys);
        }
        t->keys[t->n++] = (uint32_t)strtoul(line, NULL, 10);
    }
    pclose(f);
    snprintf(t->name, sizeof t->name, "%s", t->n ? name : "");
    return t->n > 0;
}

static ldr_shelf *shelf_for(const row *r)
{
    ldr_shelf *s;
    ldr_shelf_options o = {.bytes = ((size_t)1 << 20) + (size_t)r->size * 128, .entries = r->size, .shards = 1,
                           .negatives = 0.1, .policy = r->policy, .seed = 42};
    assert_int_equal(ldr_shelf_new(&o, &ldr_mem_system, &s, NULL), LDR_OK);
    return s;
}

static unsigned misses(ldr_shelf *s, const trace *t)
{
    unsigned n = 0;
    ldr_buf bytes = LDR_BUF(&ldr_mem_system);
    for (size_t i = 0; i < t->n; i++) {
        ldr_record out, r = {.soft_us = LDR_NEVER};
        r.key = r.value = ldr_slice_of(&t->keys[i], sizeof t->keys[i]);
        uint64_t hash = ldr_shelf_hash(s, r.key);
        if (ldr_shelf_read(s, r.key, hash, 1, true, &out, &bytes, NULL))
            continue;
        n++;
        assert_int_equal(ldr_shelf_write(s, &r, hash, 1, NULL, NULL), LDR_SHELF_KEPT);
    }
    ldr_buf_free(&bytes);
    return n;
}

static bool row_of(const char *line, row *r)
{
    return sscanf(line, "%63[^,],%31[^,],unit,%u,%*u,%u", r->trace, r->policy, &r->size, &r->misses) == 4 &&
           ldr_policy_find(r->policy);
}

static unsigned run(const char *folder, const char *rows)
{
    char path[512], line[256];
    trace t = {.n = 0};
    row r;
    unsigned n = 0, wrong = 0;
    snprintf(path, sizeof path, "%s/%s", folder, rows);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (!row_of(line, &r) || !trace_load(&t, folder, r.trace))
            continue;
        ldr_shelf *s = shelf_for(&r);
        unsigned got = misses(s, &t);
        assert_null(ldr_shelf_verify(s));
        ldr_shelf_free(s);
        n++;
        if (got == r.misses)
            continue;
        wrong++;
        print_error("%s %s %u: %u misses, should be %u\n", r.trace, r.policy, r.size, got, r.misses);
    }
    fclose(f);
    free(t.keys);
    assert_int_equal(wrong, 0);
    return n;
}

static void test_web12(void **state)
{
    (void)state;
    assert_int_equal(run(DATA, "golden-web12.csv"), 20);
}

static void test_all_traces(void **state)
{
    (void)state;
    const char *folder = getenv("TRACES");
    if (!folder)
        skip();
    print_message("%u rows equal\n", run(folder, "golden.csv"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_web12), cmocka_unit_test(test_all_traces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
