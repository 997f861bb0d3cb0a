/*
 * Arena: scratch tensors carved from one device buffer in stack order.
 *
 * A model reserves what one pass needs, takes tensors in order and rewinds. One thread. A take that
 * does not fit grows nothing and returns MEMORY, so peak memory is what was reserved.
 */
#ifndef SORA_HIP_ARENA_H
#define SORA_HIP_ARENA_H

#include "hip/device.h"

struct sora_arena {
    struct sora_device *device; /* borrowed */
    struct sora_buffer *buffer; /* owned */
    size_t size, used, used_max;
};

/* Replaces the arena's memory by at least `size` bytes when it is smaller; contents are lost and
 * `used` must be 0. */
int sora_arena_reserve(struct sora_arena *arena, struct sora_device *device, size_t size);
void sora_arena_fini(struct sora_arena *arena);

/* Takes a tensor (64-byte aligned). Errors: MEMORY. */
int sora_arena_take(struct sora_arena *arena, enum sora_dtype dtype, int rank, const int64_t *shape,
                    struct sora_tensor *out_tensor);

/* The current height, to rewind to later. */
static inline size_t sora_arena_mark(const struct sora_arena *arena)
{
    return arena->used;
}
static inline void sora_arena_rewind(struct sora_arena *arena, size_t mark)
{
    arena->used = mark;
}

/* Bytes that a take of `count` elements uses, for planning. */
size_t sora_arena_cost(enum sora_dtype dtype, int64_t count);

#endif
