/*
 * Inside of the sampler, shared by model/sampler*.c only.
 *
 * Latents lie in one array that also holds the halo, so the input of a window is a slice of it;
 * predictions lie in one place per window, so a forward writes where fusion reads.
 */
#ifndef SORA_MODEL_SAMPLER_PARTS_H
#define SORA_MODEL_SAMPLER_PARTS_H

#include "model/sampler.h"
#include "model/solver.h"

struct sora_sampler {
    struct sora_sampler_params params; /* shard resolved; schedule points to the copy below */
    struct sora_schedule schedule;
    struct sora_stream *stream;
    struct sora_buffer *buffers[8];
    int buffer_count;
    struct sora_range span;         /* latents in x: the shard and the halo of both phases */
    struct sora_tensor x;           /* [span, C,H,W] */
    struct sora_solver_state state; /* [shard, C,H,W]; its x is a slice of x */
    struct sora_tensor velocity;    /* [windows_max * L, C,H,W] */
    struct sora_tensor unguided;    /* [L, C,H,W]; none when guidance is 1 */
    struct sora_tensor fused;       /* [shard, C,H,W] */
    bool *latent_present;           /* [span] */
    bool *velocity_present;         /* [windows_max * L] */
    int32_t windows_max;
    int32_t step;
    bool is_fused;
};

static inline int32_t sora_sampler_range_size(struct sora_range range)
{
    return range.end - range.first;
}

static inline bool sora_sampler_range_holds(struct sora_range range, int32_t value)
{
    return value >= range.first && value < range.end;
}

/* Adds what failed to an error of the device; 0 stays 0. */
static inline int sora_sampler_device_fault(struct sora_fault *fault, int rc, const char *what)
{
    return rc ? sora_fault_set(fault, rc, "%s: %s", what, sora_error_text(rc)) : SORA_OK;
}

/* Where the prediction of `window`'s latent `latent` lies in velocity. The window is one of
 * sora_sampler_covering. */
int64_t sora_sampler_velocity_place(const struct sora_sampler *sampler, int32_t window,
                                    int32_t latent);

/* Goes to `step`: forgets predictions and foreign latents, and owned ones unless keep_owned. */
void sora_sampler_begin_step(struct sora_sampler *sampler, int32_t step, bool keep_owned);

#endif
