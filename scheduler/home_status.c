/* What people see of a job: its state over all takes, its shards, how far it is. */
#include "scheduler/home_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 512
#define LIST_MAX 256
#define ASSEMBLY_SHARE 0.02    /* of a job's progress */
#define SAMPLING_SEEN_MIN 0.02 /* before the pace says anything */

struct entry {
    Farm__JobStatus status;
    char reason[SORA_STORE_REASON_SIZE], owner[SORA_NAME_SIZE + 1];
};
struct home_status_room {
    struct entry entries[LIST_MAX];
    Farm__ShardStatus shards[SHARDS_MAX];
    Farm__ShardStatus *pointers[SHARDS_MAX];
    struct sora_farm_job_view view;
};

struct home_status_room *home_room_create(void)
{
    return calloc(1, sizeof(struct home_status_room));
}

/* ---- states ---- */

static Farm__JobState ended_state(int32_t state)
{
    return state == SORA_JOB_DONE     ? FARM__JOB_STATE__JOB_DONE
           : state == SORA_JOB_FAILED ? FARM__JOB_STATE__JOB_FAILED
                                      : FARM__JOB_STATE__JOB_CANCELLED;
}

static Farm__JobState take_state(const struct sora_farm_job_view *view)
{
    static const Farm__JobState states[SORA_JOB_STATE_COUNT] = {
        [SORA_JOB_QUEUED] = FARM__JOB_STATE__JOB_QUEUED,
        [SORA_JOB_TEXT] = FARM__JOB_STATE__JOB_TEXT,
        [SORA_JOB_RUNNING] = FARM__JOB_STATE__JOB_RUNNING,
        [SORA_JOB_ASSEMBLING] = FARM__JOB_STATE__JOB_ASSEMBLING,
        [SORA_JOB_PAUSED] = FARM__JOB_STATE__JOB_PAUSED,
        [SORA_JOB_DONE] = FARM__JOB_STATE__JOB_ASSEMBLING,
        [SORA_JOB_FAILED] = FARM__JOB_STATE__JOB_FAILED,
        [SORA_JOB_CANCELLED] = FARM__JOB_STATE__JOB_CANCELLED,
    };
    bool placing = view->state == SORA_JOB_RUNNING;
    for (int32_t i = 0; i < view->shard_count; i++)
        placing = placing && (view->shards[i].state == SORA_TASK_OFFERED ||
                              view->shards[i].state == SORA_TASK_GRANTED);
    return placing ? FARM__JOB_STATE__JOB_PLACING : states[view->state];
}

/* Of two takes' states, the one that says most about the job. */
static int rank(Farm__JobState state)
{
    static const Farm__JobState order[] = {
        FARM__JOB_STATE__JOB_FAILED,  FARM__JOB_STATE__JOB_CANCELLED, FARM__JOB_STATE__JOB_RUNNING,
        FARM__JOB_STATE__JOB_PLACING, FARM__JOB_STATE__JOB_TEXT,      FARM__JOB_STATE__JOB_PAUSED,
        FARM__JOB_STATE__JOB_QUEUED,  FARM__JOB_STATE__JOB_ASSEMBLING};
    int at = 0;
    while (at < (int)(sizeof(order) / sizeof(order[0])) && order[at] != state)
        at++;
    return at;
}

Farm__JobState home_job_state(struct sora_home *home, const struct home_job *job)
{
    struct sora_farm_job_view *view = &home->room->view;
    if (job->final_state >= 0)
        return job->ended ? ended_state(job->final_state) : FARM__JOB_STATE__JOB_ASSEMBLING;
    Farm__JobState best = FARM__JOB_STATE__JOB_ASSEMBLING;
    for (int32_t t = 0; job->takes && t < job->take_count; t++) {
        if (sora_farm_job_view(home->farm, &job->takes[t].id, view))
            continue;
        Farm__JobState state = take_state(view);
        best = rank(state) < rank(best) ? state : best;
    }
    return best;
}

/* ---- progress ---- */

/* Best measured times of the job's model and size, else guesses. */
static void speeds_of(const struct sora_home *home, const struct home_job *job, double *out_window,
                      double *out_decode)
{
    *out_window = *out_decode = 0;
    for (int n = 0; n < home->node_count; n++) {
        for (int d = 0; d < home->nodes[n]->device_count; d++) {
            const struct home_device *device = &home->nodes[n]->devices[d];
            for (int i = 0; i < device->speed_count; i++) {
                const struct home_speed *speed = &device->speeds[i];
                if (speed->key != job->model_key || speed->window_us == 0 ||
                    (*out_window > 0 && (double)speed->window_us > *out_window))
                    continue;
                *out_window = (double)speed->window_us;
                *out_decode = (double)speed->decode_us;
            }
        }
    }
    if (*out_window > 0 && *out_decode > 0)
        return;
    double guess = job->plan->window_thread_s, decode = job->plan->decode_thread_s;
    *out_window = *out_window > 0 ? *out_window : guess * 1e6;
    *out_decode = decode / guess * *out_window;
}

struct work {
    double all_us, done_us; /* on one device */
    double left_s;          /* of the shard that takes longest */
    int64_t frames_done;
    bool all_run;
};

static int64_t shard_frames(const struct home_take *take, int32_t shard)
{
    uint64_t newest = 0;
    int64_t frames = 0;
    for (size_t i = 0; i < take->piece_count; i++) {
        const struct sora_store_piece *piece = &take->pieces[i].row;
        if (piece->shard != shard || piece->epoch < newest)
            continue;
        frames = piece->epoch > newest ? 0 : frames;
        newest = piece->epoch;
        frames += piece->frame_count;
    }
    return frames;
}

static void add_shard(const struct home_take *take, const struct sora_farm_job_view *view,
                      int32_t index, double window_us, double decode_us, struct work *work)
{
    const struct sora_farm_shard_view *shard = &view->shards[index];
    const struct home_shard *told = &take->shards[index];
    double latents = shard->latents.end - shard->latents.first;
    double share = latents / view->job.plan.timeline.latent_count;
    int32_t steps = view->job.plan.steps;
    int32_t windows = sora_timeline_window_count(&view->job.plan.timeline, 0);
    int32_t step =
        told->epoch == shard->epoch && told->step > shard->step ? told->step : shard->step;
    double step_us = share * windows * window_us, decode = latents * decode_us;
    double frames = share * take->job->plan->takes[take->index].frames_made;
    double decoded = (double)shard_frames(take, index);
    if (told->epoch == shard->epoch && told->frames_done > decoded)
        decoded = told->frames_done;
    double part = shard->segment_done || decoded > frames ? 1 : decoded / (frames > 0 ? frames : 1);
    step = part > 0 ? steps : step;
    work->done_us += step * step_us + part * decode;
    bool paced = told->epoch == shard->epoch && told->steps_per_s > 0;
    double left = (steps - step) * (paced ? 1 / told->steps_per_s : step_us / 1e6) +
                  (1 - part) * decode / 1e6;
    work->left_s = left > work->left_s ? left : work->left_s;
    work->all_run = work->all_run && (shard->epoch > 0 || shard->segment_done);
}

static struct work work_of(struct sora_home *home, const struct home_job *job)
{
    struct work work = {.all_run = true};
    double window_us, decode_us;
    speeds_of(home, job, &window_us, &decode_us);
    for (int32_t t = 0; job->takes && t < job->take_count; t++) {
        const struct home_take *take = &job->takes[t];
        struct sora_farm_job_view *view = &home->room->view;
        if (sora_farm_job_view(home->farm, &take->id, view))
            continue;
        const struct sora_timeline_params *timeline = &view->job.plan.timeline;
        double sampling =
            (double)view->job.plan.steps * sora_timeline_window_count(timeline, 0) * window_us;
        work.all_us += sampling + timeline->latent_count * decode_us;
        work.all_run = work.all_run && view->shard_count > 0;
        if (view->shard_count == 0)
            work.done_us += sampling * view->floor_step / view->job.plan.steps;
        for (int32_t i = 0; i < view->shard_count; i++)
            add_shard(take, view, i, window_us, decode_us, &work);
        for (size_t i = 0; i < take->piece_count; i++)
            work.frames_done += take->pieces[i].row.frame_count;
    }
    return work;
}

/* Never falls, also when a shard goes back to the floor. */
static void put_progress(struct sora_home *home, struct home_job *job, Farm__JobStatus *out)
{
    out->progress = job->final_state == SORA_JOB_DONE ? 1 : job->progress;
    out->frames_done = job->final_state == SORA_JOB_DONE ? (uint32_t)job->frames_total : 0;
    if (job->final_state >= 0 || !job->plan)
        return;
    struct work work = work_of(home, job);
    double part = work.all_us > 0 ? work.done_us / work.all_us : 0;
    double assembled = (double)job->assembly.frames_done / job->frames_total;
    assembled = assembled < 1 ? assembled : 1;
    double progress = part * (1 - ASSEMBLY_SHARE) + assembled * ASSEMBLY_SHARE;
    progress = progress < 0.999 ? progress : 0.999;
    job->progress = progress > job->progress ? progress : job->progress;
    out->progress = job->progress;
    int64_t frames = work.frames_done < job->frames_total ? work.frames_done : job->frames_total;
    out->frames_done = (uint32_t)frames;
    double elapsed = (double)(home->now - job->first_order_at) / 1e9;
    if (out->state == FARM__JOB_STATE__JOB_PAUSED)
        return;
    if (work.all_run)
        out->left_s = work.left_s;
    else if (job->first_order_at && job->progress > SAMPLING_SEEN_MIN)
        out->left_s = elapsed * (1 - job->progress) / job->progress;
    out->left_s = out->left_s < 1e9 ? out->left_s : 1e9;
}

/* ---- the message ---- */

static Farm__ShardState shard_state(const struct sora_farm_shard_view *shard,
                                    const struct home_shard *told)
{
    if (shard->state == SORA_TASK_DONE || shard->segment_done)
        return FARM__SHARD_STATE__SHARD_DONE;
    if (shard->state == SORA_TASK_WAITING)
        return told->ordered_epoch ? FARM__SHARD_STATE__SHARD_LOST
                                   : FARM__SHARD_STATE__SHARD_WAITING;
    if (shard->state != SORA_TASK_ASSIGNED)
        return FARM__SHARD_STATE__SHARD_LEASING;
    return told->epoch == shard->epoch && told->epoch ? told->state
                                                      : FARM__SHARD_STATE__SHARD_ASSIGNED;
}

static void put_shard(const struct sora_home *home, const struct home_take *take,
                      const struct sora_farm_job_view *view, int32_t index, Farm__ShardStatus *out)
{
    const struct sora_farm_shard_view *shard = &view->shards[index];
    const struct home_shard *told = &take->shards[index];
    const struct home_node *node = shard->epoch ? home_find_node(home, shard->node) : NULL;
    farm__shard_status__init(out);
    out->index = (uint32_t)index;
    out->take = (uint32_t)take->index;
    out->first = (uint32_t)shard->latents.first;
    out->end = (uint32_t)shard->latents.end;
    out->state = shard_state(shard, told);
    out->epoch = (uint32_t)shard->epoch;
    out->step = (uint32_t)shard->step;
    out->frames_done = (uint32_t)shard_frames(take, index);
    if (node) {
        out->node = (ProtobufCBinaryData){SORA_NODE_ID_SIZE, (uint8_t *)node->id};
        out->node_name = (char *)node->name;
        out->device = shard->device < node->device_count ? (char *)node->devices[shard->device].id
                                                         : (char *)"";
    } else if (told->ordered_epoch) { /* where it was last */
        out->node_name = (char *)told->node;
        out->device = (char *)told->device;
    }
    if (!told->epoch || told->epoch != shard->epoch)
        return;
    out->steps_per_s = told->steps_per_s;
    out->step = told->step > shard->step ? (uint32_t)told->step : out->step;
    if ((uint32_t)told->frames_done > out->frames_done)
        out->frames_done = (uint32_t)told->frames_done;
    if (told->steps_per_s > 0)
        out->left_s = (view->job.plan.steps - (int32_t)out->step) / told->steps_per_s;
}

static void fill_ran(const struct sora_store_ran *ran, Farm__ShardStatus *out)
{
    farm__shard_status__init(out);
    out->index = (uint32_t)ran->shard;
    out->take = (uint32_t)ran->take;
    out->first = (uint32_t)ran->latents.first;
    out->end = (uint32_t)ran->latents.end;
    out->state = (Farm__ShardState)ran->state;
    out->epoch = (uint32_t)ran->epoch;
    out->step = (uint32_t)ran->step;
    out->frames_done = (uint32_t)ran->frames_done;
    out->node_name = (char *)ran->node;
    out->device = (char *)ran->device;
}

static void put_ran(const struct sora_home *home, const struct home_job *job, Farm__JobStatus *out)
{
    struct home_status_room *room = home->room;
    out->shards = room->pointers;
    for (int i = 0; i < job->ran_count; i++) {
        fill_ran(&job->ran[i], &room->shards[i]);
        room->pointers[out->n_shards++] = &room->shards[i];
    }
}

static void put_shards(struct sora_home *home, const struct home_job *job, Farm__JobStatus *out)
{
    struct home_status_room *room = home->room;
    out->shards = room->pointers;
    for (int32_t t = 0; job->takes && t < job->take_count; t++) {
        if (sora_farm_job_view(home->farm, &job->takes[t].id, &room->view))
            continue;
        for (int32_t i = 0; i < room->view.shard_count && out->n_shards < SHARDS_MAX; i++) {
            Farm__ShardStatus *shard = &room->shards[out->n_shards];
            put_shard(home, &job->takes[t], &room->view, i, shard);
            room->pointers[out->n_shards++] = shard;
        }
    }
}

void home_keep_ran(struct sora_home *home, struct home_job *job)
{
    Farm__JobStatus all = FARM__JOB_STATUS__INIT;
    put_shards(home, job, &all);
    int count = all.n_shards < HOME_RAN_MAX ? (int)all.n_shards : HOME_RAN_MAX;
    if (job->ran)
        return;
    job->ran = count > 0 ? calloc((size_t)count, sizeof(*job->ran)) : NULL;
    for (int i = 0; job->ran && i < count; i++) {
        const Farm__ShardStatus *shard = all.shards[i];
        struct sora_store_ran *ran = &job->ran[job->ran_count++];
        *ran = (struct sora_store_ran){.job = job->id,
                                       .take = (int32_t)shard->take,
                                       .shard = (int32_t)shard->index,
                                       .step = (int32_t)shard->step,
                                       .frames_done = (int32_t)shard->frames_done,
                                       .latents = {(int32_t)shard->first, (int32_t)shard->end},
                                       .epoch = shard->epoch,
                                       .state = (int32_t)shard->state};
        home_cut_text(shard->node_name, ran->node, sizeof(ran->node));
        home_cut_text(shard->device, ran->device, sizeof(ran->device));
    }
    home_touch(home, job, &job->ran_ticket);
}

/* The reason of the take that holds the job up. */
static void put_reason(struct sora_home *home, const struct home_job *job, char *out, size_t size)
{
    home_cut_text(job->reason, out, size);
    int best = INT32_MAX;
    for (int32_t t = 0; !*job->reason && job->takes && t < job->take_count; t++) {
        struct sora_farm_job_view *view = &home->room->view;
        if (sora_farm_job_view(home->farm, &job->takes[t].id, view) || !*view->reason ||
            rank(take_state(view)) >= best)
            continue;
        best = rank(take_state(view));
        home_cut_text(view->reason, out, size);
    }
}

Farm__JobStatus *home_status_in_list(struct sora_home *home, struct home_job *job, int index)
{
    struct entry *entry = &home->room->entries[index];
    Farm__JobStatus *out = &entry->status;
    farm__job_status__init(out);
    out->job = (ProtobufCBinaryData){SORA_JOB_ID_SIZE, job->id.bytes};
    out->name = job->name;
    out->state = home_job_state(home, job);
    put_reason(home, job, entry->reason, sizeof(entry->reason));
    out->reason = entry->reason;
    out->priority = job->priority;
    out->frames_total = (uint32_t)job->frames_total;
    out->steps = (uint32_t)job->steps;
    out->wall_created_ms = job->wall_created_ms;
    out->wall_started_ms = job->wall_started_ms;
    out->wall_ended_ms = job->ended ? job->wall_ended_ms : 0;
    home_cut_text(job->owner.name, entry->owner, sizeof(entry->owner));
    out->owner = entry->owner;
    out->restarts = (uint32_t)job->moves;
    out->takes = (uint32_t)job->take_count;
    out->preview = job->assembly.preview_frames > 0;
    put_progress(home, job, out);
    return out;
}

Farm__JobStatus *home_status(struct sora_home *home, struct home_job *job, int shards)
{
    Farm__JobStatus *out = home_status_in_list(home, job, 0);
    if (shards == HOME_STATUS_SHARDS && job->ended)
        put_ran(home, job, out);
    else if (shards == HOME_STATUS_SHARDS)
        put_shards(home, job, out);
    return out;
}
