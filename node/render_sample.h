/*
 * Sampling of a render: the whole timeline of a take on one device, window by window, to the final
 * latents.
 */
#ifndef SORA_NODE_RENDER_SAMPLE_H
#define SORA_NODE_RENDER_SAMPLE_H

#include "model/sampler.h"
#include "model/transformer.h"
#include "node/render.h"
#include "node/text_contexts.h"

struct sora_render_sample_params {
    struct sora_device *device;
    struct sora_transformer *transformer;
    const struct sora_text_contexts *contexts; /* of the take */
    const struct sora_job_plan *plan;
    int32_t take;
    const char *noise_path; /* NULL: the job's own noise; else that of all takes in one tensor */
    const struct sora_render_control *control;
};

/* Window passes of a take over all steps. */
int sora_render_sample_passes(const struct sora_job_plan *plan, int32_t take);

/* Writes the final latents [T,C,H,W] (frame-major) of the take. Errors: those of the sampler,
 * CANCELLED, and FORMAT for a noise file of another shape. */
int sora_render_sample(const struct sora_render_sample_params *params, float *out_latents,
                       struct sora_fault *fault);

#endif
