/* Events about jobs: what users ask, and what nodes hand in. */
#include "scheduler/core/farm_parts.h"

#include <string.h>

#define BYTES_MAX (1ll << 40)

int farm_check_job(const struct sora_farm_job *job, struct sora_fault *fault)
{
    const struct sora_plan_job *plan = &job->plan;
    int result = sora_timeline_check(&plan->timeline, fault);
    if (result)
        return result;
    if (plan->steps < 1 || plan->steps > 1000)
        return sora_fault_set(fault, SORA_E_INVALID, "%d steps are outside 1..1000", plan->steps);
    if (job->checkpoint_steps < 1 || job->checkpoint_steps > plan->steps)
        return sora_fault_set(fault, SORA_E_INVALID, "a checkpoint every %d steps is outside 1..%d",
                              job->checkpoint_steps, plan->steps);
    if (job->priority < -100 || job->priority > 100)
        return sora_fault_set(fault, SORA_E_INVALID, "priority %d is outside -100..100",
                              job->priority);
    if (plan->context_latents < 0 || plan->context_latents > 1024 || plan->memory_fixed_bytes < 0 ||
        plan->memory_fixed_bytes > BYTES_MAX || plan->memory_card_bytes < 0 ||
        plan->memory_card_bytes > BYTES_MAX || plan->memory_text_bytes < 0 ||
        plan->memory_text_bytes > BYTES_MAX || plan->memory_int8_bytes < 0 ||
        plan->memory_int8_bytes > BYTES_MAX || plan->memory_latent_bytes < 0 ||
        plan->memory_latent_bytes > BYTES_MAX || plan->halo_latent_bytes < 1 ||
        plan->halo_latent_bytes > INT32_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "a size of the job is out of range");
    return SORA_OK;
}

static int submit(struct sora_farm *farm, const struct sora_farm_job *submitted,
                  struct sora_fault *fault)
{
    int result = farm_check_job(submitted, fault);
    if (result)
        return result;
    struct farm_job *job = farm_find_job(farm, &submitted->id);
    if (job) {
        job->store_due = job->dirty = true; /* again: the answer was lost */
        return SORA_OK;
    }
    for (int32_t i = 0; i < farm->params.jobs_max && !job; i++) {
        if (!farm->jobs[i].used)
            job = &farm->jobs[i];
    }
    if (!job)
        return sora_fault_set(fault, SORA_E_FULL,
                              "%d jobs are here, which is the limit: remove finished ones",
                              farm->params.jobs_max);
    *job = (struct farm_job){.used = true,
                             .job = *submitted,
                             .sequence = farm->sequence_next++,
                             .epoch_next = 1,
                             .text_done = !submitted->needs_text,
                             .dirty = true,
                             .store_due = true,
                             .changed_due = true};
    job->job.plan.first_step = 0;
    job->job.plan.device_class = 0;
    farm->schedule_due = true;
    return SORA_OK;
}

static int not_now(const struct farm_job *job, const char *verb, struct sora_fault *fault)
{
    return sora_fault_set(fault, SORA_E_BUSY, "cannot %s a job that is %s", verb,
                          sora_job_state_text(job->state));
}

static int cancel(struct sora_farm *farm, struct farm_job *job, struct sora_fault *fault)
{
    if (job->state == SORA_JOB_CANCELLED)
        return SORA_OK;
    if (!sora_job_state_may(job->state, SORA_JOB_CANCELLED))
        return not_now(job, "cancel", fault);
    farm_end_job(farm, job, SORA_JOB_CANCELLED, NULL);
    return SORA_OK;
}

static int pause_job(struct sora_farm *farm, struct farm_job *job, struct sora_fault *fault)
{
    if (job->state == SORA_JOB_PAUSED)
        return SORA_OK;
    if (job->state == SORA_JOB_RUNNING && job->floor == job->job.plan.steps)
        return sora_fault_set(fault, SORA_E_BUSY,
                              "its last step is done, only decoding is left: it is finished "
                              "instead of paused");
    if (job->state == SORA_JOB_RUNNING && job->started) {
        job->pause_wanted = true;
        job->resume_wanted = false;
        job->store_due = job->dirty = true;
        for (int32_t i = 0; i < job->shard_count; i++)
            farm_touch_order(job, &job->shards[i]);
        farm_settle_job(farm, job);
        return SORA_OK;
    }
    if (!sora_job_state_may(job->state, SORA_JOB_PAUSED))
        return not_now(job, "pause", fault);
    farm_drop_cut(farm, job);
    if (job->text.state != SORA_TASK_DONE)
        farm_release(farm, job, &job->text);
    struct sora_fault reason = {0};
    sora_fault_set(&reason, SORA_E_BUSY, "paused before it began");
    farm_set_reason(job, &reason);
    farm_move_job(farm, job, SORA_JOB_PAUSED);
    return SORA_OK;
}

static int resume(struct sora_farm *farm, struct farm_job *job, struct sora_fault *fault)
{
    if (job->state == SORA_JOB_PAUSED) {
        farm_set_reason(job, NULL);
        farm_move_job(farm, job, SORA_JOB_QUEUED);
        return SORA_OK;
    }
    if (job->pause_wanted) {
        job->resume_wanted = true;
        return SORA_OK;
    }
    return sora_job_state_may(job->state, SORA_JOB_CANCELLED) ? SORA_OK
                                                              : not_now(job, "resume", fault);
}

/* ---- from nodes ---- */

static int find_live_task(struct farm_job *job, const struct sora_farm_event *event,
                          struct farm_task **out_task, struct sora_fault *fault)
{
    struct farm_task *task = farm_find_task(job, event->shard);
    if (!task || task->epoch == 0 || task->epoch != event->epoch)
        return sora_fault_set(fault, SORA_E_STALE, "epoch %llu of shard %d is over",
                              (unsigned long long)event->epoch, event->shard);
    *out_task = task;
    return SORA_OK;
}

static void give(struct sora_farm_actions *out, enum sora_farm_action_kind kind,
                 const struct farm_task *task, const struct sora_farm_event *event)
{
    SORA_ASSERT(out->count < out->capacity);
    out->items[out->count++] = (struct sora_farm_action){.kind = kind,
                                                         .node = task->node,
                                                         .device = task->device,
                                                         .job = event->job,
                                                         .shard = event->shard,
                                                         .step = event->step,
                                                         .epoch = event->epoch};
}

static int next_checkpoint(const struct farm_job *job, int32_t durable)
{
    int32_t every = job->job.checkpoint_steps;
    int32_t next = (durable / every + 1) * every;
    return next < job->job.plan.steps ? next : job->job.plan.steps;
}

/* Checkpoints count in order, so that every shard has one at the floor. */
static int take_checkpoint(struct sora_farm *farm, struct farm_job *job, struct farm_task *task,
                           const struct sora_farm_event *event, struct sora_farm_actions *out,
                           struct sora_fault *fault)
{
    if (task->state != SORA_TASK_ASSIGNED || event->shard < 0)
        return sora_fault_set(fault, SORA_E_STALE, "shard %d has no order", event->shard);
    if (event->step > task->durable_step) {
        if (event->step != next_checkpoint(job, task->durable_step))
            return sora_fault_set(fault, SORA_E_STALE, "checkpoint %d before %d", event->step,
                                  next_checkpoint(job, task->durable_step));
        task->durable_step = event->step;
        task->step = event->step > task->step ? event->step : task->step;
        give(out, SORA_FARM_STORE_JOB, task, event);
        if (event->step > task->stored_step) {
            task->stored_step = event->step; /* an earlier owner's is the same, bit for bit */
            give(out, SORA_FARM_STORE_PART, task, event);
        }
    }
    give(out, SORA_FARM_CHECKPOINT_ACK, task, event);
    farm_settle_job(farm, job);
    return SORA_OK;
}

static int take_segment(struct sora_farm *farm, struct farm_job *job, struct farm_task *task,
                        const struct sora_farm_event *event, struct sora_farm_actions *out,
                        struct sora_fault *fault)
{
    if (task->state != SORA_TASK_ASSIGNED || event->shard < 0)
        return sora_fault_set(fault, SORA_E_STALE, "shard %d has no order", event->shard);
    give(out, SORA_FARM_STORE_JOB, task, event);
    give(out, SORA_FARM_SEGMENT_ACK, task, event);
    if (!task->segment_done) {
        task->segment_done = task->segment_due = job->dirty = true;
        farm_settle_job(farm, job);
    }
    return SORA_OK;
}

static int take_text(struct sora_farm *farm, struct farm_job *job, struct farm_task *task,
                     struct sora_fault *fault)
{
    if (task->state != SORA_TASK_ASSIGNED)
        return sora_fault_set(fault, SORA_E_STALE, "the text has no order");
    farm_release(farm, job, task);
    job->text_done = true;
    farm_move_job(farm, job, SORA_JOB_QUEUED);
    return SORA_OK;
}

static int take_node_event(struct sora_farm *farm, sora_time now, struct farm_job *job,
                           const struct sora_farm_event *event, struct sora_farm_actions *out,
                           struct sora_fault *fault)
{
    struct farm_task *task = NULL;
    int result = find_live_task(job, event, &task, fault);
    if (result)
        return result;
    switch (event->kind) {
    case SORA_FARM_GRANT:
        if (task->state == SORA_TASK_OFFERED)
            farm_granted(farm, job, task);
        return SORA_OK;
    case SORA_FARM_REFUSE:
        if (task->state == SORA_TASK_OFFERED)
            farm_refused(farm, now, job, task, event->code);
        else if (task->state == SORA_TASK_ASSIGNED)
            farm_task_lost(farm, now, job, task, SORA_OK); /* its lease ran out before the order */
        return SORA_OK;
    case SORA_FARM_CHECKPOINT:
        return take_checkpoint(farm, job, task, event, out, fault);
    case SORA_FARM_SEGMENT:
        return take_segment(farm, job, task, event, out, fault);
    default:
        return task == &job->text ? take_text(farm, job, task, fault)
                                  : sora_fault_set(fault, SORA_E_INVALID, "no text task");
    }
}

/* ---- the rest ---- */

/* What the home had is gone: the shards begin anew where it has something. */
static int go_back(struct sora_farm *farm, struct farm_job *job,
                   const struct sora_farm_event *event, struct sora_fault *fault)
{
    if (job->state != SORA_JOB_RUNNING && job->state != SORA_JOB_ASSEMBLING)
        return not_now(job, "set back", fault);
    if (event->step < 0 || event->step > job->floor || event->step >= job->job.plan.steps)
        return sora_fault_set(fault, SORA_E_INVALID, "step %d is outside 0..%d", event->step,
                              job->floor);
    job->floor = event->step;
    job->text_done = job->text_done && event->shard != SORA_FARM_TEXT_TASK;
    job->changed_due = true;
    farm_drop_cut(farm, job);
    if (job->pause_wanted)
        farm_pause_here(farm, job);
    else
        farm_move_job(farm, job, SORA_JOB_QUEUED);
    return SORA_OK;
}

static int take_assembly(struct sora_farm *farm, struct farm_job *job,
                         const struct sora_farm_event *event, struct sora_fault *fault)
{
    if (job->state != SORA_JOB_ASSEMBLING)
        return not_now(job, "assemble", fault);
    if (event->kind == SORA_FARM_ASSEMBLED) {
        farm_move_job(farm, job, SORA_JOB_DONE);
        return SORA_OK;
    }
    struct sora_fault reason = {0};
    sora_fault_set(&reason, event->code, "assembling the video failed: %s",
                   sora_error_text(event->code));
    farm_end_job(farm, job, SORA_JOB_FAILED, &reason);
    return SORA_OK;
}

static int forget(struct farm_job *job, struct sora_fault *fault)
{
    if (job->state != SORA_JOB_DONE && job->state != SORA_JOB_FAILED &&
        job->state != SORA_JOB_CANCELLED)
        return not_now(job, "forget", fault);
    job->used = false;
    return SORA_OK;
}

static int set_priority(struct sora_farm *farm, struct farm_job *job, int32_t priority,
                        struct sora_fault *fault)
{
    if (priority < -100 || priority > 100)
        return sora_fault_set(fault, SORA_E_INVALID, "priority %d is outside -100..100", priority);
    job->job.priority = priority;
    job->store_due = job->changed_due = job->dirty = farm->schedule_due = true;
    return SORA_OK;
}

int farm_take_job_event(struct sora_farm *farm, sora_time now, const struct sora_farm_event *event,
                        struct sora_farm_actions *out, struct sora_fault *fault)
{
    if (event->kind == SORA_FARM_SUBMIT)
        return submit(farm, event->submit, fault);
    struct farm_job *job = farm_find_job(farm, &event->job);
    if (!job)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "no such job");
    switch (event->kind) {
    case SORA_FARM_CANCEL:
        return cancel(farm, job, fault);
    case SORA_FARM_PAUSE:
        return pause_job(farm, job, fault);
    case SORA_FARM_RESUME:
        return resume(farm, job, fault);
    case SORA_FARM_PRIORITY:
        return set_priority(farm, job, event->step, fault);
    case SORA_FARM_LOST_BLOBS:
        return go_back(farm, job, event, fault);
    case SORA_FARM_ASSEMBLED:
    case SORA_FARM_ASSEMBLY_FAILED:
        return take_assembly(farm, job, event, fault);
    case SORA_FARM_FORGET:
        return forget(job, fault);
    default:
        return take_node_event(farm, now, job, event, out, fault);
    }
}
