/* model.h - models of a SQL source, and the keys that name their rows.
 *
 * A key is "model:part" or "model:part:part": the model is the text to the first colon, each part one key column.
 * Inside a part ':' is written %3A and '%' is written %25; any other % sequence is refused, so that a row has
 * exactly one key. Parts may be empty and hold any bytes. */
#ifndef LDR_SOURCE_MODEL_H
#define LDR_SOURCE_MODEL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "larder.h"

#define LDR_MODEL_KEYS 16 /* key columns a model may have */

typedef struct ldr_model {
    char *name;
    char *table; /* NULL: own SQL only */
    char **key;  /* n_key column names */
    size_t n_key;
    char *version, *updated_at; /* columns, NULL: none */
    char **columns;             /* n_columns names; 0: all */
    size_t n_columns;
    char *sql_load, *sql_store, *sql_delete, *sql_version; /* NULL: made */
} ldr_model;

typedef struct ldr_models {
    ldr_model *all;
    size_t n;
    ldr_mem mem;
} ldr_models;

/* Copies and checks the models of the options. LDR_OK, LDR_INVALID (the message names model and option), LDR_NOMEM;
 * after a failure nothing is held. */
int ldr_models_init(ldr_models *m, const ldr_options *o, const ldr_mem *mem, ldr_err *err);
void ldr_models_fini(ldr_models *m);

/* A key taken apart. Parts borrow from the key, or from `plain` where an escape was undone. */
typedef struct ldr_model_key {
    const ldr_model *model;
    size_t index; /* of the model */
    ldr_slice part[LDR_MODEL_KEYS]; /* model->n_key of them */
    ldr_buf plain;
} ldr_model_key;

/* LDR_OK, LDR_INVALID (no colon, unknown model, wrong number of parts, wrong escape; names the key), LDR_NOMEM.
 * After LDR_OK the key is freed with ldr_model_key_fini. */
int ldr_models_parse(const ldr_models *m, ldr_slice key, ldr_model_key *out, ldr_err *err);
void ldr_model_key_fini(ldr_model_key *k);
/* Appends a part, escaped. */
void ldr_model_part_write(ldr_buf *b, ldr_slice part);

#endif
