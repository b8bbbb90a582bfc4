/* slice.h - a borrowed run of bytes: never owned, never NUL-terminated, any bytes. */
#ifndef LDR_BASE_SLICE_H
#define LDR_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct ldr_slice {
    const char *p;
    size_t n;
} ldr_slice;

static inline ldr_slice ldr_slice_of(const void *p, size_t n)
{
    return (ldr_slice){.p = p, .n = n};
}

static inline ldr_slice ldr_slice_str(const char *s)
{
    return (ldr_slice){.p = s, .n = strlen(s)};
}

static inline bool ldr_slice_eq(ldr_slice a, ldr_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

#endif
