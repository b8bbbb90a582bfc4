/* sqlite_capi_spec.c - the verbs of larder.h over a SQLite table: read, written at once and behind the caller's back, from a
 * forked child too. */
#include "bed.h"
#include "larder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#define SEC ((int64_t)LDR_SEC)

static char folder[64], file[128];

static void sql(const char *text)
{
    sqlite3 *db;
    char *why = NULL;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", text, why);
    sqlite3_close(db);
}

static int number(const char *text)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    int n = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int(stmt, 0) : -1;
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/larder-spec-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    snprintf(file, sizeof file, "%s/shop.db", folder);
    sql("PRAGMA journal_mode = WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO item VALUES (1, 10)");
    return 0;
}

static int teardown(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[160];
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", file, ends[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static ldr_cache *opened(int level)
{
    const ldr_model_options model = {.name = "item", .table = "item"};
    ldr_options o = {.size = sizeof o, .sqlite_file = file, .models = &model, .n_models = 1, .read_pattern = LDR_READ_THROUGH,
                     .write_pattern = LDR_WRITE_THROUGH, .level = level, .l1_bytes = 1 << 20};
    ldr_cache *c;
    ldr_err err;
    if (ldr_open(&o, &c, &err) != LDR_OK)
        fail_msg("open: %s", err.message);
    return c;
}

static int outcome(ldr_cache *c, const char *key)
{
    ldr_value v;
    ldr_err err;
    if (ldr_get(c, key, strlen(key), NULL, &v, &err) != LDR_OK)
        return -err.code;
    int got = v.outcome;
    ldr_value_free(c, &v);
    return got;
}

/* { "n": value }, value below 128, as msgpack */
static int set(ldr_cache *c, const char *key, int value)
{
    const char row[] = {(char)0x81, (char)0xa1, 'n', (char)value};
    ldr_set_options o = {.size = sizeof o, .kind = LDR_MSGPACK};
    return ldr_set(c, key, strlen(key), row, sizeof row, &o, NULL, NULL);
}

static void rows_are_read_and_written(void **state)
{
    (void)state;
    ldr_cache *c = opened(LDR_EVENTUAL);
    ldr_err err;
    assert_int_equal(outcome(c, "item:1"), LDR_LOADED);
    assert_int_equal(outcome(c, "item:1"), LDR_HIT_L1);
    assert_int_equal(outcome(c, "item:2"), LDR_ABSENT);
    assert_int_equal(set(c, "item:2", 20), LDR_OK);
    assert_int_equal(number("SELECT n FROM item WHERE id = 2"), 20);
    assert_int_equal(outcome(c, "item:2"), LDR_HIT_L1);
    assert_int_equal(ldr_delete(c, "item:1", 6, &err), LDR_OK);
    assert_int_equal(number("SELECT count(*) FROM item"), 1);
    assert_int_equal(outcome(c, "item:1"), LDR_ABSENT);
    assert_true(outcome(c, "nothing:1") < 0); /* no such model */
    ldr_close(c, SEC);
}

static void weak_writes_are_in_the_file_after_close(void **state)
{
    (void)state;
    ldr_cache *c = opened(LDR_WEAK);
    char key[32];
    for (int i = 100; i < 150; i++) {
        snprintf(key, sizeof key, "item:%d", i);
        assert_int_equal(set(c, key, i - 100), LDR_OK);
        assert_int_equal(outcome(c, key), LDR_HIT_L1);
    }
    ldr_close(c, 60 * SEC); /* Larder's thread writes what is queued */
    assert_int_equal(number("SELECT count(*) FROM item WHERE id >= 100 AND n = id - 100"), 50);
}

/* No work is on Larder's thread at the fork: SQLite's own locks, held by a thread that does not come along, would stay
 * locked in the child for ever. */
static void a_child_has_connections_of_its_own(void **state)
{
    (void)state;
    ldr_cache *c = opened(LDR_EVENTUAL);
    int status;
    assert_int_equal(outcome(c, "item:1"), LDR_LOADED);
    assert_int_equal(set(c, "item:3", 3), LDR_OK);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        bool fine = outcome(c, "item:1") == LDR_LOADED && set(c, "item:4", 4) == LDR_OK;
        ldr_close(c, 60 * SEC);
        if (fine) /* away with the parent's connection, which nobody here may close: no leak to be looked for */
            execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(number("SELECT n FROM item WHERE id = 4"), 4);
    assert_int_equal(outcome(c, "item:1"), LDR_HIT_L1);
    assert_int_equal(outcome(c, "item:4"), LDR_LOADED);
    ldr_close(c, 60 * SEC);
    assert_int_equal(number("SELECT n FROM item WHERE id = 3"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_are_read_and_written, setup, teardown),
        cmocka_unit_test_setup_teardown(weak_writes_are_in_the_file_after_close, setup, teardown),
        cmocka_unit_test_setup_teardown(a_child_has_connections_of_its_own, setup, teardown),
    };
    return cmocka_run_group_tests_name("sqlite_capi", tests, NULL, NULL);
}
