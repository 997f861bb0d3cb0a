/*
 * Sampler: the step machine that denoises a shot, or one shard of it, window by window.
 *
 * Each sampling step has three parts, and an outside driver calls them, because a farm exchanges
 * halos between them:
 *
 *   predict  for every window that this sampler runs: the model's velocity for the window's
 *            latents, with guidance v = v_u + g (v_c - v_u)
 *   fuse     per owned latent: the sum of share_k v_k over the windows k that cover it, float32, in
 *            ascending window order (base/timeline.h)
 *   update   the solver takes every owned latent to the next step (model/solver.h)
 *
 * A sampler owns a shard, a contiguous range of latents; with the whole timeline as its shard it
 * needs nobody:
 *
 *   for every latent: sora_sampler_put_latent(noise)
 *   while (sora_sampler_step_index(s) < steps) sora_sampler_step(s)       // or its three parts
 *   for every latent: sora_sampler_get_latent(result)
 *
 * With a smaller shard the driver moves, at each step: before predict, x_t of the foreign latents
 * that the shard's windows read (get_latent at their owner, put_latent here:
 * sora_timeline_halo_latents); after predict, the predictions of owned latents by foreign windows
 * (get_prediction at the runner, put_prediction here: sora_timeline_halo_predictions). Values
 * travel as host float32 [C,H,W]. Order of arrival, cuts and repeats change no bit of the result.
 *
 * Owned by whoever created it; keeps the device and the model. One thread at a time. Memory: the
 * shard's latents times 2 (Euler) or 5 (UniPC), one more for every window that covers each, and the
 * halo. predict, put and get wait for the device; fuse and update only queue work.
 */
#ifndef SORA_MODEL_SAMPLER_H
#define SORA_MODEL_SAMPLER_H

#include "base/timeline.h"
#include "hip/device.h"
#include "model/schedule.h"

/* The model behind the sampler. */
struct sora_denoiser_input {
    struct sora_tensor latents; /* [n,C,H,W] f32: the window, throwaway slot included */
    double timestep;            /* from the schedule */
    int32_t step;
    bool conditional; /* on the prompt; else on the negative prompt */
};
struct sora_denoiser {
    /* Queues the velocity of the window, [n,C,H,W], on `stream`. The two calls of one window share
     * latents and timestep. */
    int (*forward)(void *model, struct sora_stream *stream, const struct sora_denoiser_input *input,
                   const struct sora_tensor *out_velocity, struct sora_fault *fault);
    /* Optional: the name of a weight that holds a value that is not finite, NULL when all are
     * finite. Asked once, for the message, when a prediction is not finite. */
    const char *(*find_nonfinite)(void *model);
    void *model; /* handed to both */
};

#define SORA_GUIDANCE_MAX 100.0

struct sora_sampler_params {
    struct sora_timeline_params timeline;
    struct sora_range shard;         /* owned latents; {0,0} means the whole timeline */
    int32_t channels, height, width; /* of a latent, 1..1024, 1..4096, 1..4096 */
    double guidance;                 /* g, 1..SORA_GUIDANCE_MAX; 1 skips the unconditional pass */
    const struct sora_schedule *schedule; /* borrowed, copied */
    struct sora_denoiser denoiser;        /* forward required; keeps its model */
};

struct sora_sampler;

/* Returns owned, at step 0 and without latents. Errors: INVALID, LIMIT, MEMORY, DEVICE. */
int sora_sampler_create(struct sora_device *device, const struct sora_sampler_params *params,
                        struct sora_sampler **out_sampler, struct sora_fault *fault);
void sora_sampler_destroy(struct sora_sampler **sampler);

/* The step that comes next; equal to the schedule's steps when sampling is done. */
int32_t sora_sampler_step_index(const struct sora_sampler *sampler);
/* float32 values of one latent: C*H*W. */
size_t sora_sampler_latent_elements(const struct sora_sampler *sampler);

/* The plan of the current step (see base/timeline.h): windows to run here, windows whose
 * predictions the shard fuses, latents that the own windows read. Empty when sampling is done. */
struct sora_range sora_sampler_windows(const struct sora_sampler *sampler);
struct sora_range sora_sampler_covering(const struct sora_sampler *sampler);
struct sora_range sora_sampler_inputs(const struct sora_sampler *sampler);

/* x_t of a latent. Put: an owned latent at step 0 (its noise), or a foreign one that the windows of
 * the current step read; a value that is there already is left alone. Get: owned latents, before
 * update; after the last step this is the result. Errors: INVALID with latent, step and what would
 * be right; NUMERIC (a value put is not finite); DEVICE. */
int sora_sampler_put_latent(struct sora_sampler *sampler, int32_t latent, const float *values,
                            struct sora_fault *fault);
int sora_sampler_get_latent(struct sora_sampler *sampler, int32_t latent, float *out_values,
                            struct sora_fault *fault);

/* Runs one of sora_sampler_windows, in any order; again is harmless. Errors: INVALID (a latent that
 * it reads has not arrived), NUMERIC (a value that is not finite, with window and step), and those
 * of the model. */
int sora_sampler_predict(struct sora_sampler *sampler, int32_t window, struct sora_fault *fault);

/* The guided prediction of a payload latent. Get: of a window that was run here. Put: of a foreign
 * window, for an owned latent; a value that is there already is left alone. Errors: INVALID,
 * NUMERIC (a value put is not finite), DEVICE. */
int sora_sampler_get_prediction(struct sora_sampler *sampler, int32_t window, int32_t latent,
                                float *out_values, struct sora_fault *fault);
int sora_sampler_put_prediction(struct sora_sampler *sampler, int32_t window, int32_t latent,
                                const float *values, struct sora_fault *fault);

/* Whether every prediction of owned latents is there, so that fuse can run. */
bool sora_sampler_fusable(const struct sora_sampler *sampler);
/* Errors: INVALID with the first window and latent that lack. */
int sora_sampler_fuse(struct sora_sampler *sampler, struct sora_fault *fault);
/* After fuse; the next step begins. */
int sora_sampler_update(struct sora_sampler *sampler, struct sora_fault *fault);

/* Predicts every window, fuses and updates: a whole step of a sampler that owns everything. */
int sora_sampler_step(struct sora_sampler *sampler, struct sora_fault *fault);

/* Checkpoints. The state of an owned latent before the current step, sora_sampler_state_elements
 * float32 values. To go on elsewhere: create with the same params, put_state of every owned latent
 * with the step they were taken at. Errors: INVALID, NUMERIC, DEVICE. */
size_t sora_sampler_state_elements(const struct sora_sampler *sampler);
int sora_sampler_get_state(struct sora_sampler *sampler, int32_t latent, float *out_values,
                           struct sora_fault *fault);
/* Moves the sampler to `step`, forgetting all latents when it stood elsewhere, and predictions and
 * foreign latents in any case. */
int sora_sampler_put_state(struct sora_sampler *sampler, int32_t step, int32_t latent,
                           const float *values, struct sora_fault *fault);

#endif
