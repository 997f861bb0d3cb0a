/*
 * The dialect's primitives for AMD: compiler builtins that clang knows in plain C (amdgcn) and in
 * the HIP language without HIP's headers or device libraries.
 */
#ifndef SORA_HIP_KERNELS_GPU_AMD_H
#define SORA_HIP_KERNELS_GPU_AMD_H

#define GPU_UNROLL _Pragma("unroll")
#define GPU_ROLLED _Pragma("nounroll")

#if defined(__HIP__)
#ifndef __device__
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#endif
#define GPU_FN static __device__ inline __attribute__((always_inline))
#define GPU_KERNEL(name, threads, type, body)                                                      \
    extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(threads, threads))) void      \
    name(const struct type args)                                                                   \
    {                                                                                              \
        body;                                                                                      \
    }
#define GPU_SHARED(name) extern __shared__ __attribute__((aligned(16))) u8 name[]
#else
#define GPU_FN static inline __attribute__((always_inline))
#define GPU_KERNEL(name, threads, type, body)                                                      \
    __attribute__((amdgpu_kernel, amdgpu_flat_work_group_size(threads, threads))) void name(       \
        const struct type args)                                                                    \
    {                                                                                              \
        body;                                                                                      \
    }
extern __attribute__((address_space(3), aligned(16))) u8 gpu_shared_array[];
#define GPU_SHARED(name) u8 *name = (u8 *)gpu_shared_array
#endif
#define GPU_THREAD ((int)__builtin_amdgcn_workitem_id_x())
#define GPU_BLOCK_X ((int)__builtin_amdgcn_workgroup_id_x())
#define GPU_BLOCK_Y ((int)__builtin_amdgcn_workgroup_id_y())
#define GPU_BLOCK_Z ((int)__builtin_amdgcn_workgroup_id_z())

typedef u32 u128 __attribute__((ext_vector_type(4)));

GPU_FN void gpu_barrier(void)
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

GPU_FN void gpu_wave_sync(void)
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}

/* Makes the compiler compute `x` here. It would rather load all operands first and multiply in a
 * later block, at the price of registers. */
GPU_FN void gpu_settle(float *x)
{
    __asm__ volatile("" : "+v"(*x) : : "memory");
}

GPU_FN u32 gpu_shuffle(u32 x, int lane)
{
    return (u32)__builtin_amdgcn_ds_bpermute(lane << 2, (int)x);
}

GPU_FN u32 gpu_shuffle_xor(u32 x, int mask)
{
    return gpu_shuffle(x, (GPU_THREAD & (GPU_WAVE - 1)) ^ mask);
}

GPU_FN float gpu_exp2(float x)
{
    return __builtin_amdgcn_exp2f(x);
}

GPU_FN float gpu_rsqrt(float x)
{
    return __builtin_amdgcn_rsqf(x);
}

GPU_FN float gpu_fma(float a, float b, float c)
{
    return __builtin_fmaf(a, b, c);
}

GPU_FN float gpu_round_even(float x)
{
    return __builtin_rintf(x);
}

union gpu_f16_bits {
    u16 u;
    _Float16 f;
};

GPU_FN float gpu_f32_from_f16(u16 x)
{
    union gpu_f16_bits bits;
    bits.u = x;
    return (float)bits.f;
}

GPU_FN u16 gpu_f16_from_f32(float x)
{
    union gpu_f16_bits bits;
    bits.f = (_Float16)x;
    return bits.u;
}

#include "hip/kernels/gpu_pack.h"

/* Copies to shared memory go through registers (tile.h). */
#define GPU_COPY_ASYNC 0

GPU_FN void gpu_copy_commit(void) {}

GPU_FN void gpu_copy_wait(void) {}

#if GPU_KIND != GPU_SIMT
typedef float gpu_f32x4 __attribute__((ext_vector_type(4)));
typedef float gpu_f32x8 __attribute__((ext_vector_type(8)));
typedef short gpu_bf16x4 __attribute__((ext_vector_type(4)));
typedef short gpu_bf16x8 __attribute__((ext_vector_type(8)));
typedef short gpu_bf16x16 __attribute__((ext_vector_type(16)));
typedef _Float16 gpu_f16x4 __attribute__((ext_vector_type(4)));
typedef _Float16 gpu_f16x8 __attribute__((ext_vector_type(8)));
typedef _Float16 gpu_f16x16 __attribute__((ext_vector_type(16)));

/* Operand registers as the builtin wants them, and the builtin, per family. */
#if GPU_KIND == GPU_CDNA
#define GPU_OPERAND_WORDS 2
typedef gpu_bf16x4 gpu_bf16_operand;
typedef gpu_f16x4 gpu_f16_operand;
typedef gpu_f32x4 gpu_result;
#define GPU_RESULT_FLOATS 4
#define GPU_MMA_BF16(a, b, c) __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(a, b, c, 0, 0, 0)
#define GPU_MMA_F16(a, b, c) __builtin_amdgcn_mfma_f32_16x16x16f16(a, b, c, 0, 0, 0)
#elif GPU_KIND == GPU_RDNA3
#define GPU_OPERAND_WORDS 8
typedef gpu_bf16x16 gpu_bf16_operand;
typedef gpu_f16x16 gpu_f16_operand;
typedef gpu_f32x8 gpu_result;
#define GPU_RESULT_FLOATS 8
#define GPU_MMA_BF16(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(a, b, c)
#define GPU_MMA_F16(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(a, b, c)
#else
#define GPU_OPERAND_WORDS 4
typedef gpu_bf16x8 gpu_bf16_operand;
typedef gpu_f16x8 gpu_f16_operand;
typedef gpu_f32x8 gpu_result;
#define GPU_RESULT_FLOATS 8
#define GPU_MMA_BF16(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(a, b, c)
#define GPU_MMA_F16(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(a, b, c)
#endif

union gpu_operand {
    u32 words[GPU_OPERAND_WORDS];
    gpu_bf16_operand bf16;
    gpu_f16_operand f16;
};

/* c[16x16] += a[16x16] b[16x16], registers as in the table of mma.h. */
GPU_FN void gpu_mma(float *c, const u32 *a, const u32 *b, int element)
{
    union gpu_operand left, right;
    gpu_result sum;
    GPU_UNROLL
    for (int i = 0; i < GPU_OPERAND_WORDS; i++) {
        left.words[i] = a[i];
        right.words[i] = b[i];
    }
    GPU_UNROLL
    for (int i = 0; i < GPU_RESULT_FLOATS; i++)
        sum[i] = c[i];
    if (element == GPU_BF16)
        sum = GPU_MMA_BF16(left.bf16, right.bf16, sum);
    else
        sum = GPU_MMA_F16(left.f16, right.f16, sum);
    GPU_UNROLL
    for (int i = 0; i < GPU_RESULT_FLOATS; i++)
        c[i] = sum[i];
}
#endif

#endif
