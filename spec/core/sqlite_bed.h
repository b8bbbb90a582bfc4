/* sqlite_bed.h - a database in a folder of its own, a second connection that is no part of Larder, and requests of
 * one item whose answer is shown as text: {id=42 name="tea" price=1.5 note=nil}. */
#ifndef SPEC_SQLITE_BED_H
#define SPEC_SQLITE_BED_H

#include "base/err.h"
#include "bed.h"
#include "record/pack.h"
#include "record/unpack.h"
#include "source/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

typedef struct shop {
    char folder[64], file[128];
    sqlite3 *raw; /* another program */
    ldr_clock clock;
    bed_mem mem;
    ldr_source *source;
    ldr_request request;
    ldr_item item, *items[1];
    ldr_err err;
    char shown[4096];
    int64_t timeout_us;
} shop;

static inline void sql(shop *s, const char *text)
{
    char *why = NULL;
    if (sqlite3_exec(s->raw, text, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", text, why);
}

/* The first column of the first row, as text; "nothing" where there is no row. */
static inline const char *ask(shop *s, const char *text)
{
    static char out[1024];
    sqlite3_stmt *stmt;
    if (sqlite3_prepare_v2(s->raw, text, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(s->raw));
    int rc = sqlite3_step(stmt);
    const unsigned char *got = rc == SQLITE_ROW ? sqlite3_column_text(stmt, 0) : NULL;
    snprintf(out, sizeof out, "%s", rc != SQLITE_ROW ? "nothing" : got ? (const char *)got : "NULL");
    sqlite3_finalize(stmt);
    return out;
}

static inline long long ask_int(shop *s, const char *text)
{
    return strtoll(ask(s, text), NULL, 10);
}

static shop *volatile shop_in_reach; /* a child that ends by _exit still points at it: no leak */

static inline shop *shop_new(const char *schema)
{
    shop *s = shop_in_reach = calloc(1, sizeof *s);
    snprintf(s->folder, sizeof s->folder, "%s", "/tmp/larder-spec-XXXXXX");
    if (!mkdtemp(s->folder))
        fail_msg("no temporary folder");
    snprintf(s->file, sizeof s->file, "%s/shop.db", s->folder);
    ldr_clock_init(&s->clock);
    bed_mem_init(&s->mem, 0);
    s->timeout_us = 20 * LDR_SEC;
    s->item.out = LDR_BUF(&ldr_mem_system);
    assert_int_equal(sqlite3_open(s->file, &s->raw), SQLITE_OK);
    sqlite3_busy_timeout(s->raw, 10000);
    sql(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
    if (schema)
        sql(s, schema);
    return s;
}

static inline void shop_close_source(shop *s)
{
    if (s->source)
        s->source->ops->close(s->source);
    s->source = NULL;
}

static inline void shop_free(shop *s)
{
    char name[160];
    shop_close_source(s);
    assert_int_equal(s->mem.n_alive, 0);
    ldr_buf_free(&s->item.out);
    sqlite3_close(s->raw);
    const char *tails[] = {"", "-wal", "-shm", "-journal"};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s%s", s->file, tails[i]);
        unlink(name);
    }
    rmdir(s->folder);
    free(s);
}

/* Opens the source with these models; gives the code. */
static inline int shop_open(shop *s, const ldr_model_options *models, size_t n)
{
    ldr_options o = {.size = sizeof o, .sqlite_file = s->file, .models = models, .n_models = n};
    return ldr_source_sqlite_open(&o, &s->mem.mem, &s->source, &s->err);
}

static inline void shop_open_one(shop *s, ldr_model_options model)
{
    if (shop_open(s, &model, 1) != LDR_OK)
        fail_msg("open: %s", s->err.message);
}

/* ---- values ------------------------------------------------------------------------------------------------ */

/* Packs a row of "name", "type:text" pairs; types i d s b, "n:" nil, "t:" a table. */
static inline void row_of(ldr_buf *b, const char *const *pairs)
{
    uint32_t n = 0;
    while (pairs[2 * n])
        n++;
    ldr_pack_map(b, n);
    for (uint32_t i = 0; i < n; i++) {
        const char *v = pairs[2 * i + 1];
        ldr_pack_str(b, ldr_slice_str(pairs[2 * i]));
        switch (v[0]) {
        case 'i': ldr_pack_int(b, strtoll(v + 2, NULL, 10)); break;
        case 'd': ldr_pack_double(b, strtod(v + 2, NULL)); break;
        case 's': ldr_pack_str(b, ldr_slice_str(v + 2)); break;
        case 'b': ldr_pack_bool(b, v[2] == '1'); break;
        case 't': ldr_pack_array(b, 1), ldr_pack_int(b, 1); break;
        default: ldr_pack_nil(b);
        }
    }
}
#define ROW(...) ((const char *const[]){__VA_ARGS__, NULL, NULL})
#define NO_COLUMNS ((const char *const[]){NULL, NULL})

static inline size_t show_token(ldr_unpack *u, char *out, size_t room)
{
    ldr_token t;
    if (!ldr_unpack_next(u, &t))
        fail_msg("not msgpack");
    switch (t.type) {
    case LDR_TOKEN_NIL: return (size_t)snprintf(out, room, "nil");
    case LDR_TOKEN_INT: return (size_t)snprintf(out, room, "%lld", (long long)t.i);
    case LDR_TOKEN_DOUBLE: return (size_t)snprintf(out, room, "%g%s", t.d, t.d == (double)(long long)t.d ? ".0" : "");
    case LDR_TOKEN_STR: return (size_t)snprintf(out, room, "\"%.*s\"", (int)t.s.n, t.s.p);
    default: fail_msg("a row holds no token of type %d", t.type); return 0;
    }
}

static inline const char *show_row(shop *s)
{
    ldr_unpack u = ldr_unpack_of(ldr_buf_slice(&s->item.out));
    ldr_token t;
    size_t n = 0, room = sizeof s->shown;
    if (!ldr_unpack_next(&u, &t) || t.type != LDR_TOKEN_MAP)
        fail_msg("not a map");
    s->shown[n++] = '{';
    for (uint32_t i = 0; i < t.n; i++) {
        ldr_token name;
        ldr_unpack_next(&u, &name);
        n += (size_t)snprintf(s->shown + n, room - n, "%s%.*s=", i ? " " : "", (int)name.s.n, name.s.p);
        n += show_token(&u, s->shown + n, room - n);
    }
    assert_true(u.p == u.end);
    snprintf(s->shown + n, room - n, "}");
    return s->shown;
}

/* ---- requests of one item ----------------------------------------------------------------------------------- */

static inline void request_of(shop *s, int verb, ldr_slice key)
{
    s->item.key = key;
    s->item.state = LDR_UNANSWERED;
    s->item.version = -7;
    s->item.kind = -7;
    ldr_err_clear(&s->item.err);
    s->items[0] = &s->item;
    s->request = (ldr_request){.verb = verb, .items = s->items, .n_items = 1, .clock = &s->clock};
    s->request.deadline_us = ldr_time_add(ldr_clock_now(&s->clock), s->timeout_us);
}

/* Runs it; gives the row as text, "gone", "done" (no row) or "code: message". */
static inline const char *run_it(shop *s)
{
    s->source->ops->run(s->source, &s->request);
    if (s->item.state == LDR_UNANSWERED) {
        if (s->request.err.code == LDR_OK)
            fail_msg("neither an answer nor an error");
        s->item.state = LDR_FAILED;
        s->item.err = s->request.err;
    }
    if (s->item.state == LDR_FAILED) {
        snprintf(s->shown, sizeof s->shown, "%s: %s", ldr_code_word(s->item.err.code), s->item.err.message);
        return s->shown;
    }
    if (s->item.state == LDR_GONE)
        return "gone";
    return s->item.kind == LDR_NONE ? "done" : show_row(s);
}

static inline const char *load_of(shop *s, const char *key)
{
    request_of(s, LDR_LOAD, ldr_slice_str(key));
    return run_it(s);
}

static inline const char *version_of(shop *s, const char *key)
{
    request_of(s, LDR_VERSION, ldr_slice_str(key));
    return run_it(s);
}

static inline const char *erase_if(shop *s, const char *key, int64_t if_version)
{
    request_of(s, LDR_ERASE, ldr_slice_str(key));
    s->item.if_version = if_version;
    return run_it(s);
}

static inline const char *store_bytes(shop *s, const char *key, ldr_slice value, int64_t if_version)
{
    request_of(s, LDR_STORE, ldr_slice_str(key));
    s->item.value = value;
    s->item.value_kind = LDR_MSGPACK;
    s->item.if_version = if_version;
    return run_it(s);
}

static inline const char *store_if(shop *s, const char *key, const char *const *pairs, int64_t if_version)
{
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    row_of(&b, pairs);
    const char *got = store_bytes(s, key, ldr_buf_slice(&b), if_version);
    ldr_buf_free(&b);
    return got;
}

static inline const char *store_of(shop *s, const char *key, const char *const *pairs)
{
    return store_if(s, key, pairs, LDR_ANY);
}

static inline void assert_starts(const char *got, const char *wanted)
{
    if (strncmp(got, wanted, strlen(wanted)) != 0)
        fail_msg("wanted \"%s...\", got \"%s\"", wanted, got);
}

static inline void assert_holds(const char *got, const char *wanted)
{
    if (!got || !strstr(got, wanted))
        fail_msg("wanted \"...%s...\", got \"%s\"", wanted, got ? got : "nothing");
}

#endif
