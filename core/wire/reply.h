/* reply.h - one reply of a Redis server as a tree, and the reader that makes it of bytes. hiredis's reader does the
 * parsing, in reply.c and nowhere else; the limits here are ours and hold before anything is allocated. */
#ifndef LDR_WIRE_REPLY_H
#define LDR_WIRE_REPLY_H

#include "base/buf.h"
#include "larder.h"
#include <stdint.h>

enum ldr_reply_kind { LDR_REPLY_NIL = 0, LDR_REPLY_STATUS, LDR_REPLY_ERROR, LDR_REPLY_INTEGER, LDR_REPLY_STRING, LDR_REPLY_ARRAY };

/* Bytes and items belong to the tree. */
typedef struct ldr_reply {
    int kind;
    int64_t integer;
    ldr_slice str;           /* STATUS, ERROR, STRING */
    struct ldr_reply *items; /* ARRAY: n_items of them, side by side */
    size_t n_items;
} ldr_reply;

typedef struct ldr_reply_limits {
    size_t bytes;    /* of one string; 0: 512 MiB and 64 KiB; at most 1 GiB */
    size_t total;    /* of all strings of one reply together; 0: 4 times bytes */
    size_t elements; /* of all arrays of one reply together; 0: 1,048,576 */
    unsigned depth;  /* of arrays in arrays; 0: 4 */
} ldr_reply_limits;

typedef struct ldr_reply_reader ldr_reply_reader;

ldr_reply_reader *ldr_reply_reader_new(const ldr_mem *mem, const ldr_reply_limits *limits); /* NULL: out of memory */
void ldr_reply_reader_free(ldr_reply_reader *r);
/* Takes bytes as they came. LDR_OK; LDR_TOO_LARGE where more would be held than one string of the limit and 1 MiB; LDR_NOMEM.
 * Then, as after an error of ldr_reply_reader_next, the reader is of no more use. */
int ldr_reply_reader_feed(ldr_reply_reader *r, ldr_slice bytes, ldr_err *err);
/* The next whole reply in *out (NULL: more bytes are needed), the caller's until ldr_reply_free. Errors: LDR_CORRUPT
 * (no such protocol), LDR_TOO_LARGE (also of a length that was only announced), LDR_NOMEM; then the reader is of no more
 * use. Bytes quoted in a message are made printable. */
int ldr_reply_reader_next(ldr_reply_reader *r, ldr_reply **out, ldr_err *err);
bool ldr_reply_reader_empty(const ldr_reply_reader *r); /* nothing is held that was not given out */
/* How many bytes are best fed at once: short ones, for what lies behind a reply is moved when that is given out; the rest
 * of a long string in one piece. */
size_t ldr_reply_reader_piece(const ldr_reply_reader *r);
void ldr_reply_free(const ldr_mem *mem, ldr_reply *reply); /* NULL is fine */

/* Appends one command: argv of n > 0 arguments, any bytes. LDR_OK, or LDR_NOMEM (out->oom is set): also
 * where the command would be 2 GiB or more. */
int ldr_command(ldr_buf *out, const ldr_slice *argv, size_t n);

bool ldr_wire_built(void); /* false: a build with WITH_REDIS=0, in which no reader can be made */

#endif
