/* sharing.c - see sharing.h. */
#include "sharing.h"

#include "base/err.h"

#include <string.h>
#include <unistd.h>

#define MOST_IDLE 8

static bool is_name(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    return n >= 1 && n <= 64 && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

int ldr_sharing_open(ldr_sharing *s, ldr_flow *f, const ldr_options *o, ldr_err *err)
{
    s->flow = f;
    if (!o->l2_url)
        return LDR_OK;
    if (!is_name(o->name))
        return ldr_fail(err, LDR_INVALID, "l2 needs a name: 1 to 64 of A-Z a-z 0-9 _ . -");
    if (!ldr_wire_built())
        return ldr_fail(err, LDR_UNSUPPORTED, "l2: this library was built without Redis (WITH_REDIS=0)");
    int code = ldr_address_parse(&s->address, ldr_slice_str(o->l2_url), o->l2_password, &f->mem, err);
    if (code != LDR_OK)
        return code;
    s->is_on = true;
    s->bus = !o->no_bus;
    memcpy(s->name, o->name, strlen(o->name));
    s->timeout_us = f->share_timeout_us = o->l2_timeout_us ? o->l2_timeout_us : LDR_SEC;
    s->tombstone_us = 2 * f->shared_lease_us > 60 * (int64_t)LDR_SEC ? 2 * f->shared_lease_us : 0;
    return ldr_sharing_furnish(s, err);
}

static bool furnish(ldr_sharing *s)
{
    ldr_flow *f = s->flow;
    f->leases = ldr_leases_new(&f->mem);
    f->resend = ldr_resend_new(&f->mem, 0, 0);
    f->links = ldr_links_new(&(ldr_links_options){.address = &s->address, .timeout_us = s->timeout_us,
                                                  .most_idle = MOST_IDLE, .clock = &f->clock}, &f->mem);
    if (!f->leases || !f->resend || !f->links)
        return false;
    if (f->clock.is_virtual) {
        ldr_tend_init(&s->tending, f);
        s->tends = true;
        return true;
    }
    s->listener = ldr_listener_new(f, s->bus);
    return s->listener != NULL;
}

/* Of tokens, which must never be those of another process: two children may start anew in the same moment. */
static uint64_t token_seed(const ldr_flow *f)
{
    uint64_t apart = f->clock.is_virtual ? 0 : (uint64_t)getpid() * 0x9E3779B97F4A7C15u;
    return (uint64_t)ldr_clock_now(&f->clock) ^ f->seed ^ apart;
}

int ldr_sharing_furnish(ldr_sharing *s, ldr_err *err)
{
    ldr_flow *f = s->flow;
    if (!s->is_on)
        return LDR_OK;
    ldr_l2_options o = {.name = s->name, .tombstone_us = s->tombstone_us, .seed = token_seed(f),
                        .bound_us = f->bound_hard_us == LDR_NEVER ? 0 : f->bound_hard_us};
    int code = ldr_l2_new(&o, &f->mem, &f->l2, err);
    if (code == LDR_OK && !furnish(s))
        code = ldr_fail_oom(err);
    return code;
}

void ldr_sharing_begin(ldr_sharing *s)
{
    s->has_begun = !s->listener || ldr_listener_start(s->listener);
}

void ldr_sharing_poll(ldr_sharing *s)
{
    if (!s->tends)
        return;
    ldr_owner owner = {.host = s};
    ldr_op *op = ldr_tend_begin(&s->tending, &owner);
    if (!op)
        return;
    for (ldr_want want; (want = ldr_op_step(op)).kind == LDR_WANT_TALK;)
        ldr_links_talk(s->flow->links, want.exchange, want.deadline_us);
    ldr_op_end(op);
}

void ldr_sharing_stop(ldr_sharing *s, int64_t wait_us)
{
    if (s->flow && s->flow->leases)
        ldr_leases_wake_all(s->flow->leases);
    if (s->listener)
        ldr_listener_stop(s->listener, wait_us);
}

void ldr_sharing_empty(ldr_sharing *s, bool is_foreign)
{
    ldr_flow *f = s->flow;
    if (!s->is_on)
        return;
    if (s->leaving && f->links)
        s->leaving(s->ctx);
    if (is_foreign && f->links)
        ldr_links_forked(f->links);
    if (s->tends)
        ldr_tend_fini(&s->tending);
    ldr_listener_free(s->listener);
    ldr_links_free(f->links);
    ldr_resend_free(f->resend);
    ldr_leases_free(f->leases);
    ldr_l2_free(f->l2);
    s->listener = NULL;
    s->has_begun = false;
    s->tends = false;
    f->links = NULL;
    f->resend = NULL;
    f->leases = NULL;
    f->l2 = NULL;
}

void ldr_sharing_close(ldr_sharing *s)
{
    if (s->is_on)
        ldr_address_free(&s->address, &s->flow->mem);
    s->is_on = false;
}
