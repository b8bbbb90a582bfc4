/* buf.c - growth by doubling, so that appending n bytes one by one costs O(n).
 *
 * Invariant: n <= cap; p is NULL exactly when cap is 0; after a failed growth the bytes so far stay readable. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#define FIRST_BYTES 64

static bool fail(ldr_buf *b)
{
    b->oom = true;
    return false;
}

bool ldr_buf_reserve(ldr_buf *b, size_t more)
{
    size_t need;
    if (b->oom)
        return false;
    if (more <= b->cap - b->n)
        return true;
    if (__builtin_add_overflow(b->n, more, &need) || need > PTRDIFF_MAX)
        return fail(b);
    size_t cap = b->cap ? b->cap : FIRST_BYTES;
    while (cap < need)
        cap = cap > PTRDIFF_MAX / 2 ? need : cap * 2;
    char *p = ldr_mem_grow(b->mem, b->p, cap);
    if (!p)
        return fail(b);
    b->p = p;
    b->cap = cap;
    return true;
}

void ldr_buf_add_growing(ldr_buf *b, const void *p, size_t n)
{
    if (n == 0 || !ldr_buf_reserve(b, n))
        return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void ldr_buf_byte(ldr_buf *b, unsigned char c)
{
    if (!ldr_buf_reserve(b, 1))
        return;
    b->p[b->n++] = (char)c;
}

void ldr_buf_str(ldr_buf *b, const char *s)
{
    ldr_buf_add(b, s, strlen(s));
}

/* vsnprintf writes a NUL behind the text: room for it is kept, but it is not counted. */
void ldr_buf_fmt(ldr_buf *b, const char *fmt, ...)
{
    va_list ap;
    char none[1];
    va_start(ap, fmt);
    int n = vsnprintf(none, 0, fmt, ap);
    va_end(ap);
    if (n <= 0 || !ldr_buf_reserve(b, (size_t)n + 1))
        return;
    va_start(ap, fmt);
    (void)vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

void ldr_buf_clear(ldr_buf *b)
{
    b->n = 0;
    b->oom = false;
}

void ldr_buf_free(ldr_buf *b)
{
    ldr_mem_free(b->mem, b->p);
    *b = LDR_BUF(b->mem);
}
