/* load.c - the work of flights: look at the shared shelf, take the lease, ask the source or the loader, seal what came,
 * fill the shared shelf and then L1 where that is still right, land the flights. Stages grow within a round; a round ends
 * in PARKED where another process loads a key, and begins anew when that may have ended.
 *
 * Ended before it is done, it lands its flights unanswered: whoever waits asks again. */
#include "base/err.h"
#include "flow/share.h"

enum { SEEK, SOUGHT, LEASE, LEASED, ASK, ANSWER, TTLS, SEAL, FILL, FILLED, RELEASE, RELEASED, LAND, PARK, PARKED, DONE };

/* What an answered flight becomes in the tiers; its bytes may be in `made`. */
typedef struct keeping {
    ldr_record record;
    ldr_buf made;
} keeping;

typedef struct load {
    ldr_op op;
    ldr_ttls ttls;
    bool has_loader;
    ldr_request request; /* of the keys in `items`, whose flights are `asked` */
    size_t n, n_asked;
    ldr_flight **flights; /* n; NULL: landed */
    ldr_flight **asked;
    ldr_item **items;
    ldr_share *share;     /* NULL: no shared shelf */
    keeping *kept;        /* one a flight that was asked; NULL before SEAL, and where each is landed at once */
} load;

static void settle_request(load *l)
{
    for (size_t i = 0; i < l->n_asked; i++) {
        ldr_item *item = l->items[i];
        if (item->state == LDR_UNANSWERED) {
            item->state = LDR_FAILED;
            item->err = l->request.err;
            if (item->err.code == LDR_OK)
                ldr_fail(&item->err, LDR_LOADER, "the load gave no answer for this key");
        }
        if (item->state == LDR_FOUND && item->kind == LDR_NONE)
            item->state = LDR_GONE;
    }
}

static void note_load(load *l, ldr_flight *flight)
{
    ldr_flow *f = l->op.flow;
    const ldr_item *item = &flight->item;
    uint64_t hash = flight->hash;
    if (item->state == LDR_FAILED) {
        ldr_meter_add(f->meter, LDR_M_load_errors, 1);
        ldr_backoff_failed(f->backoff, hash, ldr_clock_now(&f->clock));
        ldr_flow_error(f, item->key, &item->err);
    } else {
        ldr_backoff_worked(f->backoff, hash);
    }
    if (!ldr_events_want(&f->events, LDR_EVENT_load))
        return;
    ldr_event e = {.kind = LDR_EVENT_load, .took_us = flight->load_us};
    if (item->state == LDR_FAILED) {
        e.code = ldr_code_word(item->err.code);
        memcpy(e.message, item->err.message, sizeof e.message - 1);
    }
    ldr_events_note(&f->events, item->key, &e);
}

/* ---- landing ------------------------------------------------------------------------------------------------ */

static void fill(void *ctx, ldr_flight *flight, enum ldr_leave leave)
{
    ldr_flow *f = ctx;
    ldr_record *r = flight->record;
    if (!r) {
        if (flight->answered && leave == LDR_LEAVE_GRANTED && f->shelf)
            ldr_shelf_erase(f->shelf, flight->item.key, flight->hash);
        return;
    }
    if (leave != LDR_LEAVE_GRANTED) {
        ldr_flow_refused(f, r->key, leave == LDR_LEAVE_VERSION ? "version" : "lease");
        return;
    }
    ldr_flow_rise(f, r->version); /* a set that comes later must not look older */
    ldr_flow_keep_at(f, r, flight->hash, flight->asked_us + flight->load_us);
}

static void end_flight(load *l, size_t i, void (*how)(void *ctx, ldr_flight *flight, enum ldr_leave leave))
{
    ldr_flow *f = l->op.flow;
    l->flights[i]->load = NULL;
    ldr_flight_end(f->flights, l->flights[i], how, f);
    l->flights[i] = NULL;
}

/* The record that an answered item would become; false: it is not to be kept. */
static bool record_of(load *l, ldr_flight *flight, ldr_record *r, ldr_buf *made)
{
    ldr_flow *f = l->op.flow;
    ldr_item *item = &flight->item;
    *r = (ldr_record){.key = item->key, .kind = LDR_NONE, .version = item->version, .position = item->position,
                      .fingerprint = item->fingerprint, .load_us = flight->load_us};
    flight->soft_us = flight->asked_us;
    flight->answered = item->state != LDR_FAILED;
    if (item->state == LDR_FAILED)
        return false;
    int sealed = item->state == LDR_FOUND
                     ? ldr_seal(&f->sealing, ldr_buf_slice(&item->out), item->kind, r, made, &item->err) : LDR_OK;
    if (sealed == LDR_NOMEM) { /* the value is there: it is given, and not kept */
        ldr_err_clear(&item->err);
        return false;
    }
    if (sealed != LDR_OK) {
        item->state = LDR_FAILED;
        return false;
    }
    bool kept = ldr_flow_expiry(f, &l->ttls, item, flight->asked_us, r) && !item->no_store && (f->shelf || f->l2);
    flight->soft_us = kept ? r->soft_us : flight->asked_us;
    return kept;
}

static void seal(load *l, ldr_flight *flight, keeping *k)
{
    k->made = LDR_BUF(&l->op.flow->mem);
    flight->record = record_of(l, flight, &k->record, &k->made) ? &k->record : NULL;
    note_load(l, flight);
}

static void land_at_once(load *l)
{
    keeping k;
    for (size_t i = 0; i < l->n; i++) {
        seal(l, l->flights[i], &k);
        end_flight(l, i, fill);
        ldr_buf_free(&k.made);
    }
}

static void free_kept(load *l)
{
    for (size_t i = 0; l->kept && i < l->n_asked; i++)
        ldr_buf_free(&l->kept[i].made);
    ldr_mem_free(&l->op.flow->mem, l->kept);
    l->kept = NULL;
}

/* ---- the shared shelf ---------------------------------------------------------------------------------------- */

/* What the shelf had becomes the flight's answer. False: it could not be opened; then the source is asked. */
static bool serve(load *l, size_t i)
{
    ldr_flow *f = l->op.flow;
    ldr_flight *flight = l->flights[i];
    ldr_item *item = &flight->item;
    ldr_record r = l->share->keys[i].item.found;
    ldr_buf made = LDR_BUF(&f->mem);
    ldr_slice value = {0};
    int kind = LDR_NONE;
    bool opened = r.kind == LDR_NONE || ldr_unseal(&f->sealing, &r, &value, &kind, &made, &item->err) == LDR_OK;
    if (opened) {
        ldr_buf_clear(&item->out);
        ldr_buf_add(&item->out, value.p, value.n);
        opened = !item->out.oom;
    }
    ldr_buf_free(&made);
    if (!opened) {
        ldr_err_clear(&item->err);
        return false;
    }
    item->state = r.kind == LDR_NONE ? LDR_GONE : LDR_FOUND;
    item->kind = kind;
    item->version = r.version;
    flight->asked_us = r.asked_us;
    flight->soft_us = r.soft_us;
    flight->load_us = ldr_clock_now(&f->clock) - r.asked_us;
    flight->answered = flight->is_shared = true;
    r.key = item->key;
    flight->record = &r;
    end_flight(l, i, fill);
    return true;
}

static void serve_all(load *l)
{
    for (size_t i = 0; i < l->n; i++) {
        ldr_share_key *k = &l->share->keys[i];
        if (k->need == LDR_SHARE_SERVE) {
            k->need = LDR_SHARE_OVER;
            if (!serve(l, i)) {
                k->need = LDR_SHARE_LOAD;
                k->right = LDR_RIGHT_NONE;
            }
        } else if (k->need == LDR_SHARE_LATE) {
            k->need = LDR_SHARE_OVER;
            l->flights[i]->item.state = LDR_FAILED;
            l->flights[i]->cut_short = true;
            ldr_fail(&l->flights[i]->item.err, LDR_TIMEOUT, "waited too long for another process's load");
            end_flight(l, i, NULL);
        }
    }
}

/* What L1 held is older than what the source just said. */
static void forget(void *ctx, ldr_flight *flight, enum ldr_leave leave)
{
    ldr_flow *f = ctx;
    (void)leave;
    if (flight->answered && f->shelf)
        ldr_shelf_erase(f->shelf, flight->item.key, flight->hash);
}

static void land_loaded(load *l)
{
    for (size_t i = 0; i < l->n; i++) {
        ldr_share_key *k = &l->share->keys[i];
        bool loaded = k->need == LDR_SHARE_OVER || k->need == LDR_SHARE_LOAD;
        if (!l->flights[i] || !loaded)
            continue;
        k->need = LDR_SHARE_OVER;
        end_flight(l, i, k->right == LDR_RIGHT_NONE ? forget : fill); /* L1 keeps what the shared shelf took, or could
                                                                         not be asked about */
    }
    free_kept(l);
}

/* Loaded keys that hold a lease fill or release it; the others are ready to land. */
static void seal_all(load *l)
{
    l->kept = ldr_mem_zero(&l->op.flow->mem, l->n_asked, sizeof *l->kept);
    size_t at = 0;
    for (size_t i = 0; i < l->n; i++) {
        ldr_share_key *k = &l->share->keys[i];
        if (!l->flights[i] || k->need != LDR_SHARE_LOAD)
            continue;
        if (l->kept)
            seal(l, l->flights[i], &l->kept[at++]);
        else
            note_load(l, l->flights[i]);
        if (k->right == LDR_RIGHT_ALL)
            k->need = l->flights[i]->record ? LDR_SHARE_FILL : LDR_SHARE_RELEASE;
    }
}

/* ---- asking the source ----------------------------------------------------------------------------------------- */

static bool collect(load *l)
{
    l->n_asked = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!l->flights[i] || (l->share && l->share->keys[i].need != LDR_SHARE_LOAD))
            continue;
        l->items[l->n_asked] = &l->flights[i]->item;
        l->asked[l->n_asked++] = l->flights[i];
    }
    return l->n_asked > 0;
}

static void ask(load *l)
{
    ldr_flow *f = l->op.flow;
    int64_t now = l->op.owner.at_once && !l->share ? l->op.begun_us : ldr_clock_now(&f->clock);
    for (size_t i = 0; i < l->n_asked; i++)
        l->asked[i]->asked_us = now;
    ldr_meter_add(f->meter, LDR_M_loads, l->n_asked);
    l->request = (ldr_request){.items = l->items, .n_items = l->n_asked, .clock = &f->clock};
    l->request.deadline_us = ldr_time_add(now, f->source_timeout_us);
    if (l->op.deadline_us >= l->request.deadline_us || l->has_loader)
        return;
    l->request.deadline_us = l->op.deadline_us;
    for (size_t i = 0; i < l->n_asked; i++)
        l->asked[i]->cut_short = true;
}

static void answered(load *l)
{
    ldr_flow *f = l->op.flow;
    int64_t now = ldr_clock_now(&f->clock);
    for (size_t i = 0; i < l->n_asked; i++)
        l->asked[i]->load_us = now - l->asked[i]->asked_us;
#ifdef LDR_BUG_AGE
    for (size_t i = 0; i < l->n_asked; i++)
        l->asked[i]->asked_us = now;
#endif
    ldr_meter_note(f->meter, LDR_LAT_load, (now - l->asked[0]->asked_us) * 1000, l->n_asked);
    settle_request(l);
}

static ldr_want want_call(load *l, int verb)
{
    l->request.verb = verb;
    return (ldr_want){.kind = LDR_WANT_CALL, .deadline_us = l->op.deadline_us, .request = &l->request};
}

/* What was loaded is still worth a short talk when the caller's time is over. */
static ldr_want want_talk(load *l, ldr_exchange *ex)
{
    int64_t least = ldr_time_add(ldr_clock_now(&l->op.flow->clock), 50 * LDR_MS);
    return (ldr_want){.kind = LDR_WANT_TALK, .exchange = ex, .deadline_us = l->op.deadline_us > least ? l->op.deadline_us : least};
}

/* ---- stages ---------------------------------------------------------------------------------------------------- */

typedef struct question {
    enum ldr_share_need need;
    int verb;
} question;

/* The question of a stage, and what comes of it one stage later. */
static const question questions[] = {
    [SEEK] = {LDR_SHARE_SEEK, LDR_L2_LOOKUP},
    [LEASE] = {LDR_SHARE_LEASE, LDR_L2_LEASE},
    [FILL] = {LDR_SHARE_FILL, LDR_L2_FILL},
    [RELEASE] = {LDR_SHARE_RELEASE, LDR_L2_RELEASE},
};

/* Asks, or goes past the question where nobody needs it. */
static ldr_exchange *put_question(load *l)
{
    const question *q = &questions[l->op.stage];
    ldr_exchange *ex = ldr_share_ask(l->share, q->need, q->verb);
    l->op.stage += ex ? 1 : 2;
    return ex;
}

/* The same question once more where the shelf did not know its script. */
static void take_answers(load *l)
{
    ldr_share_take(l->share);
    l->op.stage += ldr_share_any(l->share, questions[l->op.stage - 1].need) ? -1 : 1;
}

static ldr_want step_source(load *l)
{
    ldr_op *op = &l->op;
    ldr_flow *f = op->flow;
    ask(l);
    op->stage = ANSWER;
    if (l->has_loader || !f->source->ops->run)
        return want_call(l, LDR_LOAD);
    return (ldr_want){.kind = LDR_WANT_JOB, .deadline_us = l->request.deadline_us, .request = &l->request};
}

static ldr_want park(load *l)
{
    l->op.stage = PARKED;
    return (ldr_want){.kind = LDR_WANT_PARK, .deadline_us = ldr_share_until(l->share)};
}

static ldr_want load_step(ldr_op *op)
{
    load *l = (load *)op;
    ldr_flow *f = op->flow;
    for (;;) {
        switch (op->stage) {
        case SEEK:
        case LEASE:
        case FILL:
        case RELEASE: {
            ldr_exchange *ex = put_question(l);
            if (ex)
                return want_talk(l, ex);
            break;
        }
        case SOUGHT:
        case LEASED:
            take_answers(l);
            serve_all(l);
            break;
        case FILLED:
        case RELEASED:
            take_answers(l);
            break;
        case ASK:
            if (l->share)
                serve_all(l);
            if (collect(l))
                return step_source(l);
            op->stage = PARK;
            break;
        case ANSWER:
            answered(l);
            op->stage = TTLS;
            if (!l->has_loader)
                ldr_drop_outgrown(f);
            if (f->asks_ttl)
                return want_call(l, LDR_TTL);
            break;
        case TTLS:
            op->stage = SEAL;
            break;
        case SEAL:
            op->stage = l->share ? FILL : DONE;
            if (l->share)
                seal_all(l);
            else
                land_at_once(l);
            break;
        case LAND:
            land_loaded(l);
            op->stage = PARK;
            break;
        case PARK:
            if (!l->share || !ldr_share_any(l->share, LDR_SHARE_WAIT))
                op->stage = DONE;
            else if (ldr_share_may_park(l->share))
                return park(l);
            else
                op->stage = PARKED;
            break;
        case PARKED:
            ldr_share_woken(l->share);
            op->stage = SEEK;
            break;
        default:
            return (ldr_want){.kind = LDR_WANT_DONE};
        }
    }
}

static void load_end(ldr_op *op)
{
    load *l = (load *)op;
    ldr_mem mem = op->flow->mem;
    for (size_t i = 0; i < l->n; i++) {
        if (!l->flights[i])
            continue;
        l->flights[i]->item.state = LDR_UNANSWERED;
        end_flight(l, i, NULL);
    }
    free_kept(l);
    ldr_share_free(l->share);
    ldr_mem_free(&mem, l);
}

static bool uses_call(const ldr_flow *f, bool has_loader)
{
    return has_loader || (f->source && !f->source->ops->run) || f->asks_ttl;
}

static load *load_new(ldr_flow *f, size_t n)
{
    load *l = ldr_mem_zero(&f->mem, 1, sizeof *l + n * (2 * sizeof *l->flights + sizeof *l->items));
    if (!l)
        return NULL;
    l->n = n;
    l->flights = (ldr_flight **)(void *)(l + 1);
    l->asked = l->flights + n;
    l->items = (ldr_item **)(void *)(l->asked + n);
    return l;
}

ldr_op *ldr_load_begin(ldr_flow *f, ldr_flight **flights, size_t n, const ldr_loading *how)
{
    load *l = load_new(f, n);
    if (!l)
        return NULL;
    ldr_owner owner = *how->owner;
    if (!uses_call(f, how->has_loader)) /* another thread may drive and end it, and nothing is made inside its calls */
        owner.parent = NULL;
    l->op.flow = f;
    if (f->l2 && !(l->share = ldr_share_new(&l->op, flights, n, how))) {
        ldr_mem_free(&f->mem, l);
        return NULL;
    }
    ldr_op_init_until(&l->op, f, &owner, how->deadline_us);
    l->op.begun_us = how->now_us;
    l->op.stage = f->l2 ? SEEK : ASK;
    l->op.step = load_step;
    l->op.end = load_end;
    l->ttls = how->ttls;
    l->has_loader = how->has_loader;
    bool calls = ldr_load_uses_call(&l->op); /* else another thread may drive it, and it makes no calls that could form a ring */
    for (size_t i = 0; i < n; i++) {
        ldr_flight_hold(flights[i]);
        l->flights[i] = flights[i];
        if (calls)
            flights[i]->load = &l->op;
    }
    return &l->op;
}

bool ldr_load_is_for(const ldr_op *op, ldr_slice key)
{
    const load *l = (const load *)op;
    bool is = false;
    for (size_t i = 0; op->step == load_step && i < l->n && !is; i++)
        is = l->flights[i] && ldr_slice_eq(l->flights[i]->item.key, key);
    return is;
}

bool ldr_load_uses_call(const ldr_op *op)
{
    return uses_call(op->flow, ((const load *)op)->has_loader);
}
