/*
 * The shard machine. An event changes the state (take_*), settle() makes the moves that follow from
 * it, and node/core/shard_actions.c reads one action after another off the state until the list is
 * full; so a short list delays actions and never loses one.
 */
#include "node/core/shard_parts.h"

#include <stdlib.h>
#include <string.h>

#define NEVER INT64_MAX

#define SORA_SHARD_TO(name) (1u << SORA_SHARD_##name)
static const struct {
    const char *text;
    unsigned next;
} states[SORA_SHARD_STATE_COUNT] = {
#define STATE_ROW(name, text, next) [SORA_SHARD_##name] = {text, next},
    SORA_SHARD_STATES(STATE_ROW)
#undef STATE_ROW
};

const char *sora_shard_state_text(enum sora_shard_state state)
{
    SORA_ASSERT((unsigned)state < SORA_SHARD_STATE_COUNT);
    return states[state].text;
}

static bool is_checkpoint_step(const struct sora_shard *shard, int32_t step)
{
    return step == shard->params.steps || step % shard->params.checkpoint_steps == 0;
}

/* What holds whenever the machine is in a state. */
static void check_state(const struct sora_shard *shard)
{
    SORA_ASSERT(shard->floor <= shard->step);
    SORA_ASSERT(shard->kept_bytes >= 0 && shard->kept_bytes <= shard->params.kept_bytes_max);
    if (shard->state == SORA_SHARD_LOADING)
        SORA_ASSERT(shard->step == shard->params.resume_step);
    if (shard->state == SORA_SHARD_PARKED)
        SORA_ASSERT(is_checkpoint_step(shard, shard->step));
    if (shard->state == SORA_SHARD_DECODING || shard->state == SORA_SHARD_DONE)
        SORA_ASSERT(shard->step == shard->params.steps);
}

static void move(struct sora_shard *shard, sora_time now, enum sora_shard_state to)
{
    SORA_ASSERT(states[shard->state].next & (1u << to));
    shard->state = to;
    shard->progress_at = now;
    check_state(shard);
}

static void stop(struct sora_shard *shard, sora_time now, int code)
{
    if (shard->state == SORA_SHARD_STOPPED)
        return;
    shard->stop_code = code;
    shard->stop_due = true;
    move(shard, now, SORA_SHARD_STOPPED);
}

int64_t sora_shard_step_bytes(const struct sora_shard *shard, int32_t step)
{
    const struct sora_timeline_params *timeline = &shard->params.timeline;
    int64_t latents = 0;
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        struct sora_range theirs = shard->params.links[i].owned;
        struct sora_range out =
            sora_timeline_halo_latents(timeline, step, shard->params.owned, theirs);
        latents += out.end - out.first;
        struct sora_range windows = sora_shard_exchange(shard, step, shard->params.owned, theirs);
        for (int32_t w = windows.first; w < windows.end; w++) {
            out = sora_timeline_halo_predictions(timeline, step, w, theirs);
            latents += out.end - out.first;
        }
    }
    return latents * shard->params.latent_bytes;
}

/* ---- create ---- */

static void begin_step(struct sora_shard *shard, int32_t step)
{
    shard->step = step;
    shard->admitted = shard->update_given = false;
    shard->running = shard->done = 0;
    shard->windows = (struct sora_range){0, 0};
    if (step < shard->params.steps)
        shard->windows =
            sora_timeline_shard_windows(&shard->params.timeline, step, shard->params.owned);
    memset(shard->window_states, SORA_WINDOW_TODO,
           (size_t)(shard->windows.end - shard->windows.first));
    shard->checkpoint_given = false;
    shard->checkpoint_due = step > shard->params.resume_step && is_checkpoint_step(shard, step);
    for (int32_t i = 0; i < shard->params.link_count && step < shard->params.steps; i++) {
        struct sora_range out = sora_timeline_halo_latents(
            &shard->params.timeline, step, shard->params.owned, shard->params.links[i].owned);
        if (out.first == out.end)
            shard->links[i].at_due = step; /* no halo says where this shard stands */
    }
}

static int allocate(struct sora_shard *shard)
{
    int32_t most = 0;
    for (int32_t step = 0; step < 2; step++) {
        struct sora_range w =
            sora_timeline_shard_windows(&shard->params.timeline, step, shard->params.owned);
        most = w.end - w.first > most ? w.end - w.first : most;
    }
    shard->window_states = calloc((size_t)most + 1, 1);
    return shard->window_states ? SORA_OK : SORA_E_MEMORY;
}

int sora_shard_create(const struct sora_shard_params *params, struct sora_shard **out_shard,
                      struct sora_fault *fault)
{
    int result = sora_shard_check_params(params, fault);
    if (result)
        return result;
    struct sora_shard *shard = calloc(1, sizeof(*shard));
    if (!shard)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory for a shard");
    shard->params = *params;
    struct sora_shard_params *p = &shard->params;
    p->windows_in_flight_max = p->windows_in_flight_max ? p->windows_in_flight_max : 2;
    p->retry_ns = p->retry_ns > 0 ? p->retry_ns : 2 * SORA_TIME_SECOND;
    p->progress_ns = p->progress_ns > 0 ? p->progress_ns : SORA_TIME_SECOND;
    result = sora_shard_check_halos(shard, fault);
    if (result == SORA_OK && allocate(shard))
        result = sora_fault_set(fault, SORA_E_MEMORY, "no memory for the windows of a shard");
    if (result) {
        sora_shard_destroy(&shard);
        return result;
    }
    shard->prune_due = -1;
    shard->floor = p->resume_step;
    shard->retry_at = shard->resend_at = NEVER;
    sora_shard_links_start(shard, p->resume_step);
    begin_step(shard, p->resume_step);
    *out_shard = shard;
    return SORA_OK;
}

void sora_shard_destroy(struct sora_shard **shard)
{
    if (!*shard)
        return;
    free((*shard)->window_states);
    free(*shard);
    *shard = NULL;
}

/* ---- events ---- */

static int take_window_done(struct sora_shard *shard, const struct sora_shard_event *event)
{
    if (shard->state != SORA_SHARD_RUNNING || event->step != shard->step)
        return SORA_E_STALE;
    if (event->window < shard->windows.first || event->window >= shard->windows.end)
        return SORA_E_INVALID;
    unsigned char *window = &shard->window_states[event->window - shard->windows.first];
    if (*window != SORA_WINDOW_RUNNING)
        return SORA_E_INVALID;
    *window = SORA_WINDOW_DONE;
    shard->running--;
    shard->done++;
    return SORA_OK;
}

static int take_checkpoint(struct sora_shard *shard, const struct sora_shard_event *event)
{
    if (!shard->checkpoint_given || event->step != shard->step)
        return SORA_E_STALE;
    shard->checkpoint_due = shard->checkpoint_given = false;
    SORA_ASSERT(shard->snapshot_count < SORA_SHARD_SNAPSHOTS);
    shard->snapshots[shard->snapshot_count] = event->step;
    shard->snapshot_unsent[shard->snapshot_count++] = true;
    return SORA_OK;
}

static void drop_snapshot(struct sora_shard *shard, int32_t index)
{
    for (int32_t k = index + 1; k < shard->snapshot_count; k++) {
        shard->snapshots[k - 1] = shard->snapshots[k];
        shard->snapshot_unsent[k - 1] = shard->snapshot_unsent[k];
    }
    shard->snapshot_count--;
}

static int take_acked(struct sora_shard *shard, const struct sora_shard_event *event)
{
    for (int32_t i = 0; i < shard->snapshot_count; i++) {
        if (shard->snapshots[i] != event->step)
            continue;
        drop_snapshot(shard, i);
        return SORA_OK;
    }
    return SORA_E_STALE;
}

static int take_floor(struct sora_shard *shard, const struct sora_shard_event *event)
{
    if (event->step > shard->step)
        return SORA_E_INVALID;
    if (event->step <= shard->floor)
        return SORA_OK;
    for (int32_t step = shard->floor; step < event->step; step++)
        shard->kept_bytes -= sora_shard_step_bytes(shard, step);
    shard->floor = shard->prune_due = event->step;
    while (shard->snapshot_count > 0 && shard->snapshots[0] <= shard->floor)
        drop_snapshot(shard, 0); /* durable; the acknowledgement was lost */
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        /* Whoever is behind the floor was replaced, and NEIGHBOUR will say so. */
        struct sora_shard_link_state *link = &shard->links[i];
        if (link->send.step < shard->floor)
            link->send = (struct sora_shard_cursor){shard->floor, 0};
    }
    return SORA_OK;
}

static int take_neighbour(struct sora_shard *shard, const struct sora_shard_event *event)
{
    struct sora_shard_link_state *link = &shard->links[event->link];
    if (event->epoch <= link->link.epoch)
        return event->epoch == link->link.epoch ? SORA_OK : SORA_E_STALE;
    if (event->step < shard->floor || event->step > shard->step)
        return SORA_E_INVALID;
    link->link.epoch = event->epoch;
    link->peer_step = event->step;
    link->heard = false;
    link->send = (struct sora_shard_cursor){event->step, 0};
    /* It does not know where this shard stands. */
    link->at_due = shard->step;
    return SORA_OK;
}

static int take_halo(struct sora_shard *shard, sora_time now, const struct sora_shard_event *event,
                     struct sora_shard_actions *out)
{
    if (event->epoch != shard->links[event->link].link.epoch)
        return SORA_E_STALE;
    int kept = sora_shard_link_receive(shard, event);
    if (kept >= 0)
        sora_shard_link_heard(shard, event->link);
    if (kept <= 0)
        return kept;
    shard->retry_at = now + shard->params.retry_ns;
    out->items[out->count++] = (struct sora_shard_action){.kind = SORA_SHARD_KEEP_HALO,
                                                          .halo = event->halo,
                                                          .link = event->link,
                                                          .step = event->step,
                                                          .window = event->window,
                                                          .range = event->range};
    return SORA_OK;
}

static int take_link_event(struct sora_shard *shard, sora_time now,
                           const struct sora_shard_event *event, struct sora_shard_actions *out)
{
    if (event->link < 0 || event->link >= shard->params.link_count)
        return SORA_E_INVALID;
    if (event->kind == SORA_SHARD_NEIGHBOUR)
        return take_neighbour(shard, event);
    if (event->kind == SORA_SHARD_HALO)
        return take_halo(shard, now, event, out);
    if (event->epoch != shard->links[event->link].link.epoch)
        return SORA_E_STALE;
    if (event->step < 0 || event->step > shard->params.steps)
        return SORA_E_INVALID;
    sora_shard_link_heard(shard, event->link);
    sora_shard_link_at(shard, event);
    return SORA_OK;
}

/* Events about the own work. */
static int take_work_event(struct sora_shard *shard, sora_time now,
                           const struct sora_shard_event *event)
{
    switch (event->kind) {
    case SORA_SHARD_LOADED:
        if (shard->state != SORA_SHARD_LOADING || event->step != shard->step)
            return SORA_E_STALE;
        move(shard, now, SORA_SHARD_RUNNING);
        return SORA_OK;
    case SORA_SHARD_WINDOW_DONE:
        return take_window_done(shard, event);
    case SORA_SHARD_UPDATED:
        if (!shard->update_given || event->step != shard->step)
            return SORA_E_STALE;
        begin_step(shard, shard->step + 1);
        return SORA_OK;
    case SORA_SHARD_CHECKPOINT_TAKEN:
        return take_checkpoint(shard, event);
    case SORA_SHARD_DECODED:
        if (shard->state != SORA_SHARD_DECODING || !shard->decode_given || shard->segment_due)
            return SORA_E_STALE;
        shard->segment_due = true;
        shard->segment_at = now;
        return SORA_OK;
    default:
        stop(shard, now, SORA_E_DEVICE);
        return SORA_OK;
    }
}

/* Events from the home, and time. */
static int take_home_event(struct sora_shard *shard, sora_time now,
                           const struct sora_shard_event *event)
{
    switch (event->kind) {
    case SORA_SHARD_CHECKPOINT_ACKED:
        return take_acked(shard, event);
    case SORA_SHARD_SEGMENT_ACKED:
        if (shard->state != SORA_SHARD_DECODING || !shard->segment_due)
            return SORA_E_STALE;
        shard->segment_due = false;
        move(shard, now, SORA_SHARD_DONE);
        return SORA_OK;
    case SORA_SHARD_FLOOR:
        return take_floor(shard, event);
    case SORA_SHARD_LEASE:
        if (event->until > shard->params.lease_until)
            shard->params.lease_until = event->until;
        return SORA_OK;
    case SORA_SHARD_PARK:
        shard->park = true;
        return SORA_OK;
    case SORA_SHARD_CANCEL:
        stop(shard, now, SORA_E_CANCELLED);
        return SORA_OK;
    default:
        return SORA_OK;
    }
}

/* ---- what follows ---- */

static bool wants_park_here(const struct sora_shard *shard)
{
    return shard->park && shard->step < shard->params.steps &&
           is_checkpoint_step(shard, shard->step);
}

static void settle(struct sora_shard *shard, sora_time now)
{
    if (shard->state != SORA_SHARD_STOPPED && now >= shard->params.lease_until)
        stop(shard, now, SORA_E_TIMEOUT);
    if (shard->state != SORA_SHARD_RUNNING)
        return;
    if (shard->step == shard->params.steps) {
        if (!shard->checkpoint_due)
            move(shard, now, SORA_SHARD_DECODING);
    } else if (!shard->admitted && wants_park_here(shard)) {
        if (!shard->checkpoint_due)
            move(shard, now, SORA_SHARD_PARKED);
    } else if (!shard->admitted) {
        int64_t bytes = sora_shard_step_bytes(shard, shard->step);
        if (shard->kept_bytes + bytes <= shard->params.kept_bytes_max) {
            shard->admitted = true;
            shard->kept_bytes += bytes;
        }
    }
}

/* Asks the links that owe something; repeats a checkpoint that nobody acknowledged. */
static void take_time(struct sora_shard *shard, sora_time now)
{
    if (shard->snapshot_count > 0 && now >= shard->resend_at) {
        shard->snapshot_unsent[0] = true;
        shard->resend_at = now + 2 * shard->params.retry_ns;
    }
    if (!sora_shard_waits(shard)) {
        shard->retry_at = NEVER;
        return;
    }
    if (shard->retry_at == NEVER)
        shard->retry_at = now + shard->params.retry_ns;
    if (now < shard->retry_at)
        return;
    shard->retry_at = now + shard->params.retry_ns;
    struct sora_range inputs = {0, 0};
    if (shard->step < shard->params.steps)
        inputs =
            sora_timeline_shard_inputs(&shard->params.timeline, shard->step, shard->params.owned);
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        bool ready = shard->step == shard->params.steps
                         ? sora_shard_link_final_ready(shard, i)
                         : sora_shard_link_latents_ready(shard, i, inputs) &&
                               sora_shard_link_predictions_ready(shard, i);
        if (ready)
            continue;
        shard->links[i].at_due = shard->step;
        shard->links[i].at_again = true;
    }
}

static int take_event(struct sora_shard *shard, sora_time now, const struct sora_shard_event *event,
                      struct sora_shard_actions *out)
{
    if (event->kind >= SORA_SHARD_LOADED && event->kind <= SORA_SHARD_DEVICE_FAILED)
        return take_work_event(shard, now, event);
    if (event->kind >= SORA_SHARD_HALO && event->kind <= SORA_SHARD_NEIGHBOUR)
        return take_link_event(shard, now, event, out);
    return take_home_event(shard, now, event);
}

int sora_shard_step(struct sora_shard *shard, sora_time now, const struct sora_shard_event *event,
                    struct sora_shard_actions *out_actions)
{
    out_actions->count = 0;
    out_actions->more = false;
    if (out_actions->capacity < SORA_SHARD_ACTIONS_MIN)
        return SORA_E_FULL;
    if (shard->state == SORA_SHARD_STOPPED && event->kind != SORA_SHARD_TICK)
        return SORA_E_STALE;
    int result = take_event(shard, now, event, out_actions);
    if (result)
        return result;
    settle(shard, now);
    take_time(shard, now);
    check_state(shard);
    while (out_actions->count < out_actions->capacity) {
        if (!sora_shard_next_action(shard, now, &out_actions->items[out_actions->count])) {
            take_time(shard, now); /* what was given may have left nothing but waiting */
            return SORA_OK;
        }
        out_actions->count++;
    }
    out_actions->more = true;
    return SORA_OK;
}

sora_time sora_shard_next_deadline(const struct sora_shard *shard)
{
    if (shard->state == SORA_SHARD_STOPPED)
        return NEVER;
    sora_time next = shard->params.lease_until;
    next = shard->progress_at < next ? shard->progress_at : next;
    next = shard->retry_at < next ? shard->retry_at : next;
    if (shard->snapshot_count > 0 && shard->resend_at < next)
        next = shard->resend_at;
    if (shard->segment_due && shard->segment_at < next)
        next = shard->segment_at;
    return next;
}

struct sora_shard_view sora_shard_view(const struct sora_shard *shard)
{
    return (struct sora_shard_view){.state = shard->state,
                                    .step = shard->step,
                                    .windows_done = shard->done,
                                    .windows_count = shard->windows.end - shard->windows.first,
                                    .floor_step = shard->floor,
                                    .kept_bytes = shard->kept_bytes,
                                    .lease_until = shard->params.lease_until,
                                    .waits = sora_shard_waits(shard)};
}

int32_t sora_shard_find_link(const struct sora_shard *shard, int32_t job_shard)
{
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        if (shard->params.links[i].shard == job_shard)
            return i;
    }
    return -1;
}
