/* The farm's step and what follows from its actions. */
#include "base/clock.h"
#include "scheduler/home_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- sending ---- */

void home_send(struct sora_home *home, const unsigned char node[SORA_NODE_ID_SIZE],
               Farm__Message *message)
{
    const struct sora_post *post = home->params.post;
    struct sora_fault fault = {0};
    int rc = post->send(post->owner, node, message, NULL, 0, &fault);
    if (rc == SORA_E_FORMAT || rc == SORA_E_LIMIT || rc == SORA_E_INVALID)
        sora_log(SORA_LOG_WARN, "a message of the home cannot be sent kind=%d reason=\"%s\"",
                 (int)message->body_case, fault.text);
}

void home_reply_message(struct sora_home *home, const struct sora_origin *to,
                        Farm__Message *message)
{
    const struct sora_post *post = home->params.post;
    struct sora_fault fault = {0};
    int rc = post->reply(post->owner, to, message, NULL, 0, &fault);
    if (rc == SORA_E_FORMAT || rc == SORA_E_LIMIT || rc == SORA_E_INVALID)
        sora_log(SORA_LOG_WARN, "an answer of the home cannot be sent kind=%d reason=\"%s\"",
                 (int)message->body_case, fault.text);
}

/* ---- the step ---- */

static void store_part(struct sora_home *home, struct home_take *take,
                       const struct sora_farm_action *action)
{
    const struct home_fetch *arrival = home->arrival;
    SORA_ASSERT(arrival);
    struct sora_store_part row = {.take = take->id,
                                  .step = action->step,
                                  .latents = arrival->latents,
                                  .cut = take->cut,
                                  .epoch = action->epoch,
                                  .shard = action->shard,
                                  .blob = home_store_blob(&arrival->blob)};
    int rc = home_add_part(home, take, &row);
    if (rc == SORA_OK)
        home_touch(home, take->job, &take->parts[take->part_count - 1].ticket);
    else
        sora_log(SORA_LOG_ERROR, "a checkpoint is lost shard=%d step=%d reason=\"%s\"",
                 action->shard, action->step, sora_error_text(rc));
}

/* The record as of this step: what a new cut makes of the shards that were known. */
static void look_at_take(struct sora_home *home, struct home_take *take)
{
    struct sora_farm_job_record record;
    if (sora_farm_export_job(home->farm, &take->id, &record))
        return;
    if (record.cut == take->cut)
        return;
    bool goes_on = record.state == SORA_JOB_QUEUED || record.state == SORA_JOB_RUNNING;
    if (goes_on && take->shards[0].ordered_epoch) {
        take->job->moves++;
        home_touch(home, take->job, &take->job->ticket);
        home_note(home, take->job, "take %d is cut anew from step %d", take->index,
                  record.floor_step);
    }
    memset(take->shards, 0, SORA_PLAN_SHARDS_MAX * sizeof(*take->shards));
    take->cut = record.cut;
}

static void hold_action(struct sora_home *home, const struct sora_farm_action *action)
{
    struct home_held held = {.kind = HOME_HELD_ACTION, .action = *action, .job = action->job};
    if (action->kind == SORA_FARM_ORDER) {
        held.order = malloc(sizeof(*held.order));
        if (!held.order ||
            sora_farm_order_get(home->farm, &action->job, action->shard, held.order)) {
            free(held.order);
            return; /* repeated by the farm */
        }
    }
    home_hold(home, &held);
}

static void mark_changed(struct sora_home *home, const struct sora_job_id *id)
{
    struct home_job *job = home_find_job(home, id);
    if (!job)
        return;
    job->settle_due = home->settle_due = true;
    home_changed(home, job);
}

static void note_node(struct sora_home *home, uint64_t number)
{
    const struct home_node *node = home_find_node(home, number);
    struct sora_farm_node_view view;
    for (int32_t i = 0; node && sora_farm_node_at(home->farm, i, &view); i++) {
        if (view.node != number)
            continue;
        bool gone = view.state == SORA_NODE_LOST;
        sora_log(gone ? SORA_LOG_WARN : SORA_LOG_INFO, "a node changed node=%s state=%s",
                 node->name, sora_node_state_text(view.state));
        home_send_node(home, node, sora_node_state_text(view.state));
        return;
    }
}

static void take_action(struct sora_home *home, const struct sora_farm_action *action)
{
    struct home_take *take = home_find_take(home, &action->job);
    switch (action->kind) {
    case SORA_FARM_STORE_JOB:
        if (!take)
            return;
        look_at_take(home, take);
        home_touch(home, take->job, &take->ticket);
        return;
    case SORA_FARM_STORE_PART:
        if (take)
            store_part(home, take, action);
        return;
    case SORA_FARM_PRUNE_PARTS:
        if (take)
            home_prune_parts(home, take, action->step);
        return;
    case SORA_FARM_ASSEMBLE:
    case SORA_FARM_SEGMENT_READY:
        home->assembly_due = true;
        return;
    case SORA_FARM_JOB_CHANGED:
        mark_changed(home, &action->job);
        return;
    case SORA_FARM_NODE_CHANGED:
        note_node(home, action->node);
        return;
    case SORA_FARM_RENEW: { /* of what is long stored: a full disk must not end leases */
        struct home_held held = {.kind = HOME_HELD_ACTION, .action = *action, .job = action->job};
        home_let_go(home, &held);
        return;
    }
    default:
        hold_action(home, action);
    }
}

int home_farm_step(struct sora_home *home, const struct sora_farm_event *event,
                   struct sora_fault *fault)
{
    struct sora_farm_action items[SORA_FARM_ACTIONS_MIN];
    struct sora_farm_actions actions = {.items = items, .capacity = SORA_FARM_ACTIONS_MIN};
    int rc = sora_farm_step(home->farm, home->now, event, &actions, fault);
    int first = rc;
    while (rc == SORA_OK) {
        for (int32_t i = 0; i < actions.count; i++) /* stores first: the rest waits for them */
            if (items[i].kind == SORA_FARM_STORE_JOB || items[i].kind == SORA_FARM_STORE_PART)
                take_action(home, &items[i]);
        for (int32_t i = 0; i < actions.count; i++)
            if (items[i].kind != SORA_FARM_STORE_JOB && items[i].kind != SORA_FARM_STORE_PART)
                take_action(home, &items[i]);
        if (!actions.more)
            break;
        rc = sora_farm_step(home->farm, home->now,
                            &(struct sora_farm_event){.kind = SORA_FARM_TICK}, &actions, NULL);
    }
    return first;
}

/* ---- what was held ---- */

static void send_renew(struct sora_home *home, const struct home_node *node,
                       const struct sora_farm_action *action)
{
    Farm__LeaseRenew renew = FARM__LEASE_RENEW__INIT;
    renew.job = (ProtobufCBinaryData){SORA_JOB_ID_SIZE, (uint8_t *)action->job.bytes};
    renew.text = action->shard == SORA_FARM_TEXT_TASK;
    renew.shard = renew.text ? 0 : (uint32_t)action->shard;
    renew.epoch = (uint32_t)action->epoch;
    renew.lease_ms = HOME_LEASE_MS;
    renew.sequence = action->sequence;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LEASE_RENEW;
    message.lease_renew = &renew;
    home_send(home, node->id, &message);
}

static void send_revoke(struct sora_home *home, const struct home_node *node,
                        const struct sora_farm_action *action)
{
    Farm__LeaseRevoke revoke = FARM__LEASE_REVOKE__INIT;
    revoke.job = (ProtobufCBinaryData){SORA_JOB_ID_SIZE, (uint8_t *)action->job.bytes};
    revoke.text = action->shard == SORA_FARM_TEXT_TASK;
    revoke.shard = revoke.text ? 0 : (uint32_t)action->shard;
    revoke.epoch = (uint32_t)action->epoch;
    static char reason[] = "the home has no more use for it";
    revoke.reason = reason;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_LEASE_REVOKE;
    message.lease_revoke = &revoke;
    home_send(home, node->id, &message);
}

static void send_checkpoint_ack(struct sora_home *home, const struct home_node *node,
                                const struct sora_farm_action *action)
{
    Farm__CheckpointStored stored = FARM__CHECKPOINT_STORED__INIT;
    stored.job = (ProtobufCBinaryData){SORA_JOB_ID_SIZE, (uint8_t *)action->job.bytes};
    stored.shard = (uint32_t)action->shard;
    stored.epoch = (uint32_t)action->epoch;
    stored.step = (uint32_t)action->step;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_CHECKPOINT_STORED;
    message.checkpoint_stored = &stored;
    home_send(home, node->id, &message);
}

/* `step` is the piece's index, or the last one's when the shard is complete. */
static void send_segment_ack(struct sora_home *home, const struct home_node *node,
                             const struct sora_farm_action *action, int32_t index, bool complete)
{
    Farm__SegmentStored stored = FARM__SEGMENT_STORED__INIT;
    stored.job = (ProtobufCBinaryData){SORA_JOB_ID_SIZE, (uint8_t *)action->job.bytes};
    stored.shard = (uint32_t)action->shard;
    stored.epoch = (uint32_t)action->epoch;
    stored.index = (uint32_t)index;
    stored.complete = complete;
    Farm__Message message = FARM__MESSAGE__INIT;
    message.body_case = FARM__MESSAGE__BODY_SEGMENT_STORED;
    message.segment_stored = &stored;
    home_send(home, node->id, &message);
}

static int32_t last_index(const struct home_take *take, const struct sora_farm_action *action)
{
    int32_t last = 0;
    for (size_t i = 0; i < take->piece_count; i++) {
        const struct sora_store_piece *piece = &take->pieces[i].row;
        if (piece->shard == action->shard && piece->epoch == action->epoch && piece->index > last)
            last = piece->index;
    }
    return last;
}

/* A shard that had an owner and gets another has moved. */
static void note_order(struct sora_home *home, struct home_take *take, const struct home_node *node,
                       const struct sora_farm_action *action)
{
    struct home_job *job = take->job;
    if (!job->wall_started_ms) {
        job->wall_started_ms = sora_clock_wall_ms();
        home_touch(home, job, &job->ticket);
    }
    if (action->shard == SORA_FARM_TEXT_TASK)
        return;
    job->first_order_at = job->first_order_at ? job->first_order_at : home->now;
    struct home_shard *shard = &take->shards[action->shard];
    if (shard->ordered_epoch == action->epoch)
        return;
    const char *device =
        action->device < node->device_count ? node->devices[action->device].id : "?";
    if (shard->ordered_epoch) {
        job->moves++;
        home_touch(home, job, &job->ticket);
        bool same = strcmp(shard->node, node->name) == 0 && strcmp(shard->device, device) == 0;
        home_note(home, job, "shard %d of take %d %s %s/%s", action->shard, take->index,
                  same ? "begins again on" : "moved to", node->name, device);
    } else {
        home_note(home, job, "shard %d of take %d runs on %s/%s", action->shard, take->index,
                  node->name, device);
    }
    shard->ordered_epoch = action->epoch;
    home_cut_text(node->name, shard->node, sizeof(shard->node));
    home_cut_text(device, shard->device, sizeof(shard->device));
    home_touch(home, job, &shard->ticket);
    home_changed(home, job);
}

static void send_task(struct sora_home *home, struct home_take *take, const struct home_node *node,
                      const struct home_held *held)
{
    const struct sora_farm_action *action = &held->action;
    bool text = action->shard == SORA_FARM_TEXT_TASK;
    if (!take || !take->job->plan)
        return;
    if (text) {
        take->text_node = action->node;
        take->text_epoch = action->epoch;
    }
    if (action->kind == SORA_FARM_OFFER && home_allows(home, take->job, node->root)) {
        home_send_offer(home, take, node, action);
        return;
    }
    if (action->kind == SORA_FARM_OFFER) { /* as if it had refused */
        struct sora_farm_event event = {.kind = SORA_FARM_REFUSE,
                                        .node = action->node,
                                        .job = action->job,
                                        .shard = action->shard,
                                        .code = SORA_E_DENIED,
                                        .epoch = action->epoch};
        home_farm_step(home, &event, NULL);
        return;
    }
    note_order(home, take, node, action);
    if (text)
        home_send_text_order(home, take, node, action, held->order);
    else
        home_send_order(home, take, node, action, held->order);
}

static void let_action_go(struct sora_home *home, struct home_held *held)
{
    const struct sora_farm_action *action = &held->action;
    const struct home_node *node = home_find_node(home, action->node);
    struct home_take *take = home_find_take(home, &action->job);
    if (!node)
        return; /* it left, or was not heard since we started; the farm says it again */
    switch (action->kind) {
    case SORA_FARM_OFFER:
    case SORA_FARM_ORDER:
        send_task(home, take, node, held);
        return;
    case SORA_FARM_REVOKE:
        send_revoke(home, node, action);
        return;
    case SORA_FARM_RENEW:
        send_renew(home, node, action);
        return;
    case SORA_FARM_CHECKPOINT_ACK:
        send_checkpoint_ack(home, node, action);
        return;
    case SORA_FARM_SEGMENT_ACK:
        if (take)
            send_segment_ack(home, node, action, last_index(take, action), true);
        return;
    default:
        return;
    }
}

/* The end of a job is on disk: what it needed may go. */
static void job_ended(struct sora_home *home, struct home_job *job)
{
    job->ended = true;
    for (int32_t t = 0; job->takes && t < job->take_count; t++) {
        struct sora_farm_event event = {.kind = SORA_FARM_FORGET, .job = job->takes[t].id};
        if (job->takes[t].in_farm)
            home_farm_step(home, &event, NULL);
        job->takes[t].in_farm = false;
    }
    home_forget_fetches(home, job);
    home_free_work(home, job);
    if (job->final_state != SORA_JOB_DONE) { /* what the assembly left is gone: so is the folder */
        char folder[SORA_FILE_PATH_SIZE + 64];
        snprintf(folder, sizeof(folder), "%s/%s", home->results, job->folder);
        (void)rmdir(folder);
    }
    home_changed(home, job);
    home->assembly_due = true;
}

void home_let_go(struct sora_home *home, struct home_held *held)
{
    struct home_job *job = home_find_job(home, &held->job);
    const struct home_node *node;
    switch (held->kind) {
    case HOME_HELD_ACTION:
        let_action_go(home, held);
        return;
    case HOME_HELD_SUBMIT:
        if (job) {
            job->fresh = false;
            home_answer_submit(home, held->reply, job);
        }
        return;
    case HOME_HELD_ACK:
        if (held->reply) /* else it was told that it has to wait */
            sora_post_ack(home->params.post, home_reply_origin(held->reply));
        return;
    case HOME_HELD_PIECE:
        node = home_find_node(home, held->action.node);
        if (node)
            send_segment_ack(home, node, &held->action, held->action.step, false);
        return;
    }
}

/* ---- the ends of jobs ---- */

void home_end_job(struct sora_home *home, struct home_job *job, enum sora_job_state state,
                  const char *reason)
{
    if (job->final_state >= 0)
        return;
    home_keep_ran(home, job);
    job->final_state = (int32_t)state;
    job->wall_ended_ms = sora_clock_wall_ms();
    home_cut_text(reason, job->reason, sizeof(job->reason));
    for (int32_t t = 0; job->takes && t < job->take_count; t++) {
        struct home_take *take = &job->takes[t];
        struct sora_farm_event event = {.kind = SORA_FARM_CANCEL, .job = take->id};
        if (take->in_farm && state != SORA_JOB_DONE)
            home_farm_step(home, &event, NULL);
        take->drop_step = INT32_MAX;
        take->drop_pieces = true;
        home_touch(home, job, &take->drop_ticket);
    }
    home_stop_assembly(home, job);
    home_touch(home, job, &job->ticket);
    home_note(home, job, "%s%s%s", sora_job_state_text(state), *reason ? ": " : "", reason);
    home_changed(home, job);
}

static void settle_job(struct sora_home *home, struct home_job *job)
{
    int done = 0, cancelled = 0;
    for (int32_t t = 0; job->takes && t < job->take_count; t++) {
        struct sora_farm_job_view view;
        if (!job->takes[t].in_farm ||
            sora_farm_job_view(home->farm, &job->takes[t].id, &view) != SORA_OK)
            continue;
        if (view.state == SORA_JOB_FAILED) {
            char words[SORA_STORE_REASON_SIZE + 300], reason[SORA_STORE_REASON_SIZE];
            snprintf(words, sizeof(words), "%s%s%s", *job->reason ? job->reason : view.reason,
                     *job->failure ? ": " : "", job->failure);
            home_cut_text(words, reason, sizeof(reason));
            home_end_job(home, job, SORA_JOB_FAILED, reason);
            return;
        }
        done += view.state == SORA_JOB_DONE;
        cancelled += view.state == SORA_JOB_CANCELLED;
    }
    if (done == job->take_count && job->takes)
        home_end_job(home, job, SORA_JOB_DONE, "");
    else if (cancelled > 0)
        home_end_job(home, job, SORA_JOB_CANCELLED, "");
}

static void settle_jobs(struct sora_home *home)
{
    home->settle_due = false;
    for (int i = 0; i < home->job_count; i++) {
        struct home_job *job = home->jobs[i];
        if (job->final_state >= 0 && !job->ended && job->ticket_any <= home->durable)
            job_ended(home, job);
        if (!job->settle_due || job->final_state >= 0)
            continue;
        job->settle_due = false;
        settle_job(home, job);
    }
}

void home_settle(struct sora_home *home)
{
    if (home->busy)
        return;
    home->busy = true;
    for (int round = 0; round < 4; round++) {
        settle_jobs(home);
        home_pump_assemblies(home);
        home_flush(home);
        home_release_held(home);
        if (!home->settle_due && !home->assembly_due)
            break;
    }
    home_flush(home); /* letting go may change rows */
    home->busy = false;
}

void home_wake(struct sora_home *home)
{
    sora_time now = sora_clock_now();
    home->now = now > home->now ? now : home->now;
}
