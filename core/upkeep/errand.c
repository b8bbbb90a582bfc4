/* errand.c - see errand.h. */
#include "upkeep/errand.h"

#include "base/err.h"

typedef struct errand {
    ldr_task task;
    ldr_flow *flow;
    ldr_op *op;           /* or ... */
    ldr_request *request; /* ... a request and who waits for it */
    ldr_waker waker;
} errand;

void ldr_errand_run(ldr_op *op)
{
    for (;;) {
        ldr_want want = ldr_op_step(op);
        if (want.kind == LDR_WANT_JOB) {
            op->flow->source->ops->run(op->flow->source, want.request);
        } else if (want.kind == LDR_WANT_SPAWN) {
            ldr_errand_run(want.op);
            ldr_op_end(want.op);
        } else {
            return;
        }
    }
}

static void run(ldr_task *task)
{
    errand *e = (errand *)task;
    ldr_flow *f = e->flow;
    if (e->op) {
        ldr_errand_run(e->op);
        ldr_op_end(e->op);
    } else {
        f->source->ops->run(f->source, e->request);
        e->waker.wake(e->waker.ctx, e->waker.id);
    }
    ldr_mem_free(&f->mem, e);
}

void ldr_errand_dropped(ldr_task *task)
{
    errand *e = (errand *)task;
    ldr_flow *f = e->flow;
    if (e->op) {
        ldr_op_end(e->op);
    } else {
        ldr_fail(&e->request->err, LDR_CLOSED, "the cache was closed before the source was asked");
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

bool ldr_errand_request(ldr_thread *t, ldr_flow *f, ldr_request *r, ldr_waker waker)
{
    return send(t, &(errand){.flow = f, .request = r, .waker = waker});
}
