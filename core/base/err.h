/* err.h - a run-time failure as a value: a stable code and one sentence (who, what, which key or peer). */
#ifndef LDR_BASE_ERR_H
#define LDR_BASE_ERR_H

#include "base/slice.h"
#include "larder.h"

/* Sets code and message (cut at the room there is); gives the code, so that a caller can `return ldr_fail(...)`.
 * err may be NULL. */
int ldr_fail(ldr_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int ldr_fail_oom(ldr_err *err); /* LDR_NOMEM "out of memory" */
void ldr_err_clear(ldr_err *err);

/* A key for a message: printable, at most 64 bytes and "...", any other byte as \xNN. Gives `out`. */
#define LDR_KEY_TEXT 72
const char *ldr_key_text(ldr_slice key, char out[LDR_KEY_TEXT]);

#endif
