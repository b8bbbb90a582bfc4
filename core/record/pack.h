/* pack.h - writes msgpack into an ldr_buf, token by token. Nothing is returned: ask b->oom once at the end.
 *
 * A map of n is followed by 2 n objects (key, value, key, value ...), an array of n by n. Integers take the shortest
 * form, floats always 8 bytes (so that 1.0 stays apart from 1), strings are msgpack str, whatever their bytes. */
#ifndef LDR_RECORD_PACK_H
#define LDR_RECORD_PACK_H

#include "base/buf.h"
#include <stdint.h>

void ldr_pack_nil(ldr_buf *b);
void ldr_pack_bool(ldr_buf *b, bool v);
void ldr_pack_int(ldr_buf *b, int64_t v);
void ldr_pack_double(ldr_buf *b, double v);
void ldr_pack_str(ldr_buf *b, ldr_slice s); /* over UINT32_MAX bytes: sets oom */
void ldr_pack_array(ldr_buf *b, uint32_t n);
void ldr_pack_map(ldr_buf *b, uint32_t n);

#endif
