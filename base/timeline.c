/*
 * Window arithmetic. The starts of a step are 0, then base + j*stride for as long as they lie below
 * the last start T-L, then T-L: all queries reduce to how many starts lie below a value.
 */
#include "base/timeline.h"

#include <stddef.h>

#define WINDOW_LATENTS_MAX 1024

int sora_timeline_check(const struct sora_timeline_params *params, struct sora_fault *fault)
{
    if (params->latent_count < 1 || params->latent_count > SORA_TIMELINE_LATENTS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "a timeline of %d latents is outside 1..%d: change its length",
                              params->latent_count, SORA_TIMELINE_LATENTS_MAX);
    if (params->window_latents < 3 || params->window_latents > WINDOW_LATENTS_MAX)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "a window of %d latents is outside 3..%d: change the window length",
                              params->window_latents, WINDOW_LATENTS_MAX);
    if (params->overlap_latents < 1 || params->overlap_latents > params->window_latents - 2)
        return sora_fault_set(fault, SORA_E_INVALID,
                              "an overlap of %d latents is outside 1..%d for windows of %d: change "
                              "the overlap",
                              params->overlap_latents, params->window_latents - 2,
                              params->window_latents);
    return SORA_OK;
}

/* The starts of one step. */
struct starts {
    int32_t last;   /* T-L; 0 when one window holds everything */
    int32_t base;   /* the first start between 0 and last, if below last */
    int32_t stride; /* L-1-O */
    int32_t middle; /* how many starts lie strictly between 0 and last */
};

static int32_t ceil_divide(int32_t value, int32_t divisor)
{
    return value <= 0 ? 0 : (value + divisor - 1) / divisor;
}

static struct starts starts_of(const struct sora_timeline_params *params, int32_t step)
{
    struct starts s = {.stride = params->window_latents - 1 - params->overlap_latents};
    s.base = s.stride;
    if ((step & 1) && !params->static_phase && s.stride > 1)
        s.base = s.stride / 2;
    s.last = params->latent_count - params->window_latents;
    if (s.last < 0)
        s.last = 0;
    s.middle = ceil_divide(s.last - s.base, s.stride);
    return s;
}

/* How many windows start below `value`. */
static int32_t starts_below(const struct starts *s, int32_t value)
{
    int32_t count = value > 0;
    int32_t middle = ceil_divide(value - s->base, s->stride);
    count += middle < s->middle ? middle : s->middle;
    return count + (s->last > 0 && value > s->last);
}

int32_t sora_timeline_window_count(const struct sora_timeline_params *params, int32_t step)
{
    struct starts s = starts_of(params, step);
    return 1 + s.middle + (s.last > 0);
}

struct sora_window sora_timeline_window(const struct sora_timeline_params *params, int32_t step,
                                        int32_t index)
{
    struct starts s = starts_of(params, step);
    SORA_ASSERT(index >= 0 && index <= s.middle + (s.last > 0));
    struct sora_window window = {.length = params->window_latents};
    if (params->latent_count < window.length)
        window.length = params->latent_count;
    if (index > s.middle)
        window.start = s.last;
    else if (index > 0)
        window.start = s.base + (index - 1) * s.stride;
    window.payload_start = window.start + (window.start > 0);
    window.payload_end = window.start + window.length;
    return window;
}

void sora_timeline_covering(const struct sora_timeline_params *params, int32_t step, int32_t latent,
                            int32_t *out_first, int32_t *out_end)
{
    SORA_ASSERT(latent >= 0 && latent < params->latent_count);
    struct starts s = starts_of(params, step);
    /* Covered by starts in (latent-L, latent-1], and latent 0 by the window at 0. */
    int32_t first = starts_below(&s, latent - params->window_latents + 1);
    int32_t end = starts_below(&s, latent);
    *out_first = first;
    *out_end = end > 0 ? end : 1;
}

static float window_weight(const struct sora_timeline_params *params,
                           const struct sora_window *window, int32_t latent)
{
    if (latent < window->payload_start || latent >= window->payload_end)
        return 0.0f;
    int32_t whole = params->overlap_latents + 1;
    int32_t rise = window->payload_start > 0 ? latent - window->payload_start + 1 : whole;
    int32_t fall =
        window->payload_end < params->latent_count ? window->payload_end - latent : whole;
    int32_t height = rise < fall ? rise : fall;
    return height < whole ? (float)height / (float)whole : 1.0f;
}

float sora_timeline_weight(const struct sora_timeline_params *params, int32_t step, int32_t index,
                           int32_t latent)
{
    struct sora_window window = sora_timeline_window(params, step, index);
    return window_weight(params, &window, latent);
}

float sora_timeline_share(const struct sora_timeline_params *params, int32_t step, int32_t index,
                          int32_t latent)
{
    int32_t first, end;
    sora_timeline_covering(params, step, latent, &first, &end);
    if (index < first || index >= end)
        return 0.0f;
    float sum = 0.0f, own = 0.0f;
    for (int32_t i = first; i < end; i++) {
        float weight = sora_timeline_weight(params, step, i, latent);
        sum += weight;
        if (i == index)
            own = weight;
    }
    return own / sum;
}

int32_t sora_timeline_window_centre(const struct sora_window *window)
{
    return window->payload_start + (window->payload_end - window->payload_start) / 2;
}

/* ---- shards ---- */

/* The first window whose centre is not below `latent`. Centres ascend, so bisect. */
static int32_t first_window_from(const struct sora_timeline_params *params, int32_t step,
                                 int32_t latent)
{
    int32_t low = 0, high = sora_timeline_window_count(params, step);
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        struct sora_window window = sora_timeline_window(params, step, middle);
        if (sora_timeline_window_centre(&window) < latent)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct sora_range range_overlap(struct sora_range a, struct sora_range b)
{
    struct sora_range range = {a.first > b.first ? a.first : b.first,
                               a.end < b.end ? a.end : b.end};
    if (range.end <= range.first)
        range = (struct sora_range){0, 0};
    return range;
}

static void shard_assert(const struct sora_timeline_params *params, struct sora_range shard)
{
    SORA_ASSERT(shard.first >= 0);
    SORA_ASSERT(shard.end > shard.first);
    SORA_ASSERT(shard.end <= params->latent_count);
}

struct sora_range sora_timeline_shard_windows(const struct sora_timeline_params *params,
                                              int32_t step, struct sora_range shard)
{
    shard_assert(params, shard);
    return (struct sora_range){first_window_from(params, step, shard.first),
                               first_window_from(params, step, shard.end)};
}

struct sora_range sora_timeline_shard_covering(const struct sora_timeline_params *params,
                                               int32_t step, struct sora_range shard)
{
    shard_assert(params, shard);
    struct sora_range windows;
    int32_t unused;
    sora_timeline_covering(params, step, shard.first, &windows.first, &unused);
    sora_timeline_covering(params, step, shard.end - 1, &unused, &windows.end);
    return windows;
}

struct sora_range sora_timeline_shard_inputs(const struct sora_timeline_params *params,
                                             int32_t step, struct sora_range shard)
{
    struct sora_range windows = sora_timeline_shard_windows(params, step, shard);
    if (windows.first == windows.end)
        return (struct sora_range){0, 0};
    struct sora_window low = sora_timeline_window(params, step, windows.first);
    struct sora_window high = sora_timeline_window(params, step, windows.end - 1);
    return (struct sora_range){low.start, high.start + high.length};
}

struct sora_range sora_timeline_halo_latents(const struct sora_timeline_params *params,
                                             int32_t step, struct sora_range owner,
                                             struct sora_range reader)
{
    shard_assert(params, owner);
    return range_overlap(sora_timeline_shard_inputs(params, step, reader), owner);
}

struct sora_range sora_timeline_halo_predictions(const struct sora_timeline_params *params,
                                                 int32_t step, int32_t window,
                                                 struct sora_range owner)
{
    shard_assert(params, owner);
    struct sora_window w = sora_timeline_window(params, step, window);
    return range_overlap((struct sora_range){w.payload_start, w.payload_end}, owner);
}
