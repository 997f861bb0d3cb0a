/*
 * VAE coder: one half in motion, a pass at a time. Private to model/vae*.c.
 *
 * Owns its stream, the past frames of every convolution (in the type that it rounds its input to,
 * which changes no bit) and three scratch regions, all in one device buffer taken at creation.
 * Borrows the device and the half, which outlive it. One thread. A pass only queues work on the
 * stream; the caller waits when it downloads.
 */
#ifndef SORA_MODEL_VAE_CODER_H
#define SORA_MODEL_VAE_CODER_H

#include "model/vae_half.h"

struct sora_vae_coder;

/* `in`: the extent of every pass but a shot's first, which has 1 frame, before the first block.
 * `by_frame`: in less memory and with the same bits (vae_blocks.h). The half must be packed.
 * Errors: MEMORY, DEVICE. */
int sora_vae_coder_create(struct sora_device *device, const struct sora_vae_half *half,
                          struct sora_vae_extent in, bool by_frame,
                          struct sora_vae_coder **out_coder);
void sora_vae_coder_destroy(struct sora_vae_coder **coder);

/* Forgets the past: the next pass is a shot's first. */
void sora_vae_coder_reset(struct sora_vae_coder *coder);
/* Of a decoder: forgets the past; the next `context` passes give no frames and run only what later
 * frames need. `first` tells whether the next pass is a shot's first. */
void sora_vae_coder_begin(struct sora_vae_coder *coder, int context, bool first);
bool sora_vae_coder_at_start(const struct sora_vae_coder *coder);
struct sora_stream *sora_vae_coder_stream(const struct sora_vae_coder *coder);

/* A tensor in scratch region 0, 1 or 2 (each holds the largest tensor of a pass, or of a frame).
 * Valid until the next pass. */
struct sora_tensor sora_vae_coder_scratch(const struct sora_vae_coder *coder, int region,
                                          enum sora_dtype dtype, int rank, const int64_t *shape);

/* Runs the blocks on `in`, [T,H,W,C] in scratch region 0. *out_result lies in region *out_region or
 * in none, then the one after *out_region is free; -1 for a pass of context: there is no result.
 * Errors: those of the operations. */
int sora_vae_coder_run(struct sora_vae_coder *coder, const struct sora_tensor *in,
                       struct sora_tensor *out_result, int *out_region);

#endif
