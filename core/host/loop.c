/* loop.c - the mailbox of one event loop: a ring of ids under a mutex, and an eventfd that tells of it.
 *
 * Invariant, under the mutex: the descriptor is readable exactly when the ring holds an id or posts were dropped.
 * So a post into a ring that holds something costs no system call, and no wake-up is lost or left over. */
#include "host/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define ROOM 1024 /* ids; a power of two */
#define LONGEST_US (3600 * (int64_t)LDR_SEC) /* one poll; longer waits take several */

struct ldr_loop {
    const ldr_mem *mem;
    pthread_mutex_t lock;
    int fd;
    bool dropped;      /* a post found the ring full since the owner last looked */
    uint32_t first, n; /* the ids held: ring[first], ... n of them, wrapping */
    uint64_t ring[ROOM];
};

ldr_loop *ldr_loop_new(const ldr_mem *mem)
{
    ldr_loop *l = ldr_mem_zero(mem, 1, sizeof *l);
    if (!l)
        return NULL;
    l->mem = mem;
    l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->fd >= 0 && pthread_mutex_init(&l->lock, NULL) == 0)
        return l;
    if (l->fd >= 0)
        close(l->fd);
    ldr_mem_free(mem, l);
    return NULL;
}

void ldr_loop_free(ldr_loop *l)
{
    if (!l)
        return;
    close(l->fd);
    pthread_mutex_destroy(&l->lock);
    ldr_mem_free(l->mem, l);
}

/* Cannot block or fail: the counter is 0 or 1. */
static void raise_flag(ldr_loop *l)
{
    const uint64_t one = 1;
    while (write(l->fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void lower_flag(ldr_loop *l)
{
    uint64_t count;
    while (read(l->fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

void ldr_loop_post(ldr_loop *l, uint64_t id)
{
    pthread_mutex_lock(&l->lock);
    bool was_silent = l->n == 0 && !l->dropped;
    if (l->n < ROOM)
        l->ring[(l->first + l->n++) % ROOM] = id;
    else
        l->dropped = true;
    if (was_silent)
        raise_flag(l);
    pthread_mutex_unlock(&l->lock);
}

int ldr_loop_fd(const ldr_loop *l)
{
    return l->fd;
}

static size_t take(ldr_loop *l, uint64_t *ids, size_t max, bool *overflow)
{
    size_t n = 0;
    pthread_mutex_lock(&l->lock);
    bool had_any = l->n > 0 || l->dropped;
    for (; n < max && l->n > 0; n++, l->n--) {
        ids[n] = l->ring[l->first];
        l->first = (l->first + 1) % ROOM;
    }
    *overflow = l->dropped;
    l->dropped = false;
    if (had_any && l->n == 0)
        lower_flag(l);
    pthread_mutex_unlock(&l->lock);
    return n;
}

/* Sleeps until the descriptor is readable, a signal came, or at most for_us. */
static void doze(const ldr_loop *l, int64_t for_us)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    if (for_us < 0 || for_us > LONGEST_US)
        for_us = LONGEST_US;
    struct timespec t = {.tv_sec = for_us / LDR_SEC, .tv_nsec = for_us % LDR_SEC * 1000};
    ppoll(&p, 1, &t, NULL);
}

size_t ldr_loop_wait(ldr_loop *l, int64_t timeout_us, uint64_t *ids, size_t max, bool *overflow)
{
    size_t n = take(l, ids, max, overflow);
    if (n > 0 || *overflow || timeout_us == 0)
        return n;
    ldr_clock clock; /* how long we sleep is ours alone to measure; no caller's clock runs on it */
    ldr_clock_init(&clock);
    int64_t end_us = timeout_us < 0 ? LDR_NEVER : ldr_time_add(ldr_clock_now(&clock), timeout_us);
    for (;;) {
        int64_t left_us = end_us == LDR_NEVER ? -1 : end_us - ldr_clock_now(&clock);
        if (end_us != LDR_NEVER && left_us <= 0)
            return take(l, ids, max, overflow);
        doze(l, left_us);
        n = take(l, ids, max, overflow);
        if (n > 0 || *overflow)
            return n;
    }
}
