/* changes.h - hears of changes that other programs made to the source, through its change table.
 *
 * What a process keeps for itself it fills after the table's newest change was noted, so it begins there. The shared shelf is
 * older than that: in Redis lies a mark, up to which everything was dropped there (tend.h has it read and written). Once it was
 * read the rows behind it are told, too; where they are pruned, or there is no mark, or the table has not come so far (the
 * database was made anew), all is forgotten. Until then nothing is said of what was heard, so the mark stays. */
#ifndef LDR_UPKEEP_CHANGES_H
#define LDR_UPKEEP_CHANGES_H

#include "flow/op.h"

typedef struct ldr_changes {
    ldr_flow *flow;
    int64_t interval_us; /* 0: off */
    int64_t mark;        /* the last change seen; LDR_UNSET: none yet */
    bool reached_back;   /* what was changed behind the shared shelf's mark was told */
    bool failing;        /* the last look failed: told once. Nothing is lost: the next one goes on from the mark */
} ldr_changes;

/* Notes where the change table stands, before anything is cached. LDR_OK or the source's error. */
int ldr_changes_begin(ldr_changes *c, ldr_err *err);
/* One look, in line: drops what changed. Gives the time until the next. For ldr_thread_chore: ctx is the ldr_changes. */
int64_t ldr_changes_look(void *ctx);

#endif
