/* Drives the sampler over the whole timeline. */
#include "node/render_sample.h"

#include "model/noise.h"
#include "model/sampler_transformer.h"
#include "model/tensor_file.h"

#include <stdlib.h>

static int put_generated_noise(const struct sora_render_plan *plan, struct sora_sampler *sampler,
                               struct sora_fault *fault)
{
    const struct sora_noise_params params = {
        .timeline = plan->timeline,
        .kind = plan->noise_kind,
        .seed = plan->seed,
        .amplitude = plan->noise_share,
        .element_count = sora_sampler_latent_elements(sampler),
    };
    struct sora_noise *noise = NULL;
    int error = sora_noise_create(&params, &noise, fault);
    float *values = error ? NULL : malloc(params.element_count * sizeof(float));
    if (!error && !values)
        error = sora_fault_set(fault, SORA_E_MEMORY, "out of memory for a latent of noise");
    for (int32_t i = 0; !error && i < plan->timeline.latent_count; i++) {
        sora_noise_latent(noise, i, values);
        error = sora_sampler_put_latent(sampler, i, values, fault);
    }
    free(values);
    sora_noise_destroy(&noise);
    return error;
}

static int put_noise_from_file(const struct sora_render_sample_params *params,
                               struct sora_sampler *sampler, struct sora_fault *fault)
{
    const struct sora_render_plan *plan = params->plan;
    struct sora_array noise = {0};
    int error = sora_array_read(params->noise_path, "latents", &noise, fault);
    if (error)
        return error;
    const int64_t *shape = noise.shape;
    bool fits = noise.rank == 4 && shape[0] == plan->channels &&
                shape[1] == plan->timeline.latent_count && shape[2] == plan->latent_height &&
                shape[3] == plan->latent_width;
    if (!fits)
        error =
            sora_fault_set(fault, SORA_E_FORMAT,
                           "%.300s: tensor 'latents' has rank %d and shape [%d, %d, %d, %d]; this "
                           "job needs [%d, %d, %d, %d]",
                           params->noise_path, noise.rank, (int)shape[0], (int)shape[1],
                           (int)shape[2], (int)shape[3], plan->channels,
                           plan->timeline.latent_count, plan->latent_height, plan->latent_width);
    if (!error)
        error = sora_array_swap_frames(&noise, fault);
    size_t elements = sora_sampler_latent_elements(sampler);
    for (int32_t i = 0; !error && i < plan->timeline.latent_count; i++)
        error = sora_sampler_put_latent(sampler, i, noise.values + (size_t)i * elements, fault);
    sora_array_fini(&noise);
    return error;
}

static int count_passes(const struct sora_render_plan *plan)
{
    int passes = 0;
    for (int32_t step = 0; step < plan->steps; step++)
        passes += sora_timeline_window_count(&plan->timeline, step);
    return passes;
}

static int run_steps(const struct sora_render_sample_params *params, struct sora_sampler *sampler,
                     int pass_count, struct sora_fault *fault)
{
    int error = 0, done = 0;
    while (!error && sora_sampler_step_index(sampler) < params->plan->steps) {
        struct sora_range windows = sora_sampler_windows(sampler);
        for (int32_t window = windows.first; !error && window < windows.end; window++) {
            if (*params->control->cancelled)
                return sora_fault_set(fault, SORA_E_CANCELLED, "interrupted at step %d of %d",
                                      (int)sora_sampler_step_index(sampler) + 1,
                                      params->plan->steps);
            error = sora_sampler_predict(sampler, window, fault);
            sora_progress_update(params->control->progress, ++done, pass_count, "window passes");
        }
        if (!error)
            error = sora_sampler_fuse(sampler, fault);
        if (!error)
            error = sora_sampler_update(sampler, fault);
    }
    return error;
}

static int collect(struct sora_sampler *sampler, int32_t latent_count, float **out_latents,
                   struct sora_fault *fault)
{
    size_t elements = sora_sampler_latent_elements(sampler);
    float *latents = malloc((size_t)latent_count * elements * sizeof(float));
    if (!latents)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for %d latents", latent_count);
    int error = 0;
    for (int32_t i = 0; !error && i < latent_count; i++)
        error = sora_sampler_get_latent(sampler, i, latents + (size_t)i * elements, fault);
    if (error)
        free(latents);
    else
        *out_latents = latents;
    return error;
}

int sora_render_sample(const struct sora_render_sample_params *params, float **out_latents,
                       int *out_passes, struct sora_fault *fault)
{
    const struct sora_render_plan *plan = params->plan;
    struct sora_sampler_transformer model = {params->transformer, params->prompt, params->negative};
    const struct sora_schedule_params schedule_params = {
        .solver = plan->solver, .steps = plan->steps, .shift = plan->shift};
    struct sora_schedule *schedule = malloc(sizeof(*schedule));
    if (!schedule)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory");
    struct sora_sampler *sampler = NULL;
    int error = sora_schedule_init(&schedule_params, schedule, fault);
    const struct sora_sampler_params sampler_params = {
        .timeline = plan->timeline,
        .channels = plan->channels,
        .height = plan->latent_height,
        .width = plan->latent_width,
        .guidance = plan->guidance,
        .schedule = schedule,
        .denoiser = sora_sampler_transformer_denoiser(&model),
    };
    if (!error)
        error = sora_sampler_create(params->device, &sampler_params, &sampler, fault);
    if (!error)
        error = params->noise_path ? put_noise_from_file(params, sampler, fault)
                                   : put_generated_noise(plan, sampler, fault);
    int pass_count = count_passes(plan);
    if (!error)
        error = run_steps(params, sampler, pass_count, fault);
    if (!error)
        error = collect(sampler, plan->timeline.latent_count, out_latents, fault);
    if (!error)
        *out_passes = pass_count;
    sora_sampler_destroy(&sampler);
    free(schedule);
    return error;
}
