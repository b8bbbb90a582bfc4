/* buf.h - a growable byte buffer. A failed growth sets `oom` and later appends do nothing, so a writer may
 * append without looking and ask once at the end. Zero-initialise with LDR_BUF(mem); free with ldr_buf_free. */
#ifndef LDR_BASE_BUF_H
#define LDR_BASE_BUF_H

#include "base/mem.h"
#include "base/slice.h"

typedef struct ldr_buf {
    char *p;
    size_t n, cap;
    const ldr_mem *mem;
    bool oom;
} ldr_buf;

#define LDR_BUF(m) ((ldr_buf){.mem = (m)})

bool ldr_buf_reserve(ldr_buf *b, size_t more); /* room for `more` bytes behind n; false: oom is set */
void ldr_buf_add_growing(ldr_buf *b, const void *p, size_t n); /* ldr_buf_add where there is not yet room */
void ldr_buf_byte(ldr_buf *b, unsigned char c);
void ldr_buf_str(ldr_buf *b, const char *s);
void ldr_buf_fmt(ldr_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ldr_buf_clear(ldr_buf *b); /* keeps the memory, forgets bytes and oom */
void ldr_buf_free(ldr_buf *b);

/* Appends n bytes. In line: a row is some twenty of them, most of a few bytes. */
static inline void ldr_buf_add(ldr_buf *b, const void *p, size_t n)
{
    if (n == 0 || n > b->cap - b->n || b->oom) {
        ldr_buf_add_growing(b, p, n);
        return;
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline ldr_slice ldr_buf_slice(const ldr_buf *b)
{
    return (ldr_slice){.p = b->p, .n = b->n};
}

#endif
