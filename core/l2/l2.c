/* l2.c - what this process knows of the server: the namespace's generation, the bell's number, and how far its clock is
 * ahead. What moved without our doing is told to who listens.
 *
 * Replies come over several links and in any order, so what was asked before something else was learnt is no news:
 *   a generation that was asked for before the known one was learnt (`fence_us`) does not replace it;
 *   a number or a clock is compared only with what had come before it was asked for. */
#include "base/err.h"
#include "l2/parts.h"

#include <stdio.h>

#define CLOCK_SLACK_US 100000
#define CLOCK_KEPT_US 10000000 /* clocks drift apart: a better reading counts only for so long */
#define TOMBSTONE_US 60000000

static uint64_t draw(ldr_l2 *l)
{
    uint64_t v;
    do {
        ldr_rng rng = {atomic_fetch_add(&l->random, UINT64_C(0x9E3779B97F4A7C15))};
        v = ldr_rng_next(&rng) & LDR_L2_TOKEN;
    } while (v == 0);
    return v;
}

int ldr_l2_new(const ldr_l2_options *o, const ldr_mem *mem, ldr_l2 **out, ldr_err *err)
{
    *out = NULL;
    if (!o->name || !*o->name || strlen(o->name) > 64)
        return ldr_fail(err, LDR_INVALID, "a shared shelf needs a name of 1 to 64 bytes");
    ldr_l2 *l = ldr_mem_zero(mem, 1, sizeof *l);
    if (!l)
        return ldr_fail_oom(err);
    l->mem = *mem;
    l->prefix_n = (size_t)snprintf(l->prefix, sizeof l->prefix, "ldr1:%s:", o->name);
    l->bell_n = (size_t)snprintf(l->bell, sizeof l->bell, "ldr1.bell:%s", o->name);
    l->tombstone_us = o->tombstone_us > 0 ? o->tombstone_us : TOMBSTONE_US;
    l->bound_us = o->bound_us > 0 ? o->bound_us : LDR_NEVER;
    pthread_mutex_init(&l->lock, NULL);
    atomic_store(&l->random, o->seed);
    atomic_store(&l->origin, draw(l));
    atomic_store(&l->read_us, INT64_MIN);
    *out = l;
    return LDR_OK;
}

void ldr_l2_free(ldr_l2 *l)
{
    if (!l)
        return;
    ldr_mem mem = l->mem;
    pthread_mutex_destroy(&l->lock);
    ldr_mem_free(&mem, l);
}

void ldr_l2_forked(ldr_l2 *l, uint64_t seed)
{
    pthread_mutex_init(&l->lock, NULL);
    atomic_store(&l->random, seed);
    atomic_store(&l->origin, draw(l));
    ldr_l2_expire(l);
}

uint64_t ldr_l2_token(ldr_l2 *l)
{
    return draw(l);
}

uint64_t ldr_l2_origin(const ldr_l2 *l)
{
    return atomic_load(&l->origin);
}

ldr_slice ldr_l2_channel(const ldr_l2 *l)
{
    return ldr_slice_of(l->bell, l->bell_n);
}

/* ---- what is known of the server ----------------------------------------------------------------------------- */

void ldr_l2_listen(ldr_l2 *l, void (*moved)(void *ctx, enum ldr_l2_news news, uint64_t sequence), void *ctx)
{
    pthread_mutex_lock(&l->lock);
    l->moved = moved;
    l->ctx = ctx;
    pthread_mutex_unlock(&l->lock);
}

bool ldr_l2_is_due(const ldr_l2 *l, int64_t now_us)
{
    int64_t at = atomic_load_explicit(&l->read_us, memory_order_relaxed);
    return atomic_load_explicit(&l->gen, memory_order_relaxed) == 0 || at == INT64_MIN || now_us - at > LDR_L2_DUE_US;
}

void ldr_l2_expire(ldr_l2 *l)
{
    atomic_store(&l->read_us, INT64_MIN);
}

/* Whether what was told is the last there is, the next question finds out. */
void ldr_l2_set_generation(ldr_l2 *l, uint64_t gen)
{
    pthread_mutex_lock(&l->lock);
    if (gen != atomic_load(&l->gen)) {
        atomic_store(&l->gen, gen);
        atomic_store(&l->read_us, INT64_MIN);
        l->told = gen;
        l->fence_us = LDR_NEVER;
    }
    pthread_mutex_unlock(&l->lock);
}

static void learn(ldr_l2 *l, const ldr_l2_reading *r)
{
    atomic_store(&l->gen, r->gen);
    atomic_store(&l->read_us, r->gen ? r->sent_us : INT64_MIN);
    l->fence_us = r->gen ? r->sent_us : l->fence_us;
    l->told = 0;
}

/* True: the generation moved, and not by what was told here. What was told and what was read may each be the older one:
 * then none is known, and nothing is served, until a question that is put from now on is answered. */
static bool note_generation(ldr_l2 *l, const ldr_l2_reading *r)
{
    uint64_t known = atomic_load(&l->gen), last = known ? known : l->told;
    if (r->gen == last || r->gen == 0) {
        learn(l, r);
        return false;
    }
    if (last != 0 && r->sent_us < l->fence_us) {
        if (l->fence_us == LDR_NEVER) {
            l->fence_us = r->now_us;
            atomic_store(&l->gen, 0);
        }
        atomic_store(&l->read_us, INT64_MIN);
        return false;
    }
    learn(l, r);
    return last != 0;
}

/* True: the number fell, or the generation is gone: the server was emptied, or restored from an old copy. */
static bool note_sequence(ldr_l2 *l, const ldr_l2_reading *r)
{
    bool is_later = !l->knows_sequence || r->sent_us >= l->sequence_us;
    bool fell = l->knows_sequence && is_later && r->sequence < l->sequence;
    bool gone = r->gen == 0 && atomic_load(&l->gen) != 0;
    if (is_later || r->sequence > l->sequence) {
        l->sequence = r->sequence;
        l->sequence_us = r->now_us;
        l->knows_sequence = true;
    }
    return fell || gone;
}

/* The server's clock is ahead of ours by something between what it showed less now and less the time of asking. True: it
 * was set back. */
static bool note_clock(ldr_l2 *l, const ldr_l2_reading *r)
{
    int64_t least = r->server_us - r->now_us, most = r->server_us - r->sent_us;
    bool was_known = l->knows_clock && r->sent_us >= l->clock_us;
    bool back = was_known && most < l->behind_us - CLOCK_SLACK_US;
    if (!l->knows_clock || back || least > l->behind_us || r->now_us - l->clock_us > CLOCK_KEPT_US) {
        l->knows_clock = true;
        l->behind_us = least;
        l->clock_us = r->now_us;
    }
    return back;
}

void ldr_l2_note(ldr_l2 *l, const ldr_l2_reading *r)
{
    pthread_mutex_lock(&l->lock);
    bool back = r->server_us > 0 && note_clock(l, r);
    bool emptied = r->has_bell && note_sequence(l, r);
    bool moved = r->has_bell && note_generation(l, r);
    void (*tell)(void *, enum ldr_l2_news, uint64_t) = l->moved;
    void *ctx = l->ctx;
    pthread_mutex_unlock(&l->lock);
    if (!tell)
        return;
    if (back)
        tell(ctx, LDR_L2_NEWS_CLOCK, r->sequence);
    if (emptied)
        tell(ctx, LDR_L2_NEWS_EMPTIED, r->sequence);
    if (moved)
        tell(ctx, LDR_L2_NEWS_GENERATION, r->sequence);
}

void ldr_l2_estranged(ldr_l2 *l)
{
    ldr_l2_expire(l);
    if (atomic_exchange(&l->bell_is_strange, true))
        return;
    pthread_mutex_lock(&l->lock);
    void (*tell)(void *, enum ldr_l2_news, uint64_t) = l->moved;
    void *ctx = l->ctx;
    pthread_mutex_unlock(&l->lock);
    if (tell) /* a question that reads it is wanted now, for that one takes it away */
        tell(ctx, LDR_L2_NEWS_SEQUENCE, 0);
}

int64_t ldr_l2_server_us(ldr_l2 *l, int64_t local_us)
{
    int64_t at = -1;
    pthread_mutex_lock(&l->lock);
    if (l->knows_clock && __builtin_add_overflow(local_us, l->behind_us, &at))
        at = -1;
    pthread_mutex_unlock(&l->lock);
    return at < 0 ? -1 : at;
}
