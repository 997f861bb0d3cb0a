/*
 * The transformer as the model behind a sampler.
 *
 * The struct is the caller's and must outlive the sampler, which keeps it; it borrows transformer
 * and contexts. A timeline with several texts: set prompt and negative before each
 * sora_sampler_predict.
 */
#ifndef SORA_MODEL_SAMPLER_TRANSFORMER_H
#define SORA_MODEL_SAMPLER_TRANSFORMER_H

#include "model/sampler.h"
#include "model/transformer.h"

struct sora_sampler_transformer {
    struct sora_transformer *transformer;
    const struct sora_transformer_context *prompt;   /* required */
    const struct sora_transformer_context *negative; /* required unless guidance is 1 */
};

/* The table for sora_sampler_params.denoiser. */
struct sora_denoiser sora_sampler_transformer_denoiser(struct sora_sampler_transformer *model);

#endif
