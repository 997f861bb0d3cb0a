/*
 * Memory of a card, on the emulator: what the plan says against the pool's measured peak of every
 * phase; what leaves and comes back; and the ladder of model/ when memory is short, whose rungs
 * give the same bits as the way with all memory.
 */
#include "tests/unit/transformer_bench.h"

#include "base/log.h"
#include "hip/gpu/emulated.h"
#include "hip/gpu/internal.h"
#include "model/text_encoder.h"
#include "node/device_plan.h"
#include "node/serve_parts.h"

#define MODEL GOLDEN_ROOT "/models/d_mini"
/* The plan counts the greatest text, alignment and scratch that short rows do not need. */
#define PLAN_MARGIN 1.35

enum {
    ROWS = 2,
    COLUMNS = 2,
    LATENTS = 2,
    TEXT_ROWS = 20,
    SCALE = 16,
    CHANNELS = 16,
    TEXT_WIDTH = 24
};
#define LATENT_VALUES (CHANNELS * ROWS * COLUMNS)
#define FRAME_VALUES (3 * ROWS * COLUMNS * SCALE * SCALE)

static struct sora_device *emulated(int kind, enum sora_gpu_precision precision, uint64_t limit)
{
    const struct sora_gpu_params params = {
        .vendor = SORA_GPU_EMULATOR, .index = kind, .precision = precision, .memory_limit = limit};
    struct sora_device *device = NULL;
    struct sora_fault fault = {0};
    if (sora_gpu_device_create(&params, &device, &fault))
        fail_msg("%s", fault.text);
    return device;
}

static uint64_t used_max(const struct sora_device *device)
{
    struct sora_gpu_pool_use use;
    sora_gpu_pool_use(((const struct sora_gpu_device *)device)->pool, &use);
    return use.used_bytes_max;
}

static uint64_t used_now(const struct sora_device *device)
{
    struct sora_gpu_pool_use use;
    sora_gpu_pool_use(((const struct sora_gpu_device *)device)->pool, &use);
    return use.used_bytes;
}

static struct sora_device_plan plan_of(enum sora_gpu_precision precision)
{
    const struct sora_device_plan_ask ask = {MODEL, COLUMNS * SCALE, ROWS * SCALE,
                                             1 + 4 * (LATENTS - 1), precision};
    struct sora_device_plan plan;
    struct sora_fault fault = {0};
    if (sora_device_plan_make(&ask, &plan, &fault))
        fail_msg("%s", fault.text);
    assert_int_equal(plan.latents, LATENTS);
    return plan;
}

static void expect_peak(const char *phase, uint64_t measured, uint64_t planned)
{
    print_message("%-24s %8.0f KiB measured, %8.0f planned\n", phase, (double)measured / 1024,
                  (double)planned / 1024);
    assert_true(measured <= planned);
    assert_true((double)planned <= PLAN_MARGIN * (double)measured);
}

static float *random_values(size_t count, uint64_t seed)
{
    float *values = malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        values[i] = fixture_random(&seed);
    return values;
}

/* ---- sampling ---- */

static void velocity_of(struct bench *bench, float *out_velocity)
{
    float *latents = random_values(LATENTS * LATENT_VALUES, 5);
    float *text = random_values(TEXT_ROWS * TEXT_WIDTH, 6);
    const struct request request = {.frames = LATENTS,
                                    .height = ROWS,
                                    .width = COLUMNS,
                                    .latents = latents,
                                    .text = text,
                                    .count = TEXT_ROWS,
                                    .text_rows = 512,
                                    .timestep = 500};
    predict(bench, &request, out_velocity);
    free(latents);
    free(text);
}

static void sampling_peak(enum sora_gpu_precision precision, const char *name)
{
    struct sora_device_plan plan = plan_of(precision);
    struct bench bench;
    static float velocity[LATENTS * LATENT_VALUES];
    bench_open_on(&bench, MODEL "/transformer", emulated(0, precision, 0));
    uint64_t before = used_now(bench.device);
    assert_int_equal(sora_transformer_held(bench.transformer), 0);
    velocity_of(&bench, velocity);
    /* One context of the plan's two, and latents of one step. */
    uint64_t held = sora_transformer_held(bench.transformer);
    expect_peak(name, held, plan.transformer + plan.activations);
    assert_true(used_max(bench.device) - before <= plan.sampling_peak);
    bench_close(&bench);
}

static void test_sampling(void **state)
{
    (void)state;
    sampling_peak(SORA_GPU_BF16, "sampling, bf16");
    sampling_peak(SORA_GPU_INT8, "sampling, int8");
    sampling_peak(SORA_GPU_FP8, "sampling, fp8");
    assert_true(plan_of(SORA_GPU_INT8).transformer < plan_of(SORA_GPU_BF16).transformer);
}

/* Weights leave and come back: nothing is held, the bits are those of before. */
static void test_weights_leave(void **state)
{
    (void)state;
    struct bench bench;
    static float first[LATENTS * LATENT_VALUES], second[LATENTS * LATENT_VALUES];
    bench_open_on(&bench, MODEL "/transformer", emulated(0, SORA_GPU_BF16, 0));
    uint64_t before = used_now(bench.device);
    velocity_of(&bench, first);
    assert_true(used_now(bench.device) > before);
    sora_transformer_unload(bench.transformer);
    assert_int_equal(sora_transformer_held(bench.transformer), 0);
    sora_stream_destroy(&bench.stream); /* with the scratch of its products */
    assert_int_equal(sora_stream_create(bench.device, &bench.stream), 0);
    assert_int_equal(used_now(bench.device), before);
    velocity_of(&bench, second);
    assert_memory_equal(first, second, sizeof(first));
    bench_close(&bench);
}

/* No memory at each allocation of a load in turn: nothing stays, and the next load is whole. */
static void test_load_fails_anywhere(void **state)
{
    (void)state;
    struct bench bench;
    struct sora_emulated_counts counts;
    struct sora_fault fault = {0};
    bench_open_on(&bench, MODEL "/transformer", emulated(0, SORA_GPU_INT8, 0));
    uint64_t before = used_now(bench.device);
    sora_emulated_set(NULL);
    assert_int_equal(sora_transformer_load(bench.transformer, &fault), 0);
    sora_emulated_count(&counts);
    sora_transformer_unload(bench.transformer);
    assert_true(counts.allocations > 100);
    for (int64_t n = 1; n <= counts.allocations; n += 7) {
        sora_emulated_set(&(struct sora_emulated_controls){.memory_at = n});
        assert_int_equal(sora_transformer_load(bench.transformer, &fault), SORA_E_MEMORY);
        assert_int_equal(used_now(bench.device), before);
    }
    sora_emulated_set(NULL);
    assert_int_equal(sora_transformer_load(bench.transformer, &fault), 0);
    bench_close(&bench);
}

/* ---- decoding ---- */

/* Frames of LATENTS latents; *out_peak: what the device used at most from opening on. */
static size_t decode(struct sora_device *device, int context, uint8_t *out_rgb, float *out_frames,
                     uint64_t *out_peak)
{
    struct sora_fault fault = {0};
    struct sora_vae *vae = NULL;
    struct sora_vae_decoder *decoder = NULL;
    uint64_t before = used_now(device);
    if (sora_vae_open(MODEL "/vae", device, &vae, &fault) ||
        sora_vae_decoder_create(vae, ROWS, COLUMNS, &decoder, &fault))
        fail_msg("%s", fault.text);
    float *latents = random_values((LATENTS + 2) * LATENT_VALUES, 3);
    size_t frames = 0;
    sora_vae_decoder_begin(decoder, context ? 1 : 0, context ? 1 + context : 0);
    for (int i = 0; i < LATENTS; i++) {
        int count = 0;
        if (sora_vae_decoder_next(decoder, latents + (size_t)i * LATENT_VALUES,
                                  out_frames + frames * FRAME_VALUES,
                                  out_rgb + frames * FRAME_VALUES, &count, &fault))
            fail_msg("%s", fault.text);
        frames += (size_t)count;
    }
    *out_peak = used_max(device) - before;
    free(latents);
    sora_vae_decoder_destroy(&decoder);
    sora_vae_unload(vae);
    sora_vae_destroy(&vae);
    assert_int_equal(used_now(device), before);
    sora_device_destroy(&device);
    return frames;
}

/* Whole passes, then with a limit that only a decoder by frames fits in: the same bits, and both
 * stay within their plans. */
static void decode_test(int kind, enum sora_gpu_precision precision, int context, bool is_planned)
{
    enum { FRAMES = 4 * LATENTS };
    float *whole = malloc(FRAMES * FRAME_VALUES * sizeof(float));
    float *by_frame = malloc(FRAMES * FRAME_VALUES * sizeof(float));
    uint8_t *rgb = malloc(2 * FRAMES * FRAME_VALUES);
    struct sora_device *device = emulated(kind, precision, 0);
    struct sora_device_plan plan = plan_of(precision);
    uint64_t made = used_now(device), peak = 0, peak_min = 0;
    size_t frames = decode(device, context, rgb, whole, &peak);
    device = emulated(kind, precision, made + peak - 4096);
    assert_int_equal(decode(device, context, rgb + FRAMES * FRAME_VALUES, by_frame, &peak_min),
                     frames);
    assert_memory_equal(by_frame, whole, frames * FRAME_VALUES * sizeof(float));
    assert_memory_equal(rgb + FRAMES * FRAME_VALUES, rgb, frames * FRAME_VALUES);
    assert_true(peak_min < peak);
    if (is_planned) {
        expect_peak("decoding", peak, plan.vae + plan.decoding);
        expect_peak("decoding, by frame", peak_min, plan.vae + plan.decoding_min);
    }
    free(whole);
    free(by_frame);
    free(rgb);
}

static void test_decoding(void **state)
{
    (void)state;
    decode_test(3, SORA_GPU_BF16, 0, true);
}

/* ---- texts ---- */

static uint64_t encode(struct sora_device *device, float *out_rows, int *out_error)
{
    static const int32_t ids[] = {3, 77, 5, 1599, 3, 1};
    struct sora_fault fault = {0};
    struct sora_text_encoder *encoder = NULL;
    uint64_t before = used_now(device);
    int opened = sora_text_encoder_open(MODEL "/text_encoder", device, &encoder, &fault);
    *out_error = opened;
    for (int i = 0; i < 2 && !opened; i++)
        *out_error = sora_text_encoder_encode(encoder, ids, 6 - i, out_rows, &fault);
    uint64_t peak = used_max(device) - before;
    sora_text_encoder_destroy(&encoder);
    assert_int_equal(used_now(device), before);
    sora_device_destroy(&device);
    return peak;
}

/* Whole; block by block, when whole does not fit; and not at all, which is an error of the text. */
static void test_texts(void **state)
{
    (void)state;
    float whole[6 * TEXT_WIDTH], by_block[6 * TEXT_WIDTH];
    struct sora_device_plan plan = plan_of(SORA_GPU_BF16);
    int error = 0;
    struct sora_device *device = emulated(0, SORA_GPU_BF16, 0);
    uint64_t made = used_now(device);
    uint64_t peak = encode(device, whole, &error);
    assert_int_equal(error, 0);
    assert_true(peak <= plan.text_peak);
    uint64_t tight = encode(emulated(0, SORA_GPU_BF16, made + peak - 1024), by_block, &error);
    assert_int_equal(error, 0);
    assert_memory_equal(by_block, whole, 5 * TEXT_WIDTH * sizeof(float));
    assert_true(tight < peak && tight <= plan.text_peak_min);
    print_message("texts %llu bytes, by block %llu\n", (unsigned long long)peak,
                  (unsigned long long)tight);
    encode(emulated(0, SORA_GPU_BF16, made + tight / 2), by_block, &error);
    assert_int_equal(error, SORA_E_MEMORY);
}

/* A driver that has no memory at one allocation, the n-th, while texts are encoded whole: block by
 * block then. */
static void test_texts_fail_anywhere(void **state)
{
    (void)state;
    float whole[6 * TEXT_WIDTH], got[6 * TEXT_WIDTH];
    struct sora_emulated_counts counts;
    int error = 0;
    struct sora_device *device = emulated(0, SORA_GPU_BF16, 0);
    sora_emulated_set(NULL);
    encode(device, whole, &error);
    sora_emulated_count(&counts);
    int encoded = 0;
    for (int64_t n = 1; n <= counts.allocations; n += 4) {
        device = emulated(0, SORA_GPU_BF16, 0);
        sora_emulated_set(&(struct sora_emulated_controls){.memory_at = n});
        encode(device, got, &error);
        sora_emulated_set(NULL);
        if (error) /* the stream, or what opening takes */
            assert_int_equal(error, SORA_E_MEMORY);
        else
            assert_memory_equal(got, whole, 5 * TEXT_WIDTH * sizeof(float));
        encoded += !error;
    }
    assert_true(encoded > 10);
}

/* ---- the phases of a shard ---- */

static void serve_make(struct sora_serve *serve, struct sora_device *device)
{
    struct sora_fault fault = {0};
    *serve = (struct sora_serve){.device = device, .work = calloc(1, sizeof(*serve->work))};
    serve->work->asked =
        (struct sora_serve_shard){.timeline = {.latent_count = LATENTS, .window_latents = LATENTS},
                                  .owned = {0, LATENTS},
                                  .channels = CHANNELS,
                                  .height = ROWS,
                                  .width = COLUMNS,
                                  .guidance = 1,
                                  .text_count = 1,
                                  .texts = {{0, LATENTS, TEXT_ROWS, 0}}};
    if (sora_transformer_open(MODEL "/transformer", device, &serve->model.transformer, &fault) ||
        sora_vae_open(MODEL "/vae", device, &serve->model.vae, &fault))
        fail_msg("%s", fault.text);
}

static void serve_end(struct sora_serve *serve)
{
    sora_serve_work_destroy(&serve->work);
    sora_vae_destroy(&serve->model.vae);
    sora_transformer_destroy(&serve->model.transformer);
    sora_device_destroy(&serve->device);
}

static int decoder_try(const struct sora_serve *serve)
{
    struct sora_vae_decoder *decoder = NULL;
    struct sora_fault fault = {0};
    int error = sora_vae_decoder_create(serve->model.vae, ROWS, COLUMNS, &decoder, &fault);
    sora_vae_decoder_destroy(&decoder);
    return error;
}

static void expect_line(const struct sora_serve *serve, enum sora_serve_phase phase,
                        const char *words)
{
    struct sora_fault fault = {0};
    sora_fault_set(&fault, SORA_E_MEMORY, "tensor x: out of memory");
    assert_int_equal(sora_serve_memory_fault(serve, phase, SORA_E_MEMORY, &fault), SORA_E_MEMORY);
    print_message("%s\n", fault.text);
    assert_non_null(strstr(fault.text, words));
    assert_non_null(strstr(fault.text, "of the card, which has 0.00 GB free"));
    assert_non_null(strstr(fault.text, "--precision int8"));
    assert_int_equal(sora_serve_memory_fault(serve, phase, SORA_E_DEVICE, &fault), SORA_E_DEVICE);
}

/* A card that holds the transformer or a decoder by frames, not both: each phase finds its room,
 * and when all has left there is a line. */
static void test_phases(void **state)
{
    (void)state;
    struct sora_serve serve;
    struct sora_fault fault = {0};
    struct sora_device_plan plan = plan_of(SORA_GPU_BF16);
    struct sora_device *device = emulated(0, SORA_GPU_BF16, 0);
    uint64_t made = used_now(device);
    sora_device_destroy(&device);
    uint64_t decoder = plan.vae + plan.decoding_min;
    serve_make(&serve, emulated(0, SORA_GPU_BF16, made + decoder + plan.transformer / 2));
    uint64_t before = used_now(serve.device);
    assert_int_equal(sora_transformer_load(serve.model.transformer, &fault), 0);
    assert_int_equal(decoder_try(&serve), SORA_E_MEMORY);
    assert_true(sora_serve_more_for_decoding(&serve));
    assert_int_equal(decoder_try(&serve), 0);
    assert_false(sora_serve_more_for_decoding(&serve)); /* nothing is left to leave */
    assert_true(used_now(serve.device) > before);       /* the decoder's weights */
    sora_serve_room_for_sampling(&serve);
    assert_int_equal(used_now(serve.device), before);
    assert_int_equal(sora_transformer_load(serve.model.transformer, &fault), 0);
    sora_serve_room_for_texts(&serve, 0);
    assert_true(sora_transformer_held(serve.model.transformer) > 0);
    sora_serve_room_for_texts(&serve, UINT64_MAX);
    assert_int_equal(used_now(serve.device), before);
    assert_int_equal(sora_transformer_load(serve.model.transformer, &fault), 0);
    assert_true(sora_serve_more_for_sampling(&serve));
    assert_int_equal(used_now(serve.device), before);
    expect_line(&serve, SORA_SERVE_SAMPLING, "sampling: latents of 2x2 need 0.00 GB");
    expect_line(&serve, SORA_SERVE_DECODING, "decoding: latents of 2x2 need 0.00 GB");
    serve_end(&serve);
}

int main(void)
{
    sora_log_set_level(SORA_LOG_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_weights_leave),
        cmocka_unit_test(test_load_fails_anywhere),
        cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_texts_fail_anywhere),
        cmocka_unit_test(test_phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
