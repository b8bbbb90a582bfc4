/* sqlite_migrate_spec.c - versions by triggers: they never repeat, whatever touches the table; undo leaves no trace. */
#include "sqlite_bed.h"
#include "source/sqlite_migrate.h"

typedef struct ask_for {
    const char *table;
    const char *const *key;
    size_t n_key;
    const char *version;
    bool changes;
    int mode;
} ask_for;

static char script[65536];

/* Gives the script, or "code: message". */
static const char *migrate(shop *s, ask_for a)
{
    ldr_migrate_options o = {.size = sizeof o, .file = s->file, .table = a.table, .key = a.key, .n_key = a.n_key,
                             .version = a.version, .changes = a.changes, .mode = a.mode};
    ldr_buf b = LDR_BUF(&s->mem.mem);
    int code = ldr_sqlite_migrate(&o, &b, &s->err);
    if (code)
        snprintf(script, sizeof script, "%s: %s", ldr_code_word(code), s->err.message);
    else
        snprintf(script, sizeof script, "%.*s", (int)b.n, b.p);
    ldr_buf_free(&b);
    assert_int_equal(s->mem.n_alive, 0);
    return script;
}

static void apply(shop *s, ask_for a)
{
    a.mode = LDR_MIGRATE_APPLY;
    assert_starts(migrate(s, a), "BEGIN IMMEDIATE;\n");
    assert_string_equal(migrate(s, a), LDR_MIGRATE_NOTHING);
}

static const ask_for products = {.table = "products", .changes = true};
#define PRODUCTS "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price REAL);"

static long long version(shop *s, int id)
{
    char text[80];
    snprintf(text, sizeof text, "SELECT version FROM products WHERE id = %d", id);
    return ask_int(s, text);
}

static void assert_log(shop *s, const char *wanted)
{
    assert_string_equal(ask(s, "SELECT coalesce(group_concat(tbl || '/' || key || '/' || version, ' '), '') FROM "
                               "(SELECT * FROM ldr_changes ORDER BY seq)"), wanted);
}

/* ---- making and undoing ------------------------------------------------------------------------------------- */

static void it_prints_what_it_would_do_and_does_nothing(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS "INSERT INTO products VALUES (1, 'tea', 1.5)");
    char before[1024];
    snprintf(before, sizeof before, "%s", ask(s, "SELECT group_concat(sql) FROM sqlite_master"));
    const char *text = migrate(s, products);
    assert_holds(text, "CREATE TABLE ldr_version");
    assert_holds(text, "ALTER TABLE \"products\" ADD COLUMN \"version\"");
    assert_holds(text, "ldr_delete_products");
    assert_string_equal(ask(s, "SELECT group_concat(sql) FROM sqlite_master"), before);
    sql(s, script); /* what was printed is a whole script */
    assert_int_equal(version(s, 1), 1);
    assert_string_equal(migrate(s, products), LDR_MIGRATE_NOTHING);
    shop_free(s);
}

static void undo_leaves_no_trace(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS "INSERT INTO products VALUES (1, 'tea', 1.5)");
    char before[1024];
    ask_for undo = products;
    static const char schema[] = "SELECT group_concat(sql) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'";
    snprintf(before, sizeof before, "%s", ask(s, schema));
    undo.mode = LDR_MIGRATE_UNDO;
    assert_string_equal(migrate(s, undo), LDR_MIGRATE_NOTHING);
    apply(s, products);
    undo.mode = LDR_MIGRATE_PRINT_UNDO;
    assert_holds(migrate(s, undo), "DROP COLUMN \"version\"");
    assert_int_equal(version(s, 1), 1);
    undo.mode = LDR_MIGRATE_UNDO;
    migrate(s, undo);
    assert_string_equal(ask(s, schema), before);
    assert_string_equal(ask(s, "SELECT name FROM products"), "tea");
    assert_string_equal(migrate(s, undo), LDR_MIGRATE_NOTHING);
    shop_free(s);
}

static void a_column_that_was_there_stays(void **state)
{
    (void)state;
    shop *s = shop_new("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, Version INT);"
                       "INSERT INTO products VALUES (1, 'a', 70), (2, 'b', NULL), (3, 'c', -4)");
    ask_for undo = products;
    apply(s, products);
    assert_int_equal(version(s, 1), 70);
    assert_true(version(s, 2) > 70 && version(s, 3) > 70);
    sql(s, "UPDATE products SET name = 'x' WHERE id = 1");
    assert_true(version(s, 1) > version(s, 2));
    undo.mode = LDR_MIGRATE_UNDO;
    migrate(s, undo);
    assert_true(version(s, 1) > 70);
    shop_free(s);
}

static void changes_may_be_added_later_and_stay(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    ask_for plain = {.table = "products"};
    apply(s, plain);
    sql(s, "INSERT INTO products (id) VALUES (1)");
    assert_string_equal(ask(s, "SELECT count(*) FROM sqlite_master WHERE name = 'ldr_changes'"), "0");
    apply(s, products);
    sql(s, "INSERT INTO products (id) VALUES (2)");
    assert_log(s, "products/2/3");
    plain.mode = LDR_MIGRATE_APPLY;
    assert_string_equal(migrate(s, plain), LDR_MIGRATE_NOTHING);
    shop_free(s);
}

static void two_tables_share_the_counter_and_are_undone_apart(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS "CREATE TABLE users (id INTEGER PRIMARY KEY)");
    ask_for users = {.table = "users"}, undo = products;
    apply(s, products);
    apply(s, users);
    sql(s, "INSERT INTO products (id) VALUES (1); INSERT INTO users (id) VALUES (1)");
    assert_int_equal(ask_int(s, "SELECT version FROM users"), version(s, 1) + 1);
    undo.mode = LDR_MIGRATE_UNDO;
    migrate(s, undo);
    assert_string_equal(ask(s, "SELECT count(*) FROM sqlite_master WHERE name = 'ldr_changes'"), "0");
    sql(s, "INSERT INTO users (id) VALUES (2)");
    assert_true(ask_int(s, "SELECT version FROM users WHERE id = 2") > 3);
    undo.table = "users";
    migrate(s, undo);
    assert_string_equal(ask(s, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'ldr_%'"), "0");
    shop_free(s);
}

static void a_renamed_table_is_mended_by_running_again(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    apply(s, products);
    sql(s, "ALTER TABLE products RENAME TO goods; ALTER TABLE goods RENAME COLUMN id TO nr");
    static const char *const nr[] = {"nr"};
    ask_for goods = {.table = "goods", .key = nr, .n_key = 1, .changes = true};
    apply(s, goods);
    sql(s, "INSERT INTO goods (nr) VALUES (5)");
    assert_starts(ask(s, "SELECT tbl || '/' || key FROM ldr_changes"), "goods/5");
    assert_string_equal(ask(s, "SELECT count(*) FROM ldr_changes"), "1");
    shop_free(s);
}

/* ---- versions ----------------------------------------------------------------------------------------------- */

static void every_write_draws_a_higher_version(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS "INSERT INTO products VALUES (1, 'tea', 1.5), (2, 'mud', 0)");
    apply(s, products);
    long long last = version(s, 1);
    assert_true(last > 0 && version(s, 2) > 0);
    static const char *const writes[] = {
        "UPDATE products SET price = 2 WHERE id = 1",
        "UPDATE products SET price = price WHERE id = 1",
        "UPDATE products SET version = 99999 WHERE id = 1",
        "UPDATE products SET version = 1 WHERE id = 1",
        "UPDATE products SET version = NULL WHERE id = 1",
        "UPDATE products SET version = (SELECT n FROM ldr_version) WHERE id = 1",
        "UPDATE products SET version = (SELECT n + 1 FROM ldr_version) WHERE id = 1",
        "INSERT INTO products (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'y'",
        "REPLACE INTO products (id, name) VALUES (1, 'z')",
        "DELETE FROM products WHERE id = 1; INSERT INTO products (id, version) VALUES (1, 1)",
        "DELETE FROM products WHERE id = 1; INSERT INTO products (id, version) VALUES (1, (SELECT n FROM ldr_version))",
        "DELETE FROM products WHERE id = 1; INSERT INTO products (id, version) VALUES (1, (SELECT n + 1 FROM ldr_version))",
        "UPDATE products SET id = 9 WHERE id = 1; UPDATE products SET id = 1 WHERE id = 9",
        "UPDATE OR IGNORE products SET price = 4",
    };
    for (int recursive = 0; recursive < 2; recursive++) {
        sql(s, recursive ? "PRAGMA recursive_triggers = 1" : "PRAGMA recursive_triggers = 0");
        for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
            long long n = ask_int(s, "SELECT n FROM ldr_version");
            sql(s, writes[i]);
            long long now = version(s, 1);
            if (now <= n || now <= last || now > ask_int(s, "SELECT n FROM ldr_version"))
                fail_msg("%s: version %lld after %lld, counter was %lld", writes[i], now, last, n);
            last = now;
            assert_int_equal(ask_int(s, "SELECT open FROM ldr_version"), 0);
        }
    }
    shop_free(s);
}

static void a_failed_write_draws_nothing(void **state)
{
    (void)state;
    shop *s = shop_new("CREATE TABLE products (id INTEGER PRIMARY KEY, price REAL CHECK (price > 0))");
    apply(s, products);
    sql(s, "INSERT INTO products (id, price) VALUES (1, 1)");
    long long n = ask_int(s, "SELECT n FROM ldr_version");
    assert_int_equal(sqlite3_exec(s->raw, "UPDATE products SET price = -1", NULL, NULL, NULL), SQLITE_CONSTRAINT);
    sql(s, "BEGIN; UPDATE products SET price = 5; ROLLBACK");
    assert_int_equal(ask_int(s, "SELECT n FROM ldr_version"), n);
    assert_int_equal(ask_int(s, "SELECT count(*) FROM ldr_changes"), 1);
    shop_free(s);
}

/* Triggers of the user's own, beside ours: what they write draws and is logged like anything else. */
static void own_triggers_draw_too(void **state)
{
    (void)state;
    for (int recursive = 0; recursive < 2; recursive++) {
        shop *s = shop_new("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, at INT);"
                           "CREATE TABLE users (id INTEGER PRIMARY KEY, n INT); INSERT INTO users VALUES (7, 0);"
                           "CREATE TRIGGER u AFTER UPDATE ON products BEGIN UPDATE users SET n = n + 1 WHERE id = 7; END;"
                           "CREATE TRIGGER t AFTER UPDATE OF name ON products BEGIN UPDATE products SET at = 1 WHERE id = NEW.id; END");
        ask_for users = {.table = "users", .changes = true};
        apply(s, products);
        apply(s, users);
        sql(s, recursive ? "PRAGMA recursive_triggers = 1" : "PRAGMA recursive_triggers = 0");
        sql(s, "INSERT INTO products (id, name) VALUES (1, 'a')"); /* only the stamp is an update: it fires u */
        long long before = ask_int(s, "SELECT version FROM users"), n = ask_int(s, "SELECT n FROM users");
        assert_true(n > 0 && before > 1);
        assert_int_equal(ask_int(s, "SELECT max(version) FROM ldr_changes WHERE tbl = 'users'"), before);
        assert_int_equal(ask_int(s, "SELECT max(version) FROM ldr_changes WHERE tbl = 'products'"), version(s, 1));
        sql(s, "UPDATE products SET name = 'b'");
        assert_true(ask_int(s, "SELECT version FROM users") > before);
        assert_int_equal(ask_int(s, "SELECT max(version) FROM ldr_changes WHERE tbl = 'users'"),
                         ask_int(s, "SELECT version FROM users"));
        assert_int_equal(ask_int(s, "SELECT max(version) FROM ldr_changes WHERE tbl = 'products'"), version(s, 1));
        assert_int_equal(ask_int(s, "SELECT open FROM ldr_version"), 0);
        shop_free(s);
    }
}

static void versions_never_repeat_in_a_random_history(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("history");
    shop *s = shop_new(PRODUCTS "CREATE TABLE seen (id, version, UNIQUE (id, version))");
    apply(s, products);
    sql(s, "BEGIN");
    for (long i = bed_times(1000, 20000); i > 0; i--) {
        static const char *const forms[] = {
            "UPDATE products SET price = price + 1 WHERE id = %d", "DELETE FROM products WHERE id = %d",
            "INSERT OR IGNORE INTO products (id) VALUES (%d)", "REPLACE INTO products (id, price) VALUES (%d, 1)",
            "UPDATE products SET version = 3 WHERE id = %d",
            "UPDATE OR REPLACE products SET id = id + 1 WHERE id = %d"};
        char text[160];
        snprintf(text, sizeof text, forms[ldr_rng_next(&rng) % 6], (int)(ldr_rng_next(&rng) % 4));
        long long n = ask_int(s, "SELECT n FROM ldr_version");
        sql(s, text);
        snprintf(text, sizeof text, "INSERT INTO seen SELECT id, version FROM products WHERE version > %lld", n);
        sql(s, text); /* a version drawn twice for one key breaks UNIQUE */
        assert_int_equal(ask_int(s, "SELECT count(*) FROM products JOIN seen USING (id, version)"),
                         ask_int(s, "SELECT count(*) FROM products"));
    }
    sql(s, "COMMIT");
    shop_free(s);
}

/* ---- the change table --------------------------------------------------------------------------------------- */

static void old_and_new_key_are_logged(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    apply(s, products);
    sql(s, "INSERT INTO products (id) VALUES (1); UPDATE products SET price = 1; UPDATE products SET id = 2; DELETE FROM products");
    assert_log(s, "products/1/2 products/1/3 products/1/4 products/2/4 products/2/5");
    shop_free(s);
}

static void keys_are_logged_as_the_cache_writes_them(void **state)
{
    (void)state;
    static const char *const ab[] = {"a", "b"};
    shop *s = shop_new("CREATE TABLE lines (a TEXT, b REAL, PRIMARY KEY (a, b)) WITHOUT ROWID");
    apply(s, (ask_for){.table = "lines", .key = ab, .n_key = 2, .changes = true});
    sql(s, "INSERT INTO lines (a, b) VALUES ('x:y%z', 1), ('', -0.5)");
    assert_log(s, "lines/x%3Ay%25z:1.0/2 lines/:-0.5/3");
    shop_free(s);
}

static void rows_without_a_key_are_not_logged(void **state)
{
    (void)state;
    shop *s = shop_new("CREATE TABLE products (id TEXT PRIMARY KEY, name TEXT)");
    apply(s, products);
    sql(s, "INSERT INTO products (id) VALUES (NULL); UPDATE products SET id = 'now'");
    assert_log(s, "products/now/3");
    shop_free(s);
}

static void rows_that_a_foreign_key_deletes_are_logged(void **state)
{
    (void)state;
    shop *s = shop_new("CREATE TABLE cats (id INTEGER PRIMARY KEY);"
                       "CREATE TABLE products (id INTEGER PRIMARY KEY, cat INT REFERENCES cats (id) ON DELETE CASCADE);"
                       "INSERT INTO cats VALUES (1); INSERT INTO products VALUES (5, 1)");
    apply(s, products);
    sql(s, "PRAGMA foreign_keys = 1; DELETE FROM cats");
    assert_log(s, "products/5/2");
    shop_free(s);
}

static void odd_names_work(void **state)
{
    (void)state;
    static const char *const tables[] = {"x; DROP TABLE t", "a\"b", "it's", "$1", "SELECT", "Ünï", "two words", "main.t",
                                         "a_very_long_name_that_is_longer_than_sixty_four_bytes_of_text_for_sure_it_is"};
    static const char *const key[] = {"order", "I'd \"x\""};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        shop *s = shop_new("CREATE TABLE t (x)");
        char *text = sqlite3_mprintf("CREATE TABLE \"%w\" (\"order\" INT, \"%w\" TEXT, UNIQUE (\"order\", \"%w\"))", tables[i], key[1], key[1]);
        sql(s, text);
        sqlite3_free(text);
        ask_for a = {.table = tables[i], .key = key, .n_key = 2, .version = "group by", .changes = true};
        apply(s, a);
        text = sqlite3_mprintf("INSERT INTO \"%w\" (\"order\", \"%w\") VALUES (4, 'q')", tables[i], key[1]);
        sql(s, text);
        sqlite3_free(text);
        assert_string_equal(ask(s, "SELECT key FROM ldr_changes"), "4:q");
        assert_string_equal(ask(s, "SELECT tbl FROM ldr_changes"), tables[i]);
        a.mode = LDR_MIGRATE_UNDO;
        assert_starts(migrate(s, a), "BEGIN");
        assert_string_equal(ask(s, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'ldr_%'"), "0");
        assert_string_equal(ask(s, "SELECT count(*) FROM t"), "0");
        shop_free(s);
    }
}

/* ---- refusals ----------------------------------------------------------------------------------------------- */

static void what_cannot_be_migrated_is_said(void **state)
{
    (void)state;
    static const char *const name[] = {"name"}, *const nix[] = {"nix"};
    shop *s = shop_new(PRODUCTS "CREATE VIEW v AS SELECT * FROM products; CREATE TABLE txt (id INTEGER PRIMARY KEY, version TEXT);"
                       "INSERT INTO txt VALUES (1, 'v1'); CREATE TABLE gen (id INTEGER PRIMARY KEY, version INT AS (1));"
                       "CREATE VIRTUAL TABLE fts USING fts5(id)");
    assert_starts(migrate(s, (ask_for){.table = "v", .mode = LDR_MIGRATE_APPLY}), "unsupported: migrate: \"v\" is a view");
    assert_starts(migrate(s, (ask_for){.table = "fts", .mode = LDR_MIGRATE_APPLY}), "unsupported");
    assert_starts(migrate(s, (ask_for){.table = "txt", .mode = LDR_MIGRATE_APPLY}), "unsupported");
    assert_starts(migrate(s, (ask_for){.table = "gen", .mode = LDR_MIGRATE_APPLY}), "unsupported");
    assert_starts(migrate(s, (ask_for){.table = "nix"}), "source: migrate: ");
    assert_starts(migrate(s, (ask_for){.table = "products", .key = nix, .n_key = 1}), "source");
    assert_starts(migrate(s, (ask_for){.table = "products", .key = name, .n_key = 1}), "invalid: migrate: key");
    assert_starts(migrate(s, (ask_for){.table = "products", .version = "id"}), "invalid: migrate: version");
    assert_starts(migrate(s, (ask_for){.table = ""}), "invalid");
    assert_starts(migrate(s, (ask_for){.table = "products", .version = ""}), "invalid");
    assert_starts(migrate(s, (ask_for){.table = "products", .key = name}), "invalid");
    assert_starts(migrate(s, (ask_for){.table = "sqlite_master"}), "source");
    apply(s, products);
    assert_starts(migrate(s, (ask_for){.table = "ldr_changes"}), "invalid");
    assert_starts(migrate(s, (ask_for){.table = "products", .version = "rev"}), "invalid: migrate: version: table");
    char file[sizeof s->file];
    memcpy(file, s->file, sizeof file);
    snprintf(s->file, sizeof s->file, "%s/nix.db", s->folder);
    assert_starts(migrate(s, products), "unavailable");
    assert_int_equal(access(s->file, F_OK), -1);
    memcpy(s->file, file, sizeof file);
    shop_free(s);
}

static void a_failed_undo_changes_nothing(void **state)
{
    (void)state;
    shop *s = shop_new(PRODUCTS);
    apply(s, products);
    sql(s, "CREATE INDEX mine ON products (version)");
    ask_for undo = products;
    undo.mode = LDR_MIGRATE_UNDO;
    assert_starts(migrate(s, undo), "source: ");
    sql(s, "INSERT INTO products (id) VALUES (1)");
    assert_true(version(s, 1) > 1);
    shop_free(s);
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    for (int undo = 0; undo < 2; undo++) {
        shop *s = shop_new(PRODUCTS);
        if (undo)
            apply(s, products);
        for (long n = 1;; n++) {
            ask_for a = products;
            a.mode = undo ? LDR_MIGRATE_UNDO : LDR_MIGRATE_APPLY;
            bed_mem_init(&s->mem, n);
            migrate(s, a);
            if (strncmp(script, "BEGIN", 5) == 0 || strcmp(script, LDR_MIGRATE_NOTHING) == 0)
                break;
            assert_starts(script, "unavailable: out of memory");
        }
        bed_mem_init(&s->mem, 0);
        shop_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_prints_what_it_would_do_and_does_nothing),
        cmocka_unit_test(undo_leaves_no_trace),
        cmocka_unit_test(a_column_that_was_there_stays),
        cmocka_unit_test(changes_may_be_added_later_and_stay),
        cmocka_unit_test(two_tables_share_the_counter_and_are_undone_apart),
        cmocka_unit_test(a_renamed_table_is_mended_by_running_again),
        cmocka_unit_test(every_write_draws_a_higher_version),
        cmocka_unit_test(a_failed_write_draws_nothing),
        cmocka_unit_test(own_triggers_draw_too),
        cmocka_unit_test(versions_never_repeat_in_a_random_history),
        cmocka_unit_test(old_and_new_key_are_logged),
        cmocka_unit_test(keys_are_logged_as_the_cache_writes_them),
        cmocka_unit_test(rows_without_a_key_are_not_logged),
        cmocka_unit_test(rows_that_a_foreign_key_deletes_are_logged),
        cmocka_unit_test(odd_names_work),
        cmocka_unit_test(what_cannot_be_migrated_is_said),
        cmocka_unit_test(a_failed_undo_changes_nothing),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
