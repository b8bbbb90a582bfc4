/* link.h - one connection as a machine of bytes: it never touches a socket. Exchanges are queued, their bytes go out in
 * order (pipelining), what comes in is dealt to them in order. Whoever owns the descriptor moves the bytes.
 *
 * A link that failed, timed out with an exchange under way, or holds surplus bytes is broken: all that is queued gets the
 * error, and nothing is accepted any more. One thread at a time. */
#ifndef LDR_WIRE_LINK_H
#define LDR_WIRE_LINK_H

#include "wire/exchange.h"
#include "wire/url.h"

typedef struct ldr_link ldr_link;

/* A link begins with the handshake that the address asks for (AUTH, SELECT; CLIENT SETNAME larder): sent and answered before
 * anything else goes out, its failure breaks the link with a message that holds no secret (a name that may not be set is no
 * failure). address must outlive the link. NULL: out of memory, or a build without Redis (ldr_wire_built). */
ldr_link *ldr_link_new(const ldr_mem *mem, const ldr_address *address, const ldr_reply_limits *limits);
void ldr_link_free(ldr_link *l); /* what is queued fails with LDR_UNAVAILABLE */

/* False: broken, or subscribed; ex is not queued, is done and has the error; nobody is told. Replies of an earlier try are
 * freed. `ended` is called from feed, break, drop of another and free, never from push; it may push, drop and break, but not
 * free the link. Where surplus bytes follow an answer at once, its exchange has LDR_CORRUPT, too. */
bool ldr_link_push(ldr_link *l, ldr_exchange *ex);
bool ldr_link_drop(ldr_link *l, ldr_exchange *ex);   /* its owner waits no more: taken off, not told; where a byte of it was sent
                                                        the link is broken (false). Not queued: fine */
ldr_slice ldr_link_out(ldr_link *l);                 /* bytes to be sent now; n = 0: none. Good until the next call on l */
void ldr_link_sent(ldr_link *l, size_t n, int64_t now_us); /* so many of them were taken by the socket */
bool ldr_link_feed(ldr_link *l, ldr_slice bytes);    /* bytes that came; false: broken now. n = 0: the peer closed */
void ldr_link_break(ldr_link *l, int code, const char *why); /* from outside: a time-out, an error of the socket */
bool ldr_link_is_broken(const ldr_link *l, const ldr_err **err);
bool ldr_link_is_idle(const ldr_link *l);            /* nothing queued, nothing held, handshake done: it may be used again */
size_t ldr_link_queued(const ldr_link *l);

/* After this what comes is not an answer but news: every whole reply is handed to `push` (SUBSCRIBE's own included), which
 * only borrows it. Once a link; out of memory breaks it. */
void ldr_link_subscribe(ldr_link *l, ldr_slice channel, void (*push)(void *ctx, const ldr_reply *reply), void *ctx);

#endif
