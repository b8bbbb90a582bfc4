/* no_zstd.c - stands in for codec_zstd.c in a build with WITH_ZSTD=0: values stay as they are, and a frame that
 * another build wrote cannot be read. */
#include "record/codec_zstd.h"

#include "larder.h"

int ldr_zstd_write(ldr_slice value, ldr_buf *out)
{
    (void)value, (void)out;
    return LDR_TOO_LARGE;
}

int ldr_zstd_read(ldr_slice frame, ldr_buf *out)
{
    (void)frame, (void)out;
    return LDR_CORRUPT;
}
