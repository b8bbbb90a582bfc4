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
    bool led, loads, waited_out; /* led: its flight is this call's. loads: that load was begun. waited_out: joins no more */
    ldr_flight *flight;
    ldr_waiter waiter;
    ldr_hit_buffers buffers;
    ldr_answer answer;           /* before SETTLED: what L1 had at the last look */
} get_key;

typedef struct get {
    ldr_op op;
    ldr_asking asking;
    int64_t now_us; /* of this step: reading the clock is a good part of a miss */
    int64_t wait_until_us;
    size_t n_settled;
    ldr_flight **flights; /* room for one a key: those to be loaded, later those waited for */
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
    if (a->tier == LDR_TIER_L1 || (a->tier == LDR_TIER_L2 && a->outcome != LDR_JOINED)) {
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

static void fail(get *g, get_key *k, const ldr_err *err)
{
    answer_with(g, k, &(ldr_answer){.kind = LDR_NONE, .err = *err});
}

static void fail_with(get *g, get_key *k, int code, const char *what)
{
    char text[LDR_KEY_TEXT];
    ldr_err err;
    ldr_fail(&err, code, "get of key \"%s\": %s", ldr_key_text(k->key, text), what);
    fail(g, k, &err);
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
                     .now_us = g->now_us};
    return ldr_flow_look(f, &look, &k->buffers, &k->answer, NULL) && k->answer.outcome != LDR_MISS;
}

static bool is_fresh(const get *g, const get_key *k)
{
    return k->answer.tier == LDR_TIER_L1 && g->now_us < k->answer.soft_us;
}

/* Answers with the value of the last look, past its soft expiry; false: there was none. */
static bool answer_stale(get *g, get_key *k)
{
    ldr_answer a = k->answer;
    if (a.tier != LDR_TIER_L1 || a.kind == LDR_NONE)
        return false;
    a.outcome = LDR_STALE;
    a.weaker = g->asking.level != LDR_WEAK;
    a.ref = (ldr_slot_ref){0};
    answer_with(g, k, &a);
    return true;
}

/* Where the source gave nothing: what L1 holds by now, for what it held at first may have been dropped meanwhile. (To
 * who asked for a refresh, what is fresh is no answer.) */
static bool answer_held(get *g, get_key *k)
{
    bool admitted = look_at(g, k, false);
    if (g->asking.refresh && is_fresh(g, k))
        return false;
    if (!admitted)
        return answer_stale(g, k);
    answer_with(g, k, &k->answer);
    return true;
}

static void look(get *g, get_key *k)
{
    ldr_flow *f = g->op.flow;
    if (!g->asking.not_held && look_at(g, k, true) && !g->asking.refresh) {
        answer_with(g, k, &k->answer);
    } else if (!asks_somebody(g) && !f->l2) {
        answer_with(g, k, &(ldr_answer){.kind = LDR_NONE, .outcome = LDR_MISS});
    } else if (g->asking.refresh || !ldr_backoff_waits(f->backoff, k->hash, g->now_us) ||
               !answer_stale(g, k)) { /* in its back-off, with nothing stale to give: it is tried after all */
        ldr_buf_free(&k->buffers.bytes);
        ldr_buf_free(&k->buffers.made);
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
#ifdef LDR_BUG_RING
    return (void)me, (void)load, (void)depth, false;
#endif
    if (!load || depth == 0)
        return false;
    if (within(me, load))
        return true;
    for (const ldr_list *at = load->inner.next; at != &load->inner; at = at->next) {
        const ldr_op *inner = ldr_list_of(at, ldr_op, sibling);
        for (size_t i = 0; i < inner->n_parked; i++)
            if (inner->parked[i]->host == me->owner.host && is_ring(me, inner->parked[i]->load, depth - 1))
                return true;
    }
    return false;
}

/* Is this call made, directly or through others, inside a load of this very key? */
static bool inside_its_load(const get *g, const get_key *k)
{
    for (const ldr_op *p = g->op.owner.parent; p; p = p->owner.parent)
        if (ldr_load_is_for(p, k->key))
            return true;
    return false;
}

static void begin_flight(get *g, get_key *k, bool join, bool may_fill)
{
    ldr_flow *f = g->op.flow;
    k->waiter.waker = g->op.owner.waker;
    ldr_list_init(&k->waiter.link);
    g->looked = k;
    ldr_flight_ask ask = {.key = k->key, .hash = k->hash, .join = join, .may_fill = may_fill,
                          .now_us = g->now_us, .lease_us = f->lease_us,
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
        answer_with(g, k, &k->answer);
        break;
    case LDR_FLIGHT_NOMEM:
        fail_with(g, k, LDR_NOMEM, "out of memory");
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
    k->loads = false;
    begin_flight(g, k, false, may_fill);
}

static void refuse_ring(get *g, get_key *k)
{
    leave_flight(g, k);
    fail_with(g, k, LDR_REJECTED, "its loader asked for this key again, or for one whose loader waits for it");
}

static void lead_or_join(get *g, get_key *k)
{
    const ldr_owner *me = &g->op.owner;
    if (inside_its_load(g, k)) {
        refuse_ring(g, k);
        return;
    }
    if (g->asking.refresh) /* a load that began before may hold what this caller knows to be old */
        ldr_flights_break(g->op.flow->flights, k->key, k->hash, 0, NULL, NULL);
    begin_flight(g, k, !g->asking.no_guard && !k->waited_out, true);
    if (k->state != WAITING || k->led || k->flight->host != me->host)
        return;
    if (me->is_stack || is_ring(&g->op, k->flight->load, 32))
        refuse_ring(g, k);
    else if (!me->can_wait)
        go_alone(g, k, true); /* led by a suspended coroutine of this very host: nobody would go on with it */
}

/* Begins the load of all flights that were led in this round; NULL: none. */
static ldr_op *begin_load(get *g)
{
    ldr_flow *f = g->op.flow;
    size_t n = 0;
    bool alone = false;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        get_key *k = &g->keys[i];
        if (k->state == WAITING && k->led && !k->loads) {
            alone = alone || k->waited_out;
            k->loads = true;
            g->flights[n++] = k->flight;
        }
    }
    if (n == 0)
        return NULL;
    ldr_loading how = {.ttls = g->asking.ttls, .has_loader = g->asking.has_loader, .owner = &g->op.owner,
                       .deadline_us = g->op.deadline_us, .now_us = g->now_us, .wait_until_us = g->wait_until_us,
                       .on_timeout = g->asking.on_timeout, .level = g->asking.level, .nobody = !asks_somebody(g),
                       .refresh = g->asking.refresh, .no_wait = g->asking.no_guard || alone};
    ldr_op *load = ldr_load_begin(f, g->flights, n, &how);
    if (load)
        return load;
    for (size_t i = 0; i < n; i++) {
        g->flights[i]->item.state = LDR_FAILED;
        ldr_fail_oom(&g->flights[i]->item.err);
        ldr_flight_land(f->flights, g->flights[i], NULL, NULL);
    }
    return NULL;
}

/* ---- WAIT ------------------------------------------------------------------------------------------------- */

static void answer_loaded(get *g, get_key *k)
{
    const ldr_item *item = &k->flight->item;
    ldr_answer a = {.kind = LDR_NONE, .version = item->version, .asked_us = k->flight->asked_us,
                    .soft_us = k->flight->soft_us, .outcome = LDR_ABSENT};
    bool shared = k->flight->is_shared;
    a.tier = shared ? LDR_TIER_L2 : g->asking.has_loader ? LDR_TIER_LOADER : LDR_TIER_SOURCE;
    if (k->flight->is_missed) {
        a.outcome = LDR_MISS;
        a.tier = LDR_TIER_NONE;
    } else if (item->state == LDR_FOUND) {
        a.value = ldr_buf_slice(&item->out);
        a.kind = item->kind;
        a.outcome = !k->led ? LDR_JOINED : !shared ? LDR_LOADED : g->now_us < a.soft_us ? LDR_HIT_L2 : LDR_STALE;
    }
    answer_with(g, k, &a);
}

/* With what the shared shelf held past its soft expiry; false: nothing, or nothing within its hard expiry. */
static bool answer_shared_stale(get *g, get_key *k)
{
    const ldr_stale *s = k->flight->stale;
    if (!s || g->now_us >= s->hard_us)
        return false;
    answer_with(g, k, &(ldr_answer){.value = {s->bytes, s->n}, .kind = s->kind, .outcome = LDR_STALE, .tier = LDR_TIER_L2,
                                    .version = s->version, .asked_us = s->asked_us, .soft_us = s->soft_us,
                                    .weaker = g->asking.level != LDR_WEAK});
    return true;
}

/* The load ended without saying anything about the source: its leader was dropped, or had less time than this caller. */
static bool says_nothing(const get_key *k)
{
    const ldr_item *item = &k->flight->item;
    return item->state == LDR_UNANSWERED ||
           (k->flight->cut_short && item->state == LDR_FAILED && item->err.code == LDR_TIMEOUT);
}

static bool is_closing(const get *g)
{
    return atomic_load_explicit(&g->op.flow->closing, memory_order_relaxed);
}

static void fail_closed(get *g, get_key *k)
{
    fail_with(g, k, LDR_CLOSED, "the cache was closed meanwhile");
}

static void landed(get *g, get_key *k)
{
    const ldr_item *item = &k->flight->item;
    bool unanswered = item->state == LDR_UNANSWERED;
    if ((unanswered || (!k->led && says_nothing(k))) && is_closing(g)) {
        fail_closed(g, k);
    } else if (!k->led && says_nothing(k)) {
        leave_flight(g, k);
        k->state = ASKING;
        g->op.stage = LEAD;
    } else if (unanswered) {
        fail_with(g, k, LDR_LOADER, "its load was dropped before it ended");
    } else if (item->state != LDR_FAILED) {
        answer_loaded(g, k);
    } else if (!answer_held(g, k) && !answer_shared_stale(g, k)) {
        fail(g, k, &item->err);
    }
}

static void waited_too_long(get *g, get_key *k)
{
    if (g->asking.on_timeout == LDR_ON_TIMEOUT_LOAD)
        go_alone(g, k, false);
    else if (g->asking.on_timeout != LDR_ON_TIMEOUT_STALE || !answer_held(g, k))
        fail_with(g, k, LDR_TIMEOUT, "waited too long for another caller's load");
}

static void wait_for(get *g, get_key *k)
{
    if (ldr_flight_done(k->flight))
        landed(g, k);
    else if (is_closing(g))
        fail_closed(g, k);
    else if (g->now_us >= g->op.deadline_us && !answer_held(g, k))
        fail_with(g, k, LDR_TIMEOUT, "deadline passed before its load ended");
    else if (k->state == WAITING && !k->led && g->now_us >= g->wait_until_us)
        waited_too_long(g, k);
}

/* Looks at all that is waited for; true: something changed, the stages must be gone through again. */
static bool look_round(get *g)
{
    size_t settled = g->n_settled;
    bool changed = false;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        get_key *k = &g->keys[i];
        if (k->state == WAITING)
            wait_for(g, k);
        changed = changed || k->state == ASKING || (k->state == WAITING && k->led && !k->loads);
    }
    return changed || g->n_settled != settled;
}

static ldr_want park(get *g)
{
    int64_t until = g->op.deadline_us;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        const get_key *k = &g->keys[i];
        if (k->state != WAITING)
            continue;
        g->flights[g->op.n_parked++] = k->flight;
        if (!k->led && g->wait_until_us < until)
            until = g->wait_until_us;
    }
    g->op.parked = g->flights;
    return (ldr_want){.kind = LDR_WANT_PARK, .deadline_us = until};
}

static void each_asking(get *g, void (*what)(get *g, get_key *k))
{
    for (size_t i = 0; i < g->asking.n_keys; i++)
        if (g->keys[i].state == ASKING)
            what(g, &g->keys[i]);
}

static ldr_want done(get *g)
{
    ldr_flow *f = g->op.flow;
    if (g->op.stage == DONE)
        ldr_meter_note(f->meter, LDR_LAT_get, (g->now_us - g->op.begun_us) * 1000, g->asking.n_keys);
    g->op.stage = DONE + 1;
    return (ldr_want){.kind = LDR_WANT_DONE};
}

static ldr_want get_step(ldr_op *op)
{
    get *g = (get *)op;
    op->n_parked = 0;
    g->now_us = op->stage == LOOK ? op->begun_us : ldr_clock_now(&op->flow->clock);
    for (;;) {
        if (g->n_settled == g->asking.n_keys && op->stage < DONE)
            op->stage = DONE;
        switch (op->stage) {
        case LOOK:
            each_asking(g, look);
            op->stage = LEAD;
            break;
        case LEAD:
            each_asking(g, lead_or_join);
            op->stage = WAIT;
            break;
        case WAIT: {
            ldr_op *load = begin_load(g);
            if (load)
                return (ldr_want){.kind = LDR_WANT_SPAWN, .op = load};
            if (!look_round(g))
                return park(g);
            break;
        }
        default:
            return done(g);
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
    get *g = ldr_mem_zero(&f->mem, 1, sizeof *g + a->n_keys * (sizeof *g->keys + sizeof *g->flights));
    if (!g)
        return NULL;
    g->asking = *a;
    int64_t wait = given(a->wait_us, f->lock_wait_us);
    ldr_op_init_until(&g->op, f, owner, LDR_NEVER);
    g->op.begun_us = a->now_us == LDR_UNSET ? ldr_clock_now(&f->clock) : a->now_us;
    g->op.deadline_us = ldr_time_add(g->op.begun_us, given(a->timeout_us, ldr_time_add(wait, f->source_timeout_us)));
    g->op.step = get_step;
    g->op.end = get_end;
    g->wait_until_us = ldr_time_add(g->op.begun_us, wait);
    if (a->on_timeout < 0)
        g->asking.on_timeout = f->on_timeout;
    g->asking.no_guard = a->no_guard || f->no_guard;
    g->keys = (get_key *)(g + 1);
    g->flights = (ldr_flight **)(void *)(g->keys + a->n_keys);
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
