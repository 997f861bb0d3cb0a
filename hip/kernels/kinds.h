/*
 * Kinds of matrix units and the tile sizes for each: constants that device code and the host's
 * launch plans (hip/gpu/launch_plan.h) must agree on. Plain preprocessor, so that both can include
 * it; `kind` and `wave` may be constants or variables.
 */
#ifndef SORA_HIP_KERNELS_KINDS_H
#define SORA_HIP_KERNELS_KINDS_H

/* What does the matrix products; mma.h has one set of register layouts for each. */
#define GPU_NVIDIA 1 /* mma.sync m16n8k16, wave 32: sm_80 and later */
#define GPU_CDNA 2   /* mfma 16x16x16, wave 64: gfx90a, gfx942, gfx950 */
#define GPU_RDNA3 3  /* wmma of gfx11, wave 32 */
#define GPU_RDNA4 4  /* wmma of gfx12, wave 32 */
#define GPU_SIMT 5   /* none, f32 multiply-add only: gfx906 (wave 64), gfx10 (wave 32) */

/* Threads of every block, whatever the kernel. */
#define KERNEL_THREADS 256

/* 16-bit products on matrix units: rows and columns of C per block, and k per step. */
#define GEMM_ROWS 128
#define GEMM_COLUMNS 128
#define GEMM_DEPTH 32
#define GEMM_STRIDE (GEMM_DEPTH + 8) /* of a row in shared memory: keeps banks apart */
#define GEMM_SHARED (2 * (GEMM_ROWS + GEMM_COLUMNS) * GEMM_STRIDE * 2)
/* The finished tile passes through the same memory, one row of waves at a time. */
#define GEMM_OUT_STRIDE (GEMM_COLUMNS + 4)
#define GEMM_GROUP 8 /* row tiles that take turns, so that their columns' data stays in cache */

/* f32 products, which the SIMT kind also uses for 16-bit operands. */
#define GEMM_F32_TILE 64
#define GEMM_F32_DEPTH 16
#define GEMM_F32_STRIDE (GEMM_F32_TILE + 4)
#define GEMM_F32_SHARED (2 * GEMM_F32_DEPTH * GEMM_F32_STRIDE * 4)

/* 16-bit attention on matrix units: a wave has 32 queries on NVIDIA and CDNA, else 16. */
#define ATTENTION_FRAGMENTS(kind) ((kind) == GPU_CDNA || (kind) == GPU_NVIDIA ? 2 : 1)
#define ATTENTION_QUERIES(kind, wave) (KERNEL_THREADS / (wave)*16 * ATTENTION_FRAGMENTS(kind))
#define ATTENTION_KEYS(size) ((size) > 64 ? 32 : 64) /* per step */
#define ATTENTION_STRIDE(size) ((size) + 8)
#define ATTENTION_SHARED(size) (4 * ATTENTION_KEYS(size) * ATTENTION_STRIDE(size) * 2)

/* f32 attention, which the SIMT kind also uses for 16-bit operands: any head up to the limit. */
#define ATTENTION_F32_QUERIES 16
#define ATTENTION_F32_KEYS 32
#define ATTENTION_F32_SLICE 32
#define ATTENTION_F32_SIZE_MAX 512
#define ATTENTION_F32_SHARED                                                                       \
    (((ATTENTION_F32_QUERIES + ATTENTION_F32_KEYS) * (ATTENTION_F32_SLICE + 1) +                   \
      ATTENTION_F32_QUERIES * (ATTENTION_F32_KEYS + 3)) *                                          \
     4)

/* Elements that one thread of an elementwise kernel handles. */
#define ELEMENTS_PER_THREAD 4
#define ELEMENTS_PER_BLOCK (KERNEL_THREADS * ELEMENTS_PER_THREAD)

#endif
