/* loop.c - the mailbox of one event loop: a ring of ids under a mutex, and an eventfd that tells of it. Beside it the
 * descriptors that its owner watches too: they are the owner's alone and need no lock.
 *
 * Invariant, under the mutex: the descriptor is readable exactly when the ring holds an id or posts were dropped.
 * So a post into a ring that holds something costs no system call, and no wake-up is lost or left over. Whoever
 * watches the socket instead has an unread byte, or the end of the stream, whenever the descriptor is readable. */
#include "net/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define ROOM 1024 /* ids; a power of two */
#define LONGEST_US (3600 * (int64_t)LDR_SEC) /* one poll; longer waits take several */
#define BLIND_US 1000 /* one look at the ring by a child that got no descriptor */

struct ldr_loop {
    const ldr_mem *mem;
    pthread_mutex_t lock;
    int32_t pid;       /* the process that the descriptors belong to */
    int fd;
    int listener, peer; /* sockets, -1 none */
    char folder[sizeof((struct sockaddr_un *)0)->sun_path - sizeof "/loop" + 1]; /* of the listener, "" none */
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    bool dropped;      /* a post found the ring full since the owner last looked */
    uint32_t first, n; /* the ids held: ring[first], ... n of them, wrapping */
    uint64_t ring[ROOM];
    ldr_watch **watches;   /* n_watches of them; NULL where one was taken away while they were attended to */
    struct pollfd *polled; /* the eventfd, then one a watch */
    size_t n_watches, n_polled;
};

ldr_loop *ldr_loop_new(const ldr_mem *mem)
{
    ldr_loop *l = ldr_mem_zero(mem, 1, sizeof *l);
    if (!l)
        return NULL;
    l->mem = mem;
    l->pid = getpid();
    l->listener = l->peer = -1;
    l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->fd >= 0 && pthread_mutex_init(&l->lock, NULL) == 0)
        return l;
    if (l->fd >= 0)
        close(l->fd);
    ldr_mem_free(mem, l);
    return NULL;
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void stop_listening(ldr_loop *l)
{
    shut(&l->listener);
    if (l->folder[0] && l->pid == getpid()) {
        unlink(l->path);
        rmdir(l->folder);
    }
    l->folder[0] = '\0';
}

void ldr_loop_free(ldr_loop *l)
{
    if (!l)
        return;
    stop_listening(l);
    shut(&l->peer);
    shut(&l->fd);
    pthread_mutex_destroy(&l->lock);
    ldr_mem_free(l->mem, l->watches);
    ldr_mem_free(l->mem, l->polled);
    ldr_mem_free(l->mem, l);
}

/* A peer that is full has bytes to read and will look; one that is gone is forgotten. */
static void tell_peer(ldr_loop *l)
{
    ssize_t n;
    while ((n = send(l->peer, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 && errno == EINTR) {
    }
    if (n < 0 && errno != EAGAIN)
        shut(&l->peer);
}

/* Cannot block or fail: the counter is 0 or 1. */
static void raise_flag(ldr_loop *l)
{
    const uint64_t one = 1;
    while (write(l->fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    if (l->peer >= 0)
        tell_peer(l);
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

void ldr_loop_forget(ldr_loop *l, uint64_t id)
{
    pthread_mutex_lock(&l->lock);
    uint32_t kept = 0, n = l->n;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t other = l->ring[(l->first + i) % ROOM];
        if (other != id)
            l->ring[(l->first + kept++) % ROOM] = other;
    }
    l->n = kept;
    if (n > 0 && kept == 0 && !l->dropped)
        lower_flag(l);
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

/* ---- waiting -------------------------------------------------------------------------------------------------- */

bool ldr_loop_watch(ldr_loop *l, ldr_watch *w)
{
    size_t n = l->n_watches + 1;
    ldr_watch **watches = ldr_mem_grow(l->mem, l->watches, n * sizeof *watches);
    if (!watches)
        return false;
    l->watches = watches;
    struct pollfd *polled = ldr_mem_grow(l->mem, l->polled, (n + 1) * sizeof *polled);
    if (!polled)
        return false;
    l->polled = polled;
    l->watches[l->n_watches++] = w;
    return true;
}

void ldr_loop_unwatch(ldr_loop *l, ldr_watch *w)
{
    for (size_t i = 0; i < l->n_watches; i++)
        if (l->watches[i] == w)
            l->watches[i] = NULL;
}

ldr_watch *ldr_loop_find(const ldr_loop *l, bool (*is_it)(const ldr_watch *w, const void *ctx), const void *ctx)
{
    for (size_t i = 0; i < l->n_watches; i++)
        if (l->watches[i] && is_it(l->watches[i], ctx))
            return l->watches[i];
    return NULL;
}

static void close_gaps(ldr_loop *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n_watches; i++)
        if (l->watches[i])
            l->watches[n++] = l->watches[i];
    l->n_watches = n;
}

static void prepare(ldr_loop *l)
{
    close_gaps(l);
    for (size_t i = 0; i < l->n_watches; i++)
        if (l->watches[i])
            l->watches[i]->before(l->watches[i]);
    close_gaps(l);
}

/* Gives when the first of the watches wants to be called whatever comes. */
static int64_t fill_polled(ldr_loop *l)
{
    int64_t until_us = LDR_NEVER;
    for (size_t i = 0; i < l->n_watches; i++) {
        const ldr_watch *w = l->watches[i];
        l->polled[i + 1] = (struct pollfd){.fd = w->fd, .events = w->events};
        until_us = w->until_us < until_us ? w->until_us : until_us;
    }
    l->n_polled = l->n_watches;
    return until_us;
}

static void attend(ldr_loop *l, int64_t now_us)
{
    for (size_t i = 0; i < l->n_polled; i++) {
        ldr_watch *w = l->watches[i];
        if (w && (l->polled[i + 1].revents || now_us >= w->until_us))
            w->ready(w, l->polled[i + 1].revents);
    }
}

/* Sleeps until a descriptor is readable, a signal came, or end_us; then the watches are seen to. */
static void doze(ldr_loop *l, const ldr_clock *clock, int64_t end_us)
{
    struct pollfd own[1], *polled = l->n_watches > 0 ? l->polled : own;
    int64_t until_us = fill_polled(l), longest_us = l->fd < 0 ? BLIND_US : LONGEST_US;
    polled[0] = (struct pollfd){.fd = l->fd, .events = POLLIN};
    until_us = until_us < end_us ? until_us : end_us;
    int64_t for_us = until_us == 0 ? 0 : until_us - ldr_clock_now(clock);
    for_us = for_us < 0 ? 0 : for_us > longest_us ? longest_us : for_us;
    struct timespec t = {.tv_sec = for_us / LDR_SEC, .tv_nsec = for_us % LDR_SEC * 1000};
    if (ppoll(polled, 1 + l->n_polled, &t, NULL) <= 0)
        for (size_t i = 0; i <= l->n_polled; i++)
            polled[i].revents = 0;
    if (l->n_polled > 0)
        attend(l, ldr_clock_now(clock));
}

static bool holds_any(ldr_loop *l)
{
    pthread_mutex_lock(&l->lock);
    bool any = l->n > 0 || l->dropped;
    pthread_mutex_unlock(&l->lock);
    return any;
}

/* Where the ring holds something, the watches are looked at all the same: a busy mailbox must not keep them waiting. */
size_t ldr_loop_wait(ldr_loop *l, int64_t timeout_us, uint64_t *ids, size_t max, bool *overflow)
{
    ldr_loop_claim(l, getpid());
    const ldr_clock clock = {.is_virtual = 0}; /* how long we sleep is ours alone to measure; no caller's clock runs on it */
    int64_t end_us = timeout_us < 0 ? LDR_NEVER : timeout_us == 0 ? 0 : ldr_time_add(ldr_clock_now(&clock), timeout_us);
    for (;;) {
        prepare(l);
        bool must_wait = timeout_us != 0 && !holds_any(l);
        if (must_wait || l->n_watches > 0)
            doze(l, &clock, must_wait ? end_us : 0);
        size_t n = take(l, ids, max, overflow);
        if (n > 0 || *overflow || timeout_us == 0 || (end_us != LDR_NEVER && ldr_clock_now(&clock) >= end_us))
            return n;
    }
}

/* ---- after a fork --------------------------------------------------------------------------------------------- */

void ldr_loop_claim(ldr_loop *l, int32_t pid)
{
    if (l->pid == pid)
        return;
    pthread_mutex_init(&l->lock, NULL); /* a thread that is not here may have held it */
    stop_listening(l);
    shut(&l->peer);
    shut(&l->fd);
    l->pid = pid;
    l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->n = 0;
    l->dropped = false;
    for (size_t i = 0; i < l->n_watches; i++)
        if (l->watches[i])
            l->watches[i]->forked(l->watches[i]);
}

/* ---- the socket ----------------------------------------------------------------------------------------------- */

static bool make_folder(ldr_loop *l)
{
    const char *below = getenv("TMPDIR");
    if (!below || below[0] != '/')
        below = "/tmp";
    int n = snprintf(l->folder, sizeof l->folder, "%s/larder-XXXXXX", below);
    if (n < (int)sizeof l->folder && mkdtemp(l->folder)) {
        snprintf(l->path, sizeof l->path, "%s/loop", l->folder);
        return true;
    }
    if (n >= (int)sizeof l->folder)
        errno = ENAMETOOLONG;
    l->folder[0] = '\0';
    return false;
}

static bool bind_listener(ldr_loop *l)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, l->path, sizeof at.sun_path);
    l->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return l->listener >= 0 && bind(l->listener, (struct sockaddr *)&at, sizeof at) == 0 && chmod(l->path, 0600) == 0 &&
           listen(l->listener, 4) == 0;
}

static void replace_peer(ldr_loop *l, int fd)
{
    pthread_mutex_lock(&l->lock);
    shut(&l->peer);
    l->peer = fd;
    if (fd >= 0 && (l->n > 0 || l->dropped))
        tell_peer(l);
    pthread_mutex_unlock(&l->lock);
}

const char *ldr_loop_listen(ldr_loop *l)
{
    ldr_loop_claim(l, getpid());
    stop_listening(l);
    replace_peer(l, -1);
    if (make_folder(l) && bind_listener(l))
        return l->path;
    int why = errno;
    stop_listening(l);
    errno = why;
    return NULL;
}

static bool is_own(int fd)
{
    struct ucred who;
    socklen_t n = sizeof who;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && who.pid == getpid();
}

bool ldr_loop_accept(ldr_loop *l)
{
    int fd;
    while ((fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0 && !is_own(fd))
        close(fd);
    stop_listening(l);
    if (fd >= 0)
        replace_peer(l, fd);
    return fd >= 0;
}

bool ldr_loop_is_foreign(const ldr_loop *l)
{
    return l->peer >= 0 || l->listener >= 0;
}
