/* sqlite_triggers.h - the texts of the tables and triggers that a migration makes. Shared by sqlite_migrate.c only. */
#ifndef LDR_SOURCE_SQLITE_TRIGGERS_H
#define LDR_SOURCE_SQLITE_TRIGGERS_H

#include "base/buf.h"

/* A migrated table, all names as the schema spells them. */
typedef struct ldr_sqlite_migrated {
    char *table, *version;
    char **key;
    size_t n_key;
    bool changes;
} ldr_sqlite_migrated;

enum ldr_sqlite_trigger { LDR_AFTER_INSERT, LDR_AFTER_UPDATE, LDR_AFTER_DELETE, LDR_N_TRIGGERS };

extern const char ldr_sqlite_meta_text[], ldr_sqlite_counter_text[], ldr_sqlite_changes_text[];
void ldr_sqlite_literal(ldr_buf *b, const char *text); /* 'text' */
void ldr_sqlite_key_columns(ldr_buf *b, const ldr_sqlite_migrated *m); /* "a", "b" */
void ldr_sqlite_trigger_name(ldr_buf *b, const ldr_sqlite_migrated *m, enum ldr_sqlite_trigger which);
/* As SQLite keeps it in its schema: without a semicolon at the end. */
void ldr_sqlite_trigger_text(ldr_buf *b, const ldr_sqlite_migrated *m, enum ldr_sqlite_trigger which);

#endif
