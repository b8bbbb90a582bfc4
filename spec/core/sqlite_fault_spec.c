/* sqlite_fault_spec.c - the SQLite source in trouble: locks, deadlines, files that are missing, damaged, read-only or
 * replaced, memory that runs out, forks, threads. */
#include "sqlite_bed.h"
#include "source/sqlite_migrate.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define PRODUCTS "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, version INT); INSERT INTO products VALUES (1, 'a', 1)"
static const ldr_model_options product = {.name = "product", .table = "products", .version = "version"};

static shop *with(const char *schema)
{
    shop *s = shop_new(schema);
    shop_open_one(s, product);
    return s;
}

static void migrate(shop *s)
{
    ldr_migrate_options o = {.size = sizeof o, .file = s->file, .table = "products", .mode = LDR_MIGRATE_APPLY};
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    assert_int_equal(ldr_sqlite_migrate(&o, &b, &s->err), LDR_OK);
    ldr_buf_free(&b);
}

static int64_t now(void)
{
    ldr_clock c;
    ldr_clock_init(&c);
    return ldr_clock_now(&c);
}

/* ---- locks and deadlines ------------------------------------------------------------------------------------- */

static void a_lock_is_waited_for_until_the_deadline(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS);
    sql(s, "BEGIN IMMEDIATE");
    s->timeout_us = 50 * LDR_MS;
    int64_t began = now();
    assert_starts(store_of(s, "product:1", ROW("name", "s:b")), "timeout: sqlite: locked by another connection");
    assert_in_range(now() - began, 45 * LDR_MS, 5 * LDR_SEC);
    assert_starts(erase_if(s, "product:1", LDR_ANY), "timeout");
    assert_starts(load_of(s, "product:1"), "{id=1 name=\"a\""); /* WAL: readers do not wait */
    sql(s, "ROLLBACK");
    assert_string_equal(ask(s, "SELECT name FROM products"), "a");
    assert_starts(store_of(s, "product:1", ROW("name", "s:b")), "{id=1 name=\"b\"");
    shop_free(s);
}

static void *let_go(void *arg)
{
    shop *s = arg;
    int64_t until = now() + 20 * LDR_MS;
    while (now() < until)
        ;
    sql(s, "COMMIT");
    return NULL;
}

static void a_lock_that_goes_away_is_no_error(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS);
    pthread_t t;
    sql(s, "BEGIN IMMEDIATE; UPDATE products SET name = 'theirs'");
    assert_int_equal(pthread_create(&t, NULL, let_go, s), 0);
    assert_starts(store_of(s, "product:1", ROW("name", "s:ours")), "{id=1 name=\"ours\"");
    pthread_join(t, NULL);
    shop_free(s);
}

static void without_wal_readers_time_out_too(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    sql(s, "PRAGMA journal_mode = DELETE");
    sqlite3_stmt *reader; /* a reader keeps the file from being turned to WAL */
    sqlite3_prepare_v2(s->raw, "SELECT * FROM products", -1, &reader, NULL);
    assert_int_equal(sqlite3_step(reader), SQLITE_ROW);
    shop_open_one(s, product);
    s->timeout_us = 50 * LDR_MS;
    assert_starts(store_of(s, "product:1", ROW("name", "s:b")), "timeout: sqlite: locked"); /* at COMMIT: rolled back */
    sqlite3_finalize(reader);
    assert_string_equal(ask(s, "SELECT name FROM products"), "a");
    sql(s, "BEGIN EXCLUSIVE");
    assert_starts(load_of(s, "product:1"), "timeout: sqlite: key \"product:1\": locked");
    sql(s, "ROLLBACK");
    assert_starts(load_of(s, "product:1"), "{id=1");
    shop_free(s);
}

static void a_long_statement_is_interrupted(void **state)
{
    (void)state;
    static const char slow[] = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE i < ?1";
    static const char trigger[] = "CREATE TRIGGER t AFTER UPDATE ON products BEGIN "
        "SELECT count(*) FROM numbers a, numbers b, numbers c, numbers d, numbers e; END";
    shop *s = shop_new(PRODUCTS "; CREATE TABLE numbers AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                       "WHERE i < 400) SELECT i FROM n");
    sql(s, trigger);
    const ldr_model_options both[] = {product, {.name = "slow", .sql_load = slow}};
    assert_int_equal(shop_open(s, both, 2), LDR_OK);
    s->timeout_us = 50 * LDR_MS;
    int64_t began = now();
    assert_starts(load_of(s, "slow:9"), "timeout: sqlite: key \"slow:9\": deadline passed while");
    assert_true(now() - began < 5 * LDR_SEC);
    assert_starts(store_of(s, "product:1", ROW("name", "s:b")), "timeout: sqlite: key \"product:1\": deadline passed while");
    s->timeout_us = 20 * LDR_SEC;
    assert_starts(load_of(s, "product:1"), "{id=1 name=\"a\"");
    shop_free(s);
}

static void a_deadline_that_has_passed_touches_nothing(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS);
    s->timeout_us = 0;
    assert_starts(load_of(s, "product:1"), "timeout");
    assert_starts(store_of(s, "product:1", ROW("name", "s:b")), "timeout");
    assert_string_equal(ask(s, "SELECT name FROM products"), "a");
    shop_free(s);
}

/* A virtual clock that stands still must not make a lock be waited for endlessly. */
static void a_virtual_clock_ends_a_wait_too(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS);
    ldr_clock_init_virtual(&s->clock, 1000);
    assert_starts(load_of(s, "product:1"), "{id=1");
    sql(s, "BEGIN IMMEDIATE");
    s->timeout_us = 30 * LDR_MS;
    assert_starts(store_of(s, "product:1", ROW("name", "s:b")), "timeout");
    sql(s, "ROLLBACK");
    shop_free(s);
}

/* ---- files --------------------------------------------------------------------------------------------------- */

static int open_file(shop *s, const char *file)
{
    ldr_options o = {.size = sizeof o, .sqlite_file = file, .models = &product, .n_models = 1};
    return ldr_source_sqlite_open(&o, &s->mem.mem, &s->source, &s->err);
}

static void a_file_that_is_missing_is_not_made(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    char file[256];
    snprintf(file, sizeof file, "%s/nix.db", s->folder);
    assert_int_equal(open_file(s, file), LDR_UNAVAILABLE);
    assert_holds(s->err.message, "nix.db: there is no such file");
    assert_int_equal(access(file, F_OK), -1);
    assert_int_equal(open_file(s, ":memory:"), LDR_UNAVAILABLE);
    assert_int_equal(open_file(s, "file:shop.db?mode=rwc"), LDR_UNAVAILABLE);
    assert_int_equal(open_file(s, s->folder), LDR_UNAVAILABLE);
    assert_int_equal(open_file(s, ""), LDR_INVALID);
    assert_int_equal(open_file(s, NULL), LDR_INVALID);
    assert_null(s->source);
    assert_int_equal(ldr_source_sqlite_open(&(ldr_options){.sqlite_file = file, .models = &product, .n_models = 1},
                                            &s->mem.mem, &s->source, NULL), LDR_UNAVAILABLE);
    shop_free(s);
}

static void damage(shop *s, long at, size_t n)
{
    char junk[8192];
    memset(junk, 0x5a, sizeof junk);
    sqlite3_wal_checkpoint_v2(s->raw, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    int fd = open(s->file, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, junk, n, at), (ssize_t)n);
    close(fd);
}

static void a_file_that_is_no_database_fails_at_open(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    damage(s, 0, 100);
    assert_int_equal(open_file(s, s->file), LDR_UNAVAILABLE);
    assert_holds(s->err.message, "not a database");
    shop_free(s);
}

static void a_damaged_page_is_corrupt_not_a_crash(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    damage(s, 4096, 4096);
    assert_int_equal(open_file(s, s->file), LDR_OK);
    assert_starts(load_of(s, "product:1"), "corrupt: sqlite: key \"product:1\": database disk image is malformed");
    assert_starts(store_of(s, "product:1", ROW("name", "s:b")), "corrupt");
    shop_free(s);
}

static void the_file_may_be_locked_when_it_is_opened(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    sql(s, "PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    assert_int_equal(open_file(s, s->file), LDR_OK);
    sql(s, "ROLLBACK");
    assert_starts(load_of(s, "product:1"), "{id=1");
    shop_free(s);
}

static void opening_turns_on_wal(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    sql(s, "PRAGMA journal_mode = DELETE");
    assert_int_equal(open_file(s, s->file), LDR_OK);
    assert_int_equal(ask_int(s, "SELECT count(*) FROM products"), 1); /* a connection learns of it by reading */
    assert_string_equal(ask(s, "PRAGMA journal_mode"), "wal");
    shop_free(s);
}

/* Root may write anything, so a child without rights tries. */
static void a_read_only_file_can_be_read(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    sql(s, "PRAGMA journal_mode = DELETE");
    sqlite3_close(s->raw);
    s->raw = NULL;
    chmod(s->file, 0444);
    chmod(s->folder, 0555);
    pid_t pid = fork();
    if (pid == 0) {
        if (getuid() == 0 && setuid(65534) != 0)
            _exit(0);
        if (open_file(s, s->file) != LDR_OK || strncmp(load_of(s, "product:1"), "{id=1", 5) != 0)
            _exit(1);
        if (strncmp(store_of(s, "product:1", ROW("name", "s:b")), "unsupported: ", 13) != 0 || !strstr(s->shown, "read-only"))
            _exit(2);
        _exit(strncmp(erase_if(s, "product:1", LDR_ANY), "unsupported: ", 13) != 0 ? 3 : 0);
    }
    int status;
    chmod(s->folder, 0555);
    waitpid(pid, &status, 0);
    chmod(s->folder, 0755);
    chmod(s->file, 0644);
    assert_int_equal(status, 0);
    assert_int_equal(sqlite3_open(s->file, &s->raw), SQLITE_OK);
    shop_free(s);
}

static void a_write_goes_to_the_file_of_that_name(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS);
    char other[256];
    snprintf(other, sizeof other, "VACUUM INTO '%s.new'", s->file);
    assert_starts(load_of(s, "product:1"), "{id=1");
    sql(s, other);
    sqlite3_close(s->raw);
    snprintf(other, sizeof other, "%s.new", s->file);
    assert_int_equal(rename(other, s->file), 0);
    snprintf(other, sizeof other, "%s-wal", s->file);
    unlink(other);
    snprintf(other, sizeof other, "%s-shm", s->file);
    unlink(other);
    assert_int_equal(sqlite3_open(s->file, &s->raw), SQLITE_OK);
    assert_starts(store_of(s, "product:1", ROW("name", "s:new")), "{id=1 name=\"new\"");
    assert_string_equal(ask(s, "SELECT name FROM products"), "new");
    shop_free(s);
}

static void the_folder_may_be_left(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    char here[1024];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(s->folder), 0);
    assert_int_equal(open_file(s, "shop.db"), LDR_OK);
    assert_int_equal(chdir("/"), 0);
    assert_starts(load_of(s, "product:1"), "{id=1");
    assert_int_equal(chdir(here), 0);
    shop_free(s);
}

/* ---- a disk that fails ---------------------------------------------------------------------------------------- */

/* The machine's own file system, but writing or syncing a write-ahead log fails while `sick` says so. */
static struct {
    sqlite3_vfs vfs, *real;
    sqlite3_io_methods log;
    const sqlite3_io_methods *real_log;
    int sync, write;
} sick;

static int sick_sync(sqlite3_file *f, int flags)
{
    return sick.sync ? sick.sync : sick.real_log->xSync(f, flags);
}

static int sick_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    return sick.write ? sick.write : sick.real_log->xWrite(f, p, n, at);
}

static int sick_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    (void)vfs;
    int rc = sick.real->xOpen(sick.real, name, f, flags, out);
    if (rc != SQLITE_OK || !(flags & SQLITE_OPEN_WAL))
        return rc;
    sick.real_log = f->pMethods;
    sick.log = *f->pMethods;
    sick.log.xSync = sick_sync;
    sick.log.xWrite = sick_write;
    f->pMethods = &sick.log;
    return rc;
}

static void a_failing_disk_is_lost_or_certain(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    sick.real = sqlite3_vfs_find(NULL);
    sick.vfs = *sick.real;
    sick.vfs.zName = "sick";
    sick.vfs.xOpen = sick_open;
    sqlite3_vfs_register(&sick.vfs, 1);
    shop_open_one(s, product);
    assert_starts(store_of(s, "product:1", ROW("name", "s:b")), "{id=1");
    sick.sync = SQLITE_IOERR_FSYNC; /* the log has the commit, and perhaps the disk */
    assert_starts(store_of(s, "product:1", ROW("name", "s:c")), "lost: sqlite: COMMIT failed and may have taken effect");
    assert_starts(erase_if(s, "product:1", LDR_ANY), "lost");
    sick.sync = 0;
    sick.write = SQLITE_FULL;
    assert_starts(store_of(s, "product:1", ROW("name", "s:d")), "source: sqlite: database or disk is full");
    sick.write = 0;
    assert_starts(store_of(s, "product:1", ROW("version", "i:0")), "{id=1 name=\"b\""); /* nor do the failed ones hang about */
    shop_close_source(s);
    sqlite3_vfs_register(sick.real, 1);
    sqlite3_vfs_unregister(&sick.vfs);
    shop_free(s);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* One life: open, load, store, erase; gives the first answer that is not what it should be. */
static const char *life(shop *s)
{
    const char *got;
    if (open_file(s, s->file) != LDR_OK)
        return ldr_code_word(s->err.code);
    sql(s, "DELETE FROM products; INSERT INTO products VALUES (1, 'a', 1)");
    got = load_of(s, "product:%31");
    got = load_of(s, "product:1");
    if (strncmp(got, "{id=1", 5) == 0)
        got = store_of(s, "product:2", ROW("name", "s:b"));
    if (strncmp(got, "{id=2", 5) == 0)
        got = version_of(s, "product:2");
    if (strcmp(got, "done") == 0)
        got = erase_if(s, "product:2", LDR_ANY);
    return got;
}

static void each_allocation_may_fail_and_the_source_goes_on(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    for (long n = 1;; n++) {
        bed_mem_init(&s->mem, n);
        const char *got = life(s);
        bool whole = strcmp(got, "done") == 0;
        if (!whole)
            assert_starts(got, "unavailable");
        s->mem.fail_at = 0;
        if (s->source) {
            assert_starts(load_of(s, "product:1"), "{id=1"); /* the handle is as good as before */
            assert_starts(store_of(s, "product:3", ROW("name", "s:c")), "{id=3");
        }
        shop_close_source(s);
        assert_int_equal(s->mem.n_alive, 0);
        if (whole)
            break;
    }
    bed_mem_init(&s->mem, 0);
    shop_free(s);
}

static void a_row_that_finds_no_room_is_out_of_memory(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS);
    bed_mem mem;
    load_of(s, "product:1");
    ldr_buf_free(&s->item.out);
    s->item.out = LDR_BUF(bed_mem_init(&mem, 1));
    assert_starts(load_of(s, "product:1"), "unavailable: out of memory");
    bed_mem_init(&mem, 1);
    assert_starts(store_of(s, "product:1", ROW("name", "s:b")), "unavailable");
    assert_string_equal(ask(s, "SELECT name FROM products"), "a"); /* no effect */
    ldr_buf_free(&s->item.out);
    s->item.out = LDR_BUF(&ldr_mem_system);
    shop_free(s);
}

/* ---- forks and threads ---------------------------------------------------------------------------------------- */

static void a_child_opens_its_own_connections(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS);
    assert_starts(load_of(s, "product:1"), "{id=1");
    pid_t pid = fork();
    if (pid == 0) {
        s->source->ops->forked(s->source);
        bool fine = strncmp(load_of(s, "product:1"), "{id=1", 5) == 0 &&
                    strncmp(store_of(s, "product:1", ROW("name", "s:child")), "{id=1", 5) == 0;
        _exit(!fine); /* unclosed: the parent's connections stay in reach, so that a checker of leaks is content */
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_holds(load_of(s, "product:1"), "name=\"child\"");
    assert_starts(store_of(s, "product:1", ROW("name", "s:parent")), "{id=1");
    shop_free(s);
}

typedef struct worker {
    shop *shop;
    int n, bad;
    int64_t last[3];
} worker;

/* Stores and loads three keys over and over; the version of a key must never fall, as this worker sees it. */
static void *work(void *arg)
{
    worker *w = arg;
    ldr_buf value = LDR_BUF(&ldr_mem_system);
    row_of(&value, ROW("name", "s:w"));
    for (int i = 0; i < w->n; i++) {
        char key[32];
        int k = i % 3;
        snprintf(key, sizeof key, "product:%d", k + 1);
        ldr_item item = {.key = ldr_slice_str(key), .value = ldr_buf_slice(&value), .value_kind = LDR_MSGPACK,
                         .if_version = LDR_ANY, .out = LDR_BUF(&ldr_mem_system)}, *items[1] = {&item};
        ldr_request r = {.verb = i % 4 == 3 ? LDR_LOAD : LDR_STORE, .items = items, .n_items = 1, .clock = &w->shop->clock};
        r.deadline_us = ldr_clock_now(r.clock) + 60 * LDR_SEC;
        w->shop->source->ops->run(w->shop->source, &r);
        bool rises = r.verb == LDR_STORE ? item.version > w->last[k] : item.version >= w->last[k];
        if (item.state == LDR_FOUND && rises)
            w->last[k] = item.version;
        else if (item.state != LDR_GONE || w->last[k] != 0)
            w->bad++;
        ldr_buf_free(&item.out);
    }
    ldr_buf_free(&value);
    return NULL;
}

static void threads_store_side_by_side_and_versions_rise(void **state)
{
    (void)state;
    shop *s = shop_new("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT)");
    worker w[6];
    pthread_t t[6];
    migrate(s);
    bed_mem_init(&s->mem, 0);
    ldr_options o = {.size = sizeof o, .sqlite_file = s->file, .models = &product, .n_models = 1};
    assert_int_equal(ldr_source_sqlite_open(&o, &ldr_mem_system, &s->source, &s->err), LDR_OK);
    for (int i = 0; i < 6; i++) { /* more threads than connections */
        w[i] = (worker){.shop = s, .n = (int)bed_times(30, 1000)};
        assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    }
    int stored = 0;
    for (int i = 0; i < 6; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].bad, 0);
        stored += w[i].n - w[i].n / 4;
    }
    assert_true(ask_int(s, "SELECT n FROM ldr_version") >= stored);
    assert_int_equal(ask_int(s, "SELECT count(DISTINCT version) FROM products"), 3);
    shop_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_is_waited_for_until_the_deadline),
        cmocka_unit_test(a_lock_that_goes_away_is_no_error),
        cmocka_unit_test(without_wal_readers_time_out_too),
        cmocka_unit_test(a_long_statement_is_interrupted),
        cmocka_unit_test(a_deadline_that_has_passed_touches_nothing),
        cmocka_unit_test(a_virtual_clock_ends_a_wait_too),
        cmocka_unit_test(a_file_that_is_missing_is_not_made),
        cmocka_unit_test(a_file_that_is_no_database_fails_at_open),
        cmocka_unit_test(a_damaged_page_is_corrupt_not_a_crash),
        cmocka_unit_test(the_file_may_be_locked_when_it_is_opened),
        cmocka_unit_test(opening_turns_on_wal),
        cmocka_unit_test(a_read_only_file_can_be_read),
        cmocka_unit_test(a_write_goes_to_the_file_of_that_name),
        cmocka_unit_test(the_folder_may_be_left),
        cmocka_unit_test(a_failing_disk_is_lost_or_certain),
        cmocka_unit_test(each_allocation_may_fail_and_the_source_goes_on),
        cmocka_unit_test(a_row_that_finds_no_room_is_out_of_memory),
        cmocka_unit_test(a_child_opens_its_own_connections),
        cmocka_unit_test(threads_store_side_by_side_and_versions_rise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
