/*
 * Assembly wire: what the home and its `sora-worker assemble` child say to each other, as frames of
 * base/child.h. The child has no network, may read the blob store and write the output folder.
 */
#ifndef SORA_MEDIA_ASSEMBLY_WIRE_H
#define SORA_MEDIA_ASSEMBLY_WIRE_H

#include "base/job_options.h"

#include <stdint.h>

#define SORA_ASSEMBLY_CUTS_MAX 256
#define SORA_ASSEMBLY_TAGS_MAX 32

enum sora_assembly_command {
    SORA_ASSEMBLY_BEGIN = 1, /* sora_assembly_begin; payload: the strings, NUL-terminated, in the
                                order: output folder, file name, pixel format ("": the codec's own),
                                title, then key and value of each tag */
    SORA_ASSEMBLY_SEGMENT,   /* sora_assembly_segment; payload: path. Ascending, without gaps */
    SORA_ASSEMBLY_LATENTS,   /* sora_assembly_latents; payload: path of raw float32 latents; all
                                together make the latents file, take by take, ascending */
    SORA_ASSEMBLY_FINISH,    /* payload: classes of the devices, for the report, NUL-terminated */
};
enum sora_assembly_answer {
    SORA_ASSEMBLY_PROGRESS = 101, /* sora_assembly_progress: after each segment, and every second */
    SORA_ASSEMBLY_DONE,           /* sora_assembly_progress; payload: the report's short table */
    SORA_ASSEMBLY_FAILED,         /* sora_assembly_failed; payload: the sentence */
};

struct sora_assembly_begin {
    int32_t width, height, fps, fps_divisor, frame_count;
    int32_t codec;     /* enum sora_codec */
    int32_t quality;   /* CRF or the codec's own scale; 0: its default */
    int64_t bitrate;   /* bit/s instead of quality; 0: none */
    int32_t container; /* enum sora_container */
    int32_t preview, contact_sheet, report;
    int32_t thread_count, tag_count;
    /* For the report: windows' overlaps as frames, and hard cuts (first frame of a take). */
    int32_t window_frames, overlap_frames, stride_frames;
    int32_t cut_count;
    int32_t cuts[SORA_ASSEMBLY_CUTS_MAX];
    int32_t latent_channels, latent_height, latent_width;
};
struct sora_assembly_segment {
    int32_t frame_first; /* of the finished video */
    int32_t skip, count; /* frames of the file: skip that many, then use count */
};
struct sora_assembly_latents {
    int32_t take, first, end, skip; /* skip: latents at the file's start that are not used */
};
struct sora_assembly_progress {
    int32_t frames_done, preview_frames; /* frames in the preview that can be played now */
};
struct sora_assembly_failed {
    int32_t code;
};

/* Files that appear in the output folder, whole; the preview grows. */
#define SORA_ASSEMBLY_PREVIEW "preview.mkv"
#define SORA_ASSEMBLY_CONTACT "contact.png"
#define SORA_ASSEMBLY_REPORT "report.json"
#define SORA_ASSEMBLY_LATENTS_FILE "latents.safetensors"

#endif
