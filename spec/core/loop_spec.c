/* loop_spec.c - the mailbox: nothing posted is lost or told twice, a full ring says so, waits end when they should. */
#include "net/loop.h"

#include "bed.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HELD 1024 /* what the ring holds */

static bool is_readable(const ldr_loop *l)
{
    struct pollfd p = {.fd = ldr_loop_fd(l), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static int setup(void **state)
{
    *state = ldr_loop_new(&ldr_mem_system);
    return *state == NULL;
}

static int teardown(void **state)
{
    ldr_loop_free(*state);
    return 0;
}

static void empty_gives_nothing(void **state)
{
    uint64_t ids[4];
    bool overflow = true;
    assert_int_equal(ldr_loop_wait(*state, 0, ids, 4, &overflow), 0);
    assert_false(overflow);
    assert_false(is_readable(*state));
}

static void posts_come_in_order(void **state)
{
    uint64_t ids[4];
    bool overflow;
    for (uint64_t id = 1; id <= 5; id++)
        ldr_loop_post(*state, id);
    assert_true(is_readable(*state));
    assert_int_equal(ldr_loop_wait(*state, -1, ids, 4, &overflow), 4);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[3], 4);
    assert_true(is_readable(*state));
    assert_int_equal(ldr_loop_wait(*state, -1, ids, 4, &overflow), 1);
    assert_int_equal(ids[0], 5);
    assert_false(is_readable(*state));
}

static void a_full_ring_tells_once(void **state)
{
    uint64_t ids[HELD + 8];
    bool overflow;
    for (uint64_t id = 0; id < HELD + 3; id++)
        ldr_loop_post(*state, id);
    assert_int_equal(ldr_loop_wait(*state, -1, ids, HELD + 8, &overflow), HELD);
    assert_true(overflow);
    assert_int_equal(ids[HELD - 1], HELD - 1);
    assert_false(is_readable(*state));
    assert_int_equal(ldr_loop_wait(*state, 0, ids, 4, &overflow), 0);
    assert_false(overflow);
}

static void exactly_full_is_no_overflow(void **state)
{
    uint64_t ids[HELD];
    bool overflow;
    for (uint64_t id = 0; id < HELD; id++)
        ldr_loop_post(*state, id);
    assert_int_equal(ldr_loop_wait(*state, -1, ids, HELD, &overflow), HELD);
    assert_false(overflow);
}

static void the_ring_wraps(void **state)
{
    uint64_t ids[8], posted = 0, seen = 0;
    bool overflow;
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 7; i++)
            ldr_loop_post(*state, posted++);
        assert_int_equal(ldr_loop_wait(*state, -1, ids, 8, &overflow), 7);
        for (int i = 0; i < 7; i++)
            assert_int_equal(ids[i], seen++);
    }
}

static void what_was_posted_of_an_id_can_be_taken_back(void **state)
{
    uint64_t ids[4];
    bool overflow;
    ldr_loop_forget(*state, 5);
    for (uint64_t id = 5; id < 8; id++) {
        ldr_loop_post(*state, id);
        ldr_loop_post(*state, 5);
    }
    ldr_loop_forget(*state, 5);
    assert_true(is_readable(*state));
    assert_int_equal(ldr_loop_wait(*state, 0, ids, 4, &overflow), 2);
    assert_int_equal(ids[0], 6);
    assert_int_equal(ids[1], 7);
    ldr_loop_post(*state, 5);
    ldr_loop_forget(*state, 5);
    assert_false(is_readable(*state));
    ldr_loop_post(*state, 9);
    assert_true(is_readable(*state));
}

static void a_limit_ends_the_wait(void **state)
{
    uint64_t ids[4];
    bool overflow;
    ldr_clock clock;
    ldr_clock_init(&clock);
    int64_t from_us = ldr_clock_now(&clock);
    assert_int_equal(ldr_loop_wait(*state, 3000, ids, 4, &overflow), 0);
    assert_true(ldr_clock_now(&clock) - from_us >= 3000);
}

static void *post_one(void *l)
{
    ldr_loop_post(l, 42);
    return NULL;
}

static void a_post_ends_a_wait_without_limit(void **state)
{
    uint64_t ids[4];
    bool overflow;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, post_one, *state), 0);
    assert_int_equal(ldr_loop_wait(*state, -1, ids, 4, &overflow), 1);
    assert_int_equal(ids[0], 42);
    pthread_join(thread, NULL);
}

static volatile sig_atomic_t n_signals;

static void on_signal(int number)
{
    (void)number;
    n_signals++;
}

static void *disturb_and_post(void *arg)
{
    void **with = arg;
    for (int i = 0; i < 20; i++) {
        pthread_kill(*(pthread_t *)with[1], SIGUSR1);
        usleep(100);
    }
    return post_one(with[0]);
}

static void signals_do_not_end_a_wait(void **state)
{
    uint64_t ids[4];
    bool overflow;
    pthread_t self = pthread_self(), thread;
    void *with[2] = {*state, &self};
    struct sigaction quiet = {.sa_handler = on_signal}, before;
    sigaction(SIGUSR1, &quiet, &before);
    assert_int_equal(pthread_create(&thread, NULL, disturb_and_post, with), 0);
    assert_int_equal(ldr_loop_wait(*state, -1, ids, 4, &overflow), 1);
    pthread_join(thread, NULL);
    sigaction(SIGUSR1, &before, NULL);
    assert_true(n_signals > 0);
}

#define POSTERS 4

static void *post_many(void *l)
{
    for (long i = 0, n = bed_times(5000, 500000); i < n; i++)
        ldr_loop_post(l, 1);
    return NULL;
}

/* Every id is heard, but for those that an overflow told of. */
static void many_threads_post(void **state)
{
    uint64_t ids[64], heard = 0;
    long wanted = POSTERS * bed_times(5000, 500000), n_overflows = 0;
    bool overflow;
    pthread_t threads[POSTERS];
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, *state), 0);
    for (;;) {
        size_t n = ldr_loop_wait(*state, 200000, ids, 64, &overflow);
        n_overflows += overflow;
        heard += n;
        if ((long)heard >= wanted || (n == 0 && !overflow && n_overflows > 0))
            break;
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_true((long)heard == wanted || n_overflows > 0);
    while (ldr_loop_wait(*state, 0, ids, 64, &overflow) > 0) {
    }
    assert_false(is_readable(*state));
}

static void without_memory_there_is_none(void **state)
{
    (void)state;
    bed_mem bed;
    assert_null(ldr_loop_new(bed_mem_init(&bed, 1)));
    assert_int_equal(bed.n_alive, 0);
    ldr_loop_free(NULL);
}

static void freeing_gives_everything_back(void **state)
{
    (void)state;
    bed_mem bed;
    ldr_loop *l = ldr_loop_new(bed_mem_init(&bed, 0));
    int fd = ldr_loop_fd(l);
    ldr_loop_free(l);
    assert_int_equal(bed.n_alive, 0);
    assert_int_equal(close(fd), -1);
}

/* ---- the socket ----------------------------------------------------------------------------------------------- */

static int connected_to(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static ssize_t unread(int fd)
{
    char bytes[64];
    return recv(fd, bytes, sizeof bytes, 0);
}

static void the_socket_is_for_its_user_alone(void **state)
{
    struct stat file, folder;
    char path[128], *end;
    snprintf(path, sizeof path, "%s", ldr_loop_listen(*state));
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    end = strrchr(path, '/');
    *end = '\0';
    assert_int_equal(stat(path, &folder), 0);
    assert_int_equal(folder.st_mode & 0777, 0700);
    assert_false(ldr_loop_accept(*state)); /* nobody has connected: all the same nothing is left of it */
    assert_int_equal(stat(path, &folder), -1);
}

static void a_post_into_silence_writes_one_byte(void **state)
{
    uint64_t ids[4];
    bool overflow;
    int fd = connected_to(ldr_loop_listen(*state));
    assert_true(ldr_loop_accept(*state));
    assert_int_equal(unread(fd), -1);
    for (uint64_t id = 1; id <= 3; id++)
        ldr_loop_post(*state, id);
    assert_int_equal(unread(fd), 1);
    assert_int_equal(ldr_loop_wait(*state, 0, ids, 4, &overflow), 3);
    ldr_loop_post(*state, 4);
    assert_int_equal(unread(fd), 1);
    close(fd);
    assert_int_equal(ldr_loop_wait(*state, 0, ids, 4, &overflow), 1);
    ldr_loop_post(*state, 5); /* into a closed socket: no signal, nothing lost */
    assert_int_equal(ldr_loop_wait(*state, 0, ids, 4, &overflow), 1);
    assert_int_equal(ids[0], 5);
}

static void what_was_posted_before_is_told_at_once(void **state)
{
    ldr_loop_post(*state, 1);
    int fd = connected_to(ldr_loop_listen(*state));
    assert_true(ldr_loop_accept(*state));
    assert_int_equal(unread(fd), 1);
    close(connected_to(ldr_loop_listen(*state))); /* listening anew ends the old connection */
    assert_int_equal(unread(fd), 0);
    close(fd);
}

static void nobody_reads_and_nobody_blocks(void **state)
{
    uint64_t ids[4];
    bool overflow;
    int fd = connected_to(ldr_loop_listen(*state));
    assert_true(ldr_loop_accept(*state));
    for (uint64_t id = 1; id <= 20000; id++) {
        ldr_loop_post(*state, id);
        assert_int_equal(ldr_loop_wait(*state, 0, ids, 4, &overflow), 1);
    }
    assert_true(unread(fd) > 0);
    close(fd);
}

static void no_folder_no_socket(void **state)
{
    char *before = getenv("TMPDIR");
    before = before ? strdup(before) : NULL;
    setenv("TMPDIR", "/nowhere/at/all", 1);
    assert_null(ldr_loop_listen(*state));
    if (before)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
    free(before);
    ldr_loop_post(*state, 1);
    assert_true(is_readable(*state));
}

/* The child has a mailbox of its own: neither hears what is posted to the other. */
static void a_forked_child_starts_anew(void **state)
{
    uint64_t ids[4];
    bool overflow;
    ldr_loop_post(*state, 7);
    pid_t child = fork();
    if (child == 0) {
        ldr_loop_claim(*state, getpid());
        bool fine = !is_readable(*state) && ldr_loop_wait(*state, 0, ids, 4, &overflow) == 0;
        ldr_loop_post(*state, 8);
        fine = fine && is_readable(*state) && ldr_loop_wait(*state, 0, ids, 4, &overflow) == 1 && ids[0] == 8;
        _exit(fine ? 0 : 1);
    }
    int code = -1;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    assert_true(is_readable(*state));
    assert_int_equal(ldr_loop_wait(*state, 0, ids, 4, &overflow), 1);
    assert_int_equal(ids[0], 7);
    assert_false(is_readable(*state));
}

/* ---- watched descriptors -------------------------------------------------------------------------------------- */

typedef struct watched {
    ldr_watch w;
    ldr_loop *loop;
    int n_before, n_ready, n_forked, n_late;
    struct watched *leaves; /* taken away when this one is ready */
} watched;

static watched *of(ldr_watch *w)
{
    return (watched *)(void *)((char *)w - offsetof(watched, w));
}

static void before(ldr_watch *w)
{
    of(w)->n_before++;
}

static void ready(ldr_watch *w, short revents)
{
    watched *of_w = of(w);
    of_w->n_ready += revents != 0;
    of_w->n_late += revents == 0;
    w->until_us = LDR_NEVER;
    if (of_w->leaves)
        ldr_loop_unwatch(of_w->loop, &of_w->leaves->w);
    ldr_loop_post(of_w->loop, 9);
}

static void child(ldr_watch *w)
{
    of(w)->n_forked++;
}

static watched a_watch(ldr_loop *l, int fd)
{
    return (watched){.w = {.fd = fd, .events = POLLIN, .until_us = LDR_NEVER, .before = before, .ready = ready, .forked = child},
                     .loop = l};
}

static void a_watched_descriptor_ends_the_wait_by_a_post(void **state)
{
    uint64_t ids[4];
    bool overflow;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    watched a = a_watch(*state, pipes[0]);
    assert_true(ldr_loop_watch(*state, &a.w));
    assert_int_equal(ldr_loop_wait(*state, 0, ids, 4, &overflow), 0);
    assert_int_equal(a.n_before, 1);
    assert_int_equal(write(pipes[1], "x", 1), 1);
    assert_int_equal(ldr_loop_wait(*state, -1, ids, 4, &overflow), 1);
    assert_int_equal(ids[0], 9);
    ldr_loop_post(*state, 1); /* a busy mailbox keeps nobody waiting */
    assert_int_equal(ldr_loop_wait(*state, -1, ids, 4, &overflow), 2);
    assert_int_equal(a.n_ready, 2);
    ldr_loop_unwatch(*state, &a.w);
    assert_int_equal(ldr_loop_wait(*state, 1000, ids, 4, &overflow), 0);
    assert_int_equal(a.n_ready, 2);
    close(pipes[0]);
    close(pipes[1]);
}

static void a_watch_is_called_at_its_time(void **state)
{
    uint64_t ids[4];
    bool overflow;
    ldr_clock clock;
    ldr_clock_init(&clock);
    watched a = a_watch(*state, -1);
    assert_true(ldr_loop_watch(*state, &a.w));
    int64_t from_us = ldr_clock_now(&clock);
    a.w.until_us = from_us + 3000;
    assert_int_equal(ldr_loop_wait(*state, -1, ids, 4, &overflow), 1);
    assert_true(ldr_clock_now(&clock) - from_us >= 3000);
    assert_int_equal(a.n_late, 1);
    ldr_loop_unwatch(*state, &a.w);
}

static void a_watch_can_be_taken_away_while_others_are_seen_to(void **state)
{
    uint64_t ids[4];
    bool overflow;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], "x", 1), 1);
    watched a = a_watch(*state, pipes[0]), b = a, c = a;
    a.leaves = &b;
    assert_true(ldr_loop_watch(*state, &a.w) && ldr_loop_watch(*state, &b.w) && ldr_loop_watch(*state, &c.w));
    assert_int_equal(ldr_loop_wait(*state, -1, ids, 4, &overflow), 2);
    assert_int_equal(b.n_ready, 0);
    assert_int_equal(c.n_ready, 1);
    ldr_loop_claim(*state, getpid() + 1);
    assert_int_equal(a.n_forked + c.n_forked, 2);
    assert_int_equal(b.n_forked, 0);
    ldr_loop_claim(*state, getpid());
    close(pipes[0]);
    close(pipes[1]);
}

#define ON_LOOP(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_LOOP(empty_gives_nothing),
        ON_LOOP(posts_come_in_order),
        ON_LOOP(a_full_ring_tells_once),
        ON_LOOP(exactly_full_is_no_overflow),
        ON_LOOP(the_ring_wraps),
        ON_LOOP(what_was_posted_of_an_id_can_be_taken_back),
        ON_LOOP(a_limit_ends_the_wait),
        ON_LOOP(a_post_ends_a_wait_without_limit),
        ON_LOOP(signals_do_not_end_a_wait),
        ON_LOOP(many_threads_post),
        ON_LOOP(the_socket_is_for_its_user_alone),
        ON_LOOP(a_post_into_silence_writes_one_byte),
        ON_LOOP(what_was_posted_before_is_told_at_once),
        ON_LOOP(nobody_reads_and_nobody_blocks),
        ON_LOOP(no_folder_no_socket),
        ON_LOOP(a_forked_child_starts_anew),
        ON_LOOP(a_watched_descriptor_ends_the_wait_by_a_post),
        ON_LOOP(a_watch_is_called_at_its_time),
        ON_LOOP(a_watch_can_be_taken_away_while_others_are_seen_to),
        cmocka_unit_test(without_memory_there_is_none),
        cmocka_unit_test(freeing_gives_everything_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
