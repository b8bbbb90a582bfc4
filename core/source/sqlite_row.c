/* sqlite_row.c - the value of a STORE: a msgpack map of columns, checked before anything is written.
 *
 * How values are bound: nil is NULL, false and true are 0 and 1, integers INTEGER, floats REAL (not-a-number is
 * refused: SQLite would keep NULL), a string is TEXT when it is valid UTF-8 without a NUL byte, else a BLOB of the
 * same bytes. Tables in a column are refused. A column that the model does not know is refused, the version column
 * is passed over, and a key column must say what the key says. */
#include "source/sqlite_parts.h"

#include <math.h>
#include <stdio.h>

void ldr_sqlite_row_fini(ldr_sqlite_row *row)
{
    ldr_mem_free(row->mem, row->all);
    row->all = NULL;
    row->n = row->cap = 0;
}

static int wrong(ldr_item *item, ldr_slice column, const char *why)
{
    char key[LDR_KEY_TEXT], name[LDR_KEY_TEXT];
    return ldr_fail(&item->err, LDR_INVALID, "sqlite: key \"%s\", column \"%s\": %s", ldr_key_text(item->key, key),
                    ldr_key_text(column, name), why);
}

static int not_a_row(const ldr_model_key *k, ldr_item *item)
{
    return ldr_sqlite_refuse(k->model, item->key, LDR_INVALID, "a row is wanted: a table of columns", &item->err);
}

/* ---- what a column may hold ------------------------------------------------------------------------------- */

/* Bytes behind the first one of a UTF-8 character, and the least code point so written; -1: no first byte. */
static int behind(unsigned char c, uint32_t *point, uint32_t *least)
{
    static const uint32_t from[] = {0, 0x80, 0x800, 0x10000};
    int n = c < 0x80 ? 0 : (c & 0xe0) == 0xc0 ? 1 : (c & 0xf0) == 0xe0 ? 2 : (c & 0xf8) == 0xf0 ? 3 : -1;
    if (n < 0)
        return n;
    *point = n ? c & (0x3fu >> n) : c;
    *least = from[n];
    return n;
}

static bool is_text(ldr_slice s)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t point, least;
        int n = behind((unsigned char)s.p[i++], &point, &least);
        if (n < 0 || (size_t)n > s.n - i)
            return false;
        for (; n > 0; n--) {
            unsigned char c = (unsigned char)s.p[i++];
            if ((c & 0xc0) != 0x80)
                return false;
            point = point << 6 | (c & 0x3f);
        }
        if (point == 0 || point < least || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            return false;
    }
    return true;
}

int ldr_sqlite_bind_value(sqlite3_stmt *stmt, int at, const ldr_token *t)
{
    switch (t->type) {
    case LDR_TOKEN_BOOL:
        return sqlite3_bind_int(stmt, at, t->b);
    case LDR_TOKEN_INT:
        return sqlite3_bind_int64(stmt, at, t->i);
    case LDR_TOKEN_DOUBLE:
        return sqlite3_bind_double(stmt, at, t->d);
    case LDR_TOKEN_STR:
        if (is_text(t->s))
            return sqlite3_bind_text64(stmt, at, t->s.n ? t->s.p : "", t->s.n, SQLITE_STATIC, SQLITE_UTF8);
        return sqlite3_bind_blob64(stmt, at, t->s.p, t->s.n, SQLITE_STATIC);
    case LDR_TOKEN_BIN:
        return sqlite3_bind_blob64(stmt, at, t->s.n ? t->s.p : "", t->s.n, SQLITE_STATIC);
    default:
        return sqlite3_bind_null(stmt, at);
    }
}

/* NULL, or why no column can hold it. */
static const char *unfit(const ldr_token *t)
{
    switch (t->type) {
    case LDR_TOKEN_ARRAY:
    case LDR_TOKEN_MAP:
        return "a table cannot be kept in a column";
    case LDR_TOKEN_EXT:
        return "this value cannot be kept in a column";
    case LDR_TOKEN_UINT:
        return "an integer above 2^63-1";
    case LDR_TOKEN_DOUBLE:
        return isnan(t->d) ? "not a number: SQLite would keep NULL" : NULL;
    default:
        return NULL;
    }
}

/* ---- the key in the value --------------------------------------------------------------------------------- */

static bool same_text(const char *text, ldr_slice part)
{
    return ldr_slice_eq(ldr_slice_str(text), part);
}

/* Says the value what the key says? A number does in either spelling, for the column decides which it becomes. */
static bool says(const ldr_token *t, ldr_slice part)
{
    char text[48];
    if (t->type == LDR_TOKEN_STR || t->type == LDR_TOKEN_BIN)
        return ldr_slice_eq(t->s, part);
    if (t->type == LDR_TOKEN_INT) {
        snprintf(text, sizeof text, "%lld", (long long)t->i);
        if (same_text(text, part))
            return true;
    } else if (t->type != LDR_TOKEN_DOUBLE) {
        return false;
    }
    double d = t->type == LDR_TOKEN_INT ? (double)t->i : t->d;
    sqlite3_snprintf(sizeof text, text, "%!.15g", d);
    if (same_text(text, part))
        return true;
    if (t->type == LDR_TOKEN_INT || d < -9e15 || d > 9e15 || d != floor(d))
        return false;
    snprintf(text, sizeof text, "%lld", (long long)d);
    return same_text(text, part);
}

static bool named(const char *name, ldr_slice s)
{
    return name && ldr_slice_eq(ldr_slice_str(name), s);
}

/* The key part that a column holds; -1: it is no key column. */
static int part_of(const ldr_model_key *k, sqlite3_stmt *load, const ldr_sqlite_shape *shape, ldr_slice name)
{
    for (size_t i = 0; i < k->model->n_key; i++)
        if (named(k->model->key[i], name) ||
            (shape->key_at[i] >= 0 && named(sqlite3_column_name(load, shape->key_at[i]), name)))
            return (int)i;
    return -1;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

static bool is_column(const ldr_sqlite_stmts *st, ldr_slice name)
{
    for (int i = 0; i < st->shape.n; i++)
        if (named(sqlite3_column_name(st->load, i), name))
            return true;
    return false;
}

static bool is_parameter(sqlite3_stmt *own, ldr_slice name)
{
    for (int i = 1, n = own ? sqlite3_bind_parameter_count(own) : 0; i <= n; i++) {
        const char *p = sqlite3_bind_parameter_name(own, i);
        if (p && p[0] != '?' && named(p + 1, name))
            return true;
    }
    return false;
}

static bool is_version(const ldr_model_key *k, const ldr_sqlite_stmts *st, ldr_slice name)
{
    int at = st->shape.version_at;
    return named(k->model->version, name) || (at >= 0 && named(sqlite3_column_name(st->load, at), name));
}

static int add(ldr_sqlite_row *row, ldr_item *item, ldr_slice name, const ldr_token *t)
{
    for (size_t i = 0; i < row->n; i++)
        if (ldr_slice_eq(row->all[i].name, name))
            return wrong(item, name, "it is there twice");
    if (row->n == row->cap) {
        size_t cap = row->cap ? row->cap * 2 : 16;
        ldr_sqlite_value *all = ldr_mem_grow(row->mem, row->all, cap * sizeof *all);
        if (!all)
            return ldr_fail_oom(&item->err);
        row->all = all;
        row->cap = cap;
    }
    row->all[row->n++] = (ldr_sqlite_value){.name = name, .token = *t};
    return LDR_OK;
}

typedef struct reader {
    const ldr_model_key *k;
    const ldr_sqlite_stmts *st;
    sqlite3_stmt *own;
    ldr_item *item;
    ldr_sqlite_row *row;
} reader;

static int read_column(const reader *r, ldr_slice name, const ldr_token *t)
{
    int part = part_of(r->k, r->st->load, &r->st->shape, name);
    if (part >= 0)
        return says(t, r->k->part[part]) ? LDR_OK : wrong(r->item, name, "it differs from the key");
    if (is_version(r->k, r->st, name))
        return LDR_OK;
    if (!is_column(r->st, name) && !is_parameter(r->own, name))
        return wrong(r->item, name, "the model has no such column");
    const char *why = unfit(t);
    return why ? wrong(r->item, name, why) : add(r->row, r->item, name, t);
}

static bool read_map(ldr_unpack *u, uint32_t *n)
{
    ldr_token t;
    if (!ldr_unpack_next(u, &t) || (t.type != LDR_TOKEN_MAP && !(t.type == LDR_TOKEN_ARRAY && t.n == 0)))
        return false;
    *n = t.n;
    return true;
}

/* Passes what is in a container whose head was read. */
static bool pass(ldr_unpack *u, const ldr_token *t)
{
    uint64_t n = t->type == LDR_TOKEN_ARRAY ? t->n : t->type == LDR_TOKEN_MAP ? (uint64_t)t->n * 2 : 0;
    for (; n > 0; n--)
        if (!ldr_unpack_skip(u))
            return false;
    return true;
}

int ldr_sqlite_row_read(ldr_sqlite_conn *c, const ldr_model_key *k, sqlite3_stmt *own, ldr_item *item, ldr_sqlite_row *row)
{
    *row = (ldr_sqlite_row){.mem = &c->source->mem};
    const reader r = {.k = k, .st = &c->models[k->index], .own = own, .item = item, .row = row};
    ldr_unpack u = ldr_unpack_of(item->value);
    uint32_t n;
    if (item->value_kind != LDR_MSGPACK || !read_map(&u, &n))
        return not_a_row(k, item);
    for (; n > 0; n--) {
        ldr_token name, t;
        if (!ldr_unpack_next(&u, &name) || name.type != LDR_TOKEN_STR || !ldr_unpack_next(&u, &t) || !pass(&u, &t))
            return not_a_row(k, item);
        int rc = read_column(&r, name.s, &t);
        if (rc)
            return rc;
    }
    return u.p == u.end ? LDR_OK : not_a_row(k, item);
}
