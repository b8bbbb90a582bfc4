/* function_spec.c - the source of functions: what it can is what it was given. */
#include "bed.h"
#include "base/err.h"
#include "source/source.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int answer(void *arg, ldr_call *call)
{
    (void)arg, (void)call;
    return LDR_OK;
}

static void it_can_what_it_was_given(void **state)
{
    (void)state;
    int arg;
    for (int given = 1; given < 8; given++) {
        bed_mem mem;
        ldr_source *s;
        ldr_options o = {.load = given & 1 ? answer : NULL, .store = given & 2 ? answer : NULL,
                         .erase = given & 4 ? answer : NULL, .functions_arg = &arg};
        assert_int_equal(ldr_source_functions_open(&o, bed_mem_init(&mem, 0), &s, NULL), LDR_OK);
        assert_true(s->ops->run == NULL); /* so the flow wants calls */
        assert_int_equal(s->ops->can(s, LDR_LOAD), given & 1);
        assert_int_equal(s->ops->can(s, LDR_STORE), (given & 2) != 0);
        assert_int_equal(s->ops->can(s, LDR_ERASE), (given & 4) != 0);
        assert_false(s->ops->can(s, LDR_VERSION));
        assert_false(s->ops->can(s, LDR_CHANGES));
        assert_false(s->ops->versioned(s, ldr_slice_str("k")));
        const ldr_functions *f = ldr_source_functions(s);
        assert_true(f->load == o.load && f->store == o.store && f->erase == o.erase && f->arg == &arg && !f->version);
        s->ops->forked(s);
        s->ops->close(s);
        assert_int_equal(mem.n_alive, 0);
    }
}

static void none_at_all_is_refused(void **state)
{
    (void)state;
    ldr_source *s;
    ldr_err err;
    assert_int_equal(ldr_source_functions_open(&(ldr_options){0}, &ldr_mem_system, &s, &err), LDR_INVALID);
    assert_null(s);
    assert_null(ldr_source_functions(NULL));
}

static void memory_may_run_out(void **state)
{
    (void)state;
    bed_mem mem;
    ldr_source *s;
    ldr_err err;
    assert_int_equal(ldr_source_functions_open(&(ldr_options){.load = answer}, bed_mem_init(&mem, 1), &s, &err), LDR_NOMEM);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_can_what_it_was_given),
        cmocka_unit_test(none_at_all_is_refused),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
