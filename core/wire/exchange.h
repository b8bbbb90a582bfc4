/* exchange.h - commands that go to the server together, and the replies that come back: one round trip. It is made by
 * who asks, carried by a link, and belongs to its maker all the time. */
#ifndef LDR_WIRE_EXCHANGE_H
#define LDR_WIRE_EXCHANGE_H

#include "base/list.h"
#include "wire/reply.h"

typedef struct ldr_exchange {
    ldr_list link;       /* in the queue of the link that carries it */
    ldr_buf out;         /* its commands */
    size_t n_commands;   /* replies that will come: one each */
    size_t n_replies, cap_replies;
    ldr_reply **replies; /* those that came, in order */
    bool sent;           /* bytes of it may have reached the server: what it writes may have taken effect */
    bool done;           /* all replies are there, or err says why not; set before `ended` is called */
    ldr_err err;         /* LDR_OK; LDR_TIMEOUT LDR_UNAVAILABLE LDR_CORRUPT LDR_TOO_LARGE LDR_NOMEM */
    int64_t sent_us;     /* the cache's clock just before its first byte was sent */
    void (*ended)(void *ctx, struct ldr_exchange *ex); /* from the thread that carries it; NULL: nobody is told */
    void *ctx;
} ldr_exchange;

void ldr_exchange_init(ldr_exchange *ex, const ldr_mem *mem); /* the same mem as the link's: that makes the replies */
void ldr_exchange_clear(ldr_exchange *ex); /* as new, memory kept; it must not be in a link */
void ldr_exchange_rewind(ldr_exchange *ex); /* the same; keeps the commands: it may be sent again (ldr_link_push does this) */
void ldr_exchange_free(ldr_exchange *ex);  /* the same; frees what it holds */
int ldr_exchange_add(ldr_exchange *ex, const ldr_slice *argv, size_t n); /* one more command: LDR_OK, LDR_NOMEM
                                                                               (after which it must be cleared) */
/* All that came in answer, from a carrier that is no link: ex is done, with its replies or err. LDR_OK or err's code. */
int ldr_exchange_feed(ldr_exchange *ex, ldr_slice bytes);

#endif
