/* sqlite_parts.h - what the files of the SQLite source share. No other room includes it.
 *
 *   sqlite.c          the plug-in: open, close, which verb goes where
 *   sqlite_pool.c     connections: opened, lent, waited for, forgotten after a fork; deadlines of locks and statements
 *   sqlite_model.c    made statements, and what columns they give
 *   sqlite_read.c     LOAD, VERSION: row -> msgpack map
 *   sqlite_row.c      the value of a STORE: msgpack map -> columns
 *   sqlite_write.c    STORE, ERASE
 *   sqlite_changes.c  CHANGES
 *   sqlite_fail.c     SQLite's results -> codes of ours
 *
 * A connection is used by one thread at a time: who took it. Only the pool itself is behind a mutex. */
#ifndef LDR_SOURCE_SQLITE_PARTS_H
#define LDR_SOURCE_SQLITE_PARTS_H

#include "base/err.h"
#include "record/unpack.h"
#include "source/model.h"
#include "source/source.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#define LDR_SQLITE_POOL 4 /* connections at most; the one that listens for changes is apart */

/* ---- statements ------------------------------------------------------------------------------------------- */

/* Fixed statements, prepared once a connection. */
enum ldr_sqlite_fixed {
    LDR_SQL_BEGIN,
    LDR_SQL_BEGIN_WRITE,
    LDR_SQL_COMMIT,
    LDR_SQL_ROLLBACK,
    LDR_SQL_SAVE,
    LDR_SQL_SAVE_UNDO,
    LDR_SQL_SAVE_END,
    LDR_SQL_COUNTER,      /* ?1 table: the version counter, where the table is migrated */
    LDR_SQL_IS_VIEW,      /* ?1 name */
    LDR_SQL_IS_THERE,     /* ?1 name of a table or view */
    LDR_SQL_DATA_VERSION,
    LDR_SQL_SCHEMA_VERSION,
    LDR_SQL_NEWEST,
    LDR_SQL_OLDEST,
    LDR_SQL_PAGE,         /* ?1 mark */
    LDR_SQL_KEY_COLUMNS,  /* ?1 table: how its change rows are keyed */
    LDR_SQL_PRUNE,
    LDR_SQL_N
};

/* How the text of a key part is bound and compared. */
enum ldr_key_class { LDR_KEY_AS_TEXT = 0, LDR_KEY_AS_INTEGER, LDR_KEY_AS_BLOB };

/* What columns a model's load gives. `names` holds them packed as msgpack strings, `name_end[i]` where i's ends. */
typedef struct ldr_sqlite_shape {
    int n, n_cap;
    ldr_buf names;
    uint32_t *name_end;
    int key_at[LDR_MODEL_KEYS]; /* column of each key part; -1: not given (own SQL only) */
    uint8_t key_class[LDR_MODEL_KEYS];
    int version_at; /* -1: none */
    int64_t fingerprint;
} ldr_sqlite_shape;

typedef struct ldr_sqlite_stmts {
    sqlite3_stmt *load, *peek, *erase;
    sqlite3_stmt *store; /* the last one used: a program mostly writes one set of columns */
    ldr_sqlite_shape shape;
    int reprepared; /* what SQLite counted for `load` when `shape` was made */
} ldr_sqlite_stmts;

/* ---- connections ------------------------------------------------------------------------------------------ */

typedef struct ldr_sqlite ldr_sqlite;

typedef struct ldr_sqlite_conn {
    ldr_sqlite *source;
    sqlite3 *db;
    struct ldr_sqlite_conn *next_idle, *next_any;
    unsigned era; /* of the file: older ones are closed, not lent again */
    const ldr_request *request; /* whose deadline the handlers watch */
    int64_t give_up_us;         /* real time: a virtual clock may stand still while a lock is held */
    sqlite3_stmt *fixed[LDR_SQL_N];
    ldr_sqlite_stmts *models; /* one a model */
} ldr_sqlite_conn;

/* The connection that listens for changes, and what it saw last. Behind its own mutex. */
typedef struct ldr_sqlite_watch {
    pthread_mutex_t lock;
    ldr_sqlite_conn *conn;
    bool looked; /* the four numbers below hold */
    bool gone;   /* there was a change table, and now there is none */
    bool other;  /* the file may be another one than the mark is of */
    int64_t data_version, schema_version, newest, epoch, prune_at_us;
    bool *mapped; /* one a model: its key is the one that the change rows carry */
    ldr_buf key;
} ldr_sqlite_watch;

struct ldr_sqlite {
    ldr_source base;
    ldr_mem mem;
    char *file; /* absolute */
    ldr_models models;
    bool has_changes;
    _Atomic int64_t epoch;
    _Atomic int64_t *fingerprints; /* one a model; 0: not seen yet */
    pthread_mutex_t lock;          /* of the five below */
    pthread_cond_t given;
    ldr_sqlite_conn *idle, *any, *forgotten; /* forgotten: the parent's, in a child */
    unsigned n_open, era;
    ldr_sqlite_watch watch;
};

/* sqlite_pool.c */
int ldr_sqlite_pool_init(ldr_sqlite *s, ldr_err *err);
void ldr_sqlite_pool_fini(ldr_sqlite *s);
void ldr_sqlite_pool_forked(ldr_sqlite *s); /* leaks what SQLite forbids a child to touch */
/* Lends a connection, waiting for one until r's deadline. LDR_OK, LDR_TIMEOUT, LDR_UNAVAILABLE, LDR_NOMEM in r->err. */
ldr_sqlite_conn *ldr_sqlite_take(ldr_sqlite *s, const ldr_request *r, ldr_err *err);
void ldr_sqlite_give(ldr_sqlite_conn *c);
/* Opens one outside the pool; r may be NULL (no waiting for locks). */
ldr_sqlite_conn *ldr_sqlite_conn_open(ldr_sqlite *s, const ldr_request *r, ldr_err *err);
void ldr_sqlite_conn_close(ldr_sqlite_conn *c);
void ldr_sqlite_conn_watch(ldr_sqlite_conn *c, const ldr_request *r); /* from now on r's deadline counts */
bool ldr_sqlite_late(const ldr_sqlite_conn *c);
bool ldr_sqlite_moved(ldr_sqlite_conn *c);    /* is the open file no longer the one of that name? */
void ldr_sqlite_replaced(ldr_sqlite *s);      /* then no idle connection is lent again */
/* A fixed statement, reset; NULL: c->db says why. */
sqlite3_stmt *ldr_sqlite_fixed(ldr_sqlite_conn *c, enum ldr_sqlite_fixed which);
int ldr_sqlite_do(ldr_sqlite_conn *c, enum ldr_sqlite_fixed which); /* SQLITE_OK or what it was */
/* First column of its first row, `none` where there is none; *rc (SQLITE_OK, ...) tells a failure. text may be NULL. */
int64_t ldr_sqlite_number(ldr_sqlite_conn *c, enum ldr_sqlite_fixed which, const char *text, int64_t none, int *rc);

/* sqlite_fail.c */
/* Sets err from c->db's last error rc; model and key may be absent (NULL, .n == 0). Gives the code. */
int ldr_sqlite_fail(ldr_sqlite_conn *c, const ldr_model *m, ldr_slice key, int rc, ldr_err *err);
int ldr_sqlite_refuse(const ldr_model *m, ldr_slice key, int code, const char *why, ldr_err *err);

/* sqlite_model.c */
void ldr_sqlite_quote(ldr_buf *b, const char *name);
void ldr_sqlite_table(ldr_sqlite_conn *c, const char *table, ldr_buf *b); /* quoted; of "main.t" only t, unless there is one */
void ldr_sqlite_columns(ldr_sqlite_conn *c, const ldr_model *m, char **names, size_t n, ldr_buf *b); /* key, names, version */
void ldr_sqlite_where(ldr_sqlite_conn *c, const ldr_model *m, ldr_buf *b); /* the key's columns are ?1, ?2, ... */
const char *ldr_sqlite_bare(const char *table); /* without "main." */
/* Prepares one statement. NULL with err set. */
sqlite3_stmt *ldr_sqlite_prepare(ldr_sqlite_conn *c, const ldr_model *m, ldr_slice sql, ldr_err *err);
/* The model's statements with `load` prepared and its shape known. NULL with err set. */
ldr_sqlite_stmts *ldr_sqlite_statements(ldr_sqlite_conn *c, size_t index, ldr_err *err);
void ldr_sqlite_statements_drop(ldr_sqlite_conn *c, size_t index);
/* Called when load was stepped: did SQLite prepare it anew, for another schema? Then the shape is made anew. */
int ldr_sqlite_shape_follow(ldr_sqlite_conn *c, size_t index, bool *changed, ldr_err *err);
int ldr_sqlite_bind_key(sqlite3_stmt *stmt, const ldr_sqlite_shape *shape, const ldr_model_key *k);
int ldr_sqlite_bind_part(sqlite3_stmt *stmt, int at, int key_class, ldr_slice part);
/* Does the row that stmt stands on spell column `at` like the part? */
bool ldr_sqlite_spelled(sqlite3_stmt *stmt, int at, ldr_slice part);

/* sqlite_read.c */
/* What a row is before a write or for VERSION. */
typedef struct ldr_sqlite_seen {
    bool exists;
    int64_t version;
} ldr_sqlite_seen;
int ldr_sqlite_peek(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_slice key, ldr_sqlite_seen *out, ldr_err *err);
/* The same by the load statement, so that the model's shape is the schema's of now. */
int ldr_sqlite_look(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_slice key, ldr_sqlite_seen *out, ldr_err *err);
/* Loads into item: FOUND or GONE with LDR_OK. Inside a transaction or not. */
int ldr_sqlite_load(ldr_sqlite_conn *c, const ldr_model_key *k, ldr_item *item);
void ldr_sqlite_run_load(ldr_sqlite_conn *c, ldr_request *r);
void ldr_sqlite_run_version(ldr_sqlite_conn *c, ldr_request *r);
void ldr_sqlite_item_fail(ldr_item *item, int code); /* err is set already */
bool ldr_sqlite_too_late(const ldr_sqlite_conn *c, ldr_request *r); /* true: r->err is set */

/* sqlite_write.c */
void ldr_sqlite_run_write(ldr_sqlite_conn *c, ldr_request *r);

/* sqlite_row.c: the value of a STORE, taken apart and bound */
typedef struct ldr_sqlite_value {
    ldr_slice name; /* borrowed from the item's value */
    ldr_token token;
} ldr_sqlite_value;
typedef struct ldr_sqlite_row {
    ldr_sqlite_value *all; /* what is to be written: key and version columns are not among it */
    size_t n, cap;
    const ldr_mem *mem;
} ldr_sqlite_row;
/* LDR_OK, LDR_INVALID (not a map, an unknown column, a value that no column can hold, another key), LDR_NOMEM.
 * The row is freed with ldr_sqlite_row_fini in any case. own: the model's own store statement, or NULL. */
int ldr_sqlite_row_read(ldr_sqlite_conn *c, const ldr_model_key *k, sqlite3_stmt *own, ldr_item *item, ldr_sqlite_row *row);
void ldr_sqlite_row_fini(ldr_sqlite_row *row);
int ldr_sqlite_bind_value(sqlite3_stmt *stmt, int at, const ldr_token *t); /* a token that row_read let pass */

/* sqlite_changes.c */
void ldr_sqlite_run_changes(ldr_sqlite *s, ldr_request *r);
bool ldr_sqlite_changes_there(ldr_sqlite_conn *c, int *rc);

#endif
