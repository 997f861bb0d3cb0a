/*
 * Assembly: one `sora-worker assemble` child per job gets the frames in order as they come, take by
 * take, and makes the video, its preview, contact sheet, report and latents.
 *
 * Pieces of different owners and cuts may overlap; they are taken by frame, so nothing is doubled.
 * A child that ends early, or a home that starts anew, begins again with the pieces that are here.
 * At most assemblies_max run, by priority; a job whose frames are all here takes the place of one
 * that still waits for some.
 */
#include "base/job_plan.h"
#include "scheduler/home_parts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS_MAX 3
#define PAUSE_NS (10 * SORA_TIME_SECOND)
#define QUALITY_H264 16
#define TAGS_MAX 8
#define TAG_SIZE 192

/* ---- the order of frames ---- */

const struct sora_store_piece *home_piece_at(const struct home_take *take, int32_t frame)
{
    const struct sora_store_piece *best = NULL;
    for (size_t i = 0; i < take->piece_count; i++) {
        const struct sora_store_piece *piece = &take->pieces[i].row;
        if (piece->frame_first <= frame && frame - piece->frame_first < piece->frame_count &&
            (!best ||
             piece->frame_first + piece->frame_count > best->frame_first + best->frame_count))
            best = piece;
    }
    return best;
}

static bool path_of(struct sora_home *home, const struct sora_store_blob *blob, char *out,
                    size_t size, struct sora_fault *fault)
{
    struct sora_digest digest = home_digest(blob);
    return sora_blob_store_path(home->params.blobs, &digest, out, size, fault) == SORA_OK;
}

/* 1: handed in; 0: not now; negative: it cannot go on. */
static int feed_piece(struct sora_home *home, struct home_job *job, struct sora_fault *fault)
{
    struct home_assembly *assembly = &job->assembly;
    struct home_take *take = &job->takes[assembly->take];
    const struct sora_job_take *planned = &job->plan->takes[assembly->take];
    const struct sora_store_piece *piece = home_piece_at(take, assembly->frame);
    char path[SORA_FILE_PATH_SIZE];
    if (!piece)
        return 0;
    if (!path_of(home, &piece->blob, path, sizeof(path), fault))
        return home_forget_pieces(home, take) ? 1 : fault->code;
    int32_t end = piece->frame_first + piece->frame_count;
    end = end < planned->frame_count ? end : planned->frame_count;
    const struct sora_assembly_segment segment = {.frame_first =
                                                      planned->frame_first + assembly->frame,
                                                  .skip = assembly->frame - piece->frame_first,
                                                  .count = end - assembly->frame};
    int rc = sora_assembler_segment(assembly->assembler, path, &segment);
    if (rc == SORA_E_FULL || rc == SORA_E_IO)
        return 0;
    if (rc)
        return sora_fault_set(fault, rc, "frames %d+%d of take %d cannot be assembled: %s",
                              segment.skip, segment.count, assembly->take, sora_error_text(rc));
    assembly->frame = end;
    if (end == planned->frame_count) {
        assembly->take++;
        assembly->frame = 0;
    }
    return 1;
}

/* Whether the farm waits for nothing but the assembly. */
static bool is_ready(const struct sora_home *home, const struct home_job *job)
{
    for (int32_t t = 0; t < job->take_count; t++) {
        struct sora_farm_job_view view;
        if (sora_farm_job_view(home->farm, &job->takes[t].id, &view) != SORA_OK ||
            view.state != SORA_JOB_ASSEMBLING)
            return false;
    }
    return true;
}

static int feed_latents(struct sora_home *home, struct home_job *job, struct sora_fault *fault)
{
    struct home_assembly *assembly = &job->assembly;
    struct home_take *take = &job->takes[assembly->latent_take];
    const struct sora_store_part *part = home_find_part(NULL, take, job->steps, assembly->latent);
    char path[SORA_FILE_PATH_SIZE];
    if (!part)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "the latents of take %d are not here",
                              assembly->latent_take);
    if (!path_of(home, &part->blob, path, sizeof(path), fault))
        return home_go_back(home, take) ? is_ready(home, job) : fault->code;
    const struct sora_assembly_latents latents = {.take = assembly->latent_take,
                                                  .first = assembly->latent,
                                                  .end = part->latents.end,
                                                  .skip = assembly->latent - part->latents.first};
    int rc = sora_assembler_latents(assembly->assembler, path, &latents);
    if (rc == SORA_E_FULL || rc == SORA_E_IO)
        return 0;
    if (rc)
        return sora_fault_set(fault, rc, "the latents of take %d cannot be kept: %s",
                              assembly->latent_take, sora_error_text(rc));
    assembly->latent = part->latents.end;
    if (assembly->latent == job->plan->takes[assembly->latent_take].timeline.latent_count) {
        assembly->latent_take++;
        assembly->latent = 0;
    }
    return 1;
}

static int feed(struct sora_home *home, struct home_job *job, struct sora_fault *fault)
{
    struct home_assembly *assembly = &job->assembly;
    const Farm__Output *output = home_spec(job)->output;
    int rc = 1;
    while (rc > 0 && assembly->take < job->take_count)
        rc = feed_piece(home, job, fault);
    if (rc <= 0 || assembly->finished || !is_ready(home, job))
        return rc < 0 ? rc : 0;
    while (rc > 0 && output && output->latents && assembly->latent_take < job->take_count)
        rc = feed_latents(home, job, fault);
    if (rc <= 0)
        return rc;
    rc = sora_assembler_finish(assembly->assembler, job->device_classes);
    assembly->finished = rc == SORA_OK;
    return rc == SORA_OK || rc == SORA_E_FULL || rc == SORA_E_IO
               ? 0
               : sora_fault_set(fault, rc, "the assembly cannot end: %s", sora_error_text(rc));
}

/* ---- begin ---- */

/* As `sora-worker render` has it, so that a farm's file is the same. */
static int32_t quality_of(const Farm__Output *output)
{
    if (output && (output->quality || output->bitrate))
        return (int32_t)output->quality;
    return home_codec(output) == SORA_CODEC_H264 ? QUALITY_H264 : 0;
}

static void fill_begin(const struct sora_home *home, const struct home_job *job,
                       struct sora_assembly_begin *out)
{
    const struct sora_job_plan *plan = job->plan;
    const struct sora_timeline_params *timeline = &plan->takes[0].timeline;
    const Farm__Output *output = home_spec(job)->output;
    int32_t factor = job->facts.temporal_factor;
    *out = (struct sora_assembly_begin){
        .width = plan->width,
        .height = plan->height,
        .frame_count = plan->frame_count,
        .codec = home_codec(output),
        .quality = quality_of(output),
        .bitrate = output ? (int64_t)output->bitrate : 0,
        .container = home_container(output),
        .preview = output ? output->preview : 1,
        .contact_sheet = output ? output->contact_sheet : 1,
        .report = output ? output->report : 1,
        .thread_count = home->params.assembly_threads > 0 ? home->params.assembly_threads : 1,
        .window_frames = factor * (timeline->window_latents - 1) + 1,
        .overlap_frames = factor * timeline->overlap_latents,
        .stride_frames = factor * (timeline->window_latents - 1 - timeline->overlap_latents),
        .latent_channels = plan->channels,
        .latent_height = plan->latent_height,
        .latent_width = plan->latent_width};
    sora_job_frame_rate(plan->fps, &out->fps, &out->fps_divisor);
    for (int32_t t = 1; t < plan->take_count && out->cut_count < SORA_ASSEMBLY_CUTS_MAX; t++)
        out->cuts[out->cut_count++] = plan->takes[t].frame_first;
}

struct tags {
    char texts[TAGS_MAX][TAG_SIZE];
    const char *items[2 * TAGS_MAX];
    int32_t count;
};

static void add_tag(struct tags *tags, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add_tag(struct tags *tags, const char *key, const char *format, ...)
{
    va_list arguments;
    char *text = tags->texts[tags->count];
    va_start(arguments, format);
    vsnprintf(text, TAG_SIZE, format, arguments);
    va_end(arguments);
    tags->items[2 * tags->count] = key;
    tags->items[2 * tags->count + 1] = text;
    tags->count++;
}

static void fill_tags(const struct home_job *job, const char *title, struct tags *out)
{
    struct sora_digest digest;
    char text[SORA_DIGEST_TEXT_SIZE];
    memcpy(digest.bytes, job->model, sizeof(digest.bytes));
    add_tag(out, "title", "%s", title);
    add_tag(out, "comment", "made by Sorafarm " SORA_VERSION);
    add_tag(out, "sora_version", SORA_VERSION);
    add_tag(out, "sora_model", "%s", job->facts.name ? job->facts.name : "");
    add_tag(out, "sora_model_digest", "%s", sora_digest_text(&digest, text));
    add_tag(out, "sora_seed", "%" PRIu64, job->plan->takes[0].seed);
    add_tag(out, "sora_steps", "%d", job->plan->steps);
    add_tag(out, "sora_guidance", "%g", job->plan->guidance);
}

static int create(struct sora_home *home, struct home_job *job, struct sora_fault *fault)
{
    char folder[SORA_FILE_PATH_SIZE + 40], title[160];
    struct sora_assembly_begin begin;
    struct tags *tags = calloc(1, sizeof(*tags));
    const Farm__Output *output = home_spec(job)->output;
    if (!tags)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for an assembly");
    snprintf(folder, sizeof(folder), "%s/%s", home->results, job->folder);
    home_cut_text(*job->name ? job->name : home_prompt(job, 0), title, sizeof(title));
    fill_begin(home, job, &begin);
    fill_tags(job, title, tags);
    begin.tag_count = tags->count;
    const struct sora_assembler_params params = {.program = home->worker,
                                                 .read_folder = home->blob_folder,
                                                 .folder = folder,
                                                 .file_name = job->file_name,
                                                 .begin = &begin,
                                                 .pixel_format = output ? output->pixel_format : "",
                                                 .title = title,
                                                 .tags = tags->items};
    int rc = sora_file_make_dirs(folder, fault);
    if (rc == SORA_OK)
        rc = sora_assembler_create(&params, &job->assembly.assembler, fault);
    free(tags);
    return rc;
}

/* ---- ends ---- */

void home_stop_assembly(struct sora_home *home, struct home_job *job)
{
    struct home_assembly *assembly = &job->assembly;
    if (!assembly->assembler)
        return;
    sora_assembler_destroy(&assembly->assembler);
    *assembly =
        (struct home_assembly){.attempts = assembly->attempts, .not_before = assembly->not_before};
    home->assembly_due = true;
}

static void tell_farm(struct sora_home *home, struct home_job *job, enum sora_farm_event_kind kind,
                      int code)
{
    for (int32_t t = 0; t < job->take_count; t++) {
        struct sora_farm_event event = {.kind = kind, .job = job->takes[t].id, .code = code};
        home_farm_step(home, &event, NULL);
    }
    job->settle_due = home->settle_due = true;
}

/* Whether pieces are gone that the child was to read: they are made again. */
static bool lost_pieces(struct sora_home *home, struct home_job *job)
{
    bool lost = false;
    for (int32_t t = 0; t < job->take_count; t++)
        lost = home_forget_pieces(home, &job->takes[t]) || lost;
    return lost;
}

/* What may pass is tried again; then the job fails with the sentence. */
static void failed(struct sora_home *home, struct home_job *job, int code, const char *text)
{
    char sentence[SORA_STORE_REASON_SIZE];
    home_cut_text(text, sentence, sizeof(sentence));
    home_stop_assembly(home, job);
    if (sora_error_of_input(code) && lost_pieces(home, job))
        return;
    if (sora_error_retry(code) && ++job->assembly.attempts < ATTEMPTS_MAX) {
        job->assembly.not_before = home->now + PAUSE_NS;
        home_note(home, job, "the assembly begins again: %s", sentence);
        return;
    }
    sora_log(SORA_LOG_ERROR, "an assembly failed job=%.8s reason=\"%s\"", job->folder, sentence);
    tell_farm(home, job, SORA_FARM_ASSEMBLY_FAILED, code);
    home_end_job(home, job, SORA_JOB_FAILED, sentence);
}

static void done(struct sora_home *home, struct home_job *job)
{
    if (!is_ready(home, job)) {
        failed(home, job, SORA_E_INTERNAL, "the assembly ended before its frames were there");
        return;
    }
    job->progress = 1;
    tell_farm(home, job, SORA_FARM_ASSEMBLED, SORA_OK);
}

static void take_event(struct sora_home *home, struct home_job *job,
                       const struct sora_assembler_event *event)
{
    struct home_assembly *assembly = &job->assembly;
    switch (event->kind) {
    case SORA_ASSEMBLER_PROGRESS:
        assembly->frames_done = event->progress.frames_done;
        assembly->preview_frames = event->progress.preview_frames;
        job->event_sequence = ++home->event_sequence;
        return;
    case SORA_ASSEMBLER_DONE:
        done(home, job);
        return;
    case SORA_ASSEMBLER_FAILED:
        failed(home, job, event->code, event->text);
        return;
    }
}

/* ---- the slots ---- */

static int64_t slots(const struct sora_home *home)
{
    int64_t most = home->params.assemblies_max > 0 ? home->params.assemblies_max : 1;
    return most < HOME_ASSEMBLIES_MAX ? most : HOME_ASSEMBLIES_MAX;
}

static int64_t running(const struct sora_home *home)
{
    int64_t count = 0;
    for (int i = 0; i < home->job_count; i++)
        count += home->jobs[i]->assembly.assembler != NULL;
    return count;
}

/* The next job that could begin: those that are ready first, then by priority. */
static struct home_job *next_to_begin(const struct sora_home *home, bool *out_ready)
{
    struct home_job *best = NULL;
    for (int i = 0; i < home->job_count; i++) {
        struct home_job *job = home->jobs[i];
        if (job->final_state >= 0 || !job->plan || !job->takes || job->assembly.assembler ||
            home->now < job->assembly.not_before || !home_piece_at(&job->takes[0], 0))
            continue;
        bool ready = is_ready(home, job);
        if (best &&
            (ready < *out_ready || (ready == *out_ready && job->priority <= best->priority)))
            continue;
        best = job;
        *out_ready = ready;
    }
    return best;
}

static struct home_job *waiting_one(const struct sora_home *home)
{
    for (int i = 0; i < home->job_count; i++) {
        if (home->jobs[i]->assembly.assembler && !is_ready(home, home->jobs[i]))
            return home->jobs[i];
    }
    return NULL;
}

static void begin_assemblies(struct sora_home *home)
{
    struct home_job *job;
    bool ready = false;
    while ((job = next_to_begin(home, &ready))) {
        struct home_job *other = running(home) < slots(home) ? NULL : waiting_one(home);
        if (running(home) >= slots(home) && (!ready || !other))
            return;
        if (other)
            home_stop_assembly(home, other);
        struct sora_fault fault = {0};
        int rc = create(home, job, &fault);
        if (rc)
            failed(home, job, rc, fault.text);
    }
}

void home_pump_assemblies(struct sora_home *home)
{
    if (!home->assembly_due)
        return;
    begin_assemblies(home);
    home->assembly_due = false;
    for (int i = 0; i < home->job_count; i++) {
        struct home_job *job = home->jobs[i];
        struct sora_fault fault = {0};
        if (job->assembly.assembler && job->final_state < 0 && feed(home, job, &fault) < 0)
            failed(home, job, fault.code, fault.text);
    }
}

void home_step_assemblies(struct sora_home *home)
{
    for (int i = 0; i < home->job_count; i++) {
        struct home_job *job = home->jobs[i];
        struct sora_assembler_event event;
        while (job->assembly.assembler &&
               sora_assembler_step(job->assembly.assembler, &event) == 1) {
            bool last = event.kind != SORA_ASSEMBLER_PROGRESS;
            take_event(home, job, &event);
            home->assembly_due = true;
            if (last)
                break;
        }
        if (!job->assembly.assembler && job->assembly.not_before > 0 &&
            home->now >= job->assembly.not_before && job->final_state < 0)
            home->assembly_due = true;
    }
}

sora_time home_assembly_deadline(const struct sora_home *home)
{
    sora_time next = INT64_MAX;
    for (int i = 0; i < home->job_count; i++) {
        const struct home_job *job = home->jobs[i];
        if (!job->assembly.assembler && job->assembly.not_before > home->now &&
            job->final_state < 0 && job->assembly.not_before < next)
            next = job->assembly.not_before;
    }
    return next;
}

size_t home_assembly_poll(const struct sora_home *home, struct pollfd *out_items)
{
    size_t count = 0;
    for (int i = 0; i < home->job_count && count < HOME_ASSEMBLIES_MAX; i++) {
        if (home->jobs[i]->assembly.assembler)
            sora_assembler_poll(home->jobs[i]->assembly.assembler, &out_items[count++]);
    }
    return count;
}
