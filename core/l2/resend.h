/* resend.h - the keys that Redis must forget, but did not confirm: sent again when it is back. Bounded: beyond its room all
 * of the namespace is to be forgotten. Thread-safe. */
#ifndef LDR_L2_RESEND_H
#define LDR_L2_RESEND_H

#include "base/buf.h"
#include "base/slice.h"
#include <stdint.h>

typedef struct ldr_resend ldr_resend;

ldr_resend *ldr_resend_new(const ldr_mem *mem, size_t most_keys, size_t most_bytes); /* 0: 65,536 keys, 8 MiB */
void ldr_resend_free(ldr_resend *r);
void ldr_resend_add(ldr_resend *r, ldr_slice key, int64_t version); /* the highest version of a key; 0: unknown, which wins.
                                                                       No room or memory: all */
void ldr_resend_add_all(ldr_resend *r);
bool ldr_resend_any(const ldr_resend *r);
bool ldr_resend_all(const ldr_resend *r);       /* everything is to be forgotten, not only keys */
/* Copies the first key that waits; false: none. It stays until ldr_resend_done of the same key and version: a version that
 * was added meanwhile stays longer. */
bool ldr_resend_next(ldr_resend *r, ldr_buf *key, int64_t *version);
void ldr_resend_done(ldr_resend *r, ldr_slice key, int64_t version);
void ldr_resend_all_done(ldr_resend *r);        /* what was there when ldr_resend_all was asked is gone; keys too */

#endif
