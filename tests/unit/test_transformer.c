/*
 * The transformer against reference values of the diffusers library, against a double-precision
 * computation for the shapes that those do not cover, and its refusals.
 *
 * Tolerance: relative L2 of the velocity <= 1e-5 (f32 compute, weights as stored).
 */
#include "hip/cpu/cpu.h"
#include "model/transformer.h"
#include "tests/unit/model_fixture.h"
#include "tests/unit/transformer_bench.h"
#include "tests/unit/wan_reference.h"

#define TOLERANCE 1e-5

static void bench_open(struct bench *bench, const char *dir, int thread_count,
                       enum sora_cpu_path path)
{
    struct sora_fault fault = {0};
    struct sora_device *device = NULL;
    const struct sora_cpu_params params = {.thread_count = thread_count, .path = path};
    assert_int_equal(sora_cpu_device_create(&params, &device, &fault), 0);
    bench_open_on(bench, dir, device);
}

static void check_golden(struct bench *bench, const char *model, int index)
{
    double error = golden_error(bench, model, index);
    print_message("%s case %d: relative L2 %.2e\n", model, index, error);
    assert_true(error <= TOLERANCE);
}

static void test_equals_reference(void **state)
{
    (void)state;
    static const char *const models[] = {"a_f32", "b_bf16", "c_f16", "d_mini"};
    for (int path = SORA_CPU_PATH_AUTO; path <= SORA_CPU_PATH_PLAIN; path++) {
        for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
            char dir[256];
            struct bench bench;
            snprintf(dir, sizeof(dir), GOLDEN_ROOT "/models/%s/transformer", models[i]);
            bench_open(&bench, dir, 2, (enum sora_cpu_path)path);
            check_golden(&bench, models[i], 0);
            check_golden(&bench, models[i], 1);
            bench_close(&bench);
        }
    }
}

/* ---- random models ---- */

static const struct sora_transformer_config plain_config = {
    .patch_t = 1,
    .patch_h = 2,
    .patch_w = 2,
    .heads = 2,
    .head_size = 16,
    .in_channels = 4,
    .out_channels = 4,
    .text_width = 12,
    .freq_width = 32,
    .ffn_width = 40,
    .layers = 2,
    .cross_attn_norm = true,
    .eps = 1e-6,
    .rope_positions = 1024,
};

static void fixture_fill(struct fixture *fixture, const struct sora_transformer_config *c)
{
    int64_t d = (int64_t)c->heads * c->head_size, volume = c->patch_t * c->patch_h * c->patch_w;
    char name[128];
    fixture_add(fixture, 0, 1.7f / sqrtf((float)(c->in_channels * volume)),
                SORA_SHAPE(d, c->in_channels, c->patch_t, c->patch_h, c->patch_w),
                "patch_embedding.weight");
    fixture_add(fixture, 0, 0.2f, SORA_SHAPE(d), "patch_embedding.bias");
    const char *embedder = "condition_embedder.time_embedder.linear_1";
    fixture_add_linear(fixture, d, c->freq_width, true, embedder);
    fixture_add_linear(fixture, d, d, true, "condition_embedder.time_embedder.linear_2");
    fixture_add_linear(fixture, 6 * d, d, true, "condition_embedder.time_proj");
    embedder = "condition_embedder.text_embedder.linear_1";
    fixture_add_linear(fixture, d, c->text_width, true, embedder);
    fixture_add_linear(fixture, d, d, true, "condition_embedder.text_embedder.linear_2");
    for (int i = 0; i < c->layers; i++) {
        static const char *const linears[] = {"attn1.to_q",     "attn1.to_k",    "attn1.to_v",
                                              "attn1.to_out.0", "attn2.to_q",    "attn2.to_k",
                                              "attn2.to_v",     "attn2.to_out.0"};
        static const char *const norms[] = {"attn1.norm_q", "attn1.norm_k", "attn2.norm_q",
                                            "attn2.norm_k", "norm2"};
        for (size_t k = 0; k < sizeof(linears) / sizeof(linears[0]); k++) {
            snprintf(name, sizeof(name), "blocks.%d.%s", i, linears[k]);
            fixture_add_linear(fixture, d, d, true, name);
        }
        for (size_t k = 0; k < (c->cross_attn_norm ? 5 : 4); k++)
            fixture_add(fixture, 1, 0.3f, SORA_SHAPE(d), "blocks.%d.%s.weight", i, norms[k]);
        if (c->cross_attn_norm)
            fixture_add(fixture, 0, 0.3f, SORA_SHAPE(d), "blocks.%d.norm2.bias", i);
        snprintf(name, sizeof(name), "blocks.%d.ffn.net.0.proj", i);
        fixture_add_linear(fixture, c->ffn_width, d, true, name);
        snprintf(name, sizeof(name), "blocks.%d.ffn.net.2", i);
        fixture_add_linear(fixture, d, c->ffn_width, true, name);
        fixture_add(fixture, 0, 0.5f, SORA_SHAPE(1, 6, d), "blocks.%d.scale_shift_table", i);
    }
    fixture_add_linear(fixture, c->out_channels * volume, d, true, "proj_out");
    fixture_add(fixture, 0, 0.5f, SORA_SHAPE(1, 2, d), "scale_shift_table");
}

/* Writes config.json and weights to the scratch folder; `extra` is JSON put behind the others. */
static void model_write(const struct fixture *fixture, const struct sora_transformer_config *c,
                        const char *extra)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "{\"_class_name\":\"WanTransformer3DModel\",\"patch_size\":[%d,%d,%d],"
             "\"num_attention_heads\":%d,\"attention_head_dim\":%d,\"in_channels\":%d,"
             "\"out_channels\":%d,\"text_dim\":%d,\"freq_dim\":%d,\"ffn_dim\":%d,"
             "\"num_layers\":%d,\"cross_attn_norm\":%s,\"eps\":%g,\"image_dim\":null%s}",
             c->patch_t, c->patch_h, c->patch_w, c->heads, c->head_size, c->in_channels,
             c->out_channels, c->text_width, c->freq_width, c->ffn_width, c->layers,
             c->cross_attn_norm ? "true" : "false", c->eps, extra);
    fixture_write_text(scratch_path("config.json"), text);
    fixture_write(fixture, scratch_path("diffusion_pytorch_model.safetensors"));
}

/* Inputs of a token grid, drawn from a seed. */
struct inputs {
    int grid[3];
    size_t count; /* elements of the latents, and of the velocity */
    float *latents, *text;
    struct request request;
};

static void inputs_make(struct inputs *inputs, const struct sora_transformer_config *c,
                        const int grid[3], int count, int text_rows)
{
    uint64_t seed = 77;
    memcpy(inputs->grid, grid, sizeof(inputs->grid));
    inputs->request = (struct request){
        .frames = grid[0] * c->patch_t,
        .height = grid[1] * c->patch_h,
        .width = grid[2] * c->patch_w,
        .count = count,
        .text_rows = text_rows,
        .timestep = 431,
    };
    inputs->count = (size_t)inputs->request.frames * (size_t)c->in_channels *
                    (size_t)inputs->request.height * (size_t)inputs->request.width;
    inputs->latents = malloc(inputs->count * sizeof(float));
    inputs->text = calloc((size_t)text_rows * (size_t)c->text_width, sizeof(float));
    for (size_t i = 0; i < inputs->count; i++)
        inputs->latents[i] = fixture_random(&seed) * 1.7f;
    for (size_t i = 0; i < (size_t)count * (size_t)c->text_width; i++)
        inputs->text[i] = fixture_random(&seed);
    inputs->request.latents = inputs->latents;
    inputs->request.text = inputs->text;
}

static void inputs_free(struct inputs *inputs)
{
    free(inputs->latents);
    free(inputs->text);
}

static void check_config(const struct sora_transformer_config *config, enum sora_dtype dtype,
                         const int grid[3], int count)
{
    struct fixture fixture = {.dtype = dtype, .seed = 5};
    struct inputs inputs;
    struct bench bench;
    fixture_fill(&fixture, config);
    model_write(&fixture, config, "");
    inputs_make(&inputs, config, grid, count, 40);
    float *expected = malloc(inputs.count * sizeof(float));
    float *velocity = malloc(inputs.count * sizeof(float));
    const struct wan_reference reference = {&fixture, *config, 40};
    wan_forward(&reference, inputs.latents, inputs.text, count, inputs.request.timestep, grid,
                expected);
    bench_open(&bench, scratch_path(""), 1, SORA_CPU_PATH_AUTO);
    predict(&bench, &inputs.request, velocity);
    double error = relative_l2(velocity, expected, inputs.count);
    print_message("%dx%dx%d tokens, %d text rows: relative L2 %.2e\n", grid[0], grid[1], grid[2],
                  count, error);
    assert_true(error <= TOLERANCE);
    bench_close(&bench);
    free(expected);
    free(velocity);
    inputs_free(&inputs);
    fixture_fini(&fixture);
}

/* Patch sizes, head sizes, switches and text lengths beyond the reference values'. */
static void test_other_configs(void **state)
{
    (void)state;
    struct sora_transformer_config config = plain_config;
    check_config(&config, SORA_DTYPE_F32, (const int[]){2, 3, 5}, 7);
    check_config(&config, SORA_DTYPE_F32, (const int[]){1, 1, 1}, 0);
    check_config(&config, SORA_DTYPE_F32, (const int[]){3, 2, 1}, 40);
    config.cross_attn_norm = false;
    config.head_size = 6;
    config.heads = 5;
    check_config(&config, SORA_DTYPE_BF16, (const int[]){2, 4, 3}, 39);
    config.patch_t = 2;
    config.patch_h = 1;
    config.patch_w = 3;
    config.layers = 1;
    check_config(&config, SORA_DTYPE_F16, (const int[]){2, 3, 2}, 1);
    config.head_size = 2;
    config.heads = 1;
    config.in_channels = config.out_channels = 1;
    check_config(&config, SORA_DTYPE_F32, (const int[]){1, 2, 2}, 3);
    /* More tokens than one product of the feed-forward part takes. */
    config.head_size = 8;
    config.heads = 2;
    config.ffn_width = 96;
    assert_int_equal(sora_transformer_config_ffn_rows(&config, 43 * 51), 1152);
    check_config(&config, SORA_DTYPE_F32, (const int[]){1, 43, 51}, 3);
}

/* ---- exact savings ---- */

/* One key for all padded rows against every padded row as a key of its own. */
static void test_padding_is_exact(void **state)
{
    (void)state;
    struct fixture fixture = {.dtype = SORA_DTYPE_F32, .seed = 9};
    struct inputs inputs;
    struct bench bench;
    fixture_fill(&fixture, &plain_config);
    model_write(&fixture, &plain_config, "");
    inputs_make(&inputs, &plain_config, (const int[]){2, 4, 4}, 9, 512);
    float *few = malloc(inputs.count * sizeof(float)), *all = malloc(inputs.count * sizeof(float));
    bench_open(&bench, scratch_path(""), 1, SORA_CPU_PATH_AUTO);
    predict(&bench, &inputs.request, few);
    inputs.request.count = 512;
    predict(&bench, &inputs.request, all);
    assert_true(relative_l2(few, all, inputs.count) <= 1e-6);
    struct sora_transformer_context *context = NULL;
    assert_int_equal(
        sora_transformer_context_create(bench.transformer, inputs.text, 9, 512, &context, NULL), 0);
    assert_int_equal(sora_transformer_context_keys(context), 10);
    sora_transformer_context_destroy(&context);
    bench_close(&bench);
    free(few);
    free(all);
    inputs_free(&inputs);
    fixture_fini(&fixture);
}

/* What is kept between calls (timestep, shape, rope tables) never shows in a result. */
static void test_order_of_calls(void **state)
{
    (void)state;
    static const int grids[][3] = {{2, 3, 5}, {1, 5, 3}, {2, 3, 5}, {4, 4, 4}, {1, 3, 5}};
    struct fixture fixture = {.dtype = SORA_DTYPE_BF16, .seed = 13};
    struct bench kept, fresh;
    fixture_fill(&fixture, &plain_config);
    model_write(&fixture, &plain_config, "");
    bench_open(&kept, scratch_path(""), 1, SORA_CPU_PATH_AUTO);
    for (int i = 0; i < 10; i++) {
        struct inputs inputs;
        inputs_make(&inputs, &plain_config, grids[i / 2], 5 + i % 2, 512);
        inputs.request.timestep = i < 6 ? 999 : 12.5;
        float *a = malloc(inputs.count * sizeof(float)), *b = malloc(inputs.count * sizeof(float));
        bench_open(&fresh, scratch_path(""), 1, SORA_CPU_PATH_AUTO);
        predict(&kept, &inputs.request, a);
        predict(&fresh, &inputs.request, b);
        assert_memory_equal(a, b, inputs.count * sizeof(float));
        bench_close(&fresh);
        free(a);
        free(b);
        inputs_free(&inputs);
    }
    bench_close(&kept);
    fixture_fini(&fixture);
}

static void test_thread_count_changes_nothing(void **state)
{
    (void)state;
    struct sora_transformer_config config = plain_config;
    struct fixture fixture = {.dtype = SORA_DTYPE_BF16, .seed = 21};
    struct inputs inputs;
    config.head_size = 64;
    config.ffn_width = 520;
    fixture_fill(&fixture, &config);
    model_write(&fixture, &config, "");
    inputs_make(&inputs, &config, (const int[]){3, 9, 11}, 33, 512);
    float *first = malloc(inputs.count * sizeof(float));
    float *other = malloc(inputs.count * sizeof(float));
    for (int threads = 1; threads <= 5; threads++) {
        struct bench bench;
        bench_open(&bench, scratch_path(""), threads, SORA_CPU_PATH_AUTO);
        predict(&bench, &inputs.request, threads == 1 ? first : other);
        bench_close(&bench);
        if (threads > 1)
            assert_memory_equal(first, other, inputs.count * sizeof(float));
    }
    free(first);
    free(other);
    inputs_free(&inputs);
    fixture_fini(&fixture);
}

/* ---- refusals ---- */

static void expect_open(const char *dir, int code, const char *words)
{
    struct sora_device *device = NULL;
    struct sora_transformer *transformer = NULL;
    struct sora_fault fault = {0};
    const struct sora_cpu_params params = {.thread_count = 1};
    assert_int_equal(sora_cpu_device_create(&params, &device, NULL), 0);
    assert_int_equal(sora_transformer_open(dir, device, &transformer, &fault), code);
    assert_null(transformer);
    if (!strstr(fault.text, words))
        fail_msg("\"%s\" does not say \"%s\"", fault.text, words);
    sora_device_destroy(&device);
}

static void test_refused_configs(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int code;
        const char *words;
    } cases[] = {
        {"{\"_class_name\":\"HunyuanVideoTransformer3DModel\"}", SORA_E_UNSUPPORTED,
         "transformer/_class_name is HunyuanVideoTransformer3DModel; this build runs "
         "WanTransformer3DModel"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"image_dim\":1280}", SORA_E_UNSUPPORTED,
         "image-conditioned models (image_dim 1280) are not supported yet"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"added_kv_proj_dim\":5120}",
         SORA_E_UNSUPPORTED, "image-conditioned models (added_kv_proj_dim 5120)"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"in_channels\":36,\"out_channels\":16}",
         SORA_E_UNSUPPORTED, "image-conditioned models (in_channels 36)"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"qk_norm\":\"layer_norm\"}",
         SORA_E_UNSUPPORTED, "qk_norm is layer_norm; this build runs rms_norm_across_heads"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"attention_head_dim\":27}",
         SORA_E_UNSUPPORTED, "attention_head_dim is 27"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"freq_dim\":9}", SORA_E_UNSUPPORTED,
         "freq_dim is 9"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"num_layers\":0}", SORA_E_LIMIT,
         "num_layers"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"num_attention_heads\":1024,"
         "\"attention_head_dim\":128}",
         SORA_E_LIMIT, "1024 heads of 128"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"patch_size\":[1,2]}", SORA_E_FORMAT,
         "patch_size has 2 numbers"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"patch_size\":[1,2,0]}", SORA_E_LIMIT,
         "patch_size holds 0"},
        {"{\"_class_name\":\"WanTransformer3DModel\",\"num_layers\":\"two\"}", SORA_E_FORMAT,
         "num_layers"},
        {"{\"_class_name\":", SORA_E_FORMAT, "config.json"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fixture_write_text(scratch_path("config.json"), cases[i].config);
        expect_open(scratch_path(""), cases[i].code, cases[i].words);
    }
    expect_open(scratch_path("nowhere"), SORA_E_NOT_FOUND, "config.json");
}

static void test_tensors_are_named(void **state)
{
    (void)state;
    static const char *const names[] = {
        "blocks.1.attn2.to_k.bias", "blocks.0.scale_shift_table",
        "scale_shift_table",        "patch_embedding.weight",
        "blocks.1.norm2.bias",      "condition_embedder.time_proj.weight",
        "proj_out.weight",
    };
    struct fixture fixture = {.dtype = SORA_DTYPE_F32, .seed = 3};
    fixture_fill(&fixture, &plain_config);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct fixture_tensor *tensor = fixture_find(&fixture, names[i]);
        struct fixture_tensor saved = *tensor;
        char words[160];
        snprintf(tensor->name, sizeof(tensor->name), "something.else");
        model_write(&fixture, &plain_config, "");
        snprintf(words, sizeof(words), "missing tensor %s, expected shape [", names[i]);
        expect_open(scratch_path(""), SORA_E_NOT_FOUND, words);
        *tensor = saved;
        tensor->shape[tensor->rank - 1] -= 1;
        tensor->count = tensor->count / (size_t)saved.shape[saved.rank - 1] *
                        (size_t)tensor->shape[tensor->rank - 1];
        model_write(&fixture, &plain_config, "");
        snprintf(words, sizeof(words), "tensor %s has shape [", names[i]);
        expect_open(scratch_path(""), SORA_E_FORMAT, words);
        *tensor = saved;
    }
    fixture_fini(&fixture);
}

static int try_forward(struct bench *bench, const struct sora_transformer_context *context,
                       const int64_t shape[4], double timestep, const char *words)
{
    struct sora_buffer *buffers[2] = {NULL};
    struct sora_transformer_input input = {.context = context, .timestep = timestep};
    struct sora_tensor velocity;
    struct sora_fault fault = {0};
    sora_tensor_create(bench->device, SORA_DTYPE_F32, 4, shape, &buffers[0], &input.latents);
    sora_tensor_create(bench->device, SORA_DTYPE_F32, 4, shape, &buffers[1], &velocity);
    int code =
        sora_transformer_forward(bench->transformer, bench->stream, &input, &velocity, &fault);
    assert_non_null(strstr(fault.text, words));
    sora_buffer_destroy(&buffers[0]);
    sora_buffer_destroy(&buffers[1]);
    return code;
}

static void test_refused_inputs(void **state)
{
    (void)state;
    struct fixture fixture = {.dtype = SORA_DTYPE_F32, .seed = 3};
    struct sora_transformer_context *context = NULL;
    struct sora_fault fault = {0};
    struct bench bench, other;
    fixture_fill(&fixture, &plain_config);
    model_write(&fixture, &plain_config, ",\"rope_max_seq_len\":4");
    bench_open(&bench, scratch_path(""), 1, SORA_CPU_PATH_AUTO);
    bench_open(&other, scratch_path(""), 1, SORA_CPU_PATH_AUTO);
    assert_int_equal(
        sora_transformer_context_create(bench.transformer, NULL, 0, 0, &context, &fault),
        SORA_E_INVALID);
    assert_int_equal(
        sora_transformer_context_create(bench.transformer, NULL, 3, 512, &context, NULL),
        SORA_E_INVALID);
    assert_int_equal(
        sora_transformer_context_create(bench.transformer, NULL, 0, 512, &context, NULL), 0);
    const int64_t good[] = {2, 4, 4, 6}, odd[] = {2, 4, 5, 6}, channels[] = {2, 5, 4, 4};
    const int64_t long_one[] = {5, 4, 4, 4};
    assert_int_equal(try_forward(&bench, context, good, 500, ""), 0);
    assert_int_equal(try_forward(&bench, context, odd, 500, "multiples of the patch 1x2x2"),
                     SORA_E_INVALID);
    assert_int_equal(try_forward(&bench, context, channels, 500, "[T,4,H,W]"), SORA_E_INVALID);
    assert_int_equal(try_forward(&bench, context, long_one, 500, "more than 4 patches"),
                     SORA_E_INVALID);
    assert_int_equal(try_forward(&bench, context, good, 1001, "timestep 1001"), SORA_E_INVALID);
    assert_int_equal(try_forward(&bench, context, good, NAN, "timestep"), SORA_E_INVALID);
    assert_int_equal(try_forward(&bench, NULL, good, 500, "prompt"), SORA_E_INVALID);
    assert_int_equal(try_forward(&other, context, good, 500, "another model"), SORA_E_INVALID);
    sora_transformer_context_destroy(&context);
    sora_transformer_context_destroy(&context);
    bench_close(&bench);
    bench_close(&other);
    fixture_fini(&fixture);
}

/* The counted work of the 1.3B shape at 9x256x256, against the sum written out by hand. */
static void test_flops(void **state)
{
    (void)state;
    struct fixture fixture = {.dtype = SORA_DTYPE_F32, .seed = 3};
    struct bench bench;
    fixture_fill(&fixture, &plain_config);
    model_write(&fixture, &plain_config, "");
    bench_open(&bench, scratch_path(""), 1, SORA_CPU_PATH_AUTO);
    double n = 3 * 4 * 5, d = 32, f = 40;
    double block = 2 * n * (6 * d * d + 2 * d * f) + 4 * n * n * d + 4 * n * 11 * d;
    double expected = 2 * block + 2 * n * d * (16 + 16) + 2 * d * (32 + d + 6 * d);
    assert_float_equal(sora_transformer_flops(bench.transformer, 3, 8, 10, 11), expected, 0.5);
    assert_true(sora_transformer_activation_size(bench.transformer, 3, 8, 10) >=
                (size_t)(n * d * 4 * 5));
    assert_true(sora_transformer_activation_size(bench.transformer, INT32_MAX, INT32_MAX,
                                                 INT32_MAX) == SIZE_MAX);
    assert_true(sora_transformer_activation_size(bench.transformer, 0, 8, 8) == SIZE_MAX);
    bench_close(&bench);
    fixture_fini(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_equals_reference, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_other_configs, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_padding_is_exact, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_order_of_calls, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_thread_count_changes_nothing, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_refused_configs, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_tensors_are_named, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_refused_inputs, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_flops, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
