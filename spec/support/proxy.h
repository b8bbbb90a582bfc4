/* proxy.h - the proxy of the test bed: its connections (proxy_conn.c), under the faults that commands order (proxy.c). */
#ifndef SPEC_PROXY_H
#define SPEC_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELD (1024 * 1024) /* what a direction holds before it reads no more */

enum kind { PASS, REFUSE, HANG, FREEZE, BLACKHOLE, DELAY, DRIP, CUT, CUT_REQUEST, DROP_REPLY, FLIP, GARBAGE, REPLACE, GREET, N_KINDS };
enum where { ANY, DATA, BELL };
enum rule { RING, DROP_ALL, DROP, DOUBLE, LATE, SWAP, STALL };

typedef struct fault {
    enum kind kind;
    enum where where;
    long a, b;
    char word[128];
    const char *bytes; /* the newest command's */
    size_t n_bytes;
    unsigned serial; /* of the command: counts of a connection begin anew */
} fault;

typedef struct chunk {
    struct chunk *next;
    int64_t due_us;
    size_t n, at;
    char bytes[];
} chunk;

typedef struct queue {
    chunk *first, *last;
    size_t n;
    int64_t next_us; /* drip: not before */
} queue;

typedef struct conn {
    int client, server;
    queue up, down;
    chunk *late;              /* messages that others overtake, any order */
    chunk *swapped;
    char *partial;            /* bell: the beginning of a reply */
    size_t n_partial;
    bool is_bell, is_matched; /* of fault.word */
    bool ends;                /* when `down` is out the client is told the end */
    bool told;                /* it was; what it sends is thrown away until it closes */
    bool client_ended;
    unsigned serial;
    long n_down, n_up;        /* since the command */
} conn;

typedef struct proxy {
    fault fault; /* in force */
    enum rule rule;
    long bell_k, bell_ms, bell_seen;
    unsigned long n_connections, n_up, n_down, n_messages, n_fired;
    uint64_t seed;
} proxy;

extern proxy state;

int64_t now_us(void);
enum kind conn_fault(conn *c);                /* the fault that this connection is under */
void conn_read(conn *c, bool is_server);      /* there are bytes, or the end */
void conn_move(conn *c, int64_t *next_us);    /* sends what is due; *next_us: when to look again */
void conn_end(conn *c);                       /* hard */
void conn_greet(conn *c);                     /* it was accepted */

#endif
