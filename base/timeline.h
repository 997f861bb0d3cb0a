/*
 * Timeline: how a shot of `latent_count` latents is cut into overlapping windows, and with what
 * weights the windows' predictions are fused (docs/ARCHITECTURE.md, "Timeline").
 *
 * Pure integer and float32 arithmetic: no allocation, no I/O, any thread. Both the renderer and the
 * scheduler use it, so it lies in the lowest layer.
 *
 * A window is a forward pass over `window_latents` consecutive latents. Slot 0 of every window that
 * does not start at latent 0 of the shot is a throwaway: the model treats position 0 as the first
 * frame of a clip, so the latent before the payload stands there and its prediction is dropped.
 */
#ifndef SORA_BASE_TIMELINE_H
#define SORA_BASE_TIMELINE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define SORA_TIMELINE_LATENTS_MAX 65536

struct sora_timeline_params {
    int32_t latent_count;    /* T, 1..SORA_TIMELINE_LATENTS_MAX */
    int32_t window_latents;  /* L, 3..1024 (the model's native length) */
    int32_t overlap_latents; /* O, 1..L-2 */
    bool static_phase;       /* true: odd steps do not shift the starts (for comparison only) */
};

/* One forward pass. Payload latents are those whose predictions count. */
struct sora_window {
    int32_t start;         /* first latent fed to the model (the throwaway, if there is one) */
    int32_t length;        /* latents fed: L, or T when T < L */
    int32_t payload_start; /* first latent with a weight: start, or start+1 with a throwaway */
    int32_t payload_end;   /* one past the last; start + length */
};

/* Checks ranges. Errors: INVALID with the field, value and limit in `fault`. */
int sora_timeline_check(const struct sora_timeline_params *params, struct sora_fault *fault);

/* All functions below expect params that sora_timeline_check has passed, step >= 0, and indices in
 * range (asserted). */

/* Number of windows at sampling step `step` (0-based; odd steps are shifted by half a stride). */
int32_t sora_timeline_window_count(const struct sora_timeline_params *params, int32_t step);

/* The `index`-th window of `step`, ascending by start. Stride S = L-1-O, so that payloads overlap
 * by O; the last window is shifted back so that it ends at T, never shortened. Even steps start
 * windows at 0, S, 2S, ...; odd steps at 0, S/2, S/2+S, ... (S = 1 has no half and does not shift),
 * so that no seam stays in one place. T <= L gives one window. */
struct sora_window sora_timeline_window(const struct sora_timeline_params *params, int32_t step,
                                        int32_t index);

/* The middle latent of the payload: its owner runs the window, its text is the window's. Ascending
 * with the index. */
int32_t sora_timeline_window_centre(const struct sora_window *window);

/* First window (lowest index) of `step` whose payload holds `latent`, and one past the last such
 * window. Windows that cover one latent are consecutive. */
void sora_timeline_covering(const struct sora_timeline_params *params, int32_t step, int32_t latent,
                            int32_t *out_first, int32_t *out_end);

/* Unnormalised trapezoid weight of `latent` in window `index`: ramps (i+1)/(O+1) on both payload
 * ends, the lower of the two where they meet, except at the shot's own ends where the weight stays
 * 1. 0 outside the payload. */
float sora_timeline_weight(const struct sora_timeline_params *params, int32_t step, int32_t index,
                           int32_t latent);

/* The factor w_k/Σw by which window `index` enters the fused prediction of `latent`: the float32
 * quotient, summed in ascending window order. Exactly 1 where one window covers the latent. */
float sora_timeline_share(const struct sora_timeline_params *params, int32_t step, int32_t index,
                          int32_t latent);

/* ---- shards: who runs which window, and what must travel ----
 *
 * A timeline may be cut into shards, contiguous ranges of latents that cover it without overlap.
 * The owner of a shard holds x_t and the solver state of its latents. It runs the windows whose
 * middle payload latent it owns, so every window has one runner. Before a step's windows it reads
 * x_t of the latents that they span; after them it gives the predictions of payload latents that
 * others own. Everything here is a function of timeline, step and ranges, so both sides of a link
 * compute the same plan without talking. */

/* Half-open range; {0,0} is empty. */
struct sora_range {
    int32_t first, end;
};

/* Windows that the owner of `shard` runs at `step` (maybe none). */
struct sora_range sora_timeline_shard_windows(const struct sora_timeline_params *params,
                                              int32_t step, struct sora_range shard);

/* Windows whose payload holds at least one latent of `shard`: their predictions make up its fused
 * prediction. Holds sora_timeline_shard_windows. */
struct sora_range sora_timeline_shard_covering(const struct sora_timeline_params *params,
                                               int32_t step, struct sora_range shard);

/* Latents whose x_t the windows of `shard` read at `step`; empty when it runs none. */
struct sora_range sora_timeline_shard_inputs(const struct sora_timeline_params *params,
                                             int32_t step, struct sora_range shard);

/* Latents whose x_t the owner of `owner` must send to the owner of `reader` before `step`. */
struct sora_range sora_timeline_halo_latents(const struct sora_timeline_params *params,
                                             int32_t step, struct sora_range owner,
                                             struct sora_range reader);

/* Latents whose prediction by `window` the window's runner must send to the owner of `owner` after
 * `step`. */
struct sora_range sora_timeline_halo_predictions(const struct sora_timeline_params *params,
                                                 int32_t step, int32_t window,
                                                 struct sora_range owner);

#endif
