/* bytes.h - little-endian words at any address, on any machine: a single load or store where the machine's are little-endian
 * (not every compiler sees that the loops are). */
#ifndef LDR_RECORD_BYTES_H
#define LDR_RECORD_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LDR_IS_LITTLE_ENDIAN (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

static inline void ldr_put_le(char *out, uint64_t v, size_t width)
{
    if (LDR_IS_LITTLE_ENDIAN) {
        memcpy(out, &v, width);
        return;
    }
    for (size_t i = 0; i < width; i++)
        out[i] = (char)(v >> (8 * i));
}

static inline uint64_t ldr_get_le(const char *in, size_t width)
{
    uint64_t v = 0;
    if (LDR_IS_LITTLE_ENDIAN) {
        memcpy(&v, in, width);
        return v;
    }
    for (size_t i = 0; i < width; i++)
        v |= (uint64_t)(unsigned char)in[i] << (8 * i);
    return v;
}

#endif
