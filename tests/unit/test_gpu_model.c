/*
 * The model through the whole GPU backend on the emulator, against the reference values of the
 * diffusers library: transformer forward relative L2 <= 1e-5 with products in f32, <= 2e-2 in 16
 * bits, <= 1e-2 with weights of int8 and <= 4e-2 of fp8; the VAE's decoder against the plain CPU,
 * 1e-5 and 4e-2.
 */
#include "tests/unit/transformer_bench.h"

#include "base/log.h"
#include "hip/cpu/cpu.h"
#include "hip/gpu/emulated.h"
#include "hip/gpu/gpu.h"
#include "model/checkpoint.h"
#include "model/vae.h"

#define EXACT_TOLERANCE 1e-5
#define HALF_TOLERANCE 2e-2
#define INT8_TOLERANCE 1e-2   /* the blocks' matrices as int8, products in bf16 */
#define FP8_TOLERANCE 4e-2    /* the same as fp8 */
#define DECODE_TOLERANCE 4e-2 /* some 40 convolutions one after the other, with random weights */

static struct sora_device *emulated(int kind, enum sora_gpu_precision precision)
{
    const struct sora_gpu_params params = {
        .vendor = SORA_GPU_EMULATOR, .index = kind, .precision = precision};
    struct sora_device *device = NULL;
    struct sora_fault fault = {0};
    if (sora_gpu_device_create(&params, &device, &fault))
        fail_msg("%s", fault.text);
    return device;
}

static double forward_tolerance(enum sora_gpu_precision precision)
{
    return precision == SORA_GPU_F32    ? EXACT_TOLERANCE
           : precision == SORA_GPU_INT8 ? INT8_TOLERANCE
           : precision == SORA_GPU_FP8  ? FP8_TOLERANCE
                                        : HALF_TOLERANCE;
}

static void forward_test(const char *model, int kind, enum sora_gpu_precision precision)
{
    char dir[256];
    struct bench bench;
    struct sora_device_caps caps;
    snprintf(dir, sizeof(dir), GOLDEN_ROOT "/models/%s/transformer", model);
    bench_open_on(&bench, dir, emulated(kind, precision));
    sora_device_caps(bench.device, &caps);
    double error = golden_error(&bench, model, 0);
    print_message("%s on %s: relative L2 %.2e\n", model, caps.device_class, error);
    assert_true(error <= forward_tolerance(precision));
    bench_close(&bench);
}

static const char *const models[] = {"a_f32", "b_bf16", "c_f16", "d_mini"};
#define MODELS (int)(sizeof(models) / sizeof(models[0]))

/* Every kind, every model; each model on two kinds or more. */
static void test_forward_bf16(void **state)
{
    (void)state;
    for (int kind = 0; kind < SORA_EMULATOR_MODULES; kind++) {
        forward_test(models[kind % MODELS], kind, SORA_GPU_BF16);
        forward_test(models[(kind + 2) % MODELS], kind, SORA_GPU_F16);
    }
}

static void test_forward_f32(void **state)
{
    (void)state;
    for (int kind = 0; kind < SORA_EMULATOR_MODULES; kind++)
        forward_test(models[kind % MODELS], kind, SORA_GPU_F32);
}

/* Matrices of the blocks as int8: two kinds with matrix units and one without. */
static void test_forward_int8(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        forward_test(models[i], i == 2 ? 4 : i, SORA_GPU_INT8);
}

/* The same as fp8, on the kinds that stand for cards with it. */
static void test_forward_fp8(void **state)
{
    (void)state;
    static const int kinds[MODELS] = {0, 1, 3, 0};
    for (int i = 0; i < MODELS; i++)
        forward_test(models[i], kinds[i], SORA_GPU_FP8);
}

/* Weights reach the card aligned, whatever the length of their file's head. */
static void test_weights_are_aligned(void **state)
{
    (void)state;
    struct sora_fault fault = {0};
    for (int i = 0; i < MODELS; i++) {
        char dir[256];
        struct sora_checkpoint *checkpoint = NULL;
        struct sora_weights *weights = NULL;
        struct sora_stream *stream = NULL;
        struct sora_device *device = emulated(0, SORA_GPU_BF16);
        snprintf(dir, sizeof(dir), GOLDEN_ROOT "/models/%s/transformer", models[i]);
        assert_int_equal(sora_checkpoint_open(dir, &checkpoint, &fault), 0);
        assert_int_equal(sora_weights_create(checkpoint, device, &weights, &fault), 0);
        assert_int_equal(sora_stream_create(device, &stream), 0);
        for (int k = 0; k < sora_checkpoint_count(checkpoint); k++) {
            const struct sora_checkpoint_entry *entry = sora_checkpoint_at(checkpoint, k);
            struct sora_tensor tensor;
            assert_int_equal(sora_weights_get(weights, entry->rank, entry->shape, &tensor, &fault,
                                              "%s", entry->name),
                             0);
            assert_int_equal(tensor.offset % 16, 0);
            void *data = malloc(entry->size);
            assert_int_equal(sora_tensor_download(stream, &tensor, data), 0);
            assert_memory_equal(data, entry->data, entry->size);
            free(data);
        }
        sora_stream_destroy(&stream);
        sora_weights_destroy(&weights);
        sora_checkpoint_destroy(&checkpoint);
        sora_device_destroy(&device);
    }
}

/* ---- the VAE's decoder: a shot's first two latents, 5 frames ---- */

enum { LATENTS = 2, LATENT_ROWS = 2, LATENT_COLUMNS = 3, FRAMES_MAX = 4 * LATENTS };

static size_t decode(const char *dir, struct sora_device *device, float *out_frames)
{
    struct sora_fault fault = {0};
    struct sora_vae *vae = NULL;
    struct sora_vae_decoder *decoder = NULL;
    if (sora_vae_open(dir, device, &vae, &fault) ||
        sora_vae_decoder_create(vae, LATENT_ROWS, LATENT_COLUMNS, &decoder, &fault))
        fail_msg("%s", fault.text);
    const struct sora_vae_config *config = sora_vae_config(vae);
    size_t values = (size_t)(config->channels * LATENT_ROWS * LATENT_COLUMNS), floats = 0;
    size_t frame = (size_t)(3 * LATENT_ROWS * LATENT_COLUMNS) *
                   (size_t)(config->spatial_factor * config->spatial_factor);
    float *latent = malloc(values * sizeof(float));
    uint64_t seed = 3;
    for (int i = 0; i < LATENTS; i++) {
        int count = 0;
        for (size_t k = 0; k < values; k++)
            latent[k] = fixture_random(&seed);
        if (sora_vae_decoder_next(decoder, latent, out_frames + floats, NULL, &count, &fault))
            fail_msg("%s", fault.text);
        floats += (size_t)count * frame;
    }
    free(latent);
    sora_vae_decoder_destroy(&decoder);
    sora_vae_destroy(&vae);
    sora_device_destroy(&device);
    return floats;
}

static void decode_test(const char *model, int kind, enum sora_gpu_precision precision)
{
    const struct sora_cpu_params plain = {.thread_count = 1, .path = SORA_CPU_PATH_PLAIN};
    const size_t room = (size_t)FRAMES_MAX * 3 * LATENT_ROWS * LATENT_COLUMNS * 256 * sizeof(float);
    float *expected = malloc(room), *got = malloc(room);
    struct sora_device *cpu = NULL;
    char dir[256];
    snprintf(dir, sizeof(dir), GOLDEN_ROOT "/models/%s/vae", model);
    assert_int_equal(sora_cpu_device_create(&plain, &cpu, NULL), 0);
    size_t count = decode(dir, cpu, expected);
    assert_int_equal(decode(dir, emulated(kind, precision), got), count);
    double error = relative_l2(got, expected, count);
    print_message("%s decoded on kind %d: relative L2 %.2e\n", model, kind, error);
    assert_true(error <= (precision == SORA_GPU_F32 ? EXACT_TOLERANCE : DECODE_TOLERANCE));
    free(expected);
    free(got);
}

static void test_decode(void **state)
{
    (void)state;
    decode_test("d_mini", 0, SORA_GPU_BF16);
    decode_test("b_bf16", 2, SORA_GPU_BF16);
    decode_test("a_f32", 1, SORA_GPU_F32);
}

int main(void)
{
    sora_log_set_level(SORA_LOG_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forward_f32, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_forward_bf16, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_forward_int8, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_forward_fp8, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_weights_are_aligned),
        cmocka_unit_test(test_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
