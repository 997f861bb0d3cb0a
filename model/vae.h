/*
 * VAE: AutoencoderKLWan, video to latents and back, streaming in time.
 *
 * The model is owned by whoever opened it and borrows the device; a coder (encoder or decoder
 * state) borrows the model. One thread at a time for a model and all its coders. Calls block until
 * their result is on the host.
 *
 * Frames on the host: [T,H,W,3] f32 in [-1,1] or u8 RGB. Latents on the host: frame-major [T,C,h,w]
 * f32 in the transformer's normalised space, (mu - mean) / std. The first latent of a shot is 1
 * frame, every later one `temporal_factor` frames. A decoder works one latent per inner pass, so
 * any split of the stream gives the same bits, and memory does not depend on the length: a coder
 * takes all of its device memory when it is created.
 *
 * Architecture: Wan 2.1 (T. Wan et al., "Wan: Open and Advanced Large-Scale Video Generative
 * Models", 2025, section 4.1) with any number of levels. Convolutions are causal in time; each one
 * keeps the last frames of its input on the device, so that streaming equals coding the whole
 * video at once. Two exceptions of that architecture are kept: the first latent skips the
 * convolutions in time that double (or halve) the frame rate, and those start without a past at
 * the second latent.
 */
#ifndef SORA_MODEL_VAE_H
#define SORA_MODEL_VAE_H

#include "hip/device.h"

#define SORA_VAE_CHANNELS_MAX 64

struct sora_vae;

struct sora_vae_config {
    int base_width;         /* encoder */
    int decoder_base_width; /* = base_width when the config has none */
    int levels;             /* entries of dim_mult */
    int multipliers[8];
    bool temporal_down[8];
    int res_blocks;
    int channels;        /* z_dim */
    int spatial_factor;  /* 2^(levels-1) */
    int temporal_factor; /* 2^(count of temporal_down) */
    float latents_mean[SORA_VAE_CHANNELS_MAX], latents_std[SORA_VAE_CHANNELS_MAX];
};

/* Opens component directory `dir`: config.json of class AutoencoderKLWan and its safetensors.
 * Config keys and ranges: base_dim and decoder_base_dim (absent or null: base_dim) 1..1024, z_dim
 * 1..64, dim_mult 2..8 values of 1..16, num_res_blocks 1..16, temperal_downsample one flag per
 * level but the last, latents_mean and latents_std z_dim numbers each. Absent keys have the
 * published Wan 2.1 values. Refused with UNSUPPORTED, by name: is_residual, patch_size over 1,
 * attn_scales, in_channels or out_channels other than 3 (Wan 2.2 and image variants).
 *
 * All tensors of both halves are checked here (errors of sora_weights_get name them); a half's
 * weights are packed for the device when its first coder is created, and stay until destroy. */
int sora_vae_open(const char *dir, struct sora_device *device, struct sora_vae **out_vae,
                  struct sora_fault *fault);
void sora_vae_destroy(struct sora_vae **vae);
/* On a device with memory of its own: gives the weights back until the next coder is created. There
 * must be no coder. */
void sora_vae_unload(struct sora_vae *vae);
const struct sora_vae_config *sora_vae_config(const struct sora_vae *vae);

/* ---- streaming decode ---- */
struct sora_vae_decoder;

/* Latent height and width, 1..1024. Where a device has no memory for whole passes the decoder goes
 * frame by frame, with the same bits. Errors: LIMIT, UNSUPPORTED (attention heads too large for the
 * device), MEMORY with the bytes needed. */
int sora_vae_decoder_create(struct sora_vae *vae, int height, int width,
                            struct sora_vae_decoder **out_decoder, struct sora_fault *fault);
void sora_vae_decoder_destroy(struct sora_vae_decoder **decoder);
/* Forgets the past: the next latent is a shot's first. */
void sora_vae_decoder_reset(struct sora_vae_decoder *decoder);

/* As reset, but the next latent is latent `first` of a shot and frames are wanted from latent `own`
 * on: latents [first,own) are context. Feed them with sora_vae_decoder_next like the others; they
 * give no frames (*out_count is 0, nothing is written), then come exactly the frames of latents
 * own, own+1, ... With first <= max(0, own - sora_vae_decoder_warmup) those have the bits of the
 * whole stream; with less context they are close. Each level runs only the context latents that can
 * still reach an own frame through the levels after it, so a full context costs about as much as 5
 * latents (sora_vae_plan, flops_context). 0 <= first <= own (asserted); begin(0,0) is reset. */
void sora_vae_decoder_begin(struct sora_vae_decoder *decoder, int first, int own);

/* Decodes the next latent, host [C,h,w]. Writes 1 or temporal_factor frames, none for a latent of
 * context: *out_count says how many. Any output may be NULL (a warm-up latent needs none).
 * out_frames: f32 [temporal_factor,H,W,3], clamped to [-1,1]; out_rgb: u8 of the same shape.
 * Errors: NUMERIC when the latent or a frame is not finite (named by its index in the shot),
 * DEVICE; after an error the decoder must be reset. */
int sora_vae_decoder_next(struct sora_vae_decoder *decoder, const float *latent, float *out_frames,
                          uint8_t *out_rgb, int *out_count, struct sora_fault *fault);

/* ---- streaming encode ---- */
struct sora_vae_encoder;

/* Frame height and width in pixels: multiples of spatial_factor, at most 1024 times it. Errors as
 * for the decoder, INVALID for another size. */
int sora_vae_encoder_create(struct sora_vae *vae, int frame_height, int frame_width,
                            struct sora_vae_encoder **out_encoder, struct sora_fault *fault);
void sora_vae_encoder_destroy(struct sora_vae_encoder **encoder);
void sora_vae_encoder_reset(struct sora_vae_encoder *encoder);
/* The next 1 (first) or temporal_factor frames, host [n,H,W,3] f32, -> one latent (the posterior's
 * mode, normalised), host [C,h,w]. Errors as for the decoder. */
int sora_vae_encoder_next(struct sora_vae_encoder *encoder, const float *frames, float *out_latent,
                          struct sora_fault *fault);

/* ---- planning, from the config alone ---- */

/* What one coder takes on the device beside the weights, and what one latent costs. Operation
 * counts are multiply-adds times two of convolutions, products and attention, zero padding
 * included. */
struct sora_vae_plan {
    size_t cache_bytes;          /* past frames of the convolutions */
    size_t activation_bytes;     /* scratch of one pass */
    size_t activation_bytes_min; /* the same of a decoder where memory is short */
    size_t scratch_bytes;        /* what a device may take on top for rounded operands */
    size_t weight_bytes;         /* convolution weights of this half as packed, for all coders */
    size_t plain_weight_bytes;   /* its other weights, where the device copies them; at most */
    double flops_first;          /* a shot's first latent: 1 frame */
    double flops_next;           /* every later latent: temporal_factor frames */
    double flops_context;        /* decoder: all context of an exact start far from the beginning */
};

/* Latent size. Errors: LIMIT, MEMORY. */
int sora_vae_decoder_plan(const struct sora_vae *vae, int height, int width,
                          struct sora_vae_plan *out_plan, struct sora_fault *fault);
/* The same without opening the model, for a device whose products have operands of `type`. Errors:
 * LIMIT, MEMORY. */
int sora_vae_config_decoder_plan(const struct sora_vae_config *config, int height, int width,
                                 enum sora_dtype type, struct sora_vae_plan *out_plan,
                                 struct sora_fault *fault);
/* Frame size in pixels. Errors: INVALID, LIMIT. */
int sora_vae_encoder_plan(const struct sora_vae *vae, int frame_height, int frame_width,
                          struct sora_vae_plan *out_plan, struct sora_fault *fault);

/* Context latents K: a decoder that begins at latent s-K of a shot (sora_vae_decoder_begin(s-K,s))
 * gives the bits of the whole stream from latent s on. So does one that is reset, fed from s-K on
 * (K >= 1) as if that were a shot's first latent and whose first 1 + temporal_factor*(K-1) frames
 * are dropped, at the full cost of every latent. It follows from the structure: a 3-frame
 * convolution reaches 2 frames back, a doubling of the frame rate starts anew at the second latent
 * fed. 38 for the published Wan 2.1 VAE. Fewer give frames that are close, not equal: what is far
 * back counts little. */
int sora_vae_decoder_warmup(const struct sora_vae_config *config);

#endif
