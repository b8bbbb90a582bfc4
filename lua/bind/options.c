/* options.c - the flat, checked table of options that lua/larder/options.lua makes -> ldr_options -> a cache. */
#include "bind/core.h"
#include "bind/loop.h"

#include <stdlib.h>
#include <unistd.h>

/* What the options borrow while ldr_open runs: freed right after, whatever happens. */
typedef struct borrowed {
    ldr_model_options *models;
    const char **words;
    size_t n_words, max_words;
} borrowed;

/* The string stays alive as long as the options table does. */
static const char *text(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    const char *s = lua_tostring(L, -1);
    lua_pop(L, 1);
    return s;
}

/* 0 in ldr_options means "default": a zero that was asked for has a name of its own. */
static int64_t ttl(lua_State *L, const char *name)
{
    int64_t us = ldr_lua_field_us(L, 1, name);
    return us == LDR_UNSET ? 0 : us == 0 ? LDR_TTL_ZERO : us;
}

static int64_t or_zero(int64_t us)
{
    return us == LDR_UNSET ? 0 : us;
}

static double number(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    double v = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return v;
}

static void read_shelf(lua_State *L, ldr_options *o)
{
    lua_getfield(L, 1, "l1");
    o->no_l1 = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
    lua_pop(L, 1);
    o->l1_bytes = (size_t)number(L, 1, "l1_bytes");
    o->l1_entries = (uint32_t)number(L, 1, "l1_entries");
    o->l1_shards = (uint32_t)number(L, 1, "l1_shards");
    o->l1_negatives = number(L, 1, "l1_negatives");
    o->l1_policy = text(L, 1, "l1_policy");
}

static void read_rules(lua_State *L, ldr_options *o)
{
    static const char *const patterns[] = {"cache_aside", "read_through", "write_around", "write_through", NULL};
    static const char *const codecs[] = {"msgpack", "json", "raw", NULL};
    static const char *const guards[] = {"lock", "none", NULL};
    o->name = text(L, 1, "name");
    o->read_pattern = ldr_lua_field_word(L, 1, "read_pattern", patterns, 0);
    o->write_pattern = ldr_lua_field_word(L, 1, "write_pattern", patterns, 0);
    o->level = ldr_lua_field_word(L, 1, "level", ldr_lua_levels, 0);
    o->on_timeout = ldr_lua_field_word(L, 1, "on_timeout", ldr_lua_on_timeout, 0);
    o->codec = ldr_lua_field_word(L, 1, "codec", codecs, 0);
    o->no_guard = ldr_lua_field_word(L, 1, "guard", guards, 0) == 1;
    o->lock_ttl_us = or_zero(ldr_lua_field_us(L, 1, "lock_ttl"));
    o->lock_wait_us = ttl(L, "lock_wait");
    o->ttl_us = ttl(L, "ttl");
    o->stale_ttl_us = or_zero(ldr_lua_field_us(L, 1, "stale_ttl"));
    o->negative_ttl_us = or_zero(ldr_lua_field_us(L, 1, "negative_ttl"));
    o->bound_hard_us = or_zero(ldr_lua_field_us(L, 1, "bound_hard"));
    o->jitter = number(L, 1, "jitter");
    o->compress_min = (size_t)number(L, 1, "compress_min");
    o->source_timeout_us = or_zero(ldr_lua_field_us(L, 1, "source_timeout"));
    o->seed = (uint64_t)number(L, 1, "seed");
}

static void read_shared(lua_State *L, ldr_options *o)
{
    lua_getfield(L, 1, "bus");
    o->no_bus = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
    lua_pop(L, 1);
    o->l2_url = text(L, 1, "l2_url");
    o->l2_password = text(L, 1, "l2_password");
    o->l2_timeout_us = or_zero(ldr_lua_field_us(L, 1, "l2_timeout"));
}

static void read_changes(lua_State *L, ldr_options *o)
{
    lua_getfield(L, 1, "changes");
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        o->changes_interval = -1;
    else if (lua_istable(L, -1))
        o->changes_interval = number(L, lua_gettop(L), "interval");
    lua_pop(L, 1);
    o->changes_required = ldr_lua_field_bool(L, 1, "changes_required");
}

/* A list of strings, or one string, at field `name`. */
static const char *const *words(lua_State *L, int table, const char *name, borrowed *b, size_t *n)
{
    const char **first = b->words + b->n_words;
    lua_getfield(L, table, name);
    *n = 0;
    if (lua_isstring(L, -1) && b->n_words < b->max_words) {
        b->words[b->n_words++] = lua_tostring(L, -1);
        *n = 1;
    } else if (lua_istable(L, -1)) {
        for (size_t i = 1; i <= ldr_lua_rawlen(L, -1) && b->n_words < b->max_words; i++, ++*n) {
            lua_rawgeti(L, -1, (int)i);
            b->words[b->n_words++] = lua_tostring(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return *n ? first : NULL;
}

static void read_model(lua_State *L, int t, ldr_model_options *m, borrowed *b)
{
    *m = (ldr_model_options){.name = text(L, t, "name"), .table = text(L, t, "table"), .version = text(L, t, "version"),
                             .updated_at = text(L, t, "updated_at")};
    m->key = words(L, t, "key", b, &m->n_key);
    m->columns = words(L, t, "columns", b, &m->n_columns);
    lua_getfield(L, t, "sql");
    if (lua_istable(L, -1)) {
        int sql = lua_gettop(L);
        m->sql_load = text(L, sql, "load");
        m->sql_store = text(L, sql, "store");
        m->sql_delete = text(L, sql, "delete");
        m->sql_version = text(L, sql, "version");
    }
    lua_pop(L, 1);
}

static size_t count_words(lua_State *L, int t)
{
    lua_getfield(L, t, "key");
    lua_getfield(L, t, "columns");
    size_t n = 1 + (lua_istable(L, -1) ? ldr_lua_rawlen(L, -1) : 0) + (lua_istable(L, -2) ? ldr_lua_rawlen(L, -2) : 0);
    lua_pop(L, 2);
    return n;
}

/* The models table is on top. Counts first, so that the lists never move. */
static bool read_models(lua_State *L, ldr_options *o, borrowed *b)
{
    int models = lua_gettop(L);
    o->n_models = ldr_lua_rawlen(L, models);
    for (size_t i = 0; i < o->n_models; i++, lua_pop(L, 1)) {
        lua_rawgeti(L, models, (int)i + 1);
        b->max_words += count_words(L, lua_gettop(L));
    }
    b->models = calloc(o->n_models + 1, sizeof *b->models);
    b->words = calloc(b->max_words + 1, sizeof *b->words);
    if (!b->models || !b->words)
        return false;
    for (size_t i = 0; i < o->n_models; i++, lua_pop(L, 1)) {
        lua_rawgeti(L, models, (int)i + 1);
        read_model(L, lua_gettop(L), &b->models[i], b);
    }
    o->models = b->models;
    return true;
}

/* Lua functions are called by the host, never through these: they only say which functions there are. */
static int never_called(void *arg, ldr_call *call)
{
    (void)arg, (void)call;
    return LDR_UNSUPPORTED;
}

static bool has_function(lua_State *L, int t, const char *name)
{
    lua_getfield(L, t, name);
    bool has = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return has;
}

static bool read_source(lua_State *L, ldr_options *o, borrowed *b)
{
    bool ok = true;
    lua_getfield(L, 1, "source");
    if (lua_istable(L, -1)) {
        int source = lua_gettop(L);
        o->sqlite_file = text(L, source, "file");
        if (!o->sqlite_file) {
            bool loads = has_function(L, source, "load") || has_function(L, source, "load_many");
            o->load = loads ? never_called : NULL;
            o->store = has_function(L, source, "store") ? never_called : NULL;
            o->erase = has_function(L, source, "delete") ? never_called : NULL;
        }
        lua_getfield(L, source, "models");
        if (lua_istable(L, -1))
            ok = read_models(L, o, b);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return ok;
}

/* In a child the loop first forgets what is the parent's. */
static void leave_loop(void *ctx)
{
    ldr_lua_shared *s = ctx;
    ldr_loop_claim(s->loop, getpid());
    ldr_links_leave_loop(s->cache->flow.links, s->loop);
}

int ldr_lua_open_options(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    ldr_lua_cache *ud = ldr_lua_cache_new(L);
    ldr_options o = {.size = sizeof o};
    ldr_hub *hub = ldr_lua_field_bool(L, 1, "alone") ? NULL : ldr_lua_hub(); /* alone: as another process would be */
    ldr_environment env = {.hub = hub, .virtual_clock = ldr_lua_field_us(L, 1, "virtual_start") != LDR_UNSET};
    env.virtual_start_us = ldr_lua_field_us(L, 1, "virtual_start");
    read_shelf(L, &o);
    read_rules(L, &o);
    read_changes(L, &o);
    read_shared(L, &o);
    ud->shared->loop = lua_isuserdata(L, 2) ? ldr_lua_loop(L, 2) : NULL;
    borrowed b = {0};
    ldr_err err = {0};
    int code = read_source(L, &o, &b) ? ldr_cache_new(&o, &env, &ud->shared->cache, &err) : ldr_fail_oom(&err);
    free(b.models);
    free(b.words);
    if (code != LDR_OK)
        return ldr_lua_fail(L, &err);
    if (ud->shared->loop) {
        ud->shared->cache->sharing.ctx = ud->shared;
        ud->shared->cache->sharing.leaving = leave_loop;
    }
    ud->shared->cache->flow.asks_ttl = ldr_lua_field_bool(L, 1, "asks_ttl");
    ud->hit = (ldr_hit_buffers){LDR_BUF(&ud->shared->cache->flow.mem), LDR_BUF(&ud->shared->cache->flow.mem)};
    return 1;
}
