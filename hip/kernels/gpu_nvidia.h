/*
 * The dialect's primitives for NVIDIA: PTX by assembly statements, in the CUDA language, which
 * clang (without CUDA's headers) and the run-time compiler both take. sm_80 and later.
 */
#ifndef SORA_HIP_KERNELS_GPU_NVIDIA_H
#define SORA_HIP_KERNELS_GPU_NVIDIA_H

#define GPU_ASM asm
#define GPU_UNROLL _Pragma("unroll")
#define GPU_ROLLED _Pragma("unroll 1")

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define GPU_THREAD ((int)threadIdx.x)
#define GPU_BLOCK_X ((int)blockIdx.x)
#define GPU_BLOCK_Y ((int)blockIdx.y)
#define GPU_BLOCK_Z ((int)blockIdx.z)
#else
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define GPU_THREAD ((int)__nvvm_read_ptx_sreg_tid_x())
#define GPU_BLOCK_X ((int)__nvvm_read_ptx_sreg_ctaid_x())
#define GPU_BLOCK_Y ((int)__nvvm_read_ptx_sreg_ctaid_y())
#define GPU_BLOCK_Z ((int)__nvvm_read_ptx_sreg_ctaid_z())
#endif

#define GPU_FN static __device__ inline __attribute__((always_inline))
#define GPU_SHARED(name) extern __shared__ __attribute__((aligned(16))) u8 name[]
#define GPU_KERNEL_BOUND(bounds, name, type, body)                                                 \
    extern "C" __global__ void bounds name(const struct type args)                                 \
    {                                                                                              \
        body;                                                                                      \
    }
#define GPU_KERNEL(name, threads, type, body)                                                      \
    GPU_KERNEL_BOUND(__launch_bounds__(threads), name, type, body)
/* Two blocks share a processor: 128 registers a thread. */
#define GPU_KERNEL_TWICE(name, threads, type, body)                                                \
    GPU_KERNEL_BOUND(__launch_bounds__(threads, 2), name, type, body)

#if defined(__clang__)
typedef u32 u128 __attribute__((ext_vector_type(4)));
#else
typedef uint4 u128;
#endif

GPU_FN void gpu_barrier(void)
{
    GPU_ASM volatile("bar.sync 0;" ::: "memory");
}

GPU_FN void gpu_wave_sync(void)
{
    GPU_ASM volatile("bar.warp.sync 0xffffffff;" ::: "memory");
}

GPU_FN u32 gpu_shuffle(u32 x, int lane)
{
    u32 y;
    GPU_ASM volatile("shfl.sync.idx.b32 %0, %1, %2, 31, 0xffffffff;" : "=r"(y) : "r"(x), "r"(lane));
    return y;
}

GPU_FN u32 gpu_shuffle_xor(u32 x, int mask)
{
    u32 y;
    GPU_ASM volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;"
                     : "=r"(y)
                     : "r"(x), "r"(mask));
    return y;
}

GPU_FN void gpu_settle(float *x)
{
    (void)x;
}

GPU_FN float gpu_exp2(float x)
{
    float y;
    GPU_ASM("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

GPU_FN float gpu_rsqrt(float x)
{
    float y;
    GPU_ASM("rsqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

GPU_FN float gpu_fma(float a, float b, float c)
{
    float y;
    GPU_ASM("fma.rn.f32 %0, %1, %2, %3;" : "=f"(y) : "f"(a), "f"(b), "f"(c));
    return y;
}

GPU_FN float gpu_round_even(float x)
{
    float y;
    GPU_ASM("cvt.rni.f32.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

GPU_FN float gpu_f32_from_f16(u16 x)
{
    float y;
    GPU_ASM("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}

GPU_FN u16 gpu_f16_from_f32(float x)
{
    u16 y;
    GPU_ASM("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}

GPU_FN u16 gpu_bf16_from_f32(float x)
{
    u16 y;
    GPU_ASM("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}

/* Two elements, rounded to nearest even. */
GPU_FN u32 gpu_pack(float low, float high, int element)
{
    u32 y;
    if (element == GPU_BF16)
        GPU_ASM("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    else
        GPU_ASM("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

GPU_FN u128 gpu_u128(u32 x, u32 y, u32 z, u32 w)
{
    u128 value;
    value.x = x;
    value.y = y;
    value.z = z;
    value.w = w;
    return value;
}

GPU_FN u32 gpu_word(u128 value, int index)
{
    return index == 0 ? value.x : index == 1 ? value.y : index == 2 ? value.z : value.w;
}

/* Not by an assembly statement: the compiler is to see sums of a lane's address and constants,
 * which become part of the instructions. */
GPU_FN u32 gpu_shared_address(const void *pointer)
{
#if defined(__clang__)
    return (u32)(unsigned long long)(const __attribute__((address_space(3))) void *)pointer;
#else
    return (u32)__cvta_generic_to_shared(pointer);
#endif
}

/* Asynchronous copies of 16 bytes to shared memory, zeros where `present` is 0. */
#define GPU_COPY_ASYNC 1

GPU_FN void gpu_copy_async(void *to, const void *from, int present)
{
    int size = present ? 16 : 0;
    GPU_ASM volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(gpu_shared_address(to)),
                     "l"(from), "r"(size)
                     : "memory");
}

GPU_FN void gpu_copy_commit(void)
{
    GPU_ASM volatile("cp.async.commit_group;" ::: "memory");
}

GPU_FN void gpu_copy_wait(void)
{
    GPU_ASM volatile("cp.async.wait_group 0;" ::: "memory");
}

/* Four 8x8 tiles: lane 8t+r gives the address of row r of tile t; see mma.h for what arrives. */
GPU_FN void gpu_load_matrix(u32 *out, const u16 *from, int transposed)
{
    u32 address = gpu_shared_address(from);
    if (transposed)
        GPU_ASM volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                         : "r"(address)
                         : "memory");
    else
        GPU_ASM volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                         : "r"(address)
                         : "memory");
}

#define GPU_MMA_STATEMENT(type)                                                                    \
    GPU_ASM volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                        \
                     ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                  \
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                              \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

/* c[16x8] += a[16x16] b[16x8]. */
GPU_FN void gpu_mma(float *c, const u32 *a, const u32 *b, int element)
{
    if (element == GPU_BF16)
        GPU_MMA_STATEMENT("bf16");
    else
        GPU_MMA_STATEMENT("f16");
}

#endif
