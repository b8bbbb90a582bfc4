/* cell.h - what the string at a key's place in Redis holds: a head that the server-side scripts read and write in place,
 * then (where there is a value) an envelope, which they never look into. All of the head is printable; numbers have
 * leading zeros, so that they compare as strings (a script's numbers are doubles: 2^53 + 1 > 2^53 is false there).
 *
 *     0   1          20         39              55           71             87             103         119
 *   +---+----------+----------+---------------+------------+--------------+--------------+-----------+-----------+
 *   | 1 | version  | floor    | lease         | lease end  | mark         | mark end     | waited    | ...
 *   +---+----------+----------+---------------+------------+--------------+--------------+-----------+
 *
 * The fields, with their widths (LDR_CELL_FIELDS has them for C; redis/cell.lua for the scripts):
 *   layout   1   '1'
 *   version 19   of the value that is held, 0 none
 *   floor   19   what is older than this version (or than the one held) is not taken: the highest that was told on the bell,
 *                of tombstones too
 *   lease   16   hex token of who may fill, 0 nobody
 *   l_end   16   server time (us) when the lease ends
 *   mark    16   hex token of the last write under way, 0 none
 *   m_end   16   server time when the mark ends
 *   waited   1   '1': somebody waits for the lease: its end is told on the bell
 *   asked   16   server time when the source was asked: the value's age counts from here
 *   soft    16   server time of the soft expiry; 9999999999999999 never
 *   gen     16   hex: the namespace's generation that the value belongs to
 *   again   48   asked, soft, gen once more: a flipped byte in them is a corrupt cell, hence a miss
 * Times are the server's own (TIME). A cell without a value ends here. */
#ifndef LDR_L2_CELL_H
#define LDR_L2_CELL_H

#include "record/record.h"

#define LDR_CELL_FIELDS(X)                                                                                       \
    X(layout, 1) X(version, 19) X(floor, 19) X(lease, 16) X(l_end, 16) X(mark, 16) X(m_end, 16) X(waited, 1)      \
    X(asked, 16) X(soft, 16) X(gen, 16) X(again, 48)
#define LDR_CELL_HEAD_BYTES 200
#define LDR_CELL_NEVER 9999999999999999

typedef struct ldr_cell {
    int64_t version, floor;
    uint64_t lease, mark, gen;
    int64_t lease_end_us, mark_end_us; /* server time */
    int64_t asked_us, soft_us;         /* server time; soft LDR_NEVER */
    bool waited;
    ldr_slice envelope;                /* n = 0: no value */
} ldr_cell;

/* Reads a cell; borrows. LDR_OK; LDR_CORRUPT: not a cell, or damaged; LDR_UNSUPPORTED: a later layout. */
int ldr_cell_read(ldr_slice bytes, ldr_cell *out);
/* The record in a cell's value, its times on the cache's clock: at `local_us` (taken before the request was sent) the
 * server's clock showed at most server_us. It must carry `key`, and the version of the head. Borrows. LDR_OK,
 * LDR_CORRUPT, LDR_UNSUPPORTED (a later format). */
int ldr_cell_record(const ldr_cell *c, ldr_slice key, int64_t local_us, int64_t server_us, ldr_record *out);

#endif
