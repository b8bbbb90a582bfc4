/* redis_bed_spec.c - the bed's Redis answers, ends, comes back, and ends with who started it. */
#include "redis_bed.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void answers(void **state)
{
    const char *config[] = {"maxmemory", "2mb", NULL};
    redis_bed *b = redis_bed_start(&(redis_bed_options){.with_port = true, .config = config});
    (void)state;
    assert_string_equal(redis_bed_ask(b, "CONFIG GET maxmemory"), "[\"maxmemory\" \"2097152\"]");
    assert_string_equal(redis_bed_ask(b, "SET k %b", "a\0\"b", (size_t)4), "+OK");
    assert_string_equal(redis_bed_ask(b, "MGET k none"), "[\"a\\x00\\\"b\" nil]");
    assert_string_equal(redis_bed_ask(b, "NOPE"), "-ERR unknown command 'NOPE', with args beginning with: ");
    assert_int_equal(redis_bed_int(b, "STRLEN %s", "k"), 4);
    assert_true(redis_bed_port(b) > 0);
    redis_bed_restart(b);
    assert_string_equal(redis_bed_ask(b, "GET k"), "nil");
    redis_bed_stop(b);
}

static void ends(void **state)
{
    redis_bed *b = redis_bed_start(NULL);
    pid_t pid = redis_bed_pid(b), child = fork();
    int status;
    (void)state;
    if (child == 0)
        exit(0); /* is not the owner */
    waitpid(child, &status, 0);
    assert_string_equal(redis_bed_ask(b, "PING"), "+PONG");
    redis_bed_kill(b);
    assert_int_equal(kill(pid, 0), -1);
    redis_bed_restart(b);
    kill(redis_bed_pid(b), SIGSTOP);
    redis_bed_stop(b);
    redis_bed_start(NULL); /* is left to the end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers), cmocka_unit_test(ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
