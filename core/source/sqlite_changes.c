#include "source/sqlite_parts.h"
bool ldr_sqlite_changes_there(ldr_sqlite_conn *c)
{
    int rc;
    return ldr_sqlite_number(c, LDR_SQL_IS_THERE, "ldr_changes", 0, &rc) == 1;
}
void ldr_sqlite_run_changes(ldr_sqlite *s, ldr_request *r)
{
    (void)s;
    ldr_fail(&r->err, LDR_UNSUPPORTED, "not yet");
}
