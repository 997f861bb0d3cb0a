/*
 * Sink: libav's output into a descriptor that we opened. Internal to media/; one thread at a time;
 * writes block on disk.
 */
#ifndef SORA_MEDIA_AV_SINK_H
#define SORA_MEDIA_AV_SINK_H

#include <libavformat/avio.h>

#include <stdbool.h>

/* Keeps `fd`, which stays open behind the sink. A sink without `seekable` only appends, so that a
 * reader of the growing file never sees a byte change. NULL: no memory. */
AVIOContext *sora_av_sink_create(int fd, bool seekable);

/* Flushes. Returns 0 or the first error as a negative AVERROR value. Accepts NULL. */
int sora_av_sink_destroy(AVIOContext **sink);

#endif
