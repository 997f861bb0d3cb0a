/* What a shard is made of, checked: numbers, ranges, and what they mean for its halos. */
#include "node/core/shard_parts.h"

#define STEPS_MAX 1000
#define WINDOWS_PER_LINK_MAX 63

static int check_numbers(const struct sora_shard_params *p, struct sora_fault *fault)
{
    int result = sora_timeline_check(&p->timeline, fault);
    if (result)
        return result;
    if (p->steps < 1 || p->steps > STEPS_MAX || p->resume_step < 0 || p->resume_step > p->steps)
        return sora_fault_set(fault, SORA_E_INVALID, "step %d of %d is outside 0..%d",
                              p->resume_step, p->steps, STEPS_MAX);
    if (p->checkpoint_steps < 1 || p->checkpoint_steps > p->steps)
        return sora_fault_set(fault, SORA_E_INVALID, "a checkpoint every %d steps of %d",
                              p->checkpoint_steps, p->steps);
    if (p->resume_step != p->steps && p->resume_step % p->checkpoint_steps != 0)
        return sora_fault_set(fault, SORA_E_INVALID, "step %d is no checkpoint of every %d",
                              p->resume_step, p->checkpoint_steps);
    if (p->context_latents < 0 || p->latent_bytes < 1 || p->latent_bytes > INT32_MAX ||
        p->kept_bytes_max < 0 || p->windows_in_flight_max < 0)
        return sora_fault_set(fault, SORA_E_INVALID, "a size of the shard is out of range");
    if (p->link_count < 0 || p->link_count > SORA_SHARD_LINKS_MAX)
        return sora_fault_set(fault, SORA_E_LIMIT, "%d neighbours; the limit is %d", p->link_count,
                              SORA_SHARD_LINKS_MAX);
    return SORA_OK;
}

static bool range_is_inside(struct sora_range range, int32_t count)
{
    return range.first >= 0 && range.first < range.end && range.end <= count;
}

static int check_ranges(const struct sora_shard_params *p, struct sora_fault *fault)
{
    bool sound = range_is_inside(p->owned, p->timeline.latent_count);
    for (int32_t i = 0; i < p->link_count && sound; i++) {
        struct sora_range other = p->links[i].owned;
        sound = range_is_inside(other, p->timeline.latent_count) &&
                (other.end <= p->owned.first || p->owned.end <= other.first);
    }
    return sound ? SORA_OK
                 : sora_fault_set(fault, SORA_E_INVALID,
                                  "latents %d-%d or a neighbour's lie outside the timeline of %d, "
                                  "or overlap",
                                  p->owned.first, p->owned.end, p->timeline.latent_count);
}

int sora_shard_check_params(const struct sora_shard_params *params, struct sora_fault *fault)
{
    int result = check_numbers(params, fault);
    return result ? result : check_ranges(params, fault);
}

int sora_shard_check_halos(const struct sora_shard *shard, struct sora_fault *fault)
{
    const struct sora_shard_params *p = &shard->params;
    int64_t most = 0;
    for (int32_t step = 0; step < 2; step++) {
        int64_t bytes = sora_shard_step_bytes(shard, step);
        most = bytes > most ? bytes : most;
        for (int32_t i = 0; i < p->link_count; i++) {
            struct sora_range w = sora_shard_exchange(shard, step, p->links[i].owned, p->owned);
            if (w.end - w.first > WINDOWS_PER_LINK_MAX)
                return sora_fault_set(fault, SORA_E_LIMIT,
                                      "%d windows of one neighbour overlap the shard; the limit "
                                      "is %d: use a smaller overlap",
                                      w.end - w.first, WINDOWS_PER_LINK_MAX);
        }
    }
    int64_t needed = most * (p->checkpoint_steps + 2);
    if (needed > p->kept_bytes_max)
        return sora_fault_set(fault, SORA_E_LIMIT,
                              "halos of %d steps take %lld bytes; the limit is %lld: take "
                              "checkpoints more often",
                              p->checkpoint_steps + 2, (long long)needed,
                              (long long)p->kept_bytes_max);
    return SORA_OK;
}
