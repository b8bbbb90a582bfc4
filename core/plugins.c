/* plugins.c - the only file that names concrete sources: one row each. */
#include "plugins.h"

#include "base/err.h"

static bool is_sqlite(const ldr_options *o)
{
    return o->sqlite_file != NULL;
}

static bool is_functions(const ldr_options *o)
{
    return o->load != NULL || o->store != NULL || o->erase != NULL;
}

typedef int open_fn(const ldr_options *o, const ldr_mem *mem, ldr_source **out, ldr_err *err);

static const struct {
    bool (*is_named)(const ldr_options *o);
    open_fn *open;
} sources[] = {
    {is_sqlite, ldr_source_sqlite_open},
    {is_functions, ldr_source_functions_open},
};

int ldr_plugins_open_source(const ldr_options *o, const ldr_mem *mem, ldr_source **out, ldr_err *err)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        if (sources[i].is_named(o))
            return sources[i].open(o, mem, out, err);
    return LDR_OK;
}
