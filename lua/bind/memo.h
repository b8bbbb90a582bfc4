/* memo.h - the memo before the shelf: what this Lua state got lately, so that a hit is one look in a Lua table and one
 * look at the slot's word: no hashing, no copying out, no decoding, and yet no hit outlives a change of the entry.
 *
 *   index   Lua table  key -> i            values  Lua table  i -> value, or the plan of a private copy
 *   keys    Lua table  i -> key            entry   C array    i -> slot, word, expiry, mark
 *
 * The userdata keeps the three tables (LuaJIT: four) alive. At most n entries; the one that leaves is the first that
 * was not hit since the clock's hand last passed. Belongs to one Lua state, so nothing here is locked; what is shared
 * with other threads (slot word, mark, gate) is read and written as atomics. */
#ifndef LDR_BIND_MEMO_H
#define LDR_BIND_MEMO_H

#include "base/clock.h"
#include "bind/compat.h"
#include "l1/shelf.h"

#include <time.h>

#define LDR_LUA_MEMO_BYTES ((size_t)16 << 10) /* key and strings of one entry; larger ones are not memoized */
#define LDR_LUA_MEMO_NODES 256                /* fields of a table that is kept as a private copy */
#define LDR_LUA_MEMO_SAMPLE 256               /* every so many hits one is timed */

typedef struct ldr_lua_memo_entry {
    _Atomic uint32_t *at; /* the slot's word, or one of the memo's own that never equals `word` */
    _Atomic uint8_t *mark;
    int64_t fresh_us;     /* served while the coarse clock is below: soft expiry less the clock's lag */
    uint32_t word;
    uint8_t mark_max;
    bool used;            /* hit since the hand passed */
} ldr_lua_memo_entry;

typedef struct ldr_lua_memo {
    uint64_t hits;
    ldr_lua_memo_entry *entry; /* n, behind this struct, on cache lines */
    const int32_t *gate;       /* not `pass`: nothing is answered (closed, forked) */
    int (*gettime)(clockid_t, struct timespec *); /* the kernel's, without the C library between; or NULL */
    const ldr_clock *clock;
    uint32_t n, hand, entries;
    int32_t pass;            /* the gate's value when what is remembered began to be */
    int32_t open;            /* the gate where none was given: 1; once collected: 0 */
    _Atomic uint32_t nowhere; /* 0: `at` of an empty entry, whose word is 1 */
    bool shared;             /* set by the owner: tables are handed out themselves, not copies of them */
    void (*sampled)(void *arg, int64_t ns); /* set by the owner, may be NULL; must not call Lua */
    void *sampled_arg;
    int (*read)(lua_State *L); /* set by the owner, may be NULL: reads the string key at 2 through `owner`, which is at 1, */
    void *owner;               /* with nil at 3 and the memo at 4; gives value, outcome or nil, code, message on top */
} ldr_lua_memo;

/* Pushes a new memo of at most n entries (0: it remembers nothing) and gives it. clock and gate must outlive it: the
 * caller anchors their owner; gate may be NULL (never shut). May raise Lua's memory error. */
ldr_lua_memo *ldr_lua_memo_new(lua_State *L, uint32_t n, const ldr_clock *clock, const int32_t *gate);

/* Remembers the value at stack index `value` under the string at `key`, until ref's word changes or soft_us passes.
 * false: not remembered (no mark in ref, nil, too large, a table that cannot be copied). A table is copied unless
 * memo->shared: the caller may hand out and change its own. May raise Lua's memory error: nothing is remembered then.
 */
bool ldr_lua_memo_put(lua_State *L, int memo, int key, int value, const ldr_slot_ref *ref, int64_t soft_us);

/* Forgets all, so that Lua can collect it; from now on the gate's value of now is the one that lets hits through. */
void ldr_lua_memo_clear(lua_State *L, int memo);

/* 1 and one hit counted and marked, if entry i (1 to n, as index has it) may be served now; else 0. LuaJIT calls it by
 * FFI: it must not touch Lua. */
int ldr_lua_memo_check(ldr_lua_memo *memo, uint32_t i);

/* The functions for the module's table: memo_get, memo_parts, memo_checker, memo_counts. See memo_get.c. */
void ldr_lua_memo_open(lua_State *L); /* adds them to the table on top of the stack */

/* ---- private copies (memo_plan.c) --------------------------------------------------------------------------- */

/* Pushes the plan of the table at t, or gives false and pushes nothing (too large, or holds what no value holds).
 * `bytes` is what its strings may take. Lua 5.4: a list { n_array, n_hash, array values..., key, value, ... }.
 * LuaJIT: a list { table without its tables, key, plan, key, plan ... }; one of length 1 is a flat table. */
bool ldr_lua_plan_make(lua_State *L, int t, size_t bytes);
#if !LDR_LUAJIT
/* Pushes a new table made by the plan at `plan`. */
void ldr_lua_plan_copy(lua_State *L, int plan);
#endif

#endif
