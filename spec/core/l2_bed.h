/* l2_bed.h - what the specs of the shared shelf have in common: a Redis of their own, questions carried to it in line, what it
 * holds, and what its bell says. */
#ifndef SPEC_L2_BED_H
#define SPEC_L2_BED_H

#include "l2/l2.h"
#include "net_bed.h"

#define L2_NAME "shop"
#define L2_KEY "ldr1:" L2_NAME ":k"
#define L2_BELL "ldr1.bell:" L2_NAME
#define L2_LEASE_US (5 * (int64_t)LDR_SEC)

typedef struct l2_bed {
    bed_redis redis;
    bed_links links;
    ldr_exchange ex;   /* of the last question */
    ldr_exchange word; /* of the last command of the spec itself */
    int ear;           /* a socket that hears the bell */
    ldr_reply_reader *reader;
    char heard[16][160]; /* since the last l2_hear */
    int n_heard;
} l2_bed;

void l2_bed_open(l2_bed *b);
void l2_bed_close(l2_bed *b);
ldr_l2 *l2_shelf(uint64_t seed);

/* Puts the question until it need not be put again; gives the item's state. */
int l2_say(l2_bed *b, ldr_l2 *l, int verb, ldr_l2_item *item);
/* A command of words; gives its reply. */
const ldr_reply *l2_do(l2_bed *b, ...) __attribute__((sentinel));
int64_t l2_number(l2_bed *b, const char *command, const char *key); /* of an integer reply */
bool l2_cell(l2_bed *b, ldr_cell *c);  /* of L2_KEY; false: there is none */
ldr_slice l2_bytes(l2_bed *b);         /* likewise */
void l2_write(l2_bed *b, ldr_slice bytes);
int l2_hear(l2_bed *b);                /* how many messages came since; they are in `heard` */

/* Items of L2_KEY. */
ldr_l2_item l2_item(uint64_t token);
ldr_record l2_record(const char *value, int64_t version); /* of now, for 300 s */

#endif
