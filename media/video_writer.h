/*
 * Video writer: RGB frames in, one finished .mp4 out.
 *
 * The file grows under a temporary name in the target's folder and gets its own name only when it
 * is complete; whatever fails or is aborted leaves nothing behind. The same frames and parameters
 * give the same bytes (no dates, no library versions but the encoder's own note in the stream).
 * Colours: full-range sRGB in, BT.709 limited range YUV 4:2:0 out, tagged so.
 *
 * Owned by whoever created it; one thread at a time; every call may block on encoding and disk.
 */
#ifndef SORA_MEDIA_VIDEO_WRITER_H
#define SORA_MEDIA_VIDEO_WRITER_H

#include "base/error.h"

#include <stdint.h>

struct sora_video_writer;

#define SORA_VIDEO_SIZE_MAX 16384 /* pixels of a side */
#define SORA_VIDEO_FPS_MAX 240
#define SORA_VIDEO_TAGS_MAX 64

/* A metadata entry of the file, as "seed" = "42". Any key; UTF-8. */
struct sora_video_tag {
    const char *key, *value;
};

struct sora_video_writer_params {
    const char *path;   /* an existing file is replaced when the new one is complete */
    int width, height;  /* even, 2..SORA_VIDEO_SIZE_MAX: 4:2:0 has no odd sizes */
    int fps;            /* frames per second = fps / fps_divisor, at most SORA_VIDEO_FPS_MAX */
    int fps_divisor;    /* 0 means 1; at most 1001 */
    const char *codec;  /* a libav video encoder that takes yuv420p; NULL means libx264 */
    const char *preset; /* the encoder's preset; NULL means medium */
    int crf;            /* constant rate factor 1..51, lower is better; 0 means 18 */
    int thread_count;   /* 0 means 1; the bytes may differ between thread counts; at most 64 */
    const struct sora_video_tag *tags; /* borrowed for the call */
    int tag_count;                     /* 0..SORA_VIDEO_TAGS_MAX */
};

/* Opens the temporary file and the encoder. Errors: INVALID (a value out of range or an odd size,
 * with the nearest good ones; a path that is no ordinary file), UNSUPPORTED (encoder not in this
 * libav), NOT_FOUND, DENIED, SPACE, MEMORY, IO. */
int sora_video_writer_create(const struct sora_video_writer_params *params,
                             struct sora_video_writer **out_writer, struct sora_fault *fault);

/* Adds the next frame: width*height*3 bytes, R G B, rows from the top. Errors: SPACE, IO, MEMORY;
 * after an error only destroy is useful. */
int sora_video_writer_add(struct sora_video_writer *writer, const uint8_t *rgb,
                          struct sora_fault *fault);

/* Frames added so far. */
int64_t sora_video_writer_count(const struct sora_video_writer *writer);

/* Completes the file (index moved to the front), flushes it to disk and gives it its name. Errors:
 * INVALID without any frame, SPACE, IO. Destroy afterwards in any case. */
int sora_video_writer_finish(struct sora_video_writer *writer, struct sora_fault *fault);

/* The temporary file's path, for a signal handler that must unlink it; "" once finished. Borrows
 * the writer. */
const char *sora_video_writer_temporary(const struct sora_video_writer *writer);

/* Frees the writer; without a successful finish before, removes the partial file. */
void sora_video_writer_destroy(struct sora_video_writer **writer);

#endif
