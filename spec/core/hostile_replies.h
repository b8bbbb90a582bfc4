/* hostile_replies.h - reads hostile_replies.txt, whose head says what a line is. Specs run at the top of the checkout. */
#ifndef SPEC_HOSTILE_REPLIES_H
#define SPEC_HOSTILE_REPLIES_H

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#define HOSTILE_FILE "spec/core/hostile_replies.txt"
#define HOSTILE_STRING 65536
#define HOSTILE_ELEMENTS 1024
#define HOSTILE_DEPTH 4

typedef struct hostile_reply {
    char verdict[8], kind[16];
    int line;
    ldr_buf bytes;
} hostile_reply;

static inline const char *hostile_unescape(const char *s, const char *end, ldr_buf *out);

/* TEXT*N} behind \{ */
static inline const char *hostile_repeat(const char *s, ldr_buf *out)
{
    const char *close = strchr(s, '}'), *star = memrchr(s, '*', (size_t)(close - s));
    for (long n = strtol(star + 1, NULL, 10); n > 0; n--)
        hostile_unescape(s, star, out);
    return close + 1;
}

static inline const char *hostile_escape(const char *s, ldr_buf *out)
{
    static const char from[] = "rns\\", to[] = "\r\n \\";
    const char *known = strchr(from, *s);
    char hex[3] = "";
    if (*s == '{')
        return hostile_repeat(s + 1, out);
    if (known) {
        ldr_buf_byte(out, (unsigned char)to[known - from]);
        return s + 1;
    }
    memcpy(hex, s + 1, 2);
    ldr_buf_byte(out, (unsigned char)strtoul(hex, NULL, 16));
    return s + 3;
}

static inline const char *hostile_unescape(const char *s, const char *end, ldr_buf *out)
{
    while (s < end) {
        if (*s == '\\')
            s = hostile_escape(s + 1, out);
        else
            ldr_buf_byte(out, (unsigned char)*s++);
    }
    return s;
}

/* Calls `each` with every reply of the list; gives how many there were. */
static inline int hostile_each(void (*each)(void *ctx, const hostile_reply *reply), void *ctx)
{
    char line[1024];
    int n = 0, at = 0, from;
    FILE *f = fopen(HOSTILE_FILE, "r");
    hostile_reply r = {.bytes = LDR_BUF(&ldr_mem_system)};
    while (f && fgets(line, sizeof line, f)) {
        r.line = ++at;
        if (line[0] == '#' || sscanf(line, "%7s %15s %n", r.verdict, r.kind, &from) != 2)
            continue;
        ldr_buf_clear(&r.bytes);
        hostile_unescape(line + from, line + strcspn(line, "\n"), &r.bytes);
        each(ctx, &r);
        n++;
    }
    ldr_buf_free(&r.bytes);
    if (f)
        fclose(f);
    return n;
}

#endif
