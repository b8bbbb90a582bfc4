/* listener_spec.c - the listener against a real Redis server: it hears, notices whatever happens to the link or the server,
 * comes back, and tends all the while. Waits are for conditions, each with a deadline. */
#include "upkeep/listener.h"

#include "tend_bed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a server, and a client that speaks to it by hand ---------------------------------------------------------- */

typedef struct bed {
    bed_flow b;
    ldr_address address;
    ldr_listener *l;
    char folder[32], path[64];
    pid_t server;
    int fd;
} bed;

static int64_t machine_us(void)
{
    ldr_clock c;
    ldr_clock_init(&c);
    return ldr_clock_now(&c);
}

static void nap(void)
{
    struct timespec t = {.tv_nsec = 2 * 1000 * 1000};
    nanosleep(&t, NULL);
}

static int dial(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(a.sun_path, path);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        assert_true(k > 0);
        p += k;
        n -= (size_t)k;
    }
}

/* One command in line; its answer is one line, and a bulk string's second. */
static void command(bed *t, const char *line, char *answer, size_t size)
{
    size_t n = 0;
    send_all(t->fd, line, strlen(line));
    send_all(t->fd, "\r\n", 2);
    int lines = 1;
    while (n + 1 < size && lines > 0 && recv(t->fd, answer + n, 1, 0) == 1) {
        if (answer[n++] == '\n' && --lines == 0 && answer[0] == '$' && answer[1] != '-' && !memchr(answer, '\n', n - 1))
            lines = 1;
    }
    answer[n] = 0;
}

static long long ask(bed *t, const char *line)
{
    char answer[256];
    command(t, line, answer, sizeof answer);
    if (answer[0] == '-')
        fail_msg("%s: %s", line, answer);
    return answer[0] == ':' ? atoll(answer + 1) : 0;
}

static void start_server(bed *t)
{
    fflush(NULL);
    t->server = fork();
    if (t->server == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", t->path, "--save", "", "--appendonly", "no",
               "--client-output-buffer-limit", "pubsub 0 0 0", (char *)NULL);
        _exit(127);
    }
    for (int64_t until = machine_us() + 20 * LDR_SEC; (t->fd = dial(t->path)) < 0; nap())
        if (machine_us() > until)
            fail_msg("redis-server does not come up");
    struct timeval limit = {.tv_sec = 20};
    setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

static void stop_server(bed *t)
{
    if (t->server <= 0)
        return;
    close(t->fd);
    kill(t->server, SIGKILL);
    waitpid(t->server, NULL, 0);
    unlink(t->path);
    t->server = 0;
    t->fd = -1;
}

static void furnish(bed *t, bool bus)
{
    ldr_flow *f = &t->b.flow;
    bed_flow_init(&t->b, NULL, 0);
    f->links = ldr_links_new(&(ldr_links_options){.address = &t->address, .timeout_us = LDR_SEC / 2, .clock = &f->clock}, &f->mem);
    t->l = ldr_listener_new(f, bus);
    assert_true(f->links && t->l);
}

static int setup(void **state)
{
    static bed the;
    bed *t = *state = &the;
    memset(t, 0, sizeof *t);
    strcpy(t->folder, "/tmp/larder-listener-XXXXXX");
    if (!mkdtemp(t->folder))
        return 1;
    char url[128] = "redis+unix://";
    strcat(strcpy(t->path, t->folder), "/redis.sock");
    strcat(url, t->path);
    ldr_err err;
    if (ldr_address_parse(&t->address, ldr_slice_str(url), NULL, &ldr_mem_system, &err) != LDR_OK)
        return 1;
    start_server(t);
    furnish(t, true);
    return 0;
}

static void unfurnish(bed *t)
{
    ldr_listener_stop(t->l, 0);
    ldr_listener_free(t->l);
    ldr_links_free(t->b.flow.links);
    bed_flow_fini(&t->b);
}

static int teardown(void **state)
{
    bed *t = *state;
    unfurnish(t);
    ldr_address_free(&t->address, &ldr_mem_system);
    stop_server(t);
    rmdir(t->folder);
    return 0;
}

/* ---- conditions ------------------------------------------------------------------------------------------------- */

#define WAIT(t, seconds, condition)                                                                              \
    do {                                                                                                         \
        int64_t until_ = machine_us() + (int64_t)((seconds) * 1e6);                                              \
        while (!(condition)) {                                                                                   \
            if (machine_us() > until_)                                                                           \
                fail_msg("not within " #seconds " s: " #condition);                                              \
            nap();                                                                                               \
        }                                                                                                        \
    } while (0)

static uint64_t counted(bed *t, enum ldr_metric what)
{
    return bed_count(&t->b, what);
}

static void begin(bed *t)
{
    assert_true(ldr_listener_start(t->l));
    WAIT(t, 10, ldr_listener_hears(t->l));
}

/* A change as a script makes it. */
static void ring(bed *t, const char *key)
{
    char line[256];
    long long seq = ask(t, "HINCRBY " BED_BELL " s 1");
    snprintf(line, sizeof line, "PUBLISH " BED_BELL " \"%lld s 5 " BED_ORIGIN " %s\"", seq, key);
    ask(t, line);
}

static void heard_again(bed *t)
{
    uint64_t before = counted(t, LDR_M_bell_heard);
    ring(t, "k");
    WAIT(t, 5, counted(t, LDR_M_bell_heard) > before); /* its own drop of an emptied server may be among them */
}

/* Until the first pulse after the subscription was judged. */
static void settle(bed *t)
{
    for (int i = 0; i < 3; i++)
        heard_again(t);
}

/* ---- specs ------------------------------------------------------------------------------------------------------ */

static int n_threads(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static void it_starts_when_told_and_only_once(void **state)
{
    bed *t = *state;
    int before = n_threads();
    assert_false(ldr_listener_hears(t->l));
    assert_int_equal(n_threads(), before);
    begin(t);
    int running = n_threads(); /* a sanitizer may have one of its own by now */
    assert_true(running > before);
    assert_true(ldr_listener_start(t->l));
    assert_int_equal(n_threads(), running);
    ldr_listener_stop(t->l, 0);
    assert_int_equal(n_threads(), running - 1);
    assert_false(ldr_listener_hears(t->l));
    assert_false(ldr_listener_start(t->l));
}

static void what_is_rung_is_heard_in_order(void **state)
{
    bed *t = *state;
    begin(t);
    settle(t);
    uint64_t before = counted(t, LDR_M_bell_heard), suspected = counted(t, LDR_M_suspicions);
    for (int i = 0; i < 100; i++)
        ring(t, "waited");
    WAIT(t, 5, counted(t, LDR_M_bell_heard) == before + 100);
    assert_int_equal(counted(t, LDR_M_suspicions), suspected);
    assert_int_equal(counted(t, LDR_M_bell_gaps), 0);
    assert_true(atomic_load(&t->b.n_wakes) >= 100);
}

static void a_lost_message_is_noticed(void **state)
{
    bed *t = *state;
    begin(t);
    settle(t);
    uint64_t suspected = counted(t, LDR_M_suspicions);
    ask(t, "HINCRBY " BED_BELL " s 1");
    WAIT(t, 3, counted(t, LDR_M_bell_gaps) == 1);
    assert_int_equal(counted(t, LDR_M_suspicions), suspected + 1);
    ask(t, "HINCRBY " BED_BELL " s 1");
    ring(t, "k");
    WAIT(t, 3, counted(t, LDR_M_bell_gaps) == 2);
    heard_again(t);
}

static void a_killed_link_is_made_again(void **state)
{
    bed *t = *state;
    ldr_events_listen(&t->b.flow.events, 1u << LDR_EVENT_reconnect | 1u << LDR_EVENT_error);
    begin(t);
    settle(t);
    for (uint64_t i = 1; i <= 3; i++) {
        uint64_t suspected = counted(t, LDR_M_suspicions);
        assert_int_equal(ask(t, "CLIENT KILL TYPE pubsub"), 1);
        WAIT(t, 1, counted(t, LDR_M_suspicions) > suspected); /* the loss alone */
        WAIT(t, 2, counted(t, LDR_M_reconnects) == i && ldr_listener_hears(t->l));
        WAIT(t, 2, counted(t, LDR_M_suspicions) >= suspected + 2);
        heard_again(t);
    }
    ldr_event *e = ldr_events_take(&t->b.flow.events);
    assert_int_equal(e->kind, LDR_EVENT_error);
    ldr_events_drop(&t->b.flow.events, e);
    e = ldr_events_take(&t->b.flow.events);
    assert_int_equal(e->kind, LDR_EVENT_reconnect);
    assert_true(e->of_peer && ldr_slice_eq(e->key, ldr_slice_str(ldr_links_name(t->b.flow.links))));
    assert_string_equal(e->code, "unavailable");
    ldr_events_drop(&t->b.flow.events, e);
}

static void a_restarted_server_is_found_again(void **state)
{
    bed *t = *state;
    begin(t);
    settle(t);
    uint64_t suspected = counted(t, LDR_M_suspicions);
    stop_server(t);
    WAIT(t, 2, counted(t, LDR_M_suspicions) > suspected && !ldr_listener_hears(t->l));
    WAIT(t, 3, ldr_links_down(t->b.flow.links)); /* a pulse says so */
    start_server(t);
    WAIT(t, 1.5, ldr_listener_hears(t->l));
    WAIT(t, 1.5, !ldr_links_down(t->b.flow.links));
    WAIT(t, 2, counted(t, LDR_M_suspicions) >= suspected + 2);
    heard_again(t);
}

static void a_frozen_server_is_noticed(void **state)
{
    bed *t = *state;
    begin(t);
    settle(t);
    uint64_t suspected = counted(t, LDR_M_suspicions);
    kill(t->server, SIGSTOP);
    WAIT(t, 6, !ldr_listener_hears(t->l));
    assert_true(counted(t, LDR_M_suspicions) > suspected);
    kill(t->server, SIGCONT);
    WAIT(t, 2, ldr_listener_hears(t->l));
    WAIT(t, 2, !ldr_links_down(t->b.flow.links));
    settle(t);
}

static void a_quiet_bell_is_no_dead_one(void **state)
{
    bed *t = *state;
    begin(t);
    int64_t until = machine_us() + LDR_SEC * 7 / 2; /* longer than quiet and dead together */
    WAIT(t, 5, machine_us() > until);
    assert_true(ldr_listener_hears(t->l));
    assert_int_equal(counted(t, LDR_M_reconnects), 0);
    heard_again(t);
}

static void an_emptied_server_is_noticed(void **state)
{
    bed *t = *state;
    begin(t);
    settle(t);
    uint64_t suspected = counted(t, LDR_M_suspicions);
    ask(t, "FLUSHALL");
    WAIT(t, 3, counted(t, LDR_M_suspicions) > suspected);
    heard_again(t);
}

static void unconfirmed_drops_are_sent(void **state)
{
    bed *t = *state;
    begin(t);
    char key[32];
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "user:%d", i);
        ldr_resend_add(t->b.flow.resend, ldr_slice_str(key), 3);
    }
    WAIT(t, 5, !ldr_resend_any(t->b.flow.resend));
    assert_int_equal(counted(t, LDR_M_resends), 300);
    assert_int_equal(ask(t, "EXISTS ldr1:" BED_NAME ":user:7"), 1); /* a tombstone */
    ldr_resend_add_all(t->b.flow.resend);
    WAIT(t, 5, !ldr_resend_any(t->b.flow.resend));
}

static void stopping_sends_what_is_left(void **state)
{
    bed *t = *state;
    begin(t);
    stop_server(t);
    WAIT(t, 3, ldr_links_down(t->b.flow.links));
    ldr_resend_add(t->b.flow.resend, ldr_slice_str("a"), 1);
    start_server(t);
    ldr_listener_stop(t->l, 5 * LDR_SEC);
    assert_false(ldr_resend_any(t->b.flow.resend));
    assert_int_equal(ask(t, "HEXISTS ldr1.bell:" BED_NAME " s"), 1); /* it was told: the key, or all, for it came back empty */
}

static void stopping_does_not_wait_longer(void **state)
{
    bed *t = *state;
    begin(t);
    stop_server(t);
    ldr_resend_add(t->b.flow.resend, ldr_slice_str("a"), 1);
    int64_t from = machine_us();
    ldr_listener_stop(t->l, LDR_SEC / 5);
    assert_true(machine_us() - from < 3 * LDR_SEC);
    assert_true(machine_us() - from >= LDR_SEC / 5);
    assert_true(ldr_resend_any(t->b.flow.resend));
}

/* A server that freezes in the middle of a talk does not hold up who forks. */
static void a_fork_does_not_wait_for_the_server(void **state)
{
    bed *t = *state;
    begin(t);
    settle(t);
    kill(t->server, SIGSTOP);
    WAIT(t, 5, ldr_links_down(t->b.flow.links));
    int64_t longest = 0;
    for (int i = 0; i < 50; i++) {
        int64_t from = machine_us();
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        int64_t took = machine_us() - from;
        longest = took > longest ? took : longest;
        waitpid(child, NULL, 0);
        for (int k = 0; k < 10; k++)
            nap();
    }
    assert_true(longest < LDR_SEC / 4); /* a talk with it takes half a second */
    kill(t->server, SIGCONT);
    WAIT(t, 3, ldr_listener_hears(t->l) && !ldr_links_down(t->b.flow.links));
}

/* ---- a flood ---------------------------------------------------------------------------------------------------- */

#define FLOOD 200000

static void *flood(void *arg)
{
    bed *t = arg;
    int fd = dial(t->path);
    char *batch = malloc(256 * 200);
    for (uint64_t seq = 1; seq <= FLOOD;) {
        size_t n = 0;
        for (int i = 0; i < 200; i++, seq++)
            n += (size_t)snprintf(batch + n, 256, "PUBLISH " BED_BELL " \"%llu d 0 " BED_ORIGIN " user:%llu\"\r\n",
                                  (unsigned long long)seq, (unsigned long long)seq);
        send_all(fd, batch, n);
        for (int lines = 0; lines < 200;) {
            ssize_t k = recv(fd, batch, 4096, 0);
            assert_true(k > 0);
            for (ssize_t i = 0; i < k; i++)
                lines += batch[i] == '\n';
        }
    }
    free(batch);
    close(fd);
    return NULL;
}

static void a_flood_starves_nobody(void **state)
{
    bed *t = *state;
    begin(t);
    ldr_lease lease = {.key = ldr_slice_str("k"), .hash = 1, .token = 9, .ttl_us = LDR_SEC / 10};
    int64_t now = ldr_clock_now(&t->b.flow.clock);
    lease.since_us = now;
    lease.until_us = now + lease.ttl_us;
    ldr_lease_begin(t->b.flow.leases, &lease);
    pthread_t p;
    int64_t from = machine_us();
    assert_int_equal(pthread_create(&p, NULL, flood, t), 0);
    while (counted(t, LDR_M_bell_heard) < FLOOD) {
        int64_t due = ldr_leases_due(t->b.flow.leases);
        if (due != LDR_NEVER && ldr_clock_now(&t->b.flow.clock) - due > LDR_SEC)
            fail_msg("a renewal is more than a second late");
        if (machine_us() - from > 60 * LDR_SEC)
            fail_msg("heard %llu of %d", (unsigned long long)counted(t, LDR_M_bell_heard), FLOOD);
        nap();
    }
    pthread_join(p, NULL);
    printf("# %d messages heard in %.2f s\n", FLOOD, (double)(machine_us() - from) / 1e6);
    assert_int_equal(counted(t, LDR_M_reconnects), 0);
    ldr_lease_end(t->b.flow.leases, &lease);
}

/* ---- fork ------------------------------------------------------------------------------------------------------- */

/* The thread sanitizer gives a child with threads of its own up. */
static bool can_fork_threads(void)
{
#if defined(__SANITIZE_THREAD__)
    return false;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
    return false;
#endif
#endif
    return true;
}

static int child_hears(bed *t)
{
    ldr_listener_free(t->l); /* the parent's: nothing is said to the server */
    ldr_links_forked(t->b.flow.links);
    t->fd = dial(t->path);
    bed_flow_init(&t->b, NULL, 0);
    t->b.flow.links = ldr_links_new(&(ldr_links_options){.address = &t->address, .timeout_us = LDR_SEC,
                                                         .clock = &t->b.flow.clock}, &ldr_mem_system);
    t->l = ldr_listener_new(&t->b.flow, true);
    if (!ldr_listener_start(t->l))
        return 1;
    for (int64_t until = machine_us() + 10 * LDR_SEC; !ldr_listener_hears(t->l); nap())
        if (machine_us() > until)
            return 2;
    ring(t, "from the child");
    for (int64_t until = machine_us() + 10 * LDR_SEC; counted(t, LDR_M_bell_heard) == 0; nap())
        if (machine_us() > until)
            return 3;
    ldr_listener_stop(t->l, 0);
    ldr_listener_free(t->l);
    return 0;
}

static void a_child_listens_for_itself(void **state)
{
    bed *t = *state;
    if (!can_fork_threads())
        skip();
    begin(t);
    settle(t);
    for (int i = 0; i < 3; i++) {
        uint64_t before = counted(t, LDR_M_bell_heard);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            _exit(child_hears(t));
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        WAIT(t, 5, counted(t, LDR_M_bell_heard) > before); /* its own drop of an emptied server may be among them */ /* the parent heard the child */
    }
    assert_int_equal(counted(t, LDR_M_reconnects), 0);
    assert_true(ldr_listener_hears(t->l));
    heard_again(t);
}

static void the_same_listener_starts_anew_in_a_child(void **state)
{
    bed *t = *state;
    if (!can_fork_threads())
        skip();
    begin(t);
    settle(t);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        ldr_links_forked(t->b.flow.links);
        if (ldr_listener_hears(t->l) || !ldr_listener_start(t->l))
            _exit(1);
        for (int64_t until = machine_us() + 10 * LDR_SEC; !ldr_listener_hears(t->l); nap())
            if (machine_us() > until)
                _exit(2);
        ldr_listener_stop(t->l, 0);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(ldr_listener_hears(t->l));
    assert_int_equal(counted(t, LDR_M_reconnects), 0);
    heard_again(t);
}

static void without_a_bus_it_only_tends(void **state)
{
    bed *t = *state;
    unfurnish(t);
    furnish(t, false);
    assert_true(ldr_listener_start(t->l));
    ldr_resend_add(t->b.flow.resend, ldr_slice_str("a"), 1);
    WAIT(t, 5, !ldr_resend_any(t->b.flow.resend));
    assert_false(ldr_listener_hears(t->l));
    assert_int_equal(ask(t, "CLIENT KILL TYPE pubsub"), 0);
    uint64_t suspected = counted(t, LDR_M_suspicions);
    ask(t, "HINCRBY " BED_BELL " s 1"); /* of which it need not hear */
    int64_t until = machine_us() + LDR_SEC * 3 / 2;
    WAIT(t, 3, machine_us() > until);
    assert_int_equal(counted(t, LDR_M_suspicions), suspected);
}

static void a_server_that_is_not_there_costs_little(void **state)
{
    bed *t = *state;
    stop_server(t);
    ldr_events_listen(&t->b.flow.events, 1u << LDR_EVENT_error);
    assert_true(ldr_listener_start(t->l));
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    int64_t until = machine_us() + LDR_SEC;
    WAIT(t, 3, machine_us() > until);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double busy = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    assert_true(busy < 0.3);
    ldr_event *e = ldr_events_take(&t->b.flow.events); /* told once, not once a try */
    assert_non_null(e);
    assert_string_equal(e->code, "unavailable");
    ldr_events_drop(&t->b.flow.events, e);
    assert_null(ldr_events_take(&t->b.flow.events));
    start_server(t);
    WAIT(t, 2, ldr_listener_hears(t->l));
    heard_again(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_starts_when_told_and_only_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_rung_is_heard_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_message_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_link_is_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restarted_server_is_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_frozen_server_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_quiet_bell_is_no_dead_one, setup, teardown),
        cmocka_unit_test_setup_teardown(an_emptied_server_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(unconfirmed_drops_are_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_sends_what_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_does_not_wait_longer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fork_does_not_wait_for_the_server, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_starves_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(a_child_listens_for_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_listener_starts_anew_in_a_child, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_bus_it_only_tends, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_is_not_there_costs_little, setup, teardown),
    };
    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
