/* Bundles: model directories written by the test, good and bad. */
#include "base/files.h"
#include "model/bundle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define INDEX "{\"_class_name\": \"WanPipeline\", \"vae\": [\"diffusers\", \"AutoencoderKLWan\"]}"
#define UNIPC                                                                                      \
    "{\"_class_name\": \"UniPCMultistepScheduler\", \"flow_shift\": 5.0, "                         \
    "\"prediction_type\": \"flow_prediction\", \"use_flow_sigmas\": true}"

static char directory[64];

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    assert_int_equal(sora_file_write(path, text, strlen(text), NULL), 0);
}

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/sora-bundle-XXXXXX");
    assert_non_null(mkdtemp(directory));
    char path[256];
    snprintf(path, sizeof(path), "%s/scheduler", directory);
    assert_int_equal(sora_file_make_dirs(path, NULL), 0);
    put("model_index.json", INDEX);
    put("scheduler/scheduler_config.json", UNIPC);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    static const char *const names[] = {"sora.yaml", "model_index.json",
                                        "scheduler/scheduler_config.json", "scheduler", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        if (unlink(path))
            rmdir(path);
    }
    return 0;
}

static void published_model_gets_wan_defaults(void **state)
{
    (void)state;
    struct sora_bundle bundle;
    struct sora_fault fault = {0};
    assert_int_equal(sora_bundle_open(directory, &bundle, &fault), 0);
    assert_int_equal(bundle.window_latents, 21);
    assert_int_equal(bundle.overlap_latents, 5);
    assert_int_equal(bundle.size.width, 832);
    assert_int_equal(bundle.solver, SORA_SOLVER_UNIPC);
    assert_true(bundle.shift == 5.0);
    assert_string_equal(bundle.name, directory + strlen("/tmp/"));
    assert_null(bundle.words);
    sora_bundle_fini(&bundle);
}

static void yaml_wins_over_the_scheduler(void **state)
{
    (void)state;
    put("sora.yaml", "name: mini\nwindow_latents: 9\noverlap_latents: 3\nsize: 256x160\n"
                     "fps: 12\nsteps: 16\nguidance: 3\nshift: 2\nsolver: euler\n"
                     "knows: boats\nwords: a red boat sea the over\n");
    struct sora_bundle bundle;
    struct sora_fault fault = {0};
    assert_int_equal(sora_bundle_open(directory, &bundle, &fault), 0);
    assert_int_equal(bundle.window_latents, 9);
    assert_int_equal(bundle.solver, SORA_SOLVER_EULER);
    assert_true(bundle.shift == 2.0);
    assert_string_equal(bundle.words, "a red boat sea the over");
    sora_bundle_fini(&bundle);
}

static void bad_directories_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text;
        int code;
        const char *part;
    } cases[] = {
        {"model_index.json", "{\"_class_name\": \"FluxPipeline\"}", SORA_E_UNSUPPORTED,
         "FluxPipeline; this build runs WanPipeline"},
        {"model_index.json", "{\"_class_name\": \"WanPipeline\", \"boundary_ratio\": 0.875}",
         SORA_E_UNSUPPORTED, "two transformers"},
        {"model_index.json", "{", SORA_E_FORMAT, "model_index.json"},
        {"sora.yaml", "window_latents: 5\noverlap_latents: 4\n", SORA_E_LIMIT, "at most"},
        {"sora.yaml", "stps: 5\n", SORA_E_INVALID, "did you mean steps"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put("model_index.json", INDEX);
        put("sora.yaml", "steps: 4\n");
        put(cases[i].file, cases[i].text);
        struct sora_bundle bundle;
        struct sora_fault fault = {0};
        int code = sora_bundle_open(directory, &bundle, &fault);
        if (code != cases[i].code || !strstr(fault.text, cases[i].part))
            fail_msg("case %zu: %d '%s'", i, code, fault.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(published_model_gets_wan_defaults, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(yaml_wins_over_the_scheduler, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(bad_directories_are_named, make_directory,
                                        remove_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
