/*
 * What the build embeds for GPUs: kernels compiled for AMD architectures, PTX that NVIDIA's driver
 * compiles, and the kernels' source for compiling at run time. Constant data, any thread.
 *
 * hip/images.cmake makes the contents. Without a compiler for GPUs there are no images (the
 * configuration said why) and the source alone is here.
 */
#ifndef SORA_HIP_GPU_IMAGES_H
#define SORA_HIP_GPU_IMAGES_H

#include "hip/gpu/compiler.h"

#include <stddef.h>

struct sora_gpu_image {
    const char *arch; /* "gfx1100", "sm_80" for PTX of that and later; NULL in the last row */
    const void *data; /* an ELF code object, or PTX text ended by a zero byte */
    size_t size;      /* bytes, with that zero */
};

/* Ended by a row of zeros, which the count leaves out. */
extern const struct sora_gpu_image *const sora_gpu_images;
extern const int sora_gpu_image_count;

/* The first is the translation unit (hip/kernels/all.c), the others are what it includes. */
extern const struct sora_gpu_source *const sora_gpu_sources;
extern const int sora_gpu_source_count;

#endif
