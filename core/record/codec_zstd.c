/* codec_zstd.c - one shot in, one shot out. zstd's working memory comes from the buffer's ldr_mem.
 *
 * What a frame says of its size is used only within the limits that its own length sets. */
#define ZSTD_STATIC_LINKING_ONLY /* for contexts with memory handed in */
#include "record/codec_zstd.h"

#include "larder.h"
#include "record/record.h"

#include <zstd.h>
#include <zstd_errors.h>

#define LEVEL 3
#define MAX_RATIO 1000
#define SLACK_BYTES ((size_t)64 << 10)

static void *take(void *mem, size_t n)
{
    return ldr_mem_new(mem, n);
}

static void give(void *mem, void *p)
{
    ldr_mem_free(mem, p);
}

static ZSTD_customMem memory(const ldr_mem *mem)
{
    return (ZSTD_customMem){.customAlloc = take, .customFree = give, .opaque = (void *)mem};
}

/* frame_bytes <= LDR_VALUE_MAX_BYTES: the product fits. */
static size_t most_inside(size_t frame_bytes)
{
    size_t most = frame_bytes * MAX_RATIO + SLACK_BYTES;
#ifdef LDR_BUG_SEAL_BOMB
    most = LDR_VALUE_MAX_BYTES;
#endif
    return most < LDR_VALUE_MAX_BYTES ? most : LDR_VALUE_MAX_BYTES;
}

static int code_of(size_t rc, int otherwise)
{
    return ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation ? LDR_NOMEM : otherwise;
}

int ldr_zstd_write(ldr_slice value, ldr_buf *out)
{
    if (value.n > LDR_VALUE_MAX_BYTES)
        return LDR_TOO_LARGE;
    if (!ldr_buf_reserve(out, value.n))
        return LDR_NOMEM;
    ZSTD_CCtx *z = ZSTD_createCCtx_advanced(memory(out->mem));
    if (!z)
        return LDR_NOMEM;
    ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
    size_t n = ZSTD_compress2(z, out->p + out->n, value.n, value.p, value.n);
    ZSTD_freeCCtx(z);
    if (ZSTD_isError(n))
        return code_of(n, LDR_TOO_LARGE);
    if (n >= value.n || most_inside(n) < value.n)
        return LDR_TOO_LARGE;
    out->n += n;
    return LDR_OK;
}

/* The size inside, when this is exactly one frame that says it and keeps the limits; else 0. */
static size_t size_inside(ldr_slice frame)
{
    if (frame.n > LDR_VALUE_MAX_BYTES || ZSTD_findFrameCompressedSize(frame.p, frame.n) != frame.n)
        return 0;
    unsigned long long size = ZSTD_getFrameContentSize(frame.p, frame.n);
    if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR)
        return 0;
    return size <= most_inside(frame.n) ? (size_t)size : 0;
}

int ldr_zstd_read(ldr_slice frame, ldr_buf *out)
{
    size_t size = size_inside(frame);
    if (size == 0)
        return LDR_CORRUPT;
    if (!ldr_buf_reserve(out, size))
        return LDR_NOMEM;
    ZSTD_DCtx *z = ZSTD_createDCtx_advanced(memory(out->mem));
    if (!z)
        return LDR_NOMEM;
    size_t n = ZSTD_decompressDCtx(z, out->p + out->n, size, frame.p, frame.n);
    ZSTD_freeDCtx(z);
    if (ZSTD_isError(n))
        return code_of(n, LDR_CORRUPT);
    if (n != size)
        return LDR_CORRUPT;
    out->n += n;
    return LDR_OK;
}
