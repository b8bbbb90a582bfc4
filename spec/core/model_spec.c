/* model_spec.c - keys of SQL models: what names a row, and what is refused. */
#include "bed.h"
#include "source/model.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const pair[] = {"a", "b"};
static const ldr_model_options two[] = {{.name = "product", .table = "products"},
                                        {.name = "line", .table = "lines", .key = pair, .n_key = 2}};

static int init(ldr_models *m, const ldr_model_options *all, size_t n, ldr_err *err)
{
    ldr_options o = {.models = all, .n_models = n};
    return ldr_models_init(m, &o, &ldr_mem_system, err);
}

static int setup(void **state)
{
    ldr_models *m = malloc(sizeof *m);
    *state = m;
    return init(m, two, 2, NULL);
}

static int teardown(void **state)
{
    ldr_models_fini(*state);
    free(*state);
    return 0;
}

static void assert_parts(ldr_models *m, const char *key, const char *model, const char *a, const char *b)
{
    ldr_model_key k;
    ldr_err err = {0};
    if (ldr_models_parse(m, ldr_slice_str(key), &k, &err) != LDR_OK)
        fail_msg("%s", err.message);
    assert_string_equal(k.model->name, model);
    assert_true(ldr_slice_eq(k.part[0], ldr_slice_str(a)));
    if (b)
        assert_true(ldr_slice_eq(k.part[1], ldr_slice_str(b)));
    ldr_model_key_fini(&k);
}

static void a_key_names_a_row(void **state)
{
    assert_parts(*state, "product:42", "product", "42", NULL);
    assert_parts(*state, "product:", "product", "", NULL);
    assert_parts(*state, "product:a%3Ab%25%3A", "product", "a:b%:", NULL);
    assert_parts(*state, "line:1:2", "line", "1", "2");
    assert_parts(*state, "line::", "line", "", "");
    assert_parts(*state, "line:%3A:%25", "line", ":", "%");
}

static void assert_refused(ldr_models *m, ldr_slice key, const char *why)
{
    ldr_model_key k;
    ldr_err err = {0};
    assert_int_equal(ldr_models_parse(m, key, &k, &err), LDR_INVALID);
    if (!strstr(err.message, why))
        fail_msg("%s", err.message);
    assert_int_equal(ldr_models_parse(m, key, &k, NULL), LDR_INVALID);
}

static void what_is_no_key_is_refused_by_name(void **state)
{
    static const char *const bad[][2] = {
        {"", "no model"},          {"42", "key \"42\": no model"},  {"products:1", "no such model"},
        {":1", "no such model"},   {"Product:1", "no such model"},  {"product:1:2", "1 key column, got 2 parts"},
        {"line:1", "2 key columns, got 1 part "}, {"line:1:2:3", "got 3 parts"}, {"product:%", "after '%'"},
        {"product:%3", "after '%'"}, {"product:%3a", "after '%'"},  {"product:%41", "after '%'"},
        {"product:1%2", "after '%'"}, {"line:1:%%", "after '%'"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(*state, ldr_slice_str(bad[i][0]), bad[i][1]);
    assert_refused(*state, ldr_slice_of("product\0:1", 10), "no such model");
}

static void any_bytes_stand_in_a_part(void **state)
{
    ldr_model_key k;
    assert_int_equal(ldr_models_parse(*state, ldr_slice_of("product:\0\xff'\"", 12), &k, NULL), LDR_OK);
    assert_true(ldr_slice_eq(k.part[0], ldr_slice_of("\0\xff'\"", 4)));
    ldr_model_key_fini(&k);
}

static void many_colons_are_counted_not_kept(void **state)
{
    char key[65535];
    memset(key, ':', sizeof key);
    memcpy(key, "line", 4);
    assert_refused(*state, ldr_slice_of(key, sizeof key), "got 65531 parts");
}

static void a_part_is_written_as_it_is_read(void **state)
{
    ldr_rng rng = bed_rng("parts");
    for (long i = bed_times(2000, 200000); i > 0; i--) {
        char part[24];
        size_t n = ldr_rng_next(&rng) % sizeof part;
        for (size_t j = 0; j < n; j++)
            part[j] = "a:%3A25\0\xff"[ldr_rng_next(&rng) % 9];
        ldr_buf b = LDR_BUF(&ldr_mem_system);
        ldr_model_key k;
        ldr_buf_str(&b, "product:");
        ldr_model_part_write(&b, ldr_slice_of(part, n));
        assert_int_equal(ldr_models_parse(*state, ldr_buf_slice(&b), &k, NULL), LDR_OK);
        assert_true(ldr_slice_eq(k.part[0], ldr_slice_of(part, n)));
        ldr_model_key_fini(&k);
        ldr_buf_free(&b);
    }
}

static void assert_model_refused(ldr_model_options o, const char *why)
{
    ldr_models m;
    ldr_err err = {0};
    assert_int_equal(init(&m, &o, 1, &err), LDR_INVALID);
    if (!strstr(err.message, why))
        fail_msg("%s", err.message);
}

static void a_wrong_model_is_refused(void **state)
{
    (void)state;
    static const char *const twice[] = {"a", "A"}, *const empty[] = {""};
    assert_model_refused((ldr_model_options){.table = "t"}, "without a name");
    assert_model_refused((ldr_model_options){.name = "", .table = "t"}, "without a name");
    assert_model_refused((ldr_model_options){.name = "a:b", .table = "t"}, "no ':'");
    assert_model_refused((ldr_model_options){.name = "m"}, "table");
    assert_model_refused((ldr_model_options){.name = "m", .table = ""}, "table: a name is wanted");
    assert_model_refused((ldr_model_options){.name = "m", .table = "t", .version = ""}, "version");
    assert_model_refused((ldr_model_options){.name = "m", .table = "t", .key = twice, .n_key = 2}, "twice");
    assert_model_refused((ldr_model_options){.name = "m", .table = "t", .key = twice, .n_key = 0}, "1 to 16");
    assert_model_refused((ldr_model_options){.name = "m", .table = "t", .key = twice, .n_key = 17}, "1 to 16");
    assert_model_refused((ldr_model_options){.name = "m", .table = "t", .key = empty, .n_key = 1}, "key");
    assert_model_refused((ldr_model_options){.name = "m", .table = "t", .columns = empty, .n_columns = 1}, "columns");
    assert_model_refused((ldr_model_options){.name = "m", .table = "t", .key = twice, .n_key = 1, .version = "A"},
                         "is a key column");
    ldr_models m;
    ldr_err err;
    const ldr_model_options same[] = {{.name = "m", .table = "t"}, {.name = "m", .table = "u"}};
    assert_int_equal(init(&m, same, 2, &err), LDR_INVALID);
    assert_int_equal(init(&m, NULL, 0, &err), LDR_INVALID);
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    const ldr_model_options full[] = {{.name = "m", .table = "t", .key = pair, .n_key = 2, .version = "v",
                                       .updated_at = "u", .columns = pair, .n_columns = 2, .sql_load = "1",
                                       .sql_store = "2", .sql_delete = "3", .sql_version = "4"}};
    ldr_options o = {.models = full, .n_models = 1};
    for (long n = 1;; n++) {
        bed_mem mem;
        ldr_models m;
        ldr_model_key k;
        const ldr_mem *use = bed_mem_init(&mem, n);
        int rc = ldr_models_init(&m, &o, use, NULL);
        if (rc == LDR_OK) {
            rc = ldr_models_parse(&m, ldr_slice_str("m:%25:1"), &k, NULL);
            if (rc == LDR_OK)
                ldr_model_key_fini(&k);
            ldr_models_fini(&m);
        }
        assert_int_equal(mem.n_alive, 0);
        if (rc == LDR_OK)
            return;
        assert_int_equal(rc, LDR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_names_a_row, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_key_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(any_bytes_stand_in_a_part, setup, teardown),
        cmocka_unit_test_setup_teardown(many_colons_are_counted_not_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_part_is_written_as_it_is_read, setup, teardown),
        cmocka_unit_test(a_wrong_model_is_refused),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
