/* thread.h - Larder's own thread: a mailbox of tasks, run one by one, and one chore that comes round.
 *
 * It starts with the first task or chore, blocks all signals, and shares nothing with callers but what a task
 * carries. A fork waits until the task or chore that runs has ended. A task is embedded in what it serves; after `run` began the thread no longer looks at it. */
#ifndef LDR_BASE_THREAD_H
#define LDR_BASE_THREAD_H

#include "base/list.h"
#include "base/mem.h"
#include <pthread.h>
#include <stdint.h>

typedef struct ldr_task {
    ldr_list link;
    void (*run)(struct ldr_task *task);
} ldr_task;

typedef struct ldr_thread ldr_thread;

ldr_thread *ldr_thread_new(const ldr_mem *mem);         /* no thread is started yet; NULL: out of memory */
bool ldr_thread_post(ldr_thread *t, ldr_task *task);    /* false: it is stopping, or no thread can be had */
/* From now on `chore(ctx)` is called on the thread; it gives the time until it wants to be called again. */
bool ldr_thread_chore(ldr_thread *t, int64_t (*chore)(void *ctx), void *ctx);
/* Takes no more tasks, lets the queued ones run until wait_us passed, then calls `dropped` (may be NULL) for the rest,
 * on this thread. Waits for the task that runs now, however long it takes: a task has a deadline of its own. */
void ldr_thread_stop(ldr_thread *t, int64_t wait_us, void (*dropped)(ldr_task *task));
void ldr_thread_free(ldr_thread *t); /* after stop; in a forked child without stop: forgets the parent's thread */

/* For a room that has a thread of its own: starts it, with all signals blocked. False: no thread can be had. */
bool ldr_thread_launch(pthread_t *id, void *(*work)(void *ctx), void *ctx);
/* Such a thread is inside between the two, and a fork waits: a child must not inherit locks that it holds. It comes out
 * before it waits for anything. */
void ldr_thread_go_inside(void);
void ldr_thread_come_out(void);

#endif
