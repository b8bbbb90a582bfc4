/* net_bed.h - what the specs of core/net share: a Redis of their own, and small servers that do what no good one does. */
#ifndef SPEC_NET_BED_H
#define SPEC_NET_BED_H

#include "net/links.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

typedef struct bed_redis {
    char folder[64], socket[80], unix_url[128], tcp_url[128];
    int port;
    pid_t pid;
} bed_redis;

void bed_redis_start(bed_redis *r); /* again after stop: the same place */
void bed_redis_stop(bed_redis *r);  /* the process ends at once */
void bed_redis_remove(bed_redis *r);

/* One connection after another is handed to `serve`, which returns when it is through with it. */
typedef struct bed_fake {
    char folder[64], socket[80], url[128];
    int fd, port;
    atomic_bool stops;
    atomic_int n_connections, n_closed, n_questions; /* connections that came, those closed; commands that came */
    size_t most_at_once;                   /* bytes read in one go */
    int (*serve)(struct bed_fake *f, int fd);
    pthread_t thread;
} bed_fake;

void bed_fake_start(bed_fake *f, int (*serve)(bed_fake *f, int fd), bool is_tcp);
void bed_fake_stop(bed_fake *f);
long bed_fake_read(bed_fake *f, int fd);             /* what comes, once; 0: closed */
bool bed_fake_greet(bed_fake *f, int fd);            /* answers the handshake */
void bed_fake_say(int fd, const char *bytes);

/* Servers */
int serve_silence(bed_fake *f, int fd);       /* never a word */
int serve_greeting(bed_fake *f, int fd);      /* the handshake, then silence */
int serve_pong(bed_fake *f, int fd);          /* +PONG to each command that begins with *1 */
int serve_one(bed_fake *f, int fd);           /* one +PONG a connection, then closes */
int serve_drops(bed_fake *f, int fd);         /* a long string, a byte each 20 ms */
int serve_half(bed_fake *f, int fd);          /* half an answer, then closes */
int serve_surplus(bed_fake *f, int fd);       /* two answers to each question */
int serve_no_entry(bed_fake *f, int fd);      /* -WRONGPASS */
int serve_one_then_leave(bed_fake *f, int fd); /* +PONG, reads the next question, closes without an answer */

/* A listener whose queue is full: connecting hangs. */
typedef struct bed_full {
    char folder[64], url[128];
    int fds[64], n;
} bed_full;
void bed_full_start(bed_full *b);
void bed_full_stop(bed_full *b);

/* Links to a URL on the machine's clock. */
typedef struct bed_links {
    ldr_address address;
    ldr_clock clock;
    ldr_links *links;
} bed_links;
void bed_links_open(bed_links *b, const char *url, int64_t timeout_us, const ldr_mem *mem);
void bed_links_close(bed_links *b);

void bed_ask(ldr_exchange *ex, const char *word);                     /* clears it; one command of one word */
void bed_ask2(ldr_exchange *ex, const char *word, const char *second); /* one of two */
const char *bed_said(const ldr_exchange *ex);                          /* the first reply's text, "" none */
int64_t bed_now(void);
int bed_count_fds(void);

#endif
