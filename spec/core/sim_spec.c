/* sim_spec.c - a hundred clients on one cache over a source that is slow, fails, forgets to answer and is written by others,
 * on a virtual clock from a seed; a judge who keeps every key's committed history looks at each answer.
 *
 * What the judge demands of a read:
 *   thin air   the value is one that was committed for this key
 *   past       it is no older than what the key was when an invalidation, write, deletion or told change had ended
 *              before the read began (stricter than `eventual` asks: the promise within one process)
 *   age        it was current at or after the moment that the answer names, and from L1 that is within the hard bound
 *   refresh    it is no older than what the key was when the refresh began
 *   door       while a load may be joined, no other one begins that should have joined it
 *   deadline   it has ended when its deadline came */
#include "flow_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define KEYS 5
#define CLIENTS 120
#define HISTORY 20000
#define MS ((int64_t)LDR_MS)

typedef struct commit {
    int64_t at_us, version;
    bool absent;
} commit;

typedef struct truth {
    char name[16];
    commit *all; /* what the key was, in the source's order; 0 is "absent, always" */
    int n;
    int floor;   /* what reads that begin now must at least see */
    int door;    /* the load that may be joined: task id + 1, 0 none */
} truth;

/* A question that is at the source. */
typedef struct job {
    bool known, ran;
    int64_t run_us, answer_us;
    int commits[KEYS_MOST];
} job;

typedef struct client {
    task *t;
    int64_t act_us, begun_us, deadline_us, wait_us;
    bool refresh, no_guard, is_mark;
    int n, keys[3], floor[3], newest[3];
    bool writes;
    ldr_mark mark;
} client;

typedef struct told {
    int64_t at_us; /* 0: free */
    int key, commit;
} told;

typedef struct sim {
    house *h;
    ldr_rng rng;
    uint64_t seed;
    bool versioned, can_touch, calm; /* calm: nearly all is reading */
    int64_t hard_us, versions;
    truth keys[KEYS];
    client clients[CLIENTS];
    job jobs[TASKS_MOST];
    told news[64];
    long n_reads, n_loads, n_stale;
} sim;

static unsigned draw(sim *s, unsigned n)
{
    return (unsigned)(ldr_rng_next(&s->rng) % n);
}

static bool chance(sim *s, unsigned percent)
{
    return draw(s, 100) < percent;
}

static int64_t now(const sim *s)
{
    return house_now(s->h);
}

/* ---- the source ------------------------------------------------------------------------------------------------ */

static int latest(const truth *k)
{
    return k->n - 1;
}

static int commit_key(sim *s, int key, bool absent)
{
    truth *k = &s->keys[key];
    assert_true(k->n < HISTORY);
    k->all[k->n] = (commit){.at_us = now(s), .version = ++s->versions, .absent = absent};
    return k->n++;
}

static int key_of(ldr_slice name)
{
    assert_true(name.n == 2 && name.p[0] == 'k');
    return name.p[1] - '0';
}

static void run_load(sim *s, ldr_item *item)
{
    const truth *k = &s->keys[key_of(item->key)];
    const commit *c = &k->all[latest(k)];
    char text[32];
    snprintf(text, sizeof text, "%s:%d", k->name, latest(k));
    fill_item(item, c->absent ? NULL : text, s->versioned && !c->absent ? c->version : 0);
}

static bool condition_fails(sim *s, ldr_item *item)
{
    const truth *k = &s->keys[key_of(item->key)];
    const commit *c = &k->all[latest(k)];
    if (item->if_version == LDR_ANY || (!c->absent && c->version == item->if_version))
        return false;
    item->state = LDR_FAILED;
    item->err = (ldr_err){.code = LDR_CONFLICT, .version = c->absent ? 0 : c->version};
    return true;
}

static void run_write(sim *s, ldr_item *item, bool absent, int *commit_nr)
{
    unsigned how = draw(s, 100);
    *commit_nr = -1;
    if (condition_fails(s, item))
        return;
    if (how < 10) {
        item->state = LDR_FAILED;
        item->err.code = LDR_SOURCE;
        return;
    }
    int nr = how < 20 && chance(s, 50) ? -1 : commit_key(s, key_of(item->key), absent);
    if (how < 20) {
        item->state = LDR_FAILED;
        item->err.code = LDR_LOST;
        return;
    }
    *commit_nr = nr;
    item->version = s->versioned ? s->keys[key_of(item->key)].all[nr].version : 0;
    item->state = LDR_FOUND;
    char text[32];
    snprintf(text, sizeof text, "%s:%d", s->keys[key_of(item->key)].name, nr);
    if (!absent) { /* the row as it now is */
        item->kind = LDR_STRING;
        ldr_buf_add(&item->out, text, strlen(text));
    }
}

static void run_job(sim *s, task *t, job *j)
{
    ldr_request *r = t->want.request;
    j->ran = true;
    if (r->verb == LDR_LOAD && chance(s, 12)) {
        r->err.code = LDR_SOURCE;
        return;
    }
    for (size_t i = 0; i < r->n_items; i++) {
        if (r->verb == LDR_LOAD)
            run_load(s, r->items[i]);
        else
            run_write(s, r->items[i], r->verb == LDR_ERASE, &j->commits[i]);
    }
}

/* ---- the door -------------------------------------------------------------------------------------------------- */

static void door_shut(sim *s, int key)
{
    s->keys[key].door = 0;
}

static bool is_private(const client *c, int64_t at_us)
{
    return c->no_guard || at_us >= c->begun_us + c->wait_us;
}

static void load_began(sim *s, const client *c, const task *load)
{
    const ldr_request *r = load->want.request;
    s->n_loads++;
    for (size_t i = 0; i < r->n_items; i++) {
        truth *k = &s->keys[key_of(r->items[i]->key)];
        if (c && c->refresh) /* nobody joins what began before */
            k->door = 0;
        if (c && is_private(c, now(s)))
            continue;
        if (k->door)
            fail_msg("seed %llu: door: two loads of %s at a time", (unsigned long long)s->seed, k->name);
        k->door = (int)load->id + 1;
    }
}

static void load_ended(sim *s, uint64_t id)
{
    for (int i = 0; i < KEYS; i++)
        if (s->keys[i].door == (int)id + 1)
            s->keys[i].door = 0;
}

static const client *client_of(const sim *s, const task *load)
{
    for (int i = 0; i < CLIENTS; i++)
        if (s->clients[i].t && s->clients[i].t->spawned == load)
            return &s->clients[i];
    return NULL;
}

/* New questions get their times; a load is new when it is first seen here, before anything else can happen. */
static void notice_jobs(sim *s)
{
    for (size_t i = 0; i < s->h->n_tasks; i++) {
        task *t = &s->h->tasks[i];
        job *j = &s->jobs[i];
        if (!wants_source(t) || j->known)
            continue;
        *j = (job){.known = true, .run_us = now(s) + draw(s, 8000)};
        j->answer_us = j->run_us + (chance(s, 5) ? draw(s, 150000) : draw(s, 8000));
        if (t->want.request->verb == LDR_LOAD)
            load_began(s, client_of(s, t), t);
    }
}

/* ---- the judge ------------------------------------------------------------------------------------------------- */

static void accuse(const sim *s, const char *what, const truth *k, int got, int wanted)
{
    fail_msg("seed %llu: %s: key %s gave commit %d, wanted at least %d of %d", (unsigned long long)s->seed, what, k->name, got,
             wanted, latest(k));
}

static int64_t superseded_us(const truth *k, int nr)
{
    return nr < latest(k) ? k->all[nr + 1].at_us : LDR_NEVER;
}

/* Absent has no number: the latest absence that was current at or after asked_us, the most forgiving reading. */
static int commit_of(const sim *s, const truth *k, const ldr_answer *a)
{
    int nr = -1;
    if (a->kind == LDR_NONE) {
        for (nr = latest(k); nr > 0 && !k->all[nr].absent; nr--)
            continue;
        return k->all[nr].absent ? nr : -1;
    }
    char text[32] = "";
    size_t n = a->value.n < 31 ? a->value.n : 31;
    memcpy(text, a->value.p, n);
    if (memcmp(text, k->name, 2) != 0 || sscanf(text + 2, ":%d", &nr) != 1 || nr < 0 || nr > latest(k) || k->all[nr].absent)
        fail_msg("seed %llu: thin air: key %s gave \"%s\"", (unsigned long long)s->seed, k->name, text);
    return nr;
}

static void judge_key(sim *s, const client *c, int i)
{
    const truth *k = &s->keys[c->keys[i]];
    const ldr_answer *a = ldr_get_answer(c->t->op, (size_t)i);
    s->n_reads++;
    if (a->err.code != LDR_OK)
        return;
    assert_int_not_equal(a->outcome, LDR_MISS);
    int nr = commit_of(s, k, a);
    if (nr < c->floor[i])
        accuse(s, "past", k, nr, c->floor[i]);
    if (superseded_us(k, nr) < a->asked_us)
        accuse(s, "age", k, nr, latest(k));
    int64_t read_us = c->n == 1 ? now(s) : c->begun_us; /* one of several may have been read long before the last */
    if (a->tier == LDR_TIER_L1 && read_us - a->asked_us >= s->hard_us)
        fail_msg("seed %llu: hard bound: outcome %d, age %lld, bound %lld, soft %lld", (unsigned long long)s->seed, a->outcome,
                 (long long)(now(s) - a->asked_us), (long long)s->hard_us, (long long)(a->soft_us - a->asked_us));
    if (c->refresh && (a->outcome == LDR_LOADED || a->outcome == LDR_JOINED || a->outcome == LDR_ABSENT) && nr < c->newest[i])
        accuse(s, "refresh", k, nr, c->newest[i]);
    s->n_stale += a->outcome == LDR_STALE;
}

static void raise_floor(truth *k, int nr)
{
    if (nr > k->floor)
        k->floor = nr;
}

static void judge_write(sim *s, client *c, int commit_nr)
{
    int64_t version;
    truth *k = &s->keys[c->keys[0]];
    door_shut(s, c->keys[0]);
    if (ldr_put_result(c->t->op, 0, &version)->code == LDR_OK)
        raise_floor(k, commit_nr);
}

/* ---- clients --------------------------------------------------------------------------------------------------- */

static void rest(sim *s, client *c)
{
    c->t = NULL;
    c->act_us = now(s) + 1 + draw(s, 30000);
}

static void begin_read(sim *s, client *c)
{
    const char *names[3];
    ldr_asking a = LDR_ASKING_DEFAULTS;
    c->n = chance(s, 15) ? 1 + (int)draw(s, 3) : 1;
    for (int i = 0; i < c->n; i++) {
        c->keys[i] = i ? (c->keys[0] + i) % KEYS : (int)draw(s, KEYS);
        names[i] = s->keys[c->keys[i]].name;
        c->floor[i] = s->keys[c->keys[i]].floor;
        c->newest[i] = latest(&s->keys[c->keys[i]]);
    }
    c->refresh = a.refresh = chance(s, 4);
    c->no_guard = a.no_guard = chance(s, 3);
    a.level = chance(s, 10) ? LDR_WEAK : LDR_EVENTUAL;
    a.on_timeout = (int)draw(s, 3);
    a.wait_us = chance(s, 20) ? draw(s, 5000) : 60 * MS;
    a.timeout_us = chance(s, 10) ? draw(s, 10000) : 200 * MS;
    c->wait_us = a.wait_us;
    c->begun_us = now(s);
    c->deadline_us = c->begun_us + a.timeout_us;
    c->t = begin_get_many(s->h, &a, names, (size_t)c->n);
}

static void begin_write(sim *s, client *c)
{
    ldr_writing w = {.timeout_us = LDR_NEVER, .if_version = LDR_ANY, .ttls = {LDR_UNSET, LDR_UNSET, LDR_UNSET}};
    int key = (int)draw(s, KEYS);
    truth *k = &s->keys[key];
    if (s->versioned && chance(s, 20))
        w.if_version = k->all[latest(k) - (latest(k) > 0 && chance(s, 50))].version;
    *c = (client){.writes = true, .n = 1, .keys = {key}, .deadline_us = LDR_NEVER};
    door_shut(s, key);
    c->t = begin_put(s->h, &w, k->name, chance(s, 30) ? NULL : "the source says what");
}

/* The caller's own transaction in a bracket of marks. */
static void forget(void *ctx, enum ldr_leave leave)
{
    const client *c = ctx;
    sim *s = c->t->user;
    (void)leave;
    ldr_slice name = ldr_slice_str(s->keys[c->keys[0]].name);
    ldr_shelf_erase(s->h->flow->shelf, name, ldr_hash(name, s->h->flow->seed));
}

static void begin_bracket(sim *s, client *c)
{
    int key = (int)draw(s, KEYS);
    ldr_slice name = ldr_slice_str(s->keys[key].name);
    *c = (client){.is_mark = true, .n = 1, .keys = {key}, .deadline_us = LDR_NEVER, .act_us = now(s) + 1 + draw(s, 10000)};
    door_shut(s, key);
    assert_true(ldr_mark_begin(s->h->flow->flights, name, ldr_hash(name, s->h->flow->seed), &c->mark));
}

static void end_bracket(sim *s, client *c)
{
    truth *k = &s->keys[c->keys[0]];
    task dummy = {.user = s};
    int nr = chance(s, 80) ? commit_key(s, c->keys[0], chance(s, 20)) : -1;
    c->t = &dummy;
    ldr_mark_end(s->h->flow->flights, &c->mark, 0, forget, c);
    raise_floor(k, nr);
    door_shut(s, c->keys[0]);
    c->is_mark = false;
    rest(s, c);
}

static void write_from_outside(sim *s)
{
    int key = (int)draw(s, KEYS), nr = commit_key(s, key, chance(s, 30));
    if (chance(s, 30)) { /* its author tells us before it goes on */
        invalidate(s->h, s->keys[key].name);
        door_shut(s, key);
        raise_floor(&s->keys[key], nr);
        return;
    }
    for (size_t i = 0; i < 64 && chance(s, 80); i++) /* else nobody ever tells */
        if (s->news[i].at_us == 0) {
            s->news[i] = (told){.at_us = now(s) + 1 + draw(s, 20000), .key = key, .commit = nr};
            return;
        }
}

static void tell(sim *s, told *n)
{
    truth *k = &s->keys[n->key];
    changed(s->h, k->name, s->versioned ? k->all[n->commit].version : 0);
    door_shut(s, n->key);
    raise_floor(k, s->versioned ? n->commit : latest(k));
    if (chance(s, 80)) /* else told twice */
        n->at_us = 0;
    else
        n->at_us = now(s) + 1 + draw(s, 20000);
}

static void invalidate_key(sim *s)
{
    int key = (int)draw(s, KEYS);
    invalidate(s->h, s->keys[key].name);
    door_shut(s, key);
    raise_floor(&s->keys[key], latest(&s->keys[key]));
}

static void invalidate_all(sim *s)
{
    ldr_drop_all(s->h->flow, LDR_CAUSE_ALL);
    for (int i = 0; i < KEYS; i++) {
        door_shut(s, i);
        raise_floor(&s->keys[i], latest(&s->keys[i]));
    }
}

static void act(sim *s, client *c)
{
    unsigned what = draw(s, 1000);
    if (c->is_mark) {
        end_bracket(s, c);
        return;
    }
    *c = (client){.act_us = now(s) + 1 + draw(s, 30000)};
    if (what < 760 || (s->calm && what % 20 > 0))
        begin_read(s, c);
    else if (what < 850)
        begin_write(s, c);
    else if (what < 880)
        begin_bracket(s, c);
    else if (what < 950)
        write_from_outside(s);
    else if (what < 985)
        invalidate_key(s);
    else if (what < 987)
        invalidate_all(s);
    else if (s->can_touch)
        ldr_touch(s->h->flow, ldr_slice_str(s->keys[draw(s, KEYS)].name), draw(s, 100000));
}

/* A coroutine that is collected: its operation ends in whatever stage it is, with its load or without. */
static void drop_client(sim *s, client *c)
{
    task *load = c->t->spawned;
    bool loads = !c->writes && wants_source(load) && client_of(s, load) == c;
    if (c->writes) {
        job *j = &s->jobs[c->t->id];
        if (!j->ran && chance(s, 50)) /* it had been sent */
            commit_key(s, c->keys[0], false);
        j->known = false;
        door_shut(s, c->keys[0]);
    }
    if (loads && chance(s, 50)) {
        load_ended(s, load->id);
        s->jobs[load->id].known = false;
        task_end(load);
    }
    task_end(c->t);
    rest(s, c);
    house_run(s->h);
}

static void collect(sim *s)
{
    for (int i = 0; i < CLIENTS; i++) {
        client *c = &s->clients[i];
        if (!c->t)
            continue;
        if (!c->t->ended) {
            if (now(s) >= c->deadline_us)
                fail_msg("seed %llu: deadline: a read goes on beyond it", (unsigned long long)s->seed);
            continue;
        }
        for (int k = 0; !c->writes && k < c->n; k++)
            judge_key(s, c, k);
        task_end(c->t);
        rest(s, c);
    }
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void sooner(int64_t *at, int64_t other)
{
    if (other < *at)
        *at = other;
}

static int64_t next_event(const sim *s)
{
    int64_t at = LDR_NEVER;
    for (int i = 0; i < CLIENTS; i++)
        if (!s->clients[i].t)
            sooner(&at, s->clients[i].act_us);
    for (size_t i = 0; i < s->h->n_tasks; i++) {
        const task *t = &s->h->tasks[i];
        if (wants_source(t))
            sooner(&at, s->jobs[i].ran ? s->jobs[i].answer_us : s->jobs[i].run_us);
        else if (t->op && !t->ended)
            sooner(&at, t->want.deadline_us);
    }
    for (size_t i = 0; i < 64; i++)
        if (s->news[i].at_us)
            sooner(&at, s->news[i].at_us);
    return at;
}

static void answer(sim *s, task *t, job *j)
{
    bool load = t->want.request->verb == LDR_LOAD;
    int commit_nr = j->commits[0];
    j->known = false;
    if (load) {
        load_ended(s, t->id);
        proceed(t);
        return;
    }
    for (int i = 0; i < CLIENTS; i++)
        if (s->clients[i].t == t) {
            proceed(t);
            judge_write(s, &s->clients[i], commit_nr);
            return;
        }
    fail_msg("a write of nobody");
}

static void jobs_go_on(sim *s)
{
    for (size_t i = 0; i < s->h->n_tasks; i++) {
        task *t = &s->h->tasks[i];
        job *j = &s->jobs[i];
        if (!wants_source(t) || !j->known)
            continue;
        if (!j->ran && now(s) >= j->run_us) {
            run_job(s, t, j);
        } else if (j->ran && now(s) >= j->answer_us) {
            answer(s, t, j);
            notice_jobs(s);
            collect(s);
        }
    }
}

static void all_go_on(sim *s)
{
    house_run(s->h);
    notice_jobs(s);
    collect(s);
    jobs_go_on(s);
    for (int i = 0; i < CLIENTS; i++)
        if (!s->clients[i].t && now(s) >= s->clients[i].act_us) {
            act(s, &s->clients[i]);
            notice_jobs(s);
            collect(s);
        }
    for (size_t i = 0; i < 64; i++)
        if (s->news[i].at_us && now(s) >= s->news[i].at_us)
            tell(s, &s->news[i]);
    client *c = &s->clients[draw(s, CLIENTS)];
    if (c->t && chance(s, 2))
        drop_client(s, c);
    notice_jobs(s);
    collect(s);
}

/* ---- one run ---------------------------------------------------------------------------------------------------- */

static sim *sim_new(uint64_t seed)
{
    sim *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->seed = s->rng.s = seed;
    s->versioned = chance(s, 50);
    s->calm = chance(s, 40);
    house_options o = {.read_pattern = LDR_READ_THROUGH, .write_pattern = chance(s, 70) ? LDR_WRITE_THROUGH : LDR_WRITE_AROUND,
                       .calls = chance(s, 30), .unversioned = !s->versioned};
    o.cache.ttl_us = (1 + draw(s, 100)) * MS;
    o.cache.stale_ttl_us = chance(s, 50) ? draw(s, 100) * MS : 0;
    o.cache.negative_ttl_us = chance(s, 70) ? (1 + draw(s, 50)) * MS : 0;
    o.cache.jitter = chance(s, 30) ? 0.5 : 0;
    o.cache.source_timeout_us = 500 * MS;
    o.cache.l1_shards = 1;
    o.cache.seed = seed | 1;
    o.bound_hard_us = chance(s, 30) ? (10 + draw(s, 50)) * MS : 0;
    s->can_touch = o.bound_hard_us > 0;
    int64_t own = o.cache.ttl_us + o.cache.stale_ttl_us;
    s->hard_us = o.bound_hard_us ? o.bound_hard_us : own > o.cache.negative_ttl_us ? own : o.cache.negative_ttl_us;
    s->h = house_new(&o);
    for (int i = 0; i < KEYS; i++) {
        truth *k = &s->keys[i];
        snprintf(k->name, sizeof k->name, "k%d", i);
        k->all = calloc(HISTORY, sizeof *k->all);
        assert_non_null(k->all);
        k->all[0].absent = true;
        k->n = 1;
    }
    for (int i = 0; i < CLIENTS; i++)
        s->clients[i].act_us = now(s) + draw(s, 30000);
    return s;
}

static void sim_free(sim *s)
{
    for (int i = 0; i < CLIENTS; i++)
        if (s->clients[i].is_mark)
            end_bracket(s, &s->clients[i]);
    house_free(s->h);
    for (int i = 0; i < KEYS; i++)
        free(s->keys[i].all);
    free(s);
}

static void no_answer_is_worse_than_promised(void **state)
{
    (void)state;
    ldr_rng seeds = bed_rng("simulation");
    long n_reads = 0, n_loads = 0, n_stale = 0;
    for (long round = 0; round < bed_times(25, 2000); round++) {
        sim *s = sim_new(round == 0 && getenv("LARDER_SIM") ? strtoull(getenv("LARDER_SIM"), NULL, 10) : ldr_rng_next(&seeds));
        for (int n = 0; n < 6000; n++) {
            int64_t at = next_event(s);
            if (at > now(s))
                ldr_clock_advance(&s->h->flow->clock, at - now(s));
            all_go_on(s);
        }
        n_reads += s->n_reads;
        n_loads += s->n_loads;
        n_stale += s->n_stale;
        sim_free(s);
    }
    printf("# simulation: %ld keys read, %ld loads, %ld stale answers\n", n_reads, n_loads, n_stale);
    assert_true(n_reads > 1000 && n_loads > 100 && n_stale > 0); /* it did happen; how often is the seed's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_answer_is_worse_than_promised),
    };
    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
