/* flight_spec.c - the doorkeeper alone: who leads and who joins, who may fill, who is woken; against a plain model that
 * keeps every number of every key for ever. */
#include "guard/flight.h"

#include "base/hash.h"
#include "bed.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

typedef struct caller {
    ldr_waiter waiter;
    ldr_flight *flight;
    bool led;
    int n_wakes;
} caller;

static void wake(void *ctx, uint64_t id)
{
    caller *all = ctx;
    all[id].n_wakes++;
}

static caller callers[64];
static bed_mem memory;

static int setup(void **state)
{
    memset(callers, 0, sizeof callers);
    for (size_t i = 0; i < 64; i++) {
        ldr_list_init(&callers[i].waiter.link);
        callers[i].waiter.waker = (ldr_waker){.wake = wake, .ctx = callers, .id = i};
    }
    *state = ldr_flights_new(bed_mem_init(&memory, 0));
    return *state == NULL;
}

static int teardown(void **state)
{
    size_t left = ldr_flights_under_way(*state);
    ldr_flights_free(*state);
    return left == 0 && memory.n_alive == 0 ? 0 : 1;
}

static ldr_flight_ask question(const char *key, int i)
{
    ldr_slice k = ldr_slice_str(key);
    return (ldr_flight_ask){.key = k, .hash = ldr_hash(k, 1), .join = true, .may_fill = true, .lease_us = 100,
                            .waiter = &callers[i].waiter};
}

static enum ldr_flight_role begin(ldr_flights *f, const ldr_flight_ask *ask, int i)
{
    enum ldr_flight_role role = ldr_flight_begin(f, ask, &callers[i].flight);
    callers[i].led = role == LDR_FLIGHT_LED;
    return role;
}

static enum ldr_flight_role enter(ldr_flights *f, const char *key, int i)
{
    ldr_flight_ask ask = question(key, i);
    return begin(f, &ask, i);
}

static void leave(ldr_flights *f, int i)
{
    ldr_flight_leave(f, callers[i].flight, &callers[i].waiter);
    callers[i].flight = NULL;
}

static void note_leave(void *ctx, ldr_flight *flight, enum ldr_leave leave)
{
    (void)flight;
    *(int *)ctx = (int)leave;
}

static int land(ldr_flights *f, int i)
{
    int got = -1;
    ldr_flight_land(f, callers[i].flight, note_leave, &got);
    return got;
}

static void note_end(void *ctx, enum ldr_leave leave)
{
    *(int *)ctx = (int)leave;
}

static int end_mark(ldr_flights *f, ldr_mark *mark, int64_t version)
{
    int got = -1;
    ldr_mark_end(f, mark, version, note_end, &got);
    return got;
}

static void break_key(ldr_flights *f, const char *key, int64_t version)
{
    ldr_slice k = ldr_slice_str(key);
    ldr_flights_break(f, k, ldr_hash(k, 1), version, NULL, NULL);
}

static ldr_mark mark_key(ldr_flights *f, const char *key)
{
    ldr_slice k = ldr_slice_str(key);
    ldr_mark m;
    assert_true(ldr_mark_begin(f, k, ldr_hash(k, 1), &m));
    return m;
}

/* ---- by hand --------------------------------------------------------------------------------------------------- */

static void one_leads_others_join(void **state)
{
    ldr_flights *f = *state;
    assert_int_equal(enter(f, "k", 0), LDR_FLIGHT_LED);
    assert_int_equal(enter(f, "k", 1), LDR_FLIGHT_JOINED);
    assert_int_equal(enter(f, "other", 2), LDR_FLIGHT_LED);
    assert_ptr_equal(callers[0].flight, callers[1].flight);
    assert_true(ldr_slice_eq(callers[0].flight->item.key, ldr_slice_str("k")));
    assert_int_equal(ldr_flights_under_way(f), 2);
    assert_false(ldr_flight_done(callers[1].flight));
    assert_int_equal(land(f, 0), LDR_LEAVE_GRANTED);
    assert_true(ldr_flight_done(callers[1].flight));
    assert_int_equal(callers[0].n_wakes, 1);
    assert_int_equal(callers[1].n_wakes, 1);
    assert_int_equal(callers[2].n_wakes, 0);
    assert_int_equal(enter(f, "k", 3), LDR_FLIGHT_LED); /* what has landed is joined by nobody */
    for (int i = 0; i < 4; i++)
        leave(f, i);
    assert_int_equal(callers[0].n_wakes, 1);
}

static bool yes(void *ctx)
{
    ++*(int *)ctx;
    return true;
}

static void held_is_asked_only_before_a_new_load(void **state)
{
    ldr_flights *f = *state;
    int asked = 0;
    ldr_flight_ask ask = question("k", 0);
    ask.held = yes;
    ask.ctx = &asked;
    assert_int_equal(begin(f, &ask, 0), LDR_FLIGHT_HELD);
    assert_int_equal(ldr_flights_under_way(f), 0);
    assert_int_equal(enter(f, "k", 1), LDR_FLIGHT_LED);
    ask.waiter = &callers[2].waiter;
    assert_int_equal(begin(f, &ask, 2), LDR_FLIGHT_JOINED);
    assert_int_equal(asked, 1);
    leave(f, 1), leave(f, 2);
}

static void a_load_of_ones_own_is_not_listed(void **state)
{
    ldr_flights *f = *state;
    ldr_flight_ask ask = question("k", 0);
    ask.join = false;
    ask.may_fill = false;
    assert_int_equal(begin(f, &ask, 0), LDR_FLIGHT_LED);
    assert_int_equal(enter(f, "k", 1), LDR_FLIGHT_LED);
    assert_int_equal(land(f, 0), LDR_LEAVE_LEASE);
    assert_int_equal(enter(f, "k", 2), LDR_FLIGHT_JOINED);
    leave(f, 0), leave(f, 1), leave(f, 2);
}

static void an_old_lease_is_taken_over(void **state)
{
    ldr_flights *f = *state;
    ldr_flight_ask ask = question("k", 0);
    assert_int_equal(begin(f, &ask, 0), LDR_FLIGHT_LED);
    ask.now_us = 100;
    ask.waiter = &callers[1].waiter;
    assert_int_equal(begin(f, &ask, 1), LDR_FLIGHT_JOINED);
    ask.now_us = 101;
    ask.waiter = &callers[2].waiter;
    assert_int_equal(begin(f, &ask, 2), LDR_FLIGHT_LED);
    assert_int_equal(land(f, 2), LDR_LEAVE_GRANTED);
    assert_int_equal(land(f, 0), LDR_LEAVE_LEASE);
    assert_int_equal(callers[1].n_wakes, 1);
    leave(f, 0), leave(f, 1), leave(f, 2);
}

static void who_left_is_not_woken(void **state)
{
    ldr_flights *f = *state;
    enter(f, "k", 0), enter(f, "k", 1), enter(f, "k", 2);
    leave(f, 1);
    land(f, 0);
    assert_int_equal(callers[1].n_wakes, 0);
    assert_int_equal(callers[2].n_wakes, 1);
    leave(f, 0), leave(f, 2);
}

static void wake_all_reaches_every_flight(void **state)
{
    ldr_flights *f = *state;
    enter(f, "k", 0);
    break_key(f, "k", 0);
    enter(f, "k", 1), enter(f, "k", 2), enter(f, "j", 3);
    ldr_flights_wake_all(f);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(callers[i].n_wakes, 1);
        leave(f, i);
    }
}

static void a_break_of_a_version_lets_that_version_in(void **state)
{
    ldr_flights *f = *state;
    static const struct {
        int64_t broken, loaded;
        int leave;
    } rows[] = {{5, 4, LDR_LEAVE_VERSION}, {5, 5, LDR_LEAVE_GRANTED}, {5, 6, LDR_LEAVE_GRANTED},
                {5, 0, LDR_LEAVE_LEASE},   {0, 9, LDR_LEAVE_LEASE},   {0, 0, LDR_LEAVE_LEASE}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enter(f, "k", 0);
        break_key(f, "k", rows[i].broken);
        callers[0].flight->item.version = rows[i].loaded;
        assert_int_equal(land(f, 0), rows[i].leave);
        leave(f, 0);
    }
    break_key(f, "nobody", 0);
    assert_int_equal(ldr_flights_under_way(f), 0);
}

static void marks_keep_fills_out(void **state)
{
    ldr_flights *f = *state;
    enter(f, "k", 0);
    ldr_mark a = mark_key(f, "k");
    enter(f, "k", 1);
    assert_true(callers[1].led);
    assert_int_equal(land(f, 1), LDR_LEAVE_LEASE);
    enter(f, "k", 2);
    assert_int_equal(end_mark(f, &a, 3), LDR_LEAVE_GRANTED);
    assert_null(a.state);
    callers[0].flight->item.version = callers[2].flight->item.version = 9;
    assert_int_equal(land(f, 0), LDR_LEAVE_LEASE);
    assert_int_equal(land(f, 2), LDR_LEAVE_LEASE);
    leave(f, 0), leave(f, 1), leave(f, 2);
    enter(f, "k", 3);
    assert_int_equal(land(f, 3), LDR_LEAVE_GRANTED);
    leave(f, 3);
}

static void marks_judge_each_other(void **state)
{
    ldr_flights *f = *state;
    ldr_mark a = mark_key(f, "k"), b = mark_key(f, "k");
    assert_int_equal(end_mark(f, &b, 7), LDR_LEAVE_GRANTED);
    assert_int_equal(end_mark(f, &a, 6), LDR_LEAVE_VERSION);
    a = mark_key(f, "k"), b = mark_key(f, "k");
    assert_int_equal(end_mark(f, &b, 0), LDR_LEAVE_LEASE);
    assert_int_equal(end_mark(f, &a, 0), LDR_LEAVE_LEASE);
    a = mark_key(f, "k");
    assert_int_equal(end_mark(f, &a, 0), LDR_LEAVE_GRANTED);
    a = mark_key(f, "k");
    break_key(f, "k", 0);
    assert_int_equal(end_mark(f, &a, 8), LDR_LEAVE_LEASE);
    a = mark_key(f, "k");
    ldr_flights_break_all(f);
    assert_int_equal(end_mark(f, &a, 9), LDR_LEAVE_LEASE);
    a = mark_key(f, "k");
    break_key(f, "k", 10);
    assert_int_equal(end_mark(f, &a, 10), LDR_LEAVE_GRANTED);
    a = mark_key(f, "k"), b = mark_key(f, "k");
    assert_int_equal(end_mark(f, &b, 0), LDR_LEAVE_LEASE); /* of no known version: perhaps later than a's */
    assert_int_equal(end_mark(f, &a, 11), LDR_LEAVE_LEASE);
}

static void many_keys_keep_apart(void **state)
{
    ldr_flights *f = *state;
    enum { N = 5000 };
    static caller many[N];
    char key[16];
    for (size_t i = 0; i < N; i++) {
        ldr_list_init(&many[i].waiter.link);
        snprintf(key, sizeof key, "key%zu", i);
        ldr_flight_ask ask = question(key, 0);
        ask.waiter = &many[i].waiter;
        many[i].waiter.waker = (ldr_waker){0};
        assert_int_equal(ldr_flight_begin(f, &ask, &many[i].flight), LDR_FLIGHT_LED);
    }
    assert_int_equal(ldr_flights_under_way(f), N);
    for (size_t i = 0; i < N; i++) {
        snprintf(key, sizeof key, "key%zu", i);
        assert_true(ldr_slice_eq(many[i].flight->item.key, ldr_slice_str(key)));
        ldr_flight_leave(f, many[i].flight, &many[i].waiter);
    }
}

static void no_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    for (long n = 1; n < 30; n++) {
        bed_mem m;
        ldr_flights *f = ldr_flights_new(bed_mem_init(&m, n));
        if (!f) {
            assert_int_equal(m.n_alive, 0);
            continue;
        }
        ldr_mark mark = {0};
        ldr_slice k = ldr_slice_str("k");
        enum ldr_flight_role role = enter(f, "k", 0);
        bool marked = ldr_mark_begin(f, k, ldr_hash(k, 1), &mark);
        if (role == LDR_FLIGHT_LED)
            leave(f, 0);
        else
            assert_int_equal(role, LDR_FLIGHT_NOMEM);
        if (marked)
            ldr_mark_end(f, &mark, 0, NULL, NULL);
        assert_int_equal(ldr_flights_under_way(f), 0);
        ldr_flights_free(f);
        assert_int_equal(m.n_alive, 0);
    }
}

/* ---- at random, against a model -------------------------------------------------------------------------------- */

#define MODEL_KEYS 4
#define MODEL_CALLERS 24
#define MODEL_MARKS 6

/* What happened to a key, as plain times: nothing is ever forgotten. */
typedef struct model_key {
    int64_t last_break, last_mark_begin, last_mark_end, last_news; /* of the model's steps */
    int64_t newest; /* of versions told while something was under way */
    int marks, held;
    int listed; /* caller that leads the load one may join, -1 */
} model_key;

typedef struct model_flight {
    int key, leader, holders;
    int64_t began;
    bool done;
} model_flight;

typedef struct model {
    ldr_flights *f;
    ldr_rng rng;
    int64_t step;
    model_key keys[MODEL_KEYS];
    model_flight flights[MODEL_CALLERS]; /* by leader */
    int of[MODEL_CALLERS];               /* the leader whose flight caller i holds, -1 */
    bool leader_gone[MODEL_CALLERS];
    struct {
        ldr_mark mark;
        int key;
        int64_t began;
        bool used;
    } marks[MODEL_MARKS];
} model;

static const char *const model_names[MODEL_KEYS] = {"a", "b", "c", "d"};

static unsigned draw(model *m, unsigned n)
{
    return (unsigned)(ldr_rng_next(&m->rng) % n);
}

static void unhold(model *m, int key)
{
    if (--m->keys[key].held == 0) /* the doorkeeper forgets the versions of a key where all is quiet */
        m->keys[key].newest = 0;
}

static void model_enter(model *m, int i)
{
    int key = (int)draw(m, MODEL_KEYS);
    if (m->of[i] >= 0 || m->flights[i].holders > 0)
        return;
    model_key *k = &m->keys[key];
    ldr_flight_ask ask = question(model_names[key], i);
    ask.lease_us = 1000000;
    ask.join = draw(m, 8) > 0;
    callers[i].n_wakes = 0;
    enum ldr_flight_role role = begin(m->f, &ask, i);
    k->held++;
    if (ask.join && k->listed >= 0) {
        assert_int_equal(role, LDR_FLIGHT_JOINED);
        assert_ptr_equal(callers[i].flight, callers[k->listed].flight);
        m->of[i] = k->listed;
        m->flights[k->listed].holders++;
        return;
    }
    assert_int_equal(role, LDR_FLIGHT_LED);
    m->of[i] = i;
    m->flights[i] = (model_flight){.key = key, .leader = i, .holders = 1, .began = m->step};
    if (ask.join)
        k->listed = i;
}

static enum ldr_leave model_leave(const model *m, const model_flight *fl, int64_t version)
{
    const model_key *k = &m->keys[fl->key];
    if (k->marks > 0 || k->last_break > fl->began || k->last_mark_begin > fl->began || k->last_mark_end > fl->began)
        return LDR_LEAVE_LEASE;
    if (version > 0)
        return version >= k->newest ? LDR_LEAVE_GRANTED : LDR_LEAVE_VERSION;
    return k->last_news > fl->began ? LDR_LEAVE_LEASE : LDR_LEAVE_GRANTED;
}

static void model_land(model *m, int i)
{
    model_flight *fl = &m->flights[i];
    if (m->of[i] != i || fl->done)
        return;
    int64_t version = draw(m, 3) ? (int64_t)draw(m, 20) + 1 : 0;
    callers[i].flight->item.version = version;
    assert_int_equal(land(m->f, i), model_leave(m, fl, version));
    fl->done = true;
    if (m->keys[fl->key].listed == i)
        m->keys[fl->key].listed = -1;
    for (int c = 0; c < MODEL_CALLERS; c++)
        if (m->of[c] == i)
            assert_int_equal(callers[c].n_wakes, 1);
}

/* The leader leaves only when it has landed: the load holds it. */
static void model_quit(model *m, int i)
{
    int of = m->of[i];
    if (of < 0 || (of == i && !m->flights[i].done))
        return;
    int woken = callers[i].n_wakes;
    assert_int_equal(woken, m->flights[of].done);
    int key = m->flights[of].key;
    leave(m->f, i);
    m->of[i] = -1;
    m->flights[of].holders--;
    unhold(m, key);
}

static void model_break(model *m)
{
    int key = (int)draw(m, MODEL_KEYS);
    model_key *k = &m->keys[key];
    int64_t version = draw(m, 2) ? (int64_t)draw(m, 20) + 1 : 0;
    break_key(m->f, model_names[key], version);
    k->listed = -1;
    if (version == 0)
        k->last_break = m->step;
    else
        k->last_news = m->step;
    if (k->held > 0 && version > k->newest)
        k->newest = version;
}

static void model_break_all(model *m)
{
    ldr_flights_break_all(m->f);
    for (int i = 0; i < MODEL_KEYS; i++) {
        m->keys[i].listed = -1;
        m->keys[i].last_break = m->step;
    }
}

static void model_mark(model *m, int i)
{
    if (m->marks[i].used)
        return;
    int key = (int)draw(m, MODEL_KEYS);
    m->marks[i].mark = mark_key(m->f, model_names[key]);
    m->marks[i].key = key;
    m->marks[i].began = m->step;
    m->marks[i].used = true;
    m->keys[key].marks++;
    m->keys[key].held++;
    m->keys[key].listed = -1;
    m->keys[key].last_mark_begin = m->step;
}

static void model_end_mark(model *m, int i)
{
    if (!m->marks[i].used)
        return;
    int key = m->marks[i].key;
    int64_t began = m->marks[i].began, version = draw(m, 3) ? (int64_t)draw(m, 20) + 1 : 0;
    model_key *k = &m->keys[key];
    k->marks--;
    enum ldr_leave want = LDR_LEAVE_GRANTED;
    if (version > 0 && version < k->newest)
        want = LDR_LEAVE_VERSION;
    else if (k->last_break > began)
        want = LDR_LEAVE_LEASE;
    else if (version == 0 && (k->marks > 0 || k->last_mark_begin > began || k->last_mark_end > began))
        want = LDR_LEAVE_LEASE;
    assert_int_equal(end_mark(m->f, &m->marks[i].mark, version), want);
    m->marks[i].used = false;
    k->listed = -1;
    k->last_mark_end = m->step;
    if (version == 0)
        k->last_break = m->step;
    if (version > k->newest)
        k->newest = version;
    unhold(m, key);
}

static void model_step(model *m)
{
    m->step++;
    unsigned what = draw(m, 100);
    int i = (int)draw(m, MODEL_CALLERS);
    if (what < 35)
        model_enter(m, i);
    else if (what < 55)
        model_land(m, i);
    else if (what < 80)
        model_quit(m, i);
    else if (what < 86)
        model_break(m);
    else if (what < 87)
        model_break_all(m);
    else if (what < 93)
        model_mark(m, (int)draw(m, MODEL_MARKS));
    else
        model_end_mark(m, (int)draw(m, MODEL_MARKS));
}

static void random_schedules_agree_with_the_model(void **state)
{
    ldr_rng seeds = bed_rng("flights");
    for (long round = 0; round < bed_times(50, 2000); round++) {
        model m = {.f = *state, .rng = {.s = ldr_rng_next(&seeds)}};
        for (int i = 0; i < MODEL_KEYS; i++)
            m.keys[i].listed = -1;
        for (int i = 0; i < MODEL_CALLERS; i++)
            m.of[i] = -1;
        for (int n = 0; n < 2000; n++)
            model_step(&m);
        m.step++;
        for (int i = 0; i < MODEL_MARKS; i++)
            model_end_mark(&m, i);
        for (int i = 0; i < MODEL_CALLERS; i++)
            model_land(&m, i);
        for (int i = 0; i < MODEL_CALLERS; i++)
            model_quit(&m, i);
        assert_int_equal(ldr_flights_under_way(*state), 0);
    }
}

/* ---- with threads ------------------------------------------------------------------------------------------------ */

#define N_THREADS 4

typedef struct sleeper {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool is_woken;
} sleeper;

static void wake_sleeper(void *ctx, uint64_t id)
{
    sleeper *s = ctx;
    (void)id;
    pthread_mutex_lock(&s->lock);
    s->is_woken = true;
    pthread_cond_signal(&s->woken);
    pthread_mutex_unlock(&s->lock);
}

typedef struct crowd {
    ldr_flights *f;
    _Atomic int loading[8];
    _Atomic long n_led, n_joined, n_wrong;
    long n_rounds;
} crowd;

static void lead(crowd *c, ldr_flight *flight, unsigned key)
{
    if (atomic_fetch_add(&c->loading[key], 1) != 0)
        atomic_fetch_add(&c->n_wrong, 1); /* two loads of one key at a time */
    flight->item.version = 7;
    atomic_fetch_sub(&c->loading[key], 1);
    ldr_flight_land(c->f, flight, NULL, NULL);
    atomic_fetch_add(&c->n_led, 1);
}

static void *visit(void *arg)
{
    crowd *c = arg;
    for (long i = 0; i < c->n_rounds; i++) {
        sleeper s = {.lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER};
        ldr_waiter w = {.waker = {.wake = wake_sleeper, .ctx = &s}};
        ldr_list_init(&w.link);
        unsigned key = (unsigned)i % 8;
        char name[2] = {(char)('a' + key), 0};
        ldr_flight_ask ask = question(name, 0);
        ask.waiter = &w;
        ask.lease_us = LDR_NEVER;
        ldr_flight *flight;
        if (ldr_flight_begin(c->f, &ask, &flight) == LDR_FLIGHT_LED) {
            lead(c, flight, key);
        } else {
            pthread_mutex_lock(&s.lock);
            while (!s.is_woken)
                pthread_cond_wait(&s.woken, &s.lock);
            pthread_mutex_unlock(&s.lock);
            if (!ldr_flight_done(flight) || flight->item.version != 7)
                atomic_fetch_add(&c->n_wrong, 1);
            atomic_fetch_add(&c->n_joined, 1);
        }
        ldr_flight_leave(c->f, flight, &w);
        pthread_mutex_destroy(&s.lock);
    }
    return NULL;
}

static void threads_never_load_one_key_twice_at_a_time(void **state)
{
    bed_mem_init(&memory, 0);
    (void)state;
    ldr_flights *f = ldr_flights_new(&ldr_mem_system);
    crowd c = {.f = f, .n_rounds = bed_times(5000, 200000)};
    pthread_t t[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, visit, &c), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(c.n_wrong, 0);
    assert_int_equal(c.n_led + c.n_joined, N_THREADS * c.n_rounds);
    assert_int_equal(ldr_flights_under_way(f), 0);
    ldr_flights_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_leads_others_join, setup, teardown),
        cmocka_unit_test_setup_teardown(held_is_asked_only_before_a_new_load, setup, teardown),
        cmocka_unit_test_setup_teardown(a_load_of_ones_own_is_not_listed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_old_lease_is_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(who_left_is_not_woken, setup, teardown),
        cmocka_unit_test_setup_teardown(wake_all_reaches_every_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(a_break_of_a_version_lets_that_version_in, setup, teardown),
        cmocka_unit_test_setup_teardown(marks_keep_fills_out, setup, teardown),
        cmocka_unit_test_setup_teardown(marks_judge_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(many_keys_keep_apart, setup, teardown),
        cmocka_unit_test(no_memory_leaves_nothing_behind),
        cmocka_unit_test_setup_teardown(random_schedules_agree_with_the_model, setup, teardown),
        cmocka_unit_test(threads_never_load_one_key_twice_at_a_time),
    };
    return cmocka_run_group_tests_name("flight", tests, NULL, NULL);
}
