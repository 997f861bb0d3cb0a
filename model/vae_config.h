/* VAE config: config.json of an AutoencoderKLWan read into struct sora_vae_config, for who wants to
 * know the model without opening it. Reads one file; any thread. */
#ifndef SORA_MODEL_VAE_CONFIG_H
#define SORA_MODEL_VAE_CONFIG_H

#include "model/vae.h"

/* Reads `<dir>/config.json`. Keys, ranges and errors: sora_vae_open. */
int sora_vae_config_read(const char *dir, struct sora_vae_config *out_config,
                         struct sora_fault *fault);

#endif
