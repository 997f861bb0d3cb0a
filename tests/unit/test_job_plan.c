/*
 * Job plans: rounding, takes and texts, refusals; and the memory estimate against what the
 * transformer says itself.
 */
#include "base/job_notes.h"
#include "hip/cpu/cpu.h"
#include "model/transformer.h"
#include "model/vae.h"
#include "node/model_facts.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct sora_model_facts facts = {.name = "test",
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
                                              .solver = SORA_SOLVER_UNIPC,
                                              .noise_share = 0.5,
                                              .context_latents = 38,
                                              .hidden = 256,
                                              .ffn = 768,
                                              .layers = 6,
                                              .decode_pixel_bytes = 500,
                                              .weight_bytes = 30000000,
                                              .text_weight_bytes = 12000000,
                                              .negative = "",
                                              .knows = "",
                                              .words = ""};

struct program {
    struct sora_job_options job;
};
static const struct sora_setting rows[] = {SORA_JOB_OPTION_ROWS(struct program, job)};
static const struct sora_settings_table table = {"program", "A program.", rows,
                                                 sizeof(rows) / sizeof(rows[0])};

static struct sora_job_plan plan; /* large */
static struct sora_job_notes notes;
static struct sora_fault fault;

/* Plans a job file. The texts of the plan are indices only, so the options can go. */
static int make(const char *yaml)
{
    struct program program = {0};
    struct sora_job_ask_shot shots[SORA_JOB_SHOTS_MAX];
    struct sora_job_ask ask;
    sora_settings_init(&table, &program);
    fault = (struct sora_fault){0};
    notes = (struct sora_job_notes){0};
    int error = sora_job_options_parse(&table, yaml, strlen(yaml), "job.yaml", &program,
                                       &program.job, &fault);
    if (!error) {
        sora_job_ask_from_options(&program.job, shots, &ask);
        error = sora_job_plan_make(&ask, &facts, &plan, &notes, &fault);
    }
    sora_job_options_fini(&program.job);
    sora_settings_fini(&table, &program);
    return error;
}

static void lengths_round_to_the_models_rule(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        int frames, notes;
    } cases[] = {
        {"frames: 1\n", 1, 0},
        {"frames: 2\n", 1, 1},
        {"frames: 3\n", 5, 1},
        {"frames: 33\n", 33, 0},
        {"frames: 34\n", 33, 1},
        {"seconds: 0.01\n", 1, 0},
        {"seconds: 10\n", 121, 0},
        {"seconds: 60\n", 721, 0},
        {"seconds: 0.3\n", 5, 1},
        {"shots:\n  - {prompt: a, frames: 20}\n  - {prompt: b, frames: 20, cut: false}\n", 41, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(make(cases[i].yaml), 0);
        if (plan.frame_count != cases[i].frames || notes.count != cases[i].notes)
            fail_msg("case %zu: %d frames, %d notes", i, plan.frame_count, notes.count);
        assert_int_equal(plan.take_count, 1);
        assert_int_equal(plan.takes[0].frame_count, plan.frame_count);
        assert_int_equal(plan.takes[0].frames_made, plan.frame_count);
        assert_int_equal(plan.takes[0].timeline.latent_count, (plan.frame_count - 1) / 4 + 1);
    }
}

static void sizes_round_to_whole_tokens(void **state)
{
    (void)state;
    assert_int_equal(make("frames: 5\nsize: 250x144\n"), 0);
    assert_int_equal(plan.width, 256);
    assert_int_equal(plan.height, 160);
    assert_int_equal(plan.latent_width, 16);
    assert_int_equal(notes.count, 1);
    assert_non_null(strstr(notes.texts[0], "250x144 becomes 256x160"));
}

static void gaps_come_from_the_model(void **state)
{
    (void)state;
    assert_int_equal(make("frames: 5\nsteps: 4\n"), 0);
    assert_int_equal(plan.steps, 4);
    assert_true(plan.guidance == 3 && plan.shift == 3 && plan.fps == 12 && plan.noise_share == 0.5);
    assert_int_equal(plan.solver, SORA_SOLVER_UNIPC);
    assert_int_equal(plan.noise_kind, SORA_NOISE_SHARED_MEAN);
    assert_int_equal(plan.takes[0].seed, 0);
    assert_int_equal(plan.takes[0].timeline.overlap_latents, 3);
}

static void cuts_make_takes_and_continuations_texts(void **state)
{
    (void)state;
    assert_int_equal(make("seed: 5\n"
                          "shots:\n"
                          "  - {prompt: a, seconds: 2}\n"             /* 24 frames */
                          "  - {prompt: b, frames: 10, cut: false}\n" /* take 0: 34 frames */
                          "  - {prompt: c, frames: 7, seed: 9}\n"
                          "  - {prompt: d, frames: 1}\n"
                          "  - {prompt: e, frames: 1, cut: false}\n"
                          "  - {prompt: f, frames: 1, cut: false}\n"),
                     0);
    assert_int_equal(plan.take_count, 3);
    assert_int_equal(plan.text_count, 6);
    assert_int_equal(notes.count, 0);
    static const struct {
        int first, count, made, seed, texts;
    } takes[] = {{0, 34, 37, 5, 2}, {34, 7, 9, 9, 1}, {41, 3, 9, 5, 3}};
    static const struct sora_job_text texts[] = {{{0, 7}, 0}, {{7, 10}, 1}, {{0, 3}, 2},
                                                 {{0, 1}, 3}, {{1, 2}, 4},  {{2, 3}, 5}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plan.takes[i].frame_first, takes[i].first);
        assert_int_equal(plan.takes[i].frame_count, takes[i].count);
        assert_int_equal(plan.takes[i].frames_made, takes[i].made);
        assert_int_equal(plan.takes[i].seed, takes[i].seed);
        assert_int_equal(plan.takes[i].text_count, takes[i].texts);
        assert_true(plan.takes[i].frames_made >= plan.takes[i].frame_count);
    }
    for (int i = 0; i < 6; i++)
        assert_memory_equal(&plan.texts[i], &texts[i], sizeof(texts[i]));
    assert_int_equal(plan.frame_count, 44);
}

static void a_window_has_the_text_of_its_middle(void **state)
{
    (void)state;
    assert_int_equal(make("shots:\n"
                          "  - {prompt: z, frames: 9}\n"
                          "  - {prompt: a, frames: 41}\n"
                          "  - {prompt: b, frames: 40, cut: false}\n"),
                     0);
    assert_int_equal(plan.texts[1].latents.end, 11);
    const struct sora_timeline_params *timeline = &plan.takes[1].timeline;
    for (int step = 0; step < 2; step++) {
        for (int i = 0; i < sora_timeline_window_count(timeline, step); i++) {
            struct sora_window window = sora_timeline_window(timeline, step, i);
            int middle = (window.payload_start + window.payload_end) / 2;
            assert_int_equal(sora_job_plan_window_text(&plan, 1, &window), middle < 11 ? 1 : 2);
        }
    }
    struct sora_window window = sora_timeline_window(&plan.takes[0].timeline, 0, 0);
    assert_int_equal(sora_job_plan_window_text(&plan, 0, &window), 0);
}

static void bad_jobs_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        int code;
        const char *part;
    } cases[] = {
        {"steps: 4\n", SORA_E_INVALID, "no length: give --seconds or --frames"},
        {"frames: 5\nseconds: 2\n", SORA_E_INVALID, "give one of them"},
        {"seconds: 7200\nfps: 120\n", SORA_E_LIMIT, "864000 frames"},
        {"frames: 100\noverlap: 8\n", SORA_E_INVALID, "overlap"},
        {"frames: 0\n", SORA_E_LIMIT, "frames"},
        {"shots:\n  - {prompt: a, frames: 262000}\n  - {prompt: a, frames: 145}\n", SORA_E_LIMIT,
         "262145 frames together"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int code = make(cases[i].yaml);
        if (code != cases[i].code || !strstr(fault.text, cases[i].part))
            fail_msg("case %zu: %d '%s'", i, code, fault.text);
    }
}

/* Asks that came over the wire have passed no table of options. */
static void hostile_asks_are_refused(void **state)
{
    (void)state;
    const struct sora_job_ask_shot shot = {.prompt = "a", .frames = 5, .cut = true};
    const struct sora_job_ask_shot continuing = {.prompt = "a", .frames = 5};
    const struct sora_job_ask_shot endless = {.prompt = "a", .seconds = 1e300, .cut = true};
    const struct sora_job_ask_shot negative = {.prompt = "a", .frames = -5, .cut = true};
    const struct sora_job_ask good = {
        .shot_count = 1, .shots = &shot, .solver = -1, .noise_kind = -1};
    struct sora_job_ask bad[] = {good, good, good, good, good, good, good, good, good, good, good};
    bad[0].shot_count = 0;
    bad[1].shot_count = SORA_JOB_SHOTS_MAX + 1;
    bad[2].shots = &continuing;
    bad[3].shots = &endless;
    bad[4].shots = &negative;
    bad[5].width = 16384;
    bad[6].height = -1;
    bad[7].fps = 1e-9;
    bad[8].steps = 1001;
    bad[9].guidance = INFINITY;
    bad[10].solver = 2;
    assert_int_equal(sora_job_plan_make(&good, &facts, &plan, &notes, NULL), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fault = (struct sora_fault){0};
        if (!sora_job_plan_make(&bad[i], &facts, &plan, &notes, &fault) || !fault.text[0])
            fail_msg("case %zu is accepted", i);
    }
    struct sora_model_facts wrong = facts;
    assert_int_equal(sora_model_facts_check(&wrong, NULL), 0);
    wrong.multiple_width = 8; /* less than a latent: no token */
    assert_int_equal(sora_model_facts_check(&wrong, &fault), SORA_E_LIMIT);
    wrong = facts;
    wrong.fps = NAN;
    assert_int_equal(sora_model_facts_check(&wrong, NULL), SORA_E_LIMIT);
}

/* The header's margin, on the shipped model and on sizes from small to large. */
static void memory_is_near_the_models_own_figure(void **state)
{
    (void)state;
    struct sora_device *device = NULL;
    struct sora_bundle bundle;
    struct sora_model_facts mini;
    struct sora_transformer *transformer = NULL;
    struct sora_vae *vae = NULL;
    const struct sora_cpu_params cpu = {.thread_count = 1};
    fault = (struct sora_fault){0};
    assert_int_equal(sora_cpu_device_create(&cpu, &device, &fault), 0);
    assert_int_equal(sora_bundle_open(SORA_SOURCE_DIR "/models/mini", &bundle, &fault), 0);
    if (sora_model_facts_read(&bundle, &mini, &fault))
        fail_msg("%s", fault.text);
    assert_int_equal(mini.context_latents, 38);
    assert_int_equal(mini.multiple_width, 32);
    assert_int_equal(mini.hidden, 256);
    assert_true(mini.weight_bytes > 1000000 && strstr(mini.knows, "balloon"));
    assert_int_equal(make("prompt: a boat\nseconds: 5\n"), SORA_OK); /* a shard encodes no text */
    assert_int_equal(plan.weight_bytes, 18000000);
    assert_int_equal(plan.text_bytes, 12000000);
    struct sora_job_plan small = plan; /* more to multiply takes longer, as does a larger frame */
    assert_true(small.window_thread_s > 0);
    assert_int_equal(make("prompt: a boat\nseconds: 5\nsize: 512x320\n"), SORA_OK);
    assert_true(plan.window_thread_s > 4 * small.window_thread_s);
    assert_true(plan.window_thread_s < 16 * small.window_thread_s);
    assert_int_equal(make("prompt: a boat\nseconds: 5\nguidance: 1\n"), SORA_OK);
    assert_true(plan.window_thread_s == small.window_thread_s / 2);
    assert_int_equal(sora_transformer_open(SORA_SOURCE_DIR "/models/mini/transformer", device,
                                           &transformer, &fault),
                     0);
    assert_int_equal(sora_vae_open(SORA_SOURCE_DIR "/models/mini/vae", device, &vae, &fault), 0);
    static const int sizes[][2] = {{96, 64}, {256, 160}, {1280, 736}};
    for (int i = 0; i < 3; i++) {
        const struct sora_job_ask_shot shot = {.prompt = "a", .frames = 101, .cut = true};
        const struct sora_job_ask ask = {.shot_count = 1,
                                         .shots = &shot,
                                         .width = sizes[i][0],
                                         .height = sizes[i][1],
                                         .solver = -1,
                                         .noise_kind = -1};
        assert_int_equal(sora_job_plan_make(&ask, &mini, &plan, &notes, &fault), 0);
        struct sora_vae_plan decode;
        assert_int_equal(
            sora_vae_decoder_plan(vae, plan.latent_height, plan.latent_width, &decode, &fault), 0);
        double exact = (double)sora_transformer_activation_size(
                           transformer, mini.window, plan.latent_height, plan.latent_width) +
                       (double)decode.cache_bytes + (double)decode.activation_bytes;
        print_message("%dx%d: %.1f MB, exactly %.1f\n", plan.width, plan.height,
                      (double)plan.activation_bytes / 1e6, exact / 1e6);
        assert_true(fabs((double)plan.activation_bytes / exact - 1) < 0.15);
        assert_int_equal(plan.halo_latent_bytes, 16 * plan.latent_height * plan.latent_width * 4);
        /* UniPC keeps 5 per latent; 3 windows may cover one. */
        assert_int_equal(plan.state_latent_bytes, 8 * plan.halo_latent_bytes);
    }
    sora_vae_destroy(&vae);
    sora_transformer_destroy(&transformer);
    sora_bundle_fini(&bundle);
    sora_device_destroy(&device);
}

static void frame_rates_are_fractions(void **state)
{
    (void)state;
    const struct {
        double fps;
        int32_t number, divisor;
    } cases[] = {{12, 12, 1},          {24, 24, 1},         {23.976, 24000, 1001},
                 {29.97, 30000, 1001}, {12.5, 12500, 1000}, {59.94, 60000, 1001}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int32_t number, divisor;
        sora_job_frame_rate(cases[i].fps, &number, &divisor);
        assert_int_equal(number, cases[i].number);
        assert_int_equal(divisor, cases[i].divisor);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_round_to_the_models_rule),
        cmocka_unit_test(sizes_round_to_whole_tokens),
        cmocka_unit_test(gaps_come_from_the_model),
        cmocka_unit_test(cuts_make_takes_and_continuations_texts),
        cmocka_unit_test(a_window_has_the_text_of_its_middle),
        cmocka_unit_test(bad_jobs_are_named),
        cmocka_unit_test(frame_rates_are_fractions),
        cmocka_unit_test(hostile_asks_are_refused),
        cmocka_unit_test(memory_is_near_the_models_own_figure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
