/* sqlite_model.c - the statements of a model on one connection, and the columns that its load gives.
 *
 * Invariant: a model's shape describes its `load` as SQLite last prepared it. Columns are always written as
 * "table"."name", or in lists where SQLite takes no expression: a lone "name" that is no column would be a string. */
#include "source/sqlite_parts.h"

#include "base/hash.h"
#include "record/pack.h"

#include <strings.h>

/* ---- text ------------------------------------------------------------------------------------------------- */

void ldr_sqlite_quote(ldr_buf *b, const char *name)
{
    ldr_buf_byte(b, '"');
    for (; *name; name++) {
        if (*name == '"')
            ldr_buf_byte(b, '"');
        ldr_buf_byte(b, (unsigned char)*name);
    }
    ldr_buf_byte(b, '"');
}

const char *ldr_sqlite_bare(const char *table)
{
    return strncasecmp(table, "main.", 5) == 0 && table[5] ? table + 5 : table;
}

void ldr_sqlite_table(ldr_sqlite_conn *c, const char *table, ldr_buf *b)
{
    int rc;
    const char *bare = ldr_sqlite_bare(table);
    bool is_schema = bare != table && ldr_sqlite_number(c, LDR_SQL_IS_THERE, table, 0, &rc) == 0;
    ldr_sqlite_quote(b, is_schema ? bare : table);
}

static void column(ldr_sqlite_conn *c, const ldr_model *m, const char *name, ldr_buf *b)
{
    ldr_sqlite_table(c, m->table, b);
    ldr_buf_byte(b, '.');
    ldr_sqlite_quote(b, name);
}

static bool listed(char **names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(names[i], name) == 0)
            return true;
    return false;
}

void ldr_sqlite_columns(ldr_sqlite_conn *c, const ldr_model *m, char **names, size_t n, ldr_buf *b)
{
    for (size_t i = 0; i < m->n_key; i++) {
        ldr_buf_str(b, i ? ", " : "");
        column(c, m, m->key[i], b);
    }
    for (size_t i = 0; i < n; i++)
        if (!listed(m->key, m->n_key, names[i])) {
            ldr_buf_str(b, ", ");
            column(c, m, names[i], b);
        }
    if (m->version && !listed(names, n, m->version)) {
        ldr_buf_str(b, ", ");
        column(c, m, m->version, b);
    }
}

void ldr_sqlite_where(ldr_sqlite_conn *c, const ldr_model *m, ldr_buf *b)
{
    for (size_t i = 0; i < m->n_key; i++) {
        ldr_buf_str(b, i ? " AND " : " WHERE ");
        column(c, m, m->key[i], b);
        ldr_buf_fmt(b, " = ?%zu", i + 1);
    }
}

static void load_text(ldr_sqlite_conn *c, const ldr_model *m, ldr_buf *b)
{
    if (m->sql_load) {
        ldr_buf_str(b, m->sql_load);
        return;
    }
    ldr_buf_str(b, "SELECT ");
    if (m->n_columns)
        ldr_sqlite_columns(c, m, m->columns, m->n_columns, b);
    else
        ldr_buf_byte(b, '*');
    ldr_buf_str(b, " FROM ");
    ldr_sqlite_table(c, m->table, b);
    ldr_sqlite_where(c, m, b);
}

/* ---- preparing -------------------------------------------------------------------------------------------- */

static bool blank(const char *tail, const char *end)
{
    for (; tail < end; tail++)
        if (!strchr(" \t\r\n;", *tail))
            return false;
    return true;
}

sqlite3_stmt *ldr_sqlite_prepare(ldr_sqlite_conn *c, const ldr_model *m, ldr_slice sql, ldr_err *err)
{
    sqlite3_stmt *stmt = NULL;
    const char *tail = NULL;
    if (sql.n > INT32_MAX) {
        ldr_sqlite_refuse(m, (ldr_slice){0}, LDR_TOO_LARGE, "its SQL is too long", err);
        return NULL;
    }
    int rc = sqlite3_prepare_v3(c->db, sql.p, (int)sql.n, SQLITE_PREPARE_PERSISTENT, &stmt, &tail);
    if (rc != SQLITE_OK) {
        ldr_sqlite_fail(c, m, (ldr_slice){0}, rc, err);
        return NULL;
    }
    if (stmt && blank(tail, sql.p + sql.n))
        return stmt;
    sqlite3_finalize(stmt);
    ldr_sqlite_refuse(m, (ldr_slice){0}, LDR_SOURCE, "own SQL: exactly one statement is wanted", err);
    return NULL;
}

/* ---- shape ------------------------------------------------------------------------------------------------ */

static bool room(ldr_sqlite_conn *c, ldr_sqlite_shape *shape, int n)
{
    if (n <= shape->n_cap)
        return true;
    uint32_t *ends = ldr_mem_grow(&c->source->mem, shape->name_end, (size_t)n * sizeof *ends);
    if (!ends)
        return false;
    shape->name_end = ends;
    shape->n_cap = n;
    return true;
}

static int find_column(sqlite3_stmt *stmt, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (sqlite3_stricmp(sqlite3_column_name(stmt, i), name) == 0)
            return i;
    return -1;
}

static bool holds(const char *decl, const char *word)
{
    for (; *decl; decl++)
        if (strncasecmp(decl, word, strlen(word)) == 0)
            return true;
    return false;
}

/* SQLite's own rule of affinity, as far as keys need it: INT makes an integer, then text wins over BLOB. */
static uint8_t class_of(const char *decl)
{
    if (!decl)
        return LDR_KEY_AS_TEXT;
    if (holds(decl, "INT"))
        return LDR_KEY_AS_INTEGER;
    if (holds(decl, "CHAR") || holds(decl, "CLOB") || holds(decl, "TEXT"))
        return LDR_KEY_AS_TEXT;
    return holds(decl, "BLOB") ? LDR_KEY_AS_BLOB : LDR_KEY_AS_TEXT;
}

static int missing(const ldr_model *m, const char *name, ldr_err *err)
{
    return ldr_fail(err, LDR_SOURCE, "sqlite: model \"%s\", table \"%s\": there is no column \"%s\"%s", m->name,
                    m->table ? m->table : "(own SQL)", name,
                    m->version && strcmp(name, m->version) == 0 ? " (larder migrate makes it)" : "");
}

/* Where key and version stand. Own SQL need not give the key, but must give the version that its model names. */
static int find_places(const ldr_model *m, sqlite3_stmt *stmt, ldr_sqlite_shape *shape, ldr_err *err)
{
    for (size_t i = 0; i < m->n_key; i++) {
        int at = find_column(stmt, shape->n, m->key[i]);
        if (at < 0 && !m->sql_load)
            return missing(m, m->key[i], err);
        shape->key_at[i] = at;
        shape->key_class[i] = at < 0 ? LDR_KEY_AS_TEXT : class_of(sqlite3_column_decltype(stmt, at));
    }
    shape->version_at = m->version ? find_column(stmt, shape->n, m->version) : -1;
    return m->version && shape->version_at < 0 ? missing(m, m->version, err) : LDR_OK;
}

static bool describe_names(sqlite3_stmt *stmt, ldr_sqlite_shape *shape, ldr_buf *all)
{
    ldr_buf_clear(&shape->names);
    for (int i = 0; i < shape->n; i++) {
        const char *name = sqlite3_column_name(stmt, i), *decl = sqlite3_column_decltype(stmt, i);
        if (!name)
            return false;
        ldr_pack_str(&shape->names, ldr_slice_str(name));
        shape->name_end[i] = (uint32_t)shape->names.n;
        ldr_buf_add(all, name, strlen(name) + 1);
        ldr_buf_str(all, decl ? decl : "");
        ldr_buf_byte(all, 0);
    }
    return !shape->names.oom && !all->oom;
}

static const char *twice(sqlite3_stmt *stmt, int n)
{
    for (int i = 1; i < n; i++)
        for (int j = 0; j < i; j++)
            if (strcmp(sqlite3_column_name(stmt, i), sqlite3_column_name(stmt, j)) == 0)
                return sqlite3_column_name(stmt, i);
    return NULL;
}

static void note_fingerprint(ldr_sqlite *s, size_t index, int64_t fingerprint)
{
    int64_t before = atomic_exchange(&s->fingerprints[index], fingerprint);
    if (before != 0 && before != fingerprint)
        atomic_fetch_add(&s->epoch, 1);
}

static int describe(ldr_sqlite_conn *c, size_t index, ldr_err *err)
{
    const ldr_model *m = &c->source->models.all[index];
    ldr_sqlite_stmts *st = &c->models[index];
    ldr_sqlite_shape *shape = &st->shape;
    shape->n = sqlite3_column_count(st->load);
    if (shape->n == 0)
        return ldr_sqlite_refuse(m, (ldr_slice){0}, LDR_SOURCE, "its load gives no columns", err);
    ldr_buf all = LDR_BUF(&c->source->mem);
    bool fine = room(c, shape, shape->n) && describe_names(st->load, shape, &all);
    uint64_t hash = fine ? ldr_hash(ldr_buf_slice(&all), 0) : 0;
    ldr_buf_free(&all);
    if (!fine)
        return ldr_fail_oom(err);
    const char *name = twice(st->load, shape->n);
    if (name)
        return ldr_fail(err, LDR_SOURCE, "sqlite: model \"%s\": its load gives column \"%s\" twice", m->name, name);
    shape->fingerprint = hash ? (int64_t)hash : 1;
    st->reprepared = sqlite3_stmt_status(st->load, SQLITE_STMTSTATUS_REPREPARE, 0);
    int rc = find_places(m, st->load, shape, err);
    if (rc == LDR_OK)
        note_fingerprint(c->source, index, shape->fingerprint);
    return rc;
}

void ldr_sqlite_statements_drop(ldr_sqlite_conn *c, size_t index)
{
    ldr_sqlite_stmts *st = &c->models[index];
    sqlite3_finalize(st->load);
    sqlite3_finalize(st->peek);
    sqlite3_finalize(st->store);
    sqlite3_finalize(st->erase);
    st->load = st->peek = st->store = st->erase = NULL;
}

/* A connection learns of a new schema when a statement is stepped, not when one is prepared: so one is stepped. */
static int prepare_load(ldr_sqlite_conn *c, size_t index, ldr_err *err)
{
    int unasked;
    const ldr_model *m = &c->source->models.all[index];
    ldr_buf sql = LDR_BUF(&c->source->mem);
    ldr_sqlite_number(c, LDR_SQL_IS_THERE, "", 0, &unasked);
    load_text(c, m, &sql);
    if (sql.oom) {
        ldr_buf_free(&sql);
        return ldr_fail_oom(err);
    }
    ldr_err own;
    err = err ? err : &own;
    c->models[index].load = ldr_sqlite_prepare(c, m, ldr_buf_slice(&sql), err);
    ldr_buf_free(&sql);
    return c->models[index].load ? describe(c, index, err) : err->code;
}

ldr_sqlite_stmts *ldr_sqlite_statements(ldr_sqlite_conn *c, size_t index, ldr_err *err)
{
    ldr_sqlite_stmts *st = &c->models[index];
    if (st->load)
        return st;
    if (prepare_load(c, index, err) == LDR_OK)
        return st;
    ldr_sqlite_statements_drop(c, index);
    return NULL;
}

int ldr_sqlite_shape_follow(ldr_sqlite_conn *c, size_t index, bool *changed, ldr_err *err)
{
    ldr_sqlite_stmts *st = &c->models[index];
    *changed = sqlite3_stmt_status(st->load, SQLITE_STMTSTATUS_REPREPARE, 0) != st->reprepared;
    if (!*changed)
        return LDR_OK;
    sqlite3_reset(st->load);
    int code = describe(c, index, err);
    if (code)
        ldr_sqlite_statements_drop(c, index);
    return code;
}

/* ---- keys ------------------------------------------------------------------------------------------------- */

/* An integer as SQLite would spell it, and nothing else: no sign +, no zeros in front, within 64 bits. */
static bool integer_of(ldr_slice part, int64_t *out)
{
    size_t i = part.n && part.p[0] == '-';
    uint64_t n = 0;
    if (part.n == i || part.n - i > 18 || (part.p[i] == '0' && part.n > 1))
        return false;
    for (; i < part.n; i++) {
        if (part.p[i] < '0' || part.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(part.p[i] - '0');
    }
    *out = part.p[0] == '-' ? -(int64_t)n : (int64_t)n;
    return true;
}

int ldr_sqlite_bind_part(sqlite3_stmt *stmt, int at, int key_class, ldr_slice part)
{
    int64_t n;
    if (key_class == LDR_KEY_AS_INTEGER && integer_of(part, &n))
        return sqlite3_bind_int64(stmt, at, n);
    if (key_class == LDR_KEY_AS_BLOB)
        return sqlite3_bind_blob64(stmt, at, part.p, part.n, SQLITE_STATIC);
    return sqlite3_bind_text64(stmt, at, part.p, part.n, SQLITE_STATIC, SQLITE_UTF8);
}

int ldr_sqlite_bind_key(sqlite3_stmt *stmt, const ldr_sqlite_shape *shape, const ldr_model_key *k)
{
    int n = sqlite3_bind_parameter_count(stmt), rc = SQLITE_OK;
    if (n > (int)k->model->n_key)
        return SQLITE_RANGE;
    for (int i = 0; i < n && rc == SQLITE_OK; i++)
        rc = ldr_sqlite_bind_part(stmt, i + 1, shape->key_class[i], k->part[i]);
    return rc;
}

bool ldr_sqlite_spelled(sqlite3_stmt *stmt, int at, ldr_slice part)
{
    int64_t n;
    int type = sqlite3_column_type(stmt, at);
    if (type == SQLITE_NULL)
        return false;
    if (type == SQLITE_INTEGER && integer_of(part, &n))
        return sqlite3_column_int64(stmt, at) == n;
    const void *p = type == SQLITE_BLOB ? sqlite3_column_blob(stmt, at) : (const void *)sqlite3_column_text(stmt, at);
    size_t size = (size_t)sqlite3_column_bytes(stmt, at);
    return ldr_slice_eq(ldr_slice_of(p, size), part);
}
