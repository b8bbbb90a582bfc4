/* net_channel_spec.c - exchanges on the channel of an event loop: what was asked goes out together when the loop waits,
 * nothing of it blocks the loop, and whoever asked is told exactly once, unless he has left. */
#include "net_bed.h"

#include "bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 64
#define LATE (100 * LDR_MS)

static bed_redis redis;

typedef struct bench {
    bed_links b;
    ldr_loop *loop;
    ldr_exchange ex[MANY];
    int n_told[MANY];
    bool is_told_wrong;
} bench;

static void ended(void *ctx, ldr_exchange *ex)
{
    bench *t = ctx;
    t->n_told[ex - t->ex]++;
    t->is_told_wrong = t->is_told_wrong || !ex->done || ex->ctx != ctx;
    ldr_loop_post(t->loop, (uint64_t)(ex - t->ex));
}

static void open_at(bench *t, const char *url, int64_t timeout_us)
{
    *t = (bench){0};
    bed_links_open(&t->b, url, timeout_us, &ldr_mem_system);
    t->loop = ldr_loop_new(&ldr_mem_system);
    for (int i = 0; i < MANY; i++) {
        ldr_exchange_init(&t->ex[i], &ldr_mem_system);
        t->ex[i].ended = ended;
        t->ex[i].ctx = t;
    }
}

static void shut(bench *t)
{
    ldr_links_leave_loop(t->b.links, t->loop);
    ldr_loop_free(t->loop);
    for (int i = 0; i < MANY; i++)
        ldr_exchange_free(&t->ex[i]);
    bed_links_close(&t->b);
    assert_false(t->is_told_wrong);
}

static bool ask_until(bench *t, int i, int64_t deadline_us)
{
    char word[32];
    snprintf(word, sizeof word, "word %d", i);
    bed_ask2(&t->ex[i], "ECHO", word);
    return ldr_links_submit(t->b.links, t->loop, &t->ex[i], deadline_us);
}

static bool ask(bench *t, int i)
{
    return ask_until(t, i, LDR_NEVER);
}

/* Waits until so many were told; gives how many were, when the time is up. */
static int hear(bench *t, int n, int64_t for_us)
{
    uint64_t ids[16];
    bool overflow;
    int n_heard = 0;
    for (int64_t until_us = bed_now() + for_us, left_us; n_heard < n && (left_us = until_us - bed_now()) > 0;)
        n_heard += (int)ldr_loop_wait(t->loop, left_us, ids, 16, &overflow);
    return n_heard;
}

static void look(bench *t)
{
    uint64_t id;
    bool overflow;
    (void)ldr_loop_wait(t->loop, 0, &id, 0, &overflow);
}

static void many_at_once_each_get_their_own(void **state)
{
    const char *urls[] = {redis.unix_url, redis.tcp_url};
    char word[32];
    bench t;
    (void)state;
    for (int u = 0; u < 2; u++) {
        open_at(&t, urls[u], LDR_SEC);
        for (int round = 1; round <= 20; round++) {
            for (int i = 0; i < MANY; i++)
                assert_true(ask(&t, i));
            assert_int_equal(hear(&t, MANY, 5 * LDR_SEC), MANY);
            for (int i = 0; i < MANY; i++) {
                snprintf(word, sizeof word, "word %d", i);
                assert_int_equal(t.ex[i].err.code, LDR_OK);
                assert_string_equal(bed_said(&t.ex[i]), word);
                assert_int_equal(t.n_told[i], round);
            }
        }
        shut(&t);
    }
}

static void what_many_ask_goes_out_in_one_piece(void **state)
{
    bed_fake f;
    bench t;
    (void)state;
    bed_fake_start(&f, serve_pong, false);
    open_at(&t, f.url, LDR_SEC);
    ask(&t, 0);
    assert_int_equal(hear(&t, 1, LDR_SEC), 1);
    size_t bytes = 0;
    for (int i = 0; i < MANY; i++) {
        ask(&t, i);
        bytes += t.ex[i].out.n;
    }
    usleep(2000);
    assert_int_equal(f.n_questions, 2); /* nothing goes out before the loop waits */
    assert_int_equal(hear(&t, MANY, LDR_SEC), MANY);
    assert_int_equal(f.most_at_once, bytes);
    assert_int_equal(f.n_connections, 1);
    shut(&t);
    bed_fake_stop(&f);
}

static void the_loop_hears_its_posts_meanwhile(void **state)
{
    bed_fake f;
    bed_full full;
    bench t;
    (void)state;
    bed_fake_start(&f, serve_greeting, false);
    bed_full_start(&full);
    const char *urls[] = {f.url, full.url};
    for (int u = 0; u < 2; u++) {
        open_at(&t, urls[u], 10 * LDR_SEC);
        ask(&t, 1);
        int64_t from_us = bed_now();
        assert_int_equal(hear(&t, 1, 20 * LDR_MS), 0);
        assert_true(bed_now() - from_us < 20 * LDR_MS + LATE);
        ldr_loop_post(t.loop, 7);
        assert_int_equal(hear(&t, 1, 5 * LDR_SEC), 1);
        assert_true(bed_now() - from_us < 20 * LDR_MS + LATE);
        shut(&t);
        assert_int_equal(t.n_told[1], 1); /* by the leaving */
        assert_int_equal(t.ex[1].ended == ended, true);
    }
    bed_full_stop(&full);
    bed_fake_stop(&f);
}

typedef struct row {
    int (*serve)(bed_fake *f, int fd);
    int code;
    const char *says;
} row;

static void deadlines_and_errors_past_bad_servers(void **state)
{
    static const row rows[] = {
        {serve_silence, LDR_TIMEOUT, "not sent within"}, {serve_greeting, LDR_TIMEOUT, "no answer"},
        {serve_drops, LDR_TIMEOUT, "no answer"},         {serve_half, LDR_UNAVAILABLE, "closed"},
        {serve_surplus, LDR_CORRUPT, "more than"},       {serve_no_entry, LDR_UNAVAILABLE, "refused"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bed_fake f;
        bench t;
        bed_fake_start(&f, rows[i].serve, false);
        open_at(&t, f.url, 200 * LDR_MS);
        int n = bed_count_fds();
        int64_t from_us = bed_now();
        assert_true(ask(&t, 0));
        assert_int_equal(hear(&t, 1, LDR_SEC), 1);
        assert_true(bed_now() - from_us < 200 * LDR_MS + LATE);
        assert_int_equal(t.ex[0].err.code, rows[i].code);
        assert_non_null(strstr(t.ex[0].err.message, rows[i].says));
        assert_true(ldr_links_down(t.b.links));
        assert_false(ask(&t, 1)); /* refused at once, nobody is told */
        assert_int_equal(t.ex[1].err.code, LDR_UNAVAILABLE);
        assert_true(t.ex[1].done);
        assert_int_equal(t.n_told[1], 0);
        look(&t);
        while (f.n_closed < 1) {
        }
        assert_int_equal(bed_count_fds(), n);
        shut(&t);
        bed_fake_stop(&f);
    }
}

static void nobody_listens(void **state)
{
    bench t;
    (void)state;
    open_at(&t, "redis+unix:///nowhere/at/all.sock", LDR_SEC);
    for (int i = 0; i < 3; i++)
        assert_true(ask(&t, i));
    assert_int_equal(hear(&t, 3, LDR_SEC), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(t.ex[i].err.code, LDR_UNAVAILABLE);
        assert_false(t.ex[i].sent);
    }
    assert_false(ask(&t, 3));
    shut(&t);
}

/* Reads nothing behind the handshake on its first connection; good on the others. */
static int serve_deaf_once(bed_fake *f, int fd)
{
    if (f->n_connections > 1)
        return serve_pong(f, fd);
    return bed_fake_greet(f, fd) && bed_fake_read(f, fd) > 0 ? (bed_fake_say(fd, "+PONG\r\n"), serve_silence(f, fd)) : 0;
}

static void a_late_one_breaks_the_link_and_what_was_not_sent_goes_by_another(void **state)
{
    enum { SIZE = 4 << 20 };
    bed_fake f;
    bench t;
    (void)state;
    bed_fake_start(&f, serve_deaf_once, false);
    open_at(&t, f.url, 3 * LDR_SEC);
    ask(&t, 0);
    assert_int_equal(hear(&t, 1, LDR_SEC), 1);
    char *large = calloc(1, SIZE);
    const ldr_slice echo[] = {ldr_slice_str("ECHO"), ldr_slice_of(large, SIZE)};
    ask(&t, 1); /* sent, and in time itself */
    ldr_exchange_clear(&t.ex[2]);
    ldr_exchange_add(&t.ex[2], echo, 2);
    ldr_links_submit(t.b.links, t.loop, &t.ex[2], bed_now() + 150 * LDR_MS); /* fills the socket */
    ask(&t, 3);                                                             /* no byte of it goes out */
    free(large);
    assert_int_equal(hear(&t, 3, 2 * LDR_SEC), 3);
    assert_int_equal(t.ex[1].err.code, LDR_UNAVAILABLE);
    assert_true(t.ex[1].sent);
    assert_int_equal(t.ex[2].err.code, LDR_TIMEOUT);
    assert_int_equal(t.ex[3].err.code, LDR_OK);
    assert_string_equal(bed_said(&t.ex[3]), "PONG");
    assert_int_equal(f.n_connections, 2);
    shut(&t);
    bed_fake_stop(&f);
}

static void one_can_leave_in_every_state(void **state)
{
    bed_fake f;
    bed_full full;
    bench t;
    (void)state;
    ldr_exchange idle;
    bed_full_start(&full);
    open_at(&t, full.url, 5 * LDR_SEC);
    ldr_exchange_init(&idle, &ldr_mem_system);
    ldr_links_withdraw(t.b.links, t.loop, &idle); /* never submitted */
    ask(&t, 0);
    ldr_links_withdraw(t.b.links, t.loop, &t.ex[0]); /* before the loop waited */
    ask(&t, 0);
    ask(&t, 1);
    look(&t);
    ldr_links_withdraw(t.b.links, t.loop, &t.ex[0]); /* while it is dialled */
    ldr_links_withdraw(t.b.links, t.loop, &t.ex[1]);
    int64_t from_us = bed_now();
    assert_int_equal(hear(&t, 1, 20 * LDR_MS), 0);
    assert_true(bed_now() - from_us >= 20 * LDR_MS);
    shut(&t);
    assert_int_equal(t.n_told[0] + t.n_told[1], 0);
    bed_full_stop(&full);

    bed_fake_start(&f, serve_deaf_once, false);
    open_at(&t, f.url, 5 * LDR_SEC);
    ask(&t, 0);
    assert_int_equal(hear(&t, 1, LDR_SEC), 1);
    ldr_links_withdraw(t.b.links, t.loop, &t.ex[0]); /* after it ended */
    ask(&t, 1);
    ask(&t, 2);
    look(&t);
    assert_true(t.ex[2].sent);
    ask(&t, 3);
    ldr_links_withdraw(t.b.links, t.loop, &t.ex[1]); /* sent: the link is broken */
    assert_int_equal(t.n_told[2], 0);                /* but nobody is told from here */
    assert_int_equal(hear(&t, 2, LDR_SEC), 2);
    assert_int_equal(t.n_told[1], 0);
    assert_int_equal(t.ex[2].err.code, LDR_UNAVAILABLE);
    assert_int_equal(t.ex[3].err.code, LDR_OK); /* by another link */
    assert_false(ldr_links_down(t.b.links));
    assert_int_equal(f.n_connections, 2);
    shut(&t);
    bed_fake_stop(&f);
}

static void whoever_broke_and_left_together(void **state)
{
    bed_fake f;
    bench t;
    (void)state;
    bed_fake_start(&f, serve_greeting, false);
    open_at(&t, f.url, 5 * LDR_SEC);
    for (int i = 0; i < 4; i++)
        ask(&t, i);
    while (!t.ex[3].sent)
        assert_int_equal(hear(&t, 1, LDR_MS), 0);
    for (int i = 0; i < 4; i++)
        ldr_links_withdraw(t.b.links, t.loop, &t.ex[i]);
    assert_int_equal(hear(&t, 1, 10 * LDR_MS), 0);
    shut(&t);
    for (int i = 0; i < 4; i++)
        assert_int_equal(t.n_told[i], 0);
    bed_fake_stop(&f);
}

static void an_idle_channel_that_was_closed_dials_anew(void **state)
{
    bed_fake f;
    bench t;
    (void)state;
    bed_fake_start(&f, serve_one, false);
    open_at(&t, f.url, 2 * LDR_SEC);
    for (int i = 1; i <= 6; i++) {
        assert_true(ask(&t, 0));
        assert_int_equal(hear(&t, 1, LDR_SEC), 1);
        assert_int_equal(t.ex[0].err.code, LDR_OK);
        while (f.n_closed < i) {
        }
        if (i % 2)
            look(&t); /* the loop notices, or the next who asks */
    }
    shut(&t);
    bed_fake_stop(&f);
}

static void a_restart_is_survived(void **state)
{
    bed_redis own = {0};
    bench t;
    (void)state;
    bed_redis_start(&own);
    open_at(&t, own.unix_url, LDR_SEC);
    ask(&t, 0);
    assert_int_equal(hear(&t, 1, LDR_SEC), 1);
    bed_redis_stop(&own);
    if (ask(&t, 0))
        assert_int_equal(hear(&t, 1, LDR_SEC), 1);
    assert_int_equal(t.ex[0].err.code, LDR_UNAVAILABLE);
    bed_redis_start(&own);
    int64_t from_us = bed_now();
    do {
        usleep(1000);
        if (ask(&t, 0))
            hear(&t, 1, LDR_SEC);
    } while (t.ex[0].err.code != LDR_OK);
    assert_true(bed_now() - from_us < 500 * LDR_MS + LATE);
    shut(&t);
    bed_redis_remove(&own);
}

static void several_servers_on_one_loop(void **state)
{
    bench t;
    bed_links other;
    ldr_exchange ex;
    (void)state;
    open_at(&t, redis.unix_url, LDR_SEC);
    bed_links_open(&other, redis.tcp_url, LDR_SEC, &ldr_mem_system);
    ldr_exchange_init(&ex, &ldr_mem_system);
    for (int i = 0; i < 10; i++) {
        bed_ask(&ex, "PING");
        assert_true(ldr_links_submit(other.links, t.loop, &ex, LDR_NEVER));
        ask(&t, 0);
        while (!ex.done || !t.ex[0].done)
            hear(&t, 1, LDR_MS);
        assert_int_equal(ex.err.code, LDR_OK);
        assert_int_equal(t.ex[0].err.code, LDR_OK);
        if (i % 2)
            ldr_links_leave_loop(other.links, t.loop);
    }
    ldr_links_leave_loop(other.links, t.loop);
    ldr_exchange_free(&ex);
    bed_links_close(&other);
    shut(&t);
}

/* The parent has one under way. */
static int in_child(bench *t, bool links_first)
{
    uint64_t ids[4];
    bool overflow;
    if (links_first)
        ldr_links_forked(t->b.links);
    ldr_loop_claim(t->loop, getpid());
    if (!links_first)
        ldr_links_forked(t->b.links);
    if (t->n_told[0] != 1 || t->ex[0].err.code != LDR_UNAVAILABLE)
        return 2;
    if (ldr_loop_wait(t->loop, 0, ids, 4, &overflow) != 1)
        return 3;
    if (!ask(t, 1) || hear(t, 1, LDR_SEC) != 1)
        return 4;
    ldr_links_leave_loop(t->b.links, t->loop);
    return t->ex[1].err.code == LDR_OK ? 0 : 5;
}

static void a_forked_child_has_a_channel_of_its_own(void **state)
{
    bench t;
    (void)state;
    for (int links_first = 0; links_first < 2; links_first++) {
        int code = -1;
        open_at(&t, redis.unix_url, 5 * LDR_SEC);
        ask(&t, 5);
        assert_int_equal(hear(&t, 1, LDR_SEC), 1);
        const ldr_slice wait[] = {ldr_slice_str("BLPOP"), ldr_slice_str("nothing"), ldr_slice_str("0.3")};
        ldr_exchange_add(&t.ex[0], wait, 3);
        assert_true(ldr_links_submit(t.b.links, t.loop, &t.ex[0], LDR_NEVER));
        look(&t);
        pid_t child = fork();
        if (child == 0)
            _exit(in_child(&t, links_first));
        assert_int_equal(waitpid(child, &code, 0), child);
        assert_int_equal(code, 0);
        assert_int_equal(hear(&t, 1, LDR_SEC), 1);
        assert_int_equal(t.ex[0].err.code, LDR_OK); /* the parent's own goes on */
        shut(&t);
    }
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    for (long fail_at = 1; fail_at < 200; fail_at++) {
        bed_mem bed;
        bench t;
        open_at(&t, redis.unix_url, LDR_SEC);
        ldr_links *fine = t.b.links;
        const ldr_mem *mem = bed_mem_init(&bed, fail_at);
        t.b.links = ldr_links_new(&(ldr_links_options){.address = &t.b.address, .timeout_us = LDR_SEC, .clock = &t.b.clock}, mem);
        t.ex[0].out.mem = mem;
        if (t.b.links && ask(&t, 0))
            assert_int_equal(hear(&t, 1, LDR_SEC), 1);
        assert_true(!t.b.links || t.ex[0].done);
        bool is_through = t.ex[0].done && bed.n_calls < fail_at;
        assert_true(t.ex[0].err.code == LDR_OK || t.ex[0].err.code == LDR_NOMEM);
        if (t.b.links)
            ldr_links_leave_loop(t.b.links, t.loop);
        ldr_exchange_free(&t.ex[0]);
        ldr_links_free(t.b.links);
        assert_int_equal(bed.n_alive, 0);
        t.b.links = fine;
        shut(&t);
        if (is_through)
            return;
    }
    fail();
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
        cmocka_unit_test(many_at_once_each_get_their_own),
        cmocka_unit_test(what_many_ask_goes_out_in_one_piece),
        cmocka_unit_test(the_loop_hears_its_posts_meanwhile),
        cmocka_unit_test(deadlines_and_errors_past_bad_servers),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(a_late_one_breaks_the_link_and_what_was_not_sent_goes_by_another),
        cmocka_unit_test(one_can_leave_in_every_state),
        cmocka_unit_test(whoever_broke_and_left_together),
        cmocka_unit_test(an_idle_channel_that_was_closed_dials_anew),
        cmocka_unit_test(a_restart_is_survived),
        cmocka_unit_test(several_servers_on_one_loop),
        cmocka_unit_test(a_forked_child_has_a_channel_of_its_own),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
