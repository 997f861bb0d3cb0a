/*
 * Video reader: the frames of one .mp4 or .mkv as RGB, for the measures and the tests.
 *
 * Meant for this project's own results. Even so it opens one descriptor and nothing else: the
 * container must be Matroska or the ISO family by its first bytes, other demuxers and codecs are
 * switched off, references to further files are refused, and sizes are bounded.
 *
 * Owned by whoever opened it; one thread at a time; calls block on disk and decoding.
 */
#ifndef SORA_MEDIA_VIDEO_READER_H
#define SORA_MEDIA_VIDEO_READER_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct sora_video_reader;

#define SORA_VIDEO_READER_PIXELS_MAX (8192 * 8192)

struct sora_video_info {
    int width, height;
    int fps, fps_divisor; /* frames per second as a fraction */
    int64_t frame_count;  /* as the file says; 0 when it does not */
    bool limited_range, bt709;
};

/* Errors: NOT_FOUND, DENIED, INVALID (a folder), FORMAT (no such container, damaged, no video),
 * UNSUPPORTED (codec), LIMIT (more than SORA_VIDEO_READER_PIXELS_MAX pixels), MEMORY, IO. */
int sora_video_reader_open(const char *path, struct sora_video_reader **out_reader,
                           struct sora_fault *fault);
void sora_video_reader_destroy(struct sora_video_reader **reader);

/* Borrows the reader. */
const struct sora_video_info *sora_video_reader_info(const struct sora_video_reader *reader);

/* The file's metadata value of `key`, NULL when absent. Borrows the reader. */
const char *sora_video_reader_tag(const struct sora_video_reader *reader, const char *key);

/* Decodes the next frame into out_rgb, width*height*3 bytes. *out_got is false at the end, and
 * out_rgb then keeps its content. Errors: FORMAT (damaged), LIMIT (the size changes), MEMORY, IO.
 */
int sora_video_reader_next(struct sora_video_reader *reader, uint8_t *out_rgb, bool *out_got,
                           struct sora_fault *fault);

#endif
