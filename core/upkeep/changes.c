/* changes.c - one look at the change table: changed keys are dropped, a gap drops everything; from the shared shelf, too, by
 * who sends there what it must forget.
 *
 * Invariant: what is said to be heard was added to what Redis must forget, from the mark that was found there on. */
#include "upkeep/changes.h"

static void changed(void *ctx, ldr_slice key, int64_t version)
{
    ldr_flow *f = ctx;
    ldr_drop_changed(f, key, version);
#ifdef LDR_BUG_CHANGE_UNSHARED
    return;
#endif
    if (f->resend)
        ldr_resend_add(f->resend, key, version);
}

static void flood(void *ctx, const char *why)
{
    ldr_flow *f = ctx;
    (void)why;
    ldr_drop_all(f, LDR_CAUSE_GAP);
    if (f->resend)
        ldr_resend_add_all(f->resend);
}

static int ask(ldr_changes *c, int64_t *mark, ldr_err *err)
{
    ldr_flow *f = c->flow;
    ldr_request r = {.verb = LDR_CHANGES, .clock = &f->clock, .mark = *mark, .changed = changed, .flood = flood, .ctx = f};
    r.deadline_us = ldr_time_add(ldr_clock_now(&f->clock), f->source_timeout_us);
    f->source->ops->run(f->source, &r);
    *mark = r.mark;
    if (r.err.code != LDR_OK && err)
        *err = r.err;
    return r.err.code;
}

int ldr_changes_begin(ldr_changes *c, ldr_err *err)
{
    c->mark = LDR_UNSET;
    c->reached_back = false;
    return ask(c, &c->mark, err);
}

/* The rows between the shared shelf's mark and ours; where the time does not suffice for all, the rest with the next look. */
static int reach_back(ldr_changes *c, ldr_err *err)
{
    int64_t mark = ldr_resend_base(c->flow->resend);
    if (mark == LDR_UNSET || c->reached_back)
        return LDR_OK;
#ifndef LDR_BUG_ABSENCE_FORGOTTEN
    int code = ask(c, &mark, err);
    if (code != LDR_OK)
        return code;
    c->mark = mark < c->mark ? mark : c->mark;
#endif
    c->reached_back = true;
    return LDR_OK;
}

static int look(ldr_changes *c, ldr_err *err)
{
    ldr_resend *resend = c->flow->resend;
    int code = ask(c, &c->mark, err);
    if (code == LDR_OK && resend)
        code = reach_back(c, err);
    if (code == LDR_OK && c->reached_back)
        ldr_resend_heard(resend, c->mark);
    return code;
}

int64_t ldr_changes_look(void *ctx)
{
    ldr_changes *c = ctx;
    ldr_err err;
    bool anew = c->mark == LDR_UNSET; /* a child that could not ask at once: what came before is not told any more */
    bool failed = look(c, &err) != LDR_OK;
    if (anew && !failed)
        ldr_drop_all(c->flow, LDR_CAUSE_GAP);
    if (failed && !c->failing)
        ldr_flow_error(c->flow, ldr_slice_str(""), &err);
    c->failing = failed;
    return c->interval_us;
}
