/* hub.h - caches of one name in one process hear each other, whatever else they share. The hub is handed in by who embeds
 * the library (the Lua module has one a process); without one a cache is alone. Thread-safe. */
#ifndef LDR_BUS_HUB_H
#define LDR_BUS_HUB_H

#include "base/list.h"
#include "base/mem.h"
#include "base/slice.h"
#include <stdint.h>

typedef struct ldr_hub ldr_hub;

/* One member: what it is told of the others' changes, on the changer's thread, under the hub's lock: it must only drop and
 * note, and must not call the hub. key.n = 0: everything. version 0: unknown. */
typedef struct ldr_hub_member {
    ldr_list link;
    void (*changed)(void *ctx, ldr_slice key, int64_t version);
    void *ctx;
    char name[65];
} ldr_hub_member;

ldr_hub *ldr_hub_new(const ldr_mem *mem);
void ldr_hub_free(ldr_hub *h);
void ldr_hub_join(ldr_hub *h, ldr_hub_member *m);  /* name, changed, ctx are set */
void ldr_hub_leave(ldr_hub *h, ldr_hub_member *m); /* after it returned nothing is told any more; not joined is fine */
void ldr_hub_tell(ldr_hub *h, const ldr_hub_member *from, ldr_slice key, int64_t version); /* all others of that name */
/* In a child, before any other use of the hub there: its locks are made anew; the members stay. Again in the same process:
 * nothing. */
void ldr_hub_forked(ldr_hub *h);

#endif
