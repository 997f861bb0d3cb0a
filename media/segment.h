/*
 * Segment: frames between nodes without loss, as UT Video in Matroska.
 *
 * The same frames give the same bytes. Reading treats the file as hostile: magic bytes first, one
 * demuxer, one codec, limits on size, frames and time (media/video_reader has the reasons); do it
 * in a child without network. One thread at a time; every call may block on disk.
 */
#ifndef SORA_MEDIA_SEGMENT_H
#define SORA_MEDIA_SEGMENT_H

#include "base/error.h"

#include <stdint.h>

struct sora_segment_writer;
struct sora_segment_params {
    const char *path;  /* made whole or not at all */
    int width, height; /* 8..16384 a side, at most 8192 * 8192 pixels */
    int fps, fps_divisor;
    int thread_count; /* 0 means 1; changes no byte */
};
/* Errors: INVALID, LIMIT (the size), those of a file (NOT_FOUND, DENIED, SPACE, IO), MEMORY. */
int sora_segment_writer_create(const struct sora_segment_params *params,
                               struct sora_segment_writer **out_writer, struct sora_fault *fault);
/* width*height*3 bytes, R G B. */
int sora_segment_writer_add(struct sora_segment_writer *writer, const uint8_t *rgb,
                            struct sora_fault *fault);
/* Errors: INVALID without any frame, SPACE, IO. */
int sora_segment_writer_finish(struct sora_segment_writer *writer, struct sora_fault *fault);
/* Without a successful finish before, nothing is left. */
void sora_segment_writer_destroy(struct sora_segment_writer **writer);

/* Which frames, how many and of what pixels is the file's word: it has no checksums, blobs have
 * their digest (node/ and the store verify it). What cannot be decoded is FORMAT, the rest is a
 * picture of the expected size. */
struct sora_segment_reader;
struct sora_segment_reader_params {
    const char *path;
    int width, height; /* expected */
    int thread_count;  /* 0 means 1 */
};
/* Errors: NOT_FOUND, FORMAT (no segment, or of another size than expected), LIMIT, MEMORY, IO. */
int sora_segment_reader_create(const struct sora_segment_reader_params *params,
                               struct sora_segment_reader **out_reader, struct sora_fault *fault);
/* The same with one thread. */
int sora_segment_reader_open(const char *path, int width, int height,
                             struct sora_segment_reader **out_reader, struct sora_fault *fault);
/* Before the first frame is read: passes over `count` frames without decoding them. Errors: INVALID
 * (a frame was read), FORMAT (damaged, or fewer), IO. */
int sora_segment_reader_skip(struct sora_segment_reader *reader, int count,
                             struct sora_fault *fault);
/* 1: a frame in out_rgb (width*height*3 bytes); 0: the end; negative: damaged. */
int sora_segment_reader_next(struct sora_segment_reader *reader, uint8_t *out_rgb,
                             struct sora_fault *fault);
void sora_segment_reader_close(struct sora_segment_reader **reader);

#endif
