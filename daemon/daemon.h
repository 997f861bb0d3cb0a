/*
 * Daemon: one sorad, with everything that it holds, driven turn by turn.
 *
 * The owner calls sora_daemon_turn in a loop; a turn polls, steps all parts and delivers what came.
 * No part blocks; files are written by the threads of `disk` and `digests`. Several daemons may
 * live in one process (tests do that), each with a state of its own. One thread.
 */
#ifndef SORA_DAEMON_DAEMON_H
#define SORA_DAEMON_DAEMON_H

#include "daemon/config.h"
#include "proto/post.h"

struct sora_daemon;

/* Opens the state, listens, and starts the parts. Keeps `config`. Returns owned. Errors: those of
 * state, identity and link: BUSY (port or state in use), UNSUPPORTED, DENIED, FORMAT, INVALID. */
int sora_daemon_create(const struct sora_config *config, struct sora_daemon **out_daemon,
                       struct sora_fault *fault);
void sora_daemon_destroy(struct sora_daemon **daemon);

/* One turn: waits until there is something to do, at most until `deadline` or until `wake_fd` (-1
 * for none) is readable, and does it. Errors: DENIED when the door cannot be kept closed any more:
 * end the process. */
int sora_daemon_turn(struct sora_daemon *daemon, sora_time deadline, int wake_fd,
                     struct sora_fault *fault);

/* No new work; sora_daemon_is_drained tells when to end: nothing runs here any more, or this is the
 * farm's only node (then the newest checkpoints are what a restart goes on from), or nothing has
 * changed for 30 s. */
void sora_daemon_drain(struct sora_daemon *daemon);
bool sora_daemon_is_drained(const struct sora_daemon *daemon, sora_time now);

/* A line for systemd's status. */
void sora_daemon_status(const struct sora_daemon *daemon, char *out_text, size_t size);

/* Where the local user connects: "tcp://127.0.0.1:7710". */
const char *sora_daemon_endpoint(const struct sora_daemon *daemon);

#endif
