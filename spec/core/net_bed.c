/* net_bed.c - see net_bed.h. */
#include "net_bed.h"

#include "base/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void need(bool is_so, const char *what)
{
    if (is_so)
        return;
    fprintf(stderr, "the bed: %s: %s\n", what, strerror(errno));
    abort();
}

int64_t bed_now(void)
{
    const ldr_clock c = {.is_virtual = 0};
    return ldr_clock_now(&c);
}

int bed_count_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    need(d, "/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void nap(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void make_folder(char folder[64])
{
    strcpy(folder, "/tmp/larder-net-XXXXXX");
    need(mkdtemp(folder), "a folder");
}

static int listen_local(const char *path, int backlog)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(at.sun_path, path);
    need(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, backlog) == 0, "listen");
    return fd;
}

static int listen_tcp(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)*port)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    need(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 16) == 0, "listen");
    need(getsockname(fd, (struct sockaddr *)&at, &n) == 0, "getsockname");
    *port = ntohs(at.sin_port);
    return fd;
}

/* ---- Redis ---------------------------------------------------------------------------------------------------- */

static bool answers(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char byte = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(at.sun_path, path);
    bool ok = connect(fd, (struct sockaddr *)&at, sizeof at) == 0 && send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 &&
              recv(fd, &byte, 1, 0) == 1 && byte == '+';
    close(fd);
    return ok;
}

static void run_redis(const bed_redis *r)
{
    char port[16];
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a spec that crashes leaves no server behind */
    int null = open("/dev/null", O_RDWR);
    snprintf(port, sizeof port, "%d", r->port);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--unixsocket", r->socket, "--save", "",
           "--appendonly", "no", "--dir", r->folder, (char *)NULL);
    _exit(127);
}

void bed_redis_start(bed_redis *r)
{
    if (!r->folder[0]) {
        make_folder(r->folder);
        snprintf(r->socket, sizeof r->socket, "%s/redis.sock", r->folder);
        close(listen_tcp(&r->port));
        snprintf(r->unix_url, sizeof r->unix_url, "redis+unix://%s", r->socket);
        snprintf(r->tcp_url, sizeof r->tcp_url, "redis://127.0.0.1:%d", r->port);
    }
    r->pid = fork();
    if (r->pid == 0)
        run_redis(r);
    for (int64_t until = bed_now() + 10 * LDR_SEC; !answers(r->socket);) {
        need(bed_now() < until, "redis-server did not start");
        nap(5);
    }
}

void bed_redis_stop(bed_redis *r)
{
    if (r->pid <= 0)
        return;
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
    unlink(r->socket);
}

void bed_redis_remove(bed_redis *r)
{
    bed_redis_stop(r);
    rmdir(r->folder);
    r->folder[0] = '\0';
}

/* ---- fakes ---------------------------------------------------------------------------------------------------- */

static void *accept_all(void *arg)
{
    bed_fake *f = arg;
    while (!f->stops) {
        struct pollfd p = {.fd = f->fd, .events = POLLIN};
        if (poll(&p, 1, 10) <= 0)
            continue;
        int fd = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        f->n_connections++;
        f->serve(f, fd);
        close(fd);
        f->n_closed++;
    }
    return NULL;
}

void bed_fake_start(bed_fake *f, int (*serve)(bed_fake *f, int fd), bool is_tcp)
{
    memset(f, 0, sizeof *f);
    f->serve = serve;
    make_folder(f->folder);
    snprintf(f->socket, sizeof f->socket, "%s/fake.sock", f->folder);
    f->fd = is_tcp ? listen_tcp(&f->port) : listen_local(f->socket, 16);
    if (is_tcp)
        snprintf(f->url, sizeof f->url, "redis://127.0.0.1:%d", f->port);
    else
        snprintf(f->url, sizeof f->url, "redis+unix://%s", f->socket);
    need(pthread_create(&f->thread, NULL, accept_all, f) == 0, "a thread");
}

void bed_fake_stop(bed_fake *f)
{
    f->stops = true;
    pthread_join(f->thread, NULL);
    close(f->fd);
    unlink(f->socket);
    rmdir(f->folder);
}

long bed_fake_read(bed_fake *f, int fd)
{
    static _Thread_local char bytes[1 << 20];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, 10) <= 0)
        if (f->stops)
            return 0;
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n > 0 && (size_t)n > f->most_at_once)
        f->most_at_once = (size_t)n;
    long questions = 0;
    for (ssize_t i = 0; i < n; i++)
        questions += bytes[i] == '*' && (i == 0 || bytes[i - 1] == '\n');
    f->n_questions += (int)questions;
    return questions;
}

void bed_fake_say(int fd, const char *bytes)
{
    (void)!send(fd, bytes, strlen(bytes), MSG_NOSIGNAL);
}

bool bed_fake_greet(bed_fake *f, int fd)
{
    bool came = bed_fake_read(f, fd) > 0;
    if (came)
        bed_fake_say(fd, "+OK\r\n");
    return came;
}

int serve_silence(bed_fake *f, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    while (!f->stops && poll(&p, 1, 10) <= 0) {
    }
    return 0;
}

int serve_greeting(bed_fake *f, int fd)
{
    return bed_fake_greet(f, fd) ? serve_silence(f, fd) : 0;
}

int serve_pong(bed_fake *f, int fd)
{
    long n;
    if (!bed_fake_greet(f, fd))
        return 0;
    while ((n = bed_fake_read(f, fd)) > 0)
        while (n-- > 0)
            bed_fake_say(fd, "+PONG\r\n");
    return 0;
}

int serve_one(bed_fake *f, int fd)
{
    if (bed_fake_greet(f, fd) && bed_fake_read(f, fd) > 0)
        bed_fake_say(fd, "+PONG\r\n");
    return 0;
}

int serve_drops(bed_fake *f, int fd)
{
    if (!bed_fake_greet(f, fd) || bed_fake_read(f, fd) <= 0)
        return 0;
    bed_fake_say(fd, "$1000\r\n");
    for (int i = 0; i < 1000 && !f->stops && send(fd, "x", 1, MSG_NOSIGNAL) == 1; i++)
        nap(20);
    return 0;
}

int serve_half(bed_fake *f, int fd)
{
    if (bed_fake_greet(f, fd) && bed_fake_read(f, fd) > 0)
        bed_fake_say(fd, "$10\r\nabc");
    return 0;
}

int serve_surplus(bed_fake *f, int fd)
{
    if (!bed_fake_greet(f, fd))
        return 0;
    while (bed_fake_read(f, fd) > 0)
        bed_fake_say(fd, "+PONG\r\n+OTHER\r\n");
    return 0;
}

int serve_no_entry(bed_fake *f, int fd)
{
    if (bed_fake_read(f, fd) > 0)
        bed_fake_say(fd, "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    return serve_silence(f, fd);
}

int serve_one_then_leave(bed_fake *f, int fd)
{
    if (bed_fake_greet(f, fd) && bed_fake_read(f, fd) > 0) {
        bed_fake_say(fd, "+PONG\r\n");
        bed_fake_read(f, fd);
    }
    return 0;
}

void bed_full_start(bed_full *b)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    b->n = 1;
    make_folder(b->folder);
    snprintf(at.sun_path, sizeof at.sun_path, "%s/full.sock", b->folder);
    snprintf(b->url, sizeof b->url, "redis+unix://%s", at.sun_path);
    b->fds[0] = listen_local(at.sun_path, 0);
    do {
        need(b->n < 64, "a full queue");
        b->fds[b->n++] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    } while (connect(b->fds[b->n - 1], (struct sockaddr *)&at, sizeof at) == 0);
}

void bed_full_stop(bed_full *b)
{
    char path[96];
    while (b->n > 0)
        close(b->fds[--b->n]);
    snprintf(path, sizeof path, "%s/full.sock", b->folder);
    unlink(path);
    rmdir(b->folder);
}

/* ---- links ---------------------------------------------------------------------------------------------------- */

void bed_links_open(bed_links *b, const char *url, int64_t timeout_us, const ldr_mem *mem)
{
    ldr_err err = {0};
    need(ldr_address_parse(&b->address, ldr_slice_str(url), NULL, &ldr_mem_system, &err) == LDR_OK, err.message);
    ldr_clock_init(&b->clock);
    b->links = ldr_links_new(&(ldr_links_options){.address = &b->address, .timeout_us = timeout_us, .clock = &b->clock}, mem);
}

void bed_links_close(bed_links *b)
{
    ldr_links_free(b->links);
    ldr_address_free(&b->address, &ldr_mem_system);
}

void bed_ask(ldr_exchange *ex, const char *word)
{
    const ldr_slice argv[] = {ldr_slice_str(word)};
    ldr_exchange_clear(ex);
    ldr_exchange_add(ex, argv, 1);
}

void bed_ask2(ldr_exchange *ex, const char *word, const char *second)
{
    const ldr_slice argv[] = {ldr_slice_str(word), ldr_slice_str(second)};
    ldr_exchange_clear(ex);
    ldr_exchange_add(ex, argv, 2);
}

const char *bed_said(const ldr_exchange *ex)
{
    static _Thread_local char text[64];
    text[0] = '\0';
    if (ex->n_replies > 0)
        snprintf(text, sizeof text, "%.*s", (int)ex->replies[0]->str.n, ex->replies[0]->str.p);
    return text;
}
