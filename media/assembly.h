/*
 * Assembly: segments in, the finished video with preview, contact sheet and report out.
 *
 * Decoding and conversion happen in the caller's thread, encoding and measuring each in a thread of
 * its own, so that what is slowest decides alone. Files appear in the folder when they are whole;
 * the preview grows. Segments come from other members and are read as hostile (media/segment.h).
 *
 * Owned by whoever created it, one thread; segment and finish block for as long as they take.
 */
#ifndef SORA_MEDIA_ASSEMBLY_H
#define SORA_MEDIA_ASSEMBLY_H

#include "base/bytes.h"
#include "base/error.h"
#include "media/assembly_wire.h"
#include "media/video_writer.h"

struct sora_assembly;

struct sora_assembly_params {
    const struct sora_assembly_begin *begin; /* borrowed, like all strings */
    const char *folder, *file_name;          /* an existing folder; one name without '/' */
    const char *pixel_format;                /* NULL or "": the codec's own */
    const char *title;                       /* of the contact sheet; NULL or "": none */
    const struct sora_video_tag *tags;       /* begin->tag_count */
    /* Called from within segment and finish, in the caller's thread; at most once a second. NULL:
     * never. */
    void (*progress)(void *context, const struct sora_assembly_progress *progress);
    void *context; /* kept */
};

/* Errors: INVALID (a value out of range, with the limit), UNSUPPORTED, those of the output's files,
 * MEMORY. */
int sora_assembly_create(const struct sora_assembly_params *params,
                         struct sora_assembly **out_assembly, struct sora_fault *fault);

/* Without a successful finish, nothing is left in the folder. */
void sora_assembly_destroy(struct sora_assembly **assembly);

/* Takes `count` frames of the file after the first `skip`. Errors: INVALID (a gap, beyond the
 * end), those of media/segment.h (FORMAT when it has too few frames), those of writing. */
int sora_assembly_segment(struct sora_assembly *assembly, const char *path,
                          const struct sora_assembly_segment *segment, struct sora_fault *fault);

/* After the last frame: completes all files and appends the report's table to `table` (nothing
 * without a report). `devices` is for the report (media/report.h), NULL: not known. Errors: INVALID
 * (frames are missing), those of writing. */
int sora_assembly_finish(struct sora_assembly *assembly, const char *devices,
                         struct sora_bytes *table, struct sora_fault *fault);

void sora_assembly_get_progress(struct sora_assembly *assembly,
                                struct sora_assembly_progress *out_progress);

/* Overlaps of the windows of all takes, in frames of the video, ascending. Returns how many there
 * are; writes at most `capacity`. */
struct sora_report_overlap;
int sora_assembly_overlaps(const struct sora_assembly_begin *begin,
                           struct sora_report_overlap *out_overlaps, int capacity);

#endif
