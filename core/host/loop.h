/* loop.h - the mailbox of one event loop (a Lua state, a blocking caller): any thread posts ids, the owner waits.
 *
 * Backed by an eventfd, so that a foreign loop can watch the descriptor. Posting never blocks and never fails:
 * a bounded ring that is full makes the owner look at everything (`overflow`). */
#ifndef LDR_HOST_LOOP_H
#define LDR_HOST_LOOP_H

#include "base/mem.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct ldr_loop ldr_loop;

ldr_loop *ldr_loop_new(const ldr_mem *mem); /* NULL: out of memory or descriptors */
void ldr_loop_free(ldr_loop *l);
void ldr_loop_post(ldr_loop *l, uint64_t id); /* from any thread */
int ldr_loop_fd(const ldr_loop *l);
/* Waits until something was posted or timeout_us passed (0: only looks; below 0: no limit). Copies up to `max` ids and
 * gives their number. EINTR is not an error: it goes on waiting. Sets *overflow when posts were dropped. */
size_t ldr_loop_wait(ldr_loop *l, int64_t timeout_us, uint64_t *ids, size_t max, bool *overflow);

#endif
