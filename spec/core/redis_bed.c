/* redis_bed.c - starts redis-server by fork and exec, asks it by hiredis, and sees to it that none outlives its spec: by a
 * list that is worked off at exit, and by the kernel, where the process is killed. */
#include "redis_bed.h"

#if __has_include(<hiredis/hiredis.h>)

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_MS 5000
#define MOST_BEDS 16
#define MOST_WORDS 64
#define MOST_TEXT (1024 * 1024)

struct redis_bed {
    char folder[64], path[96], url[128];
    int port;
    pid_t pid; /* 0: it does not run */
    const char *const *config;
    redisContext *link;
    char *text;
    size_t n_text;
};

static redis_bed *beds[MOST_BEDS];
static pid_t owner;

static void fail(const char *what)
{
    fprintf(stderr, "redis_bed: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void pause_1ms(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* ---- the process ---- */

static void unlink_link(redis_bed *b)
{
    if (b->link)
        redisFree(b->link);
    b->link = NULL;
}

static void end_process(redis_bed *b, int sig)
{
    int left = DEADLINE_MS;
    unlink_link(b);
    if (b->pid == 0)
        return;
    kill(b->pid, SIGCONT);
    kill(b->pid, sig);
    while (waitpid(b->pid, NULL, WNOHANG) == 0) {
        pause_1ms();
        if (--left == 0)
            kill(b->pid, SIGKILL);
    }
    b->pid = 0;
}

static void become_server(const redis_bed *b)
{
    char port[16];
    const char *argv[MOST_WORDS] = {"redis-server", "--port", port, "--bind", "127.0.0.1", "--unixsocket", b->path, "--dir",
                                    b->folder, "--save", "", "--appendonly", "no", "--daemonize", "no"};
    char names[16][64];
    int n = 15, null = open("/dev/null", O_RDWR);
    snprintf(port, sizeof port, "%d", b->port);
    for (int i = 0; b->config && b->config[2 * i] && i < 16; i++) {
        snprintf(names[i], sizeof names[i], "--%s", b->config[2 * i]);
        argv[n++] = names[i];
        argv[n++] = b->config[2 * i + 1];
    }
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(argv[0], (char **)argv);
    _exit(127);
}

static bool answers(redis_bed *b)
{
    redisContext *c = redisConnectUnixWithTimeout(b->path, (struct timeval){1, 0});
    redisReply *r = c && !c->err ? redisCommand(c, "PING") : NULL;
    bool fine = r && !(r->type == REDIS_REPLY_ERROR && strncmp(r->str, "LOADING", 7) == 0);
    if (r)
        freeReplyObject(r);
    if (c)
        redisFree(c);
    return fine;
}

static void start_process(redis_bed *b)
{
    unlink(b->path);
    b->pid = fork();
    if (b->pid == 0)
        become_server(b);
    for (int left = DEADLINE_MS; b->pid < 0 || !answers(b); left--) {
        if (b->pid < 0 || left == 0 || waitpid(b->pid, NULL, WNOHANG) == b->pid) {
            b->pid = b->pid > 0 && left == 0 ? b->pid : 0;
            fail("redis-server does not answer");
        }
        pause_1ms();
    }
}

static int free_port(void)
{
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof inet;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&inet, n) || getsockname(fd, (struct sockaddr *)&inet, &n))
        fail("no port is free");
    close(fd);
    return ntohs(inet.sin_port);
}

/* ---- life ---- */

static void stop_all(void)
{
    for (int i = 0; i < MOST_BEDS; i++)
        if (beds[i] && owner == getpid())
            redis_bed_stop(beds[i]);
}

redis_bed *redis_bed_start(const redis_bed_options *o)
{
    redis_bed *b = calloc(1, sizeof *b);
    int i = 0;
    if (owner != getpid()) {
        if (owner == 0)
            atexit(stop_all);
        owner = getpid();
        memset(beds, 0, sizeof beds);
    }
    while (i < MOST_BEDS && beds[i])
        i++;
    if (!b || i == MOST_BEDS)
        fail("too many servers");
    snprintf(b->folder, sizeof b->folder, "/tmp/larder-bed-XXXXXX");
    if (!mkdtemp(b->folder))
        fail("no temporary folder");
    snprintf(b->path, sizeof b->path, "%s/redis.sock", b->folder);
    snprintf(b->url, sizeof b->url, "redis+unix://%s", b->path);
    b->config = o ? o->config : NULL;
    b->port = o && o->with_port ? free_port() : 0;
    b->text = calloc(1, MOST_TEXT);
    beds[i] = b;
    start_process(b);
    return b;
}

void redis_bed_stop(redis_bed *b)
{
    char name[128];
    if (!b)
        return;
    end_process(b, SIGTERM);
    unlink(b->path);
    snprintf(name, sizeof name, "%s/dump.rdb", b->folder);
    unlink(name);
    rmdir(b->folder);
    for (int i = 0; i < MOST_BEDS; i++)
        beds[i] = beds[i] == b ? NULL : beds[i];
    free(b->text);
    free(b);
}

void redis_bed_kill(redis_bed *b)
{
    end_process(b, SIGKILL);
}

void redis_bed_restart(redis_bed *b)
{
    end_process(b, SIGKILL);
    start_process(b);
}

const char *redis_bed_path(const redis_bed *b)
{
    return b->path;
}

const char *redis_bed_url(const redis_bed *b)
{
    return b->url;
}

int redis_bed_port(const redis_bed *b)
{
    return b->port;
}

pid_t redis_bed_pid(const redis_bed *b)
{
    return b->pid;
}

/* ---- commands ---- */

static void show(redis_bed *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(b->text + b->n_text, MOST_TEXT - b->n_text, format, args);
    va_end(args);
    b->n_text += (size_t)n;
    if (b->n_text >= MOST_TEXT)
        fail("the reply is too long to be shown");
}

static void show_string(redis_bed *b, const char *s, size_t n)
{
    show(b, "\"");
    for (size_t i = 0; i < n; i++) {
        bool is_plain = s[i] >= ' ' && s[i] <= '~' && s[i] != '"' && s[i] != '\\';
        show(b, is_plain ? "%c" : s[i] == '"' || s[i] == '\\' ? "\\%c" : "\\x%02x", (unsigned char)s[i]);
    }
    show(b, "\"");
}

static void show_reply(redis_bed *b, const redisReply *r)
{
    switch (r->type) {
    case REDIS_REPLY_STATUS: show(b, "+%s", r->str); break;
    case REDIS_REPLY_ERROR: show(b, "-%s", r->str); break;
    case REDIS_REPLY_INTEGER: show(b, "%lld", r->integer); break;
    case REDIS_REPLY_NIL: show(b, "nil"); break;
    case REDIS_REPLY_STRING: show_string(b, r->str, (size_t)r->len); break;
    default:
        show(b, "[");
        for (size_t i = 0; i < r->elements; i++) {
            show(b, i ? " " : "");
            show_reply(b, r->element[i]);
        }
        show(b, "]");
    }
}

static redisReply *ask(redis_bed *b, const char *format, va_list args)
{
    if (!b->link)
        b->link = redisConnectUnixWithTimeout(b->path, (struct timeval){DEADLINE_MS / 1000, 0});
    if (!b->link || b->link->err)
        fail("no connection");
    redisSetTimeout(b->link, (struct timeval){DEADLINE_MS / 1000, 0});
    redisReply *r = redisvCommand(b->link, format, args);
    if (!r)
        fail("no reply");
    return r;
}

const char *redis_bed_ask(redis_bed *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *r = ask(b, format, args);
    va_end(args);
    b->n_text = 0;
    show_reply(b, r);
    freeReplyObject(r);
    return b->text;
}

long long redis_bed_int(redis_bed *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *r = ask(b, format, args);
    va_end(args);
    long long n = r->integer;
    if (r->type != REDIS_REPLY_INTEGER)
        fail("the reply is no integer");
    freeReplyObject(r);
    return n;
}

#else
typedef int redis_bed_is_left_out;
#endif
