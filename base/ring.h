/*
 * Ring: a bounded first-in first-out queue of fixed-size items.
 *
 * Items are copied in and out; all memory is taken once, at init. A full ring refuses with FULL and
 * keeps what it holds: the caller decides whether to wait, drop or report. One thread at a time;
 * nothing blocks.
 */
#ifndef SORA_BASE_RING_H
#define SORA_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>

/* The user owns the struct and calls fini; read `count`, leave the rest alone. */
struct sora_ring {
    unsigned char *items;
    size_t item_size; /* bytes */
    size_t capacity;  /* items */
    size_t first;     /* index of the oldest item */
    size_t count;     /* items held */
};

/* Errors: INVALID when a size is 0, LIMIT when the product overflows, MEMORY. */
int sora_ring_init(struct sora_ring *ring, size_t capacity, size_t item_size);

/* Frees the items. Accepts all-zero structs and leaves one. */
void sora_ring_fini(struct sora_ring *ring);

/* Copies `item` (item_size bytes) behind the newest. Errors: FULL. */
int sora_ring_push(struct sora_ring *ring, const void *item);

/* Moves the oldest item to `out_item` (NULL drops it). False when the ring is empty. */
bool sora_ring_pop(struct sora_ring *ring, void *out_item);

/* The item at `index` from the oldest, NULL when there is none; valid until the next pop. */
void *sora_ring_at(const struct sora_ring *ring, size_t index);

#endif
