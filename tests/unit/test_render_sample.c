/*
 * Sampling against the reference pipeline: prompts through tokenizer, text encoder and transformer,
 * 8 guided steps from the same noise, for every golden model and solver (relative L2 <= 1e-4). And
 * what must not change a bit: the thread count.
 */
#include "hip/cpu/cpu.h"
#include "model/tensor_file.h"
#include "node/render_sample.h"
#include "node/text_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDENS SORA_SOURCE_DIR "/tests/goldens/"
#define TOLERANCE 1e-4
#define GOLDEN_STEPS 8
#define GOLDEN_GUIDANCE 5.0

/* The prompts of every sampling file (tests/goldens/index.json). */
static const char golden_prompt[] =
    "A red balloon drifts over the calm sea at sunrise, soft golden light, cinematic.";
static const char golden_negative[] =
    "色调艳丽，过曝，静态，细节模糊不清，字幕, worst quality, low quality";

static volatile sig_atomic_t never;

struct parts {
    struct sora_device *device;
    struct sora_bundle bundle;
    struct sora_transformer *transformer;
    struct sora_text_contexts *contexts;
};

static void open_parts(struct parts *parts, const char *model, const char *prompt,
                       const char *negative, int threads)
{
    char path[512];
    struct sora_fault fault = {0};
    const struct sora_cpu_params cpu = {.thread_count = threads};
    snprintf(path, sizeof(path), GOLDENS "models/%s", model);
    *parts = (struct parts){0};
    assert_int_equal(sora_cpu_device_create(&cpu, &parts->device, &fault), 0);
    assert_int_equal(sora_bundle_open(path, &parts->bundle, &fault), 0);
    sora_bundle_path(&parts->bundle, "transformer", path, sizeof(path));
    if (sora_transformer_open(path, parts->device, &parts->transformer, &fault))
        fail_msg("%s", fault.text);
    struct sora_text_rows rows[2] = {0};
    if (sora_text_rows_encode(&parts->bundle, parts->device, prompt, negative, &rows[0], &rows[1],
                              &fault))
        fail_msg("%s", fault.text);
    const struct sora_text_use use = {.prompt = &rows[0], .negative = &rows[1]};
    assert_int_equal(
        sora_text_contexts_create(parts->transformer, &use, 1, &parts->contexts, &fault), 0);
    sora_text_rows_fini(&rows[0]);
    sora_text_rows_fini(&rows[1]);
}

static void close_parts(struct parts *parts)
{
    sora_text_contexts_destroy(&parts->contexts);
    sora_transformer_destroy(&parts->transformer);
    sora_bundle_fini(&parts->bundle);
    sora_device_destroy(&parts->device);
}

/* The golden file's noise in a file of its own, under the name that --noise expects. */
static void write_noise(const char *golden, char *path)
{
    struct sora_array noise = {0};
    assert_int_equal(sora_array_read(golden, "noise", &noise, NULL), 0);
    strcpy(path, "/tmp/sora-noise-XXXXXX");
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    close(descriptor);
    assert_int_equal(sora_array_write(path, "latents", &noise, NULL), 0);
    sora_array_fini(&noise);
}

/* `latents` [C,T,H,W] gives the sizes. */
static struct sora_job_plan make_plan(const struct sora_array *latents, const char *solver,
                                      double shift, double guidance, int steps)
{
    enum sora_solver_kind kind = SORA_SOLVER_UNIPC;
    assert_int_equal(sora_solver_kind_parse(solver, &kind, NULL), 0);
    return (struct sora_job_plan){
        .take_count = 1,
        .takes = {{.timeline = {.latent_count = (int32_t)latents->shape[1],
                                .window_latents = 21,
                                .overlap_latents = 5}}},
        .channels = (int32_t)latents->shape[0],
        .latent_height = (int32_t)latents->shape[2],
        .latent_width = (int32_t)latents->shape[3],
        .steps = steps,
        .guidance = guidance,
        .shift = shift,
        .solver = kind,
    };
}

static float *sample(const struct parts *parts, const struct sora_job_plan *plan,
                     const char *noise_path)
{
    struct sora_progress progress;
    sora_progress_init(&progress, false);
    const struct sora_render_control control = {&progress, &never};
    const struct sora_render_sample_params params = {
        .device = parts->device,
        .transformer = parts->transformer,
        .contexts = parts->contexts,
        .plan = plan,
        .noise_path = noise_path,
        .control = &control,
    };
    size_t elements = (size_t)(plan->channels * plan->latent_height * plan->latent_width);
    float *latents =
        malloc((size_t)plan->takes[0].timeline.latent_count * elements * sizeof(float));
    assert_non_null(latents);
    struct sora_fault fault = {0};
    if (sora_render_sample(&params, latents, &fault))
        fail_msg("%s", fault.text);
    return latents;
}

static double relative_error(const float *found, const float *expected, int64_t count)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)found[i] - expected[i]) * ((double)found[i] - expected[i]);
        size += (double)expected[i] * expected[i];
    }
    return sqrt(difference / size);
}

static void check_case(const char *model, const char *solver, int shift)
{
    char golden[512], noise_path[64];
    snprintf(golden, sizeof(golden), GOLDENS "values/%s/sampling_%s_shift%d.safetensors", model,
             solver, shift);
    struct parts parts;
    open_parts(&parts, model, golden_prompt, golden_negative, 2);
    struct sora_array expected = {0};
    write_noise(golden, noise_path);
    assert_int_equal(sora_array_read(golden, "latents", &expected, NULL), 0);
    struct sora_job_plan plan = make_plan(&expected, solver, shift, GOLDEN_GUIDANCE, GOLDEN_STEPS);
    assert_int_equal(sora_array_swap_frames(&expected, NULL), 0);
    float *latents = sample(&parts, &plan, noise_path);
    double error = relative_error(latents, expected.values, sora_array_count(&expected));
    print_message("%-8s %-6s shift %d  relative L2 %.2e\n", model, solver, shift, error);
    if (!(error <= TOLERANCE))
        fail_msg("%s: relative L2 %.3e, limit %.0e", golden, error, TOLERANCE);
    free(latents);
    sora_array_fini(&expected);
    unlink(noise_path);
    close_parts(&parts);
}

static void sampling_equals_the_reference(void **state)
{
    (void)state;
    static const char *const models[] = {"a_f32", "b_bf16", "c_f16", "d_mini"};
    for (int i = 0; i < 4; i++) {
        check_case(models[i], "euler", 3);
        check_case(models[i], "unipc", 3);
        check_case(models[i], "unipc", 5);
    }
}

/* Three windows, both phases: one thread and three give the same bits. */
static void thread_count_changes_no_bit(void **state)
{
    (void)state;
    float *results[2];
    struct sora_job_plan plan = {
        .take_count = 1,
        .takes = {{.timeline = {.latent_count = 11, .window_latents = 5, .overlap_latents = 1},
                   .seed = 7}},
        .channels = 16,
        .latent_height = 4,
        .latent_width = 6,
        .steps = 3,
        .guidance = 4,
        .shift = 3,
        .solver = SORA_SOLVER_UNIPC,
    };
    for (int i = 0; i < 2; i++) {
        struct parts parts;
        open_parts(&parts, "d_mini", "a red balloon", "", i ? 3 : 1);
        results[i] = sample(&parts, &plan, NULL);
        close_parts(&parts);
    }
    assert_memory_equal(results[0], results[1], 11 * 16 * 4 * 6 * sizeof(float));
    free(results[0]);
    free(results[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampling_equals_the_reference),
        cmocka_unit_test(thread_count_changes_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
