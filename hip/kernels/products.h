/* The kernels of matrix products and convolutions: operand sources and element types, each with the
 * implementation that suits the kind. README.md says which operands belong to which name. */
#ifndef SORA_HIP_KERNELS_PRODUCTS_H
#define SORA_HIP_KERNELS_PRODUCTS_H

#include "hip/kernels/gemm.h"
#include "hip/kernels/gemm_f32.h"

#if GPU_KIND == GPU_SIMT
#define PRODUCT gemm_f32_run
#else
#define PRODUCT gemm_run
#endif
#define WIDE_KERNEL(name, element)                                                                 \
    GPU_KERNEL(name, KERNEL_THREADS, gemm_args, PRODUCT(&args, 0, element, TILE_F32, TILE_F32))
#define PRODUCT_KERNEL(name, element, a_source, b_source)                                          \
    GPU_KERNEL_TWICE(name, KERNEL_THREADS, gemm_args,                                              \
                     PRODUCT(&args, 0, element, a_source, b_source))
#define CONV_KERNEL(name, element)                                                                 \
    GPU_KERNEL_TWICE(name, KERNEL_THREADS, conv_args,                                              \
                     PRODUCT(&args.product, &args, element, TILE_CONV, TILE_HALF))

PRODUCT_KERNEL(gemm_half_bf16, GPU_BF16, TILE_HALF, TILE_HALF)
PRODUCT_KERNEL(gemm_half_f16, GPU_F16, TILE_HALF, TILE_HALF)
PRODUCT_KERNEL(gemm_bf16, GPU_BF16, TILE_F32, TILE_HALF)
PRODUCT_KERNEL(gemm_f16, GPU_F16, TILE_F32, TILE_HALF)
WIDE_KERNEL(gemm_wide_bf16, GPU_BF16)
WIDE_KERNEL(gemm_wide_f16, GPU_F16)
PRODUCT_KERNEL(gemm_int8_bf16, GPU_BF16, TILE_F32, TILE_INT8)
PRODUCT_KERNEL(gemm_int8_f16, GPU_F16, TILE_F32, TILE_INT8)
PRODUCT_KERNEL(gemm_fp8_bf16, GPU_BF16, TILE_F32, TILE_FP8)
CONV_KERNEL(conv_bf16, GPU_BF16)
CONV_KERNEL(conv_f16, GPU_F16)
GPU_KERNEL(epilogue, KERNEL_THREADS, gemm_args, epilogue_all(&args))
GPU_KERNEL(gemm_f32, KERNEL_THREADS, gemm_args,
           gemm_f32_run(&args, 0, GPU_BF16, TILE_F32, GEMM_TYPED))
GPU_KERNEL(conv_f32, KERNEL_THREADS, conv_args,
           gemm_f32_run(&args.product, &args, GPU_BF16, TILE_CONV, GEMM_TYPED))

#endif
