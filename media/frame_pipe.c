/* A ring of frames with one place of writing and a place of reading per consumer. */
#include "media/frame_pipe.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES ((size_t)96 << 20)
#define QUEUE_FRAMES_MIN 3
#define QUEUE_FRAMES_MAX 64

struct consumer {
    struct sora_frame_pipe *pipe;
    struct sora_frame_consumer to;
    pthread_t thread;
    bool started;
    int64_t taken;
};

struct sora_frame_pipe {
    uint8_t *frames; /* [capacity][frame_size] */
    size_t frame_size;
    int64_t capacity, produced;
    struct consumer consumers[SORA_FRAME_PIPE_CONSUMERS_MAX];
    int consumer_count;
    struct sora_fault fault; /* the first */
    bool stop;
    pthread_mutex_t mutex; /* of all below frame_size */
    pthread_cond_t changed;
};

static uint8_t *frame_at(const struct sora_frame_pipe *pipe, int64_t index)
{
    return pipe->frames + (size_t)(index % pipe->capacity) * pipe->frame_size;
}

/* ---- consumers ---- */

static void *run(void *context)
{
    struct consumer *consumer = context;
    struct sora_frame_pipe *pipe = consumer->pipe;
    pthread_mutex_lock(&pipe->mutex);
    for (;;) {
        while (!pipe->stop && consumer->taken == pipe->produced)
            pthread_cond_wait(&pipe->changed, &pipe->mutex);
        if (pipe->stop)
            break;
        const uint8_t *frame = frame_at(pipe, consumer->taken);
        struct sora_fault fault = {0};
        pthread_mutex_unlock(&pipe->mutex);
        int rc = consumer->to.consume(consumer->to.context, frame, &fault);
        pthread_mutex_lock(&pipe->mutex);
        consumer->taken++;
        if (rc && !pipe->fault.code) {
            pipe->fault = fault;
            pipe->fault.code = rc;
        }
        if (rc)
            pipe->stop = true;
        pthread_cond_broadcast(&pipe->changed);
    }
    pthread_mutex_unlock(&pipe->mutex);
    return NULL;
}

/* ---- the producer ---- */

int sora_frame_pipe_create(size_t frame_size, const struct sora_frame_consumer *consumers,
                           int consumer_count, struct sora_frame_pipe **out_pipe,
                           struct sora_fault *fault)
{
    SORA_ASSERT(frame_size > 0);
    frame_size += -frame_size % SORA_FRAME_PIPE_ALIGNMENT;
    SORA_ASSERT(consumer_count > 0 && consumer_count <= SORA_FRAME_PIPE_CONSUMERS_MAX);
    struct sora_frame_pipe *pipe = calloc(1, sizeof(*pipe));
    if (!pipe)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for frames");
    size_t capacity = QUEUE_BYTES / frame_size;
    capacity = capacity < QUEUE_FRAMES_MIN ? QUEUE_FRAMES_MIN : capacity;
    capacity = capacity > QUEUE_FRAMES_MAX ? QUEUE_FRAMES_MAX : capacity;
    pthread_mutex_init(&pipe->mutex, NULL);
    pthread_cond_init(&pipe->changed, NULL);
    pipe->frame_size = frame_size;
    pipe->capacity = (int64_t)capacity;
    pipe->frames = aligned_alloc(SORA_FRAME_PIPE_ALIGNMENT, capacity * frame_size);
    bool failed = !pipe->frames;
    pipe->consumer_count = consumer_count;
    for (int i = 0; !failed && i < consumer_count; i++) {
        struct consumer *consumer = &pipe->consumers[i];
        consumer->pipe = pipe;
        consumer->to = consumers[i];
        failed = pthread_create(&consumer->thread, NULL, run, consumer) != 0;
        consumer->started = !failed;
    }
    if (failed) {
        sora_frame_pipe_destroy(&pipe);
        return sora_fault_set(fault, SORA_E_MEMORY,
                              "not enough memory or threads for frames of %zu bytes", frame_size);
    }
    *out_pipe = pipe;
    return SORA_OK;
}

static int64_t slowest(const struct sora_frame_pipe *pipe)
{
    int64_t least = pipe->produced;
    for (int i = 0; i < pipe->consumer_count; i++)
        least = pipe->consumers[i].taken < least ? pipe->consumers[i].taken : least;
    return least;
}

/* Waits until at most `left` frames are not taken by all. */
static int wait_until(struct sora_frame_pipe *pipe, int64_t left, struct sora_fault *fault)
{
    pthread_mutex_lock(&pipe->mutex);
    while (!pipe->stop && pipe->produced - slowest(pipe) > left)
        pthread_cond_wait(&pipe->changed, &pipe->mutex);
    struct sora_fault first = pipe->fault;
    pthread_mutex_unlock(&pipe->mutex);
    return first.code ? sora_fault_set(fault, first.code, "%s", first.text) : SORA_OK;
}

int sora_frame_pipe_begin(struct sora_frame_pipe *pipe, uint8_t **out_frame,
                          struct sora_fault *fault)
{
    int rc = wait_until(pipe, pipe->capacity - 1, fault);
    if (!rc)
        *out_frame = frame_at(pipe, pipe->produced);
    return rc;
}

void sora_frame_pipe_commit(struct sora_frame_pipe *pipe)
{
    pthread_mutex_lock(&pipe->mutex);
    pipe->produced++;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->mutex);
}

int sora_frame_pipe_drain(struct sora_frame_pipe *pipe, struct sora_fault *fault)
{
    return wait_until(pipe, 0, fault);
}

int64_t sora_frame_pipe_taken(struct sora_frame_pipe *pipe, int index)
{
    pthread_mutex_lock(&pipe->mutex);
    int64_t taken = pipe->consumers[index].taken;
    pthread_mutex_unlock(&pipe->mutex);
    return taken;
}

void sora_frame_pipe_destroy(struct sora_frame_pipe **pipe)
{
    struct sora_frame_pipe *p = *pipe;
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < p->consumer_count; i++) {
        if (p->consumers[i].started)
            pthread_join(p->consumers[i].thread, NULL);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    free(p->frames);
    free(p);
    *pipe = NULL;
}
