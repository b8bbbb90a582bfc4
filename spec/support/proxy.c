/* proxy.c - stands between Larder and a Redis server and makes the faults of a network and of a server.
 *
 *   proxy LISTEN TARGET       an address is a path (unix socket) or a port of 127.0.0.1
 *
 * One process, one poll loop. Commands come on standard input, a line each; every one is answered by a line that begins with
 * "ok" or "error", and is in force when that line was written. The end of standard input is the end of the proxy. Only one
 * fault is in force at a time, and one rule of the bell beside it.
 *
 *   pass                          no fault; what was held back goes on
 *   refuse                        nobody listens, and all connections end
 *   hang                          nobody accepts, and the backlog is full; connections that stand go on
 *   freeze                        accepts, but nothing is read from anybody
 *   blackhole                     what comes is thrown away, the connections stay
 *   delay MS JITTER               each reply is late by MS to MS + JITTER
 *   drip BYTES MS                 of the replies BYTES every MS
 *   cut N | cut_request N         a connection ends after N more bytes of its replies, or its requests
 *   drop_reply                    the server has done it, but the answer is lost, and the connection ends
 *   flip N MASK                   byte N (from 0) of its replies is xored
 *   garbage BYTES                 these before the next reply; BYTES: hex digits, or @FILE
 *   replace BYTES [K]             these in place of the next reply, or of the K-th of those that come together
 *   greet BYTES                   these to the next connection, before it asked anything
 *   reset                         all connections end, once; the fault in force stays
 *
 * cut to greet strike one connection, the first that they fit, and then the fault is `pass` again (and `fired` one more).
 * Before a fault may stand `on data` or `on bell` (connections that asked to SUBSCRIBE, or all others), and then `when TEXT`
 * (connections that from now on send a request with this word in it; what stands in one send of the client).
 *
 *   bell pass | drop all | drop K | double K | delay K MS | swap K | stall MS
 *       the K-th push "message" from now: lost, twice, late (others overtake it), behind the next one; stall: all are late
 *   count                         -> ok connections=N open=N up=BYTES down=BYTES messages=N fired=N */
#include "proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MOST 256 /* connections */

static const char *const kind_names[] = {"pass", "refuse", "hang", "freeze", "blackhole", "delay", "drip", "cut", "cut_request",
                                         "drop_reply", "flip", "garbage", "replace", "greet"};
static const int kind_numbers[] = {0, 0, 0, 0, 0, 2, 2, 1, 1, 0, 2, 0, 0, 0};


typedef struct address {
    int port;
    struct sockaddr_un local;
} address;

proxy state;
static conn conns[MOST];
static address listens, target;
static int listener = -1, fillers[64], n_fillers;

static void die(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- addresses and sockets ---- */

static address address_of(const char *text)
{
    address a = {.local.sun_family = AF_UNIX};
    if (text[strspn(text, "0123456789")] == '\0')
        a.port = atoi(text);
    else
        snprintf(a.local.sun_path, sizeof a.local.sun_path, "%s", text);
    return a;
}

static int with_address(const address *a, int fd, int (*what)(int, const struct sockaddr *, socklen_t))
{
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_port = htons((uint16_t)a->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    return a->port ? what(fd, (struct sockaddr *)&inet, sizeof inet) : what(fd, (const struct sockaddr *)&a->local, sizeof a->local);
}

static int socket_for(const address *a)
{
    int fd = socket(a->port ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0)
        die("socket");
    if (a->port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return fd;
}

static void listen_again(void)
{
    if (listener >= 0)
        return;
    listener = socket_for(&listens);
    if (!listens.port)
        unlink(listens.local.sun_path);
    if (with_address(&listens, listener, bind) || listen(listener, 128))
        die("listen");
}

/* Connections of our own take the places of the backlog, until one more is not taken. */
static void fill_backlog(void)
{
    listen_again();
    listen(listener, 0);
    while (n_fillers < 64) {
        int fd = fillers[n_fillers++] = socket_for(&listens);
        if (with_address(&listens, fd, connect) == 0)
            continue;
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (errno != EINPROGRESS || poll(&p, 1, 20) == 0)
            return;
    }
}

static int port_of(int fd, int (*what)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_in inet = {0};
    socklen_t n = sizeof inet;
    what(fd, (struct sockaddr *)&inet, &n);
    return inet.sin_family == AF_INET ? ntohs(inet.sin_port) : 0;
}

static bool is_filler(int fd)
{
    struct ucred who = {0};
    socklen_t n = sizeof who;
    if (!listens.port)
        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && who.pid == getpid();
    for (int i = 0; i < n_fillers; i++)
        if (port_of(fillers[i], getsockname) == port_of(fd, getpeername))
            return true;
    return false;
}

static void greet(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), i = 0;
    if (fd < 0)
        return;
    while (i < MOST && conns[i].client >= 0)
        i++;
    if (i == MOST || is_filler(fd)) {
        close(fd);
        return;
    }
    int server = socket_for(&target);
    if (with_address(&target, server, connect) && errno != EINPROGRESS) {
        close(server);
        close(fd);
        return;
    }
    state.n_connections++;
    conns[i] = (conn){.client = fd, .server = server, .serial = state.fault.serial};
    conn_greet(&conns[i]);
}

/* ---- commands ---- */

static void end_all(void)
{
    for (int i = 0; i < MOST; i++)
        if (conns[i].client >= 0)
            conn_end(&conns[i]);
}

static void open_doors(enum kind kind)
{
    if (kind == REFUSE) {
        if (listener >= 0)
            close(listener);
        listener = -1;
        end_all();
        return;
    }
    if (kind == HANG)
        return fill_backlog();
    listen_again();
    listen(listener, 128);
}

/* Where hang ends, its fillers leave only when they have been met in the backlog: until then they are told by them. */
static void drop_fillers(void)
{
    while (n_fillers > 0)
        close(fillers[--n_fillers]);
}

#define MOST_BYTES (1 << 20)

static size_t read_file(const char *path, char *out)
{
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(out, 1, MOST_BYTES, file) : 0;
    if (file)
        fclose(file);
    return n;
}

static size_t read_hex(const char *hex, char *out)
{
    size_t n = 0;
    for (; hex[0] && hex[1]; hex += 2) {
        char pair[3] = {hex[0], hex[1], 0}, *rest;
        out[n++] = (char)strtoul(pair, &rest, 16);
        if (*rest)
            return 0;
    }
    return hex[0] ? 0 : n;
}

static bool read_bytes(const char *word, fault *f)
{
    static char bytes[MOST_BYTES];
    f->n_bytes = word[0] == '@' ? read_file(word + 1, bytes) : read_hex(word, bytes);
    f->bytes = bytes;
    return f->n_bytes > 0;
}

static bool read_kind(const char *name, fault *f)
{
    for (int i = 0; i < N_KINDS; i++)
        if (strcmp(name, kind_names[i]) == 0) {
            f->kind = (enum kind)i;
            return true;
        }
    return false;
}

/* [on data|bell] [when TEXT] KIND [NUMBER|BYTES]... */
static const char *set_fault(char *word, char **rest)
{
    fault f = {.serial = state.fault.serial + 1};
    if (word && strcmp(word, "on") == 0) {
        char *where = strtok_r(NULL, " ", rest);
        f.where = where && strcmp(where, "bell") == 0 ? BELL : DATA;
        word = strtok_r(NULL, " ", rest);
    }
    if (word && strcmp(word, "when") == 0) {
        char *text = strtok_r(NULL, " ", rest);
        snprintf(f.word, sizeof f.word, "%s", text ? text : "");
        word = strtok_r(NULL, " ", rest);
    }
    if (!word || !read_kind(word, &f))
        return "no such command";
    char *one = strtok_r(NULL, " ", rest), *two = strtok_r(NULL, " ", rest);
    if (f.kind >= GARBAGE && !(one && read_bytes(one, &f)))
        return "bytes are wanted: hex digits or @FILE";
    if (kind_numbers[f.kind] > (one != NULL) + (two != NULL))
        return "a number is missing";
    f.a = one ? strtol(one, NULL, 0) : 0;
    f.b = two ? strtol(two, NULL, 0) : 0;
    if (f.a < 0 || f.b < 0 || (f.kind == DRIP && f.a == 0))
        return "a number is out of range";
    state.fault = f;
    open_doors(f.kind);
    return NULL;
}

static const char *set_bell(char **rest)
{
    static const char *const names[] = {"pass", "drop", "double", "delay", "swap", "stall"};
    static const enum rule rules[] = {RING, DROP, DOUBLE, LATE, SWAP, STALL};
    char *word = strtok_r(NULL, " ", rest), *one = strtok_r(NULL, " ", rest), *two = strtok_r(NULL, " ", rest);
    size_t i = 0;
    while (i < 6 && !(word && strcmp(word, names[i]) == 0))
        i++;
    if (i == 6 || (i > 0 && !one) || (rules[i] == LATE && !two))
        return "bell pass | drop all | drop K | double K | delay K MS | swap K | stall MS";
    state.rule = rules[i] == DROP && strcmp(one, "all") == 0 ? DROP_ALL : rules[i];
    state.bell_k = one ? strtol(one, NULL, 10) : 0;
    state.bell_ms = rules[i] == STALL ? state.bell_k : two ? strtol(two, NULL, 10) : 0;
    state.bell_seen = 0;
    return NULL;
}

static void say_counts(void)
{
    int n_open = 0;
    for (int i = 0; i < MOST; i++)
        n_open += conns[i].client >= 0 && !conns[i].told;
    printf("ok connections=%lu open=%d up=%lu down=%lu messages=%lu fired=%lu\n", state.n_connections, n_open, state.n_up,
           state.n_down, state.n_messages, state.n_fired);
}

static void command(char *line)
{
    char *rest = NULL, *word = strtok_r(line, " \r", &rest);
    const char *why = NULL;
    if (word && strcmp(word, "count") == 0) {
        say_counts();
        return;
    }
    if (word && strcmp(word, "bell") == 0)
        why = set_bell(&rest);
    else if (word && strcmp(word, "reset") == 0)
        end_all();
    else
        why = set_fault(word, &rest);
    printf(why ? "error %s\n" : "ok\n", why);
}

static void read_commands(void)
{
    static char bytes[8192];
    static size_t n;
    ssize_t got = read(0, bytes + n, sizeof bytes - 1 - n);
    if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
        exit(0);
    n += got > 0 ? (size_t)got : 0;
    bytes[n] = '\0';
    for (char *end; (end = strchr(bytes, '\n'));) {
        *end = '\0';
        command(bytes);
        n -= (size_t)(end + 1 - bytes);
        memmove(bytes, end + 1, n + 1);
    }
    if (n == sizeof bytes - 1)
        n = 0;
}

/* ---- the loop ---- */

static struct pollfd watch(int fd, bool reads, bool writes)
{
    short events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
    return (struct pollfd){.fd = events ? fd : -1, .events = events};
}

/* p: two places for each connection. */
static void watch_all(struct pollfd *p, int64_t *next_us)
{
    for (int i = 0; i < MOST; i++) {
        conn *c = &conns[i];
        p[2 * i] = p[2 * i + 1] = (struct pollfd){.fd = -1};
        if (c->client >= 0)
            conn_move(c, next_us);
        if (c->client < 0 || conn_fault(c) == FREEZE)
            continue;
        bool down_due = c->down.first && c->down.first->due_us <= now_us() && conn_fault(c) != DRIP;
        p[2 * i] = watch(c->client, !c->client_ended && c->up.n < HELD, down_due);
        p[2 * i + 1] = watch(c->server, c->down.n < HELD, c->up.first != NULL);
    }
}

static void turn(void)
{
    static struct pollfd p[2 + 2 * MOST];
    int64_t next_us = now_us() + 3600 * (int64_t)1000000, left;
    p[0] = (struct pollfd){.fd = 0, .events = POLLIN};
    p[1] = (struct pollfd){.fd = state.fault.kind == HANG ? -1 : listener, .events = POLLIN};
    watch_all(p + 2, &next_us);
    left = next_us - now_us();
    if (poll(p, 2 + 2 * MOST, left > 0 ? (int)((left + 999) / 1000) : 0) < 0)
        return;
    if (p[1].revents)
        greet();
    else if (p[1].fd >= 0)
        drop_fillers();
    for (int i = 0; i < MOST; i++) {
        if (p[2 + 2 * i].revents & ~POLLOUT)
            conn_read(&conns[i], false);
        if (p[3 + 2 * i].revents & ~POLLOUT && conns[i].server >= 0)
            conn_read(&conns[i], true);
    }
    if (p[0].revents)
        read_commands();
}

int main(int argc, char **argv)
{
    const char *given = getenv("LARDER_SEED");
    if (argc != 3) {
        fputs("usage: proxy LISTEN TARGET\n", stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    state.seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    listens = address_of(argv[1]);
    target = address_of(argv[2]);
    for (int i = 0; i < MOST; i++)
        conns[i] = (conn){.client = -1, .server = -1};
    listen_again();
    printf("ok ready seed=%llu\n", (unsigned long long)state.seed);
    for (;;)
        turn();
}
