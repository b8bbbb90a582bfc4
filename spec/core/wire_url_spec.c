/* wire_url_spec.c - addresses of Redis servers: what is read, what is refused, and that no message tells a secret. */
#include "base/err.h"
#include "bed.h"
#include "wire/url.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int parse(ldr_address *a, const char *url, const char *password, ldr_err *err)
{
    *err = (ldr_err){0};
    return ldr_address_parse(a, ldr_slice_str(url), password, &ldr_mem_system, err);
}

static void assert_text(const char *text, const char *wanted)
{
    assert_true((text == NULL) == (wanted == NULL));
    if (wanted)
        assert_string_equal(text, wanted);
}

static void good_addresses_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host, *path;
        int port;
        const char *user, *password;
        int db;
        const char *name;
    } rows[] = {
        {"redis://h", "h", NULL, 6379, NULL, NULL, 0, "redis://h:6379/0"},
        {"REDIS://h/", "h", NULL, 6379, NULL, NULL, 0, "redis://h:6379/0"},
        {"redis://127.0.0.1:1/15", "127.0.0.1", NULL, 1, NULL, NULL, 15, "redis://127.0.0.1:1/15"},
        {"redis://h:65535", "h", NULL, 65535, NULL, NULL, 0, "redis://h:65535/0"},
        {"redis://:p@h", "h", NULL, 6379, NULL, "p", 0, "redis://h:6379/0"},
        {"redis://u:p@h:7/2", "h", NULL, 7, "u", "p", 2, "redis://h:7/2"},
        {"redis://u@h", "h", NULL, 6379, "u", NULL, 0, "redis://h:6379/0"},
        {"redis://u:@h", "h", NULL, 6379, "u", NULL, 0, "redis://h:6379/0"},
        {"redis://:@h", "h", NULL, 6379, NULL, NULL, 0, "redis://h:6379/0"},
        {"redis://%75%3a:p%40%2F%25%ff@h", "h", NULL, 6379, "u:", "p@/%\xff", 0, "redis://h:6379/0"},
        {"redis://u:p:q@r@h", "h", NULL, 6379, "u", "p:q@r", 0, "redis://h:6379/0"},
        {"redis://[::1]", "::1", NULL, 6379, NULL, NULL, 0, "redis://[::1]:6379/0"},
        {"redis://:p@[fe80::1%25eth0]:9/1", "fe80::1%eth0", NULL, 9, NULL, "p", 1, "redis://[fe80::1%eth0]:9/1"},
        {"redis://a-b_c.example", "a-b_c.example", NULL, 6379, NULL, NULL, 0, "redis://a-b_c.example:6379/0"},
        {"redis+unix:///tmp/r.sock", NULL, "/tmp/r.sock", 0, NULL, NULL, 0, "redis+unix:///tmp/r.sock"},
        {"redis+unix:///tmp/a%20b@%01?db=3", NULL, "/tmp/a b@\1", 0, NULL, NULL, 3, "redis+unix:///tmp/a b@?"},
        {"redis+unix://u:p@/r", NULL, "/r", 0, "u", "p", 0, "redis+unix:///r"},
        {"redis+unix://:p@/r?db=0", NULL, "/r", 0, NULL, "p", 0, "redis+unix:///r"},
        {"redis://h/2147483647", "h", NULL, 6379, NULL, NULL, INT32_MAX, "redis://h:6379/2147483647"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ldr_address a;
        ldr_err err;
        if (parse(&a, rows[i].url, NULL, &err) != LDR_OK)
            fail_msg("%s: %s", rows[i].url, err.message);
        assert_text(a.host, rows[i].host);
        assert_text(a.path, rows[i].path);
        assert_text(a.user, rows[i].user);
        assert_text(a.password, rows[i].password);
        assert_int_equal(a.port, rows[i].port);
        assert_int_equal(a.db, rows[i].db);
        assert_string_equal(a.name, rows[i].name);
        ldr_address_free(&a, &ldr_mem_system);
    }
}

/* Every URL here has the word SECRET where a password could be, rightly or by mistake. */
static void bad_addresses_are_refused_and_tell_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *url, *says;
        int code;
    } rows[] = {
        {"", "redis+unix://", LDR_INVALID},
        {"SECRET", "redis+unix://", LDR_INVALID},
        {"SECRET://h", "redis+unix://", LDR_INVALID},
        {"://h", "redis+unix://", LDR_INVALID},
        {"redis:/h", "redis+unix://", LDR_INVALID},
        {"redis", "redis+unix://", LDR_INVALID},
        {"http://u:SECRET@h", "redis+unix://", LDR_INVALID},
        {"unix://:SECRET@/r", "redis+unix://", LDR_INVALID},
        {"rediss://u:SECRET@h", "rediss is not built yet", LDR_UNSUPPORTED},
        {"redis+cluster://:SECRET@a:1,b:2", "redis+cluster is not built yet", LDR_UNSUPPORTED},
        {"redis+sentinel://:SECRET@a:1/m", "redis+sentinel is not built yet", LDR_UNSUPPORTED},
        {"redis://", "host", LDR_INVALID},
        {"redis:///0", "host", LDR_INVALID},
        {"redis://:SECRET@", "host", LDR_INVALID},
        {"redis://:SECRET@:6379", "host", LDR_INVALID},
        {"redis://u:SECRET@h:0", "port", LDR_INVALID},
        {"redis://u:SECRET@h:-1", "port", LDR_INVALID},
        {"redis://u:SECRET@h:65536", "port", LDR_INVALID},
        {"redis://u:SECRET@h:abc", "port", LDR_INVALID},
        {"redis://u:SECRET@h:", "port", LDR_INVALID},
        {"redis://u:SECRET@h:+1", "port", LDR_INVALID},
        {"redis://u:SECRET@h: 1", "port", LDR_INVALID},
        {"redis://u:SECRET@h:99999999999999999999", "port", LDR_INVALID},
        {"redis://u:SECRET", "port", LDR_INVALID},
        {"redis://u:SECRET/x@h", "port", LDR_INVALID},
        {"redis://:SEC/RET@h", "host", LDR_INVALID},
        {"redis://u:1/SECRET@h", "database", LDR_INVALID},
        {"redis://h/SECRET", "database", LDR_INVALID},
        {"redis://h/-1", "database", LDR_INVALID},
        {"redis://h/0/1", "database", LDR_INVALID},
        {"redis://h/2147483648", "database", LDR_INVALID},
        {"redis://h/0?password=SECRET", "database", LDR_INVALID},
        {"redis://h?password=SECRET", "host", LDR_INVALID},
        {"redis://h#SECRET", "host", LDR_INVALID},
        {"redis://h SECRET", "host", LDR_INVALID},
        {"redis://h%0aSECRET", "host", LDR_INVALID},
        {"redis://h%00", "escape", LDR_INVALID},
        {"redis://:SECRET%00@h", "escape", LDR_INVALID},
        {"redis://:SECRET%@h", "escape", LDR_INVALID},
        {"redis://:SECRET%4@h", "escape", LDR_INVALID},
        {"redis://:SECRET%zz@h", "escape", LDR_INVALID},
        {"redis://[::1", "IPv6", LDR_INVALID},
        {"redis://[::1]SECRET", "IPv6", LDR_INVALID},
        {"redis://[]", "host", LDR_INVALID},
        {"redis://[SECRET]", "host", LDR_INVALID},
        {"redis://[::1]:0", "port", LDR_INVALID},
        {"redis://::1", "host", LDR_INVALID},
        {"redis+unix://", "absolute path", LDR_INVALID},
        {"redis+unix://SECRET", "absolute path", LDR_INVALID},
        {"redis+unix://SECRET/r", "no host", LDR_INVALID},
        {"redis+unix:///", "path", LDR_INVALID},
        {"redis+unix:///r?SECRET", "?db=", LDR_INVALID},
        {"redis+unix:///r?db=", "database", LDR_INVALID},
        {"redis+unix:///r?db=1&password=SECRET", "database", LDR_INVALID},
        {"redis+unix:///r%00", "escape", LDR_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ldr_address a;
        ldr_err err;
        int code = parse(&a, rows[i].url, NULL, &err);
        if (code != rows[i].code || err.code != code || !strstr(err.message, rows[i].says))
            fail_msg("%s: %d %s", rows[i].url, code, err.message);
        assert_null(strstr(err.message, "SEC"));
        assert_true(!a.host && !a.path && !a.user && !a.password && !a.name[0]);
        ldr_address_free(&a, &ldr_mem_system);
    }
}

static void nul_length_and_long_paths_are_refused(void **state)
{
    (void)state;
    ldr_address a;
    ldr_err err;
    size_t n = (size_t)1 << 20;
    char *url = malloc(n), path[200];
    memset(url, 'a', n);
    memcpy(url, "redis://", 8);
    assert_int_equal(ldr_address_parse(&a, ldr_slice_of(url, n), NULL, &ldr_mem_system, &err), LDR_INVALID);
    assert_int_equal(ldr_address_parse(&a, ldr_slice_of(url, 4000), NULL, &ldr_mem_system, &err), LDR_INVALID);
    assert_int_equal(ldr_address_parse(&a, ldr_slice_of(url, 8 + 255), NULL, &ldr_mem_system, &err), LDR_OK);
    ldr_address_free(&a, &ldr_mem_system);
    assert_int_equal(ldr_address_parse(&a, ldr_slice_of("redis://h\0x", 11), NULL, &ldr_mem_system, &err), LDR_INVALID);
    free(url);
    for (int bytes = 107; bytes <= 108; bytes++) {
        (void)snprintf(path, sizeof path, "redis+unix:///%0*d", bytes - 1, 0);
        assert_int_equal(parse(&a, path, NULL, &err), bytes == 107 ? LDR_OK : LDR_INVALID);
        assert_true(bytes == 107 || strstr(err.message, "108"));
        ldr_address_free(&a, &ldr_mem_system);
    }
}

static void a_password_may_be_given_beside_the_url(void **state)
{
    (void)state;
    ldr_address a;
    ldr_err err;
    assert_int_equal(parse(&a, "redis://u@h", "beside", &err), LDR_OK);
    assert_string_equal(a.password, "beside");
    ldr_address_free(&a, &ldr_mem_system);
    assert_int_equal(parse(&a, "redis://u:same@h", "same", &err), LDR_OK);
    assert_string_equal(a.password, "same");
    ldr_address_free(&a, &ldr_mem_system);
    assert_int_equal(parse(&a, "redis://u:SECRET@h", "SECRET2", &err), LDR_INVALID);
    assert_null(strstr(err.message, "SECRET"));
    assert_int_equal(parse(&a, "redis://u@h", "", &err), LDR_OK);
    assert_null(a.password);
    ldr_address_free(&a, &ldr_mem_system);
}

static void each_failed_allocation_is_told(void **state)
{
    (void)state;
    static const char *const urls[] = {"redis://u:p@h:1/2", "redis+unix://u:p@/r?db=1", "redis://u@h"};
    for (size_t i = 0; i < 3; i++) {
        for (long at = 1;; at++) {
            bed_mem m;
            ldr_err err = {0};
            ldr_address a;
            int code = ldr_address_parse(&a, ldr_slice_str(urls[i]), "p", bed_mem_init(&m, at), &err);
            assert_int_equal(code, m.n_calls < at ? LDR_OK : LDR_NOMEM);
            assert_int_equal(err.code, code);
            ldr_address_free(&a, &m.mem);
            assert_int_equal(m.n_alive, 0);
            if (code == LDR_OK)
                break;
        }
    }
}

static void random_urls_do_no_harm(void **state)
{
    (void)state;
    static const char *const parts[] = {"redis", "redis+unix", "rediss", "://", ":", "/", "@", "[", "]", "?db=", "%", "%41", "%00",
                                        "0", "6379", "h", "::1", "u", "p", "-", "?", "#", "\x80", " ", "127.0.0.1"};
    ldr_rng rng = bed_rng("random URLs");
    long n_good = 0, times = bed_times(20000, 500000);
    for (long i = 0; i < times; i++) {
        char url[256] = "redis://";
        ldr_address a;
        ldr_err err;
        if (ldr_rng_next(&rng) % 4 == 0)
            url[0] = '\0';
        for (size_t n = ldr_rng_next(&rng) % 10; n > 0; n--)
            strcat(url, parts[ldr_rng_next(&rng) % (sizeof parts / sizeof parts[0])]);
        int code = parse(&a, url, NULL, &err);
        n_good += code == LDR_OK;
        assert_true(code == LDR_OK || code == LDR_INVALID || code == LDR_UNSUPPORTED);
        if (code == LDR_OK)
            assert_true(a.path ? a.path[0] == '/' : a.host[0] && a.port);
        ldr_address_free(&a, &ldr_mem_system);
    }
    print_message("# %ld of %ld random URLs were good\n", n_good, times);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_addresses_are_read),
        cmocka_unit_test(bad_addresses_are_refused_and_tell_nothing),
        cmocka_unit_test(nul_length_and_long_paths_are_refused),
        cmocka_unit_test(a_password_may_be_given_beside_the_url),
        cmocka_unit_test(each_failed_allocation_is_told),
        cmocka_unit_test(random_urls_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
