/* answer.c - what came back, read into the items. A server's word is not trusted: a reply of another shape is an error of
 * its item, a value that cannot be read is a miss.
 *
 * Which reply belongs to what is counted from the end (ask.c), so what was sent before the items' own commands does not
 * matter here. An exchange that broke off has answered the items whose replies came. */
#include "base/err.h"
#include "l2/verbs.h"

#define AHEAD_US INT64_C(3600000000) /* as in cell.lua: a mark that would end later is not believed */

typedef struct answer {
    ldr_l2 *l;
    ldr_exchange *ex;
    int verb;
    int64_t now_us, server_us;
} answer;

static const ldr_reply *reply_at(const ldr_exchange *ex, size_t i)
{
    return i < ex->n_replies ? ex->replies[i] : NULL;
}

static bool begins_with(ldr_slice s, const char *word)
{
    size_t n = strlen(word);
    return s.n >= n && memcmp(s.p, word, n) == 0;
}

/* ---- failures ------------------------------------------------------------------------------------------------ */

static int code_of(const answer *a)
{
    const ldr_exchange *ex = a->ex;
    if (ex->sent && ldr_l2_verbs[a->verb].writes)
        return LDR_LOST;
    return ex->err.code == LDR_TIMEOUT || ex->err.code == LDR_NOMEM ? ex->err.code : LDR_UNAVAILABLE;
}

/* There is no reply. */
static void broke_off(const answer *a, ldr_l2_item *item)
{
    char message[sizeof a->ex->err.message];
    memcpy(message, a->ex->err.message, sizeof message);
    item->state = LDR_L2_FAILED;
    ldr_fail(&item->err, code_of(a), "%s", *message ? message : "Redis: no answer");
}

static void refused(const answer *a, ldr_l2_item *item, ldr_slice what)
{
    char key[LDR_KEY_TEXT], text[LDR_KEY_TEXT];
    item->state = LDR_L2_FAILED;
    ldr_fail(&item->err, LDR_UNAVAILABLE, "Redis refused the %s of key \"%s\": %s", ldr_l2_verbs[a->verb].name,
             ldr_key_text(item->key, key), ldr_key_text(what, text));
}

static void strange(const answer *a, ldr_l2_item *item)
{
    char key[LDR_KEY_TEXT];
    item->state = LDR_L2_FAILED;
    ldr_fail(&item->err, ldr_l2_verbs[a->verb].writes ? LDR_LOST : LDR_UNAVAILABLE,
             "Redis answered the %s of key \"%s\" with something else", ldr_l2_verbs[a->verb].name,
             ldr_key_text(item->key, key));
}

/* ---- a cell -------------------------------------------------------------------------------------------------- */

static void damaged(ldr_l2_item *item, int code)
{
    item->is_damaged = true;
    item->why = code == LDR_UNSUPPORTED ? "format" : "corrupt";
}

/* Others have other bounds, and a touch moves the expiry without asking the source. */
static void bound(const ldr_l2 *l, ldr_record *r)
{
    int64_t latest = ldr_time_add(r->asked_us, l->bound_us);
#ifdef LDR_BUG_TOUCH_UNBOUND
    latest = LDR_NEVER;
#endif
    if (ldr_record_hard_us(r) <= latest)
        return;
    r->soft_us = r->soft_us < latest ? r->soft_us : latest;
    r->stale_us = latest - r->soft_us;
}

/* What of a cell is there for its reader; true: a mark stands. */
static bool read_cell(const answer *a, ldr_l2_item *item, ldr_slice bytes)
{
    ldr_cell c;
    int code = ldr_cell_read(bytes, &c);
    if (code != LDR_OK) {
        damaged(item, code);
        return false;
    }
    bool marked = c.mark != 0 && c.mark_end_us > a->server_us && c.mark_end_us < a->server_us + AHEAD_US;
#ifdef LDR_BUG_MARK_SERVED
    marked = false;
#endif
    uint64_t gen = atomic_load_explicit(&a->l->gen, memory_order_relaxed);
    if (gen == 0 && a->verb == LDR_L2_LEASE) /* not known yet: the script looked itself */
        gen = c.gen;
#ifdef LDR_BUG_GENERATION_BLIND
    gen = c.gen;
#endif
    if (c.envelope.n == 0 || gen == 0 || c.gen != gen)
        return marked;
    code = ldr_cell_record(&c, item->key, a->ex->sent_us, a->server_us, &item->found);
    if (code != LDR_OK)
        damaged(item, code);
    else
        bound(a->l, &item->found);
    item->is_found = code == LDR_OK && ldr_record_hard_us(&item->found) > a->now_us;
#ifndef LDR_BUG_OWED_SERVED
    if (item->found.version < item->least)
        item->is_found = false;
#endif
    return marked;
}

/* ---- the bell's hash and the time ---------------------------------------------------------------------------- */

static bool read_number(ldr_slice s, int64_t *out)
{
    return s.n <= 19 && ldr_cell_digits(s.p, s.n, out);
}

static bool read_time(const ldr_reply *r, int64_t *server_us)
{
    int64_t s, us;
    if (!r || r->kind != LDR_REPLY_ARRAY || r->n_items != 2 || !read_number(r->items[0].str, &s) ||
        !read_number(r->items[1].str, &us) || us >= LDR_SEC || s >= LDR_CELL_NEVER / LDR_SEC)
        return false;
    *server_us = s * LDR_SEC + us;
    return *server_us > 0;
}

static bool read_bell(ldr_l2 *l, const ldr_reply *r, ldr_l2_reading *out)
{
    int64_t sequence = 0;
    if (r && r->kind == LDR_REPLY_ERROR && begins_with(r->str, "WRONGTYPE"))
        atomic_store(&l->bell_is_strange, true);
    if (!r || r->kind != LDR_REPLY_ARRAY || r->n_items != 3)
        return false;
    atomic_store(&l->bell_is_strange, false);
    if (r->items[1].kind == LDR_REPLY_STRING && !read_number(r->items[1].str, &sequence))
        return false;
    if (r->items[0].kind != LDR_REPLY_STRING || !ldr_cell_hex(r->items[0].str.p, r->items[0].str.n, &out->gen))
        out->gen = 0;
    out->sequence = (uint64_t)sequence;
    if (r->items[2].kind != LDR_REPLY_STRING || !read_number(r->items[2].str, &out->mark))
        out->mark = 0;
    return true;
}

/* `time` is its place among the replies; the bell's is the one before, if any. */
static bool read_front(const answer *a, size_t time, ldr_l2_reading *out)
{
    *out = (ldr_l2_reading){.sent_us = a->ex->sent_us, .now_us = a->now_us};
    if (!read_time(reply_at(a->ex, time), &out->server_us))
        return false;
    out->has_bell = time > 0 && read_bell(a->l, reply_at(a->ex, time - 1), out);
    ldr_l2_note(a->l, out);
    return true;
}

/* ---- a look-up ----------------------------------------------------------------------------------------------- */

static void looked_up(const answer *a, ldr_l2_item *item, const ldr_reply *r)
{
    bool marked = false;
    if (r->kind == LDR_REPLY_ERROR && begins_with(r->str, "WRONGTYPE"))
        damaged(item, LDR_CORRUPT);
    else if (r->kind == LDR_REPLY_ERROR)
        return refused(a, item, r->str);
    else if (r->kind == LDR_REPLY_STRING)
        marked = read_cell(a, item, r->str);
    else if (r->kind != LDR_REPLY_NIL)
        return strange(a, item);
    item->state = marked ? LDR_L2_MARKED : item->is_found ? LDR_L2_HELD : LDR_L2_NOTHING;
}

static const ldr_reply *reply_of(const ldr_reply *all, size_t i, size_t n)
{
    if (n == 1 || all->kind == LDR_REPLY_ERROR)
        return all;
    return all->kind == LDR_REPLY_ARRAY && all->n_items == n ? &all->items[i] : NULL;
}

/* The time that does not come as it should: an error's own words, if there are any. */
static void no_time(const answer *a, ldr_l2_item *item, const ldr_reply *time)
{
    if (time && time->kind == LDR_REPLY_ERROR)
        refused(a, item, time->str);
    else if (time)
        strange(a, item);
    else
        broke_off(a, item);
}

static bool answer_lookup(answer *a, ldr_l2_item *const *items, size_t n)
{
    ldr_l2_reading front;
    size_t time = a->ex->n_commands < 2 ? 0 : a->ex->n_commands - 2;
    bool knows_time = a->ex->n_commands >= 2 && read_front(a, time, &front);
    const ldr_reply *all = reply_at(a->ex, time + 1);
    a->server_us = knows_time ? front.server_us : 0;
    for (size_t i = 0; i < n; i++) {
        items[i]->is_damaged = false;
        const ldr_reply *r = all ? reply_of(all, i, n) : NULL;
        if (!all)
            broke_off(a, items[i]);
        else if (!knows_time)
            no_time(a, items[i], reply_at(a->ex, time));
        else if (!r)
            strange(a, items[i]);
        else
            looked_up(a, items[i], r);
    }
    return false;
}

/* ---- scripts ------------------------------------------------------------------------------------------------- */

enum { STATE, SERVER, VERSION, EXTRA, DAMAGED, CELL, LEAST = CELL };

#define BIT(state) (1u << (state))

/* What a verb's script may say; the numbers are in cell.lua, too. */
_Static_assert(LDR_L2_HELD == 1 && LDR_L2_LEASED == 2 && LDR_L2_TAKEN == 3 && LDR_L2_MARKED == 4 && LDR_L2_DONE == 5 &&
                   LDR_L2_REFUSED == 6 && LDR_L2_CONFLICT == 7,
               "cell.lua has these numbers");
static unsigned states_of(int verb)
{
    switch (verb) {
    case LDR_L2_LEASE: return BIT(LDR_L2_HELD) | BIT(LDR_L2_LEASED) | BIT(LDR_L2_TAKEN) | BIT(LDR_L2_MARKED);
    case LDR_L2_FILL:
    case LDR_L2_RENEW:
    case LDR_L2_SET: return BIT(LDR_L2_DONE) | BIT(LDR_L2_REFUSED);
    case LDR_L2_PUT:
    case LDR_L2_DROP: return BIT(LDR_L2_DONE) | BIT(LDR_L2_CONFLICT);
    default: return BIT(LDR_L2_DONE);
    }
}

static bool has_shape(const answer *a, const ldr_reply *r, int64_t *version)
{
    if (r->kind != LDR_REPLY_ARRAY || r->n_items < LEAST || r->items[STATE].kind != LDR_REPLY_INTEGER ||
        r->items[SERVER].kind != LDR_REPLY_INTEGER || r->items[VERSION].kind != LDR_REPLY_STRING ||
        r->items[EXTRA].kind != LDR_REPLY_INTEGER || r->items[DAMAGED].kind != LDR_REPLY_INTEGER)
        return false;
    int64_t state = r->items[STATE].integer, server = r->items[SERVER].integer;
    return state > 0 && state < LDR_L2_FAILED && (states_of(a->verb) & BIT(state)) != 0 && server > 0 &&
           server < LDR_CELL_NEVER && r->items[VERSION].str.n == 19 &&
           ldr_cell_digits(r->items[VERSION].str.p, 19, version);
}

static void read_extra(const answer *a, ldr_l2_item *item, int64_t extra)
{
    static const char *const whys[] = {"lease", "version", "size"};
    if (item->state == LDR_L2_REFUSED)
        item->why = whys[extra >= 0 && extra < 3 ? extra : 0];
    if (item->state == LDR_L2_TAKEN)
        item->wait_us = extra < 0 ? 0 : extra < LDR_L2_MOST_LEASE_US ? extra : LDR_L2_MOST_LEASE_US;
    if (a->verb == LDR_L2_TOUCH)
        item->is_touched = extra == 1;
}

/* A lease's answer has the cell with it, where a value is in it. What cannot be read is not held: it is asked once more, and
 * then it does not count. */
static void read_leased(const answer *a, ldr_l2_item *item, const ldr_reply *r)
{
    bool was_damaged = item->is_damaged;
    if (r->n_items > CELL && r->items[CELL].kind == LDR_REPLY_STRING)
        read_cell(a, item, r->items[CELL].str);
    if (item->state != LDR_L2_HELD || item->is_found)
        return;
    item->is_damaged = true;
    item->state = LDR_L2_AGAIN;
    if (was_damaged)
        strange(a, item);
}

/* The asker's process may not know its generation yet: the next look-up reads it. */
static void read_state(answer *a, ldr_l2_item *item, const ldr_reply *r)
{
    int64_t version;
    if (!has_shape(a, r, &version))
        return strange(a, item);
    item->state = (int)r->items[STATE].integer;
    a->server_us = r->items[SERVER].integer;
    if (r->items[DAMAGED].integer == 1)
        item->why = "corrupt";
    read_extra(a, item, r->items[EXTRA].integer);
    if (a->verb == LDR_L2_LEASE)
        read_leased(a, item, r);
    else
        item->version = version;
}

static bool was_loaded(const answer *a, size_t n)
{
    return a->ex->n_commands > n;
}

static void read_script(answer *a, ldr_l2_item *item, const ldr_reply *r, bool loaded)
{
    if (!r)
        return broke_off(a, item);
    if (r->kind != LDR_REPLY_ERROR)
        return read_state(a, item, r);
    if (begins_with(r->str, "WRONGTYPE")) /* the bell: a cell of another type the scripts delete themselves */
        ldr_l2_estranged(a->l);
    if (!begins_with(r->str, "NOSCRIPT"))
        return refused(a, item, r->str);
    atomic_store(&a->l->loaded[a->verb], false);
    item->state = LDR_L2_AGAIN;
    if (loaded)
        refused(a, item, r->str);
}

static void note_time(const answer *a)
{
    ldr_l2_note(a->l, &(ldr_l2_reading){.server_us = a->server_us, .sent_us = a->ex->sent_us, .now_us = a->now_us});
}

static bool answer_scripts(answer *a, ldr_l2_item *const *items, size_t n)
{
    bool again = false, loaded = was_loaded(a, n);
    const ldr_reply *load = loaded ? reply_at(a->ex, 0) : NULL;
    size_t first = a->ex->n_commands < n ? 0 : a->ex->n_commands - n;
    if (load && load->kind != LDR_REPLY_ERROR)
        atomic_store(&a->l->loaded[a->verb], true);
    for (size_t i = 0; i < n; i++) {
        read_script(a, items[i], reply_at(a->ex, first + i), loaded);
        again = again || items[i]->state == LDR_L2_AGAIN;
    }
    if (a->server_us > 0)
        note_time(a);
    return again;
}

/* Without an item, what failed is said in the exchange. */
static bool answer_drop_all(answer *a, ldr_l2_item *item)
{
    bool again = answer_scripts(a, &item, 1);
    const ldr_reply *r = reply_at(a->ex, a->ex->n_commands - 1);
    uint64_t gen;
    if (item->state == LDR_L2_DONE && r->n_items > CELL && ldr_cell_hex(r->items[CELL].str.p, r->items[CELL].str.n, &gen))
        ldr_l2_set_generation(a->l, gen);
    return again;
}

/* ---- answers ------------------------------------------------------------------------------------------------- */

static void reset(ldr_l2_item *item)
{
    item->why = NULL;
    item->wait_us = 0;
    item->is_found = item->is_touched = false;
    item->found = (ldr_record){0};
    ldr_err_clear(&item->err);
}

bool ldr_l2_answer(ldr_l2 *l, ldr_exchange *ex, int verb, ldr_l2_item *const *items, size_t n, int64_t now_us)
{
    answer a = {.l = l, .ex = ex, .verb = verb, .now_us = now_us};
    for (size_t i = 0; i < n; i++)
        reset(items[i]);
    if (verb == LDR_L2_LOOKUP)
        return answer_lookup(&a, items, n);
    if (verb != LDR_L2_DROP_ALL)
        return answer_scripts(&a, items, n);
    ldr_l2_item own = {0}, *item = n > 0 ? items[0] : &own;
    bool again = answer_drop_all(&a, item);
    if (n == 0 && item->state == LDR_L2_FAILED)
        ex->err = item->err;
    return again;
}

bool ldr_l2_answer_pulse(ldr_l2 *l, ldr_exchange *ex, int64_t now_us, ldr_l2_pulse *out, ldr_err *err)
{
    answer a = {.l = l, .ex = ex, .verb = LDR_L2_LOOKUP, .now_us = now_us};
    ldr_l2_reading front;
    ldr_l2_item item = {0};
    size_t time = ex->n_commands > 0 ? ex->n_commands - 1 : 0;
    if (!read_front(&a, time, &front)) {
        no_time(&a, &item, reply_at(ex, time));
    } else if (!front.has_bell) {
        no_time(&a, &item, reply_at(ex, time - 1));
    } else {
        *out = (ldr_l2_pulse){.sequence = front.sequence, .mark = front.mark};
        return true;
    }
    if (err)
        *err = item.err;
    return false;
}
