/* l2_interleavings_spec.c - small programs on one key, in every order in which their steps can meet. When all have ended, the
 * cell holds the newest that was committed, or nothing; while they run, it holds nothing that was never committed.
 *
 * A writer marks, commits to the source (a number), and sets. A reader looks up, takes the lease, reads the source, and fills.
 * One drops the key; Redis evicts it; another program commits and has it forgotten. Redis is a real one: one step is one question, carried to its end. */
#include "l2_words.h"

enum step { MARK, COMMIT, SET, LOOK, LEASE, READ, FILL, DROP, EVICT, ERASE, FORGET, DROP_ALL };

typedef struct program {
    const char *name;
    enum step steps[6];
    int n;
} program;

static const program writer = {"writer", {MARK, COMMIT, SET}, 3}, reader = {"reader", {LOOK, LEASE, READ, FILL}, 4},
                     dropper = {"dropper", {DROP}, 1}, evictor = {"evictor", {EVICT}, 1},
                     outsider = {"outsider", {COMMIT, DROP}, 2}, outsider_all = {"outsider_all", {COMMIT, DROP_ALL}, 2},
                     eraser = {"eraser", {MARK, ERASE, SET}, 3}, failing = {"failing", {MARK, COMMIT, FORGET}, 3};

/* One run of all programs. */
typedef struct world {
    const program *programs[6];
    int n_programs, at[6];
    bool versioned;
    int64_t source;  /* what it holds: the number of the commit */
    bool is_absent;  /* it was erased last */
    int64_t mine[6]; /* what each committed or read */
    bool mine_absent[6], may_fill[6];
    char path[64];
    long n_runs;
} world;

static ldr_l2_item item_of(const world *w, int p)
{
    (void)w;
    return l2_item((uint64_t)p + 0x10);
}

static int say_value(world *w, int p, int verb)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)w->mine[p]);
    ldr_l2_item item = item_of(w, p);
    ldr_record r = l2_record(w->mine_absent[p] ? "" : text, w->versioned && !w->mine_absent[p] ? w->mine[p] : 0);
    r.kind = w->mine_absent[p] ? LDR_NONE : LDR_STRING;
    item.version = w->versioned ? w->mine[p] : 0;
    item.record = verb == LDR_L2_SET && w->mine_absent[p] ? NULL : &r;
    return say(verb, item);
}

static void do_step(world *w, int p, enum step s)
{
    switch (s) {
    case MARK: say(LDR_L2_MARK, item_of(w, p)); break;
    case COMMIT:
    case ERASE:
        w->mine[p] = ++w->source;
        w->is_absent = w->mine_absent[p] = s == ERASE;
        break;
    case SET: say_value(w, p, LDR_L2_SET); break;
    case LOOK: look(); break;
    case LEASE: w->may_fill[p] = say(LDR_L2_LEASE, item_of(w, p)) == LDR_L2_LEASED; break;
    case READ:
        w->mine[p] = w->source;
        w->mine_absent[p] = w->is_absent;
        break;
    case FILL:
        if (w->may_fill[p])
            say_value(w, p, LDR_L2_FILL);
        break;
    case DROP: drop(0); break;
    case DROP_ALL: say(LDR_L2_DROP_ALL, l2_item(0)); break;
    case EVICT: evict(); break;
    case FORGET: say(LDR_L2_DROP, item_of(w, p)); break; /* an outcome that is not known */
    }
}

static void assert_newest(world *w)
{
    char newest[32];
    int state = look();
    if (state != LDR_L2_HELD && state != LDR_L2_MARKED)
        return;
    if (!said.is_found)
        return;
    snprintf(newest, sizeof newest, "%lld", (long long)w->source);
    bool is_newest = w->is_absent ? said.found.kind == LDR_NONE
                                  : ldr_slice_eq(said.found.value, ldr_slice_str(newest));
    if (!is_newest)
        print_message("order %s: the cell holds %.*s, the source %s%s\n", w->path, (int)said.found.value.n,
                      said.found.value.p, newest, w->is_absent ? " (absent)" : "");
    assert_true(is_newest);
}

/* At first the source has number 1, and the key is held where `held` says so. */
static void begin(world *w, bool held)
{
    evict();
    w->source = 1;
    w->is_absent = false;
    memset(w->at, 0, sizeof w->at);
    memset(w->may_fill, 0, sizeof w->may_fill);
    if (held) {
        w->mine[5] = 1;
        w->mine_absent[5] = false;
        say(LDR_L2_LEASE, item_of(w, 5));
        say_value(w, 5, LDR_L2_FILL);
    }
}

static void run(world *w, bool held)
{
    begin(w, held);
    for (const char *c = w->path; *c; c++) {
        int p = *c - '0';
        do_step(w, p, w->programs[p]->steps[w->at[p]++]);
    }
    assert_newest(w);
    w->n_runs++;
}

/* All orders; `path` has those chosen so far, `left` how many steps each program still has. */
static void try_all(world *w, int *left, int depth)
{
    bool any = false;
    for (int p = 0; p < w->n_programs; p++) {
        if (left[p] == 0)
            continue;
        any = true;
        left[p]--;
        w->path[depth] = (char)('0' + p);
        try_all(w, left, depth + 1);
        left[p]++;
    }
    if (any)
        return;
    w->path[depth] = '\0';
    run(w, true);
    run(w, false);
}

static void try_some(world *w, ldr_rng *rng, long n)
{
    while (n-- > 0) {
        int left[6], sum = 0, depth = 0;
        for (int p = 0; p < w->n_programs; p++)
            sum += left[p] = w->programs[p]->n;
        for (; sum > 0; sum--) {
            int p, at = (int)(ldr_rng_next(rng) % (uint64_t)sum);
            for (p = 0; at >= left[p]; p++)
                at -= left[p];
            left[p]--;
            w->path[depth++] = (char)('0' + p);
        }
        w->path[depth] = '\0';
        run(w, n % 2 == 0);
    }
}

static void check_all(bool versioned, int n, const program *const *programs)
{
    world w = {.n_programs = n, .versioned = versioned};
    int left[6];
    for (int p = 0; p < n; p++) {
        w.programs[p] = programs[p];
        left[p] = programs[p]->n;
    }
    try_all(&w, left, 0);
    assert_true(w.n_runs > 0);
}

#define CHECK(versioned, ...)                                                                                    \
    check_all(versioned, (int)(sizeof(const program *[]){__VA_ARGS__} / sizeof(const program *)),                \
              (const program *[]){__VA_ARGS__})

static void a_writer_a_reader_and_eviction(void **state)
{
    (void)state;
    CHECK(true, &writer, &reader, &evictor);
    CHECK(false, &writer, &reader, &evictor);
}

static void two_writers_and_eviction(void **state)
{
    (void)state;
    CHECK(true, &writer, &writer, &evictor);
    CHECK(false, &writer, &writer, &evictor);
    CHECK(true, &writer, &eraser, &evictor);
    CHECK(false, &writer, &eraser, &evictor);
    CHECK(true, &writer, &failing, &evictor);
}

static void a_writer_a_reader_and_a_drop(void **state)
{
    (void)state;
    CHECK(true, &writer, &reader, &dropper);
    CHECK(false, &writer, &reader, &dropper);
    CHECK(true, &eraser, &reader, &dropper);
    CHECK(true, &failing, &reader, &dropper);
    CHECK(false, &failing, &reader, &dropper);
}

static void others_who_commit_and_have_it_forgotten(void **state)
{
    (void)state;
    CHECK(true, &writer, &outsider);
    CHECK(false, &writer, &outsider);
    CHECK(true, &reader, &outsider, &evictor);
    CHECK(true, &writer, &outsider_all, &evictor);
    CHECK(false, &writer, &outsider_all, &evictor);
    CHECK(true, &reader, &outsider_all, &evictor);
    CHECK(false, &reader, &writer, &outsider_all);
    CHECK(true, &reader, &writer, &outsider);
}

static void check_many(bool versioned, const program *a, const program *b, const program *extra)
{
    ldr_rng rng = bed_rng("orders");
    world w = {.programs = {a, b, &reader, &evictor, extra}, .n_programs = extra ? 5 : 4, .versioned = versioned};
    try_some(&w, &rng, bed_times(1000, 100000));
}

static void two_writers_a_reader_and_all_else(void **state)
{
    (void)state;
    check_many(true, &writer, &writer, NULL);
    check_many(false, &writer, &writer, NULL);
    check_many(true, &writer, &eraser, &dropper);
    check_many(false, &writer, &eraser, &reader);
    check_many(true, &writer, &writer, &reader);
    check_many(true, &failing, &writer, &reader);
    check_many(true, &writer, &writer, &outsider);
    check_many(true, &writer, &eraser, &outsider_all);
    check_many(false, &writer, &writer, &outsider_all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_writer_a_reader_and_eviction),
        T(two_writers_and_eviction),
        T(a_writer_a_reader_and_a_drop),
        T(others_who_commit_and_have_it_forgotten),
        T(two_writers_a_reader_and_all_else),
    };
    return RUN(tests);
}
