/* hub_spec.c - caches of one name hear each other, and nobody hears anything after he left. */
#include "bus/hub.h"

#include "bed.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct cache {
    ldr_hub_member member;
    atomic_int n_told;
    atomic_bool gone;
    char key[32];
    int64_t version;
} cache;

static void changed(void *ctx, ldr_slice key, int64_t version)
{
    cache *c = ctx;
    if (atomic_load(&c->gone))
        abort();
    atomic_fetch_add(&c->n_told, 1);
    memcpy(c->key, key.p, key.n < sizeof c->key ? key.n : sizeof c->key - 1);
    c->key[key.n < sizeof c->key ? key.n : sizeof c->key - 1] = 0;
    c->version = version;
}

static void make(cache *c, const char *name)
{
    *c = (cache){.member = {.changed = changed, .ctx = c}};
    strcpy(c->member.name, name);
}

static void only_the_others_of_that_name_are_told(void **state)
{
    (void)state;
    ldr_hub *h = ldr_hub_new(&ldr_mem_system);
    cache a, b, c, other;
    make(&a, "users");
    make(&b, "users");
    make(&c, "users");
    make(&other, "shop");
    ldr_hub_join(h, &a.member);
    ldr_hub_tell(h, &a.member, ldr_slice_str("k"), 1); /* alone */
    ldr_hub_join(h, &b.member);
    ldr_hub_join(h, &c.member);
    ldr_hub_join(h, &other.member);
    ldr_hub_tell(h, &b.member, ldr_slice_str("user:1"), 7);
    assert_int_equal(a.n_told, 1);
    assert_int_equal(b.n_told, 0);
    assert_int_equal(c.n_told, 1);
    assert_int_equal(other.n_told, 0);
    assert_string_equal(a.key, "user:1");
    assert_int_equal(a.version, 7);
    ldr_hub_leave(h, &c.member);
    ldr_hub_leave(h, &c.member); /* not joined is fine */
    ldr_hub_tell(h, &b.member, ldr_slice_str(""), 0);
    assert_int_equal(a.n_told, 2);
    assert_string_equal(a.key, "");
    assert_int_equal(c.n_told, 1);
    ldr_hub_leave(h, &a.member);
    ldr_hub_leave(h, &b.member);
    ldr_hub_leave(h, &other.member);
    ldr_hub_free(h);
    ldr_hub_free(NULL);
}

static void many_names_are_kept_apart(void **state)
{
    (void)state;
    enum { N = 500 };
    static cache all[N];
    ldr_hub *h = ldr_hub_new(&ldr_mem_system);
    for (int i = 0; i < N; i++) {
        char name[24];
        snprintf(name, sizeof name, "cache-%d", i / 2);
        make(&all[i], name);
        ldr_hub_join(h, &all[i].member);
    }
    for (int i = 0; i < N; i += 2)
        ldr_hub_tell(h, &all[i].member, ldr_slice_str("k"), i);
    for (int i = 0; i < N; i++) {
        assert_int_equal(all[i].n_told, i & 1);
        ldr_hub_leave(h, &all[i].member);
    }
    ldr_hub_free(h);
}

static ldr_hub *shared;
static cache teller;
static atomic_bool stop;

static void *tell_on(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop))
        ldr_hub_tell(shared, &teller.member, ldr_slice_str("k"), 1);
    return NULL;
}

static void who_left_is_told_nothing(void **state)
{
    (void)state;
    shared = ldr_hub_new(&ldr_mem_system);
    make(&teller, "users");
    ldr_hub_join(shared, &teller.member);
    atomic_store(&stop, false);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, tell_on, NULL), 0);
    int n_told = 0;
    for (long i = bed_times(2000, 200000); i > 0; i--) {
        cache c;
        make(&c, "users");
        ldr_hub_join(shared, &c.member);
        if (i % 100 == 0)
            while (!atomic_load(&c.n_told))
                sched_yield();
        ldr_hub_leave(shared, &c.member);
        atomic_store(&c.gone, true); /* told now, it would abort */
        n_told += atomic_load(&c.n_told) > 0;
    }
    atomic_store(&stop, true);
    pthread_join(t, NULL);
    assert_true(n_told > 0);
    ldr_hub_leave(shared, &teller.member);
    ldr_hub_free(shared);
}

static void a_child_goes_on_with_its_members(void **state)
{
    (void)state;
    shared = ldr_hub_new(&ldr_mem_system);
    cache a;
    make(&teller, "users");
    make(&a, "users");
    ldr_hub_join(shared, &teller.member);
    ldr_hub_join(shared, &a.member);
    atomic_store(&stop, false);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, tell_on, NULL), 0);
    int n_bad = 0;
    for (int i = 0; i < 30; i++) {
        pid_t child = fork(); /* the lock is mostly held at this moment */
        if (child == 0) {
            alarm(20);
            ldr_hub_forked(shared);
            int before = atomic_load(&a.n_told);
            ldr_hub_tell(shared, &teller.member, ldr_slice_str("mine"), 3);
            ldr_hub_forked(shared);
            ldr_hub_leave(shared, &a.member);
            _exit(atomic_load(&a.n_told) != before + 1 || strcmp(a.key, "mine") != 0);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        n_bad += status != 0;
    }
    atomic_store(&stop, true);
    pthread_join(t, NULL);
    assert_int_equal(n_bad, 0);
    ldr_hub_leave(shared, &a.member);
    ldr_hub_leave(shared, &teller.member);
    ldr_hub_free(shared);
}

static void no_memory_is_null(void **state)
{
    (void)state;
    bed_mem m;
    assert_null(ldr_hub_new(bed_mem_init(&m, 1)));
    assert_int_equal(m.n_alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_others_of_that_name_are_told),
        cmocka_unit_test(many_names_are_kept_apart),
        cmocka_unit_test(who_left_is_told_nothing),
        cmocka_unit_test(a_child_goes_on_with_its_members),
        cmocka_unit_test(no_memory_is_null),
    };
    return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}
