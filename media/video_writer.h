/*
 * Video writer: RGB frames in, one finished .mp4, .mov or .mkv out, and at will a preview that can
 * be played while it grows, from the same encoding.
 *
 * The file grows under a temporary name in the target's folder and gets its own name only when it
 * is complete; whatever fails or is aborted leaves nothing behind. The same frames and parameters
 * give the same bytes (no dates, no library versions but the encoder's own note in the stream).
 * Colours: full-range sRGB in, BT.709 limited range YUV out, tagged so; or RGB
 * unchanged, where the pixel format is one.
 *
 * codec   quality (default)   pixel formats (the default first)                  files
 * h264    crf 1..51 (18)      yuv420p yuv422p yuv444p and these with 10le        mp4 mov mkv
 * h265    crf 1..51 (20)      the same                                           mp4 mov mkv
 * av1     crf 1..63 (28)      yuv420p yuv420p10le                                mp4 mkv
 * prores  profile 1..6 (4)    yuv422p10le yuv444p10le                            mov mkv
 * ffv1    none: lossless      bgr0, and those of h264                            mkv
 *
 * Owned by whoever created it; one thread at a time; every call may block on encoding and disk.
 */
#ifndef SORA_MEDIA_VIDEO_WRITER_H
#define SORA_MEDIA_VIDEO_WRITER_H

#include "base/error.h"
#include "base/job_options.h"

#include <stddef.h>
#include <stdint.h>

struct sora_video_writer;

#define SORA_VIDEO_SIZE_MAX 16384 /* pixels of a side */
#define SORA_VIDEO_FPS_MAX 240
#define SORA_VIDEO_TAGS_MAX 64
#define SORA_VIDEO_ALIGNMENT 64

/* A metadata entry of the file, as "seed" = "42". Any key; UTF-8. */
struct sora_video_tag {
    const char *key, *value;
};

struct sora_video_writer_params {
    const char *path;   /* an existing file is replaced when the new one is complete */
    int width, height;  /* 2..SORA_VIDEO_SIZE_MAX; even where the pixel format halves the colours */
    int fps;            /* frames per second = fps / fps_divisor, at most SORA_VIDEO_FPS_MAX */
    int fps_divisor;    /* 0 means 1; at most 1001 */
    const char *codec;  /* a name of the table above; NULL means h264 */
    const char *preset; /* the encoder's preset; NULL means medium (AV1: 8) */
    int crf;            /* the codec's quality scale; 0 means its default */
    int thread_count;   /* 0 means 1; the bytes may differ between thread counts; at most 64 */
    const struct sora_video_tag *tags; /* borrowed for the call */
    int tag_count;                     /* 0..SORA_VIDEO_TAGS_MAX */
    enum sora_container container;
    int64_t bitrate;          /* bit/s instead of crf, which is then 0; 0: none */
    const char *pixel_format; /* NULL or "" means the codec's default */
    const char *preview_path; /* Matroska that grows under its own name; NULL: none */
};

/* Whether such a video can be made, as far as that shows without opening anything; `path` is not
 * looked at. Errors: those about values of create. */
int sora_video_writer_check(const struct sora_video_writer_params *params,
                            struct sora_fault *fault);

/* Opens the temporary file and the encoder. Errors: INVALID (a value out of range or an odd size,
 * with the nearest good ones; a path that is no ordinary file), UNSUPPORTED (no such codec, or not
 * in this libav), NOT_FOUND, DENIED, SPACE, MEMORY, IO. */
int sora_video_writer_create(const struct sora_video_writer_params *params,
                             struct sora_video_writer **out_writer, struct sora_fault *fault);

/* Adds the next frame: width*height*3 bytes, R G B, rows from the top. Errors: SPACE, IO, MEMORY;
 * after an error only destroy is useful. */
int sora_video_writer_add(struct sora_video_writer *writer, const uint8_t *rgb,
                          struct sora_fault *fault);

/* The same in two halves. Converting writes converted_size bytes to `out_converted`, aligned to
 * SORA_VIDEO_ALIGNMENT; it may run in one thread while another one adds. */
size_t sora_video_writer_converted_size(const struct sora_video_writer *writer);
void sora_video_writer_convert(struct sora_video_writer *writer, const uint8_t *rgb,
                               uint8_t *out_converted);
int sora_video_writer_add_converted(struct sora_video_writer *writer, const uint8_t *converted,
                                    struct sora_fault *fault);

/* Frames added so far, and frames of the preview that can be played now. */
int64_t sora_video_writer_count(const struct sora_video_writer *writer);
int64_t sora_video_writer_preview_count(const struct sora_video_writer *writer);

/* Completes the file (index moved to the front), flushes it to disk and gives it its name. Errors:
 * INVALID without any frame, SPACE, IO. Destroy afterwards in any case. */
int sora_video_writer_finish(struct sora_video_writer *writer, struct sora_fault *fault);

/* The temporary file's path, for a signal handler that must unlink it; "" once finished. Borrows
 * the writer. */
const char *sora_video_writer_temporary(const struct sora_video_writer *writer);

/* Frees the writer; without a successful finish before, removes the partial file and the
 * preview. */
void sora_video_writer_destroy(struct sora_video_writer **writer);

#endif
