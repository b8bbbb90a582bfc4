/* codec_json.h - msgpack <-> JSON text, for tiers that others read too. What cannot come back equal is refused:
 * JSON keeps nil, booleans, 64-bit integers, finite floats, UTF-8 strings, arrays, and maps with string keys.
 *
 * The tree between the two is jansson's and lies in jansson's memory; text and msgpack lie in `out`. */
#ifndef LDR_RECORD_CODEC_JSON_H
#define LDR_RECORD_CODEC_JSON_H

#include "base/buf.h"

/* Appends the JSON text of one msgpack object. LDR_OK; LDR_NOMEM; LDR_UNSUPPORTED with *why, a static phrase that
 * continues "the value holds ...". */
int ldr_json_write(ldr_slice msgpack, ldr_buf *out, const char **why);
/* Replaces what is in `out` by the msgpack of a JSON text; the text may lie in `out` itself.
 * LDR_OK, LDR_NOMEM, LDR_CORRUPT. */
int ldr_json_read(ldr_slice text, ldr_buf *out);

#endif
