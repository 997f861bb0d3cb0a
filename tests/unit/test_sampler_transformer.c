/* The sampler with the real transformer against 8-step sampling by diffusers, and threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hip/cpu/cpu.h"
#include "model/noise.h"
#include "model/sampler_transformer.h"
#include "tests/unit/golden_values.h"
#include "tests/unit/scratch.h"

#include <math.h>

#define TOLERANCE 1e-4 /* relative L2, eight steps with guidance from the same noise */
#define TEXT_ROWS 512

struct bench {
    struct sora_device *device;
    struct sora_transformer *transformer;
    struct sora_transformer_context *contexts[2]; /* prompt, negative */
    struct sora_sampler_transformer model;
};

/* texts.safetensors: embeds.0 is the prompt, embeds.4 the negative prompt of every sampling. */
static struct sora_transformer_context *
open_context(struct bench *bench, const struct sora_checkpoint *texts, const char *name)
{
    struct sora_transformer_context *context = NULL;
    struct sora_fault fault = {0};
    const struct sora_checkpoint_entry *entry = golden_entry(texts, name);
    float *rows = golden_copy(texts, name);
    assert_int_equal(sora_transformer_context_create(bench->transformer, rows, (int)entry->shape[0],
                                                     TEXT_ROWS, &context, &fault),
                     SORA_OK);
    free(rows);
    return context;
}

static void bench_open(struct bench *bench, const char *name, int threads)
{
    memset(bench, 0, sizeof(*bench));
    char path[300];
    struct sora_fault fault = {0};
    struct sora_cpu_params cpu = {.thread_count = threads};
    assert_int_equal(sora_cpu_device_create(&cpu, &bench->device, &fault), SORA_OK);
    snprintf(path, sizeof(path), GOLDEN_ROOT "/models/%s/transformer", name);
    if (sora_transformer_open(path, bench->device, &bench->transformer, &fault))
        fail_msg("%s", fault.text);
    snprintf(path, sizeof(path), "%s/text.safetensors", name);
    struct sora_checkpoint *texts = golden_open(scratch_path("texts"), path);
    bench->contexts[0] = open_context(bench, texts, "embeds.0");
    bench->contexts[1] = open_context(bench, texts, "embeds.4");
    sora_checkpoint_destroy(&texts);
    bench->model = (struct sora_sampler_transformer){bench->transformer, bench->contexts[0],
                                                     bench->contexts[1]};
}

static void bench_close(struct bench *bench)
{
    for (int i = 0; i < 2; i++)
        sora_transformer_context_destroy(&bench->contexts[i]);
    sora_transformer_destroy(&bench->transformer);
    sora_device_destroy(&bench->device);
}

/* Latent `f` of a channel-major video [C,T,H,W]. */
static void copy_latent(const float *video, const int64_t shape[4], int64_t f, float *out)
{
    int64_t pixels = shape[2] * shape[3];
    for (int64_t c = 0; c < shape[0]; c++)
        memcpy(out + c * pixels, video + (c * shape[1] + f) * pixels,
               (size_t)pixels * sizeof(float));
}

/* Relative L2 of the sampler's latents from a channel-major video. */
static double distance(struct sora_sampler *sampler, const float *video, const int64_t shape[4])
{
    size_t count = (size_t)(shape[0] * shape[2] * shape[3]);
    float *got = malloc(2 * count * sizeof(float)), *expected = got + count;
    assert_non_null(got);
    double error = 0, size = 0;
    for (int32_t f = 0; f < shape[1]; f++) {
        assert_int_equal(sora_sampler_get_latent(sampler, f, got, NULL), SORA_OK);
        copy_latent(video, shape, f, expected);
        for (size_t i = 0; i < count; i++) {
            double d = (double)got[i] - (double)expected[i];
            error += d * d;
            size += (double)expected[i] * (double)expected[i];
        }
    }
    free(got);
    return sqrt(error / size);
}

struct golden_case {
    const char *model, *file;
    enum sora_solver_kind solver;
    double shift;
};

static struct sora_sampler *open_sampler(struct bench *bench, const struct sora_schedule *schedule,
                                         const float *noise, const int64_t shape[4])
{
    struct sora_sampler_params params = {
        .timeline = {.latent_count = (int32_t)shape[1], .window_latents = 21, .overlap_latents = 5},
        .channels = (int32_t)shape[0],
        .height = (int32_t)shape[2],
        .width = (int32_t)shape[3],
        .guidance = 5,
        .schedule = schedule,
        .denoiser = sora_sampler_transformer_denoiser(&bench->model)};
    struct sora_sampler *sampler = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_sampler_create(bench->device, &params, &sampler, &fault), SORA_OK);
    float *latent = malloc(sora_sampler_latent_elements(sampler) * sizeof(float));
    assert_non_null(latent);
    for (int32_t f = 0; f < shape[1]; f++) {
        copy_latent(noise, shape, f, latent);
        assert_int_equal(sora_sampler_put_latent(sampler, f, latent, &fault), SORA_OK);
    }
    free(latent);
    return sampler;
}

/* The schedule is the reference's to the bit, so errors come from the transformer alone. */
static void check_schedule(const struct sora_schedule *schedule,
                           const struct sora_checkpoint *values)
{
    float *sigmas = golden_copy(values, "sigmas");
    assert_memory_equal(schedule->sigmas, sigmas, ((size_t)schedule->steps + 1) * sizeof(float));
    free(sigmas);
    const struct sora_checkpoint_entry *entry = golden_entry(values, "timesteps");
    for (int32_t i = 0; i < schedule->steps; i++) {
        int64_t whole;
        float fraction;
        if (schedule->solver == SORA_SOLVER_UNIPC) {
            memcpy(&whole, (const char *)entry->data + (size_t)i * 8, 8);
            assert_true(schedule->timesteps[i] == (float)whole);
        } else {
            memcpy(&fraction, (const char *)entry->data + (size_t)i * 4, 4);
            assert_true(schedule->timesteps[i] == fraction);
        }
    }
}

static void check_sampling(struct bench *bench, const struct golden_case *row)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s.safetensors", row->model, row->file);
    struct sora_checkpoint *values = golden_open(scratch_path("values"), path);
    const struct sora_checkpoint_entry *entry = golden_entry(values, "noise");
    float *noise = golden_copy(values, "noise"), *expected = golden_copy(values, "latents");
    size_t count = (size_t)(entry->shape[0] * entry->shape[1] * entry->shape[2] * entry->shape[3]);
    const struct sora_checkpoint_entry *trail_entry = sora_checkpoint_find(values, "trail");
    float *trail = trail_entry ? golden_copy(values, "trail") : NULL;
    static struct sora_schedule schedule;
    struct sora_schedule_params params = {row->solver, 8, row->shift};
    assert_int_equal(sora_schedule_init(&params, &schedule, NULL), SORA_OK);
    check_schedule(&schedule, values);
    struct sora_sampler *sampler = open_sampler(bench, &schedule, noise, entry->shape);
    for (int32_t step = 0; step < 8; step++) {
        assert_int_equal(sora_sampler_step(sampler, NULL), SORA_OK);
        if (trail)
            assert_true(distance(sampler, trail + (size_t)step * count, entry->shape) <= TOLERANCE);
    }
    double error = distance(sampler, expected, entry->shape);
    print_message("%s %s: relative L2 %.2e\n", row->model, row->file, error);
    assert_true(error <= TOLERANCE);
    sora_sampler_destroy(&sampler);
    free(noise);
    free(expected);
    free(trail);
    sora_checkpoint_destroy(&values);
}

static void test_equals_reference(void **state)
{
    (void)state;
    static const char *const models[] = {"a_f32", "b_bf16", "c_f16", "d_mini"};
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        const struct golden_case cases[] = {
            {models[i], "sampling_euler_shift3", SORA_SOLVER_EULER, 3},
            {models[i], "sampling_unipc_shift3", SORA_SOLVER_UNIPC, 3},
            {models[i], "sampling_unipc_shift5", SORA_SOLVER_UNIPC, 5},
        };
        struct bench bench;
        bench_open(&bench, models[i], 2);
        for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++)
            check_sampling(&bench, &cases[k]);
        bench_close(&bench);
    }
}

/* A timeline of several windows with the real model, made with `threads` threads. */
static float *render_long(int threads, size_t *out_count)
{
    enum { T = 13, LATENT = 16 * 6 * 6 };
    struct bench bench;
    bench_open(&bench, "d_mini", threads);
    static struct sora_schedule schedule;
    struct sora_schedule_params steps = {SORA_SOLVER_UNIPC, 4, 5};
    assert_int_equal(sora_schedule_init(&steps, &schedule, NULL), SORA_OK);
    struct sora_sampler_params params = {
        .timeline = {.latent_count = T, .window_latents = 6, .overlap_latents = 2},
        .channels = 16,
        .height = 6,
        .width = 6,
        .guidance = 4,
        .schedule = &schedule,
        .denoiser = sora_sampler_transformer_denoiser(&bench.model)};
    struct sora_noise_params noise_params = {
        .timeline = params.timeline, .seed = 1, .element_count = LATENT};
    struct sora_noise *noise = NULL;
    struct sora_sampler *sampler = NULL;
    struct sora_fault fault = {0};
    assert_int_equal(sora_noise_create(&noise_params, &noise, &fault), SORA_OK);
    assert_int_equal(sora_sampler_create(bench.device, &params, &sampler, &fault), SORA_OK);
    float *latents = malloc(T * LATENT * sizeof(float));
    assert_non_null(latents);
    for (int32_t f = 0; f < T; f++) {
        sora_noise_latent(noise, f, latents);
        assert_int_equal(sora_sampler_put_latent(sampler, f, latents, &fault), SORA_OK);
    }
    for (int32_t step = 0; step < 4; step++)
        assert_int_equal(sora_sampler_step(sampler, &fault), SORA_OK);
    for (int32_t f = 0; f < T; f++)
        assert_int_equal(sora_sampler_get_latent(sampler, f, latents + f * LATENT, &fault),
                         SORA_OK);
    sora_sampler_destroy(&sampler);
    sora_noise_destroy(&noise);
    bench_close(&bench);
    *out_count = T * LATENT;
    return latents;
}

static void test_threads_change_nothing(void **state)
{
    (void)state;
    size_t count;
    float *one = render_long(1, &count), *three = render_long(3, &count);
    for (size_t i = 0; i < count; i++)
        assert_true(isfinite(one[i]));
    assert_memory_equal(one, three, count * sizeof(float));
    free(one);
    free(three);
}

int main(void)
{
    if (access(GOLDEN_ROOT "/index.json", R_OK)) {
        print_message("skipped: tests/goldens holds no reference values\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_reference),
        cmocka_unit_test(test_threads_change_nothing),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
