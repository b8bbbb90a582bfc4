/* mem.h - memory is handed in: one function that allocates, grows and frees, and can fail.
 *
 * Every allocation of the core goes through an ldr_mem, so that a test can fail the n-th one and an
 * embedder can count them. Sizes are checked by the caller; a NULL return is "out of memory", never an abort. */
#ifndef LDR_BASE_MEM_H
#define LDR_BASE_MEM_H

#include <stddef.h>

typedef struct ldr_mem {
    /* Like realloc: p NULL allocates, size 0 frees (and gives NULL). Must be callable from any thread. */
    void *(*realloc)(void *ctx, void *p, size_t size);
    void *ctx;
} ldr_mem;

/* The C library's allocator. */
extern const ldr_mem ldr_mem_system;

void *ldr_mem_new(const ldr_mem *mem, size_t size);            /* uninitialised; NULL when out of memory */
void *ldr_mem_zero(const ldr_mem *mem, size_t n, size_t size); /* n * size zeroed bytes; NULL on overflow too */
void *ldr_mem_grow(const ldr_mem *mem, void *p, size_t size);  /* p stays valid when NULL is returned */
void ldr_mem_free(const ldr_mem *mem, void *p);                /* NULL is fine */
char *ldr_mem_dup(const ldr_mem *mem, const void *p, size_t n); /* n bytes and a NUL behind them */

#endif
