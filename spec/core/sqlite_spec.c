/* sqlite_spec.c - rows by keys: loaded, stored, erased; what is refused; own SQL; odd names. */
#include "sqlite_bed.h"
#include "source/sqlite_migrate.h"

#define PRODUCTS                                                                                                      \
    "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL, note, data BLOB, version INT);"   \
    "INSERT INTO products VALUES (42, 'tea', 1.5, NULL, x'00ff', 7)"
static const ldr_model_options product = {.name = "product", .table = "products"};
static const ldr_model_options versioned = {.name = "product", .table = "products", .version = "version"};

static shop *with(const char *schema, ldr_model_options model)
{
    shop *s = shop_new(schema);
    shop_open_one(s, model);
    return s;
}

static void migrate(shop *s, const char *table)
{
    ldr_migrate_options o = {.size = sizeof o, .file = s->file, .table = table, .mode = LDR_MIGRATE_APPLY};
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    if (ldr_sqlite_migrate(&o, &b, &s->err) != LDR_OK)
        fail_msg("%s", s->err.message);
    ldr_buf_free(&b);
}

/* ---- LOAD --------------------------------------------------------------------------------------------------- */

static void a_row_is_a_map_of_its_columns(void **state)
{
    (void)state;
    shop *s = with("CREATE TABLE t (id INTEGER PRIMARY KEY, big INT, r REAL, x TEXT, n, e TEXT, e2 BLOB);"
                   "INSERT INTO t VALUES (-3, 9223372036854775807, 2, 'é\"', NULL, '', x'')",
                   (ldr_model_options){.name = "t", .table = "t"});
    assert_string_equal(load_of(s, "t:-3"), "{id=-3 big=9223372036854775807 r=2.0 x=\"é\"\" n=nil e=\"\" e2=\"\"}");
    assert_int_equal(s->item.kind, LDR_MSGPACK);
    assert_int_equal(s->item.version, 0);
    assert_true(s->item.fingerprint != 0);
    sql(s, "UPDATE t SET r = 1e999, n = x'00ff00', big = -9223372036854775807 - 1");
    load_of(s, "t:-3");
    assert_non_null(memmem(s->item.out.p, s->item.out.n, "\xa3\0\xff\0", 4));
    assert_string_equal(load_of(s, "t:4"), "gone");
    assert_true(s->item.fingerprint != 0);
    shop_free(s);
}

static void a_row_has_exactly_one_key(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS ";INSERT INTO products (id, name) VALUES (0, 'zero'), (-1, 'minus')", product);
    assert_starts(load_of(s, "product:42"), "{id=42");
    assert_starts(load_of(s, "product:0"), "{id=0");
    assert_starts(load_of(s, "product:-1"), "{id=-1");
    static const char *const aliases[] = {"042", "42.0", " 42", "42 ", "+42", "4.2e1", "-0", "00", "0x2A", "", "'42'", "42%3A",
                                          "42 OR 1=1", "%25", "42%25", "9223372036854775808", "-01"};
    char key[64];
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        snprintf(key, sizeof key, "product:%s", aliases[i]);
        if (strcmp(load_of(s, key), "gone") != 0)
            fail_msg("%s: %s", key, s->shown);
        assert_string_equal(erase_if(s, key, LDR_ANY), "done");
    }
    assert_string_equal(ask(s, "SELECT count(*) FROM products"), "3");
    assert_starts(load_of(s, "product:9223372036854775807"), "gone");
    shop_free(s);
}

static void keys_of_other_types_compare_as_text(void **state)
{
    (void)state;
    static const char *const k[] = {"k"};
    shop *s = shop_new("CREATE TABLE r (k REAL PRIMARY KEY); INSERT INTO r VALUES (1), (0.5);"
                       "CREATE TABLE b (k BLOB PRIMARY KEY, x); INSERT INTO b VALUES (x'00ff', 1), ('text', 2);"
                       "CREATE TABLE n (k TEXT PRIMARY KEY COLLATE NOCASE); INSERT INTO n VALUES ('Bob'), ('007');"
                       "CREATE TABLE u (k TEXT COLLATE NOCASE); INSERT INTO u VALUES ('A'), ('a')");
    const ldr_model_options all[] = {{.name = "r", .table = "r", .key = k, .n_key = 1}, {.name = "b", .table = "b", .key = k, .n_key = 1},
                                     {.name = "n", .table = "n", .key = k, .n_key = 1}, {.name = "u", .table = "u", .key = k, .n_key = 1}};
    assert_int_equal(shop_open(s, all, 4), LDR_OK);
    assert_string_equal(load_of(s, "r:1.0"), "{k=1.0}");
    assert_string_equal(load_of(s, "r:1"), "gone");
    assert_string_equal(load_of(s, "r:0.5"), "{k=0.5}");
    request_of(s, LDR_LOAD, ldr_slice_of("b:\0\xff", 4));
    assert_holds(run_it(s), "x=1");
    assert_string_equal(load_of(s, "n:Bob"), "{k=\"Bob\"}");
    assert_string_equal(load_of(s, "n:bob"), "gone");
    assert_string_equal(load_of(s, "n:007"), "{k=\"007\"}");
    assert_string_equal(load_of(s, "n:7"), "gone");
    assert_string_equal(load_of(s, "u:a"), "{k=\"a\"}");
    assert_string_equal(load_of(s, "u:A"), "{k=\"A\"}");
    assert_starts(store_of(s, "n:BOB", NO_COLUMNS), "rejected");
    shop_free(s);
}

static void composite_keys(void **state)
{
    (void)state;
    static const char *const ab[] = {"a", "b"};
    shop *s = with("CREATE TABLE lines (x, b INT, a TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID",
                   (ldr_model_options){.name = "line", .table = "lines", .key = ab, .n_key = 2});
    assert_string_equal(store_of(s, "line:p%3A%25:1", ROW("x", "i:5", "a", "s:p:%")), "{x=5 b=1 a=\"p:%\"}");
    assert_string_equal(load_of(s, "line:p%3A%25:1"), "{x=5 b=1 a=\"p:%\"}");
    assert_string_equal(load_of(s, "line:p%3A%25:01"), "gone");
    assert_starts(load_of(s, "line:p"), "invalid: key \"line:p\"");
    assert_string_equal(ask(s, "SELECT a FROM lines"), "p:%");
    shop_free(s);
}

static void a_model_may_name_its_columns(void **state)
{
    (void)state;
    static const char *const columns[] = {"price", "ID"};
    ldr_model_options m = versioned;
    m.columns = columns;
    m.n_columns = 2;
    shop *s = with(PRODUCTS, m);
    assert_string_equal(load_of(s, "product:42"), "{id=42 price=1.5 version=7}");
    assert_int_equal(s->item.version, 7);
    assert_starts(store_of(s, "product:42", ROW("name", "s:x")), "invalid: sqlite: key \"product:42\", column \"name\"");
    shop_free(s);
}

static void many_rows_are_one_request_each_with_its_own_error(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS, product);
    const char *keys[] = {"product:42", "product:1", "nix:1", "product:42"};
    ldr_item items[4], *list[4];
    for (int i = 0; i < 4; i++) {
        items[i] = (ldr_item){.key = ldr_slice_str(keys[i]), .out = LDR_BUF(&ldr_mem_system)};
        list[i] = &items[i];
    }
    request_of(s, LDR_LOAD, ldr_slice_str(""));
    s->request.items = list;
    s->request.n_items = 4;
    s->source->ops->run(s->source, &s->request);
    assert_int_equal(s->request.err.code, LDR_OK);
    assert_int_equal(items[0].state, LDR_FOUND);
    assert_int_equal(items[1].state, LDR_GONE);
    assert_int_equal(items[2].state, LDR_FAILED);
    assert_int_equal(items[2].err.code, LDR_INVALID);
    assert_int_equal(items[3].state, LDR_FOUND);
    for (int i = 0; i < 4; i++)
        ldr_buf_free(&items[i].out);
    shop_free(s);
}

static void a_version_that_is_no_number_is_none(void **state)
{
    (void)state;
    shop *s = with("CREATE TABLE products (id INTEGER PRIMARY KEY, version);"
                   "INSERT INTO products VALUES (1, NULL), (2, 'v2'), (3, -5), (4, 2.5), (5, 9223372036854775807), (6, 0)",
                   versioned);
    static const int64_t wanted[] = {0, 0, 0, 0, INT64_MAX, 0};
    for (int i = 1; i <= 6; i++) {
        char key[32];
        snprintf(key, sizeof key, "product:%d", i);
        load_of(s, key);
        assert_int_equal(s->item.version, wanted[i - 1]);
        assert_string_equal(version_of(s, key), "done");
        assert_int_equal(s->item.version, wanted[i - 1]);
    }
    assert_string_equal(version_of(s, "product:7"), "gone");
    assert_true(s->source->ops->versioned(s->source, ldr_slice_str("product:1")));
    assert_false(s->source->ops->versioned(s->source, ldr_slice_str("nix:1")));
    shop_free(s);
}

/* ---- STORE -------------------------------------------------------------------------------------------------- */

static void insert_update_and_the_key_alone(void **state)
{
    (void)state;
    shop *s = with("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT DEFAULT 'none', price REAL)", product);
    assert_string_equal(store_of(s, "product:1", NO_COLUMNS), "{id=1 name=\"none\" price=nil}");
    assert_string_equal(store_of(s, "product:1", ROW("price", "i:3")), "{id=1 name=\"none\" price=3.0}");
    assert_string_equal(store_of(s, "product:1", NO_COLUMNS), "{id=1 name=\"none\" price=3.0}");
    assert_string_equal(store_of(s, "product:1", ROW("id", "i:1", "name", "n:")), "{id=1 name=nil price=3.0}");
    assert_string_equal(store_of(s, "product:2", ROW("id", "s:2", "name", "s:")), "{id=2 name=\"\" price=nil}");
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_pack_array(&b, 0); /* how an empty Lua table may come */
    assert_string_equal(store_bytes(s, "product:3", ldr_buf_slice(&b), LDR_ANY), "{id=3 name=\"none\" price=nil}");
    ldr_buf_free(&b);
    assert_int_equal(ask_int(s, "SELECT count(*) FROM products"), 3);
    shop_free(s);
}

static void values_keep_their_types(void **state)
{
    (void)state;
    shop *s = with("CREATE TABLE products (id INTEGER PRIMARY KEY, v)", product);
    static const char *const rows[][2] = {{"i:7", "integer"}, {"d:7", "real"}, {"s:7", "text"}, {"s:\xc3\xa9", "text"},
                                          {"s:\xff", "blob"}, {"s:\xc0\x80", "blob"}, {"s:\xed\xa0\x80", "blob"},
                                          {"s:\xf4\x90\x80\x80", "blob"}, {"s:\xe2\x82", "blob"}, {"b:1", "integer"},
                                          {"n:", "null"}, {"s:", "text"}, {"d:inf", "real"}, {"s:'; DROP TABLE products; --", "text"},
                                          {"s:\xf0\x9f\x8d\xb5", "text"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_starts(store_of(s, "product:1", ROW("v", rows[i][0])), "{id=1 v=");
        assert_string_equal(ask(s, "SELECT typeof(v) FROM products"), rows[i][1]);
    }
    assert_starts(store_of(s, "product:1", ROW("v", "b:0")), "{id=1 v=0}");
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_pack_map(&b, 1);
    ldr_pack_str(&b, ldr_slice_str("v"));
    ldr_pack_str(&b, ldr_slice_of("a\0b", 3));
    store_bytes(s, "product:1", ldr_buf_slice(&b), LDR_ANY);
    assert_string_equal(ask(s, "SELECT typeof(v) || hex(v) FROM products"), "blob610062");
    ldr_buf_free(&b);
    shop_free(s);
}

static void what_is_no_row_is_refused(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS, versioned);
    assert_starts(store_of(s, "product:42", ROW("nix", "i:1")), "invalid: sqlite: key \"product:42\", column \"nix\": the model has no such");
    assert_starts(store_of(s, "product:42", ROW("NAME", "s:x")), "invalid");
    assert_starts(store_of(s, "product:42", ROW("", "i:1")), "invalid");
    assert_starts(store_of(s, "product:42", ROW("name", "t:")), "invalid: sqlite: key \"product:42\", column \"name\": a table");
    assert_starts(store_of(s, "product:42", ROW("price", "d:nan")), "invalid: sqlite: key \"product:42\", column \"price\": not a number");
    assert_starts(store_of(s, "product:42", ROW("name", "s:a", "name", "s:b")), "invalid: sqlite: key \"product:42\", column \"name\": it is there twice");
    static const char *const other[] = {"i:43", "s:042", "d:42.5", "b:1", "n:", "t:", "d:nan", "d:1e300"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_holds(store_of(s, "product:42", ROW("id", other[i])), "column \"id\": it differs from the key");
    assert_starts(store_of(s, "product:42", ROW("id", "d:42")), "{id=42");
    static const struct { const char *p; size_t n; } bad[] = {{"", 0}, {"\x2a", 1}, {"\x91\x01", 2}, {"\x81\x01\x01", 3}, {"\x81\xa4name", 6},
        {"\x80\x80", 2}, {"\xdf\xff\xff\xff\xff", 5}, {"\xc1", 1}, {"\xc0", 1}, {"\x82\xa4name\xa1x", 8}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_starts(store_bytes(s, "product:42", ldr_slice_of(bad[i].p, bad[i].n), LDR_ANY), "invalid: sqlite: key \"product:42\": a row is wanted");
    assert_starts(store_bytes(s, "product:42", ldr_slice_of("\x81\xa5price\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 16), LDR_ANY), "invalid");
    request_of(s, LDR_STORE, ldr_slice_str("product:42"));
    s->item.value = ldr_slice_str("text");
    s->item.value_kind = LDR_STRING;
    s->item.if_version = LDR_ANY;
    assert_starts(run_it(s), "invalid");
    assert_string_equal(ask(s, "SELECT name || price FROM products"), "tea1.5");
    shop_free(s);
}

static void constraints_reject_and_leave_no_trace(void **state)
{
    (void)state;
    shop *s = with("CREATE TABLE products (id INTEGER PRIMARY KEY, sku TEXT UNIQUE, price REAL CHECK (price > 0), name TEXT NOT NULL DEFAULT '',"
                   " cat INT REFERENCES cats (id), late INT REFERENCES cats (id) DEFERRABLE INITIALLY DEFERRED);"
                   "CREATE TABLE cats (id INTEGER PRIMARY KEY); INSERT INTO products (id, sku, price) VALUES (1, 'secret', 1), (2, 'b', 1);"
                   "CREATE TRIGGER r BEFORE UPDATE OF name ON products WHEN NEW.name = 'bad' BEGIN SELECT RAISE(ABORT, 'not this name'); END;"
                   "CREATE TRIGGER rb BEFORE UPDATE OF name ON products WHEN NEW.name = 'back' BEGIN SELECT RAISE(ROLLBACK, 'all back'); END;"
                   "CREATE TRIGGER ig BEFORE UPDATE OF name ON products WHEN NEW.name = 'no' BEGIN SELECT RAISE(IGNORE); END", product);
    assert_starts(store_of(s, "product:2", ROW("sku", "s:secret")), "rejected: sqlite: key \"product:2\": UNIQUE constraint failed: products.sku");
    assert_null(strstr(s->shown, "secret"));
    assert_starts(store_of(s, "product:2", ROW("price", "d:-1")), "rejected: sqlite: key \"product:2\": CHECK");
    assert_starts(store_of(s, "product:2", ROW("name", "n:")), "rejected: sqlite: key \"product:2\": NOT NULL");
    assert_starts(store_of(s, "product:2", ROW("cat", "i:9")), "rejected: sqlite: key \"product:2\": FOREIGN KEY");
    assert_starts(store_of(s, "product:2", ROW("late", "i:9")), "rejected: sqlite: FOREIGN KEY");
    assert_starts(store_of(s, "product:2", ROW("name", "s:bad")), "rejected: sqlite: key \"product:2\": not this name");
    assert_starts(store_of(s, "product:2", ROW("name", "s:back")), "rejected: sqlite: key \"product:2\": all back");
    assert_starts(store_of(s, "product:2", ROW("name", "s:no")), "rejected: sqlite: key \"product:2\": a trigger");
    assert_starts(store_of(s, "product:text", ROW("price", "i:1")), "rejected: sqlite: key \"product:text\": datatype mismatch");
    assert_starts(store_of(s, "product:007", ROW("price", "i:1")), "invalid");
    assert_string_equal(ask(s, "SELECT count(*) || sum(price) FROM products"), "22.0");
    assert_starts(store_of(s, "product:2", ROW("price", "i:5")), "{id=2");
    shop_free(s);
}

static void if_version_holds_or_conflicts(void **state)
{
    (void)state;
    shop *s = shop_new("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO products VALUES (1, 'a')");
    migrate(s, "products");
    shop_open_one(s, versioned);
    load_of(s, "product:1");
    int64_t v = s->item.version;
    assert_true(v > 0);
    assert_starts(store_if(s, "product:1", ROW("name", "s:b"), v + 1), "conflict");
    assert_int_equal(s->item.err.version, v);
    assert_starts(store_if(s, "product:1", ROW("name", "s:b"), LDR_MUST_BE_ABSENT), "conflict");
    assert_int_equal(s->item.err.version, v);
    assert_starts(store_if(s, "product:1", ROW("name", "s:b", "version", "i:999"), v), "{id=1 name=\"b\" version=");
    assert_true(s->item.version > v && s->item.version < 999);
    v = s->item.version;
    assert_string_equal(version_of(s, "product:1"), "done");
    assert_int_equal(s->item.version, v);
    assert_starts(store_if(s, "product:2", ROW("name", "s:b"), 5), "conflict");
    assert_int_equal(s->item.err.version, 0);
    assert_starts(store_if(s, "product:2", ROW("name", "s:b"), LDR_MUST_BE_ABSENT), "{id=2");
    assert_starts(erase_if(s, "product:2", v), "conflict");
    assert_starts(erase_if(s, "product:2", LDR_MUST_BE_ABSENT), "conflict");
    assert_starts(erase_if(s, "product:3", 5), "conflict");
    assert_string_equal(erase_if(s, "product:3", LDR_MUST_BE_ABSENT), "done");
    assert_string_equal(erase_if(s, "product:1", v), "done");
    assert_true(s->item.version > v);
    assert_string_equal(ask(s, "SELECT group_concat(id) FROM products"), "2");
    shop_free(s);
    s = with(PRODUCTS, product);
    assert_starts(store_if(s, "product:42", ROW("name", "s:b"), 7), "unsupported: sqlite: key \"product:42\": if_version");
    assert_starts(version_of(s, "product:42"), "unsupported");
    assert_starts(store_if(s, "product:42", NO_COLUMNS, LDR_MUST_BE_ABSENT), "conflict");
    shop_free(s);
}

static void several_writes_stand_or_fall_alone(void **state)
{
    (void)state;
    shop *s = with("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT UNIQUE);"
                   "CREATE TRIGGER rb BEFORE INSERT ON products WHEN NEW.name = 'back' BEGIN SELECT RAISE(ROLLBACK, 'all back'); END", product);
    const char *keys[] = {"product:1", "product:2", "nix:3", "product:4"}, *names[] = {"s:a", "s:a", "s:c", "s:d"};
    for (int back = 0; back < 2; back++) {
        ldr_item items[4], *list[4];
        ldr_buf values[4];
        names[3] = back ? "s:back" : "s:d";
        sql(s, "DELETE FROM products");
        for (int i = 0; i < 4; i++) {
            values[i] = LDR_BUF(&ldr_mem_system);
            row_of(&values[i], ROW("name", names[i]));
            items[i] = (ldr_item){.key = ldr_slice_str(keys[i]), .value = ldr_buf_slice(&values[i]), .value_kind = LDR_MSGPACK,
                                  .if_version = LDR_ANY, .out = LDR_BUF(&ldr_mem_system)};
            list[i] = &items[i];
        }
        request_of(s, LDR_STORE, ldr_slice_str(""));
        s->request.items = list;
        s->request.n_items = 4;
        s->source->ops->run(s->source, &s->request);
        assert_int_equal(items[0].state, back ? LDR_FAILED : LDR_FOUND);
        assert_int_equal(items[1].err.code, LDR_REJECTED);
        assert_int_equal(items[2].err.code, LDR_INVALID);
        assert_int_equal(items[3].state, back ? LDR_FAILED : LDR_FOUND);
        assert_int_equal(ask_int(s, "SELECT count(*) FROM products"), back ? 0 : 2);
        for (int i = 0; i < 4; i++) {
            ldr_buf_free(&items[i].out);
            ldr_buf_free(&values[i]);
        }
    }
    shop_free(s);
}

/* ---- ERASE -------------------------------------------------------------------------------------------------- */

static void a_row_is_erased_and_an_absent_one_is_fine(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS, versioned);
    assert_string_equal(erase_if(s, "product:42", LDR_ANY), "done");
    assert_int_equal(s->item.version, 0); /* not migrated: nothing was drawn */
    assert_string_equal(erase_if(s, "product:42", LDR_ANY), "done");
    assert_string_equal(load_of(s, "product:42"), "gone");
    shop_free(s);
}

/* ---- what SQLite refuses ------------------------------------------------------------------------------------- */

static void views_and_generated_columns(void **state)
{
    (void)state;
    shop *s = with("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT AS (a * 2)); INSERT INTO t VALUES (1, 3);"
                   "CREATE VIEW products AS SELECT * FROM t", product);
    assert_string_equal(load_of(s, "product:1"), "{id=1 a=3 b=6}");
    assert_starts(store_of(s, "product:1", ROW("a", "i:4")), "unsupported: ");
    assert_holds(s->shown, "because it is a view");
    assert_starts(erase_if(s, "product:1", LDR_ANY), "unsupported: ");
    sql(s, "CREATE TRIGGER v INSTEAD OF UPDATE ON products BEGIN UPDATE t SET a = NEW.a WHERE id = NEW.id; END");
    assert_string_equal(store_of(s, "product:1", ROW("a", "i:4")), "{id=1 a=4 b=8}");
    sql(s, "DROP VIEW products; ALTER TABLE t RENAME TO products");
    assert_starts(store_of(s, "product:1", ROW("b", "i:4")), "unsupported: ");
    assert_holds(s->shown, "generated column");
    shop_free(s);
}

static void a_missing_table_is_an_error_until_it_is_there(void **state)
{
    (void)state;
    shop *s = with(NULL, versioned);
    assert_starts(load_of(s, "product:1"), "source: sqlite: model \"product\", table \"products\": no such table: products");
    assert_starts(store_of(s, "product:1", NO_COLUMNS), "source: ");
    assert_starts(erase_if(s, "product:1", LDR_ANY), "source: ");
    sql(s, "CREATE TABLE products (id INTEGER PRIMARY KEY)");
    assert_starts(load_of(s, "product:1"), "source: sqlite: model \"product\", table \"products\": there is no column \"version\" (larder migrate makes it)");
    migrate(s, "products");
    assert_string_equal(store_of(s, "product:1", NO_COLUMNS), "{id=1 version=2}");
    sql(s, "DROP TABLE products");
    assert_holds(load_of(s, "product:1"), "no such table: products");
    sql(s, "CREATE TABLE products (id INTEGER PRIMARY KEY, x, version INT); INSERT INTO products VALUES (1, 'new', 9)");
    assert_string_equal(load_of(s, "product:1"), "{id=1 x=\"new\" version=9}");
    shop_free(s);
    s = with("CREATE TABLE products (nr INTEGER PRIMARY KEY)", product);
    assert_holds(load_of(s, "product:1"), "no such column: products.id");
    assert_starts(s->shown, "source");
    shop_free(s);
}

static void the_schema_may_change_between_two_loads(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS, product);
    load_of(s, "product:42");
    int64_t before = s->item.fingerprint, epoch = s->source->ops->epoch(s->source);
    load_of(s, "product:42");
    assert_int_equal(s->item.fingerprint, before);
    sql(s, "ALTER TABLE products ADD COLUMN stock INT DEFAULT 5");
    assert_holds(load_of(s, "product:42"), "version=7 stock=5}");
    assert_true(s->item.fingerprint != before);
    assert_int_equal(s->source->ops->epoch(s->source), epoch + 1);
    before = s->item.fingerprint;
    sql(s, "CREATE TABLE unrelated (x)");
    load_of(s, "product:42");
    assert_int_equal(s->item.fingerprint, before);
    sql(s, "ALTER TABLE products RENAME COLUMN stock TO shelf");
    assert_holds(store_of(s, "product:42", ROW("shelf", "i:6")), "shelf=6}");
    assert_starts(store_of(s, "product:42", ROW("stock", "i:6")), "invalid");
    sql(s, "ALTER TABLE products RENAME COLUMN id TO nr");
    assert_starts(load_of(s, "product:42"), "source");
    sql(s, "ALTER TABLE products RENAME COLUMN nr TO id");
    assert_starts(load_of(s, "product:42"), "{id=42");
    shop_free(s);
}

static void names_are_names_whatever_they_hold(void **state)
{
    (void)state;
    static const char *const tables[] = {"x; DROP TABLE t", "a\"b", "it's", "$1", "SELECT", "MiXed", "main.t", "main.", ".",
                                         "a_very_long_name_that_is_longer_than_sixty_four_bytes_of_text_for_sure_it_is"};
    static const char *const key[] = {"\"; DELETE FROM t; --"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        shop *s = shop_new("CREATE TABLE t (x)");
        char *text = sqlite3_mprintf("CREATE TABLE \"%w\" (\"%w\" INT PRIMARY KEY, \"order\" TEXT)", tables[i], key[0]);
        sql(s, text);
        sqlite3_free(text);
        shop_open_one(s, (ldr_model_options){.name = "m", .table = tables[i], .key = key, .n_key = 1});
        assert_string_equal(store_of(s, "m:1", ROW("order", "s:'); DROP TABLE t; --")), "{\"; DELETE FROM t; --=1 order=\"'); DROP TABLE t; --\"}");
        assert_string_equal(store_of(s, "m:1", ROW("order", "s:2")), "{\"; DELETE FROM t; --=1 order=\"2\"}");
        assert_string_equal(erase_if(s, "m:1", LDR_ANY), "done");
        assert_string_equal(ask(s, "SELECT count(*) FROM t"), "0");
        shop_free(s);
    }
    shop *s = with("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)", (ldr_model_options){.name = "m", .table = "Main.t"});
    assert_string_equal(load_of(s, "m:1"), "{id=1}");
    shop_free(s);
}

/* ---- own SQL ------------------------------------------------------------------------------------------------ */

static void own_statements_replace_the_made_ones(void **state)
{
    (void)state;
    shop *s = shop_new("CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT, v INT, gone INT DEFAULT 0); INSERT INTO p VALUES (1, 'a', 3, 0)");
    shop_open_one(s, (ldr_model_options){.name = "m", .sql_load = "SELECT id, name, upper(name) AS loud FROM p WHERE id = ?1 AND NOT gone;\n",
        .sql_store = "INSERT INTO p (id, name, v) VALUES (:id, :name, 1) ON CONFLICT DO UPDATE SET name = :name, v = v + 1 RETURNING *",
        .sql_delete = "UPDATE p SET gone = 1 WHERE id = ?1", .sql_version = "SELECT v FROM p WHERE id = ?"});
    assert_string_equal(load_of(s, "m:1"), "{id=1 name=\"a\" loud=\"A\"}");
    assert_int_equal(s->item.version, 3);
    assert_string_equal(load_of(s, "m:01"), "gone");
    assert_string_equal(store_of(s, "m:1", ROW("name", "s:b", "loud", "s:x")), "{id=1 name=\"b\" loud=\"B\"}");
    assert_int_equal(s->item.version, 4);
    assert_starts(store_if(s, "m:1", ROW("name", "s:c"), 3), "conflict");
    assert_int_equal(s->item.err.version, 4);
    assert_string_equal(store_of(s, "m:2", NO_COLUMNS), "{id=2 name=nil loud=nil}");
    assert_starts(store_of(s, "m:2", ROW("nix", "i:1")), "invalid");
    assert_string_equal(version_of(s, "m:1"), "done");
    assert_int_equal(s->item.version, 4);
    assert_string_equal(erase_if(s, "m:1", LDR_ANY), "done");
    assert_string_equal(load_of(s, "m:1"), "gone");
    assert_string_equal(ask(s, "SELECT count(*) FROM p"), "2");
    shop_free(s);
}

static void own_sql_without_a_table_reads_only(void **state)
{
    (void)state;
    shop *s = with(PRODUCTS, (ldr_model_options){.name = "m", .sql_load = "SELECT count(*) AS n FROM products WHERE price < ?1"});
    assert_string_equal(load_of(s, "m:9"), "{n=1}");
    assert_starts(store_of(s, "m:9", NO_COLUMNS), "unsupported");
    assert_starts(erase_if(s, "m:9", LDR_ANY), "unsupported");
    assert_false(s->source->ops->can(s->source, LDR_STORE));
    assert_false(s->source->ops->can(s->source, LDR_ERASE));
    assert_false(s->source->ops->can(s->source, LDR_VERSION));
    assert_true(s->source->ops->can(s->source, LDR_LOAD));
    shop_free(s);
}

static void wrong_own_sql_is_an_error_of_the_source(void **state)
{
    (void)state;
    static const char *const bad[] = {"SELEKT", "", "SELECT 1 AS a, 2 AS a", "SELECT id FROM products WHERE id = ?1 AND price = ?2",
                                      "SELECT 1; DROP TABLE products", "DELETE FROM products"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        shop *s = with(PRODUCTS, (ldr_model_options){.name = "m", .sql_load = bad[i]});
        assert_starts(load_of(s, "m:42"), "source: sqlite: ");
        assert_string_equal(ask(s, "SELECT count(*) FROM products"), "1");
        shop_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_a_map_of_its_columns),
        cmocka_unit_test(a_row_has_exactly_one_key),
        cmocka_unit_test(keys_of_other_types_compare_as_text),
        cmocka_unit_test(composite_keys),
        cmocka_unit_test(a_model_may_name_its_columns),
        cmocka_unit_test(many_rows_are_one_request_each_with_its_own_error),
        cmocka_unit_test(a_version_that_is_no_number_is_none),
        cmocka_unit_test(insert_update_and_the_key_alone),
        cmocka_unit_test(values_keep_their_types),
        cmocka_unit_test(what_is_no_row_is_refused),
        cmocka_unit_test(constraints_reject_and_leave_no_trace),
        cmocka_unit_test(if_version_holds_or_conflicts),
        cmocka_unit_test(several_writes_stand_or_fall_alone),
        cmocka_unit_test(a_row_is_erased_and_an_absent_one_is_fine),
        cmocka_unit_test(views_and_generated_columns),
        cmocka_unit_test(a_missing_table_is_an_error_until_it_is_there),
        cmocka_unit_test(the_schema_may_change_between_two_loads),
        cmocka_unit_test(names_are_names_whatever_they_hold),
        cmocka_unit_test(own_statements_replace_the_made_ones),
        cmocka_unit_test(own_sql_without_a_table_reads_only),
        cmocka_unit_test(wrong_own_sql_is_an_error_of_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
