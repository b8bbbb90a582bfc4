/* no_redis.c - stands in for reply.c in a build with WITH_REDIS=0: there is no reader, hence no link. */
#include "wire/reply.h"

ldr_reply_reader *ldr_reply_reader_new(const ldr_mem *mem, const ldr_reply_limits *limits)
{
    (void)mem, (void)limits;
    return NULL;
}

void ldr_reply_reader_free(ldr_reply_reader *r)
{
    (void)r;
}

int ldr_reply_reader_feed(ldr_reply_reader *r, ldr_slice bytes, ldr_err *err)
{
    (void)r, (void)bytes, (void)err;
    return LDR_UNSUPPORTED;
}

int ldr_reply_reader_next(ldr_reply_reader *r, ldr_reply **out, ldr_err *err)
{
    (void)r, (void)err;
    *out = NULL;
    return LDR_UNSUPPORTED;
}

bool ldr_reply_reader_empty(const ldr_reply_reader *r)
{
    (void)r;
    return true;
}

size_t ldr_reply_reader_piece(const ldr_reply_reader *r)
{
    (void)r;
    return 1;
}

void ldr_reply_free(const ldr_mem *mem, ldr_reply *reply)
{
    (void)mem, (void)reply;
}

int ldr_command(ldr_buf *out, const ldr_slice *argv, size_t n)
{
    (void)argv, (void)n;
    out->oom = true;
    return LDR_NOMEM;
}

bool ldr_wire_built(void)
{
    return false;
}
