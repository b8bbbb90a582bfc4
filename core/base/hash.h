/* hash.h - XXH3, 64 bits, with a seed drawn at open (so that a stranger cannot choose colliding keys). */
#ifndef LDR_BASE_HASH_H
#define LDR_BASE_HASH_H

#include "base/slice.h"
#include <stdint.h>

uint64_t ldr_hash(ldr_slice key, uint64_t seed);
uint32_t ldr_checksum(ldr_slice bytes); /* low half of unseeded XXH3: for bytes at rest */

#endif
