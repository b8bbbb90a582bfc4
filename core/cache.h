/* cache.h - a cache as the hosts see it: the flow, Larder's thread, and the word that says "open, and in this process".
 *
 * After a fork the child's word is zero (the page is wiped by the kernel): its first call makes shelf, doorkeeper and
 * thread anew and forgets the parent's connections without touching them. */
#ifndef LDR_CACHE_H
#define LDR_CACHE_H

#include "base/thread.h"
#include "flow/op.h"
#include "sharing.h"
#include "upkeep/changes.h"

#define LDR_CACHE_DOORS 8 /* where threads are counted in and out: several, so that they do not share a line */
#define LDR_CACHE_DOOR_BYTES 128

typedef struct ldr_door {
    _Atomic int64_t n;
    char apart[LDR_CACHE_DOOR_BYTES - sizeof(_Atomic int64_t)];
} ldr_door;

struct ldr_cache {
    ldr_flow flow;
    ldr_shelf_options shelf_options;
    ldr_thread *thread;
    ldr_changes changes;
    atomic_bool chore_runs;
    ldr_sharing sharing;
    _Atomic int32_t *gate;  /* 1 + incarnation + era of hearing: open; 0: closed, or a child that must start anew; below 0: it does */
    uint32_t incarnation;   /* moves when a child started anew: whoever remembers slots must forget them */
    _Atomic int state;      /* enum ldr_cache_state */
    _Atomic int32_t pid;    /* of the process whose rooms these are */
    ldr_door inside[LDR_CACHE_DOORS]; /* threads within a verb of the C interface; their sum counts */
};

enum ldr_cache_state { LDR_CACHE_OPEN = 0, LDR_CACHE_CLOSED };

/* What an embedder may hand in; NULL or zero: the system's. */
typedef struct ldr_environment {
    const ldr_mem *mem;
    ldr_hub *hub;       /* of the process: caches of one name hear each other. Outlives the caches; NULL: each is alone */
    bool virtual_clock; /* time stands at virtual_start_us until ldr_clock_advance(&cache->flow.clock) */
    int64_t virtual_start_us;
} ldr_environment;

int ldr_cache_new(const ldr_options *o, const ldr_environment *env, ldr_cache **out, ldr_err *err);
/* Begins a call: LDR_OK, or LDR_CLOSED, or LDR_NOMEM in a child that could not start anew. Any thread; in a child the
 * first one starts anew and the others wait for it. */
int ldr_cache_enter(ldr_cache *c, ldr_err *err);
/* Runs what is due where there is no thread (virtual clock, poll). */
void ldr_cache_poll(ldr_cache *c);
void ldr_cache_look(ldr_cache *c); /* of that only what asks the source */
/* Closes for all: later calls give LDR_CLOSED. The memory lives until ldr_cache_free. */
void ldr_cache_shut(ldr_cache *c, int64_t wait_us);
/* Frees what a shut cache with no operation under way has no more use for: shelf, source, thread. The figures stay. */
void ldr_cache_strip(ldr_cache *c);
void ldr_cache_free(ldr_cache *c);
/* LDR_OK, LDR_INVALID (empty) or LDR_TOO_LARGE. */
int ldr_cache_check_key(ldr_slice key, ldr_err *err);

#endif
