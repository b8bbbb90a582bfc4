/* url.h - where a Redis server is: redis://[user][:password@]host[:port][/db] and redis+unix://[user:password@]/path[?db=0].
 * Percent-escapes are undone. What is secret appears in no message. */
#ifndef LDR_WIRE_URL_H
#define LDR_WIRE_URL_H

#include "base/mem.h"
#include "base/slice.h"
#include "larder.h"
#include <stdint.h>

typedef struct ldr_address {
    char *host;      /* NULL: a unix socket */
    char *path;      /* of the unix socket, at most 107 bytes; NULL: host and port */
    uint16_t port;
    char *user, *password; /* NULL: none */
    int db;
    char name[160];  /* for messages: redis://host:port/db or redis+unix:///path, nothing secret, printable */
} ldr_address;

/* LDR_OK; LDR_INVALID: what is wrong and what is wanted; LDR_UNSUPPORTED: rediss redis+cluster redis+sentinel ("not built
 * yet"); LDR_NOMEM. Also gives a password that is not in the URL (password may be NULL). */
int ldr_address_parse(ldr_address *a, ldr_slice url, const char *password, const ldr_mem *mem, ldr_err *err);
void ldr_address_free(ldr_address *a, const ldr_mem *mem); /* wipes what is secret */

#endif
