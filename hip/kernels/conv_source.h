/*
 * The A operand of a convolution as a product: row = output pixel, k = tap and channel. Nothing is
 * stored; the pixel under a tap is found when it is loaded. k advances by whole groups of four or
 * eight channels, and `channels` is a multiple of 8, so a group never crosses a tap.
 */
#ifndef SORA_HIP_KERNELS_CONV_SOURCE_H
#define SORA_HIP_KERNELS_CONV_SOURCE_H

#include "hip/kernels/args.h"
#include "hip/kernels/tile.h"

/* First tap of an output pixel in the padded, upsampled input; t < 0 when there is no pixel. */
struct conv_pixel {
    int t, y, x;
};

GPU_FN void conv_pixel_init(struct conv_pixel *pixel, const struct conv_args *p, int row)
{
    int frame = p->out_height * p->out_width, rest = row % frame;
    pixel->t = row < 0 ? -1 : row / frame * p->stride_t;
    pixel->y = rest / p->out_width * p->stride_h - p->pad_top;
    pixel->x = rest % p->out_width * p->stride_w - p->pad_left;
}

/* Where k lies: a tap of the window, and a channel. */
struct conv_tap {
    int t, y, x, channel;
};

GPU_FN void conv_tap_init(struct conv_tap *tap, const struct conv_args *p, int k)
{
    int index = k / p->channels, area = p->kernel_h * p->kernel_w, within = index % area;
    tap->channel = k - index * p->channels;
    tap->t = index / area;
    tap->y = within / p->kernel_w;
    tap->x = within % p->kernel_w;
}

/* The same for k + step: divisions would cost more than the product. */
GPU_FN void conv_tap_advance(struct conv_tap *tap, const struct conv_args *p, int step)
{
    tap->channel += step;
    while (tap->channel >= p->channels) {
        tap->channel -= p->channels;
        if (++tap->x == p->kernel_w) {
            tap->x = 0;
            tap->y++;
        }
        if (tap->y == p->kernel_h) {
            tap->y = 0;
            tap->t++;
        }
    }
}

#define CONV_NOWHERE 0 /* zeros */
#define CONV_INPUT 1
#define CONV_PAST 2

/* Where the tap's channel of the input pixel under it is: element *at of the input or of the past
 * frames. */
GPU_FN int conv_find(const struct conv_args *p, const struct conv_pixel *pixel,
                     const struct conv_tap *tap, i64 *at)
{
    int t = pixel->t + tap->t - p->time_pad;
    int y = pixel->y + tap->y, x = pixel->x + tap->x;
    int up = p->upsample;
    if (pixel->t < 0 || y < 0 || y >= p->height * up || x < 0 || x >= p->width * up)
        return CONV_NOWHERE;
    if (t < 0 && -t > p->history_frames)
        return CONV_NOWHERE;
    int where = t < 0 ? CONV_PAST : CONV_INPUT;
    t = t < 0 ? p->history_frames + t : t;
    if (up == 2) {
        y >>= 1;
        x >>= 1;
    }
    *at = (((i64)t * p->height + y) * p->width + x) * p->in_channels + tap->channel;
    return where;
}

/* Eight channels from the tap's on; zeros unless `present`. Past frames of 16 bits are widened, and
 * rounded to what they were when they are stored. */
GPU_FN void conv_load(struct tile_stage *stage, const struct conv_args *p,
                      const struct conv_pixel *pixel, const struct conv_tap *tap, int present,
                      int element)
{
    i64 at = 0;
    int where = present ? conv_find(p, pixel, tap, &at) : CONV_NOWHERE;
    int count = where != CONV_NOWHERE ? p->in_channels - tap->channel : 0;
    if (where == CONV_PAST && p->history_type != KERNEL_HISTORY_F32) {
        tile_load_wide(stage, (const u16 *)p->history + at, count,
                       p->history_type == KERNEL_HISTORY_VECTOR, element);
        return;
    }
    tile_load_f32(stage, (const float *)(where == CONV_PAST ? p->history : p->product.a) + at,
                  count, p->product.a_vector);
}

#endif
