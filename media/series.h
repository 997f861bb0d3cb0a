/*
 * Series: robust statistics on a row of numbers, one per frame or per second.
 *
 * Pure functions on the caller's memory; NAN means "cannot be measured". Those that sort need
 * memory of their own and give NAN when there is none. Any thread.
 */
#ifndef SORA_MEDIA_SERIES_H
#define SORA_MEDIA_SERIES_H

/* The middle value, or the mean of the two middle ones; NAN when count is 0. */
double sora_series_median(const double *values, int count);

/* Theil-Sen slope: the median of (v[j]-v[i])/(j-i) over all i < j, per step. Up to a quarter of the
 * values may be wild without effect. NAN below 3 values; count <= 2048 (memory count^2/2). */
double sora_series_slope(const double *values, int count);

/* How far the oscillation of `period` steps stands out: its amplitude over the median amplitude of
 * the neighbouring frequencies (3 to 10 bins away), after removing the line through the values and
 * a Hann window. About 1 to 3 for noise. NAN when there are fewer than 3 periods or a period is
 * shorter than 3 steps. */
double sora_series_period_ratio(const double *values, int count, double period);

#endif
