/*
 * Which tile of C a block makes, and what happens to a finished sum before it is written, four
 * neighbouring columns at a time. Tiles
 * pass through shared memory on the way, so the code exists once per kernel and neighbouring
 * threads write neighbouring columns.
 */
#ifndef SORA_HIP_KERNELS_EPILOGUE_H
#define SORA_HIP_KERNELS_EPILOGUE_H

#include "hip/kernels/activation.h"

/* First row and column of C for this block: row tiles in groups, columns within a group slowly. */
GPU_FN void gemm_place(const struct gemm_args *p, int rows, int columns, int *out_row,
                       int *out_column)
{
    int down = (p->m + rows - 1) / rows, across = (p->n + columns - 1) / columns;
    int group = GPU_BLOCK_X / (GEMM_GROUP * across), within = GPU_BLOCK_X % (GEMM_GROUP * across);
    int height = gpu_min_int(down - group * GEMM_GROUP, GEMM_GROUP);
    *out_row = (group * GEMM_GROUP + within % height) * rows;
    *out_column = within / height * columns;
}

struct epilogue_group {
    float values[4];
};

GPU_FN void epilogue_load(struct epilogue_group *group, const float *from, int count, int vector)
{
    if (vector) {
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

/* out[row,column..] from its sums, in the order of args.h. */
GPU_FN void epilogue_apply(const struct gemm_args *p, int row, int column,
                           const struct epilogue_group *sums)
{
    i64 at = (i64)row * p->n + column;
    int count = gpu_min_int(p->n - column, 4);
    struct epilogue_group group = *sums, other;
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        if (p->b_scale && i < count)
            group.values[i] *= p->b_scale[column + i];
        if (p->bias && i < count)
            group.values[i] += typed_load(p->bias, p->bias_type, column + i);
        group.values[i] = activation_apply(p->activation, group.values[i]);
    }
    if (p->factor) {
        epilogue_load(&other, p->factor + at, count, p->out_vector);
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            group.values[i] *= other.values[i];
    }
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        if (p->gate && i < count)
            group.values[i] *= p->gate[column + i];
    }
    if (p->residual) {
        epilogue_load(&other, p->residual + at, count, p->out_vector);
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            group.values[i] = other.values[i] + group.values[i];
    }
    if (p->out_vector) {
        *(u128 *)(p->out + at) =
            gpu_u128(gpu_bits_of(group.values[0]), gpu_bits_of(group.values[1]),
                     gpu_bits_of(group.values[2]), gpu_bits_of(group.values[3]));
        return;
    }
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        if (i < count)
            p->out[at + i] = group.values[i];
    }
}

/* The whole matrix, from sums in device memory at p->a, which may be p->out; four columns a thread.
 */
GPU_FN void epilogue_all(const struct gemm_args *p)
{
    int across = (p->n + 3) / 4;
    i64 at = (i64)GPU_BLOCK_X * KERNEL_THREADS + GPU_THREAD;
    int row = (int)(at / across), column = (int)(at % across) * 4;
    const float *sums = (const float *)p->a + ((i64)row * p->n + column);
    struct epilogue_group group;
    if (at >= (i64)p->m * across)
        return;
    epilogue_load(&group, sums, gpu_min_int(p->n - column, 4), p->out_vector);
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
        group.values[i] *= p->a_scale ? p->a_scale[row] : 1.0f;
    epilogue_apply(p, row, column, &group);
}

/* The same from sums in shared memory, 16-byte aligned. */
GPU_FN void epilogue_store(const struct gemm_args *p, int row, int column, const float *sums)
{
    struct epilogue_group group;
    epilogue_load(&group, sums, 4, 1);
    epilogue_apply(p, row, column, &group);
}

/* A tile of `rows` x `columns` sums in shared memory, written by the whole block. */
GPU_FN void epilogue_run(const struct gemm_args *p, const float *tile, int stride, int rows,
                         int columns, int row, int column)
{
    GPU_ROLLED
    for (int i = GPU_THREAD; i < rows * (columns / 4); i += KERNEL_THREADS) {
        int down = i / (columns / 4), across = i % (columns / 4) * 4;
        if (row + down < p->m && column + across < p->n)
            epilogue_store(p, row + down, column + across, tile + down * stride + across);
    }
}

#endif
