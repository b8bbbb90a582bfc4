/* link.c - the order of things on one connection.
 *
 *   queue:  | hello | a | b | c | d | ...     front: whose replies come next; `unsent`: whose bytes go out next
 *
 * An exchange leaves the queue when its last reply is there; it is told only after all bytes at hand were looked at, for
 * where more follows than was asked, the answer before it is not believed either. Nobody is told while the queue is being
 * changed, so who is told may push, drop and break (but not free the link). */
#include "wire/link.h"

#include "base/err.h"

#include <stdio.h>

#define GATHER_MOST ((size_t)64 << 10) /* bytes of several exchanges copied to go out together */
#define GATHER_LARGE ((size_t)16 << 10) /* not worth a copy */
#define STEPS 3

struct ldr_link {
    const ldr_mem *mem;
    const ldr_address *address;
    ldr_reply_reader *reader;
    ldr_list queue, ready; /* ready: have all their replies, are not told yet */
    ldr_exchange hello, sub;
    const char *steps[STEPS]; /* of the handshake */
    size_t step;
    ldr_exchange *unsent; /* n_sent bytes of it are gone; NULL: nothing is to be sent */
    size_t n_sent, n_queued;
    ldr_buf gathered;
    void (*push)(void *ctx, const ldr_reply *reply);
    void *push_ctx;
    bool is_greeted, is_subscribed, is_broken;
    ldr_err err;
};

static ldr_exchange *of(ldr_list *node)
{
    return ldr_list_of(node, ldr_exchange, link);
}

static ldr_exchange *front(ldr_link *l)
{
    return ldr_list_empty(&l->queue) ? NULL : of(l->queue.next);
}

static void enqueue(ldr_link *l, ldr_exchange *ex)
{
    ldr_list_push(&l->queue, &ex->link);
    if (!l->unsent) {
        l->unsent = ex;
        l->n_sent = 0;
    }
}

static void skip_unsent(ldr_link *l)
{
    ldr_list *next = l->unsent->link.next;
    l->unsent = next == &l->queue ? NULL : of(next);
    l->n_sent = 0;
}

static bool is_own(const ldr_link *l, const ldr_exchange *ex)
{
    return ex == &l->hello || ex == &l->sub;
}

/* ---- beginning and end --------------------------------------------------------------------------------------- */

static bool add_step(ldr_link *l, const char *name, const ldr_slice *argv, size_t n)
{
    if (ldr_exchange_add(&l->hello, argv, n) != LDR_OK)
        return false;
    l->steps[l->hello.n_commands - 1] = name;
    return true;
}

static ldr_slice text(const char *s)
{
    return ldr_slice_str(s ? s : "");
}

static bool add_auth(ldr_link *l)
{
    const ldr_address *a = l->address;
    ldr_slice argv[3] = {text("AUTH"), text(a->user), text(a->password)};
    if (!a->user && !a->password)
        return true;
    /* In one piece: growing would leave copies of the password behind. */
    if (!ldr_buf_reserve(&l->hello.out, argv[1].n + argv[2].n + 512))
        return false;
    if (a->user)
        return add_step(l, "AUTH", argv, 3);
    argv[1] = argv[2];
    return add_step(l, "AUTH", argv, 2);
}

static bool add_select(ldr_link *l)
{
    char db[16];
    if (l->address->db == 0)
        return true;
    (void)snprintf(db, sizeof db, "%d", l->address->db);
    const ldr_slice argv[] = {text("SELECT"), text(db)};
    return add_step(l, "SELECT", argv, 2);
}

static bool add_name(ldr_link *l)
{
    const ldr_slice argv[] = {text("CLIENT"), text("SETNAME"), text("larder")};
    return add_step(l, "CLIENT SETNAME", argv, 3);
}

static void forget_hello(ldr_link *l)
{
    if (l->hello.out.p)
        explicit_bzero(l->hello.out.p, l->hello.out.cap);
    ldr_exchange_free(&l->hello);
}

ldr_link *ldr_link_new(const ldr_mem *mem, const ldr_address *address, const ldr_reply_limits *limits)
{
    ldr_link *l = ldr_mem_zero(mem, 1, sizeof *l);
    if (!l)
        return NULL;
    l->mem = mem;
    l->address = address;
    l->gathered = LDR_BUF(mem);
    ldr_list_init(&l->queue);
    ldr_list_init(&l->ready);
    ldr_exchange_init(&l->hello, mem);
    ldr_exchange_init(&l->sub, mem);
    l->reader = ldr_reply_reader_new(mem, limits);
    if (!l->reader || !add_auth(l) || !add_select(l) || !add_name(l)) {
        ldr_link_free(l);
        return NULL;
    }
    enqueue(l, &l->hello);
    return l;
}

void ldr_link_free(ldr_link *l)
{
    if (!l)
        return;
    ldr_link_break(l, LDR_UNAVAILABLE, "the connection was closed here");
    forget_hello(l);
    ldr_exchange_free(&l->sub);
    ldr_reply_reader_free(l->reader);
    ldr_buf_free(&l->gathered);
    ldr_mem_free(l->mem, l);
}

/* ---- ending exchanges ------------------------------------------------------------------------------------------ */

static void end(ldr_link *l, ldr_exchange *ex)
{
    ldr_list_drop(&ex->link);
    ldr_list_push(&l->ready, &ex->link);
    ex->done = true;
    l->n_queued--;
}

static void tell_ready(ldr_link *l)
{
    while (!ldr_list_empty(&l->ready)) {
        ldr_exchange *ex = of(l->ready.next);
        ldr_list_drop(&ex->link);
        if (ex->ended)
            ex->ended(ex->ctx, ex);
    }
}

static void end_all(ldr_link *l)
{
    l->unsent = NULL;
    while (!ldr_list_empty(&l->queue)) {
        ldr_exchange *ex = front(l);
        if (is_own(l, ex)) {
            ldr_list_drop(&ex->link);
            continue;
        }
        ex->err = l->err;
        end(l, ex);
    }
}

static void note(ldr_link *l, int code, const char *why)
{
    if (l->err.code == LDR_OK)
        (void)ldr_fail(&l->err, code, "%s: %s", l->address->name, why);
}

void ldr_link_break(ldr_link *l, int code, const char *why)
{
    if (l->is_broken)
        return;
    note(l, code, why);
    l->is_broken = true;
    end_all(l);
    tell_ready(l);
}

bool ldr_link_is_broken(const ldr_link *l, const ldr_err **err)
{
    if (err)
        *err = l->is_broken ? &l->err : NULL;
    return l->is_broken;
}

bool ldr_link_is_idle(const ldr_link *l)
{
    return l->is_greeted && !l->is_broken && !l->is_subscribed && ldr_list_empty(&l->queue) &&
           ldr_reply_reader_empty(l->reader);
}

size_t ldr_link_queued(const ldr_link *l)
{
    return l->n_queued;
}

/* ---- what goes out --------------------------------------------------------------------------------------------- */

static bool refuse(ldr_exchange *ex, int code, const char *who, const char *why)
{
    (void)ldr_fail(&ex->err, code, "%s: %s", who, why);
    ex->done = true;
    return false;
}

bool ldr_link_push(ldr_link *l, ldr_exchange *ex)
{
    ldr_exchange_rewind(ex);
    if (l->is_broken) {
        ex->err = l->err;
        ex->done = true;
        return false;
    }
    if (l->is_subscribed)
        return refuse(ex, LDR_UNSUPPORTED, l->address->name, "a subscribed connection takes no questions");
    if (ex->n_commands == 0 || ex->out.oom)
        return refuse(ex, ex->out.oom ? LDR_NOMEM : LDR_INVALID, l->address->name, "an exchange without its commands");
    enqueue(l, ex);
    l->n_queued++;
    return true;
}

bool ldr_link_drop(ldr_link *l, ldr_exchange *ex)
{
    bool is_under_way = ex->sent && !ex->done;
    if (ldr_list_empty(&ex->link))
        return !l->is_broken;
    if (l->unsent == ex)
        skip_unsent(l);
    ldr_list_drop(&ex->link);
    if (!ex->done)
        l->n_queued--;
    if (is_under_way)
        ldr_link_break(l, LDR_UNAVAILABLE, "an answer was not waited for, so the connection is of no more use");
    return !l->is_broken;
}

static ldr_slice rest_of_unsent(const ldr_link *l)
{
    const ldr_buf *out = &l->unsent->out;
    return (ldr_slice){.p = out->p + l->n_sent, .n = out->n - l->n_sent};
}

/* Short exchanges together, so that a hundred of them are one call of the system. */
static ldr_slice gather(ldr_link *l, ldr_slice first)
{
    ldr_buf_clear(&l->gathered);
    ldr_buf_add(&l->gathered, first.p, first.n);
    for (ldr_list *at = l->unsent->link.next; at != &l->queue; at = at->next) {
        const ldr_buf *out = &of(at)->out;
        if (out->n > GATHER_LARGE || l->gathered.n + out->n > GATHER_MOST)
            break;
        ldr_buf_add(&l->gathered, out->p, out->n);
    }
    return l->gathered.oom ? first : ldr_buf_slice(&l->gathered);
}

/* Until the handshake is answered nothing else goes out: in another database, or as another user, it could do harm. */
ldr_slice ldr_link_out(ldr_link *l)
{
    if (!l->unsent || (!l->is_greeted && l->unsent != &l->hello))
        return (ldr_slice){0};
    ldr_slice first = rest_of_unsent(l);
    if (!l->is_greeted || l->unsent->link.next == &l->queue || first.n > GATHER_LARGE)
        return first;
    return gather(l, first);
}

void ldr_link_sent(ldr_link *l, size_t n, int64_t now_us)
{
    while (n > 0 && l->unsent) {
        ldr_exchange *ex = l->unsent;
        size_t rest = ex->out.n - l->n_sent;
        if (!ex->sent)
            ex->sent_us = now_us;
        ex->sent = true;
        if (n < rest) {
            l->n_sent += n;
            return;
        }
        n -= rest;
        skip_unsent(l);
    }
}

/* ---- what comes in ----------------------------------------------------------------------------------------------- */

/* The first word of an error, where it is one of the server's own: the rest may quote what was sent, password and all. */
static const char *code_word(ldr_slice error)
{
    static const char *const words[] = {"ERR", "WRONGPASS", "NOAUTH", "NOPERM", "DENIED", "LOADING", "READONLY", "MISCONF",
                                        "MASTERDOWN", "OOM", "BUSY", "EXECABORT", "CLUSTERDOWN", "MOVED", "NOREPLICAS"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i]);
        if (error.n >= n && memcmp(error.p, words[i], n) == 0 && (error.n == n || error.p[n] == ' '))
            return words[i];
    }
    return "an error";
}

/* The name is for people who look at the server: a user who may not set it, or a server without it, is no harm. */
static bool is_forgiven(const char *step, const ldr_reply *reply)
{
    const char *word = code_word(reply->str);
    return strcmp(step, "CLIENT SETNAME") == 0 && (strcmp(word, "NOPERM") == 0 || strcmp(word, "ERR") == 0);
}

static const char *advice(const char *word)
{
    return strcmp(word, "NOAUTH") == 0      ? ": the server wants a password"
           : strcmp(word, "WRONGPASS") == 0 ? ": no such user, or another password"
                                            : "";
}

static bool greet(ldr_link *l, const ldr_reply *reply)
{
    char why[96];
    const char *step = l->steps[l->step++];
    bool is_ok = reply->kind == LDR_REPLY_STATUS && ldr_slice_eq(reply->str, ldr_slice_str("OK"));
    if (reply->kind == LDR_REPLY_ERROR && !is_forgiven(step, reply)) {
        const char *word = code_word(reply->str);
        (void)snprintf(why, sizeof why, "%s was refused (%s%s)", step, word, advice(word));
        note(l, LDR_UNAVAILABLE, why);
        return false;
    }
    if (!is_ok && reply->kind != LDR_REPLY_ERROR) {
        (void)snprintf(why, sizeof why, "%s was answered with what is no answer to it", step);
        note(l, LDR_CORRUPT, why);
        return false;
    }
    if (l->step == l->hello.n_commands) {
        ldr_list_drop(&l->hello.link);
        l->is_greeted = true;
        forget_hello(l);
    }
    return true;
}

/* An answer to a command that has not gone out is none: the one before it was not what it seemed. */
static bool is_asked(const ldr_link *l, const ldr_exchange *ex, size_t n_before)
{
    return ex && ex->sent && (ex != l->unsent || n_before + 1 < ex->n_commands);
}

static bool surplus(ldr_link *l)
{
#ifdef LDR_BUG_SURPLUS
    (void)l;
    return true;
#else
    note(l, LDR_CORRUPT, "the server sent more than was asked");
    if (!ldr_list_empty(&l->ready))
        of(l->ready.prev)->err = l->err;
    return false;
#endif
}

/* True: whoever asked has the reply, or it is gone. */
static bool deal(ldr_link *l, ldr_reply *reply)
{
    ldr_exchange *ex = front(l);
    bool is_good;
    if (ex == &l->sub && ex->sent) {
        l->push(l->push_ctx, reply);
        is_good = true;
    } else if (!is_asked(l, ex, ex == &l->hello ? l->step : ex ? ex->n_replies : 0)) {
        is_good = surplus(l);
    } else if (ex == &l->hello) {
        is_good = greet(l, reply);
    } else {
        ex->replies[ex->n_replies++] = reply;
        if (ex->n_replies == ex->n_commands)
            end(l, ex);
        return true;
    }
    ldr_reply_free(l->mem, reply);
    return is_good;
}

static bool note_reader(ldr_link *l, const ldr_err *err)
{
    note(l, err->code, err->message);
    return false;
}

/* All whole replies in one piece of what came. */
static bool take_piece(ldr_link *l, ldr_slice piece)
{
    ldr_err err;
    ldr_reply *reply;
    if (ldr_reply_reader_feed(l->reader, piece, &err) != LDR_OK)
        return note_reader(l, &err);
    for (;;) {
        if (ldr_reply_reader_next(l->reader, &reply, &err) != LDR_OK)
            return note_reader(l, &err);
        if (!reply)
            return true;
        if (!deal(l, reply) || l->is_broken)
            return false;
    }
}

static bool take_all(ldr_link *l, ldr_slice bytes)
{
    while (bytes.n > 0) {
        size_t most = ldr_reply_reader_piece(l->reader), n = bytes.n < most ? bytes.n : most;
        if (!take_piece(l, ldr_slice_of(bytes.p, n)))
            return false;
        bytes = ldr_slice_of(bytes.p + n, bytes.n - n);
    }
    const ldr_exchange *ex = front(l);
    return (ex && ex->sent) || ldr_reply_reader_empty(l->reader) || surplus(l);
}

bool ldr_link_feed(ldr_link *l, ldr_slice bytes)
{
    if (l->is_broken)
        return false;
    if (bytes.n == 0)
        ldr_link_break(l, LDR_UNAVAILABLE, "the server closed the connection");
    else if (!take_all(l, bytes))
        ldr_link_break(l, LDR_UNAVAILABLE, "the connection is of no more use"); /* what was noted stands */
    tell_ready(l);
    return !l->is_broken;
}

void ldr_link_subscribe(ldr_link *l, ldr_slice channel, void (*push)(void *ctx, const ldr_reply *reply), void *ctx)
{
    const ldr_slice argv[] = {text("SUBSCRIBE"), channel};
    if (l->is_broken || l->is_subscribed)
        return;
    l->push = push;
    l->push_ctx = ctx;
    if (ldr_exchange_add(&l->sub, argv, 2) != LDR_OK) {
        ldr_link_break(l, LDR_NOMEM, "out of memory");
        return;
    }
    enqueue(l, &l->sub);
    l->is_subscribed = true;
}
