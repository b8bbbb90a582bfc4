/* url.c - reads the address of a Redis server.
 *
 *   redis://[user][:password]@host[:port][/db]          redis+unix://[user:password@]/path[?db=0]
 *
 * No message quotes the URL: whatever is wrong in it may be the misplaced half of a password. The name that messages
 * show is made of host, port, path and database alone, after all of them were found good. */
#include "wire/url.h"

#include "base/err.h"

#include <stdio.h>
#include <strings.h>

#define URL_MOST 4096
#define HOST_MOST 255
#define PATH_MOST 107
#define PORT_DEFAULT 6379

static const char *const later[] = {"rediss", "redis+cluster", "redis+sentinel"};

/* ---- pieces ---------------------------------------------------------------------------------------------------- */

/* Cuts `rest` at the first `c`: gives what is before; rest becomes what is behind, with p NULL where there was none. */
static ldr_slice cut(ldr_slice *rest, char c)
{
    ldr_slice before = *rest;
    const char *at = rest->n ? memchr(rest->p, c, rest->n) : NULL;
    *rest = (ldr_slice){0};
    if (at) {
        *rest = ldr_slice_of(at + 1, before.n - (size_t)(at + 1 - before.p));
        before.n = (size_t)(at - before.p);
    }
    return before;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-escapes undone. */
static int unescape(ldr_slice s, char **out, const ldr_mem *mem, ldr_err *err)
{
    char *to = *out = ldr_mem_new(mem, s.n + 1);
    if (!to)
        return ldr_fail_oom(err);
    for (size_t i = 0; i < s.n; i++, to++) {
        *to = s.p[i];
        if (s.p[i] == '%') {
            int high = s.n - i > 2 ? hex(s.p[i + 1]) : -1, low = high < 0 ? -1 : hex(s.p[i + 2]);
            *to = (char)(high * 16 + low);
            i += 2;
            if (low < 0)
                *to = '\0';
        }
        if (*to == '\0')
            return ldr_fail(err, LDR_INVALID, "the Redis URL has an escape that is not %%01 to %%FF");
    }
    *to = '\0';
    return LDR_OK;
}

/* A decimal number without sign; -1: none, or above `most`. */
static long number(ldr_slice s, long most)
{
    long v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || (v = v * 10 + (s.p[i] - '0')) > most)
            return -1;
    }
    return s.n ? v : -1;
}

static int read_db(ldr_address *a, ldr_slice s, ldr_err *err)
{
    long db = number(s, INT32_MAX);
    if (db < 0)
        return ldr_fail(err, LDR_INVALID, "the database in the Redis URL must be a number from 0 on");
    a->db = (int)db;
    return LDR_OK;
}

/* user, user:password, :password */
static int read_secrets(ldr_address *a, ldr_slice s, const ldr_mem *mem, ldr_err *err)
{
    ldr_slice password = s, user = cut(&password, ':');
    int code = user.n ? unescape(user, &a->user, mem, err) : LDR_OK;
    if (code == LDR_OK && password.n)
        code = unescape(password, &a->password, mem, err);
    return code;
}

/* Takes user and password off the front. The last @ counts: one before it belongs to a password that was not escaped. */
static int take_secrets(ldr_address *a, ldr_slice *authority, const ldr_mem *mem, ldr_err *err)
{
    const char *at = authority->n ? memrchr(authority->p, '@', authority->n) : NULL;
    if (!at)
        return LDR_OK;
    ldr_slice secrets = ldr_slice_of(authority->p, (size_t)(at - authority->p));
    *authority = ldr_slice_of(at + 1, authority->n - secrets.n - 1);
    return read_secrets(a, secrets, mem, err);
}

/* ---- redis:// --------------------------------------------------------------------------------------------------- */

static bool is_host(const char *host, bool is_ipv6)
{
    size_t n = strlen(host);
    bool is_good = n > 0 && n <= HOST_MOST && (!is_ipv6 || strchr(host, ':'));
    for (; *host && is_good; host++) {
        bool is_letter = (*host | 0x20) >= 'a' && (*host | 0x20) <= 'z';
        is_good = is_letter || strchr(is_ipv6 ? "0123456789:.%_-" : "0123456789._-", *host);
    }
    return is_good;
}

static int read_host(ldr_address *a, ldr_slice s, bool is_ipv6, const ldr_mem *mem, ldr_err *err)
{
    int code = unescape(s, &a->host, mem, err);
    if (code == LDR_OK && !is_host(a->host, is_ipv6))
        return ldr_fail(err, LDR_INVALID, "the Redis URL must have a host: a name, an IPv4 address, or an IPv6 address in "
                                          "brackets");
    return code;
}

static int read_port(ldr_address *a, ldr_slice s, ldr_err *err)
{
    long port = s.p ? number(s, 65535) : PORT_DEFAULT;
    if (port < 1)
        return ldr_fail(err, LDR_INVALID, "the port in the Redis URL must be a number from 1 to 65535");
    a->port = (uint16_t)port;
    return LDR_OK;
}

/* host, host:port, [ipv6], [ipv6]:port */
static int read_place(ldr_address *a, ldr_slice s, const ldr_mem *mem, ldr_err *err)
{
    bool is_ipv6 = s.n && s.p[0] == '[';
    ldr_slice port = is_ipv6 ? ldr_slice_of(s.p + 1, s.n - 1) : s, host = cut(&port, is_ipv6 ? ']' : ':');
    int code = read_host(a, host, is_ipv6, mem, err);
    if (code != LDR_OK)
        return code;
    if (is_ipv6) {
        if (!port.p || (port.n && port.p[0] != ':'))
            return ldr_fail(err, LDR_INVALID, "the Redis URL has an IPv6 address that does not end with ] or ]:port");
        port = port.n ? ldr_slice_of(port.p + 1, port.n - 1) : (ldr_slice){0};
    }
    return read_port(a, port, err);
}

static int read_tcp(ldr_address *a, ldr_slice rest, const ldr_mem *mem, ldr_err *err)
{
    ldr_slice db = rest, authority = cut(&db, '/');
    int code = take_secrets(a, &authority, mem, err);
    if (code == LDR_OK)
        code = read_place(a, authority, mem, err);
    if (code == LDR_OK && db.n)
        code = read_db(a, db, err);
    if (code != LDR_OK)
        return code;
    bool is_ipv6 = strchr(a->host, ':') != NULL;
    (void)snprintf(a->name, sizeof a->name, "redis://%s%.*s%s:%u/%d", is_ipv6 ? "[" : "", 110, a->host, is_ipv6 ? "]" : "",
                   (unsigned)a->port, a->db);
    return LDR_OK;
}

/* ---- redis+unix:// ---------------------------------------------------------------------------------------------- */

static int read_path(ldr_address *a, ldr_slice s, const ldr_mem *mem, ldr_err *err)
{
    int code = unescape(s, &a->path, mem, err);
    if (code != LDR_OK)
        return code;
    size_t n = strlen(a->path);
    if (n < 2 || n > PATH_MOST)
        return ldr_fail(err, LDR_INVALID, "the path of the socket in the Redis URL must have 2 to %d bytes, it has %zu",
                        PATH_MOST, n);
    return LDR_OK;
}

static int read_query(ldr_address *a, ldr_slice query, ldr_err *err)
{
    if (!query.p)
        return LDR_OK;
    if (query.n < 3 || memcmp(query.p, "db=", 3) != 0)
        return ldr_fail(err, LDR_INVALID, "behind the path of a Redis URL only ?db=NUMBER is known");
    return read_db(a, ldr_slice_of(query.p + 3, query.n - 3), err);
}

static int read_unix(ldr_address *a, ldr_slice rest, const ldr_mem *mem, ldr_err *err)
{
    ldr_slice query = rest, place = cut(&query, '?');
    const char *slash = place.n ? memchr(place.p, '/', place.n) : NULL;
    if (!slash)
        return ldr_fail(err, LDR_INVALID, "a redis+unix URL must have an absolute path: redis+unix:///path");
    ldr_slice authority = ldr_slice_of(place.p, (size_t)(slash - place.p));
    int code = take_secrets(a, &authority, mem, err);
    if (code == LDR_OK && authority.n)
        code = ldr_fail(err, LDR_INVALID, "a redis+unix URL has no host: redis+unix://[user:password@]/path");
    if (code == LDR_OK)
        code = read_path(a, ldr_slice_of(slash, place.n - (size_t)(slash - place.p)), mem, err);
    if (code == LDR_OK)
        code = read_query(a, query, err);
    if (code != LDR_OK)
        return code;
    int n = snprintf(a->name, sizeof a->name, "redis+unix://%s", a->path);
    for (int i = 0; i < n; i++)
        if (a->name[i] < 0x20 || a->name[i] > 0x7e)
            a->name[i] = '?';
    return LDR_OK;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static bool is_word(ldr_slice s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static int read_scheme(ldr_address *a, ldr_slice url, const ldr_mem *mem, ldr_err *err)
{
    const char *end = url.n ? memmem(url.p, url.n, "://", 3) : NULL;
    ldr_slice scheme = ldr_slice_of(url.p, end ? (size_t)(end - url.p) : 0);
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
        if (is_word(scheme, later[i]))
            return ldr_fail(err, LDR_UNSUPPORTED, "%s is not built yet; there are redis and redis+unix", later[i]);
    bool is_unix = is_word(scheme, "redis+unix");
    if (!is_unix && !is_word(scheme, "redis"))
        return ldr_fail(err, LDR_INVALID, "a Redis URL begins with redis:// or redis+unix:// "
                                          "(rediss, redis+cluster and redis+sentinel are not built yet)");
    ldr_slice rest = ldr_slice_of(end + 3, url.n - scheme.n - 3);
    return is_unix ? read_unix(a, rest, mem, err) : read_tcp(a, rest, mem, err);
}

static int add_password(ldr_address *a, const char *password, const ldr_mem *mem, ldr_err *err)
{
    if (!password || !*password)
        return LDR_OK;
    if (a->password && strcmp(a->password, password) != 0)
        return ldr_fail(err, LDR_INVALID, "the Redis URL has a password, and another one was given beside it");
    if (!a->password)
        a->password = ldr_mem_dup(mem, password, strlen(password));
    return a->password ? LDR_OK : ldr_fail_oom(err);
}

int ldr_address_parse(ldr_address *a, ldr_slice url, const char *password, const ldr_mem *mem, ldr_err *err)
{
    int code;
    *a = (ldr_address){0};
    if (url.n > URL_MOST)
        return ldr_fail(err, LDR_INVALID, "the Redis URL is longer than %d bytes", URL_MOST);
    if (url.n && memchr(url.p, '\0', url.n))
        return ldr_fail(err, LDR_INVALID, "the Redis URL has a NUL byte");
    code = read_scheme(a, url, mem, err);
    if (code == LDR_OK)
        code = add_password(a, password, mem, err);
    if (code != LDR_OK)
        ldr_address_free(a, mem);
    return code;
}

static void wipe(char *secret, const ldr_mem *mem)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    ldr_mem_free(mem, secret);
}

void ldr_address_free(ldr_address *a, const ldr_mem *mem)
{
    wipe(a->user, mem);
    wipe(a->password, mem);
    ldr_mem_free(mem, a->host);
    ldr_mem_free(mem, a->path);
    *a = (ldr_address){0};
}
