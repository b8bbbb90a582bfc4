/* wire_memory_spec.c - hiredis takes memory by malloc, not by an ldr_mem: each of its allocations fails in turn here, for this
 * program has a malloc of its own. Under a sanitizer or valgrind, which bring theirs, there is nothing to do. */
#include "base/err.h"
#include "bed.h"
#include "wire/exchange.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#define IS_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define IS_SANITIZED 0
#endif

static volatile long n_calls, fail_at, n_alive; /* malloc is not expected to change them */

#if !IS_SANITIZED
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

/* Seen by hiredis, too. */
#pragma GCC visibility push(default)

static int fails(void)
{
    if (fail_at == 0 || (n_calls = n_calls + 1) != fail_at)
        return 0;
    errno = ENOMEM;
    return 1;
}

static void *counted(void *p)
{
    n_alive += p != NULL;
    return p;
}

void *malloc(size_t n)
{
    return fails() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    n_alive += p == NULL;
    return __libc_realloc(p, n);
}

void free(void *p)
{
    n_alive -= p != NULL;
    __libc_free(p);
}
#pragma GCC visibility pop
#endif

/* A long string in pieces, small replies, and what shrinks the buffer between them. LDR_OK or the first error. */
static int read_some(size_t *n_replies)
{
    static char piece[70000];
    ldr_err err;
    ldr_reply *reply;
    int code = LDR_OK;
    ldr_reply_reader *r = ldr_reply_reader_new(&ldr_mem_system, NULL);
    if (!r)
        return LDR_NOMEM;
    memset(piece, 'x', sizeof piece);
    static const char *const small[] = {"$350000\r\n", NULL, NULL, NULL, NULL, NULL, "\r\n", "+OK\r\n", "*2\r\n+a\r\n$1\r\nb\r\n"};
    for (size_t i = 0; i < sizeof small / sizeof small[0] && code == LDR_OK; i++) {
        ldr_slice bytes = small[i] ? ldr_slice_str(small[i]) : ldr_slice_of(piece, sizeof piece);
        code = ldr_reply_reader_feed(r, bytes, &err);
        if (code == LDR_OK)
            code = ldr_reply_reader_next(r, &reply, &err);
        if (code == LDR_OK && reply) {
            ++*n_replies;
            ldr_reply_free(&ldr_mem_system, reply);
        }
    }
    ldr_reply_reader_free(r);
    return code;
}

static int write_some(void)
{
    const ldr_slice argv[] = {ldr_slice_str("SET"), ldr_slice_str("k"), ldr_slice_str("v")};
    ldr_exchange ex;
    ldr_exchange_init(&ex, &ldr_mem_system);
    int code = LDR_OK;
    for (int i = 0; i < 20 && code == LDR_OK; i++)
        code = ldr_exchange_add(&ex, argv, 3);
    ldr_exchange_free(&ex);
    return code;
}

/* False under a sanitizer or valgrind. */
static bool has_own_malloc(void)
{
    long before = n_alive;
    char *volatile p = malloc(1);
    bool is_own = n_alive > before;
    free(p);
    return is_own;
}

/* Asserts come after, with a malloc that works. */
static void each_failed_malloc_of_hiredis_is_told(void **state)
{
    (void)state;
    long n_failed = 0;
    if (!has_own_malloc())
        skip();
    for (long at = 1;; at++) {
        size_t n_replies = 0;
        long before = n_alive;
        n_calls = 0;
        fail_at = at;
        int code = read_some(&n_replies), code2 = code == LDR_OK ? write_some() : LDR_OK;
        bool is_over = n_calls < at;
        fail_at = 0;
        assert_int_equal(n_alive, before);
        assert_true(code == LDR_NOMEM || (code == LDR_OK && n_replies == 3));
        assert_true(code2 == LDR_NOMEM || code2 == LDR_OK);
        n_failed += code != LDR_OK || code2 != LDR_OK;
        if (is_over)
            break;
    }
    print_message("# %ld allocations failed and were told\n", n_failed);
    assert_true(n_failed > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_failed_malloc_of_hiredis_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
