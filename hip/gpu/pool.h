/*
 * Device memory: a cache of driver allocations with a hard limit.
 *
 * A driver's own allocation and release cost up to milliseconds and wait for the card, so given
 * back blocks are kept and handed out again to takers of nearly their size. What is in use and what
 * is kept together never pass the limit: kept blocks go back to the driver first, then a take ends
 * with MEMORY and changes nothing.
 *
 * The caller owns a pool; every block comes back before destroy. Any thread; the card must be
 * current for it (hip/gpu/card.h). A block may be given back while queued work uses it only if
 * every later user of the pool queues behind that work; the device (hip/gpu/device.c) sees to it.
 */
#ifndef SORA_HIP_GPU_POOL_H
#define SORA_HIP_GPU_POOL_H

#include "hip/gpu/runtime.h"

struct sora_gpu_pool;

struct sora_gpu_pool_params {
    const struct sora_gpu_runtime *runtime; /* kept */
    uint64_t limit_bytes;                   /* 0: none but the card's */
    bool exact; /* blocks of just the asked size, none kept: for finding overruns */
};

struct sora_gpu_block {
    void *memory; /* aligned to 256 by the drivers */
    size_t size;  /* at least what was asked */
};

struct sora_gpu_pool_use {
    uint64_t used_bytes, kept_bytes, used_bytes_max;
    int used_count, kept_count;
};

/* Returns owned, or MEMORY. Calls no driver. */
int sora_gpu_pool_create(const struct sora_gpu_pool_params *params,
                         struct sora_gpu_pool **out_pool);
/* Gives everything kept back to the driver. Accepts NULL. */
void sora_gpu_pool_destroy(struct sora_gpu_pool **pool);

/* A block of `size` >= 1 bytes, contents undefined. Errors: MEMORY, DEVICE. */
int sora_gpu_pool_take(struct sora_gpu_pool *pool, size_t size, struct sora_gpu_block **out_block);
/* *block becomes NULL. Accepts NULL. */
void sora_gpu_pool_give(struct sora_gpu_pool *pool, struct sora_gpu_block **block);

/* Gives what is kept back to the driver. */
void sora_gpu_pool_trim(struct sora_gpu_pool *pool);

void sora_gpu_pool_use(struct sora_gpu_pool *pool, struct sora_gpu_pool_use *out_use);

#endif
