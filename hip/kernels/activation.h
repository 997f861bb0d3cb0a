/* Activations on one value, with the constants of hip/cpu/plain_matmul.c. */
#ifndef SORA_HIP_KERNELS_ACTIVATION_H
#define SORA_HIP_KERNELS_ACTIVATION_H

#include "hip/kernels/args.h"
#include "hip/kernels/gpu.h"

GPU_FN float activation_apply(int activation, float x)
{
    if (activation == KERNEL_SILU)
        return x / (1.0f + gpu_exp(-x));
    if (activation == KERNEL_GELU_TANH) {
        /* 0.5x(1 + tanh u) = x / (1 + e^-2u) */
        float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
        return x / (1.0f + gpu_exp(-2.0f * inner));
    }
    if (activation == KERNEL_GELU_ERF)
        return 0.5f * x * (1.0f + gpu_erf(x * 0.7071067811865476f));
    return x;
}

/* Element `index` of an array of KERNEL_* type. */
GPU_FN float typed_load(const void *from, int type, i64 index)
{
    if (type == KERNEL_F32)
        return ((const float *)from)[index];
    return gpu_f32_from_half(((const u16 *)from)[index], type == KERNEL_BF16 ? GPU_BF16 : GPU_F16);
}

GPU_FN void typed_store(void *to, int type, i64 index, float value)
{
    if (type == KERNEL_F32)
        ((float *)to)[index] = value;
    else
        ((u16 *)to)[index] = gpu_half_from_f32(value, type == KERNEL_BF16 ? GPU_BF16 : GPU_F16);
}

#endif
