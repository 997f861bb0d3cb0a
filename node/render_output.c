/* Decodes the final latents frame by frame into every output of the job. */
#include "node/render_output.h"

#include "base/files.h"
#include "base/job_plan.h"
#include "base/timeline.h"
#include "media/contact_sheet.h"
#include "media/picture.h"
#include "media/report.h"
#include "media/video_writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define REPORT_SIZE_MAX (16 << 20)
#define H264_QUALITY 16
#define CHECKED_SIZE 64 /* whatever the plan: sizes are the plan's affair */

/* What one render writes; absent outputs are NULL. */
struct outputs {
    const struct sora_render_options *options;
    const struct sora_job_plan *plan;
    struct sora_video_writer *video;
    struct sora_contact_sheet *contact;
    struct sora_report *report;
    const char *device_class;
    int frames_dumped;
};

static int check_path(const char *path, struct sora_fault *fault)
{
    struct sora_file_part part = {0};
    int error = path ? sora_file_part_open(path, &part, fault) : 0;
    if (path && !error)
        sora_file_part_discard(&part);
    return error;
}

/* How the video is encoded, for a plan's size; the caller adds what it shows. */
static struct sora_video_writer_params video_params(const struct sora_render_options *options,
                                                    int width, int height)
{
    const struct sora_job_options *job = &options->job;
    struct sora_video_writer_params params = {
        .path = options->output,
        .width = width,
        .height = height,
        .codec = job->codec < 0 ? NULL : sora_codec_name((enum sora_codec)job->codec),
        .crf = job->quality == SORA_SETTING_INT_UNSET ? 0 : (int)job->quality,
        .bitrate = job->bitrate == SORA_SETTING_INT_UNSET ? 0 : job->bitrate,
        .pixel_format = job->pixel_format,
        .container = options->container,
        .thread_count = 1,
    };
    if (job->codec <= SORA_CODEC_H264 && params.crf == 0 && params.bitrate == 0)
        params.crf = H264_QUALITY;
    return params;
}

int sora_render_output_check(const struct sora_render_options *options, struct sora_fault *fault)
{
    struct sora_video_writer_params video = video_params(options, CHECKED_SIZE, CHECKED_SIZE);
    video.fps = 1;
    int error = sora_video_writer_check(&video, fault);
    const char *const paths[] = {options->output, options->contact, options->report,
                                 options->dump_latents};
    for (size_t i = 0; !error && i < sizeof(paths) / sizeof(paths[0]); i++)
        error = check_path(paths[i], fault);
    return error;
}

/* Frames per second as a fraction: whole numbers as they are, others to a thousandth. */
static int open_video(const struct sora_render_output_params *params, struct outputs *outputs,
                      struct sora_fault *fault)
{
    const struct sora_job_plan *plan = params->plan;
    char seed[32], steps[32];
    snprintf(seed, sizeof(seed), "%" PRIu64, plan->takes[0].seed);
    snprintf(steps, sizeof(steps), "%d", (int)plan->steps);
    const struct sora_video_tag tags[] = {
        {"title", params->title ? params->title : ""},
        {"comment", "made by Sorafarm " SORA_VERSION},
        {"sora_version", SORA_VERSION},
        {"sora_model", params->model_name},
        {"sora_seed", seed},
        {"sora_steps", steps},
    };
    struct sora_video_writer_params writer =
        video_params(params->options, plan->width, plan->height);
    writer.tags = tags;
    writer.tag_count = sizeof(tags) / sizeof(tags[0]);
    sora_job_frame_rate(plan->fps, &writer.fps, &writer.fps_divisor);
    return sora_video_writer_create(&writer, &outputs->video, fault);
}

static int open_contact(const struct sora_render_output_params *params, struct outputs *outputs,
                        struct sora_fault *fault)
{
    const struct sora_job_plan *plan = params->plan;
    struct sora_contact_sheet_params sheet = {
        .width = plan->width,
        .height = plan->height,
        .frame_count = plan->frame_count,
        .title = params->title,
    };
    sora_job_frame_rate(plan->fps, &sheet.fps, &sheet.fps_divisor);
    return sora_contact_sheet_create(&sheet, &outputs->contact, fault);
}

static int32_t first_frame(int32_t latent, int factor)
{
    return latent == 0 ? 0 : 1 + (latent - 1) * factor;
}

/* Frames that neighbouring windows of a take's even steps share. Returns the new count. */
static int find_overlaps(const struct sora_job_take *take, int factor,
                         struct sora_report_overlap *overlaps, int count)
{
    int windows = sora_timeline_window_count(&take->timeline, 0);
    for (int i = 0; i + 1 < windows && count < SORA_REPORT_OVERLAPS_MAX; i++) {
        struct sora_window left = sora_timeline_window(&take->timeline, 0, i);
        struct sora_window right = sora_timeline_window(&take->timeline, 0, i + 1);
        int32_t first = first_frame(right.payload_start, factor);
        int32_t end = first_frame(left.payload_end, factor);
        end = end < take->frame_count ? end : take->frame_count;
        if (first < end)
            overlaps[count++] =
                (struct sora_report_overlap){take->frame_first + first, take->frame_first + end};
    }
    return count;
}

static int open_report(const struct sora_render_output_params *params, struct outputs *outputs,
                       struct sora_fault *fault)
{
    const struct sora_job_plan *plan = params->plan;
    struct sora_report_overlap *overlaps = calloc(SORA_REPORT_OVERLAPS_MAX, sizeof(*overlaps));
    if (!overlaps)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the report");
    int count = 0, factor = sora_vae_config(params->vae)->temporal_factor;
    for (int32_t i = 0; i < plan->take_count; i++)
        count = find_overlaps(&plan->takes[i], factor, overlaps, count);
    struct sora_report_params report = {
        .width = plan->width,
        .height = plan->height,
        .frame_count = plan->frame_count,
        .overlaps = overlaps,
        .overlap_count = count,
    };
    sora_job_frame_rate(plan->fps, &report.fps, &report.fps_divisor);
    int error = sora_report_create(&report, &outputs->report, fault);
    free(overlaps);
    return error;
}

static int write_report(struct outputs *outputs, struct sora_fault *fault)
{
    struct sora_report_result result;
    struct sora_bytes json;
    sora_bytes_init(&json, REPORT_SIZE_MAX);
    int error = sora_report_finish(outputs->report, &result, fault);
    result.devices = outputs->device_class;
    if (!error && sora_report_json(&result, &json))
        error = sora_fault_set(fault, SORA_E_MEMORY, "out of memory for the report");
    if (!error)
        error = sora_file_write(outputs->options->report, json.data, json.size, fault);
    sora_bytes_fini(&json);
    return error;
}

/* Closes the outputs; unless all were finished, their files are removed. */
static void close_outputs(struct outputs *outputs, bool failed)
{
    sora_video_writer_destroy(&outputs->video);
    sora_contact_sheet_destroy(&outputs->contact);
    sora_report_destroy(&outputs->report);
    for (int i = 0; failed && i < outputs->frames_dumped; i++) {
        char path[PATH_SIZE];
        snprintf(path, sizeof(path), "%s/%06d.png", outputs->options->dump_frames, i);
        unlink(path);
    }
}

static int open_outputs(const struct sora_render_output_params *params, struct outputs *outputs,
                        struct sora_fault *fault)
{
    const struct sora_render_options *options = params->options;
    *outputs = (struct outputs){
        .options = options, .plan = params->plan, .device_class = params->device_class};
    int error = open_video(params, outputs, fault);
    if (!error && options->contact)
        error = open_contact(params, outputs, fault);
    if (!error && options->report)
        error = open_report(params, outputs, fault);
    if (!error && options->dump_frames)
        error = sora_file_make_dirs(options->dump_frames, fault);
    return error;
}

static int dump_frame(struct outputs *outputs, const uint8_t *rgb, struct sora_fault *fault)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%s/%06d.png", outputs->options->dump_frames,
             outputs->frames_dumped);
    int error = sora_picture_write(path, outputs->plan->width, outputs->plan->height, rgb, fault);
    if (!error)
        outputs->frames_dumped++;
    return error;
}

static int add_frame(struct outputs *outputs, const uint8_t *rgb, struct sora_fault *fault)
{
    int error = sora_video_writer_add(outputs->video, rgb, fault);
    if (!error && outputs->contact)
        sora_contact_sheet_add(outputs->contact, rgb);
    if (!error && outputs->report)
        sora_report_add(outputs->report, rgb);
    if (!error && outputs->options->dump_frames)
        error = dump_frame(outputs, rgb, fault);
    return error;
}

static int finish_outputs(struct outputs *outputs, struct sora_fault *fault)
{
    int error = sora_video_writer_finish(outputs->video, fault);
    if (!error && outputs->contact)
        error = sora_contact_sheet_write(outputs->contact, outputs->options->contact, fault);
    if (!error && outputs->report)
        error = write_report(outputs, fault);
    return error;
}

/* Where decoding stands. */
struct decoding {
    const struct sora_render_output_params *params;
    struct sora_vae_decoder *decoder;
    struct outputs *outputs;
    uint8_t *rgb; /* of one latent */
    int32_t done, total;
};

/* Decodes a take from its first latent; frames beyond its length are dropped. */
static int decode_take(struct decoding *decoding, const struct sora_job_take *take,
                       const float *latents, struct sora_fault *fault)
{
    const struct sora_render_output_params *params = decoding->params;
    const struct sora_job_plan *plan = params->plan;
    size_t frame_size = (size_t)plan->width * (size_t)plan->height * 3;
    size_t latent_size =
        (size_t)plan->channels * (size_t)plan->latent_height * (size_t)plan->latent_width;
    int error = 0;
    int32_t frames = 0;
    sora_vae_decoder_reset(decoding->decoder);
    for (int32_t i = 0; !error && i < take->timeline.latent_count; i++) {
        int count = 0;
        if (*params->control->cancelled)
            error = sora_fault_set(fault, SORA_E_CANCELLED, "interrupted while decoding");
        else
            error = sora_vae_decoder_next(decoding->decoder, latents + (size_t)i * latent_size,
                                          NULL, decoding->rgb, &count, fault);
        for (int j = 0; !error && j < count && frames < take->frame_count; j++, frames++)
            error = add_frame(decoding->outputs, decoding->rgb + (size_t)j * frame_size, fault);
        sora_progress_update(params->control->progress, ++decoding->done, decoding->total,
                             "latents");
    }
    return error;
}

static int decode_all(const struct sora_render_output_params *params,
                      struct sora_vae_decoder *decoder, struct outputs *outputs,
                      struct sora_fault *fault)
{
    const struct sora_job_plan *plan = params->plan;
    struct decoding decoding = {.params = params, .decoder = decoder, .outputs = outputs};
    for (int32_t i = 0; i < plan->take_count; i++)
        decoding.total += plan->takes[i].timeline.latent_count;
    decoding.rgb = malloc((size_t)plan->width * (size_t)plan->height * 3 *
                          (size_t)sora_vae_config(params->vae)->temporal_factor);
    if (!decoding.rgb)
        return sora_fault_set(fault, SORA_E_MEMORY, "out of memory for decoded frames");
    int error = 0;
    const float *latents = params->latents;
    for (int32_t i = 0; !error && i < plan->take_count; i++) {
        const struct sora_job_take *take = &plan->takes[i];
        error = decode_take(&decoding, take, latents, fault);
        latents += (size_t)take->timeline.latent_count * (size_t)plan->channels *
                   (size_t)plan->latent_height * (size_t)plan->latent_width;
    }
    free(decoding.rgb);
    return error;
}

int sora_render_output(const struct sora_render_output_params *params, struct sora_fault *fault)
{
    struct outputs outputs;
    struct sora_vae_decoder *decoder = NULL;
    int error = open_outputs(params, &outputs, fault);
    if (!error)
        error = sora_vae_decoder_create(params->vae, params->plan->latent_height,
                                        params->plan->latent_width, &decoder, fault);
    if (!error)
        error = decode_all(params, decoder, &outputs, fault);
    sora_vae_decoder_destroy(&decoder);
    if (!error)
        error = finish_outputs(&outputs, fault);
    close_outputs(&outputs, error != 0);
    return error;
}
