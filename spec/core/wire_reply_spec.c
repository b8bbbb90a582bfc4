/* wire_reply_spec.c - replies are read whole or refused, whatever comes and however it is cut; limits hold before memory. */
#include "wire_bed.h"

/* ---- what is read -------------------------------------------------------------------------------------------- */

static ldr_reply *read_one(ldr_reply_reader *r, const char *bytes, size_t n)
{
    ldr_reply *reply;
    ldr_err err;
    assert_int_equal(ldr_reply_reader_feed(r, ldr_slice_of(bytes, n), &err), LDR_OK);
    assert_int_equal(ldr_reply_reader_next(r, &reply, &err), LDR_OK);
    return reply;
}

static void assert_str(ldr_slice s, const char *wanted, size_t n)
{
    assert_int_equal(s.n, n);
    assert_memory_equal(s.p, wanted, n);
}

static void every_kind_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        int kind;
        int64_t integer;
        const char *str;
    } rows[] = {
        {"+OK\r\n", LDR_REPLY_STATUS, 0, "OK"},
        {"+\r\n", LDR_REPLY_STATUS, 0, ""},
        {"-ERR no\r\n", LDR_REPLY_ERROR, 0, "ERR no"},
        {":9223372036854775807\r\n", LDR_REPLY_INTEGER, INT64_MAX, ""},
        {":-9223372036854775808\r\n", LDR_REPLY_INTEGER, INT64_MIN, ""},
        {"$-1\r\n", LDR_REPLY_NIL, 0, ""},
        {"*-1\r\n", LDR_REPLY_NIL, 0, ""},
        {"$0\r\n\r\n", LDR_REPLY_STRING, 0, ""},
        {"$7\r\na\r\nb\r\nc\r\n", LDR_REPLY_STRING, 0, "a\r\nb\r\nc"},
        {"*0\r\n", LDR_REPLY_ARRAY, 0, ""},
    };
    ldr_reply_reader *r = ldr_reply_reader_new(&ldr_mem_system, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ldr_reply *reply = read_one(r, rows[i].bytes, strlen(rows[i].bytes));
        assert_non_null(reply);
        assert_int_equal(reply->kind, rows[i].kind);
        assert_true(reply->integer == rows[i].integer);
        assert_str(reply->str, rows[i].str, strlen(rows[i].str));
        assert_int_equal(reply->n_items, 0);
        ldr_reply_free(&ldr_mem_system, reply);
        assert_true(ldr_reply_reader_empty(r));
    }
    assert_true(ldr_wire_built());
    ldr_reply_reader_free(r);
}

static void arrays_hold_their_items_side_by_side(void **state)
{
    (void)state;
    static const char bytes[] = "*4\r\n$1\r\na\r\n*2\r\n:7\r\n*1\r\n+x\r\n$-1\r\n-E\r\n";
    for (int way = WHOLE; way <= BYTEWISE; way++) {
        ldr_reply_reader *r = ldr_reply_reader_new(&ldr_mem_system, NULL);
        ldr_reply *a = NULL;
        for (size_t i = 0, step = way == WHOLE ? sizeof bytes - 1 : 1; i < sizeof bytes - 1; i += step) {
            assert_null(a);
            a = read_one(r, bytes + i, step);
        }
        assert_int_equal(a->n_items, 4);
        assert_str(a->items[0].str, "a", 1);
        assert_int_equal(a->items[1].items[0].integer, 7);
        assert_str(a->items[1].items[1].items[0].str, "x", 1);
        assert_int_equal(a->items[2].kind, LDR_REPLY_NIL);
        assert_int_equal(a->items[3].kind, LDR_REPLY_ERROR);
        ldr_reply_free(&ldr_mem_system, a);
        ldr_reply_reader_free(r);
    }
}

static void a_reply_at_hand_is_one_allocation(void **state)
{
    (void)state;
    bed_mem m;
    ldr_reply_reader *r = ldr_reply_reader_new(bed_mem_init(&m, 0), NULL);
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_buf_fmt(&b, "$64\r\n%064d\r\n", 0);
    long before = m.n_calls;
    ldr_reply_free(&m.mem, read_one(r, b.p, b.n));
    assert_int_equal(m.n_calls - before, 1);
    ldr_buf_clear(&b);
    ldr_buf_str(&b, "*100\r\n");
    for (int i = 0; i < 100; i++)
        ldr_buf_fmt(&b, "$64\r\n%064d\r\n", i);
    before = m.n_calls;
    ldr_reply_free(&m.mem, read_one(r, b.p, b.n));
    assert_int_equal(m.n_calls - before, 1);
    ldr_buf_free(&b);
    ldr_reply_reader_free(r);
    assert_int_equal(m.n_alive, 0);
}

static void long_strings_come_in_long_pieces(void **state)
{
    (void)state;
    enum { N = 3 << 20 };
    ldr_reply_reader *r = ldr_reply_reader_new(&ldr_mem_system, NULL);
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    ldr_buf_fmt(&b, "$%d\r\n", N);
    assert_true(ldr_reply_reader_piece(r) < 100000);
    assert_null(read_one(r, b.p, b.n));
    assert_int_equal(ldr_reply_reader_piece(r), N + 2);
    ldr_buf_clear(&b);
    assert_true(ldr_buf_reserve(&b, N + 2));
    memset(b.p, 'x', N);
    memcpy(b.p + N, "\r\n", 2);
    ldr_reply *reply = read_one(r, b.p, N + 2);
    assert_int_equal(reply->str.n, N);
    assert_true(ldr_reply_reader_empty(r) && ldr_reply_reader_piece(r) < 100000);
    ldr_reply_free(&ldr_mem_system, reply);
    reply = read_one(r, "+OK\r\n", 5);
    assert_str(reply->str, "OK", 2);
    ldr_reply_free(&ldr_mem_system, reply);
    ldr_buf_free(&b);
    ldr_reply_reader_free(r);
}

/* ---- limits ----------------------------------------------------------------------------------------------------- */

static int code_of(const ldr_reply_limits *limits, const char *bytes, size_t n)
{
    ldr_err err = {0}, again = {0};
    ldr_reply *reply = NULL;
    ldr_reply_reader *r = ldr_reply_reader_new(&ldr_mem_system, limits);
    int code = ldr_reply_reader_feed(r, ldr_slice_of(bytes, n), &err);
    if (code == LDR_OK)
        code = ldr_reply_reader_next(r, &reply, &err);
    if (code != LDR_OK) {
        assert_int_equal(err.code, code);
        assert_true(err.message[0] && is_printable(err.message));
        assert_int_equal(ldr_reply_reader_feed(r, ldr_slice_str("+OK\r\n"), &again), code);
        assert_int_equal(ldr_reply_reader_next(r, &reply, &again), code);
        assert_string_equal(again.message, err.message);
        assert_null(reply);
    }
    ldr_reply_free(&ldr_mem_system, reply);
    ldr_reply_reader_free(r);
    return code;
}

static int code_of_text(const ldr_reply_limits *limits, const char *text)
{
    return code_of(limits, text, strlen(text));
}

static void announced_lengths_are_refused_at_once(void **state)
{
    (void)state;
    const ldr_reply_limits l = {.bytes = 10, .total = 15, .elements = 6, .depth = 2};
    assert_int_equal(code_of_text(&l, "$10\r\n"), LDR_OK);
    assert_int_equal(code_of_text(&l, "$11\r\n"), LDR_TOO_LARGE);
    assert_int_equal(code_of_text(&l, "$11"), LDR_TOO_LARGE);
    assert_int_equal(code_of_text(&l, "$11\r\nhello world\r\n"), LDR_TOO_LARGE);
    assert_int_equal(code_of_text(&l, "+hello world\r\n"), LDR_TOO_LARGE);
    assert_int_equal(code_of_text(&l, "*2\r\n$9\r\n123456789\r\n$6\r\n"), LDR_OK);
    assert_int_equal(code_of_text(&l, "*2\r\n$9\r\n123456789\r\n$7\r\n"), LDR_TOO_LARGE);
    assert_int_equal(code_of_text(&l, "*6\r\n"), LDR_OK);
    assert_int_equal(code_of_text(&l, "*7\r\n"), LDR_TOO_LARGE);
    assert_int_equal(code_of_text(&l, "*2\r\n*4\r\n"), LDR_OK);
    assert_int_equal(code_of_text(&l, "*2\r\n*5\r\n"), LDR_TOO_LARGE);
    assert_int_equal(code_of_text(&l, "*1\r\n*1\r\n*1\r\n"), LDR_CORRUPT);
    assert_int_equal(code_of_text(NULL, "$536936448\r\n"), LDR_OK);
    assert_int_equal(code_of_text(NULL, "$536936449\r\n"), LDR_TOO_LARGE);
    assert_int_equal(code_of_text(NULL, "*1048577\r\n"), LDR_TOO_LARGE);
    assert_int_equal(code_of_text(NULL, "*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"), LDR_OK);
    assert_int_equal(code_of_text(NULL, "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"), LDR_CORRUPT);
}

/* What one reply took counts for no other. */
static void each_reply_is_counted_anew(void **state)
{
    (void)state;
    const ldr_reply_limits l = {.bytes = 10, .total = 12, .elements = 2, .depth = 1};
    ldr_reply_reader *r = ldr_reply_reader_new(&ldr_mem_system, &l);
    for (int i = 0; i < 20; i++) {
        assert_null(read_one(r, "*2\r\n$10\r\n0123456789\r\n", 21));
        ldr_reply *reply = read_one(r, "+ab\r\n", 5);
        assert_int_equal(reply->n_items, 2);
        ldr_reply_free(&ldr_mem_system, reply);
        assert_null(read_one(r, "$10\r\n", 5));
        reply = read_one(r, "0123456789\r\n", 12);
        ldr_reply_free(&ldr_mem_system, reply);
    }
    ldr_reply_reader_free(r);
}

static void what_is_held_is_bounded(void **state)
{
    (void)state;
    const ldr_reply_limits l = {.bytes = 10};
    size_t n = (size_t)3 << 20;
    char *bytes = calloc(1, n);
    memset(bytes, '+', n);
    assert_int_equal(code_of(&l, bytes, n), LDR_TOO_LARGE);
    free(bytes);
}

/* ---- the hostile list, and random damage ---------------------------------------------------------------------- */

typedef struct outcome {
    size_t n_replies;
    int first_kind;
    bool failed, empty;
} outcome;

static outcome read_all(const ldr_mem *mem, ldr_slice bytes, enum way way, ldr_rng *rng)
{
    outcome o = {.first_kind = -1};
    ldr_err err = {0};
    ldr_reply_reader *r = ldr_reply_reader_new(mem, &hostile_limits);
    while (bytes.n > 0 && !o.failed) {
        size_t n = next_cut(way, bytes.n, rng);
        ldr_reply *reply = NULL;
        o.failed = ldr_reply_reader_feed(r, ldr_slice_of(bytes.p, n), &err) != LDR_OK;
        while (!o.failed && !(o.failed = ldr_reply_reader_next(r, &reply, &err) != LDR_OK) && reply) {
            o.first_kind = o.n_replies++ ? o.first_kind : reply->kind;
            ldr_reply_free(mem, reply);
        }
        bytes = ldr_slice_of(bytes.p + n, bytes.n - n);
    }
    assert_true(is_printable(err.message));
    o.empty = ldr_reply_reader_empty(r);
    ldr_reply_reader_free(r);
    return o;
}

static const char *verdict_of(const outcome *o)
{
    if (o->failed || o->n_replies > 1 || (o->n_replies && !o->empty))
        return "breaks";
    return o->n_replies == 0 ? "waits" : o->first_kind == LDR_REPLY_ERROR ? "error" : "odd";
}

static void read_hostile(void *ctx, const hostile_reply *h)
{
    for (int way = WHOLE; way < N_WAYS; way++) {
        weighed w;
        outcome o = read_all(weighed_init(&w), ldr_buf_slice(&h->bytes), (enum way)way, ctx);
        if (strcmp(verdict_of(&o), h->verdict) != 0)
            fail_msg("%s:%d: %s wanted, way %d: %s", HOSTILE_FILE, h->line, h->verdict, way, verdict_of(&o));
        assert_int_equal(w.now, 0);
        /* The strings of one reply, its nodes, and room to spare. */
        assert_true(w.most <= 2 * 4 * HOSTILE_STRING + 2 * HOSTILE_ELEMENTS * sizeof(ldr_reply));
    }
}

static void the_hostile_list_does_no_harm(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("hostile replies, cut");
    int n = hostile_each(read_hostile, &rng);
    assert_true(n >= 245);
    print_message("# %d hostile replies, each in %d ways\n", n, N_WAYS);
}

static void random_damage_is_seen_the_same_however_it_is_cut(void **state)
{
    (void)state;
    ldr_rng rng = bed_rng("damaged replies");
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    long n_failed = 0, times = bed_times(5000, 50000);
    for (long i = 0; i < times; i++) {
        weighed w;
        damaged(&b, &rng);
        outcome o = read_all(weighed_init(&w), ldr_buf_slice(&b), WHOLE, &rng);
        n_failed += o.failed;
        for (int way = BYTEWISE; way < N_WAYS; way++) {
            outcome p = read_all(&w.mem, ldr_buf_slice(&b), (enum way)way, &rng);
            assert_int_equal(p.n_replies, o.n_replies);
            assert_int_equal(p.failed, o.failed);
            assert_int_equal(p.empty, o.empty);
        }
        assert_int_equal(w.now, 0);
        assert_true(w.most <= 2 * 4 * HOSTILE_STRING + 2 * HOSTILE_ELEMENTS * sizeof(ldr_reply));
    }
    print_message("# %ld of %ld damaged replies were no replies\n", n_failed, times);
    ldr_buf_free(&b);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void each_failed_allocation_is_told(void **state)
{
    (void)state;
    static const char bytes[] = "*3\r\n$5\r\nhello\r\n*2\r\n:1\r\n$40\r\n0123456789012345678901234567890123456789\r\n$1\r\nx\r\n+OK\r\n";
    for (long at = 1;; at++) {
        bed_mem m;
        ldr_err err = {0};
        int code = LDR_OK;
        ldr_reply_reader *r = ldr_reply_reader_new(bed_mem_init(&m, at), NULL);
        for (size_t i = 0; r && code == LDR_OK && i < sizeof bytes - 1; i++) {
            ldr_reply *reply = NULL;
            assert_int_equal(ldr_reply_reader_feed(r, ldr_slice_of(bytes + i, 1), &err), LDR_OK);
            code = ldr_reply_reader_next(r, &reply, &err);
            ldr_reply_free(&m.mem, reply);
        }
        assert_int_equal(err.code, code);
        ldr_reply_reader_free(r);
        assert_int_equal(m.n_alive, 0);
        if (m.n_calls < at) {
            assert_int_equal(code, LDR_OK);
            assert_true(at > 3);
            return;
        }
        assert_true(!r || code == LDR_NOMEM);
    }
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static void a_command_keeps_any_bytes(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    const ldr_slice argv[] = {ldr_slice_str("SET"), ldr_slice_of("a\r\n\0$1", 6), {0}};
    static const char wanted[] = "*3\r\n$3\r\nSET\r\n$6\r\na\r\n\0$1\r\n$0\r\n\r\n";
    assert_int_equal(ldr_command(&b, argv, 3), LDR_OK);
    assert_str(ldr_buf_slice(&b), wanted, sizeof wanted - 1);
    assert_int_equal(ldr_command(&b, argv, 0), LDR_NOMEM);
    ldr_buf_free(&b);
}

static void commands_of_many_arguments_and_out_of_memory(void **state)
{
    (void)state;
    ldr_slice argv[100];
    for (int i = 0; i < 100; i++)
        argv[i] = ldr_slice_str("key");
    for (long at = 1;; at++) {
        bed_mem m;
        ldr_exchange ex;
        ldr_exchange_init(&ex, bed_mem_init(&m, at));
        int code = LDR_OK;
        for (int i = 0; i < 10 && code == LDR_OK; i++)
            code = ldr_exchange_add(&ex, argv, i % 2 ? 100 : 1);
        if (code == LDR_OK) {
            assert_int_equal(ex.n_commands, 10);
            assert_int_equal(ex.out.n, 5 * (4 + 9) + 5 * (6 + 900));
        }
        ldr_exchange_clear(&ex);
        assert_int_equal(ldr_exchange_add(&ex, argv, 1), LDR_OK);
        ldr_exchange_free(&ex);
        assert_int_equal(m.n_alive, 0);
        if (m.n_calls < at)
            return;
    }
}

static void a_command_over_two_gib_is_refused(void **state)
{
    (void)state;
    ldr_buf b = LDR_BUF(&ldr_mem_system);
    const ldr_slice argv[] = {ldr_slice_str("SET"), ldr_slice_of("", (size_t)1 << 30), ldr_slice_of("", (size_t)1 << 30)};
    const ldr_slice one[] = {ldr_slice_of("", SIZE_MAX)};
    assert_int_equal(ldr_command(&b, argv, 3), LDR_NOMEM);
    assert_int_equal(ldr_command(&b, one, 1), LDR_NOMEM);
    ldr_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(arrays_hold_their_items_side_by_side),
        cmocka_unit_test(a_reply_at_hand_is_one_allocation),
        cmocka_unit_test(long_strings_come_in_long_pieces),
        cmocka_unit_test(announced_lengths_are_refused_at_once),
        cmocka_unit_test(each_reply_is_counted_anew),
        cmocka_unit_test(what_is_held_is_bounded),
        cmocka_unit_test(the_hostile_list_does_no_harm),
        cmocka_unit_test(random_damage_is_seen_the_same_however_it_is_cut),
        cmocka_unit_test(each_failed_allocation_is_told),
        cmocka_unit_test(a_command_keeps_any_bytes),
        cmocka_unit_test(commands_of_many_arguments_and_out_of_memory),
        cmocka_unit_test(a_command_over_two_gib_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
