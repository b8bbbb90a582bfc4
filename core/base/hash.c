/* hash.c - XXH3 from its header, inlined: a key is short and a call would cost as much as the hash. */
#define XXH_INLINE_ALL
#include "base/hash.h"

#include <xxhash.h>

uint64_t ldr_hash(ldr_slice key, uint64_t seed)
{
    return XXH3_64bits_withSeed(key.p, key.n, seed);
}

uint32_t ldr_checksum(ldr_slice bytes)
{
    return (uint32_t)XXH3_64bits(bytes.p, bytes.n);
}
