/* pack.c - msgpack-c's packer with a buffer behind it. The packer is made anew in each function: the compiler sees
 * the callback and inlines both. The callback never fails, for the buffer remembers (oom). */
#include "record/pack.h"

#include <msgpack/pack.h>

static int append(void *data, const char *p, size_t n)
{
    ldr_buf_add(data, p, n);
    return 0;
}

static msgpack_packer packer(ldr_buf *b)
{
    return (msgpack_packer){.data = b, .callback = append};
}

void ldr_pack_nil(ldr_buf *b)
{
    msgpack_packer k = packer(b);
    msgpack_pack_nil(&k);
}

void ldr_pack_bool(ldr_buf *b, bool v)
{
    msgpack_packer k = packer(b);
    if (v)
        msgpack_pack_true(&k);
    else
        msgpack_pack_false(&k);
}

void ldr_pack_int(ldr_buf *b, int64_t v)
{
    msgpack_packer k = packer(b);
    msgpack_pack_int64(&k, v);
}

void ldr_pack_double(ldr_buf *b, double v)
{
    msgpack_packer k = packer(b);
    msgpack_pack_double(&k, v);
}

void ldr_pack_str(ldr_buf *b, ldr_slice s)
{
    msgpack_packer k = packer(b);
    if (s.n > UINT32_MAX) {
        b->oom = true;
        return;
    }
    msgpack_pack_str(&k, s.n);
    msgpack_pack_str_body(&k, s.p, s.n);
}

void ldr_pack_array(ldr_buf *b, uint32_t n)
{
    msgpack_packer k = packer(b);
    msgpack_pack_array(&k, n);
}

void ldr_pack_map(ldr_buf *b, uint32_t n)
{
    msgpack_packer k = packer(b);
    msgpack_pack_map(&k, n);
}
