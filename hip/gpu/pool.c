/*
 * The pool keeps blocks in one list and takes the smallest that fits with at most an eighth to
 * spare. Lists stay short (a model holds some hundred buffers), so a walk is cheaper than the
 * bookkeeping that would avoid it.
 */
#include "hip/gpu/pool.h"

#include <pthread.h>
#include <stdlib.h>

#define GRANULE_SMALL ((size_t)512)
#define GRANULE_LARGE ((size_t)64 << 10)
#define LARGE_MIN ((size_t)1 << 20)

struct block {
    struct sora_gpu_block base;
    struct block *next; /* while kept */
};

struct sora_gpu_pool {
    struct sora_gpu_pool_params params;
    pthread_mutex_t lock;
    struct block *kept;
    struct sora_gpu_pool_use use;
};

int sora_gpu_pool_create(const struct sora_gpu_pool_params *params, struct sora_gpu_pool **out_pool)
{
    struct sora_gpu_pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return SORA_E_MEMORY;
    pool->params = *params;
    pthread_mutex_init(&pool->lock, NULL);
    *out_pool = pool;
    return 0;
}

static void trim(struct sora_gpu_pool *pool)
{
    while (pool->kept) {
        struct block *block = pool->kept;
        pool->kept = block->next;
        pool->use.kept_bytes -= block->base.size;
        pool->use.kept_count--;
        pool->params.runtime->calls.memory_free(block->base.memory);
        free(block);
    }
}

void sora_gpu_pool_destroy(struct sora_gpu_pool **pool)
{
    if (!*pool)
        return;
    SORA_ASSERT((*pool)->use.used_count == 0);
    trim(*pool);
    pthread_mutex_destroy(&(*pool)->lock);
    free(*pool);
    *pool = NULL;
}

void sora_gpu_pool_trim(struct sora_gpu_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    trim(pool);
    pthread_mutex_unlock(&pool->lock);
}

static struct block *kept_take(struct sora_gpu_pool *pool, size_t size)
{
    struct block **best = NULL;
    for (struct block **at = &pool->kept; *at; at = &(*at)->next) {
        size_t have = (*at)->base.size;
        if (have >= size && have - size <= size / 8 && (!best || have < (*best)->base.size))
            best = at;
    }
    if (!best)
        return NULL;
    struct block *block = *best;
    *best = block->next;
    pool->use.kept_bytes -= block->base.size;
    pool->use.kept_count--;
    return block;
}

static bool fits(const struct sora_gpu_pool *pool, size_t size)
{
    uint64_t limit = pool->params.limit_bytes;
    uint64_t held = pool->use.used_bytes + pool->use.kept_bytes;
    return !limit || (size <= limit && held <= limit - size);
}

/* The driver's memory may be exhausted by what is kept here: that goes first. */
static int driver_take(struct sora_gpu_pool *pool, size_t size, struct block **out_block)
{
    const struct sora_gpu_calls *calls = &pool->params.runtime->calls;
    if (!fits(pool, size))
        trim(pool);
    if (!fits(pool, size))
        return SORA_E_MEMORY;
    struct block *block = calloc(1, sizeof(*block));
    if (!block)
        return SORA_E_MEMORY;
    int status = calls->memory_alloc(&block->base.memory, size);
    if (status == SORA_GPU_STATUS_MEMORY && pool->kept) {
        trim(pool);
        status = calls->memory_alloc(&block->base.memory, size);
    }
    if (status) {
        free(block);
        return sora_gpu_error(status);
    }
    block->base.size = size;
    *out_block = block;
    return 0;
}

int sora_gpu_pool_take(struct sora_gpu_pool *pool, size_t size, struct sora_gpu_block **out_block)
{
    size_t granule = size < LARGE_MIN ? GRANULE_SMALL : GRANULE_LARGE;
    if (size > SIZE_MAX - granule)
        return SORA_E_MEMORY;
    if (!pool->params.exact)
        size = (size + granule - 1) / granule * granule;
    pthread_mutex_lock(&pool->lock);
    struct block *block = kept_take(pool, size);
    int error = block ? 0 : driver_take(pool, size, &block);
    if (!error) {
        pool->use.used_bytes += block->base.size;
        pool->use.used_count++;
        if (pool->use.used_bytes > pool->use.used_bytes_max)
            pool->use.used_bytes_max = pool->use.used_bytes;
    }
    pthread_mutex_unlock(&pool->lock);
    if (!error)
        *out_block = &block->base;
    return error;
}

void sora_gpu_pool_give(struct sora_gpu_pool *pool, struct sora_gpu_block **block)
{
    if (!*block)
        return;
    struct block *entry = (struct block *)*block;
    pthread_mutex_lock(&pool->lock);
    pool->use.used_bytes -= entry->base.size;
    pool->use.used_count--;
    pool->use.kept_bytes += entry->base.size;
    pool->use.kept_count++;
    entry->next = pool->kept;
    pool->kept = entry;
    if (pool->params.exact)
        trim(pool);
    pthread_mutex_unlock(&pool->lock);
    *block = NULL;
}

void sora_gpu_pool_use(struct sora_gpu_pool *pool, struct sora_gpu_pool_use *out_use)
{
    pthread_mutex_lock(&pool->lock);
    *out_use = pool->use;
    pthread_mutex_unlock(&pool->lock);
}
