/* codec_json.c - recursion is bounded by LDR_VALUE_MAX_DEPTH both ways, but for jansson's parser (its own 2,048).
 *
 * jansson writes floats with 17 digits and a point or exponent, so that they come back as the same floats and never
 * as integers; it keeps the order of an object's keys. */
#include "record/codec_json.h"

#include "larder.h"
#include "record/pack.h"
#include "record/unpack.h"

#include <jansson.h>
#include <math.h>

/* ---- msgpack to text --------------------------------------------------------------------------------------- */

typedef struct reader {
    ldr_unpack in;
    int depth;
    const char *why; /* NULL while nothing was refused: then a failure is one of memory */
} reader;

static json_t *refuse(reader *r, const char *why)
{
    r->why = why;
    return NULL;
}

static bool trails(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return false;
    return true;
}

/* Bytes of the sequence at p, of which `left` may be read; 0: not UTF-8 (overlong and surrogates are not). */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] < 0xc2 || p[0] > 0xf4 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n == 0 || n > left || !trails(p + 1, n - 1))
        return 0;
    unsigned two = (unsigned)p[0] << 8 | p[1];
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool beyond = (two >= 0xeda0 && p[0] == 0xed) || two >= 0xf490;
    return overlong || beyond ? 0 : n;
}

static bool is_utf8(ldr_slice s)
{
    size_t n;
    for (size_t at = 0; at < s.n; at += n) {
        n = utf8_length((const unsigned char *)s.p + at, s.n - at);
        if (n == 0)
            return false;
    }
    return true;
}

static json_t *tree(reader *r);

static json_t *string(reader *r, ldr_slice s)
{
    if (!is_utf8(s))
        return refuse(r, "a string that is not UTF-8");
    return json_stringn_nocheck(s.p, s.n);
}

static json_t *real(reader *r, double d)
{
    if (!isfinite(d))
        return refuse(r, "a float that is not finite");
    return json_real(d);
}

/* Gives up what was built when the next part cannot be had. */
static json_t *drop(json_t *half)
{
    json_decref(half);
    return NULL;
}

static json_t *array(reader *r, uint32_t n)
{
    json_t *a = json_array();
    while (n-- > 0) {
        json_t *v = a ? tree(r) : NULL;
        if (!v || json_array_append_new(a, v) != 0)
            return drop(a);
    }
    return a;
}

static bool key_fits(reader *r, const json_t *o, const ldr_token *key)
{
    if (key->type != LDR_TOKEN_STR)
        refuse(r, "a map key that is not a string");
    else if (!is_utf8(key->s) || memchr(key->s.p, 0, key->s.n))
        refuse(r, "a map key that is not UTF-8 or has a NUL byte");
    else if (json_object_getn(o, key->s.p, key->s.n))
        refuse(r, "a map key twice");
    return r->why == NULL;
}

static json_t *object(reader *r, uint32_t n)
{
    ldr_token key;
    json_t *o = json_object();
    while (n-- > 0) {
        if (!o)
            return NULL;
        if (!ldr_unpack_next(&r->in, &key)) {
            refuse(r, "bytes that are not msgpack");
            return drop(o);
        }
        json_t *v = key_fits(r, o, &key) ? tree(r) : NULL;
        if (!v || json_object_setn_new_nocheck(o, key.s.p, key.s.n, v) != 0)
            return drop(o);
    }
    return o;
}

static json_t *container(reader *r, const ldr_token *t)
{
#ifdef LDR_BUG_JSON_DEPTH
    r->depth = 0;
#endif
    if (r->depth == LDR_VALUE_MAX_DEPTH)
        return refuse(r, "tables more than 100 deep");
    r->depth++;
    json_t *c = t->type == LDR_TOKEN_MAP ? object(r, t->n) : array(r, t->n);
    r->depth--;
    return c;
}

static json_t *tree(reader *r)
{
    ldr_token t;
    if (!ldr_unpack_next(&r->in, &t))
        return refuse(r, "bytes that are not msgpack");
    switch (t.type) {
    case LDR_TOKEN_NIL:
        return json_null();
    case LDR_TOKEN_BOOL:
        return json_boolean(t.b);
    case LDR_TOKEN_INT:
        return json_integer(t.i);
    case LDR_TOKEN_DOUBLE:
        return real(r, t.d);
    case LDR_TOKEN_STR:
        return string(r, t.s);
    case LDR_TOKEN_ARRAY:
    case LDR_TOKEN_MAP:
        return container(r, &t);
    case LDR_TOKEN_UINT:
        return refuse(r, "an integer above 2^63 - 1");
    default:
        return refuse(r, "binary or extension bytes");
    }
}

static int append(const char *p, size_t n, void *out)
{
    ldr_buf_add(out, p, n);
    return ((ldr_buf *)out)->oom ? -1 : 0;
}

int ldr_json_write(ldr_slice msgpack, ldr_buf *out, const char **why)
{
    reader r = {.in = ldr_unpack_of(msgpack)};
    json_t *root = tree(&r);
    if (root && r.in.p != r.in.end) {
        refuse(&r, "bytes behind its end");
        root = drop(root);
    }
    if (!root) {
        *why = r.why;
        return r.why ? LDR_UNSUPPORTED : LDR_NOMEM;
    }
    /* All that jansson could refuse was refused above: what is left is memory. */
    int rc = json_dump_callback(root, append, out, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(root);
    return rc == 0 ? LDR_OK : LDR_NOMEM;
}

/* ---- text to msgpack --------------------------------------------------------------------------------------- */

static bool pack(ldr_buf *out, json_t *v, int depth);

static bool pack_array(ldr_buf *out, const json_t *a, int depth)
{
    size_t n = json_array_size(a);
    ldr_pack_array(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        if (!pack(out, json_array_get(a, i), depth))
            return false;
    return true;
}

static bool pack_object(ldr_buf *out, json_t *o, int depth)
{
    const char *key;
    size_t n;
    json_t *v;
    ldr_pack_map(out, (uint32_t)json_object_size(o));
    json_object_keylen_foreach(o, key, n, v)
    {
        ldr_pack_str(out, ldr_slice_of(key, n));
        if (!pack(out, v, depth))
            return false;
    }
    return true;
}

/* false: deeper than any value that was put in. */
static bool pack(ldr_buf *out, json_t *v, int depth)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return depth < LDR_VALUE_MAX_DEPTH && pack_object(out, v, depth + 1);
    case JSON_ARRAY:
        return depth < LDR_VALUE_MAX_DEPTH && pack_array(out, v, depth + 1);
    case JSON_STRING:
        ldr_pack_str(out, ldr_slice_of(json_string_value(v), json_string_length(v)));
        return true;
    case JSON_INTEGER:
        ldr_pack_int(out, json_integer_value(v));
        return true;
    case JSON_REAL:
        ldr_pack_double(out, json_real_value(v));
        return true;
    case JSON_NULL:
        ldr_pack_nil(out);
        return true;
    default:
        ldr_pack_bool(out, json_is_true(v));
        return true;
    }
}

static int load(ldr_slice text, json_t **out)
{
    json_error_t e;
    *out = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &e);
    if (*out)
        return LDR_OK;
    /* Where memory failed, jansson often says nothing at all. */
    return e.text[0] == '\0' || json_error_code(&e) == json_error_out_of_memory ? LDR_NOMEM : LDR_CORRUPT;
}

int ldr_json_read(ldr_slice text, ldr_buf *out)
{
    json_t *root;
    if (text.n == 0)
        return LDR_CORRUPT;
    int code = load(text, &root);
    if (code != LDR_OK)
        return code;
    ldr_buf_clear(out);
    if (!pack(out, root, 0))
        code = LDR_CORRUPT;
    else if (out->oom)
        code = LDR_NOMEM;
    json_decref(root);
    return code;
}
