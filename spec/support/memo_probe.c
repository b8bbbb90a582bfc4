/* memo_probe.c - a memo over slots that a spec moves by hand: no shelf, a virtual clock.
 *
 *   local p = probe.new(n [, shared])     p.memo (userdata), p.core (the functions larder.memo wants)
 *   p:put(key, value, slot [, soft_us])   -> remembered?      p:change(slot)      the slot's word moves
 *   p:advance(us)  p:gate(n)  p:mark(slot) -> marks  p:clear()  p:samples() -> how many hits were timed
 *   probe.now                             address of a C function that gives a cached time, as ngx.now
 *   probe.new(n, shared, true)            the machine's clock, for the bench
 *   p:change_later(slot, us)              another thread changes the word after so long */
#include "bind/memo.h"
#include "bind/value.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define N_SLOTS 4096
#define MARK_MAX 3

typedef struct probe {
    ldr_clock clock;
    int32_t gate;
    int64_t samples;
    _Atomic uint32_t word[N_SLOTS];
    _Atomic uint8_t mark[N_SLOTS];
    ldr_lua_memo *memo;
} probe;

static probe *arg_probe(lua_State *L)
{
    return luaL_checkudata(L, 1, "memo_probe");
}

static int arg_slot(lua_State *L, int idx)
{
    int slot = (int)luaL_checkinteger(L, idx);
    luaL_argcheck(L, slot >= 0 && slot < N_SLOTS, idx, "no such slot");
    return slot;
}

static void count_sample(void *arg, int64_t ns)
{
    (void)ns;
    ((probe *)arg)->samples++;
}

/* The memo is anchored in the registry by the probe's address; a spec's process is short. */
static int probe_new(lua_State *L)
{
    uint32_t n = (uint32_t)luaL_checkinteger(L, 1);
    bool shared = lua_toboolean(L, 2), machine = lua_toboolean(L, 3);
    probe *p = lua_newuserdata(L, sizeof *p);
    memset(p, 0, sizeof *p);
    if (machine)
        ldr_clock_init(&p->clock);
    else
        ldr_clock_init_virtual(&p->clock, 1000);
    luaL_newmetatable(L, "memo_probe");
    lua_setmetatable(L, -2);
    p->gate = 1;
    p->memo = ldr_lua_memo_new(L, n, &p->clock, &p->gate);
    p->memo->shared = shared;
    p->memo->sampled = count_sample;
    p->memo->sampled_arg = p;
    ldr_lua_setregistry(L, p);
    return 1;
}

static int probe_memo(lua_State *L)
{
    ldr_lua_getregistry(L, arg_probe(L));
    return 1;
}

static int probe_put(lua_State *L)
{
    probe *p = arg_probe(L);
    int slot = arg_slot(L, 4);
    int64_t soft_us = lua_isnoneornil(L, 5) ? LDR_NEVER : (int64_t)luaL_checknumber(L, 5);
    ldr_slot_ref ref = {
        .at = &p->word[slot], .mark = &p->mark[slot], .word = atomic_load(&p->word[slot]), .mark_max = MARK_MAX};
    probe_memo(L);
    lua_pushboolean(L, ldr_lua_memo_put(L, -1, 2, 3, &ref, soft_us));
    return 1;
}

static int probe_change(lua_State *L)
{
    atomic_fetch_add(&arg_probe(L)->word[arg_slot(L, 2)], 1);
    return 0;
}

typedef struct later {
    _Atomic uint32_t *word;
    int64_t us;
} later;

static void *change_word(void *arg)
{
    later l = *(later *)arg;
    struct timespec t = {.tv_sec = l.us / LDR_SEC, .tv_nsec = l.us % LDR_SEC * 1000};
    free(arg);
    nanosleep(&t, NULL);
    atomic_fetch_add(l.word, 1);
    return NULL;
}

static int probe_change_later(lua_State *L)
{
    probe *p = arg_probe(L);
    int slot = arg_slot(L, 2);
    int64_t us = (int64_t)luaL_checknumber(L, 3);
    pthread_t thread;
    later *l = malloc(sizeof *l);
    if (!l)
        return luaL_error(L, "out of memory");
    *l = (later){.word = &p->word[slot], .us = us};
    if (pthread_create(&thread, NULL, change_word, l) != 0) {
        free(l);
        return luaL_error(L, "no thread");
    }
    pthread_detach(thread);
    return 0;
}

static int probe_advance(lua_State *L)
{
    ldr_clock_advance(&arg_probe(L)->clock, (int64_t)luaL_checknumber(L, 2));
    return 0;
}

static int probe_gate(lua_State *L)
{
    arg_probe(L)->gate = (int32_t)luaL_checkinteger(L, 2);
    return 0;
}

static int probe_mark(lua_State *L)
{
    lua_pushinteger(L, atomic_load(&arg_probe(L)->mark[arg_slot(L, 2)]));
    return 1;
}

static int probe_clear(lua_State *L)
{
    probe_memo(L);
    ldr_lua_memo_clear(L, -1);
    return 0;
}

static int probe_samples(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)arg_probe(L)->samples);
    return 1;
}

/* What ngx.now is to LuaJIT in nginx: a C function that reads a time somebody else keeps. */
static volatile double cached_now = 1e9;

static double read_now(void)
{
    return cached_now;
}

static void push_address(lua_State *L, double (*f)(void))
{
    void *address;
    memcpy(&address, &f, sizeof address);
    lua_pushlightuserdata(L, address);
}

LDR_API int luaopen_memo_probe(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"memo", probe_memo},       {"put", probe_put},   {"change", probe_change},   {"change_later", probe_change_later},
        {"advance", probe_advance}, {"gate", probe_gate}, {"mark", probe_mark},
        {"clear", probe_clear},     {"samples", probe_samples}, {NULL, NULL},
    };
    ldr_lua_value_open(L);
    luaL_newmetatable(L, "memo_probe");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    lua_pushcfunction(L, probe_new);
    lua_setfield(L, -2, "new");
    push_address(L, read_now);
    lua_setfield(L, -2, "now");
    lua_newtable(L);
    ldr_lua_memo_open(L);
    lua_setfield(L, -2, "core");
    return 1;
}
