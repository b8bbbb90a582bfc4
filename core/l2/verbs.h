/* verbs.h - one row a verb: its name for messages, its script, and what the script is told (the letters are in ask.c). */
#ifndef LDR_L2_VERBS_H
#define LDR_L2_VERBS_H

#include "l2/parts.h"

#define LDR_L2_ARG 24 /* room of one argument's text */

typedef struct ldr_l2_verb_row {
    const char *name;
    const ldr_script *script; /* NULL: plain commands */
    const char *args;
    bool writes; /* sent and not answered: it may have taken effect */
} ldr_l2_verb_row;

extern const ldr_l2_verb_row ldr_l2_verbs[LDR_L2_N_VERBS];

#endif
