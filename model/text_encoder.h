/*
 * Text encoder: the UMT5 encoder (relative position bias in every layer, gated GELU).
 *
 * Owned by whoever opened it; borrows the device. One thread at a time. Encoding blocks until done.
 * A device with memory of its own takes the weights with the first prompt, and keeps them.
 */
#ifndef SORA_MODEL_TEXT_ENCODER_H
#define SORA_MODEL_TEXT_ENCODER_H

#include "hip/device.h"

struct sora_text_encoder;

/* Opens component directory `dir` (config.json + weights; architectures UMT5EncoderModel). */
int sora_text_encoder_open(const char *dir, struct sora_device *device,
                           struct sora_text_encoder **out_encoder, struct sora_fault *fault);
void sora_text_encoder_destroy(struct sora_text_encoder **encoder);

/* Width of an embedding row (d_model). */
int sora_text_encoder_width(const struct sora_text_encoder *encoder);
int sora_text_encoder_vocabulary_size(const struct sora_text_encoder *encoder);

/* Only real tokens are encoded (padding is masked in the reference and its rows become zero): ids
 * [count], 1..512, -> out_rows host memory [count, width] f32. Errors: INVALID for an id outside
 * the vocabulary, NUMERIC, MEMORY, DEVICE. */
int sora_text_encoder_encode(struct sora_text_encoder *encoder, const int32_t *ids, int count,
                             float *out_rows, struct sora_fault *fault);

/* Bytes that a device with memory of its own must have free to hold all weights. With less,
 * encoding brings one block there at a time, for every prompt anew. */
uint64_t sora_text_encoder_room(const struct sora_text_encoder *encoder);

/* What an encoder takes on a device whose products have operands of `type`, from its configuration
 * alone; of its embedding such a device holds the rows of a prompt only. Errors: as opening. */
struct sora_text_encoder_plan {
    uint64_t weights;                      /* of all blocks */
    uint64_t layer;                        /* of one block, when they come one at a time */
    uint64_t activations;                  /* of the longest prompt */
    int64_t rows, width, inner, ffn_width; /* of the longest prompt's products */
};
int sora_text_encoder_plan_read(const char *dir, enum sora_dtype type,
                                struct sora_text_encoder_plan *out_plan, struct sora_fault *fault);

#endif
