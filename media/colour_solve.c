/* Moments, differences, and the tridiagonal system. */
#include "media/colour_solve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LAMBDA_DEFAULT 0.001
#define FLAT_VARIANCE                                                                              \
    (1.0 / (128.0 * 128.0)) /* contrast below about two grey levels says little                    \
                             */

void sora_colour_moments_add(struct sora_colour_moments *moments, const uint8_t *left,
                             const uint8_t *right, size_t pixels)
{
    uint64_t count[3] = {0}, sum[2][3] = {{0}}, squares[2][3] = {{0}};
    for (size_t i = 0; i < pixels; i++, left += 3, right += 3) {
        for (int c = 0; c < 3; c++) {
            uint32_t a = left[c], b = right[c];
            if (a == 0 || b == 0 || a == 255 || b == 255)
                continue;
            count[c]++;
            sum[0][c] += a;
            sum[1][c] += b;
            squares[0][c] += a * a;
            squares[1][c] += b * b;
        }
    }
    for (int c = 0; c < 3; c++) {
        moments->count[c] += (double)count[c];
        for (int side = 0; side < 2; side++) {
            moments->sum[side][c] += (double)sum[side][c] / 255;
            moments->squares[side][c] += (double)squares[side][c] / (255.0 * 255.0);
        }
    }
}

void sora_colour_tridiagonal(const double *weights, const double *differences, int count,
                             double lambda, double *scratch, double *out_values)
{
    /* Row j: -n_{j-1} o_{j-1} + (n_{j-1} + n_j + lambda) o_j - n_j o_{j+1} = n_j d_j - n_{j-1}
     * d_{j-1}, with n = 0 beyond both ends. Forward: scratch is the upper diagonal after
     * elimination. */
    double before = 0, before_difference = 0;
    for (int j = 0; j <= count; j++) {
        double after = j < count ? weights[j] : 0;
        double after_difference = j < count ? weights[j] * differences[j] : 0;
        double pivot = before + after + lambda - (j > 0 ? before * scratch[j - 1] : 0);
        double right = after_difference - before_difference;
        scratch[j] = after / pivot;
        out_values[j] = (right + (j > 0 ? before * out_values[j - 1] : 0)) / pivot;
        before = after;
        before_difference = after_difference;
    }
    for (int j = count - 1; j >= 0; j--)
        out_values[j] += scratch[j] * out_values[j + 1];
}

/* ---- one channel ---- */

struct system {
    double *weights, *differences, *scratch, *gains, *offsets; /* [windows] each */
};

static double mean_of(const double *values, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += values[i];
    return count > 0 ? sum / count : 0;
}

static void solve_one(struct system *system, int count, double share, double *out_values)
{
    double lambda = (share > 0 ? share : LAMBDA_DEFAULT) * mean_of(system->weights, count);
    /* Overlaps without a word leave all windows as they are. */
    sora_colour_tridiagonal(system->weights, system->differences, count, lambda > 0 ? lambda : 1,
                            system->scratch, out_values);
}

static double variance_of(const struct sora_colour_moments *moments, int side, int channel)
{
    double count = moments->count[channel], mean = moments->sum[side][channel] / count;
    return fmax(0, moments->squares[side][channel] / count - mean * mean);
}

/* log-gains from the contrasts. */
static void solve_gains(const struct sora_colour_params *params,
                        const struct sora_colour_moments *overlaps, int count, int channel,
                        struct system *system)
{
    for (int k = 0; k < count; k++) {
        system->weights[k] = system->differences[k] = 0;
        if (overlaps[k].count[channel] <= 0)
            continue;
        double left = variance_of(&overlaps[k], 0, channel);
        double right = variance_of(&overlaps[k], 1, channel);
        double less = fmin(left, right);
        system->weights[k] = overlaps[k].count[channel] * less / (less + FLAT_VARIANCE);
        if (less > 0)
            system->differences[k] = 0.5 * log(left / right);
    }
    solve_one(system, count, params->gain_lambda, system->gains);
}

/* Offsets from the means, once the gains are taken away. */
static void solve_offsets(const struct sora_colour_params *params,
                          const struct sora_colour_moments *overlaps, int count, int channel,
                          struct system *system)
{
    for (int k = 0; k < count; k++) {
        double pixels = overlaps[k].count[channel];
        system->weights[k] = pixels;
        system->differences[k] = 0;
        if (pixels > 0)
            system->differences[k] =
                overlaps[k].sum[0][channel] / pixels * exp(-system->gains[k]) -
                overlaps[k].sum[1][channel] / pixels * exp(-system->gains[k + 1]);
    }
    solve_one(system, count, params->offset_lambda, system->offsets);
}

int sora_colour_solve(const struct sora_colour_params *params,
                      const struct sora_colour_moments *overlaps, int overlap_count,
                      struct sora_colour_correction *out_corrections, struct sora_fault *fault)
{
    if (overlap_count < 0 || overlap_count >= SORA_COLOUR_WINDOWS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "colour solve: %d overlaps; it must be 0 to %d", overlap_count,
                              SORA_COLOUR_WINDOWS_MAX - 1);
    if (!(params->gain_lambda >= 0) || !(params->offset_lambda >= 0))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "colour solve: lambdas of %g and %g; they must not be below 0",
                              params->gain_lambda, params->offset_lambda);
    size_t windows = (size_t)overlap_count + 1;
    double *block = calloc(5 * windows, sizeof(double));
    if (!block)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the colour solve");
    struct system system = {block, block + windows, block + 2 * windows, block + 3 * windows,
                            block + 4 * windows};
    for (int c = 0; c < 3; c++) {
        solve_gains(params, overlaps, overlap_count, c, &system);
        solve_offsets(params, overlaps, overlap_count, c, &system);
        for (size_t k = 0; k < windows; k++) {
            out_corrections[k].gain[c] = exp(-system.gains[k]);
            out_corrections[k].offset[c] = -system.offsets[k];
        }
    }
    free(block);
    return SORA_OK;
}

void sora_colour_table(const struct sora_colour_correction *correction, float out_table[3][256])
{
    for (int c = 0; c < 3; c++) {
        for (int value = 0; value < 256; value++) {
            double corrected = value * correction->gain[c] + 255 * correction->offset[c];
            out_table[c][value] = (float)fmin(255, fmax(0, corrected));
        }
    }
}
