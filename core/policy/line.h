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
#ifdef __SSE2__
    const __m128i *v = (const __m128i *)(const void *)line;
    __m128i w = _mm_set1_epi32((int)(want & mask)), m = _mm_set1_epi32((int)mask);
    __m128i a = _mm_cmpeq_epi32(_mm_and_si128(_mm_load_si128(v), m), w);
    __m128i b = _mm_cmpeq_epi32(_mm_and_si128(_mm_load_si128(v + 1), m), w);
    __m128i c = _mm_cmpeq_epi32(_mm_and_si128(_mm_load_si128(v + 2), m), w);
    __m128i d = _mm_cmpeq_epi32(_mm_and_si128(_mm_load_si128(v + 3), m), w);
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d)));
#else
    uint32_t bits = 0;
    for (int i = 0; i < 16; i++)
        bits |= (uint32_t)(((line[i] ^ want) & mask) == 0) << i;
    return bits;
#endif
}

#endif
