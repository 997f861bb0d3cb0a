/*
 * Sampling of a render: the whole timeline on one device, window by window, to the final latents.
 */
#ifndef SORA_NODE_RENDER_SAMPLE_H
#define SORA_NODE_RENDER_SAMPLE_H

#include "model/sampler.h"
#include "model/transformer.h"
#include "node/render.h"

struct sora_render_sample_params {
    struct sora_device *device;
    struct sora_transformer *transformer;
    const struct sora_transformer_context *prompt, *negative; /* negative NULL when guidance is 1 */
    const struct sora_render_plan *plan;
    const char *noise_path; /* NULL: the job's own noise */
    const struct sora_render_control *control;
};

/* Returns owned latents [T,C,H,W] (frame-major) and how many window passes it took. Errors: those
 * of the sampler, CANCELLED, and FORMAT for a noise file of another shape. */
int sora_render_sample(const struct sora_render_sample_params *params, float **out_latents,
                       int *out_passes, struct sora_fault *fault);

#endif
