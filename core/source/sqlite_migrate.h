/* sqlite_migrate.h - makes a SQLite table ready for versions and for changes from outside, or undoes that.
 *
 * What it makes: a version column (existing rows get one drawn number, at no cost for the rows), the counter table
 * ldr_version, three triggers, the note of it all in ldr_meta, and with `changes` the table ldr_changes. */
#ifndef LDR_SOURCE_SQLITE_MIGRATE_H
#define LDR_SOURCE_SQLITE_MIGRATE_H

#include "base/buf.h"
#include "base/err.h"

enum ldr_migrate_mode {
    LDR_MIGRATE_PRINT = 0,  /* only tells the SQL */
    LDR_MIGRATE_APPLY,      /* and runs it, in one transaction */
    LDR_MIGRATE_PRINT_UNDO, /* tells what takes back exactly what was made */
    LDR_MIGRATE_UNDO
};

/* What `sql` holds where there is nothing to do. */
#define LDR_MIGRATE_NOTHING "-- nothing to do\n"

typedef struct ldr_migrate_options {
    size_t size; /* sizeof(ldr_migrate_options) */
    const char *file, *table;
    const char *const *key; /* n_key columns, together a primary key or unique; NULL: "id" */
    size_t n_key;
    const char *version; /* column, made where it is missing; NULL: "version" */
    bool changes;        /* the change table too; once there it stays until undo */
    int mode;            /* enum ldr_migrate_mode */
} ldr_migrate_options;

/* Appends the SQL to `sql` (its memory is used for all work), a whole script with BEGIN and COMMIT. Waits up to 5 s
 * for locks. LDR_OK; LDR_INVALID (options, a key that is not unique), LDR_UNAVAILABLE (no such file), LDR_SOURCE (no
 * such table or column, or SQLite said no), LDR_UNSUPPORTED (a view, a virtual table, a version column that cannot be
 * one), LDR_TIMEOUT (locked), LDR_LOST (COMMIT may have taken effect), LDR_NOMEM. err may be NULL. */
int ldr_sqlite_migrate(const ldr_migrate_options *o, ldr_buf *sql, ldr_err *err);

#endif
