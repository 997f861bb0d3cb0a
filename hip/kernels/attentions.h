/* The kernels of attention: element types and head sizes, each with the implementation that suits
 * the kind. */
#ifndef SORA_HIP_KERNELS_ATTENTIONS_H
#define SORA_HIP_KERNELS_ATTENTIONS_H

#include "hip/kernels/attention.h"
#include "hip/kernels/attention_f32.h"

#if GPU_KIND == GPU_SIMT
#define ATTENTION_KERNEL(name, element, size)                                                      \
    GPU_KERNEL(name, KERNEL_THREADS, attention_args, attention_f32_run(&args, element, size))
#else
#define ATTENTION_KERNEL(name, element, size)                                                      \
    GPU_KERNEL(name, KERNEL_THREADS, attention_args, attention_run(&args, element, size))
#endif

ATTENTION_KERNEL(attention_bf16_32, GPU_BF16, 32)
ATTENTION_KERNEL(attention_bf16_64, GPU_BF16, 64)
ATTENTION_KERNEL(attention_bf16_128, GPU_BF16, 128)
ATTENTION_KERNEL(attention_f16_32, GPU_F16, 32)
ATTENTION_KERNEL(attention_f16_64, GPU_F16, 64)
ATTENTION_KERNEL(attention_f16_128, GPU_F16, 128)
GPU_KERNEL(attention_f32, KERNEL_THREADS, attention_args,
           attention_f32_run(&args, ATTENTION_F32_ELEMENTS, ATTENTION_F32_SIZE_MAX))

#endif
