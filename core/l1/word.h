/* word.h - words of the arena, which readers may look at while writers write them.
 *
 * Every store is a release and every load of a reader an acquire: a reader that saw anything of a write also sees
 * the sequence word that was made odd before it. (Fences would do as well, but checkers of races know none.)
 * Writers hold the shard's mutex and may read plainly. */
#ifndef LDR_L1_WORD_H
#define LDR_L1_WORD_H

#include <stddef.h>
#include <stdint.h>

typedef uint32_t __attribute__((may_alias)) ldr_w32;
typedef uint64_t __attribute__((may_alias)) ldr_w64;
typedef uint16_t __attribute__((may_alias)) ldr_w16;

#define LDR_UNIT 8 /* bytes: the arena counts in these */

static inline void *ldr_unit_at(char *base, uint32_t unit)
{
    return base + (size_t)unit * LDR_UNIT;
}

static inline uint32_t ldr_load32(const void *p)
{
    return __atomic_load_n((const ldr_w32 *)p, __ATOMIC_ACQUIRE);
}

static inline uint64_t ldr_load64(const void *p)
{
    return __atomic_load_n((const ldr_w64 *)p, __ATOMIC_ACQUIRE);
}

static inline void ldr_store32(void *p, uint32_t v)
{
    __atomic_store_n((ldr_w32 *)p, v, __ATOMIC_RELEASE);
}

static inline void ldr_store64(void *p, uint64_t v)
{
    __atomic_store_n((ldr_w64 *)p, v, __ATOMIC_RELEASE);
}

static inline uint32_t ldr_peek32(const void *p) /* under the mutex */
{
    return *(const ldr_w32 *)p;
}

#endif
