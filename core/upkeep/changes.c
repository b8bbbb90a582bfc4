/* changes.c - one look at the change table: changed keys are dropped, a gap drops everything; from the shared shelf, too, by
 * who sends there what it must forget. */
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

static int ask(ldr_changes *c, ldr_err *err)
{
    ldr_flow *f = c->flow;
    ldr_request r = {.verb = LDR_CHANGES, .clock = &f->clock, .mark = c->mark, .changed = changed, .flood = flood, .ctx = f};
    r.deadline_us = ldr_time_add(ldr_clock_now(&f->clock), f->source_timeout_us);
    f->source->ops->run(f->source, &r);
    c->mark = r.mark;
    if (r.err.code != LDR_OK && err)
        *err = r.err;
    return r.err.code;
}

int ldr_changes_begin(ldr_changes *c, ldr_err *err)
{
    c->mark = LDR_UNSET;
    return ask(c, err);
}

int64_t ldr_changes_look(void *ctx)
{
    ldr_changes *c = ctx;
    ldr_err err;
    bool anew = c->mark == LDR_UNSET; /* a child that could not ask at once: what came before is not told any more */
    bool failed = ask(c, &err) != LDR_OK;
    if (anew && !failed)
        ldr_drop_all(c->flow, LDR_CAUSE_GAP);
    if (failed && !c->failing)
        ldr_flow_error(c->flow, ldr_slice_str(""), &err);
    c->failing = failed;
    return c->interval_us;
}
