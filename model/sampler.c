/*
 * The step machine: creation, plan, predict, fuse, update. What enters and leaves a sampler is in
 * model/sampler_exchange.c.
 */
#include "model/sampler_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS_MAX 1024
#define SIDE_MAX 4096
#define ELEMENTS_MAX ((int64_t)1 << 40)

static bool is_done(const struct sora_sampler *s)
{
    return s->step >= s->schedule.steps;
}

/* ---- creation ---- */

static int params_check(const struct sora_sampler_params *p, struct sora_fault *fault)
{
    int rc = sora_timeline_check(&p->timeline, fault);
    if (rc)
        return rc;
    if ((p->shard.first || p->shard.end) && (p->shard.first < 0 || p->shard.end <= p->shard.first ||
                                             p->shard.end > p->timeline.latent_count))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "shard [%d,%d) is not a part of the timeline's %d latents",
                              p->shard.first, p->shard.end, p->timeline.latent_count);
    if (p->channels < 1 || p->channels > CHANNELS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "%d latent channels are outside 1..%d",
                              p->channels, CHANNELS_MAX);
    if (p->height < 1 || p->height > SIDE_MAX || p->width < 1 || p->width > SIDE_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "a latent of %dx%d is outside 1..%d a side: change the size",
                              p->width, p->height, SIDE_MAX);
    if (!(p->guidance >= 1.0 && p->guidance <= SORA_GUIDANCE_MAX))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "guidance %g is outside 1..%g (1 means no guidance)", p->guidance,
                              SORA_GUIDANCE_MAX);
    SORA_ASSERT(p->denoiser.forward);
    return sora_schedule_check(p->schedule, fault);
}

/* The halo and the number of windows change from step to step with a period of two. */
static void plan_extent(struct sora_sampler *s)
{
    const struct sora_timeline_params *timeline = &s->params.timeline;
    s->span = s->params.shard;
    for (int32_t phase = 0; phase < 2; phase++) {
        struct sora_range inputs = sora_timeline_shard_inputs(timeline, phase, s->params.shard);
        if (sora_sampler_range_size(inputs) > 0 && inputs.first < s->span.first)
            s->span.first = inputs.first;
        if (inputs.end > s->span.end)
            s->span.end = inputs.end;
        int32_t windows =
            sora_sampler_range_size(sora_timeline_shard_covering(timeline, phase, s->params.shard));
        if (windows > s->windows_max)
            s->windows_max = windows;
    }
}

static int take_tensor(struct sora_sampler *s, struct sora_device *device, int64_t count,
                       struct sora_tensor *out_tensor)
{
    const int64_t shape[4] = {count, s->params.channels, s->params.height, s->params.width};
    SORA_ASSERT(s->buffer_count < (int)(sizeof(s->buffers) / sizeof(s->buffers[0])));
    int rc = sora_tensor_create(device, SORA_DTYPE_F32, 4, shape, &s->buffers[s->buffer_count],
                                out_tensor);
    if (!rc)
        s->buffer_count++;
    return rc;
}

static int take_tensors(struct sora_sampler *s, struct sora_device *device)
{
    int32_t owned = sora_sampler_range_size(s->params.shard);
    int64_t places = (int64_t)s->windows_max * s->params.timeline.window_latents;
    int rc = take_tensor(s, device, sora_sampler_range_size(s->span), &s->x);
    if (!rc)
        rc = take_tensor(s, device, places, &s->velocity);
    if (!rc)
        rc = take_tensor(s, device, owned, &s->fused);
    if (!rc && s->params.guidance > 1.0)
        rc = take_tensor(s, device, s->params.timeline.window_latents, &s->unguided);
    if (!rc && s->schedule.solver == SORA_SOLVER_UNIPC) {
        rc = take_tensor(s, device, owned, &s->state.last);
        for (int i = 0; i < 2 && !rc; i++)
            rc = take_tensor(s, device, owned, &s->state.outputs[i]);
    }
    if (!rc)
        s->state.x = sora_tensor_slice(&s->x, s->params.shard.first - s->span.first, owned);
    return rc;
}

int sora_sampler_create(struct sora_device *device, const struct sora_sampler_params *params,
                        struct sora_sampler **out_sampler, struct sora_fault *fault)
{
    int rc = params_check(params, fault);
    if (rc)
        return rc;
    struct sora_sampler *s = calloc(1, sizeof(*s));
    if (!s)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the sampler");
    s->params = *params;
    s->schedule = *params->schedule;
    s->params.schedule = &s->schedule;
    if (s->params.shard.end == 0)
        s->params.shard.end = params->timeline.latent_count;
    plan_extent(s);
    int64_t places = (int64_t)s->windows_max * params->timeline.window_latents;
    int64_t latents = places + 5 * (int64_t)sora_sampler_range_size(s->span);
    int64_t elements = latents * params->channels * params->height * params->width;
    if (elements > ELEMENTS_MAX)
        rc = sora_fault_set(fault, SORA_E_LIMIT,
                            "sampling %d latents of %dx%d needs %lld values, more than %lld: "
                            "render a shorter or smaller video",
                            sora_sampler_range_size(s->params.shard), params->width, params->height,
                            (long long)elements, (long long)ELEMENTS_MAX);
    if (!rc) {
        s->latent_present = calloc((size_t)sora_sampler_range_size(s->span), sizeof(bool));
        s->velocity_present = calloc((size_t)places, sizeof(bool));
        rc = s->latent_present && s->velocity_present ? SORA_OK : SORA_E_MEMORY;
    }
    if (!rc)
        rc = sora_stream_create(device, &s->stream);
    if (!rc)
        rc = take_tensors(s, device);
    if (rc) {
        sora_sampler_destroy(&s);
        return sora_fault_set(fault, rc, "no room for the latents of the shot: %s",
                              sora_error_text(rc));
    }
    *out_sampler = s;
    return SORA_OK;
}

void sora_sampler_destroy(struct sora_sampler **sampler)
{
    struct sora_sampler *s = *sampler;
    if (!s)
        return;
    sora_stream_destroy(&s->stream);
    for (int i = s->buffer_count - 1; i >= 0; i--)
        sora_buffer_destroy(&s->buffers[i]);
    free(s->velocity_present);
    free(s->latent_present);
    free(s);
    *sampler = NULL;
}

/* ---- the plan ---- */

int32_t sora_sampler_step_index(const struct sora_sampler *sampler)
{
    return sampler->step;
}

size_t sora_sampler_latent_elements(const struct sora_sampler *sampler)
{
    const struct sora_sampler_params *p = &sampler->params;
    return (size_t)p->channels * (size_t)p->height * (size_t)p->width;
}

struct sora_range sora_sampler_windows(const struct sora_sampler *s)
{
    if (is_done(s))
        return (struct sora_range){0, 0};
    return sora_timeline_shard_windows(&s->params.timeline, s->step, s->params.shard);
}

struct sora_range sora_sampler_covering(const struct sora_sampler *s)
{
    if (is_done(s))
        return (struct sora_range){0, 0};
    return sora_timeline_shard_covering(&s->params.timeline, s->step, s->params.shard);
}

struct sora_range sora_sampler_inputs(const struct sora_sampler *s)
{
    if (is_done(s))
        return (struct sora_range){0, 0};
    return sora_timeline_shard_inputs(&s->params.timeline, s->step, s->params.shard);
}

/* ---- predict ---- */

/* Where the prediction of `window`'s latent `latent` lies. The window covers the shard. */
int64_t sora_sampler_velocity_place(const struct sora_sampler *s, int32_t window, int32_t latent)
{
    struct sora_window w = sora_timeline_window(&s->params.timeline, s->step, window);
    int32_t row = window - sora_sampler_covering(s).first;
    return (int64_t)row * s->params.timeline.window_latents + (latent - w.start);
}

static int window_forward(struct sora_sampler *s, const struct sora_window *w,
                          const struct sora_tensor *velocity, struct sora_fault *fault)
{
    const struct sora_denoiser *denoiser = &s->params.denoiser;
    struct sora_denoiser_input input = {
        .latents = sora_tensor_slice(&s->x, w->start - s->span.first, w->length),
        .timestep = (double)s->schedule.timesteps[s->step],
        .step = s->step,
        .conditional = true};
    int rc = denoiser->forward(denoiser->model, s->stream, &input, velocity, fault);
    if (rc || !sora_tensor_present(&s->unguided))
        return rc;
    input.conditional = false;
    struct sora_tensor unguided = sora_tensor_slice(&s->unguided, 0, w->length);
    rc = denoiser->forward(denoiser->model, s->stream, &input, &unguided, fault);
    if (rc)
        return rc;
    struct sora_combine difference = {.count = 2,
                                      .coefficients = {1.0f, -1.0f},
                                      .terms = {*velocity, unguided},
                                      .out = *velocity};
    rc = sora_op_combine(s->stream, &difference);
    struct sora_combine guided = {.count = 2,
                                  .coefficients = {1.0f, (float)s->params.guidance},
                                  .terms = {unguided, *velocity},
                                  .out = *velocity};
    return rc ? rc : sora_op_combine(s->stream, &guided);
}

static int inputs_check(const struct sora_sampler *s, int32_t window, const struct sora_window *w,
                        struct sora_fault *fault)
{
    for (int32_t f = w->start; f < w->start + w->length; f++) {
        if (!s->latent_present[f - s->span.first])
            return sora_fault_set(fault, SORA_E_INVALID,
                                  "latent %d has not arrived, and window %d of step %d reads it", f,
                                  window, s->step);
    }
    return SORA_OK;
}

static int nonfinite_fault(const struct sora_sampler *s, int32_t window,
                           const struct sora_window *w, struct sora_fault *fault)
{
    const struct sora_denoiser *denoiser = &s->params.denoiser;
    const char *weight = NULL;
    if (denoiser->find_nonfinite)
        weight = denoiser->find_nonfinite(denoiser->model);
    char cause[200] = "lower the guidance or the shift";
    if (weight)
        snprintf(cause, sizeof(cause), "weight %.120s holds such a value", weight);
    return sora_fault_set(fault, SORA_E_NUMERIC,
                          "the prediction of window %d (latents %d to %d) at step %d of %d is not "
                          "finite: %s",
                          window, w->start, w->start + w->length - 1, s->step + 1,
                          s->schedule.steps, cause);
}

int sora_sampler_predict(struct sora_sampler *s, int32_t window, struct sora_fault *fault)
{
    if (!sora_sampler_range_holds(sora_sampler_windows(s), window))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "window %d of step %d does not belong to shard [%d,%d)", window,
                              s->step, s->params.shard.first, s->params.shard.end);
    struct sora_window w = sora_timeline_window(&s->params.timeline, s->step, window);
    int64_t place = sora_sampler_velocity_place(s, window, w.start);
    if (s->velocity_present[place + w.length - 1])
        return SORA_OK;
    int rc = inputs_check(s, window, &w, fault);
    if (rc)
        return rc;
    struct sora_tensor velocity = sora_tensor_slice(&s->velocity, place, w.length);
    bool finite = false;
    rc = window_forward(s, &w, &velocity, fault);
    if (!rc)
        rc = sora_device_all_finite(s->stream, &velocity, &finite);
    if (rc)
        return sora_sampler_device_fault(fault, rc, "the model failed");
    if (!finite)
        return nonfinite_fault(s, window, &w, fault);
    for (int32_t f = w.payload_start; f < w.payload_end; f++)
        s->velocity_present[place + f - w.start] = true;
    return SORA_OK;
}

/* ---- fuse and update ---- */

/* The first prediction of owned latents that lacks; false when none does. */
static bool find_missing(const struct sora_sampler *s, int32_t *out_window, int32_t *out_latent)
{
    for (int32_t f = s->params.shard.first; f < s->params.shard.end; f++) {
        struct sora_range k;
        sora_timeline_covering(&s->params.timeline, s->step, f, &k.first, &k.end);
        for (; k.first < k.end; k.first++) {
            if (!s->velocity_present[sora_sampler_velocity_place(s, k.first, f)]) {
                *out_window = k.first;
                *out_latent = f;
                return true;
            }
        }
    }
    return false;
}

bool sora_sampler_fusable(const struct sora_sampler *s)
{
    int32_t window, latent;
    return !is_done(s) && !find_missing(s, &window, &latent);
}

/* Sums in ascending window order, up to SORA_COMBINE_MAX terms at a time: the partial sum goes on
 * with the factor 1, so the grouping changes no bit. */
static int fuse_latent(struct sora_sampler *s, int32_t latent)
{
    struct sora_range windows;
    sora_timeline_covering(&s->params.timeline, s->step, latent, &windows.first, &windows.end);
    struct sora_tensor out = sora_tensor_slice(&s->fused, latent - s->params.shard.first, 1);
    struct sora_combine sum = {.count = 0, .out = out};
    int rc = SORA_OK;
    for (int32_t k = windows.first; k < windows.end && !rc; k++) {
        sum.coefficients[sum.count] = sora_timeline_share(&s->params.timeline, s->step, k, latent);
        sum.terms[sum.count++] =
            sora_tensor_slice(&s->velocity, sora_sampler_velocity_place(s, k, latent), 1);
        if (sum.count == SORA_COMBINE_MAX || k == windows.end - 1) {
            rc = sora_op_combine(s->stream, &sum);
            sum.count = 1;
            sum.coefficients[0] = 1.0f;
            sum.terms[0] = out;
        }
    }
    return rc;
}

int sora_sampler_fuse(struct sora_sampler *s, struct sora_fault *fault)
{
    int32_t window, latent;
    if (is_done(s))
        return sora_fault_set(fault, SORA_E_INVALID, "all %d steps are done", s->schedule.steps);
    if (find_missing(s, &window, &latent))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "window %d has not predicted latent %d of step %d", window, latent,
                              s->step);
    int rc = SORA_OK;
    for (int32_t f = s->params.shard.first; f < s->params.shard.end && !rc; f++)
        rc = fuse_latent(s, f);
    s->is_fused = !rc;
    return sora_sampler_device_fault(fault, rc, "predictions could not be fused");
}

/* Forgets what belongs to a step: predictions, foreign latents and, on a jump, owned ones. */
void sora_sampler_begin_step(struct sora_sampler *s, int32_t step, bool keep_owned)
{
    int64_t places = (int64_t)s->windows_max * s->params.timeline.window_latents;
    memset(s->velocity_present, 0, (size_t)places * sizeof(bool));
    for (int32_t f = s->span.first; f < s->span.end; f++)
        s->latent_present[f - s->span.first] &=
            keep_owned && sora_sampler_range_holds(s->params.shard, f);
    s->step = step;
    s->is_fused = false;
}

int sora_sampler_update(struct sora_sampler *s, struct sora_fault *fault)
{
    if (!s->is_fused)
        return sora_fault_set(fault, SORA_E_INVALID, "step %d is updated before it is fused",
                              s->step);
    int rc = sora_solver_update(s->stream, &s->schedule, s->step, &s->state, &s->fused);
    if (!rc)
        sora_sampler_begin_step(s, s->step + 1, true);
    return sora_sampler_device_fault(fault, rc, "the solver step failed");
}

int sora_sampler_step(struct sora_sampler *s, struct sora_fault *fault)
{
    struct sora_range windows = sora_sampler_windows(s);
    int rc = SORA_OK;
    for (int32_t k = windows.first; k < windows.end && !rc; k++)
        rc = sora_sampler_predict(s, k, fault);
    if (!rc)
        rc = sora_sampler_fuse(s, fault);
    if (!rc)
        rc = sora_sampler_update(s, fault);
    return rc;
}
