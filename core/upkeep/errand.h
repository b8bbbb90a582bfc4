/* errand.h - an operation that needs no function of the embedder, driven to its end on Larder's thread. */
#ifndef LDR_UPKEEP_ERRAND_H
#define LDR_UPKEEP_ERRAND_H

#include "base/thread.h"
#include "flow/op.h"

/* Drives op to its end here and now: jobs in line, spawned work before its maker goes on. It must want no CALL. */
void ldr_errand_run(ldr_op *op);
/* Gives op away to the thread, which ends it. False: it could not be given away and still belongs to the caller. */
bool ldr_errand_send(ldr_thread *t, ldr_op *op);
/* Runs a request on the thread, then calls the waker. The request belongs to the caller until then. */
bool ldr_errand_request(ldr_thread *t, ldr_flow *f, ldr_request *r, ldr_waker waker);
void ldr_errand_dropped(ldr_task *task); /* for ldr_thread_stop: fails a request with LDR_CLOSED, ends an operation */

#endif
