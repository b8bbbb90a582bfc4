/* resolve.h - the addresses of a host's name, asked for on a thread of its own: the system's resolver knows no deadline and
 * cannot be called off. Who waits polls a descriptor and may leave at any time; the next one who asks finds the look-up that
 * is still under way, so that there is one at most for each ldr_resolver.
 *
 * Not getaddrinfo_a: its idle helper is still counted on in a forked child, where it is not, and the child's look-ups
 * then never end. */
#ifndef LDR_NET_RESOLVE_H
#define LDR_NET_RESOLVE_H

#include "larder.h"
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef union ldr_place {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
} ldr_place;

#define LDR_PLACES 8 /* of one name; more are not tried */

typedef struct ldr_places {
    ldr_place at[LDR_PLACES];
    unsigned n;
    int error; /* of getaddrinfo: 0, or why there are none */
} ldr_places;

typedef struct ldr_lookup ldr_lookup;

typedef struct ldr_resolver {
    pthread_mutex_t lock;
    ldr_lookup *last; /* one reference; NULL none */
} ldr_resolver;

void ldr_resolver_init(ldr_resolver *r);
void ldr_resolver_fini(ldr_resolver *r);   /* a look-up under way goes on, and frees itself */
void ldr_resolver_forked(ldr_resolver *r); /* in a child: the parent's look-up is forgotten */

/* "127.0.0.1", "::1": true and the address, without asking anybody. */
bool ldr_places_numeric(ldr_places *p, const char *host, uint16_t port);
/* Joins the look-up of a name that is under way, or begins one. LDR_OK; LDR_NOMEM, LDR_UNAVAILABLE (no thread or descriptor
 * can be had). A resolver is always asked for the same name. */
int ldr_lookup_join(ldr_resolver *r, const char *host, uint16_t port, ldr_lookup **out, ldr_err *err);
int ldr_lookup_fd(const ldr_lookup *l);                    /* readable when it has ended */
bool ldr_lookup_ended(ldr_lookup *l, ldr_places *p);       /* false: still under way */
void ldr_lookup_leave(ldr_lookup *l);

#endif
