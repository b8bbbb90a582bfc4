/* bytes.h - little-endian words at any address, on any machine. Compilers make each a single load or store. */
#ifndef LDR_RECORD_BYTES_H
#define LDR_RECORD_BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline void ldr_put_le(char *out, uint64_t v, size_t width)
{
    for (size_t i = 0; i < width; i++)
        out[i] = (char)(v >> (8 * i));
}

static inline uint64_t ldr_get_le(const char *in, size_t width)
{
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++)
        v |= (uint64_t)(unsigned char)in[i] << (8 * i);
    return v;
}

#endif
