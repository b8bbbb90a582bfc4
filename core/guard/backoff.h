/* backoff.h - when a key whose load failed may be tried again: after 1 s, doubling to 30 s.
 *
 * A fixed table, direct-mapped by key hash: two keys of one place forget each other, which costs one early try.
 * Thread-safe. */
#ifndef LDR_GUARD_BACKOFF_H
#define LDR_GUARD_BACKOFF_H

#include "base/mem.h"
#include <stdbool.h>
#include <stdint.h>

#define LDR_BACKOFF_FIRST_US 1000000
#define LDR_BACKOFF_MAX_US 30000000

typedef struct ldr_backoff ldr_backoff;

ldr_backoff *ldr_backoff_new(const ldr_mem *mem); /* NULL: out of memory */
void ldr_backoff_free(ldr_backoff *b, const ldr_mem *mem);
bool ldr_backoff_waits(ldr_backoff *b, uint64_t hash, int64_t now_us); /* true: do not try yet */
void ldr_backoff_failed(ldr_backoff *b, uint64_t hash, int64_t now_us);
void ldr_backoff_worked(ldr_backoff *b, uint64_t hash);

#endif
