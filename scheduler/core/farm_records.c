/* Orders, views and stored records. */
#include "scheduler/core/farm_parts.h"

#include <string.h>

static void fill_link(const struct farm_job *job, int32_t shard, struct sora_farm_order_link *out)
{
    const struct farm_task *task = &job->shards[shard];
    bool owned = task->state == SORA_TASK_ASSIGNED;
    /* Whoever began before the floor has passed it by now. */
    int32_t resume = task->resume_step > job->floor ? task->resume_step : job->floor;
    *out = (struct sora_farm_order_link){.shard = shard,
                                         .latents = task->latents,
                                         .node = owned ? task->node : 0,
                                         .epoch = owned ? task->epoch : 0,
                                         .device = task->device,
                                         .resume_step = resume};
}

int sora_farm_order_get(const struct sora_farm *farm, const struct sora_job_id *id, int32_t shard,
                        struct sora_farm_order *out)
{
    struct farm_job *job = farm_find_job(farm, id);
    const struct farm_task *task = job ? farm_find_task(job, shard) : NULL;
    if (!task)
        return SORA_E_NOT_FOUND;
    const struct farm_node *node = farm_find_node(farm, task->node);
    *out = (struct sora_farm_order){.job = *id,
                                    .shard = shard,
                                    .device = task->device,
                                    .shard_count = job->shard_count,
                                    .epoch = task->epoch,
                                    .version = task->version,
                                    .latents = task->latents,
                                    .resume_step = task->resume_step,
                                    .floor_step = job->floor,
                                    .park = job->pause_wanted ||
                                            (node && node->state == SORA_NODE_DRAINING)};
    if (shard == SORA_FARM_TEXT_TASK)
        return SORA_OK;
    struct sora_range ranges[SORA_PLAN_SHARDS_MAX];
    for (int32_t i = 0; i < job->shard_count; i++)
        ranges[i] = job->shards[i].latents;
    int32_t indices[SORA_PLAN_NEIGHBOURS_MAX];
    int result = sora_plan_neighbours(&job->job.plan, ranges, job->shard_count, shard, indices,
                                      &out->link_count);
    for (int32_t i = 0; i < out->link_count && result == SORA_OK; i++)
        fill_link(job, indices[i], &out->links[i]);
    return result;
}

/* ---- views ---- */

int sora_farm_job_view(const struct sora_farm *farm, const struct sora_job_id *id,
                       struct sora_farm_job_view *out)
{
    const struct farm_job *job = farm_find_job(farm, id);
    if (!job)
        return SORA_E_NOT_FOUND;
    *out = (struct sora_farm_job_view){.job = job->job,
                                       .state = job->state,
                                       .reason = job->reason,
                                       .floor_step = job->floor,
                                       .shard_count = job->shard_count,
                                       .queue_place = -1};
    out->job.plan.device_class = job->device_class;
    int32_t queue[SORA_FARM_JOBS_LIMIT];
    int32_t count = job->state == SORA_JOB_QUEUED ? farm_queue(farm, queue) : 0;
    for (int32_t i = 0; i < count; i++) {
        if (&farm->jobs[queue[i]] == job)
            out->queue_place = i;
    }
    for (int32_t i = 0; i < job->shard_count; i++) {
        const struct farm_task *task = &job->shards[i];
        out->shards[i] = (struct sora_farm_shard_view){.latents = task->latents,
                                                       .state = task->state,
                                                       .node = task->node,
                                                       .epoch = task->epoch,
                                                       .device = task->device,
                                                       .step = task->step,
                                                       .durable_step = task->durable_step,
                                                       .segment_done = task->segment_done};
    }
    return SORA_OK;
}

bool sora_farm_node_at(const struct sora_farm *farm, int32_t index, struct sora_farm_node_view *out)
{
    for (int32_t i = 0; i < farm->params.nodes_max; i++) {
        const struct farm_node *node = &farm->nodes[i];
        if (!node->used || index-- > 0)
            continue;
        *out = (struct sora_farm_node_view){.node = node->id,
                                            .name = node->name,
                                            .state = node->state,
                                            .device_count = node->device_count};
        for (int32_t k = 0; k < node->device_count; k++)
            out->device_busy[k] = node->devices[k].busy;
        return true;
    }
    return false;
}

int sora_farm_plan(const struct sora_farm *farm, const struct sora_farm_job *job,
                   struct sora_plan *out_plan, struct sora_bytes *out_words,
                   struct sora_fault *fault)
{
    int result = farm_check_job(job, fault);
    if (result)
        return result;
    struct sora_plan_device devices[SORA_PLAN_DEVICES_MAX];
    const struct farm_listing listing = {.asked = job, .all = true};
    int32_t count = farm_list_devices(farm, 0, &listing, devices, NULL);
    result = sora_plan_make(&job->plan, devices, count, out_plan, fault);
    if (result)
        return result;
    result = sora_plan_explain(&job->plan, devices, count, out_plan, out_words);
    return result ? sora_fault_set(fault, result, "no room for the words of the plan") : SORA_OK;
}

/* ---- records ---- */

int sora_farm_export_job(const struct sora_farm *farm, const struct sora_job_id *id,
                         struct sora_farm_job_record *out)
{
    const struct farm_job *job = farm_find_job(farm, id);
    if (!job)
        return SORA_E_NOT_FOUND;
    *out = (struct sora_farm_job_record){.job = job->job,
                                         .state = job->state,
                                         .sequence = job->sequence,
                                         .epoch_next = job->epoch_next,
                                         .device_class = job->device_class,
                                         .cut = job->cut,
                                         .floor_step = job->floor,
                                         .shard_count = job->shard_count,
                                         .text_done = job->text_done,
                                         .pause_wanted = job->pause_wanted};
    memcpy(out->reason, job->reason, sizeof(out->reason));
    return SORA_OK;
}

int sora_farm_export_shard(const struct sora_farm *farm, const struct sora_job_id *id,
                           int32_t shard, struct sora_farm_shard_record *out)
{
    struct farm_job *job = farm_find_job(farm, id);
    const struct farm_task *task = job ? farm_find_task(job, shard) : NULL;
    if (!task)
        return SORA_E_NOT_FOUND;
    *out = (struct sora_farm_shard_record){.latents = task->latents,
                                           .state = task->state,
                                           .node = task->node,
                                           .boot = task->boot,
                                           .epoch = task->epoch,
                                           .version = task->version,
                                           .device = task->device,
                                           .resume_step = task->resume_step,
                                           .durable_step = task->durable_step,
                                           .stored_step = task->stored_step,
                                           .failures = task->failures,
                                           .losses = task->losses,
                                           .segment_done = task->segment_done};
    return SORA_OK;
}

static int check_record(const struct sora_farm_job_record *record,
                        const struct sora_farm_shard_record *shards, struct sora_fault *fault)
{
    int result = farm_check_job(&record->job, fault);
    if (result)
        return result;
    int32_t steps = record->job.plan.steps, end = 0;
    bool sound = (unsigned)record->state < SORA_JOB_STATE_COUNT && record->floor_step >= 0 &&
                 record->floor_step <= steps && record->shard_count >= 0 &&
                 record->shard_count <= SORA_PLAN_SHARDS_MAX && record->epoch_next > 0;
    for (int32_t i = 0; sound && i < record->shard_count; i++) {
        const struct sora_farm_shard_record *shard = &shards[i];
        sound = (unsigned)shard->state < SORA_TASK_STATE_COUNT && shard->latents.first == end &&
                shard->latents.end > end && shard->durable_step >= record->floor_step &&
                shard->durable_step <= shard->stored_step && shard->stored_step <= steps &&
                shard->resume_step >= 0 && shard->resume_step <= record->floor_step &&
                shard->epoch < record->epoch_next && shard->device >= 0 &&
                shard->device < SORA_FARM_NODE_DEVICES_MAX;
        end = shard->latents.end;
    }
    if (sound && record->shard_count > 0)
        sound = end == record->job.plan.timeline.latent_count;
    return sound ? SORA_OK
                 : sora_fault_set(fault, SORA_E_INVALID, "a stored job contradicts itself");
}

/* The node of a stored lease counts as heard, and its device as busy, until it is silent. */
static int import_lease(struct sora_farm *farm, sora_time now,
                        const struct sora_farm_shard_record *record)
{
    struct farm_node *node = farm_find_node(farm, record->node);
    for (int32_t i = 0; i < farm->params.nodes_max && !node; i++) {
        if (farm->nodes[i].used)
            continue;
        node = &farm->nodes[i];
        *node = (struct farm_node){.used = true,
                                   .id = record->node,
                                   .boot = record->boot,
                                   .state = SORA_NODE_SUSPECTED,
                                   .last_heard = now};
    }
    if (!node)
        return SORA_E_FULL;
    node->devices[record->device].busy = true;
    return SORA_OK;
}

static int import_shard(struct sora_farm *farm, sora_time now, int32_t floor,
                        const struct sora_farm_shard_record *record, struct farm_task *out)
{
    *out = (struct farm_task){.latents = record->latents,
                              .resume_step = record->resume_step,
                              .durable_step = record->durable_step,
                              .stored_step = record->stored_step,
                              .step = record->durable_step,
                              .failures = record->failures,
                              .losses = record->losses,
                              .segment_done = record->segment_done,
                              .segment_due = record->segment_done};
    if (record->state == SORA_TASK_DONE)
        out->state = SORA_TASK_DONE;
    else if (record->state != SORA_TASK_ASSIGNED)
        out->durable_step = floor;
    if (record->state != SORA_TASK_ASSIGNED)
        return SORA_OK;
    out->state = SORA_TASK_ASSIGNED;
    out->node = record->node;
    out->boot = record->boot;
    out->device = record->device;
    out->epoch = record->epoch;
    out->version = record->version + 1;
    return import_lease(farm, now, record);
}

static void import_state(struct farm_job *job, bool any_assigned)
{
    job->started = any_assigned;
    if (job->state == SORA_JOB_TEXT)
        job->state = SORA_JOB_QUEUED;
    if (job->state == SORA_JOB_RUNNING && !any_assigned && job->floor < job->job.plan.steps) {
        job->shard_count = 0;
        job->cut++;
        job->state = SORA_JOB_QUEUED;
    }
    if (job->state == SORA_JOB_RUNNING)
        job->started = true;
    job->assemble_due = job->state == SORA_JOB_ASSEMBLING;
    job->dirty = true;
}

int sora_farm_import_job(struct sora_farm *farm, sora_time now,
                         const struct sora_farm_job_record *record,
                         const struct sora_farm_shard_record *shards, struct sora_fault *fault)
{
    int result = check_record(record, shards, fault);
    if (result)
        return result;
    struct farm_job *job = NULL;
    for (int32_t i = 0; i < farm->params.jobs_max && !job; i++) {
        if (!farm->jobs[i].used)
            job = &farm->jobs[i];
    }
    if (!job)
        return sora_fault_set(fault, SORA_E_FULL, "%d stored jobs are the limit",
                              farm->params.jobs_max);
    *job = (struct farm_job){.job = record->job,
                             .state = record->state,
                             .sequence = record->sequence,
                             .epoch_next = record->epoch_next,
                             .device_class = record->device_class,
                             .cut = record->cut,
                             .floor = record->floor_step,
                             .shard_count = record->shard_count,
                             .text_done = record->text_done,
                             .pause_wanted = record->pause_wanted};
    memcpy(job->reason, record->reason, sizeof(job->reason) - 1);
    bool any = false;
    for (int32_t i = 0; i < record->shard_count; i++) {
        if (import_shard(farm, now, job->floor, &shards[i], &job->shards[i]))
            return sora_fault_set(fault, SORA_E_FULL, "stored jobs name more than %d nodes",
                                  farm->params.nodes_max);
        any |= job->shards[i].state == SORA_TASK_ASSIGNED;
    }
    job->used = true;
    import_state(job, any);
    if (record->sequence >= farm->sequence_next)
        farm->sequence_next = record->sequence + 1;
    farm->schedule_due = true;
    return SORA_OK;
}
