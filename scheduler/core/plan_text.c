/* The plan in words. */
#include "scheduler/core/plan.h"

#include <inttypes.h>

/* base/error.h formats into a bounded text without stdio in the core. */
const char *sora_plan_bytes_text(int64_t bytes, char out[SORA_PLAN_TEXT_SIZE])
{
    struct sora_bytes text;
    sora_bytes_init(&text, SORA_PLAN_TEXT_SIZE - 1);
    int result;
    if (bytes >= 1000000000)
        result = sora_bytes_format(&text, "%" PRId64 ".%" PRId64 " GB", bytes / 1000000000,
                                   bytes / 100000000 % 10);
    else
        result = sora_bytes_format(&text, "%" PRId64 " MB", (bytes + 999999) / 1000000);
    size_t size = result ? 0 : text.size;
    for (size_t i = 0; i < size; i++)
        out[i] = (char)text.data[i];
    out[size] = 0;
    sora_bytes_fini(&text);
    return out;
}

const char *sora_plan_time_text(int64_t us, char out[SORA_PLAN_TEXT_SIZE])
{
    struct sora_bytes text;
    sora_bytes_init(&text, SORA_PLAN_TEXT_SIZE - 1);
    int64_t seconds = us / 1000000;
    int result;
    if (seconds >= 3600)
        result = sora_bytes_format(&text, "%" PRId64 " h %" PRId64 " min", seconds / 3600,
                                   seconds / 60 % 60);
    else if (seconds >= 60)
        result =
            sora_bytes_format(&text, "%" PRId64 " min %" PRId64 " s", seconds / 60, seconds % 60);
    else
        result = sora_bytes_format(&text, "%" PRId64 ".%" PRId64 " s", seconds, us / 100000 % 10);
    size_t size = result ? 0 : text.size;
    for (size_t i = 0; i < size; i++)
        out[i] = (char)text.data[i];
    out[size] = 0;
    sora_bytes_fini(&text);
    return out;
}

static int explain_shard(const struct sora_plan_device *device, int32_t index,
                         const struct sora_plan_shard *shard, struct sora_bytes *out)
{
    char step[SORA_PLAN_TEXT_SIZE], halo[SORA_PLAN_TEXT_SIZE];
    return sora_bytes_format(out,
                             "  shard %d: latents %d-%d, %d windows, %s, %s a step, %s of "
                             "halos sent a step%s\n",
                             index, shard->latents.first, shard->latents.end - 1,
                             shard->windows_even, device->name,
                             sora_plan_time_text(shard->step_us, step),
                             sora_plan_bytes_text(shard->halo_bytes / 2, halo),
                             device->window_us > 0 ? "" : " (not measured)");
}

static int explain_left_out(const struct sora_plan_job *job, const struct sora_plan_device *device,
                            enum sora_plan_left_out why, const struct sora_plan *plan,
                            struct sora_bytes *out)
{
    char a[SORA_PLAN_TEXT_SIZE], b[SORA_PLAN_TEXT_SIZE];
    int32_t least = sora_plan_shard_latents_min(&job->timeline);
    switch (why) {
    case SORA_PLAN_NO_MEMORY:
        return sora_bytes_format(
            out, "  left out: %s, needs %s, %s is free\n", device->name,
            sora_plan_bytes_text(sora_plan_memory_bytes(job, device, least), a),
            sora_plan_bytes_text(device->memory_free_bytes, b));
    case SORA_PLAN_OTHER_CLASS:
        return sora_bytes_format(
            out, "  left out: %s, another class of device%s\n", device->name,
            job->device_class ? "" : ", with which the job would not end a tenth sooner");
    case SORA_PLAN_TOO_SLOW:
        return sora_bytes_format(out,
                                 "  left out: %s, one window takes %s; the job would not end "
                                 "sooner with it (%s a step)\n",
                                 device->name, sora_plan_time_text(device->window_us, a),
                                 sora_plan_time_text(plan->step_us, b));
    case SORA_PLAN_USED:
        break;
    }
    return SORA_OK;
}

int sora_plan_explain(const struct sora_plan_job *job, const struct sora_plan_device *devices,
                      int32_t count, const struct sora_plan *plan, struct sora_bytes *out)
{
    char finish[SORA_PLAN_TEXT_SIZE], step[SORA_PLAN_TEXT_SIZE];
    int32_t windows = sora_timeline_window_count(&job->timeline, 0);
    int result = sora_bytes_format(
        out, "%d latents in %d windows of %d, %d steps, %d shard%s; about %s (%s a step)\n",
        job->timeline.latent_count, windows, job->timeline.window_latents,
        job->steps - job->first_step, plan->shard_count, plan->shard_count == 1 ? "" : "s",
        sora_plan_time_text(plan->finish_us, finish), sora_plan_time_text(plan->step_us, step));
    for (int32_t i = 0; i < plan->shard_count && !result; i++)
        result = explain_shard(&devices[plan->shards[i].device], i, &plan->shards[i], out);
    for (int32_t i = 0; i < count && !result; i++)
        result = explain_left_out(job, &devices[i], plan->left_out[i], plan, out);
    return result;
}
