/* no_sqlite.c - stands in for sqlite*.c in a build with WITH_SQLITE=0: opening one says so. */
#include "base/err.h"
#include "source/source.h"
#include "source/sqlite_migrate.h"

int ldr_source_sqlite_open(const ldr_options *o, const ldr_mem *mem, ldr_source **out, ldr_err *err)
{
    (void)o, (void)mem;
    *out = NULL;
    return ldr_fail(err, LDR_UNSUPPORTED, "this build of larder has no SQLite source (WITH_SQLITE=0)");
}

int ldr_sqlite_migrate(const ldr_migrate_options *o, ldr_buf *sql, ldr_err *err)
{
    (void)o, (void)sql;
    return ldr_fail(err, LDR_UNSUPPORTED, "this build of larder has no SQLite source (WITH_SQLITE=0)");
}
