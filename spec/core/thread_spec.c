/* thread_spec.c - Larder's thread: tasks in order, a chore that comes round, an end that loses no task silently. */
#include "base/thread.h"

#include "bed.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_US (60 * (int64_t)LDR_SEC)

/* A gate that a task waits at, so that the test knows where the thread is. */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int n_arrived;
    bool open;
} gate;

static gate the_gate;

static int setup(void **state)
{
    the_gate = (gate){.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
    *state = ldr_thread_new(&ldr_mem_system);
    return *state == NULL;
}

static void arrive(void)
{
    pthread_mutex_lock(&the_gate.lock);
    the_gate.n_arrived++;
    pthread_cond_broadcast(&the_gate.moved);
    pthread_mutex_unlock(&the_gate.lock);
}

static void wait_for(int n)
{
    pthread_mutex_lock(&the_gate.lock);
    while (the_gate.n_arrived < n)
        pthread_cond_wait(&the_gate.moved, &the_gate.lock);
    pthread_mutex_unlock(&the_gate.lock);
}

static void open_gate(void)
{
    pthread_mutex_lock(&the_gate.lock);
    the_gate.open = true;
    pthread_cond_broadcast(&the_gate.moved);
    pthread_mutex_unlock(&the_gate.lock);
}

typedef struct numbered {
    ldr_task task;
    int number, ran_as;
    bool dropped;
    sigset_t signals;
} numbered;

static _Atomic int n_ran;

static void run(ldr_task *task)
{
    numbered *n = (numbered *)task;
    n->ran_as = atomic_fetch_add(&n_ran, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &n->signals);
    arrive();
}

static void run_at_gate(ldr_task *task)
{
    numbered *n = (numbered *)task;
    arrive();
    pthread_mutex_lock(&the_gate.lock);
    while (!the_gate.open)
        pthread_cond_wait(&the_gate.moved, &the_gate.lock);
    pthread_mutex_unlock(&the_gate.lock);
    n->ran_as = atomic_fetch_add(&n_ran, 1);
}

static void drop(ldr_task *task)
{
    ((numbered *)task)->dropped = true;
}

static numbered make(void (*how)(ldr_task *task))
{
    numbered n = {.task.run = how, .ran_as = -1};
    ldr_list_init(&n.task.link);
    return n;
}

static int n_threads(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    if (!d)
        return -1;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void no_thread_without_work(void **state)
{
    int before = n_threads();
    ldr_thread *other = ldr_thread_new(&ldr_mem_system);
    assert_int_equal(n_threads(), before);
    ldr_thread_stop(other, LONG_US, NULL);
    ldr_thread_free(other);
    ldr_thread_stop(*state, 0, NULL);
    ldr_thread_free(*state);
    ldr_thread_free(NULL);
}

static void tasks_run_in_order_without_signals(void **state)
{
    numbered n[20];
    atomic_store(&n_ran, 0);
    for (int i = 0; i < 20; i++) {
        n[i] = make(run);
        assert_true(ldr_thread_post(*state, &n[i].task));
    }
    wait_for(20);
    ldr_thread_stop(*state, LONG_US, drop);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(n[i].ran_as, i);
        assert_false(n[i].dropped);
        assert_true(sigismember(&n[i].signals, SIGTERM));
        assert_true(sigismember(&n[i].signals, SIGALRM));
    }
    ldr_thread_free(*state);
}

static void stop_lets_queued_tasks_run(void **state)
{
    numbered n[50];
    atomic_store(&n_ran, 0);
    for (int i = 0; i < 50; i++) {
        n[i] = make(run);
        assert_true(ldr_thread_post(*state, &n[i].task));
    }
    ldr_thread_stop(*state, LONG_US, drop);
    for (int i = 0; i < 50; i++)
        assert_int_equal(n[i].ran_as, i);
    numbered late = make(run);
    assert_false(ldr_thread_post(*state, &late.task));
    ldr_thread_free(*state);
}

/* Opens the gate when the stop, which waits no time at all, has given the queued task up for certain. */
static void *open_later(void *arg)
{
    struct timespec nap = {.tv_nsec = 20 * 1000 * 1000};
    (void)arg;
    nanosleep(&nap, NULL);
    open_gate();
    return NULL;
}

static void stop_while_busy_drops_the_rest(void **state)
{
    numbered busy = make(run_at_gate), queued = make(run);
    atomic_store(&n_ran, 0);
    assert_true(ldr_thread_post(*state, &busy.task));
    assert_true(ldr_thread_post(*state, &queued.task));
    wait_for(1);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, open_later, NULL), 0);
    ldr_thread_stop(*state, 0, drop);
    pthread_join(t, NULL);
    assert_int_equal(busy.ran_as, 0); /* what runs is waited for, however long */
    assert_int_equal(queued.ran_as, -1);
    assert_true(queued.dropped);
    ldr_thread_free(*state);
}

typedef struct chore {
    _Atomic int n;
    int64_t again_us;
    ldr_thread *t;
} chore;

static int64_t do_chore(void *ctx)
{
    chore *c = ctx;
    atomic_fetch_add(&c->n, 1);
    arrive();
    return c->again_us;
}

static void a_chore_comes_round(void **state)
{
    chore c = {.again_us = 100};
    assert_true(ldr_thread_chore(*state, do_chore, &c));
    wait_for(3);
    ldr_thread_stop(*state, LONG_US, NULL);
    int n = atomic_load(&c.n);
    assert_true(n >= 3);
    assert_false(ldr_thread_chore(*state, do_chore, &c));
    ldr_thread_free(*state);
    assert_int_equal(atomic_load(&c.n), n);
}

static void a_chore_for_never_sleeps(void **state)
{
    chore c = {.again_us = LDR_NEVER};
    numbered n = make(run);
    assert_true(ldr_thread_chore(*state, do_chore, &c));
    wait_for(1);
    assert_true(ldr_thread_post(*state, &n.task)); /* and is no hindrance to tasks */
    wait_for(2);
    ldr_thread_stop(*state, LONG_US, NULL);
    assert_int_equal(atomic_load(&c.n), 1);
    ldr_thread_free(*state);
}

typedef struct endless {
    ldr_task task;
    ldr_thread *t;
    _Atomic long n;
} endless;

static void post_again(ldr_task *task)
{
    endless *e = (endless *)task;
    atomic_fetch_add(&e->n, 1);
    ldr_thread_post(e->t, task);
}

static void tasks_without_end_do_not_starve_the_chore(void **state)
{
    chore c = {.again_us = 1000};
    endless e = {.task.run = post_again, .t = *state};
    ldr_list_init(&e.task.link);
    assert_true(ldr_thread_post(*state, &e.task));
    assert_true(ldr_thread_chore(*state, do_chore, &c));
    wait_for(3);
    assert_true(atomic_load(&e.n) > 0);
    ldr_thread_stop(*state, LONG_US, NULL);
    ldr_thread_free(*state);
}

static void free_task(ldr_task *task)
{
    free(task);
    atomic_fetch_add(&n_ran, 1);
}

static void *post_freed(void *t)
{
    for (int i = 0; i < 5000; i++) {
        numbered *n = malloc(sizeof *n);
        *n = make(free_task);
        ldr_thread_post(t, &n->task);
    }
    return NULL;
}

static void many_may_post(void **state)
{
    pthread_t t[2];
    atomic_store(&n_ran, 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, post_freed, *state), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    ldr_thread_stop(*state, LONG_US, NULL);
    assert_int_equal(atomic_load(&n_ran), 10000); /* a task may free itself: it is not looked at after its run began */
    ldr_thread_free(*state);
}

static atomic_bool inside;

/* Mostly inside: a fork that did not wait would meet it there. */
static int64_t busy_chore(void *ctx)
{
    (void)ctx;
    atomic_store(&inside, true);
    for (volatile int i = 0; i < 200000; i++)
        ;
    atomic_store(&inside, false);
    arrive();
    return 0;
}

static void a_fork_waits_until_nothing_runs(void **state)
{
    assert_true(ldr_thread_chore(*state, busy_chore, NULL));
    int n_bad = 0;
    for (int i = 0; i < 50; i++) {
        wait_for(i + 1);
        pid_t child = fork();
        if (child == 0)
            _exit(atomic_load(&inside));
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        n_bad += status != 0;
    }
    assert_int_equal(n_bad, 0);
    ldr_thread_stop(*state, 0, NULL);
    ldr_thread_free(*state);
}

static void no_memory_is_null(void **state)
{
    (void)state;
    bed_mem m;
    assert_null(ldr_thread_new(bed_mem_init(&m, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_thread_without_work, setup),
        cmocka_unit_test_setup(tasks_run_in_order_without_signals, setup),
        cmocka_unit_test_setup(stop_lets_queued_tasks_run, setup),
        cmocka_unit_test_setup(stop_while_busy_drops_the_rest, setup),
        cmocka_unit_test_setup(a_chore_comes_round, setup),
        cmocka_unit_test_setup(a_chore_for_never_sleeps, setup),
        cmocka_unit_test_setup(tasks_without_end_do_not_starve_the_chore, setup),
        cmocka_unit_test_setup(many_may_post, setup),
        cmocka_unit_test_setup(a_fork_waits_until_nothing_runs, setup),
        cmocka_unit_test(no_memory_is_null),
    };
    return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
