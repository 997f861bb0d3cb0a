/*
 * The pool's workers spin for some microseconds after a run, because a model's next operation
 * follows at once, and then sleep on a condition. A run is announced by raising `generation`; tasks
 * are claimed by a shared counter, so an uneven machine stays busy to the end.
 */
#include "hip/cpu/pool.h"

#include "base/clock.h"
#include "base/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define SPIN_NS 20000 /* longer than the gap between two operations, shorter than a wake-up */
#define CACHE_LINE 64

struct worker {
    struct sora_cpu_pool *pool;
    pthread_t thread;
    int index;
};

struct sora_cpu_pool {
    int thread_count;
    int started; /* workers that run: index 1..started */
    struct worker *workers;
    pthread_mutex_t run_lock; /* one run at a time */

    /* The run under way; written before `generation` is raised. */
    sora_cpu_task task;
    void *context;
    int64_t count;

    pthread_mutex_t sleep_lock; /* guards `sleepers`, with both conditions */
    pthread_cond_t wake, idle;
    int sleepers;
    bool caller_sleeps;

    _Alignas(CACHE_LINE) atomic_uint generation;
    atomic_bool stop;
    _Alignas(CACHE_LINE) atomic_llong next; /* first task that nobody took */
    _Alignas(CACHE_LINE) atomic_int busy;   /* workers that have not finished this run */
};

static void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void tasks_take(struct sora_cpu_pool *pool, int worker)
{
    for (;;) {
        long long task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (task >= pool->count)
            return;
        pool->task(pool->context, task, worker);
    }
}

/* Waits until `generation` differs from `seen`; returns the new one. */
static unsigned generation_wait(struct sora_cpu_pool *pool, unsigned seen)
{
    sora_time end = sora_clock_now() + SPIN_NS;
    do {
        for (int i = 0; i < 64; i++) {
            unsigned now = atomic_load_explicit(&pool->generation, memory_order_acquire);
            if (now != seen)
                return now;
            spin_pause();
        }
    } while (sora_clock_now() < end);

    pthread_mutex_lock(&pool->sleep_lock);
    pool->sleepers++;
    unsigned now;
    while ((now = atomic_load_explicit(&pool->generation, memory_order_acquire)) == seen)
        pthread_cond_wait(&pool->wake, &pool->sleep_lock);
    pool->sleepers--;
    pthread_mutex_unlock(&pool->sleep_lock);
    return now;
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct sora_cpu_pool *pool = worker->pool;
    unsigned seen = 0;
    for (;;) {
        seen = generation_wait(pool, seen);
        if (atomic_load_explicit(&pool->stop, memory_order_acquire))
            return NULL;
        tasks_take(pool, worker->index);
        if (atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->sleep_lock);
            if (pool->caller_sleeps)
                pthread_cond_signal(&pool->idle);
            pthread_mutex_unlock(&pool->sleep_lock);
        }
    }
}

static void generation_raise(struct sora_cpu_pool *pool)
{
    pthread_mutex_lock(&pool->sleep_lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_acq_rel);
    if (pool->sleepers > 0)
        pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->sleep_lock);
}

static void workers_wait(struct sora_cpu_pool *pool)
{
    sora_time end = sora_clock_now() + SPIN_NS;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&pool->busy, memory_order_acquire) == 0)
                return;
            spin_pause();
        }
    } while (sora_clock_now() < end);
    pthread_mutex_lock(&pool->sleep_lock);
    pool->caller_sleeps = true;
    while (atomic_load_explicit(&pool->busy, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->idle, &pool->sleep_lock);
    pool->caller_sleeps = false;
    pthread_mutex_unlock(&pool->sleep_lock);
}

void sora_cpu_pool_run(struct sora_cpu_pool *pool, int64_t count, sora_cpu_task task, void *context)
{
    pthread_mutex_lock(&pool->run_lock);
    if (count <= 1 || pool->started == 0) {
        for (int64_t i = 0; i < count; i++)
            task(context, i, 0);
        pthread_mutex_unlock(&pool->run_lock);
        return;
    }
    pool->task = task;
    pool->context = context;
    pool->count = count;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->busy, pool->started, memory_order_relaxed);
    generation_raise(pool);
    tasks_take(pool, 0);
    workers_wait(pool);
    pthread_mutex_unlock(&pool->run_lock);
}

int sora_cpu_pool_threads(const struct sora_cpu_pool *pool)
{
    return pool->thread_count;
}

int sora_cpu_pool_create(int thread_count, struct sora_cpu_pool **out_pool)
{
    SORA_ASSERT(thread_count >= 1 && thread_count <= 256);
    struct sora_cpu_pool *pool = aligned_alloc(CACHE_LINE, sizeof(*pool));
    if (!pool)
        return SORA_E_MEMORY;
    *pool = (struct sora_cpu_pool){.thread_count = thread_count};
    pthread_mutex_init(&pool->run_lock, NULL);
    pthread_mutex_init(&pool->sleep_lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->idle, NULL);
    pool->workers = calloc((size_t)thread_count, sizeof(*pool->workers));
    bool complete = pool->workers != NULL;
    for (int i = 1; complete && i < thread_count; i++) {
        struct worker *worker = &pool->workers[i];
        *worker = (struct worker){.pool = pool, .index = i};
        complete = pthread_create(&worker->thread, NULL, worker_main, worker) == 0;
        if (complete)
            pool->started = i;
    }
    if (!complete) {
        sora_cpu_pool_destroy(&pool);
        return SORA_E_MEMORY;
    }
    *out_pool = pool;
    return 0;
}

void sora_cpu_pool_destroy(struct sora_cpu_pool **pool_pointer)
{
    struct sora_cpu_pool *pool = *pool_pointer;
    if (!pool)
        return;
    *pool_pointer = NULL;
    atomic_store_explicit(&pool->stop, true, memory_order_release);
    generation_raise(pool);
    for (int i = 1; i <= pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->sleep_lock);
    pthread_mutex_destroy(&pool->run_lock);
    free(pool->workers);
    free(pool);
}
