/*
 * Norms and rotary embedding on the emulator against the plain CPU operations, which sum in double
 * precision: 3e-6 of the greatest result for norms (f32 sums in another order, one approximate
 * root), 2e-7 for rotary pairs.
 */
#include "tests/kernel/kernel_fixture.h"

#define NORM_TOLERANCE 3e-6
#define ROPE_TOLERANCE 2e-7

static const enum sora_dtype types[] = {SORA_DTYPE_F32, SORA_DTYPE_F16, SORA_DTYPE_BF16};

/* Rows from fewer than a block's waves to more, channels from one to more than a wave's. */
static const int64_t shapes[][2] = {{1, 1}, {3, 15}, {37, 16}, {5, 1537}, {70, 48}, {9, 96}};
#define SHAPES (int)(sizeof(shapes) / sizeof(shapes[0]))

static void layer_norm_run(struct kernel_fixture *fix, int variant)
{
    struct fixture *cpu = &fix->cpu;
    int64_t rows = shapes[variant][0], channels = shapes[variant][1];
    struct sora_layer_norm params = {
        .in = fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(rows, channels), 1, 3.0f),
        .out = fixture_tensor(cpu, SORA_DTYPE_F32, SORA_SHAPE(rows, channels)),
        .eps = 1e-5f,
    };
    if (variant % 2 == 0) {
        params.weight = fixture_random(cpu, types[variant % 3], SORA_SHAPE(channels), 2, 1.0f);
        params.bias = fixture_random(cpu, SORA_DTYPE_BF16, SORA_SHAPE(channels), 3, 1.0f);
    }
    if (variant % 3 != 1) {
        params.scale = fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(channels), 4, 1.0f);
        params.shift = fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(channels), 5, 1.0f);
    }
    assert_int_equal(sora_op_layer_norm(cpu->stream, &params), 0);
    float *in = kernel_operand(fix, &params.in);
    const struct norm_args args = {
        .in = in,
        .out = variant % 2 ? in : kernel_alloc(fix, sora_tensor_size(&params.out)),
        .weight = kernel_operand(fix, &params.weight),
        .bias = kernel_operand(fix, &params.bias),
        .scale = kernel_operand(fix, &params.scale),
        .shift = kernel_operand(fix, &params.shift),
        .rows = rows,
        .channels = (int)channels,
        .weight_type = kernel_type(&params.weight),
        .bias_type = kernel_type(&params.bias),
        .eps = params.eps,
    };
    struct sora_launch_plan plan;
    assert_int_equal(sora_plan_rows(&fix->target, SORA_KERNEL_layer_norm, rows, &plan), 0);
    kernel_launch(fix, &plan, &args);
    kernel_compare(fix, "layer_norm", variant, args.out, &params.out, NORM_TOLERANCE);
}

/* Both kinds; rows of tiny values, where squares leave f32's range, and of zeros. */
static void rms_norm_run(struct kernel_fixture *fix, int variant)
{
    static const float scales[] = {50.0f, 1e-25f, 3.0f, 1e-7f, 1e25f, 0.0f};
    struct fixture *cpu = &fix->cpu;
    int64_t rows = shapes[variant / 2][0], channels = shapes[variant / 2][1];
    const struct sora_rms_norm params = {
        .in =
            fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(rows, channels), 1, scales[variant / 2]),
        .out = fixture_tensor(cpu, SORA_DTYPE_F32, SORA_SHAPE(rows, channels)),
        .weight = fixture_random(cpu, types[variant % 3], SORA_SHAPE(channels), 2, 2.0f),
        .kind = variant % 2 ? SORA_NORM_L2 : SORA_NORM_RMS,
        .activation = variant % 3 ? SORA_ACTIVATION_SILU : SORA_ACTIVATION_NONE,
        .eps = 1e-12f,
    };
    assert_int_equal(sora_op_rms_norm(cpu->stream, &params), 0);
    const struct norm_args args = {
        .in = kernel_operand(fix, &params.in),
        .out = kernel_alloc(fix, sora_tensor_size(&params.out)),
        .weight = kernel_operand(fix, &params.weight),
        .rows = rows,
        .channels = (int)channels,
        .weight_type = kernel_type(&params.weight),
        .l2 = params.kind == SORA_NORM_L2,
        .activation = (int)params.activation,
        .eps = params.eps,
    };
    struct sora_launch_plan plan;
    assert_int_equal(sora_plan_rows(&fix->target, SORA_KERNEL_rms_norm, rows, &plan), 0);
    kernel_launch(fix, &plan, &args);
    kernel_compare(fix, "rms_norm", variant, args.out, &params.out, NORM_TOLERANCE);
}

static void rope_run(struct kernel_fixture *fix, int variant)
{
    static const int64_t sizes[][3] = {{1, 1, 2}, {7, 3, 34}, {65, 2, 128}, {40, 4, 64}};
    struct fixture *cpu = &fix->cpu;
    const int64_t *s = sizes[variant];
    struct sora_tensor x = fixture_random(cpu, SORA_DTYPE_F32, 3, s, 1, 2.0f);
    struct sora_tensor cosine =
        fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(s[0], s[2] / 2), 2, 1.0f);
    struct sora_tensor sine =
        fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(s[0], s[2] / 2), 3, 1.0f);
    const struct rope_args args = {
        .x = kernel_operand(fix, &x),
        .cos_table = kernel_operand(fix, &cosine),
        .sin_table = kernel_operand(fix, &sine),
        .count = s[0] * s[1] * s[2] / 2,
        .heads = (int)s[1],
        .half = (int)s[2] / 2,
    };
    struct sora_launch_plan plan;
    assert_int_equal(sora_op_rope(cpu->stream, &x, &cosine, &sine), 0);
    assert_int_equal(sora_plan_elements(SORA_KERNEL_rope, args.count, &plan), 0);
    kernel_launch(fix, &plan, &args);
    kernel_compare(fix, "rope", variant, args.x, &x, ROPE_TOLERANCE);
}

static void test_layer_norm(void **state)
{
    kernel_for_all(*state, SHAPES, layer_norm_run);
}

static void test_rms_norm(void **state)
{
    kernel_for_all(*state, 2 * SHAPES, rms_norm_run);
}

static void test_rope(void **state)
{
    kernel_for_all(*state, 4, rope_run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_rope),
    };
    return cmocka_run_group_tests(tests, kernel_setup, kernel_teardown);
}
