/* index.c - from a hash to a slot: buckets of one cache line, 15 cells and a link, grown bucket by bucket.
 *
 *   bucket:  | cell 0 | cell 1 | ... | cell 14 | link |     cell:  | high bits of the hash | slot + 1 |   0: empty
 *
 * A bucket that runs over links to an extra one (its number + 1). Invariant: bucket b of n and what it links to
 * hold exactly the entries whose ldr_bucket_of(hash, n) is b. Growing splits one bucket (W. Litwin, "Linear
 * Hashing", VLDB 1980): no pause, no second table. A search that finds nothing touches one line, mostly. */
#include "l1/shard.h"

#include "policy/line.h"

#define AVERAGE 12    /* entries a bucket, at most */
#define MOST_SPLITS 2 /* a write */
#define MOST_CHAIN 8  /* a longer one is not split */
#define CELL_BITS ((1u << LDR_BUCKET_CELLS) - 1)

static uint32_t *line_at(const ldr_turn *t, const ldr_pages *pages, uint32_t b)
{
    ldr_words w = {.base = t->base, .pages = ldr_pages_dir(t->base, pages)};
    return ldr_words_at(&w, b * LDR_BUCKET_WORDS);
}

static uint32_t *first_line(const ldr_turn *t, uint32_t b)
{
    return line_at(t, &t->shard->buckets, b);
}

static uint32_t *next_line(const ldr_turn *t, const uint32_t *line)
{
    uint32_t link = line[LDR_BUCKET_CELLS];
    return link ? line_at(t, &t->shard->extras, link - 1) : NULL;
}

static uint32_t *line_for(const ldr_turn *t, uint32_t hash)
{
    return first_line(t, ldr_bucket_of(hash, t->shard->n_buckets));
}

static uint32_t slot_mask(const ldr_turn *t)
{
    return (1u << t->shard->slot_bits) - 1;
}

static uint32_t cell_of(const ldr_turn *t, uint32_t slot)
{
    return (ldr_slot_at(t, slot)->hash & ~slot_mask(t)) | (slot + 1);
}

static void line_clear(uint32_t *line)
{
    for (uint32_t i = 0; i < LDR_BUCKET_WORDS; i++)
        ldr_store32(line + i, 0);
}

/* ---- finding ----------------------------------------------------------------------------------------------- */

void ldr_index_prefetch(const ldr_turn *t, uint32_t hash)
{
    if (t->shard->n_buckets)
        __builtin_prefetch(line_for(t, hash));
}

static bool is_entry(const ldr_turn *t, uint32_t slot, ldr_slice key, uint32_t hash)
{
    const ldr_slot *s = ldr_slot_at(t, slot);
    return s->hash == hash && ldr_slice_eq(ldr_block_key(ldr_unit_at(t->base, s->block)), key);
}

uint32_t ldr_index_find(const ldr_turn *t, ldr_slice key, uint64_t hash)
{
    uint32_t h = (uint32_t)hash, mask = slot_mask(t);
    if (t->shard->n_buckets == 0)
        return LDR_NO_SLOT;
    for (const uint32_t *line = line_for(t, h); line; line = next_line(t, line))
        for (uint32_t bits = ldr_line_match(line, h, ~mask) & CELL_BITS; bits; bits &= bits - 1) {
            uint32_t cell = line[__builtin_ctz(bits)];
            if (cell != 0 && is_entry(t, (cell & mask) - 1, key, h))
                return (cell & mask) - 1;
        }
    return LDR_NO_SLOT;
}

uint32_t ldr_index_find_block(const ldr_turn *t, uint32_t hash, uint32_t block)
{
    uint32_t mask = slot_mask(t);
    for (const uint32_t *line = line_for(t, hash); line; line = next_line(t, line))
        for (uint32_t i = 0; i < LDR_BUCKET_CELLS; i++)
            if (((line[i] ^ hash) & ~mask) == 0 && line[i] != 0 && ldr_slot_at(t, (line[i] & mask) - 1)->block == block)
                return (line[i] & mask) - 1;
    return LDR_NO_SLOT;
}

static uint32_t *find_cell(const ldr_turn *t, uint32_t hash, uint32_t cell)
{
    for (uint32_t *line = line_for(t, hash); line; line = next_line(t, line)) {
        uint32_t bits = ldr_line_match(line, cell, UINT32_MAX) & CELL_BITS;
        if (bits)
            return line + __builtin_ctz(bits);
    }
    return NULL;
}

/* ---- putting ----------------------------------------------------------------------------------------------- */

static void free_extra(ldr_turn *t, uint32_t *line, uint32_t number)
{
    line_clear(line);
    ldr_store32(line + LDR_BUCKET_CELLS, t->shard->free_extra);
    t->shard->free_extra = number;
}

static bool more_extras(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    uint32_t n = sh->extras.n * LDR_BUCKETS_PAGE;
    if (!ldr_turn_page(t, &sh->extras, LDR_WORDS_PAGE_UNITS, true))
        return false;
    for (uint32_t i = LDR_BUCKETS_PAGE; i-- > 0;)
        free_extra(t, line_at(t, &sh->extras, n + i), n + i + 1);
    return true;
}

/* An empty extra bucket behind `line`, which is the last. There must be a free one. */
static uint32_t *add_extra(ldr_turn *t, uint32_t *line)
{
    ldr_shard *sh = t->shard;
    uint32_t number = sh->free_extra;
    uint32_t *extra = line_at(t, &sh->extras, number - 1);
    sh->free_extra = extra[LDR_BUCKET_CELLS];
    ldr_store32(extra + LDR_BUCKET_CELLS, 0);
    ldr_store32(line + LDR_BUCKET_CELLS, number);
    return extra;
}

static void put_cell(ldr_turn *t, uint32_t hash, uint32_t cell)
{
    uint32_t *line = line_for(t, hash), *empty = find_cell(t, hash, 0);
    if (!empty) {
        for (uint32_t *next = line; next; next = next_line(t, line))
            line = next;
        empty = add_extra(t, line);
    }
    ldr_store32(empty, cell);
}

void ldr_index_reserve(ldr_turn *t, uint32_t hash)
{
    if (t->shard->free_extra || find_cell(t, hash, 0) || more_extras(t))
        return;
    uint32_t cell = *line_for(t, hash); /* more_extras may have evicted: then this one is empty by now */
    if (cell != 0)
        ldr_turn_drop(t, (cell & slot_mask(t)) - 1, LDR_GONE_EVICTED);
}

void ldr_index_link(ldr_turn *t, uint32_t slot)
{
    put_cell(t, ldr_slot_at(t, slot)->hash, cell_of(t, slot));
}

/* An extra bucket that has become empty goes back, or each bucket would keep one in the end. */
void ldr_index_unlink(ldr_turn *t, uint32_t slot)
{
    uint32_t cell = cell_of(t, slot), *before = NULL;
    uint32_t *line = line_for(t, ldr_slot_at(t, slot)->hash), bits;
    while ((bits = ldr_line_match(line, cell, UINT32_MAX) & CELL_BITS) == 0) {
        before = line;
        line = next_line(t, line);
    }
    ldr_store32(line + __builtin_ctz(bits), 0);
    if (!before || (ldr_line_match(line, 0, UINT32_MAX) & CELL_BITS) != CELL_BITS)
        return;
    uint32_t number = before[LDR_BUCKET_CELLS];
    ldr_store32(before + LDR_BUCKET_CELLS, line[LDR_BUCKET_CELLS]);
    free_extra(t, line, number);
}

/* ---- growing ----------------------------------------------------------------------------------------------- */

static bool more_buckets(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    if (sh->n_buckets % LDR_BUCKETS_PAGE != 0)
        return true;
    if (!ldr_turn_page(t, &sh->buckets, LDR_WORDS_PAGE_UNITS, sh->n_buckets == 0))
        return false;
    for (uint32_t i = 0; i < LDR_BUCKETS_PAGE; i++)
        line_clear(first_line(t, sh->n_buckets + i));
    return true;
}

/* Takes all cells out of bucket b; its extra buckets become free. UINT32_MAX: its chain is too long. */
static uint32_t empty_bucket(ldr_turn *t, uint32_t b, uint32_t cells[MOST_CHAIN * LDR_BUCKET_CELLS])
{
    uint32_t n = 0, chain = 0;
    for (uint32_t *line = first_line(t, b); line; line = next_line(t, line))
        if (++chain > MOST_CHAIN)
            return UINT32_MAX;
    uint32_t number = 0;
    for (uint32_t *line = first_line(t, b); line;) {
        uint32_t *next = next_line(t, line), next_number = line[LDR_BUCKET_CELLS];
        for (uint32_t i = 0; i < LDR_BUCKET_CELLS; i++)
            if (line[i] != 0)
                cells[n++] = line[i];
        if (number)
            free_extra(t, line, number);
        else
            line_clear(line);
        number = next_number;
        line = next;
    }
    return n;
}

/* The new bucket takes from its older half those whose hash has one bit more. What they fill together needs no
 * more extra buckets than were freed. */
static bool split(ldr_turn *t)
{
    uint32_t cells[MOST_CHAIN * LDR_BUCKET_CELLS];
    uint32_t made = t->shard->n_buckets, top = 1u << (31 - __builtin_clz(made));
    uint32_t n = empty_bucket(t, made - top, cells);
    if (n == UINT32_MAX)
        return false;
    ldr_store32(&t->shard->n_buckets, made + 1);
    for (uint32_t i = 0; i < n; i++)
        put_cell(t, ldr_slot_at(t, (cells[i] & slot_mask(t)) - 1)->hash, cells[i]);
    return true;
}

void ldr_index_grow(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    if (sh->n_buckets == 0) {
        if (more_buckets(t))
            ldr_store32(&sh->n_buckets, LDR_BUCKETS_PAGE);
        return;
    }
    for (int i = 0; i < MOST_SPLITS; i++) {
        if (sh->n_entries < (uint64_t)sh->n_buckets * AVERAGE || !more_buckets(t) || !split(t))
            return;
    }
}

void ldr_index_clear(ldr_turn *t)
{
    ldr_shard *sh = t->shard;
    for (uint32_t b = 0; b < sh->n_buckets; b++)
        line_clear(first_line(t, b));
    sh->free_extra = 0;
    for (uint32_t b = sh->extras.n * LDR_BUCKETS_PAGE; b-- > 0;)
        free_extra(t, line_at(t, &sh->extras, b), b + 1);
}

/* ---- self check -------------------------------------------------------------------------------------------- */

static const char *verify_line(const ldr_turn *t, const uint32_t *line, uint32_t b, uint32_t *n)
{
    for (uint32_t i = 0; i < LDR_BUCKET_CELLS; i++) {
        uint32_t slot = (line[i] & slot_mask(t)) - 1;
        if (line[i] == 0)
            continue;
        if (slot >= t->shard->n_slots || ++*n > t->shard->n_entries)
            return "index holds more than there is";
        if (cell_of(t, slot) != line[i] || ldr_bucket_of(ldr_slot_at(t, slot)->hash, t->shard->n_buckets) != b)
            return "slot stands in another bucket";
    }
    return NULL;
}

const char *ldr_index_verify(const ldr_turn *t)
{
    uint32_t n = 0, n_extras = 0;
    const char *wrong = NULL;
    for (uint32_t b = 0; b < t->shard->n_buckets; b++)
        for (const uint32_t *line = first_line(t, b); line && !wrong; line = next_line(t, line)) {
            n_extras += line[LDR_BUCKET_CELLS] != 0;
            wrong = verify_line(t, line, b, &n);
        }
    for (uint32_t e = t->shard->free_extra; e; e = line_at(t, &t->shard->extras, e - 1)[LDR_BUCKET_CELLS])
        n_extras++;
    if (!wrong && n_extras != t->shard->extras.n * LDR_BUCKETS_PAGE)
        wrong = "an extra bucket is neither linked nor free";
    return wrong || n == t->shard->n_entries ? wrong : "index holds less than there is";
}
