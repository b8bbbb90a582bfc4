/* codec_zstd.h - values made smaller. One frame with its content size and zstd's own checksum. */
#ifndef LDR_RECORD_CODEC_ZSTD_H
#define LDR_RECORD_CODEC_ZSTD_H

#include "base/buf.h"

/* Appends the frame of `value` to `out`. LDR_OK; LDR_NOMEM; LDR_TOO_LARGE: the frame is no smaller than the value, or
 * so small that ldr_zstd_read would take it for a bomb, and `out` is as it was. */
int ldr_zstd_write(ldr_slice value, ldr_buf *out);
/* Appends what is in the frame. LDR_OK; LDR_NOMEM; LDR_CORRUPT: not one whole frame, or more in it than 512 MiB or
 * 1,000 times its size + 64 KiB. */
int ldr_zstd_read(ldr_slice frame, ldr_buf *out);

#endif
