/* Rotary tables and the timestep sinusoid. */
#include "model/rope.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

#define BASE 10000.0

/* One axis of one token: its pairs [first, first+pairs) of a row, and the row that has the same
 * coordinate on this axis and 0 on the others. */
struct axis {
    int position, first, pairs;
    size_t source;
};

static void turn(const struct axis *axis, float *out_cos, float *out_sin)
{
    for (int i = 0; i < axis->pairs; i++) {
        double angle = axis->position * (1.0 / pow(BASE, (double)i / axis->pairs));
        out_cos[i] = (float)cos(angle);
        out_sin[i] = (float)sin(angle);
    }
}

/* Each axis is computed once per coordinate, in the source row, and copied from there. */
static void fill_row(const struct sora_rope_grid *grid, size_t n, float *out_cos, float *out_sin)
{
    int half = grid->head_size / 2, side = grid->head_size / 6, time = half - 2 * side;
    size_t columns = (size_t)grid->columns, frame = (size_t)grid->rows * columns;
    size_t t = n / frame, y = n / columns % (size_t)grid->rows, x = n % columns;
    const struct axis axes[] = {
        {.position = (int)t, .first = 0, .pairs = time, .source = t * frame},
        {.position = (int)y, .first = time, .pairs = side, .source = y * columns},
        {.position = (int)x, .first = time + side, .pairs = side, .source = x},
    };
    for (int i = 0; i < 3; i++) {
        size_t to = n * (size_t)half + (size_t)axes[i].first;
        size_t from = axes[i].source * (size_t)half + (size_t)axes[i].first;
        if (from == to) {
            turn(&axes[i], out_cos + to, out_sin + to);
            continue;
        }
        memcpy(out_cos + to, out_cos + from, (size_t)axes[i].pairs * sizeof(float));
        memcpy(out_sin + to, out_sin + from, (size_t)axes[i].pairs * sizeof(float));
    }
}

void sora_rope_tables(const struct sora_rope_grid *grid, float *out_cos, float *out_sin)
{
    SORA_ASSERT(grid->head_size >= 2 && grid->head_size % 2 == 0);
    size_t count = (size_t)grid->frames * (size_t)grid->rows * (size_t)grid->columns;
    for (size_t n = 0; n < count; n++)
        fill_row(grid, n, out_cos, out_sin);
}

void sora_timestep_sinusoid(double timestep, int width, float *out_values)
{
    SORA_ASSERT(width >= 2 && width % 2 == 0);
    int half = width / 2;
    for (int j = 0; j < half; j++) {
        float exponent = (float)-log(BASE) * (float)j / (float)half;
        float frequency = (float)exp((double)exponent);
        float angle = (float)timestep * frequency;
        out_values[j] = (float)cos((double)angle);
        out_values[half + j] = (float)sin((double)angle);
    }
}
