/* wire_link_spec.c - one connection as a machine of bytes: order, handshake, what breaks it, and hostile servers. */
#include "wire_bed.h"

static const ldr_address plain = {.host = (char *)"h", .port = 1, .name = "redis://h:1/0"};
static const ldr_address secret = {.host = (char *)"h", .port = 1, .user = (char *)"u", .password = (char *)"SECRET", .db = 7,
                                   .name = "redis://h:1/7"};
static const ldr_address locked = {.host = (char *)"h", .port = 1, .password = (char *)"SECRET", .name = "redis://h:1/0"};

typedef struct told {
    int n;
    ldr_exchange *last;
} told;

static void note_end(void *ctx, ldr_exchange *ex)
{
    told *t = ctx;
    assert_true(ex->done);
    t->n++;
    t->last = ex;
}

static void ask(ldr_exchange *ex, const ldr_mem *mem, int n, told *t)
{
    const ldr_slice argv[] = {ldr_slice_str("GET"), ldr_slice_str("k")};
    ldr_exchange_init(ex, mem);
    ex->ended = note_end;
    ex->ctx = t;
    while (n-- > 0)
        (void)ldr_exchange_add(ex, argv, 2);
}

#define GET "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
#define NAMED "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$6\r\nlarder\r\n"

static void assert_out(ldr_link *l, const char *wanted)
{
    ldr_slice out = ldr_link_out(l);
    assert_int_equal(out.n, strlen(wanted));
    assert_memory_equal(out.p ? out.p : "", wanted, out.n);
}

static bool feed(ldr_link *l, const char *text)
{
    return ldr_link_feed(l, ldr_slice_str(text));
}

/* All that is to go out is gone. */
static void send_all(ldr_link *l, int64_t now_us)
{
    for (ldr_slice out; (out = ldr_link_out(l)).n > 0;)
        ldr_link_sent(l, out.n, now_us);
}

static ldr_link *greeted(const ldr_mem *mem)
{
    ldr_link *l = ldr_link_new(mem, &plain, &hostile_limits);
    send_all(l, 1);
    assert_true(feed(l, "+OK\r\n"));
    assert_true(ldr_link_is_idle(l));
    return l;
}

static void the_handshake_comes_first_and_alone(void **state)
{
    (void)state;
    told t = {0};
    ldr_exchange ex;
    ldr_link *l = ldr_link_new(&ldr_mem_system, &secret, NULL);
    ask(&ex, &ldr_mem_system, 1, &t);
    assert_true(ldr_link_push(l, &ex));
    assert_out(l, "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$6\r\nSECRET\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n" NAMED);
    send_all(l, 1);
    assert_false(ldr_link_is_idle(l));
    assert_true(feed(l, "+OK\r\n+OK\r\n+O"));
    assert_out(l, "");
    assert_true(feed(l, "K\r\n"));
    assert_false(ex.sent);
    assert_out(l, GET);
    ldr_link_sent(l, strlen(GET), 77);
    assert_true(ex.sent && ex.sent_us == 77 && ldr_link_queued(l) == 1);
    assert_true(feed(l, "$-1\r\n"));
    assert_true(t.n == 1 && ex.err.code == LDR_OK && ex.n_replies == 1 && ex.replies[0]->kind == LDR_REPLY_NIL);
    assert_true(ldr_link_is_idle(l) && ldr_link_queued(l) == 0);
    ldr_exchange_free(&ex);
    ldr_link_free(l);
}

static void a_refused_handshake_breaks_and_tells_no_secret(void **state)
{
    (void)state;
    static const struct {
        const char *reply, *says;
        int code;
    } rows[] = {
        {"-WRONGPASS invalid\r\n", "AUTH was refused (WRONGPASS: no such user, or another password)", LDR_UNAVAILABLE},
        {"-ERR unknown command 'AUTH', with args beginning with: 'u' 'SECRET'\r\n", "AUTH was refused (ERR)", LDR_UNAVAILABLE},
        {"-SECRET\r\n", "AUTH was refused (an error)", LDR_UNAVAILABLE},
        {"+SECRET\r\n", "no answer", LDR_CORRUPT},
        {"$-1\r\n", "no answer", LDR_CORRUPT},
        {"+OK\r\n-ERR DB index is out of range\r\n", "SELECT was refused (ERR)", LDR_UNAVAILABLE},
        {"+OK\r\n+OK\r\n-NOAUTH Authentication required.\r\n", "CLIENT SETNAME was refused (NOAUTH: the server wants a password)", LDR_UNAVAILABLE},
        {"HTTP/1.1 400\r\n", "no Redis reply", LDR_CORRUPT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        told t = {0};
        ldr_exchange ex;
        const ldr_err *err;
        ldr_link *l = ldr_link_new(&ldr_mem_system, &secret, NULL);
        ask(&ex, &ldr_mem_system, 1, &t);
        assert_true(ldr_link_push(l, &ex));
        send_all(l, 1);
        assert_false(feed(l, rows[i].reply));
        assert_true(ldr_link_is_broken(l, &err));
        if (err->code != rows[i].code || !strstr(err->message, rows[i].says) || !strstr(err->message, secret.name))
            fail_msg("%s: %s", rows[i].reply, err->message);
        assert_null(strstr(err->message, "SECRET"));
        assert_true(t.n == 1 && !ex.sent && ex.err.code == rows[i].code);
        assert_int_equal(ldr_link_out(l).n, 0);
        assert_false(ldr_link_push(l, &ex));
        assert_true(t.n == 1 && ex.done && ex.err.code == rows[i].code);
        ldr_exchange_free(&ex);
        ldr_link_free(l);
    }
}

static void a_name_that_may_not_be_set_is_no_harm(void **state)
{
    (void)state;
    ldr_link *l = ldr_link_new(&ldr_mem_system, &plain, NULL);
    assert_out(l, NAMED);
    send_all(l, 1);
    assert_true(feed(l, "-NOPERM this user has no permissions to run the 'client|setname' command\r\n"));
    assert_true(ldr_link_is_idle(l));
    ldr_link_free(l);
}

static void answers_are_dealt_in_order(void **state)
{
    (void)state;
    enum { N = 100 };
    told t = {0};
    ldr_exchange ex[N];
    ldr_rng rng = bed_rng("pipelined answers, cut");
    for (int way = WHOLE; way < N_WAYS; way++) {
        ldr_buf b = LDR_BUF(&ldr_mem_system);
        ldr_link *l = greeted(&ldr_mem_system);
        t = (told){0};
        for (int i = 0; i < N; i++) {
            ask(&ex[i], &ldr_mem_system, 1 + i % 3, &t);
            assert_true(ldr_link_push(l, &ex[i]));
            for (int j = 0; j <= i % 3; j++)
                ldr_buf_fmt(&b, j ? "$8\r\n%08d\r\n" : ":%d\r\n", i);
        }
        assert_int_equal(ldr_link_out(l).n, strlen(GET) * (34 + 2 * 33 + 3 * 33));
        for (ldr_slice out; (out = ldr_link_out(l)).n > 0;)
            ldr_link_sent(l, next_cut((enum way)way, out.n, &rng), 5);
        for (size_t at = 0, n; at < b.n; at += n) {
            n = next_cut((enum way)way, b.n - at, &rng);
            assert_true(ldr_link_feed(l, ldr_slice_of(b.p + at, n)));
        }
        assert_true(t.n == N && ldr_link_is_idle(l));
        for (int i = 0; i < N; i++) {
            assert_true(ex[i].n_replies == ex[i].n_commands && ex[i].err.code == LDR_OK);
            assert_int_equal(ex[i].replies[0]->integer, i);
            ldr_exchange_free(&ex[i]);
        }
        ldr_buf_free(&b);
        ldr_link_free(l);
    }
}

static void large_exchanges_go_out_as_they_are(void **state)
{
    (void)state;
    told t = {0};
    ldr_exchange ex[3];
    ldr_buf value = LDR_BUF(&ldr_mem_system);
    assert_true(ldr_buf_reserve(&value, 40000));
    memset(value.p, 'v', value.n = 40000);
    ldr_link *l = greeted(&ldr_mem_system);
    for (int i = 0; i < 3; i++) {
        const ldr_slice argv[] = {ldr_slice_str("SET"), ldr_buf_slice(&value)};
        ask(&ex[i], &ldr_mem_system, i == 1 ? 0 : 1, &t);
        if (i == 1)
            assert_int_equal(ldr_exchange_add(&ex[i], argv, 2), LDR_OK);
        assert_true(ldr_link_push(l, &ex[i]));
    }
    assert_out(l, GET);
    ldr_link_sent(l, 5, 1);
    assert_out(l, &GET[5]);
    ldr_link_sent(l, strlen(GET) - 5, 2);
    assert_ptr_equal(ldr_link_out(l).p, ex[1].out.p);
    ldr_link_sent(l, ex[1].out.n - 1, 3);
    assert_int_equal(ldr_link_out(l).n, 1 + strlen(GET));
    ldr_link_sent(l, 2, 4);
    assert_true(ex[0].sent_us == 1 && ex[1].sent_us == 3 && ex[2].sent_us == 4);
    assert_out(l, &GET[1]);
    ldr_link_free(l);
    assert_int_equal(t.n, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ex[i].err.code, LDR_UNAVAILABLE);
        ldr_exchange_free(&ex[i]);
    }
    ldr_buf_free(&value);
}

/* ---- what breaks a link ------------------------------------------------------------------------------------------- */

static void surplus_breaks(void **state)
{
    (void)state;
    static const struct {
        const char *fed[2];
        int code; /* of the exchange */
    } rows[] = {
        {{"+a\r\n+b\r\n", NULL}, LDR_CORRUPT}, {{"+a\r\n", "+b\r\n"}, LDR_OK}, {{"+a\r\n+", NULL}, LDR_CORRUPT},
        {{"+a\r\n", "\r"}, LDR_OK},            {{"+a\r\n", "$"}, LDR_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        told t = {0};
        ldr_exchange ex;
        ldr_link *l = greeted(&ldr_mem_system);
        ask(&ex, &ldr_mem_system, 1, &t);
        ldr_link_push(l, &ex);
        send_all(l, 1);
        bool stands = feed(l, rows[i].fed[0]);
        if (stands && rows[i].fed[1])
            stands = feed(l, rows[i].fed[1]);
        assert_false(stands);
        assert_true(t.n == 1 && ex.err.code == rows[i].code);
        assert_false(ldr_link_is_idle(l));
        ldr_exchange_free(&ex);
        ldr_link_free(l);
    }
}

static void an_answer_before_its_question_is_surplus(void **state)
{
    (void)state;
    for (size_t sent = 0; sent < strlen(GET GET); sent++) {
        told t = {0};
        ldr_exchange ex;
        ldr_link *l = greeted(&ldr_mem_system);
        ask(&ex, &ldr_mem_system, 2, &t);
        ldr_link_push(l, &ex);
        ldr_link_sent(l, sent, 1);
        assert_false(feed(l, "+a\r\n+b\r\n"));
        assert_true(t.n == 1 && ex.err.code == LDR_CORRUPT && ex.sent == (sent > 0));
        ldr_exchange_free(&ex);
        ldr_link_free(l);
    }
}

static void close_and_break_end_all_that_is_queued(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        told t = {0};
        ldr_exchange ex[3];
        ldr_link *l = greeted(&ldr_mem_system);
        for (int i = 0; i < 3; i++) {
            ask(&ex[i], &ldr_mem_system, 1, &t);
            ldr_link_push(l, &ex[i]);
        }
        ldr_link_sent(l, strlen(GET) + 1, 1);
        assert_true(feed(l, "+a\r\n$5\r\nhel"));
        assert_int_equal(ldr_link_queued(l), 2);
        if (how == 0)
            assert_false(ldr_link_feed(l, (ldr_slice){0}));
        else if (how == 1)
            ldr_link_break(l, LDR_TIMEOUT, "no answer in time");
        else
            ldr_link_free(l);
        assert_true(t.n == 3 && t.last == &ex[2]);
        assert_true(ex[0].err.code == LDR_OK && ex[1].sent && !ex[2].sent);
        assert_int_equal(ex[1].err.code, how == 1 ? LDR_TIMEOUT : LDR_UNAVAILABLE);
        assert_int_equal(ex[2].err.code, ex[1].err.code);
        for (int i = 0; i < 3; i++)
            ldr_exchange_free(&ex[i]);
        if (how < 2)
            ldr_link_free(l);
    }
}

static void who_waits_no_more_is_taken_off(void **state)
{
    (void)state;
    told t = {0};
    ldr_exchange a, b, c;
    ldr_link *l = greeted(&ldr_mem_system);
    ask(&a, &ldr_mem_system, 1, &t);
    ask(&b, &ldr_mem_system, 1, &t);
    ask(&c, &ldr_mem_system, 1, &t);
    assert_true(ldr_link_drop(l, &a));
    ldr_link_push(l, &a);
    ldr_link_push(l, &b);
    ldr_link_push(l, &c);
    assert_true(ldr_link_drop(l, &a));
    assert_out(l, GET GET);
    ldr_link_sent(l, 1, 1);
    assert_true(ldr_link_drop(l, &c));
    assert_true(ldr_link_push(l, &c));
    assert_int_equal(ldr_link_queued(l), 2);
    assert_false(ldr_link_drop(l, &b));
    assert_true(t.n == 1 && t.last == &c && c.err.code == LDR_UNAVAILABLE && !c.sent);
    ldr_exchange_free(&a);
    ldr_exchange_free(&b);
    ldr_exchange_free(&c);
    ldr_link_free(l);
}

static void an_exchange_may_be_sent_again(void **state)
{
    (void)state;
    told t = {0};
    ldr_exchange ex;
    ldr_link *l = greeted(&ldr_mem_system);
    ask(&ex, &ldr_mem_system, 2, &t);
    ldr_link_push(l, &ex);
    send_all(l, 1);
    assert_true(feed(l, "+a\r\n"));
    ldr_link_free(l);
    assert_true(ex.err.code == LDR_UNAVAILABLE && ex.n_replies == 1);
    l = greeted(&ldr_mem_system);
    assert_true(ldr_link_push(l, &ex));
    assert_true(!ex.sent && !ex.done && ex.n_replies == 0);
    send_all(l, 2);
    assert_true(feed(l, "+a\r\n+b\r\n"));
    assert_true(ex.err.code == LDR_OK && ex.n_replies == 2 && ex.sent_us == 2);
    ldr_exchange_clear(&ex);
    assert_false(ldr_link_push(l, &ex)); /* without commands */
    assert_int_equal(ex.err.code, LDR_INVALID);
    ldr_exchange_free(&ex);
    ldr_link_free(l);
}

/* ---- news ------------------------------------------------------------------------------------------------------------ */

static void note_news(void *ctx, const ldr_reply *reply)
{
    *(size_t *)ctx += reply->kind == LDR_REPLY_ARRAY ? reply->n_items : 100;
}

static void a_subscribed_link_hands_out_news(void **state)
{
    (void)state;
    size_t n = 0;
    told t = {0};
    ldr_exchange ex;
    ldr_link *l = ldr_link_new(&ldr_mem_system, &plain, NULL);
    ask(&ex, &ldr_mem_system, 1, &t);
    ldr_link_subscribe(l, ldr_slice_str("c"), note_news, &n);
    assert_out(l, NAMED);
    send_all(l, 1);
    assert_true(feed(l, "+OK\r\n"));
    assert_out(l, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n");
    send_all(l, 1);
    assert_true(feed(l, "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n*3\r\n$7"));
    assert_int_equal(n, 6);
    assert_false(ldr_link_is_idle(l));
    assert_false(ldr_link_push(l, &ex));
    assert_int_equal(ex.err.code, LDR_UNSUPPORTED);
    assert_true(feed(l, "\r\nmessage\r\n$1\r\nc\r\n$1\r\ny\r\n"));
    assert_int_equal(n, 9);
    assert_false(feed(l, "-ERR gone\r\n!\r\n"));
    assert_int_equal(n, 109);
    ldr_exchange_free(&ex);
    ldr_link_free(l);
}

/* ---- hostile servers -------------------------------------------------------------------------------------------------- */

/* One conversation with bytes of a stranger in one phase; gives the verdict of hostile_replies.txt. */
static const char *converse(const ldr_mem *mem, bool in_handshake, ldr_slice bytes, enum way way, ldr_rng *rng)
{
    told t = {0};
    ldr_exchange ex;
    const ldr_err *err;
    ldr_link *l = in_handshake ? ldr_link_new(mem, &locked, &hostile_limits) : greeted(mem);
    ask(&ex, mem, 1, &t);
    assert_true(ldr_link_push(l, &ex));
    send_all(l, 1);
    for (size_t n; bytes.n > 0; bytes = ldr_slice_of(bytes.p + n, bytes.n - n)) {
        n = next_cut(way, bytes.n, rng);
        if (!ldr_link_feed(l, ldr_slice_of(bytes.p, n)))
            break;
    }
    const char *verdict = ldr_link_is_broken(l, &err) ? "breaks" : t.n == 0 ? "waits" :
                          ex.replies[0]->kind == LDR_REPLY_ERROR ? "error" : "odd";
    if (err) {
        assert_true(is_printable(err->message) && !strstr(err->message, "SECRET"));
        assert_true(err->code == LDR_CORRUPT || err->code == LDR_TOO_LARGE || err->code == LDR_UNAVAILABLE);
    }
    ldr_link_free(l);
    assert_int_equal(t.n, 1);
    assert_true(ex.err.code != LDR_OK || ex.n_replies == 1);
    ldr_exchange_free(&ex);
    return verdict;
}

static void meet(void *ctx, const hostile_reply *h)
{
    for (int way = WHOLE; way < N_WAYS; way++) {
        for (int in_handshake = 0; in_handshake < 2; in_handshake++) {
            weighed w;
            bool waits = strcmp(h->verdict, "waits") == 0;
            const char *wanted = in_handshake && !waits ? "breaks" : h->verdict;
            const char *got = converse(weighed_init(&w), in_handshake, ldr_buf_slice(&h->bytes), (enum way)way, ctx);
            if (strcmp(got, wanted) != 0)
                fail_msg("%s:%d, %s, way %d: %s wanted, is %s", HOSTILE_FILE, h->line, in_handshake ? "handshake" : "answer", way,
                         wanted, got);
            assert_int_equal(w.now, 0);
            assert_true(w.most <= 2 * 4 * HOSTILE_STRING + 2 * HOSTILE_ELEMENTS * sizeof(ldr_reply));
        }
    }
}

static void the_hostile_list_breaks_or_is_told(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("hostile replies on a link, cut");
    int n = hostile_each(meet, &rng);
    assert_true(n >= 245);
    print_message("# %d hostile replies, in 2 phases, each in %d ways\n", n, N_WAYS);
}

static void random_damage_breaks_or_is_told(void **state)
{
    (void)state;
    long times = bed_times(5000, 50000);
    ldr_rng rng = bed_rng("damaged replies on a link");
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    for (long i = 0; i < times; i++) {
        weighed w;
        damaged(&b, &rng);
        for (int phase = 0; phase < 2; phase++) {
            const char *whole = converse(weighed_init(&w), phase, ldr_buf_slice(&b), WHOLE, &rng);
            for (int way = BYTEWISE; way < N_WAYS; way++)
                assert_string_equal(converse(&w.mem, phase, ldr_buf_slice(&b), (enum way)way, &rng), whole);
            assert_int_equal(w.now, 0);
        }
    }
    ldr_buf_free(&b);
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

static int talk(const ldr_mem *mem, told *t)
{
    ldr_exchange ex[2];
    ldr_link *l = ldr_link_new(mem, &secret, NULL);
    if (!l)
        return LDR_NOMEM;
    for (int i = 0; i < 2; i++) {
        ask(&ex[i], mem, 1, t);
        t->n += !ldr_link_push(l, &ex[i]);
    }
    send_all(l, 1);
    (void)feed(l, "+OK\r\n+OK\r\n+OK\r\n");
    send_all(l, 1);
    (void)feed(l, ldr_link_queued(l) == 2 ? "$1\r\na\r\n*1\r\n$2\r\nbc\r\n" : "$1\r\na\r\n");
    ldr_link_free(l);
    int code = ex[0].err.code == LDR_OK ? ex[1].err.code : ex[0].err.code;
    ldr_exchange_free(&ex[0]);
    ldr_exchange_free(&ex[1]);
    return code;
}

static void each_failed_allocation_is_told(void **state)
{
    (void)state;
    for (long at = 1;; at++) {
        bed_mem m;
        told t = {0};
        int code = talk(bed_mem_init(&m, at), &t);
        assert_int_equal(m.n_alive, 0);
        assert_true(code == LDR_NOMEM || code == LDR_OK); /* OK also where only gathering failed */
        assert_true(t.n == 2 || (t.n == 0 && code == LDR_NOMEM));
        if (m.n_calls < at) {
            assert_int_equal(code, LDR_OK);
            return;
        }
    }
}

static void a_subscription_without_memory_breaks(void **state)
{
    (void)state;
    for (long more = 1; more <= 2; more++) {
        bed_mem m;
        size_t n = 0;
        const ldr_err *err;
        ldr_link *l = ldr_link_new(bed_mem_init(&m, 0), &plain, NULL);
        m.fail_at = m.n_calls + more;
        ldr_link_subscribe(l, ldr_slice_str("c"), note_news, &n);
        assert_true(ldr_link_is_broken(l, &err));
        assert_int_equal(err->code, LDR_NOMEM);
        ldr_link_free(l);
        assert_int_equal(m.n_alive, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_handshake_comes_first_and_alone),
        cmocka_unit_test(a_refused_handshake_breaks_and_tells_no_secret),
        cmocka_unit_test(a_name_that_may_not_be_set_is_no_harm),
        cmocka_unit_test(answers_are_dealt_in_order),
        cmocka_unit_test(large_exchanges_go_out_as_they_are),
        cmocka_unit_test(surplus_breaks),
        cmocka_unit_test(an_answer_before_its_question_is_surplus),
        cmocka_unit_test(close_and_break_end_all_that_is_queued),
        cmocka_unit_test(who_waits_no_more_is_taken_off),
        cmocka_unit_test(an_exchange_may_be_sent_again),
        cmocka_unit_test(a_subscribed_link_hands_out_news),
        cmocka_unit_test(the_hostile_list_breaks_or_is_told),
        cmocka_unit_test(random_damage_breaks_or_is_told),
        cmocka_unit_test(each_failed_allocation_is_told),
        cmocka_unit_test(a_subscription_without_memory_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
