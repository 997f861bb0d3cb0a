/*
 * Copies from device memory to a tile in shared memory, eight elements at a time, in two halves so
 * that the loads of the next step run while this one is multiplied: `begin` loads into registers
 * (or starts an asynchronous copy where the hardware has one), `end` rounds to 16-bit elements and
 * stores.
 */
#ifndef SORA_HIP_KERNELS_TILE_H
#define SORA_HIP_KERNELS_TILE_H

#include "hip/kernels/gpu.h"

/* Where eight elements come from. A constant argument wherever it appears. */
#define TILE_HALF 0 /* 16-bit elements of the kernel's type */
#define TILE_F32 1
#define TILE_INT8 2
#define TILE_FP8 3
#define TILE_CONV 4 /* f32 pixels under a convolution's window */

/* Eight elements as they were loaded: `low` alone for 16 and 8 bits. */
struct tile_stage {
    u128 low, high;
};

GPU_FN void tile_clear(struct tile_stage *stage)
{
    stage->low = gpu_u128(0, 0, 0, 0);
    stage->high = gpu_u128(0, 0, 0, 0);
}

/* The first `count` (at most 8, none when <= 0) of eight floats; zeros for the rest. */
GPU_FN void tile_load_f32(struct tile_stage *stage, const float *from, int count, int vector)
{
    tile_clear(stage);
    if (count <= 0)
        return;
    if (vector && count >= 8) {
        stage->low = ((const u128 *)from)[0];
        stage->high = ((const u128 *)from)[1];
        return;
    }
    u32 words[8];
    GPU_UNROLL
    for (int i = 0; i < 8; i++)
        words[i] = i < count ? gpu_bits_of(from[i]) : 0;
    stage->low = gpu_u128(words[0], words[1], words[2], words[3]);
    stage->high = gpu_u128(words[4], words[5], words[6], words[7]);
}

GPU_FN void tile_load_half(struct tile_stage *stage, const u16 *from, int count, int vector)
{
    tile_clear(stage);
    if (count <= 0)
        return;
    if (vector) {
        stage->low = *(const u128 *)from;
        return;
    }
    u32 words[4];
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        u32 first = 2 * i < count ? from[2 * i] : 0;
        u32 second = 2 * i + 1 < count ? from[2 * i + 1] : 0;
        words[i] = first | second << 16;
    }
    stage->low = gpu_u128(words[0], words[1], words[2], words[3]);
}

/* 16-bit elements as floats. */
GPU_FN void tile_load_wide(struct tile_stage *stage, const u16 *from, int count, int vector,
                           int element)
{
    u32 words[8];
    tile_load_half(stage, from, count, vector);
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        u32 pair = gpu_word(stage->low, i);
        words[2 * i] = gpu_bits_of(gpu_f32_from_half((u16)pair, element));
        words[2 * i + 1] = gpu_bits_of(gpu_f32_from_half((u16)(pair >> 16), element));
    }
    stage->low = gpu_u128(words[0], words[1], words[2], words[3]);
    stage->high = gpu_u128(words[4], words[5], words[6], words[7]);
}

/* Rows of int8 and fp8 have a stride that is a multiple of 8 (quantize_rows), with zeros at the
 * end.
 */
GPU_FN void tile_load_codes(struct tile_stage *stage, const unsigned char *from, int count)
{
    tile_clear(stage);
    if (count > 0)
        stage->low = gpu_u128(((const u32 *)from)[0], ((const u32 *)from)[1], 0, 0);
}

GPU_FN void tile_store_f32(const struct tile_stage *stage, u16 *to, int element)
{
    u32 words[4];
    GPU_UNROLL
    for (int i = 0; i < 2; i++) {
        words[i] = gpu_pack(gpu_from_bits(gpu_word(stage->low, 2 * i)),
                            gpu_from_bits(gpu_word(stage->low, 2 * i + 1)), element);
        words[i + 2] = gpu_pack(gpu_from_bits(gpu_word(stage->high, 2 * i)),
                                gpu_from_bits(gpu_word(stage->high, 2 * i + 1)), element);
    }
    *(u128 *)to = gpu_u128(words[0], words[1], words[2], words[3]);
}

/* Integers up to 127 are exact in both element types. */
GPU_FN void tile_store_int8(const struct tile_stage *stage, u16 *to, int element)
{
    u32 words[4];
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        u32 pair = gpu_word(stage->low, i / 2) >> (16 * (i & 1));
        words[i] = gpu_pack((float)(signed char)pair, (float)(signed char)(pair >> 8), element);
    }
    *(u128 *)to = gpu_u128(words[0], words[1], words[2], words[3]);
}

/* e4m3 as f32: its bits at the upper end of those of f32, and a bias of 7 for one of 127. */
GPU_FN float tile_f32_from_f8(u32 code)
{
    const u32 two_to_120 = (120u + 127u) << 23;
    return gpu_from_bits((code & 0x80u) << 24 | (code & 0x7fu) << 20) * gpu_from_bits(two_to_120);
}

/* They are exact in bf16, so cutting the lower half of the f32 off rounds nothing. */
GPU_FN void tile_store_fp8(const struct tile_stage *stage, u16 *to)
{
    u32 words[4];
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        u32 pair = gpu_word(stage->low, i / 2) >> (16 * (i & 1));
        words[i] = gpu_bits_of(tile_f32_from_f8(pair)) >> 16 |
                   (gpu_bits_of(tile_f32_from_f8(pair >> 8)) & 0xffff0000u);
    }
    *(u128 *)to = gpu_u128(words[0], words[1], words[2], words[3]);
}

/* 16-bit elements that need no conversion: asynchronous where they may be. */
GPU_FN void tile_begin_half(struct tile_stage *stage, u16 *to, const u16 *from, int count,
                            int vector)
{
#if GPU_COPY_ASYNC
    if (vector) {
        gpu_copy_async(to, from, count > 0);
        return;
    }
#endif
    (void)to;
    tile_load_half(stage, from, count, vector);
}

GPU_FN void tile_end_half(const struct tile_stage *stage, u16 *to, int vector)
{
#if GPU_COPY_ASYNC
    if (vector)
        return;
#endif
    (void)vector;
    *(u128 *)to = stage->low;
}

#endif
