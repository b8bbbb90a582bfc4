/* dial.c - see dial.h. Invariant between two steps: a name is being looked up (lookup), or a try is under way (fd), or
 * neither, and the next place is tried. */
#include "net/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "net/io.h"

#define RETRY_US 2000 /* a unix socket whose queue is full cannot be waited for, only tried again */
enum { NEXT = -1 };   /* neither waits nor ended: go on with the next stage */

void ldr_dial_init(ldr_dial *d)
{
    *d = (ldr_dial){.fd = -1};
}

static void drop_fd(ldr_dial *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

void ldr_dial_end(ldr_dial *d)
{
    drop_fd(d);
    if (d->lookup)
        ldr_lookup_leave(d->lookup);
    d->lookup = NULL;
}

static int fail(ldr_dial *d)
{
    ldr_dial_end(d);
    return LDR_DIAL_FAILED;
}

static int fail_late(ldr_dial *d, const char *what)
{
    ldr_fail(&d->err, LDR_TIMEOUT, "%s: %s: is the server up, and is l2.timeout long enough?", d->address->name, what);
    return fail(d);
}

static int wait_for(ldr_dial *d, int fd, short events, int64_t until_us)
{
    d->wait.fd = fd;
    d->wait.events = events;
    d->wait.until_us = until_us;
    return LDR_DIAL_WAITS;
}

/* ---- where it is ---------------------------------------------------------------------------------------------- */

static void begin_local(ldr_dial *d)
{
    struct sockaddr_un *at = &d->places.at[0].local;
    d->places.n = 1;
    at->sun_family = AF_UNIX;
    strncpy(at->sun_path, d->address->path, sizeof at->sun_path - 1);
}

void ldr_dial_begin(ldr_dial *d, const ldr_address *a, ldr_resolver *r, int64_t until_us)
{
    ldr_dial_init(d);
    d->address = a;
    d->resolver = r;
    d->until_us = until_us;
    if (a->path)
        begin_local(d);
    else if (!ldr_places_numeric(&d->places, a->host, a->port) &&
             ldr_lookup_join(r, a->host, a->port, &d->lookup, &d->err) != LDR_OK)
        d->is_local = true;
}

static int look_up(ldr_dial *d, int64_t now_us)
{
    if (!ldr_lookup_ended(d->lookup, &d->places)) {
        if (now_us < d->until_us)
            return wait_for(d, ldr_lookup_fd(d->lookup), POLLIN, d->until_us);
        return fail_late(d, "the look-up of the host's name did not end in time");
    }
    ldr_lookup_leave(d->lookup);
    d->lookup = NULL;
    if (d->places.n == 0)
        ldr_fail(&d->err, LDR_UNAVAILABLE, "%s: the host's name gives no address (%s): check the URL", d->address->name,
                 gai_strerror(d->places.error));
    return NEXT;
}

/* ---- tries ---------------------------------------------------------------------------------------------------- */

static int64_t share_of(const ldr_dial *d, int64_t now_us)
{
    int64_t left_us = d->until_us == LDR_NEVER ? LDR_NEVER : d->until_us - now_us;
    return ldr_time_add(now_us, left_us / (int64_t)(d->places.n - d->next + 1));
}

static void failed_try(ldr_dial *d, int why)
{
    ldr_io_fail(&d->err, d->address->name, why);
    drop_fd(d);
}

static bool make_socket(ldr_dial *d)
{
    const int on = 1;
    int family = d->places.at[d->next].any.sa_family;
    d->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->fd < 0) {
        d->is_local = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
        failed_try(d, errno);
    } else if (family != AF_UNIX) {
        setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return d->fd >= 0;
}

static int begin_try(ldr_dial *d, int64_t now_us)
{
    static const socklen_t sizes[] = {[AF_UNIX] = sizeof(struct sockaddr_un), [AF_INET] = sizeof(struct sockaddr_in),
                                      [AF_INET6] = sizeof(struct sockaddr_in6)};
    const struct sockaddr *at = &d->places.at[d->next].any;
    if (!make_socket(d))
        return d->is_local ? fail(d) : (d->next++, NEXT);
    if (connect(d->fd, at, sizes[at->sa_family]) == 0)
        return LDR_DIAL_CONNECTED;
    if (errno == EAGAIN && at->sa_family == AF_UNIX) {
        drop_fd(d);
        int64_t again_us = ldr_time_add(now_us, RETRY_US);
        return now_us < d->until_us ? wait_for(d, -1, 0, again_us < d->until_us ? again_us : d->until_us)
                                    : fail_late(d, "it takes no connection, its queue is full");
    }
    d->next++;
    if (errno != EINPROGRESS && errno != EINTR)
        return failed_try(d, errno), NEXT;
    d->try_until_us = share_of(d, now_us);
    return wait_for(d, d->fd, POLLOUT, d->try_until_us);
}

static int check_try(ldr_dial *d, int64_t now_us)
{
    int why = 0;
    socklen_t n = sizeof why;
    struct pollfd p = {.fd = d->fd, .events = POLLOUT};
    if (poll(&p, 1, 0) <= 0) {
        if (now_us < d->try_until_us)
            return wait_for(d, d->fd, POLLOUT, d->try_until_us);
        if (now_us >= d->until_us)
            return fail_late(d, "no connection in time");
        return failed_try(d, ETIMEDOUT), NEXT;
    }
    if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &why, &n) == 0 && why == 0)
        return LDR_DIAL_CONNECTED;
    return failed_try(d, why), NEXT;
}

static int stage(ldr_dial *d, int64_t now_us)
{
    if (d->lookup)
        return look_up(d, now_us);
    if (d->fd >= 0)
        return check_try(d, now_us);
    if (d->next >= d->places.n)
        return fail(d);
    return begin_try(d, now_us);
}

int ldr_dial_step(ldr_dial *d, int64_t now_us)
{
    int state = NEXT;
    while (state == NEXT)
        state = stage(d, now_us);
    return state;
}

int ldr_dial_finish(ldr_dial *d, const ldr_clock *machine)
{
    int state;
    int64_t now_us = ldr_clock_now(machine);
    while ((state = ldr_dial_step(d, now_us)) == LDR_DIAL_WAITS) {
        ldr_io_wait(d->wait.fd, d->wait.events, d->wait.until_us == LDR_NEVER ? -1 : d->wait.until_us - now_us);
        now_us = ldr_clock_now(machine);
    }
    return state;
}
