/* seal.c - a caller's value made ready to be kept, and back: first the codec, then compression; back the other way.
 *
 * A record says by its kind and flag what was done, so unsealing asks the record, never the options: a tier may
 * hold values of a cache with other options. */
#include "base/err.h"
#include "record/codec_json.h"
#include "record/codec_zstd.h"
#include "record/record.h"

static int refuse(ldr_err *err, const char *codec, const ldr_record *r, const char *why)
{
    char key[LDR_KEY_TEXT];
    return ldr_fail(err, LDR_UNSUPPORTED, "codec %s cannot keep the value of key \"%s\": it holds %s", codec,
                    ldr_key_text(r->key, key), why);
}

static int damaged(ldr_err *err, const ldr_record *r, const char *what)
{
    char key[LDR_KEY_TEXT];
    return ldr_fail(err, LDR_CORRUPT, "the kept value of key \"%s\" is damaged: %s", ldr_key_text(r->key, key), what);
}

static int fail_with(ldr_err *err, int code)
{
    return code == LDR_NOMEM ? ldr_fail_oom(err) : ldr_fail(err, code, "%s", ldr_strerror(code));
}

/* Strings are kept as they are under every codec; r->value and kind are already the caller's. */
static int encode(const ldr_sealing *s, ldr_record *r, ldr_buf *made, ldr_err *err)
{
    const char *why;
    if (r->kind != LDR_MSGPACK || s->codec == LDR_CODEC_MSGPACK)
        return LDR_OK;
    if (s->codec == LDR_CODEC_RAW)
        return refuse(err, "raw", r, "something else than a string");
    int code = ldr_json_write(r->value, made, &why);
    if (code == LDR_UNSUPPORTED)
        return refuse(err, "json", r, why);
    if (code != LDR_OK)
        return fail_with(err, code);
    r->value = ldr_buf_slice(made);
    r->kind = LDR_JSON;
    return LDR_OK;
}

static int shrink(const ldr_sealing *s, ldr_record *r, ldr_buf *made, ldr_err *err)
{
    if (s->compress_min == 0 || r->value.n < s->compress_min)
        return LDR_OK;
    ldr_buf frame = LDR_BUF(made->mem);
    int code = ldr_zstd_write(r->value, &frame);
    if (code != LDR_OK) {
        ldr_buf_free(&frame);
        return code == LDR_TOO_LARGE ? LDR_OK : fail_with(err, code);
    }
    ldr_buf_free(made);
    *made = frame;
    r->value = ldr_buf_slice(made);
    r->compressed = true;
    return LDR_OK;
}

int ldr_seal(const ldr_sealing *s, ldr_slice value, int kind, ldr_record *r, ldr_buf *made, ldr_err *err)
{
    ldr_buf_clear(made);
    if (kind != LDR_STRING && kind != LDR_MSGPACK && kind != LDR_NONE)
        return ldr_fail(err, LDR_UNSUPPORTED, "a value of kind %d cannot be kept", kind);
    ldr_record sealed = *r;
    sealed.value = value;
    sealed.kind = (uint8_t)kind;
    sealed.compressed = false;
    int code = encode(s, &sealed, made, err);
    if (code == LDR_OK)
        code = shrink(s, &sealed, made, err);
    if (code == LDR_OK)
        *r = sealed;
    return code;
}

static int expand(const ldr_record *r, ldr_slice *value, ldr_buf *made, ldr_err *err)
{
    if (!r->compressed)
        return LDR_OK;
    int code = ldr_zstd_read(*value, made);
    if (code == LDR_CORRUPT)
        return damaged(err, r, "not a zstd frame within its limits");
    if (code != LDR_OK)
        return fail_with(err, code);
    *value = ldr_buf_slice(made);
    return LDR_OK;
}

static int decode(const ldr_record *r, ldr_slice *value, ldr_buf *made, ldr_err *err)
{
    if (r->kind != LDR_JSON)
        return LDR_OK;
    int code = ldr_json_read(*value, made);
    if (code == LDR_CORRUPT)
        return damaged(err, r, "not a JSON text of ours");
    if (code != LDR_OK)
        return fail_with(err, code);
    *value = ldr_buf_slice(made);
    return LDR_OK;
}

int ldr_unseal(const ldr_sealing *s, const ldr_record *r, ldr_slice *value, int *kind, ldr_buf *made, ldr_err *err)
{
    (void)s;
    ldr_slice v = r->value;
    ldr_buf_clear(made);
    int code = expand(r, &v, made, err);
    if (code == LDR_OK)
        code = decode(r, &v, made, err);
    if (code != LDR_OK)
        return code;
    *value = v;
    *kind = r->kind == LDR_JSON ? LDR_MSGPACK : r->kind;
    return LDR_OK;
}
