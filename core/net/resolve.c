/* resolve.c - see resolve.h. A look-up lives as long as its thread, its resolver or somebody who waits holds it.
 *
 * Its memory is the C library's and not the memory handed in, for the system's resolver may hold its thread for half a
 * minute after all else of ours is gone; for the same reason the library's code is kept in the process for good. */
#include "net/resolve.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

struct ldr_lookup {
    atomic_int n_holders;
    atomic_bool has_ended; /* `places` is final */
    int fd;
    char *host;
    uint16_t port;
    ldr_places places;
};

static void let_go(ldr_lookup *l)
{
    if (atomic_fetch_sub(&l->n_holders, 1) != 1)
        return;
    if (l->fd >= 0)
        close(l->fd);
    ldr_mem_free(&ldr_mem_system, l->host);
    ldr_mem_free(&ldr_mem_system, l);
}

static void collect(ldr_places *p, const char *host, uint16_t port, int flags)
{
    char service[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    snprintf(service, sizeof service, "%u", (unsigned)port);
    p->n = 0;
    p->error = getaddrinfo(host, service, &hints, &found);
    if (p->error != 0)
        return;
    for (struct addrinfo *a = found; a && p->n < LDR_PLACES; a = a->ai_next)
        if (a->ai_addrlen <= sizeof p->at[0])
            memcpy(&p->at[p->n++], a->ai_addr, a->ai_addrlen);
    freeaddrinfo(found);
}

bool ldr_places_numeric(ldr_places *p, const char *host, uint16_t port)
{
    collect(p, host, port, AI_NUMERICHOST);
    return p->error == 0 && p->n > 0;
}

static void *look_up(void *arg)
{
    ldr_lookup *l = arg;
    const uint64_t one = 1;
    collect(&l->places, l->host, l->port, 0);
    atomic_store(&l->has_ended, true);
    while (write(l->fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    let_go(l);
    return NULL;
}

/* The thread may outlive whoever loaded us. */
static void keep_code(void)
{
    Dl_info self;
    void *handle = dladdr((void *)(uintptr_t)look_up, &self) ? dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE) : NULL;
    if (handle)
        dlclose(handle);
}

static int start(ldr_lookup *l)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    keep_code();
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_fetch_add(&l->n_holders, 1);
    int rc = pthread_create(&thread, &attr, look_up, l);
    if (rc != 0)
        let_go(l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return rc;
}

static ldr_lookup *lookup_new(const char *host, uint16_t port)
{
    ldr_lookup *l = ldr_mem_zero(&ldr_mem_system, 1, sizeof *l);
    if (!l)
        return NULL;
    atomic_init(&l->n_holders, 1);
    l->port = port;
    l->fd = -1;
    l->host = ldr_mem_dup(&ldr_mem_system, host, strlen(host));
    if (l->host)
        return l;
    let_go(l);
    return NULL;
}

static int lookup_begin(const char *host, uint16_t port, ldr_lookup **out, ldr_err *err)
{
    ldr_lookup *l = lookup_new(host, port);
    if (!l)
        return ldr_fail_oom(err);
    l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = l->fd < 0 ? errno : start(l);
    if (rc == 0) {
        *out = l;
        return LDR_OK;
    }
    let_go(l);
    return ldr_fail(err, LDR_UNAVAILABLE, "cannot look up host \"%.80s\": %s", host, strerrordesc_np(rc));
}

/* ---- one at a time -------------------------------------------------------------------------------------------- */

void ldr_resolver_init(ldr_resolver *r)
{
    pthread_mutex_init(&r->lock, NULL);
    r->last = NULL;
}

void ldr_resolver_fini(ldr_resolver *r)
{
    if (r->last)
        let_go(r->last);
    pthread_mutex_destroy(&r->lock);
}

/* Its holders in the parent are counted in the copy too: the few bytes are given up, the descriptor is not. */
void ldr_resolver_forked(ldr_resolver *r)
{
    if (r->last && r->last->fd >= 0) {
        close(r->last->fd);
        r->last->fd = -1;
    }
    ldr_resolver_init(r);
}

int ldr_lookup_join(ldr_resolver *r, const char *host, uint16_t port, ldr_lookup **out, ldr_err *err)
{
    int code = LDR_OK;
    pthread_mutex_lock(&r->lock);
    if (r->last && atomic_load(&r->last->has_ended)) {
        let_go(r->last);
        r->last = NULL;
    }
    if (!r->last)
        code = lookup_begin(host, port, &r->last, err);
    *out = r->last;
    if (*out)
        atomic_fetch_add(&(*out)->n_holders, 1);
    pthread_mutex_unlock(&r->lock);
    return code;
}

int ldr_lookup_fd(const ldr_lookup *l)
{
    return l->fd;
}

bool ldr_lookup_ended(ldr_lookup *l, ldr_places *p)
{
    if (!atomic_load(&l->has_ended))
        return false;
    *p = l->places;
    return true;
}

void ldr_lookup_leave(ldr_lookup *l)
{
    let_go(l);
}
