/*
 * Frame pipe: frames from one producer to a few consumers, each on a thread of its own, all frames
 * in order to each.
 *
 * The queue is bounded by memory: when it is full, the producer waits for the slowest consumer. The
 * first error of a consumer stops all. Owned by the producer's thread; begin, drain and destroy
 * block.
 */
#ifndef SORA_MEDIA_FRAME_PIPE_H
#define SORA_MEDIA_FRAME_PIPE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct sora_frame_pipe;

#define SORA_FRAME_PIPE_CONSUMERS_MAX 4
#define SORA_FRAME_PIPE_ALIGNMENT ((size_t)64) /* of each frame */

struct sora_frame_consumer {
    /* On the consumer's thread; `frame` is borrowed. A negative result ends the pipe. */
    int (*consume)(void *context, const uint8_t *frame, struct sora_fault *fault);
    void *context;
};

/* Starts the threads. `consumers` is borrowed, the contexts are kept. Returns owned. Errors: MEMORY
 * (frames or threads). */
int sora_frame_pipe_create(size_t frame_size, const struct sora_frame_consumer *consumers,
                           int consumer_count, struct sora_frame_pipe **out_pipe,
                           struct sora_fault *fault);

/* Waits for room and gives the memory of the next frame; commit hands it out. Errors: the
 * consumers' first. */
int sora_frame_pipe_begin(struct sora_frame_pipe *pipe, uint8_t **out_frame,
                          struct sora_fault *fault);
void sora_frame_pipe_commit(struct sora_frame_pipe *pipe);

/* Waits until every consumer has taken every frame. Errors: the consumers' first. */
int sora_frame_pipe_drain(struct sora_frame_pipe *pipe, struct sora_fault *fault);

/* Frames that consumer `index` has taken. */
int64_t sora_frame_pipe_taken(struct sora_frame_pipe *pipe, int index);

/* Lets each consumer finish the frame in its hands, drops the rest, ends the threads. */
void sora_frame_pipe_destroy(struct sora_frame_pipe **pipe);

#endif
