/*
 * Thread pool: runs numbered tasks on the calling thread and the pool's workers.
 *
 * Owned by the CPU device. One run at a time: a second thread that calls run waits for the first
 * run to end. Run blocks until every task is done. Which thread takes which task is left to chance,
 * so a task's result must not depend on it.
 */
#ifndef SORA_HIP_CPU_POOL_H
#define SORA_HIP_CPU_POOL_H

#include <stdint.h>

struct sora_cpu_pool;

/* `worker` is 0..thread_count-1: an index of per-thread memory. */
typedef void (*sora_cpu_task)(void *context, int64_t task, int worker);

/* Returns owned. thread_count 1..256 counts the caller. Errors: MEMORY. */
int sora_cpu_pool_create(int thread_count, struct sora_cpu_pool **out_pool);
void sora_cpu_pool_destroy(struct sora_cpu_pool **pool);
int sora_cpu_pool_threads(const struct sora_cpu_pool *pool);

/* Runs task 0..count-1, each once. Everything that the caller wrote before is seen by the tasks,
 * and what they wrote is seen by the caller afterwards. Not from inside a task. */
void sora_cpu_pool_run(struct sora_cpu_pool *pool, int64_t count, sora_cpu_task task,
                       void *context);

#endif
