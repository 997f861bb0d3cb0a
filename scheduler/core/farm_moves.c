/* The moves of jobs, tasks and nodes. Every change of a state passes one of three functions. */
#include "scheduler/core/farm_parts.h"

#include <string.h>

struct farm_job *farm_find_job(const struct sora_farm *farm, const struct sora_job_id *id)
{
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        if (farm->jobs[i].used && memcmp(&farm->jobs[i].job.id, id, sizeof(*id)) == 0)
            return &farm->jobs[i];
    }
    return NULL;
}

struct farm_node *farm_find_node(const struct sora_farm *farm, uint64_t id)
{
    for (int32_t i = 0; i < farm->params.nodes_max; i++) {
        if (farm->nodes[i].used && farm->nodes[i].id == id)
            return &farm->nodes[i];
    }
    return NULL;
}

struct farm_device *farm_find_device(const struct sora_farm *farm, uint64_t id, int32_t device)
{
    struct farm_node *node = farm_find_node(farm, id);
    return node && device >= 0 && device < SORA_FARM_NODE_DEVICES_MAX ? &node->devices[device]
                                                                      : NULL;
}

struct farm_task *farm_find_task(struct farm_job *job, int32_t shard)
{
    if (shard == SORA_FARM_TEXT_TASK)
        return &job->text;
    return shard >= 0 && shard < job->shard_count ? &job->shards[shard] : NULL;
}

/* ---- states ---- */

void farm_move_node(struct farm_node *node, enum sora_node_state to)
{
    if (node->state == to)
        return;
    SORA_ASSERT(sora_node_state_may(node->state, to));
    node->state = to;
    node->changed_due = true;
}

/* What holds whenever a job is in a state. */
static void check_job(const struct farm_job *job)
{
    SORA_ASSERT(job->floor >= 0 && job->floor <= job->job.plan.steps);
    bool active = job->state == SORA_JOB_RUNNING;
    SORA_ASSERT(!active || job->shard_count > 0);
    SORA_ASSERT(job->state != SORA_JOB_QUEUED || job->shard_count == 0);
    SORA_ASSERT(job->state == SORA_JOB_TEXT || job->text.state == SORA_TASK_WAITING ||
                job->text.state == SORA_TASK_DONE);
    for (int32_t i = 0; i < job->shard_count; i++) {
        enum sora_task_state state = job->shards[i].state;
        SORA_ASSERT(active || state == SORA_TASK_DONE || state == SORA_TASK_WAITING);
        SORA_ASSERT(job->state != SORA_JOB_ASSEMBLING || state == SORA_TASK_DONE);
    }
}

void farm_move_job(struct sora_farm *farm, struct farm_job *job, enum sora_job_state to)
{
    SORA_ASSERT(sora_job_state_may(job->state, to));
    job->state = to;
    job->store_due = job->changed_due = job->dirty = true;
    farm->schedule_due = true;
    check_job(job);
}

void farm_move_task(struct farm_job *job, struct farm_task *task, enum sora_task_state to)
{
    SORA_ASSERT(sora_task_state_may(task->state, to));
    task->state = to;
    job->store_due = job->dirty = true;
    SORA_ASSERT(to == SORA_TASK_WAITING || to == SORA_TASK_DONE || task->epoch > 0);
    SORA_ASSERT(to != SORA_TASK_DONE || task == &job->text || task->segment_done);
}

void farm_set_reason(struct farm_job *job, const struct sora_fault *fault)
{
    char text[SORA_FARM_REASON_SIZE] = "";
    if (fault)
        memcpy(text, fault->text, sizeof(text) - 1);
    if (strcmp(text, job->reason) == 0)
        return;
    memcpy(job->reason, text, sizeof(text));
    job->changed_due = job->dirty = true;
}

/* ---- tasks ---- */

void farm_offer(struct sora_farm *farm, sora_time now, struct farm_job *job, struct farm_task *task,
                uint64_t node, int32_t device)
{
    struct farm_device *held = farm_find_device(farm, node, device);
    SORA_ASSERT(held && !held->busy);
    held->busy = true;
    task->node = node;
    task->boot = farm_find_node(farm, node)->boot;
    task->device = device;
    task->epoch = job->epoch_next++;
    task->version = 0;
    task->confirmed = task->parked = false;
    task->offered_at = now;
    task->offer_at = now + farm->params.offer_repeat_ns;
    task->offer_due = true;
    job->store_due = true;
    farm_move_task(job, task, SORA_TASK_OFFERED);
}

static void free_device(struct sora_farm *farm, struct farm_task *task)
{
    struct farm_device *device = farm_find_device(farm, task->node, task->device);
    if (device && task->epoch > 0)
        device->busy = false;
    task->epoch = task->node = 0;
    task->confirmed = task->parked = false;
    task->order_due = task->offer_due = false;
    farm->schedule_due = true;
}

void farm_release(struct sora_farm *farm, struct farm_job *job, struct farm_task *task)
{
    free_device(farm, task);
    task->durable_step =
        job->floor; /* the next owner begins there and needs its halos from there */
    if (task->state != SORA_TASK_WAITING)
        farm_move_task(job, task, SORA_TASK_WAITING);
}

void farm_drop_cut(struct sora_farm *farm, struct farm_job *job)
{
    for (int32_t i = 0; i < job->shard_count; i++)
        farm_release(farm, job, &job->shards[i]);
    job->cut += job->shard_count > 0;
    job->shard_count = 0;
    job->started = false;
    job->store_due = job->dirty = true;
}

void farm_end_job(struct sora_farm *farm, struct farm_job *job, enum sora_job_state to,
                  const struct sora_fault *fault)
{
    farm_drop_cut(farm, job);
    farm_release(farm, job, &job->text);
    farm_set_reason(job, fault);
    farm_move_job(farm, job, to);
}

/* ---- misfits: nodes on which the job's input cannot be used ---- */

bool farm_is_misfit(const struct farm_job *job, const struct farm_node *node)
{
    for (int32_t i = 0; i < job->misfit_count; i++) {
        if (job->misfits[i].node == node->id && job->misfits[i].boot == node->boot)
            return true;
    }
    return false;
}

static void name_part(const struct farm_job *job, const struct farm_task *task,
                      char out[SORA_PLAN_TEXT_SIZE])
{
    struct sora_fault text = {0};
    if (task == &job->text)
        sora_fault_set(&text, SORA_E_LIMIT, "the text");
    else
        sora_fault_set(&text, SORA_E_LIMIT, "shard %d", (int)(task - job->shards));
    memset(out, 0, SORA_PLAN_TEXT_SIZE);
    memcpy(out, text.text, SORA_PLAN_TEXT_SIZE - 1);
}

/* The job looks for another node; true when there is none and the job has ended. */
static bool add_misfit(struct sora_farm *farm, sora_time now, struct farm_job *job,
                       struct farm_task *task, int code)
{
    const struct farm_node *node = farm_find_node(farm, task->node);
    if (!node || farm_is_misfit(job, node))
        return false;
    if (job->misfit_count == FARM_MISFITS_MAX)
        memmove(job->misfits, job->misfits + 1,
                (size_t)--job->misfit_count * sizeof(*job->misfits));
    job->misfits[job->misfit_count++] = (struct farm_misfit){node->id, node->boot};
    if (farm_has_fit(farm, now, job))
        return false;
    struct sora_fault fault = {0};
    char part[SORA_PLAN_TEXT_SIZE];
    name_part(job, task, part);
    if (job->misfit_count == 1)
        sora_fault_set(&fault, code, "%s cannot be made on %s: %s", part, node->name,
                       sora_error_text(code));
    else
        sora_fault_set(&fault, code, "%s cannot be made on any of %d nodes; last: %s on %s", part,
                       job->misfit_count, sora_error_text(code), node->name);
    farm_end_job(farm, job, SORA_JOB_FAILED, &fault);
    return true;
}

/* Another device computes the same: it is asked once, in case the first one is broken. */
#define NUMERIC_FAILURES_MAX 2

/* Counts a loss or failure; true when it was one too many and the job has ended. */
static bool count_loss(struct sora_farm *farm, struct farm_job *job, struct farm_task *task,
                       int code)
{
    task->full_node = code == SORA_E_SPACE ? task->node : 0;
    if (code == SORA_E_SPACE)
        return false; /* it waits until there is room, however often it is tried */
    task->failures += code != 0;
    task->elsewhere = code == SORA_E_NUMERIC;
    task->losses += code == 0;
    int32_t failures_max = farm->params.failures_max;
    if (code == SORA_E_NUMERIC && failures_max > NUMERIC_FAILURES_MAX)
        failures_max = NUMERIC_FAILURES_MAX;
    if (task->failures < failures_max && task->losses < farm->params.losses_max)
        return false;
    const struct farm_node *node = farm_find_node(farm, task->node);
    struct sora_fault fault = {0};
    char part[SORA_PLAN_TEXT_SIZE];
    name_part(job, task, part);
    sora_fault_set(&fault, SORA_E_LIMIT,
                   "%s failed %d times and lost its node %d times; last: %s "
                   "on %s",
                   part, task->failures, task->losses, code ? sora_error_text(code) : "node lost",
                   node ? node->name : "a lost node");
    farm_end_job(farm, job, SORA_JOB_FAILED, &fault);
    return true;
}

void farm_task_lost(struct sora_farm *farm, sora_time now, struct farm_job *job,
                    struct farm_task *task, int code)
{
    struct farm_device *device = farm_find_device(farm, task->node, task->device);
    if (device && code && !sora_error_of_input(code)) /* then the device is not to blame */
        device->cool_until = now + farm->params.cool_ns;
    if (sora_error_of_input(code) && add_misfit(farm, now, job, task, code))
        return;
    if (count_loss(farm, job, task, code))
        return;
    farm_release(farm, job, task);
    if (task == &job->text)
        farm_move_job(farm, job, SORA_JOB_QUEUED);
    else
        farm_settle_job(farm, job);
}

void farm_touch_order(struct farm_job *job, struct farm_task *task)
{
    if (task->state != SORA_TASK_ASSIGNED)
        return;
    task->version++;
    task->order_due = job->store_due = job->dirty = true;
}

static void touch_all(struct farm_job *job)
{
    for (int32_t i = 0; i < job->shard_count; i++)
        farm_touch_order(job, &job->shards[i]);
}

/* A new cut begins when all its leases are there; later ones join what runs. */
static void assign_granted(struct farm_job *job)
{
    for (int32_t i = 0; i < job->shard_count && !job->started; i++) {
        if (job->shards[i].state != SORA_TASK_GRANTED)
            return;
    }
    job->started = true;
    for (int32_t i = 0; i < job->shard_count; i++) {
        struct farm_task *task = &job->shards[i];
        if (task->state != SORA_TASK_GRANTED)
            continue;
        task->resume_step = task->step = job->floor;
        farm_move_task(job, task, SORA_TASK_ASSIGNED);
    }
    touch_all(job);
}

void farm_granted(struct sora_farm *farm, struct farm_job *job, struct farm_task *task)
{
    farm_move_task(job, task, SORA_TASK_GRANTED);
    if (task == &job->text) {
        farm_move_task(job, task, SORA_TASK_ASSIGNED);
        farm_touch_order(job, task);
    } else {
        assign_granted(job);
    }
    farm->schedule_due = true;
}

void farm_refused(struct sora_farm *farm, sora_time now, struct farm_job *job,
                  struct farm_task *task, int code)
{
    /* A node that cannot get the model is no hope once another could not use it. */
    if ((code == SORA_E_NOT_FOUND || code == SORA_E_FORMAT) && job->misfit_count > 0 &&
        add_misfit(farm, now, job, task, code))
        return;
    struct farm_device *device = farm_find_device(farm, task->node, task->device);
    if (device)
        device->cool_until = now + farm->params.cool_ns;
    farm_release(farm, job, task);
    if (task == &job->text) {
        farm_move_job(farm, job, SORA_JOB_QUEUED);
    } else if (!job->started) {
        farm_drop_cut(farm, job);
        farm_move_job(farm, job, SORA_JOB_QUEUED);
    }
}

/* ---- what follows ---- */

static void raise_floor(struct farm_job *job)
{
    int32_t floor = job->job.plan.steps;
    for (int32_t i = 0; i < job->shard_count; i++)
        floor = job->shards[i].durable_step < floor ? job->shards[i].durable_step : floor;
    SORA_ASSERT(floor >= job->floor);
    if (floor == job->floor)
        return;
    job->floor = floor;
    job->prune_due = job->store_due = job->changed_due = job->dirty = true;
    touch_all(job);
}

/* Shards whose node drains move once nobody can need them any more. */
static void move_parked(struct sora_farm *farm, struct farm_job *job)
{
    for (int32_t i = 0; i < job->shard_count; i++) {
        struct farm_task *task = &job->shards[i];
        const struct farm_node *node = farm_find_node(farm, task->node);
        if (task->state == SORA_TASK_ASSIGNED && task->parked && task->step == job->floor &&
            (!node || node->state == SORA_NODE_DRAINING))
            farm_release(farm, job, task);
    }
}

/* Whether a pause gains nothing by waiting: one shard is lost, or one is parked at the floor. Those
 * that passed its step before they heard of the pause cannot get to their next checkpoint. */
static bool stands(const struct farm_job *job)
{
    for (int32_t i = 0; i < job->shard_count; i++) {
        const struct farm_task *task = &job->shards[i];
        if (task->state != SORA_TASK_ASSIGNED || (task->parked && task->step == job->floor))
            return true;
    }
    return false;
}

/* Whether a shard to the right may still ask for this one's final latents. One that is yet to be
 * placed, or that resumed at the last step, has them from the home: waiting for it would keep the
 * device that it may be waiting for. */
static bool is_read(const struct farm_job *job, int32_t shard)
{
    int32_t end = job->shards[shard].latents.end;
    for (int32_t i = shard + 1; i < job->shard_count; i++) {
        const struct farm_task *task = &job->shards[i];
        if (!task->segment_done && task->state == SORA_TASK_ASSIGNED &&
            task->resume_step < job->job.plan.steps &&
            task->latents.first - job->job.plan.context_latents < end)
            return true;
    }
    return false;
}

static void finish_shards(struct sora_farm *farm, struct farm_job *job)
{
    bool all = true;
    for (int32_t i = 0; i < job->shard_count; i++) {
        struct farm_task *task = &job->shards[i];
        if (task->segment_done && task->state == SORA_TASK_ASSIGNED && !is_read(job, i)) {
            free_device(farm, task);
            farm_move_task(job, task, SORA_TASK_DONE);
        }
        all = all && task->state == SORA_TASK_DONE;
    }
    if (!all)
        return;
    farm_set_reason(job, NULL);
    job->assemble_due = true;
    farm_move_job(farm, job, SORA_JOB_ASSEMBLING);
}

void farm_pause_here(struct sora_farm *farm, struct farm_job *job)
{
    job->pause_wanted = false;
    struct sora_fault fault = {0};
    sora_fault_set(&fault, SORA_E_BUSY, "paused at step %d of %d", job->floor, job->job.plan.steps);
    farm_set_reason(job, &fault);
    farm_move_job(farm, job, SORA_JOB_PAUSED);
    if (job->resume_wanted)
        farm_move_job(farm, job, SORA_JOB_QUEUED);
    job->resume_wanted = false;
}

void farm_settle_job(struct sora_farm *farm, struct farm_job *job)
{
    if (job->state != SORA_JOB_RUNNING)
        return;
    raise_floor(job);
    if (job->floor == job->job.plan.steps) {
        if (job->pause_wanted)
            touch_all(job);
        job->pause_wanted = false; /* little is left: it is finished instead */
        finish_shards(farm, job);
        return;
    }
    move_parked(farm, job);
    if (!job->pause_wanted || !stands(job))
        return;
    farm_drop_cut(farm, job);
    farm_pause_here(farm, job);
}
