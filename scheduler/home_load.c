/* A home that starts: what the store holds becomes tables again, open takes go back to the farm. */
#include "scheduler/home_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The signed envelope says who and what; both were checked when it came. */
static int read_envelope(struct home_job *job, const struct sora_store_job *row,
                         struct sora_fault *fault)
{
    struct sora_message *message = NULL;
    struct sora_certificate certificate;
    int rc = sora_message_decode_as(&farm__envelope__descriptor, row->envelope, row->envelope_size,
                                    false, &message, fault);
    if (rc)
        return rc;
    const Farm__Envelope *wire = (const Farm__Envelope *)message->any;
    rc = sora_certificate_get(wire->certificate, &certificate, fault);
    if (rc == SORA_OK)
        rc = sora_certificate_read(&certificate, &job->owner, fault);
    if (rc == SORA_OK)
        rc = sora_message_decode_as(&farm__job_spec__descriptor, wire->payload.data,
                                    wire->payload.len, true, &job->spec, fault);
    sora_message_destroy(&message);
    return rc;
}

static void copy_row(struct home_job *job, const struct sora_store_job *row)
{
    memcpy(job->model, row->model, sizeof(job->model));
    memcpy(job->owner.node, row->owner, sizeof(job->owner.node));
    job->final_state = row->state;
    job->ended = row->state >= 0;
    job->wall_created_ms = row->wall_created_ms;
    job->wall_started_ms = row->wall_started_ms;
    job->wall_ended_ms = row->wall_ended_ms;
    job->moves = row->moves;
    home_cut_text(row->reason ? row->reason : "", job->reason, sizeof(job->reason));
    home_cut_text(row->device_classes ? row->device_classes : "", job->device_classes,
                  sizeof(job->device_classes));
    home_cut_text(row->result_folder ? row->result_folder : "", job->folder, sizeof(job->folder));
}

static int load_job(void *context, const struct sora_store_job *row)
{
    struct sora_home *home = context;
    struct home_job *job = NULL;
    struct sora_fault fault = {0};
    int rc = home_add_job(home, &row->id, &job);
    if (rc)
        return rc;
    copy_row(job, row);
    job->event_sequence = ++home->event_sequence;
    rc = sora_bytes_append(&job->envelope, row->envelope, row->envelope_size);
    if (rc == SORA_OK)
        rc = read_envelope(job, row, &fault);
    if (rc == SORA_OK) {
        home_take_names(job);
        rc = home_read_manifest(home, job, &fault);
    }
    if (rc == SORA_OK)
        rc = home_plan_job(job, &fault);
    int32_t takes = rc == SORA_OK ? job->plan->take_count : 0;
    if (job->ended) {
        home_free_work(home, job);
        job->take_count = takes;
        return SORA_OK;
    }
    if (rc == SORA_OK)
        return home_make_takes(job, takes);
    sora_fault_set(&fault, rc, "what its model can do is no longer here: submit it again");
    home_cut_text(fault.text, job->failure, sizeof(job->failure)); /* ended when all is read */
    return SORA_OK;
}

static int load_take(void *context, const struct sora_store_take *row)
{
    struct sora_home *home = context;
    struct home_take *take = home_find_take(home, &row->record.job.id);
    struct sora_fault fault = {0};
    if (!take || take->job->final_state >= 0)
        return SORA_OK;
    struct sora_farm_job planned;
    struct sora_farm_job_record record = row->record;
    home_farm_job(home, take->job, take->index, &planned);
    record.job.plan.memory_card_bytes = planned.plan.memory_card_bytes; /* not in the store */
    record.job.plan.memory_text_bytes = planned.plan.memory_text_bytes;
    record.job.plan.memory_int8_bytes = planned.plan.memory_int8_bytes;
    record.job.plan.decode_us_guess = planned.plan.decode_us_guess;
    int rc = sora_farm_import_job(home->farm, home->now, &record, row->shards, &fault);
    if (rc == SORA_OK && row->prepared)
        rc = home_keep_text(home, take, row->prepared, row->prepared_size);
    if (rc) {
        sora_fault_set(&fault, rc, "its stored state cannot be read");
        home_cut_text(fault.text, take->job->failure, sizeof(take->job->failure));
        return SORA_OK;
    }
    take->in_farm = true;
    take->cut = row->record.cut;
    for (int32_t i = 0; i < row->record.shard_count; i++) {
        if (row->shards[i].state == SORA_TASK_ASSIGNED)
            take->shards[i].ordered_epoch = row->shards[i].epoch;
    }
    take->job->settle_due = home->settle_due = true;
    return SORA_OK;
}

static int load_part(void *context, const struct sora_store_part *row)
{
    struct sora_home *home = context;
    struct home_take *take = home_find_take(home, &row->take);
    return take && take->job->final_state < 0 ? home_add_part(home, take, row) : SORA_OK;
}

static int load_piece(void *context, const struct sora_store_piece *row)
{
    struct sora_home *home = context;
    struct home_take *take = home_find_take(home, &row->take);
    if (!take || take->job->final_state >= 0)
        return SORA_OK;
    home->assembly_due = true;
    return home_add_piece(home, take, row);
}

static int load_line(void *context, const struct sora_store_line *row)
{
    struct home_job *job = home_find_job(context, &row->job);
    return !job || home_add_line(job, row->number, row->text) ? SORA_OK : SORA_E_MEMORY;
}

static int load_ran(void *context, const struct sora_store_ran *row)
{
    struct home_job *job = home_find_job(context, &row->job);
    if (job && !job->ended && job->takes && row->take >= 0 && row->take < job->take_count &&
        row->shard >= 0 && row->shard < SORA_PLAN_SHARDS_MAX) {
        struct home_shard *shard = &job->takes[row->take].shards[row->shard];
        shard->ordered_epoch = row->epoch;
        memcpy(shard->node, row->node, sizeof(shard->node));
        memcpy(shard->device, row->device, sizeof(shard->device));
    }
    if (!job || !job->ended || job->ran_count == HOME_RAN_MAX)
        return SORA_OK;
    struct sora_store_ran *ran =
        realloc(job->ran, ((size_t)job->ran_count + 1) * sizeof(*job->ran));
    if (!ran)
        return SORA_E_MEMORY;
    job->ran = ran;
    job->ran[job->ran_count++] = *row;
    return SORA_OK;
}

int home_load(struct sora_home *home, struct sora_fault *fault)
{
    const struct sora_store_visitor visitor = {.job = load_job,
                                               .take = load_take,
                                               .part = load_part,
                                               .piece = load_piece,
                                               .line = load_line,
                                               .ran = load_ran,
                                               .context = home};
    int rc = sora_store_load(home->params.store, &visitor, fault);
    if (rc)
        return sora_fault_set(fault, rc, "the jobs of this home cannot be read: %s",
                              sora_error_text(rc));
    for (int i = 0; i < home->job_count; i++) {
        struct home_job *job = home->jobs[i];
        bool whole = job->take_count > 0;
        for (int32_t t = 0; t < job->take_count && !job->ended && job->takes; t++)
            whole = whole && job->takes[t].in_farm;
        if (job->final_state < 0 && !whole)
            home_end_job(home, job, SORA_JOB_FAILED,
                         *job->failure ? job->failure : "a part of it is missing in the store");
    }
    int open = sora_home_open_jobs(home);
    if (home->job_count > 0)
        sora_log(SORA_LOG_INFO, "the home goes on jobs=%d open=%d", home->job_count, open);
    return SORA_OK;
}
