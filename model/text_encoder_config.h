/*
 * Configuration of the text encoder, and the memory that follows from it. Private to
 * model/text_encoder*.c but for what text_encoder.h declares.
 */
#ifndef SORA_MODEL_TEXT_ENCODER_CONFIG_H
#define SORA_MODEL_TEXT_ENCODER_CONFIG_H

#include "base/error.h"
#include "model/text_encoder_bias.h"

#define SORA_TEXT_TOKENS_MAX 512

struct sora_text_config {
    int vocabulary_size, width, head_size, heads, ffn_width, layers;
    struct sora_relative_buckets buckets;
    double eps;
};

/* Reads and checks `dir`/config.json. Errors: those of model/config.h, UNSUPPORTED. */
int sora_text_config_read(const char *dir, struct sora_text_config *out_config,
                          struct sora_fault *fault);

#endif
