/* sqlite_changes_spec.c - what other programs wrote is heard of, key by key; what cannot be told is a flood. */
#include "sqlite_bed.h"
#include "source/sqlite_migrate.h"

#include <sys/wait.h>

typedef struct ear {
    shop *shop;
    int64_t mark;
    char keys[4096], why[256];
    long n_keys, n_floods;
} ear;

static void changed(void *ctx, ldr_slice key, int64_t version)
{
    ear *e = ctx;
    size_t n = strlen(e->keys);
    if (e->n_keys++ < 20)
        snprintf(e->keys + n, sizeof e->keys - n, "%s%.*s=%lld", n ? " " : "", (int)key.n, key.p, (long long)version);
}

static void flood(void *ctx, const char *why)
{
    ear *e = ctx;
    e->n_floods++;
    snprintf(e->why, sizeof e->why, "%s", why);
}

/* One look; gives the keys, or "flood: why", or "code: message". As the caller does, the mark is kept on success. */
static const char *hear(ear *e)
{
    shop *s = e->shop;
    request_of(s, LDR_CHANGES, ldr_slice_str(""));
    s->request.items = NULL;
    s->request.n_items = 0;
    s->request.mark = e->mark;
    s->request.changed = changed;
    s->request.flood = flood;
    s->request.ctx = e;
    e->keys[0] = 0;
    e->n_keys = e->n_floods = 0;
    s->source->ops->run(s->source, &s->request);
    if (s->request.err.code == LDR_OK)
        e->mark = s->request.mark;
    if (e->n_floods)
        snprintf(e->keys, sizeof e->keys, "flood: %.200s", e->why);
    else if (s->request.err.code)
        snprintf(e->keys, sizeof e->keys, "%s: %s", ldr_code_word(s->request.err.code), s->request.err.message);
    return e->keys;
}

static void migrate(shop *s, const char *table, const char *const *key, size_t n_key, int mode)
{
    ldr_migrate_options o = {.size = sizeof o, .file = s->file, .table = table, .key = key, .n_key = n_key, .changes = true, .mode = mode};
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    if (ldr_sqlite_migrate(&o, &b, &s->err) != LDR_OK)
        fail_msg("%s", s->err.message);
    ldr_buf_free(&b);
}

#define PRODUCTS "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT)"
static const ldr_model_options product = {.name = "product", .table = "products", .version = "version"};

static shop *with_changes(ear *e)
{
    shop *s = shop_new(PRODUCTS);
    migrate(s, "products", NULL, 0, LDR_MIGRATE_APPLY);
    shop_open_one(s, product);
    *e = (ear){.shop = s, .mark = LDR_UNSET};
    return s;
}

/* ---- what is heard ------------------------------------------------------------------------------------------- */

static void changes_are_named_once_in_order(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    assert_true(s->source->ops->can(s->source, LDR_CHANGES));
    sql(s, "INSERT INTO products (id) VALUES (1)"); /* before the first look: only the mark is taken */
    assert_string_equal(hear(&e), "");
    assert_int_equal(e.mark, 1);
    assert_string_equal(hear(&e), "");
    sql(s, "INSERT INTO products (id) VALUES (2), (3); UPDATE products SET id = 4 WHERE id = 3; DELETE FROM products WHERE id = 2");
    assert_string_equal(hear(&e), "product:2=3 product:3=4 product:3=5 product:4=5 product:2=6");
    assert_string_equal(hear(&e), "");
    shop_free(s);
}

static void own_writes_are_named_too(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    hear(&e);
    store_of(s, "product:1", ROW("name", "s:a"));
    int64_t version = s->item.version;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "product:1=%lld", (long long)version);
    assert_string_equal(hear(&e), wanted);
    erase_if(s, "product:1", LDR_ANY);
    assert_int_equal(s->item.version, version + 1);
    snprintf(wanted, sizeof wanted, "product:1=%lld", (long long)version + 1);
    assert_string_equal(hear(&e), wanted);
    shop_free(s);
}

static void a_change_that_is_not_committed_is_not_heard(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    hear(&e);
    sql(s, "BEGIN; INSERT INTO products (id) VALUES (1)");
    assert_string_equal(hear(&e), "");
    sql(s, "ROLLBACK; BEGIN; INSERT INTO products (id) VALUES (2)");
    assert_string_equal(hear(&e), "");
    sql(s, "COMMIT");
    assert_string_equal(hear(&e), "product:2=2");
    shop_free(s);
}

static void many_changes_come_in_pages(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    hear(&e);
    sql(s, "INSERT INTO products (id) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3500) SELECT i FROM n");
    hear(&e);
    assert_int_equal(e.n_keys, 3500);
    assert_int_equal(e.mark, 3500);
    assert_string_equal(hear(&e), "");
    shop_free(s);
}

/* One that does not name its version is told none: what is held of it has drawn numbers, which must not be compared. */
static void every_model_of_a_table_is_named(void **state)
{
    (void)state;
    static const char *const ab[] = {"a", "b"};
    shop *s = shop_new(PRODUCTS "; CREATE TABLE \"Odd: it's\" (a TEXT, b INT, PRIMARY KEY (a, b)); CREATE TABLE other (id INTEGER PRIMARY KEY)");
    migrate(s, "products", NULL, 0, LDR_MIGRATE_APPLY);
    migrate(s, "Odd: it's", ab, 2, LDR_MIGRATE_APPLY);
    migrate(s, "other", NULL, 0, LDR_MIGRATE_APPLY);
    const ldr_model_options all[] = {{.name = "p", .table = "products", .version = "version"}, {.name = "q", .table = "main.Products"},
                                     {.name = "odd", .table = "odd: IT'S", .key = ab, .n_key = 2, .version = "version"},
                                     {.name = "own", .sql_load = "SELECT 1"}, {.name = "late", .table = "not there yet"}};
    ear e = {.shop = s, .mark = LDR_UNSET};
    assert_int_equal(shop_open(s, all, 5), LDR_OK);
    assert_string_equal(hear(&e), "");
    sql(s, "INSERT INTO products (id) VALUES (7); INSERT INTO other (id) VALUES (1); INSERT INTO \"Odd: it's\" (a, b) VALUES ('x:%', 5)");
    assert_string_equal(hear(&e), "p:7=4 q:7=0 odd:x%3A%25:5=6");
    assert_string_equal(load_of(s, "odd:x%3A%25:5"), "{a=\"x:%\" b=5 version=6}");
    shop_free(s);
}

/* ---- floods -------------------------------------------------------------------------------------------------- */

static void a_gap_is_a_flood(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    sql(s, "INSERT INTO products (id) VALUES (1), (2), (3), (4)");
    hear(&e);
    e.mark = 2;
    sql(s, "DELETE FROM ldr_changes WHERE seq <= 2");
    assert_string_equal(hear(&e), "product:3=4 product:4=5"); /* what is gone had been seen */
    e.mark = 2;
    sql(s, "DELETE FROM ldr_changes WHERE seq <= 3");
    assert_string_equal(hear(&e), "flood: changes were pruned before they were seen");
    assert_int_equal(e.mark, 4);
    sql(s, "DELETE FROM ldr_changes");
    assert_string_equal(hear(&e), "");
    sql(s, "INSERT INTO products (id) VALUES (5); DELETE FROM ldr_changes");
    assert_string_equal(hear(&e), "flood: changes were pruned before they were seen");
    sql(s, "INSERT INTO products (id) VALUES (6)");
    assert_string_equal(hear(&e), "product:6=7");
    shop_free(s);
}

static void a_restored_database_is_a_flood(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    sqlite3 *backup;
    assert_int_equal(sqlite3_open_v2(":memory:", &backup, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL), SQLITE_OK);
    sqlite3_backup *b = sqlite3_backup_init(backup, "main", s->raw, "main");
    assert_int_equal(sqlite3_backup_step(b, -1), SQLITE_DONE);
    sqlite3_backup_finish(b);
    sql(s, "INSERT INTO products (id) VALUES (1), (2)");
    hear(&e);
    b = sqlite3_backup_init(s->raw, "main", backup, "main");
    assert_int_equal(sqlite3_backup_step(b, -1), SQLITE_DONE);
    sqlite3_backup_finish(b);
    sqlite3_close(backup);
    assert_starts(hear(&e), "flood: the change table is older");
    assert_int_equal(e.mark, 0);
    assert_string_equal(hear(&e), "");
    shop_free(s);
}

static void a_file_that_was_replaced_is_a_flood(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    char other[256], tail[256];
    sql(s, "INSERT INTO products (id) VALUES (1), (2)");
    hear(&e);
    snprintf(other, sizeof other, "VACUUM INTO '%s.new'", s->file);
    sql(s, other);
    snprintf(other, sizeof other, "%s.new", s->file);
    sqlite3_close(s->raw);
    s->raw = NULL;
    unlink(s->file);
    assert_starts(hear(&e), "unavailable: ");
    assert_int_equal(e.mark, 2);
    snprintf(tail, sizeof tail, "%s-wal", s->file);
    unlink(tail);
    snprintf(tail, sizeof tail, "%s-shm", s->file);
    unlink(tail);
    assert_int_equal(rename(other, s->file), 0);
    assert_int_equal(sqlite3_open(s->file, &s->raw), SQLITE_OK);
    assert_string_equal(hear(&e), "flood: the database file was replaced");
    sql(s, "INSERT INTO products (id) VALUES (3)");
    assert_string_equal(hear(&e), "product:3=4");
    shop_free(s);
}

static void a_change_table_that_goes_away_and_comes_back(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    sql(s, "INSERT INTO products (id) VALUES (1)");
    hear(&e);
    migrate(s, "products", NULL, 0, LDR_MIGRATE_UNDO);
    assert_starts(hear(&e), "flood: ");
    assert_int_equal(s->request.err.code, LDR_UNSUPPORTED);
    assert_starts(hear(&e), "unsupported: ");
    assert_holds(e.keys, "larder migrate --changes");
    migrate(s, "products", NULL, 0, LDR_MIGRATE_APPLY);
    sql(s, "INSERT INTO products (id) VALUES (2), (3), (4)");
    assert_starts(hear(&e), "flood: ");
    assert_int_equal(s->request.err.code, LDR_OK);
    sql(s, "INSERT INTO products (id) VALUES (5)");
    assert_starts(hear(&e), "product:5=");
    shop_free(s);
}

static void columns_that_change_are_a_flood(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    hear(&e);
    sql(s, "CREATE TABLE unrelated (x)");
    assert_string_equal(hear(&e), "");
    sql(s, "ALTER TABLE products ADD COLUMN price REAL");
    assert_string_equal(hear(&e), "flood: the columns of a model changed");
    assert_string_equal(hear(&e), "");
    sql(s, "ALTER TABLE products DROP COLUMN price");
    load_of(s, "product:1"); /* found out by a load: told at the next look all the same */
    assert_string_equal(hear(&e), "flood: the columns of a model changed");
    assert_string_equal(hear(&e), "");
    shop_free(s);
}

static void a_key_that_is_not_the_models_is_a_flood(void **state)
{
    (void)state;
    static const char *const name[] = {"name"};
    shop *s = shop_new("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT UNIQUE)");
    migrate(s, "products", NULL, 0, LDR_MIGRATE_APPLY);
    shop_open_one(s, (ldr_model_options){.name = "product", .table = "products", .key = name, .n_key = 1, .version = "version"});
    ear e = {.shop = s, .mark = LDR_UNSET};
    hear(&e);
    sql(s, "INSERT INTO products (id, name) VALUES (1, 'a')");
    assert_starts(hear(&e), "flood: a model's key is not");
    assert_string_equal(hear(&e), "");
    migrate(s, "products", name, 1, LDR_MIGRATE_APPLY);
    hear(&e);
    sql(s, "UPDATE products SET name = 'b'");
    assert_string_equal(hear(&e), "product:a=3 product:b=3");
    shop_free(s);
}

/* ---- the rest ------------------------------------------------------------------------------------------------ */

static void without_the_table_it_is_off_or_an_error(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    ldr_options o = {.size = sizeof o, .sqlite_file = s->file, .models = &product, .n_models = 1, .changes_required = true};
    assert_int_equal(ldr_source_sqlite_open(&o, &s->mem.mem, &s->source, &s->err), LDR_UNSUPPORTED);
    assert_holds(s->err.message, "larder migrate --changes");
    assert_int_equal(s->mem.n_alive, 0);
    o.changes_required = false;
    assert_int_equal(ldr_source_sqlite_open(&o, &s->mem.mem, &s->source, &s->err), LDR_OK);
    assert_false(s->source->ops->can(s->source, LDR_CHANGES));
    ear e = {.shop = s, .mark = LDR_UNSET};
    assert_starts(hear(&e), "unsupported: ");
    shop_free(s);
}

static void old_rows_are_pruned_now_and_then(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    ldr_clock_init_virtual(&s->clock, 5);
    sql(s, "INSERT INTO products (id) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) SELECT i FROM n;"
           "UPDATE ldr_changes SET at = at - 3700 WHERE seq < 2400");
    hear(&e);
    ldr_clock_advance(&s->clock, 59 * (int64_t)LDR_SEC);
    hear(&e);
    assert_int_equal(ask_int(s, "SELECT count(*) FROM ldr_changes"), 2500);
    ldr_clock_advance(&s->clock, 2 * (int64_t)LDR_SEC);
    hear(&e);
    assert_int_equal(ask_int(s, "SELECT count(*) FROM ldr_changes"), 101);
    assert_string_equal(hear(&e), "");
    shop_free(s);
}

static void a_look_when_nothing_changed_reads_no_table(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    hear(&e);
    sql(s, "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE"); /* nor waits for a writer */
    s->timeout_us = 50 * LDR_MS;
    assert_string_equal(hear(&e), "");
    sql(s, "ROLLBACK");
    shop_free(s);
}

static void a_child_is_told_that_all_is_suspect(void **state)
{
    (void)state;
    ear e;
    shop *s = with_changes(&e);
    hear(&e);
    pid_t pid = fork();
    if (pid == 0) {
        s->source->ops->forked(s->source);
        bool fine = strncmp(hear(&e), "flood: ", 7) == 0 && strcmp(hear(&e), "") == 0;
        _exit(!fine); /* unclosed: the parent's connections stay in reach, so that a checker of leaks is content */
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_string_equal(hear(&e), "");
    shop_free(s);
}

static void each_allocation_may_fail_and_nothing_is_lost(void **state)
{
    (void)state;
    for (long n = 1;; n++) {
        ear e;
        shop *s = with_changes(&e);
        sql(s, "INSERT INTO products (id) VALUES (1)");
        s->mem.n_calls = 0;
        s->mem.fail_at = n;
        hear(&e);
        if (s->request.err.code == LDR_OK) {
            sql(s, "INSERT INTO products (id) VALUES (2)");
            hear(&e);
        }
        bool whole = s->mem.n_calls < n;
        if (s->request.err.code)
            assert_int_equal(s->request.err.code, LDR_NOMEM);
        s->mem.fail_at = 0;
        if (s->request.err.code && e.mark != LDR_UNSET)
            assert_string_equal(hear(&e), "product:2=3");
        shop_free(s);
        if (whole)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_named_once_in_order),
        cmocka_unit_test(own_writes_are_named_too),
        cmocka_unit_test(a_change_that_is_not_committed_is_not_heard),
        cmocka_unit_test(many_changes_come_in_pages),
        cmocka_unit_test(every_model_of_a_table_is_named),
        cmocka_unit_test(a_gap_is_a_flood),
        cmocka_unit_test(a_restored_database_is_a_flood),
        cmocka_unit_test(a_file_that_was_replaced_is_a_flood),
        cmocka_unit_test(a_change_table_that_goes_away_and_comes_back),
        cmocka_unit_test(columns_that_change_are_a_flood),
        cmocka_unit_test(a_key_that_is_not_the_models_is_a_flood),
        cmocka_unit_test(without_the_table_it_is_off_or_an_error),
        cmocka_unit_test(old_rows_are_pruned_now_and_then),
        cmocka_unit_test(a_look_when_nothing_changed_reads_no_table),
        cmocka_unit_test(a_child_is_told_that_all_is_suspect),
        cmocka_unit_test(each_allocation_may_fail_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
