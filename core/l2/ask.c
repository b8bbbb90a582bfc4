/* ask.c - questions: a look-up is TIME and GET or MGET, and before them, where it is due, the bell's hash; every other verb is
 * one script an item, and before the first of them the script itself where the server is not known to have it.
 *
 * Invariant that answer.c relies on: the replies that belong to items are the last n (of a look-up: the last one), and the
 * server's time of a look-up or pulse stands behind the bell's hash. */
#include "l2/verbs.h"

#include <inttypes.h>
#include <stdio.h>

#define MOST_ARGS 12
#define VALUE_MOST_BYTES (((size_t)512 << 20) - LDR_CELL_HEAD_BYTES) /* of Redis's longest string */

/* What each letter of `args` stands for is in text_of. */
const ldr_l2_verb_row ldr_l2_verbs[LDR_L2_N_VERBS] = {
    [LDR_L2_LOOKUP] = {"look-up", NULL, "", false},
    [LDR_L2_LEASE] = {"lease", &ldr_script_lease, "ogtufxb", false},
    [LDR_L2_FILL] = {"fill", &ldr_script_fill, "ogtvbaelsr", true},
    [LDR_L2_RELEASE] = {"release", &ldr_script_release, "ot", true},
    [LDR_L2_RENEW] = {"renewal", &ldr_script_renew, "otu", false},
    [LDR_L2_MARK] = {"mark", &ldr_script_mark, "ogtub", true},
    [LDR_L2_SET] = {"set", &ldr_script_set, "ogtvbaelsr", true},
    [LDR_L2_UNMARK] = {"unmark", &ldr_script_unmark, "ot", true},
    [LDR_L2_PUT] = {"put", &ldr_script_put, "ogcvbaelsrn", true},
    [LDR_L2_DROP] = {"drop", &ldr_script_drop, "ogcvbt", true},
    [LDR_L2_TOUCH] = {"touch", &ldr_script_touch, "ogw", true},
    [LDR_L2_DROP_ALL] = {"drop of all", &ldr_script_drop_all, "oG", true},
};

typedef struct question {
    ldr_l2 *l;
    ldr_exchange *ex;
    int verb;
    int64_t now_us;
    ldr_buf key, envelope; /* room, used anew for each item */
} question;

/* ---- arguments ----------------------------------------------------------------------------------------------- */

static int64_t version_of(const question *q, const ldr_l2_item *item)
{
    int64_t v = q->verb == LDR_L2_FILL ? (item->record ? item->record->version : 0) : item->version;
#ifdef LDR_BUG_VERSION_DOUBLE
    v = (int64_t)((uint64_t)(double)v & INT64_MAX);
#endif
#ifdef LDR_BUG_FILL_FLOOR
    v = q->verb == LDR_L2_FILL ? 0 : v;
#endif
#ifdef LDR_BUG_FILL_STALE
    v = q->verb == LDR_L2_FILL ? 0 : v;
#endif
#ifdef LDR_BUG_SET_LAST
    static _Atomic int64_t last = INT64_C(1) << 50;
    v = q->verb == LDR_L2_SET ? last++ : v;
#endif
    return v > 0 ? v : 0;
}

static int64_t span(int64_t from, int64_t to)
{
    int64_t us;
    if (to == LDR_NEVER || __builtin_sub_overflow(to, from, &us) || us > LDR_CELL_NEVER)
        return LDR_CELL_NEVER;
    return us > 0 ? us : 0;
}

static int64_t within(int64_t us, int64_t most)
{
    return us < 1 ? 1 : us < most ? us : most;
}

static int put_hex(char *out, size_t room, uint64_t v)
{
    return snprintf(out, room, "%016" PRIx64, v);
}

static int put_number(char *out, size_t room, int64_t v)
{
    return snprintf(out, room, "%" PRId64, v);
}

static int put_version(char *out, size_t room, int64_t v)
{
    return snprintf(out, room, "%019" PRId64, v);
}

static int put_generation(const question *q, char *out, size_t room)
{
    uint64_t gen = atomic_load(&q->l->gen);
    return snprintf(out, room, "%s%016" PRIx64, gen ? "" : "?", gen ? gen : ldr_l2_token(q->l));
}

static int put_condition(const ldr_l2_item *item, char *out, size_t room)
{
    if (item->if_version >= 0)
        return put_version(out, room, item->if_version);
    return snprintf(out, room, "%s", item->if_version == LDR_ANY ? "*" : "-");
}

/* When the source was asked, on the server's clock. */
static int put_asked(const question *q, const ldr_record *r, char *out, size_t room)
{
    int64_t at = r ? ldr_l2_server_us(q->l, r->asked_us) : -1;
    return at < 0 ? 0 : put_number(out, room, at);
}

static int put_time(const question *q, const ldr_l2_item *item, char letter, char *out)
{
    const ldr_record *r = item->record;
    switch (letter) {
    case 'a': return put_number(out, LDR_L2_ARG, r ? span(r->asked_us, q->now_us) : 0);
    case 'e': return put_asked(q, r, out, LDR_L2_ARG);
    case 'l': return put_number(out, LDR_L2_ARG, r ? span(r->asked_us, r->soft_us) : 0);
    default: return put_number(out, LDR_L2_ARG, r ? span(0, r->stale_us) : 0);
    }
}

static int text_of(const question *q, const ldr_l2_item *item, char letter, char *out)
{
    switch (letter) {
    case 'o': return put_hex(out, LDR_L2_ARG, ldr_l2_origin(q->l));
    case 'g': return put_generation(q, out, LDR_L2_ARG);
    case 'G': return put_hex(out, LDR_L2_ARG, ldr_l2_token(q->l)); /* the new generation */
    case 't': return put_hex(out, LDR_L2_ARG, item->token);
    case 'u': return put_number(out, LDR_L2_ARG, within(item->for_us, LDR_L2_MOST_LEASE_US));
    case 'w': return put_number(out, LDR_L2_ARG, span(0, item->for_us));
    case 'v': return put_version(out, LDR_L2_ARG, version_of(q, item));
    case 'c': return put_condition(item, out, LDR_L2_ARG);
    case 'b': return put_number(out, LDR_L2_ARG, q->l->tombstone_us);
    case 'f': return put_number(out, LDR_L2_ARG, item->force);
    case 'x': return put_number(out, LDR_L2_ARG, item->is_damaged);
    case 'n': return put_number(out, LDR_L2_ARG, item->unnumbered);
    default: return put_time(q, item, letter, out); /* a e l s */
    }
}

/* The record as it lies in the cell; empty: there is none, or it is too large to be kept. */
static bool write_envelope(question *q, const ldr_l2_item *item)
{
    ldr_buf_clear(&q->envelope);
    if (!item->record)
        return true;
    ldr_record r = *item->record;
    r.key = item->key;
    r.version = version_of(q, item);
    int code = ldr_envelope_write(&r, q->now_us, &q->envelope);
    if (code == LDR_TOO_LARGE || q->envelope.n > VALUE_MOST_BYTES)
        ldr_buf_clear(&q->envelope);
    return code != LDR_NOMEM;
}

/* ---- commands ------------------------------------------------------------------------------------------------ */

static bool add(question *q, const ldr_slice *argv, size_t n)
{
    return ldr_exchange_add(q->ex, argv, n) == LDR_OK;
}

static bool write_key(question *q, ldr_slice key)
{
    ldr_buf_add(&q->key, q->l->prefix, q->l->prefix_n);
    ldr_buf_add(&q->key, key.p, key.n);
    return !q->key.oom;
}

static bool add_script(question *q, int verb, const ldr_l2_item *item)
{
    const ldr_l2_verb_row *row = &ldr_l2_verbs[verb];
    char texts[MOST_ARGS][LDR_L2_ARG];
    ldr_slice argv[5 + MOST_ARGS] = {ldr_slice_str("EVALSHA"), ldr_slice_of(row->script->sha, 40), ldr_slice_str("2"),
                                     ldr_buf_slice(&q->key), ldr_l2_channel(q->l)};
    size_t n = 5;
    for (const char *letter = row->args; *letter; letter++, n++) {
        char *text = texts[n - 5];
        argv[n] = *letter == 'r' ? ldr_buf_slice(&q->envelope) : ldr_slice_of(text, (size_t)text_of(q, item, *letter, text));
    }
    return add(q, argv, n);
}

static bool add_item(question *q, const ldr_l2_item *item)
{
    ldr_buf_clear(&q->key);
    if (!write_key(q, item->key) || !write_envelope(q, item))
        return false;
#ifdef LDR_BUG_FILL_NX
    if (q->verb == LDR_L2_FILL && !add_script(q, LDR_L2_LEASE, &(ldr_l2_item){.token = item->token, .for_us = LDR_SEC}))
        return false;
#endif
#ifdef LDR_BUG_FILL_STALE
    ldr_l2_item taken = {.token = item->token, .for_us = LDR_SEC, .force = true};
    if (q->verb == LDR_L2_FILL && !add_script(q, LDR_L2_LEASE, &taken))
        return false;
#endif
#ifdef LDR_BUG_FILL_UNFENCED
    if (q->verb == LDR_L2_FILL && !add_script(q, LDR_L2_LEASE, &(ldr_l2_item){.token = item->token, .for_us = LDR_SEC, .force = true}))
        return false;
#endif
#ifdef LDR_BUG_SET_UNMARKED
    if (q->verb == LDR_L2_SET && !add_script(q, LDR_L2_MARK, &(ldr_l2_item){.token = item->token, .for_us = LDR_SEC}))
        return false;
#endif
    return add_script(q, q->verb, item);
}

static bool add_items(question *q, ldr_l2_item *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!add_item(q, items[i]))
            return false;
    return true;
}

/* All keys of a namespace have one bell: there it stands for the key. */
static bool add_drop_all(question *q)
{
    ldr_slice bell = ldr_l2_channel(q->l);
    ldr_buf_add(&q->key, bell.p, bell.n);
    return !q->key.oom && add_script(q, LDR_L2_DROP_ALL, &(ldr_l2_item){0});
}

static bool add_load(question *q)
{
    if (atomic_load_explicit(&q->l->loaded[q->verb], memory_order_relaxed))
        return true;
    ldr_slice argv[] = {ldr_slice_str("SCRIPT"), ldr_slice_str("LOAD"), ldr_l2_verbs[q->verb].script->text};
    return add(q, argv, 3);
}

/* Generation, number and mark, and before them, where there may be no generation, one; then the time. */
static bool add_bell(question *q)
{
    char fresh[LDR_L2_ARG];
    ldr_slice bell = ldr_l2_channel(q->l), g = ldr_slice_str("g");
    ldr_slice del[] = {ldr_slice_str("DEL"), bell};
    ldr_slice draw[] = {ldr_slice_str("HSETNX"), bell, g, ldr_slice_of(fresh, 16)};
    ldr_slice read[] = {ldr_slice_str("HMGET"), bell, g, ldr_slice_str("s"), ldr_slice_str("m")};
    if (atomic_load(&q->l->bell_is_strange) && !add(q, del, 2))
        return false;
    if (atomic_load(&q->l->gen) == 0) {
        put_hex(fresh, sizeof fresh, ldr_l2_token(q->l));
        if (!add(q, draw, 4))
            return false;
    }
    return add(q, read, 5);
}

static bool add_time(question *q)
{
    return add(q, &(ldr_slice){"TIME", 4}, 1);
}

static bool add_get(question *q, const ldr_l2_item *item)
{
    char room[256];
    size_t size = q->l->prefix_n + item->key.n;
    ldr_slice argv[] = {ldr_slice_str("GET"), ldr_slice_of(room, size)};
    if (size <= sizeof room) {
        memcpy(room, q->l->prefix, q->l->prefix_n);
        memcpy(room + q->l->prefix_n, item->key.p, item->key.n);
    } else if (write_key(q, item->key)) {
        argv[1] = ldr_buf_slice(&q->key);
    } else {
        return false;
    }
    return add(q, argv, 2);
}

static bool add_mget(question *q, ldr_l2_item *const *items, size_t n)
{
    size_t at = 0;
    ldr_slice *argv = ldr_mem_zero(&q->l->mem, n + 1, sizeof *argv);
    bool ok = argv != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = write_key(q, items[i]->key);
    if (ok) {
        argv[0] = ldr_slice_str("MGET");
        for (size_t i = 0; i < n; i++) {
            argv[i + 1] = ldr_slice_of(q->key.p + at, q->l->prefix_n + items[i]->key.n);
            at += argv[i + 1].n;
        }
        ok = add(q, argv, n + 1);
    }
    ldr_mem_free(&q->l->mem, argv);
    return ok;
}

/* ---- questions ----------------------------------------------------------------------------------------------- */

static bool write_question(question *q, ldr_l2_item *const *items, size_t n)
{
    if (q->verb == LDR_L2_LOOKUP)
        return (!ldr_l2_is_due(q->l, q->now_us) || add_bell(q)) && add_time(q) &&
               (n == 1 ? add_get(q, items[0]) : add_mget(q, items, n));
    if (q->verb == LDR_L2_DROP_ALL)
        return add_load(q) && add_drop_all(q);
    return add_load(q) && add_items(q, items, n);
}

static int end(question *q, bool ok)
{
    ldr_buf_free(&q->key);
    ldr_buf_free(&q->envelope);
    if (!ok)
        ldr_exchange_clear(q->ex);
    return ok ? LDR_OK : LDR_NOMEM;
}

static question begin(ldr_l2 *l, ldr_exchange *ex, int verb, int64_t now_us)
{
    ldr_exchange_clear(ex);
    return (question){.l = l, .ex = ex, .verb = verb, .now_us = now_us, .key = LDR_BUF(&l->mem), .envelope = LDR_BUF(&l->mem)};
}

int ldr_l2_ask(ldr_l2 *l, ldr_exchange *ex, int verb, ldr_l2_item *const *items, size_t n, int64_t now_us)
{
    question q = begin(l, ex, verb, now_us);
    return end(&q, write_question(&q, items, n));
}

static bool add_mark(question *q, int64_t mark)
{
    char text[LDR_L2_ARG];
    if (mark == LDR_UNSET)
        return true;
    size_t n = (size_t)put_number(text, sizeof text, mark);
    ldr_slice argv[] = {ldr_slice_str("HSET"), ldr_l2_channel(q->l), ldr_slice_str("m"), ldr_slice_of(text, n)};
    return add(q, argv, 4);
}

int ldr_l2_ask_pulse(ldr_l2 *l, ldr_exchange *ex, int64_t mark, int64_t now_us)
{
    question q = begin(l, ex, LDR_L2_LOOKUP, now_us);
    return end(&q, add_mark(&q, mark) && add_bell(&q) && add_time(&q));
}
