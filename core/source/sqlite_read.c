/* sqlite_read.c - LOAD and VERSION: a row becomes a msgpack map of its columns.
 *
 * INTEGER is an integer, REAL a float, TEXT and BLOB a string of the same bytes, NULL nil. A row whose key columns,
 * written as text, are not the key's own parts is no row of that key: "product:042" is never another name of
 * "product:42". Every statement is reset before the connection goes back, so nothing holds the database. */
#include "source/sqlite_parts.h"

#include "record/pack.h"

void ldr_sqlite_item_fail(ldr_item *item, int code)
{
    item->err.code = code;
    item->state = LDR_FAILED;
}

bool ldr_sqlite_too_late(const ldr_sqlite_conn *c, ldr_request *r)
{
    if (!ldr_sqlite_late(c))
        return false;
    ldr_fail(&r->err, LDR_TIMEOUT, "sqlite: the deadline passed before the statement was sent");
    return true;
}

/* ---- row -> msgpack --------------------------------------------------------------------------------------- */

#define USUAL_COLUMN_BYTES 24 /* room made at once, so that most rows grow no buffer */

/* A value asked for once: each sqlite3_column_... would look the row up and the connection's errors over again. As the
 * connection has no mutex, its values need no protection. */
static bool pack_column(sqlite3_stmt *stmt, int i, ldr_buf *out)
{
    const void *p;
    sqlite3_value *v = sqlite3_column_value(stmt, i);
    switch (sqlite3_value_type(v)) {
    case SQLITE_INTEGER:
        ldr_pack_int(out, sqlite3_value_int64(v));
        return true;
    case SQLITE_FLOAT:
        ldr_pack_double(out, sqlite3_value_double(v));
        return true;
    case SQLITE_NULL:
        ldr_pack_nil(out);
        return true;
    case SQLITE_TEXT:
        p = sqlite3_value_text(v);
        break;
    default:
        p = sqlite3_value_blob(v);
    }
    size_t n = (size_t)sqlite3_value_bytes(v);
    if (!p && n)
        return false;
    ldr_pack_str(out, ldr_slice_of(p, n));
    return true;
}

static bool pack_row(sqlite3_stmt *stmt, const ldr_sqlite_shape *shape, ldr_buf *out)
{
    uint32_t from = 0;
    ldr_buf_clear(out);
    ldr_buf_reserve(out, shape->names.n + (size_t)shape->n * USUAL_COLUMN_BYTES);
    ldr_pack_map(out, (uint32_t)shape->n);
    for (int i = 0; i < shape->n; i++) {
        ldr_buf_add(out, shape->names.p + from, shape->name_end[i] - from);
        from = shape->name_end[i];
        if (!pack_column(stmt, i, out))
            return false;
    }
    return !out->oom;
}

/* A version that is no number above 0 says nothing: 0, "the source has none". */
static int64_t version_at(sqlite3_stmt *stmt, int at)
{
    if (at < 0 || sqlite3_column_type(stmt, at) != SQLITE_INTEGER)
        return 0;
    int64_t n = sqlite3_column_int64(stmt, at);
    return n > 0 ? n : 0;
}

/* ---- loading ---------------------------------------------------------------------------------------------- */

static bool is_row_of(sqlite3_stmt *stmt, const ldr_sqlite_shape *shape, const ldr_model_key *k)
{
#ifndef LDR_BUG_SQLITE_ALIAS
    for (size_t i = 0; i < k->model->n_key; i++)
        if (shape->key_at[i] >= 0 && !ldr_sqlite_spelled(stmt, shape->key_at[i], k->part[i]))
            return false;
#else
    (void)stmt, (void)shape, (void)k;
#endif
    return true;
}

/* Steps load to the key's row. SQLITE_ROW, SQLITE_DONE or an error. A change of the schema shows only now. */
static int find_row(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_err *err)
{
    ldr_sqlite_stmts *st = &c->models[k->index];
    for (;;) {
        int rc = ldr_sqlite_bind_key(st->load, &st->shape, k);
        if (rc != SQLITE_OK)
            return rc;
        rc = sqlite3_step(st->load);
        bool changed;
        if (ldr_sqlite_shape_follow(c, k->index, &changed, err) != LDR_OK)
            return SQLITE_ABORT;
        if (changed && (rc == SQLITE_ROW || rc == SQLITE_DONE))
            continue;
        while (rc == SQLITE_ROW && !is_row_of(st->load, &st->shape, k))
            rc = sqlite3_step(st->load);
        return rc;
    }
}

static int number_of_parameters(const ldr_model_key *k, ldr_slice key, ldr_err *err)
{
    return ldr_sqlite_refuse(k->model, key, LDR_SOURCE, "own SQL has more parameters than the key has parts", err);
}

/* Keeps the row that load stands on. */
static int keep_row(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    ldr_sqlite_stmts *st = &c->models[k->index];
    if (!pack_row(st->load, &st->shape, &item->out))
        return ldr_fail_oom(&item->err);
    item->kind = LDR_MSGPACK;
    item->version = version_at(st->load, st->shape.version_at);
    item->fingerprint = st->shape.fingerprint;
    item->state = LDR_FOUND;
    return LDR_OK;
}

static void gone(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    ldr_buf_clear(&item->out);
    item->kind = LDR_NONE;
    item->version = 0;
    item->fingerprint = c->models[k->index].shape.fingerprint;
    item->state = LDR_GONE;
}

/* The version of own SQL, in the same transaction as the row. */
static int own_version(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    ldr_sqlite_seen seen;
    int rc = ldr_sqlite_peek(c, k, item->key, &seen, &item->err);
    if (rc == LDR_OK)
        item->version = seen.version;
    return rc;
}

int ldr_sqlite_load(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    ldr_sqlite_stmts *st = ldr_sqlite_statements(c, k->index, &item->err);
    if (!st)
        return item->err.code;
    ldr_err_clear(&item->err);
    int rc = find_row(c, k, &item->err), code = LDR_OK;
    if (rc == SQLITE_ROW)
        code = keep_row(c, k, item);
    else if (rc == SQLITE_DONE)
        gone(c, k, item);
    else if (item->err.code)
        code = item->err.code;
    else
        code = rc == SQLITE_RANGE ? number_of_parameters(k, item->key, &item->err)
                                  : ldr_sqlite_fail(c, k->model, item->key, rc, &item->err);
    sqlite3_reset(st->load);
    if (code == LDR_OK && item->state == LDR_FOUND && k->model->sql_version && !k->model->version)
        code = own_version(c, k, item);
    return code;
}

/* ---- peeking: is there a row, and which version has it? --------------------------------------------------- */

static bool peek_by_load(const ldr_model *m)
{
    return !m->sql_version && !m->table;
}

static void peek_text(ldr_sqlite_conn *c, const ldr_model *m, ldr_buf *b)
{
    if (m->sql_version) {
        ldr_buf_str(b, m->sql_version);
        return;
    }
    ldr_buf_str(b, "SELECT ");
    ldr_sqlite_columns(c, m, NULL, 0, b);
    ldr_buf_str(b, " FROM ");
    ldr_sqlite_table(c, m->table, b);
    ldr_sqlite_where(c, m, b);
}

static int prepare_peek(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_err *err)
{
    ldr_sqlite_stmts *st = ldr_sqlite_statements(c, k->index, err);
    if (!st)
        return err->code;
    if (peek_by_load(k->model) || st->peek)
        return LDR_OK;
    ldr_buf sql = LDR_BUF(&c->source->mem);
    peek_text(c, k->model, &sql);
    if (sql.oom)
        ldr_fail_oom(err);
    else
        st->peek = ldr_sqlite_prepare(c, k->model, ldr_buf_slice(&sql), err);
    ldr_buf_free(&sql);
    return st->peek ? LDR_OK : err->code;
}

static bool peeked_row_of(sqlite3_stmt *stmt, const ldr_model_key *k)
{
    for (size_t i = 0; !k->model->sql_version && i < k->model->n_key; i++)
        if (!ldr_sqlite_spelled(stmt, (int)i, k->part[i]))
            return false;
    return true;
}

static int peek_row(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_sqlite_seen *out)
{
    ldr_sqlite_stmts *st = &c->models[k->index];
    int rc = ldr_sqlite_bind_key(st->peek, &st->shape, k);
    if (rc != SQLITE_OK)
        return rc;
    while ((rc = sqlite3_step(st->peek)) == SQLITE_ROW && !peeked_row_of(st->peek, k))
        ;
    out->exists = rc == SQLITE_ROW;
    int at = k->model->sql_version ? 0 : k->model->version ? (int)k->model->n_key : -1;
    out->version = out->exists ? version_at(st->peek, at) : 0;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int peek_load(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_slice key, ldr_sqlite_seen *out, ldr_err *err)
{
    ldr_sqlite_stmts *st = ldr_sqlite_statements(c, k->index, err);
    if (!st)
        return err->code;
    ldr_err_clear(err);
    int rc = find_row(c, k, err), code = LDR_OK;
    out->exists = rc == SQLITE_ROW;
    out->version = out->exists ? version_at(st->load, st->shape.version_at) : 0;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        code = err->code ? err->code : ldr_sqlite_fail(c, k->model, key, rc, err);
    sqlite3_reset(st->load);
    return code;
}

int ldr_sqlite_peek(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_slice key, ldr_sqlite_seen *out, ldr_err *err)
{
    int code = prepare_peek(c, k, err);
    if (code)
        return code;
    if (peek_by_load(k->model))
        return peek_load(c, k, key, out, err);
    ldr_sqlite_stmts *st = &c->models[k->index];
    int rc = peek_row(c, k, out);
    if (rc == SQLITE_RANGE)
        code = number_of_parameters(k, key, err);
    else if (rc != SQLITE_OK)
        code = ldr_sqlite_fail(c, k->model, key, rc, err);
    sqlite3_reset(st->peek);
    return code;
}

int ldr_sqlite_look(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_slice key, ldr_sqlite_seen *out, ldr_err *err)
{
    ldr_sqlite_seen own;
    int code = peek_load(c, k, key, out, err);
    if (code || !k->model->sql_version)
        return code;
    code = ldr_sqlite_peek(c, k, key, &own, err);
    out->version = own.version;
    return code;
}

/* ---- requests --------------------------------------------------------------------------------------------- */

static int version_item(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item)
{
    ldr_sqlite_seen seen;
    if (!k->model->version && !k->model->sql_version)
        return ldr_sqlite_refuse(k->model, item->key, LDR_UNSUPPORTED, "the model has no version", &item->err);
    int rc = ldr_sqlite_peek(c, k, item->key, &seen, &item->err);
    if (rc)
        return rc;
    item->kind = LDR_NONE;
    item->version = seen.version;
    item->fingerprint = c->models[k->index].shape.fingerprint;
    item->state = seen.exists ? LDR_FOUND : LDR_GONE;
    return LDR_OK;
}

typedef int (*read_fn)(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item);

static void read_item(ldr_sqlite_conn *c, ldr_item *item, read_fn read)
{
    ldr_model_key k;
    int rc = ldr_models_parse(&c->source->models, item->key, &k, &item->err);
    if (rc == LDR_OK) {
        rc = read(c, &k, item);
        ldr_model_key_fini(&k);
    }
    if (rc)
        ldr_sqlite_item_fail(item, rc);
}

/* Several rows, or a row and its version apart, are read in one transaction: one snapshot, and one lock to take. */
static bool wants_snapshot(const ldr_sqlite *s, const ldr_request *r)
{
    if (r->n_items > 1)
        return true;
    for (size_t i = 0; i < s->models.n; i++)
        if (s->models.all[i].sql_version)
            return true;
    return false;
}

static void run(ldr_sqlite_conn *c, ldr_request *r, read_fn read)
{
    bool begun = wants_snapshot(c->source, r);
    int rc = begun ? ldr_sqlite_do(c, LDR_SQL_BEGIN) : SQLITE_OK;
    if (rc != SQLITE_OK) {
        ldr_sqlite_fail(c, NULL, (ldr_slice){0}, rc, &r->err);
        return;
    }
    for (size_t i = 0; i < r->n_items && !ldr_sqlite_too_late(c, r); i++)
        read_item(c, r->items[i], read);
    if (begun)
        ldr_sqlite_do(c, LDR_SQL_ROLLBACK);
}

void ldr_sqlite_run_load(ldr_sqlite_conn *c, ldr_request *r)
{
    run(c, r, ldr_sqlite_load);
}

void ldr_sqlite_run_version(ldr_sqlite_conn *c, ldr_request *r)
{
    run(c, r, version_item);
}
