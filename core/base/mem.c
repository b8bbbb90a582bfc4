/* mem.c - the C library's allocator behind ldr_mem, and the checks every allocation shares.
 *
 * A size of 0 is asked as 1, so that NULL always means "out of memory". No object may exceed PTRDIFF_MAX. */
#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *system_realloc(void *ctx, void *p, size_t size)
{
    (void)ctx;
    if (size == 0) {
        free(p);
        return NULL;
    }
    return realloc(p, size);
}

const ldr_mem ldr_mem_system = {.realloc = system_realloc, .ctx = NULL};

void *ldr_mem_grow(const ldr_mem *mem, void *p, size_t size)
{
    if (size > PTRDIFF_MAX)
        return NULL;
    return mem->realloc(mem->ctx, p, size ? size : 1);
}

void *ldr_mem_new(const ldr_mem *mem, size_t size)
{
    return ldr_mem_grow(mem, NULL, size);
}

void *ldr_mem_zero(const ldr_mem *mem, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    void *p = ldr_mem_new(mem, bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

void ldr_mem_free(const ldr_mem *mem, void *p)
{
    if (p)
        mem->realloc(mem->ctx, p, 0);
}

char *ldr_mem_dup(const ldr_mem *mem, const void *p, size_t n)
{
    if (n >= PTRDIFF_MAX)
        return NULL;
    char *copy = ldr_mem_new(mem, n + 1);
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}
