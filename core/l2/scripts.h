/* scripts.h - the server-side scripts, as the Makefile makes them of redis/: cell.lua and NAME.lua in one, without comments,
 * and its SHA1, by which the server knows it. */
#ifndef LDR_L2_SCRIPTS_H
#define LDR_L2_SCRIPTS_H

#include "base/slice.h"

typedef struct ldr_script {
    char sha[41]; /* 40 hex digits */
    ldr_slice text;
} ldr_script;

#define LDR_SCRIPTS(X) X(lease) X(fill) X(release) X(renew) X(mark) X(set) X(unmark) X(put) X(drop) X(touch) X(drop_all)

#define X(name) extern const ldr_script ldr_script_##name;
LDR_SCRIPTS(X)
#undef X

#endif
