/*
 * Child: a process of our own program, with a two-way stream of frames, for an event loop.
 *
 * The parent's side never blocks: frames to the child wait in a bounded queue, frames from it are
 * handed out by step. A frame is a kind, a few numbers as bytes (`head`) and a payload. Parent and
 * child are the same build, so structs travel as they are; the child is not trusted all the same:
 * sizes are checked against limits, and what it says is checked by who asked. The child's standard
 * error goes to ours. One owner thread, which lives as long as the child: the child is killed when
 * the thread that started it ends. Its end is noticed when its stream closes; reporting that may
 * wait up to 0.2 s for a process that lingers, which is then killed. No SIGCHLD handler is needed,
 * and nobody else may wait for the process.
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

#define SORA_CHILD_HEAD_MAX 8192
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
 * is killed when we die (PR_SET_PDEATHSIG), its signals have their defaults and it is its own
 * process group, so that a terminal's Ctrl-C reaches the parent alone. Returns once the program
 * runs. Returns owned. Errors: NOT_FOUND, DENIED, MEMORY, IO. */
int sora_child_create(const struct sora_child_params *params, struct sora_child **out_child,
                      struct sora_fault *fault);

/* Kills (SIGKILL) and reaps. */
void sora_child_destroy(struct sora_child **child);

/* -1 once it has ended. */
pid_t sora_child_pid(const struct sora_child *child);

/* Copies a frame to the queue and writes what goes. Errors: FULL (try again after a step), IO (the
 * child is gone; step says why), LIMIT (longer than a frame or the whole queue may be), MEMORY. */
int sora_child_send(struct sora_child *child, const struct sora_frame *frame);

/* The descriptor and the poll(2) events that step waits for. */
int sora_child_fd(const struct sora_child *child, short *out_events);

/* Writes and reads what goes. 1: a frame, valid until the next call; 0: nothing for now; negative:
 * the child has ended or broken the protocol: `fault` says how ("killed by signal 9"), the same at
 * every further call. Frames sent before its end are handed out first. */
int sora_child_step(struct sora_child *child, struct sora_frame *out_frame,
                    struct sora_fault *fault);

/* Asks it to end (SIGTERM); step reports the end. */
void sora_child_terminate(struct sora_child *child);

/* ---- in the child ---- */

/* Whether descriptor 3 is a stream, that is, whether this program was started as a child. */
bool sora_child_self_present(void);
/* Blocks for the next frame, valid until the next call. 1: a frame; 0: the parent is gone;
 * negative: malformed, and the stream is useless. */
int sora_child_self_receive(struct sora_frame *out_frame, struct sora_fault *fault);
/* Blocks until written. Errors: IO, LIMIT. */
int sora_child_self_send(const struct sora_frame *frame);

#endif
