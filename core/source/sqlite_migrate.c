/* sqlite_migrate.c - compares what a table has with what it should have, and writes the SQL between the two.
 *
 * Invariant: the plan is made inside the transaction that applies it; a second run finds nothing to do. Triggers are
 * compared by their text, so a changed key, a renamed table or an older release is mended by running it again. */
#include "source/sqlite_migrate.h"

#include "source/sqlite_parts.h"
#include "source/sqlite_triggers.h"

#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

typedef struct plan {
    sqlite3 *db;
    const ldr_migrate_options *o;
    ldr_buf body;
    ldr_err *err;
    ldr_sqlite_migrated m;
    bool has_column, has_meta, has_counter, has_changes; /* now */
    bool noted, made_column, logged;                     /* what ldr_meta says of this table */
    ldr_buf noted_key, noted_version;
} plan;

static int fail_db(plan *p, int rc)
{
    int why = rc & 0xff;
    int code = why == SQLITE_BUSY || why == SQLITE_LOCKED ? LDR_TIMEOUT
               : why == SQLITE_NOMEM                      ? LDR_NOMEM
               : why == SQLITE_READONLY                   ? LDR_UNSUPPORTED
               : why == SQLITE_CANTOPEN || why == SQLITE_NOTADB || why == SQLITE_IOERR ? LDR_UNAVAILABLE
                                                                                       : LDR_SOURCE;
    return ldr_fail(p->err, code, "migrate: %.80s, table \"%.40s\": %s", p->o->file, p->o->table, sqlite3_errmsg(p->db));
}

/* ---- asking ----------------------------------------------------------------------------------------------- */

/* The first row's columns as texts that end with a NUL; NULL columns are "". out may be NULL with n 0. */
static int first(plan *p, const char *sql, const char *arg, ldr_buf *out, int n, bool *found)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(p->db, sql, -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return fail_db(p, rc);
    if (arg)
        sqlite3_bind_text(stmt, 1, arg, -1, SQLITE_STATIC);
    rc = sqlite3_step(stmt);
    *found = rc == SQLITE_ROW;
    bool oom = false;
    for (int i = 0; *found && i < n; i++) {
        ldr_buf_clear(&out[i]);
        ldr_buf_add(&out[i], sqlite3_column_text(stmt, i), (size_t)sqlite3_column_bytes(stmt, i));
        ldr_buf_byte(&out[i], 0);
        oom |= out[i].oom;
    }
    int code = rc == SQLITE_ROW || rc == SQLITE_DONE ? LDR_OK : fail_db(p, rc);
    sqlite3_finalize(stmt);
    return oom ? ldr_fail_oom(p->err) : code;
}

static int is_there(plan *p, const char *table, bool *there)
{
    return first(p, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE", table, NULL, 0, there);
}

static char *keep(plan *p, const char *text)
{
    return ldr_mem_dup(p->body.mem, text, strlen(text));
}

/* ---- looking ---------------------------------------------------------------------------------------------- */

static int refuse_kind(plan *p, const char *type, const char *sql)
{
    if (strcmp(type, "view") == 0)
        return ldr_fail(p->err, LDR_UNSUPPORTED, "migrate: \"%s\" is a view: migrate the tables beneath it", p->o->table);
    if (strncasecmp(sql, "CREATE VIRTUAL", 14) == 0)
        return ldr_fail(p->err, LDR_UNSUPPORTED, "migrate: \"%s\" is a virtual table: it can have no triggers", p->o->table);
    if (strncasecmp(p->m.table, "ldr_", 4) == 0 || strncasecmp(p->m.table, "sqlite_", 7) == 0)
        return ldr_fail(p->err, LDR_INVALID, "migrate: \"%s\" is no table of yours", p->o->table);
    return LDR_OK;
}

static int find_table(plan *p)
{
    static const char sql[] = "SELECT name, type, sql FROM sqlite_master WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE";
    ldr_buf out[3] = {LDR_BUF(p->body.mem), LDR_BUF(p->body.mem), LDR_BUF(p->body.mem)};
    bool found;
    int code = first(p, sql, p->o->table, out, 3, &found);
    if (code == LDR_OK && !found)
        code = first(p, sql, ldr_sqlite_bare(p->o->table), out, 3, &found);
    if (code == LDR_OK && !found)
        code = ldr_fail(p->err, LDR_SOURCE, "migrate: %.100s: there is no table \"%s\"", p->o->file, p->o->table);
    if (code == LDR_OK && !(p->m.table = keep(p, out[0].p)))
        code = ldr_fail_oom(p->err);
    if (code == LDR_OK)
        code = refuse_kind(p, out[1].p, out[2].p);
    for (int i = 0; i < 3; i++)
        ldr_buf_free(&out[i]);
    return code;
}

/* A column as the schema spells it; *spelled stays NULL where there is none. hidden: generated, or a virtual table's. */
static int find_column(plan *p, const char *name, char **spelled, bool *hidden)
{
    ldr_buf sql = LDR_BUF(p->body.mem), out[2] = {LDR_BUF(p->body.mem), LDR_BUF(p->body.mem)};
    bool found = false;
    ldr_buf_str(&sql, "SELECT name, hidden FROM pragma_table_xinfo(");
    ldr_sqlite_literal(&sql, p->m.table);
    ldr_buf_str(&sql, ") WHERE name = ?1 COLLATE NOCASE");
    ldr_buf_byte(&sql, 0);
    int code = sql.oom ? ldr_fail_oom(p->err) : first(p, sql.p, name, out, 2, &found);
    if (code == LDR_OK && found && !(*spelled = keep(p, out[0].p)))
        code = ldr_fail_oom(p->err);
    if (found && hidden && code == LDR_OK)
        *hidden = strcmp(out[1].p, "0") != 0;
    ldr_buf_free(&sql);
    ldr_buf_free(&out[0]);
    ldr_buf_free(&out[1]);
    return code;
}

static int find_key(plan *p)
{
    static const char *const id[] = {"id"};
    const char *const *key = p->o->key ? p->o->key : id;
    p->m.n_key = p->o->key ? p->o->n_key : 1;
    if (!(p->m.key = ldr_mem_zero(p->body.mem, p->m.n_key, sizeof *p->m.key)))
        return ldr_fail_oom(p->err);
    for (size_t i = 0; i < p->m.n_key; i++) {
        int code = find_column(p, key[i], &p->m.key[i], NULL);
        if (code)
            return code;
        if (!p->m.key[i])
            return ldr_fail(p->err, LDR_SOURCE, "migrate: table \"%s\" has no column \"%s\"", p->m.table, key[i]);
    }
    return LDR_OK;
}

/* SQLite itself knows best what is unique: it prepares an upsert on these columns or it does not. */
static int check_unique(plan *p)
{
    ldr_buf sql = LDR_BUF(p->body.mem);
    sqlite3_stmt *stmt = NULL;
    ldr_buf_str(&sql, "INSERT INTO ");
    ldr_sqlite_quote(&sql, p->m.table);
    ldr_buf_str(&sql, " (");
    ldr_sqlite_key_columns(&sql, &p->m);
    ldr_buf_str(&sql, ") VALUES (");
    for (size_t i = 0; i < p->m.n_key; i++)
        ldr_buf_str(&sql, i ? ", ?" : "?");
    ldr_buf_str(&sql, ") ON CONFLICT (");
    ldr_sqlite_key_columns(&sql, &p->m);
    ldr_buf_str(&sql, ") DO NOTHING");
    ldr_buf_byte(&sql, 0);
    int code = LDR_OK;
    if (sql.oom)
        code = ldr_fail_oom(p->err);
    else if (sqlite3_prepare_v2(p->db, sql.p, -1, &stmt, NULL) != SQLITE_OK)
        code = ldr_fail(p->err, LDR_INVALID, "migrate: key: table \"%s\": %s (the key must name one row)", p->m.table,
                        sqlite3_errmsg(p->db));
    sqlite3_finalize(stmt);
    ldr_buf_free(&sql);
    return code;
}

static int check_numbers(plan *p)
{
    ldr_buf sql = LDR_BUF(p->body.mem);
    bool found = false;
    ldr_buf_str(&sql, "SELECT 1 FROM ");
    ldr_sqlite_quote(&sql, p->m.table);
    ldr_buf_str(&sql, " AS t WHERE typeof(t.");
    ldr_sqlite_quote(&sql, p->m.version);
    ldr_buf_str(&sql, ") NOT IN ('integer', 'null') LIMIT 1");
    ldr_buf_byte(&sql, 0);
    int code = sql.oom ? ldr_fail_oom(p->err) : first(p, sql.p, NULL, NULL, 0, &found);
    ldr_buf_free(&sql);
    if (found)
        return ldr_fail(p->err, LDR_UNSUPPORTED, "migrate: column \"%s\" of table \"%s\" holds what is no integer",
                        p->m.version, p->m.table);
    return code;
}

static int find_version(plan *p)
{
    const char *name = p->o->version ? p->o->version : "version";
    bool hidden = false;
    int code = find_column(p, name, &p->m.version, &hidden);
    if (code)
        return code;
    if (hidden)
        return ldr_fail(p->err, LDR_UNSUPPORTED, "migrate: column \"%s\" of table \"%s\" is generated", name, p->m.table);
    p->has_column = p->m.version != NULL;
    if (!p->has_column)
        return (p->m.version = keep(p, name)) ? LDR_OK : ldr_fail_oom(p->err);
    for (size_t i = 0; i < p->m.n_key; i++)
        if (strcmp(p->m.key[i], p->m.version) == 0)
            return ldr_fail(p->err, LDR_INVALID, "migrate: version: \"%s\" is a key column", name);
    return LDR_OK;
}

static int look_at_notes(plan *p, const char *table)
{
    ldr_buf out[4] = {LDR_BUF(p->body.mem), LDR_BUF(p->body.mem), p->noted_key, p->noted_version};
    int code = is_there(p, "ldr_meta", &p->has_meta);
    if (code == LDR_OK)
        code = is_there(p, "ldr_version", &p->has_counter);
    if (code == LDR_OK)
        code = is_there(p, "ldr_changes", &p->has_changes);
    if (code == LDR_OK && p->has_meta)
        code = first(p, "SELECT made_column, changes, key_columns, version_column FROM ldr_meta WHERE tbl = ?1 COLLATE NOCASE",
                     table, out, 4, &p->noted);
    if (p->noted && code == LDR_OK) {
        p->made_column = strcmp(out[0].p, "1") == 0;
        p->logged = strcmp(out[1].p, "1") == 0;
    }
    p->noted_key = out[2];
    p->noted_version = out[3];
    ldr_buf_free(&out[0]);
    ldr_buf_free(&out[1]);
    return code;
}

/* ---- triggers --------------------------------------------------------------------------------------------- */

static void drop_trigger(plan *p, const char *name)
{
    ldr_buf_str(&p->body, "DROP TRIGGER ");
    ldr_sqlite_quote(&p->body, name);
    ldr_buf_str(&p->body, ";\n");
}

/* Is this trigger of ours exactly as it would be made now? */
static bool is_current(plan *p, const char *name, const char *text, bool had[LDR_N_TRIGGERS])
{
    ldr_buf b = LDR_BUF(p->body.mem);
    bool current = false;
    for (int i = 0; had && i < LDR_N_TRIGGERS && !current; i++) {
        ldr_buf_clear(&b);
        ldr_sqlite_trigger_name(&b, &p->m, i);
        if (!ldr_slice_eq(ldr_buf_slice(&b), ldr_slice_str(name)))
            continue;
        ldr_buf_clear(&b);
        ldr_sqlite_trigger_text(&b, &p->m, i);
        current = ldr_slice_eq(ldr_buf_slice(&b), ldr_slice_str(text));
        had[i] = current;
    }
    p->body.oom |= b.oom;
    ldr_buf_free(&b);
    return current;
}

/* Drops the table's triggers of ours that are not current; had NULL: all. */
static int drop_triggers(plan *p, bool had[LDR_N_TRIGGERS])
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(p->db, "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE "
                                "AND (name GLOB 'ldr_insert_*' OR name GLOB 'ldr_update_*' OR name GLOB 'ldr_delete_*')",
                                -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return fail_db(p, rc);
    sqlite3_bind_text(stmt, 1, p->m.table, -1, SQLITE_STATIC);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(stmt, 0), *text = (const char *)sqlite3_column_text(stmt, 1);
        if (name && text && !is_current(p, name, text, had))
            drop_trigger(p, name);
    }
    int code = rc == SQLITE_DONE ? LDR_OK : fail_db(p, rc);
    sqlite3_finalize(stmt);
    return code;
}

static int put_triggers(plan *p)
{
    bool had[LDR_N_TRIGGERS] = {false};
    int code = drop_triggers(p, had);
    for (int i = 0; code == LDR_OK && i < LDR_N_TRIGGERS; i++)
        if (!had[i]) {
            ldr_sqlite_trigger_text(&p->body, &p->m, i);
            ldr_buf_str(&p->body, ";\n");
        }
    return code;
}

/* ---- what is to be done ----------------------------------------------------------------------------------- */

static int64_t counter_now(plan *p)
{
    ldr_buf out = LDR_BUF(p->body.mem);
    bool found = false;
    int64_t n = 0;
    if (p->has_counter && first(p, "SELECT n FROM ldr_version", NULL, &out, 1, &found) == LDR_OK && found)
        n = strtoll(out.p, NULL, 10);
    ldr_buf_free(&out);
    return n;
}

/* A constant default gives all existing rows their number without touching one of them. */
static void add_column(plan *p)
{
    long long n = (long long)counter_now(p) + 1;
    ldr_buf_str(&p->body, "ALTER TABLE ");
    ldr_sqlite_quote(&p->body, p->m.table);
    ldr_buf_str(&p->body, " ADD COLUMN ");
    ldr_sqlite_quote(&p->body, p->m.version);
    ldr_buf_fmt(&p->body, " INTEGER DEFAULT %lld;\nUPDATE ldr_version SET n = max(n, %lld);\n", n, n);
}

/* The counter starts above what the column holds; rows without a version get one. */
static void adopt_column(plan *p)
{
    ldr_buf *b = &p->body;
    ldr_buf_str(b, "UPDATE ldr_version SET n = 1 + max(n, coalesce((SELECT max(t.");
    ldr_sqlite_quote(b, p->m.version);
    ldr_buf_str(b, ") FROM ");
    ldr_sqlite_quote(b, p->m.table);
    ldr_buf_str(b, " AS t), 0));\nUPDATE ");
    ldr_sqlite_quote(b, p->m.table);
    ldr_buf_str(b, " AS t SET ");
    ldr_sqlite_quote(b, p->m.version);
    ldr_buf_str(b, " = (SELECT n FROM ldr_version) WHERE t.");
    ldr_sqlite_quote(b, p->m.version);
    ldr_buf_str(b, " IS NULL OR t.");
    ldr_sqlite_quote(b, p->m.version);
    ldr_buf_str(b, " < 1;\n");
}

static void note(plan *p)
{
    ldr_buf key = LDR_BUF(p->body.mem);
    ldr_sqlite_key_columns(&key, &p->m);
    ldr_buf_byte(&key, 0);
    p->body.oom |= key.oom;
    bool same = p->noted && !key.oom && strcmp(key.p, p->noted_key.p) == 0 && p->logged == p->m.changes;
    if (!same && !key.oom) {
        ldr_buf_str(&p->body, "INSERT OR REPLACE INTO ldr_meta VALUES (");
        ldr_sqlite_literal(&p->body, p->m.table);
        ldr_buf_str(&p->body, ", ");
        ldr_sqlite_literal(&p->body, key.p);
        ldr_buf_str(&p->body, ", ");
        ldr_sqlite_literal(&p->body, p->m.version);
        ldr_buf_fmt(&p->body, ", %d, %d);\n", p->made_column, p->m.changes);
    }
    ldr_buf_free(&key);
}

static int check_noted(plan *p)
{
    if (p->noted && strcasecmp(p->noted_version.p, p->m.version) != 0)
        return ldr_fail(p->err, LDR_INVALID, "migrate: version: table \"%s\" was migrated with column \"%s\"; undo that first",
                        p->m.table, p->noted_version.p);
    int code = check_unique(p);
    return code || !p->has_column ? code : check_numbers(p);
}

static int plan_do(plan *p)
{
    int code = find_table(p);
    if (code || (code = find_key(p)) || (code = find_version(p)) || (code = look_at_notes(p, p->m.table)) ||
        (code = check_noted(p)))
        return code;
    p->m.changes = p->o->changes || p->logged;
    if (!p->has_meta)
        ldr_buf_str(&p->body, ldr_sqlite_meta_text);
    if (!p->has_counter)
        ldr_buf_str(&p->body, ldr_sqlite_counter_text);
    if (p->m.changes && !p->has_changes)
        ldr_buf_str(&p->body, ldr_sqlite_changes_text);
    if (!p->has_column) {
        p->made_column = true;
        add_column(p);
    } else if (!p->noted || !p->has_counter) {
        adopt_column(p);
    }
    code = put_triggers(p);
    if (code == LDR_OK)
        note(p);
    return code;
}

/* ---- what is to be undone --------------------------------------------------------------------------------- */

static int drop_tables(plan *p)
{
    bool others = false, logged = false;
    int code = first(p, "SELECT 1 FROM ldr_meta WHERE tbl <> ?1 COLLATE NOCASE", p->m.table, NULL, 0, &others);
    if (code == LDR_OK)
        code = first(p, "SELECT 1 FROM ldr_meta WHERE tbl <> ?1 COLLATE NOCASE AND changes = 1", p->m.table, NULL, 0, &logged);
    if (p->has_changes && !logged)
        ldr_buf_str(&p->body, "DROP TABLE ldr_changes;\n");
    if (others) {
        ldr_buf_str(&p->body, "DELETE FROM ldr_meta WHERE tbl = ");
        ldr_sqlite_literal(&p->body, p->m.table);
        ldr_buf_str(&p->body, ";\n");
        return code;
    }
    ldr_buf_str(&p->body, p->has_counter ? "DROP TABLE ldr_version;\nDROP TABLE ldr_meta;\n" : "DROP TABLE ldr_meta;\n");
    return code;
}

static int drop_column(plan *p)
{
    char *spelled = NULL;
    int code = p->made_column ? find_column(p, p->noted_version.p, &spelled, NULL) : LDR_OK;
    if (spelled) {
        ldr_buf_str(&p->body, "ALTER TABLE ");
        ldr_sqlite_quote(&p->body, p->m.table);
        ldr_buf_str(&p->body, " DROP COLUMN ");
        ldr_sqlite_quote(&p->body, spelled);
        ldr_buf_str(&p->body, ";\n");
    }
    ldr_mem_free(p->body.mem, spelled);
    return code;
}

static int plan_undo(plan *p)
{
    int code = find_table(p);
    if (code || (code = look_at_notes(p, p->m.table)) || !p->noted)
        return code;
    code = drop_triggers(p, NULL);
    if (code == LDR_OK)
        code = drop_column(p);
    return code ? code : drop_tables(p);
}

/* ---- the whole -------------------------------------------------------------------------------------------- */

static int exec(plan *p, const char *sql)
{
    int rc = sqlite3_exec(p->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? LDR_OK : fail_db(p, rc);
}

static int commit(plan *p)
{
    int rc = sqlite3_exec(p->db, "COMMIT", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return LDR_OK;
    int code = fail_db(p, rc);
    bool certain = !sqlite3_get_autocommit(p->db);
    sqlite3_exec(p->db, "ROLLBACK", NULL, NULL, NULL);
    return certain ? code : ldr_fail(p->err, LDR_LOST, "migrate: COMMIT may have taken effect: %s", sqlite3_errstr(rc));
}

static int work(plan *p)
{
    bool undo = p->o->mode == LDR_MIGRATE_UNDO || p->o->mode == LDR_MIGRATE_PRINT_UNDO;
    bool apply = p->o->mode == LDR_MIGRATE_UNDO || p->o->mode == LDR_MIGRATE_APPLY;
    int code = exec(p, apply ? "BEGIN IMMEDIATE" : "BEGIN");
    if (code)
        return code;
    code = undo ? plan_undo(p) : plan_do(p);
    bool some = p->body.n > 0;
    ldr_buf_byte(&p->body, 0);
    if (code == LDR_OK && p->body.oom)
        code = ldr_fail_oom(p->err);
    if (code == LDR_OK && apply && some)
        code = exec(p, p->body.p);
    if (code == LDR_OK && apply && some)
        return commit(p);
    sqlite3_exec(p->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static int tell(plan *p, ldr_buf *sql)
{
    if (p->body.n <= 1) {
        ldr_buf_str(sql, LDR_MIGRATE_NOTHING);
    } else {
        ldr_buf_str(sql, "BEGIN IMMEDIATE;\n");
        ldr_buf_add(sql, p->body.p, p->body.n - 1);
        ldr_buf_str(sql, "COMMIT;\n");
    }
    return sql->oom ? ldr_fail_oom(p->err) : LDR_OK;
}

static int check_options(const ldr_migrate_options *o, ldr_err *err)
{
    if (!o->file || !o->file[0])
        return ldr_fail(err, LDR_INVALID, "migrate: file: a path is wanted");
    if (!o->table || !o->table[0])
        return ldr_fail(err, LDR_INVALID, "migrate: table: a name is wanted");
    if (o->version && !o->version[0])
        return ldr_fail(err, LDR_INVALID, "migrate: version: a name is wanted, got an empty one");
    if (o->key && (o->n_key == 0 || o->n_key > LDR_MODEL_KEYS))
        return ldr_fail(err, LDR_INVALID, "migrate: key: 1 to %d columns are wanted, got %zu", LDR_MODEL_KEYS, o->n_key);
    return LDR_OK;
}

static int connect(plan *p)
{
    int rc = sqlite3_open_v2(p->o->file, &p->db, SQLITE_OPEN_READWRITE, NULL);
    if (rc == SQLITE_NOMEM)
        return ldr_fail_oom(p->err);
    if (rc != SQLITE_OK)
        return ldr_fail(p->err, LDR_UNAVAILABLE, "migrate: %.150s: %s", p->o->file,
                        access(p->o->file, F_OK) != 0 ? "there is no such file" : sqlite3_errstr(rc));
    sqlite3_busy_timeout(p->db, 5000);
    return LDR_OK;
}

static void fini(plan *p)
{
    const ldr_mem *mem = p->body.mem;
    sqlite3_close(p->db);
    for (size_t i = 0; p->m.key && i < p->m.n_key; i++)
        ldr_mem_free(mem, p->m.key[i]);
    ldr_mem_free(mem, p->m.key);
    ldr_mem_free(mem, p->m.table);
    ldr_mem_free(mem, p->m.version);
    ldr_buf_free(&p->noted_key);
    ldr_buf_free(&p->noted_version);
    ldr_buf_free(&p->body);
}

int ldr_sqlite_migrate(const ldr_migrate_options *o, ldr_buf *sql, ldr_err *err)
{
    int code = check_options(o, err);
    if (code)
        return code;
    plan p = {.o = o, .err = err, .body = LDR_BUF(sql->mem), .noted_key = LDR_BUF(sql->mem), .noted_version = LDR_BUF(sql->mem)};
    code = connect(&p);
    if (code == LDR_OK)
        code = work(&p);
    if (code == LDR_OK)
        code = tell(&p, sql);
    fini(&p);
    return code;
}
