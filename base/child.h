/*
 * Child: a process of our own program, with a two-way stream of frames, for an event loop.
 *
 * The parent's side never blocks: frames to the child wait in a bounded queue, frames from it are
 * handed out by step. A frame is a kind, a few numbers as bytes (`head`) and a payload. Parent and
 * child are the same build, so structs travel as they are; the child is not trusted all the same:
 * sizes are checked against limits, and what it says is checked by who asked. The child's standard
 * error goes to ours. One owner thread.
 *
 * The child's side (sora_child_self_*) blocks and is for the child's only thread.
 */
#ifndef SORA_BASE_CHILD_H
#define SORA_BASE_CHILD_H

#include "base/clock.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SORA_CHILD_HEAD_MAX 4096
#define SORA_CHILD_PAYLOAD_MAX ((size_t)1 << 30)

struct sora_frame {
    uint32_t kind;
    const void *head; /* [head_size], 8-byte aligned when received */
    size_t head_size;
    const void *payload; /* 16-byte aligned when received */
    size_t payload_size;
};

struct sora_child;

struct sora_child_params {
    const char *program;     /* path */
    const char *const *argv; /* argv[0].., NULL-terminated; the stream is descriptor 3 in it */
    size_t queue_bytes_max;  /* frames not yet written; 0 means 256 MiB */
};

/* Starts the program: all descriptors but 0 (/dev/null), 1 and 2 (our stderr) and 3 are closed, it
 * is killed when we die (PR_SET_PDEATHSIG). Returns owned. Errors: NOT_FOUND, DENIED, MEMORY, IO.
 */
int sora_child_create(const struct sora_child_params *params, struct sora_child **out_child,
                      struct sora_fault *fault);

/* Kills (SIGKILL) and reaps. */
void sora_child_destroy(struct sora_child **child);

pid_t sora_child_pid(const struct sora_child *child);

/* Copies a frame to the queue and writes what goes. Errors: FULL, IO (the child is gone; step says
 * why), LIMIT. */
int sora_child_send(struct sora_child *child, const struct sora_frame *frame);

/* The descriptor and the poll(2) events that step waits for. */
int sora_child_fd(const struct sora_child *child, short *out_events);

/* 1: a frame, valid until the next call; 0: nothing for now; negative: the child has ended or
 * broken the protocol: `fault` says how ("killed by signal 9"). */
int sora_child_step(struct sora_child *child, struct sora_frame *out_frame,
                    struct sora_fault *fault);

/* Asks it to end (SIGTERM); step reports the end. */
void sora_child_terminate(struct sora_child *child);

/* ---- in the child ---- */

/* Blocks for the next frame. 1: a frame; 0: the parent is gone; negative: malformed. */
int sora_child_self_receive(struct sora_frame *out_frame, struct sora_fault *fault);
/* Whether a frame could be received without blocking. */
bool sora_child_self_ready(void);
/* Blocks until written. Errors: IO. */
int sora_child_self_send(const struct sora_frame *frame);

#endif
