/* From the tables to the store, and what waits for it. home_tables.h has the rule. */
#include "scheduler/home_parts.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_NS_MIN (SORA_TIME_SECOND / 2)
#define RETRY_NS_MAX (30 * SORA_TIME_SECOND)

void home_touch(struct sora_home *home, struct home_job *job, uint64_t *row)
{
    if (home->dirty == home->batch)
        home->dirty++;
    *row = home->dirty;
    job->ticket_any = home->dirty;
}

/* ---- one batch ---- */

static int put_job(struct sora_store_batch *batch, const struct home_job *job)
{
    struct sora_store_job row = {.id = job->id,
                                 .envelope = job->envelope.data,
                                 .envelope_size = job->envelope.size,
                                 .state = job->final_state,
                                 .wall_created_ms = job->wall_created_ms,
                                 .wall_started_ms = job->wall_started_ms,
                                 .wall_ended_ms = job->wall_ended_ms,
                                 .moves = job->moves,
                                 .reason = job->reason,
                                 .device_classes = job->device_classes,
                                 .result_folder =
                                     job->final_state == SORA_JOB_DONE ? job->folder : ""};
    memcpy(row.owner, job->owner.node, sizeof(row.owner));
    memcpy(row.model, job->model, sizeof(row.model));
    return sora_store_put_job(batch, &row);
}

static int put_take(const struct sora_home *home, struct sora_store_batch *batch,
                    const struct home_take *take)
{
    struct sora_farm_shard_record shards[SORA_PLAN_SHARDS_MAX];
    struct sora_store_take row = {.shards = shards};
    if (take->text_ticket > home->durable && take->prepared.size > 0) {
        row.prepared = take->prepared.data;
        row.prepared_size = take->prepared.size;
    }
    if (sora_farm_export_job(home->farm, &take->id, &row.record))
        return SORA_OK; /* it left the farm: the job's own row says how it ended */
    for (int32_t i = 0; i < row.record.shard_count; i++)
        sora_farm_export_shard(home->farm, &take->id, i, &shards[i]);
    return sora_store_put_take(batch, &row);
}

/* Where its shards run: a home that starts anew asks nobody. */
static int put_places(const struct sora_home *home, struct sora_store_batch *batch,
                      const struct home_take *take)
{
    int rc = SORA_OK;
    for (int32_t i = 0; i < SORA_PLAN_SHARDS_MAX && take->shards && rc == SORA_OK; i++) {
        const struct home_shard *shard = &take->shards[i];
        struct sora_store_ran row = {.job = take->job->id, .take = take->index, .shard = i};
        if (shard->ticket <= home->durable)
            continue;
        row.epoch = shard->ordered_epoch;
        memcpy(row.node, shard->node, sizeof(row.node));
        memcpy(row.device, shard->device, sizeof(row.device));
        rc = sora_store_put_ran(batch, &row);
    }
    return rc;
}

static int put_take_rows(const struct sora_home *home, struct sora_store_batch *batch,
                         const struct home_take *take)
{
    int rc = SORA_OK;
    if (take->drop_ticket > home->durable)
        rc = sora_store_drop_parts(batch, &take->id, take->drop_step);
    if (rc == SORA_OK && take->drop_ticket > home->durable && take->drop_pieces)
        rc = sora_store_drop_pieces(batch, &take->id);
    if (rc == SORA_OK && take->ticket > home->durable)
        rc = put_take(home, batch, take);
    if (take->drop_pieces)
        return rc; /* the job ended: nothing of it is kept */
    if (rc == SORA_OK)
        rc = put_places(home, batch, take);
    for (size_t i = 0; i < take->part_count && rc == SORA_OK; i++) {
        if (take->parts[i].ticket > home->durable)
            rc = sora_store_put_part(batch, &take->parts[i].row);
    }
    for (size_t i = 0; i < take->piece_count && rc == SORA_OK; i++) {
        if (take->pieces[i].ticket > home->durable)
            rc = sora_store_put_piece(batch, &take->pieces[i].row);
    }
    return rc;
}

/* What people are told of the job: its log, and where it ran. */
static int put_story(const struct sora_home *home, struct sora_store_batch *batch,
                     const struct home_job *job)
{
    int rc = SORA_OK;
    bool grew = false;
    for (size_t i = 0; i < job->log.count && rc == SORA_OK; i++) {
        const struct home_line *line = sora_ring_at(&job->log, i);
        const struct sora_store_line row = {job->id, line->number, line->text};
        if (line->ticket > home->durable)
            rc = sora_store_put_line(batch, &row);
        grew = grew || line->ticket > home->durable;
    }
    if (rc == SORA_OK && grew && job->line_next > HOME_LOG_LINES)
        rc = sora_store_drop_lines(batch, &job->id, job->line_next - HOME_LOG_LINES);
    if (rc == SORA_OK && job->ran_ticket > home->durable)
        rc = sora_store_drop_ran(batch, &job->id); /* other cuts of it */
    for (int i = 0; job->ran_ticket > home->durable && i < job->ran_count && rc == SORA_OK; i++)
        rc = sora_store_put_ran(batch, &job->ran[i]);
    return rc;
}

static int put_all(const struct sora_home *home, struct sora_store_batch *batch)
{
    int rc = SORA_OK;
    for (int i = 0; i < home->job_count && rc == SORA_OK; i++) {
        const struct home_job *job = home->jobs[i];
        if (job->dropped && job->ticket > home->durable)
            rc = sora_store_drop_job(batch, &job->id);
        if (job->dropped || job->ticket_any <= home->durable)
            continue;
        if (job->ticket > home->durable)
            rc = put_job(batch, job);
        for (int32_t t = 0; job->takes && t < job->take_count && rc == SORA_OK; t++)
            rc = put_take_rows(home, batch, &job->takes[t]);
        if (rc == SORA_OK)
            rc = put_story(home, batch, job);
    }
    return rc;
}

/* ---- its end ---- */

/* Who asked for something is told at once that it waits. */
static void tell_waiting(struct sora_home *home, const struct sora_fault *why)
{
    for (size_t i = 0; i < home->held.count; i++) {
        struct home_held *held = sora_ring_at(&home->held, i);
        if (held->kind != HOME_HELD_ACK || !held->reply)
            continue;
        struct sora_fault fault = {0};
        sora_fault_set(&fault, why->code,
                       "it was taken and is done as soon as the home can store it, if sorad does "
                       "not end before: %.300s",
                       why->text);
        home_refuse(home, held->reply, &fault);
        free(held->reply);
        held->reply = NULL;
    }
}

static void batch_failed(struct sora_home *home, const struct sora_fault *fault)
{
    home->batch = home->durable; /* the next batch holds it all again */
    home->retry_ns = home->retry_ns ? home->retry_ns * 2 : RETRY_NS_MIN;
    home->retry_ns = home->retry_ns < RETRY_NS_MAX ? home->retry_ns : RETRY_NS_MAX;
    home->retry_at = home->now + home->retry_ns;
    if (!home->write_failed)
        sora_log(SORA_LOG_ERROR, "the home cannot store; nothing is acknowledged reason=\"%s\"",
                 fault->text);
    home->write_failed = true;
    home->write_fault = *fault;
    home_refuse_fresh(home, fault);
    tell_waiting(home, fault);
}

static void remove_dropped(struct sora_home *home)
{
    for (int i = home->job_count - 1; i >= 0; i--) {
        if (home->jobs[i]->dropped && home->jobs[i]->ticket <= home->durable)
            home_remove_job(home, home->jobs[i]);
    }
}

static void batch_done(void *context, const struct sora_fault *fault)
{
    struct home_commit *commit = context;
    struct sora_home *home = commit->home;
    free(commit);
    if (!home)
        return;
    home->commit = NULL;
    home_wake(home);
    if (fault && fault->code) {
        batch_failed(home, fault);
        return;
    }
    if (home->write_failed)
        sora_log(SORA_LOG_INFO, "the home stores again");
    home->write_failed = false;
    home->retry_ns = home->retry_at = 0;
    home->durable = home->batch;
    remove_dropped(home);
    home_settle(home);
}

static int start_batch(struct sora_home *home)
{
    struct sora_store_batch *batch = NULL;
    struct home_commit *commit = malloc(sizeof(*commit));
    int rc = commit ? sora_store_batch_create(home->params.store, &batch) : SORA_E_MEMORY;
    if (rc == SORA_OK)
        rc = put_all(home, batch);
    if (rc == SORA_OK) {
        commit->home = home;
        home->commit = commit;
        home->batch = home->dirty;
        rc = sora_store_commit(home->params.store, &batch, batch_done, commit);
    }
    if (batch)
        sora_store_batch_destroy(&batch);
    if (rc == SORA_OK)
        return SORA_OK;
    home->commit = NULL;
    free(commit);
    return rc;
}

void home_flush(struct sora_home *home)
{
    if (home->commit || home->dirty == home->durable || home->now < home->retry_at)
        return;
    int rc = start_batch(home);
    if (rc == SORA_OK)
        return;
    struct sora_fault fault = {0};
    sora_fault_set(&fault, rc, "the store takes nothing: %s", sora_error_text(rc));
    batch_failed(home, &fault);
}

/* ---- what waits ---- */

void home_free_held(struct home_held *held)
{
    free(held->order);
    free(held->reply);
    held->order = NULL;
    held->reply = NULL;
}

void home_hold(struct sora_home *home, struct home_held *held)
{
    held->ticket = home->dirty;
    if (sora_ring_push(&home->held, held) == SORA_OK)
        return;
    sora_log(SORA_LOG_WARN, "too much waits for the store; a message is left out limit=%d",
             HOME_HELD_MAX);
    home_free_held(held);
}

void home_release_held(struct sora_home *home)
{
    struct home_held *next;
    while ((next = sora_ring_at(&home->held, 0)) && next->ticket <= home->durable) {
        struct home_held held;
        sora_ring_pop(&home->held, &held);
        home_let_go(home, &held);
        home_free_held(&held);
    }
}
