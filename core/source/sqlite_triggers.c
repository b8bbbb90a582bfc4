/* sqlite_triggers.c - how a table's rows get versions that never repeat, and how its changes are told.
 *
 *   ldr_version(n, open)   one row a database: n is the last number drawn
 *   ldr_changes            seq, table, key text (without the model), version, time
 *   ldr_meta               what was made for which table
 *
 * Every INSERT, UPDATE and DELETE draws n + 1 in its own transaction, logs the key with it, and stamps the row. The
 * stamp is an UPDATE itself, so the UPDATE trigger must know it: while `open` > 0 a stamp is under way, and a stamp is
 * an update that changes the version to a number already drawn. That holds with recursive triggers on and off; an
 * update inside the window by somebody's own trigger leaves the version as it was, and so is drawn and logged; a
 * version that is set by hand meets open = 0 and is overwritten. The log comes before the stamp, so that it carries
 * the number of this very change even where the stamp sets off more. */
#include "source/sqlite_triggers.h"

#include "source/sqlite_parts.h"

const char ldr_sqlite_meta_text[] =
    "CREATE TABLE ldr_meta (tbl TEXT NOT NULL PRIMARY KEY COLLATE NOCASE, key_columns TEXT NOT NULL, "
    "version_column TEXT NOT NULL, made_column INTEGER NOT NULL, changes INTEGER NOT NULL) WITHOUT ROWID;\n";
const char ldr_sqlite_counter_text[] =
    "CREATE TABLE ldr_version (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL, open INTEGER NOT NULL);\n"
    "INSERT INTO ldr_version VALUES (1, 0, 0);\n";
const char ldr_sqlite_changes_text[] =
    "CREATE TABLE ldr_changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, key TEXT NOT NULL, "
    "version INTEGER NOT NULL, at INTEGER NOT NULL);\n";

void ldr_sqlite_literal(ldr_buf *b, const char *text)
{
    ldr_buf_byte(b, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            ldr_buf_byte(b, '\'');
        ldr_buf_byte(b, (unsigned char)*text);
    }
    ldr_buf_byte(b, '\'');
}

void ldr_sqlite_key_columns(ldr_buf *b, const ldr_sqlite_migrated *m)
{
    for (size_t i = 0; i < m->n_key; i++) {
        ldr_buf_str(b, i ? ", " : "");
        ldr_sqlite_quote(b, m->key[i]);
    }
}

static const struct {
    const char *prefix, *event;
} triggers[LDR_N_TRIGGERS] = {
    [LDR_AFTER_INSERT] = {"ldr_insert_", "INSERT"},
    [LDR_AFTER_UPDATE] = {"ldr_update_", "UPDATE"},
    [LDR_AFTER_DELETE] = {"ldr_delete_", "DELETE"},
};

void ldr_sqlite_trigger_name(ldr_buf *b, const ldr_sqlite_migrated *m, enum ldr_sqlite_trigger which)
{
    ldr_buf_str(b, triggers[which].prefix);
    ldr_buf_str(b, m->table);
}

/* The key as the cache writes it behind "model:", an SQL expression; NULL where a part is NULL. row: NEW or OLD. */
static void key_text(ldr_buf *b, const ldr_sqlite_migrated *m, const char *row)
{
    for (size_t i = 0; i < m->n_key; i++) {
        ldr_buf_str(b, i ? " || ':' || replace(replace(CAST(" : "replace(replace(CAST(");
        ldr_buf_fmt(b, "%s.", row);
        ldr_sqlite_quote(b, m->key[i]);
        ldr_buf_str(b, " AS TEXT), '%', '%25'), ':', '%3A')");
    }
}

static void log_text(ldr_buf *b, const ldr_sqlite_migrated *m, const char *row, const char *unless)
{
    if (!m->changes)
        return;
    ldr_buf_str(b, "  INSERT INTO ldr_changes (tbl, key, version, at) SELECT ");
    ldr_sqlite_literal(b, m->table);
    ldr_buf_str(b, ", k, n, CAST(strftime('%s', 'now') AS INTEGER) FROM ldr_version, (SELECT ");
    key_text(b, m, row);
    ldr_buf_str(b, " AS k) WHERE k IS NOT NULL");
    if (unless) {
        ldr_buf_str(b, " AND k IS NOT ");
        key_text(b, m, unless);
    }
    ldr_buf_str(b, ";\n");
}

static void stamp_text(ldr_buf *b, const ldr_sqlite_migrated *m)
{
    ldr_buf_str(b, "  UPDATE ");
    ldr_sqlite_quote(b, m->table);
    ldr_buf_str(b, " SET ");
    ldr_sqlite_quote(b, m->version);
    ldr_buf_str(b, " = (SELECT n FROM ldr_version)");
#ifdef LDR_BUG_VERSION_REPEATS
    ldr_buf_str(b, " * 0 + coalesce(NEW.version, 0) + 1");
#endif
    for (size_t i = 0; i < m->n_key; i++) {
        ldr_buf_str(b, i ? " AND " : " WHERE ");
        ldr_sqlite_quote(b, m->key[i]);
        ldr_buf_str(b, " IS NEW.");
        ldr_sqlite_quote(b, m->key[i]);
    }
    ldr_buf_str(b, ";\n  UPDATE ldr_version SET open = open - 1;\n");
}

static void unless_stamp(ldr_buf *b, const ldr_sqlite_migrated *m)
{
    ldr_buf_str(b, " WHEN NOT EXISTS (SELECT 1 FROM ldr_version WHERE open > 0 AND NEW.");
    ldr_sqlite_quote(b, m->version);
    ldr_buf_str(b, " IS NOT OLD.");
    ldr_sqlite_quote(b, m->version);
    ldr_buf_str(b, " AND NEW.");
    ldr_sqlite_quote(b, m->version);
    ldr_buf_str(b, " <= n)");
}

void ldr_sqlite_trigger_text(ldr_buf *b, const ldr_sqlite_migrated *m, enum ldr_sqlite_trigger which)
{
    ldr_buf name = LDR_BUF(b->mem);
    ldr_sqlite_trigger_name(&name, m, which);
    ldr_buf_byte(&name, 0);
    ldr_buf_str(b, "CREATE TRIGGER ");
    ldr_sqlite_quote(b, name.oom ? "" : name.p);
    b->oom |= name.oom;
    ldr_buf_free(&name);
    ldr_buf_fmt(b, " AFTER %s ON ", triggers[which].event);
    ldr_sqlite_quote(b, m->table);
#ifdef LDR_BUG_SQLITE_STAMP
    (void)unless_stamp;
#else
    if (which == LDR_AFTER_UPDATE)
        unless_stamp(b, m);
#endif
    ldr_buf_fmt(b, " BEGIN\n  UPDATE ldr_version SET n = n + 1%s;\n", which == LDR_AFTER_DELETE ? "" : ", open = open + 1");
    if (which != LDR_AFTER_INSERT)
        log_text(b, m, "OLD", which == LDR_AFTER_UPDATE ? "NEW" : NULL);
    if (which != LDR_AFTER_DELETE) {
        log_text(b, m, "NEW", NULL);
        stamp_text(b, m);
    }
    ldr_buf_str(b, "END");
}
