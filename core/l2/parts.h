/* parts.h - what the files of this room share: the shelf's state, and who may look at it.
 *
 * `lock` guards what was read from the server; the rest is set once, or atomic. Nobody is called while it is held. */
#ifndef LDR_L2_PARTS_H
#define LDR_L2_PARTS_H

#include "l2/l2.h"
#include "l2/scripts.h"

#include <pthread.h>
#include <stdatomic.h>

#define LDR_L2_DUE_US ((int64_t)1000000)          /* generation and sequence are read again after that */
#define LDR_L2_MOST_LEASE_US ((int64_t)3500000000) /* of a lease or mark: below what scripts believe (AHEAD in cell.lua) */
#define LDR_L2_TOKEN INT64_MAX                    /* the bits of a token: the one above says that a mark is poisoned (cell.lua) */

struct ldr_l2 {
    ldr_mem mem;
    char prefix[80], bell[80];  /* "ldr1:NAME:", "ldr1.bell:NAME" */
    size_t prefix_n, bell_n;
    int64_t tombstone_us;
    int64_t bound_us;           /* LDR_NEVER: none */
    _Atomic uint64_t random;    /* state of splitmix64 */
    _Atomic uint64_t origin;
    _Atomic uint64_t gen;       /* known; 0: not */
    _Atomic int64_t read_us;    /* when generation and sequence were asked last; INT64_MIN: they are to be read */
    atomic_bool loaded[LDR_L2_N_VERBS]; /* the server is believed to know the script */
    atomic_bool bell_is_strange; /* something of another type lies in the bell's place: it is deleted first */

    pthread_mutex_t lock;
    uint64_t told;              /* a generation that was told and not yet read; 0: none */
    int64_t fence_us;           /* a generation that was asked for earlier is not news; LDR_NEVER: since it was told */
    bool knows_sequence;
    uint64_t sequence;
    int64_t sequence_us;        /* when it came */
    bool knows_clock;
    int64_t behind_us, clock_us; /* the server's clock is at least so far ahead of ours; when that was found */
    void (*moved)(void *ctx, enum ldr_l2_news news, uint64_t sequence);
    void *ctx;
};

/* What was read of the bell's hash, and the server's time. */
typedef struct ldr_l2_reading {
    bool has_bell;      /* it was asked, and answered */
    uint64_t gen;       /* 0: missing */
    uint64_t sequence;
    int64_t mark;       /* 0: missing */
    int64_t server_us;
    int64_t sent_us, now_us; /* on our clock: asked, and come */
} ldr_l2_reading;

void ldr_l2_note(ldr_l2 *l, const ldr_l2_reading *r); /* remembers, and tells the news */
void ldr_l2_estranged(ldr_l2 *l); /* something of another type lies in the bell's place, and nothing rings until it is gone */
/* What the server's clock showed at local_us at the least; -1: not known. */
int64_t ldr_l2_server_us(ldr_l2 *l, int64_t local_us);

/* A version, a time or a token as a cell has it: exactly n digits. False: something else. */
bool ldr_cell_digits(const char *p, size_t n, int64_t *out);
bool ldr_cell_hex(const char *p, size_t n, uint64_t *out);

#endif
