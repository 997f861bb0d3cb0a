/*
 * Attention on the emulator against the plain CPU operation: heads of every size that there is a
 * kernel for and sizes between, self- and cross-attention, lengths from one key to several steps,
 * masks, biases, queries without any key.
 *
 * Operands hold values that the element type represents. With 16-bit operands the softmax weights
 * are rounded to the type before they meet the values: 2^-8 (bf16) or 2^-11 (f16) of each, which
 * average out; the limits are 4e-3 and 6e-4 of the greatest result. f32: 1e-5.
 */
#include "tests/kernel/kernel_fixture.h"

static const struct {
    int64_t queries, keys, heads, size;
    float scale;
    bool masked, biased;
} shapes[] = {
    {1, 1, 1, 1, 1.0f, false, false},      {5, 7, 2, 6, 1.0f, true, true},
    {57, 33, 3, 32, 0.2f, false, true},    {64, 257, 2, 64, 0.1f, true, false},
    {13, 130, 1, 128, 0.3f, false, false}, {140, 65, 2, 96, 0.1f, true, true},
    {29, 64, 2, 17, 0.5f, true, false},    {129, 96, 1, 64, 0.125f, false, false},
    {70, 40, 1, 128, 0.09f, false, true},  {20, 50, 1, 64, 0.1f, false, false},
    {9, 29, 2, 128, 0.1f, false, false},
};
#define SHAPES (int)(sizeof(shapes) / sizeof(shapes[0]))

/* A mask of key biases; in variant 1 all keys are masked, so the result is zeros. */
static struct sora_tensor mask_make(struct fixture *cpu, int variant, int64_t keys)
{
    float mask[512];
    assert_true(keys <= 512);
    for (int64_t j = 0; j < keys; j++)
        mask[j] = j < keys / 2 || j % 3 == 0 || variant == 1 ? -INFINITY : (float)(j % 5) * 0.3f;
    return fixture_values(cpu, SORA_DTYPE_F32, SORA_SHAPE(keys), mask);
}

static void params_fill(struct kernel_fixture *fix, int variant, enum sora_dtype type,
                        struct sora_attention *params)
{
    struct fixture *cpu = &fix->cpu;
    int64_t queries = shapes[variant].queries, keys = shapes[variant].keys;
    int64_t heads = shapes[variant].heads, size = shapes[variant].size;
    *params = (struct sora_attention){
        .q = kernel_random(fix, type, SORA_SHAPE(queries, heads, size), 1, 2.0f),
        .k = kernel_random(fix, type, SORA_SHAPE(keys, heads, size), 2, 2.0f),
        .v = kernel_random(fix, type, SORA_SHAPE(keys, heads, size), 3, 1.0f),
        .out = fixture_tensor(cpu, SORA_DTYPE_F32, SORA_SHAPE(queries, heads, size)),
        .scale = shapes[variant].scale,
    };
    if (shapes[variant].masked)
        params->key_bias = mask_make(cpu, variant, keys);
    if (shapes[variant].biased)
        params->position_bias =
            fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(heads, queries, keys), 4, 3.0f);
    assert_int_equal(sora_op_attention(cpu->stream, params), 0);
}

/* The operand as the kernel wants it: f32, or 16-bit with padded rows. */
static const void *operand(struct kernel_fixture *fix, const struct sora_tensor *tensor,
                           enum sora_dtype type)
{
    void *data = kernel_operand(fix, tensor);
    if (type == SORA_DTYPE_F32)
        return data;
    int stride = sora_plan_head_stride((int)tensor->shape[2]);
    struct sora_launch_plan plan;
    const struct pad_rows_args args = {
        .in = data,
        .out = kernel_alloc(fix, (size_t)(tensor->shape[0] * tensor->shape[1] * stride) * 2),
        .rows = tensor->shape[0] * tensor->shape[1],
        .columns = (int)tensor->shape[2],
        .out_stride = stride,
        .out_type = type == SORA_DTYPE_BF16 ? KERNEL_BF16 : KERNEL_F16,
    };
    assert_int_equal(sora_plan_elements(SORA_KERNEL_pad_rows, args.rows * stride, &plan), 0);
    kernel_launch(fix, &plan, &args);
    return args.out;
}

static void attention_run(struct kernel_fixture *fix, int variant, enum sora_dtype type,
                          double tolerance)
{
    struct sora_attention params;
    struct sora_launch_plan plan;
    params_fill(fix, variant, type, &params);
    const struct attention_args args = {
        .q = operand(fix, &params.q, type),
        .k = operand(fix, &params.k, type),
        .v = operand(fix, &params.v, type),
        .key_bias = kernel_operand(fix, &params.key_bias),
        .position_bias = kernel_operand(fix, &params.position_bias),
        .out = kernel_alloc(fix, sora_tensor_size(&params.out)),
        .queries = (int)shapes[variant].queries,
        .keys = (int)shapes[variant].keys,
        .heads = (int)shapes[variant].heads,
        .head_size = (int)shapes[variant].size,
        .scale = params.scale,
    };
    assert_int_equal(sora_plan_attention(&fix->target, type, &args, &plan), 0);
    kernel_launch(fix, &plan, &args);
    kernel_compare(fix, sora_kernel_name(plan.kernel), variant, args.out, &params.out, tolerance);
}

static void bf16_run(struct kernel_fixture *fix, int variant)
{
    attention_run(fix, variant, SORA_DTYPE_BF16, 4e-3);
}

static void f16_run(struct kernel_fixture *fix, int variant)
{
    attention_run(fix, variant, SORA_DTYPE_F16, 6e-4);
}

static void f32_run(struct kernel_fixture *fix, int variant)
{
    attention_run(fix, variant, SORA_DTYPE_F32, 1e-5);
}

static void test_bf16(void **state)
{
    kernel_for_all(*state, SHAPES, bf16_run);
}

static void test_f16(void **state)
{
    kernel_for_all(*state, SHAPES, f16_run);
}

static void test_f32(void **state)
{
    kernel_for_all(*state, SHAPES, f32_run);
}

/* The VAE's head, which is as wide as its channels. */
static void wide_run(struct kernel_fixture *fix, int variant)
{
    struct fixture *cpu = &fix->cpu;
    const int64_t size = variant ? 512 : 384, count = 41;
    struct sora_launch_plan plan;
    struct sora_attention params = {
        .q = fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(count, 1, size), 1, 2.0f),
        .k = fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(count, 1, size), 2, 2.0f),
        .v = fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(count, 1, size), 3, 1.0f),
        .out = fixture_tensor(cpu, SORA_DTYPE_F32, SORA_SHAPE(count, 1, size)),
        .scale = 0.05f,
    };
    assert_int_equal(sora_op_attention(cpu->stream, &params), 0);
    const struct attention_args args = {
        .q = kernel_operand(fix, &params.q),
        .k = kernel_operand(fix, &params.k),
        .v = kernel_operand(fix, &params.v),
        .out = kernel_alloc(fix, sora_tensor_size(&params.out)),
        .queries = (int)count,
        .keys = (int)count,
        .heads = 1,
        .head_size = (int)size,
        .scale = params.scale,
    };
    assert_int_equal(sora_plan_attention(&fix->target, SORA_DTYPE_BF16, &args, &plan),
                     SORA_E_UNSUPPORTED);
    assert_int_equal(sora_plan_attention(&fix->target, SORA_DTYPE_F32, &args, &plan), 0);
    kernel_launch(fix, &plan, &args);
    kernel_compare(fix, "wide head", variant, args.out, &params.out, 1e-5);
}

static void test_wide_heads(void **state)
{
    kernel_for_all(*state, 2, wide_run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_wide_heads),
    };
    return cmocka_run_group_tests(tests, kernel_setup, kernel_teardown);
}
