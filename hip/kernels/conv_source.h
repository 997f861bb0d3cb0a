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

/* Channel `channel` of the input pixel under `tap`; NULL for zeros. */
GPU_FN const float *conv_find(const struct conv_args *p, const struct conv_pixel *pixel, int tap,
                              int channel)
{
    int area = p->kernel_h * p->kernel_w, within = tap % area;
    int t = pixel->t + tap / area - p->time_pad;
    int y = pixel->y + within / p->kernel_w, x = pixel->x + within % p->kernel_w;
    int up = p->upsample;
    if (pixel->t < 0 || y < 0 || y >= p->height * up || x < 0 || x >= p->width * up)
        return 0;
    if (t < 0 && -t > p->history_frames)
        return 0;
    const float *frames = t < 0 ? p->history : (const float *)p->product.a;
    t = t < 0 ? p->history_frames + t : t;
    if (up == 2) {
        y >>= 1;
        x >>= 1;
    }
    return frames + (((i64)t * p->height + y) * p->width + x) * p->in_channels + channel;
}

/* Eight channels from k on; k < 0 loads zeros. */
GPU_FN void conv_load(struct tile_stage *stage, const struct conv_args *p,
                      const struct conv_pixel *pixel, int k)
{
    int tap = k < 0 ? 0 : k / p->channels, channel = k < 0 ? 0 : k - tap * p->channels;
    const float *from = k < 0 ? 0 : conv_find(p, pixel, tap, channel);
    tile_load_f32(stage, from, from ? p->in_channels - channel : 0, p->product.a_vector);
}

#endif
