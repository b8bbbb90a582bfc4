/* links.h - the sockets: connections to one Redis server, made when needed, kept for the next. No other room of the core
 * touches a socket.
 *
 * An exchange is carried in line (ldr_links_talk: the calling thread polls), or put on the channel of an event loop, which
 * sends what many coroutines ask in one go and polls for the answers whenever the loop waits (loop.h).
 *
 * Deadlines hold for all of it: name resolution, connecting, the handshake, sending, receiving. A link that timed out is
 * closed. SIGPIPE is not raised. A breaker stands before: while the server is out of reach, a talk fails at once with
 * LDR_UNAVAILABLE. After a fork the child forgets the parent's descriptors (closes them, sends nothing). */
#ifndef LDR_NET_LINKS_H
#define LDR_NET_LINKS_H

#include "base/clock.h"
#include "guard/breaker.h"
#include "net/loop.h"
#include "wire/link.h"

typedef struct ldr_links ldr_links;

typedef struct ldr_links_options {
    const ldr_address *address; /* outlives the links */
    int64_t timeout_us;         /* of one exchange, connecting included: l2.timeout */
    size_t most_idle;           /* connections kept for the next: 0: 8 */
    const ldr_clock *clock;     /* stamps sent_us and drives the breaker; deadlines of sockets are the machine's own time */
} ldr_links_options;

ldr_links *ldr_links_new(const ldr_links_options *o, const ldr_mem *mem); /* NULL: out of memory; connects to nothing */
void ldr_links_free(ldr_links *l);   /* closes; no talk is under way */
void ldr_links_forked(ldr_links *l); /* in a child, before any use */

/* Carries ex to its end: done, with replies or err. At most min(timeout, deadline_us - now) of real time (deadline_us on
 * the clock of the options; with a virtual clock only the time-out counts). Thread-safe. */
void ldr_links_talk(ldr_links *l, ldr_exchange *ex, int64_t deadline_us);

/* Puts ex on the loop's channel (made at the first): ex->ended is called from within ldr_loop_wait of the same thread.
 * False: it could not be taken, ex is done with err, and nobody is told. The loop must be this thread's, and its owner must
 * wait by ldr_loop_wait: who only watches its descriptor or socket from outside never gets an answer. */
bool ldr_links_submit(ldr_links *l, ldr_loop *loop, ldr_exchange *ex, int64_t deadline_us);
/* Its owner waits no more. After it returned ex is untouched, and `ended` not called. Where bytes of it were sent, the
 * connection is given up, and what else was sent on it ends with LDR_UNAVAILABLE. */
void ldr_links_withdraw(ldr_links *l, ldr_loop *loop, ldr_exchange *ex);
void ldr_links_leave_loop(ldr_links *l, ldr_loop *loop); /* closes the loop's channel; before the loop or the
                                                                links go; not from within `ended` */

bool ldr_links_down(const ldr_links *l); /* the breaker is open */
void ldr_links_up(ldr_links *l);         /* somebody else has seen the server well: the breaker closes */
const char *ldr_links_name(const ldr_links *l); /* of the server, for messages: nothing secret */

const ldr_address *ldr_links_address(const ldr_links *l); /* of the server: for a link of one's own */

/* The next connection of one's own, for the subscriber: a connected, non-blocking socket, or -1 with err. */
int ldr_links_dial(ldr_links *l, int64_t deadline_us, ldr_err *err);

#endif
