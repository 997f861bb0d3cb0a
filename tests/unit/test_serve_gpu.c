/*
 * Serving workers on cards, which the emulator plays: what they tell, a shard alone and in two
 * parts with the same bits, a card and a CPU in one job, and a card's memory from too little to
 * enough.
 */
#include "tests/unit/serve_steps.h"

#include <math.h>
#include <stdlib.h>

#define MODELS SORA_SOURCE_DIR "/tests/goldens/models"
#define MODEL MODELS "/d_mini"

enum { CHANNELS = 16, HEIGHT = 2, WIDTH = 4, LATENTS = 6, STEPS = 2 };
#define ELEMENTS (LATENTS * CHANNELS * HEIGHT * WIDTH)

static const struct sora_range whole = {0, LATENTS};
static const struct sora_range halves[] = {{0, 3}, {3, LATENTS}};
static const char *const card[] = {"gpu0", "gpu0"};
static const char *const cpu[] = {"cpu0"};
static const char *const mixed[] = {"gpu0", "cpu0"};

static struct serve_job make_job(struct serve_node *node)
{
    const struct sora_serve_schedule schedule = {SORA_SOLVER_UNIPC, STEPS, 3.0};
    struct serve_job job = {
        .model = MODEL,
        .elements = CHANNELS * HEIGHT * WIDTH,
        .shard = {.timeline = {.latent_count = LATENTS, .window_latents = 4, .overlap_latents = 1},
                  .channels = CHANNELS,
                  .height = HEIGHT,
                  .width = WIDTH,
                  .guidance = 4.0,
                  .noise_share = 0.5,
                  .seed = 7},
    };
    serve_add_text(node, &job, LATENTS, "a red balloon", "bad quality");
    serve_take_schedule(node, &job, &schedule);
    return job;
}

static float *run(int count, const struct sora_range *ranges, const char *const *devices,
                  const char *memory)
{
    struct serve_node nodes[2];
    struct serve_job job;
    for (int i = 0; i < count; i++) {
        serve_start_on(&nodes[i], SORA_WORKER, MODELS, devices[i], memory);
        serve_open(&nodes[i], MODEL);
        if (i == 0)
            job = make_job(&nodes[0]);
        serve_begin(&nodes[i], &job, ranges[i]);
        serve_loaded(&nodes[i], 0);
    }
    float *latents = serve_sample(nodes, count, &job);
    for (int i = 0; i < count; i++)
        serve_stop(&nodes[i]);
    serve_job_fini(&job);
    return latents;
}

static double distance(const float *a, const float *b)
{
    double difference = 0, size = 0;
    for (int i = 0; i < ELEMENTS; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    return sqrt(difference / size);
}

static void ready_tells_the_card(void **state)
{
    (void)state;
    struct serve_node node;
    setenv("SORA_GPU", "emulator:cdna", 1);
    serve_start_on(&node, SORA_WORKER, MODELS, "gpu0", "33554432");
    assert_string_equal(node.ready.kind, "gpu");
    assert_string_equal(node.ready.name, "emulated-cdna");
    assert_string_equal(node.ready.arch, "emulated-cdna");
    assert_string_equal(node.ready.device_class, "emulated-cdna-bf16-2");
    assert_int_equal(node.ready.threads, 0);
    assert_int_equal(node.ready.memory_total, 33554432);
    assert_non_null(strstr(node.ready.sandbox, "rlimits"));
    serve_stop(&node);
}

/* What other programs hold of a card counts, what the worker itself does not. */
static void memory_of_others(void **state)
{
    (void)state;
    struct serve_node node;
    char text[700];
    const uint64_t mib = 1 << 20;
    uint64_t first = 0;
    snprintf(text, sizeof(text), "emulator:nvidia:memory=64:others=%s", scratch_path("others"));
    setenv("SORA_GPU", text, 1);
    serve_start_on(&node, SORA_WORKER, MODELS, "gpu0", "0");
    assert_int_equal(node.ready.memory_total, 64 * mib);
    assert_in_range(node.ready.memory_free, 40 * mib, 64 * mib);
    serve_open(&node, MODEL);
    struct serve_job job = make_job(&node);
    serve_begin(&node, &job, whole);
    serve_loaded(&node, 0);
    free(serve_sample(&node, 1, &job));
    for (uint64_t held = 0; held <= 20; held += 20) {
        FILE *file = fopen(scratch_path("others"), "w");
        assert_true(file && fprintf(file, "%d", (int)held) > 0 && fclose(file) == 0);
        serve_send(&node, SORA_SERVE_MEMORY, NULL, 0, NULL, 0);
        struct sora_frame frame = serve_expect(&node, SORA_SERVE_MEMORY_IS);
        const struct sora_serve_number *bytes = frame.head;
        if (held == 0) /* but for staging, which the emulator counts */
            assert_in_range(bytes->value, node.ready.memory_free - 8 * mib, node.ready.memory_free);
        else
            assert_int_equal(bytes->value, first - held * mib);
        first = (uint64_t)bytes->value;
    }
    serve_stop(&node);
    serve_job_fini(&job);
}

/* ---- libraries outside the system's folders ---- */

/* What a worker says first, with its libraries where its sandbox would not let it read. */
static struct sora_frame first_answer(struct serve_node *node)
{
    const char *cache = scratch_path("cache");
    const char *const argv[] = {"sora-worker", "serve", "--device", "gpu0", "--cache", cache, NULL};
    const struct sora_child_params params = {.program = SORA_WORKER, .argv = argv};
    *node = (struct serve_node){0};
    assert_int_equal(sora_child_create(&params, &node->child, NULL), 0);
    return serve_answer(node);
}

static void a_library_of_products_from_anywhere(void **state)
{
    (void)state;
    struct serve_node node;
    setenv("SORA_GPU", "emulator:nvidia", 1);
    setenv("SORA_GPU_BLAS", scratch_path("libproducts.so"), 1);
    scratch_copy(SORA_FAKE_GPU_BLAS, scratch_path("libproducts.so"));
    struct sora_frame frame = first_answer(&node);
    const struct sora_serve_ready *ready = frame.head;
    assert_int_equal(frame.kind, SORA_SERVE_READY);
    if (!strstr(ready->device_class, "-cublaslt"))
        fail_msg("products by own kernels: %s", ready->device_class);
    serve_stop(&node);
    unsetenv("SORA_GPU_BLAS");
}

/* The driver that is found by its name is asked, and says what it is; its cache is one that the
 * sandbox lets it write. */
static void a_driver_from_anywhere(void **state)
{
    (void)state;
    struct serve_node node;
    char text[SORA_FAULT_TEXT_SIZE] = "";
    unsetenv("SORA_GPU");
    setenv("LD_LIBRARY_PATH", scratch_dir, 1);
    scratch_copy(SORA_FAKE_GPU_DRIVER, scratch_path("libcuda.so.1"));
    struct sora_frame frame = first_answer(&node);
    assert_int_equal(frame.kind, SORA_SERVE_FAILED);
    memcpy(text, frame.payload, frame.payload_size);
    if (!strstr(text, "NVIDIA: driver version 0 is older"))
        fail_msg("the driver was not asked: %s", text);
    assert_int_equal(access(scratch_path("cache/index"), F_OK), 0);
    serve_kill(&node);
    unsetenv("LD_LIBRARY_PATH");
}

/* The same bits however the shard is cut, close to the CPU's latents, and the same bits again in a
 * job of a card and a CPU. */
static void shards_on_cards(void **state)
{
    (void)state;
    setenv("SORA_GPU", "emulator:nvidia", 1);
    float *one = run(1, &whole, card, "0"), *two = run(2, halves, card, "0");
    float *plain = run(1, &whole, cpu, "0");
    float *first = run(2, halves, mixed, "0"), *second = run(2, halves, mixed, "0");
    assert_memory_equal(two, one, ELEMENTS * sizeof(float));
    assert_memory_equal(second, first, ELEMENTS * sizeof(float));
    print_message("card and CPU: %.1e, mixed and CPU: %.1e\n", distance(one, plain),
                  distance(first, plain));
    assert_true(distance(one, plain) > 0.0 && distance(one, plain) <= 2e-2);
    assert_true(distance(first, plain) > 0.0 && distance(first, plain) <= 2e-2);
    free(one);
    free(two);
    free(plain);
    free(first);
    free(second);
}

/* ---- memory of a card, from too little to enough ---- */

/* Where the rows of a text come from, by their bits: a card's are close to the CPU's. */
enum text_place { TEXT_ON_CPU, TEXT_ON_CARD };

static enum text_place text_place(struct serve_node *node, const struct serve_job *cpu_rows)
{
    struct serve_job job = {.model = MODEL};
    double difference = 0;
    serve_encode(node, &job, "a red balloon");
    assert_int_equal(job.rows_count, cpu_rows->rows_count);
    bool same = memcmp(job.rows, cpu_rows->rows, job.rows_count * sizeof(float)) == 0;
    for (size_t i = 0; i < job.rows_count; i++)
        difference = fmax(difference, fabs((double)job.rows[i] - cpu_rows->rows[i]));
    assert_true(difference < 0.1);
    serve_job_fini(&job);
    return same ? TEXT_ON_CPU : TEXT_ON_CARD;
}

/* Samples the whole video and decodes its first frame; the final latents, owned by the caller. */
static float *make_video(struct serve_node *node, const struct serve_job *job)
{
    const struct sora_serve_decode decode = {{0, 1}, 0, WIDTH * 16, HEIGHT * 16, 16, 1, 8};
    const char *prefix = scratch_path("tight");
    serve_loaded(node, 0);
    float *latents = serve_sample(node, 1, job);
    serve_send(node, SORA_SERVE_DECODE, &decode, sizeof(decode), prefix, strlen(prefix));
    serve_expect(node, SORA_SERVE_PIECE);
    serve_expect(node, SORA_SERVE_DECODED);
    return latents;
}

/* A card of every size: texts go to the CPU where not one block of the encoder fits; a shard is
 * refused with what it needs until the plan says that it fits, and then it does: phases that do not
 * fit beside each other make room, and a decoder goes frame by frame. */
static void too_little_memory(void **state)
{
    (void)state;
    struct serve_node plain, tight;
    struct serve_job cpu_rows = {.model = MODEL};
    bool refused = false, on_cpu = false, fits = false;
    char memory[32];
    setenv("SORA_GPU", "emulator:nvidia", 1);
    serve_start(&plain, SORA_WORKER, MODELS);
    serve_open(&plain, MODEL);
    serve_encode(&plain, &cpu_rows, "a red balloon");
    struct serve_job job = make_job(&plain);
    serve_start_on(&tight, SORA_WORKER, MODELS, "gpu0", "0");
    serve_open(&tight, MODEL);
    serve_begin(&tight, &job, whole);
    float *expected = make_video(&tight, &job);
    serve_stop(&tight);
    for (int limit = 20000; !fits; limit += limit < 100000 ? 16000 : 150000) {
        assert_true(limit < 8000000);
        snprintf(memory, sizeof(memory), "%d", limit);
        serve_start_on(&tight, SORA_WORKER, MODELS, "gpu0", memory);
        serve_open(&tight, MODEL);
        enum text_place place = text_place(&tight, &cpu_rows);
        on_cpu = on_cpu || place == TEXT_ON_CPU;
        serve_send_shard(&tight, &job, whole);
        struct sora_frame frame = serve_answer(&tight);
        fits = frame.kind == SORA_SERVE_SHARD_OPENED;
        if (!fits) {
            char text[SORA_FAULT_TEXT_SIZE] = "";
            memcpy(text, frame.payload, frame.payload_size);
            assert_non_null(strstr(text, "GB of memory"));
            assert_non_null(strstr(text, "--precision int8"));
            refused = true;
        } else {
            assert_int_equal(place, TEXT_ON_CARD);
            print_message("a card of %d bytes is enough\n", limit);
            float *latents = make_video(&tight, &job);
            assert_memory_equal(latents, expected, ELEMENTS * sizeof(float));
            free(latents);
        }
        serve_stop(&tight);
    }
    assert_true(refused && on_cpu);
    serve_stop(&plain);
    serve_job_fini(&job);
    serve_job_fini(&cpu_rows);
    free(expected);
}

static void wrong_names_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *device, *given, *words;
    } rows[] = {
        {"gpu0", "emulator:rdna9", "nvidia, cdna, rdna3"},
        {"gpu0", "emulator:cdna:lost=x", ":lost=N"},
        {"gpu99", "emulator:cdna", "use cpu0, or gpu0"},
        {"npu0", "emulator:cdna", "use cpu0, or gpu0"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *const argv[] = {"sora-worker", "serve", "--device", rows[i].device,
                                    "--read",      MODELS,  NULL};
        const struct sora_child_params params = {.program = SORA_WORKER, .argv = argv};
        struct serve_node node = {0};
        setenv("SORA_GPU", rows[i].given, 1);
        assert_int_equal(sora_child_create(&params, &node.child, NULL), 0);
        struct sora_frame frame = serve_expect(&node, SORA_SERVE_FAILED);
        char text[SORA_FAULT_TEXT_SIZE] = "";
        memcpy(text, frame.payload, frame.payload_size);
        if (!strstr(text, rows[i].words))
            fail_msg("'%s' does not say '%s'", text, rows[i].words);
        serve_kill(&node);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ready_tells_the_card),
        cmocka_unit_test(memory_of_others),
        cmocka_unit_test(a_library_of_products_from_anywhere),
        cmocka_unit_test(a_driver_from_anywhere),
        cmocka_unit_test(shards_on_cards),
        cmocka_unit_test(too_little_memory),
        cmocka_unit_test(wrong_names_are_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
