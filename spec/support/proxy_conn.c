/* proxy_conn.c - one connection of the proxy: what comes from either side goes through the fault in force into a queue of
 * chunks, each with the time from which it may be sent. Pushes to a subscriber are taken apart for the bell's rules. */
#include "proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM (64 * 1024) /* of one read */

int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)1000000 + t.tv_nsec / 1000;
}

static uint64_t draw(void)
{
    state.seed += 0x9e3779b97f4a7c15u;
    uint64_t x = (state.seed ^ (state.seed >> 30)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 31);
}

static void *room(size_t n)
{
    void *p = calloc(1, n);
    if (!p) {
        fputs("proxy: no memory\n", stderr);
        exit(1);
    }
    return p;
}

static void close_hard(int fd)
{
    struct linger hard = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

/* ---- queues ---- */

static chunk *chunk_of(const char *bytes, size_t n, int64_t due_us)
{
    chunk *c = room(sizeof *c + n);
    c->due_us = due_us;
    c->n = n;
    memcpy(c->bytes, bytes, n);
    return c;
}

static void put(queue *q, chunk *c)
{
    *(q->first ? &q->last->next : &q->first) = c;
    q->last = c;
    c->next = NULL;
    q->n += c->n;
}

static void empty_list(chunk *c)
{
    while (c) {
        chunk *next = c->next;
        free(c);
        c = next;
    }
}

/* ---- faults ---- */

static void fired(void)
{
    state.n_fired++;
    state.fault.kind = PASS;
}

/* The fault that this connection is under. */
enum kind conn_fault(conn *c)
{
    const fault *f = &state.fault;
    if (c->serial != f->serial) {
        c->serial = f->serial;
        c->n_down = c->n_up = 0;
        c->is_matched = false;
    }
    if ((f->where == BELL && !c->is_bell) || (f->where == DATA && c->is_bell) || (f->word[0] && !c->is_matched))
        return PASS;
    return f->kind;
}

static void end_server(conn *c)
{
    if (c->server >= 0)
        close(c->server);
    c->server = -1;
    c->ends = true;
}

void conn_end(conn *c)
{
    if (c->client >= 0)
        close_hard(c->client);
    if (c->server >= 0)
        close_hard(c->server);
    empty_list(c->up.first);
    empty_list(c->down.first);
    empty_list(c->late);
    empty_list(c->swapped);
    free(c->partial);
    *c = (conn){.client = -1, .server = -1};
}

static void send_down(conn *c, const char *bytes, size_t n, int64_t late_us)
{
    int64_t due_us = now_us() + late_us;
    if (c->down.last && c->down.first && c->down.last->due_us > due_us)
        due_us = c->down.last->due_us;
    if (n)
        put(&c->down, chunk_of(bytes, n, due_us));
    state.n_down += n;
}

/* ---- replies ---- */

/* The length of the reply that begins here; 0: it is not whole; -1: this is no reply. */
static long reply_length(const char *p, size_t n)
{
    const char *line = memmem(p, n, "\r\n", 2);
    if (!line)
        return n > 65536 ? -1 : 0;
    size_t head = (size_t)(line - p) + 2;
    long number = strtol(p + 1, NULL, 10), at = (long)head;
    if (strchr("+-:", *p))
        return at;
    if (*p == '$')
        return number < 0 ? at : n < head + (size_t)number + 2 ? 0 : at + number + 2;
    if (*p != '*')
        return -1;
    for (long i = 0; i < number; i++) {
        long one = (size_t)at < n ? reply_length(p + at, n - (size_t)at) : 0;
        if (one <= 0)
            return one;
        at += one;
    }
    return at;
}

/* The K-th of the replies that came together goes. Where they are not whole, all do. */
static void replace(conn *c, const char *bytes, size_t n)
{
    const fault *f = &state.fault;
    size_t from = 0, to = 0;
    for (long k = f->b > 0 ? f->b : 1; k > 0; k--) {
        from = to;
        long one = from < n ? reply_length(bytes + from, n - from) : 0;
        to = one > 0 ? from + (size_t)one : n;
    }
    fired();
    send_down(c, bytes, from, 0);
    send_down(c, f->bytes, f->n_bytes, 0);
    send_down(c, bytes + to, n - to, 0);
}

void conn_greet(conn *c)
{
    if (conn_fault(c) == GREET) {
        send_down(c, state.fault.bytes, state.fault.n_bytes, 0);
        fired();
    }
}

/* What the server sent, after the bell's rules, under the fault. */
static void reply(conn *c, char *bytes, size_t n)
{
    fault *f = &state.fault;
    enum kind kind = conn_fault(c);
    long from = c->n_down, to = c->n_down += (long)n;
    if (kind == BLACKHOLE || c->ends)
        return;
    if (kind == DELAY) {
        send_down(c, bytes, n, 1000 * f->a + (int64_t)(draw() % (uint64_t)(1000 * f->b + 1)));
        return;
    }
    if (kind == CUT && to >= f->a) {
        send_down(c, bytes, (size_t)(f->a - from), 0);
        end_server(c);
        fired();
        return;
    }
    if (kind == DROP_REPLY) {
        end_server(c);
        fired();
        return;
    }
    if (kind == REPLACE) {
        replace(c, bytes, n);
        return;
    }
    if (kind == GARBAGE) {
        send_down(c, f->bytes, f->n_bytes, 0);
        fired();
    }
    if (kind == FLIP && f->a >= from && f->a < to) {
        bytes[f->a - from] ^= (char)f->b;
        fired();
    }
    send_down(c, bytes, n, 0);
}

/* What the client sent. */
static void request(conn *c, const char *bytes, size_t n)
{
    fault *f = &state.fault;
    if (memmem(bytes, n, "SUBSCRIBE\r\n", 11))
        c->is_bell = true;
    conn_fault(c);
    if (f->word[0] && !c->is_matched && memmem(bytes, n, f->word, strlen(f->word))) {
        c->is_matched = true;
        c->n_down = c->n_up = 0;
    }
    enum kind kind = conn_fault(c);
    long from = c->n_up, to = c->n_up += (long)n;
    if (kind == BLACKHOLE)
        return;
    bool ends = kind == CUT_REQUEST && to >= f->a;
    if (ends)
        n = (size_t)(f->a - from);
    if (n)
        put(&c->up, chunk_of(bytes, n, 0));
    state.n_up += n;
    if (ends) {
        c->client_ended = c->ends = true;
        fired();
    }
}

/* ---- the bell ---- */

/* Withholds a message; what is due later lies in `late`, what waits for the next one in `swapped`. */
static void message(conn *c, char *bytes, size_t n)
{
    long k = ++state.bell_seen;
    bool is_it = k == state.bell_k;
    chunk *waited = c->swapped;
    state.n_messages++;
    c->swapped = NULL;
    if (state.rule == DROP_ALL || (state.rule == DROP && is_it)) {
    } else if (state.rule == STALL || (state.rule == LATE && is_it)) {
        chunk *late = chunk_of(bytes, n, now_us() + 1000 * state.bell_ms), **tail = &c->late;
        while (*tail)
            tail = &(*tail)->next;
        *tail = late;
    } else if (state.rule == SWAP && is_it) {
        c->swapped = chunk_of(bytes, n, 0);
    } else {
        reply(c, bytes, n);
        if (state.rule == DOUBLE && is_it)
            reply(c, bytes, n);
    }
    if (waited) {
        reply(c, waited->bytes, waited->n);
        free(waited);
    }
}

/* Replies to a subscriber, one at a time. */
static void pushes(conn *c, const char *bytes, size_t n)
{
    static const char head[] = "*3\r\n$7\r\nmessage\r\n";
    char *all = room(c->n_partial + n + 1);
    if (c->partial)
        memcpy(all, c->partial, c->n_partial);
    memcpy(all + c->n_partial, bytes, n);
    free(c->partial);
    size_t total = c->n_partial + n, at = 0;
    while (at < total) {
        long one = reply_length(all + at, total - at);
        if (one == 0)
            break;
        size_t length = one < 0 ? total - at : (size_t)one;
        if (length > sizeof head && memcmp(all + at, head, sizeof head - 1) == 0)
            message(c, all + at, length);
        else
            reply(c, all + at, length);
        at += length;
    }
    c->n_partial = total - at;
    memmove(all, all + at, c->n_partial);
    c->partial = all;
}

static void ring_late(conn *c)
{
    for (chunk **p = &c->late; *p;) {
        chunk *one = *p;
        if (one->due_us > now_us()) {
            p = &one->next;
            continue;
        }
        *p = one->next;
        reply(c, one->bytes, one->n);
        free(one);
    }
}

/* ---- moving bytes ---- */

void conn_read(conn *c, bool is_server)
{
    static char bytes[ROOM];
    ssize_t n = recv(is_server ? c->server : c->client, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 && is_server)
        end_server(c);
    else if (n <= 0)
        c->client_ended = true;
    else if (c->ends && !is_server)
        return;
    else if (!is_server)
        request(c, bytes, (size_t)n);
    else if (c->is_bell)
        pushes(c, bytes, (size_t)n);
    else
        reply(c, bytes, (size_t)n);
}

/* How many bytes of the first chunk may go now; *next_us: when to look again. */
static size_t due(conn *c, queue *q, int64_t *next_us)
{
    int64_t now = now_us(), from = q->first->due_us;
    bool drips = q == &c->down && conn_fault(c) == DRIP;
    if (drips && q->next_us > from)
        from = q->next_us;
    if (from > now) {
        *next_us = from < *next_us ? from : *next_us;
        return 0;
    }
    size_t n = q->first->n - q->first->at;
    return drips && n > (size_t)state.fault.a ? (size_t)state.fault.a : n;
}

static bool write_to(conn *c, queue *q, int fd, int64_t *next_us)
{
    while (q->first && fd >= 0) {
        chunk *first = q->first;
        size_t n = due(c, q, next_us);
        if (n == 0)
            return true;
        ssize_t sent = send(fd, first->bytes + first->at, n, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        first->at += (size_t)sent;
        q->n -= (size_t)sent;
        q->next_us = now_us() + (conn_fault(c) == DRIP ? 1000 * state.fault.b : 0);
        if (first->at == first->n) {
            q->first = first->next;
            free(first);
        }
    }
    return true;
}

/* Sends what is due, and ends what has ended. A client is told the end softly: a hard close could take bytes with it. */
void conn_move(conn *c, int64_t *next_us)
{
    ring_late(c);
    if (conn_fault(c) == FREEZE)
        return;
    bool fine = write_to(c, &c->up, c->server, next_us) && write_to(c, &c->down, c->client, next_us);
    if (c->client_ended && !c->up.first && !c->ends)
        c->ends = true;
    if (c->client_ended && c->ends && c->server >= 0 && !c->up.first)
        end_server(c);
    if (c->ends && c->server < 0 && !c->down.first && !c->late && !c->told) {
        shutdown(c->client, SHUT_WR);
        c->told = true;
    }
    for (chunk *late = c->late; late; late = late->next)
        *next_us = late->due_us < *next_us ? late->due_us : *next_us;
    if (!fine || (c->told && c->client_ended))
        conn_end(c);
}

