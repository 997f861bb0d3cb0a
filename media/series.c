/* Median, Theil-Sen slope and one line of the periodogram. */
#include "media/series.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_in_place(double *values, size_t count)
{
    if (count == 0)
        return NAN;
    qsort(values, count, sizeof(*values), compare);
    size_t middle = count / 2;
    return count % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double sora_series_median(const double *values, int count)
{
    if (count <= 0)
        return NAN;
    double *copy = malloc((size_t)count * sizeof(*copy));
    if (!copy)
        return NAN;
    memcpy(copy, values, (size_t)count * sizeof(*copy));
    double median = median_in_place(copy, (size_t)count);
    free(copy);
    return median;
}

double sora_series_slope(const double *values, int count)
{
    if (count < 3)
        return NAN;
    size_t pairs = (size_t)count * (size_t)(count - 1) / 2, next = 0;
    double *slopes = malloc(pairs * sizeof(*slopes));
    if (!slopes)
        return NAN;
    for (int i = 0; i < count; i++) {
        for (int j = i + 1; j < count; j++)
            slopes[next++] = (values[j] - values[i]) / (j - i);
    }
    double slope = median_in_place(slopes, pairs);
    free(slopes);
    return slope;
}

/* ---- periodogram ---- */

/* Takes away the least-squares line and applies the Hann window. */
static void prepare(double *values, int count)
{
    double middle = (count - 1) / 2.0, mean = 0, moment = 0, spread = 0;
    for (int i = 0; i < count; i++) {
        mean += values[i] / count;
        spread += (i - middle) * (i - middle);
    }
    for (int i = 0; i < count; i++)
        moment += (i - middle) * (values[i] - mean);
    for (int i = 0; i < count; i++) {
        double window = 0.5 - 0.5 * cos(2 * M_PI * (i + 0.5) / count);
        values[i] = (values[i] - mean - moment / spread * (i - middle)) * window;
    }
}

/* Amplitude at `frequency` cycles per step. */
static double amplitude_at(const double *values, int count, double frequency)
{
    double re = 0, im = 0;
    for (int i = 0; i < count; i++) {
        re += values[i] * cos(2 * M_PI * frequency * i);
        im += values[i] * sin(2 * M_PI * frequency * i);
    }
    return hypot(re, im);
}

double sora_series_period_ratio(const double *values, int count, double period)
{
    enum { NEAR = 3, FAR = 10 };
    if (!(period >= 3) || count < 3 * period)
        return NAN;
    double *copy = malloc((size_t)count * sizeof(*copy));
    if (!copy)
        return NAN;
    memcpy(copy, values, (size_t)count * sizeof(*copy));
    prepare(copy, count);
    double bin = 1.0 / count, at = 1 / period, peak = 0;
    double beside[2 * (FAR - NEAR + 1)];
    int beside_count = 0;
    for (int i = -1; i <= 1; i++) /* the period may lie between two bins */
        peak = fmax(peak, amplitude_at(copy, count, at + 0.5 * i * bin));
    for (int i = NEAR; i <= FAR; i++) {
        if (at - i * bin > 1.4 * bin) /* below lies what the line left */
            beside[beside_count++] = amplitude_at(copy, count, at - i * bin);
        if (at + i * bin < 0.5)
            beside[beside_count++] = amplitude_at(copy, count, at + i * bin);
    }
    free(copy);
    double floor_amplitude = sora_series_median(beside, beside_count);
    /* A series without any change has no flicker; the tiny term keeps rounding from being one. */
    return (peak + 1e-6 * count) / (floor_amplitude + 1e-6 * count);
}
