/* model.c - checks and copies models, takes keys apart.
 *
 * Invariant: every string of a model is owned by its ldr_models; a parsed key has exactly model->n_key parts. */
#include "source/model.h"

#include <strings.h>

/* ---- copying ---------------------------------------------------------------------------------------------- */

static bool copy(const ldr_mem *mem, const char *s, char **out)
{
    if (s && !(*out = ldr_mem_dup(mem, s, strlen(s))))
        return false;
    return true;
}

static bool copy_list(const ldr_mem *mem, const char *const *names, size_t n, char ***out)
{
    if (n == 0)
        return true;
    if (!(*out = ldr_mem_zero(mem, n, sizeof **out)))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!copy(mem, names[i], &(*out)[i]))
            return false;
    return true;
}

static bool copy_model(const ldr_mem *mem, const ldr_model_options *o, ldr_model *m)
{
    static const char *const id[] = {"id"};
    m->n_key = o->key ? o->n_key : 1;
    m->n_columns = o->n_columns;
    return copy(mem, o->name, &m->name) && copy(mem, o->table, &m->table) &&
           copy_list(mem, o->key ? o->key : id, m->n_key, &m->key) && copy(mem, o->version, &m->version) &&
           copy(mem, o->updated_at, &m->updated_at) && copy_list(mem, o->columns, o->n_columns, &m->columns) &&
           copy(mem, o->sql_load, &m->sql_load) && copy(mem, o->sql_store, &m->sql_store) &&
           copy(mem, o->sql_delete, &m->sql_delete) && copy(mem, o->sql_version, &m->sql_version);
}

static void free_list(const ldr_mem *mem, char **names, size_t n)
{
    for (size_t i = 0; names && i < n; i++)
        ldr_mem_free(mem, names[i]);
    ldr_mem_free(mem, names);
}

static void free_model(const ldr_mem *mem, ldr_model *m)
{
    char *one[] = {m->name, m->table, m->version, m->updated_at, m->sql_load, m->sql_store, m->sql_delete, m->sql_version};
    for (size_t i = 0; i < sizeof one / sizeof *one; i++)
        ldr_mem_free(mem, one[i]);
    free_list(mem, m->key, m->n_key);
    free_list(mem, m->columns, m->n_columns);
}

void ldr_models_fini(ldr_models *m)
{
    for (size_t i = 0; m->all && i < m->n; i++)
        free_model(&m->mem, &m->all[i]);
    ldr_mem_free(&m->mem, m->all);
    m->all = NULL;
    m->n = 0;
}

/* ---- checks ----------------------------------------------------------------------------------------------- */

static int empty(ldr_err *err, const ldr_model_options *o, const char *option)
{
    return ldr_fail(err, LDR_INVALID, "model \"%s\": %s: a name is wanted, got an empty one", o->name, option);
}

static int check_list(const ldr_model_options *o, const char *option, ldr_err *err)
{
    bool is_key = strcmp(option, "key") == 0;
    const char *const *names = is_key ? o->key : o->columns;
    size_t n = is_key ? o->n_key : o->n_columns;
    for (size_t i = 0; names && i < n; i++) {
        if (!names[i] || !names[i][0])
            return empty(err, o, option);
        for (size_t j = 0; j < i; j++)
            if (strcasecmp(names[i], names[j]) == 0)
                return ldr_fail(err, LDR_INVALID, "model \"%s\": %s: \"%s\" is there twice", o->name, option, names[i]);
    }
    return LDR_OK;
}

static int check_key(const ldr_model_options *o, ldr_err *err)
{
    if (o->key && (o->n_key == 0 || o->n_key > LDR_MODEL_KEYS))
        return ldr_fail(err, LDR_INVALID, "model \"%s\": key: 1 to %d columns are wanted, got %zu", o->name, LDR_MODEL_KEYS,
                        o->n_key);
    for (size_t i = 0; o->version && o->key && i < o->n_key; i++)
        if (o->key[i] && strcasecmp(o->key[i], o->version) == 0)
            return ldr_fail(err, LDR_INVALID, "model \"%s\": version: \"%s\" is a key column", o->name, o->version);
    return check_list(o, "key", err);
}

static int check_model(const ldr_model_options *o, ldr_err *err)
{
    if (!o->name || !o->name[0])
        return ldr_fail(err, LDR_INVALID, "models: a model without a name");
    if (strpbrk(o->name, ":%"))
        return ldr_fail(err, LDR_INVALID, "model \"%s\": its name may hold no ':' and no '%%'", o->name);
    if (o->table && !o->table[0])
        return empty(err, o, "table");
    if (o->version && !o->version[0])
        return empty(err, o, "version");
    if (!o->table && !o->sql_load)
        return ldr_fail(err, LDR_INVALID, "model \"%s\": table, or own SQL to load, is wanted", o->name);
    int rc = check_key(o, err);
    return rc ? rc : check_list(o, "columns", err);
}

static int check_twice(const ldr_options *o, size_t i, ldr_err *err)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(o->models[i].name, o->models[j].name) == 0)
            return ldr_fail(err, LDR_INVALID, "models: \"%s\" is there twice", o->models[i].name);
    return LDR_OK;
}

int ldr_models_init(ldr_models *m, const ldr_options *o, const ldr_mem *mem, ldr_err *err)
{
    *m = (ldr_models){.mem = *mem};
    if (!o->models || o->n_models == 0)
        return ldr_fail(err, LDR_INVALID, "models: a SQL source needs at least one model");
    for (size_t i = 0; i < o->n_models; i++) {
        int rc = check_model(&o->models[i], err);
        if (rc || (rc = check_twice(o, i, err)))
            return rc;
    }
    if (!(m->all = ldr_mem_zero(mem, o->n_models, sizeof *m->all)))
        return ldr_fail_oom(err);
    m->n = o->n_models;
    for (size_t i = 0; i < m->n; i++)
        if (!copy_model(mem, &o->models[i], &m->all[i])) {
            ldr_models_fini(m);
            return ldr_fail_oom(err);
        }
    return LDR_OK;
}

/* ---- keys ------------------------------------------------------------------------------------------------- */

static int wrong(ldr_err *err, ldr_slice key, const char *why)
{
    char text[LDR_KEY_TEXT];
    return ldr_fail(err, LDR_INVALID, "key \"%s\": %s", ldr_key_text(key, text), why);
}

static const ldr_model *find(const ldr_models *m, ldr_slice name)
{
    for (size_t i = 0; i < m->n; i++)
        if (ldr_slice_eq(name, ldr_slice_str(m->all[i].name)))
            return &m->all[i];
    return NULL;
}

/* The byte that an escape stands for; 0: not one of the two. */
static char escaped(const char *p, const char *end)
{
    if (end - p < 3 || p[0] != '%')
        return 0;
    if (p[1] == '3' && p[2] == 'A')
        return ':';
    return p[1] == '2' && p[2] == '5' ? '%' : 0;
}

/* Undoes escapes. Room was reserved for the whole key before, so `plain` never moves under an earlier part. */
static bool undo(ldr_buf *plain, ldr_slice *part)
{
    const char *end = part->p + part->n;
    size_t start = plain->n;
    for (const char *p = part->p; p < end; p++) {
        char c = *p;
        if (c == '%') {
            if (!(c = escaped(p, end)))
                return false;
            p += 2;
        }
        ldr_buf_byte(plain, (unsigned char)c);
    }
    *part = ldr_slice_of(plain->p + start, plain->n - start);
    return true;
}

static size_t split(ldr_slice rest, ldr_slice *part)
{
    const char *p = rest.p, *end = rest.p + rest.n;
    size_t n = 0;
    for (;;) {
        const char *colon = memchr(p, ':', (size_t)(end - p));
        if (n < LDR_MODEL_KEYS)
            part[n] = ldr_slice_of(p, (size_t)((colon ? colon : end) - p));
        n++;
        if (!colon)
            return n;
        p = colon + 1;
    }
}

static int unescape(const ldr_models *m, ldr_slice key, ldr_model_key *out, ldr_err *err)
{
    out->plain = LDR_BUF(&m->mem);
    if (!memchr(key.p, '%', key.n))
        return LDR_OK;
    if (!ldr_buf_reserve(&out->plain, key.n))
        return ldr_fail_oom(err);
    for (size_t i = 0; i < out->model->n_key; i++)
        if (!undo(&out->plain, &out->part[i])) {
            ldr_buf_free(&out->plain);
            return wrong(err, key, "after '%' only 3A (':') and 25 ('%') are known");
        }
    return LDR_OK;
}

int ldr_models_parse(const ldr_models *m, ldr_slice key, ldr_model_key *out, ldr_err *err)
{
    const char *colon = key.n ? memchr(key.p, ':', key.n) : NULL;
    if (!colon)
        return wrong(err, key, "no model: \"model:id\" is wanted");
    size_t n_name = (size_t)(colon - key.p);
    out->model = find(m, ldr_slice_of(key.p, n_name));
    if (!out->model)
        return wrong(err, key, "there is no such model");
    out->index = (size_t)(out->model - m->all);
    size_t n = split(ldr_slice_of(colon + 1, key.n - n_name - 1), out->part);
    if (n != out->model->n_key) {
        char text[LDR_KEY_TEXT];
        return ldr_fail(err, LDR_INVALID, "key \"%s\": model \"%s\" has %zu key column%s, got %zu part%s (a ':' inside is %%3A)",
                        ldr_key_text(key, text), out->model->name, out->model->n_key, out->model->n_key == 1 ? "" : "s",
                        n, n == 1 ? "" : "s");
    }
    return unescape(m, key, out, err);
}

void ldr_model_key_fini(ldr_model_key *k)
{
    ldr_buf_free(&k->plain);
}

void ldr_model_part_write(ldr_buf *b, ldr_slice part)
{
    for (size_t i = 0; i < part.n; i++) {
        if (part.p[i] == ':')
            ldr_buf_str(b, "%3A");
        else if (part.p[i] == '%')
            ldr_buf_str(b, "%25");
        else
            ldr_buf_byte(b, (unsigned char)part.p[i]);
    }
}
