/*
 * Links of the shard machine: what travels at a step follows from timeline and ranges alone, so a
 * link is a cursor for what goes out and a few slots for what came in.
 */
#include "node/core/shard_parts.h"

struct sora_range sora_shard_exchange(const struct sora_shard *shard, int32_t step,
                                      struct sora_range runner, struct sora_range owner)
{
    const struct sora_timeline_params *timeline = &shard->params.timeline;
    struct sora_range runs = sora_timeline_shard_windows(timeline, step, runner);
    struct sora_range needs = sora_timeline_shard_covering(timeline, step, owner);
    struct sora_range both = {runs.first > needs.first ? runs.first : needs.first,
                              runs.end < needs.end ? runs.end : needs.end};
    return both.first < both.end ? both : (struct sora_range){0, 0};
}

struct sora_range sora_shard_context(const struct sora_shard *shard, struct sora_range from,
                                     struct sora_range to)
{
    int32_t first = to.first - shard->params.context_latents;
    struct sora_range range = {first > from.first ? first : from.first,
                               to.first < from.end ? to.first : from.end};
    return range.first < range.end ? range : (struct sora_range){0, 0};
}

void sora_shard_links_start(struct sora_shard *shard, int32_t step)
{
    for (int32_t i = 0; i < shard->params.link_count; i++) {
        struct sora_shard_link_state *link = &shard->links[i];
        *link = (struct sora_shard_link_state){.link = shard->params.links[i],
                                               .peer_step = step,
                                               .log = {step, 0},
                                               .send = {step, 0},
                                               .at_due = step};
        for (int32_t k = 0; k < SORA_SHARD_AHEAD; k++)
            link->slots[k].step = -1;
    }
}

static const struct sora_shard_slot *slot_of(const struct sora_shard_link_state *link, int32_t step)
{
    const struct sora_shard_slot *slot = &link->slots[step % SORA_SHARD_AHEAD];
    return slot->step == step ? slot : NULL;
}

/* ---- out ---- */

/* The item under the cursor; false when it cannot be yet or the step has no more (`out_over`). */
static bool item_at(const struct sora_shard *shard, const struct sora_shard_link_state *link,
                    const struct sora_shard_cursor *cursor, struct sora_shard_action *out,
                    bool *out_over)
{
    struct sora_range mine = shard->params.owned, theirs = link->link.owned;
    const struct sora_timeline_params *timeline = &shard->params.timeline;
    int32_t step = cursor->step;
    bool last = step == shard->params.steps;
    out->step = step;
    *out_over = false;
    if (cursor->item == 0) {
        out->halo = last ? SORA_SHARD_FINAL : SORA_SHARD_LATENTS;
        out->range = last ? sora_shard_context(shard, mine, theirs)
                          : sora_timeline_halo_latents(timeline, step, mine, theirs);
        if (out->range.first < out->range.end)
            return true;
    }
    struct sora_range windows = {0, 0};
    if (!last)
        windows = sora_shard_exchange(shard, step, mine, theirs);
    int32_t window = windows.first + (cursor->item > 0 ? cursor->item - 1 : 0);
    *out_over = window >= windows.end;
    if (*out_over || (step == shard->step &&
                      shard->window_states[window - shard->windows.first] != SORA_WINDOW_DONE))
        return false;
    out->halo = SORA_SHARD_PREDICTIONS;
    out->window = window;
    out->range = sora_timeline_halo_predictions(timeline, step, window, theirs);
    return true;
}

/* Takes the item under the cursor and moves it on. */
static bool take_item(const struct sora_shard *shard, const struct sora_shard_link_state *link,
                      struct sora_shard_cursor *cursor, struct sora_shard_action *out)
{
    bool over;
    if (item_at(shard, link, cursor, out, &over)) {
        if (out->halo == SORA_SHARD_PREDICTIONS)
            cursor->item = cursor->item > 0 ? cursor->item + 1 : 2;
        else
            cursor->item = 1;
        return true;
    }
    if (over)
        *cursor = (struct sora_shard_cursor){cursor->step + 1, 0};
    return false;
}

static bool cursor_below(struct sora_shard_cursor a, struct sora_shard_cursor b)
{
    return a.step < b.step || (a.step == b.step && a.item < b.item);
}

bool sora_shard_link_log(struct sora_shard *shard, int32_t index, struct sora_shard_action *out)
{
    struct sora_shard_link_state *link = &shard->links[index];
    int32_t step = link->log.step;
    bool open = shard->admitted || shard->step == shard->params.steps;
    while (step == shard->step && open && step <= shard->params.steps) {
        *out = (struct sora_shard_action){.kind = SORA_SHARD_LOG_HALO, .link = index};
        if (take_item(shard, link, &link->log, out))
            return true;
        if (link->log.step == step)
            return false; /* a window is not done */
        step = link->log.step;
    }
    return false;
}

bool sora_shard_link_send(struct sora_shard *shard, int32_t index, struct sora_shard_action *out)
{
    struct sora_shard_link_state *link = &shard->links[index];
    *out = (struct sora_shard_action){.link = index, .epoch = link->link.epoch};
    if (link->at_due >= 0) {
        out->kind = SORA_SHARD_SEND_AT;
        out->step = link->at_due;
        out->again = link->at_again;
        const struct sora_shard_slot *slot = slot_of(link, link->at_due);
        if (slot)
            out->have = slot->predictions << 1 | slot->latents;
        link->at_due = -1;
        link->at_again = false;
        return true;
    }
    struct sora_shard_cursor peer = {link->peer_step, 0}; /* needs nothing before that */
    if (cursor_below(link->send, peer))
        link->send = cursor_below(peer, link->log) ? peer : link->log;
    while (link->heard && cursor_below(link->send, link->log)) {
        /* Room for final latents is always there. */
        if (link->send.step != shard->params.steps &&
            link->send.step >= link->peer_step + SORA_SHARD_AHEAD)
            return false;
        if (take_item(shard, link, &link->send, out)) {
            out->kind = SORA_SHARD_SEND_HALO;
            return true;
        }
    }
    return false;
}

void sora_shard_link_heard(struct sora_shard *shard, int32_t index)
{
    struct sora_shard_link_state *link = &shard->links[index];
    if (!link->heard && link->at_due < 0)
        link->at_due = shard->step;
    link->heard = true;
}

void sora_shard_link_at(struct sora_shard *shard, const struct sora_shard_event *event)
{
    struct sora_shard_link_state *link = &shard->links[event->link];
    int32_t step = event->step;
    if (step > link->peer_step)
        link->peer_step = step;
    if (!event->again || step < shard->floor)
        return;
    struct sora_shard_cursor from = {step, 0};
    struct sora_shard_action item = {0};
    bool over,
        latents = item_at(shard, link, &from, &item, &over) && item.halo != SORA_SHARD_PREDICTIONS;
    if (!latents || (event->have & 1))
        from.item = 1;
    while (from.item > 0 && from.item < 64 && (event->have >> from.item & 1))
        from.item++;
    if (cursor_below(from, link->send))
        link->send = from;
    else if (shard->state != SORA_SHARD_LOADING && link->at_due < 0)
        link->at_due = shard->step; /* nothing to repeat: say where this shard stands */
}

/* ---- in ---- */

static bool ranges_equal(struct sora_range a, struct sora_range b)
{
    return a.first == b.first && a.end == b.end;
}

static int receive_final(struct sora_shard *shard, struct sora_shard_link_state *link,
                         const struct sora_shard_event *event)
{
    struct sora_range expected = sora_shard_context(shard, link->link.owned, shard->params.owned);
    if (event->step != shard->params.steps || expected.first == expected.end ||
        !ranges_equal(expected, event->range))
        return SORA_E_INVALID;
    int fresh = !link->final_received;
    link->final_received = true;
    return fresh;
}

static int receive_latents(struct sora_shard *shard, struct sora_shard_link_state *link,
                           struct sora_shard_slot *slot, const struct sora_shard_event *event)
{
    struct sora_range expected = sora_timeline_halo_latents(&shard->params.timeline, event->step,
                                                            link->link.owned, shard->params.owned);
    if (expected.first == expected.end || !ranges_equal(expected, event->range))
        return SORA_E_INVALID;
    int fresh = !slot->latents;
    slot->latents = true;
    return fresh;
}

static int receive_predictions(struct sora_shard *shard, struct sora_shard_link_state *link,
                               struct sora_shard_slot *slot, const struct sora_shard_event *event)
{
    struct sora_range windows =
        sora_shard_exchange(shard, event->step, link->link.owned, shard->params.owned);
    if (event->window < windows.first || event->window >= windows.end)
        return SORA_E_INVALID;
    struct sora_range expected = sora_timeline_halo_predictions(
        &shard->params.timeline, event->step, event->window, shard->params.owned);
    if (!ranges_equal(expected, event->range))
        return SORA_E_INVALID;
    uint64_t bit = (uint64_t)1 << (event->window - windows.first);
    int fresh = !(slot->predictions & bit);
    slot->predictions |= bit;
    return fresh;
}

int sora_shard_link_receive(struct sora_shard *shard, const struct sora_shard_event *event)
{
    struct sora_shard_link_state *link = &shard->links[event->link];
    if (event->halo == SORA_SHARD_FINAL)
        return receive_final(shard, link, event);
    if (event->step < 0 || event->step >= shard->params.steps ||
        event->step >= shard->step + SORA_SHARD_AHEAD)
        return SORA_E_INVALID;
    if (event->step > link->peer_step)
        link->peer_step = event->step;
    if (event->step < shard->step)
        return 0; /* a repetition of what is over */
    struct sora_shard_slot fresh = {.step = event->step};
    struct sora_shard_slot *slot = &link->slots[event->step % SORA_SHARD_AHEAD];
    if (slot->step == event->step)
        fresh = *slot;
    int kept = event->halo == SORA_SHARD_LATENTS ? receive_latents(shard, link, &fresh, event)
                                                 : receive_predictions(shard, link, &fresh, event);
    if (kept > 0)
        *slot = fresh;
    return kept;
}

bool sora_shard_link_latents_ready(const struct sora_shard *shard, int32_t index,
                                   struct sora_range span)
{
    const struct sora_shard_link_state *link = &shard->links[index];
    struct sora_range owned = link->link.owned;
    if (span.end <= owned.first || owned.end <= span.first)
        return true;
    const struct sora_shard_slot *slot = slot_of(link, shard->step);
    return slot && slot->latents;
}

bool sora_shard_link_predictions_ready(const struct sora_shard *shard, int32_t index)
{
    const struct sora_shard_link_state *link = &shard->links[index];
    struct sora_range windows =
        sora_shard_exchange(shard, shard->step, link->link.owned, shard->params.owned);
    int32_t count = windows.end - windows.first;
    if (count == 0)
        return true;
    const struct sora_shard_slot *slot = slot_of(link, shard->step);
    uint64_t all = count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1;
    return slot && slot->predictions == all;
}

bool sora_shard_link_final_ready(const struct sora_shard *shard, int32_t index)
{
    const struct sora_shard_link_state *link = &shard->links[index];
    struct sora_range needed = sora_shard_context(shard, link->link.owned, shard->params.owned);
    return needed.first == needed.end || link->final_received ||
           shard->params.resume_step == shard->params.steps;
}
