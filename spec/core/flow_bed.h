/* flow_bed.h - a test host: operations stepped on a virtual clock, with a source that answers what and when the test says.
 *
 * A task is one operation. It runs until it wants something; a JOB or CALL waits for give...(), a PARK for its waker or
 * the clock. Work that is spawned becomes a task of its own, which the house ends by itself. Nothing happens beside
 * the calls made here, so every schedule can be had again. */
#ifndef SPEC_FLOW_BED_H
#define SPEC_FLOW_BED_H

#include "bed.h"
#include "cache.h"

#define TASKS_MOST 4096
#define KEYS_MOST 8

typedef struct house house;

typedef struct task {
    house *h;
    ldr_op *op;
    ldr_want want;
    struct task *spawned; /* the last work it spawned, while that lasts */
    struct task *maker;   /* who spawned it */
    bool used, is_get, ended, woken, ready, is_spawned;
    int n_wakes;
    uint64_t id;
    size_t n_keys;
    ldr_slice keys[KEYS_MOST], values[KEYS_MOST];
    int kinds[KEYS_MOST];
    char *bytes;
    void *user;
} task;

typedef struct house_options {
    ldr_options cache;
    int read_pattern, write_pattern; /* of the fake source */
    bool no_source, calls;           /* calls: the source has no run, as functions have none */
    bool unversioned, cannot_store, cannot_delete;
    int64_t bound_hard_us;
} house_options;

struct house {
    house_options options;
    bed_mem mem;
    ldr_cache *cache;
    ldr_flow *flow;
    ldr_source source;
    ldr_source_ops ops;
    bool can_wait;
    const void *host;
    task *parent; /* the load in whose loader the next operations are begun */
    size_t n_tasks;
    task tasks[TASKS_MOST];
};

house *house_new(const house_options *o);
void house_free(house *h); /* ends what is left; fails the test where something stayed behind */
int64_t house_now(const house *h);
void house_pass(house *h, int64_t us); /* time goes by, to each deadline in turn */
void house_run(house *h);              /* steps whoever can go on */

task *begin_get(house *h, const ldr_asking *a, const char *key);
task *begin_get_many(house *h, const ldr_asking *a, const char *const *keys, size_t n);
task *begin_put(house *h, const ldr_writing *w, const char *key, const char *value); /* value NULL: delete */
task *ask(house *h, const char *key);
task *ask_load(house *h, const char *key); /* with a loader of the call */
task *set(house *h, const char *key, const char *value);
task *del(house *h, const char *key);
void invalidate(house *h, const char *key);
void changed(house *h, const char *key, int64_t version);
void task_end(task *t); /* drops it in whatever stage it is */

bool wants_source(const task *t); /* a JOB or CALL waits for an answer */
void fill_item(ldr_item *item, const char *value, int64_t version); /* NULL: absent */
void give(task *t, const char *value, int64_t version);             /* every item; NULL: absent (a delete: done) */
void give_error(task *t, int code);
void proceed(task *t); /* items were answered by the test itself */

const ldr_answer *answer_of(const task *t);
const char *value_of(const task *t); /* as text; "" where there is none */
int outcome_of(const task *t);
int error_of(const task *t);       /* of a read or write */
int64_t version_of(const task *t); /* of a write */
const char *peek(house *h, const char *key); /* what L1 holds, as text; NULL: nothing. "-": absent */
uint64_t counted(const house *h, enum ldr_metric what);

house *house_plain(void);                                                  /* read_through, defaults */
house *house_stale(void);                                                  /* ttl 10 s, stale_ttl 100 s */
void load_key(house *h, const char *key, const char *value, int64_t version); /* from now on it is held */
void check_read(task *t, int outcome, const char *value);                  /* it ended so; ends the task */
void check_failed(task *t, int code);

#endif
