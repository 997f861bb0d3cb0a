/*
 * Elementwise operations and layout: a block handles ELEMENTS_PER_BLOCK elements, a thread every
 * 256th of them, so that neighbouring threads touch neighbouring elements.
 */
#ifndef SORA_HIP_KERNELS_ELEMENTWISE_H
#define SORA_HIP_KERNELS_ELEMENTWISE_H

#include "hip/kernels/activation.h"

/* One pass of `body` per element `i` of this thread. */
#define ELEMENTS(i, count)                                                                         \
    for (i64 i = (i64)GPU_BLOCK_X * ELEMENTS_PER_BLOCK + GPU_THREAD,                               \
             end = i - GPU_THREAD + ELEMENTS_PER_BLOCK;                                            \
         i < end && i < (count); i += KERNEL_THREADS)

GPU_FN void fill_run(const struct fill_args *p)
{
    ELEMENTS(i, p->count)
    {
        p->out[i] = p->value;
    }
}

GPU_FN void convert_run(const struct convert_args *p)
{
    ELEMENTS(i, p->count)
    {
        typed_store(p->out, p->out_type, i, typed_load(p->in, p->in_type, i));
    }
}

GPU_FN void pad_rows_run(const struct pad_rows_args *p)
{
    ELEMENTS(i, p->rows * p->out_stride)
    {
        i64 row = i / p->out_stride;
        int column = (int)(i - row * p->out_stride);
        float value = column < p->columns ? p->in[row * p->columns + column] : 0.0f;
        typed_store(p->out, p->out_type, i, value);
    }
}

GPU_FN void activation_run(const struct activation_args *p)
{
    ELEMENTS(i, p->count)
    {
        p->out[i] = activation_apply(p->activation, p->in[i]);
    }
}

GPU_FN void combine_run(const struct combine_args *p)
{
    ELEMENTS(i, p->count)
    {
        float sum = p->coefficients[0] * p->terms[0][i];
        if (p->term_count > 1)
            sum += p->coefficients[1] * p->terms[1][i];
        if (p->term_count > 2)
            sum += p->coefficients[2] * p->terms[2][i];
        if (p->term_count > 3)
            sum += p->coefficients[3] * p->terms[3][i];
        p->out[i] = sum;
    }
}

GPU_FN void affine_run(const struct affine_args *p)
{
    ELEMENTS(i, p->count)
    {
        int c = (int)(i % p->channels);
        p->out[i] = p->in[i] * p->scale[c] + p->shift[c];
    }
}

GPU_FN void rope_run(const struct rope_args *p)
{
    ELEMENTS(i, p->count)
    {
        i64 row = i / ((i64)p->heads * p->half), at = row * p->half + i % p->half;
        float c = p->cos_table[at], s = p->sin_table[at];
        float a = p->x[2 * i], b = p->x[2 * i + 1];
        p->x[2 * i] = a * c - b * s;
        p->x[2 * i + 1] = a * s + b * c;
    }
}

GPU_FN void gather_rows_run(const struct gather_args *p)
{
    ELEMENTS(i, p->count)
    {
        i64 row = i / p->channels;
        int id = p->ids[row], known = id >= 0 && id < p->table_rows;
        i64 at = (i64)id * p->channels + (i - row * p->channels);
        if (!known)
            *p->fault = 1;
        p->out[i] = known ? typed_load(p->table, p->table_type, at) : 0.0f;
    }
}

GPU_FN void permute_run(const struct permute_args *p)
{
    ELEMENTS(i, p->count)
    {
        i64 rest = i, from = 0;
        for (int d = p->rank - 1; d >= 0; d--) {
            i64 above = rest / p->shape[d];
            from += (rest - above * p->shape[d]) * p->stride[d];
            rest = above;
        }
        if (p->element_size == 4)
            ((u32 *)p->out)[i] = ((const u32 *)p->in)[from];
        else if (p->element_size == 2)
            ((u16 *)p->out)[i] = ((const u16 *)p->in)[from];
        else
            ((u8 *)p->out)[i] = ((const u8 *)p->in)[from];
    }
}

GPU_FN void to_rgb8_run(const struct rgb8_args *p)
{
    ELEMENTS(i, p->count)
    {
        /* Written so that a NaN becomes 0. */
        float x = p->in[i] > -1.0f ? p->in[i] : -1.0f;
        x = x < 1.0f ? x : 1.0f;
        p->out[i] = (u8)gpu_round_even((x + 1.0f) * 127.5f);
    }
}

GPU_FN void all_finite_run(const struct finite_args *p)
{
    int broken = 0;
    ELEMENTS(i, p->count)
    {
        broken |= (gpu_bits_of(p->in[i]) & 0x7f800000u) == 0x7f800000u;
    }
    if (broken)
        *p->found = 1;
}

GPU_FN void pack_conv_run(const struct pack_conv_args *p)
{
    ELEMENTS(i, p->count)
    {
        i64 taps = i / p->channels, output = taps / p->taps; /* tap of an output channel */
        int channel = (int)(i - taps * p->channels), tap = (int)(taps - output * p->taps);
        i64 from = (output * p->in_channels + channel) * p->taps + tap;
        float value = channel < p->in_channels ? typed_load(p->in, p->in_type, from) : 0.0f;
        typed_store(p->out, p->out_type, i, value);
    }
}

/* A value of at most 448 and some rounding as fp8, to nearest even. Below 2^-6 codes are multiples
 * of 2^-9; above, the upper bits of the f32 with the exponent's bias of 127 moved to 7. */
GPU_FN u32 quantize_f8(float x)
{
    u32 bits = gpu_bits_of(x) & 0x7fffffffu, sign = gpu_bits_of(x) >> 24 & 0x80u;
    u32 small = (u32)(int)gpu_round_even(gpu_from_bits(bits) * 512.0f);
    u32 code = ((bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20) - (120u << 3);
    code = bits < 0x3c800000u ? small : code > 0x7eu ? 0x7eu : code;
    return code == 0 ? 0 : code | sign;
}

GPU_FN u32 quantize_i8(float x)
{
    float q = gpu_round_even(x);
    q = q > 127.0f ? 127.0f : q < -127.0f ? -127.0f : q;
    return (u32)(int)q & 0xffu;
}

/* One wave per row, four elements a lane. */
GPU_FN void quantize_rows_run(const struct quantize_args *p)
{
    i64 row = (i64)GPU_BLOCK_X * (KERNEL_THREADS / GPU_WAVE) + GPU_WAVE_INDEX;
    if (row >= p->rows) /* a whole wave */
        return;
    float greatest = 0.0f;
    for (int c = GPU_LANE * 4; c < p->columns; c += GPU_WAVE * 4) {
        GPU_UNROLL
        for (int i = 0; i < 4; i++) {
            float x =
                c + i < p->columns ? typed_load(p->in, p->in_type, row * p->columns + c + i) : 0.0f;
            greatest = gpu_max(greatest, x < 0.0f ? -x : x);
        }
    }
    for (int mask = GPU_WAVE / 2; mask > 0; mask /= 2)
        greatest = gpu_max(greatest, gpu_shuffle_xor_f32(greatest, mask));
    float scale = greatest / (p->out_type == KERNEL_F8 ? 448.0f : 127.0f);
    for (int c = GPU_LANE * 4; c < p->out_stride; c += GPU_WAVE * 4) {
        u32 codes = 0;
        GPU_UNROLL
        for (int i = 0; i < 4; i++) {
            float x =
                c + i < p->columns ? typed_load(p->in, p->in_type, row * p->columns + c + i) : 0.0f;
            float q = scale > 0.0f ? x / scale : 0.0f;
            codes |= (p->out_type == KERNEL_F8 ? quantize_f8(q) : quantize_i8(q)) << (8 * i);
        }
        ((u32 *)p->out)[(row * p->out_stride + c) / 4] = codes;
    }
    if (GPU_LANE == 0)
        p->scale[row] = scale;
}

GPU_KERNEL(fill, KERNEL_THREADS, fill_args, fill_run(&args))
GPU_KERNEL(convert, KERNEL_THREADS, convert_args, convert_run(&args))
GPU_KERNEL(pad_rows, KERNEL_THREADS, pad_rows_args, pad_rows_run(&args))
GPU_KERNEL(activation, KERNEL_THREADS, activation_args, activation_run(&args))
GPU_KERNEL(combine, KERNEL_THREADS, combine_args, combine_run(&args))
GPU_KERNEL(affine, KERNEL_THREADS, affine_args, affine_run(&args))
GPU_KERNEL(rope, KERNEL_THREADS, rope_args, rope_run(&args))
GPU_KERNEL(gather_rows, KERNEL_THREADS, gather_args, gather_rows_run(&args))
GPU_KERNEL(permute, KERNEL_THREADS, permute_args, permute_run(&args))
GPU_KERNEL(to_rgb8, KERNEL_THREADS, rgb8_args, to_rgb8_run(&args))
GPU_KERNEL(all_finite, KERNEL_THREADS, finite_args, all_finite_run(&args))
GPU_KERNEL(pack_conv, KERNEL_THREADS, pack_conv_args, pack_conv_run(&args))
GPU_KERNEL(quantize_rows, KERNEL_THREADS, quantize_args, quantize_rows_run(&args))

#endif
