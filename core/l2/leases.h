/* leases.h - the leases that this process holds in Redis while it loads, for who renews them; and who waits here for a lease
 * that another process holds, for who is told of its end. Thread-safe. */
#ifndef LDR_L2_LEASES_H
#define LDR_L2_LEASES_H

#include "base/list.h"
#include "base/mem.h"
#include "base/slice.h"
#include <stdint.h>

typedef struct ldr_leases ldr_leases;

/* Lives in who loads. */
typedef struct ldr_lease {
    ldr_list link;
    ldr_slice key;
    uint64_t hash, token;
    int64_t ttl_us, since_us, until_us; /* renewed when half of ttl_us is over, at most LDR_LEASE_MOST_US after since_us */
} ldr_lease;

/* Lives in who waits. */
typedef struct ldr_lease_wait {
    ldr_list link;
    uint64_t hash;
    void (*wake)(void *ctx, uint64_t id); /* from any thread; must not call leases */
    void *ctx;
    uint64_t id;
} ldr_lease_wait;

#define LDR_LEASE_MOST_US (60 * (int64_t)1000000)

ldr_leases *ldr_leases_new(const ldr_mem *mem);
void ldr_leases_free(ldr_leases *l);
void ldr_leases_forked(ldr_leases *l); /* in a child, before any use: the leases and waits are the parent's; those here forget them */
/* begin: link is initialised by it. `changed` (may be NULL) is called when what is due next is earlier than it was; it must
 * not call leases. */
void ldr_leases_on_change(ldr_leases *l, void (*changed)(void *ctx), void *ctx);
void ldr_lease_begin(ldr_leases *l, ldr_lease *lease);
void ldr_lease_end(ldr_leases *l, ldr_lease *lease); /* not begun, or again: fine */
int64_t ldr_leases_due(ldr_leases *l);               /* when the next renewal may be due, not later; LDR_NEVER none */
/* Copies key and token of up to `max` leases that are due at now_us and counts them as renewed until now + ttl, at most
 * LDR_LEASE_MOST_US after their begin: a copy's ttl_us is what is left to that. Keys are copied to `to` (room bytes): what does
 * not fit stays due. Gives how many. */
size_t ldr_leases_take_due(ldr_leases *l, int64_t now_us, ldr_lease *out, size_t max, char *to, size_t room);

void ldr_lease_wait_begin(ldr_leases *l, ldr_lease_wait *w);
void ldr_lease_wait_end(ldr_leases *l, ldr_lease_wait *w); /* not begun, or again: fine; then it is woken no more */
void ldr_leases_wake(ldr_leases *l, uint64_t hash);        /* all who wait for that key */
void ldr_leases_wake_all(ldr_leases *l);

#endif
