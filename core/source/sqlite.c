/* sqlite.c - the SQLite source as a plug-in: opening, and which verb goes where.
 *
 * Opening touches the file only: it must be there and be a database; tables may come later. WAL is set once where
 * that can be done, for then readers and the writer do not wait for each other; how safe a commit is (synchronous)
 * stays as the database has it. Foreign keys are enforced on our connections. */
#include "source/sqlite_parts.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define LOOK_US (LDR_SEC / 2) /* how long opening waits for a lock */

static ldr_sqlite *own(ldr_source *s)
{
    return (ldr_sqlite *)(void *)s;
}

/* ---- verbs ------------------------------------------------------------------------------------------------ */

static ldr_sqlite_conn *take(ldr_sqlite *s, ldr_request *r)
{
    return ldr_sqlite_take(s, r, &r->err);
}

/* A write to a file that was replaced would be acknowledged and gone: looked at before every write. */
static ldr_sqlite_conn *take_for_write(ldr_sqlite *s, ldr_request *r)
{
    ldr_sqlite_conn *c = take(s, r);
    if (!c || !ldr_sqlite_moved(c))
        return c;
    ldr_sqlite_replaced(s);
    ldr_sqlite_give(c);
    return take(s, r);
}

static void run(ldr_source *base, ldr_request *r)
{
    ldr_sqlite *s = own(base);
    bool writes = r->verb == LDR_STORE || r->verb == LDR_ERASE;
    ldr_err_clear(&r->err);
    if (r->verb == LDR_CHANGES) {
        ldr_sqlite_run_changes(s, r);
        return;
    }
    ldr_sqlite_conn *c = writes ? take_for_write(s, r) : take(s, r);
    if (!c)
        return;
    if (writes)
        ldr_sqlite_run_write(c, r);
    else if (r->verb == LDR_LOAD)
        ldr_sqlite_run_load(c, r);
    else
        ldr_sqlite_run_version(c, r);
    ldr_sqlite_give(c);
}

static bool has_version(const ldr_model *m)
{
    return m->version || m->sql_version;
}

static bool model_can(const ldr_model *m, int verb)
{
    switch (verb) {
    case LDR_STORE:
        return m->table || m->sql_store;
    case LDR_ERASE:
        return m->table || m->sql_delete;
    case LDR_VERSION:
        return has_version(m);
    default:
        return verb == LDR_LOAD;
    }
}

static bool can(ldr_source *base, int verb)
{
    const ldr_sqlite *s = own(base);
    if (verb == LDR_CHANGES)
        return s->has_changes;
    for (size_t i = 0; i < s->models.n; i++)
        if (model_can(&s->models.all[i], verb))
            return true;
    return false;
}

static bool versioned(ldr_source *base, ldr_slice key)
{
    ldr_model_key k;
    if (ldr_models_parse(&own(base)->models, key, &k, NULL))
        return false;
    bool has = has_version(k.model);
    ldr_model_key_fini(&k);
    return has;
}

static void forked(ldr_source *base)
{
    ldr_sqlite_pool_forked(own(base));
}

static void free_source(ldr_sqlite *s)
{
    ldr_mem mem = s->mem;
    ldr_buf_free(&s->watch.key);
    ldr_mem_free(&mem, s->watch.mapped);
    ldr_mem_free(&mem, (void *)s->fingerprints);
    ldr_mem_free(&mem, s->file);
    ldr_models_fini(&s->models);
    ldr_mem_free(&mem, s);
}

static void close(ldr_source *base)
{
    ldr_sqlite *s = own(base);
    if (s->watch.conn)
        ldr_sqlite_conn_close(s->watch.conn);
    ldr_sqlite_pool_fini(s);
    free_source(s);
}

static int64_t epoch(const ldr_source *base)
{
    return atomic_load(&((const ldr_sqlite *)(const void *)base)->epoch);
}

static int64_t fingerprint(const ldr_source *base, ldr_slice key)
{
    const ldr_sqlite *s = (const ldr_sqlite *)(const void *)base;
    ldr_model_key k;
    if (ldr_models_parse(&s->models, key, &k, NULL))
        return 0;
    int64_t is = atomic_load(&s->fingerprints[k.model - s->models.all]);
    ldr_model_key_fini(&k);
    return is;
}

static const ldr_source_ops ops = {
    .name = "sqlite", .run = run, .can = can, .versioned = versioned, .epoch = epoch, .fingerprint = fingerprint,
    .forked = forked, .close = close};

/* ---- opening ---------------------------------------------------------------------------------------------- */

static int find_file(ldr_sqlite *s, const char *file, ldr_err *err)
{
    char path[PATH_MAX];
    if (!file || !file[0])
        return ldr_fail(err, LDR_INVALID, "sqlite: file: a path is wanted");
    if (!realpath(file, path))
        return ldr_fail(err, LDR_UNAVAILABLE, "sqlite: %.*s: %s", 120, file, errno == ENOENT ? "there is no such file"
                        : "it cannot be reached");
    s->file = ldr_mem_dup(&s->mem, path, strlen(path));
    return s->file ? LDR_OK : ldr_fail_oom(err);
}

static int no_database(ldr_sqlite *s, ldr_sqlite_conn *c, int rc, ldr_err *err)
{
    return ldr_fail(err, (rc & 0xff) == SQLITE_NOMEM ? LDR_NOMEM : LDR_UNAVAILABLE, "sqlite: %s: %s", s->file,
                    sqlite3_errmsg(c->db));
}

/* A lock of somebody else's is no reason to fail here, for the file is there; but it is waited for a little, so that
 * a change table is seen. Turning on WAL waits for nobody. */
static int check_file(ldr_sqlite *s, ldr_sqlite_conn *c, ldr_err *err)
{
    int rc;
    ldr_clock clock;
    ldr_clock_init(&clock);
    ldr_request brief = {.clock = &clock, .deadline_us = ldr_time_add(ldr_clock_now(&clock), LOOK_US)};
    ldr_sqlite_conn_watch(c, &brief);
    s->has_changes = ldr_sqlite_changes_there(c, &rc);
    ldr_sqlite_conn_watch(c, NULL);
    int why = rc & 0xff;
    if (why != SQLITE_OK && why != SQLITE_BUSY && why != SQLITE_LOCKED && why != SQLITE_CORRUPT)
        return no_database(s, c, rc, err);
    sqlite3_exec(c->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    return LDR_OK;
}

static int look_at_file(ldr_sqlite *s, const ldr_options *o, ldr_err *err)
{
    int rc = find_file(s, o->sqlite_file, err);
    if (rc)
        return rc;
    ldr_sqlite_conn *c = ldr_sqlite_conn_open(s, NULL, err);
    if (!c)
        return err->code;
    rc = check_file(s, c, err);
    ldr_sqlite_conn_close(c);
    if (rc == LDR_OK && o->changes_required && !s->has_changes)
        return ldr_fail(err, LDR_UNSUPPORTED,
                        "sqlite: changes: %.*s has no change table; `larder migrate --changes` makes it", 100, s->file);
    return rc;
}

static int init(ldr_sqlite *s, const ldr_options *o, ldr_err *err)
{
    int rc = ldr_models_init(&s->models, o, &s->mem, err);
    if (rc)
        return rc;
    s->fingerprints = ldr_mem_zero(&s->mem, s->models.n, sizeof *s->fingerprints);
    s->watch.mapped = ldr_mem_zero(&s->mem, s->models.n, sizeof *s->watch.mapped);
    if (!s->fingerprints || !s->watch.mapped)
        return ldr_fail_oom(err);
    return look_at_file(s, o, err);
}

int ldr_source_sqlite_open(const ldr_options *o, const ldr_mem *mem, ldr_source **out, ldr_err *err)
{
    ldr_err unasked;
    *out = NULL;
    err = err ? err : &unasked;
    if (!sqlite3_threadsafe())
        return ldr_fail(err, LDR_UNSUPPORTED, "sqlite: the library was built without threads");
    ldr_sqlite *s = ldr_mem_zero(mem, 1, sizeof *s);
    if (!s)
        return ldr_fail_oom(err);
    s->base.ops = &ops;
    s->mem = *mem;
    s->watch.key = LDR_BUF(&s->mem);
    int rc = init(s, o, err);
    if (rc == LDR_OK)
        rc = ldr_sqlite_pool_init(s, err);
    if (rc) {
        free_source(s);
        return rc;
    }
    *out = &s->base;
    return LDR_OK;
}
