/* line.h - what links.c and channel.c share: one connection (a link and its descriptor), the pool of the idle ones, and how
 * an exchange's outcome is told to the breaker. */
#ifndef LDR_NET_LINE_H
#define LDR_NET_LINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/mem.h"
#include "net/dial.h"
#include "net/io.h"
#include "net/links.h"

typedef struct ldr_line {
    ldr_list all, idle; /* in the lists of its links */
    ldr_link *link;
    int fd;             /* -1: not connected yet */
    ldr_dial dial;
    int64_t used_us;    /* the machine's time of its last use */
    bool is_proven;     /* has carried an exchange to its end: where it is found closed, another is worth a try */
} ldr_line;

struct ldr_links {
    const ldr_mem *mem;
    const ldr_address *address;
    const ldr_clock *clock;
    ldr_clock machine;
    int64_t timeout_us;
    size_t most_idle, n_idle;
    ldr_breaker breaker;
    ldr_resolver resolver;
    _Atomic unsigned n_forks;  /* a channel made before the last one is the parent's */
    pthread_mutex_t lock;      /* of what follows, and of n_idle */
    ldr_list all, idle;        /* idle: the one used last is the last */
    ldr_err last;              /* the last failure that was held against the server */
};

/* One exchange on its way. Times are the machine's. */
typedef struct ldr_trip {
    int64_t begun_us, until_us;
    bool is_probe; /* the breaker waits for what becomes of it */
    bool is_local; /* it failed for a want of this process */
} ldr_trip;

int64_t ldr_links_time(const ldr_links *l);                    /* the machine's */
int64_t ldr_links_stamp(const ldr_links *l, int64_t now_us);   /* the cache's, at that time of the machine's, which is now */
/* May ex set out? False: it is done with err (nobody is told), LDR_TIMEOUT or LDR_UNAVAILABLE. */
bool ldr_trip_begin(ldr_trip *t, ldr_links *l, ldr_exchange *ex, int64_t deadline_us);
bool ldr_trip_is_fair(const ldr_trip *t, const ldr_links *l);    /* it had enough time to say something of the server */
void ldr_trip_end(const ldr_trip *t, ldr_links *l, const ldr_err *err); /* tells the breaker */

ldr_line *ldr_line_new(ldr_links *l); /* not connected; NULL: out of memory */
void ldr_line_connected(ldr_line *line, int64_t now_us); /* takes the descriptor of its dial */
void ldr_line_close(ldr_links *l, ldr_line *line);
bool ldr_line_is_fit(const ldr_line *line, int64_t now_us); /* idle for no time to speak of, or looked at: it was not closed */
/* Sends what the link has. LDR_IO_BLOCKED: some is left; LDR_IO_FAILED: errno; else 0. */
long ldr_line_send(ldr_line *line, const ldr_links *l, int64_t now_us);
void ldr_line_receive(ldr_line *line);            /* what is there, up to LDR_IO_BYTES of it, goes to the link */
void ldr_line_failed(ldr_line *line, int why);     /* breaks the link: an errno of the socket */
void ldr_line_late(ldr_line *line, const ldr_trip *t); /* the same: that trip's time is up */

#endif
