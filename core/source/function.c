/* function.c - a source that lives in the embedder's language: it has no `run`, so the flow wants a call, the host
 * makes it and puts the answer into the request's items. All that is kept here is which functions there are. */
#include "base/err.h"
#include "source/source.h"

typedef struct function_source {
    ldr_source base;
    ldr_functions functions;
    ldr_mem mem;
} function_source;

static const function_source *own(const ldr_source *s)
{
    return (const function_source *)(const void *)s;
}

static bool can(ldr_source *s, int verb)
{
    const ldr_functions *f = &own(s)->functions;
    switch (verb) {
    case LDR_LOAD:
        return f->load;
    case LDR_STORE:
        return f->store;
    case LDR_ERASE:
        return f->erase;
    case LDR_VERSION:
        return f->version;
    default:
        return false;
    }
}

static bool versioned(ldr_source *s, ldr_slice key)
{
    (void)key;
    return own(s)->functions.version;
}

static void forked(ldr_source *s)
{
    (void)s;
}

static void close(ldr_source *s)
{
    function_source *f = (function_source *)(void *)s;
    ldr_mem mem = f->mem;
    ldr_mem_free(&mem, f);
}

static const ldr_source_ops ops = {
    .name = "functions", .run = NULL, .can = can, .versioned = versioned, .forked = forked, .close = close};

int ldr_source_functions_open(const ldr_options *o, const ldr_mem *mem, ldr_source **out, ldr_err *err)
{
    *out = NULL;
    if (!o->load && !o->store && !o->erase)
        return ldr_fail(err, LDR_INVALID, "functions: load, store or delete is wanted");
    function_source *f = ldr_mem_zero(mem, 1, sizeof *f);
    if (!f)
        return ldr_fail_oom(err);
    f->base.ops = &ops;
    f->functions = (ldr_functions){.load = o->load, .store = o->store, .erase = o->erase, .arg = o->functions_arg};
    f->mem = *mem;
    *out = &f->base;
    return LDR_OK;
}

const ldr_functions *ldr_source_functions(const ldr_source *s)
{
    return s && s->ops == &ops ? &own(s)->functions : NULL;
}
