/* sqlite_write.c - STORE and ERASE: one transaction a request, that takes the write lock before it looks.
 *
 *   BEGIN IMMEDIATE -> look (is there a row, which version?) -> if_version -> UPDATE or INSERT or DELETE
 *   -> read the row back (only now the triggers' work shows) -> COMMIT
 *
 * UPDATE or INSERT instead of an upsert: an upsert checks NOT NULL of columns that are not given before it finds the
 * row, and fires BEFORE INSERT triggers for an update. Under the write lock the two are one.
 *
 * Invariant: an item that failed had no effect. Of several items each stands behind a savepoint. Only a COMMIT whose
 * end cannot be known makes LDR_LOST. */
#include "source/sqlite_parts.h"

/* ---- if_version ------------------------------------------------------------------------------------------- */

static int conflict(const ldr_model_key *k, ldr_item *item, const ldr_sqlite_seen *seen)
{
    const char *why = item->if_version == LDR_MUST_BE_ABSENT ? "the row is there already"
                      : seen->exists                         ? "the row has another version"
                                                             : "there is no such row";
    ldr_sqlite_refuse(k->model, item->key, LDR_CONFLICT, why, &item->err);
    item->err.version = seen->version;
    return LDR_CONFLICT;
}

static int check_version(const ldr_model_key *k, ldr_item *item, const ldr_sqlite_seen *seen)
{
    if (item->if_version == LDR_ANY)
        return LDR_OK;
    if (item->if_version == LDR_MUST_BE_ABSENT)
        return seen->exists ? conflict(k, item, seen) : LDR_OK;
    if (!k->model->version && !k->model->sql_version)
        return ldr_sqlite_refuse(k->model, item->key, LDR_UNSUPPORTED, "if_version: the model has no version", &item->err);
    return seen->exists && seen->version == item->if_version ? LDR_OK : conflict(k, item, seen);
}

/* ---- statements ------------------------------------------------------------------------------------------- */

static void quote_slice(ldr_buf *b, ldr_slice name)
{
    ldr_buf_byte(b, '"');
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '"')
            ldr_buf_byte(b, '"');
        ldr_buf_byte(b, (unsigned char)name.p[i]);
    }
    ldr_buf_byte(b, '"');
}

static void update_text(ldr_sqlite_conn *c, const ldr_model *m, const ldr_sqlite_row *row, ldr_buf *b)
{
    ldr_buf_str(b, "UPDATE ");
    ldr_sqlite_table(c, m->table, b);
    ldr_buf_str(b, " SET ");
    for (size_t i = 0; i < row->n; i++) {
        ldr_buf_str(b, i ? ", " : "");
        quote_slice(b, row->all[i].name);
        ldr_buf_fmt(b, " = ?%zu", m->n_key + i + 1);
    }
    ldr_sqlite_where(c, m, b);
}

static void insert_text(ldr_sqlite_conn *c, const ldr_model *m, const ldr_sqlite_row *row, ldr_buf *b)
{
    size_t n = m->n_key + row->n;
    ldr_buf_str(b, "INSERT INTO ");
    ldr_sqlite_table(c, m->table, b);
    for (size_t i = 0; i < n; i++) {
        ldr_buf_str(b, i ? ", " : " (");
        if (i < m->n_key)
            ldr_sqlite_quote(b, m->key[i]);
        else
            quote_slice(b, row->all[i - m->n_key].name);
    }
    ldr_buf_str(b, ") VALUES (");
    for (size_t i = 0; i < n; i++)
        ldr_buf_fmt(b, i ? ", ?%zu" : "?%zu", i + 1);
    ldr_buf_str(b, ")");
}

static void erase_text(ldr_sqlite_conn *c, const ldr_model *m, ldr_buf *b)
{
    if (m->sql_delete) {
        ldr_buf_str(b, m->sql_delete);
        return;
    }
    ldr_buf_str(b, "DELETE FROM ");
    ldr_sqlite_table(c, m->table, b);
    ldr_sqlite_where(c, m, b);
}

/* Prepares into *at, where another text may stand. The buffer is freed. */
static int prepare_into(ldr_sqlite_conn *c, const ldr_model *m, ldr_buf *sql, sqlite3_stmt **at, ldr_err *err)
{
    int code = LDR_OK;
    if (sql->oom) {
        code = ldr_fail_oom(err);
    } else if (!*at || !ldr_slice_eq(ldr_slice_str(sqlite3_sql(*at)), ldr_buf_slice(sql))) {
        sqlite3_finalize(*at);
        *at = ldr_sqlite_prepare(c, m, ldr_buf_slice(sql), err);
        code = *at ? LDR_OK : err->code;
    }
    ldr_buf_free(sql);
    return code;
}

/* Runs a write to its end; rows that it returns are passed over, for triggers have not shown in them. */
static int finish(ldr_sqlite_conn *c, const ldr_model_key *k, sqlite3_stmt *stmt, int bound, ldr_item *item)
{
    int rc = bound, code = LDR_OK;
    while (rc == SQLITE_OK || rc == SQLITE_ROW)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_RANGE)
        code = ldr_sqlite_refuse(k->model, item->key, LDR_SOURCE, "own SQL has more parameters than the key has parts",
                                 &item->err);
    else if (rc != SQLITE_DONE)
        code = ldr_sqlite_fail(c, k->model, item->key, rc, &item->err);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return code;
}

/* One row must have changed. A view's triggers do not count; a trigger may say "ignore". */
static int check_changed(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    int rc, n = sqlite3_changes(c->db);
    if (n > 1)
        return ldr_sqlite_refuse(k->model, item->key, LDR_UNSUPPORTED, "the key names more than one row", &item->err);
    if (n == 1 || ldr_sqlite_number(c, LDR_SQL_IS_VIEW, ldr_sqlite_bare(k->model->table), 0, &rc))
        return LDR_OK;
    return ldr_sqlite_refuse(k->model, item->key, LDR_REJECTED, "a trigger let nothing be written", &item->err);
}

/* ---- STORE ------------------------------------------------------------------------------------------------ */

static int bind_row(sqlite3_stmt *stmt, const ldr_model_key *k, const ldr_sqlite_shape *shape, const ldr_sqlite_row *row)
{
    int rc = SQLITE_OK, n = (int)k->model->n_key;
    for (int i = 0; i < n && rc == SQLITE_OK; i++)
        rc = ldr_sqlite_bind_part(stmt, i + 1, shape->key_class[i], k->part[i]);
    for (size_t i = 0; i < row->n && rc == SQLITE_OK; i++)
        rc = ldr_sqlite_bind_value(stmt, n + (int)i + 1, &row->all[i].token);
    return rc;
}

static int write_made(ldr_sqlite_conn *c, const ldr_model_key *k, const ldr_sqlite_row *row, bool exists, ldr_item *item)
{
    ldr_sqlite_stmts *st = &c->models[k->index];
    if (exists && row->n == 0)
        return LDR_OK;
    ldr_buf sql = LDR_BUF(&c->source->mem);
    if (exists)
        update_text(c, k->model, row, &sql);
    else
        insert_text(c, k->model, row, &sql);
    int code = prepare_into(c, k->model, &sql, &st->store, &item->err);
    if (code == LDR_OK)
        code = finish(c, k, st->store, bind_row(st->store, k, &st->shape, row), item);
    return code ? code : check_changed(c, k, item);
}

/* A parameter of own SQL: a column of the value, else a part of the key (by name or number), else NULL. */
static int bind_own(sqlite3_stmt *stmt, int at, const ldr_model_key *k, const ldr_sqlite_row *row)
{
    const char *name = sqlite3_bind_parameter_name(stmt, at);
    bool by_number = !name || name[0] == '?';
    for (size_t i = 0; i < row->n && !by_number; i++)
        if (ldr_slice_eq(row->all[i].name, ldr_slice_str(name + 1)))
            return ldr_sqlite_bind_value(stmt, at, &row->all[i].token);
    for (size_t i = 0; i < k->model->n_key; i++)
        if (by_number ? (int)i + 1 == at : sqlite3_stricmp(k->model->key[i], name + 1) == 0)
            return ldr_sqlite_bind_part(stmt, at, LDR_KEY_AS_TEXT, k->part[i]);
    return sqlite3_bind_null(stmt, at);
}

static int write_own(ldr_sqlite_conn *c, const ldr_model_key *k, const ldr_sqlite_row *row, ldr_item *item)
{
    sqlite3_stmt *stmt = c->models[k->index].store;
    int rc = SQLITE_OK, n = sqlite3_bind_parameter_count(stmt);
    for (int i = 1; i <= n && rc == SQLITE_OK; i++)
        rc = bind_own(stmt, i, k, row);
    return finish(c, k, stmt, rc, item);
}

static int prepare_own(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    if (!k->model->sql_store || c->models[k->index].store)
        return LDR_OK;
    ldr_buf sql = LDR_BUF(&c->source->mem);
    ldr_buf_str(&sql, k->model->sql_store);
    return prepare_into(c, k->model, &sql, &c->models[k->index].store, &item->err);
}

static int read_back(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    int code = ldr_sqlite_load(c, k, item);
    if (code || item->state == LDR_FOUND)
        return code;
    item->state = LDR_UNANSWERED;
    return ldr_sqlite_refuse(k->model, item->key, LDR_INVALID, "the row that it made is spelled otherwise", &item->err);
}

static int store(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    ldr_sqlite_seen seen;
    ldr_sqlite_row row;
    if (!k->model->table && !k->model->sql_store)
        return ldr_sqlite_refuse(k->model, item->key, LDR_UNSUPPORTED, "the model has no table and no SQL to store", &item->err);
    int code = ldr_sqlite_look(c, k, item->key, &seen, &item->err);
    if (code || (code = prepare_own(c, k, item)))
        return code;
    sqlite3_stmt *own = k->model->sql_store ? c->models[k->index].store : NULL;
    code = ldr_sqlite_row_read(c, k, own, item, &row);
#ifndef LDR_BUG_SQLITE_BLIND
    if (code == LDR_OK)
        code = check_version(k, item, &seen);
#endif
    if (code == LDR_OK)
        code = own ? write_own(c, k, &row, item) : write_made(c, k, &row, seen.exists, item);
    ldr_sqlite_row_fini(&row);
    return code ? code : read_back(c, k, item);
}

/* ---- ERASE ------------------------------------------------------------------------------------------------ */

static int erase_row(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    ldr_sqlite_stmts *st = &c->models[k->index];
    int code = LDR_OK;
    if (!st->erase) {
        ldr_buf sql = LDR_BUF(&c->source->mem);
        erase_text(c, k->model, &sql);
        code = prepare_into(c, k->model, &sql, &st->erase, &item->err);
    }
    if (code == LDR_OK)
        code = finish(c, k, st->erase, ldr_sqlite_bind_key(st->erase, &st->shape, k), item);
    return code || k->model->sql_delete ? code : check_changed(c, k, item);
}

static int erase(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    ldr_sqlite_seen seen;
    int rc;
    if (!k->model->table && !k->model->sql_delete)
        return ldr_sqlite_refuse(k->model, item->key, LDR_UNSUPPORTED, "the model has no table and no SQL to delete", &item->err);
    int code = ldr_sqlite_peek(c, k, item->key, &seen, &item->err);
    if (code == LDR_OK)
        code = check_version(k, item, &seen);
    if (code == LDR_OK && (seen.exists || k->model->sql_delete))
        code = erase_row(c, k, item);
    if (code)
        return code;
    item->kind = LDR_NONE;
    item->version = k->model->table && k->model->version
                        ? ldr_sqlite_number(c, LDR_SQL_COUNTER, ldr_sqlite_bare(k->model->table), 0, &rc)
                        : 0;
    item->state = LDR_FOUND;
    return LDR_OK;
}

/* ---- the transaction -------------------------------------------------------------------------------------- */

static bool in_transaction(const ldr_sqlite_conn *c)
{
    return !sqlite3_get_autocommit(c->db);
}

static void roll_back(ldr_sqlite_conn *c)
{
    if (in_transaction(c))
        ldr_sqlite_do(c, LDR_SQL_ROLLBACK);
}

static int write_item(ldr_sqlite_conn *c, int verb, ldr_item *item)
{
    ldr_model_key k;
    ldr_err_clear(&item->err);
    int rc = ldr_models_parse(&c->source->models, item->key, &k, &item->err);
    if (rc)
        return rc;
    rc = verb == LDR_STORE ? store(c, &k, item) : erase(c, &k, item);
    ldr_model_key_fini(&k);
    return rc;
}

/* One item among several: what it did is undone alone. */
static int write_saved(ldr_sqlite_conn *c, int verb, ldr_item *item)
{
    int rc = ldr_sqlite_do(c, LDR_SQL_SAVE);
    if (rc != SQLITE_OK)
        return ldr_sqlite_fail(c, NULL, item->key, rc, &item->err);
    int code = write_item(c, verb, item);
    if (code && in_transaction(c))
        ldr_sqlite_do(c, LDR_SQL_SAVE_UNDO);
    if (in_transaction(c))
        ldr_sqlite_do(c, LDR_SQL_SAVE_END);
    return code;
}

/* Nothing of the request stands, or nobody knows: all that had been done is answered with r->err. */
static void fail_all(ldr_request *r)
{
    for (size_t i = 0; i < r->n_items; i++)
        if (r->items[i]->state != LDR_FAILED) {
            r->items[i]->err = r->err;
            ldr_sqlite_item_fail(r->items[i], r->err.code);
        }
}

/* Gives how many items succeeded. A trigger's RAISE(ROLLBACK) ends the transaction for all. */
static size_t write_items(ldr_sqlite_conn *c, ldr_request *r)
{
    size_t done = 0;
    for (size_t i = 0; i < r->n_items && !ldr_sqlite_too_late(c, r); i++) {
        ldr_item *item = r->items[i];
        int code = r->n_items > 1 ? write_saved(c, r->verb, item) : write_item(c, r->verb, item);
        if (code)
            ldr_sqlite_item_fail(item, code);
        else
            done++;
        if (in_transaction(c))
            continue;
        char text[LDR_KEY_TEXT];
        ldr_fail(&r->err, code == LDR_TIMEOUT ? LDR_TIMEOUT : LDR_SOURCE, "sqlite: rolled back together with key \"%s\"",
                 ldr_key_text(item->key, text));
        break;
    }
    return r->err.code ? 0 : done;
}

/* What a COMMIT that failed means. Still inside the transaction: nothing was written. Outside, only a full disk, a
 * constraint or an interruption certainly left nothing; after an I/O error the log may yet hold the commit. */
static void commit_failed(ldr_sqlite_conn *c, ldr_request *r, int rc)
{
    int why = rc & 0xff;
    bool certain = in_transaction(c) || why == SQLITE_FULL || why == SQLITE_CONSTRAINT || why == SQLITE_INTERRUPT;
    ldr_sqlite_fail(c, NULL, (ldr_slice){0}, rc, &r->err);
    if (!certain)
        ldr_fail(&r->err, LDR_LOST, "sqlite: COMMIT failed and may have taken effect: %s", sqlite3_errstr(rc));
    roll_back(c);
    fail_all(r);
}

void ldr_sqlite_run_write(ldr_sqlite_conn *c, ldr_request *r)
{
    if (ldr_sqlite_too_late(c, r))
        return;
    if (sqlite3_db_readonly(c->db, "main") == 1) {
        ldr_fail(&r->err, LDR_UNSUPPORTED, "sqlite: %s is read-only", c->source->file);
        return;
    }
    int rc = ldr_sqlite_do(c, LDR_SQL_BEGIN_WRITE);
    if (rc != SQLITE_OK) {
        ldr_sqlite_fail(c, NULL, (ldr_slice){0}, rc, &r->err);
        return;
    }
    size_t done = write_items(c, r);
    if (r->err.code || done == 0 || ldr_sqlite_too_late(c, r)) {
        roll_back(c);
        if (r->err.code)
            fail_all(r);
        return;
    }
    rc = ldr_sqlite_do(c, LDR_SQL_COMMIT);
    if (rc != SQLITE_OK)
        commit_failed(c, r, rc);
}
