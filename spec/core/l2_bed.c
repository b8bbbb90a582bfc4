/* l2_bed.c - see l2_bed.h. */
#include "l2_bed.h"

#include "base/err.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void need(bool is_so, const char *what)
{
    if (is_so)
        return;
    fprintf(stderr, "the bed: %s\n", what);
    abort();
}

/* ---- the bell ------------------------------------------------------------------------------------------------ */

static void take(l2_bed *b, const ldr_reply *r)
{
    need(r->kind == LDR_REPLY_ARRAY && r->n_items == 3, "a push");
    ldr_slice text = r->items[2].str;
    if (r->items[2].kind != LDR_REPLY_STRING)
        return;
    b->n_heard -= b->n_heard == 16; /* the last is always kept */
    snprintf(b->heard[b->n_heard++], sizeof b->heard[0], "%.*s", (int)text.n, text.p);
}

static void listen_once(l2_bed *b)
{
    char bytes[4096];
    ldr_reply *r;
    ldr_err err;
    struct pollfd p = {.fd = b->ear, .events = POLLIN};
    need(poll(&p, 1, 5000) == 1, "the bell is silent");
    ssize_t n = recv(b->ear, bytes, sizeof bytes, 0);
    need(n > 0 && ldr_reply_reader_feed(b->reader, ldr_slice_of(bytes, (size_t)n), &err) == LDR_OK, "the bell");
    while (ldr_reply_reader_next(b->reader, &r, &err) == LDR_OK && r) {
        take(b, r);
        ldr_reply_free(&ldr_mem_system, r);
    }
}

/* A word of the spec's own says that all before it was heard. */
int l2_hear(l2_bed *b)
{
    b->n_heard = 0;
    l2_do(b, "PUBLISH", L2_BELL, "end", NULL);
    while (b->n_heard == 0 || strcmp(b->heard[b->n_heard - 1], "end") != 0)
        listen_once(b);
    return --b->n_heard;
}

static void subscribe(l2_bed *b)
{
    ldr_err err;
    ldr_buf out = LDR_BUF(&ldr_mem_system);
    ldr_slice words[] = {ldr_slice_str("SUBSCRIBE"), ldr_slice_str(L2_BELL)};
    b->ear = ldr_links_dial(b->links.links, bed_now() + 5 * LDR_SEC, &err);
    need(b->ear >= 0 && ldr_command(&out, words, 2) == LDR_OK, "a link for the bell");
    need(send(b->ear, out.p, out.n, MSG_NOSIGNAL) == (ssize_t)out.n, "subscribe");
    ldr_buf_free(&out);
    b->reader = ldr_reply_reader_new(&ldr_mem_system, NULL);
    listen_once(b); /* that it is subscribed */
}

/* ---- the bed ------------------------------------------------------------------------------------------------- */

void l2_bed_open(l2_bed *b)
{
    *b = (l2_bed){0};
    bed_redis_start(&b->redis);
    bed_links_open(&b->links, b->redis.unix_url, 5 * LDR_SEC, &ldr_mem_system);
    ldr_exchange_init(&b->ex, &ldr_mem_system);
    ldr_exchange_init(&b->word, &ldr_mem_system);
    subscribe(b);
}

void l2_bed_close(l2_bed *b)
{
    close(b->ear);
    ldr_reply_reader_free(b->reader);
    ldr_exchange_free(&b->ex);
    ldr_exchange_free(&b->word);
    bed_links_close(&b->links);
    bed_redis_remove(&b->redis);
}

ldr_l2 *l2_shelf(uint64_t seed)
{
    ldr_l2 *l;
    ldr_err err;
    need(ldr_l2_new(&(ldr_l2_options){.name = L2_NAME, .seed = seed}, &ldr_mem_system, &l, &err) == LDR_OK, "a shelf");
    return l;
}

int l2_say(l2_bed *b, ldr_l2 *l, int verb, ldr_l2_item *item)
{
    for (int i = 0; i < 4; i++) {
        need(ldr_l2_ask(l, &b->ex, verb, &item, 1, bed_now()) == LDR_OK, "ask");
        ldr_links_talk(b->links.links, &b->ex, LDR_NEVER);
        if (!ldr_l2_answer(l, &b->ex, verb, &item, 1, bed_now()))
            return item->state;
    }
    need(false, "asked again and again");
    return LDR_L2_FAILED;
}

const ldr_reply *l2_do(l2_bed *b, ...)
{
    ldr_slice words[16];
    size_t n = 0;
    va_list ap;
    va_start(ap, b);
    for (const char *w = va_arg(ap, const char *); w; w = va_arg(ap, const char *))
        words[n++] = ldr_slice_str(w);
    va_end(ap);
    ldr_exchange_clear(&b->word);
    need(ldr_exchange_add(&b->word, words, n) == LDR_OK, "a command");
    ldr_links_talk(b->links.links, &b->word, LDR_NEVER);
    need(b->word.n_replies == 1, b->word.err.message);
    return b->word.replies[0];
}

int64_t l2_number(l2_bed *b, const char *command, const char *key)
{
    return l2_do(b, command, key, NULL)->integer;
}

ldr_slice l2_bytes(l2_bed *b)
{
    return l2_do(b, "GET", L2_KEY, NULL)->str;
}

bool l2_cell(l2_bed *b, ldr_cell *c)
{
    ldr_slice bytes = l2_bytes(b);
    need(bytes.n == 0 || ldr_cell_read(bytes, c) == LDR_OK, "the cell is damaged");
    return bytes.n > 0;
}

void l2_write(l2_bed *b, ldr_slice bytes)
{
    ldr_slice words[] = {ldr_slice_str("SET"), ldr_slice_str(L2_KEY), bytes, ldr_slice_str("KEEPTTL")};
    ldr_exchange_clear(&b->word);
    need(ldr_exchange_add(&b->word, words, 4) == LDR_OK, "a command");
    ldr_links_talk(b->links.links, &b->word, LDR_NEVER);
    need(b->word.n_replies == 1 && b->word.replies[0]->kind == LDR_REPLY_STATUS, "SET");
}

ldr_l2_item l2_item(uint64_t token)
{
    return (ldr_l2_item){.key = ldr_slice_str("k"), .token = token, .if_version = LDR_ANY, .for_us = L2_LEASE_US};
}

ldr_record l2_record(const char *value, int64_t version)
{
    int64_t now = bed_now();
    return (ldr_record){.key = ldr_slice_str("k"), .value = ldr_slice_str(value), .kind = LDR_STRING, .version = version,
                        .asked_us = now, .soft_us = now + 300 * (int64_t)LDR_SEC};
}
