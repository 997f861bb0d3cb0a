/*
 * Code for cards that the build embedded, and the kernels' source for compiling at run time.
 *
 * Tables made by the build; constant. Where no compiler for a vendor was present, its images are
 * absent (hip/gpu/module.h then compiles the source on the card's machine).
 */
#ifndef SORA_HIP_GPU_IMAGES_H
#define SORA_HIP_GPU_IMAGES_H

#include "hip/gpu/compiler.h"

struct sora_gpu_image {
    const char *arch; /* "gfx1100"; for PTX its target, "sm_80" */
    const void *data; /* an ELF code object, or PTX text with its NUL */
    size_t size;      /* bytes, without that NUL */
};

/* Both end with an entry of NULLs. The first source is the one to compile. */
extern const struct sora_gpu_image sora_gpu_images[];
extern const struct sora_gpu_source sora_gpu_sources[];

#endif
