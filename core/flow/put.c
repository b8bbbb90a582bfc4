/* put.c - set and delete, one key or many. Stages: MARK -> SHARE_MARK -> SEND -> SOURCE -> TTLS -> SHARE_CLOSE -> APPLY ->
 * DONE, or for a write to the tiers alone TIERS -> SHARE_TIERS -> DONE; a weak write goes on from there to WEAK: the same
 * write to the source as work of its own (its tail, which begins at SHARE_MARK with marks already set). Without a shared
 * shelf the SHARE stages are gone past.
 *
 * A marked key is filled by nobody until its mark ends; the mark ends in APPLY, or when the operation is ended in any
 * other stage (then the tiers forget the key, for what became of the write is not known). Only what is marked is sent. */
#include "base/err.h"
#include "flow/put.h"

enum {
    UNABLE, TIERS, SHARE_TIERS, TIERS_SHARED, WEAK, MARK, SHARE_MARK, MARK_SHARED, SEND, SOURCE, TTLS, SHARE_CLOSE,
    CLOSE_SHARED, APPLY, DONE
};

static bool source_can(const ldr_flow *f, int verb)
{
    return f->source && f->source->ops->can(f->source, verb);
}

void ldr_put_told(ldr_put *p, ldr_put_key *k)
{
    ldr_flow *f = p->op.flow;
    if (k->item.state == LDR_FAILED) {
        ldr_meter_add(f->meter, p->tail ? LDR_M_weak_failures : LDR_M_errors, 1);
        ldr_flow_error(f, k->item.key, &k->item.err);
        return;
    }
    if (p->tail) /* told when the tiers had it */
        return;
    ldr_meter_add(f->meter, LDR_M_writes, 1);
    if (ldr_events_want(&f->events, LDR_EVENT_write))
        ldr_events_note(&f->events, k->item.key, &(ldr_event){.kind = LDR_EVENT_write, .version = k->item.version});
}

/* Makes the record that is to be kept from the bytes given; false: the item failed. */
bool ldr_put_make_record(ldr_put *p, ldr_put_key *k, ldr_slice value, int kind)
{
    ldr_flow *f = p->op.flow;
    k->record = (ldr_record){.key = k->item.key, .kind = LDR_NONE};
    if (ldr_seal(&f->sealing, value, kind, &k->record, &k->made, &k->item.err)) {
        k->item.state = LDR_FAILED;
        return false;
    }
    k->kept_times = ldr_flow_expiry(f, &p->writing.ttls, &k->item, p->asked_us, &k->record);
    return true;
}

/* ---- through the source ------------------------------------------------------------------------------------- */

static void mark(ldr_put *p, ldr_put_key *k)
{
    if (ldr_mark_begin(p->op.flow->flights, k->item.key, k->hash, &k->mark))
        return;
    k->item.state = LDR_FAILED;
    ldr_fail_oom(&k->item.err);
}

static void settle_request(ldr_put *p)
{
    for (size_t i = 0; i < p->writing.n_keys; i++) {
        ldr_item *item = &p->keys[i].item;
        if (item->state != LDR_UNANSWERED)
            continue;
        item->state = LDR_FAILED;
        item->err = p->request.err;
        if (item->err.code == LDR_OK)
            ldr_fail(&item->err, LDR_LOST, "the source gave no answer for this key");
    }
    for (size_t i = 0; i < p->writing.n_keys; i++)
        p->keys[i].written = p->keys[i].item.state != LDR_FAILED;
}

bool ldr_put_keeps(const ldr_put *p, const ldr_put_key *k)
{
    return k->item.state != LDR_FAILED && k->kept_times && p->writing.verb == LDR_STORE && p->op.flow->write_plan->write_keeps;
}

/* Is what the tiers hold no longer what the source has, as far as this write can tell? A conflict says so too: who
 * reads again must not be given the version that lost. The tail of a weak write has the tiers' value to answer for. */
static bool outdates(const ldr_put *p, const ldr_put_key *k)
{
    return k->item.state != LDR_FAILED || k->item.err.code == LDR_LOST || k->item.err.code == LDR_CONFLICT || p->tail;
}

typedef struct applying {
    ldr_put *p;
    ldr_put_key *k;
} applying;

static void keep_or_forget(void *ctx, enum ldr_leave leave)
{
    applying *w = ctx;
    ldr_put *p = w->p;
    ldr_put_key *k = w->k;
    ldr_flow *f = p->op.flow;
    if (p->tail && leave != LDR_LEAVE_GRANTED)
        return; /* the tiers have something later than this write by now, or nothing */
    if (ldr_put_keeps(p, k) && leave == LDR_LEAVE_GRANTED && !k->unshared)
        ldr_flow_keep(f, &k->record, k->hash);
    else if (ldr_put_keeps(p, k) && leave == LDR_LEAVE_VERSION)
        ldr_flow_refused(f, k->item.key, "version");
    else if (outdates(p, k) && f->shelf)
        ldr_shelf_erase(f->shelf, k->item.key, k->hash);
}

static void apply(ldr_put *p, ldr_put_key *k)
{
    ldr_flow *f = p->op.flow;
    if (!k->mark.state) { /* out of memory at MARK, or a tail's key that failed before */
        if (k->item.err.code != LDR_OK)
            ldr_put_told(p, k);
        return;
    }
    int64_t version = k->item.state == LDR_FAILED ? 0 : k->item.version; /* the source's, or the shared shelf's */
    if (k->item.state != LDR_FAILED && version == 0)
        k->item.version = ldr_flow_draw(f);
    ldr_flow_rise(f, version);
    k->record.version = k->item.version;
    k->record.position = k->item.position;
    k->record.fingerprint = k->item.fingerprint;
    ldr_mark_end(f->flights, &k->mark, version, keep_or_forget, &(applying){p, k});
    if (outdates(p, k))
        ldr_flow_spread(f, k->item.key, version);
    ldr_put_told(p, k);
    if (k->item.state != LDR_FAILED && !ldr_put_keeps(p, k) && !p->tail)
        ldr_flow_invalidated(f, k->item.key, p->writing.verb == LDR_ERASE ? LDR_CAUSE_DELETE : LDR_CAUSE_WRITE);
}

/* The write stands in the source, though no tier can keep it. */
static void unkept(ldr_put *p, ldr_put_key *k)
{
    ldr_flow_error(p->op.flow, k->item.key, &k->item.err);
    ldr_err_clear(&k->item.err);
    k->item.state = LDR_FOUND;
    k->kept_times = false;
}

/* What the tiers get is the row as the source now has it, else the value as it was given. */
static void prepare(ldr_put *p, ldr_put_key *k)
{
    bool row = k->item.kind != LDR_NONE && k->item.out.n > 0;
    bool ttl_failed = k->written && k->item.state == LDR_FAILED;
    if (ttl_failed)
        unkept(p, k);
    if (!k->written || ttl_failed || p->writing.verb == LDR_ERASE || !p->op.flow->write_plan->write_keeps)
        return;
    if (!ldr_put_make_record(p, k, row ? ldr_buf_slice(&k->item.out) : k->item.value, row ? k->item.kind : k->item.value_kind))
        unkept(p, k);
}

static void each(ldr_put *p, void (*what)(ldr_put *p, ldr_put_key *k))
{
    for (size_t i = 0; i < p->writing.n_keys; i++)
        what(p, &p->keys[i]);
}

static void refuse(ldr_put *p, ldr_put_key *k)
{
    k->item.state = LDR_FAILED;
    ldr_fail(&k->item.err, LDR_UNSUPPORTED, "source %s cannot %s, which pattern %s needs", p->op.flow->source->ops->name,
             p->writing.verb == LDR_ERASE ? "delete" : "store", p->op.flow->write_plan->name);
    ldr_put_told(p, k);
}

static ldr_op *begin_tail(ldr_put *p);

static ldr_want want(ldr_put *p, int kind, int verb)
{
    p->request.verb = verb;
    return (ldr_want){.kind = kind, .deadline_us = p->op.deadline_us, .request = &p->request};
}

/* The request goes to the source with the keys that are marked. */
static ldr_want ask_source(ldr_put *p)
{
    ldr_flow *f = p->op.flow;
    p->request.n_items = 0;
    for (size_t i = 0; i < p->writing.n_keys; i++)
        if (p->keys[i].mark.state)
            p->items[p->request.n_items++] = &p->keys[i].item;
    p->asked_us = ldr_clock_now(&f->clock);
    p->request.deadline_us = p->op.deadline_us;
    int64_t usual = ldr_time_add(p->asked_us, f->source_timeout_us); /* what the shared shelf did not take is not for the source */
    if (p->writing.timeout_us == LDR_UNSET && usual < p->request.deadline_us)
        p->request.deadline_us = usual;
    return want(p, f->source->ops->run ? LDR_WANT_JOB : LDR_WANT_CALL, p->writing.verb);
}

static void fail_oom(ldr_put *p, ldr_put_key *k)
{
    k->item.state = LDR_FAILED;
    ldr_fail_oom(&k->item.err);
    ldr_put_told(p, k);
}

/* The tail is made first, so that there is nothing to take back; its marks last, so that they see no later write. */
static ldr_want write_weakly(ldr_put *p)
{
    ldr_put *tail = (ldr_put *)begin_tail(p);
    if (!p->share)
        each(p, tail ? ldr_put_tiers : fail_oom);
    size_t n = 0;
    for (size_t i = 0; tail && i < p->writing.n_keys; i++) {
        ldr_put_key *k = &tail->keys[i];
        if (p->keys[i].item.state == LDR_FAILED)
            k->item.state = LDR_FAILED;
        else
            mark(tail, k);
        if (k->item.err.code != LDR_OK) { /* no memory for the mark: the source will not have it */
            ldr_drop(p->op.flow, k->item.key, LDR_CAUSE_WRITE);
            ldr_put_told(tail, k);
            ldr_err_clear(&k->item.err);
        }
        n += k->mark.state != NULL;
    }
    if (n > 0)
        return (ldr_want){.kind = LDR_WANT_SPAWN, .op = &tail->op, .background = true};
    ldr_op_end(tail ? &tail->op : NULL);
    return (ldr_want){.kind = LDR_WANT_DONE};
}

/* ---- stages ---------------------------------------------------------------------------------------------------- */

static ldr_want talk(ldr_put *p, ldr_exchange *ex)
{
    int64_t least = ldr_time_add(ldr_clock_now(&p->op.flow->clock), 50 * LDR_MS);
    return (ldr_want){.kind = LDR_WANT_TALK, .exchange = ex, .deadline_us = p->op.deadline_us > least ? p->op.deadline_us : least};
}

/* The question of a stage, or NULL and on to `past`. */
static ldr_exchange *put_question(ldr_put *p, ldr_exchange *(*question)(ldr_put *p), int past)
{
    ldr_exchange *ex = p->share ? question(p) : NULL;
    p->op.stage = ex ? p->op.stage + 1 : past;
    return ex;
}

static void put_tiers(ldr_put *p)
{
    p->asked_us = ldr_clock_now(&p->op.flow->clock);
    each(p, p->share ? ldr_put_mark_tiers : ldr_put_tiers);
}

static int after_tiers(const ldr_put *p)
{
    return p->is_weak ? WEAK : DONE;
}

static ldr_want put_step(ldr_op *op)
{
    ldr_put *p = (ldr_put *)op;
    ldr_flow *f = op->flow;
    ldr_exchange *ex = NULL;
    for (;;) {
        switch (op->stage) {
        case UNABLE:
            each(p, refuse);
            op->stage = DONE;
            break;
        case TIERS:
            if (p->share || !p->is_weak)
                put_tiers(p);
            op->stage = p->share ? SHARE_TIERS : after_tiers(p);
            break;
        case SHARE_TIERS:
            ex = put_question(p, ldr_put_share_tiers, after_tiers(p));
            break;
        case TIERS_SHARED:
            if (ldr_put_share_take(p)) {
                op->stage = SHARE_TIERS;
                break;
            }
            each(p, ldr_put_apply_tiers);
            op->stage = after_tiers(p);
            break;
        case WEAK:
            op->stage = DONE;
            return write_weakly(p);
        case MARK:
            each(p, mark);
            op->stage = SHARE_MARK;
            break;
        case SHARE_MARK:
            ex = put_question(p, ldr_put_share_mark, SEND);
            break;
        case MARK_SHARED:
            op->stage = ldr_put_share_take(p) ? SHARE_MARK : SEND;
            break;
        case SEND: {
            ldr_want asked = ask_source(p);
            op->stage = SOURCE;
            if (p->request.n_items > 0)
                return asked;
            break;
        }
        case SOURCE:
            settle_request(p);
            op->stage = TTLS;
            if (f->asks_ttl && p->writing.verb == LDR_STORE && f->write_plan->write_keeps && p->request.n_items > 0)
                return want(p, LDR_WANT_CALL, LDR_TTL);
            break;
        case TTLS:
            each(p, prepare);
            op->stage = SHARE_CLOSE;
            break;
        case SHARE_CLOSE:
            ex = put_question(p, ldr_put_share_close, APPLY);
            break;
        case CLOSE_SHARED:
            ldr_put_share_take(p);
            op->stage = SHARE_CLOSE; /* until there is nothing left to close */
            break;
        case APPLY:
            each(p, apply);
            op->stage = DONE;
            break;
        default:
            return (ldr_want){.kind = LDR_WANT_DONE};
        }
        if (ex)
            return talk(p, ex);
    }
}

static void put_end(ldr_op *op)
{
    ldr_put *p = (ldr_put *)op;
    ldr_mem mem = op->flow->mem;
    for (size_t i = 0; i < p->writing.n_keys; i++) {
        ldr_put_key *k = &p->keys[i];
        if (k->mark.state) {
            k->item.state = LDR_FAILED;
            k->item.err.code = LDR_LOST;
            if (op->flow->resend)
                ldr_resend_add(op->flow->resend, k->item.key, 0);
            ldr_mark_end(op->flow->flights, &k->mark, 0, keep_or_forget, &(applying){p, k});
        }
        ldr_buf_free(&k->item.out);
        ldr_buf_free(&k->made);
    }
    ldr_put_share_free(p);
    ldr_mem_free(&mem, p);
}

static int first_stage(ldr_flow *f, const ldr_writing *w)
{
    if (!ldr_put_needs_source(f, w->verb))
        return TIERS;
    if (!source_can(f, w->verb))
        return UNABLE;
#ifdef LDR_BUG_TIERS_FIRST
    return TIERS;
#endif
    return w->level == LDR_WEAK && w->if_version == LDR_ANY ? TIERS : MARK;
}

static ldr_put *put_new(ldr_flow *f, const ldr_writing *w, const ldr_owner *owner, size_t extra)
{
    size_t per_key = sizeof(ldr_put_key) + sizeof(ldr_item *);
    ldr_put *p = ldr_mem_zero(&f->mem, 1, sizeof *p + w->n_keys * per_key + extra);
    if (!p)
        return NULL;
    ldr_op_init(&p->op, f, owner, w->timeout_us == LDR_UNSET ? ldr_time_add(f->source_timeout_us, f->share_timeout_us) : w->timeout_us);
    p->op.step = put_step;
    p->op.end = put_end;
    p->writing = *w;
    p->keys = (ldr_put_key *)(p + 1);
    p->items = (ldr_item **)(void *)(p->keys + w->n_keys);
    for (size_t i = 0; i < w->n_keys; i++) {
        ldr_put_key *k = &p->keys[i];
        k->item = (ldr_item){.key = w->keys[i], .if_version = w->if_version, .kind = LDR_NONE, .value_kind = LDR_NONE,
                             .ttl_us = LDR_UNSET, .stale_ttl_us = LDR_UNSET, .out = LDR_BUF(&f->mem)};
        if (w->verb == LDR_STORE) {
            k->item.value = w->values[i];
            k->item.value_kind = w->kinds[i];
        }
        k->made = LDR_BUF(&f->mem);
        k->hash = ldr_hash(w->keys[i], f->seed);
        p->items[i] = &k->item;
    }
    p->request = (ldr_request){.items = p->items, .n_items = w->n_keys, .clock = &f->clock};
    if (!f->l2 || ldr_put_share_new(p))
        return p;
    ldr_op_end(&p->op);
    return NULL;
}

bool ldr_put_needs_operation(ldr_flow *f, int verb)
{
    return f->l2 || ldr_put_needs_source(f, verb);
}

bool ldr_put_needs_source(ldr_flow *f, int verb)
{
    return f->write_plan->write_source && !(f->write_if_can && !source_can(f, verb));
}

int ldr_put_now(ldr_flow *f, const ldr_writing *w, int64_t *version, ldr_err *err)
{
    ldr_put p;
    ldr_put_key k; /* what a write to the tiers looks at is set, no more: clearing all of it would be a good part of the work */
    p.op.flow = f;
    p.op.stage = TIERS;
    p.tail = p.is_weak = false;
    p.share = NULL;
    p.writing = *w;
    k.item.key = w->keys[0];
    k.item.state = LDR_UNANSWERED;
    k.item.version = 0;
    k.item.ttl_us = k.item.stale_ttl_us = LDR_UNSET;
    k.item.err.code = LDR_OK;
    k.made = LDR_BUF(&f->mem);
    k.hash = ldr_hash(w->keys[0], f->seed);
    if (w->verb == LDR_STORE) {
        k.item.value = w->values[0];
        k.item.value_kind = w->kinds[0];
    }
    ldr_put_tiers(&p, &k);
    ldr_buf_free(&k.made);
    *version = k.item.version;
    if (k.item.state != LDR_FAILED)
        return LDR_OK;
    *err = k.item.err;
    return err->code;
}

ldr_op *ldr_put_begin(ldr_flow *f, const ldr_writing *w, const ldr_owner *owner)
{
    ldr_put *p = put_new(f, w, owner, 0);
    if (!p)
        return NULL;
    p->op.stage = first_stage(f, w);
    p->is_weak = p->op.stage == TIERS && ldr_put_needs_source(f, w->verb);
    return &p->op;
}

/* The write again, through the source, with bytes of its own: its caller is gone by then. */
static ldr_op *begin_tail(ldr_put *p)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < p->writing.n_keys; i++)
        n_bytes += p->keys[i].item.key.n + p->keys[i].item.value.n;
    ldr_owner nobody = {.host = p->op.owner.host};
    ldr_put *t = put_new(p->op.flow, &p->writing, &nobody, n_bytes);
    if (!t)
        return NULL;
    t->tail = true;
    t->op.stage = SHARE_MARK;
    char *to = (char *)(t->items + t->writing.n_keys);
    for (size_t i = 0; i < t->writing.n_keys; i++) {
        ldr_slice *both[] = {&t->keys[i].item.key, &t->keys[i].item.value};
        for (size_t s = 0; s < 2; s++) {
            if (both[s]->n > 0)
                memcpy(to, both[s]->p, both[s]->n);
            both[s]->p = to;
            to += both[s]->n;
        }
    }
    return &t->op;
}

const ldr_err *ldr_put_result(const ldr_op *op, size_t i, int64_t *version)
{
    const ldr_put_key *k = &((const ldr_put *)op)->keys[i];
    *version = k->item.state == LDR_FAILED ? 0 : k->item.version;
    return &k->item.err;
}

void ldr_put_expired(const ldr_op *op, ldr_err *err)
{
    const ldr_put *p = (const ldr_put *)op;
    char text[LDR_KEY_TEXT];
    ldr_fail(err, LDR_LOST, "key \"%s\": the deadline passed while the source was writing; it may take effect",
             ldr_key_text(p->keys[0].item.key, text));
}
