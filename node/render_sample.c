/* Drives the sampler over the whole timeline of a take. */
#include "node/render_sample.h"

#include "model/noise.h"
#include "model/sampler_transformer.h"
#include "model/tensor_file.h"

#include <stdlib.h>

static const struct sora_timeline_params *
timeline_of(const struct sora_render_sample_params *params)
{
    return &params->plan->takes[params->take].timeline;
}

static int put_generated_noise(const struct sora_render_sample_params *params,
                               struct sora_sampler *sampler, struct sora_fault *fault)
{
    const struct sora_job_plan *plan = params->plan;
    const struct sora_noise_params noise_params = {
        .timeline = *timeline_of(params),
        .kind = (enum sora_noise_kind)plan->noise_kind,
        .seed = plan->takes[params->take].seed,
        .shot = (uint32_t)params->take,
        .amplitude = plan->noise_share,
        .element_count = sora_sampler_latent_elements(sampler),
    };
    struct sora_noise *noise = NULL;
    int error = sora_noise_create(&noise_params, &noise, fault);
    float *values = error ? NULL : malloc(noise_params.element_count * sizeof(float));
    if (!error && !values)
        error = sora_fault_set(fault, SORA_E_MEMORY, "out of memory for a latent of noise");
    for (int32_t i = 0; !error && i < noise_params.timeline.latent_count; i++) {
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
    const struct sora_job_plan *plan = params->plan;
    int32_t first = 0, total = 0;
    for (int32_t i = 0; i < plan->take_count; i++) {
        first += i < params->take ? plan->takes[i].timeline.latent_count : 0;
        total += plan->takes[i].timeline.latent_count;
    }
    struct sora_array noise = {0};
    int error = sora_array_read(params->noise_path, "latents", &noise, fault);
    if (error)
        return error;
    const int64_t *shape = noise.shape;
    bool fits = noise.rank == 4 && shape[0] == plan->channels && shape[1] == total &&
                shape[2] == plan->latent_height && shape[3] == plan->latent_width;
    if (!fits)
        error = sora_fault_set(
            fault, SORA_E_FORMAT,
            "%.300s: tensor 'latents' has rank %d and shape [%d, %d, %d, %d]; this "
            "job needs [%d, %d, %d, %d]",
            params->noise_path, noise.rank, (int)shape[0], (int)shape[1], (int)shape[2],
            (int)shape[3], plan->channels, (int)total, plan->latent_height, plan->latent_width);
    if (!error)
        error = sora_array_swap_frames(&noise, fault);
    size_t elements = sora_sampler_latent_elements(sampler);
    for (int32_t i = 0; !error && i < timeline_of(params)->latent_count; i++)
        error = sora_sampler_put_latent(sampler, i, noise.values + (size_t)(first + i) * elements,
                                        fault);
    sora_array_fini(&noise);
    return error;
}

int sora_render_sample_passes(const struct sora_job_plan *plan, int32_t take)
{
    int passes = 0;
    for (int32_t step = 0; step < plan->steps; step++)
        passes += sora_timeline_window_count(&plan->takes[take].timeline, step);
    return passes;
}

/* Passes of the takes before this one, and of all: progress counts the whole job. */
static void count_passes(const struct sora_render_sample_params *params, int *out_before,
                         int *out_total)
{
    *out_before = *out_total = 0;
    for (int32_t i = 0; i < params->plan->take_count; i++) {
        int passes = sora_render_sample_passes(params->plan, i);
        *out_before += i < params->take ? passes : 0;
        *out_total += passes;
    }
}

static int run_steps(const struct sora_render_sample_params *params,
                     struct sora_sampler_transformer *model, struct sora_sampler *sampler,
                     struct sora_fault *fault)
{
    int error = 0, done, total;
    count_passes(params, &done, &total);
    while (!error && sora_sampler_step_index(sampler) < params->plan->steps) {
        int32_t step = sora_sampler_step_index(sampler);
        struct sora_range windows = sora_sampler_windows(sampler);
        for (int32_t index = windows.first; !error && index < windows.end; index++) {
            if (*params->control->cancelled)
                return sora_fault_set(fault, SORA_E_CANCELLED, "interrupted at step %d of %d",
                                      (int)step + 1, params->plan->steps);
            struct sora_window window = sora_timeline_window(timeline_of(params), step, index);
            struct sora_text_context text = sora_text_contexts_get(params->contexts, &window);
            model->prompt = text.prompt;
            model->negative = text.negative;
            error = sora_sampler_predict(sampler, index, fault);
            sora_progress_update(params->control->progress, ++done, total, "window passes");
        }
        if (!error)
            error = sora_sampler_fuse(sampler, fault);
        if (!error)
            error = sora_sampler_update(sampler, fault);
    }
    return error;
}

int sora_render_sample(const struct sora_render_sample_params *params, float *out_latents,
                       struct sora_fault *fault)
{
    const struct sora_job_plan *plan = params->plan;
    struct sora_sampler_transformer model = {.transformer = params->transformer};
    const struct sora_schedule_params schedule_params = {
        .solver = (enum sora_solver_kind)plan->solver, .steps = plan->steps, .shift = plan->shift};
    struct sora_schedule *schedule = malloc(sizeof(*schedule));
    if (!schedule)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory");
    struct sora_sampler *sampler = NULL;
    int error = sora_schedule_init(&schedule_params, schedule, fault);
    const struct sora_sampler_params sampler_params = {
        .timeline = *timeline_of(params),
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
                                   : put_generated_noise(params, sampler, fault);
    if (!error)
        error = run_steps(params, &model, sampler, fault);
    size_t elements = error ? 0 : sora_sampler_latent_elements(sampler);
    for (int32_t i = 0; !error && i < timeline_of(params)->latent_count; i++)
        error = sora_sampler_get_latent(sampler, i, out_latents + (size_t)i * elements, fault);
    sora_sampler_destroy(&sampler);
    free(schedule);
    return error;
}
