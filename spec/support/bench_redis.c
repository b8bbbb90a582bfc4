/* bench_redis.c - what the benches of the shared shelf compare with, in C with hiredis and SQLite, as a Lua module that is
 * built when it is first asked for (bench_redis.lua). Each peer does a block of work in one call, so that Lua costs it nothing.
 *
 *   now() cpu([pid])             ns of CLOCK_MONOTONIC; of CPU time of this process or another
 *   server(folder) stop(pid)     a redis-server on folder/redis.sock that dies with this process; ends it
 *   peer(path, keys, value)      a connection; the keys that it goes through in turn, each set to value
 *     p:get(n) p:mget(n) p:pipe(n)         n GETs; n MGETs of 100; n GETs, 64 or, with p:pipe(n, k), k in one pipeline
 *     p:get_set(n)                         n times GET and SET
 *     p:info(field)                        a number of INFO
 *     p:publish(text)  p:subscribe()  p:hear()   on the channel "bench"; waits for one message
 *   writer(path, file, sql)      w(n): n times SET, the statement with ?1 an id from 1 to 1000, ?2 ?3 numbers, SET
 *   fork() exit() wait(pid) pair() close(fd) send(fd, number) receive(fd) yield() pause(us)   of processes
 *   pin(on, pid)                 this thread and that process on one processor only; on all again */
#include "bind/compat.h"

#include <hiredis/hiredis.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MANY 100

typedef struct peer {
    redisContext *c;
    size_t n_keys, at;
    char **keys;
    size_t *sizes;
    size_t bytes; /* of what was read, so that it is read */
} peer;

/* ---- time and processes ------------------------------------------------------------------------------------- */

static int push_time(lua_State *L, clockid_t id)
{
    struct timespec t;
    if (clock_gettime(id, &t) != 0)
        return luaL_error(L, "no such clock");
    lua_pushnumber(L, (lua_Number)t.tv_sec * 1e9 + (lua_Number)t.tv_nsec);
    return 1;
}

static int now(lua_State *L)
{
    return push_time(L, CLOCK_MONOTONIC);
}

static int cpu(lua_State *L)
{
    clockid_t id = CLOCK_PROCESS_CPUTIME_ID;
    if (!lua_isnoneornil(L, 1) && clock_getcpuclockid((pid_t)lua_tonumber(L, 1), &id) != 0)
        return luaL_error(L, "no such process");
    return push_time(L, id);
}

static int server(lua_State *L)
{
    const char *folder = luaL_checkstring(L, 1);
    char path[108];
    snprintf(path, sizeof path, "%s/redis.sock", folder);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--dir", folder, "--save", "",
               "--appendonly", "no", "--logfile", "redis.log", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; pid > 0 && i < 500; i++) {
        redisContext *c = redisConnectUnix(path);
        bool is_up = c && !c->err;
        redisFree(c);
        if (is_up) {
            lua_pushinteger(L, pid);
            return 1;
        }
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return luaL_error(L, "redis-server did not start");
        usleep(10000);
    }
    return luaL_error(L, "redis-server does not answer");
}

static int stop(lua_State *L)
{
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return 0;
}

static int do_fork(lua_State *L)
{
    pid_t pid = fork();
    if (pid < 0)
        return luaL_error(L, "fork failed");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    lua_pushinteger(L, pid);
    return 1;
}

static int do_exit(lua_State *L)
{
    (void)L;
    _exit(0);
}

static int do_wait(lua_State *L)
{
    waitpid((pid_t)luaL_checkinteger(L, 1), NULL, 0);
    return 0;
}

static int do_close(lua_State *L)
{
    close((int)luaL_checkinteger(L, 1));
    return 0;
}

static int pair(lua_State *L)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
        return luaL_error(L, "no socket pair");
    lua_pushinteger(L, fds[0]);
    lua_pushinteger(L, fds[1]);
    return 2;
}

static int do_send(lua_State *L)
{
    double v = luaL_checknumber(L, 2);
    if (write((int)luaL_checkinteger(L, 1), &v, sizeof v) != sizeof v)
        return luaL_error(L, "the other process is gone");
    return 0;
}

static int receive(lua_State *L)
{
    double v;
    if (read((int)luaL_checkinteger(L, 1), &v, sizeof v) != sizeof v)
        return luaL_error(L, "the other process is gone");
    lua_pushnumber(L, v);
    return 1;
}

static int yield(lua_State *L)
{
    (void)L;
    sched_yield();
    return 0;
}

static int do_pause(lua_State *L)
{
    usleep((useconds_t)luaL_checknumber(L, 1));
    return 0;
}

static int pin(lua_State *L)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0, n = lua_toboolean(L, 1) ? 1 : CPU_SETSIZE; i < n; i++)
        CPU_SET(i, &set);
    pid_t pid = (pid_t)luaL_checkinteger(L, 2);
    lua_pushboolean(L, sched_setaffinity(0, sizeof set, &set) == 0 && sched_setaffinity(pid, sizeof set, &set) == 0);
    return 1;
}

/* ---- hiredis ------------------------------------------------------------------------------------------------ */

static redisReply *check(lua_State *L, peer *p, redisReply *r)
{
    if (!r)
        luaL_error(L, "redis: %s", p->c->errstr);
    else if (r->type == REDIS_REPLY_ERROR)
        luaL_error(L, "redis: %s", r->str);
    return r;
}

static void set(lua_State *L, peer *p, const char *key, const char *value, size_t n)
{
    const char *argv[] = {"SET", key, value, "PX", "3600000"};
    size_t sizes[] = {3, strlen(key), n, 2, 7};
    freeReplyObject(check(L, p, redisCommandArgv(p->c, 5, argv, sizes)));
}

static void count(lua_State *L, peer *p, redisReply *r)
{
    check(L, p, r);
    if (r->type != REDIS_REPLY_STRING)
        luaL_error(L, "redis: a value was expected");
    p->bytes += r->len + (unsigned char)r->str[0];
    freeReplyObject(r);
}

static size_t next_key(peer *p)
{
    p->at = p->at + 1 < p->n_keys ? p->at + 1 : 0;
    return p->at;
}

static peer *check_peer(lua_State *L, int *n)
{
    *n = (int)luaL_optnumber(L, 2, 0);
    return luaL_checkudata(L, 1, "bench.peer");
}

static int peer_get(lua_State *L)
{
    int n;
    peer *p = check_peer(L, &n);
    for (int i = 0; i < n; i++) {
        size_t k = next_key(p);
        const char *argv[] = {"GET", p->keys[k]};
        size_t sizes[] = {3, p->sizes[k]};
        count(L, p, redisCommandArgv(p->c, 2, argv, sizes));
    }
    return 0;
}

static int peer_get_set(lua_State *L)
{
    int n;
    peer *p = check_peer(L, &n);
    char value[64];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < n; i++) {
        size_t k = next_key(p);
        const char *argv[] = {"GET", p->keys[k]};
        size_t sizes[] = {3, p->sizes[k]};
        count(L, p, redisCommandArgv(p->c, 2, argv, sizes));
        set(L, p, p->keys[k], value, sizeof value);
    }
    return 0;
}

static int peer_mget(lua_State *L)
{
    int n;
    peer *p = check_peer(L, &n);
    const char *argv[MANY + 1] = {"MGET"};
    size_t sizes[MANY + 1] = {4};
    for (int i = 0; i < n; i++) {
        for (int j = 1; j <= MANY; j++) {
            size_t k = next_key(p);
            argv[j] = p->keys[k];
            sizes[j] = p->sizes[k];
        }
        redisReply *r = check(L, p, redisCommandArgv(p->c, MANY + 1, argv, sizes));
        if (r->elements != MANY)
            return luaL_error(L, "redis: values were expected");
        for (size_t j = 0; j < MANY; j++)
            p->bytes += r->element[j]->len + (unsigned char)r->element[j]->str[0];
        freeReplyObject(r);
    }
    return 0;
}

static int peer_pipe(lua_State *L)
{
    int n, depth = (int)luaL_optinteger(L, 3, 64);
    peer *p = check_peer(L, &n);
    for (int done = 0; done < n; done += depth) {
        for (int i = 0; i < depth; i++) {
            size_t k = next_key(p);
            const char *argv[] = {"GET", p->keys[k]};
            size_t sizes[] = {3, p->sizes[k]};
            redisAppendCommandArgv(p->c, 2, argv, sizes);
        }
        for (int i = 0; i < depth; i++) {
            void *r = NULL;
            redisGetReply(p->c, &r);
            count(L, p, r);
        }
    }
    return 0;
}

static int peer_info(lua_State *L)
{
    peer *p = luaL_checkudata(L, 1, "bench.peer");
    const char *field = luaL_checkstring(L, 2);
    redisReply *r = check(L, p, redisCommand(p->c, "INFO"));
    const char *at = strstr(r->str, field);
    if (!at || at[strlen(field)] != ':')
        return luaL_error(L, "INFO has no %s", field);
    lua_pushnumber(L, strtod(at + strlen(field) + 1, NULL));
    freeReplyObject(r);
    return 1;
}

static int peer_publish(lua_State *L)
{
    peer *p = luaL_checkudata(L, 1, "bench.peer");
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    freeReplyObject(check(L, p, redisCommand(p->c, "PUBLISH bench %b", text, n)));
    return 0;
}

static int peer_subscribe(lua_State *L)
{
    peer *p = luaL_checkudata(L, 1, "bench.peer");
    freeReplyObject(check(L, p, redisCommand(p->c, "SUBSCRIBE bench")));
    return 0;
}

static int peer_hear(lua_State *L)
{
    peer *p = luaL_checkudata(L, 1, "bench.peer");
    void *r = NULL;
    redisGetReply(p->c, &r);
    freeReplyObject(check(L, p, r));
    return 0;
}

static int peer_close(lua_State *L)
{
    peer *p = luaL_checkudata(L, 1, "bench.peer");
    redisFree(p->c);
    for (size_t i = 0; i < p->n_keys; i++)
        free(p->keys[i]);
    free(p->keys);
    free(p->sizes);
    *p = (peer){0};
    return 0;
}

static void take_keys(lua_State *L, peer *p)
{
    size_t n_value = 0, n = lua_istable(L, 2) ? ldr_lua_rawlen(L, 2) : 0;
    const char *value = luaL_optlstring(L, 3, "", &n_value);
    p->keys = calloc(n + 1, sizeof *p->keys);
    p->sizes = calloc(n + 1, sizeof *p->sizes);
    for (; p->keys && p->sizes && p->n_keys < n; p->n_keys++) {
        lua_rawgeti(L, 2, (int)p->n_keys + 1);
        p->keys[p->n_keys] = strdup(luaL_checkstring(L, -1));
        p->sizes[p->n_keys] = strlen(p->keys[p->n_keys]);
        lua_pop(L, 1);
        set(L, p, p->keys[p->n_keys], value, n_value);
    }
}

static int peer_new(lua_State *L)
{
    static const luaL_Reg methods[] = {{"get", peer_get}, {"get_set", peer_get_set}, {"mget", peer_mget},
        {"pipe", peer_pipe}, {"info", peer_info}, {"publish", peer_publish}, {"subscribe", peer_subscribe},
        {"hear", peer_hear}, {"__gc", peer_close}, {NULL, NULL}};
    const char *path = luaL_checkstring(L, 1);
    peer *p = lua_newuserdata(L, sizeof *p);
    *p = (peer){0};
    if (luaL_newmetatable(L, "bench.peer")) {
        for (const luaL_Reg *f = methods; f->name; f++) {
            lua_pushcfunction(L, f->func);
            lua_setfield(L, -2, f->name);
        }
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_setmetatable(L, -2);
    p->c = redisConnectUnix(path);
    if (!p->c || p->c->err)
        return luaL_error(L, "redis: nobody listens on %s", path);
    take_keys(L, p);
    return 1;
}

/* ---- a statement and two commands --------------------------------------------------------------------------- */

static int write_rows(lua_State *L)
{
    peer *p = lua_touserdata(L, lua_upvalueindex(1));
    sqlite3_stmt *s = lua_touserdata(L, lua_upvalueindex(2));
    int n = (int)luaL_checknumber(L, 1);
    char key[32], mark[32], value[160];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < n; i++) {
        int id = (int)(p->bytes++ * 7919 % 1000) + 1;
        snprintf(key, sizeof key, "peer:%d", id);
        snprintf(mark, sizeof mark, "mark:%d", id);
        set(L, p, mark, "0123456789abcdef", 16);
        sqlite3_bind_int(s, 1, id);
        sqlite3_bind_double(s, 2, (double)p->bytes + 0.25);
        sqlite3_bind_int64(s, 3, (sqlite3_int64)p->bytes);
        if (sqlite3_step(s) != SQLITE_DONE)
            return luaL_error(L, "sqlite: %s", sqlite3_errmsg(sqlite3_db_handle(s)));
        sqlite3_reset(s);
        set(L, p, key, value, sizeof value);
    }
    return 0;
}

static int writer(lua_State *L)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    lua_settop(L, 3);
    lua_pushcfunction(L, peer_new);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (sqlite3_open_v2(luaL_checkstring(L, 2), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(db, luaL_checkstring(L, 3), -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
        return luaL_error(L, "sqlite: %s", sqlite3_errmsg(db));
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, write_rows, 2);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_bench_redis(lua_State *L)
{
    static const luaL_Reg functions[] = {{"now", now}, {"cpu", cpu}, {"server", server}, {"stop", stop},
        {"peer", peer_new}, {"writer", writer}, {"fork", do_fork}, {"exit", do_exit}, {"wait", do_wait}, {"pair", pair},
        {"close", do_close}, {"send", do_send}, {"receive", receive}, {"yield", yield}, {"pause", do_pause}, {"pin", pin}, {NULL, NULL}};
    lua_createtable(L, 0, 16);
    for (const luaL_Reg *f = functions; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
    return 1;
}
