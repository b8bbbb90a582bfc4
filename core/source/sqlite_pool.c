/* sqlite_pool.c - connections to one file: opened lazily, lent to one thread at a time, kept with their statements.
 *
 * Invariant: under `lock`, n_open counts the pool's connections, lent ones included, and is at most LDR_SQLITE_POOL;
 * `any` lists them all, so that a child can let go of every one. A connection never makes a file.
 *
 * Nothing waits beyond its request's deadline: locks by the busy handler, statements by the progress handler, a free
 * connection by the condition. A virtual clock may stand still, so as much real time as the request had is a limit too. */
#include "source/sqlite_parts.h"

#include <errno.h>
#include <time.h>

#define BUSY_FIRST_US 100
#define BUSY_MOST_US 2000
#define STEPS_PER_LOOK 2000 /* virtual machine steps between two looks at the clock */

static const char *const fixed_sql[LDR_SQL_N] = {
    [LDR_SQL_BEGIN] = "BEGIN",
    [LDR_SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [LDR_SQL_COMMIT] = "COMMIT",
    [LDR_SQL_ROLLBACK] = "ROLLBACK",
    [LDR_SQL_SAVE] = "SAVEPOINT ldr_item",
    [LDR_SQL_SAVE_UNDO] = "ROLLBACK TO ldr_item",
    [LDR_SQL_SAVE_END] = "RELEASE ldr_item",
    [LDR_SQL_COUNTER] =
        "SELECT n FROM ldr_version WHERE EXISTS (SELECT 1 FROM ldr_meta WHERE tbl = ?1 COLLATE NOCASE)",
    [LDR_SQL_IS_VIEW] = "SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?1 COLLATE NOCASE",
    [LDR_SQL_IS_THERE] = "SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE",
    [LDR_SQL_DATA_VERSION] = "PRAGMA data_version",
    [LDR_SQL_SCHEMA_VERSION] = "PRAGMA schema_version",
    [LDR_SQL_NEWEST] = "SELECT seq FROM sqlite_sequence WHERE name = 'ldr_changes'",
    [LDR_SQL_OLDEST] = "SELECT min(seq) FROM ldr_changes",
    [LDR_SQL_PAGE] = "SELECT seq, tbl, key, version FROM ldr_changes WHERE seq > ?1 ORDER BY seq LIMIT 1000",
    [LDR_SQL_KEY_COLUMNS] = "SELECT key_columns FROM ldr_meta WHERE tbl = ?1 COLLATE NOCASE",
    [LDR_SQL_PRUNE] = ("DELETE FROM ldr_changes WHERE seq <= (SELECT max(seq) FROM (SELECT seq, at FROM ldr_changes "
                       "ORDER BY seq LIMIT 1000) WHERE at < CAST(strftime('%s', 'now') AS INTEGER) - 3600)"),
};

/* ---- deadlines -------------------------------------------------------------------------------------------- */

static int64_t real_us(void)
{
    ldr_clock real;
    ldr_clock_init(&real);
    return ldr_clock_now(&real);
}

void ldr_sqlite_conn_watch(ldr_sqlite_conn *c, const ldr_request *r)
{
    c->request = r;
    if (!r || !r->clock->is_virtual)
        return;
    int64_t now = ldr_clock_now(r->clock);
    c->give_up_us = r->deadline_us == LDR_NEVER ? LDR_NEVER : ldr_time_add(real_us(), r->deadline_us - now);
}

bool ldr_sqlite_late(const ldr_sqlite_conn *c)
{
    const ldr_request *r = c->request;
    if (!r)
        return true;
    if (ldr_clock_now(r->clock) >= r->deadline_us)
        return true;
    return r->clock->is_virtual && real_us() >= c->give_up_us;
}

static void pause_us(int64_t us)
{
    struct timespec t = {.tv_sec = us / LDR_SEC, .tv_nsec = us % LDR_SEC * 1000};
    nanosleep(&t, NULL);
}

static int busy(void *arg, int tries)
{
    ldr_sqlite_conn *c = arg;
    if (ldr_sqlite_late(c))
        return 0;
    pause_us(tries < 8 ? BUSY_FIRST_US << (tries / 2) : BUSY_MOST_US);
    return 1;
}

static int progress(void *arg)
{
    const ldr_sqlite_conn *c = arg;
    return c->request && ldr_sqlite_late(c);
}

/* ---- one connection --------------------------------------------------------------------------------------- */

/* Memory of ours only: also for a child, which may not touch what belongs to SQLite. */
static void conn_free(ldr_sqlite_conn *c)
{
    const ldr_mem *mem = &c->source->mem;
    for (size_t i = 0; c->models && i < c->source->models.n; i++) {
        ldr_buf_free(&c->models[i].shape.names);
        ldr_mem_free(mem, c->models[i].shape.name_end);
    }
    ldr_mem_free(mem, c->models);
    ldr_mem_free(mem, c);
}

void ldr_sqlite_conn_close(ldr_sqlite_conn *c)
{
    for (int i = 0; i < LDR_SQL_N; i++)
        sqlite3_finalize(c->fixed[i]);
    for (size_t i = 0; i < c->source->models.n; i++)
        ldr_sqlite_statements_drop(c, i);
    sqlite3_close(c->db);
    conn_free(c);
}

static int connect(ldr_sqlite_conn *c)
{
    int rc = sqlite3_open_v2(c->source->file, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_busy_handler(c->db, busy, c);
    sqlite3_progress_handler(c->db, STEPS_PER_LOOK, progress, c);
    return sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
}

static ldr_sqlite_conn *conn_new(ldr_sqlite *s)
{
    ldr_sqlite_conn *c = ldr_mem_zero(&s->mem, 1, sizeof *c);
    if (!c)
        return NULL;
    c->source = s;
    if (!(c->models = ldr_mem_zero(&s->mem, s->models.n, sizeof *c->models))) {
        ldr_mem_free(&s->mem, c);
        return NULL;
    }
    for (size_t i = 0; i < s->models.n; i++)
        c->models[i].shape.names = LDR_BUF(&s->mem);
    return c;
}

ldr_sqlite_conn *ldr_sqlite_conn_open(ldr_sqlite *s, const ldr_request *r, ldr_err *err)
{
    ldr_sqlite_conn *c = conn_new(s);
    if (!c) {
        ldr_fail_oom(err);
        return NULL;
    }
    ldr_sqlite_conn_watch(c, r);
    int rc = connect(c);
    if (rc == SQLITE_OK)
        return c;
    ldr_fail(err, rc == SQLITE_NOMEM ? LDR_NOMEM : LDR_UNAVAILABLE, "sqlite: %s: %s", s->file, sqlite3_errstr(rc));
    ldr_sqlite_conn_close(c);
    return NULL;
}

bool ldr_sqlite_moved(ldr_sqlite_conn *c)
{
    int moved = 0;
    return sqlite3_file_control(c->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved;
}

/* ---- fixed statements ------------------------------------------------------------------------------------- */

sqlite3_stmt *ldr_sqlite_fixed(ldr_sqlite_conn *c, enum ldr_sqlite_fixed which)
{
    sqlite3_stmt **at = &c->fixed[which];
    if (*at)
        sqlite3_reset(*at);
    else
        sqlite3_prepare_v3(c->db, fixed_sql[which], -1, SQLITE_PREPARE_PERSISTENT, at, NULL);
    return *at;
}

int ldr_sqlite_do(ldr_sqlite_conn *c, enum ldr_sqlite_fixed which)
{
    sqlite3_stmt *stmt = ldr_sqlite_fixed(c, which);
    if (!stmt)
        return sqlite3_errcode(c->db);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        rc = SQLITE_OK;
    int again = sqlite3_reset(stmt);
    return rc == SQLITE_OK ? again : rc;
}

int64_t ldr_sqlite_number(ldr_sqlite_conn *c, enum ldr_sqlite_fixed which, const char *text, int64_t none, int *rc)
{
    sqlite3_stmt *stmt = ldr_sqlite_fixed(c, which);
    if (!stmt) {
        *rc = sqlite3_errcode(c->db);
        return none;
    }
    if (text)
        sqlite3_bind_text(stmt, 1, text, -1, SQLITE_STATIC);
    *rc = sqlite3_step(stmt);
    int64_t n = none;
    if (*rc == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        n = sqlite3_column_int64(stmt, 0);
    if (*rc == SQLITE_ROW || *rc == SQLITE_DONE)
        *rc = SQLITE_OK;
    sqlite3_reset(stmt);
    return n;
}

/* ---- the pool --------------------------------------------------------------------------------------------- */

static int locks_init(ldr_sqlite *s)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr))
        return ENOMEM;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int rc = pthread_cond_init(&s->given, &attr);
    pthread_condattr_destroy(&attr);
    if (rc)
        return rc;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->watch.lock, NULL);
    return 0;
}

int ldr_sqlite_pool_init(ldr_sqlite *s, ldr_err *err)
{
    return locks_init(s) ? ldr_fail_oom(err) : LDR_OK;
}

static void close_idle(ldr_sqlite *s);

void ldr_sqlite_pool_fini(ldr_sqlite *s)
{
    close_idle(s);
    while (s->forgotten) {
        ldr_sqlite_conn *c = s->forgotten;
        s->forgotten = c->next_any;
        conn_free(c);
    }
    pthread_mutex_destroy(&s->watch.lock);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->given);
}

static void forget(ldr_sqlite *s, ldr_sqlite_conn *c)
{
    for (ldr_sqlite_conn **at = &s->any; *at; at = &(*at)->next_any)
        if (*at == c) {
            *at = c->next_any;
            break;
        }
    s->n_open--;
}

static void close_idle(ldr_sqlite *s)
{
    while (s->idle) {
        ldr_sqlite_conn *c = s->idle;
        s->idle = c->next_idle;
        forget(s, c);
        ldr_sqlite_conn_close(c);
    }
}

static void let_go(ldr_sqlite *s, ldr_sqlite_conn *c)
{
    c->next_any = s->forgotten;
    s->forgotten = c;
}

/* They stay in reach until close: what is in SQLite's own memory is left to the end of the child. */
void ldr_sqlite_pool_forked(ldr_sqlite *s)
{
    while (s->any) {
        ldr_sqlite_conn *c = s->any;
        s->any = c->next_any;
        let_go(s, c);
    }
    if (s->watch.conn)
        let_go(s, s->watch.conn);
    s->watch.conn = NULL;
    s->watch.looked = false;
    s->watch.other = true;
    s->idle = NULL;
    s->n_open = 0;
    (void)locks_init(s);
}

/* Waits a little for a connection to come back; the clock of the request may not be the machine's. */
static void wait_given(ldr_sqlite *s)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += 2 * 1000 * 1000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&s->given, &s->lock, &t);
}

/* Under the lock: an idle connection, or leave (*may_open) to open one, or neither after a time-out. */
static ldr_sqlite_conn *take_idle(ldr_sqlite *s, const ldr_request *r, bool *may_open)
{
    ldr_sqlite_conn waiting = {.source = s};
    bool watched = false;
    *may_open = false;
    while (!s->idle) {
        if (s->n_open < LDR_SQLITE_POOL) {
            s->n_open++;
            *may_open = true;
            return NULL;
        }
        if (!watched)
            ldr_sqlite_conn_watch(&waiting, r);
        watched = true;
        if (ldr_sqlite_late(&waiting))
            return NULL;
        wait_given(s);
    }
    ldr_sqlite_conn *c = s->idle;
    s->idle = c->next_idle;
    return c;
}

static ldr_sqlite_conn *open_counted(ldr_sqlite *s, const ldr_request *r, unsigned era, ldr_err *err)
{
    ldr_sqlite_conn *c = ldr_sqlite_conn_open(s, r, err);
    pthread_mutex_lock(&s->lock);
    if (c) {
        c->era = era;
        c->next_any = s->any;
        s->any = c;
    } else {
        s->n_open--;
        pthread_cond_signal(&s->given);
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

ldr_sqlite_conn *ldr_sqlite_take(ldr_sqlite *s, const ldr_request *r, ldr_err *err)
{
    bool may_open;
    pthread_mutex_lock(&s->lock);
    ldr_sqlite_conn *c = take_idle(s, r, &may_open);
    unsigned era = s->era;
    pthread_mutex_unlock(&s->lock);
    if (may_open)
        return open_counted(s, r, era, err);
    if (!c) {
        ldr_fail(err, LDR_TIMEOUT, "sqlite: no free connection until the deadline");
        return NULL;
    }
    ldr_sqlite_conn_watch(c, r);
    return c;
}

void ldr_sqlite_give(ldr_sqlite_conn *c)
{
    ldr_sqlite *s = c->source;
    c->request = NULL;
    pthread_mutex_lock(&s->lock);
    bool old = c->era != s->era;
    if (old) {
        forget(s, c);
    } else {
        c->next_idle = s->idle;
        s->idle = c;
    }
    pthread_cond_signal(&s->given);
    pthread_mutex_unlock(&s->lock);
    if (old)
        ldr_sqlite_conn_close(c);
}

void ldr_sqlite_replaced(ldr_sqlite *s)
{
    pthread_mutex_lock(&s->lock);
    s->era++;
    close_idle(s);
    pthread_mutex_unlock(&s->lock);
}
