/*
 * Serving workers on cards, which the emulator plays: what they tell, a shard alone and in two
 * parts with the same bits, a card and a CPU in one job, a card's memory that texts do not fit in.
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
    for (int32_t step = 0; step < STEPS; step++)
        serve_step(nodes, count, &job, step);
    float *latents = serve_collect(nodes, count, &job);
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
    assert_string_equal(node.ready.device_class, "emulated-cdna-bf16-1");
    assert_int_equal(node.ready.threads, 0);
    assert_int_equal(node.ready.memory_total, 33554432);
    assert_non_null(strstr(node.ready.sandbox, "rlimits"));
    serve_stop(&node);
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

/* The rows of a text by a worker with so little memory that the model just opens: those of the CPU,
 * bit for bit. */
static void texts_without_room(void **state)
{
    (void)state;
    struct serve_node tight, plain;
    struct serve_job job = {.model = MODEL}, expected = {.model = MODEL};
    char memory[32];
    setenv("SORA_GPU", "emulator:nvidia", 1);
    for (int limit = 1600000;; limit += 40000) {
        snprintf(memory, sizeof(memory), "%d", limit);
        assert_true(limit < 8000000);
        serve_start_on(&tight, SORA_WORKER, MODELS, "gpu0", memory);
        serve_send(&tight, SORA_SERVE_OPEN, NULL, 0, MODEL, strlen(MODEL));
        if (serve_answer(&tight).kind == SORA_SERVE_OPENED)
            break;
        serve_stop(&tight);
    }
    serve_start(&plain, SORA_WORKER, MODELS);
    serve_open(&plain, MODEL);
    serve_encode(&tight, &job, "a red balloon");
    serve_encode(&plain, &expected, "a red balloon");
    assert_int_equal(job.rows_count, expected.rows_count);
    assert_memory_equal(job.rows, expected.rows, job.rows_count * sizeof(float));
    serve_stop(&tight);
    serve_stop(&plain);
    serve_job_fini(&job);
    serve_job_fini(&expected);
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
        cmocka_unit_test(shards_on_cards),
        cmocka_unit_test(texts_without_room),
        cmocka_unit_test(wrong_names_are_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
