/*
 * What model/vae.c opens and model/vae_stream.c streams through. Private to these two.
 */
#ifndef SORA_MODEL_VAE_PARTS_H
#define SORA_MODEL_VAE_PARTS_H

#include "model/vae.h"
#include "model/vae_half.h"

struct sora_vae {
    struct sora_device *device;
    struct sora_vae_config config;
    struct sora_checkpoint *checkpoint;
    struct sora_weights *weights;
    struct sora_vae_half decoder, encoder;
    struct sora_buffer *statistics; /* four [C] tensors */
    /* Latent to the model's space and back: x * scale + shift per channel. */
    struct sora_tensor decode_scale, decode_shift, encode_scale, encode_shift;
};

/* Errors: LIMIT. */
int sora_vae_check_latent_size(int height, int width, struct sora_fault *fault);
/* Frame size in, latent size out. Errors: INVALID (not whole latents), LIMIT. */
int sora_vae_latent_size(const struct sora_vae *vae, int *height, int *width,
                         struct sora_fault *fault);
/* Past frames and packed weights are as wide as what convolutions round to. */
size_t sora_vae_element_size(const struct sora_vae *vae);

#endif
