/* line.c - see line.h. A line is in `all` from its making to its end, so that a forked child finds every descriptor. */
#include "net/line.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"

#define FRESH_US 1000      /* a line used so recently is used again without a look */
#define FAIR_US 100000     /* a trip that had less time than this, and less than l2.timeout, says nothing of the server */

int64_t ldr_links_time(const ldr_links *l)
{
    return ldr_clock_now(&l->machine);
}

int64_t ldr_links_stamp(const ldr_links *l, int64_t now_us)
{
    return l->clock->is_virtual ? ldr_clock_now(l->clock) : now_us;
}

/* ---- trips ---------------------------------------------------------------------------------------------------- */

static bool refuse(ldr_exchange *ex)
{
    ex->done = true;
    return false;
}

static bool refuse_open(ldr_links *l, ldr_exchange *ex)
{
    pthread_mutex_lock(&l->lock);
    ldr_err last = l->last;
    pthread_mutex_unlock(&l->lock);
    ldr_fail(&ex->err, LDR_UNAVAILABLE, "%.180s (not tried now, but within half a second)",
             last.code == LDR_OK ? l->address->name : last.message);
    return refuse(ex);
}

bool ldr_trip_begin(ldr_trip *t, ldr_links *l, ldr_exchange *ex, int64_t deadline_us)
{
    ldr_exchange_rewind(ex);
    int64_t now_us = ldr_links_time(l), until_us = ldr_time_add(now_us, l->timeout_us);
    *t = (ldr_trip){.begun_us = now_us, .until_us = until_us};
    if (!l->clock->is_virtual && deadline_us < until_us)
        t->until_us = deadline_us;
    if (t->until_us <= now_us) {
        ldr_fail(&ex->err, LDR_TIMEOUT, "%s: not asked, the deadline had passed", l->address->name);
        return refuse(ex);
    }
    if (!ldr_breaker_is_open(&l->breaker))
        return true;
    t->is_probe = ldr_breaker_admits(&l->breaker, ldr_links_stamp(l, now_us));
    return t->is_probe || refuse_open(l, ex);
}

bool ldr_trip_is_fair(const ldr_trip *t, const ldr_links *l)
{
    return t->until_us - t->begun_us >= (l->timeout_us < FAIR_US ? l->timeout_us : FAIR_US);
}

static bool is_held_against_server(const ldr_trip *t, const ldr_links *l, int code)
{
    bool is_ours = t->is_local || code == LDR_NOMEM || code == LDR_INVALID;
    return t->is_probe || !(is_ours || (code == LDR_TIMEOUT && !ldr_trip_is_fair(t, l)));
}

static bool is_answer(int code)
{
    return code == LDR_OK || code == LDR_TOO_LARGE;
}

/* The idle lines lead to the same dead server. */
static void close_idle(ldr_links *l)
{
    for (;;) {
        pthread_mutex_lock(&l->lock);
        ldr_line *line = ldr_list_empty(&l->idle) ? NULL : ldr_list_of(l->idle.next, ldr_line, idle);
        if (line)
            ldr_list_drop(&line->idle);
        l->n_idle -= line != NULL;
        pthread_mutex_unlock(&l->lock);
        if (!line)
            return;
        ldr_line_close(l, line);
    }
}

void ldr_trip_end(const ldr_trip *t, ldr_links *l, const ldr_err *err)
{
    if (is_answer(err->code)) {
        if (t->is_probe || ldr_breaker_is_open(&l->breaker))
            ldr_breaker_worked(&l->breaker);
        return;
    }
    if (!is_held_against_server(t, l, err->code))
        return;
    pthread_mutex_lock(&l->lock);
    l->last = *err;
    pthread_mutex_unlock(&l->lock);
    ldr_breaker_failed(&l->breaker, ldr_links_stamp(l, ldr_links_time(l)));
    close_idle(l);
}

/* ---- lines ---------------------------------------------------------------------------------------------------- */

ldr_line *ldr_line_new(ldr_links *l)
{
    const ldr_reply_limits limits = {0};
    ldr_line *line = ldr_mem_zero(l->mem, 1, sizeof *line);
    if (!line)
        return NULL;
    line->fd = -1;
    ldr_dial_init(&line->dial);
    ldr_list_init(&line->idle);
    line->link = ldr_link_new(l->mem, l->address, &limits);
    if (!line->link) {
        ldr_mem_free(l->mem, line);
        return NULL;
    }
    pthread_mutex_lock(&l->lock);
    ldr_list_push(&l->all, &line->all);
    pthread_mutex_unlock(&l->lock);
    return line;
}

void ldr_line_connected(ldr_line *line, int64_t now_us)
{
    line->fd = line->dial.fd;
    line->used_us = now_us;
    line->dial.fd = -1;
    ldr_dial_end(&line->dial);
}

void ldr_line_close(ldr_links *l, ldr_line *line)
{
    pthread_mutex_lock(&l->lock);
    ldr_list_drop(&line->all);
    pthread_mutex_unlock(&l->lock);
    ldr_dial_end(&line->dial);
    if (line->fd >= 0)
        close(line->fd);
    ldr_link_free(line->link);
    ldr_mem_free(l->mem, line);
}

bool ldr_line_is_fit(const ldr_line *line, int64_t now_us)
{
    return now_us - line->used_us < FRESH_US || ldr_io_is_quiet(line->fd);
}

long ldr_line_send(ldr_line *line, const ldr_links *l, int64_t now_us)
{
    for (;;) {
        ldr_slice out = ldr_link_out(line->link);
        if (out.n == 0)
            return 0;
        long n = ldr_io_send(line->fd, out);
        if (n < 0)
            return n;
        ldr_link_sent(line->link, (size_t)n, ldr_links_stamp(l, now_us));
    }
}

void ldr_line_receive(ldr_line *line)
{
    char bytes[LDR_IO_BYTES];
    long n = ldr_io_receive(line->fd, bytes, sizeof bytes);
    if (n == LDR_IO_FAILED)
        ldr_line_failed(line, errno);
    else if (n != LDR_IO_BLOCKED)
        ldr_link_feed(line->link, ldr_slice_of(bytes, (size_t)n));
}

void ldr_line_failed(ldr_line *line, int why)
{
    ldr_err err;
    ldr_io_fail(&err, "the connection failed", why);
    ldr_link_break(line->link, LDR_UNAVAILABLE, err.message);
}

void ldr_line_late(ldr_line *line, const ldr_trip *t)
{
    char why[96];
    snprintf(why, sizeof why, "no answer within %lld ms: is the server overloaded?",
             (long long)((t->until_us - t->begun_us) / LDR_MS));
    ldr_link_break(line->link, LDR_TIMEOUT, why);
}
