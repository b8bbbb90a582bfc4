/* put_share.c - what a write says to the shared shelf: before the source a mark on each key, after it what became of each;
 * or, for a write of the tiers alone, the write itself.
 *
 * What the shelf does not confirm is remembered (resend.h): it is told to forget the key when it is back. */
#include "base/err.h"
#include "flow/put.h"

enum { NOTHING = -1 };

typedef struct ldr_put_share {
    ldr_exchange ex;
    int verb;              /* asked last; NOTHING before */
    size_t n_asked;
    ldr_l2_item **asked;
    size_t *asked_keys;    /* whose they are */
    ldr_l2_item *items;    /* one a key */
    int *closing;          /* the verb that a key's write ends with; NOTHING: it is over */
} share;

bool ldr_put_share_new(ldr_put *p)
{
    ldr_flow *f = p->op.flow;
    size_t n = p->writing.n_keys;
    size_t per_key = sizeof(ldr_l2_item) + sizeof(ldr_l2_item *) + sizeof(size_t) + sizeof(int);
    share *s = ldr_mem_zero(&f->mem, 1, sizeof *s + n * per_key);
    if (!s)
        return false;
    ldr_exchange_init(&s->ex, &f->mem);
    s->items = (ldr_l2_item *)(void *)(s + 1);
    s->asked = (ldr_l2_item **)(void *)(s->items + n);
    s->asked_keys = (size_t *)(void *)(s->asked + n);
    s->closing = (int *)(void *)(s->asked_keys + n);
    s->verb = NOTHING;
    for (size_t i = 0; i < n; i++) {
        s->items[i].key = p->keys[i].item.key;
        s->items[i].if_version = LDR_ANY;
        s->closing[i] = NOTHING;
    }
    p->share = s;
    return true;
}

void ldr_put_share_free(ldr_put *p)
{
    if (p->share)
        ldr_exchange_free(&p->share->ex);
    ldr_mem_free(&p->op.flow->mem, p->share);
    p->share = NULL;
}

/* ---- asking ------------------------------------------------------------------------------------------------- */

static void add(share *s, size_t i)
{
    s->asked_keys[s->n_asked] = i;
    s->asked[s->n_asked++] = &s->items[i];
}

/* Without memory to ask it is as if the shelf were out of reach. */
static ldr_exchange *ask(ldr_put *p, int verb)
{
    ldr_flow *f = p->op.flow;
    share *s = p->share;
    s->verb = verb;
    if (s->n_asked == 0)
        return NULL;
    if (ldr_l2_ask(f->l2, &s->ex, verb, s->asked, s->n_asked, ldr_clock_now(&f->clock)) != LDR_OK) {
        s->ex.done = true;
        s->ex.sent = false;
        ldr_fail_oom(&s->ex.err);
    }
    return &s->ex;
}

static bool is_numbered(const ldr_put *p, const ldr_put_key *k)
{
    const ldr_flow *f = p->op.flow;
    return !(f->source && f->source->ops->versioned(f->source, k->item.key));
}

ldr_exchange *ldr_put_share_tiers(ldr_put *p)
{
    share *s = p->share;
    bool keeps = p->writing.verb == LDR_STORE;
    s->n_asked = 0;
    for (size_t i = 0; i < p->writing.n_keys; i++) {
        ldr_put_key *k = &p->keys[i];
        ldr_l2_item *item = &s->items[i];
        if (!k->mark.state || item->state == LDR_L2_DONE)
            continue;
        item->record = k->kept_times && keeps ? &k->record : NULL;
        item->version = p->writing.version;
        item->if_version = p->writing.if_version;
        item->unnumbered = !is_numbered(p, k);
        add(s, i);
    }
    return ask(p, LDR_L2_PUT);
}

ldr_exchange *ldr_put_share_mark(ldr_put *p)
{
#ifdef LDR_BUG_SHARE_UNMARKED
    return (void)p, NULL;
#endif
    ldr_flow *f = p->op.flow;
    share *s = p->share;
    int64_t now = ldr_clock_now(&f->clock), left = p->op.deadline_us > now ? p->op.deadline_us - now : 0;
    s->n_asked = 0;
    for (size_t i = 0; i < p->writing.n_keys; i++) {
        if (!p->keys[i].mark.state)
            continue;
        if (s->items[i].token == 0)
            s->items[i].token = ldr_l2_token(f->l2);
        s->items[i].for_us = ldr_time_add(left, f->mark_us);
        add(s, i);
    }
    return ask(p, LDR_L2_MARK);
}

/* How a key's write ends on the shelf. */
static int closing_of(const ldr_put *p, const ldr_put_key *k)
{
    if (k->item.state != LDR_FAILED)
        return LDR_L2_SET;
    return k->item.err.code == LDR_LOST || k->item.err.code == LDR_CONFLICT || p->tail ? LDR_L2_DROP : LDR_L2_UNMARK;
}

static void decide(ldr_put *p)
{
    share *s = p->share;
    for (size_t i = 0; i < p->writing.n_keys; i++)
        s->closing[i] = p->keys[i].mark.state ? closing_of(p, &p->keys[i]) : NOTHING;
    s->verb = LDR_L2_SET;
}

static bool is_closing(const share *s)
{
    return s->verb == LDR_L2_SET || s->verb == LDR_L2_UNMARK || s->verb == LDR_L2_DROP;
}

ldr_exchange *ldr_put_share_close(ldr_put *p)
{
    static const int verbs[] = {LDR_L2_SET, LDR_L2_DROP, LDR_L2_UNMARK};
    share *s = p->share;
    if (!is_closing(s))
        decide(p);
    for (size_t v = 0; v < sizeof verbs / sizeof *verbs; v++) {
        s->n_asked = 0;
        for (size_t i = 0; i < p->writing.n_keys; i++) {
            ldr_put_key *k = &p->keys[i];
            if (s->closing[i] != verbs[v])
                continue;
            s->items[i].version = k->item.state == LDR_FAILED ? 0 : k->item.version;
            s->items[i].record = verbs[v] == LDR_L2_SET && ldr_put_keeps(p, k) ? &k->record : NULL;
            k->record.version = s->items[i].version;
            k->record.position = k->item.position;
            k->record.fingerprint = k->item.fingerprint;
            add(s, i);
        }
        if (s->n_asked > 0)
            return ask(p, verbs[v]);
    }
    return NULL;
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

/* The version that the shelf drew is the write's where the source gives none. */
static void take_version(ldr_put_key *k, const ldr_l2_item *item)
{
    if (k->item.version == 0)
        k->item.version = item->version;
}

static void closed(ldr_put *p, size_t i)
{
    ldr_flow *f = p->op.flow;
    ldr_put_key *k = &p->keys[i];
    const ldr_l2_item *item = &p->share->items[i];
    int verb = p->share->verb;
#ifdef LDR_BUG_MANY_AS_ONE
    item = &p->share->items[0];
#endif
    p->share->closing[i] = NOTHING;
    if (verb == LDR_L2_SET && item->state == LDR_L2_DONE)
        take_version(k, item);
    if (verb != LDR_L2_SET || item->state == LDR_L2_DONE) {
        k->unshared = verb != LDR_L2_SET;
    } else {
        k->unshared = true;
        if (item->state == LDR_L2_REFUSED && ldr_put_keeps(p, k))
            ldr_flow_refused_by(f, k->item.key, "l2", item->why);
    }
    if (item->state == LDR_L2_FAILED && verb != LDR_L2_UNMARK)
        ldr_resend_add(f->resend, k->item.key, k->item.state == LDR_FAILED ? 0 : k->item.version);
}

/* A write of the tiers: what it is told where the shelf did not take it. */
static void tiers_failed(ldr_put *p, ldr_put_key *k, const ldr_l2_item *item)
{
    ldr_flow *f = p->op.flow;
    char text[LDR_KEY_TEXT];
    bool erases = p->writing.verb == LDR_ERASE;
    k->item.state = LDR_FAILED;
    k->item.err = item->err;
    if (item->state == LDR_L2_CONFLICT) {
        ldr_fail(&k->item.err, LDR_CONFLICT, "key \"%s\": version %lld is held", ldr_key_text(k->item.key, text),
                 (long long)item->version);
        k->item.err.version = item->version;
        return;
    }
    if (erases)
        k->item.err.code = LDR_LOST;
    if (k->item.err.code == LDR_LOST)
        ldr_resend_add(f->resend, k->item.key, 0);
}

static void tiers_answered(ldr_put *p, size_t i)
{
    ldr_put_key *k = &p->keys[i];
    const ldr_l2_item *item = &p->share->items[i];
    if (item->state != LDR_L2_DONE) {
        tiers_failed(p, k, item);
        return;
    }
    k->item.state = LDR_FOUND;
    k->item.version = item->version;
}

bool ldr_put_share_take(ldr_put *p)
{
    ldr_flow *f = p->op.flow;
    share *s = p->share;
    bool again = ldr_l2_answer(f->l2, &s->ex, s->verb, s->asked, s->n_asked, ldr_clock_now(&f->clock));
    for (size_t a = 0; a < s->n_asked; a++) {
        if (s->asked[a]->state == LDR_L2_AGAIN)
            continue;
        if (is_closing(s))
            closed(p, s->asked_keys[a]);
        else if (s->verb == LDR_L2_PUT)
            tiers_answered(p, s->asked_keys[a]);
    }
    return again;
}
