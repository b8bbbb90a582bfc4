/* changes.h - hears of changes that other programs made to the source, through its change table. */
#ifndef LDR_UPKEEP_CHANGES_H
#define LDR_UPKEEP_CHANGES_H

#include "flow/op.h"

typedef struct ldr_changes {
    ldr_flow *flow;
    int64_t interval_us; /* 0: off */
    int64_t mark;        /* the last change seen; LDR_UNSET: none yet */
    bool failing;        /* the last look failed: told once. Nothing is lost: the next one goes on from the mark */
} ldr_changes;

/* Notes where the change table stands, before anything is cached. LDR_OK or the source's error. */
int ldr_changes_begin(ldr_changes *c, ldr_err *err);
/* One look, in line: drops what changed. Gives the time until the next. For ldr_thread_chore: ctx is the ldr_changes. */
int64_t ldr_changes_look(void *ctx);

#endif
