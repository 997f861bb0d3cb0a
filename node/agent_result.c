/*
 * Results: state files and segment files that the child wrote become blobs, and the home is told
 * until it says that it has them. A file belongs to the child until it is adopted; what is adopted
 * is durable, and stays until the home has it or the task is over.
 */
#include "node/agent_calls.h"

#include "base/bytes.h"
#include "base/files.h"
#include "base/job_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_LATENTS 8   /* of a segment file */
#define PIECES_AT_ONCE 16 /* announced and not yet stored */

/* ---- publishing ---- */

static void rows_adopted(struct agent_task *task, int index, const struct sora_blob *blob)
{
    task->rows[index].blob = *blob;
    task->rows[index].ready = true;
}

static void take_adopted(const struct agent_adoption *adoption, const struct sora_blob *blob)
{
    struct agent_task *task = adoption->task;
    if (adoption->kind == AGENT_ADOPT_ROWS) {
        rows_adopted(task, adoption->index, blob);
    } else if (adoption->kind == AGENT_ADOPT_PIECE) {
        task->pieces[adoption->index].blob = *blob;
        task->pieces[adoption->index].ready = true;
    } else {
        struct agent_checkpoint *checkpoint = &task->checkpoints[adoption->index];
        checkpoint->blob = *blob;
        checkpoint->ready = true;
        if (checkpoint->wanted)
            agent_send_checkpoint(task, checkpoint->step);
    }
}

static void adopted(void *context, const struct sora_blob *blob, const struct sora_fault *fault)
{
    struct agent_adoption *adoption = context;
    struct sora_agent *agent = adoption->agent;
    bool stored = !fault || !fault->code;
    if (agent) {
        struct agent_adoption **at = &agent->adoptions;
        while (*at != adoption)
            at = &(*at)->next;
        *at = adoption->next;
        agent->wake = true;
        struct agent_task *task = adoption->task;
        bool live = task->used && task->serial == adoption->serial && !task->stopped;
        if (stored)
            sora_blob_store_pin(agent->params.blobs, &blob->digest);
        if (live && stored)
            take_adopted(adoption, blob);
        else if (stored)
            sora_blob_store_drop(agent->params.blobs, &blob->digest);
        else if (live)
            agent_fail_task(task, fault->code, fault->text);
    }
    free(adoption);
}

int agent_adopt(struct agent_task *task, enum agent_adopts kind, int index, const char *path,
                const void *data, size_t size)
{
    struct sora_agent *agent = task->agent;
    struct agent_adoption *adoption = malloc(sizeof(*adoption));
    if (!adoption)
        return SORA_E_MEMORY;
    *adoption = (struct agent_adoption){.next = agent->adoptions,
                                        .agent = agent,
                                        .task = task,
                                        .serial = task->serial,
                                        .kind = kind,
                                        .index = index};
    agent->adoptions = adoption;
    int rc = data ? sora_blob_store_put(agent->params.blobs, data, size, adopted, adoption)
                  : sora_blob_store_adopt(agent->params.blobs, path, adopted, adoption);
    if (rc) {
        agent->adoptions = adoption->next;
        free(adoption);
    }
    return rc;
}

/* FULL waits for a later step, anything else fails the task. True when it is under way. */
static bool adopt_file(struct agent_task *task, enum agent_adopts kind, int index, const char *path)
{
    int rc = agent_adopt(task, kind, index, path, NULL, 0);
    if (rc == SORA_E_FULL)
        agent_blocked(task->agent, rc);
    else if (rc)
        agent_fail_task(task, rc, "a result cannot be stored");
    return rc == SORA_OK;
}

void agent_result_path(const struct agent_task *task, const char *what, int32_t number, char *out,
                       size_t size)
{
    char job[2 * SORA_JOB_ID_SIZE + 1];
    sora_hex(task->job, SORA_JOB_ID_SIZE, job);
    snprintf(out, size, "%s/%s-%s-%u-%u-%d", sora_blob_store_incoming(task->agent->params.blobs),
             what, job, task->shard, task->epoch, number);
}

/* ---- checkpoints ---- */

static struct agent_checkpoint *find_checkpoint(struct agent_task *task, int32_t step)
{
    for (int i = 0; i < AGENT_CHECKPOINTS_MAX; i++) {
        struct agent_checkpoint *checkpoint = &task->checkpoints[i];
        if (checkpoint->used && checkpoint->step == step)
            return checkpoint;
    }
    return NULL;
}

void agent_take_checkpoint(struct agent_task *task, int32_t step)
{
    struct agent_checkpoint *place = NULL;
    for (int i = 0; i < AGENT_CHECKPOINTS_MAX && !place; i++)
        place = task->checkpoints[i].used ? NULL : &task->checkpoints[i];
    if (!place) {
        agent_fail_task(task, SORA_E_INTERNAL, "too many checkpoints wait for the home");
        return;
    }
    *place = (struct agent_checkpoint){.used = true, .step = step};
    char path[SORA_FILE_PATH_SIZE];
    agent_result_path(task, "state", step, path, sizeof(path));
    const struct sora_serve_span span = {.step = step};
    agent_span(task->device, SORA_SERVE_STATE, &span, path, strlen(path));
}

static void adopt_state(struct agent_task *task, struct agent_checkpoint *checkpoint)
{
    char path[SORA_FILE_PATH_SIZE];
    agent_result_path(task, "state", checkpoint->step, path, sizeof(path));
    checkpoint->adopting =
        adopt_file(task, AGENT_ADOPT_STATE, (int)(checkpoint - task->checkpoints), path);
}

bool agent_state_written(struct agent_task *task, int32_t step)
{
    struct agent_checkpoint *checkpoint = find_checkpoint(task, step);
    if (!checkpoint || checkpoint->written)
        return false;
    checkpoint->written = true;
    adopt_state(task, checkpoint);
    return true;
}

void agent_send_checkpoint(struct agent_task *task, int32_t step)
{
    struct agent_checkpoint *checkpoint = find_checkpoint(task, step);
    if (!checkpoint)
        return;
    checkpoint->wanted = !checkpoint->ready;
    if (!checkpoint->ready)
        return; /* goes when it is durable */
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Checkpoint wire = FARM__CHECKPOINT__INIT;
    Farm__BlobName state = FARM__BLOB_NAME__INIT;
    sora_blob_put(&checkpoint->blob, &state);
    wire.job = agent_bytes(task->job, SORA_JOB_ID_SIZE);
    wire.shard = task->shard;
    wire.epoch = task->epoch;
    wire.step = (uint32_t)step;
    wire.state = &state;
    message.body_case = FARM__MESSAGE__BODY_CHECKPOINT;
    message.checkpoint = &wire;
    agent_send_home(task, &message); /* the machine repeats it */
}

static void drop_checkpoint(struct agent_task *task, struct agent_checkpoint *checkpoint)
{
    if (checkpoint->ready)
        sora_blob_store_drop(task->agent->params.blobs, &checkpoint->blob.digest);
    if (checkpoint->written && !checkpoint->adopting) {
        char path[SORA_FILE_PATH_SIZE];
        agent_result_path(task, "state", checkpoint->step, path, sizeof(path));
        unlink(path);
    }
    *checkpoint = (struct agent_checkpoint){.used = false};
}

void agent_prune_checkpoints(struct agent_task *task, int32_t floor)
{
    for (int i = 0; i < AGENT_CHECKPOINTS_MAX; i++) {
        struct agent_checkpoint *checkpoint = &task->checkpoints[i];
        if (checkpoint->ready && checkpoint->step <= floor)
            drop_checkpoint(task, checkpoint);
    }
}

void agent_take_checkpoint_stored(struct sora_agent *agent, const struct sora_origin *origin,
                                  const Farm__CheckpointStored *stored)
{
    struct agent_task *task =
        agent_find_task(agent, origin->identity->node, stored->job, stored->epoch);
    if (!task || !task->machine || task->shard != stored->shard)
        return;
    const struct sora_shard_event event = {.kind = SORA_SHARD_CHECKPOINT_ACKED,
                                           .step = (int32_t)stored->step};
    struct agent_checkpoint *checkpoint = find_checkpoint(task, event.step);
    if (!checkpoint || !checkpoint->ready)
        return;
    drop_checkpoint(task, checkpoint);
    agent_drive(task, &event, NULL);
}

/* ---- segments ---- */

/* Frames per second as a fraction: whole numbers as they are, others to a thousandth. */
void agent_decode(struct agent_task *task, const struct sora_shard_action *action)
{
    const Farm__ShardAssign *order = task->order;
    struct sora_serve_decode decode = {.owned = action->range,
                                       .context_first = action->window,
                                       .frame_width = (int32_t)order->frame_width,
                                       .frame_height = (int32_t)order->frame_height,
                                       .piece_latents = PIECE_LATENTS};
    sora_job_frame_rate(order->fps, &decode.fps, &decode.fps_divisor);
    char prefix[SORA_FILE_PATH_SIZE];
    agent_result_path(task, "segment", 0, prefix, sizeof(prefix));
    agent_give_halos(task, SORA_SHARD_FINAL, (int32_t)order->schedule->steps);
    agent_command(task->device, SORA_SERVE_DECODE, &decode, sizeof(decode), prefix, strlen(prefix));
    task->decoding = true;
}

static struct agent_piece *new_piece(struct agent_task *task)
{
    if (task->piece_count == task->piece_capacity) {
        int capacity = task->piece_capacity ? 2 * task->piece_capacity : 16;
        struct agent_piece *pieces =
            realloc(task->pieces, (size_t)capacity * sizeof(*task->pieces));
        if (!pieces)
            return NULL;
        task->pieces = pieces;
        task->piece_capacity = capacity;
    }
    task->pieces[task->piece_count] = (struct agent_piece){.path = NULL};
    return &task->pieces[task->piece_count];
}

/* The child names a file of the command's prefix, in the folder it may write to. */
static bool path_is_sound(const struct agent_task *task, const char *path, size_t size)
{
    char prefix[SORA_FILE_PATH_SIZE];
    agent_result_path(task, "segment", 0, prefix, sizeof(prefix));
    size_t length = strlen(prefix);
    return size > length && size < SORA_FILE_PATH_SIZE && memcmp(path, prefix, length) == 0 &&
           !memchr(path + length, '/', size - length) && !memchr(path, '\0', size);
}

static void adopt_piece(struct agent_task *task, int index)
{
    struct agent_piece *piece = &task->pieces[index];
    piece->adopting = adopt_file(task, AGENT_ADOPT_PIECE, index, piece->path);
    if (!piece->adopting)
        return;
    free(piece->path);
    piece->path = NULL;
}

bool agent_piece_made(struct agent_task *task, const struct sora_frame *frame)
{
    struct sora_serve_piece info;
    if (frame->head_size != sizeof(info) || !task->decoding || task->decoded)
        return false;
    memcpy(&info, frame->head, sizeof(info));
    bool over = task->piece_count > 0 && task->pieces[task->piece_count - 1].info.last;
    if (over || info.index != task->piece_count || info.frame_first < 0 || info.frame_count < 1 ||
        task->piece_count >= (int)(task->order->end - task->order->first) ||
        !path_is_sound(task, frame->payload, frame->payload_size))
        return false;
    struct agent_piece *piece = new_piece(task);
    char *path = strndup(frame->payload, frame->payload_size);
    if (!piece || !path) {
        free(path);
        agent_fail_task(task, SORA_E_MEMORY, "no memory for a segment");
        return true;
    }
    piece->info = info;
    piece->path = path;
    task->piece_count++;
    task->frames_done += (uint32_t)info.frame_count;
    adopt_piece(task, info.index);
    return true;
}

static void send_segment(struct agent_task *task, struct agent_piece *piece)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Segment wire = FARM__SEGMENT__INIT;
    Farm__BlobName video = FARM__BLOB_NAME__INIT;
    sora_blob_put(&piece->blob, &video);
    wire.job = agent_bytes(task->job, SORA_JOB_ID_SIZE);
    wire.shard = task->shard;
    wire.epoch = task->epoch;
    wire.index = (uint32_t)piece->info.index;
    wire.frame_first = (uint32_t)piece->info.frame_first;
    wire.frame_count = (uint32_t)piece->info.frame_count;
    wire.video = &video;
    wire.last = piece->info.last != 0;
    message.body_case = FARM__MESSAGE__BODY_SEGMENT;
    message.segment = &wire;
    piece->said_at = task->agent->now;
    agent_send_home(task, &message);
}

void agent_repeat_segment(struct agent_task *task)
{
    for (int i = 0; i < task->piece_count; i++) {
        if (!task->pieces[i].stored)
            return; /* it is repeated anyway */
    }
    if (task->piece_count > 0)
        send_segment(task, &task->pieces[task->piece_count - 1]);
}

void agent_take_segment_stored(struct sora_agent *agent, const struct sora_origin *origin,
                               const Farm__SegmentStored *stored)
{
    struct agent_task *task =
        agent_find_task(agent, origin->identity->node, stored->job, stored->epoch);
    if (!task || !task->machine || task->shard != stored->shard ||
        stored->index >= (uint32_t)task->piece_count)
        return;
    struct agent_piece *piece = &task->pieces[stored->index];
    if (piece->ready && !piece->stored) {
        piece->stored = true;
        sora_blob_store_drop(agent->params.blobs, &piece->blob.digest);
        agent->wake = true; /* the next ones may go */
    }
    const struct sora_shard_event event = {.kind = SORA_SHARD_SEGMENT_ACKED};
    if (stored->complete)
        agent_drive(task, &event, NULL);
}

/* ---- time ---- */

static bool piece_is_due(const struct agent_piece *piece, sora_time now)
{
    return piece->said_at == 0 || now >= piece->said_at + AGENT_REPEAT_NS;
}

static void step_pieces(struct agent_task *task)
{
    int open = 0;
    bool all = task->decoded && task->pieces[task->piece_count - 1].info.last;
    for (int i = 0; i < task->piece_count && !task->fail; i++) {
        struct agent_piece *piece = &task->pieces[i];
        if (!piece->ready && !piece->adopting)
            adopt_piece(task, i);
        all = all && piece->ready;
        if (!piece->ready || piece->stored || open >= PIECES_AT_ONCE)
            continue;
        open++;
        if (piece_is_due(piece, task->agent->now))
            send_segment(task, piece);
    }
    if (task->decoded && !task->pieces[task->piece_count - 1].info.last)
        agent_fail_task(task, SORA_E_DEVICE, "the worker decoded no last segment");
    if (!all || task->decoded_said || task->fail)
        return;
    task->decoded_said = true;
    const struct sora_shard_event event = {.kind = SORA_SHARD_DECODED};
    agent_drive(task, &event, NULL);
}

void agent_result_step(struct agent_task *task)
{
    for (int i = 0; i < AGENT_CHECKPOINTS_MAX; i++) {
        struct agent_checkpoint *checkpoint = &task->checkpoints[i];
        if (checkpoint->used && checkpoint->written && !checkpoint->adopting)
            adopt_state(task, checkpoint);
    }
    if (task->piece_count > 0)
        step_pieces(task);
}

sora_time agent_result_deadline(const struct agent_task *task)
{
    int open = 0;
    sora_time next = AGENT_NEVER;
    for (int i = 0; i < task->piece_count && open < PIECES_AT_ONCE; i++) {
        const struct agent_piece *piece = &task->pieces[i];
        if (!piece->ready || piece->stored)
            continue;
        open++;
        sora_time at = piece->said_at == 0 ? 0 : piece->said_at + AGENT_REPEAT_NS;
        next = at < next ? at : next;
    }
    return next;
}

void agent_result_fini(struct agent_task *task)
{
    for (int i = 0; i < AGENT_CHECKPOINTS_MAX; i++) {
        if (task->checkpoints[i].used)
            drop_checkpoint(task, &task->checkpoints[i]);
    }
    for (int i = 0; i < task->piece_count; i++) {
        struct agent_piece *piece = &task->pieces[i];
        if (piece->ready && !piece->stored)
            sora_blob_store_drop(task->agent->params.blobs, &piece->blob.digest);
        if (piece->path)
            unlink(piece->path);
        free(piece->path);
    }
    free(task->pieces);
    task->pieces = NULL;
    task->piece_count = task->piece_capacity = 0;
}
