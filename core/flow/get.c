/* get.c - the read of one key or many. Stages: LOOK at L1 -> SEEK in the shared shelf -> LEAD or join flights -> WAIT until
 * they landed -> DONE.
 *
 * A key is ASKING (no flight yet), WAITING (holds a flight) or SETTLED (its answer is final). The loading itself is
 * another operation (load.c), so that a caller whose deadline passed leaves while the load goes on. Only WAIT may
 * fall back, to LEAD, for keys whose leader was dropped without an answer. */
#include "base/err.h"
#include "flow/get.h"

enum { LOOK, SEEK, SOUGHT, LEAD, WAIT, DONE };

/* ---- LEAD ------------------------------------------------------------------------------------------------- */

static bool held_by_now(void *ctx)
{
    ldr_reading *g = ctx;
    return ldr_get_look_at(g, g->looked, false);
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
static bool inside_its_load(const ldr_reading *g, const ldr_get_key *k)
{
    for (const ldr_op *p = g->op.owner.parent; p; p = p->owner.parent)
        if (ldr_load_is_for(p, k->key))
            return true;
    return false;
}

static void begin_flight(ldr_reading *g, ldr_get_key *k, bool join, bool may_fill)
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
        k->state = LDR_WAITING_KEY;
        k->led = true;
        break;
    case LDR_FLIGHT_JOINED:
        k->state = LDR_WAITING_KEY;
        k->led = false;
        break;
    case LDR_FLIGHT_HELD:
        ldr_get_answer_with(g, k, &k->answer);
        break;
    case LDR_FLIGHT_NOMEM:
        ldr_get_fail_with(g, k, LDR_NOMEM, "out of memory");
    }
}

static void leave_flight(ldr_reading *g, ldr_get_key *k)
{
    if (k->flight)
        ldr_flight_leave(g->op.flow->flights, k->flight, &k->waiter);
    k->flight = NULL;
}

/* A flight of one's own beside the one that was waited for. */
static void go_alone(ldr_reading *g, ldr_get_key *k, bool may_fill)
{
    leave_flight(g, k);
    k->waited_out = true;
    k->loads = false;
    begin_flight(g, k, false, may_fill);
}

static void refuse_ring(ldr_reading *g, ldr_get_key *k)
{
    leave_flight(g, k);
    ldr_get_fail_with(g, k, LDR_REJECTED, "its loader asked for this key again, or for one whose loader waits for it");
}

static void lead_or_join(ldr_reading *g, ldr_get_key *k)
{
    const ldr_owner *me = &g->op.owner;
    if (inside_its_load(g, k)) {
        refuse_ring(g, k);
        return;
    }
    if (g->asking.refresh) /* a load that began before may hold what this caller knows to be old */
        ldr_flights_break(g->op.flow->flights, k->key, k->hash, 0, NULL, NULL);
    begin_flight(g, k, !g->asking.no_guard && !k->waited_out, true);
    if (k->state != LDR_WAITING_KEY || k->led || k->flight->host != me->host)
        return;
    if (me->is_stack || is_ring(&g->op, k->flight->load, 32))
        refuse_ring(g, k);
    else if (!me->can_wait)
        go_alone(g, k, true); /* led by a suspended coroutine of this very host: nobody would go on with it */
}

/* Begins the load of all flights that were led in this round; NULL: none. */
static ldr_op *begin_load(ldr_reading *g)
{
    ldr_flow *f = g->op.flow;
    size_t n = 0;
    bool alone = false;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        ldr_get_key *k = &g->keys[i];
        if (k->state == LDR_WAITING_KEY && k->led && !k->loads) {
            alone = alone || k->waited_out;
            k->loads = true;
            g->flights[n++] = k->flight;
        }
    }
    if (n == 0)
        return NULL;
    ldr_loading how = {.ttls = g->asking.ttls, .has_loader = g->asking.has_loader, .owner = &g->op.owner,
                       .deadline_us = g->op.deadline_us, .now_us = g->now_us, .wait_until_us = g->wait_until_us,
                       .on_timeout = g->asking.on_timeout, .level = g->asking.level, .is_sought = !g->asking.refresh,
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

static void answer_loaded(ldr_reading *g, ldr_get_key *k)
{
    const ldr_item *item = &k->flight->item;
    ldr_answer a = {.kind = LDR_NONE, .version = item->version, .asked_us = k->flight->asked_us,
                    .soft_us = k->flight->soft_us, .outcome = LDR_ABSENT};
    bool shared = k->flight->is_shared;
    a.tier = shared ? LDR_TIER_L2 : g->asking.has_loader ? LDR_TIER_LOADER : LDR_TIER_SOURCE;
    if (item->state == LDR_FOUND) {
        a.value = ldr_buf_slice(&item->out);
        a.kind = item->kind;
        a.outcome = !k->led ? LDR_JOINED : !shared ? LDR_LOADED : g->now_us < a.soft_us ? LDR_HIT_L2 : LDR_STALE;
    }
    ldr_get_answer_with(g, k, &a);
}

/* With what the shared shelf held; false: nothing, or nothing within its hard expiry. (To who asked for a refresh, what is
 * fresh is no answer.) */
static bool answer_shared_stale(ldr_reading *g, ldr_get_key *k)
{
    const ldr_stale *s = k->flight->stale;
    if (!s || g->now_us >= s->hard_us || (g->asking.refresh && g->now_us < s->soft_us))
        return false;
    ldr_get_answer_with(g, k, &(ldr_answer){.value = {s->bytes, s->n}, .kind = s->kind, .outcome = LDR_STALE, .tier = LDR_TIER_L2,
                                    .version = s->version, .asked_us = s->asked_us, .soft_us = s->soft_us,
                                    .weaker = g->asking.level != LDR_WEAK});
    return true;
}

/* The load ended without saying anything about the source: its leader was dropped, or had less time than this caller. */
static bool says_nothing(const ldr_get_key *k)
{
    const ldr_item *item = &k->flight->item;
    return item->state == LDR_UNANSWERED ||
           (k->flight->cut_short && item->state == LDR_FAILED && item->err.code == LDR_TIMEOUT);
}

static bool is_closing(const ldr_reading *g)
{
    return atomic_load_explicit(&g->op.flow->closing, memory_order_relaxed);
}

static void fail_closed(ldr_reading *g, ldr_get_key *k)
{
    ldr_get_fail_with(g, k, LDR_CLOSED, "the cache was closed meanwhile");
}

static void landed(ldr_reading *g, ldr_get_key *k)
{
    const ldr_item *item = &k->flight->item;
    bool unanswered = item->state == LDR_UNANSWERED;
    if ((unanswered || (!k->led && says_nothing(k))) && is_closing(g)) {
        fail_closed(g, k);
    } else if (!k->led && says_nothing(k)) {
        leave_flight(g, k);
        k->state = LDR_ASKING_KEY;
        g->op.stage = LEAD;
    } else if (unanswered) {
        ldr_get_fail_with(g, k, LDR_LOADER, "its load was dropped before it ended");
    } else if (item->state != LDR_FAILED) {
        answer_loaded(g, k);
    } else if (!ldr_get_answer_held(g, k) && !answer_shared_stale(g, k)) {
        ldr_get_fail(g, k, &item->err);
    }
}

static void waited_too_long(ldr_reading *g, ldr_get_key *k)
{
    if (g->asking.on_timeout == LDR_ON_TIMEOUT_LOAD)
        go_alone(g, k, false);
    else if (g->asking.on_timeout != LDR_ON_TIMEOUT_STALE || !ldr_get_answer_held(g, k))
        ldr_get_fail_with(g, k, LDR_TIMEOUT, "waited too long for another caller's load");
}

static void wait_for(ldr_reading *g, ldr_get_key *k)
{
    if (ldr_flight_done(k->flight))
        landed(g, k);
    else if (is_closing(g))
        fail_closed(g, k);
    else if (g->now_us >= g->op.deadline_us && !ldr_get_answer_held(g, k))
        ldr_get_fail_with(g, k, LDR_TIMEOUT, "deadline passed before its load ended");
    else if (k->state == LDR_WAITING_KEY && !k->led && g->now_us >= g->wait_until_us)
        waited_too_long(g, k);
}

/* Looks at all that is waited for; true: something changed, the stages must be gone through again. */
static bool look_round(ldr_reading *g)
{
    size_t settled = g->n_settled;
    bool changed = false;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        ldr_get_key *k = &g->keys[i];
        if (k->state == LDR_WAITING_KEY)
            wait_for(g, k);
        changed = changed || k->state == LDR_ASKING_KEY || (k->state == LDR_WAITING_KEY && k->led && !k->loads);
    }
    return changed || g->n_settled != settled;
}

static ldr_want park(ldr_reading *g)
{
    int64_t until = g->op.deadline_us;
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        const ldr_get_key *k = &g->keys[i];
        if (k->state != LDR_WAITING_KEY)
            continue;
        g->flights[g->op.n_parked++] = k->flight;
        if (!k->led && g->wait_until_us < until)
            until = g->wait_until_us;
    }
    g->op.parked = g->flights;
    return (ldr_want){.kind = LDR_WANT_PARK, .deadline_us = until};
}

static void each_asking(ldr_reading *g, void (*what)(ldr_reading *g, ldr_get_key *k))
{
    for (size_t i = 0; i < g->asking.n_keys; i++)
        if (g->keys[i].state == LDR_ASKING_KEY)
            what(g, &g->keys[i]);
}

static ldr_want done(ldr_reading *g)
{
    ldr_flow *f = g->op.flow;
    if (g->op.stage == DONE)
        ldr_meter_note(f->meter, LDR_LAT_get, (g->now_us - g->op.begun_us) * 1000, g->n_settled);
    g->op.stage = DONE + 1;
    return (ldr_want){.kind = LDR_WANT_DONE};
}

/* Neither a source nor memory to ask the shared shelf. */
static void fail_unasked(ldr_reading *g, ldr_get_key *k)
{
    ldr_get_fail_with(g, k, LDR_NOMEM, "out of memory");
}

static ldr_want get_step(ldr_op *op)
{
    ldr_reading *g = (ldr_reading *)op;
    op->n_parked = 0;
    g->now_us = op->stage == LOOK ? op->begun_us : ldr_clock_now(&op->flow->clock);
    for (;;) {
        if (g->n_settled == g->asking.n_keys && op->stage < DONE)
            op->stage = DONE;
        switch (op->stage) {
        case LOOK:
            each_asking(g, ldr_get_look);
            op->stage = SEEK;
            break;
        case SEEK: {
            ldr_exchange *ex = g->asking.is_sought ? NULL : ldr_get_seek_ask(g);
            op->stage = ex ? SOUGHT : LEAD;
            if (ex)
                return (ldr_want){.kind = LDR_WANT_TALK, .exchange = ex, .deadline_us = op->deadline_us};
            if (op->flow->l2 && !ldr_get_asks_somebody(g))
                each_asking(g, fail_unasked);
            break;
        }
        case SOUGHT:
            op->stage = ldr_get_seek_take(g) ? SEEK : LEAD;
            break;
        case LEAD:
            op->stage = g->asking.only_seek ? DONE : WAIT;
            if (op->stage == WAIT)
                each_asking(g, lead_or_join);
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
    ldr_reading *g = (ldr_reading *)op;
    ldr_mem mem = op->flow->mem;
    if (g->seek)
        ldr_exchange_free(&g->seek->ex);
    ldr_mem_free(&mem, g->seek);
    for (size_t i = 0; i < g->asking.n_keys; i++) {
        ldr_get_key *k = &g->keys[i];
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

static int64_t usual_timeout(const ldr_flow *f, int64_t wait_us)
{
    return ldr_time_add(ldr_time_add(wait_us, f->share_timeout_us), f->source_timeout_us);
}

/* All but the room for an error's message, which is most of it. */
static void begin_key(const ldr_flow *f, ldr_get_key *k, ldr_slice key)
{
    k->key = key;
    k->hash = ldr_hash(key, f->seed);
    k->state = LDR_ASKING_KEY;
    k->led = k->loads = k->waited_out = false;
    k->news = 0;
    k->flight = NULL;
    k->waiter = (ldr_waiter){0};
    ldr_list_init(&k->waiter.link);
    k->buffers = (ldr_hit_buffers){LDR_BUF(&f->mem), LDR_BUF(&f->mem)};
    ldr_answer_clear(&k->answer);
}

ldr_op *ldr_get_begin(ldr_flow *f, const ldr_asking *a, const ldr_owner *owner)
{
    ldr_reading *g = ldr_mem_new(&f->mem, sizeof *g + a->n_keys * (sizeof *g->keys + sizeof *g->flights));
    if (!g)
        return NULL;
    *g = (ldr_reading){.asking = *a};
    int64_t wait = given(a->wait_us, f->lock_wait_us);
    ldr_op_init_until(&g->op, f, owner, LDR_NEVER);
    g->op.begun_us = a->now_us == LDR_UNSET ? ldr_clock_now(&f->clock) : a->now_us;
    g->op.deadline_us = ldr_time_add(g->op.begun_us, given(a->timeout_us, usual_timeout(f, wait)) - a->waited_us);
    g->op.step = get_step;
    g->op.end = get_end;
    g->wait_until_us = ldr_time_add(g->op.begun_us, wait);
    if (a->on_timeout < 0)
        g->asking.on_timeout = f->on_timeout;
    g->asking.no_guard = a->no_guard || f->no_guard;
    g->keys = (ldr_get_key *)(g + 1);
    g->flights = (ldr_flight **)(void *)(g->keys + a->n_keys);
    for (size_t i = 0; i < a->n_keys; i++)
        begin_key(f, &g->keys[i], a->keys[i]);
    return &g->op;
}

const ldr_answer *ldr_get_answer(const ldr_op *op, size_t i)
{
    return &((const ldr_reading *)op)->keys[i].answer;
}

bool ldr_get_is_settled(const ldr_op *op, size_t i)
{
    return ((const ldr_reading *)op)->keys[i].state == LDR_SETTLED_KEY;
}

bool ldr_get_led(const ldr_op *op, size_t i)
{
    const ldr_get_key *k = &((const ldr_reading *)op)->keys[i];
    return k->led && k->answer.tier != LDR_TIER_L1;
}
