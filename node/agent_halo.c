/*
 * Halos: the kept log of what goes out, the parts of what comes in, and what waits for its step.
 *
 * A halo travels in parts of 1 MiB (the last is shorter), each at a multiple of 1 MiB. A link's
 * halos leave in the order in which the machine gave them; one whose values have not yet come from
 * the child holds up those behind it. Only halos that the plan of the timeline has are taken in, so
 * a neighbour can make this node hold no more than a step's worth of them and a few partial ones.
 */
#include "node/agent_calls.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define PART_BYTES SORA_PAYLOAD_BYTES_MAX

void agent_halo_free(struct agent_halo **halo)
{
    if (*halo)
        free((*halo)->values);
    free(*halo);
    *halo = NULL;
}

static struct agent_halo *make_halo(const struct agent_task *task, enum sora_shard_halo kind,
                                    int32_t step, int32_t window, struct sora_range range)
{
    struct agent_halo *halo = calloc(1, sizeof(*halo));
    if (!halo)
        return NULL;
    halo->kind = kind;
    halo->step = step;
    halo->window = window;
    halo->range = range;
    halo->size = (size_t)(range.end - range.first) * task->latent_bytes;
    halo->values = malloc(halo->size);
    if (!halo->values)
        agent_halo_free(&halo);
    return halo;
}

/* ---- the log ---- */

static const enum sora_serve_command get_commands[] = {
    [SORA_SHARD_LATENTS] = SORA_SERVE_GET_LATENTS,
    [SORA_SHARD_PREDICTIONS] = SORA_SERVE_GET_PREDICTIONS,
    [SORA_SHARD_FINAL] = SORA_SERVE_GET_FINAL,
};

void agent_log_halo(struct agent_task *task, const struct sora_shard_action *action)
{
    struct agent_link *link = &task->links[action->link];
    struct agent_halo *halo =
        make_halo(task, action->halo, action->step, action->window, action->range);
    if (!halo) {
        agent_fail_task(task, SORA_E_MEMORY, "no memory for kept halos");
        return;
    }
    halo->token = ++task->agent->token;
    halo->next = link->log;
    link->log = halo;
    const struct sora_serve_span span = {.token = halo->token,
                                         .step = halo->step,
                                         .window = halo->window,
                                         .first = halo->range.first,
                                         .end = halo->range.end};
    agent_span(task->device, get_commands[halo->kind], &span, NULL, 0);
}

bool agent_log_values(struct agent_task *task, const struct sora_serve_span *span,
                      const void *values, size_t size)
{
    for (int i = 0; i < task->link_count; i++) {
        for (struct agent_halo *halo = task->links[i].log; halo; halo = halo->next) {
            if (halo->token != span->token)
                continue;
            if (halo->ready || halo->size != size)
                return false;
            memcpy(halo->values, values, size);
            halo->ready = true;
            agent_flush_links(task);
            return true;
        }
    }
    return true; /* pruned meanwhile */
}

static struct agent_halo *find_logged(struct agent_link *link,
                                      const struct sora_shard_action *action)
{
    for (struct agent_halo *halo = link->log; halo; halo = halo->next) {
        if (halo->kind == action->halo && halo->step == action->step &&
            (halo->kind != SORA_SHARD_PREDICTIONS || halo->window == action->window))
            return halo;
    }
    return NULL;
}

static void unqueue_all(struct agent_link *link)
{
    for (struct agent_halo *halo = link->queue; halo; halo = halo->queue_next) {
        halo->queued = false;
        halo->sent = 0;
    }
    link->queue = link->queue_last = NULL;
}

static void unqueue(struct agent_link *link, struct agent_halo *halo)
{
    struct agent_halo **at = &link->queue, *last = NULL;
    if (!halo->queued)
        return;
    while (*at != halo) {
        last = *at;
        at = &(*at)->queue_next;
    }
    *at = halo->queue_next;
    if (link->queue_last == halo)
        link->queue_last = last;
    halo->queued = false;
    halo->queue_next = NULL;
    halo->sent = 0;
}

void agent_prune_log(struct agent_task *task, int32_t step)
{
    for (int i = 0; i < task->link_count; i++) {
        struct agent_link *link = &task->links[i];
        for (struct agent_halo **at = &link->log; *at;) {
            struct agent_halo *halo = *at;
            if (halo->step >= step) {
                at = &halo->next;
                continue;
            }
            unqueue(link, halo);
            *at = halo->next;
            agent_halo_free(&halo);
        }
    }
}

/* ---- out ---- */

void agent_queue_halo(struct agent_task *task, const struct sora_shard_action *action)
{
    struct agent_link *link = &task->links[action->link];
    struct agent_halo *halo = find_logged(link, action);
    if (!halo) {
        agent_fail_task(task, SORA_E_INTERNAL, "a halo to send is not in the log");
        return;
    }
    if (halo->queued || link->epoch == 0 || link->epoch != action->epoch)
        return; /* on its way, or nobody is there */
    halo->queued = true;
    halo->queue_next = NULL;
    halo->sent = 0;
    if (link->queue_last)
        link->queue_last->queue_next = halo;
    else
        link->queue = halo;
    link->queue_last = halo;
}

void agent_queue_at(struct agent_task *task, const struct sora_shard_action *action)
{
    struct agent_link *link = &task->links[action->link];
    if (link->epoch == 0 || link->epoch != action->epoch)
        return;
    bool again = link->at_due && link->at.again && link->at.step == action->step;
    link->at = *action;
    link->at.again |= again;
    link->at_due = true;
}

void agent_link_changed(struct agent_link *link, const unsigned char *node, uint64_t epoch)
{
    memcpy(link->node, node, SORA_NODE_ID_SIZE);
    link->epoch = epoch;
    link->at_due = false;
    unqueue_all(link);
}

static int send_at(struct agent_task *task, int index)
{
    struct agent_link *link = &task->links[index];
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__HaloAt at = FARM__HALO_AT__INIT;
    at.job = agent_bytes(task->job, SORA_JOB_ID_SIZE);
    at.from_shard = task->shard;
    at.to_shard = task->order->neighbours[index]->shard;
    at.from_epoch = task->epoch;
    at.to_epoch = (uint32_t)link->epoch;
    at.step = (uint32_t)link->at.step;
    at.again = link->at.again;
    at.have = link->at.have;
    message.body_case = FARM__MESSAGE__BODY_HALO_AT;
    message.halo_at = &at;
    const struct sora_post *post = task->agent->params.post;
    return post->send(post->owner, link->node, &message, NULL, 0, NULL);
}

static const Farm__HaloKind wire_kinds[] = {
    [SORA_SHARD_LATENTS] = FARM__HALO_KIND__HALO_LATENTS,
    [SORA_SHARD_PREDICTIONS] = FARM__HALO_KIND__HALO_PREDICTIONS,
    [SORA_SHARD_FINAL] = FARM__HALO_KIND__HALO_FINAL,
};

static int send_part(struct agent_task *task, int index, const struct agent_halo *halo)
{
    struct agent_link *link = &task->links[index];
    Farm__Message message = FARM__MESSAGE__INIT;
    Farm__Halo wire = FARM__HALO__INIT;
    wire.job = agent_bytes(task->job, SORA_JOB_ID_SIZE);
    wire.kind = wire_kinds[halo->kind];
    wire.step = (uint32_t)halo->step;
    wire.from_shard = task->shard;
    wire.to_shard = task->order->neighbours[index]->shard;
    wire.from_epoch = task->epoch;
    wire.to_epoch = (uint32_t)link->epoch;
    wire.window = (uint32_t)halo->window;
    wire.first = (uint32_t)halo->range.first;
    wire.count = (uint32_t)(halo->range.end - halo->range.first);
    wire.offset = halo->sent;
    wire.size = halo->size;
    message.body_case = FARM__MESSAGE__BODY_HALO;
    message.halo = &wire;
    size_t left = halo->size - halo->sent;
    const struct sora_post *post = task->agent->params.post;
    return post->send(post->owner, link->node, &message, halo->values + halo->sent,
                      left < PART_BYTES ? left : PART_BYTES, NULL);
}

/* Sends what goes now. */
static int flush_link(struct agent_task *task, int index)
{
    struct agent_link *link = &task->links[index];
    if (link->at_due) {
        int rc = send_at(task, index);
        if (rc)
            return rc;
        link->at_due = false;
    }
    while (link->queue && link->queue->ready) {
        struct agent_halo *halo = link->queue;
        int rc = send_part(task, index, halo);
        if (rc)
            return rc;
        size_t part = halo->size - halo->sent < PART_BYTES ? halo->size - halo->sent : PART_BYTES;
        halo->sent += part;
        task->halo_bytes[halo->kind == SORA_SHARD_FINAL ? 2 : halo->step % 2] += part;
        if (halo->sent == halo->size)
            unqueue(link, halo);
    }
    return SORA_OK;
}

void agent_flush_links(struct agent_task *task)
{
    for (int i = 0; i < task->link_count; i++) {
        int rc = flush_link(task, i);
        if (rc == SORA_OK)
            continue;
        if (rc != SORA_E_FULL && rc != SORA_E_NOT_FOUND)
            sora_log(SORA_LOG_WARN, "a halo cannot be sent shard=%u code=%s", task->shard,
                     sora_error_name(rc));
        agent_blocked(task->agent, rc);
    }
}

/* ---- in ---- */

/* The task and link that a neighbour's message is for; -1 when there is none. */
static int find_receiver(struct sora_agent *agent, const struct sora_origin *origin,
                         ProtobufCBinaryData job, const uint32_t shards[2],
                         const uint32_t epochs[2], struct agent_task **out_task)
{
    for (int i = 0; i < AGENT_TASKS_MAX; i++) {
        struct agent_task *task = &agent->tasks[i];
        if (!task->used || !task->machine || task->shard != shards[1] || task->epoch != epochs[1] ||
            job.len != SORA_JOB_ID_SIZE || memcmp(task->job, job.data, SORA_JOB_ID_SIZE) != 0)
            continue;
        int32_t link = sora_shard_find_link(task->machine, (int32_t)shards[0]);
        if (link < 0 || task->links[link].epoch == 0 || task->links[link].epoch != epochs[0] ||
            memcmp(task->links[link].node, origin->identity->node, SORA_NODE_ID_SIZE) != 0)
            continue;
        *out_task = task;
        return link;
    }
    return -1;
}

void agent_take_halo_at(struct sora_agent *agent, const struct sora_origin *origin,
                        const Farm__HaloAt *wire)
{
    const uint32_t shards[2] = {wire->from_shard, wire->to_shard};
    const uint32_t epochs[2] = {wire->from_epoch, wire->to_epoch};
    struct agent_task *task = NULL;
    const struct sora_shard_event event = {
        .kind = SORA_SHARD_AT,
        .link = find_receiver(agent, origin, wire->job, shards, epochs, &task),
        .epoch = wire->from_epoch,
        .step = (int32_t)wire->step,
        .again = wire->again,
        .have = wire->have};
    if (event.link >= 0)
        agent_drive(task, &event, NULL);
}

static bool ranges_equal(struct sora_range a, struct sora_range b)
{
    return a.first == b.first && a.end == b.end && a.first < a.end;
}

/* Whether the plan has such a halo for this shard, and it is for now or soon. */
static bool is_planned(const struct agent_task *task, int link, const struct agent_halo *halo)
{
    const Farm__ShardAssign *order = task->order;
    const struct sora_timeline_params timeline = {
        .latent_count = (int32_t)order->timeline->latents,
        .window_latents = (int32_t)order->timeline->window,
        .overlap_latents = (int32_t)order->timeline->overlap,
        .static_phase = order->timeline->static_phase};
    const struct sora_range owned = {(int32_t)order->first, (int32_t)order->end};
    struct sora_range theirs = task->links[link].owned;
    int32_t steps = (int32_t)order->schedule->steps, now = sora_shard_view(task->machine).step;
    if (halo->kind == SORA_SHARD_FINAL) {
        int32_t first = owned.first - (int32_t)order->context_latents;
        struct sora_range context = {first > theirs.first ? first : theirs.first,
                                     owned.first < theirs.end ? owned.first : theirs.end};
        return halo->step == steps && ranges_equal(context, halo->range);
    }
    if (halo->step >= steps || halo->step < now || halo->step >= now + SORA_SHARD_AHEAD)
        return false;
    if (halo->kind == SORA_SHARD_LATENTS)
        return ranges_equal(sora_timeline_halo_latents(&timeline, halo->step, theirs, owned),
                            halo->range);
    struct sora_range runs = sora_timeline_shard_windows(&timeline, halo->step, theirs);
    return halo->window >= runs.first && halo->window < runs.end &&
           ranges_equal(sora_timeline_halo_predictions(&timeline, halo->step, halo->window, owned),
                        halo->range);
}

static bool same_halo(const struct agent_halo *a, const struct agent_halo *b)
{
    return a->kind == b->kind && a->step == b->step &&
           (a->kind != SORA_SHARD_PREDICTIONS || a->window == b->window);
}

/* The partial halo that a part belongs to; a new one takes the place that was used longest ago. */
static struct agent_partial *find_partial(struct agent_task *task, int index,
                                          const struct agent_halo *like, uint64_t epoch)
{
    struct agent_link *link = &task->links[index];
    struct agent_partial *place = &link->partials[0];
    for (int i = 0; i < AGENT_PARTIALS_MAX; i++) {
        struct agent_partial *partial = &link->partials[i];
        if (partial->halo && partial->epoch == epoch && same_halo(partial->halo, like))
            return partial;
        if (!partial->halo || (place->halo && partial->used < place->used))
            place = partial;
    }
    agent_halo_free(&place->halo);
    *place = (struct agent_partial){
        .halo = make_halo(task, like->kind, like->step, like->window, like->range),
        .epoch = epoch,
        .parts_left = (uint32_t)((like->size + PART_BYTES - 1) / PART_BYTES)};
    return place->halo ? place : NULL;
}

/* Adds a part; true when the halo is whole. */
static bool add_part(struct agent_partial *partial, uint64_t offset, const void *payload,
                     size_t size)
{
    uint64_t part = offset / PART_BYTES, bit = (uint64_t)1 << part % 64;
    if (partial->parts[part / 64] & bit)
        return false;
    partial->parts[part / 64] |= bit;
    memcpy(partial->halo->values + offset, payload, size);
    return --partial->parts_left == 0;
}

static bool sizes_fit(const struct agent_task *task, const Farm__Halo *wire, size_t payload_size)
{
    uint64_t size = (uint64_t)wire->count * task->latent_bytes;
    if (wire->size != size || size > (uint64_t)AGENT_PARTS_MAX * PART_BYTES ||
        wire->offset >= size || wire->offset % PART_BYTES != 0)
        return false;
    uint64_t left = size - wire->offset;
    return payload_size == (left < PART_BYTES ? left : PART_BYTES);
}

static enum sora_shard_halo halo_kind(Farm__HaloKind kind)
{
    return kind == FARM__HALO_KIND__HALO_LATENTS       ? SORA_SHARD_LATENTS
           : kind == FARM__HALO_KIND__HALO_PREDICTIONS ? SORA_SHARD_PREDICTIONS
                                                       : SORA_SHARD_FINAL;
}

/* A whole halo goes to the machine, which says whether it is kept. */
static void take_whole(struct agent_task *task, int link, struct agent_partial *partial)
{
    struct agent_halo *halo = partial->halo;
    const struct sora_shard_event event = {.kind = SORA_SHARD_HALO,
                                           .halo = halo->kind,
                                           .link = link,
                                           .epoch = partial->epoch,
                                           .step = halo->step,
                                           .window = halo->window,
                                           .range = halo->range};
    *partial = (struct agent_partial){.halo = NULL};
    agent_drive(task, &event, &halo);
    agent_halo_free(&halo);
}

void agent_take_halo(struct sora_agent *agent, const struct sora_origin *origin,
                     const Farm__Halo *wire, const void *payload, size_t payload_size)
{
    const uint32_t shards[2] = {wire->from_shard, wire->to_shard};
    const uint32_t epochs[2] = {wire->from_epoch, wire->to_epoch};
    struct agent_task *task = NULL;
    int link = find_receiver(agent, origin, wire->job, shards, epochs, &task);
    if (link < 0 || !sizes_fit(task, wire, payload_size))
        return;
    const struct agent_halo like = {
        .kind = halo_kind(wire->kind),
        .step = (int32_t)wire->step,
        .window = (int32_t)wire->window,
        .range = {(int32_t)wire->first, (int32_t)(wire->first + wire->count)},
        .size = wire->size};
    if (!is_planned(task, link, &like)) {
        /* Maybe a repetition of what is over: it still says where its sender stands. */
        const struct sora_shard_event event = {.kind = SORA_SHARD_HALO,
                                               .halo = like.kind,
                                               .link = link,
                                               .epoch = wire->from_epoch,
                                               .step = like.step,
                                               .window = like.window,
                                               .range = like.range};
        if (like.step < sora_shard_view(task->machine).step)
            agent_drive(task, &event, NULL);
        return;
    }
    struct agent_partial *partial = find_partial(task, link, &like, wire->from_epoch);
    if (!partial)
        return; /* no memory: it will be asked for again */
    partial->used = ++agent->token;
    if (add_part(partial, wire->offset, payload, payload_size))
        take_whole(task, link, partial);
}

/* ---- kept until their step ---- */

static const enum sora_serve_command put_commands[] = {
    [SORA_SHARD_LATENTS] = SORA_SERVE_PUT_LATENTS,
    [SORA_SHARD_PREDICTIONS] = SORA_SERVE_PUT_PREDICTIONS,
    [SORA_SHARD_FINAL] = SORA_SERVE_PUT_FINAL,
};

void agent_give_halos(struct agent_task *task, enum sora_shard_halo kind, int32_t step)
{
    for (struct agent_halo **at = &task->kept; *at;) {
        struct agent_halo *halo = *at;
        if (halo->kind != kind || halo->step != step) {
            at = &halo->next;
            continue;
        }
        const struct sora_serve_span span = {.step = step,
                                             .window = halo->window,
                                             .first = halo->range.first,
                                             .end = halo->range.end};
        agent_span(task->device, put_commands[kind], &span, halo->values, halo->size);
        *at = halo->next;
        agent_halo_free(&halo);
    }
}

void agent_drop_kept(struct agent_task *task, int32_t step)
{
    for (struct agent_halo **at = &task->kept; *at;) {
        struct agent_halo *halo = *at;
        if (halo->step > step) {
            at = &halo->next;
            continue;
        }
        *at = halo->next;
        agent_halo_free(&halo);
    }
}

void agent_halos_fini(struct agent_task *task)
{
    agent_drop_kept(task, INT32_MAX);
    agent_prune_log(task, INT32_MAX);
    for (int i = 0; i < task->link_count; i++) {
        for (int k = 0; k < AGENT_PARTIALS_MAX; k++)
            agent_halo_free(&task->links[i].partials[k].halo);
    }
    task->link_count = 0;
}
