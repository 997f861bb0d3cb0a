/*
 * Checkpoint: the named tensors of one model component, mapped read-only from safetensors files.
 *
 * Reads `<dir>/diffusion_pytorch_model.safetensors` or `<dir>/model.safetensors`, or the shards
 * listed by the same name + `.index.json`. Files are mapped shared and read-only, so processes on
 * one machine share the pages; weights stay in their stored type. Limits: header 8 MiB, 65,536
 * tensors, rank 8, f32/f16/bf16 (other types may be present and are refused when asked for).
 *
 * Owned by whoever opened it; tensors handed out borrow it. Opening reads headers and may block on
 * disk. After opening, any thread may read.
 */
#ifndef SORA_MODEL_CHECKPOINT_H
#define SORA_MODEL_CHECKPOINT_H

#include "hip/device.h"

struct sora_checkpoint;

/* One stored tensor. `data` points into the mapping. */
struct sora_checkpoint_entry {
    const char *name;
    enum sora_dtype dtype;
    int rank;
    int64_t shape[SORA_TENSOR_RANK_MAX];
    const void *data;
    size_t size; /* bytes */
};

/* Returns an owned checkpoint of component directory `dir`. Errors, each naming the file:
 * NOT_FOUND, FORMAT (truncated, overlapping, holes, duplicate, lying sizes, bad JSON), LIMIT, IO,
 * MEMORY. */
int sora_checkpoint_open(const char *dir, struct sora_checkpoint **out_checkpoint,
                         struct sora_fault *fault);
void sora_checkpoint_destroy(struct sora_checkpoint **checkpoint);

int sora_checkpoint_count(const struct sora_checkpoint *checkpoint);
const struct sora_checkpoint_entry *sora_checkpoint_at(const struct sora_checkpoint *checkpoint,
                                                       int index);
/* NULL when there is no tensor of that name. */
const struct sora_checkpoint_entry *sora_checkpoint_find(const struct sora_checkpoint *checkpoint,
                                                         const char *name);

/* Total bytes of the files. */
uint64_t sora_checkpoint_size(const struct sora_checkpoint *checkpoint);

/* Tells the system that the mapped pages are not needed for now (they are read again on use). */
void sora_checkpoint_release_pages(const struct sora_checkpoint *checkpoint);

/* Puts a checkpoint's tensors on one device: each file becomes one imported buffer. */
struct sora_weights;
int sora_weights_create(const struct sora_checkpoint *checkpoint, struct sora_device *device,
                        struct sora_weights **out_weights, struct sora_fault *fault);
void sora_weights_destroy(struct sora_weights **weights);

/* The tensor `name` (printf format) with exactly this shape, as a view. Errors: NOT_FOUND "missing
 * tensor NAME, expected shape [..]", FORMAT "tensor NAME has shape [..], expected [..]",
 * UNSUPPORTED for its type. */
int sora_weights_get(const struct sora_weights *weights, int rank, const int64_t *shape,
                     struct sora_tensor *out_tensor, struct sora_fault *fault, const char *name,
                     ...) __attribute__((format(printf, 6, 7)));

#endif
