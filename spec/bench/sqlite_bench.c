/* sqlite_bench.c - one row loaded through the source, against the bare prepared SELECT that reads every column.
 *
 * Rounds of both in turn on one file, warmed up; prints the minimum and the median of ns a row and of the rounds' ratios. */
#include "base/clock.h"
#include "source/source.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ROUNDS = 15, ROWS = 1000, LOADS = 20000 };

static int64_t now_ns(void)
{
    ldr_clock c;
    ldr_clock_init(&c);
    return ldr_clock_now(&c) * 1000;
}

static void must(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "sqlite_bench: %s\n", what);
        exit(1);
    }
}

static void make_shop(const char *file)
{
    sqlite3 *db;
    must(sqlite3_open(file, &db) == SQLITE_OK, "open");
    must(sqlite3_exec(db, "PRAGMA journal_mode = WAL;"
                          "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price REAL, stock INT, note TEXT, category TEXT,"
                          " weight REAL, version INT);"
                          "INSERT INTO products WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
                          " SELECT i, 'product number ' || i, i * 1.25, i % 100, NULL, 'category ' || (i % 20), 0.5, i + 1 FROM n",
                      NULL, NULL, NULL) == SQLITE_OK, "schema");
    sqlite3_close(db);
}

static int64_t sum; /* so that nothing is optimised away */

static double bare(sqlite3_stmt *stmt)
{
    int64_t began = now_ns();
    for (int i = 0; i < LOADS; i++) {
        sqlite3_bind_int64(stmt, 1, i * 7919 % ROWS);
        must(sqlite3_step(stmt) == SQLITE_ROW, "row");
        for (int c = 0, n = sqlite3_column_count(stmt); c < n; c++)
            switch (sqlite3_column_type(stmt, c)) {
            case SQLITE_INTEGER: sum += sqlite3_column_int64(stmt, c); break;
            case SQLITE_FLOAT: sum += (int64_t)sqlite3_column_double(stmt, c); break;
            case SQLITE_NULL: break;
            default: sum += sqlite3_column_text(stmt, c)[0] + sqlite3_column_bytes(stmt, c);
            }
        sqlite3_reset(stmt);
    }
    return (double)(now_ns() - began) / LOADS;
}

static double ours(ldr_source *s, const ldr_clock *clock)
{
    ldr_item item = {.out = LDR_BUF(&ldr_mem_system)}, *items[1] = {&item};
    int64_t began = now_ns();
    for (int i = 0; i < LOADS; i++) {
        char key[32];
        item.key = ldr_slice_of(key, (size_t)snprintf(key, sizeof key, "product:%d", i * 7919 % ROWS));
        item.state = LDR_UNANSWERED;
        ldr_request r = {.verb = LDR_LOAD, .items = items, .n_items = 1, .clock = clock};
        r.deadline_us = ldr_clock_now(clock) + LDR_SEC;
        s->ops->run(s, &r);
        must(item.state == LDR_FOUND, "load");
        sum += (int64_t)item.out.n;
    }
    double ns = (double)(now_ns() - began) / LOADS;
    ldr_buf_free(&item.out);
    return ns;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *what, double *v, const char *unit)
{
    qsort(v, ROUNDS, sizeof *v, by_size);
    printf("%-34s min %8.2f  median %8.2f %s\n", what, v[0], v[ROUNDS / 2], unit);
}

int main(void)
{
    char folder[] = "/tmp/larder-bench-XXXXXX", file[64], tail[80];
    double a[ROUNDS], b[ROUNDS], ratio[ROUNDS];
    must(mkdtemp(folder) != NULL, "folder");
    snprintf(file, sizeof file, "%s/shop.db", folder);
    make_shop(file);

    sqlite3 *db;
    sqlite3_stmt *stmt;
    must(sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK, "open");
    must(sqlite3_prepare_v3(db, "SELECT * FROM products WHERE id = ?1", -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) == SQLITE_OK, "prepare");
    ldr_source *s;
    ldr_err err;
    ldr_clock clock;
    ldr_clock_init(&clock);
    const ldr_model_options model = {.name = "product", .table = "products", .version = "version"};
    ldr_options o = {.size = sizeof o, .sqlite_file = file, .models = &model, .n_models = 1};
    must(ldr_source_sqlite_open(&o, &ldr_mem_system, &s, &err) == LDR_OK, err.message);

    bare(stmt);
    ours(s, &clock);
    for (int i = 0; i < ROUNDS; i++) {
        a[i] = bare(stmt);
        b[i] = ours(s, &clock);
        ratio[i] = b[i] / a[i];
    }
    printf("sqlite: one row of 8 columns, %d rounds of %d loads\n", ROUNDS, LOADS);
    print("bare prepared SELECT", a, "ns");
    print("LOAD through the source", b, "ns");
    print("ratio (reach: 1.30)", ratio, "x");

    s->ops->close(s);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    static const char *const tails[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        snprintf(tail, sizeof tail, "%s%s", file, tails[i]);
        unlink(tail);
    }
    rmdir(folder);
    return sum == 1; /* never */
}
