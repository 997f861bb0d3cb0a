/*
 * Exhaustive block matching with early ends, and the sub-pixel step. A block whose sum of pixels is
 * far from the wanted one's cannot match better than that (Li and Salari 1995), so most places are
 * never compared. Sums are whole numbers, so every instruction set gives the same result.
 */
#include "media/motion.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

enum { BLOCK = SORA_MOTION_BLOCK };

/* What one pixel of shift must save over a block, in summed grey levels; keeps noise from moving
 * flat blocks, far below what any visible texture saves. */
#define SHIFT_COST 24

/* Damping of the sub-pixel step, squared grey levels per pixel: texture weaker than this counts as
 * none. */
#define TEXTURE_FLOOR 2.0

struct planes {
    const uint8_t *previous, *next;
    int width, height;
    const uint16_t *sums; /* of the block at each place of `previous`; NULL: not there */
};

int sora_motion_reach(int width, int height)
{
    int reach = (width < height ? width : height) / 8;
    return reach < 1 ? 1 : reach > SORA_MOTION_REACH_MAX ? SORA_MOTION_REACH_MAX : reach;
}

/* Sum of absolute differences; ends early, with a value beyond it, once `limit` is passed. */
static int block_distance(const uint8_t *a, const uint8_t *b, int stride, int limit)
{
    int sum = 0;
    for (int y = 0; y < BLOCK && sum <= limit; y++) {
#ifdef __SSE2__
        __m128i row = _mm_sad_epu8(_mm_loadu_si128((const __m128i *)(const void *)a),
                                   _mm_loadu_si128((const __m128i *)(const void *)b));
        sum += _mm_cvtsi128_si32(row) + _mm_extract_epi16(row, 4);
#else
        for (int x = 0; x < BLOCK; x++)
            sum += abs(a[x] - b[x]);
#endif
        a += stride;
        b += stride;
    }
    return sum;
}

static int block_sum(const uint8_t *block, int stride)
{
    int sum = 0;
    for (int y = 0; y < BLOCK; y++) {
        for (int x = 0; x < BLOCK; x++)
            sum += block[(long)y * stride + x];
    }
    return sum;
}

/* Sums of all whole blocks of a plane, [height-15][width-15] in rows of `width`: columns of 16 that
 * move down, then a run along each row. */
static void sum_blocks(const uint8_t *plane, int width, int height, uint16_t *columns,
                       uint16_t *out_sums)
{
    for (int x = 0; x < width; x++) {
        columns[x] = 0;
        for (int y = 0; y < BLOCK; y++)
            columns[x] = (uint16_t)(columns[x] + plane[(long)y * width + x]);
    }
    for (int y = 0; y + BLOCK <= height; y++) {
        uint16_t *row = out_sums + (long)y * width;
        int sum = 0;
        for (int x = 0; x < width; x++) {
            sum += columns[x] - (x >= BLOCK ? columns[x - BLOCK] : 0);
            if (x >= BLOCK - 1)
                row[x - BLOCK + 1] = (uint16_t)sum;
        }
        const uint8_t *leaves = plane + (long)y * width, *enters = leaves + (long)BLOCK * width;
        for (int x = 0; y + BLOCK < height && x < width; x++)
            columns[x] = (uint16_t)(columns[x] + enters[x] - leaves[x]);
    }
}

struct match {
    int dx, dy, distance; /* the block at (x,y) came from (x-dx,y-dy) */
};

static struct match match_block(const struct planes *planes, int x, int y, int reach)
{
    const uint8_t *block = planes->next + (long)y * planes->width + x;
    const uint8_t *home = planes->previous + (long)y * planes->width + x;
    struct match best = {.distance = block_distance(block, home, planes->width, INT32_MAX)};
    int best_cost = best.distance, sum = block_sum(block, planes->width);
    for (int dy = -reach; dy <= reach; dy++) {
        for (int dx = -reach; dx <= reach; dx++) {
            int from_x = x - dx, from_y = y - dy;
            int shift_cost = SHIFT_COST * (abs(dx) + abs(dy));
            if (from_x < 0 || from_y < 0 || from_x + BLOCK > planes->width ||
                from_y + BLOCK > planes->height || shift_cost >= best_cost)
                continue;
            long place = (long)from_y * planes->width + from_x;
            const uint8_t *from = planes->previous + place;
            int limit = best_cost - shift_cost - 1;
            if (planes->sums && abs(planes->sums[place] - sum) > limit)
                continue;
            int distance = block_distance(block, from, planes->width, limit);
            if (distance <= limit) {
                best = (struct match){dx, dy, distance};
                best_cost = distance + shift_cost;
            }
        }
    }
    return best;
}

static int at(const struct planes *planes, int x, int y)
{
    x = x < 0 ? 0 : x >= planes->width ? planes->width - 1 : x;
    y = y < 0 ? 0 : y >= planes->height ? planes->height - 1 : y;
    return planes->previous[(long)y * planes->width + x];
}

/* The block that matched, with one pixel around it; beyond the frame its edge goes on. */
enum { MARGIN_BLOCK = BLOCK + 2 };

static void copy_with_margin(const struct planes *planes, int from_x, int from_y,
                             uint8_t out_pixels[MARGIN_BLOCK][MARGIN_BLOCK])
{
    for (int row = 0; row < MARGIN_BLOCK; row++) {
        for (int column = 0; column < MARGIN_BLOCK; column++)
            out_pixels[row][column] = (uint8_t)at(planes, from_x + column - 1, from_y + row - 1);
    }
}

struct gradient_sums { /* gradients doubled; below 2^31 for 256 pixels */
    int32_t xx, yy, xy, xt, yt;
};

static struct gradient_sums sum_gradients(const uint8_t *from, int from_stride, const uint8_t *to,
                                          int to_stride)
{
    struct gradient_sums sums = {0};
    for (int row = 0; row < BLOCK; row++) {
        const uint8_t *line = from + (long)row * from_stride, *next = to + (long)row * to_stride;
        for (int column = 0; column < BLOCK; column++) {
            int gx = line[column + 1] - line[column - 1];
            int gy = line[column + from_stride] - line[column - from_stride];
            int t = next[column] - line[column];
            sums.xx += gx * gx;
            sums.yy += gy * gy;
            sums.xy += gx * gy;
            sums.xt += gx * t;
            sums.yt += gy * t;
        }
    }
    return sums;
}

/* The fraction that is missing after the whole-pixel match: the d that minimises
 * sum (next - previous + grad(previous) . d)^2 + TEXTURE_FLOOR |d|^2, each part within one pixel.
 */
static void refine(const struct planes *planes, int x, int y, const struct match *match,
                   double *out_dx, double *out_dy)
{
    int from_x = x - match->dx, from_y = y - match->dy, stride = planes->width;
    const uint8_t *from = planes->previous + (long)from_y * stride + from_x;
    uint8_t copy[MARGIN_BLOCK][MARGIN_BLOCK];
    if (from_x < 1 || from_y < 1 || from_x + BLOCK >= planes->width ||
        from_y + BLOCK >= planes->height) {
        copy_with_margin(planes, from_x, from_y, copy);
        from = &copy[1][1];
        stride = MARGIN_BLOCK;
    }
    struct gradient_sums sums =
        sum_gradients(from, stride, planes->next + (long)y * planes->width + x, planes->width);
    const double floor = TEXTURE_FLOOR * BLOCK * BLOCK;
    double xx = floor + sums.xx / 4.0, yy = floor + sums.yy / 4.0, xy = sums.xy / 4.0;
    double xt = sums.xt / 2.0, yt = sums.yt / 2.0;
    double determinant = xx * yy - xy * xy; /* > 0: the damping is on the diagonal */
    *out_dx = fmax(-1, fmin(1, (xy * yt - yy * xt) / determinant));
    *out_dy = fmax(-1, fmin(1, (xy * xt - xx * yt) / determinant));
}

struct sora_motion sora_motion_estimate(const uint8_t *previous, const uint8_t *next, int width,
                                        int height, int reach)
{
    /* Without memory for the sums every place is compared: slower, the same result. */
    uint16_t *sums = malloc(((size_t)width * (size_t)height + (size_t)width) * sizeof(*sums));
    if (sums)
        sum_blocks(previous, width, height, sums + (size_t)width * (size_t)height, sums);
    const struct planes planes = {previous, next, width, height, sums};
    double distance = 0, speed[2] = {0}; /* of blocks near the edge, and of the others */
    int count[2] = {0};
    for (int y = 0; y + BLOCK <= height; y += BLOCK) {
        for (int x = 0; x + BLOCK <= width; x += BLOCK) {
            struct match match = match_block(&planes, x, y, reach);
            double dx = 0, dy = 0;
            if (match.distance > 0)
                refine(&planes, x, y, &match, &dx, &dy);
            bool inner = x >= reach && y >= reach && x + BLOCK + reach <= width &&
                         y + BLOCK + reach <= height;
            distance += match.distance;
            speed[inner] += hypot(match.dx + dx, match.dy + dy);
            count[inner]++;
        }
    }
    free(sums);
    bool inner = count[1] > 0;
    return (struct sora_motion){
        .residual = distance / ((count[0] + count[1]) * BLOCK * BLOCK),
        .speed = speed[inner] / count[inner],
    };
}
