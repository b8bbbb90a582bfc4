/* larder.h - the front door of liblarder: a cache in front of a database.
 *
 * A cache may be used by many threads at once; an operation (ldr_op) by one thread at a time. The library has
 * no global state, never exits, installs no signal handler, writes to no stream. Times are microseconds
 * (`_us`), sizes bytes. A struct of options zeroed by the caller means "all defaults"; its first field is its
 * size, so that a program built against an older header keeps working. */
#ifndef LARDER_H
#define LARDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LARDER_VERSION "0.1.0"
#define LDR_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ldr_cache ldr_cache;
typedef struct ldr_op ldr_op;

/* ---- errors ---------------------------------------------------------------------------------------------- */

/* Every code but LDR_LOST means: certainly no effect. LDR_LOST: a write that may have taken effect. */
enum ldr_code {
    LDR_OK = 0,
    LDR_TIMEOUT,     /* the call's deadline passed */
    LDR_UNAVAILABLE, /* a tier or the source is out of reach */
    LDR_SOURCE,      /* the source answered with an error */
    LDR_LOADER,      /* the loader raised or returned an error */
    LDR_CORRUPT,     /* bytes that are not what they should be */
    LDR_UNSUPPORTED, /* this value, key or verb cannot be done here */
    LDR_TOO_LARGE,   /* over a stated limit */
    LDR_CONFLICT,    /* if_version does not hold; ldr_err.version says what is held */
    LDR_CLOSED,      /* the cache was closed */
    LDR_BUSY,        /* a limit of concurrent work is reached */
    LDR_REJECTED,    /* refused by a rule: a constraint, a loader that asks for its own key */
    LDR_LOST,        /* may have taken effect */
    LDR_INVALID,     /* an argument out of its range */
    LDR_NOMEM,       /* out of memory (Lua and ldr_code_word: "unavailable") */
    LDR_N_CODES
};

typedef struct ldr_err {
    int code;         /* enum ldr_code */
    int64_t version;  /* LDR_CONFLICT: the version that is current, else 0 */
    char message[232];
} ldr_err;

/* The sentence of a code, for example "deadline passed". Never NULL. */
LDR_API const char *ldr_strerror(int code);
/* The stable word of a code as Lua's err.code has it, for example "timeout". Never NULL. */
LDR_API const char *ldr_code_word(int code);

/* ---- values ---------------------------------------------------------------------------------------------- */

/* What the bytes of a value are. A row of a SQL source is LDR_MSGPACK (a map of its columns). */
enum ldr_kind {
    LDR_STRING = 0,  /* the bytes themselves */
    LDR_MSGPACK = 1, /* one msgpack object */
    LDR_JSON = 2,    /* one JSON text; only inside the tiers of a cache opened with codec json */
    LDR_NONE = 3     /* no value: "the source says that there is no such thing" */
};

/* How a read was answered, weakest claim last: with several keys the last one that applies is given. */
enum ldr_outcome {
    LDR_MISS = 0, /* not held, and neither source nor loader to ask */
    LDR_HIT_L1,
    LDR_HIT_L2,
    LDR_LOADED, /* by this call */
    LDR_JOINED, /* by another call that this one waited for */
    LDR_STALE,  /* past its soft expiry, within its hard one */
    LDR_ABSENT  /* the source or loader says that there is no such thing */
};

enum ldr_level { LDR_EVENTUAL = 0, LDR_WEAK = 1 }; /* 0 in options: the cache's own */

/* A value that ldr_get gave. Belongs to the caller until ldr_value_free, which must come before ldr_close. */
typedef struct ldr_value {
    const char *data;
    size_t size;
    int kind;         /* enum ldr_kind; LDR_NONE when absent or missed */
    int outcome;      /* enum ldr_outcome */
    int64_t version;  /* 0: none */
    int64_t age_us;   /* since the source was asked */
    int64_t ttl_us;   /* to its soft expiry; below 0 when stale */
    void *held;       /* private */
} ldr_value;

/* Frees what ldr_get or ldr_peek gave in *value; a value without bytes is fine. */
LDR_API void ldr_value_free(ldr_cache *cache, ldr_value *value);

/* ---- functions source and per-call loaders --------------------------------------------------------------- */

/* What a callback is asked, and where it puts its answer. Bytes in `key` and `value` are borrowed for the
 * call. The callback runs on the thread that steps the operation and may use the cache; asking for the very key that it
 * loads, or for one whose load waits for it, is LDR_REJECTED. */
typedef struct ldr_call ldr_call;
typedef int (*ldr_load_fn)(void *arg, ldr_call *call); /* 0, or an enum ldr_code */

/* The key that is asked for; borrowed, *size bytes. */
LDR_API const char *ldr_call_key(const ldr_call *call, size_t *size);
LDR_API const char *ldr_call_value(const ldr_call *call, size_t *size, int *kind); /* store only */
LDR_API int64_t ldr_call_if_version(const ldr_call *call); /* store, delete: LDR_ANY, LDR_MUST_BE_ABSENT or a version */
/* Answers: copies `size` bytes. kind LDR_NONE says "absent". version 0: none. LDR_OK, LDR_NOMEM, or LDR_INVALID for a
 * kind that is none of LDR_STRING, LDR_MSGPACK and LDR_NONE or a version below 0. */
LDR_API int ldr_call_answer(ldr_call *call, const void *data, size_t size, int kind, int64_t version);
/* Replaces the cache's: 0 as ttl: given, not kept; INT64_MAX: for ever. */
LDR_API void ldr_call_ttl(ldr_call *call, int64_t ttl_us, int64_t stale_ttl_us);
/* Why it failed; for a load LDR_LOADER, for a store or delete LDR_SOURCE: certainly no effect. */
LDR_API void ldr_call_fail(ldr_call *call, const char *message);

#define LDR_ANY (-1)            /* if_version: no condition */
#define LDR_MUST_BE_ABSENT (-2) /* if_version: only where nothing is */

/* ---- opening --------------------------------------------------------------------------------------------- */

enum ldr_pattern { LDR_CACHE_ASIDE = 0, LDR_READ_THROUGH, LDR_WRITE_AROUND, LDR_WRITE_THROUGH, LDR_N_PATTERNS };
enum ldr_codec { LDR_CODEC_MSGPACK = 0, LDR_CODEC_JSON, LDR_CODEC_RAW };
enum ldr_on_timeout { LDR_ON_TIMEOUT_LOAD = 0, LDR_ON_TIMEOUT_STALE, LDR_ON_TIMEOUT_ERROR };

/* One model of a SQL source: rows of a table under keys "name:id". Strings are borrowed until ldr_open returns. */
typedef struct ldr_model_options {
    const char *name, *table;
    const char *const *key; /* n_key column names; NULL: "id" */
    size_t n_key;
    const char *version;        /* column; NULL: the model has none */
    const char *updated_at;     /* column; NULL: none */
    const char *const *columns; /* n_columns names; NULL: all */
    size_t n_columns;
    /* Own statements instead of the made ones; NULL: made. Parameters are the key's parts in order (?1 ...);
     * store: the columns by name (:column). load and store must give the row; version one number. */
    const char *sql_load, *sql_store, *sql_delete, *sql_version;
} ldr_model_options;

typedef struct ldr_options {
    size_t size; /* sizeof(ldr_options) */
    const char *name;
    int read_pattern;     /* LDR_CACHE_ASIDE (0, also where there is a source) or LDR_READ_THROUGH */
    int write_pattern;    /* LDR_CACHE_ASIDE (tiers only), LDR_WRITE_AROUND or LDR_WRITE_THROUGH */
    int level;            /* enum ldr_level */
    bool no_guard;        /* guard = "none" */
    int64_t lock_ttl_us, lock_wait_us; /* 0: source timeout + 1 s; 5 s */
    int on_timeout;       /* enum ldr_on_timeout */
    bool no_l1;
    size_t l1_bytes;      /* 0: 64 MiB */
    uint32_t l1_entries;  /* 0: no limit but bytes */
    uint32_t l1_shards;   /* 0: by processors */
    double l1_negatives;  /* share of l1_bytes that absent entries may take; 0: 0.1 */
    const char *l1_policy; /* NULL: "s3fifo" */
    int64_t ttl_us;       /* 0: 300 s; LDR_TTL_ZERO: not kept; INT64_MAX: never expires */
    int64_t stale_ttl_us, negative_ttl_us; /* 0: none */
    int64_t bound_hard_us; /* 0: not given; cuts every ttl where there is a source */
    double jitter;        /* 0 to 1 */
    int codec;            /* enum ldr_codec */
    size_t compress_min;  /* 0: off; values of at least so many bytes are compressed with zstd */
    int64_t source_timeout_us; /* 0: 5 s */
    /* at most one of these two sources */
    const char *sqlite_file;
    const ldr_model_options *models;
    size_t n_models;
    ldr_load_fn load, store, erase; /* functions */
    void *functions_arg;
    double changes_interval; /* seconds; 0: on (0.1) where the change table exists; below 0: off */
    bool changes_required;   /* no change table: an error that names the command */
    uint64_t seed;           /* 0: drawn */
    /* the shared shelf: redis://[user:password@]host[:port][/db] or redis+unix:///path[?db=0]; NULL: none. Needs a name */
    const char *l2_url, *l2_password; /* the password may also be in the URL; NULL: none */
    int64_t l2_timeout_us;   /* 0: 1 s */
    bool no_bus;             /* bus = false: other processes' changes are noticed by what expires only */
} ldr_options;

#define LDR_TTL_ZERO (-1) /* in options, where 0 means "default": a ttl of nothing */

/* Opens a cache. Touches no server; a SQLite file that is missing is not made: LDR_UNAVAILABLE.
 * Errors: LDR_INVALID (an option), LDR_UNAVAILABLE, LDR_UNSUPPORTED, LDR_NOMEM. err may be NULL. */
LDR_API int ldr_open(const ldr_options *options, ldr_cache **out, ldr_err *err);
/* Stops and frees: callers that wait for a load get LDR_CLOSED. Waits at most timeout_us for threads that are still
 * inside a verb; what those use is not freed when they take longer. No verb may begin later. NULL is fine. */
LDR_API void ldr_close(ldr_cache *cache, int64_t timeout_us);

/* ---- verbs: each is an operation stepped to its end on the calling thread, by blocking ------------------- */

typedef struct ldr_get_options {
    size_t size;
    int64_t timeout_us; /* 0: lock wait + source timeout */
    int64_t ttl_us, stale_ttl_us, negative_ttl_us; /* 0: the cache's */
    ldr_load_fn load; /* wins over the cache's source */
    void *arg;
    bool refresh; /* load anew */
} ldr_get_options;

/* LDR_OK with value->outcome, else a code with err filled (err may be NULL, options may be NULL).
 * Keys: 1 to 65,535 bytes; empty: LDR_INVALID, longer: LDR_TOO_LARGE. */
LDR_API int ldr_get(ldr_cache *cache, const void *key, size_t key_size, const ldr_get_options *options,
                    ldr_value *value, ldr_err *err);
/* What is held in L1 now: no load, nothing counted. outcome LDR_HIT_L1, LDR_STALE, LDR_ABSENT or LDR_MISS. */
LDR_API int ldr_peek(ldr_cache *cache, const void *key, size_t key_size, ldr_value *value, ldr_err *err);

typedef struct ldr_set_options {
    size_t size;
    int64_t timeout_us, ttl_us, stale_ttl_us; /* 0: the default */
    int kind;           /* LDR_STRING or LDR_MSGPACK */
    int64_t version;    /* 0: drawn */
    int64_t if_version; /* 0 or LDR_ANY: no condition; LDR_MUST_BE_ABSENT */
} ldr_set_options;

/* Stores by the write pattern. *version (may be NULL) gets the new version. */
LDR_API int ldr_set(ldr_cache *cache, const void *key, size_t key_size, const void *data, size_t size,
                    const ldr_set_options *options, int64_t *version, ldr_err *err);
LDR_API int ldr_delete(ldr_cache *cache, const void *key, size_t key_size, ldr_err *err);
LDR_API int ldr_invalidate(ldr_cache *cache, const void *key, size_t key_size, ldr_err *err);

typedef struct ldr_stats {
    size_t size; /* set by the caller to sizeof(ldr_stats) */
    uint64_t hits, hits_l1, hits_l2, misses, loads, joined, stale, absent, refused, errors, evictions;
    uint64_t entries, bytes; /* now */
} ldr_stats_snapshot;

/* Fills *out with the figures since open. */
LDR_API void ldr_stats(ldr_cache *cache, ldr_stats_snapshot *out);

#ifdef __cplusplus
}
#endif
#endif
