/*
 * Colour solve: one gain and offset per window and colour channel, so that windows which were made
 * independently of each other agree where they overlap (docs/ARCHITECTURE.md, "Timeline").
 *
 * Window k shows y as x_k = exp(s_k) * (y + o_k). From the moments of both windows in overlap k
 * come differences d_k; the s_k, then the o_k, minimise
 *
 *     sum_k n_k (d_k - (o_k - o_{k+1}))^2 + lambda sum_k o_k^2
 *
 * over the whole timeline at once: one tridiagonal system, never a chain from window to window. The
 * lambda keeps what repeats at every overlap (a fade, a bias) from adding up.
 *
 * Pure functions on the caller's memory but for solve, which allocates; any thread.
 */
#ifndef SORA_MEDIA_COLOUR_SOLVE_H
#define SORA_MEDIA_COLOUR_SOLVE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define SORA_COLOUR_WINDOWS_MAX 65536

/* Sums over an overlap, per channel, of both windows' values (0..1); all-zero is empty. Pixels that
 * are black or full in either window do not count: they say nothing about gain or offset. */
struct sora_colour_moments {
    double count[3];
    double sum[2][3], squares[2][3]; /* [0]: the left window, [1]: the right one */
};

/* Adds one frame of the overlap: `pixels` times R G B of the left and of the right window. */
void sora_colour_moments_add(struct sora_colour_moments *moments, const uint8_t *left,
                             const uint8_t *right, size_t pixels);

/* What to do with a window: corrected = x * gain + offset, values 0..1. */
struct sora_colour_correction {
    double gain[3], offset[3];
};

struct sora_colour_params {
    double gain_lambda, offset_lambda; /* over the mean n_k; 0 means 0.001 */
};

/* Solves for `overlap_count + 1` windows, overlap k lying between windows k and k+1. Errors:
 * INVALID (count outside 0..SORA_COLOUR_WINDOWS_MAX-1, a lambda below 0), MEMORY. */
int sora_colour_solve(const struct sora_colour_params *params,
                      const struct sora_colour_moments *overlaps, int overlap_count,
                      struct sora_colour_correction *out_corrections, struct sora_fault *fault);

/* The system itself: the out_values[count+1] that minimise the sum above for weights n >= 0 and
 * differences d, [count] each; lambda > 0. `scratch` has room for count+1 values. Thomas algorithm;
 * stable, because the matrix is diagonally dominant. */
void sora_colour_tridiagonal(const double *weights, const double *differences, int count,
                             double lambda, double *scratch, double *out_values);

/* Tables of corrected values for all 256 of a channel, 0..1 times 255, not rounded. */
void sora_colour_table(const struct sora_colour_correction *correction, float out_table[3][256]);

#endif
