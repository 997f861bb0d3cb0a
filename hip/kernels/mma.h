/*
 * Matrix fragments: one logical operation per wave, C[16x16] += A[16x16] B[16x16], with f32 sums.
 *
 * A, B and C are spread over the wave's registers. Callers know only how many elements of C a lane
 * has (MMA_C) and where element e lies (MMA_ROW, MMA_COLUMN). On AMD the unit is given (B^T, A^T),
 * so it computes C^T and a lane owns one row of C; then a row's maximum is a few shuffles and the
 * softmax weights become the next product's A operand without a trip through shared memory.
 *
 *   kind      wave  A/B words  C floats  lane l, element e of C: row, column
 *   NVIDIA    32    4 / 4      8         l/4 + 8(e/2 % 2), 8(e/4) + 2(l%4) + e%2
 *   CDNA      64    2 / 2      4         l%16, 4(l/16) + e
 *   RDNA3     32    8 / 8      8         l%16, 2e + l/16        (lanes 16-31 repeat A and B)
 *   RDNA4     32    4 / 4      8         l%16, 8(l/16) + e
 *
 * The SIMT kind has no such unit: its kernels multiply in f32 (gemm_f32.h, attention_f32.h), and
 * nothing here is for it.
 *
 * Loads read shared memory at a pointer that the lane has moved by mma_lane_*(stride) first: once
 * for all fragments that are a constant apart, so that the constants become part of the
 * instructions. `stride` counts 16-bit elements between rows; rows start 16-byte aligned.
 */
#ifndef SORA_HIP_KERNELS_MMA_H
#define SORA_HIP_KERNELS_MMA_H

#include "hip/kernels/gpu.h"

#if GPU_KIND != GPU_SIMT

#if GPU_KIND == GPU_NVIDIA
#define MMA_A_WORDS 4
#define MMA_B_WORDS 4
#define MMA_C 8
#define MMA_SLOTS 2 /* rows of C that a lane has elements of */
#define MMA_SLOT(e) (((e) >> 1) & 1)
#define MMA_ROW(l, e) (((l) >> 2) + 8 * MMA_SLOT(e))
#define MMA_COLUMN(l, e) (8 * ((e) >> 2) + 2 * ((l)&3) + ((e)&1))
#define MMA_ROW_FIRST 1 /* a row lies in the lanes l ^ FIRST, .. l ^ (LAST / 2) */
#define MMA_ROW_LAST 4
#else
#define MMA_SLOTS 1
#define MMA_SLOT(e) 0
#define MMA_ROW(l, e) ((l)&15)
#define MMA_ROW_FIRST 16
#define MMA_ROW_LAST GPU_WAVE
#if GPU_KIND == GPU_CDNA
#define MMA_A_WORDS 2
#define MMA_B_WORDS 2
#define MMA_C 4
#define MMA_COLUMN(l, e) (4 * ((l) >> 4) + (e))
#elif GPU_KIND == GPU_RDNA3
#define MMA_A_WORDS 8
#define MMA_B_WORDS 8
#define MMA_C 8
#define MMA_COLUMN(l, e) (2 * (e) + ((l) >> 4))
#elif GPU_KIND == GPU_RDNA4
#define MMA_A_WORDS 4
#define MMA_B_WORDS 4
#define MMA_C 8
#define MMA_COLUMN(l, e) (8 * ((l) >> 4) + (e))
#endif
#endif

struct mma_a {
    u32 words[MMA_A_WORDS];
};

struct mma_b {
    u32 words[MMA_B_WORDS];
};

struct mma_c {
    float sums[MMA_C];
};

/* One value for each row of C that a lane has. */
struct mma_rows {
    float values[MMA_SLOTS];
};

GPU_FN void mma_clear(struct mma_c *c)
{
    GPU_UNROLL
    for (int e = 0; e < MMA_C; e++)
        c->sums[e] = 0.0f;
}

/* Has the sums computed before what follows (gpu_settle). */
GPU_FN void mma_settle(struct mma_c *c)
{
    GPU_UNROLL
    for (int e = 0; e < MMA_C; e++)
        gpu_settle(&c->sums[e]);
}

#if GPU_KIND == GPU_NVIDIA

/* A from rows of k. */
GPU_FN int mma_lane_a(int stride)
{
    int l = GPU_LANE;
    return ((l & 7) + 8 * ((l >> 3) & 1)) * stride + 8 * (l >> 4);
}

GPU_FN void mma_load_a(struct mma_a *a, const u16 *from, int stride)
{
    (void)stride;
    gpu_load_matrix(a->words, from, 0);
}

/* B from its columns, each a row of k in memory. */
GPU_FN int mma_lane_b_columns(int stride)
{
    int l = GPU_LANE;
    return ((l & 7) + 8 * (l >> 4)) * stride + 8 * ((l >> 3) & 1);
}

GPU_FN void mma_load_b_columns(struct mma_b *b, const u16 *from, int stride)
{
    (void)stride;
    gpu_load_matrix(b->words, from, 0);
}

/* B from its rows. */
GPU_FN int mma_lane_b_rows(int stride)
{
    return mma_lane_a(stride);
}

GPU_FN void mma_load_b_rows(struct mma_b *b, const u16 *from, int stride)
{
    (void)stride;
    gpu_load_matrix(b->words, from, 1);
}

GPU_FN void mma_add(struct mma_c *c, const struct mma_a *a, const struct mma_b *b, int element)
{
    gpu_mma(c->sums, a->words, b->words, element);
    gpu_mma(c->sums + 4, a->words, b->words + 2, element);
}

#else

#if GPU_KIND == GPU_RDNA3
#define MMA_FIRST_K(l) 0
#else
#define MMA_FIRST_K(l) (2 * MMA_A_WORDS * ((l) >> 4))
#endif

GPU_FN int mma_lane_a(int stride)
{
    return (GPU_LANE & 15) * stride + MMA_FIRST_K(GPU_LANE);
}

GPU_FN void mma_load_a(struct mma_a *a, const u16 *from, int stride)
{
    (void)stride;
    GPU_UNROLL
    for (int i = 0; i < MMA_A_WORDS; i++)
        a->words[i] = ((const u32 *)from)[i];
}

GPU_FN int mma_lane_b_columns(int stride)
{
    return mma_lane_a(stride);
}

GPU_FN void mma_load_b_columns(struct mma_b *b, const u16 *from, int stride)
{
    (void)stride;
    GPU_UNROLL
    for (int i = 0; i < MMA_B_WORDS; i++)
        b->words[i] = ((const u32 *)from)[i];
}

GPU_FN int mma_lane_b_rows(int stride)
{
    return MMA_FIRST_K(GPU_LANE) * stride + (GPU_LANE & 15);
}

GPU_FN void mma_load_b_rows(struct mma_b *b, const u16 *from, int stride)
{
    GPU_UNROLL
    for (int i = 0; i < MMA_B_WORDS; i++)
        b->words[i] = (u32)from[2 * i * stride] | (u32)from[(2 * i + 1) * stride] << 16;
}

GPU_FN void mma_add(struct mma_c *c, const struct mma_a *a, const struct mma_b *b, int element)
{
    gpu_mma(c->sums, b->words, a->words, element); /* C^T = B^T A^T */
}

#endif

/* C, rounded to elements, as an A operand. */
GPU_FN void mma_a_from_c(struct mma_a *a, const struct mma_c *c, int element)
{
#if GPU_KIND == GPU_RDNA3
    int high = GPU_LANE >> 4;
    GPU_UNROLL
    for (int i = 0; i < MMA_A_WORDS; i++) {
        float other = gpu_shuffle_xor_f32(c->sums[i], 16);
        a->words[i] = gpu_pack(high ? other : c->sums[i], high ? c->sums[i] : other, element);
    }
#else
    GPU_UNROLL
    for (int i = 0; i < MMA_A_WORDS; i++)
        a->words[i] = gpu_pack(c->sums[2 * i], c->sums[2 * i + 1], element);
#endif
}

GPU_FN void mma_rows_max(struct mma_rows *rows)
{
    GPU_UNROLL
    for (int s = 0; s < MMA_SLOTS; s++) {
        GPU_UNROLL
        for (int mask = MMA_ROW_FIRST; mask < MMA_ROW_LAST; mask *= 2)
            rows->values[s] = gpu_max(rows->values[s], gpu_shuffle_xor_f32(rows->values[s], mask));
    }
}

GPU_FN void mma_rows_sum(struct mma_rows *rows)
{
    GPU_UNROLL
    for (int s = 0; s < MMA_SLOTS; s++) {
        GPU_UNROLL
        for (int mask = MMA_ROW_FIRST; mask < MMA_ROW_LAST; mask *= 2)
            rows->values[s] += gpu_shuffle_xor_f32(rows->values[s], mask);
    }
}

#endif /* GPU_KIND != GPU_SIMT */

#endif
