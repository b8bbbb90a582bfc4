/* read.h - how a reader finds and copies an entry without a lock. Only core/l1 reads this. */
#ifndef LDR_L1_READ_H
#define LDR_L1_READ_H

#include "l1/shard.h"

typedef struct ldr_look_up {
    ldr_shard *shard;
    ldr_slice key;
    uint64_t hash;
    ldr_buf *bytes; /* gets the block's copy */
    /* what was found */
    ldr_block_head head;
    ldr_slot *slot;
    uint32_t slot_number, word;
    int64_t origin_us;
} ldr_look_up;

bool ldr_shard_look(ldr_look_up *l); /* false: not held, or no memory for the copy */

#endif
