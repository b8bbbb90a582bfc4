/* resend.h - the keys that Redis must forget, but did not confirm: sent again when it is back. Bounded: beyond its room all
 * of the namespace is to be forgotten. Thread-safe. */
#ifndef LDR_L2_RESEND_H
#define LDR_L2_RESEND_H

#include "base/buf.h"
#include "base/slice.h"
#include "record/item.h"
#include <stdint.h>

typedef struct ldr_resend ldr_resend;

ldr_resend *ldr_resend_new(const ldr_mem *mem, size_t most_keys, size_t most_bytes); /* 0: 65,536 keys, 8 MiB */
void ldr_resend_free(ldr_resend *r);
/* `changed` is called when the first of what waits was added; it must not call resend. After this returned, the one before
 * is called no more. NULL: nobody. */
void ldr_resend_on_change(ldr_resend *r, void (*changed)(void *ctx), void *ctx);
void ldr_resend_add(ldr_resend *r, ldr_slice key, int64_t version); /* the highest version of a key; 0: unknown, which wins.
                                                                       No room or memory: all */
void ldr_resend_add_all(ldr_resend *r);
bool ldr_resend_any(ldr_resend *r);
size_t ldr_resend_count(ldr_resend *r); /* keys that wait */
/* What Redis holds of the key below this version is of before a change that it did not confirm. 0: nothing is owed;
 * INT64_MAX: whatever it holds (or all is to be forgotten). */
int64_t ldr_resend_owed(ldr_resend *r, ldr_slice key);

/* Of a change table, by the numbers of its changes: LDR_UNSET is not known.
 *   found  what lies in Redis is forgotten up to there; the first that is told counts. Changes after it are added, then
 *   heard  says so: all up to this one were added
 *   mark   all up to this one were confirmed. Not known before `heard`, and while all of the namespace is to be forgotten */
void ldr_resend_found(ldr_resend *r, int64_t mark);
int64_t ldr_resend_base(ldr_resend *r); /* what was found */
void ldr_resend_heard(ldr_resend *r, int64_t mark);
int64_t ldr_resend_mark(ldr_resend *r);

/* For the one who sends. Is everything to be forgotten, not only keys? Then that is sent instead, and ldr_resend_all_done
 * told: what was there at this question is gone, keys too; what was added after it stays. */
bool ldr_resend_all(ldr_resend *r);
void ldr_resend_all_done(ldr_resend *r);
/* Copies the key that waits longest to `key` (cleared first) and puts it last: n calls give n keys, where so many wait. It
 * stays until ldr_resend_done of the same version, and longer where it was added once more meanwhile. False: none waits, or no
 * memory for the copy. */
bool ldr_resend_next(ldr_resend *r, ldr_buf *key, int64_t *version);
void ldr_resend_done(ldr_resend *r, ldr_slice key, int64_t version);

#endif
