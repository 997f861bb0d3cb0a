/*
 * One worker thread between two rings: what waits and what has finished. Both have room for
 * queue_max tasks, and the owner counts what is under way, so neither can overflow. An eventfd
 * tells the owner's loop that the second ring is not empty.
 */
#include "base/tasks.h"

#include "base/ring.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUEUE_LIMIT 65536
#define NAME_SIZE 16 /* with its NUL; the kernel's limit */

struct sora_tasks {
    /* The owner's. */
    int pending, queue_max, fd;
    bool closing, has_lock, has_wake, has_thread;
    pthread_t thread;
    char name[NAME_SIZE];
    /* Both threads', under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct sora_ring waiting, finished;
    bool stop;
};

/* ---- the thread ---- */

/* The next task; false when there is none and none will come. */
static bool take_task(struct sora_tasks *tasks, struct sora_task *out_task)
{
    pthread_mutex_lock(&tasks->lock);
    while (tasks->waiting.count == 0 && !tasks->stop)
        pthread_cond_wait(&tasks->wake, &tasks->lock);
    bool found = sora_ring_pop(&tasks->waiting, out_task);
    pthread_mutex_unlock(&tasks->lock);
    return found;
}

static void hand_back(struct sora_tasks *tasks, const struct sora_task *task)
{
    pthread_mutex_lock(&tasks->lock);
    int rc = sora_ring_push(&tasks->finished, task);
    pthread_mutex_unlock(&tasks->lock);
    SORA_ASSERT(rc == SORA_OK);
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(tasks->fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
}

static void *worker(void *argument)
{
    struct sora_tasks *tasks = argument;
    pthread_setname_np(pthread_self(), tasks->name);
    struct sora_task task;
    while (take_task(tasks, &task)) {
        task.run(task.context);
        hand_back(tasks, &task);
    }
    return NULL;
}

/* ---- the owner ---- */

/* Signals stay with the threads that want them. */
static int start_thread(struct sora_tasks *tasks)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    tasks->has_thread = pthread_create(&tasks->thread, NULL, worker, tasks) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return tasks->has_thread ? SORA_OK : SORA_E_INTERNAL;
}

static int start(struct sora_tasks *tasks)
{
    size_t capacity = (size_t)tasks->queue_max;
    if (sora_ring_init(&tasks->waiting, capacity, sizeof(struct sora_task)) ||
        sora_ring_init(&tasks->finished, capacity, sizeof(struct sora_task)))
        return SORA_E_MEMORY;
    tasks->has_lock = pthread_mutex_init(&tasks->lock, NULL) == 0;
    tasks->has_wake = pthread_cond_init(&tasks->wake, NULL) == 0;
    tasks->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!tasks->has_lock || !tasks->has_wake || tasks->fd < 0)
        return SORA_E_INTERNAL;
    return start_thread(tasks);
}

int sora_tasks_create(const char *name, int queue_max, struct sora_tasks **out_tasks,
                      struct sora_fault *fault)
{
    if (queue_max < 1 || queue_max > QUEUE_LIMIT)
        return sora_fault_set(fault, SORA_E_INVALID, "a queue of %d tasks; 1 to %d are possible",
                              queue_max, QUEUE_LIMIT);
    struct sora_tasks *tasks = calloc(1, sizeof(*tasks));
    if (!tasks)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for a thread's tasks");
    tasks->fd = -1;
    tasks->queue_max = queue_max;
    snprintf(tasks->name, sizeof(tasks->name), "%s", name);
    int rc = start(tasks);
    if (rc) {
        sora_tasks_destroy(&tasks);
        return sora_fault_set(fault, rc, "cannot start thread %s: %s", name, sora_error_text(rc));
    }
    *out_tasks = tasks;
    return SORA_OK;
}

static void wait_readable(const struct sora_tasks *tasks)
{
    struct pollfd item = {.fd = tasks->fd, .events = POLLIN};
    (void)poll(&item, 1, -1);
}

void sora_tasks_destroy(struct sora_tasks **tasks)
{
    struct sora_tasks *gone = *tasks;
    if (!gone)
        return;
    gone->closing = true;
    while (gone->pending > 0 && gone->has_thread) {
        wait_readable(gone);
        sora_tasks_step(gone);
    }
    if (gone->has_thread) {
        pthread_mutex_lock(&gone->lock);
        gone->stop = true;
        pthread_cond_signal(&gone->wake);
        pthread_mutex_unlock(&gone->lock);
        pthread_join(gone->thread, NULL);
    }
    if (gone->has_wake)
        pthread_cond_destroy(&gone->wake);
    if (gone->has_lock)
        pthread_mutex_destroy(&gone->lock);
    if (gone->fd >= 0)
        close(gone->fd);
    sora_ring_fini(&gone->waiting);
    sora_ring_fini(&gone->finished);
    free(gone);
    *tasks = NULL;
}

int sora_tasks_post(struct sora_tasks *tasks, const struct sora_task *task)
{
    SORA_ASSERT(task->run);
    if (tasks->closing)
        return SORA_E_CANCELLED;
    if (tasks->pending == tasks->queue_max)
        return SORA_E_FULL;
    pthread_mutex_lock(&tasks->lock);
    int rc = sora_ring_push(&tasks->waiting, task);
    pthread_cond_signal(&tasks->wake);
    pthread_mutex_unlock(&tasks->lock);
    SORA_ASSERT(rc == SORA_OK);
    tasks->pending++;
    return SORA_OK;
}

int sora_tasks_fd(const struct sora_tasks *tasks)
{
    return tasks->fd;
}

static bool take_finished(struct sora_tasks *tasks, struct sora_task *out_task)
{
    pthread_mutex_lock(&tasks->lock);
    bool found = sora_ring_pop(&tasks->finished, out_task);
    pthread_mutex_unlock(&tasks->lock);
    return found;
}

int sora_tasks_step(struct sora_tasks *tasks)
{
    /* Emptied first: a task that finishes from now on makes it readable again. */
    uint64_t finished;
    ssize_t got = read(tasks->fd, &finished, sizeof(finished));
    (void)got;
    struct sora_task task;
    int count = 0;
    while (count < tasks->queue_max && take_finished(tasks, &task)) {
        tasks->pending--;
        count++;
        if (task.done)
            task.done(task.context);
    }
    if (count == tasks->queue_max) {
        uint64_t one = 1; /* there may be more; the next step looks */
        got = write(tasks->fd, &one, sizeof(one));
        (void)got;
    }
    return count;
}

int sora_tasks_pending(const struct sora_tasks *tasks)
{
    return tasks->pending;
}
