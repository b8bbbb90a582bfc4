/* shelf_spec.c - the shelf against a plain model: what is held is equal, what is refused is right, no budget is
 * exceeded, and a slot's word changes with whatever changes its entry. */
#include "bed.h"
#include "l1/shelf.h"
#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SEC 1000000

static ldr_shelf_options options(size_t bytes, uint32_t entries, uint32_t shards)
{
    return (ldr_shelf_options){.bytes = bytes, .entries = entries, .shards = shards, .negatives = 0.1,
                               .policy = "s3fifo", .seed = 99};
}

static ldr_shelf *shelf_of(ldr_shelf_options o)
{
    ldr_shelf *s;
    ldr_err err = {.code = 0};
    if (ldr_shelf_new(&o, &ldr_mem_system, &s, &err) != LDR_OK)
        fail_msg("%s", err.message);
    return s;
}

static ldr_shelf *small_shelf(void)
{
    return shelf_of(options(256 << 10, 0, 1));
}

static void verify(ldr_shelf *s)
{
    const char *wrong = ldr_shelf_verify(s);
    if (wrong)
        fail_msg("%s", wrong);
}

static ldr_record text(const char *key, const char *value)
{
    return (ldr_record){.key = ldr_slice_str(key), .value = ldr_slice_str(value), .asked_us = 5, .soft_us = LDR_NEVER};
}

static int put(ldr_shelf *s, const ldr_record *r, int64_t now)
{
    return ldr_shelf_write(s, r, ldr_shelf_hash(s, r->key), now, NULL, NULL);
}

static bool get(ldr_shelf *s, const char *key, int64_t now, ldr_record *out, ldr_buf *bytes, ldr_slot_ref *ref)
{
    ldr_slice k = ldr_slice_str(key);
    return ldr_shelf_read(s, k, ldr_shelf_hash(s, k), now, true, out, bytes, ref);
}

static bool has(ldr_shelf *s, const char *key, int64_t now)
{
    ldr_record out;
    ldr_buf bytes = LDR_BUF(&ldr_mem_system);
    bool is = get(s, key, now, &out, &bytes, NULL);
    ldr_buf_free(&bytes);
    return is;
}

static bool erase(ldr_shelf *s, const char *key)
{
    ldr_slice k = ldr_slice_str(key);
    return ldr_shelf_erase(s, k, ldr_shelf_hash(s, k));
}

static bool touch(ldr_shelf *s, const char *key, int64_t now, int64_t soft)
{
    ldr_slice k = ldr_slice_str(key);
    return ldr_shelf_touch(s, k, ldr_shelf_hash(s, k), now, soft);
}

/* ---- options ----------------------------------------------------------------------------------------------- */

static void bad_options_are_refused(void **state)
{
    (void)state;
    ldr_shelf *s;
    ldr_err err;
    ldr_shelf_options bad[] = {options(1000, 0, 0), options(1 << 20, 0, 3), options(1 << 20, 0, 2048),
                               options(1 << 20, 0, 256), options(1 << 20, 3, 4), options((size_t)64 << 30, 0, 1)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(ldr_shelf_new(&bad[i], &ldr_mem_system, &s, &err), LDR_INVALID);
    ldr_shelf_options o = options(1 << 20, 0, 1);
    o.policy = "none such";
    assert_int_equal(ldr_shelf_new(&o, &ldr_mem_system, &s, &err), LDR_INVALID);
    assert_non_null(strstr(err.message, "none such"));
    o = options(1 << 20, 0, 1);
    o.negatives = 1.5;
    assert_int_equal(ldr_shelf_new(&o, &ldr_mem_system, &s, &err), LDR_INVALID);
    assert_null(s);
}

static void out_of_memory_is_said(void **state)
{
    (void)state;
    bed_mem bed;
    ldr_shelf *s;
    ldr_err err;
    ldr_shelf_options o = options(1 << 20, 0, 0);
    assert_int_equal(ldr_shelf_new(&o, bed_mem_init(&bed, 1), &s, &err), LDR_NOMEM);
    o = options((size_t)1 << 52, 0, 1024);
    assert_true(ldr_shelf_new(&o, bed_mem_init(&bed, 0), &s, &err) != LDR_OK);
    assert_int_equal(bed.n_alive, 0);
    ldr_shelf_free(NULL);
}

static void a_copy_without_memory_is_a_miss(void **state)
{
    (void)state;
    bed_mem bed;
    ldr_shelf *s = small_shelf();
    ldr_record r = text("k", "a value"), out;
    put(s, &r, 1);
    ldr_buf bytes = LDR_BUF(bed_mem_init(&bed, 1));
    assert_false(get(s, "k", 1, &out, &bytes, NULL));
    assert_true(get(s, "k", 1, &out, &bytes, NULL));
    ldr_buf_free(&bytes);
    ldr_shelf_free(s);
}

/* ---- records ----------------------------------------------------------------------------------------------- */

static void same_record(const ldr_record *a, const ldr_record *b)
{
    assert_true(ldr_slice_eq(a->key, b->key));
    assert_true(ldr_slice_eq(a->value, b->value));
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->compressed, b->compressed);
    assert_int_equal(a->asked_us, b->asked_us);
    assert_int_equal(a->soft_us, b->soft_us);
#define X(name) assert_int_equal(a->name, b->name);
    LDR_RECORD_FIELDS(X)
#undef X
}

static void a_record_keeps_all_its_fields(void **state)
{
    (void)state;
    static const char all[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    ldr_shelf *s = small_shelf();
    ldr_buf bytes = LDR_BUF(&ldr_mem_system);
    ldr_rng rng = bed_rng("records");
    for (int i = 0; i < 2000; i++) {
        uint64_t bits = ldr_rng_next(&rng);
        ldr_record out, r = {.key = {all, bits % 36 + 1}, .value = {all, (bits >> 8) % 37}, .kind = bits >> 16 & 3,
                             .compressed = bits >> 18 & 1, .asked_us = SEC - (int64_t)(bits >> 20 & 0xFFFFFFFF)};
        r.soft_us = bits >> 19 & 1 ? LDR_NEVER : SEC + 1 + (int64_t)(ldr_rng_next(&rng) >> 18);
#define X(name) r.name = ldr_rng_next(&rng) % 3 ? 0 : (int64_t)(ldr_rng_next(&rng) >> 2);
        LDR_RECORD_FIELDS(X)
#undef X
        r.version = 0;
        uint64_t hash = ldr_shelf_hash(s, r.key);
        assert_int_equal(ldr_shelf_write(s, &r, hash, SEC, NULL, NULL), LDR_SHELF_KEPT);
        assert_true(ldr_shelf_read(s, r.key, hash, SEC, true, &out, &bytes, NULL));
        same_record(&r, &out);
    }
    verify(s);
    ldr_buf_free(&bytes);
    ldr_shelf_free(s);
}

/* Beyond four years from the first write times are rounded down to 4,096 us; nothing is ever served late. */
static void far_times_are_rounded_down(void **state)
{
    (void)state;
    static const int64_t far[] = {(int64_t)1 << 47, ((int64_t)1 << 55) + 12345, ((int64_t)1 << 59) - 1};
    ldr_shelf *s = small_shelf();
    ldr_buf bytes = LDR_BUF(&ldr_mem_system);
    ldr_record out, r = text("k", "v");
    for (size_t i = 0; i < 3; i++) {
        r.soft_us = far[i];
        assert_int_equal(put(s, &r, SEC), LDR_SHELF_KEPT);
        assert_true(get(s, "k", SEC, &out, &bytes, NULL));
        assert_int_equal(out.asked_us, r.asked_us);
        assert_true(out.soft_us <= far[i] && out.soft_us > far[i] - 4096);
    }
    r.soft_us = INT64_MAX - 1;
    put(s, &r, SEC);
    assert_true(get(s, "k", SEC, &out, &bytes, NULL));
    assert_true(out.soft_us > far[1]);
    ldr_buf_free(&bytes);
    ldr_shelf_free(s);
}

static void older_versions_are_refused(void **state)
{
    (void)state;
    ldr_shelf *s = small_shelf();
    ldr_record r = text("k", "seven");
    r.version = 7;
    assert_int_equal(put(s, &r, 1), LDR_SHELF_KEPT);
    r.version = 6;
    assert_int_equal(put(s, &r, 1), LDR_SHELF_OLDER);
    r.version = 7;
    assert_int_equal(put(s, &r, 1), LDR_SHELF_KEPT);
    r.version = 0;
    assert_int_equal(put(s, &r, 1), LDR_SHELF_KEPT);
    r.version = 3;
    assert_int_equal(put(s, &r, 1), LDR_SHELF_KEPT);
    verify(s);
    ldr_shelf_free(s);
}

static void an_expired_version_refuses_nothing(void **state)
{
    (void)state;
    ldr_shelf *s = small_shelf();
    ldr_record r = text("k", "seven");
    r.version = 7;
    r.soft_us = 10;
    put(s, &r, 1);
    r.version = 6;
    r.soft_us = 30;
    assert_int_equal(put(s, &r, 10), LDR_SHELF_KEPT);
    ldr_shelf_free(s);
}

static void too_large_erases_what_was_older(void **state)
{
    (void)state;
    ldr_shelf *s = small_shelf();
    static char huge[512 << 10];
    ldr_record r = text("k", "v");
    put(s, &r, 1);
    r.value = ldr_slice_of(huge, sizeof huge);
    assert_int_equal(put(s, &r, 1), LDR_SHELF_TOO_LARGE);
    assert_false(has(s, "k", 1));
    r.value.n = 100 << 10;
    assert_int_equal(put(s, &r, 1), LDR_SHELF_KEPT);
    r.value.n = 110 << 10;
    assert_int_equal(put(s, &r, 1), LDR_SHELF_KEPT);
    assert_true(has(s, "k", 1));
    verify(s);
    ldr_shelf_free(s);
}

/* ---- expiry ------------------------------------------------------------------------------------------------ */

typedef struct gone_count {
    unsigned evicted, expired;
    size_t bytes;
} gone_count;

static void count_gone(void *ctx, ldr_slice key, size_t bytes, bool expired)
{
    gone_count *c = ctx;
    assert_true(key.n > 0);
    c->bytes += bytes;
    expired ? c->expired++ : c->evicted++;
}

static void hard_expiry_is_a_miss_from_that_moment(void **state)
{
    (void)state;
    ldr_shelf *s = small_shelf();
    ldr_record r = text("k", "v");
    r.soft_us = 100;
    r.stale_us = 50;
    put(s, &r, 1);
    assert_true(has(s, "k", 149));
    assert_false(has(s, "k", 150));
    assert_true(touch(s, "k", 149, 300));
    assert_true(has(s, "k", 349));
    assert_false(has(s, "k", 350));
    assert_false(touch(s, "k", 350, 1000));
    assert_int_equal(ldr_shelf_entries(s), 0);
    assert_false(touch(s, "none", 1, 1000));
    ldr_shelf_free(s);
}

static void touch_keeps_when_it_was_asked(void **state)
{
    (void)state;
    ldr_shelf *s = small_shelf();
    ldr_buf bytes = LDR_BUF(&ldr_mem_system);
    ldr_record out, r = text("k", "v");
    r.asked_us = -777;
    r.soft_us = 100;
    r.version = 12;
    put(s, &r, 1);
    int64_t softs[] = {500, LDR_NEVER, (int64_t)1 << 50, 700};
    for (int i = 0; i < 4; i++) {
        assert_true(touch(s, "k", 1, softs[i]));
        assert_true(get(s, "k", 1, &out, &bytes, NULL));
        r.soft_us = out.soft_us;
        same_record(&r, &out);
        assert_true(out.soft_us <= softs[i] && out.soft_us > softs[i] - 4096);
    }
    assert_int_equal(out.soft_us, 700);
    ldr_buf_free(&bytes);
    ldr_shelf_free(s);
}

static void writes_sweep_what_expired(void **state)
{
    (void)state;
    char key[16];
    gone_count c = {.evicted = 0};
    ldr_shelf_watch watch = {.gone = count_gone, .ctx = &c};
    ldr_shelf *s = shelf_of(options(1 << 20, 0, 1));
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        ldr_record r = text(key, "v");
        r.soft_us = i % 2 ? LDR_NEVER : 60 * (int64_t)SEC;
        put(s, &r, SEC);
    }
    for (int i = 0; i < 1200; i++) {
        ldr_record r = text("other", "v");
        ldr_shelf_write(s, &r, ldr_shelf_hash(s, r.key), 120 * (int64_t)SEC, &watch, NULL);
    }
    assert_int_equal(c.expired, 500);
    assert_int_equal(c.evicted, 0);
    assert_int_equal(ldr_shelf_entries(s), 501);
    verify(s);
    ldr_shelf_free(s);
}

/* ---- negatives --------------------------------------------------------------------------------------------- */

static void negatives_take_no_more_than_their_share(void **state)
{
    (void)state;
    char key[16];
    ldr_shelf *s = shelf_of(options(1 << 20, 1000, 1));
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "k%d", i);
        ldr_record r = text(key, "v");
        put(s, &r, 1);
    }
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "n%d", i);
        ldr_record r = text(key, "");
        r.kind = LDR_NONE;
        put(s, &r, 1);
    }
    assert_int_equal(ldr_shelf_entries(s), 600);
    assert_true(has(s, "n299", 1) && has(s, "n200", 1) && !has(s, "n199", 1) && has(s, "k0", 1));
    ldr_record r = text("n299", "now it is there");
    put(s, &r, 1);
    r = text("k0", "");
    r.kind = LDR_NONE;
    put(s, &r, 1);
    verify(s);
    assert_true(has(s, "n299", 1) && has(s, "k0", 1));
    ldr_shelf_free(s);
}

static void the_newest_negative_always_stays(void **state)
{
    (void)state;
    ldr_shelf_options o = options(64 << 10, 4, 1);
    o.negatives = 0;
    ldr_shelf *s = shelf_of(o);
    ldr_record a = text("a", ""), b = text("b", "");
    a.kind = b.kind = LDR_NONE;
    put(s, &a, 1);
    put(s, &b, 1);
    assert_true(!has(s, "a", 1) && has(s, "b", 1));
    ldr_shelf_free(s);
}

/* ---- a slot's word ----------------------------------------------------------------------------------------- */

static void a_word_changes_with_every_change(void **state)
{
    (void)state;
    ldr_shelf *s = shelf_of(options(256 << 10, 4, 1));
    ldr_buf bytes = LDR_BUF(&ldr_mem_system);
    ldr_record out, r = text("k", "v");
    ldr_slot_ref ref;
    char key[8];
    for (int change = 0; change < 6; change++) {
        r.soft_us = 100;
        put(s, &r, 1);
        assert_true(get(s, "k", 1, &out, &bytes, &ref));
        assert_int_equal(atomic_load(ref.at), ref.word);
        switch (change) {
        case 0: put(s, &r, 1); break;
        case 1: r.value = ldr_slice_str("something longer than before"); put(s, &r, 1); break;
        case 2: erase(s, "k"); break;
        case 3: touch(s, "k", 1, 200); break;
        case 4: ldr_shelf_clear(s); break;
        default:
            for (int i = 0; i < 20; i++) {
                snprintf(key, sizeof key, "e%d", i);
                ldr_record e = text(key, "v");
                put(s, &e, 1);
            }
        }
        assert_int_not_equal(atomic_load(ref.at), ref.word);
    }
    assert_false(has(s, "k", 1));
    ldr_buf_free(&bytes);
    ldr_shelf_free(s);
}

static void a_remembered_hit_marks_as_a_read_does(void **state)
{
    (void)state;
    for (size_t i = 0; ldr_policy_at(i); i++) {
        ldr_shelf_options o = options(256 << 10, 10, 1);
        o.policy = ldr_policy_at(i)->name;
        ldr_shelf *s = shelf_of(o);
        ldr_buf bytes = LDR_BUF(&ldr_mem_system);
        ldr_record out, r = text("k", "v");
        ldr_slot_ref ref;
        put(s, &r, 1);
        ldr_slice k = ldr_slice_str("k");
        assert_true(ldr_shelf_read(s, k, ldr_shelf_hash(s, k), 1, false, &out, &bytes, &ref));
        assert_int_equal(ref.mark == NULL, strcmp(o.policy, "lru") == 0);
        for (int n = 1; ref.mark && n < 6; n++) {
            ldr_slot_mark(&ref);
            assert_int_equal(atomic_load(ref.mark), n < ref.mark_max ? n : ref.mark_max);
        }
        ldr_buf_free(&bytes);
        ldr_shelf_free(s);
    }
}

/* ---- against a model --------------------------------------------------------------------------------------- */

#define KEYS 3000

/* The last record written of each key: what is held must be equal to it. */
typedef struct model {
    ldr_shelf *shelf;
    ldr_shelf_options o;
    ldr_rng rng;
    int64_t now;
    size_t most_value;
    char *value;
    struct {
        bool may; /* be held */
        uint32_t size;
        uint8_t fill;
        int64_t version, soft, stale;
    } keys[KEYS];
} model;

static void model_key(uint32_t i, char key[40])
{
    snprintf(key, 40, "%.*s%u", (int)(i % 20), "abcdefghijklmnopqrstuvwxyz", i);
}

static void model_write(model *m, uint32_t i, const char *key)
{
    uint64_t bits = ldr_rng_next(&m->rng);
    size_t most = bits % 50 == 0 ? m->most_value : bits % 7 == 0 ? 600 : 80;
    ldr_record r = {.key = ldr_slice_str(key), .value = {m->value, (bits >> 8) % (most + 1)}, .asked_us = m->now};
    r.kind = bits >> 40 & 7 ? LDR_STRING : LDR_NONE;
    r.version = bits >> 44 & 1 ? (int64_t)(bits >> 50 & 7) : 0;
    r.soft_us = bits >> 45 & 1 ? LDR_NEVER : m->now + (int64_t)(bits >> 46 & 255);
    r.stale_us = bits >> 54 & 1 ? 60 : 0;
    uint8_t fill = (uint8_t)(bits >> 56);
    memset(m->value, fill, r.value.n);
    switch (ldr_shelf_write(m->shelf, &r, ldr_shelf_hash(m->shelf, r.key), m->now, NULL, NULL)) {
    case LDR_SHELF_KEPT:
        m->keys[i].may = true;
        m->keys[i].size = (uint32_t)r.value.n;
        m->keys[i].fill = fill;
        m->keys[i].version = r.version;
        m->keys[i].soft = r.soft_us;
        m->keys[i].stale = r.stale_us;
        break;
    case LDR_SHELF_OLDER: assert_true(m->keys[i].may && m->keys[i].version > r.version && r.version); break;
    case LDR_SHELF_TOO_LARGE: m->keys[i].may = false;
    }
}

static void model_read(model *m, uint32_t i, const char *key, ldr_buf *bytes)
{
    ldr_record out;
    if (!get(m->shelf, key, m->now, &out, bytes, NULL))
        return;
    assert_true(m->keys[i].may);
    assert_true(ldr_record_hard_us(&out) > m->now);
    assert_int_equal(out.value.n, m->keys[i].size);
    assert_int_equal(out.version, m->keys[i].version);
    assert_int_equal(out.soft_us, m->keys[i].soft);
    assert_int_equal(out.stale_us, m->keys[i].stale);
    for (size_t n = 0; n < out.value.n; n++)
        assert_int_equal((uint8_t)out.value.p[n], m->keys[i].fill);
}

static void model_step(model *m, ldr_buf *bytes)
{
    uint64_t bits = ldr_rng_next(&m->rng);
    uint32_t i = (uint32_t)((bits >> 32) % KEYS * ((bits >> 16) % KEYS) / KEYS);
    char key[40];
    model_key(i, key);
    m->now += bits >> 8 & 1;
    switch (bits & 15) {
    case 0: assert_false(erase(m->shelf, key) && !m->keys[i].may); m->keys[i].may = false; break;
    case 1:
        if (touch(m->shelf, key, m->now, m->now + 100))
            m->keys[i].soft = m->now + 100;
        break;
    case 2: case 3: case 4: case 5: case 6: case 7: model_write(m, i, key); break;
    default: model_read(m, i, key, bytes);
    }
}

static void model_check(model *m, ldr_buf *bytes)
{
    char key[40];
    verify(m->shelf);
    assert_true(ldr_shelf_bytes(m->shelf) <= m->o.bytes);
    assert_true(m->o.entries == 0 || ldr_shelf_entries(m->shelf) <= m->o.entries);
    for (uint32_t i = 0; i < KEYS; i++) {
        model_key(i, key);
        model_read(m, i, key, bytes);
    }
}

static void model_run(ldr_shelf_options o, ldr_rng *rng, size_t most_value)
{
    static model m;
    ldr_buf bytes = LDR_BUF(&ldr_mem_system);
    m = (model){.shelf = shelf_of(o), .o = o, .rng = *rng, .now = SEC, .most_value = most_value};
    m.value = malloc(most_value + 1000);
    for (int i = 0; i < 24000; i++) {
        model_step(&m, &bytes);
        if (i % 6000 == 5999)
            model_check(&m, &bytes);
        if (i == 12000) {
            ldr_shelf_clear(m.shelf);
            verify(m.shelf);
            assert_int_equal(ldr_shelf_entries(m.shelf), 0);
            for (uint32_t k = 0; k < KEYS; k++)
                m.keys[k].may = false;
        }
    }
    *rng = m.rng;
    free(m.value);
    ldr_buf_free(&bytes);
    ldr_shelf_free(m.shelf);
}

static void any_operations_in_any_budget(void **state)
{
    (void)state;
    static const struct { size_t kib; uint32_t entries, shards; size_t most_value; } beds[] = {
        {64, 0, 1, 3000}, {64, 100, 1, 40000}, {96, 0, 1, 70000}, {128, 0, 1, 100}, {256, 0, 2, 20000},
        {300, 1000, 1, 1000}, {1024, 0, 4, 100000}, {4096, 2000, 8, 3000}};
    ldr_rng rng = bed_rng("shelf");
    for (long round = 0; round < bed_times(1, 30); round++)
        for (size_t p = 0; ldr_policy_at(p); p++)
            for (size_t i = 0; i < sizeof beds / sizeof beds[0]; i++) {
                ldr_shelf_options o = options(beds[i].kib << 10, beds[i].entries, beds[i].shards);
                o.policy = ldr_policy_at(p)->name;
                model_run(o, &rng, beds[i].most_value);
            }
}

/* Large values fill the shelf, then ever smaller ones, then large ones again: slots, buckets and ghosts must be
 * carved from an arena that is full. */
static void sizes_that_shrink_and_grow(void **state)
{
    (void)state;
    static char value[60000];
    static const size_t sizes[] = {50000, 5000, 500, 50, 1, 300, 20000, 60000};
    ldr_shelf *s = shelf_of(options(1 << 20, 0, 1));
    char key[16];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (uint32_t k = 0; k < 20000; k++) {
            snprintf(key, sizeof key, "%zu:%u", i, sizes[i] > 1000 ? k % 500 : k);
            ldr_record r = text(key, "");
            r.value = ldr_slice_of(value, sizes[i]);
            assert_int_equal(put(s, &r, 1), LDR_SHELF_KEPT);
            if (sizes[i] > 1000 && k == 500)
                break;
        }
        verify(s);
        assert_true(has(s, key, 1));
        assert_true(ldr_shelf_bytes(s) <= 1 << 20);
    }
    ldr_shelf_free(s);
}

static void the_watch_hears_of_all_that_leave(void **state)
{
    (void)state;
    char key[16];
    gone_count c = {.evicted = 0};
    ldr_shelf_watch watch = {.gone = count_gone, .ctx = &c};
    ldr_shelf *s = shelf_of(options(64 << 10, 0, 1));
    uint32_t n_evicted = 0;
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        ldr_record r = text(key, "some value");
        ldr_shelf_write(s, &r, ldr_shelf_hash(s, r.key), 1, &watch, &n_evicted);
    }
    assert_int_equal(c.evicted, n_evicted);
    assert_int_equal(c.evicted + ldr_shelf_entries(s), 5000);
    assert_true(c.bytes > c.evicted * 40);
    ldr_shelf_free(s);
}

/* However long keys come and go, nobody leaves but the one whose place is needed. */
static void a_full_shelf_evicts_one_a_write(void **state)
{
    (void)state;
    enum { FULL = 1375 };
    ldr_shelf *s = shelf_of(options(1 << 20, FULL, 1));
    for (uint32_t i = 0; i < 100000; i++) {
        char key[16];
        uint32_t n_evicted = 0;
        snprintf(key, sizeof key, "%u", i);
        ldr_record r = text(key, "v");
        ldr_shelf_write(s, &r, ldr_shelf_hash(s, r.key), 1, NULL, &n_evicted);
        assert_int_equal(n_evicted, i < FULL ? 0 : 1);
    }
    verify(s);
    ldr_shelf_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(out_of_memory_is_said),
        cmocka_unit_test(a_copy_without_memory_is_a_miss),
        cmocka_unit_test(a_record_keeps_all_its_fields),
        cmocka_unit_test(far_times_are_rounded_down),
        cmocka_unit_test(older_versions_are_refused),
        cmocka_unit_test(an_expired_version_refuses_nothing),
        cmocka_unit_test(too_large_erases_what_was_older),
        cmocka_unit_test(hard_expiry_is_a_miss_from_that_moment),
        cmocka_unit_test(touch_keeps_when_it_was_asked),
        cmocka_unit_test(writes_sweep_what_expired),
        cmocka_unit_test(negatives_take_no_more_than_their_share),
        cmocka_unit_test(the_newest_negative_always_stays),
        cmocka_unit_test(a_word_changes_with_every_change),
        cmocka_unit_test(a_remembered_hit_marks_as_a_read_does),
        cmocka_unit_test(any_operations_in_any_budget),
        cmocka_unit_test(sizes_that_shrink_and_grow),
        cmocka_unit_test(the_watch_hears_of_all_that_leave),
        cmocka_unit_test(a_full_shelf_evicts_one_a_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
