/* unpack.h - reads msgpack token by token from borrowed bytes: allocates nothing, recurses nowhere, believes nothing.
 *
 * msgpack-c's own reader stops at 32 levels and allocates by the counts it reads; values may be 100 levels deep and
 * come from strangers. A container's count is checked against the bytes that are left (one an element at least), so
 * a caller may allocate by it. The caller checks the depth. */
#ifndef LDR_RECORD_UNPACK_H
#define LDR_RECORD_UNPACK_H

#include "base/slice.h"
#include <stdint.h>

#define LDR_VALUE_MAX_DEPTH 100 /* containers within containers, the outermost counted */

typedef struct ldr_unpack {
    const unsigned char *p, *end; /* p == end: all was read */
} ldr_unpack;

enum ldr_token_type {
    LDR_TOKEN_NIL = 0,
    LDR_TOKEN_BOOL,   /* b */
    LDR_TOKEN_INT,    /* i */
    LDR_TOKEN_UINT,   /* u: above INT64_MAX only */
    LDR_TOKEN_DOUBLE, /* d: also of 4-byte floats */
    LDR_TOKEN_STR,    /* s: any bytes */
    LDR_TOKEN_BIN,    /* s */
    LDR_TOKEN_EXT,    /* s; ext_type */
    LDR_TOKEN_ARRAY,  /* n: that many objects follow */
    LDR_TOKEN_MAP     /* n: that many pairs follow */
};

typedef struct ldr_token {
    int type; /* enum ldr_token_type */
    int8_t ext_type;
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        uint32_t n;
        ldr_slice s; /* borrowed from the bytes that are read */
    };
} ldr_token;

static inline ldr_unpack ldr_unpack_of(ldr_slice bytes)
{
    const unsigned char *p = (const unsigned char *)bytes.p;
    return (ldr_unpack){.p = p, .end = bytes.n ? p + bytes.n : p};
}

/* The next token. false: the bytes end here or are not msgpack; *t is then undefined, and so is where u stands. */
bool ldr_unpack_next(ldr_unpack *u, ldr_token *t);
/* Passes one whole object with all that is in it. false as above. */
bool ldr_unpack_skip(ldr_unpack *u);

#endif
