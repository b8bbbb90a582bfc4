/* use_from_c.c - Larder in a C program: a cache, a loader, the figures.
 *
 *   cc use_from_c.c $(pkg-config --cflags --libs larder) -o use_from_c */
#include <larder.h>

#include <stdio.h>
#include <string.h>

/* Asked for what is not held. A real one would ask a database. */
static int load(void *arg, ldr_call *call)
{
    size_t n;
    const char *key = ldr_call_key(call, &n);
    char text[64];
    ++*(int *)arg;
    if (n == 7 && memcmp(key, "nothing", 7) == 0)
        return ldr_call_answer(call, NULL, 0, LDR_NONE, 0);
    int len = snprintf(text, sizeof text, "the value of %.*s", (int)(n < 32 ? n : 32), key);
    return ldr_call_answer(call, text, (size_t)len, LDR_STRING, 0);
}

static int show(ldr_cache *cache, const char *key)
{
    static const char *const outcomes[] = {"miss", "l1", "l2", "loaded", "joined", "stale", "absent"};
    ldr_value value;
    ldr_err err;
    int code = ldr_get(cache, key, strlen(key), NULL, &value, &err);
    if (code != LDR_OK) {
        fprintf(stderr, "%s: %s\n", ldr_code_word(code), err.message);
        return code;
    }
    printf("%s: %.*s (%s)\n", key, (int)value.size, value.data ? value.data : "", outcomes[value.outcome]);
    ldr_value_free(cache, &value);
    return LDR_OK;
}

int main(void)
{
    int loads = 0;
    ldr_options options = {.size = sizeof options, .load = load, .functions_arg = &loads, .l1_bytes = 4 << 20};
    ldr_cache *cache;
    ldr_err err;
    if (ldr_open(&options, &cache, &err) != LDR_OK) {
        fprintf(stderr, "open: %s\n", err.message);
        return 1;
    }
    int bad = show(cache, "tea") || show(cache, "tea") || show(cache, "nothing");
    bad = bad || ldr_set(cache, "tea", 3, "by hand", 7, NULL, NULL, &err) != LDR_OK || show(cache, "tea");
    bad = bad || ldr_invalidate(cache, "tea", 3, &err) != LDR_OK || show(cache, "tea");

    ldr_stats_snapshot stats = {.size = sizeof stats};
    ldr_stats(cache, &stats);
    printf("%llu hits, %llu misses, %d loads\n", (unsigned long long)stats.hits, (unsigned long long)stats.misses, loads);
    ldr_close(cache, 0);
    return bad ? 1 : 0;
}
