/*
 * `sora-worker serve` as real children: one that owns everything and several that exchange halos
 * give the bits of a render on one device, also after a child was killed and another went on from
 * its state; decoded pieces hold the frames of a plain decoding, also from the middle. Commands
 * that do not fit are refused and leave the child alive.
 */
#include "hip/cpu/cpu.h"
#include "media/segment.h"
#include "model/vae.h"
#include "node/render_sample.h"
#include "node/text_rows.h"

#include "tests/unit/serve_steps.h"

#define MODELS SORA_SOURCE_DIR "/tests/goldens/models"
#define MODEL MODELS "/d_mini"
#define CHANNELS 16
#define HEIGHT 2
#define WIDTH 4
#define LATENTS 11
#define STEPS 4
#define GUIDANCE 4.0
#define SHIFT 3.0
#define SEED 7
#define SIZE (LATENTS * CHANNELS * HEIGHT * WIDTH * sizeof(float))

static volatile sig_atomic_t never;

static const struct sora_timeline_params timeline = {
    .latent_count = LATENTS, .window_latents = 5, .overlap_latents = 1};

static const struct sora_range whole = {0, LATENTS};

/* ---- what one device makes, in this process ---- */

static const char *const prompts[] = {"a red balloon", "snow over a forest"};
static const char negative[] = "bad quality";
static const struct sora_range text_ranges[] = {{0, 5}, {5, LATENTS}}; /* of two texts */

static struct sora_text_contexts *make_contexts(struct sora_transformer *transformer,
                                                struct sora_device *device, int text_count)
{
    struct sora_bundle bundle;
    struct sora_text_rows rows[3];
    struct sora_text_contexts *contexts = NULL;
    const char *const texts[] = {negative, prompts[0], prompts[1]};
    assert_int_equal(sora_bundle_open(MODEL, &bundle, NULL), 0);
    assert_int_equal(sora_text_rows_encode_all(&bundle, device, texts, 3, rows, NULL), 0);
    struct sora_text_use uses[2];
    for (int i = 0; i < text_count; i++)
        uses[i] = (struct sora_text_use){text_count == 2 ? text_ranges[i] : whole, &rows[1 + i],
                                         &rows[0]};
    assert_int_equal(sora_text_contexts_create(transformer, uses, text_count, &contexts, NULL), 0);
    for (int i = 0; i < 3; i++)
        sora_text_rows_fini(&rows[i]);
    sora_bundle_fini(&bundle);
    return contexts;
}

static float *render(int text_count)
{
    struct sora_device *device = NULL;
    struct sora_transformer *transformer = NULL;
    struct sora_progress progress;
    sora_progress_init(&progress, false);
    const struct sora_render_control control = {&progress, &never};
    static struct sora_job_plan plan = {
        .take_count = 1,
        .channels = CHANNELS,
        .latent_height = HEIGHT,
        .latent_width = WIDTH,
        .steps = STEPS,
        .guidance = GUIDANCE,
        .shift = SHIFT,
    };
    plan.takes[0] = (struct sora_job_take){.timeline = timeline, .seed = SEED};
    assert_int_equal(sora_cpu_device_create(NULL, &device, NULL), 0);
    assert_int_equal(sora_transformer_open(MODEL "/transformer", device, &transformer, NULL), 0);
    struct sora_text_contexts *contexts = make_contexts(transformer, device, text_count);
    const struct sora_render_sample_params params = {
        .device = device,
        .transformer = transformer,
        .contexts = contexts,
        .plan = &plan,
        .control = &control,
    };
    float *latents = malloc(SIZE);
    assert_int_equal(sora_render_sample(&params, latents, NULL), 0);
    sora_text_contexts_destroy(&contexts);
    sora_transformer_destroy(&transformer);
    sora_device_destroy(&device);
    return latents;
}

/* ---- what children make ---- */

/* A job of `text_count` texts for parts of the timeline, encoded by `node`. */
static struct serve_job make_job(struct serve_node *node, int text_count)
{
    const struct sora_serve_schedule schedule = {SORA_SOLVER_UNIPC, STEPS, SHIFT};
    struct serve_job job = {
        .model = MODEL,
        .elements = CHANNELS * HEIGHT * WIDTH,
        .shard = {.timeline = timeline,
                  .channels = CHANNELS,
                  .height = HEIGHT,
                  .width = WIDTH,
                  .guidance = GUIDANCE,
                  .seed = SEED},
    };
    for (int i = 0; i < text_count; i++)
        serve_add_text(node, &job, text_count == 2 ? text_ranges[i].end : LATENTS, prompts[i],
                       negative);
    serve_take_schedule(node, &job, &schedule);
    return job;
}

/* Starts a child per range, all with noise at step 0. */
static void begin(struct serve_node *nodes, int count, const struct sora_range *ranges,
                  struct serve_job *job, int text_count)
{
    for (int i = 0; i < count; i++) {
        serve_start(&nodes[i], SORA_WORKER, MODELS);
        serve_open(&nodes[i], MODEL);
        if (i == 0)
            *job = make_job(&nodes[0], text_count);
        serve_begin(&nodes[i], job, ranges[i]);
        serve_loaded(&nodes[i], 0);
    }
}

static float *run_farm(int count, const struct sora_range *ranges, int text_count)
{
    struct serve_node nodes[4];
    struct serve_job job;
    begin(nodes, count, ranges, &job, text_count);
    float *latents = serve_sample(nodes, count, &job);
    for (int i = 0; i < count; i++)
        serve_stop(&nodes[i]);
    serve_job_fini(&job);
    return latents;
}

static const struct sora_range halves[] = {{0, 5}, {5, LATENTS}};
static const struct sora_range reading = {0, 7}; /* its second window reads latent 7 */
static const struct sora_range thirds[] = {{0, 3}, {3, 4}, {4, LATENTS}};

static void ready_tells_the_device(void **state)
{
    (void)state;
    struct serve_node node;
    struct sora_device *device = NULL;
    struct sora_device_caps caps;
    serve_start(&node, SORA_WORKER, MODELS);
    assert_int_equal(sora_cpu_device_create(NULL, &device, NULL), 0);
    sora_device_caps(device, &caps);
    assert_string_equal(node.ready.kind, "cpu");
    assert_string_equal(node.ready.device_class, caps.device_class);
    assert_int_equal(node.ready.threads, 2);
    assert_true(node.ready.memory_free > 0 && node.ready.memory_total >= node.ready.memory_free);
    assert_non_null(strstr(node.ready.sandbox, "rlimits"));
    print_message("sandbox: %s\n", node.ready.sandbox);
    sora_device_destroy(&device);
    serve_stop(&node);
}

static void farm_equals_one_device(void **state)
{
    (void)state;
    float *expected = render(1);
    float *found[] = {run_farm(1, &whole, 1), run_farm(2, halves, 1), run_farm(3, thirds, 1)};
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(found[i], expected, SIZE);
        free(found[i]);
    }
    free(expected);
}

static void texts_along_the_timeline(void **state)
{
    (void)state;
    float *one_text = render(1), *expected = render(2);
    float *found[] = {run_farm(1, &whole, 2), run_farm(3, thirds, 2)};
    assert_memory_not_equal(expected, one_text, SIZE);
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(found[i], expected, SIZE);
        free(found[i]);
    }
    free(one_text);
    free(expected);
}

/* One of two children is killed after its state was written; its successor goes on from the file.
 */
static void killed_child_is_resumed(void **state)
{
    (void)state;
    const char *path = scratch_path("state");
    float *expected = run_farm(1, &whole, 1);
    struct serve_node nodes[2];
    struct serve_job job;
    begin(nodes, 2, halves, &job, 1);
    serve_step(nodes, 2, &job, 0);
    serve_step(nodes, 2, &job, 1);
    serve_path_span(&nodes[1], SORA_SERVE_STATE, (struct sora_serve_span){.step = 2}, path);
    struct sora_frame frame = serve_expect(&nodes[1], SORA_SERVE_STATE_WRITTEN);
    assert_memory_equal(frame.payload, path, strlen(path));
    serve_kill(&nodes[1]);
    serve_start(&nodes[1], SORA_WORKER, MODELS);
    serve_open(&nodes[1], MODEL);
    serve_begin(&nodes[1], &job, halves[1]);
    serve_path_span(&nodes[1], SORA_SERVE_LOAD,
                    (struct sora_serve_span){.step = 2, .first = 5, .end = LATENTS}, path);
    serve_loaded(&nodes[1], 2);
    serve_step(nodes, 2, &job, 2);
    serve_step(nodes, 2, &job, 3);
    float *found = serve_collect(nodes, 2, &job);
    assert_memory_equal(found, expected, SIZE);
    free(found);
    free(expected);
    for (int i = 0; i < 2; i++)
        serve_stop(&nodes[i]);
    serve_job_fini(&job);
}

/* States cut one way are loaded by shards cut another way, in one child after the other job. */
static void other_cut_is_resumed(void **state)
{
    (void)state;
    float *expected = run_farm(1, &whole, 1);
    struct serve_node nodes[3];
    struct serve_job job;
    char paths[3][600];
    begin(nodes, 3, thirds, &job, 1);
    serve_step(nodes, 3, &job, 0);
    for (int i = 0; i < 3; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/third%d", scratch_dir, i);
        serve_path_span(&nodes[i], SORA_SERVE_STATE, (struct sora_serve_span){.step = 1}, paths[i]);
        serve_expect(&nodes[i], SORA_SERVE_STATE_WRITTEN);
    }
    for (int i = 0; i < 2; i++) {
        serve_send(&nodes[i], SORA_SERVE_CLOSE, NULL, 0, NULL, 0);
        serve_expect(&nodes[i], SORA_SERVE_CLOSED);
        serve_open(&nodes[i], MODEL); /* stays warm */
        serve_begin(&nodes[i], &job, halves[i]);
        for (int part = 0; part < 3; part++)
            serve_path_span(&nodes[i], SORA_SERVE_LOAD,
                            (struct sora_serve_span){
                                .step = 1, .first = thirds[part].first, .end = thirds[part].end},
                            paths[part]);
        serve_loaded(&nodes[i], 1);
    }
    for (int32_t step = 1; step < STEPS; step++)
        serve_step(nodes, 2, &job, step);
    float *found = serve_collect(nodes, 2, &job);
    assert_memory_equal(found, expected, SIZE);
    free(found);
    free(expected);
    for (int i = 0; i < 3; i++)
        serve_stop(&nodes[i]);
    serve_job_fini(&job);
}

/* ---- decoding ---- */

#define LONG_LATENTS 52
#define FACTOR 4
#define FRAME_WIDTH (WIDTH * 16)
#define FRAME_HEIGHT (HEIGHT * 16)
#define FRAME_SIZE ((size_t)FRAME_WIDTH * FRAME_HEIGHT * 3)
#define LATENT_ELEMENTS (CHANNELS * HEIGHT * WIDTH)

/* Smooth values, different in every latent. */
static float *make_finals(void)
{
    size_t count = (size_t)LONG_LATENTS * LATENT_ELEMENTS;
    float *values = malloc(count * sizeof(float));
    uint32_t random = 12345;
    for (size_t i = 0; i < count; i++) {
        random = random * 1664525u + 1013904223u;
        values[i] = (float)(random >> 8) / (float)(1 << 23) - 1.0f;
    }
    return values;
}

/* All frames of a plain decoding; *out_warmup of the model. */
static uint8_t *decode_plainly(const float *finals, int *out_warmup)
{
    struct sora_device *device = NULL;
    struct sora_vae *vae = NULL;
    struct sora_vae_decoder *decoder = NULL;
    assert_int_equal(sora_cpu_device_create(NULL, &device, NULL), 0);
    assert_int_equal(sora_vae_open(MODEL "/vae", device, &vae, NULL), 0);
    assert_int_equal(sora_vae_decoder_create(vae, HEIGHT, WIDTH, &decoder, NULL), 0);
    uint8_t *frames = malloc(FRAME_SIZE * LONG_LATENTS * FACTOR), *at = frames;
    for (int i = 0; i < LONG_LATENTS; i++) {
        int count = 0;
        assert_int_equal(sora_vae_decoder_next(decoder, finals + (size_t)i * LATENT_ELEMENTS, NULL,
                                               at, &count, NULL),
                         0);
        at += (size_t)count * FRAME_SIZE;
    }
    *out_warmup = sora_vae_decoder_warmup(sora_vae_config(vae));
    sora_vae_decoder_destroy(&decoder);
    sora_vae_destroy(&vae);
    sora_device_destroy(&device);
    return frames;
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The piece's file holds exactly its frames. */
static void check_piece(const struct sora_serve_piece *piece, const char *path,
                        const uint8_t *frames)
{
    struct sora_segment_reader *reader = NULL;
    struct sora_fault fault = {0};
    uint8_t *rgb = malloc(FRAME_SIZE);
    if (sora_segment_reader_open(path, FRAME_WIDTH, FRAME_HEIGHT, &reader, &fault))
        fail_msg("%s", fault.text);
    for (int32_t i = 0; i < piece->frame_count; i++) {
        assert_int_equal(sora_segment_reader_next(reader, rgb, &fault), 1);
        if (memcmp(rgb, frames + (size_t)(piece->frame_first + i) * FRAME_SIZE, FRAME_SIZE) != 0)
            fail_msg("frame %d differs", piece->frame_first + i);
    }
    assert_int_equal(sora_segment_reader_next(reader, rgb, &fault), 0);
    sora_segment_reader_close(&reader);
    free(rgb);
}

static int32_t first_frame(int32_t latent)
{
    return latent == 0 ? 0 : 1 + (latent - 1) * FACTOR;
}

/* Decodes `owned` in pieces of `piece_latents` and compares every frame. */
static void check_decoding(struct serve_node *node, struct sora_range owned, int32_t context_first,
                           int32_t piece_latents, const uint8_t *frames)
{
    const struct sora_serve_decode decode = {.owned = owned,
                                             .context_first = context_first,
                                             .frame_width = FRAME_WIDTH,
                                             .frame_height = FRAME_HEIGHT,
                                             .fps = 16,
                                             .fps_divisor = 1,
                                             .piece_latents = piece_latents};
    const char *prefix = scratch_path("piece");
    serve_send(node, SORA_SERVE_DECODE, &decode, sizeof(decode), prefix, strlen(prefix));
    int32_t next = first_frame(owned.first), index = 0, last = 0;
    while (!last) {
        struct sora_frame frame = serve_expect(node, SORA_SERVE_PIECE);
        struct sora_serve_piece piece = *(const struct sora_serve_piece *)frame.head;
        char path[1024] = "";
        assert_true(frame.payload_size < sizeof(path));
        memcpy(path, frame.payload, frame.payload_size);
        assert_int_equal(piece.index, index++);
        assert_int_equal(piece.frame_first, next);
        check_piece(&piece, path, frames);
        next += piece.frame_count;
        last = piece.last;
    }
    assert_int_equal(next, first_frame(owned.end));
    assert_int_equal(index, (owned.end - owned.first + piece_latents - 1) / piece_latents);
    struct sora_frame frame = serve_expect(node, SORA_SERVE_DECODED);
    assert_int_equal(((const struct sora_serve_span *)frame.head)->first, owned.first);
}

static void pieces_hold_the_frames(void **state)
{
    (void)state;
    float *finals = make_finals();
    int warmup = 0;
    uint8_t *frames = decode_plainly(finals, &warmup);
    assert_in_range(warmup, 10, LONG_LATENTS - 4);
    const char *path = scratch_path("finals");
    struct serve_node node;
    serve_start(&node, SORA_WORKER, MODELS);
    serve_open(&node, MODEL);
    struct serve_job job = make_job(&node, 1);
    job.shard.timeline.latent_count = job.shard.texts[0].end = LONG_LATENTS;
    const struct sora_range parts[] = {{0, 3}, {3, 10}, {LONG_LATENTS - 5, LONG_LATENTS}};
    for (int i = 0; i < 3; i++) {
        struct sora_range owned = parts[i];
        int32_t context = owned.first > warmup ? owned.first - warmup : 0;
        serve_begin(&node, &job, owned);
        write_file(path, finals + (size_t)owned.first * LATENT_ELEMENTS,
                   (size_t)(owned.end - owned.first) * LATENT_ELEMENTS * sizeof(float));
        serve_path_span(
            &node, SORA_SERVE_LOAD,
            (struct sora_serve_span){.step = STEPS, .first = owned.first, .end = owned.end}, path);
        serve_loaded(&node, STEPS);
        if (context < owned.first)
            serve_span(&node, SORA_SERVE_PUT_FINAL,
                       (struct sora_serve_span){.first = context, .end = owned.first},
                       finals + (size_t)context * LATENT_ELEMENTS,
                       (size_t)(owned.first - context) * LATENT_ELEMENTS * sizeof(float));
        check_decoding(&node, owned, context, 2, frames);
    }
    serve_stop(&node);
    serve_job_fini(&job);
    free(frames);
    free(finals);
}

/* The state of the last step is the final latents, and the shard that made them decodes. */
static void last_state_is_final_latents(void **state)
{
    (void)state;
    struct serve_node node;
    struct serve_job job;
    const char *path = scratch_path("last");
    begin(&node, 1, &whole, &job, 1);
    for (int32_t step = 0; step < STEPS; step++)
        serve_step(&node, 1, &job, step);
    float *finals = serve_collect(&node, 1, &job), *written = malloc(SIZE);
    serve_path_span(&node, SORA_SERVE_STATE, (struct sora_serve_span){.step = STEPS}, path);
    serve_expect(&node, SORA_SERVE_STATE_WRITTEN);
    FILE *file = fopen(path, "rb");
    assert_int_equal(fread(written, 1, SIZE, file), SIZE);
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    assert_memory_equal(written, finals, SIZE);
    const struct sora_serve_decode decode = {{0, 2}, 0, FRAME_WIDTH, FRAME_HEIGHT, 16, 1, 8};
    const char *prefix = scratch_path("whole");
    serve_send(&node, SORA_SERVE_DECODE, &decode, sizeof(decode), prefix, strlen(prefix));
    struct sora_frame frame = serve_expect(&node, SORA_SERVE_PIECE);
    assert_int_equal(((const struct sora_serve_piece *)frame.head)->frame_count, 5);
    serve_expect(&node, SORA_SERVE_DECODED);
    serve_stop(&node);
    serve_job_fini(&job);
    free(finals);
    free(written);
}

/* ---- what does not fit ---- */

static void commands_without_a_shard(void **state)
{
    (void)state;
    struct serve_node node;
    const struct sora_serve_span span = {.step = 0, .first = 0, .end = 1};
    const struct sora_serve_number number = {1};
    const struct sora_serve_schedule schedule = {SORA_SOLVER_UNIPC, 100000, 3};
    serve_start(&node, SORA_WORKER, MODELS);
    serve_send(&node, 4711, NULL, 0, NULL, 0);
    serve_expect_failed(&node, 4711, SORA_E_INVALID, "4711");
    serve_send(&node, SORA_SERVE_TEXT, &number, sizeof(number), "a", 1);
    serve_expect_failed(&node, SORA_SERVE_TEXT, SORA_E_INVALID, "open model");
    serve_send(&node, SORA_SERVE_OPEN, NULL, 0, NULL, 0);
    serve_expect_failed(&node, SORA_SERVE_OPEN, SORA_E_INVALID, "path");
    serve_send(&node, SORA_SERVE_OPEN, NULL, 0, "a\0b", 3);
    serve_expect_failed(&node, SORA_SERVE_OPEN, SORA_E_INVALID, "NUL");
    serve_send(&node, SORA_SERVE_OPEN, NULL, 0, "/nonexistent", 12);
    struct sora_frame frame = serve_expect(&node, SORA_SERVE_FAILED);
    int code = ((const struct sora_serve_failed *)frame.head)->code;
    assert_true(code == SORA_E_NOT_FOUND || code == SORA_E_DENIED);
    serve_send(&node, SORA_SERVE_SCHEDULE, &schedule, sizeof(schedule), NULL, 0);
    serve_expect_failed(&node, SORA_SERVE_SCHEDULE, SORA_E_INVALID, "100000");
    serve_span(&node, SORA_SERVE_RUN, span, NULL, 0);
    serve_expect_failed(&node, SORA_SERVE_RUN, SORA_E_INVALID, "open shard");
    serve_send(&node, SORA_SERVE_CLOSE, NULL, 0, NULL, 0);
    serve_expect(&node, SORA_SERVE_CLOSED);
    serve_send(&node, SORA_SERVE_UPDATE, &span, 4, NULL, 0);
    serve_expect_failed(&node, SORA_SERVE_UPDATE, SORA_E_FORMAT, "4 bytes");
    serve_stop(&node);
}

/* A command that a shard refuses; `setup` brings the shard where the command could be right. */
struct refusal {
    uint32_t command;
    struct sora_serve_span span;
    size_t payload_size;
    int code;
    const char *words;
};

#define ONE (LATENT_ELEMENTS * sizeof(float))
static const struct refusal refusals[] = {
    {SORA_SERVE_RUN, {.window = 2}, 0, SORA_E_INVALID, "window"},
    {SORA_SERVE_RUN, {.window = -1}, 0, SORA_E_INVALID, "window"},
    {SORA_SERVE_RUN, {.window = INT32_MAX}, 0, SORA_E_INVALID, "window"},
    {SORA_SERVE_RUN, {.step = 3}, 0, SORA_E_INVALID, "step 3"},
    {SORA_SERVE_RUN, {.window = 1}, 0, SORA_E_INVALID, "has not arrived"},
    {SORA_SERVE_UPDATE, {.step = 0}, 0, SORA_E_INVALID, "has not predicted"},
    {SORA_SERVE_UPDATE, {.step = -5}, 0, SORA_E_INVALID, "step -5"},
    {SORA_SERVE_GET_LATENTS, {.first = 0, .end = LATENTS}, 0, SORA_E_INVALID, "not held"},
    {SORA_SERVE_GET_LATENTS, {.first = 3, .end = 2}, 0, SORA_E_INVALID, "[3,2)"},
    {SORA_SERVE_GET_LATENTS, {.first = INT32_MIN, .end = INT32_MAX}, 0, SORA_E_INVALID, "latents"},
    {SORA_SERVE_GET_PREDICTIONS, {.window = 99, .first = 0, .end = 1}, 0, SORA_E_INVALID, "99"},
    {SORA_SERVE_GET_FINAL, {.first = 0, .end = 1}, 0, SORA_E_INVALID, "has not arrived"},
    {SORA_SERVE_PUT_LATENTS, {.first = 5, .end = 6}, ONE - 4, SORA_E_FORMAT, "bytes"},
    {SORA_SERVE_PUT_LATENTS, {.first = 5, .end = 6}, 0, SORA_E_FORMAT, "bytes"},
    {SORA_SERVE_PUT_LATENTS, {.first = LATENTS, .end = LATENTS + 1}, ONE, SORA_E_INVALID, "[11"},
    {SORA_SERVE_PUT_LATENTS, {.first = 10, .end = 11}, ONE, SORA_E_INVALID, "not read"},
    {SORA_SERVE_PUT_PREDICTIONS, {.window = 0, .first = 0, .end = 1}, ONE, SORA_E_INVALID, "need"},
    {SORA_SERVE_PUT_FINAL, {.first = 8, .end = 9}, ONE, SORA_E_INVALID, "final latent"},
    {SORA_SERVE_LOAD, {.step = 1, .first = 0, .end = 5}, 9, SORA_E_INVALID, "NUL"},
    {SORA_SERVE_LOADED, {.step = 2}, 0, SORA_E_INVALID, "has not been given"},
    {SORA_SERVE_LOADED, {.step = INT32_MIN}, 0, SORA_E_INVALID, "has not been given"},
    {SORA_SERVE_STATE, {.step = 1}, 5, SORA_E_INVALID, "NUL"},
};

static void commands_that_do_not_fit(void **state)
{
    (void)state;
    struct serve_node node;
    const char zeros[ONE] = {0};
    serve_start(&node, SORA_WORKER, MODELS);
    serve_open(&node, MODEL);
    struct serve_job job = make_job(&node, 1);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct refusal *refusal = &refusals[i];
        serve_begin(&node, &job, reading);
        serve_loaded(&node, 0);
        serve_span(&node, refusal->command, refusal->span, zeros, refusal->payload_size);
        serve_expect_failed(&node, refusal->command, refusal->code, refusal->words);
        serve_span(&node, SORA_SERVE_UPDATE, (struct sora_serve_span){0}, NULL, 0); /* silence */
        serve_send(&node, SORA_SERVE_CLOSE, NULL, 0, NULL, 0);
        serve_expect(&node, SORA_SERVE_CLOSED);
    }
    serve_stop(&node);
    serve_job_fini(&job);
}

static void expect_shard_refused(struct serve_node *node, const struct serve_job *job,
                                 struct sora_range owned, int code, const char *words)
{
    serve_send_shard(node, job, owned);
    serve_expect_failed(node, SORA_SERVE_SHARD, code, words);
}

static void shards_that_do_not_fit(void **state)
{
    (void)state;
    struct serve_node node;
    serve_start(&node, SORA_WORKER, MODELS);
    serve_open(&node, MODEL);
    struct serve_job good = make_job(&node, 1), job = good;
    expect_shard_refused(&node, &job, (struct sora_range){3, 3}, SORA_E_INVALID, "[3,3)");
    expect_shard_refused(&node, &job, (struct sora_range){0, 99}, SORA_E_INVALID, "[0,99)");
    job.shard.channels = 15;
    expect_shard_refused(&node, &job, whole, SORA_E_INVALID, "15 channels");
    job = good;
    job.shard.height = 3;
    expect_shard_refused(&node, &job, whole, SORA_E_INVALID, "multiple");
    job.shard.height = 1 << 30;
    expect_shard_refused(&node, &job, whole, SORA_E_LIMIT, "1");
    job = good;
    job.shard.timeline.latent_count = job.shard.texts[0].end = 65536;
    job.shard.height = job.shard.width = 1024;
    expect_shard_refused(&node, &job, (struct sora_range){0, 65536}, SORA_E_LIMIT, "GB");
    job = good;
    job.shard.timeline.overlap_latents = 0;
    expect_shard_refused(&node, &job, whole, SORA_E_INVALID, "overlap");
    job = good;
    job.shard.guidance = 0.5;
    expect_shard_refused(&node, &job, whole, SORA_E_INVALID, "guidance");
    job = good;
    job.shard.texts[0].end = LATENTS - 1;
    expect_shard_refused(&node, &job, whole, SORA_E_INVALID, "texts end");
    job = good;
    job.shard.texts[0].prompt_rows++;
    expect_shard_refused(&node, &job, whole, SORA_E_FORMAT, "rows");
    job = good;
    job.shard.text_count = SORA_SERVE_TEXTS_MAX + 1;
    expect_shard_refused(&node, &job, whole, SORA_E_LIMIT, "257");
    job = good;
    job.schedule->steps = 0;
    expect_shard_refused(&node, &job, whole, SORA_E_INVALID, "");
    job.schedule->steps = STEPS;
    job.rows[3] = NAN;
    expect_shard_refused(&node, &job, whole, SORA_E_NUMERIC, "not finite");
    serve_stop(&node);
    serve_job_fini(&good);
}

/* A latent that is not a number ends the shard with NUMERIC, not the child. */
static void not_a_number_is_told(void **state)
{
    (void)state;
    struct serve_node node;
    serve_start(&node, SORA_WORKER, MODELS);
    serve_open(&node, MODEL);
    struct serve_job job = make_job(&node, 1);
    float values[LATENT_ELEMENTS] = {0};
    values[17] = NAN;
    serve_begin(&node, &job, reading);
    serve_loaded(&node, 0);
    serve_span(&node, SORA_SERVE_PUT_LATENTS, (struct sora_serve_span){.first = 7, .end = 8},
               values, sizeof(values));
    serve_expect_failed(&node, SORA_SERVE_PUT_LATENTS, SORA_E_NUMERIC, "not finite");
    serve_begin(&node, &job, reading);
    serve_stop(&node);
    serve_job_fini(&job);
}

/* Only the folders of the command line; needs Landlock. */
static void folders_outside_are_denied(void **state)
{
    (void)state;
    struct serve_node node;
    serve_start(&node, SORA_WORKER, MODELS);
    if (!strstr(node.ready.sandbox, "landlock")) {
        print_message("skipped: this kernel has no landlock\n");
        serve_stop(&node);
        skip();
    }
    serve_open(&node, MODEL);
    struct serve_job job = make_job(&node, 1);
    serve_begin(&node, &job, whole);
    serve_loaded(&node, 0);
    serve_path_span(&node, SORA_SERVE_STATE, (struct sora_serve_span){.step = 0}, MODEL "/state");
    serve_expect_failed(&node, SORA_SERVE_STATE, SORA_E_DENIED, "state");
    serve_begin(&node, &job, whole);
    serve_path_span(&node, SORA_SERVE_LOAD,
                    (struct sora_serve_span){.step = 1, .first = 0, .end = 1}, "/etc/passwd");
    serve_expect_failed(&node, SORA_SERVE_LOAD, SORA_E_DENIED, "/etc/passwd");
    serve_stop(&node);
    serve_job_fini(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ready_tells_the_device),      cmocka_unit_test(farm_equals_one_device),
        cmocka_unit_test(texts_along_the_timeline),    cmocka_unit_test(killed_child_is_resumed),
        cmocka_unit_test(other_cut_is_resumed),        cmocka_unit_test(pieces_hold_the_frames),
        cmocka_unit_test(last_state_is_final_latents), cmocka_unit_test(commands_without_a_shard),
        cmocka_unit_test(commands_that_do_not_fit),    cmocka_unit_test(shards_that_do_not_fit),
        cmocka_unit_test(not_a_number_is_told),        cmocka_unit_test(folders_outside_are_denied),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
