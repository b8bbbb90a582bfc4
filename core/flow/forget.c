/* forget.c - invalidate, invalidate_all, touch and the bracket of cache:write, where there is a shared shelf: this process
 * first (its own shelf must not be read while the shared one is asked), then the shared shelf, then this process again, for
 * what was filled meanwhile is of before. Stages: HERE -> ASK -> ASKED -> HERE_AGAIN -> DONE.
 *
 * What the shelf did not confirm is sent again when it is back; the caller is told LDR_LOST. */
#include "base/err.h"
#include "flow/op.h"

enum { HERE, ASK, ASKED, HERE_AGAIN, DONE };

typedef struct forget {
    ldr_op op;
    ldr_forgetting what;
    ldr_exchange ex;
    bool is_held;         /* TOUCH: something was, somewhere */
    ldr_l2_item *items;   /* one a key */
    ldr_l2_item **asked;
    size_t n_asked;
    ldr_err err;          /* of ALL */
} forget;

static const int verbs[] = {
    [LDR_FORGET_KEYS] = LDR_L2_DROP, [LDR_FORGET_ALL] = LDR_L2_DROP_ALL, [LDR_FORGET_TOUCH] = LDR_L2_TOUCH,
    [LDR_FORGET_OPEN] = LDR_L2_MARK, [LDR_FORGET_CLOSE] = LDR_L2_DROP,
};

static void here(forget *g)
{
    ldr_flow *f = g->op.flow;
    for (size_t i = 0; i < g->what.n_keys; i++) {
        if (g->what.kind == LDR_FORGET_TOUCH)
            g->is_held = ldr_touch(f, g->what.keys[i], g->what.ttl_us) || g->is_held;
        else if (g->what.kind != LDR_FORGET_OPEN)
            ldr_drop_silently(f, g->what.keys[i]);
    }
    if (g->what.kind == LDR_FORGET_ALL)
        ldr_drop_all_silently(f);
}

static void tell(forget *g)
{
    ldr_flow *f = g->op.flow;
    enum ldr_cause cause = g->what.kind == LDR_FORGET_CLOSE ? LDR_CAUSE_WRITE : LDR_CAUSE_INVALIDATE;
    if (g->what.kind == LDR_FORGET_ALL) {
        ldr_flow_invalidated(f, ldr_slice_str(""), LDR_CAUSE_ALL);
        ldr_flow_spread(f, ldr_slice_str(""), 0);
    }
    if (g->what.kind != LDR_FORGET_KEYS && g->what.kind != LDR_FORGET_CLOSE)
        return;
    for (size_t i = 0; i < g->what.n_keys; i++) {
        ldr_flow_invalidated(f, g->what.keys[i], cause);
        ldr_flow_spread(f, g->what.keys[i], 0);
    }
}

static ldr_exchange *ask(forget *g)
{
    ldr_flow *f = g->op.flow;
    int64_t now = ldr_clock_now(&f->clock);
#ifdef LDR_BUG_BRACKET_UNMARKED
    if (g->what.kind == LDR_FORGET_OPEN)
        return NULL;
#endif
    g->n_asked = 0;
    for (size_t i = 0; i < g->what.n_keys; i++)
        if (g->items[i].state == LDR_L2_NOTHING || g->items[i].state == LDR_L2_AGAIN)
            g->asked[g->n_asked++] = &g->items[i];
    if (g->n_asked == 0 && g->what.kind != LDR_FORGET_ALL)
        return NULL;
    if (ldr_l2_ask(f->l2, &g->ex, verbs[g->what.kind], g->asked, g->n_asked, now) != LDR_OK) {
        g->ex.done = true;
        ldr_fail_oom(&g->ex.err);
    }
    return &g->ex;
}

static void unconfirmed(forget *g, ldr_l2_item *item)
{
    if (item->state != LDR_L2_FAILED || g->what.kind == LDR_FORGET_OPEN || g->what.kind == LDR_FORGET_TOUCH)
        return;
    item->err.code = LDR_LOST;
    ldr_resend_add(g->op.flow->resend, item->key, 0);
    ldr_flow_error(g->op.flow, item->key, &item->err);
}

/* False: the same must be asked once more. */
static bool take(forget *g)
{
    ldr_flow *f = g->op.flow;
    bool again = ldr_l2_answer(f->l2, &g->ex, verbs[g->what.kind], g->asked, g->n_asked, ldr_clock_now(&f->clock));
    for (size_t i = 0; i < g->n_asked; i++) {
        unconfirmed(g, g->asked[i]);
        g->is_held = g->is_held || (g->what.kind == LDR_FORGET_TOUCH && g->asked[i]->is_touched);
    }
    if (g->what.kind == LDR_FORGET_ALL && !again && g->ex.err.code != LDR_OK) {
        g->err = g->ex.err;
        g->err.code = LDR_LOST;
        ldr_resend_add_all(f->resend);
    }
    return !again;
}

static ldr_want forget_step(ldr_op *op)
{
    forget *g = (forget *)op;
    switch (op->stage) {
    case HERE:
        here(g);
        op->stage = ASK;
        /* fall through */
    case ASK: {
        ldr_exchange *ex = ask(g);
        op->stage = ex ? ASKED : HERE_AGAIN;
        if (ex)
            return (ldr_want){.kind = LDR_WANT_TALK, .exchange = ex, .deadline_us = op->deadline_us};
        return forget_step(op);
    }
    case ASKED:
        op->stage = take(g) ? HERE_AGAIN : ASK;
        return forget_step(op);
    case HERE_AGAIN:
        if (g->what.kind != LDR_FORGET_TOUCH)
            here(g);
        tell(g);
        op->stage = DONE;
        break;
    default:
        break;
    }
    return (ldr_want){.kind = LDR_WANT_DONE};
}

static void forget_end(ldr_op *op)
{
    forget *g = (forget *)op;
    ldr_mem mem = op->flow->mem;
    if (op->stage != DONE && op->stage != HERE && g->what.kind != LDR_FORGET_OPEN && g->what.kind != LDR_FORGET_TOUCH)
        for (size_t i = 0; i < g->what.n_keys; i++)
            ldr_resend_add(op->flow->resend, g->what.keys[i], 0);
    ldr_exchange_free(&g->ex);
    ldr_mem_free(&mem, g);
}

ldr_op *ldr_forget_begin(ldr_flow *f, const ldr_forgetting *what, const ldr_owner *owner)
{
    size_t n = what->n_keys;
    forget *g = ldr_mem_zero(&f->mem, 1, sizeof *g + n * (sizeof *g->items + sizeof *g->asked));
    if (!g)
        return NULL;
    ldr_op_init(&g->op, f, owner, what->timeout_us == LDR_UNSET ? f->source_timeout_us : what->timeout_us);
    g->op.step = forget_step;
    g->op.end = forget_end;
    g->what = *what;
    g->items = (ldr_l2_item *)(void *)(g + 1);
    g->asked = (ldr_l2_item **)(void *)(g->items + n);
    ldr_exchange_init(&g->ex, &f->mem);
    for (size_t i = 0; i < n; i++)
        g->items[i] = (ldr_l2_item){.key = what->keys[i], .if_version = LDR_ANY, .token = what->token,
                                    .for_us = what->kind == LDR_FORGET_TOUCH ? what->ttl_us : f->bracket_us};
    return &g->op;
}

bool ldr_forget_held(const ldr_op *op)
{
    return ((const forget *)op)->is_held;
}

const ldr_err *ldr_forget_result(const ldr_op *op, size_t i)
{
    const forget *g = (const forget *)op;
    return g->what.kind == LDR_FORGET_ALL ? &g->err : &g->items[i].err;
}
