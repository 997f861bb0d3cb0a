/*
 * The dialect's primitives on the host: a thread is a fiber of hip/gpu/emulator.h, and what a wave
 * does together goes through it with the place in the source, so that diverging lanes are named.
 */
#ifndef SORA_HIP_KERNELS_GPU_EMULATOR_H
#define SORA_HIP_KERNELS_GPU_EMULATOR_H

#include "hip/gpu/emulator_device.h"

#include <math.h>

#define GPU_FN static inline __attribute__((unused))
/* A kernel's body is one call that gets `&args`. */
#define GPU_KERNEL(name, threads, type, body)                                                      \
    GPU_FN void name(const void *gpu_data)                                                         \
    {                                                                                              \
        const struct type args = *(const struct type *)gpu_data;                                   \
        body;                                                                                      \
    }
#define GPU_SHARED(name) u8 *name = sora_emulator_shared()
#define GPU_UNROLL
#define GPU_ROLLED
#define GPU_THREAD sora_emulator_thread()
#define GPU_BLOCK_X sora_emulator_block(0)
#define GPU_BLOCK_Y sora_emulator_block(1)
#define GPU_BLOCK_Z sora_emulator_block(2)

#define GPU_TEXT_(x) #x
#define GPU_TEXT(x) GPU_TEXT_(x)
#define GPU_PLACE __FILE__ ":" GPU_TEXT(__LINE__)

typedef u32 u128 __attribute__((vector_size(16)));

#define gpu_barrier() sora_emulator_barrier(GPU_PLACE)
#define gpu_wave_sync() sora_emulator_wave_sync(GPU_PLACE)
#define gpu_shuffle(x, lane) sora_emulator_shuffle(x, lane, GPU_PLACE)
#define gpu_shuffle_xor(x, mask) sora_emulator_shuffle(x, GPU_LANE ^ (mask), GPU_PLACE)

GPU_FN void gpu_settle(float *x)
{
    (void)x;
}

GPU_FN float gpu_exp2(float x)
{
    return exp2f(x);
}

GPU_FN float gpu_rsqrt(float x)
{
    return 1.0f / sqrtf(x);
}

GPU_FN float gpu_fma(float a, float b, float c)
{
    return a * b + c;
}

GPU_FN float gpu_round_even(float x)
{
    return nearbyintf(x);
}

GPU_FN float gpu_f32_from_f16(u16 x)
{
    return sora_emulator_f32_from_f16(x);
}

GPU_FN u16 gpu_f16_from_f32(float x)
{
    return sora_emulator_f16_from_f32(x);
}

#include "hip/kernels/gpu_pack.h"

/* Asynchronous copies of 16 bytes to shared memory, zeros where `present` is 0. */
#define GPU_COPY_ASYNC (GPU_KIND == GPU_NVIDIA)

GPU_FN void gpu_copy_async(void *to, const void *from, int present)
{
    sora_emulator_copy_async(to, from, present);
}

GPU_FN void gpu_copy_commit(void) {}

GPU_FN void gpu_copy_wait(void)
{
    sora_emulator_copy_wait();
}

/* The matrix units, on the lane's own registers (mma.h). */
#define gpu_load_matrix(out, from, transposed)                                                     \
    sora_emulator_load_matrix(out, from, transposed, GPU_PLACE)
#define gpu_mma(c, a, b, element)                                                                  \
    sora_emulator_mma(SORA_EMULATOR_MMA(GPU_KIND), c, a, b, (element) == GPU_BF16, GPU_PLACE)

#endif
