/*
 * Vectors of the fast paths: one set of names for AVX-512 (16 floats) and AVX2 with FMA (8 floats).
 *
 * The files of this folder are compiled once per instruction set, with SORA_SIMD_AVX512 or
 * SORA_SIMD_AVX2 defined; FAST(name) gives each build its own symbols. Inline functions here are
 * static, so that no code of a wider set leaks into another object file. Without either set the
 * headers of this folder are empty.
 */
#ifndef SORA_HIP_CPU_FAST_SIMD_H
#define SORA_HIP_CPU_FAST_SIMD_H

#include "hip/cpu/fast/simd_avx2.h"
#include "hip/cpu/fast/simd_avx512.h"

/* Before a loop of constant length (at most 16) whose arrays must live in registers. */
#if defined(SORA_SIMD_ROLLED) /* sanitizer builds: unrolled and instrumented takes minutes */
#define UNROLL
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#ifdef FAST

#define PANEL (2 * VF_LANES) /* columns of one packed panel */

/* VF_LANES elements of a vector of weights in any of its types, from element `index`. */
static inline vf vf_load_float(const void *data, enum sora_dtype dtype, int64_t index)
{
    if (dtype == SORA_DTYPE_F32)
        return vf_load((const float *)data + index);
    const uint16_t *half = (const uint16_t *)data + index;
    return dtype == SORA_DTYPE_F16 ? vf_load_f16(half) : vf_load_bf16(half);
}

/* The same for `count` elements (0..VF_LANES); the others are 0. */
static inline vf vf_load_float_first(const void *data, enum sora_dtype dtype, int64_t index,
                                     int count)
{
    if (count == VF_LANES)
        return vf_load_float(data, dtype, index);
    if (dtype == SORA_DTYPE_F32)
        return vf_load_first((const float *)data + index, count);
    uint16_t padded[VF_LANES] = {0};
    memcpy(padded, (const uint16_t *)data + index, (size_t)count * sizeof(padded[0]));
    return vf_load_float(padded, dtype, 0);
}

#endif

#endif
