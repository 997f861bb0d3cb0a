/*
 * The dynamic program. best[d][p] is the smallest largest-cost with which the first d devices can
 * cover the timeline up to cut p; device d either takes (q, p] for some q, or nothing.
 */
#include "scheduler/core/plan.h"

#include <stdlib.h>
#include <string.h>

#define CUTS_MAX 257 /* both ends of the timeline included */
#define NEVER INT64_MAX
#define LINK_BYTES_PER_S_GUESS 50000000
#define LINK_BYTES_PER_S_MIN 1000
#define LINK_LATENCY_US 500
/* Decoding from the middle costs about this part of its context (model/vae.h, decoder_begin). */
#define CONTEXT_SHARE 10
/* Classes are mixed for a job that ends this part sooner: a smaller gain is not worth a result that
 * depends on who rendered what. */
#define MIXED_GAIN 10

int32_t sora_plan_shard_latents_min(const struct sora_timeline_params *timeline)
{
    return timeline->window_latents / 2 + 2;
}

/* ---- cost of one shard ---- */

static int32_t window_count(const struct sora_plan_job *job, int32_t step, struct sora_range range)
{
    struct sora_range w = sora_timeline_shard_windows(&job->timeline, step, range);
    return w.end - w.first;
}

/* Latents that cross one inner border at an even and an odd step, both ways, at most. */
static int64_t border_latents(const struct sora_plan_job *job)
{
    int64_t even = 2 * (int64_t)job->timeline.overlap_latents + 1;
    int64_t odd = 2 * (int64_t)job->timeline.window_latents;
    return even + (odd > even ? odd : even);
}

static int32_t border_count(const struct sora_plan_job *job, struct sora_range range)
{
    return (range.first > 0) + (range.end < job->timeline.latent_count);
}

static int64_t window_us(const struct sora_plan_job *job, const struct sora_plan_device *device)
{
    if (device->window_us > 0)
        return device->window_us;
    int64_t guess = job->window_us_guess > 0 ? job->window_us_guess : 1000000;
    return device->is_card ? guess / SORA_PLAN_CARD_FASTER + 1 : guess;
}

static int64_t decode_us(const struct sora_plan_job *job, const struct sora_plan_device *device)
{
    if (device->decode_us > 0 || device->window_us > 0)
        return device->decode_us;
    return device->is_card ? job->decode_us_guess / SORA_PLAN_CARD_FASTER : job->decode_us_guess;
}

/* Microseconds of an even and the following odd step together, in which `windows` are run. */
static int64_t two_steps_us(const struct sora_plan_job *job, const struct sora_plan_device *device,
                            struct sora_range range, int32_t windows)
{
    int64_t rate = device->link_bytes_per_s ? device->link_bytes_per_s : LINK_BYTES_PER_S_GUESS;
    rate = rate < LINK_BYTES_PER_S_MIN ? LINK_BYTES_PER_S_MIN : rate;
    int64_t bytes = border_latents(job) * job->halo_latent_bytes;
    int64_t halo_us = bytes / rate * 1000000 + bytes % rate * 1000000 / rate + 2 * LINK_LATENCY_US;
    return windows * window_us(job, device) + border_count(job, range) * halo_us;
}

static int64_t whole_cost_us(const struct sora_plan_job *job, const struct sora_plan_device *device,
                             struct sora_range range, int32_t windows)
{
    int32_t context = range.first < job->context_latents ? range.first : job->context_latents;
    context = context / CONTEXT_SHARE + (context > 0);
    int64_t decode = (range.end - range.first + context) * decode_us(job, device);
    return two_steps_us(job, device, range, windows) * (job->steps - job->first_step) / 2 + decode;
}

int64_t sora_plan_cost_us(const struct sora_plan_job *job, const struct sora_plan_device *device,
                          struct sora_range range)
{
    return whole_cost_us(job, device, range,
                         window_count(job, 0, range) + window_count(job, 1, range));
}

static int64_t fixed_bytes(const struct sora_plan_job *job, const struct sora_plan_device *device)
{
    bool as_card = device->is_card && job->memory_card_bytes > 0;
    if (device->is_int8 && job->memory_int8_bytes > 0)
        return job->memory_int8_bytes;
    return as_card ? job->memory_card_bytes : job->memory_fixed_bytes;
}

int64_t sora_plan_memory_bytes(const struct sora_plan_job *job,
                               const struct sora_plan_device *device, int32_t latents)
{
    return fixed_bytes(job, device) + latents * job->memory_latent_bytes;
}

bool sora_plan_fits(const struct sora_plan_job *job, const struct sora_plan_device *device,
                    struct sora_range range)
{
    int64_t left = device->memory_free_bytes - fixed_bytes(job, device);
    return left >= 0 && (job->memory_latent_bytes == 0 ||
                         left / job->memory_latent_bytes >= range.end - range.first);
}

/* Of a shard that the job can be cut into. */
static int32_t least_latents(const struct sora_timeline_params *timeline)
{
    int32_t least = sora_plan_shard_latents_min(timeline);
    return least < timeline->latent_count ? least : timeline->latent_count;
}

bool sora_plan_wants_int8(const struct sora_plan_job *job, int64_t memory_bytes)
{
    const struct sora_plan_device card = {.is_card = true, .memory_free_bytes = memory_bytes};
    return job->memory_int8_bytes > 0 &&
           !sora_plan_fits(job, &card, (struct sora_range){0, least_latents(&job->timeline)});
}

/* ---- where to cut ---- */

/* Fills `cuts` with 0, middles of overlaps of even windows, T; thinned out to CUTS_MAX. */
static int32_t find_cuts(const struct sora_plan_job *job, int32_t *cuts)
{
    const struct sora_timeline_params *timeline = &job->timeline;
    int32_t windows = sora_timeline_window_count(timeline, 0);
    int32_t every = 1 + (windows - 1) / (CUTS_MAX - 1);
    int32_t count = 1;
    cuts[0] = 0;
    for (int32_t w = every; w < windows; w += every) {
        struct sora_window left = sora_timeline_window(timeline, 0, w - 1);
        struct sora_window right = sora_timeline_window(timeline, 0, w);
        cuts[count++] = (right.payload_start + left.payload_end) / 2;
    }
    cuts[count++] = timeline->latent_count;
    return count;
}

struct search {
    const struct sora_plan_job *job;
    const struct sora_plan_device *devices;
    int32_t order[SORA_PLAN_DEVICES_MAX], order_count; /* of one class or all, fastest first */
    int32_t cuts[CUTS_MAX], cut_count;
    int32_t windows_before[CUTS_MAX]; /* of an even and an odd step, run by owners before the cut */
    int64_t best[SORA_PLAN_DEVICES_MAX + 1][CUTS_MAX];
    int16_t shards[SORA_PLAN_DEVICES_MAX + 1][CUTS_MAX];
    int16_t from[SORA_PLAN_DEVICES_MAX + 1][CUTS_MAX]; /* -1: the device takes nothing */
};

static int64_t cost(const struct search *s, int32_t d, int32_t q, int32_t p)
{
    struct sora_range range = {s->cuts[q], s->cuts[p]};
    const struct sora_plan_device *device = &s->devices[s->order[d]];
    bool whole = range.first == 0 && range.end == s->job->timeline.latent_count;
    if (!whole && range.end - range.first < sora_plan_shard_latents_min(&s->job->timeline))
        return NEVER;
    return sora_plan_fits(s->job, device, range)
               ? whole_cost_us(s->job, device, range, s->windows_before[p] - s->windows_before[q])
               : NEVER;
}

static void fill_cell(struct search *s, int32_t d, int32_t p)
{
    int64_t best = s->best[d][p];
    int16_t shards = s->shards[d][p], from = -1;
    for (int32_t q = 0; q < p; q++) {
        if (s->best[d][q] == NEVER || s->shards[d][q] >= SORA_PLAN_SHARDS_MAX)
            continue;
        int64_t own = cost(s, d, q, p);
        if (own == NEVER)
            continue;
        int64_t all = own > s->best[d][q] ? own : s->best[d][q];
        int16_t used = (int16_t)(s->shards[d][q] + 1);
        if (all < best || (all == best && used < shards)) {
            best = all;
            shards = used;
            from = (int16_t)q;
        }
    }
    s->best[d + 1][p] = best;
    s->shards[d + 1][p] = shards;
    s->from[d + 1][p] = from;
}

static void run_search(struct search *s)
{
    for (int32_t p = 0; p < s->cut_count; p++) {
        s->best[0][p] = p == 0 ? 0 : NEVER;
        s->shards[0][p] = 0;
    }
    for (int32_t d = 0; d < s->order_count; d++) {
        for (int32_t p = 0; p < s->cut_count; p++)
            fill_cell(s, d, p);
    }
}

/* ---- from the search to the plan ---- */

static int64_t shard_halo_bytes(const struct sora_plan_job *job, struct sora_range own)
{
    const struct sora_timeline_params *timeline = &job->timeline;
    struct sora_range sides[2] = {{0, own.first}, {own.end, timeline->latent_count}};
    int64_t latents = 0;
    for (int32_t i = 0; i < 2; i++) {
        if (sides[i].first == sides[i].end)
            continue;
        for (int32_t step = 0; step < 2; step++) {
            struct sora_range out = sora_timeline_halo_latents(timeline, step, own, sides[i]);
            latents += out.end - out.first;
            struct sora_range w = sora_timeline_shard_windows(timeline, step, own);
            for (int32_t k = w.first; k < w.end; k++) {
                out = sora_timeline_halo_predictions(timeline, step, k, sides[i]);
                latents += out.end - out.first;
            }
        }
    }
    return latents * job->halo_latent_bytes;
}

static void fill_shard(const struct search *s, int32_t d, struct sora_range range,
                       struct sora_plan_shard *out)
{
    const struct sora_plan_device *device = &s->devices[s->order[d]];
    *out = (struct sora_plan_shard){.latents = range,
                                    .device = s->order[d],
                                    .windows_even = window_count(s->job, 0, range),
                                    .windows_odd = window_count(s->job, 1, range),
                                    .cost_us = sora_plan_cost_us(s->job, device, range),
                                    .halo_bytes = shard_halo_bytes(s->job, range)};
    out->step_us = two_steps_us(s->job, device, range, out->windows_even + out->windows_odd) / 2;
}

/* Walks back from the end of the timeline. False when it cannot be covered. */
static bool take_plan(const struct search *s, struct sora_plan *plan)
{
    int32_t p = s->cut_count - 1;
    if (s->best[s->order_count][p] == NEVER)
        return false;
    plan->shard_count = s->shards[s->order_count][p];
    int32_t k = plan->shard_count;
    int64_t decode = 0;
    for (int32_t d = s->order_count; d > 0; d--) {
        int32_t q = s->from[d][p];
        if (q < 0)
            continue;
        struct sora_plan_shard *shard = &plan->shards[--k];
        fill_shard(s, d - 1, (struct sora_range){s->cuts[q], s->cuts[p]}, shard);
        plan->step_us = shard->step_us > plan->step_us ? shard->step_us : plan->step_us;
        int64_t own = shard->cost_us - shard->step_us * (s->job->steps - s->job->first_step);
        decode = own > decode ? own : decode;
        plan->left_out[shard->device] = SORA_PLAN_USED;
        uint64_t device_class = s->devices[shard->device].device_class;
        if (k == plan->shard_count - 1)
            plan->device_class = device_class;
        else if (plan->device_class != device_class)
            plan->device_class = 0;
        p = q;
    }
    SORA_ASSERT(k == 0 && p == 0);
    plan->finish_us = plan->step_us * (s->job->steps - s->job->first_step) + decode;
    return true;
}

/* Devices of one class, or of all (0), that hold the smallest shard, fastest first, then by index.
 */
static void order_devices(struct search *s, int32_t count, uint64_t device_class)
{
    s->order_count = 0;
    int32_t least = least_latents(&s->job->timeline);
    for (int32_t i = 0; i < count; i++) {
        const struct sora_plan_device *device = &s->devices[i];
        if ((device_class && device->device_class != device_class) ||
            !sora_plan_fits(s->job, device, (struct sora_range){0, least}))
            continue;
        int32_t at = s->order_count++;
        while (at > 0 &&
               window_us(s->job, &s->devices[s->order[at - 1]]) > window_us(s->job, device)) {
            s->order[at] = s->order[at - 1];
            at--;
        }
        s->order[at] = i;
    }
}

static void explain_left_out(const struct sora_plan_job *job,
                             const struct sora_plan_device *devices, int32_t count,
                             struct sora_plan *plan)
{
    int32_t least = least_latents(&job->timeline);
    for (int32_t i = 0; i < count; i++) {
        if (plan->left_out[i] == SORA_PLAN_USED)
            continue;
        plan->left_out[i] = SORA_PLAN_TOO_SLOW;
        if (plan->device_class && devices[i].device_class != plan->device_class)
            plan->left_out[i] = SORA_PLAN_OTHER_CLASS;
        else if (!sora_plan_fits(job, &devices[i], (struct sora_range){0, least}))
            plan->left_out[i] = SORA_PLAN_NO_MEMORY;
    }
}

/* The device of a kind with the most free memory; -1 when there is none. */
static int32_t largest_of(const struct sora_plan_job *job, const struct sora_plan_device *devices,
                          int32_t count, bool is_card)
{
    int32_t largest = -1;
    for (int32_t i = 0; i < count; i++) {
        if ((job->device_class && devices[i].device_class != job->device_class) ||
            devices[i].is_card != is_card)
            continue;
        if (largest < 0 || devices[i].memory_free_bytes > devices[largest].memory_free_bytes)
            largest = i;
    }
    return largest;
}

/* "needs 6.1 GB, largest free is 4.0 GB on brook/gpu0", for each kind of device that is there. */
static int too_small(const struct sora_plan_job *job, const struct sora_plan_device *devices,
                     const int32_t largest[2], int32_t latents, const char *share, int code,
                     struct sora_fault *fault)
{
    struct sora_bytes words;
    sora_bytes_init(&words, SORA_FAULT_TEXT_SIZE - 1);
    for (int kind = 0; kind < 2; kind++) {
        if (largest[kind] < 0)
            continue;
        const struct sora_plan_device *device = &devices[largest[kind]];
        const char *who = largest[!kind] < 0 ? "" : (kind ? "; a card " : "a CPU ");
        char needed[SORA_PLAN_TEXT_SIZE], free_text[SORA_PLAN_TEXT_SIZE];
        sora_plan_bytes_text(sora_plan_memory_bytes(job, device, latents), needed);
        sora_plan_bytes_text(device->memory_free_bytes, free_text);
        sora_bytes_format(&words, "%sneeds %s%s largest free is %s on %s", who, needed, share,
                          free_text, device->name);
    }
    sora_fault_set(fault, code, "%.*s", (int)words.size, (const char *)words.data);
    sora_bytes_fini(&words);
    return code;
}

/* Why nobody can take part, in the words of a waiting job. */
static int nobody(const struct sora_plan_job *job, const struct sora_plan_device *devices,
                  int32_t count, struct sora_fault *fault)
{
    const int32_t largest[2] = {largest_of(job, devices, count, false),
                                largest_of(job, devices, count, true)};
    if (count == 0)
        return sora_fault_set(fault, SORA_E_NOT_FOUND, "no device is free");
    if (largest[0] < 0 && largest[1] < 0)
        return sora_fault_set(fault, SORA_E_NOT_FOUND,
                              "the job began on another class of device, and none of that class "
                              "is free");
    struct sora_range least = {0, sora_plan_shard_latents_min(&job->timeline)};
    if (least.end > job->timeline.latent_count)
        least.end = job->timeline.latent_count;
    for (int kind = 0; kind < 2; kind++) {
        if (largest[kind] >= 0 && sora_plan_fits(job, &devices[largest[kind]], least))
            return too_small(job, devices, largest, job->timeline.latent_count,
                             " on one device, or more devices to share it;", SORA_E_LIMIT, fault);
    }
    return too_small(job, devices, largest, least.end, ",", SORA_E_NOT_FOUND, fault);
}

static int check_job(const struct sora_plan_job *job, int32_t count, struct sora_fault *fault)
{
    int result = sora_timeline_check(&job->timeline, fault);
    if (result)
        return result;
    if (job->steps < 1 || job->steps > 1000 || job->first_step < 0 ||
        job->first_step > job->steps || job->context_latents < 0 || job->memory_fixed_bytes < 0 ||
        job->memory_latent_bytes < 0 || job->halo_latent_bytes < 0 || count < 0 ||
        count > SORA_PLAN_DEVICES_MAX)
        return sora_fault_set(fault, SORA_E_INVALID, "a number of the job is out of range");
    return SORA_OK;
}

/* The best plan with devices of one class, or of all (0). */
static bool search_class(struct search *s, int32_t count, uint64_t device_class,
                         struct sora_plan *out_plan)
{
    *out_plan = (struct sora_plan){0};
    memset(out_plan->left_out, 0xff, sizeof(out_plan->left_out));
    order_devices(s, count, device_class);
    run_search(s);
    return s->order_count > 0 && take_plan(s, out_plan);
}

/* Every class, then all of them together. */
static bool search_all(struct search *s, int32_t count, struct sora_plan *out_plan)
{
    bool found = false;
    int32_t classes = 0;
    struct sora_plan plan;
    for (int32_t i = 0; i < count; i++) {
        uint64_t device_class = s->devices[i].device_class;
        bool seen = s->job->device_class && s->job->device_class != device_class;
        for (int32_t k = 0; k < i; k++)
            seen |= s->devices[k].device_class == device_class;
        classes += !seen;
        if (seen || !search_class(s, count, device_class, &plan))
            continue;
        if (!found || plan.finish_us < out_plan->finish_us ||
            (plan.finish_us == out_plan->finish_us && device_class < out_plan->device_class))
            *out_plan = plan;
        found = true;
    }
    if (classes < 2 || !search_class(s, count, 0, &plan))
        return found;
    if (!found || plan.finish_us < out_plan->finish_us - out_plan->finish_us / MIXED_GAIN)
        *out_plan = plan;
    return true;
}

int sora_plan_make(const struct sora_plan_job *job, const struct sora_plan_device *devices,
                   int32_t count, struct sora_plan *out_plan, struct sora_fault *fault)
{
    int result = check_job(job, count, fault);
    if (result)
        return result;
    struct search *s = malloc(sizeof(*s));
    if (!s)
        return sora_fault_set(fault, SORA_E_MEMORY, "no memory to plan");
    s->job = job;
    s->devices = devices;
    s->cut_count = find_cuts(job, s->cuts);
    for (int32_t p = 1; p < s->cut_count; p++) {
        struct sora_range before = {0, s->cuts[p]};
        s->windows_before[p] = window_count(job, 0, before) + window_count(job, 1, before);
    }
    s->windows_before[0] = 0;
    bool found = search_all(s, count, out_plan);
    free(s);
    if (!found)
        return nobody(job, devices, count, fault);
    explain_left_out(job, devices, count, out_plan);
    return SORA_OK;
}

static bool exchanges(const struct sora_plan_job *job, struct sora_range a, struct sora_range b)
{
    for (int32_t step = 0; step < 2; step++) {
        struct sora_range x = sora_timeline_halo_latents(&job->timeline, step, a, b);
        if (x.first < x.end)
            return true;
        struct sora_range runs = sora_timeline_shard_windows(&job->timeline, step, a);
        struct sora_range needs = sora_timeline_shard_covering(&job->timeline, step, b);
        if (runs.first < needs.end && needs.first < runs.end && runs.first < runs.end)
            return true;
    }
    return a.first < b.first && b.first - job->context_latents < a.end;
}

int sora_plan_neighbours(const struct sora_plan_job *job, const struct sora_range *ranges,
                         int32_t count, int32_t index, int32_t *out_indices, int32_t *out_count)
{
    int32_t found = 0;
    for (int32_t i = 0; i < count; i++) {
        if (i == index ||
            !(exchanges(job, ranges[i], ranges[index]) || exchanges(job, ranges[index], ranges[i])))
            continue;
        if (found == SORA_PLAN_NEIGHBOURS_MAX)
            return SORA_E_LIMIT;
        out_indices[found++] = i;
    }
    *out_count = found;
    return SORA_OK;
}
