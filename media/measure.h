/*
 * Measures of single frames and frame pairs, on which the consistency report is built.
 *
 * Pure functions on the caller's memory, any thread. RGB is width*height*3 bytes sRGB, luma is one
 * byte a pixel, rows from the top.
 */
#ifndef SORA_MEDIA_MEASURE_H
#define SORA_MEDIA_MEASURE_H

#include <stddef.h>
#include <stdint.h>

#define SORA_MEASURE_GRID 16 /* cells of a side of the small picture */

/* Full-range BT.709 luma, rounded, of `count` pixels. */
void sora_measure_luma(const uint8_t *rgb, size_t count, uint8_t *out_luma);

/* Mean |a - b| of `count` pixels, grey levels. */
double sora_measure_difference(const uint8_t *a, const uint8_t *b, size_t count);

/* Variance of the 4-neighbour Laplacian over the inner pixels; 0 below 3x3. */
double sora_measure_sharpness(const uint8_t *luma, int width, int height);

/* A frame reduced to 16x16 cells (fewer where a side is shorter). */
struct sora_measure_small {
    float luma[SORA_MEASURE_GRID * SORA_MEASURE_GRID]; /* mean luma, 0..255 */
    double lightness, a, b;                            /* mean CIE L*a*b* (D65) of the cells */
    double contrast;                                   /* standard deviation of the cells' L* */
};
void sora_measure_shrink(const uint8_t *rgb, const uint8_t *luma, int width, int height,
                         struct sora_measure_small *out_small);

#endif
