/* Orders to the child as frames, its answers as events. */
#include "scheduler/assembler.h"

#include "base/bytes.h"
#include "base/child.h"
#include "base/files.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ORDERS_BYTES_MAX ((size_t)1 << 20)
#define BEGIN_BYTES_MAX ((size_t)1 << 20)
#define TABLE_BYTES_MAX ((size_t)1 << 20)
#define PART_PREFIX ".sora-part-" /* base/files.h */

struct sora_assembler {
    struct sora_child *child;
    char folder[SORA_FILE_PATH_SIZE], file_name[256];
    int32_t frame_count;
    bool over, done; /* the last event was given; it was DONE */
    struct sora_bytes table;
    struct sora_fault fault; /* of the last event */
};

/* ---- the start ---- */

static int check_params(const struct sora_assembler_params *params, struct sora_fault *fault)
{
    const struct sora_assembly_begin *begin = params->begin;
    size_t name_size = strlen(params->file_name);
    if (name_size == 0 || name_size >= sizeof(((struct sora_assembler *)0)->file_name) ||
        strchr(params->file_name, '/') || params->file_name[0] == '.')
        return sora_fault_set(fault, SORA_E_INVALID,
                              "the finished video's file name '%.60s' must be one name of 1 to 255 "
                              "bytes, without '/' and no '.' first",
                              params->file_name);
    if (begin->tag_count < 0 || begin->tag_count > SORA_ASSEMBLY_TAGS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "the video has %d tags; the limit is %d",
                              begin->tag_count, SORA_ASSEMBLY_TAGS_MAX);
    if (strlen(params->folder) >= SORA_FILE_PATH_SIZE)
        return sora_fault_set(fault, SORA_E_LIMIT, "the output folder has more than %d bytes",
                              SORA_FILE_PATH_SIZE - 1);
    return SORA_OK;
}

static int start(struct sora_assembler *assembler, const struct sora_assembler_params *params,
                 struct sora_fault *fault)
{
    const char *const argv[] = {"sora-worker", "assemble",     "--read", params->read_folder,
                                "--write",     params->folder, NULL};
    const struct sora_child_params child = {
        .program = params->program, .argv = argv, .queue_bytes_max = ORDERS_BYTES_MAX};
    return sora_child_create(&child, &assembler->child, fault);
}

static int append_string(struct sora_bytes *bytes, const char *text)
{
    return sora_bytes_append(bytes, text ? text : "", text ? strlen(text) + 1 : 1);
}

static int send_begin(struct sora_assembler *assembler, const struct sora_assembler_params *params,
                      struct sora_fault *fault)
{
    const char *const strings[] = {params->folder, params->file_name, params->pixel_format,
                                   params->title};
    struct sora_bytes payload;
    int error = 0;
    sora_bytes_init(&payload, BEGIN_BYTES_MAX);
    for (size_t i = 0; !error && i < sizeof(strings) / sizeof(strings[0]); i++)
        error = append_string(&payload, strings[i]);
    for (int i = 0; !error && i < 2 * params->begin->tag_count; i++)
        error = append_string(&payload, params->tags[i]);
    const struct sora_frame frame = {.kind = SORA_ASSEMBLY_BEGIN,
                                     .head = params->begin,
                                     .head_size = sizeof(*params->begin),
                                     .payload = payload.data,
                                     .payload_size = payload.size};
    if (!error)
        error = sora_child_send(assembler->child, &frame);
    sora_bytes_fini(&payload);
    return error ? sora_fault_set(fault, error, "cannot tell the assembly what to do: %s",
                                  sora_error_text(error))
                 : SORA_OK;
}

int sora_assembler_create(const struct sora_assembler_params *params,
                          struct sora_assembler **out_assembler, struct sora_fault *fault)
{
    int error = check_params(params, fault);
    if (error)
        return error;
    struct sora_assembler *assembler = calloc(1, sizeof(*assembler));
    if (!assembler)
        return sora_fault_set(fault, SORA_E_MEMORY, "not enough memory for an assembly");
    snprintf(assembler->folder, sizeof(assembler->folder), "%s", params->folder);
    snprintf(assembler->file_name, sizeof(assembler->file_name), "%s", params->file_name);
    assembler->frame_count = params->begin->frame_count;
    sora_bytes_init(&assembler->table, TABLE_BYTES_MAX);
    error = start(assembler, params, fault);
    if (!error)
        error = send_begin(assembler, params, fault);
    if (error) {
        sora_assembler_destroy(&assembler);
        return error;
    }
    *out_assembler = assembler;
    return SORA_OK;
}

/* ---- the end ---- */

static void remove_name(const struct sora_assembler *assembler, const char *name)
{
    char path[SORA_FILE_PATH_SIZE + 256];
    int wrote = snprintf(path, sizeof(path), "%s/%s", assembler->folder, name);
    if (wrote > 0 && (size_t)wrote < sizeof(path))
        (void)unlink(path);
}

/* The folder is this job's alone, so every temporary file in it is the child's. */
static void remove_partial(const struct sora_assembler *assembler)
{
    const char *const names[] = {assembler->file_name, SORA_ASSEMBLY_PREVIEW, SORA_ASSEMBLY_CONTACT,
                                 SORA_ASSEMBLY_REPORT, SORA_ASSEMBLY_LATENTS_FILE};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        remove_name(assembler, names[i]);
    DIR *folder = opendir(assembler->folder);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (strncmp(entry->d_name, PART_PREFIX, strlen(PART_PREFIX)) == 0)
            remove_name(assembler, entry->d_name);
    }
    if (folder)
        closedir(folder);
}

void sora_assembler_destroy(struct sora_assembler **assembler)
{
    struct sora_assembler *a = *assembler;
    if (!a)
        return;
    sora_child_destroy(&a->child);
    if (!a->done)
        remove_partial(a);
    sora_bytes_fini(&a->table);
    free(a);
    *assembler = NULL;
}

/* ---- orders ---- */

static int send(struct sora_assembler *assembler, uint32_t kind, const void *head, size_t head_size,
                const char *path)
{
    const struct sora_frame frame = {.kind = kind,
                                     .head = head,
                                     .head_size = head_size,
                                     .payload = path,
                                     .payload_size = path ? strlen(path) + 1 : 0};
    if (path && frame.payload_size > SORA_FILE_PATH_SIZE)
        return SORA_E_LIMIT;
    return assembler->over ? SORA_E_IO : sora_child_send(assembler->child, &frame);
}

int sora_assembler_segment(struct sora_assembler *assembler, const char *path,
                           const struct sora_assembly_segment *segment)
{
    if (segment->frame_first < 0 || segment->skip < 0 || segment->count < 1)
        return SORA_E_INVALID;
    return send(assembler, SORA_ASSEMBLY_SEGMENT, segment, sizeof(*segment), path);
}

int sora_assembler_latents(struct sora_assembler *assembler, const char *path,
                           const struct sora_assembly_latents *latents)
{
    if (latents->take < 0 || latents->first < 0 || latents->end <= latents->first ||
        latents->skip < 0)
        return SORA_E_INVALID;
    return send(assembler, SORA_ASSEMBLY_LATENTS, latents, sizeof(*latents), path);
}

int sora_assembler_finish(struct sora_assembler *assembler, const char *devices)
{
    return send(assembler, SORA_ASSEMBLY_FINISH, NULL, 0, devices);
}

/* ---- answers ---- */

void sora_assembler_poll(const struct sora_assembler *assembler, struct pollfd *out_item)
{
    *out_item = (struct pollfd){.fd = -1};
    if (!assembler->over)
        out_item->fd = sora_child_fd(assembler->child, &out_item->events);
}

static int fail(struct sora_assembler *assembler, int code, struct sora_assembler_event *out_event)
{
    assembler->over = true;
    *out_event = (struct sora_assembler_event){
        .kind = SORA_ASSEMBLER_FAILED, .code = code, .text = assembler->fault.text};
    return 1;
}

static int broken(struct sora_assembler *assembler, struct sora_assembler_event *out_event)
{
    sora_fault_set(&assembler->fault, SORA_E_FORMAT, "the assembly gave a malformed answer");
    return fail(assembler, SORA_E_FORMAT, out_event);
}

static bool plausible(const struct sora_assembler *assembler,
                      const struct sora_assembly_progress *progress)
{
    return progress->frames_done >= 0 && progress->frames_done <= assembler->frame_count &&
           progress->preview_frames >= 0 && progress->preview_frames <= assembler->frame_count;
}

static int on_failed(struct sora_assembler *assembler, const struct sora_frame *frame,
                     struct sora_assembler_event *out_event)
{
    const struct sora_assembly_failed *failed = frame->head;
    if (frame->head_size != sizeof(*failed))
        return broken(assembler, out_event);
    bool known = failed->code < 0 && failed->code >= SORA_E_INTERNAL;
    int code = known ? failed->code : SORA_E_INTERNAL;
    int size = frame->payload_size < SORA_FAULT_TEXT_SIZE ? (int)frame->payload_size
                                                          : SORA_FAULT_TEXT_SIZE - 1;
    sora_fault_set(&assembler->fault, code, "%.*s", size, size ? (const char *)frame->payload : "");
    return fail(assembler, code, out_event);
}

/* Our own table's characters; anything else came from somewhere else. */
static bool printable(const unsigned char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if ((text[i] < 0x20 && text[i] != '\n') || text[i] >= 0x7f)
            return false;
    }
    return true;
}

static int on_done(struct sora_assembler *assembler, const struct sora_frame *frame,
                   struct sora_assembler_event *out_event)
{
    const struct sora_assembly_progress *progress = frame->head;
    if (frame->head_size != sizeof(*progress) || !plausible(assembler, progress) ||
        progress->frames_done != assembler->frame_count ||
        !printable(frame->payload, frame->payload_size) ||
        sora_bytes_append(&assembler->table, frame->payload, frame->payload_size))
        return broken(assembler, out_event);
    assembler->over = assembler->done = true;
    *out_event = (struct sora_assembler_event){
        .kind = SORA_ASSEMBLER_DONE,
        .progress = *progress,
        .text = assembler->table.data ? (const char *)assembler->table.data : "",
    };
    return 1;
}

static int on_progress(struct sora_assembler *assembler, const struct sora_frame *frame,
                       struct sora_assembler_event *out_event)
{
    const struct sora_assembly_progress *progress = frame->head;
    if (frame->head_size != sizeof(*progress) || !plausible(assembler, progress))
        return broken(assembler, out_event);
    *out_event = (struct sora_assembler_event){
        .kind = SORA_ASSEMBLER_PROGRESS, .progress = *progress, .text = ""};
    return 1;
}

int sora_assembler_step(struct sora_assembler *assembler, struct sora_assembler_event *out_event)
{
    struct sora_frame frame;
    if (assembler->over)
        return 0;
    assembler->fault = (struct sora_fault){0};
    int got = sora_child_step(assembler->child, &frame, &assembler->fault);
    if (got == 0)
        return 0;
    if (got < 0)
        return fail(assembler, got, out_event);
    switch (frame.kind) {
    case SORA_ASSEMBLY_PROGRESS:
        return on_progress(assembler, &frame, out_event);
    case SORA_ASSEMBLY_DONE:
        return on_done(assembler, &frame, out_event);
    case SORA_ASSEMBLY_FAILED:
        return on_failed(assembler, &frame, out_event);
    default:
        return broken(assembler, out_event);
    }
}
