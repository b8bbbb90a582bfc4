/* level.h - the rules of truth: a consistency level is a pure function of an entry and the time. */
#ifndef LDR_COHERENCE_LEVEL_H
#define LDR_COHERENCE_LEVEL_H

#include "record/record.h"

enum ldr_verdict {
    LDR_SERVE,       /* the level admits it, within its soft expiry */
    LDR_SERVE_STALE, /* the level admits it, past its soft expiry */
    LDR_ASK          /* the source must be asked; the entry may still do when that fails */
};

/* What a read at `level` (enum ldr_level) may do with an entry that is within its hard expiry at now_us. */
enum ldr_verdict ldr_level_judge(int level, const ldr_record *r, int64_t now_us);

#endif
