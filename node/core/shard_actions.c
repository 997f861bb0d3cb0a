/*
 * What a shard does next: one action after another is read off the state, links before checkpoints,
 * checkpoints before work. Giving an action is all that changes the state here.
 */
#include "node/core/shard_parts.h"

static bool all_final_ready(const struct sora_shard *shard)
{
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        if (!sora_shard_link_final_ready(shard, i))
            return false;
    }
    return true;
}

static bool window_is_ready(const struct sora_shard *shard, int32_t window)
{
    struct sora_window w = sora_timeline_window(&shard->params.timeline, shard->step, window);
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        if (!sora_shard_link_latents_ready(shard, i,
                                           (struct sora_range){w.start, w.start + w.length}))
            return false;
    }
    return true;
}

static bool window_is_shared(const struct sora_shard *shard, int32_t window)
{
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        struct sora_range w = sora_shard_exchange(shard, shard->step, shard->params.owned,
                                                  shard->params.links[i].owned);
        if (window >= w.first && window < w.end)
            return true;
    }
    return false;
}

/* The next window to run, -1 for none now: those that others wait for come first. */
static int32_t next_window(const struct sora_shard *shard)
{
    int32_t found = -1;
    for (int32_t w = shard->windows.first; w < shard->windows.end; w++) {
        if (shard->window_states[w - shard->windows.first] != SORA_WINDOW_TODO)
            continue;
        bool shared = window_is_shared(shard, w);
        if ((found < 0 || shared) && window_is_ready(shard, w)) {
            if (shared)
                return w;
            found = w;
        }
    }
    return found;
}

static bool update_is_ready(const struct sora_shard *shard)
{
    if (shard->update_given || shard->checkpoint_due ||
        shard->done < shard->windows.end - shard->windows.first)
        return false;
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        if (!sora_shard_link_predictions_ready(shard, i) || shard->links[i].log.step <= shard->step)
            return false;
    }
    return true;
}

static bool next_run_action(struct sora_shard *shard, struct sora_shard_action *out)
{
    if (shard->state != SORA_SHARD_RUNNING || !shard->admitted)
        return false;
    if (shard->running < shard->params.windows_in_flight_max) {
        int32_t window = next_window(shard);
        if (window >= 0) {
            shard->window_states[window - shard->windows.first] = SORA_WINDOW_RUNNING;
            shard->running++;
            *out = (struct sora_shard_action){
                .kind = SORA_SHARD_RUN_WINDOW, .step = shard->step, .window = window};
            return true;
        }
    }
    if (!update_is_ready(shard))
        return false;
    shard->update_given = true;
    *out = (struct sora_shard_action){.kind = SORA_SHARD_UPDATE, .step = shard->step};
    return true;
}

static bool next_checkpoint_action(struct sora_shard *shard, sora_time now,
                                   struct sora_shard_action *out)
{
    if (shard->state == SORA_SHARD_RUNNING && shard->checkpoint_due && !shard->checkpoint_given &&
        shard->snapshot_count < SORA_SHARD_SNAPSHOTS) {
        shard->checkpoint_given = true;
        *out = (struct sora_shard_action){.kind = SORA_SHARD_TAKE_CHECKPOINT, .step = shard->step};
        return true;
    }
    for (int32_t i = 0; i < shard->snapshot_count; i++) {
        if (!shard->snapshot_unsent[i])
            continue;
        shard->snapshot_unsent[i] = false;
        shard->resend_at = now + 2 * shard->params.retry_ns;
        *out = (struct sora_shard_action){.kind = SORA_SHARD_SEND_CHECKPOINT,
                                          .step = shard->snapshots[i]};
        return true;
    }
    return false;
}

static bool next_link_action(struct sora_shard *shard, struct sora_shard_action *out)
{
    if (shard->state == SORA_SHARD_LOADING)
        return false;
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        if (sora_shard_link_log(shard, i, out) || sora_shard_link_send(shard, i, out))
            return true;
    }
    return false;
}

static bool next_decode_action(struct sora_shard *shard, sora_time now,
                               struct sora_shard_action *out)
{
    if (shard->state != SORA_SHARD_DECODING)
        return false;
    if (!shard->decode_given && all_final_ready(shard)) {
        shard->decode_given = true;
        int32_t first = shard->params.owned.first - shard->params.context_latents;
        *out = (struct sora_shard_action){.kind = SORA_SHARD_DECODE,
                                          .range = shard->params.owned,
                                          .window = first > 0 ? first : 0};
        return true;
    }
    if (shard->segment_due && now >= shard->segment_at) {
        shard->segment_at = now + 2 * shard->params.retry_ns;
        *out = (struct sora_shard_action){.kind = SORA_SHARD_SEND_SEGMENT};
        return true;
    }
    return false;
}

static bool next_report_action(struct sora_shard *shard, sora_time now,
                               struct sora_shard_action *out)
{
    if (shard->prune_due >= 0) {
        *out = (struct sora_shard_action){.kind = SORA_SHARD_PRUNE, .step = shard->prune_due};
        shard->prune_due = -1;
        return true;
    }
    if (now < shard->progress_at)
        return false;
    shard->progress_at = now + shard->params.progress_ns;
    *out = (struct sora_shard_action){
        .kind = SORA_SHARD_PROGRESS, .step = shard->step, .window = shard->done};
    return true;
}

bool sora_shard_next_action(struct sora_shard *shard, sora_time now, struct sora_shard_action *out)
{
    if (shard->state == SORA_SHARD_STOPPED) {
        bool due = shard->stop_due;
        shard->stop_due = false;
        *out = (struct sora_shard_action){.kind = SORA_SHARD_STOP, .code = shard->stop_code};
        return due;
    }
    if (shard->state == SORA_SHARD_LOADING && !shard->load_given) {
        shard->load_given = true;
        *out = (struct sora_shard_action){.kind = SORA_SHARD_LOAD, .step = shard->step};
        return true;
    }
    return next_link_action(shard, out) || next_checkpoint_action(shard, now, out) ||
           next_run_action(shard, out) || next_decode_action(shard, now, out) ||
           next_report_action(shard, now, out);
}

bool sora_shard_waits(const struct sora_shard *shard)
{
    if (shard->state == SORA_SHARD_DECODING)
        return !shard->decode_given && !all_final_ready(shard);
    return shard->state == SORA_SHARD_RUNNING && shard->admitted && shard->running == 0 &&
           !shard->update_given && !shard->checkpoint_due;
}
