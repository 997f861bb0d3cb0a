/* Job files: whatever YAML parses, every value keeps to its row's range and a plan is legal. */
#include "base/job_notes.h"
#include "node/render_options.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

static const struct sora_model_facts facts = {.name = "fuzz",
                                              .window = 9,
                                              .overlap = 3,
                                              .channels = 16,
                                              .temporal_factor = 4,
                                              .spatial_factor = 16,
                                              .multiple_width = 32,
                                              .multiple_height = 32,
                                              .width = 256,
                                              .height = 160,
                                              .fps = 12,
                                              .steps = 16,
                                              .guidance = 3,
                                              .shift = 3,
                                              .noise_share = 0.5,
                                              .hidden = 256,
                                              .ffn = 768,
                                              .layers = 6};

static void check_plan(const struct sora_job_plan *plan)
{
    int32_t frames = 0, texts = 0;
    SORA_ASSERT(plan->width % 32 == 0 && plan->height % 32 == 0);
    for (int32_t i = 0; i < plan->take_count; i++) {
        const struct sora_job_take *take = &plan->takes[i];
        SORA_ASSERT(!sora_timeline_check(&take->timeline, NULL));
        SORA_ASSERT(take->frame_first == frames && take->text_first == texts);
        SORA_ASSERT(take->frames_made % 4 == 1 && take->frame_count <= take->frames_made);
        frames += take->frame_count;
        for (int32_t at = 0; take->text_count > 0 && at < take->timeline.latent_count; texts++) {
            SORA_ASSERT(plan->texts[texts].latents.first == at);
            SORA_ASSERT(plan->texts[texts].latents.end > at);
            at = plan->texts[texts].latents.end;
        }
        SORA_ASSERT(texts == take->text_first + take->text_count);
    }
    SORA_ASSERT(frames == plan->frame_count && frames <= SORA_JOB_FRAMES_MAX + 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sora_render_options options;
    sora_render_options_init(&options);
    struct sora_fault fault = {0};
    int error = sora_job_options_parse(&sora_render_options_table, (const char *)data, size, "job",
                                       &options, &options.job, &fault);
    SORA_ASSERT(error == fault.code);
    const struct sora_job_options *job = &options.job;
    if (!error) {
        SORA_ASSERT(job->steps == SORA_SETTING_INT_UNSET ||
                    (job->steps >= 1 && job->steps <= 1000));
        SORA_ASSERT(!job->prompt || strlen(job->prompt) <= SORA_JOB_PROMPT_BYTES_MAX);
        SORA_ASSERT(job->shot_count >= 0 && job->shot_count <= SORA_JOB_SHOTS_MAX);
        struct sora_job_ask_shot shots[SORA_JOB_SHOTS_MAX];
        struct sora_job_ask ask;
        struct sora_job_plan plan = {0};
        struct sora_job_notes notes = {0};
        sora_job_ask_from_options(job, shots, &ask);
        if (!sora_job_plan_make(&ask, &facts, &plan, &notes, &fault)) {
            check_plan(&plan);
            SORA_ASSERT(notes.count <= SORA_JOB_NOTES_MAX);
        }
    }
    sora_render_options_fini(&options);
    return 0;
}
