/* line.h - which of a cache line's 16 words agree with another in the bits of a mask. */
#ifndef LDR_POLICY_LINE_H
#define LDR_POLICY_LINE_H

#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Bit i: word i agrees with want. The line must stand on a multiple of 16 bytes. */
static inline uint32_t ldr_line_match(const uint32_t *line, uint32_t want, uint32_t mask)
{
    uint32_t bits = 0;
#ifdef __SSE2__
    __m128i w = _mm_set1_epi32((int)(want & mask)), m = _mm_set1_epi32((int)mask);
    for (int i = 0; i < 4; i++) {
        __m128i v = _mm_and_si128(_mm_load_si128((const __m128i *)(const void *)line + i), m);
        bits |= (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(v, w))) << (4 * i);
    }
#else
    for (int i = 0; i < 16; i++)
        bits |= (uint32_t)(((line[i] ^ want) & mask) == 0) << i;
#endif
    return bits;
}

#endif
