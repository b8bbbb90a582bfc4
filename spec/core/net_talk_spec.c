/* net_talk_spec.c - an exchange carried in line: by a real Redis, and past servers that refuse, hang, drip and break off.
 * Deadlines hold, nothing is sent twice that may have taken effect, and an outage costs one time-out, not one a call. */
#include "net_bed.h"

#include "bed.h"

#include <dlfcn.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SHORT (200 * LDR_MS)
#define LATE (100 * LDR_MS) /* how much later than its deadline a talk may end */

static bed_redis redis;

/* The system's resolver, but for one name, which takes its time. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;
    if (strcmp(host, "slow.example") == 0) {
        if (hints->ai_flags & AI_NUMERICHOST)
            return EAI_NONAME;
        usleep(400000);
        host = "127.0.0.1";
    }
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(host, service, hints, out);
}

typedef struct talk {
    bed_links b;
    ldr_exchange ex;
    int64_t took_us;
} talk;

static void talk_open(talk *t, const char *url, int64_t timeout_us)
{
    bed_links_open(&t->b, url, timeout_us, &ldr_mem_system);
    ldr_exchange_init(&t->ex, &ldr_mem_system);
}

static void talk_close(talk *t)
{
    ldr_exchange_free(&t->ex);
    bed_links_close(&t->b);
}

static int say_until(talk *t, const char *word, int64_t deadline_us)
{
    bed_ask(&t->ex, word);
    int64_t from_us = bed_now();
    ldr_links_talk(t->b.links, &t->ex, deadline_us);
    t->took_us = bed_now() - from_us;
    assert_true(t->ex.done);
    return t->ex.err.code;
}

static int say(talk *t, const char *word)
{
    return say_until(t, word, LDR_NEVER);
}

/* ---- a good server -------------------------------------------------------------------------------------------- */

static void a_real_server_answers(void **state)
{
    const char *urls[] = {redis.unix_url, redis.tcp_url};
    talk t;
    (void)state;
    for (int i = 0; i < 2; i++) {
        talk_open(&t, urls[i], LDR_SEC);
        int64_t from_us = bed_now();
        assert_int_equal(say(&t, "PING"), LDR_OK);
        assert_string_equal(bed_said(&t.ex), "PONG");
        assert_true(t.ex.sent);
        assert_in_range(t.ex.sent_us, from_us, bed_now());
        assert_int_equal(say(&t, "NONSENSE"), LDR_OK); /* an error of the server is an answer */
        assert_int_equal(t.ex.replies[0]->kind, LDR_REPLY_ERROR);
        talk_close(&t);
    }
}

static void a_large_value_goes_and_comes(void **state)
{
    enum { SIZE = 8 << 20 };
    talk t;
    (void)state;
    char *value = malloc(SIZE);
    for (int i = 0; i < SIZE; i++)
        value[i] = (char)(i * 7 + i / 251);
    talk_open(&t, redis.tcp_url, 5 * LDR_SEC);
    const ldr_slice set[] = {ldr_slice_str("SET"), ldr_slice_str("large"), ldr_slice_of(value, SIZE)};
    ldr_exchange_add(&t.ex, set, 3);
    ldr_links_talk(t.b.links, &t.ex, LDR_NEVER);
    assert_int_equal(t.ex.err.code, LDR_OK);
    bed_ask2(&t.ex, "GET", "large");
    ldr_links_talk(t.b.links, &t.ex, LDR_NEVER);
    assert_int_equal(t.ex.replies[0]->str.n, SIZE);
    assert_memory_equal(t.ex.replies[0]->str.p, value, SIZE);
    bed_ask2(&t.ex, "DEL", "large");
    ldr_links_talk(t.b.links, &t.ex, LDR_NEVER);
    talk_close(&t);
    free(value);
}

static void descriptors_do_not_grow(void **state)
{
    talk good, bad;
    (void)state;
    talk_open(&good, redis.unix_url, LDR_SEC);
    talk_open(&bad, "redis+unix:///nowhere/at/all.sock", LDR_SEC);
    assert_int_equal(say(&good, "PING"), LDR_OK);
    int n = bed_count_fds();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(say(&good, "PING"), LDR_OK);
    for (int i = 0; i < 200; i++) {
        ldr_links_up(bad.b.links); /* each is tried */
        assert_int_equal(say(&bad, "PING"), LDR_UNAVAILABLE);
        assert_false(bad.ex.sent);
    }
    assert_int_equal(bed_count_fds(), n);
    talk_close(&good);
    talk_close(&bad);
    assert_int_equal(bed_count_fds(), n - 1);
}

static void *talk_often(void *links)
{
    ldr_exchange ex;
    char word[32];
    intptr_t n_bad = 0;
    ldr_exchange_init(&ex, &ldr_mem_system);
    for (long i = 0, n = bed_times(1000, 20000); i < n; i++) {
        snprintf(word, sizeof word, "%p.%ld", (void *)&ex, i);
        bed_ask2(&ex, "ECHO", word);
        ldr_links_talk(links, &ex, LDR_NEVER);
        n_bad += ex.err.code != LDR_OK || strcmp(bed_said(&ex), word) != 0;
    }
    ldr_exchange_free(&ex);
    return (void *)n_bad;
}

static void many_threads_each_get_their_own_answers(void **state)
{
    talk t;
    pthread_t threads[8];
    (void)state;
    talk_open(&t, redis.unix_url, 10 * LDR_SEC);
    int n = bed_count_fds();
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, talk_often, t.b.links), 0);
    for (int i = 0; i < 8; i++) {
        void *n_bad;
        pthread_join(threads[i], &n_bad);
        assert_null(n_bad);
    }
    assert_in_range(bed_count_fds(), n + 1, n + 8);
    talk_close(&t);
}

static void a_name_is_looked_up_and_the_deadline_holds(void **state)
{
    char url[64];
    talk t;
    (void)state;
    snprintf(url, sizeof url, "redis://localhost:%d", redis.port);
    talk_open(&t, url, 5 * LDR_SEC);
    assert_int_equal(say(&t, "PING"), LDR_OK);
    talk_close(&t);

    snprintf(url, sizeof url, "redis://slow.example:%d", redis.port);
    talk_open(&t, url, 5 * LDR_SEC);
    int n = bed_count_fds();
    assert_int_equal(say_until(&t, "PING", bed_now() + 100 * LDR_MS), LDR_TIMEOUT);
    assert_in_range(t.took_us, 99 * LDR_MS, 100 * LDR_MS + LATE);
    assert_non_null(strstr(t.ex.err.message, "slow.example"));
    assert_in_range(bed_count_fds(), n, n + 1); /* the look-up that is still under way */
    ldr_links_up(t.b.links);
    assert_int_equal(say(&t, "PING"), LDR_OK); /* the same look-up: no second one was begun */
    assert_true(t.took_us < 390 * LDR_MS);
    talk_close(&t);

    talk_open(&t, url, 5 * LDR_SEC); /* closed while it is looked up */
    assert_int_equal(say_until(&t, "PING", bed_now() + 10 * LDR_MS), LDR_TIMEOUT);
    talk_close(&t);
}

/* ---- bad servers ---------------------------------------------------------------------------------------------- */

typedef struct row {
    int (*serve)(bed_fake *f, int fd);
    int code;
    bool is_sent, waits;
    const char *says;
} row;

static void deadlines_and_errors_past_bad_servers(void **state)
{
    static const row rows[] = {
        {serve_silence, LDR_TIMEOUT, false, true, "no answer"},
        {serve_greeting, LDR_TIMEOUT, true, true, "no answer"},
        {serve_drops, LDR_TIMEOUT, true, true, "no answer"},
        {serve_half, LDR_UNAVAILABLE, true, false, "closed"},
        {serve_surplus, LDR_CORRUPT, true, false, "more than was asked"},
        {serve_no_entry, LDR_UNAVAILABLE, false, false, "refused"},
    };
    (void)state;
    for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
        const row *r = &rows[i / 2];
        bed_fake f;
        talk t;
        bed_fake_start(&f, r->serve, i % 2);
        talk_open(&t, f.url, SHORT);
        assert_int_equal(say(&t, "PING"), r->code);
        assert_int_equal(t.ex.sent, r->is_sent);
        assert_non_null(strstr(t.ex.err.message, r->says));
        assert_non_null(strstr(t.ex.err.message, ldr_links_name(t.b.links)));
        if (r->waits)
            assert_in_range(t.took_us, SHORT - 1, SHORT + LATE);
        else
            assert_true(t.took_us < SHORT + LATE);
        assert_true(ldr_links_down(t.b.links));
        assert_int_equal(say(&t, "PING"), LDR_UNAVAILABLE);
        assert_true(t.took_us < 5 * LDR_MS); /* not tried */
        assert_true(f.n_connections <= 1);
        talk_close(&t);
        bed_fake_stop(&f);
    }
}

static void a_deadline_of_the_call_is_kept_too(void **state)
{
    bed_fake f;
    talk t;
    (void)state;
    bed_fake_start(&f, serve_greeting, false);
    talk_open(&t, f.url, 5 * LDR_SEC);
    assert_int_equal(say_until(&t, "PING", bed_now() + 50 * LDR_MS), LDR_TIMEOUT);
    assert_in_range(t.took_us, 49 * LDR_MS, 50 * LDR_MS + LATE);
    assert_false(ldr_links_down(t.b.links)); /* so little time says nothing of the server */
    assert_int_equal(say_until(&t, "PING", bed_now() - 1), LDR_TIMEOUT);
    assert_false(t.ex.sent);
    assert_true(t.took_us < 5 * LDR_MS);
    talk_close(&t);
    bed_fake_stop(&f);
}

static void a_full_queue_is_waited_for_until_the_deadline(void **state)
{
    bed_full full;
    talk t;
    (void)state;
    bed_full_start(&full);
    talk_open(&t, full.url, SHORT);
    assert_int_equal(say(&t, "PING"), LDR_TIMEOUT);
    assert_in_range(t.took_us, SHORT - 1, SHORT + LATE);
    assert_false(t.ex.sent);
    talk_close(&t);
    bed_full_stop(&full);
}

static void an_outage_costs_one_call(void **state)
{
    bed_fake f;
    talk t;
    (void)state;
    bed_fake_start(&f, serve_pong, true);
    bed_fake_stop(&f);
    talk_open(&t, f.url, LDR_SEC);
    assert_int_equal(say(&t, "PING"), LDR_UNAVAILABLE);
    assert_non_null(strstr(t.ex.err.message, "refused"));
    assert_int_equal(say(&t, "PING"), LDR_UNAVAILABLE);
    assert_true(t.took_us < 5 * LDR_MS);
    talk_close(&t);
}

static void a_server_that_comes_back_is_found_within_half_a_second(void **state)
{
    bed_redis own = {0};
    talk t;
    (void)state;
    bed_redis_start(&own);
    talk_open(&t, own.unix_url, LDR_SEC);
    assert_int_equal(say(&t, "PING"), LDR_OK);
    bed_redis_stop(&own);
    for (int64_t until = bed_now() + 900 * LDR_MS; bed_now() < until; usleep(1000))
        assert_int_equal(say(&t, "PING"), LDR_UNAVAILABLE);
    bed_redis_start(&own);
    int64_t from_us = bed_now();
    while (say(&t, "PING") != LDR_OK)
        usleep(1000);
    assert_true(bed_now() - from_us < 500 * LDR_MS + LATE);
    assert_false(ldr_links_down(t.b.links));

    bed_redis_stop(&own); /* restarted while the connection was idle: nobody notices */
    bed_redis_start(&own);
    assert_int_equal(say(&t, "PING"), LDR_OK);
    talk_close(&t);
    bed_redis_remove(&own);
}

/* ---- connections used again ----------------------------------------------------------------------------------- */

static void an_idle_connection_that_was_closed_is_replaced(void **state)
{
    (void)state;
    for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
        bed_fake f;
        talk t;
        bed_fake_start(&f, serve_one, is_tcp);
        talk_open(&t, f.url, 2 * LDR_SEC);
        for (int i = 1; i <= 5; i++) {
            assert_int_equal(say(&t, "PING"), LDR_OK);
            assert_int_equal(f.n_connections, i);
            while (f.n_closed < i) {
            }
            if (is_tcp)
                usleep(2000); /* it is looked for after 1 ms; on a unix socket the send itself fails */
        }
        talk_close(&t);
        bed_fake_stop(&f);
    }
}

static void what_may_have_taken_effect_is_not_sent_twice(void **state)
{
    bed_fake f;
    talk t;
    (void)state;
    bed_fake_start(&f, serve_one_then_leave, false);
    talk_open(&t, f.url, 2 * LDR_SEC);
    assert_int_equal(say(&t, "PING"), LDR_OK);
    assert_int_equal(say(&t, "INCR"), LDR_UNAVAILABLE);
    assert_true(t.ex.sent);
    assert_int_equal(f.n_connections, 1);
    assert_int_equal(f.n_questions, 3); /* the handshake, PING, INCR */
    talk_close(&t);
    bed_fake_stop(&f);
}

static void ended(void *ctx, ldr_exchange *ex)
{
    *(int *)ctx += ex->done ? 1 : 100;
}

static void its_owner_is_told_once_whatever_happens(void **state)
{
    bed_fake f;
    talk t;
    int n_told = 0;
    (void)state;
    bed_fake_start(&f, serve_one_then_leave, false);
    talk_open(&t, f.url, 2 * LDR_SEC);
    t.ex.ended = ended;
    t.ex.ctx = &n_told;
    for (int i = 1; i <= 3; i++) { /* answered, broken off, refused by the breaker */
        say(&t, "PING");
        assert_int_equal(n_told, i);
    }
    talk_close(&t);
    bed_fake_stop(&f);
}

/* ---- what this process lacks ---------------------------------------------------------------------------------- */

static void without_descriptors_the_server_is_not_blamed(void **state)
{
    struct rlimit before, none;
    talk t;
    (void)state;
    talk_open(&t, redis.unix_url, LDR_SEC);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    int code = say(&t, "PING");
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(code, LDR_UNAVAILABLE);
    assert_non_null(strstr(t.ex.err.message, "descriptor"));
    assert_false(ldr_links_down(t.b.links));
    assert_int_equal(say(&t, "PING"), LDR_OK);
    talk_close(&t);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    for (long fail_at = 1; fail_at < 200; fail_at++) {
        bed_mem bed;
        bed_links b;
        ldr_exchange ex;
        const ldr_mem *mem = bed_mem_init(&bed, fail_at);
        bed_links_open(&b, redis.unix_url, LDR_SEC, mem);
        ldr_exchange_init(&ex, mem);
        bed_ask(&ex, "PING");
        if (b.links && ex.n_commands) {
            ldr_links_talk(b.links, &ex, LDR_NEVER);
            assert_true(ex.done);
            assert_true(ex.err.code == LDR_NOMEM || ex.err.code == LDR_OK);
            assert_false(ldr_links_down(b.links));
        }
        bool is_through = ex.done && bed.n_calls < fail_at;
        ldr_exchange_free(&ex);
        bed_links_close(&b);
        assert_int_equal(bed.n_alive, 0);
        if (is_through)
            return;
    }
    fail();
}

/* ---- fork ----------------------------------------------------------------------------------------------------- */

static int in_child(talk *t, int n_fds)
{
    ldr_links_forked(t->b.links);
    if (bed_count_fds() != n_fds)
        return 2;
    return say(t, "PING") == LDR_OK && bed_count_fds() == n_fds + 1 ? 0 : 3;
}

static void a_forked_child_has_connections_of_its_own(void **state)
{
    talk t;
    int code = -1;
    (void)state;
    int n = bed_count_fds();
    talk_open(&t, redis.tcp_url, LDR_SEC);
    assert_int_equal(say(&t, "PING"), LDR_OK);
    pid_t child = fork();
    if (child == 0)
        _exit(in_child(&t, n));
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    assert_int_equal(say(&t, "PING"), LDR_OK);
    assert_int_equal(bed_count_fds(), n + 1);
    talk_close(&t);
}

static void a_connection_of_ones_own(void **state)
{
    ldr_err err = {0};
    bed_links b;
    (void)state;
    bed_links_open(&b, redis.unix_url, LDR_SEC, &ldr_mem_system);
    int fd = ldr_links_dial(b.links, LDR_NEVER, &err);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "PING\r\n", 6), 6);
    close(fd);
    bed_links_close(&b);
    bed_links_open(&b, "redis+unix:///nowhere/at/all.sock", LDR_SEC, &ldr_mem_system);
    assert_int_equal(ldr_links_dial(b.links, LDR_NEVER, &err), -1);
    assert_int_equal(err.code, LDR_UNAVAILABLE);
    assert_false(ldr_links_down(b.links));
    bed_links_close(&b);
    ldr_links_free(NULL);
}

static int setup(void **state)
{
    (void)state;
    bed_redis_start(&redis);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bed_redis_remove(&redis);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_server_answers),
        cmocka_unit_test(a_large_value_goes_and_comes),
        cmocka_unit_test(descriptors_do_not_grow),
        cmocka_unit_test(many_threads_each_get_their_own_answers),
        cmocka_unit_test(a_name_is_looked_up_and_the_deadline_holds),
        cmocka_unit_test(deadlines_and_errors_past_bad_servers),
        cmocka_unit_test(a_deadline_of_the_call_is_kept_too),
        cmocka_unit_test(a_full_queue_is_waited_for_until_the_deadline),
        cmocka_unit_test(an_outage_costs_one_call),
        cmocka_unit_test(a_server_that_comes_back_is_found_within_half_a_second),
        cmocka_unit_test(an_idle_connection_that_was_closed_is_replaced),
        cmocka_unit_test(what_may_have_taken_effect_is_not_sent_twice),
        cmocka_unit_test(its_owner_is_told_once_whatever_happens),
        cmocka_unit_test(without_descriptors_the_server_is_not_blamed),
        cmocka_unit_test(without_memory_it_says_so),
        cmocka_unit_test(a_forked_child_has_connections_of_its_own),
        cmocka_unit_test(a_connection_of_ones_own),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
