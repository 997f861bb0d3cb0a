/*
 * Noise: the starting noise of one latent of a shot, by latent index.
 *
 * Any peer makes any latent's noise alone, in any order, and gets the same bits: a value depends on
 * seed, shot, latent index, element and the timeline's shape (base/philox.h). An instance is owned
 * by whoever created it; one thread at a time; nothing blocks.
 *
 * A latent is `element_count` float32 values, [C,H,W] flattened. A timeline of at most one window
 * (latent_count <= window_latents) has plain independent noise of every kind: its distribution is
 * what the model was trained on and a single window needs no coupling, so such a render is plain
 * sampling bit for bit.
 *
 * Kinds (enum sora_noise_kind, base/job_options.h):
 *
 *   SHARED_MEAN  eps_f = xi_f - (a/L) sum_{u in W(f)} xi_u + sqrt((2a-a^2)/L) c: windows share part
 *                of their temporal mean through the shot's common frame c. W(f) is the L latents
 *                centred on f, moved to lie within the timeline. The variance of every value is
 *                exactly 1.
 *   IID          eps_f = xi_f
 *   FREENOISE    the first L latents are independent; after them every block of S = L-1-O latents
 * is a permutation of the block L latents before it (Qiu et al., "FreeNoise", 2023)
 *
 * Noise that comes from a file replaces this module; the renderer reads it.
 */
#ifndef SORA_MODEL_NOISE_H
#define SORA_MODEL_NOISE_H

#include "base/job_options.h" /* enum sora_noise_kind */
#include "base/timeline.h"

#include <stddef.h>
#include <stdint.h>

struct sora_noise_params {
    struct sora_timeline_params timeline; /* L, O and T */
    enum sora_noise_kind kind;
    uint64_t seed;
    uint32_t shot;    /* of the random numbers' key: the take's index within its job */
    double amplitude; /* a of SHARED_MEAN, (0,1]; 0 means 0.5 */
    size_t element_count;
};
#define SORA_NOISE_AMPLITUDE 0.5
#define SORA_NOISE_ELEMENTS_MAX ((size_t)1 << 32)

/* How one latent is mixed from independent streams:
 * eps = own * xi_latent + window * sum_{u in [first,end)} xi_u + common * c. */
struct sora_noise_mix {
    int32_t latent; /* the stream of the own part; not the asked latent with FREENOISE */
    int32_t first, end;
    double own, window, common;
};

/* Pure. Params must have passed sora_noise_create's checks; 0 <= latent < T. */
struct sora_noise_mix sora_noise_mix(const struct sora_noise_params *params, int32_t latent);

struct sora_noise;

/* Returns owned. Keeps up to L+1 streams (L+1 latents of memory), so that walking the timeline
 * makes each stream once. Errors: INVALID, MEMORY. */
int sora_noise_create(const struct sora_noise_params *params, struct sora_noise **out_noise,
                      struct sora_fault *fault);
void sora_noise_destroy(struct sora_noise **noise);

/* Writes latent `latent` (0 <= latent < T, asserted), element_count floats. */
void sora_noise_latent(struct sora_noise *noise, int32_t latent, float *out_values);

#endif
