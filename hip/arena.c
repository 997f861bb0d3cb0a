/* Arena: stack allocation inside one device buffer. */
#include "hip/arena.h"

#include "base/log.h"

#include <string.h>

#define ARENA_ALIGNMENT ((size_t)64)

size_t sora_arena_cost(enum sora_dtype dtype, int64_t count)
{
    SORA_ASSERT(count >= 0 && count <= INT64_MAX / 16);
    size_t size = (size_t)count * sora_dtype_size(dtype);
    return (size + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

int sora_arena_reserve(struct sora_arena *arena, struct sora_device *device, size_t size)
{
    SORA_ASSERT(arena->used == 0);
    if (arena->buffer && arena->device == device && arena->size >= size)
        return 0;
    /* The old memory goes first: the peak must not hold both. */
    size_t used_max = arena->used_max;
    sora_arena_fini(arena);
    size = size ? size : ARENA_ALIGNMENT;
    struct sora_buffer *buffer = NULL;
    int rc = sora_buffer_create(device, size, &buffer);
    if (rc)
        return rc;
    *arena =
        (struct sora_arena){.device = device, .buffer = buffer, .size = size, .used_max = used_max};
    return 0;
}

void sora_arena_fini(struct sora_arena *arena)
{
    sora_buffer_destroy(&arena->buffer);
    memset(arena, 0, sizeof(*arena));
}

int sora_arena_take(struct sora_arena *arena, enum sora_dtype dtype, int rank, const int64_t *shape,
                    struct sora_tensor *out_tensor)
{
    struct sora_tensor tensor = sora_tensor_make(arena->buffer, arena->used, dtype, rank, shape);
    size_t cost = sora_arena_cost(dtype, sora_tensor_count(&tensor));
    /* The last tensor may end with the buffer: its padding needs no memory. */
    if (!arena->buffer || arena->used > arena->size ||
        sora_tensor_size(&tensor) > arena->size - arena->used) {
        sora_log(SORA_LOG_ERROR, "arena is full used=%zu size=%zu wanted=%zu", arena->used,
                 arena->size, cost);
        return SORA_E_MEMORY;
    }
    arena->used += cost;
    if (arena->used > arena->used_max)
        arena->used_max = arena->used;
    *out_tensor = tensor;
    return 0;
}
