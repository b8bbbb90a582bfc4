/* redis_bed.h - real Redis servers of the C specs: each in a temporary folder on a unix socket (and a port, where asked for).
 * They end with the process that started them, at the latest; a forked child is not that one. */
#ifndef SPEC_REDIS_BED_H
#define SPEC_REDIS_BED_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct redis_bed redis_bed;

typedef struct redis_bed_options {
    bool with_port;            /* of 127.0.0.1, beside the unix socket */
    const char *const *config; /* "maxmemory", "2mb", ..., NULL; may be NULL */
} redis_bed_options;

/* Starts a server and waits until it answers. o may be NULL. Ends the process with a message where that fails. */
redis_bed *redis_bed_start(const redis_bed_options *o);
void redis_bed_stop(redis_bed *b); /* and frees; its folder is removed. NULL: fine */

const char *redis_bed_path(const redis_bed *b); /* of the socket */
const char *redis_bed_url(const redis_bed *b);  /* redis+unix:///... */
int redis_bed_port(const redis_bed *b);         /* 0: none */
pid_t redis_bed_pid(const redis_bed *b);        /* for SIGSTOP and SIGCONT */

void redis_bed_kill(redis_bed *b);    /* kill -9; the socket's file stays */
void redis_bed_restart(redis_bed *b); /* killed where it still runs; at the same address, empty */

/* The reply to a command as one line of text: "+OK", "-ERR ...", "7", "\"text\"", "nil",
 * "[\"a\" nil 3]"; bytes that cannot be printed as \xNN. Formats are hiredis's (%s, %b, %d, ...). Good until the next call. */
const char *redis_bed_ask(redis_bed *b, const char *format, ...);
long long redis_bed_int(redis_bed *b, const char *format, ...); /* of an integer reply; anything else ends the process */

#endif
