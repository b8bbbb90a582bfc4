/* source.h - the well: where the truth is. A source answers requests; a request is a job that may block, so it is
 * run by whoever can afford that (a blocking caller in line, else Larder's own thread).
 *
 * A source that lives in the caller's language (functions, a per-call loader) has no `run`: the flow then wants a
 * call, the host makes it and puts the answer into the request's items. */
#ifndef LDR_SOURCE_SOURCE_H
#define LDR_SOURCE_SOURCE_H

#include "base/clock.h"
#include "record/item.h"

enum ldr_verb {
    LDR_LOAD,    /* items: key -> value, version, position, fingerprint, or absent */
    LDR_STORE,   /* items: key, value -> version, and the row as it now is in `out` */
    LDR_ERASE,   /* items: key -> version of the deletion; an absent row is fine */
    LDR_VERSION, /* items: key -> version only */
    LDR_CHANGES  /* no items: what other programs changed since `mark` */
};

typedef struct ldr_request {
    int verb;
    ldr_item **items;
    size_t n_items;
    int64_t deadline_us; /* on the cache's clock; the source stops itself (LDR_TIMEOUT, or LDR_LOST after a write was sent) */
    const ldr_clock *clock;
    ldr_err err;         /* of the request as a whole: then every unanswered item failed with it */
    /* CHANGES: in: the last seen, LDR_UNSET at first; out: the newest, to be handed in next time, also after an error.
     * `changed` is called for each key (version 0: unknown), `flood` when more were missed than can be named (a gap,
     * a schema change): everything of this source is suspect. Both may be NULL. Own writes are named too. */
    int64_t mark;
    void (*changed)(void *ctx, ldr_slice key, int64_t version);
    void (*flood)(void *ctx, const char *why);
    void *ctx;
} ldr_request;

typedef struct ldr_source ldr_source;

typedef struct ldr_source_ops {
    const char *name;
    void (*run)(ldr_source *s, ldr_request *r); /* NULL: wants calls. Thread-safe; blocks until the deadline at most */
    bool (*can)(ldr_source *s, int verb);       /* STORE, ERASE, VERSION, CHANGES: does it know this verb at all? */
    bool (*versioned)(ldr_source *s, ldr_slice key); /* do this key's rows carry a version? */
    int64_t (*epoch)(const ldr_source *s); /* rises when values loaded before are of another shape; NULL: never does */
    int64_t (*fingerprint)(const ldr_source *s, ldr_slice key); /* of the key's model as it is now; 0: not seen yet. NULL:
                                                                    values have no shape */
    void (*forked)(ldr_source *s); /* in a forked child: forget all connections without touching them */
    void (*close)(ldr_source *s);  /* frees; no request is running */
} ldr_source_ops;

struct ldr_source {
    const ldr_source_ops *ops;
};

/* plug-ins: each opens its own kind; NULL out and a code when it cannot */
int ldr_source_sqlite_open(const ldr_options *o, const ldr_mem *mem, ldr_source **out, ldr_err *err);
int ldr_source_functions_open(const ldr_options *o, const ldr_mem *mem, ldr_source **out, ldr_err *err);

/* What a functions source was opened with, for the host that makes the calls; NULL for another kind. Lives as long
 * as the source. A function that was not given is NULL. */
typedef struct ldr_functions {
    ldr_load_fn load, store, erase, version;
    void *arg;
} ldr_functions;
const ldr_functions *ldr_source_functions(const ldr_source *s);

#endif
