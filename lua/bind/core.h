/* core.h - the binding's own types: a cache and an operation as userdata.
 *
 * An operation may outlive its cache's userdata (Lua collects in any order), so both hold the cache by a count; the
 * last to go frees it. Only the Lua state's own thread touches these. */
#ifndef LDR_BIND_CORE_H
#define LDR_BIND_CORE_H

#include "base/err.h"
#include "bind/compat.h"
#include "bind/value.h"
#include "cache.h"
#include "net/loop.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#define LDR_LUA_CACHE "larder.cache"
#define LDR_LUA_OP "larder.op"

typedef struct ldr_lua_shared {
    ldr_cache *cache;
    uint32_t refs;
    bool closed;       /* the user closed it */
    bool collected;    /* its userdata is gone */
    ldr_loop *loop;    /* where wake-ups go, NULL none; owned by the loop's userdata, which Lua keeps alive */
} ldr_lua_shared;

typedef struct ldr_lua_cache {
    ldr_lua_shared *shared; /* NULL: not opened */
    ldr_hit_buffers hit;    /* of the newest hit, reused; see ldr_lua_buffers */
    uint32_t ticks;
    int32_t pass;           /* the cache's gate when the memo was last known to be right; 0: not yet */
    ldr_err trouble;        /* of the newest quick set that failed */
    void *seat;             /* the state's, where it was found; see direct.c */
} ldr_lua_cache;

typedef struct ldr_lua_op {
    ldr_lua_shared *shared;
    ldr_op *op;             /* NULL: ended */
    ldr_want want;          /* the newest */
    uint64_t id;            /* what the loop reports when it is woken */
    atomic_bool job_runs;   /* Larder's thread, or the loop's channel, has what it wants */
    bool is_posted;         /* others may post its id to the loop */
    bool is_on_channel;     /* its talk is carried by the loop itself */
    uint32_t incarnation;   /* the cache's when it began */
    ldr_buf bytes;          /* the keys and values that the operation borrows */
    ldr_slice *slices;      /* n_keys keys, then n_keys values */
    int *kinds;
    size_t n_keys;
    bool is_get;
} ldr_lua_op;

ldr_lua_cache *ldr_lua_cache_check(lua_State *L, int idx); /* raises when it is no cache */
/* Where a value lies on its way to or from Lua: the cache's own buffers. Within a finalizer other ones (a userdata that is
 * pushed), for it may run in the midst of a call that works with those. Given back by _done; after an error by Lua. */
ldr_hit_buffers *ldr_lua_buffers(lua_State *L, ldr_lua_cache *ud);
void ldr_lua_buffers_done(ldr_lua_cache *ud, ldr_hit_buffers *b);
void ldr_lua_shared_release(ldr_lua_shared *s);
void ldr_lua_shared_leave(ldr_lua_shared *s);  /* by an operation: the last one of a closed cache strips it */

/* Makes the metatable of a type of userdata: its methods, its end, and a name that stands for it in Lua. */
void ldr_lua_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc);
/* Pushes nil, the code's word, the message and (LDR_CONFLICT) the version; gives how many. */
int ldr_lua_fail(lua_State *L, const ldr_err *err);
/* seconds -> microseconds: inf is LDR_NEVER, anything above 0 at least 1; nil is LDR_UNSET. */
int64_t ldr_lua_us(lua_State *L, int idx);
int64_t ldr_lua_field_us(lua_State *L, int table, const char *name);
/* The place of the string field in a list that ends with NULL; fallback: not a string, or not in the list. */
int ldr_lua_field_word(lua_State *L, int table, const char *name, const char *const *words, int fallback);
extern const char *const ldr_lua_levels[], *const ldr_lua_on_timeout[];
bool ldr_lua_field_bool(lua_State *L, int table, const char *name);
/* The word of an outcome ("l1", "stale", ...), a static string. */
const char *ldr_lua_outcome(const ldr_answer *a);
void ldr_lua_push_version(lua_State *L, int64_t version); /* a decimal string; nil for 0 */

ldr_hub *ldr_lua_hub(void);                   /* module.c: of the process; NULL: no memory for one */
int ldr_lua_open_options(lua_State *L);       /* options.c: open(options [, loop]) -> cache | nil, code, message */
void ldr_lua_cache_register(lua_State *L);    /* cache.c: the metatable; adds functions to the module on top */
void ldr_lua_op_register(lua_State *L);       /* op.c */
ldr_lua_cache *ldr_lua_cache_new(lua_State *L);
ldr_lua_op *ldr_lua_op_check(lua_State *L);   /* argument 1; raises when it is none, or ended */
ldr_lua_op *ldr_lua_op_new(lua_State *L, ldr_lua_shared *s); /* pushes it */
void ldr_lua_op_finish(ldr_lua_op *lop);       /* again is fine */
/* Did it begin in a process that this one is a fork of? Then what it waits for is not here, and it is only left behind. */
bool ldr_lua_op_is_parents(const ldr_lua_op *lop);

/* op_call.c: methods of an operation */
int ldr_lua_op_call(lua_State *L);
int ldr_lua_op_item(lua_State *L);
int ldr_lua_op_give(lua_State *L);
int ldr_lua_op_give_nothing(lua_State *L);
int ldr_lua_op_give_ttl(lua_State *L);
int ldr_lua_op_give_error(lua_State *L);

int ldr_lua_get_op(lua_State *L);             /* op_begin.c, methods of a cache */
int ldr_lua_put_op(lua_State *L);
int ldr_lua_forget_op(lua_State *L);
int ldr_lua_token(lua_State *L);
int ldr_lua_tend_op(lua_State *L);
/* direct.c: loads the key at 2, which `look` has just looked for; held: L1 may have something */
int ldr_lua_load_now(lua_State *L, const ldr_look *look, bool held);
int ldr_lua_read_many(lua_State *L);          /* method of a cache */
int ldr_lua_quick(lua_State *L);              /* quick.c, methods of a cache */
int ldr_lua_trouble(lua_State *L);
int ldr_lua_mark(lua_State *L);               /* mark.c, method of a cache */
void ldr_lua_mark_register(lua_State *L);
/* The checked options of a write at `opts` (no table: the defaults); level is what the caller put there. */
void ldr_lua_read_writing(lua_State *L, int opts, ldr_writing *w);

#endif
