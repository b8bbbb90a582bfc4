/* l2_server_spec.c - the shared shelf and its server: what lies there and is not ours, what fails, and what is news. */
#include "l2_words.h"

/* ---- what lies in Redis and is not ours ---------------------------------------------------------------------- */

static void another_type_is_deleted_by_who_loads(void **state)
{
    (void)state;
    l2_do(&bed, "RPUSH", L2_KEY, "x", NULL);
    assert_nothing();
    assert_string_equal(said.why, "corrupt");
    assert_int_equal(lease(A), LDR_L2_LEASED);
    assert_string_equal(said.why, "corrupt");
    assert_int_equal(fill(A, "v", 3), LDR_L2_DONE);
    assert_held("v", 3);
}

static void a_later_layout_is_a_miss(void **state)
{
    (void)state;
    hold("v", 3);
    char bytes[512];
    ldr_slice cell = l2_bytes(&bed);
    memcpy(bytes, cell.p, cell.n);
    bytes[0] = '2';
    l2_write(&bed, ldr_slice_of(bytes, cell.n));
    assert_nothing();
    assert_string_equal(said.why, "format");
    assert_int_equal(lease(A), LDR_L2_LEASED);
    assert_int_equal(fill(A, "w", 3), LDR_L2_DONE);
    assert_held("w", 3);
}

static void a_value_that_cannot_be_read_is_loaded_anew(void **state)
{
    (void)state;
    hold("v", 3);
    char bytes[512];
    ldr_slice cell = l2_bytes(&bed);
    size_t n = cell.n;
    memcpy(bytes, cell.p, n);
    bytes[n - 6] ^= 1;
    l2_write(&bed, ldr_slice_of(bytes, n));
    assert_int_equal(lease(B), LDR_L2_LEASED); /* not HELD for ever */
    drop(0);
    l2_write(&bed, ldr_slice_of(bytes, n));
    assert_nothing();
    assert_true(said.is_damaged);
    said.token = B;
    said.for_us = L2_LEASE_US;
    assert_int_equal(l2_say(&bed, shelf, LDR_L2_LEASE, &said), LDR_L2_LEASED);
    assert_int_equal(fill(B, "w", 3), LDR_L2_DONE);
    assert_held("w", 3);
}

static void a_bell_of_another_type_is_made_anew(void **state)
{
    (void)state;
    l2_do(&bed, "SET", L2_BELL, "x", NULL);
    look();
    assert_nothing();
    hold("v", 3);
    l2_do(&bed, "SET", L2_BELL, "x", NULL);
    assert_int_equal(drop(0), LDR_L2_FAILED);
    assert_nothing();
    assert_int_equal(drop(0), LDR_L2_DONE);
}

/* ---- the server ---------------------------------------------------------------------------------------------- */

static void a_script_that_is_not_known_is_loaded(void **state)
{
    (void)state;
    hold("v", 3);
    l2_do(&bed, "SCRIPT", "FLUSH", NULL);
    ldr_l2_item item = l2_item(B), *items = &item;
    ldr_l2_ask(shelf, &bed.ex, LDR_L2_LEASE, &items, 1, bed_now());
    ldr_links_talk(bed.links.links, &bed.ex, LDR_NEVER);
    assert_true(ldr_l2_answer(shelf, &bed.ex, LDR_L2_LEASE, &items, 1, bed_now()));
    assert_int_equal(item.state, LDR_L2_AGAIN);
    assert_int_equal(lease(B), LDR_L2_HELD);
    assert_int_equal(lease(B), LDR_L2_HELD);
    assert_int_equal(bed.ex.n_commands, 1);
}

static void at_maxmemory_a_drop_passes(void **state)
{
    (void)state;
    hold("v", 3);
    l2_do(&bed, "CONFIG", "SET", "maxmemory", "1", NULL);
    assert_held("v", 3);
    ldr_l2_item item = l2_item(B);
    item.force = true;
    assert_int_equal(say(LDR_L2_LEASE, item), LDR_L2_FAILED);
    assert_int_equal(said.err.code, LDR_UNAVAILABLE);
    assert_non_null(strstr(said.err.message, "OOM"));
    assert_int_equal(put("w", 0, LDR_ANY), LDR_L2_FAILED);
    l2_hear(&bed);
    assert_int_equal(drop(4), LDR_L2_DONE);
    assert_heard("d 4");
    assert_nothing();
    assert_int_equal(say(LDR_L2_DROP_ALL, l2_item(0)), LDR_L2_DONE);
    l2_do(&bed, "CONFIG", "SET", "maxmemory", "0", NULL);
    lease(A);
    assert_refused(fill(A, "v", 3), "version"); /* the tombstone was written */
}

static void a_frozen_or_dead_server_says_nothing_wrong(void **state)
{
    (void)state;
    ldr_l2_item item = l2_item(A), *items = &item;
    const struct { int verb; bool sent; int code, want; } rows[] = {
        {LDR_L2_LOOKUP, true, LDR_TIMEOUT, LDR_TIMEOUT},     {LDR_L2_LOOKUP, false, LDR_UNAVAILABLE, LDR_UNAVAILABLE},
        {LDR_L2_LEASE, true, LDR_CORRUPT, LDR_UNAVAILABLE},  {LDR_L2_PUT, true, LDR_TIMEOUT, LDR_LOST},
        {LDR_L2_DROP, true, LDR_CORRUPT, LDR_LOST},          {LDR_L2_SET, false, LDR_TIMEOUT, LDR_TIMEOUT},
        {LDR_L2_MARK, false, LDR_UNAVAILABLE, LDR_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ldr_l2_ask(shelf, &bed.ex, rows[i].verb, &items, 1, bed_now());
        bed.ex.sent = rows[i].sent;
        bed.ex.done = true;
        bed.ex.err.code = rows[i].code;
        assert_false(ldr_l2_answer(shelf, &bed.ex, rows[i].verb, &items, 1, bed_now()));
        assert_int_equal(item.state, LDR_L2_FAILED);
        assert_int_equal(item.err.code, rows[i].want);
    }
}

/* ---- news ---------------------------------------------------------------------------------------------------- */

static unsigned n_news[4];

static void note(void *ctx, enum ldr_l2_news news, uint64_t sequence)
{
    (void)ctx;
    (void)sequence;
    n_news[news]++;
}

static bool pulse_with(int64_t mark, ldr_l2_pulse *pulse)
{
    ldr_err err = {0};
    assert_int_equal(ldr_l2_ask_pulse(shelf, &bed.ex, mark, bed_now()), LDR_OK);
    ldr_links_talk(bed.links.links, &bed.ex, LDR_NEVER);
    return ldr_l2_answer_pulse(shelf, &bed.ex, bed_now(), pulse, &err);
}

static bool pulse(uint64_t *sequence)
{
    ldr_l2_pulse p = {.sequence = *sequence};
    bool came = pulse_with(LDR_UNSET, &p);
    *sequence = p.sequence;
    return came;
}

static void a_pulse_carries_the_mark(void **state)
{
    (void)state;
    ldr_l2_pulse p;
    assert_true(pulse_with(LDR_UNSET, &p) && p.mark == 0);
    assert_true(pulse_with(5, &p) && p.mark == 5);
    assert_true(pulse_with(LDR_UNSET, &p) && p.mark == 5);
    assert_true(pulse_with(INT64_MAX, &p) && p.mark == INT64_MAX);
    assert_true(pulse_with(0, &p) && p.mark == 0);
    const char *strange[] = {"", "x", "-1", "1.5", "9223372036854775808", "99999999999999999999"};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        l2_do(&bed, "HSET", L2_BELL, "m", strange[i], NULL);
        assert_true(pulse_with(LDR_UNSET, &p) && p.mark == 0);
    }
    l2_do(&bed, "DEL", L2_BELL, NULL);
    l2_do(&bed, "SET", L2_BELL, "x", NULL);
    assert_false(pulse_with(7, &p));
    assert_true(pulse_with(7, &p));
    assert_true(pulse_with(7, &p) && p.mark == 7);
    l2_do(&bed, "CONFIG", "SET", "maxmemory", "1", NULL);
    assert_true(pulse_with(8, &p) && p.mark == 7);
}

static void a_pulse_tells_what_moved(void **state)
{
    (void)state;
    uint64_t sequence = 99;
    ldr_l2 *other = l2_shelf(8);
    ldr_l2_item item = l2_item(0);
    memset(n_news, 0, sizeof n_news);
    ldr_l2_listen(shelf, note, NULL);
    assert_true(ldr_l2_is_due(shelf, bed_now()));
    assert_true(pulse(&sequence) && sequence == 0);
    assert_false(ldr_l2_is_due(shelf, bed_now()));
    assert_true(ldr_l2_is_due(shelf, bed_now() + 1100 * (int64_t)LDR_MS));
    drop(4);
    assert_true(pulse(&sequence) && sequence == 1);
    assert_int_equal(n_news[LDR_L2_NEWS_GENERATION] + n_news[LDR_L2_NEWS_EMPTIED] + n_news[LDR_L2_NEWS_CLOCK], 0);
    l2_say(&bed, other, LDR_L2_DROP_ALL, &item);
    assert_true(pulse(&sequence) && sequence == 2);
    assert_int_equal(n_news[LDR_L2_NEWS_GENERATION], 1);
    say(LDR_L2_DROP_ALL, item);
    assert_true(pulse(&sequence) && sequence == 3);
    assert_int_equal(n_news[LDR_L2_NEWS_GENERATION], 1); /* our own is no news */
    l2_do(&bed, "FLUSHALL", NULL);
    assert_true(pulse(&sequence));
    assert_int_equal(n_news[LDR_L2_NEWS_EMPTIED], 1);
    assert_true(pulse(&sequence) && sequence == 0);
    l2_do(&bed, "HDEL", L2_BELL, "g", NULL);
    assert_true(pulse(&sequence));
    assert_int_equal(n_news[LDR_L2_NEWS_EMPTIED], 2);
    assert_int_equal(n_news[LDR_L2_NEWS_CLOCK], 0);
    ldr_l2_free(other);
}

static void a_generation_that_was_told_is_not_undone_by_an_older_answer(void **state)
{
    (void)state;
    ldr_l2_item item = l2_item(A), *items = &item;
    memset(n_news, 0, sizeof n_news);
    ldr_l2_listen(shelf, note, NULL);
    hold("v", 3);
    assert_held("v", 3);
    ldr_l2_expire(shelf);
    ldr_l2_ask(shelf, &bed.ex, LDR_L2_LOOKUP, &items, 1, bed_now());
    ldr_links_talk(bed.links.links, &bed.ex, LDR_NEVER);
    l2_do(&bed, "HSET", L2_BELL, "g", "00000000000000ff", NULL);
    ldr_l2_set_generation(shelf, 0xff); /* the bell overtook the answer */
    ldr_l2_answer(shelf, &bed.ex, LDR_L2_LOOKUP, &items, 1, bed_now());
    assert_int_equal(item.state, LDR_L2_NOTHING);
    assert_nothing();
    assert_int_equal(n_news[LDR_L2_NEWS_GENERATION], 0);
}

static void a_clock_set_back_is_told(void **state)
{
    (void)state;
    ldr_l2_item item = l2_item(A), *items = &item;
    memset(n_news, 0, sizeof n_news);
    ldr_l2_listen(shelf, note, NULL);
    look();
    ldr_l2_ask(shelf, &bed.ex, LDR_L2_LOOKUP, &items, 1, bed_now());
    ldr_links_talk(bed.links.links, &bed.ex, LDR_NEVER);
    bed.ex.sent_us += LDR_SEC; /* as if it had been asked a second later, when the server's time was the same */
    ldr_l2_answer(shelf, &bed.ex, LDR_L2_LOOKUP, &items, 1, bed_now() + LDR_SEC);
    assert_int_equal(n_news[LDR_L2_NEWS_CLOCK], 1);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

static void without_memory_nothing_is_asked(void **state)
{
    (void)state;
    bed_mem m;
    char key[4096];
    memset(key, 'x', sizeof key);
    for (int verb = 0; verb < LDR_L2_N_VERBS; verb++) {
        int code = LDR_NOMEM;
        for (long at = 1; code == LDR_NOMEM && at < 64; at++) {
            ldr_l2 *l = NULL;
            ldr_err err;
            ldr_exchange ex;
            ldr_record r = l2_record("v", 1);
            ldr_l2_item item = l2_item(A), *items[] = {&item, &item};
            item.key = ldr_slice_of(key, sizeof key);
            item.record = &r;
            const ldr_mem *mem = bed_mem_init(&m, at);
            ldr_exchange_init(&ex, mem);
            code = ldr_l2_new(&(ldr_l2_options){.name = "n"}, mem, &l, &err);
            if (code == LDR_OK)
                code = ldr_l2_ask(l, &ex, verb, items, 2, 5);
            assert_true(code == LDR_OK || (code == LDR_NOMEM && ex.n_commands == 0));
            ldr_exchange_free(&ex);
            ldr_l2_free(l);
            assert_int_equal(m.n_alive, 0);
        }
        assert_int_equal(code, LDR_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(another_type_is_deleted_by_who_loads),
        T(a_later_layout_is_a_miss),
        T(a_value_that_cannot_be_read_is_loaded_anew),
        T(a_bell_of_another_type_is_made_anew),
        T(a_script_that_is_not_known_is_loaded),
        T(at_maxmemory_a_drop_passes),
        T(a_frozen_or_dead_server_says_nothing_wrong),
        T(a_pulse_carries_the_mark),
        T(a_pulse_tells_what_moved),
        T(a_generation_that_was_told_is_not_undone_by_an_older_answer),
        T(a_clock_set_back_is_told),
        T(without_memory_nothing_is_asked),
    };
    return RUN(tests);
}
