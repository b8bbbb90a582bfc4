/* policy.h - who leaves when the shelf is full. An algorithm is one file and one const table of functions.
 *
 * Pure: it works on slot numbers, reads no clock, allocates nothing, knows no pointer of its own: each node is
 * reached through the `nodes` it is given, so that the same file serves heap, shared memory and simulator. */
#ifndef LDR_POLICY_POLICY_H
#define LDR_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LDR_NO_SLOT UINT32_MAX

/* What a policy keeps in each slot. `mark` may be raised by readers without a lock (relaxed atomics). */
typedef struct ldr_node {
    uint32_t prev, next;
    uint8_t mark;  /* visited bit or hit count */
    uint8_t queue; /* which of the policy's lists it stands in */
} ldr_node;

/* Implementation's own header part (the shelf's author decides: how nodes and ghosts are reached, sizes, ...). */

#endif
