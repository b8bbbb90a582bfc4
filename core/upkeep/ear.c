/* ear.c - see ear.h.
 *
 *   no link --dial--> handshake and SUBSCRIBE are under way --confirmed--> hears --(silence, error)--> no link
 *
 * Only a confirmed subscription counts: until then and after its loss nothing is known of what is rung. */
#include "upkeep/ear.h"

#include "base/err.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DIAL_US ((int64_t)1000000)

/* A message of the bell is a key and some numbers. */
static const ldr_reply_limits limits = {.bytes = 131072, .elements = 16, .depth = 2};

void ldr_ear_init(ldr_ear *e, ldr_tending *t)
{
    e->tend = t;
    e->fd = -1;
    e->link = NULL;
    atomic_store(&e->hears, false);
    e->was_lost = e->complained = e->refused = false;
    e->dial_us = e->wait_us = e->heard_us = e->pinged_us = 0;
    e->rng.s = t->flow->seed ^ (uint64_t)(uintptr_t)e;
    ldr_err_clear(&e->why);
}

void ldr_ear_close(ldr_ear *e)
{
    if (e->fd >= 0)
        close(e->fd);
    ldr_link_free(e->link);
    e->fd = -1;
    e->link = NULL;
    atomic_store(&e->hears, false);
}

/* ---- the end of a link ---------------------------------------------------------------------------------------- */

static void back_off(ldr_ear *e, int64_t now_us)
{
    int64_t wait = e->wait_us ? e->wait_us * 2 : LDR_EAR_FIRST_US;
    e->wait_us = wait < LDR_EAR_MOST_US ? wait : LDR_EAR_MOST_US;
    e->dial_us = now_us + (int64_t)((double)e->wait_us * (1 - ldr_rng_unit(&e->rng) / 2));
}

/* Once an outage, not once a try. */
static void complain(ldr_ear *e)
{
    if (!e->complained)
        ldr_flow_error(e->tend->flow, ldr_slice_str(""), &e->why);
    e->complained = true;
}

static void give_up(ldr_ear *e, int64_t now_us)
{
    bool heard = atomic_load(&e->hears);
    const ldr_err *err;
    if (ldr_link_is_broken(e->link, &err))
        e->why = *err;
    ldr_ear_close(e);
    back_off(e, now_us);
    if (heard) {
        e->was_lost = true;
        ldr_tend_lost(e->tend);
    }
    complain(e);
}

/* ---- what is heard --------------------------------------------------------------------------------------------- */

static void tell_reconnect(ldr_ear *e)
{
    ldr_flow *f = e->tend->flow;
    ldr_meter_add(f->meter, LDR_M_reconnects, 1);
    if (!ldr_events_want(&f->events, LDR_EVENT_reconnect))
        return;
    ldr_event event = {.kind = LDR_EVENT_reconnect, .code = ldr_code_word(e->why.code), .of_peer = true};
    memcpy(event.message, e->why.message, sizeof event.message - 1);
    ldr_events_note(&f->events, ldr_slice_str(ldr_links_name(f->links)), &event);
}

static void confirmed(ldr_ear *e)
{
    e->wait_us = 0;
    e->complained = false;
    ldr_tend_subscribed(e->tend);
    ldr_links_up(e->tend->flow->links);
    if (e->was_lost)
        tell_reconnect(e);
    atomic_store(&e->hears, true);
}

static bool is_word(const ldr_reply *array, size_t n_items, const char *word)
{
    return array->kind == LDR_REPLY_ARRAY && array->n_items == n_items && array->items[0].kind == LDR_REPLY_STRING &&
           ldr_slice_eq(array->items[0].str, ldr_slice_str(word));
}

static void heard(void *ctx, const ldr_reply *reply)
{
    ldr_ear *e = ctx;
    e->heard_whole = true;
    if (is_word(reply, 3, "message") && reply->items[2].kind == LDR_REPLY_STRING)
        ldr_tend_message(e->tend, reply->items[2].str);
    else if (is_word(reply, 3, "subscribe") && !atomic_load(&e->hears))
        confirmed(e);
    else if (reply->kind == LDR_REPLY_ERROR || is_word(reply, 3, "unsubscribe"))
        e->refused = true;
}

/* ---- bytes ----------------------------------------------------------------------------------------------------- */

static void failed(ldr_ear *e, const char *what)
{
    ldr_err err;
    ldr_fail(&err, LDR_UNAVAILABLE, "%s: %m", what);
    ldr_link_break(e->link, err.code, err.message);
}

static bool is_for_later(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static void send_some(ldr_ear *e, int64_t now_us)
{
    ldr_slice out;
    while (!ldr_link_is_broken(e->link, NULL) && (out = ldr_link_out(e->link)).n > 0) {
        ssize_t n = send(e->fd, out.p, out.n, MSG_NOSIGNAL);
        if (n < 0 && !is_for_later())
            failed(e, "cannot send on the bell's link");
        if (n < 0)
            return;
        ldr_link_sent(e->link, (size_t)n, now_us);
    }
}

/* Gives false when nothing more is to be had now. */
static bool read_some(ldr_ear *e, int64_t now_us)
{
    ssize_t n = recv(e->fd, e->bytes, sizeof e->bytes, 0);
    if (n < 0 && !is_for_later())
        failed(e, "cannot read from the bell's link");
    if (n < 0)
        return false;
    e->heard_whole = false;
    if (!ldr_link_feed(e->link, ldr_slice_of(e->bytes, (size_t)n)))
        return false;
#ifndef LDR_BUG_EAR_SWALLOWED
    if (e->heard_whole) /* bytes of one that never ends are no sign of life */
#endif
    {
        e->heard_us = now_us;
        e->pinged_us = 0;
    }
    if (e->refused)
        ldr_link_break(e->link, LDR_UNAVAILABLE, "the server refused the subscription to the bell");
    return !e->refused && (size_t)n == sizeof e->bytes;
}

short ldr_ear_events(const ldr_ear *e)
{
    return e->link && ldr_link_out(e->link).n > 0 ? POLLIN | POLLOUT : POLLIN;
}

void ldr_ear_move(ldr_ear *e, short revents, int64_t now_us)
{
    if (!e->link || revents == 0)
        return;
    if (revents & ~POLLOUT)
        for (size_t n = 0; n < LDR_EAR_ROUND_BYTES && read_some(e, now_us); n += sizeof e->bytes)
            ;
    send_some(e, now_us);
    if (ldr_link_is_broken(e->link, NULL))
        give_up(e, now_us);
}

/* ---- what is due ------------------------------------------------------------------------------------------------ */

static void dial(ldr_ear *e, int64_t now_us)
{
    ldr_flow *f = e->tend->flow;
    e->fd = ldr_links_dial(f->links, ldr_time_add(now_us, DIAL_US), &e->why);
    if (e->fd >= 0) {
        e->link = ldr_link_new(&f->mem, ldr_links_address(f->links), &limits);
        ldr_fail_oom(&e->why); /* counts where there is no link */
    }
    now_us = ldr_clock_now(&f->clock);
    if (!e->link) {
        ldr_ear_close(e);
        back_off(e, now_us);
        complain(e);
        return;
    }
    e->heard_us = now_us;
    e->pinged_us = 0;
    e->refused = false;
    ldr_link_subscribe(e->link, ldr_l2_channel(f->l2), heard, e);
    ldr_ear_move(e, POLLOUT, now_us);
}

/* PING is allowed to a subscriber; its answer is heard like a message. It goes past the link, which has nothing to send:
 * so few bytes are taken whole or not at all. */
static void ping(ldr_ear *e, int64_t now_us)
{
    static const char bytes[] = "*1\r\n$4\r\nPING\r\n";
    e->pinged_us = now_us;
    if (ldr_link_out(e->link).n == 0 && send(e->fd, bytes, sizeof bytes - 1, MSG_NOSIGNAL) < 0 && !is_for_later())
        failed(e, "cannot send on the bell's link");
}

/* How long the server may take to confirm the subscription: as long as for any question. */
static int64_t greeting_us(const ldr_ear *e)
{
    int64_t usual = e->tend->flow->share_timeout_us;
    return usual > LDR_EAR_LEAST_US ? usual : LDR_EAR_LEAST_US;
}

int64_t ldr_ear_due(const ldr_ear *e)
{
    if (!e->link)
        return e->dial_us;
#ifdef LDR_BUG_EAR_PATIENT
    return LDR_NEVER;
#endif
    if (e->pinged_us)
        return e->pinged_us + LDR_EAR_DEAD_US;
    return e->heard_us + (atomic_load(&e->hears) ? LDR_EAR_QUIET_US : greeting_us(e));
}

void ldr_ear_tend(ldr_ear *e, int64_t now_us)
{
    if (ldr_ear_due(e) > now_us)
        return;
    if (!e->link) {
        dial(e, now_us);
        return;
    }
    if (atomic_load(&e->hears) && e->pinged_us == 0)
        ping(e, now_us);
    else
        ldr_link_break(e->link, LDR_TIMEOUT, "the server does not answer on the bell's link");
    if (ldr_link_is_broken(e->link, NULL))
        give_up(e, now_us);
}
