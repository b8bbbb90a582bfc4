/* seal_bed.h - what the specs of sealing share: a value sealed and unsealed, whole or with memory that fails. */
#ifndef SPEC_SEAL_BED_H
#define SPEC_SEAL_BED_H

#include "bed.h"
#include "record/pack.h"
#include "record/record.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NO_KEY ldr_slice_of(NULL, 0)

static inline ldr_sealing sealing(int codec, size_t compress_min)
{
    return (ldr_sealing){.codec = codec, .compress_min = compress_min, .mem = &ldr_mem_system};
}

/* Seals and unseals; true when the same bytes of the same kind came back. What is kept is described in *kept. */
static inline bool comes_back(const ldr_sealing *s, ldr_slice value, int kind, ldr_record *kept)
{
    ldr_buf made = LDR_BUF(s->mem), back = LDR_BUF(s->mem);
    ldr_err err;
    ldr_slice out = NO_KEY;
    int out_kind = -1;
    *kept = (ldr_record){.key = ldr_slice_str("k"), .version = 5};
    bool ok = ldr_seal(s, value, kind, kept, &made, &err) == LDR_OK &&
              ldr_unseal(s, kept, &out, &out_kind, &back, &err) == LDR_OK && out_kind == kind &&
              ldr_slice_eq(out, value) && kept->version == 5;
    ldr_buf_free(&made);
    ldr_buf_free(&back);
    return ok;
}

static inline void table(ldr_buf *b)
{
    ldr_pack_map(b, 3);
    ldr_pack_str(b, ldr_slice_str("list"));
    ldr_pack_array(b, 200);
    for (int i = 0; i < 200; i++)
        ldr_pack_double(b, i);
    ldr_pack_str(b, ldr_slice_str("text"));
    ldr_pack_str(b, ldr_slice_str("some words"));
    ldr_pack_str(b, ldr_slice_str("map"));
    ldr_pack_map(b, 1);
    ldr_pack_str(b, ldr_slice_str("id"));
    ldr_pack_int(b, 7);
}

/* One seal and one unseal; gives the first code that is not LDR_OK. */
static inline int there_and_back(const ldr_mem *mem, int codec, size_t compress_min, ldr_slice value)
{
    ldr_sealing s = {.codec = codec, .compress_min = compress_min, .mem = mem};
    ldr_buf made = LDR_BUF(mem), back = LDR_BUF(mem);
    ldr_record r = {0};
    ldr_err err = {.code = LDR_OK};
    ldr_slice out;
    int kind, code = ldr_seal(&s, value, LDR_MSGPACK, &r, &made, &err);
    if (code == LDR_OK)
        code = ldr_unseal(&s, &r, &out, &kind, &back, &err);
    if (code == LDR_OK)
        assert_true(ldr_slice_eq(out, value));
    assert_int_equal(err.code, code);
    ldr_buf_free(&made);
    ldr_buf_free(&back);
    return code;
}

#endif
