/*
 * Placement. Running jobs first get devices for shards that lost theirs; when none is free, the job
 * is cut anew from its floor over what it has left. Then queued jobs are served in order: priority,
 * then the owner with fewer devices in use, then who came first.
 */
#include "scheduler/core/farm_parts.h"

#include <string.h>

#define LOOK_AGAIN_NS SORA_TIME_SECOND
/* So long a job waits for a device of its class before others may go on: a worker that died is back
 * sooner, and would do it with the same bits and mostly faster. */
#define CLASS_WAIT_NS (60 * SORA_TIME_SECOND)

static void name_device(const struct farm_node *node, const struct sora_farm_device *device,
                        char out[SORA_PLAN_NAME_SIZE])
{
    size_t size = strlen(node->name), more = strlen(device->name);
    memcpy(out, node->name, size);
    out[size] = '/';
    memcpy(out + size + 1, device->name, more + 1);
}

/* Takes over what a device was measured at. False: not for this model. */
static bool fill_speed(const struct farm_device *device, uint64_t model,
                       struct sora_plan_device *out)
{
    for (int32_t i = 0; i < device->info.speed_count; i++) {
        if (device->info.speeds[i].model != model)
            continue;
        out->window_us = device->info.speeds[i].window_us;
        out->decode_us = device->info.speeds[i].decode_us;
        return true;
    }
    return false;
}

/* The slowest measured devices that a device may be compared with. */
struct likeness {
    struct sora_plan_device same_class, same_kind, other_kind;
};

static void keep_slower(struct sora_plan_device *slowest, const struct sora_plan_device *measured)
{
    if (measured->window_us > slowest->window_us)
        *slowest = *measured;
}

static void find_likeness(const struct sora_farm *farm, uint64_t model,
                          const struct sora_plan_device *device, struct likeness *out)
{
    *out = (struct likeness){.same_class = {.window_us = 0}};
    for (int32_t i = 0; i < farm->params.nodes_max; i++) {
        const struct farm_node *node = &farm->nodes[i];
        for (int32_t k = 0; node->used && k < node->device_count; k++) {
            const struct sora_farm_device *info = &node->devices[k].info;
            struct sora_plan_device like = {0};
            if (!fill_speed(&node->devices[k], model, &like))
                continue;
            if (info->device_class == device->device_class)
                keep_slower(&out->same_class, &like);
            keep_slower(info->is_card == device->is_card ? &out->same_kind : &out->other_kind,
                        &like);
        }
    }
}

/* A device that was never measured is taken for the slowest of its class that was, so that a
 * newcomer gets work; else for the slowest of its kind; else by what a CPU is to a card. */
static void guess_speed(const struct sora_farm *farm, uint64_t model, struct sora_plan_device *out)
{
    struct likeness likeness;
    find_likeness(farm, model, out, &likeness);
    struct sora_plan_device like = likeness.same_class;
    if (like.window_us == 0)
        like = likeness.same_kind;
    if (like.window_us == 0 && likeness.other_kind.window_us > 0) {
        like = likeness.other_kind;
        like.window_us = out->is_card ? like.window_us / SORA_PLAN_CARD_FASTER
                                      : like.window_us * SORA_PLAN_CARD_FASTER;
        like.decode_us = out->is_card ? like.decode_us / SORA_PLAN_CARD_FASTER
                                      : like.decode_us * SORA_PLAN_CARD_FASTER;
    }
    out->window_us = like.window_us;
    out->decode_us = like.decode_us;
}

bool sora_farm_changes_to_int8(const struct sora_farm_device *device,
                               const struct sora_plan_job *job)
{
    return device->int8_class && sora_plan_wants_int8(job, device->memory_total_bytes);
}

static uint64_t class_for(const struct sora_farm_device *device, const struct sora_plan_job *job)
{
    return sora_farm_changes_to_int8(device, job) ? device->int8_class : device->device_class;
}

static void fill_device(const struct sora_farm *farm, const struct farm_node *node,
                        const struct farm_device *device, const struct sora_farm_job *job,
                        struct sora_plan_device *out)
{
    const struct sora_farm_device *info = &device->info;
    uint64_t device_class = class_for(info, &job->plan);
    *out = (struct sora_plan_device){.device_class = device_class,
                                     .is_card = info->is_card,
                                     .is_int8 = info->is_int8 || device_class == info->int8_class,
                                     .memory_free_bytes = info->memory_free_bytes};
    name_device(node, info, out->name);
    if (!fill_speed(device, job->model, out))
        guess_speed(farm, job->model, out);
}

int32_t farm_list_devices(const struct sora_farm *farm, sora_time now,
                          const struct farm_listing *listing, struct sora_plan_device *out_devices,
                          struct farm_device_id *out_ids)
{
    int32_t count = 0;
    bool all = listing->all;
    for (int32_t i = 0; i < farm->params.nodes_max; i++) {
        const struct farm_node *node = &farm->nodes[i];
        bool up = node->state == SORA_NODE_ONLINE || (all && node->state == SORA_NODE_SUSPECTED);
        up = up && !(listing->job && farm_is_misfit(listing->job, node));
        for (int32_t k = 0; node->used && up && k < node->device_count; k++) {
            const struct farm_device *device = &node->devices[k];
            if (!device->info.offered || count == SORA_PLAN_DEVICES_MAX ||
                (!all && (device->busy || now < device->cool_until)))
                continue;
            fill_device(farm, node, device, listing->asked, &out_devices[count]);
            if (out_ids)
                out_ids[count] = (struct farm_device_id){node->id, k};
            count++;
        }
    }
    return count;
}

static int32_t list_devices(const struct sora_farm *farm, sora_time now, const struct farm_job *job,
                            bool all, struct sora_plan_device *out_devices,
                            struct farm_device_id *out_ids)
{
    const struct farm_listing listing = {.job = job, .asked = &job->job, .all = all};
    return farm_list_devices(farm, now, &listing, out_devices, out_ids);
}

static int32_t devices_in_use(const struct sora_farm *farm, uint64_t owner)
{
    int32_t count = 0;
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        const struct farm_job *job = &farm->jobs[i];
        if (!job->used || job->job.owner != owner)
            continue;
        for (int32_t k = 0; k < job->shard_count; k++)
            count += job->shards[k].epoch > 0;
    }
    return count;
}

static bool goes_before(const struct farm_job *a, int32_t a_uses, const struct farm_job *b,
                        int32_t b_uses)
{
    if (a->job.priority != b->job.priority)
        return a->job.priority > b->job.priority;
    return a_uses != b_uses ? a_uses < b_uses : a->sequence < b->sequence;
}

/* The next queued job that was not visited in this round. */
static struct farm_job *next_queued(const struct sora_farm *farm, const bool *visited)
{
    struct farm_job *found = NULL;
    int32_t found_uses = 0;
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        struct farm_job *job = &farm->jobs[i];
        if (!job->used || job->state != SORA_JOB_QUEUED || visited[i])
            continue;
        int32_t uses = devices_in_use(farm, job->job.owner);
        if (!found || goes_before(job, uses, found, found_uses)) {
            found = job;
            found_uses = uses;
        }
    }
    return found;
}

int32_t farm_queue(const struct sora_farm *farm, int32_t *out_indices)
{
    bool visited[SORA_FARM_JOBS_LIMIT] = {false};
    int32_t count = 0;
    struct farm_job *job;
    while ((job = next_queued(farm, visited))) {
        out_indices[count++] = (int32_t)(job - farm->jobs);
        visited[job - farm->jobs] = true;
    }
    return count;
}

static struct sora_plan_job planned_job(const struct farm_job *job)
{
    struct sora_plan_job plan = job->job.plan;
    plan.first_step = job->floor;
    plan.device_class = job->device_class;
    return plan;
}

bool farm_has_fit(const struct sora_farm *farm, sora_time now, const struct farm_job *job)
{
    struct sora_plan_device devices[SORA_PLAN_DEVICES_MAX];
    int32_t count = list_devices(farm, now, job, true, devices, NULL);
    struct sora_plan_job plan_job = planned_job(job);
    plan_job.device_class = 0; /* it may begin anew or go on elsewhere */
    if (job->floor == job->job.plan.steps)
        plan_job.first_step--; /* decoding is left */
    struct sora_plan plan;
    return sora_plan_make(&plan_job, devices, count, &plan, NULL) == SORA_OK;
}

/* ---- shards of running jobs ---- */

/* Whether the job could go on if cut anew over free devices and its own. */
static bool recut_is_possible(const struct sora_farm *farm, sora_time now,
                              const struct farm_job *job)
{
    struct sora_plan_device devices[SORA_PLAN_DEVICES_MAX];
    int32_t count = list_devices(farm, now, job, false, devices, NULL);
    for (int32_t i = 0; i < job->shard_count && count < SORA_PLAN_DEVICES_MAX; i++) {
        const struct farm_task *task = &job->shards[i];
        const struct farm_node *node = task->epoch ? farm_find_node(farm, task->node) : NULL;
        if (node && node->state == SORA_NODE_ONLINE && !farm_is_misfit(job, node))
            fill_device(farm, node, &node->devices[task->device], &job->job, &devices[count++]);
    }
    struct sora_plan_job plan_job = planned_job(job);
    struct sora_plan plan;
    return sora_plan_make(&plan_job, devices, count, &plan, NULL) == SORA_OK;
}

static void explain_waiting_shard(const struct sora_farm *farm, struct farm_job *job, int32_t shard)
{
    struct sora_fault fault = {0};
    const struct farm_node *full = farm_find_node(farm, job->shards[shard].full_node);
    if (full)
        sora_fault_set(&fault, SORA_E_SPACE,
                       "the disk of %s is full: shard %d of %d is tried again until it has room, "
                       "there or elsewhere",
                       full->name, shard, job->shard_count);
    else
        sora_fault_set(&fault, SORA_E_BUSY,
                       "shard %d of %d lost its device; waiting for another of the same class with "
                       "enough memory",
                       shard, job->shard_count);
    farm_set_reason(job, &fault);
}

/* Offers a waiting shard to the free device of the class (0: any) that costs least. False when
 * there is none. */
static bool place_shard(struct sora_farm *farm, sora_time now, struct farm_job *job,
                        struct farm_task *task, uint64_t device_class)
{
    struct sora_plan_device devices[SORA_PLAN_DEVICES_MAX];
    struct farm_device_id ids[SORA_PLAN_DEVICES_MAX];
    int32_t count = list_devices(farm, now, job, false, devices, ids);
    struct sora_plan_job plan_job = planned_job(job);
    int32_t best = -1;
    int64_t best_us = 0;
    for (int32_t i = 0; i < count; i++) {
        if ((device_class && devices[i].device_class != device_class) ||
            !sora_plan_fits(&plan_job, &devices[i], task->latents))
            continue;
        int64_t us = sora_plan_cost_us(&plan_job, &devices[i], task->latents);
        if (best < 0 || us < best_us) {
            best = i;
            best_us = us;
        }
    }
    if (best < 0)
        return false;
    farm_offer(farm, now, job, task, ids[best].node, ids[best].device);
    return true;
}

/* Whether the job's class has no device any more that may come to render it. */
static bool class_is_gone(struct sora_farm *farm, sora_time now, struct farm_job *job)
{
    for (int32_t i = 0; i < farm->params.nodes_max; i++) {
        const struct farm_node *node = &farm->nodes[i];
        bool up = node->state == SORA_NODE_ONLINE || node->state == SORA_NODE_SUSPECTED;
        up = up && !farm_is_misfit(job, node);
        for (int32_t k = 0; node->used && up && k < node->device_count; k++) {
            const struct sora_farm_device *info = &node->devices[k].info;
            if (info->offered && class_for(info, &job->job.plan) == job->device_class) {
                job->class_gone_at = 0;
                return false;
            }
        }
    }
    if (job->class_gone_at == 0)
        job->class_gone_at = now;
    return now - job->class_gone_at >= CLASS_WAIT_NS;
}

/* Another class takes a shard when its own is gone, or when its device gave no numbers: the job's
 * result then depends on who rendered it, which its report says. */
static bool place_elsewhere(struct sora_farm *farm, sora_time now, struct farm_job *job,
                            struct farm_task *task)
{
    if (!job->device_class || !(task->elsewhere || class_is_gone(farm, now, job)) ||
        !place_shard(farm, now, job, task, 0))
        return false;
    job->device_class = 0;
    job->store_due = job->dirty = true;
    return true;
}

static void place_running(struct sora_farm *farm, sora_time now, struct farm_job *job)
{
    bool waits = false;
    for (int32_t i = 0; i < job->shard_count; i++) {
        struct farm_task *task = &job->shards[i];
        if (task->state != SORA_TASK_WAITING || job->pause_wanted)
            continue;
        if (place_shard(farm, now, job, task, job->device_class) ||
            place_elsewhere(farm, now, job, task))
            continue;
        if (job->floor < job->job.plan.steps && recut_is_possible(farm, now, job)) {
            farm_drop_cut(farm, job);
            farm_move_job(farm, job, SORA_JOB_QUEUED);
            return;
        }
        explain_waiting_shard(farm, job, i);
        waits = true;
    }
    if (waits)
        farm->schedule_at = now + LOOK_AGAIN_NS;
    else if (!job->pause_wanted)
        farm_set_reason(job, NULL);
}

/* ---- queued jobs ---- */

static void begin_shards(struct sora_farm *farm, sora_time now, struct farm_job *job,
                         const struct sora_plan *plan, const struct farm_device_id *ids)
{
    job->shard_count = plan->shard_count;
    job->started = false;
    farm_set_reason(job, NULL);
    for (int32_t i = 0; i < plan->shard_count; i++) {
        const struct sora_plan_shard *planned = &plan->shards[i];
        struct farm_task *task = &job->shards[i];
        *task = (struct farm_task){.latents = planned->latents,
                                   .resume_step = job->floor,
                                   .durable_step = job->floor,
                                   .stored_step = job->floor,
                                   .step = job->floor};
        farm_offer(farm, now, job, task, ids[planned->device].node, ids[planned->device].device);
    }
    farm_move_job(farm, job, SORA_JOB_RUNNING);
}

/* Why a queued job cannot begin: what all devices together would say. */
static void explain_waiting(const struct sora_farm *farm, sora_time now, struct farm_job *job)
{
    struct sora_plan_device devices[SORA_PLAN_DEVICES_MAX];
    int32_t count = list_devices(farm, now, job, true, devices, NULL);
    struct sora_plan_job plan_job = planned_job(job);
    struct sora_plan plan;
    struct sora_fault fault = {0};
    if (count == 0)
        sora_fault_set(&fault, SORA_E_NOT_FOUND, "no device is connected");
    else if (sora_plan_make(&plan_job, devices, count, &plan, &fault) == SORA_OK)
        sora_fault_set(&fault, SORA_E_BUSY, "every device that could render it is busy");
    farm_set_reason(job, &fault);
}

/* A job whose class left, or cannot use the job's input, begins anew on another while nothing of it
 * exists, and goes on elsewhere after a while when some of it does. */
static void unpin_class(struct sora_farm *farm, sora_time now, struct farm_job *job)
{
    if (job->device_class == 0)
        return;
    if (job->floor > 0) {
        if (class_is_gone(farm, now, job)) {
            job->device_class = 0;
            job->store_due = job->dirty = true;
        }
        return;
    }
    for (int32_t i = 0; i < farm->params.nodes_max; i++) {
        const struct farm_node *node = &farm->nodes[i];
        bool gone = node->state == SORA_NODE_LOST || node->state == SORA_NODE_LEFT ||
                    farm_is_misfit(job, node);
        for (int32_t k = 0; node->used && !gone && k < node->device_count; k++) {
            if (class_for(&node->devices[k].info, &job->job.plan) == job->device_class)
                return;
        }
    }
    job->device_class = 0;
    job->text_done = !job->job.needs_text;
    job->store_due = job->dirty = true;
}

/* The texts are encoded once, before any shard runs, by a device of the plan's first class. A CPU
 * that has not the room reads the weights from the disk as it goes: one that has it is better. A
 * card takes them block by block. */
static int32_t text_device(const struct sora_plan_job *job, const struct sora_plan *plan,
                           const struct sora_plan_device *devices, int32_t count)
{
    int32_t best = plan->shards[0].device;
    if (devices[best].is_card || devices[best].memory_free_bytes >= job->memory_text_bytes)
        return best;
    for (int32_t i = 0; i < count; i++) {
        if (devices[i].device_class == devices[best].device_class &&
            devices[i].memory_free_bytes > devices[best].memory_free_bytes)
            best = i;
    }
    return best;
}

static void place_queued(struct sora_farm *farm, sora_time now, struct farm_job *job)
{
    unpin_class(farm, now, job);
    struct sora_plan_device devices[SORA_PLAN_DEVICES_MAX];
    struct farm_device_id ids[SORA_PLAN_DEVICES_MAX];
    int32_t count = list_devices(farm, now, job, false, devices, ids);
    struct sora_plan_job plan_job = planned_job(job);
    struct sora_plan plan;
    if (sora_plan_make(&plan_job, devices, count, &plan, NULL) != SORA_OK) {
        explain_waiting(farm, now, job);
        farm->schedule_at = now + LOOK_AGAIN_NS;
        return;
    }
    job->device_class = plan.device_class;
    if (job->text_done) {
        begin_shards(farm, now, job, &plan, ids);
        return;
    }
    const struct farm_device_id *id = &ids[text_device(&plan_job, &plan, devices, count)];
    farm_set_reason(job, NULL);
    farm_offer(farm, now, job, &job->text, id->node, id->device);
    farm_move_job(farm, job, SORA_JOB_TEXT);
}

void farm_schedule(struct sora_farm *farm, sora_time now)
{
    farm->schedule_at = SORA_FARM_NEVER;
    for (int32_t i = 0; i < farm->params.jobs_max; i++) {
        struct farm_job *job = &farm->jobs[i];
        if (job->used && job->state == SORA_JOB_RUNNING && job->started)
            place_running(farm, now, job);
    }
    bool visited[SORA_FARM_JOBS_LIMIT] = {false};
    struct farm_job *job;
    while ((job = next_queued(farm, visited))) {
        visited[job - farm->jobs] = true;
        place_queued(farm, now, job);
    }
    farm->schedule_due = false;
}
