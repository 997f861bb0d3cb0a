/*
 * Convolution with 3x3 kernels in space by tiles: fewer multiplications for the same sums.
 *
 * Stride 1 uses F(2x2,3x3) (Lavin and Gray, "Fast algorithms for convolutional neural networks",
 * CVPR 2016, section 4.1): 16 products per 4 outputs and channel pair instead of 36. With nearest
 * doubling in front, each tile of 2x2 outputs sees 3x3 input pixels and 9 products do: in one
 * dimension, kernel g and inputs d give
 *   y0 = g0 (d0 - d1) + (g0 + g1 + g2) d1,   y1 = (g0 + g1 + g2) d1 + g2 (d2 - d1).
 * Rounding differs from the plain sum by a few units of the last place. Caller's rules as for every
 * operation.
 */
#ifndef SORA_HIP_CPU_FAST_WINOGRAD_H
#define SORA_HIP_CPU_FAST_WINOGRAD_H

#include "hip/cpu/fast/simd.h"
#include "hip/device.h"

#ifdef FAST

/* Whether `params` is such a convolution: 3x3 in space, stride 1, one pixel of padding all around,
 * and weights of a size that may be transformed in scratch memory. */
bool FAST(winograd_fits)(const struct sora_conv3d *params);

/* Runs it on weights of FAST(packed_create). Errors: MEMORY. */
int FAST(winograd)(struct sora_stream *stream, const struct sora_conv3d *params);

#endif

#endif
