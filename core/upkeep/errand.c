/* errand.c - see errand.h. */
#include "upkeep/errand.h"

#include "base/err.h"

typedef struct errand {
    ldr_task task;
    ldr_flow *flow;
    ldr_op *op;     /* or ... */
    ldr_want want;  /* ... a job or talk, and who waits for it */
    ldr_waker waker;
} errand;

ldr_waker ldr_errand_waker(ldr_sleeper *s)
{
    return (ldr_waker){.wake = ldr_sleeper_wake, .ctx = s};
}

static void satisfy(ldr_flow *f, const ldr_want *want)
{
    if (want->kind == LDR_WANT_JOB)
        f->source->ops->run(f->source, want->request);
    else
        ldr_links_talk(f->links, want->exchange, want->deadline_us);
}

void ldr_errand_run(ldr_op *op, ldr_sleeper *s)
{
    for (;;) {
        ldr_want want = ldr_op_step(op);
        if (want.kind == LDR_WANT_JOB || want.kind == LDR_WANT_TALK) {
            satisfy(op->flow, &want);
        } else if (want.kind == LDR_WANT_SPAWN) {
            if (s)
                want.op->owner.waker = ldr_errand_waker(s);
            ldr_errand_run(want.op, s);
            ldr_op_end(want.op);
        } else if (want.kind == LDR_WANT_PARK && s) {
            ldr_sleeper_sleep_until(s, want.deadline_us);
        } else {
            return;
        }
    }
}

static void run_op(ldr_op *op)
{
    ldr_sleeper s;
    ldr_sleeper_init(&s);
    op->owner.waker = ldr_errand_waker(&s);
    ldr_errand_run(op, &s);
    ldr_op_end(op);
    ldr_sleeper_fini(&s);
}

static void run(ldr_task *task)
{
    errand *e = (errand *)task;
    ldr_flow *f = e->flow;
    if (e->op) {
        run_op(e->op);
    } else {
        satisfy(f, &e->want);
        e->waker.wake(e->waker.ctx, e->waker.id);
    }
    ldr_mem_free(&f->mem, e);
}

static void refuse(const ldr_want *want)
{
    ldr_err *err = want->kind == LDR_WANT_JOB ? &want->request->err : &want->exchange->err;
    ldr_fail(err, LDR_CLOSED, "the cache was closed before it was asked");
    if (want->kind == LDR_WANT_TALK)
        want->exchange->done = true;
}

void ldr_errand_dropped(ldr_task *task)
{
    errand *e = (errand *)task;
    ldr_flow *f = e->flow;
    if (e->op) {
        ldr_op_end(e->op);
    } else {
        refuse(&e->want);
        e->waker.wake(e->waker.ctx, e->waker.id);
    }
    ldr_mem_free(&f->mem, e);
}

static bool send(ldr_thread *t, const errand *what)
{
    errand *e = ldr_mem_new(&what->flow->mem, sizeof *e);
    if (!e)
        return false;
    *e = *what;
    e->task.run = run;
    ldr_list_init(&e->task.link);
    if (ldr_thread_post(t, &e->task))
        return true;
    ldr_mem_free(&what->flow->mem, e);
    return false;
}

bool ldr_errand_send(ldr_thread *t, ldr_op *op)
{
    ldr_list_drop(&op->sibling); /* the list of the load in whose loader it was made is no business of the thread */
    op->owner.parent = NULL;
    return send(t, &(errand){.flow = op->flow, .op = op});
}

bool ldr_errand_satisfy(ldr_thread *t, ldr_flow *f, const ldr_want *want, ldr_waker waker)
{
    return send(t, &(errand){.flow = f, .want = *want, .waker = waker});
}
