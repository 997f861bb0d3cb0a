/*
 * Log ring: the last lines of the daemon's log, for `soractl logs`.
 *
 * One for the process, because the log is. Any thread logs into it; reading is for any thread too.
 * A fixed number of lines of a fixed length: the oldest are lost.
 */
#ifndef SORA_DAEMON_LOG_RING_H
#define SORA_DAEMON_LOG_RING_H

#include <stddef.h>

#define SORA_LOG_RING_LINES 512
#define SORA_LOG_LINE_SIZE 400

/* Becomes the log's sink. */
void sora_log_ring_start(void);
/* Copies up to `max` of the newest lines, the oldest first; returns how many. */
size_t sora_log_ring_read(char (*out_lines)[SORA_LOG_LINE_SIZE], size_t max);

#endif
