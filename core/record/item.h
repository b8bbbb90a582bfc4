/* item.h - one key of a request to a source or loader: what is asked, and what was answered. Whoever makes an item owns
 * it and the bytes in `out`; what it borrows must live until the request ends. */
#ifndef LDR_RECORD_ITEM_H
#define LDR_RECORD_ITEM_H

#include "base/buf.h"
#include "larder.h"

enum ldr_answer_state {
    LDR_UNANSWERED = 0,
    LDR_FOUND,  /* LOAD: out holds the value. STORE, ERASE: done; STORE may have the row in out */
    LDR_GONE,   /* there is no such thing */
    LDR_FAILED  /* err says why */
};

#define LDR_UNSET INT64_MIN /* a ttl that the answer did not give */

/* One key of a request: what is asked above, what was answered below. */
typedef struct ldr_item {
    ldr_slice key;
    ldr_slice value;     /* STORE: LDR_STRING or LDR_MSGPACK bytes, borrowed until the request ends */
    int value_kind;
    int64_t if_version;  /* LDR_ANY, LDR_MUST_BE_ABSENT, or the version that must be current */

    int state;           /* enum ldr_answer_state */
    ldr_buf out;         /* owned by the item; kind says what the bytes are */
    int kind;            /* LDR_STRING, LDR_MSGPACK; LDR_NONE after a STORE that gave no row */
    int64_t version;     /* 0: the source has none */
    int64_t position, fingerprint;
    int64_t ttl_us, stale_ttl_us; /* LDR_UNSET: not given */
    bool no_store;       /* the loader said store=false */
    ldr_err err;
} ldr_item;

#endif
