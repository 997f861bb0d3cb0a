/*
 * The text encoder against reference values of the transformers library, its relative positions,
 * and its refusals. Tolerance: relative L2 of a prompt's rows <= 1e-5.
 */
#include "hip/cpu/cpu.h"
#include "model/text_encoder.h"
#include "model/text_encoder_bias.h"
#include "tests/unit/golden_values.h"
#include "tests/unit/model_fixture.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define TOLERANCE 1e-5

struct bench {
    struct sora_device *device;
    struct sora_text_encoder *encoder;
};

static void bench_open(struct bench *bench, const char *dir, int thread_count,
                       enum sora_cpu_path path)
{
    struct sora_fault fault = {0};
    const struct sora_cpu_params params = {.thread_count = thread_count, .path = path};
    memset(bench, 0, sizeof(*bench));
    assert_int_equal(sora_cpu_device_create(&params, &bench->device, &fault), 0);
    int code = sora_text_encoder_open(dir, bench->device, &bench->encoder, &fault);
    if (code)
        fail_msg("%s", fault.text);
}

static void bench_close(struct bench *bench)
{
    sora_text_encoder_destroy(&bench->encoder);
    sora_device_destroy(&bench->device);
}

/* ---- reference values ---- */

static void check_prompt(struct bench *bench, const char *model,
                         const struct sora_checkpoint *values, int index)
{
    char name[32];
    snprintf(name, sizeof(name), "embeds.%d", index);
    const struct sora_checkpoint_entry *entry = golden_entry(values, name);
    float *expected = golden_copy(values, name);
    snprintf(name, sizeof(name), "ids.%d", index);
    int32_t *ids = golden_copy(values, name);
    int count = (int)entry->shape[0];
    size_t size = (size_t)entry->shape[0] * (size_t)entry->shape[1];
    float *rows = malloc(size * sizeof(float));
    struct sora_fault fault = {0};
    assert_int_equal(sora_text_encoder_width(bench->encoder), entry->shape[1]);
    assert_int_equal(sora_text_encoder_encode(bench->encoder, ids, count, rows, &fault), 0);
    double error = relative_l2(rows, expected, size);
    print_message("%s prompt %d, %d tokens: relative L2 %.2e\n", model, index, count, error);
    assert_true(error <= TOLERANCE);
    free(expected);
    free(ids);
    free(rows);
}

static void test_equals_reference(void **state)
{
    (void)state;
    static const char *const models[] = {"a_f32", "b_bf16", "c_f16", "d_mini"};
    for (int path = SORA_CPU_PATH_AUTO; path <= SORA_CPU_PATH_PLAIN; path++) {
        for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
            char dir[256];
            struct bench bench;
            snprintf(dir, sizeof(dir), "%s/text.safetensors", models[i]);
            struct sora_checkpoint *values = golden_open(scratch_path("values"), dir);
            snprintf(dir, sizeof(dir), GOLDEN_ROOT "/models/%s/text_encoder", models[i]);
            bench_open(&bench, dir, 2, (enum sora_cpu_path)path);
            for (int prompt = 0; prompt < 5; prompt++) {
                if (i == 0 || prompt != 3) /* the 512-token prompt is there once */
                    check_prompt(&bench, models[i], values, prompt);
            }
            bench_close(&bench);
            sora_checkpoint_destroy(&values);
        }
    }
}

/* ---- relative positions ---- */

/* Where buckets begin, as PyTorch gives them. */
static void test_buckets(void **state)
{
    (void)state;
    static const struct {
        struct sora_relative_buckets buckets;
        int starts[33]; /* then -1 */
    } cases[] = {
        {{32, 128}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91, -1}},
        {{16, 64}, {0, 1, 2, 3, 4, 8, 16, 32, -1}},
        {{8, 20}, {0, 1, 2, 7, -1}},
        {{4, 100}, {0, 1, -1}},
        {{32, 1000}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 27, 49, 90, 164, 300, 547, -1}},
        {{48, 300}, {0,  1,  2,  3,  4,  5,  6,  7,   8,   9,   10,  11, 12,
                     16, 21, 27, 36, 46, 60, 79, 103, 135, 176, 230, -1}},
        {{64, 512}, {0,  1,  2,  3,  4,  5,  6,  7,  8,   9,   10,  11,  12,  13,  14,  15, 16,
                     20, 25, 31, 39, 48, 59, 73, 91, 113, 140, 174, 216, 268, 332, 413, -1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int bucket = -1;
        for (int distance = 0; distance < 1200; distance++) {
            bucket += cases[i].starts[bucket + 1] == distance;
            int half = cases[i].buckets.count / 2;
            assert_int_equal(sora_relative_bucket(&cases[i].buckets, -distance), bucket);
            if (distance > 0)
                assert_int_equal(sora_relative_bucket(&cases[i].buckets, distance), bucket + half);
        }
    }
}

static void test_bucket_table(void **state)
{
    (void)state;
    const struct sora_relative_buckets buckets = {16, 40};
    int32_t table[23 * 23];
    sora_relative_bucket_table(&buckets, 23, table);
    for (int i = 0; i < 23; i++) {
        for (int j = 0; j < 23; j++)
            assert_int_equal(table[i * 23 + j], sora_relative_bucket(&buckets, j - i));
    }
}

/* ---- a random model ---- */

enum { VOCABULARY = 30, WIDTH = 24, HEADS = 3, HEAD_SIZE = 8, FFN = 40, LAYERS = 2, BUCKETS = 8 };

static void fixture_fill(struct fixture *fixture, const char *embedding)
{
    char name[128];
    fixture_add(fixture, 0, 1, SORA_SHAPE(VOCABULARY, WIDTH), "%s", embedding);
    for (int i = 0; i < LAYERS; i++) {
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof(name), "encoder.block.%d.layer.0.SelfAttention.%c", i, "qkv"[k]);
            fixture_add_linear(fixture, HEADS * HEAD_SIZE, WIDTH, false, name);
        }
        snprintf(name, sizeof(name), "encoder.block.%d.layer.0.SelfAttention.o", i);
        fixture_add_linear(fixture, WIDTH, HEADS * HEAD_SIZE, false, name);
        fixture_add(fixture, 0, 1, SORA_SHAPE(BUCKETS, HEADS),
                    "encoder.block.%d.layer.0.SelfAttention.relative_attention_bias.weight", i);
        for (int k = 0; k < 2; k++) {
            fixture_add(fixture, 1, 0.2f, SORA_SHAPE(WIDTH),
                        "encoder.block.%d.layer.%d.layer_norm.weight", i, k);
            snprintf(name, sizeof(name), "encoder.block.%d.layer.1.DenseReluDense.wi_%d", i, k);
            fixture_add_linear(fixture, FFN, WIDTH, false, name);
        }
        snprintf(name, sizeof(name), "encoder.block.%d.layer.1.DenseReluDense.wo", i);
        fixture_add_linear(fixture, WIDTH, FFN, false, name);
    }
    fixture_add(fixture, 1, 0.2f, SORA_SHAPE(WIDTH), "encoder.final_layer_norm.weight");
}

static void model_write(const struct fixture *fixture)
{
    char text[512];
    snprintf(text, sizeof(text),
             "{\"architectures\":[\"UMT5EncoderModel\"],\"vocab_size\":%d,\"d_model\":%d,"
             "\"num_heads\":%d,\"d_kv\":%d,\"d_ff\":%d,\"num_layers\":%d,"
             "\"relative_attention_num_buckets\":%d,\"relative_attention_max_distance\":20,"
             "\"feed_forward_proj\":\"gated-gelu\"}",
             VOCABULARY, WIDTH, HEADS, HEAD_SIZE, FFN, LAYERS, BUCKETS);
    fixture_write_text(scratch_path("config.json"), text);
    fixture_write(fixture, scratch_path("model.safetensors"));
}

/* Either name of the embedding table, thread counts, and prompts of other lengths before. */
static void test_same_bits(void **state)
{
    (void)state;
    static const int32_t ids[] = {4, 0, 29, 7, 7, 12, 1, 3, 3, 9, 28, 16, 5, 2, 11, 1};
    float first[16 * WIDTH], other[16 * WIDTH];
    for (int run = 0; run < 6; run++) {
        struct fixture fixture = {.dtype = SORA_DTYPE_F32, .seed = 4};
        struct bench bench;
        fixture_fill(&fixture, "shared.weight");
        if (run % 2)
            strcpy(fixture.tensors[0].name, "encoder.embed_tokens.weight");
        model_write(&fixture);
        bench_open(&bench, scratch_path(""), 1 + run / 2, SORA_CPU_PATH_AUTO);
        for (int before = 0; before < run; before++)
            assert_int_equal(
                sora_text_encoder_encode(bench.encoder, ids, 1 + before * 3, other, NULL), 0);
        assert_int_equal(
            sora_text_encoder_encode(bench.encoder, ids, 16, run ? other : first, NULL), 0);
        if (run)
            assert_memory_equal(first, other, sizeof(first));
        bench_close(&bench);
        fixture_fini(&fixture);
    }
}

static void test_refused_inputs(void **state)
{
    (void)state;
    struct fixture fixture = {.dtype = SORA_DTYPE_F32, .seed = 4};
    struct bench bench;
    int32_t ids[513] = {0};
    float rows[3 * WIDTH];
    struct sora_fault fault = {0};
    fixture_fill(&fixture, "shared.weight");
    model_write(&fixture);
    bench_open(&bench, scratch_path(""), 1, SORA_CPU_PATH_AUTO);
    assert_int_equal(sora_text_encoder_vocabulary_size(bench.encoder), VOCABULARY);
    assert_int_equal(sora_text_encoder_encode(bench.encoder, ids, 0, rows, NULL), SORA_E_INVALID);
    assert_int_equal(sora_text_encoder_encode(bench.encoder, ids, 513, rows, NULL), SORA_E_INVALID);
    ids[1] = VOCABULARY;
    assert_int_equal(sora_text_encoder_encode(bench.encoder, ids, 3, rows, &fault), SORA_E_INVALID);
    assert_non_null(strstr(fault.text, "token 1 is 30, the vocabulary has 30"));
    ids[1] = -1;
    assert_int_equal(sora_text_encoder_encode(bench.encoder, ids, 3, rows, NULL), SORA_E_INVALID);
    bench_close(&bench);

    fixture_find(&fixture, "encoder.block.1.layer.1.DenseReluDense.wo.weight")->values[5] = NAN;
    model_write(&fixture);
    bench_open(&bench, scratch_path(""), 1, SORA_CPU_PATH_AUTO);
    ids[1] = 1;
    fault = (struct sora_fault){0};
    assert_int_equal(sora_text_encoder_encode(bench.encoder, ids, 3, rows, &fault), SORA_E_NUMERIC);
    assert_non_null(strstr(fault.text, "encoder.block.1.layer.1.DenseReluDense.wo.weight"));
    bench_close(&bench);
    fixture_fini(&fixture);
}

static void expect_open(int code, const char *words)
{
    struct sora_device *device = NULL;
    struct sora_text_encoder *encoder = NULL;
    struct sora_fault fault = {0};
    const struct sora_cpu_params params = {.thread_count = 1};
    assert_int_equal(sora_cpu_device_create(&params, &device, NULL), 0);
    assert_int_equal(sora_text_encoder_open(scratch_path(""), device, &encoder, &fault), code);
    assert_null(encoder);
    if (!strstr(fault.text, words))
        fail_msg("\"%s\" does not say \"%s\"", fault.text, words);
    sora_device_destroy(&device);
}

static void test_refused_models(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int code;
        const char *words;
    } cases[] = {
        {"{\"architectures\":[\"CLIPTextModel\"]}", SORA_E_UNSUPPORTED,
         "CLIPTextModel; this build runs UMT5EncoderModel"},
        {"{\"architectures\":[\"UMT5EncoderModel\"],\"feed_forward_proj\":\"relu\"}",
         SORA_E_UNSUPPORTED, "feed_forward_proj is relu; this build runs gated-gelu"},
        {"{\"architectures\":[\"UMT5EncoderModel\"],\"relative_attention_num_buckets\":33}",
         SORA_E_UNSUPPORTED, "33 relative_attention_num_buckets"},
        {"{\"architectures\":[\"UMT5EncoderModel\"],\"relative_attention_max_distance\":8}",
         SORA_E_UNSUPPORTED, "max_distance 8"},
        {"{\"architectures\":[\"UMT5EncoderModel\"],\"num_heads\":-2}", SORA_E_LIMIT, "num_heads"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fixture_write_text(scratch_path("config.json"), cases[i].config);
        expect_open(cases[i].code, cases[i].words);
    }
    struct fixture fixture = {.dtype = SORA_DTYPE_F32, .seed = 4};
    fixture_fill(&fixture, "some.weight");
    model_write(&fixture);
    expect_open(SORA_E_NOT_FOUND, "missing tensor shared.weight, expected shape [30, 24]");
    strcpy(fixture.tensors[0].name, "shared.weight");
    struct fixture_tensor *table = fixture_find(
        &fixture, "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight");
    table->shape[0] -= 1;
    table->count -= HEADS;
    model_write(&fixture);
    expect_open(SORA_E_FORMAT, "relative_attention_bias.weight has shape [7, 3], expected [8, 3]");
    fixture_fini(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_equals_reference, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_bucket_table),
        cmocka_unit_test_setup_teardown(test_same_bits, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_refused_inputs, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_refused_models, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
