/*
 * The farm's step: an event changes the tables and marks what is due; then one action after another
 * is read off the marks until the list is full. A short list delays actions and loses none.
 */
#include "scheduler/core/farm_parts.h"

#include <stdlib.h>

static sora_time or_default(sora_time value, sora_time fallback)
{
    return value > 0 ? value : fallback;
}

int sora_farm_create(const struct sora_farm_params *params, struct sora_farm **out_farm)
{
    if (params->nodes_max < 0 || params->nodes_max > 1024 || params->jobs_max < 0 ||
        params->jobs_max > SORA_FARM_JOBS_LIMIT)
        return SORA_E_INVALID;
    struct sora_farm *farm = calloc(1, sizeof(*farm));
    if (!farm)
        return SORA_E_MEMORY;
    struct sora_farm_params *p = &farm->params;
    *p = *params;
    p->nodes_max = p->nodes_max ? p->nodes_max : 64;
    p->jobs_max = p->jobs_max ? p->jobs_max : 256;
    p->suspect_ns = or_default(p->suspect_ns, 5 * SORA_TIME_SECOND);
    p->lost_ns = or_default(p->lost_ns, 15 * SORA_TIME_SECOND);
    p->lease_ns = or_default(p->lease_ns, 60 * SORA_TIME_SECOND);
    p->offer_repeat_ns = or_default(p->offer_repeat_ns, 2 * SORA_TIME_SECOND);
    p->offer_ns = or_default(p->offer_ns, 10 * SORA_TIME_SECOND);
    p->cool_ns = or_default(p->cool_ns, 10 * SORA_TIME_SECOND);
    p->failures_max = p->failures_max > 0 ? p->failures_max : 5;
    p->losses_max = p->losses_max > 0 ? p->losses_max : 50;
    farm->nodes = calloc((size_t)p->nodes_max, sizeof(*farm->nodes));
    farm->jobs = calloc((size_t)p->jobs_max, sizeof(*farm->jobs));
    farm->schedule_at = SORA_FARM_NEVER;
    if (!farm->nodes || !farm->jobs) {
        sora_farm_destroy(&farm);
        return SORA_E_MEMORY;
    }
    *out_farm = farm;
    return SORA_OK;
}

void sora_farm_destroy(struct sora_farm **farm)
{
    if (!*farm)
        return;
    free((*farm)->nodes);
    free((*farm)->jobs);
    free(*farm);
    *farm = NULL;
}

/* ---- actions that are due ---- */

static bool take_mark(bool *mark)
{
    bool was = *mark;
    *mark = false;
    return was;
}

static struct sora_farm_action of_task(enum sora_farm_action_kind kind, const struct farm_job *job,
                                       const struct farm_task *task, int32_t shard)
{
    return (struct sora_farm_action){.kind = kind,
                                     .job = job->job.id,
                                     .shard = shard,
                                     .node = task->node,
                                     .device = task->device,
                                     .epoch = task->epoch,
                                     .boot = task->boot};
}

static bool next_task_action(struct farm_job *job, struct sora_farm_action *out)
{
    for (int32_t i = SORA_FARM_TEXT_TASK; i < job->shard_count; i++) {
        struct farm_task *task = farm_find_task(job, i);
        if (take_mark(&task->offer_due)) {
            *out = of_task(SORA_FARM_OFFER, job, task, i);
            return true;
        }
        if (take_mark(&task->order_due)) {
            *out = of_task(SORA_FARM_ORDER, job, task, i);
            return true;
        }
        if (take_mark(&task->segment_due)) {
            *out = of_task(SORA_FARM_SEGMENT_READY, job, task, i);
            return true;
        }
    }
    return false;
}

/* Stores come first: what follows in the list rests on them. */
static bool next_job_action(struct farm_job *job, struct sora_farm_action *out)
{
    *out = (struct sora_farm_action){.kind = SORA_FARM_STORE_JOB, .job = job->job.id};
    if (take_mark(&job->store_due) || next_task_action(job, out))
        return true;
    *out = (struct sora_farm_action){.job = job->job.id, .step = job->floor};
    if (take_mark(&job->prune_due))
        out->kind = SORA_FARM_PRUNE_PARTS;
    else if (take_mark(&job->assemble_due))
        out->kind = SORA_FARM_ASSEMBLE;
    else if (take_mark(&job->changed_due))
        out->kind = SORA_FARM_JOB_CHANGED;
    else
        return false;
    return true;
}

static void give_due(struct sora_farm *farm, struct sora_farm_actions *out)
{
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        struct farm_job *job = &farm->jobs[i];
        while (job->used && job->dirty) {
            if (out->count == out->capacity) {
                out->more = true;
                return;
            }
            job->dirty = next_job_action(job, &out->items[out->count]);
            out->count += job->dirty;
        }
    }
    for (int32_t i = 0; i < farm->params.nodes_max; i++) {
        struct farm_node *node = &farm->nodes[i];
        if (!node->used || !node->changed_due)
            continue;
        if (out->count == out->capacity) {
            out->more = true;
            return;
        }
        node->changed_due = false;
        out->items[out->count++] =
            (struct sora_farm_action){.kind = SORA_FARM_NODE_CHANGED, .node = node->id};
    }
}

/* ---- time ---- */

static void watch_offer(struct sora_farm *farm, sora_time now, struct farm_job *job,
                        struct farm_task *task)
{
    if (task->state != SORA_TASK_OFFERED)
        return;
    if (now - task->offered_at >= farm->params.offer_ns) {
        farm_refused(farm, now, job, task, SORA_OK);
    } else if (now >= task->offer_at) {
        task->offer_at = now + farm->params.offer_repeat_ns;
        task->offer_due = job->dirty = true;
    }
}

static void take_time(struct sora_farm *farm, sora_time now)
{
    farm_watch_nodes(farm, now);
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        struct farm_job *job = &farm->jobs[i];
        if (!job->used)
            continue;
        watch_offer(farm, now, job, &job->text);
        for (int32_t k = 0; k < job->shard_count; k++)
            watch_offer(farm, now, job, &job->shards[k]);
    }
    if (farm->schedule_due || now >= farm->schedule_at)
        farm_schedule(farm, now);
}

static int take_event(struct sora_farm *farm, sora_time now, const struct sora_farm_event *event,
                      struct sora_farm_actions *out, struct sora_fault *fault)
{
    switch (event->kind) {
    case SORA_FARM_TICK:
        return SORA_OK;
    case SORA_FARM_BEAT:
        return farm_take_beat(farm, now, event, out, fault);
    case SORA_FARM_NODE_LEFT:
        return farm_node_left(farm, now, event, fault);
    default:
        return farm_take_job_event(farm, now, event, out, fault);
    }
}

int sora_farm_step(struct sora_farm *farm, sora_time now, const struct sora_farm_event *event,
                   struct sora_farm_actions *out_actions, struct sora_fault *fault)
{
    out_actions->count = 0;
    out_actions->more = false;
    if (out_actions->capacity < SORA_FARM_ACTIONS_MIN)
        return sora_fault_set(fault, SORA_E_FULL, "room for %d actions; at least %d are needed",
                              out_actions->capacity, SORA_FARM_ACTIONS_MIN);
    int result = take_event(farm, now, event, out_actions, fault);
    if (result)
        return result;
    take_time(farm, now);
    give_due(farm, out_actions);
    return SORA_OK;
}

static void earlier(sora_time *next, sora_time candidate)
{
    if (candidate < *next)
        *next = candidate;
}

static void offer_deadline(const struct sora_farm *farm, const struct farm_task *task,
                           sora_time *next)
{
    if (task->state != SORA_TASK_OFFERED)
        return;
    earlier(next, task->offer_at);
    earlier(next, task->offered_at + farm->params.offer_ns);
}

sora_time sora_farm_next_deadline(const struct sora_farm *farm)
{
    sora_time next = farm->schedule_due ? INT64_MIN : farm->schedule_at;
    for (int32_t i = 0; i < farm->params.nodes_max; i++) {
        const struct farm_node *node = &farm->nodes[i];
        if (!node->used || node->state == SORA_NODE_LOST || node->state == SORA_NODE_LEFT)
            continue;
        bool suspected = node->state == SORA_NODE_SUSPECTED;
        earlier(&next,
                node->last_heard + (suspected ? farm->params.lost_ns : farm->params.suspect_ns));
    }
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        const struct farm_job *job = &farm->jobs[i];
        if (!job->used)
            continue;
        offer_deadline(farm, &job->text, &next);
        for (int32_t k = 0; k < job->shard_count; k++)
            offer_deadline(farm, &job->shards[k], &next);
    }
    return next;
}
