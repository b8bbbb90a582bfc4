/* posix.c - what specs of processes need and Lua lacks: fork, signals, threads with a Lua state each. */
#define _GNU_SOURCE 1
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int do_fork(lua_State *L)
{
    lua_pushinteger(L, fork());
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
                                         {"chdir", do_chdir}, {"umask", do_umask}, {"disturb", disturb}, {"threads", threads}, {NULL, NULL}};
    lua_createtable(L, 0, 10);
    for (const luaL_Reg *f = functions; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
    return 1;
}
