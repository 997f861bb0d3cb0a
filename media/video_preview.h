/*
 * Preview: a second file with an encoder's packets, which can be played while it grows.
 *
 * Matroska that is only appended to, of unknown length, whose clusters are closed and flushed every
 * half second: what a reader finds at any moment is a whole file up to there. Internal to media/;
 * one thread at a time; blocks on disk.
 */
#ifndef SORA_MEDIA_VIDEO_PREVIEW_H
#define SORA_MEDIA_VIDEO_PREVIEW_H

#include "media/video_writer.h"

#include <libavcodec/avcodec.h>

#include <stdbool.h>

struct sora_video_preview;

/* Replaces `path`. The encoder is borrowed for the call. Errors: NOT_FOUND, DENIED, UNSUPPORTED (a
 * codec that Matroska does not hold), SPACE, MEMORY, IO. */
int sora_video_preview_create(const char *path, const AVCodecContext *encoder,
                              const struct sora_video_tag *tags, int tag_count,
                              struct sora_video_preview **out_preview, struct sora_fault *fault);

/* Adds a packet in the encoder's time base; borrowed. Errors: SPACE, IO, MEMORY. */
int sora_video_preview_add(struct sora_video_preview *preview, const AVPacket *packet,
                           struct sora_fault *fault);

/* Frames that can be played now, from the first on without a gap. */
int64_t sora_video_preview_count(const struct sora_video_preview *preview);

/* Writes the end. Errors: SPACE, IO. */
int sora_video_preview_finish(struct sora_video_preview *preview, struct sora_fault *fault);

/* Removes the file unless `keep`. */
void sora_video_preview_destroy(struct sora_video_preview **preview, bool keep);

#endif
