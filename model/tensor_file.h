/*
 * Tensor files: one named f32 array in a safetensors file, for noise, embeddings and latents that a
 * person gives or takes. Reading and writing block on disk. Any thread.
 */
#ifndef SORA_MODEL_TENSOR_FILE_H
#define SORA_MODEL_TENSOR_FILE_H

#include "base/error.h"

#include <stdint.h>

#define SORA_TENSOR_FILE_SIZE_MAX ((uint64_t)4 << 30)

struct sora_array {
    int rank;
    int64_t shape[8];
    float *values; /* owned, row-major; NULL when absent */
};

void sora_array_fini(struct sora_array *array);
int64_t sora_array_count(const struct sora_array *array);

/* Reads tensor `name` of file `path` (f32, or f16/bf16 widened). Errors: NOT_FOUND (file or tensor,
 * naming it), FORMAT, LIMIT, NUMERIC when a value is not finite, MEMORY, IO. */
int sora_array_read(const char *path, const char *name, struct sora_array *out_array,
                    struct sora_fault *fault);

/* Writes a file with the one tensor, f32, published by rename. */
int sora_array_write(const char *path, const char *name, const struct sora_array *array,
                     struct sora_fault *fault);

/* Swaps dimensions 0 and 1 of a rank-4 array: [C,T,H,W] of files to [T,C,H,W] of the engine and
 * back. Errors: MEMORY. */
int sora_array_swap_frames(struct sora_array *array, struct sora_fault *fault);

#endif
