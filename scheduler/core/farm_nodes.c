/* Nodes: beats, silence, and the comparison of what a node holds with what it should. */
#include "scheduler/core/farm_parts.h"

#include <string.h>

#define US_MAX 3600000000 /* one hour a window */
#define BYTES_MAX (1ll << 48)

int farm_check_beat(const struct sora_farm_beat *beat, struct sora_fault *fault)
{
    if (beat->device_count < 0 || beat->device_count > SORA_FARM_NODE_DEVICES_MAX ||
        beat->report_count < 0 || beat->report_count > SORA_FARM_REPORTS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "a beat with %d devices and %d reports",
                              beat->device_count, beat->report_count);
    for (int32_t i = 0; i < beat->device_count; i++) {
        const struct sora_farm_device *device = &beat->devices[i];
        bool sound = memchr(device->name, 0, sizeof(device->name)) && device->device_class &&
                     device->memory_free_bytes >= 0 && device->memory_free_bytes <= BYTES_MAX &&
                     device->memory_total_bytes >= 0 && device->memory_total_bytes <= BYTES_MAX &&
                     device->speed_count >= 0 && device->speed_count <= SORA_FARM_SPEEDS_MAX;
        for (int32_t k = 0; sound && k < device->speed_count; k++) {
            const struct sora_farm_speed *speed = &device->speeds[k];
            sound = speed->window_us >= 0 && speed->window_us <= US_MAX && speed->decode_us >= 0 &&
                    speed->decode_us <= US_MAX;
        }
        if (!sound)
            return sora_fault_set(fault, SORA_E_INVALID, "device %d of a beat is out of range", i);
    }
    return SORA_OK;
}

/* All tasks of a node that is gone or began anew. */
static void lose_tasks(struct sora_farm *farm, sora_time now, uint64_t id)
{
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        struct farm_job *job = &farm->jobs[i];
        if (!job->used)
            continue;
        if (job->text.epoch && job->text.node == id)
            farm_task_lost(farm, now, job, &job->text, SORA_OK);
        for (int32_t k = 0; k < job->shard_count; k++) {
            struct farm_task *task = &job->shards[k];
            if (!task->epoch || task->node != id)
                continue;
            if (task->state == SORA_TASK_ASSIGNED)
                farm_task_lost(farm, now, job, task, SORA_OK);
            else
                farm_refused(farm, now, job, task, SORA_OK);
        }
    }
}

static struct farm_node *take_place(struct sora_farm *farm, sora_time now,
                                    const struct sora_farm_event *event)
{
    struct farm_node *node = farm_find_node(farm, event->node);
    for (int32_t i = 0; i < farm->params.nodes_max && !node; i++) {
        struct farm_node *place = &farm->nodes[i];
        if (place->used && place->state != SORA_NODE_LEFT)
            continue;
        *place = (struct farm_node){.used = true,
                                    .id = event->node,
                                    .boot = event->beat->boot,
                                    .state = SORA_NODE_ONLINE,
                                    .last_heard = now,
                                    .changed_due = true};
        node = place;
    }
    return node;
}

static void mark_draining(struct sora_farm *farm, uint64_t id)
{
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        struct farm_job *job = &farm->jobs[i];
        for (int32_t k = 0; job->used && k < job->shard_count; k++) {
            if (job->shards[k].epoch && job->shards[k].node == id)
                farm_touch_order(job, &job->shards[k]);
        }
    }
}

static void take_node_state(struct sora_farm *farm, sora_time now,
                            const struct sora_farm_event *event, struct farm_node *node)
{
    const struct sora_farm_beat *beat = event->beat;
    if (node->boot != beat->boot)
        lose_tasks(farm, now, node->id);
    node->boot = beat->boot;
    node->sequence = beat->sequence;
    node->last_heard = now;
    if (event->name) {
        memset(node->name, 0, sizeof(node->name));
        memcpy(node->name, event->name, strnlen(event->name, sizeof(node->name) - 1));
    }
    farm->schedule_due |= node->device_count != beat->device_count;
    node->device_count = beat->device_count;
    for (int32_t i = 0; i < beat->device_count; i++) {
        farm->schedule_due |= node->devices[i].info.offered != beat->devices[i].offered;
        node->devices[i].info = beat->devices[i];
    }
    enum sora_node_state to = beat->draining ? SORA_NODE_DRAINING : SORA_NODE_ONLINE;
    if (node->state == to)
        return;
    farm_move_node(node, to);
    farm->schedule_due = true;
    mark_draining(farm, node->id);
}

static void give(struct sora_farm_actions *out, struct sora_farm_action action)
{
    SORA_ASSERT(out->count < out->capacity);
    out->items[out->count++] = action;
}

/* What the task's owner says of it. */
static void take_work(struct sora_farm *farm, struct farm_job *job, struct farm_task *task,
                      const struct sora_farm_report *report)
{
    if (task->state == SORA_TASK_OFFERED)
        farm_granted(farm, job, task);
    if (task->state != SORA_TASK_ASSIGNED)
        return;
    if (report->work == SORA_WORK_GRANTED || report->version < task->version)
        task->order_due = job->dirty = true;
    if (report->work == SORA_WORK_GRANTED)
        return;
    task->confirmed = true;
    if (report->step >= task->resume_step && report->step <= job->job.plan.steps)
        task->step = report->step;
    task->parked = report->work == SORA_WORK_PARKED && task->step == report->step;
    farm_settle_job(farm, job);
}

/* One thing that the node holds: it should, or it is told to let go. */
static void take_report(struct sora_farm *farm, sora_time now, const struct farm_node *node,
                        const struct sora_farm_report *report, struct sora_farm_actions *out)
{
    struct farm_job *job = farm_find_job(farm, &report->job);
    struct farm_task *task = job ? farm_find_task(job, report->shard) : NULL;
    bool ours = task && task->epoch && task->epoch == report->epoch && task->node == node->id;
    bool keeps = ours && report->work != SORA_WORK_STOPPED;
    struct sora_farm_action action = {.kind = keeps ? SORA_FARM_RENEW : SORA_FARM_REVOKE,
                                      .node = node->id,
                                      .job = report->job,
                                      .shard = report->shard,
                                      .epoch = report->epoch,
                                      .sequence = keeps ? node->sequence : 0};
    give(out, action);
    if (keeps)
        take_work(farm, job, task, report);
    else if (ours)
        farm_task_lost(farm, now, job, task, report->code ? report->code : SORA_E_INTERNAL);
}

static bool is_reported(const struct sora_farm_beat *beat, const struct farm_job *job,
                        const struct farm_task *task, int32_t shard)
{
    for (int32_t i = 0; i < beat->report_count; i++) {
        const struct sora_farm_report *report = &beat->reports[i];
        if (report->epoch == task->epoch && report->shard == shard &&
            memcmp(&report->job, &job->job.id, sizeof(job->job.id)) == 0)
            return true;
    }
    return false;
}

/* A task that the node should hold and does not name: the order never came, or it is lost. */
static void check_missing(struct sora_farm *farm, sora_time now, uint64_t node,
                          const struct sora_farm_beat *beat, struct farm_job *job, int32_t shard)
{
    struct farm_task *task = farm_find_task(job, shard);
    if (!task || task->state != SORA_TASK_ASSIGNED || task->node != node ||
        is_reported(beat, job, task, shard))
        return;
    if (task->confirmed)
        farm_task_lost(farm, now, job, task, SORA_OK);
    else
        task->order_due = job->dirty = true;
}

int farm_take_beat(struct sora_farm *farm, sora_time now, const struct sora_farm_event *event,
                   struct sora_farm_actions *out, struct sora_fault *fault)
{
    const struct sora_farm_beat *beat = event->beat;
    int result = farm_check_beat(beat, fault);
    if (result)
        return result;
    struct farm_node *node = farm_find_node(farm, event->node);
    if (node && node->boot == beat->boot && beat->sequence <= node->sequence)
        return sora_fault_set(fault, SORA_E_STALE, "an old beat of %s", node->name);
    node = take_place(farm, now, event);
    if (!node)
        return sora_fault_set(fault, SORA_E_FULL, "%d nodes are connected; the limit is %d",
                              farm->params.nodes_max, farm->params.nodes_max);
    take_node_state(farm, now, event, node);
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        struct farm_job *job = &farm->jobs[i];
        if (!job->used)
            continue;
        check_missing(farm, now, node->id, beat, job, SORA_FARM_TEXT_TASK);
        for (int32_t k = 0; k < job->shard_count; k++)
            check_missing(farm, now, node->id, beat, job, k);
    }
    for (int32_t i = 0; i < beat->report_count; i++)
        take_report(farm, now, node, &beat->reports[i], out);
    return SORA_OK;
}

int farm_node_left(struct sora_farm *farm, sora_time now, const struct sora_farm_event *event,
                   struct sora_fault *fault)
{
    struct farm_node *node = farm_find_node(farm, event->node);
    if (!node)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "no such node");
    farm_move_node(node, SORA_NODE_LEFT);
    lose_tasks(farm, now, node->id);
    node->sequence = 0;
    node->boot = 0;
    return SORA_OK;
}

void farm_watch_nodes(struct sora_farm *farm, sora_time now)
{
    for (int32_t i = 0; i < farm->params.nodes_max; i++) {
        struct farm_node *node = &farm->nodes[i];
        if (!node->used || node->state == SORA_NODE_LOST || node->state == SORA_NODE_LEFT)
            continue;
        sora_time silent = now - node->last_heard;
        if (silent >= farm->params.suspect_ns)
            farm_move_node(node, SORA_NODE_SUSPECTED);
        if (silent < farm->params.lost_ns)
            continue;
        farm_move_node(node, SORA_NODE_LOST);
        lose_tasks(farm, now, node->id);
    }
}
