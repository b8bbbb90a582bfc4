/* get.c - the read of one key or many. Stages: LOOK at L1 -> LEAD or join flights -> WAIT until they landed -> DONE.
 *
 * A key is ASKING (no flight yet), WAITING (holds a flight) or SETTLED (its answer is final). The loading itself is
 * another operation (load.c), so that a caller whose deadline passed leaves while the load goes on. Only WAIT may
 * fall back, to LEAD, for keys whose leader was dropped without an answer. */
#include "base/err.h"
#include "flow/op.h"

enum { LOOK, LEAD, WAIT, DONE };
enum key_state { ASKING, WAITING, SETTLED };

typedef struct get_key {
    ldr_slice key;
    uint64_t hash;
    enum key_state state;
    bool led, own, waited_out;   /* led: this call loads. own: by itself, not for others. waited_out: no more joining */
    bool has_entry;              /* `entry` holds what L1 had, for when the load fails */
    ldr_flight *flight;
    ldr_waiter waiter;
    ldr_hit_buffers buffers;
    int64_t hard_us;             /* of the entry */
    ldr_answer entry, answer;
} get_key;

typedef struct get {
    ldr_op op;
    ldr_asking asking;
    int64_t wait_until_us;
    size_t n_settled;
    ldr_flight **led;
    get_key *keys;
    get_key *looked; /* the key whose `held` question is being answered */
} get;

static void settle(get *g, get_key *k)
{
    k->state = SETTLED;
    g->n_settled++;
}

static void count_answer(get *g, get_key *k)
{
    ldr_flow *f = g->op.flow;
    const ldr_answer *a = &k->answer;
    if (a->tier == LDR_TIER_L1) {
        ldr_flow_count_hit(f, k->key, a);
        return;
    }
    ldr_meter_add(f->meter, LDR_M_misses, 1);
    if (a->outcome == LDR_JOINED)
        ldr_meter_add(f->meter, LDR_M_joined, 1);
    if (a->outcome == LDR_ABSENT)
        ldr_meter_add(f->meter, LDR_M_absent, 1);
    if (a->err.code)
        ldr_meter_add(f->meter, LDR_M_errors, 1);
    if (ldr_events_want(&f->events, LDR_EVENT_miss))
        ldr_events_note(&f->events, k->key, &(ldr_event){.kind = LDR_EVENT_miss});
}

static void answer_with(get *g, get_key *k, const ldr_answer *a)
{
    k->answer = *a;
    count_answer(g, k);
    settle(g, k);
}

/* The entry that L1 had, where it is past its soft and within its hard expiry. (Within the soft one only `refresh`
 * comes here: then the failure is what the caller asked about.) */
static bool answer_stale(get *g, get_key *k)
{
    int64_t now = ldr_clock_now(&g->op.flow->clock);
    if (!k->has_entry || k->entry.kind == LDR_NONE || now < k->entry.soft_us || now >= k->hard_us)
        return false;
    ldr_answer a = k->entry;
    a.outcome = LDR_STALE;
    a.weaker = true;
    a.ref = (ldr_slot_ref){0};
    answer_with(g, k, &a);
    return true;
}

static void answer_error(get *g, get_key *k, const ldr_err *err)
{
    if (answer_stale(g, k))
        return;
    ldr_answer a = {.kind = LDR_NONE, .err = *err};
    answer_with(g, k, &a);
}

static void answer_code(get *g, get_key *k, int code, const char *what)
{
    char text[LDR_KEY_TEXT];
    ldr_err err;
    ldr_fail(&err, code, "get of key \"%s\": %s", ldr_key_text(k->key, text), what);
    answer_error(g, k, &err);
}

static bool asks_somebody(const get *g)
{
    return g->asking.has_loader || (g->op.flow->source && g->op.flow->read_plan->read_source);
}

/* ---- LOOK ------------------------------------------------------------------------------------------------- */

static bool look_at(get *g, get_key *k, bool touch)
{
    ldr_flow *f = g->op.flow;
    ldr_look look = {.key = k->key, .hash = k->hash, .level = g->asking.level, .touch = touch,
                     .now_us = ldr_clock_now(&f->clock)};
    k->has_entry = ldr_flow_look(f, &look, &k->buffers, &k->entry, &k->hard_us);
    return k->has_entry && k->entry.outcome != LDR_MISS;
}

static void look(get *g, get_key *k)
{
    ldr_flow *f = g->op.flow;
    if (look_at(g, k, true) && !g->asking.refresh) {
        answer_with(g, k, &k->entry);
    } else if (!asks_somebody(g)) {
        ldr_answer miss = {.kind = LDR_NONE, .outcome = LDR_MISS};
        answer_with(g, k, &miss);
    } else if (!g->asking.refresh && ldr_backoff_waits(f->backoff, k->hash, ldr_clock_now(&f->clock))) {
        answer_stale(g, k); /* nothing stale to give: it is tried after all */
    }
}

/* ---- LEAD ------------------------------------------------------------------------------------------------- */

static bool held_by_now(void *ctx)
{
    get *g = ctx;
    return look_at(g, g->looked, false);
}

static bool within(const ldr_op *inner, const ldr_op *load)
{
    for (const ldr_op *p = inner->owner.parent; p; p = p->owner.parent)
        if (p == load)
            return true;
    return false;
}

/* Would `me`, waiting for what `load` does, wait for itself? Through calls made inside loads, at most `depth` of them. */
static bool is_ring(const ldr_op *me, const ldr_op *load, int depth)
{
    if (!load || depth == 0)
        return false;
    if (within(me, load))
        return true;
    for (ldr_list *at = load->inner.next; at != &load->inner; at = at->next) {
        const ldr_op *inner = ldr_list_of(at, ldr_op, sibling);
        const ldr_flight *next = inner->parked_for;
        if (next && next->host == me->owner.host && is_ring(me, next->load, depth - 1))
            return true;
    }
    return false;
}

static void begin_flight(get *g, get_key *k, bool join, bool may_fill)
{
    ldr_flow *f = g->op.flow;
    k->waiter.waker = g->op.owner.waker;
    ldr_list_init(&k->waiter.link);
    g->looked = k;
    ldr_flight_ask ask = {.key = k->key, .hash = k->hash, .join = join, .may_fill = may_fill,
                          .now_us = ldr_clock_now(&f->clock), .lease_us = f->lease_us,
                          .host = g->op.owner.host, .waiter = &k->waiter, .ctx = g,
                          .held = g->asking.refresh || !join ? NULL : held_by_now};
    switch (ldr_flight_begin(f->flights, &ask, &k->flight)) {
    case LDR_FLIGHT_LED:
        k->state = WAITING;
        k->led = true;
        break;
    case LDR_FLIGHT_JOINED:
        k->state = WAITING;
        k->led = false;
        break;
    case LDR_FLIGHT_HELD:
        answer_with(g, k, &k->entry);
        break;
    case LDR_FLIGHT_NOMEM:
        answer_code(g, k, LDR_NOMEM, "out of memory");
    }
}

static void leave_flight(get *g, get_key *k)
{
    if (k->flight)
        ldr_flight_leave(g->op.flow->flights, k->flight, &k->waiter);
    k->flight = NULL;
}

/* A flight of one's own beside the one that was waited for. */
static void go_alone(get *g, get_key *k, bool may_fill)
{
    leave_flight(g, k);
    k->waited_out = true;
    begin_flight(g, k, false, may_fill);
}

static void lead_or_join(get *g, get_key *k)
{
    const ldr_owner *me = &g->op.owner;
    bool guarded = !g->asking.no_guard && !k->waited_out;
    if (g->asking.refresh) /* a load that began before may hold what this caller knows to be old */
        ldr_flights_break(g->op.flow->flights, k->key, k->hash, 0, NULL, NULL);
    begin_flight(g, k, guarded, true);
    if (k->state != WAITING || k->led || k->flight->host != me->host)
        return;
    if (is_ring(&g->op, k->flight->load, 32)) {
        leave_flight(g, k);
        answer_code(g, k, LDR_REJECTED, "its loader asked for this key again, or for one whose loader waits for it");
    } else if (!me->can_wait) {
        go_alone(g, k, true); /* led by a suspended coroutine of this very host: nobody would go on with it */
    }
}

/* Begins the load of all flights that were led in this round; NULL: none. */
static ldr_op *begin_load(get *g)
{
    ldr_flow *f = g->op.flow;
    size_t n = 0;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        get_key *k = &g->keys[i];
        if (k->state == WAITING && k->led && !k->own) {
            k->own = true;
            g->led[n++] = k->flight;
        }
    }
    if (n == 0)
        return NULL;
    ldr_loading how = {.ttls = g->asking.ttls, .has_loader = g->asking.has_loader, .owner = &g->op.owner,
                       .timeout_us = g->op.deadline_us - g->op.begun_us};
    ldr_op *load = ldr_load_begin(f, g->led, n, &how);
    if (load)
        return load;
    for (size_t i = 0; i < n; i++) {
        g->led[i]->item.state = LDR_FAILED;
        ldr_fail_oom(&g->led[i]->item.err);
        ldr_flight_land(f->flights, g->led[i], NULL, NULL);
    }
    return NULL;
}

/* ---- WAIT ------------------------------------------------------------------------------------------------- */

static void landed(get *g, get_key *k)
{
    const ldr_item *item = &k->flight->item;
    if (item->state == LDR_UNANSWERED && !k->led) {
        leave_flight(g, k);
        k->state = ASKING;
        g->op.stage = LEAD;
    } else if (item->state == LDR_UNANSWERED) {
        answer_code(g, k, LDR_LOADER, "its load was dropped before it ended");
    } else if (item->state == LDR_FAILED) {
        answer_error(g, k, &item->err);
    } else {
        ldr_answer a = {.kind = LDR_NONE, .version = item->version, .asked_us = k->flight->asked_us,
                        .soft_us = k->flight->soft_us, .outcome = LDR_ABSENT};
        a.tier = g->asking.has_loader ? LDR_TIER_LOADER : LDR_TIER_SOURCE;
        if (item->state == LDR_FOUND) {
            a.value = ldr_buf_slice(&item->out);
            a.kind = item->kind;
            a.outcome = k->led ? LDR_LOADED : LDR_JOINED;
        }
        answer_with(g, k, &a);
    }
}

static void waited_too_long(get *g, get_key *k)
{
    int how = g->asking.on_timeout;
    if (how == LDR_ON_TIMEOUT_LOAD)
        go_alone(g, k, false);
    else if (how != LDR_ON_TIMEOUT_STALE || !answer_stale(g, k))
        answer_code(g, k, LDR_TIMEOUT, "waited too long for another caller's load");
}

static void wait_for(get *g, get_key *k, int64_t now_us)
{
    if (ldr_flight_done(g->op.flow->flights, k->flight))
        landed(g, k);
    else if (atomic_load_explicit(&g->op.flow->closing, memory_order_relaxed))
        answer_code(g, k, LDR_CLOSED, "the cache was closed meanwhile");
    else if (now_us >= g->op.deadline_us)
        answer_code(g, k, LDR_TIMEOUT, "deadline passed before its load ended");
    else if (!k->led && now_us >= g->wait_until_us)
        waited_too_long(g, k);
}

static ldr_want park(get *g)
{
    int64_t until = g->op.deadline_us;
    g->op.parked_for = NULL;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        get_key *k = &g->keys[i];
        if (k->state != WAITING)
            continue;
        if (!g->op.parked_for)
            g->op.parked_for = k->flight;
        if (!k->led && g->wait_until_us < until)
            until = g->wait_until_us;
    }
    return (ldr_want){.kind = LDR_WANT_PARK, .deadline_us = until};
}

static void each(get *g, enum key_state state, void (*what)(get *g, get_key *k))
{
    for (size_t i = 0; i < g->asking.n_keys; i++)
        if (g->keys[i].state == state)
            what(g, &g->keys[i]);
}

static ldr_want get_step(ldr_op *op)
{
    get *g = (get *)op;
    op->parked_for = NULL;
    for (;;) {
        if (g->n_settled == g->asking.n_keys)
            op->stage = DONE;
        switch (op->stage) {
        case LOOK:
            each(g, ASKING, look);
            op->stage = LEAD;
            break;
        case LEAD:
            each(g, ASKING, lead_or_join);
            op->stage = WAIT;
            break;
        case WAIT: {
            ldr_op *load = begin_load(g);
            if (load)
                return (ldr_want){.kind = LDR_WANT_SPAWN, .op = load};
            int64_t now = ldr_clock_now(&op->flow->clock);
            size_t settled = g->n_settled;
            bool alone = false;
            for (size_t i = 0; i < g->asking.n_keys; i++) {
                get_key *k = &g->keys[i];
                if (k->state == WAITING)
                    wait_for(g, k, now);
                alone = alone || (k->state == WAITING && k->led && !k->own);
            }
            if (!alone && op->stage == WAIT && g->n_settled < g->asking.n_keys && settled == g->n_settled)
                return park(g);
            break;
        }
        default:
            if (op->stage == DONE)
                ldr_meter_note(op->flow->meter, LDR_LAT_get,
                               (ldr_clock_now(&op->flow->clock) - op->begun_us) * 1000, g->asking.n_keys);
            op->stage = DONE + 1;
            return (ldr_want){.kind = LDR_WANT_DONE};
        }
    }
}

static void get_end(ldr_op *op)
{
    get *g = (get *)op;
    ldr_mem mem = op->flow->mem;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        get_key *k = &g->keys[i];
        leave_flight(g, k);
        ldr_buf_free(&k->buffers.bytes);
        ldr_buf_free(&k->buffers.made);
    }
    ldr_mem_free(&mem, g);
}

static int64_t given(int64_t value, int64_t fallback)
{
    return value == LDR_UNSET ? fallback : value;
}

ldr_op *ldr_get_begin(ldr_flow *f, const ldr_asking *a, const ldr_owner *owner)
{
    get *g = ldr_mem_zero(&f->mem, 1, sizeof *g + a->n_keys * (sizeof *g->keys + sizeof *g->led));
    if (!g)
        return NULL;
    g->asking = *a;
    int64_t wait = given(a->wait_us, f->lock_wait_us);
    ldr_op_init(&g->op, f, owner, given(a->timeout_us, ldr_time_add(wait, f->source_timeout_us)));
    g->op.step = get_step;
    g->op.end = get_end;
    g->wait_until_us = ldr_time_add(g->op.begun_us, wait);
    if (a->on_timeout < 0)
        g->asking.on_timeout = f->on_timeout;
    g->asking.no_guard = a->no_guard || f->no_guard;
    g->keys = (get_key *)(g + 1);
    g->led = (ldr_flight **)(void *)(g->keys + a->n_keys);
    for (size_t i = 0; i < a->n_keys; i++) {
        g->keys[i].key = a->keys[i];
        g->keys[i].hash = ldr_hash(a->keys[i], f->seed);
        g->keys[i].buffers = (ldr_hit_buffers){LDR_BUF(&f->mem), LDR_BUF(&f->mem)};
        ldr_list_init(&g->keys[i].waiter.link);
    }
    return &g->op;
}

const ldr_answer *ldr_get_answer(const ldr_op *op, size_t i)
{
    return &((const get *)op)->keys[i].answer;
}

bool ldr_get_led(const ldr_op *op, size_t i)
{
    const get_key *k = &((const get *)op)->keys[i];
    return k->led && k->answer.tier != LDR_TIER_L1;
}
