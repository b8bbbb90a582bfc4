/* sqlite_changes.c - CHANGES: what was written to the tables since a mark, by whomever.
 *
 *   PRAGMA data_version unchanged and nothing unread: done, at the price of one look
 *   else, in one read transaction: newest, oldest, the rows behind the mark in pages -> changed() for each model
 *
 * Invariant: no change is lost. The mark is the number of a change row; AUTOINCREMENT never gives a number twice, and
 * what was pruned leaves a gap behind the mark. A gap, a newest number below the mark (a restored file), a file that
 * was replaced, a change table that went away, columns that changed, a key that is not the model's: all is suspect,
 * so flood() says. The connection here only reads, for data_version does not show a connection its own changes. */
#include "source/sqlite_parts.h"

#include <strings.h>

#define PRUNE_EVERY_US (60 * (int64_t)LDR_SEC)
#define PRUNE_WAIT_US (50 * LDR_MS)
#define PRUNE_PAGES 64

bool ldr_sqlite_changes_there(ldr_sqlite_conn *c, int *rc)
{
    return ldr_sqlite_number(c, LDR_SQL_IS_THERE, "ldr_changes", 0, rc) == 1;
}

static int fail(ldr_sqlite_conn *c, int rc, ldr_request *r)
{
    return ldr_sqlite_fail(c, NULL, (ldr_slice){0}, rc, &r->err);
}

static void flood(const ldr_request *r, const char *why)
{
    if (r->flood)
        r->flood(r->ctx, why);
}

/* ---- which models a change row names ---------------------------------------------------------------------- */

static bool same_table(const ldr_model *m, const char *table)
{
    return m->table && (strcasecmp(m->table, table) == 0 || strcasecmp(ldr_sqlite_bare(m->table), table) == 0);
}

/* Are the table's change rows keyed by this model's key columns, in this order? */
static int map_model(ldr_sqlite_conn *c, const ldr_model *m, bool *mapped)
{
    *mapped = false;
    if (!m->table)
        return SQLITE_OK;
    ldr_buf key = LDR_BUF(&c->source->mem);
    for (size_t i = 0; i < m->n_key; i++) {
        ldr_buf_str(&key, i ? ", " : "");
        ldr_sqlite_quote(&key, m->key[i]);
    }
    ldr_buf_byte(&key, 0);
    sqlite3_stmt *stmt = ldr_sqlite_fixed(c, LDR_SQL_KEY_COLUMNS);
    int rc = stmt ? sqlite3_bind_text(stmt, 1, ldr_sqlite_bare(m->table), -1, SQLITE_STATIC) : sqlite3_errcode(c->db);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    const char *columns = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    *mapped = columns && !key.oom && strcasecmp(columns, key.p) == 0;
    sqlite3_reset(stmt);
    ldr_buf_free(&key);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The schema is another one, or was never looked at: fingerprints and keys anew. A model that cannot be prepared now
 * (no table yet) is none of this verb's business. */
static int learn_schema(ldr_sqlite *s, ldr_sqlite_conn *c)
{
    ldr_err unasked;
    for (size_t i = 0; i < s->models.n; i++) {
        ldr_sqlite_statements_drop(c, i);
        ldr_sqlite_statements(c, i, &unasked);
        int rc = map_model(c, &s->models.all[i], &s->watch.mapped[i]);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

/* To a model that does not name its version the table's numbers say nothing: what is held of it has drawn ones, if any. */
static int64_t version_for(const ldr_model *m, int64_t version)
{
#ifndef LDR_BUG_CHANGE_NUMBERED
    if (!m->version)
        return 0;
#endif
    (void)m;
    return version;
}

static int tell_model(ldr_sqlite *s, const ldr_request *r, const ldr_model *m, ldr_slice key, int64_t version)
{
    ldr_buf *b = &s->watch.key;
    ldr_buf_clear(b);
    ldr_buf_str(b, m->name);
    ldr_buf_byte(b, ':');
    ldr_buf_add(b, key.p, key.n);
    if (b->oom)
        return SQLITE_NOMEM;
    if (r->changed)
        r->changed(r->ctx, ldr_buf_slice(b), version_for(m, version));
    return SQLITE_OK;
}

/* One change row. *unmapped: a model of this table has another key than the row. */
static int tell(ldr_sqlite *s, const ldr_request *r, sqlite3_stmt *row, bool *unmapped)
{
    const char *table = (const char *)sqlite3_column_text(row, 1), *text = (const char *)sqlite3_column_text(row, 2);
    ldr_slice key = {.p = text, .n = (size_t)sqlite3_column_bytes(row, 2)};
    if (!table || !text)
        return SQLITE_NOMEM;
    for (size_t i = 0; i < s->models.n; i++) {
        const ldr_model *m = &s->models.all[i];
        if (!same_table(m, table))
            continue;
        if (!s->watch.mapped[i]) {
            *unmapped = true;
            continue;
        }
        int rc = tell_model(s, r, m, key, sqlite3_column_int64(row, 3));
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* One page behind the mark, which moves along. *n rows were told. */
static int read_page(ldr_sqlite *s, ldr_sqlite_conn *c, ldr_request *r, int *n, bool *unmapped)
{
    sqlite3_stmt *stmt = ldr_sqlite_fixed(c, LDR_SQL_PAGE);
    int rc = stmt ? sqlite3_bind_int64(stmt, 1, r->mark) : sqlite3_errcode(c->db);
    *n = 0;
    while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        rc = tell(s, r, stmt, unmapped);
        if (rc == SQLITE_OK)
            r->mark = sqlite3_column_int64(stmt, 0);
        ++*n;
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_rows(ldr_sqlite *s, ldr_sqlite_conn *c, ldr_request *r)
{
    bool unmapped = false;
    int n, rc;
    do
        rc = read_page(s, c, r, &n, &unmapped);
    while (rc == SQLITE_OK && n > 0 && !ldr_sqlite_late(c)); /* the rest next time: the mark moved */
    if (unmapped)
        flood(r, "a model's key is not the one that the change table was made with");
    return rc;
}

/* Within a read transaction: what lies between mark and newest, or why that cannot be told. */
static int read_changes(ldr_sqlite *s, ldr_sqlite_conn *c, ldr_request *r)
{
    int rc;
    int64_t newest = ldr_sqlite_number(c, LDR_SQL_NEWEST, NULL, 0, &rc);
    if (rc != SQLITE_OK)
        return rc;
    int64_t oldest = ldr_sqlite_number(c, LDR_SQL_OLDEST, NULL, INT64_MAX, &rc);
    if (rc != SQLITE_OK)
        return rc;
#ifdef LDR_BUG_SQLITE_GAP
    oldest = r->mark + 1;
#endif
    if (r->mark == LDR_UNSET || r->mark == newest) {
        r->mark = newest;
    } else if (newest < r->mark) {
        flood(r, "the change table is older than what was seen: the database was restored");
        r->mark = newest;
    } else if (oldest > r->mark + 1) {
        flood(r, "changes were pruned before they were seen");
        r->mark = newest;
    } else {
        rc = read_rows(s, c, r);
    }
    if (rc == SQLITE_OK)
        s->watch.newest = newest;
    return rc;
}

/* ---- one look --------------------------------------------------------------------------------------------- */

static int follow_schema(ldr_sqlite *s, ldr_sqlite_conn *c, const ldr_request *r)
{
    int rc;
    int64_t now = ldr_sqlite_number(c, LDR_SQL_SCHEMA_VERSION, NULL, 0, &rc);
    if (rc != SQLITE_OK || (s->watch.looked && now == s->watch.schema_version))
        return rc;
    bool first = !s->watch.looked && r->mark == LDR_UNSET;
    rc = learn_schema(s, c);
    if (rc != SQLITE_OK)
        return rc;
    s->watch.schema_version = now;
    if (first)
        s->watch.epoch = atomic_load(&s->epoch);
    return SQLITE_OK;
}

static void follow_epoch(ldr_sqlite *s, const ldr_request *r)
{
    int64_t epoch = atomic_load(&s->epoch);
    if (epoch != s->watch.epoch)
        flood(r, "the columns of a model changed");
    s->watch.epoch = epoch;
}

static int no_table(ldr_sqlite *s, ldr_request *r)
{
    if (r->mark != LDR_UNSET && !s->watch.gone)
        flood(r, "the change table went away");
    s->watch.gone = r->mark != LDR_UNSET;
    s->watch.looked = false;
    return ldr_fail(&r->err, LDR_UNSUPPORTED, "sqlite: changes: %.*s has no change table; `larder migrate --changes` makes it",
                    100, s->file);
}

static int look_inside(ldr_sqlite *s, ldr_sqlite_conn *c, ldr_request *r)
{
    int rc;
    bool there = ldr_sqlite_changes_there(c, &rc);
    if (rc == SQLITE_OK && !there)
        return no_table(s, r);
    if (rc == SQLITE_OK)
        rc = follow_schema(s, c, r);
    if (rc != SQLITE_OK)
        return fail(c, rc, r);
    if (r->mark != LDR_UNSET && (s->watch.gone || s->watch.other)) {
        flood(r, s->watch.gone ? "the change table was away" : "the database file was replaced");
        r->mark = LDR_UNSET;
    }
    rc = read_changes(s, c, r);
    if (rc != SQLITE_OK)
        return fail(c, rc, r);
    s->watch.gone = s->watch.other = false;
    return LDR_OK;
}

/* data_version is read first: what is committed in between shows in it next time. */
static int look(ldr_sqlite *s, ldr_sqlite_conn *c, ldr_request *r)
{
    int rc;
    int64_t now = ldr_sqlite_number(c, LDR_SQL_DATA_VERSION, NULL, 0, &rc);
    if (rc != SQLITE_OK)
        return fail(c, rc, r);
    follow_epoch(s, r);
    if (s->watch.looked && now == s->watch.data_version && r->mark == s->watch.newest)
        return LDR_OK;
    if ((rc = ldr_sqlite_do(c, LDR_SQL_BEGIN)) != SQLITE_OK)
        return fail(c, rc, r);
    int code = look_inside(s, c, r);
    ldr_sqlite_do(c, LDR_SQL_ROLLBACK);
    if (code)
        return code;
    follow_epoch(s, r);
    s->watch.looked = true;
    s->watch.data_version = now;
    return LDR_OK;
}

/* ---- pruning ---------------------------------------------------------------------------------------------- */

/* Rows of more than an hour ago go, a thousand a transaction, without making anybody wait. Best effort. */
static void prune(ldr_sqlite *s, const ldr_request *r)
{
    ldr_err unasked;
    ldr_request brief = {.verb = LDR_CHANGES, .clock = r->clock};
    int64_t now = ldr_clock_now(r->clock);
    s->watch.prune_at_us = ldr_time_add(now, PRUNE_EVERY_US);
    brief.deadline_us = ldr_time_add(now, PRUNE_WAIT_US);
    if (brief.deadline_us > r->deadline_us)
        brief.deadline_us = r->deadline_us;
    ldr_sqlite_conn *c = ldr_sqlite_take(s, &brief, &unasked);
    if (!c)
        return;
    for (int i = 0; i < PRUNE_PAGES && !ldr_sqlite_late(c); i++)
        if (ldr_sqlite_do(c, LDR_SQL_PRUNE) != SQLITE_OK || sqlite3_changes(c->db) == 0)
            break;
    ldr_sqlite_give(c);
}

static void prune_when_due(ldr_sqlite *s, const ldr_request *r)
{
    int64_t now = ldr_clock_now(r->clock);
    if (s->watch.prune_at_us == 0)
        s->watch.prune_at_us = ldr_time_add(now, PRUNE_EVERY_US);
    else if (now >= s->watch.prune_at_us)
        prune(s, r);
}

/* ---- the verb --------------------------------------------------------------------------------------------- */

/* The connection, opened anew where the file behind its name is another one. */
static ldr_sqlite_conn *listener(ldr_sqlite *s, ldr_request *r)
{
    ldr_sqlite_watch *w = &s->watch;
    if (w->conn && ldr_sqlite_moved(w->conn)) {
        ldr_sqlite_conn_close(w->conn);
        w->conn = NULL;
        w->looked = false;
        w->other = true;
        ldr_sqlite_replaced(s);
    }
    if (!w->conn)
        w->conn = ldr_sqlite_conn_open(s, r, &r->err);
    if (w->conn)
        ldr_sqlite_conn_watch(w->conn, r);
    return w->conn;
}

void ldr_sqlite_run_changes(ldr_sqlite *s, ldr_request *r)
{
    pthread_mutex_lock(&s->watch.lock);
    ldr_sqlite_conn *c = listener(s, r);
    int code = LDR_OK;
    if (c) {
        code = look(s, c, r);
        c->request = NULL;
    }
    if (c && code == LDR_OK)
        prune_when_due(s, r);
    pthread_mutex_unlock(&s->watch.lock);
}
