/* thread.c - see thread.h. One mutex, one condition for "something to do", one for "nothing left".
 *
 * A fork waits until no thread of ours is inside a task or chore: a child must not inherit the locks of libraries that
 * a task was using (SQLite's and malloc's own). For that there is one process-wide word of state, the gate: many threads
 * may be inside, or one fork goes through. */
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

struct ldr_thread {
    ldr_mem mem;
    pthread_mutex_t lock;
    pthread_cond_t work, quiet;
    pthread_t id;
    bool started, stopping, busy;
    ldr_list tasks;
    int64_t (*chore)(void *ctx);
    void *chore_ctx;
    struct timespec chore_due;
};

ldr_thread *ldr_thread_new(const ldr_mem *mem)
{
    ldr_thread *t = ldr_mem_zero(mem, 1, sizeof *t);
    if (!t)
        return NULL;
    t->mem = *mem;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, &attr);
    pthread_cond_init(&t->quiet, &attr);
    pthread_condattr_destroy(&attr);
    ldr_list_init(&t->tasks);
    return t;
}

static struct timespec in_us(int64_t us)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + us % 1000000 * 1000;
    at.tv_sec += us / 1000000 + ns / 1000000000;
    at.tv_nsec = ns % 1000000000;
    return at;
}

static bool is_past(const struct timespec *at)
{
    struct timespec now = in_us(0);
    return now.tv_sec > at->tv_sec || (now.tv_sec == at->tv_sec && now.tv_nsec >= at->tv_nsec);
}

/* ---- fork ------------------------------------------------------------------------------------------------- */

static pthread_rwlock_t fork_gate = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static pthread_once_t fork_watched = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
    pthread_rwlock_wrlock(&fork_gate);
}

static void after_fork_in_parent(void)
{
    pthread_rwlock_unlock(&fork_gate);
}

static void after_fork_in_child(void)
{
    fork_gate = (pthread_rwlock_t)PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void ldr_thread_go_inside(void)
{
#ifndef LDR_BUG_FORK_INSIDE
    pthread_rwlock_rdlock(&fork_gate);
#endif
}

void ldr_thread_come_out(void)
{
#ifndef LDR_BUG_FORK_INSIDE
    pthread_rwlock_unlock(&fork_gate);
#endif
}

/* ---- work ------------------------------------------------------------------------------------------------- */

/* Runs the next task or the chore with the lock given back; false: nothing is due. */
static bool run_one(ldr_thread *t)
{
    ldr_task *task = NULL;
    int64_t (*chore)(void *ctx) = t->chore;
    void *ctx = t->chore_ctx;
    bool due = chore && !t->stopping && is_past(&t->chore_due); /* before tasks: however many, they cannot starve it */
    if (!due && ldr_list_empty(&t->tasks))
        return false;
    if (!due) {
        task = ldr_list_of(t->tasks.next, ldr_task, link);
        ldr_list_drop(&task->link);
    }
    t->busy = true;
    pthread_mutex_unlock(&t->lock);
    int64_t again_us = 0;
    ldr_thread_go_inside();
    if (task)
        task->run(task);
    else
        again_us = chore(ctx);
    ldr_thread_come_out();
    pthread_mutex_lock(&t->lock);
    t->busy = false;
    if (!task && t->chore == chore && t->chore_ctx == ctx)
        t->chore_due = in_us(again_us);
    return true;
}

static void *work(void *arg)
{
    ldr_thread *t = arg;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        if (run_one(t))
            continue;
        if (t->stopping)
            break;
        if (t->chore)
            pthread_cond_timedwait(&t->work, &t->lock, &t->chore_due);
        else
            pthread_cond_wait(&t->work, &t->lock);
    }
    pthread_cond_broadcast(&t->quiet);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

bool ldr_thread_launch(pthread_t *id, void *(*work)(void *ctx), void *ctx)
{
    pthread_once(&fork_watched, watch_forks);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(id, NULL, work, ctx) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

static bool start(ldr_thread *t)
{
    if (!t->started)
        t->started = ldr_thread_launch(&t->id, work, t);
    return t->started;
}

bool ldr_thread_post(ldr_thread *t, ldr_task *task)
{
    pthread_mutex_lock(&t->lock);
    bool ok = !t->stopping && start(t);
    if (ok) {
        ldr_list_push(&t->tasks, &task->link);
        pthread_cond_signal(&t->work);
    }
    pthread_mutex_unlock(&t->lock);
    return ok;
}

bool ldr_thread_chore(ldr_thread *t, int64_t (*chore)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&t->lock);
    t->chore = chore;
    t->chore_ctx = ctx;
    t->chore_due = in_us(0);
    bool ok = !t->stopping && start(t);
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->lock);
    return ok;
}

void ldr_thread_stop(ldr_thread *t, int64_t wait_us, void (*dropped)(ldr_task *task))
{
    ldr_list rest;
    ldr_list_init(&rest);
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_signal(&t->work);
    struct timespec until = in_us(wait_us);
    while (t->started && (t->busy || !ldr_list_empty(&t->tasks)))
        if (pthread_cond_timedwait(&t->quiet, &t->lock, &until) != 0)
            break;
    while (!ldr_list_empty(&t->tasks)) {
        ldr_list *first = t->tasks.next;
        ldr_list_drop(first);
        ldr_list_push(&rest, first);
    }
    pthread_mutex_unlock(&t->lock);
    if (t->started)
        pthread_join(t->id, NULL);
    t->started = false;
    while (!ldr_list_empty(&rest)) {
        ldr_task *task = ldr_list_of(rest.next, ldr_task, link);
        ldr_list_drop(&task->link);
        if (dropped)
            dropped(task);
    }
}

void ldr_thread_free(ldr_thread *t)
{
    if (!t)
        return;
    ldr_mem mem = t->mem;
    ldr_mem_free(&mem, t);
}
