/*
 * VAE: AutoencoderKLWan, video to latents and back, streaming in time.
 *
 * The model is owned by whoever opened it and borrows the device; a coder (encoder or decoder
 * state) borrows the model. One thread at a time. Calls block until their result is on the host.
 *
 * Frames on the host: [T,H,W,3] f32 in [-1,1] or u8 RGB. Latents on the host: frame-major [T,C,h,w]
 * f32 in the transformer's normalised space, (mu - mean) / std. The first latent of a shot is 1
 * frame, every later one `temporal_factor` frames. A decoder works one latent per inner pass, so
 * any split of the stream gives the same bits, and memory does not depend on the length.
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

/* Opens component directory `dir` (class AutoencoderKLWan; is_residual or patch_size of the later
 * variants are refused by name). Weights of the half that is not used are not packed until needed.
 */
int sora_vae_open(const char *dir, struct sora_device *device, struct sora_vae **out_vae,
                  struct sora_fault *fault);
void sora_vae_destroy(struct sora_vae **vae);
const struct sora_vae_config *sora_vae_config(const struct sora_vae *vae);

/* ---- streaming decode ---- */
struct sora_vae_decoder;

/* Latent height and width, 1..1024. */
int sora_vae_decoder_create(struct sora_vae *vae, int height, int width,
                            struct sora_vae_decoder **out_decoder, struct sora_fault *fault);
void sora_vae_decoder_destroy(struct sora_vae_decoder **decoder);
/* Forgets the past: the next latent is a shot's first. */
void sora_vae_decoder_reset(struct sora_vae_decoder *decoder);

/* Decodes the next latent, host [C,h,w]. Writes 1 or temporal_factor frames: *out_count says how
 * many. Either output may be NULL. out_frames: f32 [temporal_factor,H,W,3], clamped to [-1,1];
 * out_rgb: u8 of the same shape. Errors: NUMERIC when a frame is not finite, MEMORY, DEVICE. */
int sora_vae_decoder_next(struct sora_vae_decoder *decoder, const float *latent, float *out_frames,
                          uint8_t *out_rgb, int *out_count, struct sora_fault *fault);

/* ---- streaming encode ---- */
struct sora_vae_encoder;
int sora_vae_encoder_create(struct sora_vae *vae, int frame_height, int frame_width,
                            struct sora_vae_encoder **out_encoder, struct sora_fault *fault);
void sora_vae_encoder_destroy(struct sora_vae_encoder **encoder);
void sora_vae_encoder_reset(struct sora_vae_encoder *encoder);
/* The next 1 (first) or temporal_factor frames, host [n,H,W,3] f32, -> one latent (the posterior's
 * mode, normalised), host [C,h,w]. */
int sora_vae_encoder_next(struct sora_vae_encoder *encoder, const float *frames, float *out_latent,
                          struct sora_fault *fault);

#endif
