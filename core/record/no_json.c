/* no_json.c - stands in for codec_json.c in a build with WITH_JSON=0: nothing can be written or read as JSON. */
#include "record/codec_json.h"

#include "larder.h"

int ldr_json_write(ldr_slice msgpack, ldr_buf *out, const char **why)
{
    (void)msgpack, (void)out;
    *why = "what only JSON could keep, and this build has none (WITH_JSON=0)";
    return LDR_UNSUPPORTED;
}

int ldr_json_read(ldr_slice text, ldr_buf *out)
{
    (void)text, (void)out;
    return LDR_CORRUPT;
}
