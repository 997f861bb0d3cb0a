/*
 * Assembler: the home's side of one `sora-worker assemble` child (media/assembly_wire.h), which
 * turns segments into the finished file, its preview, contact sheet, report and latents.
 *
 * Nothing blocks but create (starts a process) and destroy (ends it, removes a handful of files).
 * What the child says is checked: it has read files of other members. Paths wait in a bounded queue
 * of the child's stream. Owned by whoever created it, one thread.
 */
#ifndef SORA_SCHEDULER_ASSEMBLER_H
#define SORA_SCHEDULER_ASSEMBLER_H

#include "base/error.h"
#include "media/assembly_wire.h"

#include <poll.h>
#include <stddef.h>

struct sora_assembler;

struct sora_assembler_params {
    const char *program;     /* sora-worker */
    const char *read_folder; /* the one folder that the child may read: the blob store's */
    const char *folder;      /* the job's output folder, existing, of this job only */
    const char *file_name;   /* of the finished file in it: one name, no "/", no "." first */
    const struct sora_assembly_begin *begin; /* borrowed for the call */
    const char *pixel_format;                /* NULL or "": the codec's own */
    const char *title;                       /* of the contact sheet; NULL or "": none */
    const char *const *tags; /* key, value, key, value ...: 2 * begin->tag_count; borrowed */
};

/* Starts the child and sends BEGIN. Errors: INVALID (a name or count out of range), NOT_FOUND,
 * DENIED, MEMORY, IO. Parameters that the codec refuses are a FAILED event. */
int sora_assembler_create(const struct sora_assembler_params *params,
                          struct sora_assembler **out_assembler, struct sora_fault *fault);

/* Kills the child. Unless DONE was reported, removes what it left in the folder: the finished file,
 * the SORA_ASSEMBLY_* names and unfinished temporary files. After DONE all stay, also the preview.
 */
void sora_assembler_destroy(struct sora_assembler **assembler);

/* Frames and latents in the order of the wire; `path` lies below read_folder and stays until DONE.
 * Errors: FULL (nothing was sent: try again after a step), INVALID (a range), LIMIT (the path), IO
 * (the child is gone; step says why). */
int sora_assembler_segment(struct sora_assembler *assembler, const char *path,
                           const struct sora_assembly_segment *segment);
int sora_assembler_latents(struct sora_assembler *assembler, const char *path,
                           const struct sora_assembly_latents *latents);
/* `devices`: their classes, for the report (media/report.h). */
int sora_assembler_finish(struct sora_assembler *assembler, const char *devices);

enum sora_assembler_event_kind {
    SORA_ASSEMBLER_PROGRESS = 1, /* progress */
    SORA_ASSEMBLER_DONE,         /* progress, text: the report's short table ("" without one) */
    SORA_ASSEMBLER_FAILED,       /* code, text: the sentence for the person */
};
struct sora_assembler_event {
    enum sora_assembler_event_kind kind;
    struct sora_assembly_progress progress;
    int code;         /* negative SORA_E_* */
    const char *text; /* borrows the assembler until the next step */
};

/* The descriptor and events that step waits for. */
void sora_assembler_poll(const struct sora_assembler *assembler, struct pollfd *out_item);

/* 1: an event; 0: nothing for now. DONE or FAILED comes once and is the last; the child's death is
 * FAILED. */
int sora_assembler_step(struct sora_assembler *assembler, struct sora_assembler_event *out_event);

#endif
