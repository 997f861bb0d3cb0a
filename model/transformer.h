/*
 * Transformer: WanTransformer3DModel, the denoiser. Predicts the velocity (noise - x0) of one
 * window.
 *
 * Owned by whoever opened it; borrows the device. One thread at a time. Forward queues its work on
 * a stream that the caller owns.
 *
 * Layout: latents and velocity are frame-major [T,C,H,W] f32 (files use [C,T,H,W]).
 */
#ifndef SORA_MODEL_TRANSFORMER_H
#define SORA_MODEL_TRANSFORMER_H

#include "hip/device.h"

struct sora_transformer;

struct sora_transformer_config {
    int patch_t, patch_h, patch_w; /* 1,2,2 in every published Wan model */
    int heads, head_size;          /* width = heads * head_size */
    int in_channels, out_channels;
    int text_width, freq_width; /* freq_width: sinusoid size, 256 */
    int ffn_width, layers;
    bool cross_attn_norm;
    double eps;
    int rope_positions; /* 1024 per axis */
    int image_width;    /* 0; > 0 is an image-conditioned model */
};

/* Reads and checks `<dir>/config.json` without opening the model; opening does the same. */
int sora_transformer_config_read(const char *dir, struct sora_transformer_config *out_config,
                                 struct sora_fault *fault);

/* Opens component directory `dir`. A model with image conditioning (image_dim, or in_channels other
 * than out_channels) is refused with UNSUPPORTED and its name. */
int sora_transformer_open(const char *dir, struct sora_device *device,
                          struct sora_transformer **out_transformer, struct sora_fault *fault);
void sora_transformer_destroy(struct sora_transformer **transformer);
const struct sora_transformer_config *
sora_transformer_config(const struct sora_transformer *transformer);

/* A device with memory of its own takes the weights when they are first needed, by a context or a
 * forward, or here. On a device that is to hold them so (struct sora_device_caps) the blocks'
 * matrices are int8 or fp8 with a scale per row. Errors: MEMORY (nothing is held then), DEVICE. */
int sora_transformer_load(struct sora_transformer *transformer, struct sora_fault *fault);
/* Gives weights and activations back until they are needed again; contexts stay. Work that was
 * queued must be done. */
void sora_transformer_unload(struct sora_transformer *transformer);
/* Bytes of device memory that unload would free. */
uint64_t sora_transformer_held(const struct sora_transformer *transformer);

/* What depends on the prompt alone, computed once per prompt: the keys and values of every layer's
 * cross-attention for the real text rows and one row that stands for all padding. */
struct sora_transformer_context;

/* rows: host [count, text_width] f32, count 0..text_rows; text_rows is the padded length (512). */
int sora_transformer_context_create(struct sora_transformer *transformer, const float *rows,
                                    int count, int text_rows,
                                    struct sora_transformer_context **out_context,
                                    struct sora_fault *fault);
void sora_transformer_context_destroy(struct sora_transformer_context **context);
/* Rows that every query attends to: count, plus 1 when count < text_rows. */
int sora_transformer_context_keys(const struct sora_transformer_context *context);

/* One forward pass. latents [T,in,H,W], T >= 1, H and W multiples of the patch; timestep in
 * [0,1000]; velocity [T,out,H,W] must not overlap latents. Errors: INVALID, MEMORY, DEVICE.
 *
 * What depends on the timestep alone is kept until another timestep comes, so call the conditional
 * and the unconditional forward of a step one after the other. The first call of a shape allocates
 * sora_transformer_activation_size bytes unless an earlier shape had more, later calls allocate
 * nothing. Successive forwards share that memory: before changing to another stream, wait for the
 * last one. A NaN or infinity goes through; ask sora_device_all_finite. */
struct sora_transformer_input {
    struct sora_tensor latents;
    const struct sora_transformer_context *context;
    double timestep;
};
int sora_transformer_forward(struct sora_transformer *transformer, struct sora_stream *stream,
                             const struct sora_transformer_input *input,
                             const struct sora_tensor *out_velocity, struct sora_fault *fault);

/* Bytes of device memory for the activations of one forward of [T,C,H,W] latents; the weights and
 * the contexts come on top. SIZE_MAX for a shape that no forward takes. */
size_t sora_transformer_activation_size(const struct sora_transformer *transformer, int latents,
                                        int height, int width);

/* Bytes that the weights take on the transformer's own device, when that copies them. */
uint64_t sora_transformer_weight_size(const struct sora_transformer *transformer);
/* Bytes that the weights take on a device whose products have operands of `type`; F32 weights that
 * are stored in 16 bits take less. `quantised`: the blocks' matrices in 8 bits. */
uint64_t sora_transformer_config_weight_size(const struct sora_transformer_config *config,
                                             enum sora_dtype type, bool quantised);

/* Tokens that one product of the feed-forward part takes in a window of `tokens`, 1 or more. */
int64_t sora_transformer_config_ffn_rows(const struct sora_transformer_config *config,
                                         int64_t tokens);

/* The activations from the configuration alone, without opening the model. */
size_t sora_transformer_config_activation_size(const struct sora_transformer_config *config,
                                               int latents, int height, int width);

/* The name of the first weight tensor that holds a NaN or an infinity, NULL when all are finite;
 * for the message after a velocity was not finite, because it reads every weight. The name borrows
 * the transformer. */
const char *sora_transformer_find_nonfinite(const struct sora_transformer *transformer);

/* Multiply-adds times two of one forward of [T,H,W] latents with `text_keys` attended text rows. */
double sora_transformer_flops(const struct sora_transformer *transformer, int latents, int height,
                              int width, int text_keys);

#endif
