/* links.c - see links.h. The pool of idle lines, last in first out, and the talk of a thread that polls for itself.
 *
 * An exchange is sent twice only where no byte of the first sending can have reached the server: a line that was idle was
 * closed by the server in the meantime, and the send itself said so. Where the answer stays away after a byte was sent,
 * nobody knows what the server did, and that is what ex->sent and the error say. */
#include "net/links.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/err.h"
#include "net/line.h"

#define MOST_IDLE 8
#define BACKOFF_FIRST_US (100 * LDR_MS)
#define BACKOFF_MOST_US (500 * LDR_MS)

ldr_links *ldr_links_new(const ldr_links_options *o, const ldr_mem *mem)
{
    ldr_links *l = ldr_mem_zero(mem, 1, sizeof *l);
    if (!l)
        return NULL;
    l->mem = mem;
    l->address = o->address;
    l->clock = o->clock;
    l->timeout_us = o->timeout_us;
    l->most_idle = o->most_idle ? o->most_idle : MOST_IDLE;
    ldr_clock_init(&l->machine);
    ldr_breaker_init(&l->breaker, BACKOFF_FIRST_US, BACKOFF_MOST_US);
    ldr_resolver_init(&l->resolver);
    pthread_mutex_init(&l->lock, NULL);
    ldr_list_init(&l->all);
    ldr_list_init(&l->idle);
    return l;
}

static void close_all_idle(ldr_links *l)
{
    while (!ldr_list_empty(&l->idle)) {
        ldr_line *line = ldr_list_of(l->idle.next, ldr_line, idle);
        ldr_list_drop(&line->idle);
        ldr_line_close(l, line);
    }
    l->n_idle = 0;
}

void ldr_links_free(ldr_links *l)
{
    if (!l)
        return;
    close_all_idle(l);
    ldr_resolver_fini(&l->resolver);
    pthread_mutex_destroy(&l->lock);
    ldr_mem_free(l->mem, l);
}

/* Another thread, which is not here, may have held the lock, or been changing a link: of a line that was under way only the
 * descriptor is closed. */
void ldr_links_forked(ldr_links *l)
{
    pthread_mutex_init(&l->lock, NULL);
    for (ldr_list *at = l->all.next, *next; next = at->next, at != &l->all; at = next) {
        ldr_line *line = ldr_list_of(at, ldr_line, all);
        ldr_list_init(at);
        if (line->fd >= 0)
            close(line->fd);
        if (line->dial.fd >= 0)
            close(line->dial.fd);
        line->fd = line->dial.fd = -1;
    }
    ldr_resolver_forked(&l->resolver);
    ldr_breaker_init(&l->breaker, BACKOFF_FIRST_US, BACKOFF_MOST_US);
    close_all_idle(l);
    ldr_list_init(&l->all);
    atomic_fetch_add(&l->n_forks, 1);
}

bool ldr_links_down(const ldr_links *l)
{
    return ldr_breaker_is_open(&l->breaker);
}

void ldr_links_up(ldr_links *l)
{
    ldr_breaker_worked(&l->breaker);
}

const char *ldr_links_name(const ldr_links *l)
{
    return l->address->name;
}

const ldr_address *ldr_links_address(const ldr_links *l)
{
    return l->address;
}

/* ---- the pool ------------------------------------------------------------------------------------------------- */

static ldr_line *pop_idle(ldr_links *l)
{
    pthread_mutex_lock(&l->lock);
    ldr_line *line = ldr_list_empty(&l->idle) ? NULL : ldr_list_of(l->idle.prev, ldr_line, idle);
    if (line) {
        ldr_list_drop(&line->idle);
        l->n_idle--;
    }
    pthread_mutex_unlock(&l->lock);
    return line;
}

static ldr_line *take_idle(ldr_links *l, int64_t now_us)
{
    ldr_line *line;
    while ((line = pop_idle(l)) && !ldr_line_is_fit(line, now_us))
        ldr_line_close(l, line);
    return line;
}

static void give_back(ldr_links *l, ldr_line *line)
{
    line->is_proven = true;
    pthread_mutex_lock(&l->lock);
    bool is_kept = l->n_idle < l->most_idle && ldr_link_is_idle(line->link);
    if (is_kept) {
        ldr_list_push(&l->idle, &line->idle);
        l->n_idle++;
    }
    pthread_mutex_unlock(&l->lock);
    if (!is_kept)
        ldr_line_close(l, line);
}

/* ---- talking -------------------------------------------------------------------------------------------------- */

/* Until ex is done. False: it was taken off again, for the line had been closed and no byte of it was sent. */
static bool carry(ldr_links *l, ldr_line *line, ldr_exchange *ex, const ldr_trip *t, int64_t now_us)
{
    bool was_proven = line->is_proven;
    line->used_us = now_us;
    if (!ldr_link_push(line->link, ex))
        return true;
    while (!ex->done) {
        long rest = ldr_line_send(line, l, now_us);
        if (rest == LDR_IO_FAILED) {
            int why = errno;
            if (was_proven && !ex->sent && ldr_link_drop(line->link, ex))
                return false;
            ldr_line_failed(line, why);
            return true;
        }
        short came = ldr_io_wait(line->fd, rest == LDR_IO_BLOCKED ? POLLIN | POLLOUT : POLLIN, t->until_us - now_us);
        if (came & ~POLLOUT)
            ldr_line_receive(line);
#ifdef LDR_BUG_SENT_TWICE
        if (was_proven && ex->err.code == LDR_UNAVAILABLE)
            return false;
#endif
        if (ex->done)
            return true;
        now_us = ldr_links_time(l);
        if (now_us >= t->until_us)
            ldr_line_late(line, t);
    }
    return true;
}

/* A line of its own, connected; NULL: ex is done with err. */
static ldr_line *dial(ldr_links *l, ldr_exchange *ex, ldr_trip *t)
{
    ldr_line *line = ldr_line_new(l);
    ex->done = true;
    if (!line) {
        ldr_fail_oom(&ex->err);
        return NULL;
    }
    ldr_dial_begin(&line->dial, l->address, &l->resolver, t->until_us);
    if (ldr_dial_finish(&line->dial, &l->machine) == LDR_DIAL_CONNECTED) {
        ldr_line_connected(line, ldr_links_time(l));
        return line;
    }
    t->is_local = line->dial.is_local;
    ex->err = line->dial.err;
    ldr_line_close(l, line);
    return NULL;
}

static void travel(ldr_links *l, ldr_exchange *ex, ldr_trip *t)
{
    ldr_line *line = take_idle(l, t->begun_us);
    if (line && !carry(l, line, ex, t, t->begun_us)) {
        ldr_line_close(l, line);
        line = NULL;
    }
    if (!line && (line = dial(l, ex, t)))
        carry(l, line, ex, t, line->used_us);
    ldr_trip_end(t, l, &ex->err);
    if (line)
        give_back(l, line);
}

/* Whoever is told may free ex: so he is told last. */
void ldr_links_talk(ldr_links *l, ldr_exchange *ex, int64_t deadline_us)
{
    ldr_trip t;
    void (*ended)(void *ctx, ldr_exchange *ex) = ex->ended;
    ex->ended = NULL;
    if (ldr_trip_begin(&t, l, ex, deadline_us))
        travel(l, ex, &t);
    ex->ended = ended;
    if (ended)
        ended(ex->ctx, ex);
}

int ldr_links_dial(ldr_links *l, int64_t deadline_us, ldr_err *err)
{
    int64_t now_us = ldr_links_time(l), until_us = ldr_time_add(now_us, l->timeout_us);
    ldr_dial d;
    if (!l->clock->is_virtual && deadline_us < until_us)
        until_us = deadline_us;
    ldr_dial_begin(&d, l->address, &l->resolver, until_us);
    if (ldr_dial_finish(&d, &l->machine) != LDR_DIAL_CONNECTED) {
        if (err)
            *err = d.err;
        return -1;
    }
    int fd = d.fd;
    d.fd = -1;
    ldr_dial_end(&d);
    return fd;
}
