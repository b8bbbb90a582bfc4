/* level.c - eventual: within the soft expiry. weak: whatever is held within the hard one. */
#include "coherence/level.h"

enum ldr_verdict ldr_level_judge(int level, const ldr_record *r, int64_t now_us)
{
    if (now_us < r->soft_us)
        return LDR_SERVE;
    return level == LDR_WEAK ? LDR_SERVE_STALE : LDR_ASK;
}
