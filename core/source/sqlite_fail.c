/* sqlite_fail.c - SQLite's results become codes of ours, with a sentence that names model and key, or the file.
 *
 * SQLite's own messages name tables, columns and constraints, never values; so they are passed on. */
#include "source/sqlite_parts.h"

static bool says(const char *message, const char *const *words)
{
    for (; *words; words++)
        if (strstr(message, *words))
            return true;
    return false;
}

/* What SQLite tells only in words: SQLITE_ERROR stands for anything that is wrong with a statement. */
static int code_of_error(const char *message)
{
    static const char *const cannot[] = {"because it is a view", "may not be modified", "generated column",
                                         "does not match any PRIMARY KEY", NULL};
    return says(message, cannot) ? LDR_UNSUPPORTED : LDR_SOURCE;
}

static int code_of(int rc, const char *message)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
        return LDR_TIMEOUT;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return LDR_REJECTED;
    case SQLITE_READONLY:
        return LDR_UNSUPPORTED;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
    case SQLITE_PROTOCOL:
        return LDR_UNAVAILABLE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return LDR_CORRUPT;
    case SQLITE_NOMEM:
        return LDR_NOMEM;
    case SQLITE_TOOBIG:
        return LDR_TOO_LARGE;
    default:
        return code_of_error(message);
    }
}

static const char *sentence(int rc, const char *message)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "locked by another connection until the deadline";
    case SQLITE_INTERRUPT:
        return "deadline passed while the statement ran";
    default:
        return message;
    }
}

int ldr_sqlite_refuse(const ldr_model *m, ldr_slice key, int code, const char *why, ldr_err *err)
{
    char text[LDR_KEY_TEXT];
    if (!m)
        return ldr_fail(err, code, "sqlite: %s", why);
    if (key.n == 0)
        return ldr_fail(err, code, "sqlite: model \"%s\", table \"%s\": %s", m->name, m->table ? m->table : "(own SQL)", why);
    return ldr_fail(err, code, "sqlite: key \"%s\": %s", ldr_key_text(key, text), why);
}

int ldr_sqlite_fail(ldr_sqlite_conn *c, const ldr_model *m, ldr_slice key, int rc, ldr_err *err)
{
    const char *message = sqlite3_errcode(c->db) == SQLITE_OK ? sqlite3_errstr(rc) : sqlite3_errmsg(c->db);
    if (!m)
        return ldr_fail(err, code_of(rc, message), "sqlite: %s (%.100s)", sentence(rc, message), c->source->file);
    return ldr_sqlite_refuse(m, key, code_of(rc, message), sentence(rc, message), err);
}
