/* What enters and leaves a sampler: latents, predictions and checkpoints, as host values. */
#include "model/sampler_parts.h"

#include <math.h>
#include <string.h>

/* A value that is not finite would only show as a failed prediction much later. */
static int values_check(const float *values, size_t count, const char *what, int32_t latent,
                        struct sora_fault *fault)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            return sora_fault_set(fault, SORA_E_NUMERIC,
                                  "the %s of latent %d holds a value that is not finite", what,
                                  latent);
    }
    return SORA_OK;
}

/* ---- latents ---- */

static struct sora_tensor latent_tensor(const struct sora_sampler *s, int32_t latent)
{
    return sora_tensor_slice(&s->x, latent - s->span.first, 1);
}

int sora_sampler_put_latent(struct sora_sampler *s, int32_t latent, const float *values,
                            struct sora_fault *fault)
{
    bool owned = sora_sampler_range_holds(s->params.shard, latent);
    if (owned && s->step > 0)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "latent %d is owned here and starts at step 0, not at step %d",
                              latent, s->step);
    if (!owned && !sora_sampler_range_holds(sora_sampler_inputs(s), latent))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "latent %d is not read by the windows of shard [%d,%d) at step %d",
                              latent, s->params.shard.first, s->params.shard.end, s->step);
    if (s->latent_present[latent - s->span.first])
        return SORA_OK;
    int rc = values_check(values, sora_sampler_latent_elements(s), "noise or x_t", latent, fault);
    if (rc)
        return rc;
    struct sora_tensor tensor = latent_tensor(s, latent);
    rc = sora_tensor_upload(s->stream, &tensor, values);
    if (!rc)
        s->latent_present[latent - s->span.first] = true;
    return sora_sampler_device_fault(fault, rc, "a latent could not be put on the device");
}

int sora_sampler_get_latent(struct sora_sampler *s, int32_t latent, float *out_values,
                            struct sora_fault *fault)
{
    if (!sora_sampler_range_holds(s->params.shard, latent) ||
        !s->latent_present[latent - s->span.first])
        return sora_fault_set(fault, SORA_E_INVALID,
                              "latent %d is not held by shard [%d,%d) at step %d", latent,
                              s->params.shard.first, s->params.shard.end, s->step);
    struct sora_tensor tensor = latent_tensor(s, latent);
    int rc = sora_tensor_download(s->stream, &tensor, out_values);
    return sora_sampler_device_fault(fault, rc, "a latent could not be read from the device");
}

/* ---- predictions that travel ---- */

int sora_sampler_get_prediction(struct sora_sampler *s, int32_t window, int32_t latent,
                                float *out_values, struct sora_fault *fault)
{
    bool known = sora_sampler_range_holds(sora_sampler_windows(s), window);
    if (known) {
        struct sora_window w = sora_timeline_window(&s->params.timeline, s->step, window);
        known = latent >= w.payload_start && latent < w.payload_end &&
                s->velocity_present[sora_sampler_velocity_place(s, window, latent)];
    }
    if (!known)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "window %d of step %d has not predicted latent %d here", window,
                              s->step, latent);
    struct sora_tensor place =
        sora_tensor_slice(&s->velocity, sora_sampler_velocity_place(s, window, latent), 1);
    int rc = sora_tensor_download(s->stream, &place, out_values);
    return sora_sampler_device_fault(fault, rc, "a prediction could not be read from the device");
}

int sora_sampler_put_prediction(struct sora_sampler *s, int32_t window, int32_t latent,
                                const float *values, struct sora_fault *fault)
{
    struct sora_range wanted = {0, 0};
    if (sora_sampler_range_holds(sora_sampler_covering(s), window) &&
        !sora_sampler_range_holds(sora_sampler_windows(s), window))
        wanted =
            sora_timeline_halo_predictions(&s->params.timeline, s->step, window, s->params.shard);
    if (!sora_sampler_range_holds(wanted, latent))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "shard [%d,%d) does not need latent %d of window %d at step %d",
                              s->params.shard.first, s->params.shard.end, latent, window, s->step);
    int64_t place = sora_sampler_velocity_place(s, window, latent);
    if (s->velocity_present[place])
        return SORA_OK;
    int rc = values_check(values, sora_sampler_latent_elements(s), "prediction", latent, fault);
    if (rc)
        return rc;
    struct sora_tensor tensor = sora_tensor_slice(&s->velocity, place, 1);
    rc = sora_tensor_upload(s->stream, &tensor, values);
    if (!rc)
        s->velocity_present[place] = true;
    return sora_sampler_device_fault(fault, rc, "a prediction could not be put on the device");
}

/* ---- checkpoints ---- */

size_t sora_sampler_state_elements(const struct sora_sampler *s)
{
    return (size_t)sora_solver_state_parts(s->schedule.solver) * sora_sampler_latent_elements(s);
}

int sora_sampler_get_state(struct sora_sampler *s, int32_t latent, float *out_values,
                           struct sora_fault *fault)
{
    if (!sora_sampler_range_holds(s->params.shard, latent) ||
        !s->latent_present[latent - s->span.first])
        return sora_fault_set(fault, SORA_E_INVALID,
                              "shard [%d,%d) has no state of latent %d at step %d",
                              s->params.shard.first, s->params.shard.end, latent, s->step);
    struct sora_solver_state state =
        sora_solver_state_slice(&s->state, latent - s->params.shard.first, 1);
    int rc = sora_solver_export(s->stream, s->schedule.solver, s->step, &state, out_values);
    return sora_sampler_device_fault(fault, rc, "a checkpoint could not be read from the device");
}

int sora_sampler_put_state(struct sora_sampler *s, int32_t step, int32_t latent,
                           const float *values, struct sora_fault *fault)
{
    if (!sora_sampler_range_holds(s->params.shard, latent) || step < 0 || step > s->schedule.steps)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "state of latent %d before step %d does not belong to shard [%d,%d) "
                              "of %d steps",
                              latent, step, s->params.shard.first, s->params.shard.end,
                              s->schedule.steps);
    int rc = values_check(values, sora_sampler_state_elements(s), "checkpoint", latent, fault);
    if (rc)
        return rc;
    sora_sampler_begin_step(s, step, step == s->step);
    struct sora_solver_state state =
        sora_solver_state_slice(&s->state, latent - s->params.shard.first, 1);
    rc = sora_solver_import(s->stream, s->schedule.solver, step, &state, values);
    if (!rc)
        s->latent_present[latent - s->span.first] = true;
    return sora_sampler_device_fault(fault, rc, "a checkpoint could not be put on the device");
}
