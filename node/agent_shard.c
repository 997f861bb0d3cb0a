/*
 * Shards: orders become events of the shard machine, its actions become commands to the child,
 * messages and files, and what the child answers becomes events again.
 */
#include "node/agent_calls.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACTIONS_AT_ONCE 16

static struct sora_speed_key speed_key(const struct agent_task *task)
{
    struct sora_speed_key key = {.threads = task->device->config->threads,
                                 .model = task->model,
                                 .width = task->order->timeline->width,
                                 .height = task->order->timeline->height,
                                 .window = task->order->timeline->window};
    memcpy(key.device, task->device->config->id, sizeof(key.device));
    return key;
}

/* ---- actions ---- */

static Farm__ShardState shard_state(const struct agent_task *task)
{
    switch (sora_shard_view(task->machine).state) {
    case SORA_SHARD_LOADING:
        return FARM__SHARD_STATE__SHARD_ASSIGNED;
    case SORA_SHARD_DECODING:
        return FARM__SHARD_STATE__SHARD_DECODING;
    case SORA_SHARD_DONE:
        return FARM__SHARD_STATE__SHARD_DONE;
    default:
        return FARM__SHARD_STATE__SHARD_RUNNING;
    }
}

/* For people only: what does not go is not repeated. */
static void send_progress(struct agent_task *task, const struct sora_shard_action *action)
{
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__ShardProgress progress = FARM__SHARD_PROGRESS__INIT;
    progress.job = agent_bytes(task->job, SORA_JOB_ID_SIZE);
    progress.shard = task->shard;
    progress.epoch = task->epoch;
    progress.step = (uint32_t)action->step;
    progress.frames_done = task->frames_done;
    progress.state = shard_state(task);
    progress.steps_per_s = task->steps_per_s;
    message.body_case = FARM__MESSAGE__BODY_SHARD_PROGRESS;
    message.shard_progress = &progress;
    agent_send_home(task, &message);
}

static void run_window(struct agent_task *task, const struct sora_shard_action *action)
{
    const struct sora_serve_span span = {.step = action->step, .window = action->window};
    agent_give_halos(task, SORA_SHARD_LATENTS, action->step);
    agent_span(task->device, SORA_SERVE_RUN, &span, NULL, 0);
}

static void update(struct agent_task *task, const struct sora_shard_action *action)
{
    const struct sora_serve_span span = {.step = action->step};
    agent_give_halos(task, SORA_SHARD_PREDICTIONS, action->step);
    agent_span(task->device, SORA_SERVE_UPDATE, &span, NULL, 0);
    agent_drop_kept(task, action->step);
}

static void do_link_action(struct agent_task *task, const struct sora_shard_action *action)
{
    if (action->kind == SORA_SHARD_LOG_HALO)
        agent_log_halo(task, action);
    else if (action->kind == SORA_SHARD_SEND_HALO)
        agent_queue_halo(task, action);
    else if (action->kind == SORA_SHARD_SEND_AT)
        agent_queue_at(task, action);
}

static void do_action(struct agent_task *task, const struct sora_shard_action *action)
{
    switch (action->kind) {
    case SORA_SHARD_LOAD:
        task->load = AGENT_LOAD_FETCH;
        task->agent->wake = true;
        break;
    case SORA_SHARD_RUN_WINDOW:
        run_window(task, action);
        break;
    case SORA_SHARD_UPDATE:
        update(task, action);
        break;
    case SORA_SHARD_TAKE_CHECKPOINT:
        agent_take_checkpoint(task, action->step);
        break;
    case SORA_SHARD_SEND_CHECKPOINT:
        agent_send_checkpoint(task, action->step);
        break;
    case SORA_SHARD_DECODE:
        agent_decode(task, action);
        break;
    case SORA_SHARD_SEND_SEGMENT:
        agent_repeat_segment(task);
        break;
    case SORA_SHARD_PROGRESS:
        send_progress(task, action);
        break;
    case SORA_SHARD_PRUNE:
        agent_prune_log(task, action->step);
        agent_prune_checkpoints(task, action->step);
        break;
    case SORA_SHARD_STOP:
        agent_stop_task(task, action->code, "the shard was stopped");
        break;
    default:
        do_link_action(task, action);
    }
}

static void keep_halo(struct agent_task *task, struct agent_halo **halo)
{
    if (!halo || !*halo)
        return;
    (*halo)->next = task->kept;
    task->kept = *halo;
    *halo = NULL;
}

int agent_drive(struct agent_task *task, const struct sora_shard_event *event,
                struct agent_halo **halo)
{
    struct sora_shard_action items[ACTIONS_AT_ONCE];
    struct sora_shard_actions actions = {.items = items, .capacity = ACTIONS_AT_ONCE};
    struct sora_shard_event next = *event;
    int result = SORA_OK;
    for (bool more = true; more && result == SORA_OK;) {
        result = sora_shard_step(task->machine, task->agent->now, &next, &actions);
        for (int32_t i = 0; i < actions.count && result == SORA_OK && task->machine; i++) {
            if (items[i].kind == SORA_SHARD_KEEP_HALO)
                keep_halo(task, halo);
            else
                do_action(task, &items[i]);
        }
        more = actions.more && task->machine;
        next = (struct sora_shard_event){.kind = SORA_SHARD_TICK};
    }
    if (task->machine)
        agent_flush_links(task);
    return result;
}

/* ---- answers of the child ---- */

static void note_step(struct agent_task *task)
{
    sora_time now = task->agent->now;
    if (task->step_at && now > task->step_at) {
        double rate = (double)SORA_TIME_SECOND / (double)(now - task->step_at);
        task->steps_per_s = task->steps_per_s > 0 ? 0.5 * (task->steps_per_s + rate) : rate;
    }
    task->step_at = now;
}

/* Hands in an event that the child's answer means; false when the machine did not wait for it. */
static bool tell(struct agent_task *task, enum sora_shard_event_kind kind,
                 const struct sora_serve_span *span)
{
    const struct sora_shard_event event = {
        .kind = kind, .step = span->step, .window = span->window};
    return agent_drive(task, &event, NULL) != SORA_E_INVALID;
}

static bool take_decoded(struct agent_task *task, const struct sora_serve_span *span)
{
    if (!task->decoding || task->decoded || task->piece_count == 0)
        return false;
    task->decoded = true;
    uint32_t context = task->order->context_latents, first = task->order->first;
    uint32_t latents = task->order->end - (first > context ? first - context : 0);
    const struct sora_speed_key key = speed_key(task);
    sora_speeds_note(task->agent->speeds, &key, 0,
                     (double)span->microseconds / 1000 / (double)latents);
    task->agent->wake = true;
    return true;
}

static bool take_ran(struct agent_task *task, const struct sora_serve_span *span)
{
    const struct sora_speed_key key = speed_key(task);
    sora_speeds_note(task->agent->speeds, &key, (double)span->microseconds / 1000, 0);
    return tell(task, SORA_SHARD_WINDOW_DONE, span);
}

static bool take_span(struct agent_task *task, const struct sora_frame *frame)
{
    struct sora_serve_span span;
    if (frame->head_size != sizeof(span))
        return false;
    memcpy(&span, frame->head, sizeof(span));
    switch ((enum sora_serve_answer)frame->kind) {
    case SORA_SERVE_IS_LOADED:
        task->load = AGENT_LOAD_DONE;
        return tell(task, SORA_SHARD_LOADED, &span);
    case SORA_SERVE_RAN:
        return take_ran(task, &span);
    case SORA_SERVE_UPDATED:
        note_step(task);
        return tell(task, SORA_SHARD_UPDATED, &span);
    case SORA_SERVE_VALUES:
        return agent_log_values(task, &span, frame->payload, frame->payload_size);
    case SORA_SERVE_STATE_WRITTEN:
        return agent_state_written(task, span.step) &&
               tell(task, SORA_SHARD_CHECKPOINT_TAKEN, &span);
    case SORA_SERVE_DECODED:
        return take_decoded(task, &span);
    default:
        return false;
    }
}

bool agent_shard_answer(struct agent_task *task, const struct sora_frame *frame)
{
    if (task->load < AGENT_LOAD_CHILD)
        return false;
    if (frame->kind == SORA_SERVE_SHARD_OPENED)
        return true;
    if (frame->kind == SORA_SERVE_PIECE)
        return agent_piece_made(task, frame);
    return take_span(task, frame);
}

/* ---- orders ---- */

/* A copy of the order with memory of its own. */
static Farm__ShardAssign *copy_order(const Farm__ShardAssign *assign)
{
    size_t size = farm__shard_assign__get_packed_size(assign);
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes)
        return NULL;
    farm__shard_assign__pack(assign, bytes);
    Farm__ShardAssign *copy = farm__shard_assign__unpack(NULL, size, bytes);
    free(bytes);
    return copy;
}

static void fill_params(const struct agent_task *task, struct sora_shard_params *out)
{
    const Farm__ShardAssign *order = task->order;
    const Farm__Timeline *timeline = order->timeline;
    uint32_t c = order->checkpoint_steps;
    *out = (struct sora_shard_params){
        .timeline = {.latent_count = (int32_t)timeline->latents,
                     .window_latents = (int32_t)timeline->window,
                     .overlap_latents = (int32_t)timeline->overlap,
                     .static_phase = timeline->static_phase},
        .steps = (int32_t)order->schedule->steps,
        .owned = {(int32_t)order->first, (int32_t)order->end},
        .epoch = task->epoch,
        .resume_step = (int32_t)order->step,
        .checkpoint_steps = (int32_t)(c && c < order->schedule->steps ? c : order->schedule->steps),
        .context_latents = (int32_t)order->context_latents,
        .latent_bytes = (int64_t)task->latent_bytes,
        .kept_bytes_max = task->agent->params.kept_bytes_max,
        .lease_until = task->lease_until,
        .link_count = task->link_count,
    };
    for (int i = 0; i < task->link_count; i++) {
        const Farm__Neighbour *other = order->neighbours[i];
        out->links[i] = (struct sora_shard_link){
            .shard = (int32_t)other->shard, .owned = task->links[i].owned, .epoch = other->epoch};
    }
}

static int begin(struct agent_task *task, const Farm__ShardAssign *assign, struct sora_fault *fault)
{
    if (strcmp(assign->device, task->device->config->id) != 0)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "the order names another device than the lease");
    if (memcmp(assign->model.data, task->model.bytes, SORA_DIGEST_SIZE) != 0)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "the order names another model than the lease");
    task->order = copy_order(assign);
    if (!task->order)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for an order");
    const Farm__Timeline *timeline = assign->timeline;
    task->latent_bytes =
        sizeof(float) * (size_t)timeline->channels * timeline->height * timeline->width;
    task->link_count = (int)assign->n_neighbours;
    for (int i = 0; i < task->link_count; i++) {
        const Farm__Neighbour *other = assign->neighbours[i];
        struct agent_link *link = &task->links[i];
        link->owned = (struct sora_range){(int32_t)other->first, (int32_t)other->end};
        agent_link_changed(link, other->node.data, other->epoch);
    }
    struct sora_shard_params params;
    fill_params(task, &params);
    int rc = sora_shard_create(&params, &task->machine, fault);
    if (rc == SORA_OK)
        rc = agent_load_init(task, fault);
    if (rc)
        return rc;
    char job[9];
    sora_log(SORA_LOG_INFO, "shard begins job=%s shard=%u epoch=%u latents=%u-%u step=%u device=%s",
             agent_job_text(task, job), task->shard, task->epoch, assign->first, assign->end,
             assign->step, task->device->config->id);
    const struct sora_shard_event tick = {.kind = SORA_SHARD_TICK};
    agent_drive(task, &tick, NULL);
    return SORA_OK;
}

static void follow_neighbour(struct agent_task *task, const Farm__Neighbour *other)
{
    int32_t index = sora_shard_find_link(task->machine, (int32_t)other->shard);
    if (index < 0 || other->epoch == 0 || other->epoch == task->links[index].epoch)
        return;
    const struct sora_shard_event event = {.kind = SORA_SHARD_NEIGHBOUR,
                                           .link = index,
                                           .epoch = other->epoch,
                                           .step = (int32_t)other->resume_step};
    unsigned char before[SORA_NODE_ID_SIZE];
    uint64_t epoch = task->links[index].epoch;
    memcpy(before, task->links[index].node, sizeof(before));
    /* First, so that what the machine says next goes to the new owner. */
    agent_link_changed(&task->links[index], other->node.data, other->epoch);
    int rc = agent_drive(task, &event, NULL);
    if (rc && task->machine) {
        agent_link_changed(&task->links[index], before, epoch);
        sora_log(SORA_LOG_WARN, "a neighbour's change is not followed shard=%u of=%u code=%s",
                 task->shard, other->shard, sora_error_name(rc));
    }
}

/* What may change within an epoch: floor, neighbours, park. */
static void follow(struct agent_task *task, const Farm__ShardAssign *assign)
{
    struct sora_shard_event event = {.kind = SORA_SHARD_FLOOR, .step = (int32_t)assign->floor};
    agent_drive(task, &event, NULL);
    for (size_t i = 0; i < assign->n_neighbours && task->machine; i++)
        follow_neighbour(task, assign->neighbours[i]);
    event = (struct sora_shard_event){.kind = SORA_SHARD_PARK};
    if (assign->park && task->machine)
        agent_drive(task, &event, NULL);
}

void agent_take_assign(struct sora_agent *agent, const struct sora_origin *origin,
                       const Farm__ShardAssign *assign)
{
    if (assign->boot != agent->params.boot)
        return;
    struct agent_task *task =
        agent_find_task(agent, origin->identity->node, assign->job, assign->epoch);
    if (!task || task->text || task->shard != assign->shard) {
        agent_refuse_order(agent, origin, assign->job, assign->shard, assign->epoch, false);
        return;
    }
    if (task->stopped || task->fail || (task->machine && assign->version <= task->version))
        return;
    task->version = assign->version;
    struct sora_fault fault = {0};
    int rc = task->machine ? SORA_OK : begin(task, assign, &fault);
    if (rc)
        agent_stop_task(task, rc, fault.text);
    else if (task->machine)
        follow(task, assign);
}

/* ---- time ---- */

void agent_shard_step(struct agent_task *task)
{
    if (task->load == AGENT_LOAD_FETCH)
        agent_load_step(task);
    const struct sora_shard_event tick = {.kind = SORA_SHARD_TICK};
    if (!task->fail && task->agent->now >= sora_shard_next_deadline(task->machine))
        agent_drive(task, &tick, NULL);
    if (!task->machine || task->fail)
        return;
    agent_result_step(task);
    if (task->machine)
        agent_flush_links(task);
}

sora_time agent_shard_deadline(const struct agent_task *task)
{
    sora_time next = sora_shard_next_deadline(task->machine);
    sora_time result = agent_result_deadline(task);
    next = result < next ? result : next;
    /* What was asked for wakes when it comes; this is for asking again. */
    if (task->load == AGENT_LOAD_FETCH && task->fetch_at > task->agent->now &&
        task->fetch_at < next)
        next = task->fetch_at;
    return next;
}
