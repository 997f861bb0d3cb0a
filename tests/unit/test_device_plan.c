/*
 * Memory plans: published sizes of Wan from their configurations alone. test_gpu_memory compares
 * plans with what the backend then takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/job_notes.h"
#include "node/device_plan.h"
#include "node/model_facts.h"
#include "tests/unit/scratch.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define GIB (1024.0 * 1024.0 * 1024.0)

static void put(const char *folder, const char *name, const char *text)
{
    char path[1200];
    mkdir(scratch_path("wan"), 0700);
    snprintf(path, sizeof(path), "%s/%s", scratch_path("wan"), folder);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/%s/%s", scratch_path("wan"), folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The configurations of Wan 2.1 T2V as published; no weights. */
static void wan_write(int heads, int layers, int ffn)
{
    char text[600];
    put(".", "model_index.json", "{\"_class_name\": \"WanPipeline\"}");
    snprintf(text, sizeof(text),
             "{\"_class_name\": \"WanTransformer3DModel\", \"attention_head_dim\": 128, "
             "\"num_attention_heads\": %d, \"num_layers\": %d, \"ffn_dim\": %d, "
             "\"in_channels\": 16, \"out_channels\": 16, \"text_dim\": 4096, \"freq_dim\": 256, "
             "\"cross_attn_norm\": true, \"eps\": 1e-06, \"patch_size\": [1, 2, 2], "
             "\"qk_norm\": \"rms_norm_across_heads\", \"rope_max_seq_len\": 1024}",
             heads, layers, ffn);
    put("transformer", "config.json", text);
    put("scheduler", "scheduler_config.json",
        "{\"_class_name\": \"UniPCMultistepScheduler\", \"prediction_type\": \"flow_prediction\", "
        "\"use_flow_sigmas\": true, \"flow_shift\": 3.0, \"num_train_timesteps\": 1000}");
    put("vae", "config.json",
        "{\"_class_name\": \"AutoencoderKLWan\", \"base_dim\": 96, \"dim_mult\": [1, 2, 4, 4], "
        "\"num_res_blocks\": 2, \"temperal_downsample\": [false, true, true], \"z_dim\": 16, "
        "\"attn_scales\": []}");
}

static struct sora_device_plan plan_of(const char *model, int width, int height, int frames,
                                       enum sora_gpu_precision precision)
{
    const struct sora_device_plan_ask ask = {model, width, height, frames, precision};
    struct sora_device_plan plan;
    struct sora_fault fault = {0};
    if (sora_device_plan_make(&ask, &plan, &fault))
        fail_msg("%s", fault.text);
    return plan;
}

static void test_wan_small(void **state)
{
    (void)state;
    wan_write(12, 30, 8960);
    struct sora_device_plan plan = plan_of(scratch_path("wan"), 832, 480, 81, SORA_GPU_BF16);
    assert_int_equal(plan.latents, 21);
    assert_int_equal(plan.window_latents, 21);
    /* 1.3 billion weights of two bytes. */
    assert_true((double)plan.transformer > 2.5e9 && (double)plan.transformer < 2.9e9);
    /* A card of 8 GB, half a GiB of which is its driver's, with whole passes. */
    assert_true((double)sora_device_plan_needed(&plan) < 7.5e9);
    assert_true((double)plan.decoding_peak < 7.5e9);
    print_message("Wan 1.3B, 81 x 480x832: %.1f GiB\n",
                  (double)sora_device_plan_needed(&plan) / GIB);
    /* A longer video takes no more: windows. */
    struct sora_device_plan longer = plan_of(scratch_path("wan"), 832, 480, 1441, SORA_GPU_BF16);
    assert_int_equal(longer.latents, 361);
    struct sora_device_plan longest = plan_of(scratch_path("wan"), 832, 480, 9999, SORA_GPU_BF16);
    assert_int_equal(sora_device_plan_needed(&longer), sora_device_plan_needed(&longest));
    assert_true((double)sora_device_plan_needed(&longer) < 7.5e9);
    plan = plan_of(scratch_path("wan"), 832, 480, 1, SORA_GPU_F32);
    assert_int_equal(plan.latents, 1);
    assert_int_equal(plan.scratch, 0);
}

/* The feed-forward part's pieces are as large as the queries, keys and values leave room for, and
 * equal; a shard of a video and the whole video have windows of one size and so the same pieces. */
static void test_pieces(void **state)
{
    (void)state;
    static const struct {
        int heads, ffn;
        int64_t tokens, rows;
    } rows[] = {
        {12, 8960, 32760, 16384},  /* Wan 1.3B, a window of 81 x 480x832: two pieces */
        {40, 13824, 32760, 32760}, /* Wan 14B: one */
        {12, 8960, 1560, 1560},    {12, 8960, 2048, 2048},
        {12, 8960, 5000, 2560},    {1, 8960, 5000, 1792}, /* three pieces of no more than 2,048 */
        {12, 8960, 1, 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct sora_transformer_config config = {
            .heads = rows[i].heads, .head_size = 128, .ffn_width = rows[i].ffn};
        assert_int_equal(sora_transformer_config_ffn_rows(&config, rows[i].tokens), rows[i].rows);
    }
}

/* A product's scratch is what hip/gpu/ops_blas.c takes: 32 MiB of workspace, rounded rows of at
 * most 256 MiB, sums of at most 128 MiB. test_gpu_blas compares it with what is taken. */
static void test_scratch_of_products(void **state)
{
    (void)state;
    const uint64_t mib = 1 << 20;
    const struct sora_gpu_product small = {511, 1536, 1536, .in_place = true},
                                  hidden = {16384, 1536, 8960, .in_place = true},
                                  wide = {1 << 20, 4096, 4096, .in_place = false};
    assert_int_equal(sora_gpu_product_scratch(NULL, &small), 0);
    assert_int_equal(sora_gpu_product_scratch(NULL, &hidden),
                     32 * mib + UINT64_C(14976) * (2 * 8960 + 4 * 1536));
    /* Without a library all rows are rounded at once. */
    assert_int_equal(sora_gpu_product_scratch(NULL, &wide), UINT64_C(2) * (1 << 20) * 4096);
}

static void test_wan_large(void **state)
{
    (void)state;
    wan_write(40, 40, 13824);
    struct sora_device_plan plan = plan_of(scratch_path("wan"), 832, 480, 81, SORA_GPU_BF16);
    assert_true((double)plan.transformer > 27e9 && (double)plan.transformer < 30e9);
    assert_true((double)sora_device_plan_needed(&plan) > 24 * GIB);
    print_message("Wan 14B, 81 x 480x832: %.1f GiB\n",
                  (double)sora_device_plan_needed(&plan) / GIB);
    plan = plan_of(scratch_path("wan"), 832, 480, 81, SORA_GPU_INT8);
    assert_true((double)plan.transformer > 14e9 && (double)plan.transformer < 15.5e9);
    assert_true((double)sora_device_plan_needed(&plan) < 23.5e9); /* a card of 24 GB */
    print_message("the same in int8: %.1f GiB\n", (double)sora_device_plan_needed(&plan) / GIB);
    struct sora_device_plan fp8 = plan_of(scratch_path("wan"), 832, 480, 81, SORA_GPU_FP8);
    assert_memory_equal(&fp8, &plan, sizeof(plan));
}

static void test_sizes_that_do_not_fit(void **state)
{
    (void)state;
    static const int sizes[][3] = {{831, 480, 81}, {832, 481, 81}, {0, 480, 81}, {832, 480, 0}};
    wan_write(12, 30, 8960);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const struct sora_device_plan_ask ask = {.model = scratch_path("wan"),
                                                 .width = sizes[i][0],
                                                 .height = sizes[i][1],
                                                 .frames = sizes[i][2]};
        struct sora_device_plan plan;
        struct sora_fault fault = {0};
        assert_int_equal(sora_device_plan_make(&ask, &plan, &fault), SORA_E_INVALID);
        assert_non_null(strstr(fault.text, "multiples of 16"));
    }
    const struct sora_device_plan_ask ask = {.model = "/nonexistent", .frames = 1};
    assert_int_equal(sora_device_plan_make(&ask, &(struct sora_device_plan){0}, NULL),
                     SORA_E_NOT_FOUND);
}

/* What the home of a farm counts from a model's facts is what the card's plan says, or a little
 * more.
 */
static void test_the_farm_counts_the_same(void **state)
{
    (void)state;
    static const int sizes[][2] = {{256, 160}, {640, 384}};
    struct sora_bundle bundle;
    struct sora_model_facts facts;
    const char *const model = SORA_SOURCE_DIR "/models/mini";
    assert_int_equal(sora_bundle_open(model, &bundle, NULL), 0);
    assert_int_equal(sora_model_facts_read(&bundle, &facts, NULL), 0);
    assert_true(facts.text_weight_bytes > 0 && facts.vae_weight_bytes > 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const struct sora_job_ask_shot shot = {.prompt = "a", .frames = 401, .cut = true};
        const struct sora_job_ask ask = {.shot_count = 1,
                                         .shots = &shot,
                                         .width = sizes[i][0],
                                         .height = sizes[i][1],
                                         .solver = -1,
                                         .noise_kind = -1};
        static struct sora_job_plan plan;
        struct sora_job_notes notes = {0};
        assert_int_equal(sora_job_plan_make(&ask, &facts, &plan, &notes, NULL), 0);
        struct sora_device_plan card = plan_of(model, sizes[i][0], sizes[i][1], 401, SORA_GPU_BF16);
        double ratio = (double)plan.card_bytes / (double)sora_device_plan_needed(&card);
        print_message("%dx%d: the farm counts %.2f of the card's plan\n", sizes[i][0], sizes[i][1],
                      ratio);
        assert_true(ratio > 0.9 && ratio < 1.3);
        card = plan_of(model, sizes[i][0], sizes[i][1], 401, SORA_GPU_INT8);
        ratio = (double)plan.card_int8_bytes / (double)sora_device_plan_needed(&card);
        assert_true(ratio > 0.9 && ratio < 1.3);
    }
    sora_bundle_fini(&bundle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_wan_small, scratch_setup, scratch_teardown),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_scratch_of_products),
        cmocka_unit_test_setup_teardown(test_wan_large, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_sizes_that_do_not_fit, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test(test_the_farm_counts_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
