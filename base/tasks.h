/*
 * Tasks: one thread that does what may block (disk, database, digests) for an event loop.
 *
 * The owner posts a task; `run` happens on the thread, in the order of posting; `done` happens
 * later in the owner's own thread, inside sora_tasks_step. The queue is bounded. One owner thread.
 */
#ifndef SORA_BASE_TASKS_H
#define SORA_BASE_TASKS_H

#include "base/error.h"

struct sora_tasks;

struct sora_task {
    void (*run)(void *context);  /* on the thread; must not touch what the owner may touch */
    void (*done)(void *context); /* on the owner's thread, in step or destroy; may post and destroy
                                    what it likes but the tasks; NULL: nothing */
    void *context;               /* kept until done */
};

/* Starts the thread, named `name` (at most 15 bytes). Returns owned. Errors: INVALID (queue_max
 * outside 1..65536), MEMORY, INTERNAL. */
int sora_tasks_create(const char *name, int queue_max, struct sora_tasks **out_tasks,
                      struct sora_fault *fault);

/* Finishes all that was posted (this blocks), calls every `done`, ends the thread. Accepts NULL. */
void sora_tasks_destroy(struct sora_tasks **tasks);

/* Errors: FULL when queue_max tasks are not done yet: try again after a step. CANCELLED inside
 * sora_tasks_destroy. */
int sora_tasks_post(struct sora_tasks *tasks, const struct sora_task *task);

/* Readable when there is something for step. */
int sora_tasks_fd(const struct sora_tasks *tasks);

/* Calls `done` of finished tasks. Returns how many. */
int sora_tasks_step(struct sora_tasks *tasks);

/* Tasks that are not done. */
int sora_tasks_pending(const struct sora_tasks *tasks);

#endif
