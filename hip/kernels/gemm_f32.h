/*
 * Matrix products and convolutions with f32 multiply-add: for results within rounding of the CPU's,
 * and for cards without matrix units, where 16-bit operands are widened on the way.
 *
 * A block makes a 64x64 tile of C, a thread 4x4 of it. Both operands lie transposed in shared
 * memory, so that a thread reads its four values with one load.
 */
#ifndef SORA_HIP_KERNELS_GEMM_F32_H
#define SORA_HIP_KERNELS_GEMM_F32_H

#include "hip/kernels/conv_source.h"
#include "hip/kernels/epilogue.h"

#define GEMM_TYPED 5 /* source of b: b_type says at run time */

struct gemm_f32_group {
    float values[4];
};

/* The first `count` of four floats; zeros for the rest. */
GPU_FN void gemm_f32_load(struct gemm_f32_group *group, const float *from, int count, int vector)
{
    if (vector && count >= 4) {
        u128 words = *(const u128 *)from;
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            group->values[i] = gpu_from_bits(gpu_word(words, i));
        return;
    }
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
        group->values[i] = i < count ? from[i] : 0.0f;
}

GPU_FN void gemm_f32_load_a(struct gemm_f32_group *group, const struct gemm_args *p,
                            const struct conv_args *conv, const struct conv_pixel *pixel, int row,
                            int k, int element, int source)
{
    int count = row < p->m ? p->k - k : 0;
    i64 at = count > 0 ? (i64)row * p->a_stride + k : 0;
    const float *from = (const float *)p->a + at;
    if (source == TILE_HALF) {
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            group->values[i] =
                i < count ? gpu_f32_from_half(((const u16 *)p->a)[at + i], element) : 0.0f;
        return;
    }
    if (source == TILE_CONV) {
        struct conv_tap tap;
        conv_tap_init(&tap, conv, k);
        int where = count > 0 ? conv_find(conv, pixel, &tap, &at) : CONV_NOWHERE;
        from = (const float *)(where == CONV_PAST ? conv->history : p->a) + at;
        count = where != CONV_NOWHERE ? conv->in_channels - tap.channel : 0;
    }
    gemm_f32_load(group, from, count, p->a_vector);
}

GPU_FN void gemm_f32_load_b(struct gemm_f32_group *group, const struct gemm_args *p, int column,
                            int k, int element, int source)
{
    int count = column < p->n ? p->k - k : 0;
    i64 at = count > 0 ? (i64)column * p->b_stride + k : 0;
    if (source == TILE_F32 || (source == GEMM_TYPED && p->b_type == KERNEL_F32)) {
        gemm_f32_load(group, (const float *)p->b + at, count, p->b_vector);
        return;
    }
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        group->values[i] = 0.0f;
        if (i < count && (source == TILE_INT8 || (source == GEMM_TYPED && p->b_type == KERNEL_I8)))
            group->values[i] = (float)((const signed char *)p->b)[at + i];
        else if (i < count &&
                 (source == TILE_FP8 || (source == GEMM_TYPED && p->b_type == KERNEL_F8)))
            group->values[i] = tile_f32_from_f8(((const unsigned char *)p->b)[at + i]);
        else if (i < count && source == GEMM_TYPED)
            group->values[i] = typed_load(p->b, p->b_type, at + i);
        else if (i < count)
            group->values[i] = gpu_f32_from_half(((const u16 *)p->b)[at + i], element);
    }
}

GPU_FN void gemm_f32_multiply(float c[4][4], const float *a, const float *b)
{
    GPU_UNROLL
    for (int k = 0; k < GEMM_F32_DEPTH; k++) {
        u128 rows = *(const u128 *)(a + k * GEMM_F32_STRIDE);
        u128 columns = *(const u128 *)(b + k * GEMM_F32_STRIDE);
        GPU_UNROLL
        for (int i = 0; i < 4; i++) {
            GPU_UNROLL
            for (int j = 0; j < 4; j++)
                c[i][j] = gpu_fma(gpu_from_bits(gpu_word(rows, i)),
                                  gpu_from_bits(gpu_word(columns, j)), c[i][j]);
        }
    }
}

/* Half of the tile at a time through the operands' memory. */
GPU_FN void gemm_f32_write(const struct gemm_args *p, float c[4][4], float *tile, int row,
                           int column)
{
    const int rows = GEMM_F32_TILE / 2;
    int down = GPU_THREAD / 16 * 4, across = GPU_THREAD % 16 * 4;
    for (int turn = 0; turn < 2; turn++) {
        GPU_UNROLL
        for (int i = 0; i < 16; i++) {
            if (down / rows == turn)
                tile[(down % rows + i / 4) * GEMM_F32_STRIDE + across + i % 4] = c[i / 4][i % 4];
        }
        gpu_barrier();
        epilogue_run(p, tile, GEMM_F32_STRIDE, rows, GEMM_F32_TILE, row + turn * rows, column);
        gpu_barrier();
    }
}

/* Stores a group as a column of the transposed tile. */
GPU_FN void gemm_f32_put(float *to, const struct gemm_f32_group *group)
{
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
        to[i * GEMM_F32_STRIDE] = group->values[i];
}

GPU_FN void gemm_f32_run(const struct gemm_args *p, const struct conv_args *conv, int element,
                         int a_source, int b_source)
{
    GPU_SHARED(shared);
    float *a = (float *)shared, *b = a + GEMM_F32_DEPTH * GEMM_F32_STRIDE;
    int thread = GPU_THREAD, row, column;
    int own = thread / 4, part = thread % 4 * 4; /* what this thread copies */
    int down = thread / 16 * 4, across = thread % 16 * 4;
    int to = part * GEMM_F32_STRIDE + own;
    float c[4][4];
    struct gemm_f32_group next_a, next_b;
    struct conv_pixel pixel = {0, 0, 0};
    gemm_place(p, GEMM_F32_TILE, GEMM_F32_TILE, &row, &column);
    if (a_source == TILE_CONV)
        conv_pixel_init(&pixel, conv, row + own < p->m ? row + own : -1);
    GPU_UNROLL
    for (int i = 0; i < 16; i++)
        c[i / 4][i % 4] = 0.0f;
    gemm_f32_load_a(&next_a, p, conv, &pixel, row + own, part, element, a_source);
    gemm_f32_load_b(&next_b, p, column + own, part, element, b_source);
    GPU_ROLLED
    for (int k = 0; k < p->k; k += GEMM_F32_DEPTH) {
        gemm_f32_put(a + to, &next_a);
        gemm_f32_put(b + to, &next_b);
        gpu_barrier();
        gemm_f32_load_a(&next_a, p, conv, &pixel, row + own, k + GEMM_F32_DEPTH + part, element,
                        a_source);
        gemm_f32_load_b(&next_b, p, column + own, k + GEMM_F32_DEPTH + part, element, b_source);
        gemm_f32_multiply(c, a + down, b + across);
        gpu_barrier();
    }
    gemm_f32_write(p, c, a, row, column);
}

#endif
