/* io.c - see io.h. A signal ends no send and no receive. */
#include "net/io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"

#define LONGEST_US (3600 * (int64_t)LDR_SEC)

static long outcome(ssize_t n)
{
    if (n >= 0)
        return (long)n;
    return errno == EAGAIN || errno == EWOULDBLOCK ? LDR_IO_BLOCKED : LDR_IO_FAILED;
}

long ldr_io_send(int fd, ldr_slice bytes)
{
    ssize_t n;
    while ((n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 && errno == EINTR) {
    }
    return outcome(n);
}

long ldr_io_receive(int fd, char *to, size_t size)
{
    ssize_t n;
    while ((n = recv(fd, to, size, MSG_DONTWAIT)) < 0 && errno == EINTR) {
    }
    return outcome(n);
}

short ldr_io_wait(int fd, short events, int64_t for_us)
{
    struct pollfd p = {.fd = fd, .events = events};
    for_us = for_us < 0 || for_us > LONGEST_US ? LONGEST_US : for_us;
    struct timespec t = {.tv_sec = for_us / LDR_SEC, .tv_nsec = for_us % LDR_SEC * 1000};
    return ppoll(&p, 1, &t, NULL) > 0 ? p.revents : 0;
}

bool ldr_io_is_quiet(int fd)
{
    char byte;
    ssize_t n;
    while ((n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT)) < 0 && errno == EINTR) {
    }
    return n < 0 && errno == EAGAIN;
}

static const char *advice(int why)
{
    switch (why) {
    case ECONNREFUSED: case ENOENT: case EHOSTUNREACH: case ENETUNREACH: case ETIMEDOUT:
        return "is the server up, and the URL right?";
    case EACCES: case EPERM:
        return "may this user open the socket?";
    case EMFILE: case ENFILE:
        return "no file descriptor is left: raise the limit (ulimit -n)";
    default:
        return "was the server restarted?";
    }
}

int ldr_io_fail(ldr_err *err, const char *name, int why)
{
    const char *words = strerrordesc_np(why);
    return ldr_fail(err, LDR_UNAVAILABLE, "%s: %s: %s", name, words ? words : "unknown error", advice(why));
}
