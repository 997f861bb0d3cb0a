/*
 * The layout of convolution weights on the fast paths: panels of PANEL output channels (the last of
 * VF_LANES when no more are left), each [kt,kh,kw,I,columns] f32, padded with zeros.
 */
#ifndef SORA_HIP_CPU_FAST_CONV_H
#define SORA_HIP_CPU_FAST_CONV_H

#include "hip/cpu/fast/simd.h"
#include "hip/cpu/internal.h"

#ifdef FAST

/* Vectors of columns in the panel that starts at output channel `first`. */
static inline int fast_panel_vectors(int64_t out_channels, int64_t first)
{
    return out_channels - first > VF_LANES ? 2 : 1;
}

/* The panel that starts at output channel `first`, a multiple of PANEL. */
static inline const float *fast_panel(const struct sora_packed *packed, int64_t first)
{
    int64_t depth = packed->kernel_t * packed->kernel_h * packed->kernel_w * packed->in_channels;
    return ((const struct sora_cpu_packed *)packed)->data + first * depth;
}

#endif

#endif
