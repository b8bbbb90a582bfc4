/* plan.c - the table of patterns: what each one's verbs do. A new pattern is a row. */
#include "flow/flow.h"

static const ldr_plan plans[LDR_N_PATTERNS] = {
    [LDR_CACHE_ASIDE] = {.name = "cache_aside", .read_source = true},
    [LDR_READ_THROUGH] = {.name = "read_through", .read_source = true},
    [LDR_WRITE_AROUND] = {.name = "write_around", .read_source = true, .write_source = true},
    [LDR_WRITE_THROUGH] = {.name = "write_through", .read_source = true, .write_source = true, .write_keeps = true},
};

const ldr_plan *ldr_plan_of(int pattern)
{
    return pattern >= 0 && pattern < LDR_N_PATTERNS ? &plans[pattern] : NULL;
}
