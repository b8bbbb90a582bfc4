/* l2_hostile_spec.c - a cache before a server that plays each line of hostile_replies.txt in each phase of a conversation, or
 * damages what a good server said. Between cache and server stands a thread that passes all on until it is told to strike.
 * A read gives what the source has, or says that its time is over; nothing crashes or hangs, and what comes after is served. */
#include "bed.h"
#include "hostile_replies.h"
#include "larder.h"
#include "net_bed.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MS ((int64_t)LDR_MS)
#define TIMEOUT_US (60 * MS)   /* of one question to Redis */
#define CALL_US (400 * MS)     /* of one read */
#define LATE_US (2000 * MS)    /* more than that is a hang, however slow the machine and its tools are */
#define MOST 64
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define IS_WATCHED true /* what is freed is kept */
#else
#define IS_WATCHED false
#endif

/* ---- the one between ------------------------------------------------------------------------------------------------ */

typedef struct pair {
    int client, server;
    bool is_struck; /* its next answer is the one */
} pair;

typedef struct between {
    char folder[64], url[128], to[80];
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    atomic_bool stops;
    atomic_int n_fired;
    const char *word;  /* NULL: nothing is struck; "": whoever connects; else who asks something with this in it */
    ldr_slice bytes;   /* in place of the answer; n = 0: the answer is damaged */
    ldr_rng rng;
    pair pairs[MOST];
} between;

static between the;
static bed_redis redis;

static int dial(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(at.sun_path, path);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

static void fire(pair *p, char *bytes, size_t n)
{
    ldr_slice said = the.bytes;
    the.word = NULL;
    p->is_struck = false;
    if (said.n > 0)
        send(p->client, said.p, said.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    for (int i = 0; said.n == 0 && i < 4; i++)
        bytes[ldr_rng_next(&the.rng) % n] ^= (char)(1 + ldr_rng_next(&the.rng) % 255);
    if (said.n == 0)
        send(p->client, bytes, n, MSG_NOSIGNAL);
    the.n_fired++;
}

static void end_pair(pair *p)
{
    close(p->client);
    close(p->server);
    p->client = p->server = -1;
}

/* False: that side has ended. */
static bool pass_on(pair *p, bool from_client)
{
    static char bytes[65536];
    ssize_t n = recv(from_client ? p->client : p->server, bytes, sizeof bytes, 0);
    if (n <= 0)
        return false;
    if (from_client && the.word && the.word[0] && memmem(bytes, (size_t)n, the.word, strlen(the.word)))
        p->is_struck = true;
    if (!from_client && p->is_struck && the.word)
        fire(p, bytes, (size_t)n);
    else
        send(from_client ? p->server : p->client, bytes, (size_t)n, MSG_NOSIGNAL);
    return true;
}

static void greet(void)
{
    int fd = accept4(the.fd, NULL, NULL, SOCK_CLOEXEC), i = 0;
    while (i < MOST && the.pairs[i].client >= 0)
        i++;
    if (fd < 0 || i == MOST) {
        close(fd);
        return;
    }
    the.pairs[i] = (pair){.client = fd, .server = dial(the.to)};
    if (the.word && !the.word[0] && the.bytes.n > 0)
        fire(&the.pairs[i], NULL, 0);
}

static void *stand(void *arg)
{
    (void)arg;
    while (!the.stops) {
        struct pollfd p[1 + 2 * MOST] = {{.fd = the.fd, .events = POLLIN}};
        for (int i = 0; i < MOST; i++) {
            p[1 + 2 * i] = (struct pollfd){.fd = the.pairs[i].client, .events = POLLIN};
            p[2 + 2 * i] = (struct pollfd){.fd = the.pairs[i].server, .events = POLLIN};
        }
        poll(p, 1 + 2 * MOST, 20);
        pthread_mutex_lock(&the.lock);
        if (p[0].revents)
            greet();
        for (int i = 0; i < MOST; i++)
            if ((p[1 + 2 * i].revents && !pass_on(&the.pairs[i], true)) || (p[2 + 2 * i].revents && !pass_on(&the.pairs[i], false)))
                end_pair(&the.pairs[i]);
        pthread_mutex_unlock(&the.lock);
    }
    return NULL;
}

static void strike(const char *word, ldr_slice bytes)
{
    pthread_mutex_lock(&the.lock);
    the.word = word;
    the.bytes = bytes;
    for (int i = 0; i < MOST; i++)
        the.pairs[i].is_struck = false;
    pthread_mutex_unlock(&the.lock);
}

static int setup(void **state)
{
    (void)state;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    bed_redis_start(&redis);
    strcpy(the.to, redis.socket);
    strcpy(the.folder, "/tmp/larder-hostile-XXXXXX");
    if (!mkdtemp(the.folder))
        return 1;
    snprintf(at.sun_path, sizeof at.sun_path, "%s/between.sock", the.folder);
    snprintf(the.url, sizeof the.url, "redis+unix://%s", at.sun_path);
    the.rng = bed_rng("damage");
    for (int i = 0; i < MOST; i++)
        the.pairs[i] = (pair){-1, -1, false};
    the.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(the.fd, (struct sockaddr *)&at, sizeof at) || listen(the.fd, 64) || pthread_mutex_init(&the.lock, NULL) ||
           pthread_create(&the.thread, NULL, stand, NULL);
}

static int teardown(void **state)
{
    (void)state;
    char path[96];
    the.stops = true;
    pthread_join(the.thread, NULL);
    for (int i = 0; i < MOST; i++)
        if (the.pairs[i].client >= 0)
            end_pair(&the.pairs[i]);
    close(the.fd);
    snprintf(path, sizeof path, "%s/between.sock", the.folder);
    unlink(path);
    rmdir(the.folder);
    bed_redis_remove(&redis);
    return 0;
}

/* ---- a cache and what it is asked ----------------------------------------------------------------------------------- */

static const struct phase {
    const char *name, *word;
    bool of_bell;
} phases[] = {
    {"connect", "", false}, {"handshake", "SETNAME", false}, {"look-up", "TIME", false}, {"script", "EVALSHA", false},
    {"loading a script", "LOAD", false}, {"subscription", "SUBSCRIBE", true}, {"drop", "item", false},
};

static long n_keys;
static int64_t slowest_us;

static int load(void *arg, ldr_call *call)
{
    (void)arg;
    return ldr_call_answer(call, "truth", 5, LDR_STRING, 7);
}

static ldr_cache *open_cache(void)
{
    ldr_cache *cache = NULL;
    ldr_err err = {0};
    ldr_options o = {.size = sizeof o, .name = "hostile", .l2_url = the.url, .l2_timeout_us = TIMEOUT_US, .load = load,
                     .read_pattern = LDR_READ_THROUGH, .write_pattern = LDR_CACHE_ASIDE, .ttl_us = 60 * (int64_t)LDR_SEC};
    if (ldr_open(&o, &cache, &err) != LDR_OK)
        fail_msg("%s", err.message);
    return cache;
}

static void in_time(int64_t from_us, int64_t limit_us, const char *what)
{
    int64_t took = bed_now() - from_us;
    slowest_us = took > slowest_us ? took : slowest_us;
    if (took > limit_us + LATE_US)
        fail_msg("%s took %lld ms", what, (long long)(took / MS));
}

/* given: what was set before, or NULL. */
static int read_key(ldr_cache *cache, const char *key, const char *given, const char *what)
{
    ldr_value value = {0};
    ldr_err err = {0};
    ldr_get_options o = {.size = sizeof o, .timeout_us = CALL_US};
    int64_t from = bed_now();
    int code = ldr_get(cache, key, strlen(key), &o, &value, &err);
    in_time(from, CALL_US, what);
    if (code != LDR_OK && code != LDR_TIMEOUT)
        fail_msg("%s: %s: %s", what, ldr_code_word(code), err.message);
    bool is_truth = value.size == 5 && memcmp(value.data, "truth", 5) == 0;
    bool is_given = given && value.size == strlen(given) && memcmp(value.data, given, value.size) == 0;
    if (code == LDR_OK && !is_truth && !is_given)
        fail_msg("%s: \"%.*s\"", what, (int)value.size, value.data);
    int outcome = value.outcome;
    ldr_value_free(cache, &value);
    return code == LDR_OK ? outcome : -1;
}

static void use(ldr_cache *cache, const char *key, const char *what)
{
    ldr_err err = {0};
    ldr_set_options o = {.size = sizeof o, .timeout_us = CALL_US};
    read_key(cache, key, NULL, what);
    int64_t from = bed_now();
    int code = ldr_set(cache, key, strlen(key), "given", 5, &o, NULL, &err);
    in_time(from, CALL_US, what);
    if (code != LDR_OK && code != LDR_LOST && code != LDR_UNAVAILABLE && code != LDR_TIMEOUT)
        fail_msg("%s: set: %s", what, err.message);
    read_key(cache, key, "given", what);
    from = bed_now();
    code = ldr_invalidate(cache, key, strlen(key), &err);
    in_time(from, TIMEOUT_US, what);
    assert_true(code == LDR_OK || code == LDR_LOST);
}

/* Once all is well again: a drop is confirmed and a value found in a tier, within a second. */
static void serves(ldr_cache *cache, const char *what)
{
    ldr_err err = {0};
    int64_t from = bed_now();
    for (;;) {
        bool fine = ldr_invalidate(cache, "serves", 6, &err) == LDR_OK;
        read_key(cache, "serves", NULL, what);
        int outcome = read_key(cache, "serves", NULL, what);
        if (fine && (outcome == LDR_HIT_L1 || outcome == LDR_HIT_L2))
            return;
        if (bed_now() - from > (int64_t)LDR_SEC + LATE_US)
            fail_msg("%s: no service: %s", what, err.message);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void wait_fired(int n, const char *what)
{
    for (int64_t until = bed_now() + LATE_US; the.n_fired < n && bed_now() < until;)
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    if (the.n_fired < n)
        fail_msg("%s: was not played", what);
}

/* A cache of its own, whose first answers of that phase are these bytes. */
static void play(const struct phase *phase, ldr_slice bytes, const char *what, bool and_serve)
{
    char key[32];
    int fired = the.n_fired;
    ldr_cache *cache = open_cache();
    snprintf(key, sizeof key, "item%ld", n_keys++);
    strike(phase->word, bytes);
    use(cache, key, what);
    if (phase->of_bell && bytes.n > 0)
        wait_fired(fired + 1, what);
    strike(NULL, bytes);
    if (and_serve)
        serves(cache, what);
    ldr_close(cache, 0);
}

/* ---- specs ------------------------------------------------------------------------------------------------------------ */

typedef struct playing {
    const struct phase *phase;
    long every, n, n_played;
} playing;

static void each(void *ctx, const hostile_reply *r)
{
    playing *p = ctx;
    char what[96];
    if (p->n++ % p->every != 0 || r->bytes.n == 0)
        return;
    snprintf(what, sizeof what, "%s, line %d (%s)", p->phase->name, r->line, r->kind);
    play(p->phase, ldr_buf_slice(&r->bytes), what, p->n_played++ % bed_times(16, 4) == 0);
}

static void each_line_in_each_phase(void **state)
{
    (void)state;
    struct rusage before, after;
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        playing p = {.phase = &phases[i], .every = bed_times(10, 1), .n = (long)i};
        int fired = the.n_fired;
        slowest_us = 0;
        getrusage(RUSAGE_SELF, &before);
        hostile_each(each, &p);
        getrusage(RUSAGE_SELF, &after);
        printf("# %-16s %4ld replies, %4d played, slowest call %lld ms, memory at most %ld kB more\n", phases[i].name, p.n_played,
               the.n_fired - fired, (long long)(slowest_us / MS), after.ru_maxrss - before.ru_maxrss);
        assert_true(the.n_fired - fired >= p.n_played * 9 / 10);
        assert_true(IS_WATCHED || i == 0 || after.ru_maxrss - before.ru_maxrss < 65536);
    }
}

static void damaged_at_random(void **state)
{
    (void)state;
    static const struct phase any[] = {{"damaged", "item", false}, {"damaged", "SETNAME", false}, {"damaged", "EVALSHA", false},
                                       {"damaged", "SUBSCRIBE", true}};
    long n = bed_times(200, 5000);
    int fired = the.n_fired;
    slowest_us = 0;
    for (long i = 0; i < n; i++) {
        char what[64];
        snprintf(what, sizeof what, "damage %ld", i);
        play(&any[i % 4], (ldr_slice){0}, what, i % 50 == 0);
    }
    printf("# %ld conversations, %d damaged, slowest call %lld ms\n", n, the.n_fired - fired, (long long)(slowest_us / MS));
    assert_true(the.n_fired - fired >= n * 6 / 10); /* where nobody subscribes anew just then there is nothing to damage */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_in_each_phase),
        cmocka_unit_test(damaged_at_random),
    };
    return cmocka_run_group_tests_name("l2_hostile", tests, setup, teardown);
}
