/* channel.c - the one line of an event loop to a server, on which many exchanges ride at once (links.h: submit, withdraw).
 *
 *   submit -> a ride: waits -> [the loop is about to wait] pushed on the link, sent -> answered, late, or withdrawn
 *
 * Invariants: submit sends nothing, so what many coroutines ask goes out together. A ride is in the list from submit until
 * its exchange ended; meanwhile the exchange's `ended` and `ctx` are the channel's, its owner's are in the ride. Only the
 * loop's thread is here. Whoever is told may submit and withdraw; the line is closed only when nobody is being told. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/err.h"
#include "net/line.h"

#define MOST_ROUNDS 3 /* of dialling and sending before one wait: a line lost, a new one, and nothing for ever */

typedef struct ride {
    ldr_list node;
    ldr_exchange *ex;
    ldr_trip trip;
    bool is_pushed, is_over; /* over: ended, and to be told when the loop waits */
    void (*ended)(void *ctx, ldr_exchange *ex);
    void *ctx;
    struct channel *channel;
} ride;

typedef struct channel {
    ldr_watch watch;
    ldr_links *links;
    ldr_loop *loop;
    unsigned n_forks;   /* of the links when it was made */
    ldr_line *line;     /* NULL: none; not connected: being dialled */
    ldr_list rides;     /* in the order of their submission */
    ldr_list spare;     /* rides that are free */
    int64_t soonest_us; /* no ride is late before */
    int64_t late_us;    /* 0, or the time at which a late ride breaks the link */
    bool is_withdrawing; /* a link that breaks now is no reason to tell anybody from here */
} channel;

static channel *of(ldr_watch *w)
{
    return ldr_list_of(w, channel, watch);
}

static ride *first(ldr_list *rides)
{
    return ldr_list_empty(rides) ? NULL : ldr_list_of(rides->next, ride, node);
}

/* ---- rides ---------------------------------------------------------------------------------------------------- */

static void ended(void *ctx, ldr_exchange *ex);

static ride *ride_of(const ldr_exchange *ex)
{
    return ex->ended == ended ? ex->ctx : NULL;
}

/* The exchange is its owner's again, and the ride is spare. */
static void alight(ride *r)
{
    r->ex->ended = r->ended;
    r->ex->ctx = r->ctx;
    ldr_list_drop(&r->node);
    ldr_list_push(&r->channel->spare, &r->node);
}

static void tell(ride *r)
{
    ldr_exchange *ex = r->ex;
    ldr_trip_end(&r->trip, r->channel->links, &ex->err);
    alight(r);
    if (ex->ended)
        ex->ended(ex->ctx, ex);
}

/* It was in time itself, and its end says nothing of the server that the late one does not say. */
static void blame_other(ride *r)
{
    r->trip.is_local = true;
    ldr_fail(&r->ex->err, LDR_UNAVAILABLE, "%s: another question on the same connection had no answer in time",
             r->channel->links->address->name);
}

/* Called by the link. */
static void ended(void *ctx, ldr_exchange *ex)
{
    ride *r = ctx;
    channel *c = r->channel;
    if (ex->err.code == LDR_OK)
        c->line->is_proven = true;
    if (c->late_us && r->trip.until_us > c->late_us)
        blame_other(r);
#ifndef LDR_BUG_TOLD_EARLY
    if (c->is_withdrawing)
        r->trip.is_local = r->is_over = true;
    else
#endif
        tell(r);
}

static void tell_over(channel *c)
{
    for (ldr_list *at = c->rides.next, *next; next = at->next, at != &c->rides; at = next) {
        ride *r = ldr_list_of(at, ride, node);
        if (r->is_over) {
            tell(r);
            next = c->rides.next; /* who was told may have changed the list */
        }
    }
}

static void fail(ride *r, const ldr_err *err)
{
    r->ex->err = *err;
    r->ex->done = true;
    tell(r);
}

/* Those that wait; the link tells the others. */
static void fail_waiting(channel *c, const ldr_err *err, bool is_local)
{
    ldr_list failing;
    ldr_list_init(&failing);
    for (ldr_list *at = c->rides.next, *next; next = at->next, at != &c->rides; at = next) {
        ldr_list_drop(at); /* apart: who is told may submit anew */
        ldr_list_push(&failing, at);
    }
    for (ride *r; (r = first(&failing));) {
        r->trip.is_local = is_local;
        fail(r, err);
    }
}

/* ---- the line ------------------------------------------------------------------------------------------------- */

static bool is_connected(const channel *c)
{
    return c->line && c->line->fd >= 0;
}

/* What no byte was sent of waits for another line. */
static void rescue(channel *c)
{
    for (ldr_list *at = c->rides.next; at != &c->rides; at = at->next) {
        ride *r = ldr_list_of(at, ride, node);
        if (r->is_pushed && !r->ex->sent && !r->ex->done) {
            ldr_link_drop(c->line->link, r->ex);
            r->is_pushed = false;
        }
    }
}

static void hang_up(channel *c)
{
    ldr_line *line = c->line;
    if (!line)
        return;
    ldr_link_break(line->link, LDR_UNAVAILABLE, "the connection was closed here");
    c->line = NULL;
    ldr_line_close(c->links, line);
}

/* The server closed it (why 0), or the socket failed. A line that never worked saves nobody: else one tried on and on. */
static void lose(channel *c, int why)
{
    if (c->line->is_proven)
        rescue(c);
    if (why)
        ldr_line_failed(c->line, why);
    else
        ldr_link_feed(c->line->link, (ldr_slice){0});
    hang_up(c);
}

static void begin_line(channel *c)
{
    ldr_err err;
    int64_t until_us = 0;
    for (ldr_list *at = c->rides.next; at != &c->rides; at = at->next) {
        const ride *r = ldr_list_of(at, ride, node);
        until_us = r->trip.until_us > until_us ? r->trip.until_us : until_us;
    }
    c->line = ldr_line_new(c->links);
    if (c->line) {
        ldr_dial_begin(&c->line->dial, c->links->address, &c->links->resolver, until_us);
        return;
    }
    ldr_fail_oom(&err);
    fail_waiting(c, &err, true);
}

static void dial(channel *c, int64_t now_us)
{
    ldr_dial *d = &c->line->dial;
    int state = ldr_dial_step(d, now_us);
    if (state == LDR_DIAL_CONNECTED) {
        ldr_line_connected(c->line, now_us);
    } else if (state == LDR_DIAL_FAILED) {
        ldr_err err = d->err;
        bool is_local = d->is_local;
        hang_up(c);
        fail_waiting(c, &err, is_local);
    }
}

static void push_waiting(channel *c)
{
    for (ldr_list *at = c->rides.next, *next; next = at->next, at != &c->rides; at = next) {
        ride *r = ldr_list_of(at, ride, node);
        if (r->is_pushed)
            continue;
        r->is_pushed = ldr_link_push(c->line->link, r->ex);
        if (!r->is_pushed) {
            tell(r);
            next = c->rides.next; /* who was told may have changed the list */
        }
    }
}

static void say_what_to_wait_for(channel *c, bool is_blocked)
{
    ldr_watch *w = &c->watch;
    w->fd = -1;
    w->until_us = ldr_list_empty(&c->rides) ? LDR_NEVER : c->soonest_us;
    if (is_connected(c)) {
        w->fd = c->line->fd;
        w->events = is_blocked ? POLLIN | POLLOUT : POLLIN;
    } else if (c->line) {
        w->fd = c->line->dial.wait.fd;
        w->events = c->line->dial.wait.events;
        w->until_us = c->line->dial.wait.until_us < w->until_us ? c->line->dial.wait.until_us : w->until_us;
    } else if (!ldr_list_empty(&c->rides)) {
        w->until_us = 0; /* at once anew */
    }
}

/* Gives whether some could not be sent for now. */
static bool send_all(channel *c, int64_t now_us)
{
    long rest = ldr_line_send(c->line, c->links, now_us);
    if (rest == LDR_IO_FAILED)
        lose(c, errno);
    else
        c->line->used_us = now_us;
    return rest == LDR_IO_BLOCKED;
}

/* Gives whether nothing more can be done for now. */
static bool advance(channel *c, int64_t now_us, bool *is_blocked)
{
    if (!c->line)
        begin_line(c);
    if (c->line && !is_connected(c))
        dial(c, now_us);
    if (!is_connected(c))
        return c->line != NULL;
    push_waiting(c);
    *is_blocked = send_all(c, now_us);
    return is_connected(c);
}

static bool is_of_no_use(const channel *c, int64_t now_us)
{
    const ldr_link *link = c->line->link;
    if (!is_connected(c))
        return ldr_list_empty(&c->rides); /* nobody waits for it to be dialled */
    return ldr_link_is_broken(link, NULL) || (!ldr_list_empty(&c->rides) && ldr_link_queued(link) == 0 &&
                                              !ldr_line_is_fit(c->line, now_us));
}

static void before(ldr_watch *w)
{
    channel *c = of(w);
    bool is_blocked = false, is_through = false;
    int64_t now_us = c->line || !ldr_list_empty(&c->rides) ? ldr_links_time(c->links) : 0;
    tell_over(c);
    if (c->line && is_of_no_use(c, now_us))
        hang_up(c);
    for (int round = 0; round < MOST_ROUNDS && !is_through && !ldr_list_empty(&c->rides); round++)
        is_through = advance(c, now_us, &is_blocked);
    say_what_to_wait_for(c, is_blocked);
}

/* ---- answers and lateness ------------------------------------------------------------------------------------- */

static ride *find_late(channel *c, int64_t now_us)
{
    c->soonest_us = LDR_NEVER;
    for (ldr_list *at = c->rides.next; at != &c->rides; at = at->next) {
        ride *r = ldr_list_of(at, ride, node);
        if (r->trip.until_us <= now_us && !r->is_over)
            return r;
        c->soonest_us = r->trip.until_us < c->soonest_us ? r->trip.until_us : c->soonest_us;
    }
    return NULL;
}

/* Of the others on the line, those that no byte was sent of go on by another. */
static void end_late(channel *c, ride *r, int64_t now_us)
{
    ldr_err err;
    if (r->is_pushed && r->ex->sent) {
        rescue(c);
        c->late_us = now_us;
        ldr_line_late(c->line, &r->trip);
        c->late_us = 0;
        hang_up(c);
        return;
    }
    bool is_stuck = r->is_pushed && ldr_trip_is_fair(&r->trip, c->links); /* in the handshake, or nobody reads */
    rescue(c);
    if (is_stuck)
        hang_up(c);
    ldr_fail(&err, LDR_TIMEOUT, "%s: not sent within %lld ms: is the server overloaded?", c->links->address->name,
             (long long)((r->trip.until_us - r->trip.begun_us) / LDR_MS));
    fail(r, &err);
}

static void receive(channel *c)
{
    char bytes[LDR_IO_BYTES];
    long n = ldr_io_receive(c->line->fd, bytes, sizeof bytes);
    if (n == LDR_IO_BLOCKED)
        return;
    if (n == LDR_IO_FAILED || n == 0) {
        lose(c, n == 0 ? 0 : errno);
        return;
    }
    ldr_link_feed(c->line->link, ldr_slice_of(bytes, (size_t)n));
    if (c->line && ldr_link_is_broken(c->line->link, NULL))
        hang_up(c);
}

static void ready(ldr_watch *w, short revents)
{
    channel *c = of(w);
    ride *r;
    if (is_connected(c) && (revents & ~POLLOUT))
        receive(c);
    int64_t now_us = ldr_links_time(c->links);
    while (now_us >= c->soonest_us && (r = find_late(c, now_us)))
        end_late(c, r, now_us);
}

/* ---- its making and its end ----------------------------------------------------------------------------------- */

/* Another thread of the parent may have held the lock of the links: it is not taken here, and where the links have not been
 * told of the fork yet, the few bytes of the line are given up. */
static void forget_line(channel *c)
{
    ldr_line *line = c->line;
    if (!line)
        return;
    if (line->fd >= 0)
        close(line->fd);
    line->fd = -1;
    ldr_dial_end(&line->dial);
    ldr_link_break(line->link, LDR_UNAVAILABLE, "the process forked while it was asked");
    ldr_link_free(line->link);
    line->link = NULL;
    c->line = NULL;
    if (c->n_forks != atomic_load(&c->links->n_forks))
        ldr_mem_free(c->links->mem, line);
}

static void forked(ldr_watch *w)
{
    channel *c = of(w);
    ldr_err err;
    for (ldr_list *at = c->rides.next; at != &c->rides; at = at->next) {
        ride *r = ldr_list_of(at, ride, node);
        r->trip.is_local = true;
        r->trip.is_probe = false;
    }
    forget_line(c);
    c->n_forks = atomic_load(&c->links->n_forks);
    ldr_fail(&err, LDR_UNAVAILABLE, "%s: the process forked before it was asked", c->links->address->name);
    fail_waiting(c, &err, true);
}

static bool is_of(const ldr_watch *w, const void *links)
{
    return w->before == before && ((const channel *)(const void *)w)->links == links;
}

static channel *channel_of(ldr_links *l, ldr_loop *loop)
{
    ldr_watch *w = ldr_loop_find(loop, is_of, l);
    return w ? of(w) : NULL;
}

static channel *channel_new(ldr_links *l, ldr_loop *loop)
{
    channel *c = ldr_mem_zero(l->mem, 1, sizeof *c);
    if (!c)
        return NULL;
    *c = (channel){.links = l, .loop = loop, .soonest_us = LDR_NEVER, .n_forks = atomic_load(&l->n_forks)};
    c->watch = (ldr_watch){.fd = -1, .until_us = LDR_NEVER, .before = before, .ready = ready, .forked = forked};
    ldr_list_init(&c->rides);
    ldr_list_init(&c->spare);
    if (ldr_loop_watch(loop, &c->watch))
        return c;
    ldr_mem_free(l->mem, c);
    return NULL;
}

static ride *ride_new(channel *c)
{
    ride *r = first(&c->spare);
    if (!r) {
        r = ldr_mem_zero(c->links->mem, 1, sizeof *r);
        if (!r)
            return NULL;
        ldr_list_init(&r->node);
    }
    ldr_list_drop(&r->node);
    return r;
}

static void free_rides(channel *c)
{
    for (ride *r; (r = first(&c->spare));) {
        ldr_list_drop(&r->node);
        ldr_mem_free(c->links->mem, r);
    }
}

static bool refuse_oom(ldr_exchange *ex)
{
    ldr_exchange_rewind(ex);
    ldr_fail_oom(&ex->err);
    ex->done = true;
    return false;
}

bool ldr_links_submit(ldr_links *l, ldr_loop *loop, ldr_exchange *ex, int64_t deadline_us)
{
    channel *c = channel_of(l, loop);
    if (!c && !(c = channel_new(l, loop)))
        return refuse_oom(ex);
    if (c->n_forks != atomic_load(&l->n_forks)) {
        ldr_loop_claim(loop, getpid());
        c->n_forks = atomic_load(&l->n_forks);
    }
    ride *r = ride_new(c);
    if (!r)
        return refuse_oom(ex);
    *r = (ride){.node = r->node, .ex = ex, .ended = ex->ended, .ctx = ex->ctx, .channel = c};
    ldr_list_init(&r->node);
    if (!ldr_trip_begin(&r->trip, l, ex, deadline_us)) {
        ldr_list_push(&c->spare, &r->node);
        return false;
    }
    ex->ended = ended;
    ex->ctx = r;
    ldr_list_push(&c->rides, &r->node);
    c->soonest_us = r->trip.until_us < c->soonest_us ? r->trip.until_us : c->soonest_us;
    return true;
}

/* A link on which something sent is not waited for is broken; what its breaking ends is told when the loop waits. */
void ldr_links_withdraw(ldr_links *l, ldr_loop *loop, ldr_exchange *ex)
{
    ride *r = ride_of(ex);
    (void)l, (void)loop;
    if (!r)
        return;
    channel *c = r->channel;
    if (r->trip.is_probe) /* nobody would ever say what became of it */
        ldr_breaker_failed(&l->breaker, ldr_links_stamp(l, ldr_links_time(l)));
    if (r->is_pushed && !r->is_over && c->line) {
        if (ex->sent && !ex->done)
            rescue(c);
        c->is_withdrawing = true;
        ldr_link_drop(c->line->link, ex);
        c->is_withdrawing = false;
    }
    alight(r);
}

void ldr_links_leave_loop(ldr_links *l, ldr_loop *loop)
{
    channel *c = channel_of(l, loop);
    ldr_err err;
    if (!c)
        return;
    ldr_loop_unwatch(loop, &c->watch);
    tell_over(c);
    hang_up(c);
    ldr_fail(&err, LDR_UNAVAILABLE, "%s: the connection was closed here", l->address->name);
    fail_waiting(c, &err, true);
    free_rides(c);
    ldr_mem_free(l->mem, c);
}
