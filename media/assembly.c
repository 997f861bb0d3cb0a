/* Joins the segment reader, the pipe, and the outputs. */
#include "media/assembly.h"

#include "base/clock.h"
#include "base/files.h"
#include "media/contact_sheet.h"
#include "media/frame_pipe.h"
#include "media/report.h"
#include "media/segment.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPORT_SIZE_MAX (16 << 20)
#define REPORT_SIDE_MIN 16
#define THREADS_MAX 64

enum { ENCODER, MEASURES, CONSUMERS };

struct sora_assembly {
    struct sora_assembly_begin begin;
    char folder[SORA_FILE_PATH_SIZE];
    struct sora_video_writer *video; /* the encoder's thread, but for create, convert, finish */
    struct sora_contact_sheet *contact;
    struct sora_report *report;   /* both: the measures' thread */
    struct sora_frame_pipe *pipe; /* frames for the measures, behind each the encoder's */
    size_t rgb_room;
    _Atomic int64_t preview_frames;
    int64_t frame_next;
    sora_time progress_at;
    void (*progress)(void *context, const struct sora_assembly_progress *progress);
    void *context;
    char file_name[256];
    bool video_written, contact_written, report_written, finished;
};

static const char *const codec_names[] = {
    [SORA_CODEC_H264] = "h264",     [SORA_CODEC_H265] = "h265", [SORA_CODEC_AV1] = "av1",
    [SORA_CODEC_PRORES] = "prores", [SORA_CODEC_FFV1] = "ffv1",
};

/* ---- parameters ---- */

static int check_begin(const struct sora_assembly_begin *begin, struct sora_fault *fault)
{
    const struct sora_bound bounds[] = {
        {"width", begin->width, 8, SORA_VIDEO_SIZE_MAX},
        {"height", begin->height, 8, SORA_VIDEO_SIZE_MAX},
        {"frame count", begin->frame_count, 1, SORA_REPORT_FRAMES_MAX},
        {"codec", begin->codec, SORA_CODEC_H264, SORA_CODEC_FFV1},
        {"thread count", begin->thread_count, 0, THREADS_MAX},
        {"tag count", begin->tag_count, 0, SORA_ASSEMBLY_TAGS_MAX},
        {"cut count", begin->cut_count, 0, SORA_ASSEMBLY_CUTS_MAX},
        {"window", begin->window_frames, 0, SORA_REPORT_FRAMES_MAX},
        {"overlap", begin->overlap_frames, 0, begin->window_frames},
        {"stride", begin->stride_frames, begin->window_frames > 0, SORA_REPORT_FRAMES_MAX},
    };
    int rc = sora_fault_bounds("assembly", bounds, sizeof(bounds) / sizeof(bounds[0]), fault);
    if (rc)
        return rc;
    for (int i = 0; i < begin->cut_count; i++) {
        int before = i > 0 ? begin->cuts[i - 1] : -1;
        if (begin->cuts[i] <= before || begin->cuts[i] >= begin->frame_count)
            return sora_fault_set(
                fault, SORA_E_INVALID,
                "assembly: cut %d is at frame %d; cuts must ascend and lie inside "
                "the %d frames",
                i, begin->cuts[i], begin->frame_count);
    }
    return SORA_OK;
}

/* Writes "FOLDER/NAME". */
static int join(const char *folder, const char *name, char out_path[SORA_FILE_PATH_SIZE],
                struct sora_fault *fault)
{
    int wrote = snprintf(out_path, SORA_FILE_PATH_SIZE, "%s/%s", folder, name);
    if (wrote < 0 || wrote >= SORA_FILE_PATH_SIZE)
        return sora_fault_set(fault, SORA_E_LIMIT, "an output path has more than %d bytes",
                              SORA_FILE_PATH_SIZE - 1);
    return SORA_OK;
}

/* ---- windows ---- */

struct overlap_list {
    struct sora_report_overlap *overlaps;
    int count, capacity;
};

static void add_overlap(struct overlap_list *list, int32_t first, int32_t end)
{
    if (first >= end)
        return;
    if (list->count < list->capacity)
        list->overlaps[list->count] = (struct sora_report_overlap){first, end};
    list->count++;
}

/* The windows of base/timeline.h on even steps, in frames: the last one is shifted back, so that it
 * ends with the take. The overlap of a later window begins one frame behind its throwaway latent,
 * `window - stride - overlap` frames after the window's start. */
static void take_overlaps(const struct sora_assembly_begin *begin, int32_t take, int32_t end,
                          struct overlap_list *list)
{
    int32_t window = begin->window_frames, stride = begin->stride_frames, frames = end - take;
    int32_t throwaway = window - stride - begin->overlap_frames;
    if (throwaway < 0)
        throwaway = 0;
    for (int32_t start = stride; start - stride + window < frames; start += stride) {
        int32_t last = frames - window, begins = start < last ? start : last;
        add_overlap(list, take + begins + throwaway, take + start - stride + window);
    }
}

int sora_assembly_overlaps(const struct sora_assembly_begin *begin,
                           struct sora_report_overlap *out_overlaps, int capacity)
{
    struct overlap_list list = {out_overlaps, 0, capacity};
    int32_t take = 0;
    if (begin->window_frames <= 0 || begin->stride_frames <= 0)
        return 0;
    for (int i = 0; i <= begin->cut_count; i++) {
        int32_t end = i < begin->cut_count ? begin->cuts[i] : begin->frame_count;
        take_overlaps(begin, take, end, &list);
        take = end;
    }
    return list.count;
}

/* ---- opening ---- */

static int open_video(struct sora_assembly *assembly, const struct sora_assembly_params *params,
                      struct sora_fault *fault)
{
    const struct sora_assembly_begin *begin = params->begin;
    char path[SORA_FILE_PATH_SIZE], preview[SORA_FILE_PATH_SIZE];
    if (!params->file_name || !*params->file_name || strchr(params->file_name, '/') ||
        strlen(params->file_name) >= sizeof(assembly->file_name))
        return sora_fault_set(fault, SORA_E_INVALID,
                              "the video's file name '%.100s' must be one name of 1 to 255 bytes "
                              "without '/'",
                              params->file_name ? params->file_name : "");
    snprintf(assembly->file_name, sizeof(assembly->file_name), "%s", params->file_name);
    int rc = join(params->folder, params->file_name, path, fault);
    if (!rc)
        rc = join(params->folder, SORA_ASSEMBLY_PREVIEW, preview, fault);
    if (rc)
        return rc;
    const struct sora_video_writer_params video = {
        .path = path,
        .width = begin->width,
        .height = begin->height,
        .fps = begin->fps,
        .fps_divisor = begin->fps_divisor,
        .codec = codec_names[begin->codec],
        .crf = begin->quality,
        .bitrate = begin->bitrate,
        .thread_count = begin->thread_count,
        .container = (enum sora_container)begin->container,
        .pixel_format = params->pixel_format,
        .preview_path = begin->preview ? preview : NULL,
        .tags = params->tags,
        .tag_count = begin->tag_count,
    };
    return sora_video_writer_create(&video, &assembly->video, fault);
}

static int open_contact(struct sora_assembly *assembly, const struct sora_assembly_params *params,
                        struct sora_fault *fault)
{
    const struct sora_assembly_begin *begin = params->begin;
    const struct sora_contact_sheet_params sheet = {
        .width = begin->width,
        .height = begin->height,
        .frame_count = begin->frame_count,
        .fps = begin->fps,
        .fps_divisor = begin->fps_divisor,
        .title = params->title,
    };
    return sora_contact_sheet_create(&sheet, &assembly->contact, fault);
}

static int open_report(struct sora_assembly *assembly, struct sora_fault *fault)
{
    const struct sora_assembly_begin *begin = &assembly->begin;
    struct sora_report_overlap *overlaps = calloc(SORA_REPORT_OVERLAPS_MAX, sizeof(*overlaps));
    if (!overlaps)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the report");
    int count = sora_assembly_overlaps(begin, overlaps, SORA_REPORT_OVERLAPS_MAX);
    const struct sora_report_params report = {
        .width = begin->width,
        .height = begin->height,
        .frame_count = begin->frame_count,
        .fps = begin->fps,
        .fps_divisor = begin->fps_divisor,
        .overlaps = overlaps,
        .overlap_count = count < SORA_REPORT_OVERLAPS_MAX ? count : SORA_REPORT_OVERLAPS_MAX,
        .period_frames = begin->stride_frames,
        .cuts = begin->cuts,
        .cut_count = begin->cut_count,
    };
    int rc = sora_report_create(&report, &assembly->report, fault);
    free(overlaps);
    return rc;
}

/* ---- the threads' work ---- */

static int encode(void *context, const uint8_t *frame, struct sora_fault *fault)
{
    struct sora_assembly *assembly = context;
    int rc = sora_video_writer_add_converted(assembly->video, frame + assembly->rgb_room, fault);
    atomic_store(&assembly->preview_frames, sora_video_writer_preview_count(assembly->video));
    return rc;
}

static int measure(void *context, const uint8_t *frame, struct sora_fault *fault)
{
    struct sora_assembly *assembly = context;
    (void)fault;
    if (assembly->contact)
        sora_contact_sheet_add(assembly->contact, frame);
    if (assembly->report)
        sora_report_add(assembly->report, frame);
    return SORA_OK;
}

static int open_all(struct sora_assembly *assembly, const struct sora_assembly_params *params,
                    struct sora_fault *fault)
{
    const struct sora_assembly_begin *begin = params->begin;
    /* Smaller or shorter than this there is nothing to measure. */
    bool report = begin->report && begin->frame_count >= 2 && begin->width >= REPORT_SIDE_MIN &&
                  begin->height >= REPORT_SIDE_MIN;
    const struct sora_frame_consumer consumers[CONSUMERS] = {
        [ENCODER] = {encode, assembly},
        [MEASURES] = {measure, assembly},
    };
    int rc = open_video(assembly, params, fault);
    if (!rc && begin->contact_sheet)
        rc = open_contact(assembly, params, fault);
    if (!rc && report)
        rc = open_report(assembly, fault);
    if (rc)
        return rc;
    bool measured = assembly->contact || assembly->report;
    assembly->rgb_room = (size_t)begin->width * (size_t)begin->height * 3;
    assembly->rgb_room += -assembly->rgb_room % (size_t)SORA_VIDEO_ALIGNMENT;
    return sora_frame_pipe_create(assembly->rgb_room +
                                      sora_video_writer_converted_size(assembly->video),
                                  consumers, measured ? CONSUMERS : 1, &assembly->pipe, fault);
}

int sora_assembly_create(const struct sora_assembly_params *params,
                         struct sora_assembly **out_assembly, struct sora_fault *fault)
{
    int rc = check_begin(params->begin, fault);
    if (rc)
        return rc;
    struct sora_assembly *assembly = calloc(1, sizeof(*assembly));
    if (!assembly)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory to assemble a video");
    assembly->begin = *params->begin;
    assembly->progress = params->progress;
    assembly->context = params->context;
    assembly->progress_at = sora_clock_now();
    int wrote = snprintf(assembly->folder, sizeof(assembly->folder), "%s", params->folder);
    if (wrote < 0 || (size_t)wrote >= sizeof(assembly->folder))
        rc = sora_fault_set(fault, SORA_E_LIMIT, "the output folder has more than %d bytes",
                            SORA_FILE_PATH_SIZE - 1);
    if (!rc)
        rc = open_all(assembly, params, fault);
    if (rc) {
        sora_assembly_destroy(&assembly);
        return rc;
    }
    *out_assembly = assembly;
    return SORA_OK;
}

static void remove_file(const struct sora_assembly *assembly, const char *name)
{
    char path[SORA_FILE_PATH_SIZE];
    if (!join(assembly->folder, name, path, NULL))
        unlink(path);
}

void sora_assembly_destroy(struct sora_assembly **assembly)
{
    struct sora_assembly *a = *assembly;
    if (!a)
        return;
    sora_frame_pipe_destroy(&a->pipe);
    sora_video_writer_destroy(&a->video);
    sora_contact_sheet_destroy(&a->contact);
    sora_report_destroy(&a->report);
    if (a->video_written && !a->finished) {
        remove_file(a, a->file_name);
        remove_file(a, SORA_ASSEMBLY_PREVIEW);
    }
    if (a->contact_written && !a->finished)
        remove_file(a, SORA_ASSEMBLY_CONTACT);
    if (a->report_written && !a->finished)
        remove_file(a, SORA_ASSEMBLY_REPORT);
    free(a);
    *assembly = NULL;
}

/* ---- frames ---- */

void sora_assembly_get_progress(struct sora_assembly *assembly,
                                struct sora_assembly_progress *out_progress)
{
    *out_progress = (struct sora_assembly_progress){
        .frames_done = (int32_t)sora_frame_pipe_taken(assembly->pipe, ENCODER),
        .preview_frames = (int32_t)atomic_load(&assembly->preview_frames),
    };
}

static void tell_progress(struct sora_assembly *assembly)
{
    sora_time now = sora_clock_now();
    if (!assembly->progress || now - assembly->progress_at < SORA_TIME_SECOND)
        return;
    struct sora_assembly_progress progress;
    sora_assembly_get_progress(assembly, &progress);
    assembly->progress_at = now;
    assembly->progress(assembly->context, &progress);
}

static int check_segment(const struct sora_assembly *assembly,
                         const struct sora_assembly_segment *segment, struct sora_fault *fault)
{
    if (segment->frame_first != assembly->frame_next)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "assembly: a segment begins at frame %d instead of %lld",
                              segment->frame_first, (long long)assembly->frame_next);
    int64_t left = assembly->begin.frame_count - assembly->frame_next;
    if (segment->skip < 0 || segment->count < 1 || segment->count > left)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "assembly: a segment of %d frames after %d; 1 to %lld are wanted",
                              segment->count, segment->skip, (long long)left);
    return SORA_OK;
}

static int read_frames(struct sora_assembly *assembly, struct sora_segment_reader *reader,
                       const char *path, int count, struct sora_fault *fault)
{
    for (int i = 0; i < count; i++) {
        uint8_t *frame = NULL;
        int rc = sora_frame_pipe_begin(assembly->pipe, &frame, fault);
        if (rc)
            return rc;
        rc = sora_segment_reader_next(reader, frame, fault);
        if (rc < 0)
            return rc;
        if (rc == 0)
            return sora_fault_set(fault, SORA_E_FORMAT, "%s ends %d frames too early", path,
                                  count - i);
        sora_video_writer_convert(assembly->video, frame, frame + assembly->rgb_room);
        sora_frame_pipe_commit(assembly->pipe);
        assembly->frame_next++;
        tell_progress(assembly);
    }
    return SORA_OK;
}

/* A frame of a segment takes about a third of the time that libx264 takes to encode it. */
static int decoder_threads(const struct sora_assembly_begin *begin)
{
    return 1 + begin->thread_count / 3;
}

int sora_assembly_segment(struct sora_assembly *assembly, const char *path,
                          const struct sora_assembly_segment *segment, struct sora_fault *fault)
{
    const struct sora_segment_reader_params params = {.path = path,
                                                      .width = assembly->begin.width,
                                                      .height = assembly->begin.height,
                                                      .thread_count =
                                                          decoder_threads(&assembly->begin)};
    struct sora_segment_reader *reader = NULL;
    int rc = check_segment(assembly, segment, fault);
    if (!rc)
        rc = sora_segment_reader_create(&params, &reader, fault);
    if (!rc)
        rc = sora_segment_reader_skip(reader, segment->skip, fault);
    if (!rc)
        rc = read_frames(assembly, reader, path, segment->count, fault);
    sora_segment_reader_close(&reader);
    return rc;
}

/* ---- the end ---- */

static int write_contact(struct sora_assembly *assembly, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    int rc = join(assembly->folder, SORA_ASSEMBLY_CONTACT, path, fault);
    if (!rc)
        rc = sora_contact_sheet_write(assembly->contact, path, fault);
    assembly->contact_written = !rc;
    return rc;
}

static int write_report(struct sora_assembly *assembly, const char *devices,
                        struct sora_bytes *table, struct sora_fault *fault)
{
    char path[SORA_FILE_PATH_SIZE];
    struct sora_report_result result;
    struct sora_bytes json;
    sora_bytes_init(&json, REPORT_SIZE_MAX);
    int rc = sora_report_finish(assembly->report, &result, fault);
    result.devices = devices;
    if (!rc && (sora_report_json(&result, &json) || sora_report_text(&result, table)))
        rc = sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for the report");
    if (!rc)
        rc = join(assembly->folder, SORA_ASSEMBLY_REPORT, path, fault);
    if (!rc)
        rc = sora_file_write(path, json.data, json.size, fault);
    assembly->report_written = !rc;
    sora_bytes_fini(&json);
    return rc;
}

/* The encoder still holds frames at the end; they are encoded while the report is evaluated. */
struct ending {
    struct sora_assembly *assembly;
    struct sora_fault fault;
    int rc;
};

static void *end_video(void *context)
{
    struct ending *ending = context;
    ending->rc = sora_video_writer_finish(ending->assembly->video, &ending->fault);
    return NULL;
}

static int write_measures(struct sora_assembly *assembly, const char *devices,
                          struct sora_bytes *table, struct sora_fault *fault)
{
    int rc = assembly->contact ? write_contact(assembly, fault) : SORA_OK;
    return !rc && assembly->report ? write_report(assembly, devices, table, fault) : rc;
}

static int finish_files(struct sora_assembly *assembly, const char *devices,
                        struct sora_bytes *table, struct sora_fault *fault)
{
    struct ending ending = {.assembly = assembly};
    pthread_t thread;
    bool beside = pthread_create(&thread, NULL, end_video, &ending) == 0;
    int rc = write_measures(assembly, devices, table, fault);
    if (beside)
        pthread_join(thread, NULL);
    else
        end_video(&ending);
    assembly->video_written = !ending.rc;
    return rc || !ending.rc ? rc : sora_fault_set(fault, ending.rc, "%s", ending.fault.text);
}

int sora_assembly_finish(struct sora_assembly *assembly, const char *devices,
                         struct sora_bytes *table, struct sora_fault *fault)
{
    if (assembly->frame_next != assembly->begin.frame_count)
        return sora_fault_set(fault, SORA_E_INVALID, "assembly: %lld of %d frames came",
                              (long long)assembly->frame_next, assembly->begin.frame_count);
    int rc = sora_frame_pipe_drain(assembly->pipe, fault);
    if (!rc)
        rc = finish_files(assembly, devices, table, fault);
    if (!rc) {
        atomic_store(&assembly->preview_frames, sora_video_writer_preview_count(assembly->video));
        assembly->finished = true;
    }
    return rc;
}
