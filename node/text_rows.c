/* Prompts to embedding rows. */
#include "node/text_rows.h"

#include "model/tensor_file.h"
#include "model/text_encoder.h"
#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define PATH_SIZE 1024

void sora_text_rows_fini(struct sora_text_rows *rows)
{
    free(rows->values);
    *rows = (struct sora_text_rows){0};
}

/* ---- the encoder ---- */

struct sora_text_rows_encoder {
    struct sora_tokenizer *tokenizer;
    struct sora_text_encoder *encoder;
};

int sora_text_rows_encoder_open(const struct sora_bundle *bundle, struct sora_device *device,
                                struct sora_text_rows_encoder **out_encoder,
                                struct sora_fault *fault)
{
    char path[PATH_SIZE];
    struct sora_text_rows_encoder *encoder = calloc(1, sizeof(*encoder));
    if (!encoder)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the text encoder");
    sora_bundle_path(bundle, "tokenizer", path, sizeof(path));
    int error = sora_tokenizer_open(path, &encoder->tokenizer, fault);
    sora_bundle_path(bundle, "text_encoder", path, sizeof(path));
    if (!error)
        error = sora_text_encoder_open(path, device, &encoder->encoder, fault);
    if (error)
        sora_text_rows_encoder_close(&encoder);
    else
        *out_encoder = encoder;
    return error;
}

void sora_text_rows_encoder_close(struct sora_text_rows_encoder **encoder)
{
    if (!*encoder)
        return;
    sora_text_encoder_destroy(&(*encoder)->encoder);
    sora_tokenizer_destroy(&(*encoder)->tokenizer);
    free(*encoder);
    *encoder = NULL;
}

uint64_t sora_text_rows_encoder_room(const struct sora_text_rows_encoder *encoder)
{
    return sora_text_encoder_room(encoder->encoder);
}

int sora_text_rows_encoder_encode(struct sora_text_rows_encoder *encoder, const char *text,
                                  size_t size, struct sora_text_rows *out_rows,
                                  struct sora_fault *fault)
{
    int32_t ids[SORA_PROMPT_TOKENS_MAX];
    int count = 0;
    int error = sora_tokenizer_encode(encoder->tokenizer, text, size, ids, &count, fault);
    if (error)
        return error;
    struct sora_text_rows rows = {.count = count,
                                  .width = sora_text_encoder_width(encoder->encoder)};
    rows.values = malloc((size_t)count * (size_t)rows.width * sizeof(float));
    if (!rows.values)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for %d text rows", count);
    error = sora_text_encoder_encode(encoder->encoder, ids, count, rows.values, fault);
    if (error)
        sora_text_rows_fini(&rows);
    else
        *out_rows = rows;
    return error;
}

int sora_text_rows_encode_all(const struct sora_bundle *bundle, struct sora_device *device,
                              const char *const *texts, int count, struct sora_text_rows *out_rows,
                              struct sora_fault *fault)
{
    struct sora_text_rows_encoder *encoder = NULL;
    int error = sora_text_rows_encoder_open(bundle, device, &encoder, fault);
    int done = 0;
    while (!error && done < count) {
        error = sora_text_rows_encoder_encode(encoder, texts[done], strlen(texts[done]),
                                              &out_rows[done], fault);
        done += !error;
    }
    while (error && done > 0)
        sora_text_rows_fini(&out_rows[--done]);
    sora_text_rows_encoder_close(&encoder);
    return error;
}

int sora_text_rows_encode(const struct sora_bundle *bundle, struct sora_device *device,
                          const char *prompt, const char *negative,
                          struct sora_text_rows *out_prompt, struct sora_text_rows *out_negative,
                          struct sora_fault *fault)
{
    const char *const texts[] = {prompt, negative};
    struct sora_text_rows rows[2];
    int error = sora_text_rows_encode_all(bundle, device, texts, negative ? 2 : 1, rows, fault);
    if (error)
        return error;
    *out_prompt = rows[0];
    if (negative)
        *out_negative = rows[1];
    return 0;
}

/* ---- from a file ---- */

int sora_text_rows_read(const char *path, const char *name, int width,
                        struct sora_text_rows *out_rows, struct sora_fault *fault)
{
    struct sora_array array = {0};
    int error = sora_array_read(path, name, &array, fault);
    if (error)
        return error;
    if (array.rank == 3 && array.shape[0] == 1) {
        array.rank = 2;
        array.shape[0] = array.shape[1];
        array.shape[1] = array.shape[2];
    }
    if (array.rank != 2 || array.shape[1] != width || array.shape[0] > SORA_TEXT_ROWS_PADDED) {
        error = sora_fault_set(fault, SORA_E_FORMAT,
                               "%.300s: tensor %s has rank %d and width %d; expected up to %d rows "
                               "of width %d",
                               path, name, array.rank,
                               array.rank > 0 ? (int)array.shape[array.rank - 1] : 0,
                               SORA_TEXT_ROWS_PADDED, width);
        sora_array_fini(&array);
        return error;
    }
    *out_rows = (struct sora_text_rows){
        .values = array.values, .count = (int)array.shape[0], .width = width};
    return 0;
}
