/* Exhaustive block matching with early ends, and the sub-pixel step. */
#include "media/motion.h"

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
        for (int x = 0; x < BLOCK; x++)
            sum += abs(a[x] - b[x]);
        a += stride;
        b += stride;
    }
    return sum;
}

struct match {
    int dx, dy, distance; /* the block at (x,y) came from (x-dx,y-dy) */
};

static struct match match_block(const struct planes *planes, int x, int y, int reach)
{
    const uint8_t *block = planes->next + (long)y * planes->width + x;
    const uint8_t *home = planes->previous + (long)y * planes->width + x;
    struct match best = {.distance = block_distance(block, home, planes->width, INT32_MAX)};
    int best_cost = best.distance;
    for (int dy = -reach; dy <= reach; dy++) {
        for (int dx = -reach; dx <= reach; dx++) {
            int from_x = x - dx, from_y = y - dy;
            int shift_cost = SHIFT_COST * (abs(dx) + abs(dy));
            if (from_x < 0 || from_y < 0 || from_x + BLOCK > planes->width ||
                from_y + BLOCK > planes->height || shift_cost >= best_cost)
                continue;
            const uint8_t *from = planes->previous + (long)from_y * planes->width + from_x;
            int limit = best_cost - shift_cost - 1;
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

/* The fraction that is missing after the whole-pixel match: the d that minimises
 * sum (next - previous + grad(previous) . d)^2 + TEXTURE_FLOOR |d|^2, each part within one pixel.
 */
static void refine(const struct planes *planes, int x, int y, const struct match *match,
                   double *out_dx, double *out_dy)
{
    double xx = TEXTURE_FLOOR * BLOCK * BLOCK, yy = xx, xy = 0, xt = 0, yt = 0;
    for (int row = y; row < y + BLOCK; row++) {
        for (int column = x; column < x + BLOCK; column++) {
            int from_x = column - match->dx, from_y = row - match->dy;
            double gx = (at(planes, from_x + 1, from_y) - at(planes, from_x - 1, from_y)) / 2.0;
            double gy = (at(planes, from_x, from_y + 1) - at(planes, from_x, from_y - 1)) / 2.0;
            double t =
                planes->next[(long)row * planes->width + column] - at(planes, from_x, from_y);
            xx += gx * gx;
            yy += gy * gy;
            xy += gx * gy;
            xt += gx * t;
            yt += gy * t;
        }
    }
    double determinant = xx * yy - xy * xy; /* > 0: the damping is on the diagonal */
    *out_dx = fmax(-1, fmin(1, (xy * yt - yy * xt) / determinant));
    *out_dy = fmax(-1, fmin(1, (xy * xt - xx * yt) / determinant));
}

struct sora_motion sora_motion_estimate(const uint8_t *previous, const uint8_t *next, int width,
                                        int height, int reach)
{
    const struct planes planes = {previous, next, width, height};
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
    bool inner = count[1] > 0;
    return (struct sora_motion){
        .residual = distance / ((count[0] + count[1]) * BLOCK * BLOCK),
        .speed = speed[inner] / count[inner],
    };
}
