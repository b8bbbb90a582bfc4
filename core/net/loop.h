/* loop.h - the mailbox of one event loop (a Lua state, a blocking caller): any thread posts ids, the owner waits.
 *
 * Backed by an eventfd, so that a foreign loop can watch the descriptor; a loop that can only watch its own sockets
 * (nginx) connects to a unix socket and is told by a byte. Posting never blocks and never fails: a bounded ring that
 * is full makes the owner look at everything (`overflow`). */
#ifndef LDR_NET_LOOP_H
#define LDR_NET_LOOP_H

#include "base/mem.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ldr_loop ldr_loop;

ldr_loop *ldr_loop_new(const ldr_mem *mem); /* NULL: out of memory or descriptors */
void ldr_loop_free(ldr_loop *l);
void ldr_loop_post(ldr_loop *l, uint64_t id); /* from any thread */
void ldr_loop_forget(ldr_loop *l, uint64_t id); /* what was posted of it is taken back: nobody waits for it any more */
int ldr_loop_fd(const ldr_loop *l);
/* Waits until something was posted or timeout_us passed (0: only looks; below 0: no limit). Copies up to `max` ids and
 * gives their number. EINTR is not an error: it goes on waiting. Sets *overflow when posts were dropped. */
size_t ldr_loop_wait(ldr_loop *l, int64_t timeout_us, uint64_t *ids, size_t max, bool *overflow);

/* A descriptor that the loop waits for beside its mailbox (a channel to Redis). Only the loop's own thread touches it. Its
 * functions are called from ldr_loop_wait; they may post, watch and unwatch. Who wants the wait to end posts. */
typedef struct ldr_watch {
    int fd;           /* -1: none now, only the time counts */
    short events;     /* of poll: POLLIN, POLLOUT */
    int64_t until_us; /* on CLOCK_MONOTONIC: `ready` is called then at the latest; LDR_NEVER */
    void (*before)(struct ldr_watch *w); /* the loop is about to wait: send what there is, say what to wait for */
    void (*ready)(struct ldr_watch *w, short revents); /* 0: the time has come */
    void (*forked)(struct ldr_watch *w); /* this is a child: the descriptor is the parent's */
} ldr_watch;
bool ldr_loop_watch(ldr_loop *l, ldr_watch *w); /* false: out of memory */
void ldr_loop_unwatch(ldr_loop *l, ldr_watch *w);
ldr_watch *ldr_loop_find(const ldr_loop *l, bool (*is_it)(const ldr_watch *w, const void *ctx), const void *ctx); /* or NULL */

/* The owner says in which process it is, before others may post for it: in a forked child the mailbox is made anew,
 * empty, with descriptors of its own, and the parent's are left alone. */
void ldr_loop_claim(ldr_loop *l, int32_t pid);

/* Makes a listening unix socket, mode 0600 in a folder of mode 0700 below $TMPDIR or /tmp, and gives its path (valid
 * until the next call). What listened or was connected before is closed. NULL: errno says why. */
const char *ldr_loop_listen(ldr_loop *l);
/* Takes the connection that this process has made to that path by now, and removes socket and folder in any case; never
 * blocks. From then on a post into an empty mailbox also writes one byte to the connection. False: there was none. */
bool ldr_loop_accept(ldr_loop *l);
bool ldr_loop_is_foreign(const ldr_loop *l); /* watched by that socket: nobody waits in ldr_loop_wait */

#endif
