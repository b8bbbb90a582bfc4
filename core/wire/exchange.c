/* exchange.c - the memory of an exchange: its commands, and room for one reply each, made when a command is added, so that
 * a reply that comes always has its place. */
#include "wire/exchange.h"

#include "base/err.h"

void ldr_exchange_init(ldr_exchange *ex, const ldr_mem *mem)
{
    *ex = (ldr_exchange){.out = LDR_BUF(mem)};
    ldr_list_init(&ex->link);
}

void ldr_exchange_rewind(ldr_exchange *ex)
{
    for (size_t i = 0; i < ex->n_replies; i++)
        ldr_reply_free(ex->out.mem, ex->replies[i]);
    ex->n_replies = 0;
    ex->sent = ex->done = false;
    ex->sent_us = 0;
    ldr_err_clear(&ex->err);
}

void ldr_exchange_clear(ldr_exchange *ex)
{
    ldr_exchange_rewind(ex);
    ldr_buf_clear(&ex->out);
    ex->n_commands = 0;
}

void ldr_exchange_free(ldr_exchange *ex)
{
    const ldr_mem *mem = ex->out.mem;
    ldr_exchange_clear(ex);
    ldr_mem_free(mem, ex->replies);
    ldr_buf_free(&ex->out);
    ex->replies = NULL;
    ex->cap_replies = 0;
}

static bool place(ldr_exchange *ex)
{
    size_t cap, size;
    if (ex->n_commands < ex->cap_replies)
        return true;
    if (__builtin_mul_overflow(ex->cap_replies, 2, &cap) ||
        __builtin_mul_overflow(cap = cap ? cap : 4, sizeof *ex->replies, &size))
        return false;
    ldr_reply **replies = ldr_mem_grow(ex->out.mem, ex->replies, size);
    if (!replies)
        return false;
    ex->replies = replies;
    ex->cap_replies = cap;
    return true;
}

int ldr_exchange_add(ldr_exchange *ex, const ldr_slice *argv, size_t n)
{
    if (!place(ex) || ldr_command(&ex->out, argv, n) != LDR_OK) {
        ex->out.oom = true; /* half a question is not to be sent */
        return LDR_NOMEM;
    }
    ex->n_commands++;
    return LDR_OK;
}

int ldr_exchange_feed(ldr_exchange *ex, ldr_slice bytes)
{
    ldr_reply_reader *r = ldr_reply_reader_new(ex->out.mem, NULL);
    ex->done = true;
    if (!r)
        return ldr_fail_oom(&ex->err);
    int code = ldr_reply_reader_feed(r, bytes, &ex->err);
    while (code == LDR_OK && ex->n_replies < ex->n_commands) {
        ldr_reply *reply = NULL;
        code = ldr_reply_reader_next(r, &reply, &ex->err);
        if (code == LDR_OK && !reply)
            code = ldr_fail(&ex->err, LDR_UNAVAILABLE, "the answer ended before it was whole");
        else if (code == LDR_OK)
            ex->replies[ex->n_replies++] = reply;
    }
    ldr_reply_reader_free(r);
    return code;
}
