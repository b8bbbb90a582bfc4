/* errand.h - what needs no function of the embedder, driven to its end: here and now, or on Larder's thread. */
#ifndef LDR_UPKEEP_ERRAND_H
#define LDR_UPKEEP_ERRAND_H

#include "base/sleeper.h"
#include "base/thread.h"
#include "flow/op.h"

/* Drives op to its end here and now: jobs and talks in line, spawned work before its maker goes on. It must want no CALL.
 * It sleeps in s where it must wait for others (it was begun with s as its waker); NULL: it never waits. */
void ldr_errand_run(ldr_op *op, ldr_sleeper *s);
ldr_waker ldr_errand_waker(ldr_sleeper *s);
/* Gives op away to the thread, which ends it. False: it could not be given away and still belongs to the caller. */
bool ldr_errand_send(ldr_thread *t, ldr_op *op);
/* Does the job or talk of a want on the thread, then calls the waker. What the want names belongs to the caller until then. */
bool ldr_errand_satisfy(ldr_thread *t, ldr_flow *f, const ldr_want *want, ldr_waker waker);
void ldr_errand_dropped(ldr_task *task); /* for ldr_thread_stop: fails a job or talk with LDR_CLOSED, ends an operation */

#endif
