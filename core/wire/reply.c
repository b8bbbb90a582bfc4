/* reply.c - hiredis's reader behind our own limits, and commands as it would format them.
 *
 * A reply is a chain of blocks; the first begins with the root's node, so that freeing needs nothing but the root, and a
 * reply that came in one piece is one allocation. hiredis keeps the bytes of what is not yet whole in a buffer of its own,
 * made by malloc; it asks us for every node, and there lengths, elements and depth are judged. What it would only wait
 * for is judged after each look at its buffer (check_pending): a length over the limit, a line without end.
 *
 * hiredis 0.14 itself does not look at the CR LF behind a string, takes bare CR and LF into a line, and asserts where it
 * makes its buffer anew (maxbuf): the first two are caught here, the third is never reached, for maxbuf is 0. */
#include "wire/reply.h"

#include "base/err.h"

#include <hiredis.h>
#include <limits.h>
#include <sds.h>
#include <stdlib.h>

_Static_assert(HIREDIS_MAJOR == 0, "hiredis 1.0 and later have another struct of reading tasks");

#define LINE_MOST ((size_t)16 << 10)   /* bytes of a status or an error */
#define NUMBER_MOST 20                 /* bytes of a length or an integer: -9223372036854775808 */
#define SLACK_BYTES ((size_t)1 << 20)  /* of other replies that may be held beside the longest string */
#define STRING_MOST ((size_t)1 << 30)  /* hiredis moves its buffer by int */
#define PIECE_BYTES ((size_t)8 << 10)
#define SPARE_LEAST ((size_t)1 << 10)
#define SPARE_MOST ((size_t)64 << 10)

typedef struct block {
    struct block *next;
    size_t n, cap; /* of the bytes behind it */
} block;

_Static_assert(sizeof(block) % _Alignof(ldr_reply) == 0, "a node stands behind a block's head");

struct ldr_reply_reader {
    const ldr_mem *mem;
    ldr_reply_limits limits;
    redisReader *hi;      /* NULL: failed, see err */
    block *first, *last;  /* of the reply that is being read; last is where there may be room */
    size_t n_elements, n_bytes; /* of that reply */
    size_t wanted;        /* bytes that the string under way still lacks */
    ldr_err err;
};

/* ---- memory of a reply ------------------------------------------------------------------------------------- */

static block *block_new(const ldr_mem *mem, size_t cap)
{
    size_t size;
    block *b = __builtin_add_overflow(sizeof *b, cap, &size) ? NULL : ldr_mem_new(mem, size);
    if (b)
        *b = (block){.cap = cap};
    return b;
}

static void blocks_free(const ldr_mem *mem, block *b)
{
    while (b) {
        block *next = b->next;
        ldr_mem_free(mem, b);
        b = next;
    }
}

/* What is held in hiredis's buffer is likely to be put into the same reply. */
static size_t spare(const ldr_reply_reader *r)
{
    size_t held = r->hi->len - r->hi->pos;
    return held < SPARE_LEAST ? SPARE_LEAST : held > SPARE_MOST ? SPARE_MOST : held;
}

static char *take_new(ldr_reply_reader *r, size_t n)
{
    bool is_large = n > SPARE_MOST / 2; /* the room that is left elsewhere stays in use */
    block *b = block_new(r->mem, is_large ? n : n + spare(r));
    if (!b)
        return NULL;
    b->next = r->first->next;
    r->first->next = b;
    b->n = n;
    if (!is_large)
        r->last = b;
    return (char *)(b + 1);
}

static char *take(ldr_reply_reader *r, size_t n, size_t align)
{
    block *b = r->last;
    size_t from = (b->n + align - 1) & ~(align - 1);
    if (from > b->cap || n > b->cap - from)
        return take_new(r, n);
    b->n = from + n;
    return (char *)(b + 1) + from;
}

/* The node that a task fills: an item of its parent, or a new root, with room for `more` bytes behind it. */
static ldr_reply *node_of(ldr_reply_reader *r, const redisReadTask *task, size_t more)
{
    if (task->parent)
        return ((ldr_reply *)task->parent->obj)->items + task->idx;
    r->first = r->last = block_new(r->mem, sizeof(ldr_reply) + more);
    return r->first ? (ldr_reply *)(void *)take(r, sizeof(ldr_reply), _Alignof(ldr_reply)) : NULL;
}

/* ---- what hiredis asks for: NULL makes it fail, and r->err says why ------------------------------------------ */

static void *refuse(ldr_reply_reader *r, int code, const char *why)
{
    if (code == LDR_NOMEM)
        (void)ldr_fail_oom(&r->err);
    else
        (void)ldr_fail(&r->err, code, "a Redis reply with %s", why);
    return NULL;
}

static void count_anew(ldr_reply_reader *r, const redisReadTask *task)
{
    if (!task->parent)
        r->n_elements = r->n_bytes = 0;
}

static bool too_long(const ldr_reply_reader *r, size_t n)
{
    return n > r->limits.bytes || n > r->limits.total - r->n_bytes;
}

/* p lies in hiredis's buffer, with at least the two bytes behind it that ought to be CR LF. */
static bool string_is_good(ldr_reply_reader *r, const redisReadTask *task, const char *p, size_t n)
{
    bool is_line = task->type != REDIS_REPLY_STRING;
    if ((is_line && n > LINE_MOST) || too_long(r, n))
        return refuse(r, LDR_TOO_LARGE, "a string over the limit");
    if (is_line ? memchr(p, '\r', n) || memchr(p, '\n', n) : p[n] != '\r' || p[n + 1] != '\n')
        return refuse(r, LDR_CORRUPT, "an end of a line that is not CR LF, or not where it should be");
    return true;
}

static int kind_of(int type)
{
    return type == REDIS_REPLY_STRING ? LDR_REPLY_STRING : type == REDIS_REPLY_STATUS ? LDR_REPLY_STATUS : LDR_REPLY_ERROR;
}

static void *create_string(const redisReadTask *task, char *p, size_t n)
{
    ldr_reply_reader *r = task->privdata;
    count_anew(r, task);
    if (!string_is_good(r, task, p, n))
        return NULL;
    ldr_reply *node = node_of(r, task, n);
    char *bytes = node ? take(r, n, 1) : NULL;
    if (!bytes)
        return refuse(r, LDR_NOMEM, "");
    memcpy(bytes, p, n);
    r->n_bytes += n;
    *node = (ldr_reply){.kind = kind_of(task->type), .str = {.p = bytes, .n = n}};
    return node;
}

static bool array_is_good(ldr_reply_reader *r, const redisReadTask *task, size_t n)
{
    unsigned depth = 1;
    for (const redisReadTask *t = task->parent; t; t = t->parent)
        depth++;
    if (depth > r->limits.depth)
        return refuse(r, LDR_CORRUPT, "arrays nested too deep");
    if (n > r->limits.elements - r->n_elements)
        return refuse(r, LDR_TOO_LARGE, "more elements than the limit");
    return true;
}

static void *create_array(const redisReadTask *task, int count)
{
    ldr_reply_reader *r = task->privdata;
    size_t n = (size_t)count, size = n * sizeof(ldr_reply); /* no overflow: an int times 48 */
    count_anew(r, task);
    if (!array_is_good(r, task, n))
        return NULL;
    ldr_reply *node = node_of(r, task, n ? size + spare(r) : 0);
    char *items = node ? take(r, size, _Alignof(ldr_reply)) : NULL;
    if (!items)
        return refuse(r, LDR_NOMEM, "");
    r->n_elements += n;
    *node = (ldr_reply){.kind = LDR_REPLY_ARRAY, .items = (ldr_reply *)(void *)items, .n_items = n};
    return node;
}

static void *create_number(const redisReadTask *task, int kind, int64_t integer)
{
    ldr_reply_reader *r = task->privdata;
    count_anew(r, task);
    ldr_reply *node = node_of(r, task, 0);
    if (!node)
        return refuse(r, LDR_NOMEM, "");
    *node = (ldr_reply){.kind = kind, .integer = integer};
    return node;
}

static void *create_integer(const redisReadTask *task, long long integer)
{
    return create_number(task, LDR_REPLY_INTEGER, integer);
}

static void *create_nil(const redisReadTask *task)
{
    return create_number(task, LDR_REPLY_NIL, 0);
}

/* freeObject is none: the tree is the reader's until it is whole. hiredis only reads this table. */
static redisReplyObjectFunctions functions = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
};

/* ---- the reader ---------------------------------------------------------------------------------------------- */

static size_t or_else(size_t given, size_t otherwise)
{
    return given ? given : otherwise;
}

static ldr_reply_limits whole(const ldr_reply_limits *given)
{
    ldr_reply_limits l = given ? *given : (ldr_reply_limits){0};
    l.bytes = or_else(l.bytes, ((size_t)512 << 20) + ((size_t)64 << 10));
    l.bytes = l.bytes > STRING_MOST ? STRING_MOST : l.bytes;
    l.total = or_else(l.total, 4 * l.bytes);
    l.elements = or_else(l.elements, (size_t)1 << 20);
    l.depth = l.depth ? l.depth : 4;
    return l;
}

ldr_reply_reader *ldr_reply_reader_new(const ldr_mem *mem, const ldr_reply_limits *limits)
{
    ldr_reply_reader *r = ldr_mem_zero(mem, 1, sizeof *r);
    if (!r)
        return NULL;
    r->mem = mem;
    r->limits = whole(limits);
    r->hi = redisReaderCreateWithFunctions(&functions);
    if (!r->hi) {
        ldr_mem_free(mem, r);
        return NULL;
    }
    r->hi->privdata = r;
    r->hi->maxbuf = 0;
    return r;
}

static void let_go(ldr_reply_reader *r)
{
    blocks_free(r->mem, r->first);
    r->first = r->last = NULL;
    redisReaderFree(r->hi);
    r->hi = NULL;
}

void ldr_reply_reader_free(ldr_reply_reader *r)
{
    if (!r)
        return;
    let_go(r);
    ldr_mem_free(r->mem, r);
}

static int tell(const ldr_reply_reader *r, ldr_err *err)
{
    if (err)
        *err = r->err;
    return r->err.code;
}

static int fail(ldr_reply_reader *r, ldr_err *err)
{
    let_go(r);
    return tell(r, err);
}

/* In hiredis's words, in which a byte is quoted as the locale has it. */
static void note_protocol_error(ldr_reply_reader *r)
{
    char why[sizeof r->hi->errstr];
    memcpy(why, r->hi->errstr, sizeof why);
    for (char *c = why; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    (void)ldr_fail(&r->err, LDR_CORRUPT, "what came is no Redis reply (%s)", why);
}

static int fail_of_hiredis(ldr_reply_reader *r, ldr_err *err)
{
    if (r->err.code == LDR_OK && r->hi->err == REDIS_ERR_OOM)
        (void)ldr_fail_oom(&r->err);
    if (r->err.code == LDR_OK)
        note_protocol_error(r);
    return fail(r, err);
}

int ldr_reply_reader_feed(ldr_reply_reader *r, ldr_slice bytes, ldr_err *err)
{
    if (!r->hi)
        return tell(r, err);
    size_t held = r->hi->len - r->hi->pos;
    if (bytes.n > r->limits.bytes + SLACK_BYTES - held) {
        (void)refuse(r, LDR_TOO_LARGE, "more bytes than may be held");
        return fail(r, err);
    }
    if (bytes.n && redisReaderFeed(r->hi, bytes.p, bytes.n) != REDIS_OK)
        return fail_of_hiredis(r, err);
    return LDR_OK;
}

static bool check_line(ldr_reply_reader *r, ldr_slice rest)
{
    if (rest.n > LINE_MOST)
        return refuse(r, LDR_TOO_LARGE, "a line without an end");
    if (memchr(rest.p, '\n', rest.n))
        return refuse(r, LDR_CORRUPT, "a line that does not end with CR LF");
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A number that is not whole yet, or the length of a string that is not. */
static bool check_number(ldr_reply_reader *r, ldr_slice rest, bool is_length)
{
    uint64_t value = 0;
    size_t i = rest.p[0] == '-';
    for (; i < rest.n && i < NUMBER_MOST && is_digit(rest.p[i]); i++)
        value = value > UINT64_MAX / 16 ? UINT64_MAX / 16 : value * 10 + (uint64_t)(rest.p[i] - '0');
    if (i < rest.n && (rest.p[i] != '\r' || (i + 1 < rest.n && rest.p[i + 1] != '\n')))
        return refuse(r, LDR_CORRUPT, "a number or length that is none");
#ifndef LDR_BUG_WIRE_LENGTH
    if (is_length && too_long(r, value))
        return refuse(r, LDR_TOO_LARGE, "a string over the limit");
#endif
    if (is_length && i + 2 <= rest.n)
        r->wanted = i + 2 + value + 2 - rest.n;
    return true;
}

/* hiredis waits for more: is what it waits for within the limits? */
static bool check_pending(ldr_reply_reader *r)
{
    const redisReader *hi = r->hi;
    ldr_slice rest = {.p = hi->buf + hi->pos, .n = hi->len - hi->pos};
    r->wanted = 0;
    if (hi->ridx < 0 || rest.n == 0)
        return true;
    const redisReadTask *task = &hi->rstack[hi->ridx];
    if (!task->parent)
        r->n_bytes = 0;
    if (task->type == REDIS_REPLY_STATUS || task->type == REDIS_REPLY_ERROR)
        return check_line(r, rest);
    return check_number(r, rest, task->type == REDIS_REPLY_STRING);
}

/* After a long string its buffer is not kept. Where there is no memory for a short one, the long one stays. */
static void shrink(redisReader *hi)
{
    if (sdsalloc(hi->buf) <= SPARE_MOST * 2 || hi->pos < hi->len)
        return;
    sds small = sdsempty();
    if (!small)
        return;
    sdsfree(hi->buf);
    hi->buf = small;
    hi->pos = hi->len = 0;
}

int ldr_reply_reader_next(ldr_reply_reader *r, ldr_reply **out, ldr_err *err)
{
    void *root = NULL;
    *out = NULL;
    if (!r->hi)
        return tell(r, err);
    if (r->hi->pos == r->hi->len)
        return LDR_OK;
    if (redisReaderGetReply(r->hi, &root) != REDIS_OK)
        return fail_of_hiredis(r, err);
    if (!root)
        return check_pending(r) ? LDR_OK : fail(r, err);
    *out = root;
    r->first = r->last = NULL;
    r->wanted = 0;
    shrink(r->hi);
    return LDR_OK;
}

/* hiredis begins a task before it knows that there is a byte for it. */
bool ldr_reply_reader_empty(const ldr_reply_reader *r)
{
    const redisReader *hi = r->hi;
    return !hi || (hi->pos == hi->len && (hi->ridx < 0 || (hi->ridx == 0 && hi->rstack[0].type < 0)));
}

size_t ldr_reply_reader_piece(const ldr_reply_reader *r)
{
    return r->wanted > PIECE_BYTES ? r->wanted : PIECE_BYTES;
}

void ldr_reply_free(const ldr_mem *mem, ldr_reply *reply)
{
    if (reply)
        blocks_free(mem, (block *)(void *)reply - 1);
}

/* ---- commands ------------------------------------------------------------------------------------------------ */

#define PER_ARGUMENT 32 /* "$", a length and two CR LF */

/* hiredis's formatter asks printf for each length, which is a sixth of what a hundred keys cost; this is all that it does. */
static char *put_length(char *to, char mark, size_t n)
{
    char digits[NUMBER_MOST];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    *to++ = mark;
    memcpy(to, digits + at, sizeof digits - at);
    to += sizeof digits - at;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static char *put_argument(char *to, ldr_slice arg)
{
    to = put_length(to, '$', arg.n);
    if (arg.n)
        memcpy(to, arg.p, arg.n);
    to += arg.n;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

/* The bytes that a command takes at most; 0: too many. */
static size_t room_of(const ldr_slice *argv, size_t n)
{
    size_t sum = PER_ARGUMENT;
    for (size_t i = 0; i < n; i++)
        if (argv[i].n > INT_MAX || (sum += argv[i].n + PER_ARGUMENT) > INT_MAX)
            return 0;
    return sum;
}

int ldr_command(ldr_buf *out, const ldr_slice *argv, size_t n)
{
    size_t room = n > 0 ? room_of(argv, n) : 0;
    if (room == 0 || out->oom || !ldr_buf_reserve(out, room)) {
        out->oom = true;
        return LDR_NOMEM;
    }
    char *to = put_length(out->p + out->n, '*', n);
    for (size_t i = 0; i < n; i++)
        to = put_argument(to, argv[i]);
    out->n = (size_t)(to - out->p);
    return LDR_OK;
}

bool ldr_wire_built(void)
{
    return true;
}
