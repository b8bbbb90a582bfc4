/* err.c - codes and their words in one table, messages cut to the room of an ldr_err.
 *
 * The words are what Lua's err.code shows and never change; the sentences are for people and may. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *word, *sentence;
} codes[LDR_N_CODES] = {
    [LDR_OK] = {"ok", "no error"},
    [LDR_TIMEOUT] = {"timeout", "deadline passed"},
    [LDR_UNAVAILABLE] = {"unavailable", "a tier or the source is out of reach"},
    [LDR_SOURCE] = {"source", "the source answered with an error"},
    [LDR_LOADER] = {"loader", "the loader failed"},
    [LDR_CORRUPT] = {"corrupt", "the stored bytes are damaged"},
    [LDR_UNSUPPORTED] = {"unsupported", "not supported here"},
    [LDR_TOO_LARGE] = {"too_large", "over a limit of size"},
    [LDR_CONFLICT] = {"conflict", "the current version is another one"},
    [LDR_CLOSED] = {"closed", "the cache is closed"},
    [LDR_BUSY] = {"busy", "too much work at once"},
    [LDR_REJECTED] = {"rejected", "refused by a rule"},
    [LDR_LOST] = {"lost", "the write may have taken effect"},
    [LDR_INVALID] = {"invalid", "an argument is out of its range"},
    [LDR_NOMEM] = {"unavailable", "out of memory"},
};

static bool known(int code)
{
    return code >= 0 && code < LDR_N_CODES;
}

const char *ldr_strerror(int code)
{
    return known(code) ? codes[code].sentence : "unknown error";
}

const char *ldr_code_word(int code)
{
    return known(code) ? codes[code].word : "unknown";
}

int ldr_fail(ldr_err *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    char text[sizeof err->message] = ""; /* apart: an argument may be the message that is being replaced */
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    memcpy(err->message, text, sizeof text);
    err->code = code;
    err->version = 0;
    return code;
}

int ldr_fail_oom(ldr_err *err)
{
    return ldr_fail(err, LDR_NOMEM, "%s", ldr_strerror(LDR_NOMEM));
}

void ldr_err_clear(ldr_err *err)
{
    if (!err)
        return;
    err->code = LDR_OK;
    err->version = 0;
    err->message[0] = '\0';
}

#define SHOWN (LDR_KEY_TEXT - 8) /* bytes of text before "..." and the NUL */

static size_t put_byte(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    if (c >= 0x20 && c < 0x7f && c != '\\') {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = hex[c >> 4];
    out[3] = hex[c & 15];
    return 4;
}

const char *ldr_key_text(ldr_slice key, char out[LDR_KEY_TEXT])
{
    char one[4];
    size_t n = 0;
    for (size_t i = 0; i < key.n; i++) {
        size_t k = put_byte(one, (unsigned char)key.p[i]);
        if (n + k > SHOWN) {
            memcpy(out + n, "...", 4);
            return out;
        }
        memcpy(out + n, one, k);
        n += k;
    }
    out[n] = '\0';
    return out;
}
