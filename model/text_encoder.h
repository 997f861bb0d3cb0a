/*
 * Text encoder: the UMT5 encoder (relative position bias in every layer, gated GELU).
 *
 * Owned by whoever opened it; borrows the device. One thread at a time. Encoding blocks until done.
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

/* Lets the system reclaim the mapped weights until the next encode. */
void sora_text_encoder_release_pages(struct sora_text_encoder *encoder);

#endif
