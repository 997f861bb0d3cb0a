/* Job files: whatever YAML parses, every value keeps to its row's range and a plan is legal. */
#include "node/render_job.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

/* Frees nothing: the bundle's strings are literals. */
static const struct sora_bundle bundle = {.window_latents = 9,
                                          .overlap_latents = 3,
                                          .size = {256, 160},
                                          .fps = 12,
                                          .steps = 16,
                                          .guidance = 3,
                                          .shift = 3};
static const struct sora_render_rules rules = {
    .temporal_factor = 4, .size_multiple = {32, 32}, .spatial_factor = 16, .channels = 16};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sora_render_job job;
    sora_settings_init(&sora_render_job_table, &job);
    struct sora_fault fault = {0};
    int error = sora_settings_parse_yaml(&sora_render_job_table, (const char *)data, size, "job",
                                         &job, &fault);
    SORA_ASSERT(error == fault.code);
    if (!error) {
        SORA_ASSERT(job.steps == SORA_SETTING_INT_UNSET || (job.steps >= 1 && job.steps <= 1000));
        SORA_ASSERT(!job.prompt || strlen(job.prompt) <= 65536);
        struct sora_render_plan plan = {0};
        struct sora_render_notes notes = {0};
        if (!sora_render_plan_make(&job, &bundle, &rules, &plan, &notes, &fault)) {
            SORA_ASSERT(plan.frame_count % 4 == 1 && plan.width % 32 == 0);
            SORA_ASSERT(!sora_timeline_check(&plan.timeline, NULL));
            SORA_ASSERT(notes.count <= SORA_RENDER_NOTES_MAX);
        }
    }
    sora_settings_fini(&sora_render_job_table, &job);
    return 0;
}
