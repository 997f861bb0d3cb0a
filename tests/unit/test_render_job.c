/* Render jobs: rounding, defaults and refusals of the plan. */
#include "node/render_job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct sora_render_rules rules = {
    .temporal_factor = 4, .size_multiple = {32, 32}, .spatial_factor = 16, .channels = 16};
static const struct sora_bundle bundle = {.window_latents = 9,
                                          .overlap_latents = 3,
                                          .size = {256, 160},
                                          .fps = 12,
                                          .steps = 16,
                                          .guidance = 3,
                                          .shift = 3,
                                          .noise_share = 0.5,
                                          .solver = SORA_SOLVER_UNIPC};

static int make(const char *yaml, struct sora_render_plan *plan, struct sora_render_notes *notes,
                struct sora_fault *fault)
{
    struct sora_render_job job;
    sora_settings_init(&sora_render_job_table, &job);
    *fault = (struct sora_fault){0};
    *notes = (struct sora_render_notes){0};
    int error = sora_settings_parse_yaml(&sora_render_job_table, yaml, strlen(yaml), "job.yaml",
                                         &job, fault);
    if (!error)
        error = sora_render_plan_make(&job, &bundle, &rules, plan, notes, fault);
    sora_settings_fini(&sora_render_job_table, &job);
    return error;
}

static void lengths_round_to_the_models_rule(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        int frames, notes;
    } cases[] = {
        {"frames: 1\n", 1, 0},     {"frames: 2\n", 1, 1},     {"frames: 3\n", 5, 1},
        {"frames: 33\n", 33, 0},   {"frames: 34\n", 33, 1},   {"seconds: 0.01\n", 1, 0},
        {"seconds: 10\n", 121, 0}, {"seconds: 60\n", 721, 0}, {"seconds: 0.3\n", 5, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_render_plan plan;
        struct sora_render_notes notes;
        struct sora_fault fault;
        assert_int_equal(make(cases[i].yaml, &plan, &notes, &fault), 0);
        if (plan.frame_count != cases[i].frames || notes.count != cases[i].notes)
            fail_msg("case %zu: %d frames, %d notes", i, plan.frame_count, notes.count);
        assert_int_equal(plan.timeline.latent_count, (plan.frame_count - 1) / 4 + 1);
    }
}

static void sizes_round_to_whole_tokens(void **state)
{
    (void)state;
    struct sora_render_plan plan;
    struct sora_render_notes notes;
    struct sora_fault fault;
    assert_int_equal(make("frames: 5\nsize: 250x144\n", &plan, &notes, &fault), 0);
    assert_int_equal(plan.width, 256);
    assert_int_equal(plan.height, 160);
    assert_int_equal(plan.latent_width, 16);
    assert_int_equal(notes.count, 1);
    assert_non_null(strstr(notes.texts[0], "250x144 becomes 256x160"));
}

static void gaps_come_from_the_bundle(void **state)
{
    (void)state;
    struct sora_render_plan plan;
    struct sora_render_notes notes;
    struct sora_fault fault;
    assert_int_equal(make("frames: 5\nsteps: 4\n", &plan, &notes, &fault), 0);
    assert_int_equal(plan.steps, 4);
    assert_true(plan.guidance == 3 && plan.shift == 3 && plan.fps == 12);
    assert_int_equal(plan.solver, SORA_SOLVER_UNIPC);
    assert_int_equal(plan.noise_kind, SORA_NOISE_SHARED_MEAN);
}

static void bad_jobs_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        int code;
        const char *part;
    } cases[] = {
        {"steps: 4\n", SORA_E_INVALID, "no length"},
        {"frames: 5\nseconds: 2\n", SORA_E_INVALID, "give one of them"},
        {"seconds: 7200\nfps: 120\n", SORA_E_LIMIT, "864000 frames"},
        {"frames: 100\noverlap: 8\n", SORA_E_INVALID, "overlap"},
        {"frames: 0\n", SORA_E_LIMIT, "frames"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sora_render_plan plan;
        struct sora_render_notes notes;
        struct sora_fault fault;
        int code = make(cases[i].yaml, &plan, &notes, &fault);
        if (code != cases[i].code || !strstr(fault.text, cases[i].part))
            fail_msg("case %zu: %d '%s'", i, code, fault.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_round_to_the_models_rule),
        cmocka_unit_test(sizes_round_to_whole_tokens),
        cmocka_unit_test(gaps_come_from_the_bundle),
        cmocka_unit_test(bad_jobs_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
