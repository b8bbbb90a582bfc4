/* all.h - the algorithms, one line each. Only policy.c reads this. */
#ifndef LDR_POLICY_ALL_H
#define LDR_POLICY_ALL_H

#include "policy/policy.h"

extern const ldr_policy_ops ldr_policy_fifo;
extern const ldr_policy_ops ldr_policy_lru;
extern const ldr_policy_ops ldr_policy_clock;
extern const ldr_policy_ops ldr_policy_sieve;
extern const ldr_policy_ops ldr_policy_s3fifo;

#endif
