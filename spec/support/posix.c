/* posix.c - what specs of processes need and Lua lacks: fork, programs of their own, signals, sockets, threads with a Lua
 * state each. Every wait has a limit; times are milliseconds. */
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if LUA_VERSION_NUM > 501
#define lua_objlen lua_rawlen
#endif

static int do_fork(lua_State *L)
{
    lua_pushinteger(L, fork());
    return 1;
}

static int do_getpid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

/* wait(pid) -> exit status, or 128 + signal */
static int do_wait(lua_State *L)
{
    int status = 0;
    while (waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0) < 0)
        ;
    lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 1;
}

static int do_exit(lua_State *L)
{
    _exit((int)luaL_checkinteger(L, 1));
}

static int do_close(lua_State *L)
{
    lua_pushboolean(L, close((int)luaL_checkinteger(L, 1)) == 0);
    return 1;
}

static int do_chdir(lua_State *L)
{
    lua_pushboolean(L, chdir(luaL_checkstring(L, 1)) == 0);
    return 1;
}

static int do_umask(lua_State *L)
{
    lua_pushinteger(L, umask((mode_t)luaL_checkinteger(L, 1)));
    return 1;
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int do_now(lua_State *L)
{
    lua_pushnumber(L, now_ms());
    return 1;
}

/* sleep(ms): for who looks again and again whether something came about. */
static int do_sleep(lua_State *L)
{
    double until = now_ms() + luaL_checknumber(L, 1), left;
    while ((left = until - now_ms()) > 0) {
        struct timespec t = {(time_t)(left / 1e3), (long)((left - 1e3 * (long)(left / 1e3)) * 1e6)};
        nanosleep(&t, NULL);
    }
    return 0;
}

/* Only in the child, between fork and exec. It ends with its parent, whatever becomes of that one. */
static void become(char **argv, int in, int out, int err)
{
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(argv[0], argv);
    _exit(127);
}

/* spawn({program, argument, ...}, log [, talks]) -> pid [, fd]: a program of its own, with what it prints in the file
 * `log`. Where it talks, its standard input and output are the other end of fd. It is killed when this process ends. */
static int do_spawn(lua_State *L)
{
    int n = (int)lua_objlen(L, 1), talks = lua_toboolean(L, 3), pair[2] = {-1, -1};
    const char *log = luaL_checkstring(L, 2);
    char *argv[64];
    if (n < 1 || n > 63)
        return luaL_error(L, "1 to 63 words");
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, 1, i + 1);
        argv[i] = (char *)luaL_checkstring(L, -1);
    }
    argv[n] = NULL;
    int err = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (err < 0 || null < 0 || (talks && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)))
        return luaL_error(L, "cannot start %s: %s", argv[0], strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        become(argv, talks ? pair[1] : null, talks ? pair[1] : err, err);
    close(err);
    close(null);
    close(pair[1]);
    lua_pushinteger(L, pid);
    if (talks)
        lua_pushinteger(L, pair[0]);
    return talks ? 2 : 1;
}

/* kill(pid, "KILL" | "TERM" | "STOP" | "CONT" | "INT") -> was it there? */
static int do_kill(lua_State *L)
{
    static const char *const names[] = {"KILL", "TERM", "STOP", "CONT", "INT", NULL};
    static const int numbers[] = {SIGKILL, SIGTERM, SIGSTOP, SIGCONT, SIGINT};
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    if (pid <= 1)
        return luaL_error(L, "no such process");
    lua_pushboolean(L, kill(pid, numbers[luaL_checkoption(L, 2, NULL, names)]) == 0);
    return 1;
}

/* reap(pid, ms) -> exit status, or 128 + signal; nil: it did not end in time */
static int do_reap(lua_State *L)
{
    pid_t pid = (pid_t)luaL_checkinteger(L, 1), got;
    double until = now_ms() + luaL_checknumber(L, 2);
    int status = 0;
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
        if (now_ms() > until)
            return lua_pushnil(L), 1;
        nanosleep(&(struct timespec){0, 500000}, NULL);
    }
    lua_pushinteger(L, got < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 1;
}

static int fails(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* dial(path) or dial(port) on 127.0.0.1 -> fd; nil, why */
static int do_dial(lua_State *L)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int is_port = lua_type(L, 1) == LUA_TNUMBER, fd = socket(is_port ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;
    if (is_port) {
        inet.sin_port = htons((uint16_t)lua_tointeger(L, 1));
        rc = connect(fd, (struct sockaddr *)&inet, sizeof inet);
    } else {
        strncpy(local.sun_path, luaL_checkstring(L, 1), sizeof local.sun_path - 1);
        rc = connect(fd, (struct sockaddr *)&local, sizeof local);
    }
    if (rc) {
        int why = errno;
        close(fd);
        return fails(L, strerror(why));
    }
    lua_pushinteger(L, fd);
    return 1;
}

/* send(fd, bytes) -> true; nil, why */
static int do_send(lua_State *L)
{
    size_t n, at = 0;
    int fd = (int)luaL_checkinteger(L, 1);
    const char *bytes = luaL_checklstring(L, 2, &n);
    while (at < n) {
        ssize_t got = send(fd, bytes + at, n - at, MSG_NOSIGNAL);
        if (got < 0 && errno != EINTR)
            return fails(L, strerror(errno));
        at += got > 0 ? (size_t)got : 0;
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* recv(fd, ms) -> what came within that time, "" when the other side closed; nil, "timeout" or why */
static int do_recv(lua_State *L)
{
    char bytes[65536];
    double until = now_ms() + luaL_checknumber(L, 2);
    struct pollfd p = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLIN};
    for (;;) {
        double left = until - now_ms();
        int n = poll(&p, 1, left > 0 ? (int)left + 1 : 0);
        if (n == 0 && left <= 0)
            return fails(L, "timeout");
        if (n <= 0)
            continue;
        ssize_t got = recv(p.fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got < 0)
            return fails(L, strerror(errno));
        lua_pushlstring(L, bytes, (size_t)got);
        return 1;
    }
}

/* free_port() -> a port of 127.0.0.1 that nobody listens on now */
static int free_port(lua_State *L)
{
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof inet;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&inet, n) || getsockname(fd, (struct sockaddr *)&inet, &n))
        luaL_error(L, "no port is free");
    close(fd);
    lua_pushinteger(L, ntohs(inet.sin_port));
    return 1;
}

static volatile sig_atomic_t signals;

static void count(int sig)
{
    (void)sig;
    signals++;
}

/* disturb(us): SIGALRM every us microseconds, without SA_RESTART; 0: no more. Gives how many came so far. */
static int disturb(lua_State *L)
{
    long us = (long)luaL_checkinteger(L, 1);
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = count;
    sigaction(SIGALRM, &act, NULL);
    sigaction(SIGCHLD, &act, NULL);
    struct itimerval timer = {{us / 1000000, us % 1000000}, {us / 1000000, us % 1000000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    lua_pushinteger(L, signals);
    return 1;
}

typedef struct thread {
    pthread_t id;
    const char *code;
    char error[256];
} thread;

static void *run(void *arg)
{
    thread *t = arg;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_loadstring(L, t->code) || lua_pcall(L, 0, 0, 0))
        strncpy(t->error, lua_tostring(L, -1), sizeof t->error - 1);
    lua_close(L);
    return NULL;
}

/* threads(n, code): the code in n threads at once, each in a Lua state of its own; raises the first error. */
static int threads(lua_State *L)
{
    int n = (int)luaL_checkinteger(L, 1);
    thread *all = calloc((size_t)n, sizeof *all);
    for (int i = 0; i < n; i++) {
        all[i].code = luaL_checkstring(L, 2);
        pthread_create(&all[i].id, NULL, run, &all[i]);
    }
    char error[256] = "";
    for (int i = 0; i < n; i++) {
        pthread_join(all[i].id, NULL);
        if (*all[i].error)
            memcpy(error, all[i].error, sizeof error);
    }
    free(all);
    return *error ? luaL_error(L, "%s", error) : 0;
}

__attribute__((visibility("default"))) int luaopen_posix(lua_State *L)
{
    static const luaL_Reg functions[] = {{"fork", do_fork}, {"wait", do_wait}, {"exit", do_exit}, {"close", do_close},
                                         {"chdir", do_chdir}, {"umask", do_umask}, {"disturb", disturb}, {"threads", threads},
                                         {"getpid", do_getpid}, {"now", do_now}, {"sleep", do_sleep}, {"spawn", do_spawn}, {"kill", do_kill}, {"reap", do_reap},
                                         {"dial", do_dial}, {"send", do_send}, {"recv", do_recv}, {"free_port", free_port}, {NULL, NULL}};
    lua_createtable(L, 0, 20);
    for (const luaL_Reg *f = functions; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
    return 1;
}
