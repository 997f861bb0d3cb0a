/* Luma, differences, sharpness and the small picture with its mean colour in CIE L*a*b*. */
#include "media/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

enum { GRID = SORA_MEASURE_GRID, CELLS = GRID * GRID };

void sora_measure_luma(const uint8_t *rgb, size_t count, uint8_t *out_luma)
{
    /* 0.2126, 0.7152, 0.0722 in 1/65536; they sum to 65536, so white stays 255. */
    for (size_t i = 0; i < count; i++) {
        uint32_t sum = 13933u * rgb[3 * i] + 46871u * rgb[3 * i + 1] + 4732u * rgb[3 * i + 2];
        out_luma[i] = (uint8_t)((sum + 32768u) >> 16);
    }
}

double sora_measure_difference(const uint8_t *a, const uint8_t *b, size_t count)
{
    uint64_t sum = 0;
    size_t i = 0;
#ifdef __SSE2__
    __m128i sums = _mm_setzero_si128();
    for (; i + 16 <= count; i += 16)
        sums = _mm_add_epi64(sums,
                             _mm_sad_epu8(_mm_loadu_si128((const __m128i *)(const void *)(a + i)),
                                          _mm_loadu_si128((const __m128i *)(const void *)(b + i))));
    uint64_t halves[2];
    memcpy(halves, &sums, sizeof(halves));
    sum = halves[0] + halves[1];
#endif
    for (; i < count; i++)
        sum += (uint64_t)abs(a[i] - b[i]);
    return count > 0 ? (double)sum / (double)count : 0;
}

double sora_measure_sharpness(const uint8_t *luma, int width, int height)
{
    if (width < 3 || height < 3)
        return 0;
    int64_t sum = 0, squares = 0;
    for (int y = 1; y < height - 1; y++) {
        const uint8_t *row = luma + (size_t)y * (size_t)width;
        for (int x = 1; x < width - 1; x++) {
            int value = row[x - 1] + row[x + 1] + row[x - width] + row[x + width] - 4 * row[x];
            sum += value;
            squares += value * value;
        }
    }
    double count = (double)(width - 2) * (height - 2);
    double mean = (double)sum / count;
    return (double)squares / count - mean * mean;
}

/* ---- colour ---- */

static double linear_from_srgb(double value)
{
    return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4);
}

/* CIE 15:2004, 8.2.1.1 */
static double lab_curve(double t)
{
    const double edge = 6.0 / 29;
    return t > edge * edge * edge ? cbrt(t) : t / (3 * edge * edge) + 4.0 / 29;
}

/* Linear sRGB primaries (IEC 61966-2-1) to L*a*b* with the D65 white. */
static void lab_from_linear(const double rgb[3], double out_lab[3])
{
    double x = 0.4124564 * rgb[0] + 0.3575761 * rgb[1] + 0.1804375 * rgb[2];
    double y = 0.2126729 * rgb[0] + 0.7151522 * rgb[1] + 0.0721750 * rgb[2];
    double z = 0.0193339 * rgb[0] + 0.1191920 * rgb[1] + 0.9503041 * rgb[2];
    double fx = lab_curve(x / 0.95047), fy = lab_curve(y), fz = lab_curve(z / 1.08883);
    out_lab[0] = 116 * fy - 16;
    out_lab[1] = 500 * (fx - fy);
    out_lab[2] = 200 * (fy - fz);
}

struct cell_sums {
    double linear[CELLS][3];
    int64_t luma[CELLS];
    int count[CELLS];
};

/* Adds `count` pixels of one row to a cell, in order: sums of doubles depend on it. */
static void sum_run(const double *table, const uint8_t *rgb, const uint8_t *luma, int count,
                    int cell, struct cell_sums *sums)
{
    double red = sums->linear[cell][0], green = sums->linear[cell][1], blue = sums->linear[cell][2];
    int64_t total = 0;
    for (int i = 0; i < count; i++) {
        red += table[rgb[3 * i]];
        green += table[rgb[3 * i + 1]];
        blue += table[rgb[3 * i + 2]];
        total += luma[i];
    }
    sums->linear[cell][0] = red;
    sums->linear[cell][1] = green;
    sums->linear[cell][2] = blue;
    sums->luma[cell] += total;
    sums->count[cell] += count;
}

/* First pixel of cell `index` along a side of `size`: pixel p lies in cell p*GRID/size. */
static int cell_first(int index, int size)
{
    return (int)(((int64_t)index * size + GRID - 1) / GRID);
}

static void sum_cells(const uint8_t *rgb, const uint8_t *luma, int width, int height,
                      struct cell_sums *out_sums)
{
    double table[256];
    for (int i = 0; i < 256; i++)
        table[i] = linear_from_srgb(i / 255.0);
    memset(out_sums, 0, sizeof(*out_sums));
    for (int y = 0; y < height; y++) {
        int row = (int)((int64_t)y * GRID / height) * GRID;
        for (int cell = 0; cell < GRID; cell++) {
            int first = cell_first(cell, width), end = cell_first(cell + 1, width);
            size_t pixel = (size_t)y * (size_t)width + (size_t)first;
            sum_run(table, rgb + 3 * pixel, luma + pixel, end - first, row + cell, out_sums);
        }
    }
}

void sora_measure_shrink(const uint8_t *rgb, const uint8_t *luma, int width, int height,
                         struct sora_measure_small *out_small)
{
    struct cell_sums sums;
    sum_cells(rgb, luma, width, height, &sums);
    double lab_sum[3] = {0}, lightness_squares = 0;
    int used = 0;
    for (int cell = 0; cell < CELLS; cell++) {
        int count = sums.count[cell];
        out_small->luma[cell] = count ? (float)((double)sums.luma[cell] / count) : 0;
        if (!count)
            continue;
        double mean[3], lab[3];
        for (int c = 0; c < 3; c++)
            mean[c] = sums.linear[cell][c] / count;
        lab_from_linear(mean, lab);
        for (int c = 0; c < 3; c++)
            lab_sum[c] += lab[c];
        lightness_squares += lab[0] * lab[0];
        used++;
    }
    out_small->lightness = lab_sum[0] / used;
    out_small->a = lab_sum[1] / used;
    out_small->b = lab_sum[2] / used;
    double variance = lightness_squares / used - out_small->lightness * out_small->lightness;
    out_small->contrast = sqrt(fmax(0, variance));
}
