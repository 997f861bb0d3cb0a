/*
 * Norms over the last dimension: one wave per row, sums by shuffles, no shared memory. A row is
 * read again for each pass; it is in cache then. Sums are f32: each lane adds every 32nd (64th)
 * element, then lanes are added in pairs, so the error stays near one rounding.
 */
#ifndef SORA_HIP_KERNELS_NORM_H
#define SORA_HIP_KERNELS_NORM_H

#include "hip/kernels/activation.h"

GPU_FN void layer_norm_run(const struct norm_args *p)
{
    i64 row = (i64)GPU_BLOCK_X * (KERNEL_THREADS / GPU_WAVE) + GPU_WAVE_INDEX;
    if (row >= p->rows) /* a whole wave */
        return;
    const float *in = p->in + row * p->channels;
    float *out = p->out + row * p->channels;
    float sum = 0.0f, squares = 0.0f;
    for (int c = GPU_LANE; c < p->channels; c += GPU_WAVE)
        sum += in[c];
    float mean = gpu_wave_sum(sum) / (float)p->channels;
    for (int c = GPU_LANE; c < p->channels; c += GPU_WAVE)
        squares = gpu_fma(in[c] - mean, in[c] - mean, squares);
    float inverse = gpu_inverse_root(gpu_wave_sum(squares) / (float)p->channels + p->eps);
    for (int c = GPU_LANE; c < p->channels; c += GPU_WAVE) {
        float value = (in[c] - mean) * inverse;
        if (p->weight)
            value = value * typed_load(p->weight, p->weight_type, c) +
                    typed_load(p->bias, p->bias_type, c);
        if (p->scale)
            value = value * (1.0f + p->scale[c]) + p->shift[c];
        out[c] = value;
    }
}

GPU_FN void rms_norm_run(const struct norm_args *p)
{
    i64 row = (i64)GPU_BLOCK_X * (KERNEL_THREADS / GPU_WAVE) + GPU_WAVE_INDEX;
    if (row >= p->rows) /* a whole wave */
        return;
    const float *in = p->in + row * p->channels;
    float *out = p->out + row * p->channels;
    float greatest = 0.0f, squares = 0.0f, count = (float)p->channels;
    /* By a power of two, so that squares of tiny or huge rows stay in range. */
    for (int c = GPU_LANE; c < p->channels; c += GPU_WAVE)
        greatest = gpu_max(greatest, in[c] < 0.0f ? -in[c] : in[c]);
    for (int mask = GPU_WAVE / 2; mask > 0; mask /= 2)
        greatest = gpu_max(greatest, gpu_shuffle_xor_f32(greatest, mask));
    float down = greatest < 1e-12f ? 0x1p60f : greatest > 1e12f ? 0x1p-60f : 1.0f;
    for (int c = GPU_LANE; c < p->channels; c += GPU_WAVE)
        squares = gpu_fma(in[c] * down, in[c] * down, squares);
    squares = gpu_wave_sum(squares);
    float factor;
    if (p->l2) {
        float inverse = squares > 0.0f ? gpu_inverse_root(squares) : 0.0f;
        float size = squares * inverse / down; /* |x| */
        factor = size > p->eps ? inverse * down : 1.0f / p->eps;
        factor *= count * gpu_inverse_root(count);
    } else {
        factor = down * gpu_inverse_root(squares / count + p->eps * down * down);
    }
    for (int c = GPU_LANE; c < p->channels; c += GPU_WAVE) {
        float value = in[c] * factor * typed_load(p->weight, p->weight_type, c);
        out[c] = activation_apply(p->activation, value);
    }
}

GPU_KERNEL(layer_norm, KERNEL_THREADS, norm_args, layer_norm_run(&args))
GPU_KERNEL(rms_norm, KERNEL_THREADS, norm_args, rms_norm_run(&args))

#endif
