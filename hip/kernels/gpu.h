/*
 * The device dialect: what every kernel is written in, whichever compiler reads it.
 *
 * The language is the common part of C99 and C++17, compiled by clang (HIP and CUDA language
 * without their headers), by the run-time compilers and, for the emulator, by the host's compiler
 * (C). Blocks are one-dimensional and of constant size; a kernel takes one argument struct by
 * value; there is one shared array of at most 64 KB; lanes talk through whole-wave shuffles only;
 * no device library is used, so the elementary functions are here. docs/internals/GPU.md has all
 * rules. Compile with strict aliasing off: shared memory is read as the type that fits.
 *
 * Three headers give the primitives (gpu_nvidia.h, gpu_amd.h, gpu_emulator.h); with this file they
 * are the only ones that ask which compiler reads them.
 */
#ifndef SORA_HIP_KERNELS_GPU_H
#define SORA_HIP_KERNELS_GPU_H

#include "hip/kernels/kinds.h"

/* Types of 16-bit elements that matrix units take. A constant argument wherever it appears. */
#define GPU_BF16 0
#define GPU_F16 1

#if defined(__CUDACC__) || defined(__CUDACC_RTC__) || defined(__NVPTX__)
#define GPU_KIND GPU_NVIDIA
#define GPU_WAVE 32
#define GPU_EMULATED 0
#elif defined(__AMDGCN__)
#define GPU_EMULATED 0
#if defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__)
#define GPU_KIND GPU_CDNA
#elif defined(__GFX12__)
#define GPU_KIND GPU_RDNA4
#elif defined(__GFX11__)
#define GPU_KIND GPU_RDNA3
#else
#define GPU_KIND GPU_SIMT
#endif
#if defined(__GFX9__)
#define GPU_WAVE 64
#else
#define GPU_WAVE 32
#endif
#else /* the host: -DGPU_KIND= and -DGPU_WAVE= choose what is emulated */
#define GPU_EMULATED 1
#ifndef GPU_KIND
#define GPU_KIND GPU_SIMT
#define GPU_WAVE 32
#endif
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

union gpu_bits {
    float f;
    u32 u;
};

#if GPU_EMULATED
#include "hip/kernels/gpu_emulator.h"
#elif GPU_KIND == GPU_NVIDIA
#include "hip/kernels/gpu_nvidia.h"
#else
#include "hip/kernels/gpu_amd.h"
#endif

/* A kernel whose registers shall leave room for a second block beside it, where that is ours to
 * say. */
#ifndef GPU_KERNEL_TWICE
#define GPU_KERNEL_TWICE GPU_KERNEL
#endif

#define GPU_LANE (GPU_THREAD & (GPU_WAVE - 1))
#define GPU_WAVE_INDEX (GPU_THREAD / GPU_WAVE)

/* Lowest score: below it nothing is told apart from minus infinity. */
#define GPU_LOWEST (-1e30f)

GPU_FN u32 gpu_bits_of(float x)
{
    union gpu_bits bits;
    bits.f = x;
    return bits.u;
}

GPU_FN float gpu_from_bits(u32 x)
{
    union gpu_bits bits;
    bits.u = x;
    return bits.f;
}

GPU_FN float gpu_shuffle_xor_f32(float x, int mask)
{
    return gpu_from_bits(gpu_shuffle_xor(gpu_bits_of(x), mask));
}

GPU_FN float gpu_max(float a, float b)
{
    return a > b ? a : b;
}

GPU_FN int gpu_min_int(int a, int b)
{
    return a < b ? a : b;
}

GPU_FN float gpu_f32_from_bf16(u16 x)
{
    return gpu_from_bits((u32)x << 16);
}

GPU_FN float gpu_f32_from_half(u16 x, int element)
{
    return element == GPU_BF16 ? gpu_f32_from_bf16(x) : gpu_f32_from_f16(x);
}

GPU_FN u16 gpu_half_from_f32(float x, int element)
{
    return element == GPU_BF16 ? gpu_bf16_from_f32(x) : gpu_f16_from_f32(x);
}

/* e^x to about 1e-7: exp2 of the rounded product, then its rounding error made good. */
GPU_FN float gpu_exp(float x)
{
    const float most = 88.72f; /* above it e^x is taken as infinite */
    float clamped = x > most ? most : x < -104.0f ? -104.0f : x;
    float product = clamped * 1.4426950408889634f;
    float rest = gpu_fma(clamped, 1.4426950408889634f, -product);
    rest = gpu_fma(clamped, 1.925963033500e-8f, rest); /* log2(e) beyond f32 */
    float power = gpu_exp2(product);
    float value = gpu_fma(power * rest, 0.6931471805599453f, power);
    return x > most ? x * power : value;
}

/* erf to 1.5e-7 absolute: Abramowitz and Stegun, 7.1.26. */
GPU_FN float gpu_erf(float x)
{
    float size = x < 0.0f ? -x : x;
    float t = 1.0f / gpu_fma(0.3275911f, size, 1.0f);
    float sum = gpu_fma(1.061405429f, t, -1.453152027f);
    sum = gpu_fma(sum, t, 1.421413741f);
    sum = gpu_fma(sum, t, -0.284496736f);
    sum = gpu_fma(sum, t, 0.254829592f) * t;
    float value = gpu_fma(-sum, gpu_exp(-size * size), 1.0f);
    return x < 0.0f ? -value : value;
}

/* 1/sqrt(x) to f32's precision: the unit's approximation and one step of Newton. */
GPU_FN float gpu_inverse_root(float x)
{
    float y = gpu_rsqrt(x);
    return y * gpu_fma(-0.5f * x * y, y, 1.5f);
}

/* Sum over a wave; every lane gets it. */
GPU_FN float gpu_wave_sum(float x)
{
    for (int mask = GPU_WAVE / 2; mask > 0; mask /= 2)
        x += gpu_shuffle_xor_f32(x, mask);
    return x;
}

#endif
