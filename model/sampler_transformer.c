/* Hands a sampler's windows to the transformer with the right prompt. */
#include "model/sampler_transformer.h"

static int transformer_forward(void *model, struct sora_stream *stream,
                               const struct sora_denoiser_input *input,
                               const struct sora_tensor *out_velocity, struct sora_fault *fault)
{
    const struct sora_sampler_transformer *t = model;
    struct sora_transformer_input forward = {
        .latents = input->latents,
        .context = input->conditional ? t->prompt : t->negative,
        .timestep = input->timestep,
    };
    SORA_ASSERT(forward.context);
    return sora_transformer_forward(t->transformer, stream, &forward, out_velocity, fault);
}

static const char *transformer_find_nonfinite(void *model)
{
    const struct sora_sampler_transformer *t = model;
    return sora_transformer_find_nonfinite(t->transformer);
}

struct sora_denoiser sora_sampler_transformer_denoiser(struct sora_sampler_transformer *model)
{
    return (struct sora_denoiser){.forward = transformer_forward,
                                  .find_nonfinite = transformer_find_nonfinite,
                                  .model = model};
}
