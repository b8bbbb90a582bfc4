/* listener.c - see listener.h. One thread: tends when that is due, then waits for the subscriber link, for a poke, or for
 * what is due next; all in bounded portions, so that neither starves the other.
 *
 * A fork waits until the thread does nothing but wait for the server (base/thread.h). The child closes what it inherited and writes
 * nothing there; where it starts anew, all of it is its own. */
#include "upkeep/listener.h"

#include "base/thread.h"
#include "upkeep/ear.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define REST_US 10000 /* without memory */

struct ldr_listener {
    ldr_flow *flow;
    bool bus;
    pid_t pid;
    pthread_mutex_t lock; /* of starting and stopping */
    pthread_t id;
    bool started;
    atomic_bool stopping;
    _Atomic int64_t stop_us; /* until then what Redis did not confirm may be sent */
    int wake_fd;             /* -1: none */
    ldr_tending tend;
    ldr_ear ear;
};

/* ---- waking ---------------------------------------------------------------------------------------------------- */

static void poke(void *ctx)
{
    ldr_listener *l = ctx;
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof one); /* full: it is awake as it is */
    (void)n;
}

static void drain(ldr_listener *l)
{
    uint64_t pokes;
    ssize_t n = read(l->wake_fd, &pokes, sizeof pokes);
    (void)n;
}

/* ---- the thread ------------------------------------------------------------------------------------------------- */

static int64_t now_us(const ldr_listener *l)
{
    return ldr_clock_now(&l->flow->clock);
}

static void tend(ldr_listener *l)
{
    ldr_owner owner = {.host = l};
    ldr_op *op = ldr_tend_begin(&l->tend, &owner);
    if (!op) {
        l->tend.rest_us = now_us(l) + REST_US;
        return;
    }
    for (ldr_want want; (want = ldr_op_step(op)).kind == LDR_WANT_TALK;) {
        int64_t until = atomic_load(&l->stopping) ? atomic_load(&l->stop_us) : LDR_NEVER;
        ldr_thread_come_out(); /* a fork must not wait for a server; links know what to do in a child */
        ldr_links_talk(l->flow->links, want.exchange, until < want.deadline_us ? until : want.deadline_us);
        ldr_thread_go_inside();
    }
    ldr_op_end(op);
}

static bool is_over(ldr_listener *l)
{
    return atomic_load(&l->stopping) && (now_us(l) >= atomic_load(&l->stop_us) || !ldr_resend_any(l->flow->resend));
}

static int64_t due_us(ldr_listener *l)
{
    int64_t due = ldr_tend_due(&l->tend);
    if (l->bus && ldr_ear_due(&l->ear) < due)
        due = ldr_ear_due(&l->ear);
    if (atomic_load(&l->stopping) && atomic_load(&l->stop_us) < due)
        due = atomic_load(&l->stop_us);
    return due;
}

/* Waits until something is due or comes; nothing is held meanwhile. */
static void wait(ldr_listener *l)
{
    struct pollfd fds[] = {{.fd = l->wake_fd, .events = POLLIN},
                           {.fd = l->ear.fd, .events = ldr_ear_events(&l->ear)}};
    int64_t left = due_us(l) - now_us(l);
    left = left < 0 ? 0 : left;
    struct timespec limit = {.tv_sec = left / LDR_SEC, .tv_nsec = left % LDR_SEC * 1000};
    ldr_thread_come_out();
    int n = ppoll(fds, 2, &limit, NULL);
    ldr_thread_go_inside();
    if (n <= 0)
        return;
    if (fds[0].revents)
        drain(l);
    ldr_ear_move(&l->ear, fds[1].revents, now_us(l));
}

static void *work(void *ctx)
{
    ldr_listener *l = ctx;
    bool hurried = false;
    ldr_thread_go_inside();
    while (!is_over(l)) {
        if (atomic_load(&l->stopping) && !hurried) { /* what waits for a better time is tried now */
            hurried = true;
            l->tend.resend_us = 0;
        }
        if (ldr_tend_due(&l->tend) <= now_us(l))
            tend(l);
        if (l->bus)
            ldr_ear_tend(&l->ear, now_us(l));
        wait(l);
    }
    ldr_thread_come_out();
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static bool furnish(ldr_listener *l)
{
    l->pid = getpid();
    l->started = false;
    pthread_mutex_init(&l->lock, NULL);
    ldr_tend_init(&l->tend, l->flow);
    l->tend.wants_bell = l->bus;
    ldr_ear_init(&l->ear, &l->tend);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0)
        return false;
    ldr_tend_on_change(&l->tend, poke, l);
    return true;
}

/* In a child: the thread is not here, and what it had open is the parent's. */
static void forget(ldr_listener *l)
{
    ldr_ear_close(&l->ear);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    l->wake_fd = -1;
    l->started = false;
}

ldr_listener *ldr_listener_new(ldr_flow *f, bool bus)
{
    ldr_listener *l = ldr_mem_zero(&f->mem, 1, sizeof *l);
    if (!l)
        return NULL;
    l->flow = f;
    l->bus = bus;
    if (furnish(l))
        return l;
    ldr_tend_fini(&l->tend);
    ldr_mem_free(&f->mem, l);
    return NULL;
}

bool ldr_listener_start(ldr_listener *l)
{
    if (l->pid != getpid()) {
        forget(l);
        if (!furnish(l))
            return false;
    }
    pthread_mutex_lock(&l->lock);
    if (!l->started && !atomic_load(&l->stopping) && l->wake_fd >= 0)
        l->started = ldr_thread_launch(&l->id, work, l);
    bool ok = l->started;
    pthread_mutex_unlock(&l->lock);
    return ok;
}

void ldr_listener_stop(ldr_listener *l, int64_t wait_us)
{
    if (l->pid != getpid())
        return;
    pthread_mutex_lock(&l->lock);
    atomic_store(&l->stop_us, ldr_time_add(now_us(l), wait_us));
    bool again = atomic_exchange(&l->stopping, true);
    poke(l);
    if (l->started)
        pthread_join(l->id, NULL);
    l->started = false;
    if (!again)
        ldr_tend_fini(&l->tend);
    ldr_ear_close(&l->ear);
    pthread_mutex_unlock(&l->lock);
}

void ldr_listener_free(ldr_listener *l)
{
    if (!l)
        return;
    ldr_mem mem = l->flow->mem;
    if (l->pid == getpid())
        ldr_listener_stop(l, 0);
    forget(l);
    pthread_mutex_destroy(&l->lock);
    ldr_mem_free(&mem, l);
}

bool ldr_listener_hears(const ldr_listener *l)
{
    return l->pid == getpid() && atomic_load(&l->ear.hears);
}
