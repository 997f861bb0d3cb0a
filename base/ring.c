/* A bounded queue of fixed-size items in one allocation. */
#include "base/ring.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

int sora_ring_init(struct sora_ring *ring, size_t capacity, size_t item_size)
{
    size_t size;
    if (capacity == 0 || item_size == 0)
        return SORA_E_INVALID;
    if (__builtin_mul_overflow(capacity, item_size, &size))
        return SORA_E_LIMIT;
    unsigned char *items = malloc(size);
    if (!items)
        return SORA_E_MEMORY;
    *ring = (struct sora_ring){.items = items, .item_size = item_size, .capacity = capacity};
    return SORA_OK;
}

void sora_ring_fini(struct sora_ring *ring)
{
    free(ring->items);
    *ring = (struct sora_ring){0};
}

static unsigned char *item_at(const struct sora_ring *ring, size_t index)
{
    size_t to_end = ring->capacity - ring->first;
    size_t slot = index < to_end ? ring->first + index : index - to_end;
    return ring->items + slot * ring->item_size;
}

int sora_ring_push(struct sora_ring *ring, const void *item)
{
    if (ring->count == ring->capacity)
        return SORA_E_FULL;
    memcpy(item_at(ring, ring->count), item, ring->item_size);
    ring->count++;
    return SORA_OK;
}

bool sora_ring_pop(struct sora_ring *ring, void *out_item)
{
    if (ring->count == 0)
        return false;
    if (out_item)
        memcpy(out_item, item_at(ring, 0), ring->item_size);
    ring->first = ring->first + 1 < ring->capacity ? ring->first + 1 : 0;
    ring->count--;
    return true;
}

void *sora_ring_at(const struct sora_ring *ring, size_t index)
{
    return index < ring->count ? item_at(ring, index) : NULL;
}
