/*
 * Convolutions on the emulator against the plain CPU operation: the VAE's shapes (3x3x3 causal with
 * history, 3x1x1, 1x3x3 after doubling, strided with one-sided padding, 1x1x1) and odd ones.
 *
 * Operands hold values that the element type represents, so what differs is the order of f32 sums:
 * the limit is 1e-5 of the greatest result.
 */
#include "hip/selftest_parts.h"
#include "tests/kernel/kernel_fixture.h"

#define TOLERANCE 1e-5

static void params_fill(struct kernel_fixture *fix, int variant, enum sora_dtype type,
                        struct sora_tensor *out_weight, struct sora_conv3d *params)
{
    struct fixture *cpu = &fix->cpu;
    const struct sora_selftest_conv *s = &sora_selftest_convs[variant];
    int64_t shape[4];
    *params = sora_selftest_conv_params(s, shape);
    *out_weight = kernel_random(fix, type, SORA_SHAPE(s->out, s->in, s->kt, s->kh, s->kw), 1, 1.0f);
    params->in =
        kernel_random(fix, type, SORA_SHAPE(s->frames, s->height, s->width, s->in), 3, 1.0f);
    params->out = fixture_random(cpu, SORA_DTYPE_F32, 4, shape, 2, 1.0f);
    if (s->history)
        params->history =
            kernel_random(fix, type, SORA_SHAPE(s->history, s->height, s->width, s->in), 4, 1.0f);
    if (variant % 2 == 0)
        params->bias = fixture_random(cpu, SORA_DTYPE_BF16, SORA_SHAPE(s->out), 5, 1.0f);
    if (variant % 3 == 1)
        params->residual = fixture_random(cpu, SORA_DTYPE_F32, 4, shape, 6, 1.0f);
}

/* The weight as the kernel wants it, packed by the kernel for that. */
static void *weight_pack(struct kernel_fixture *fix, const struct sora_tensor *weight,
                         enum sora_dtype type)
{
    struct pack_conv_args args = {
        .in = kernel_operand(fix, weight),
        .in_type = kernel_type(weight),
        .out_type = type == SORA_DTYPE_F32    ? KERNEL_F32
                    : type == SORA_DTYPE_BF16 ? KERNEL_BF16
                                              : KERNEL_F16,
        .in_channels = (int)weight->shape[1],
        .taps = (int)(weight->shape[2] * weight->shape[3] * weight->shape[4]),
        .channels = sora_plan_conv_channels((int)weight->shape[1]),
    };
    struct sora_launch_plan plan;
    args.count = weight->shape[0] * args.taps * args.channels;
    args.out = kernel_alloc(fix, (size_t)args.count * sora_dtype_size(type));
    assert_int_equal(sora_plan_elements(SORA_KERNEL_pack_conv, args.count, &plan), 0);
    kernel_launch(fix, &plan, &args);
    return args.out;
}

static void conv_run(struct kernel_fixture *fix, int variant, enum sora_dtype type)
{
    const struct sora_selftest_conv *shape = &sora_selftest_convs[variant];
    struct sora_tensor weight;
    struct sora_conv3d params;
    struct sora_packed *packed = NULL;
    struct sora_launch_plan plan;
    params_fill(fix, variant, type, &weight, &params);
    assert_int_equal(sora_packed_create(fix->cpu.device, &weight, &packed), 0);
    params.weight = packed;
    assert_int_equal(sora_op_conv3d(fix->cpu.stream, &params), 0);
    sora_packed_destroy(&packed);
    struct conv_args args = {
        .product = {.a = kernel_operand(fix, &params.in),
                    .b = weight_pack(fix, &weight, type),
                    .bias = kernel_operand(fix, &params.bias),
                    .bias_type = kernel_type(&params.bias),
                    .residual = kernel_operand(fix, &params.residual),
                    .out = kernel_alloc(fix, sora_tensor_size(&params.out)),
                    .n = (int)shape->out},
        .history = kernel_operand(fix, &params.history),
        .history_frames = (int)shape->history,
        .time_pad = params.time_pad,
        .height = (int)shape->height,
        .width = (int)shape->width,
        .in_channels = (int)shape->in,
        .kernel_h = (int)shape->kh,
        .kernel_w = (int)shape->kw,
        .stride_t = params.stride_t,
        .stride_h = params.stride_h,
        .stride_w = params.stride_w,
        .pad_top = params.pad_top,
        .pad_left = params.pad_left,
        .upsample = params.upsample,
        .out_height = (int)params.out.shape[1],
        .out_width = (int)params.out.shape[2],
    };
    int taps = (int)(shape->kt * shape->kh * shape->kw);
    assert_int_equal(
        sora_plan_conv(&fix->target, type, (int)params.out.shape[0], taps, &args, &plan), 0);
    kernel_launch(fix, &plan, &args);
    kernel_compare(fix, sora_kernel_name(plan.kernel), variant, args.product.out, &params.out,
                   TOLERANCE);
}

static void bf16_run(struct kernel_fixture *fix, int variant)
{
    conv_run(fix, variant, SORA_DTYPE_BF16);
}

static void f16_run(struct kernel_fixture *fix, int variant)
{
    conv_run(fix, variant, SORA_DTYPE_F16);
}

static void f32_run(struct kernel_fixture *fix, int variant)
{
    conv_run(fix, variant, SORA_DTYPE_F32);
}

static void test_bf16(void **state)
{
    kernel_for_all(*state, sora_selftest_conv_count, bf16_run);
}

static void test_f16(void **state)
{
    kernel_for_all(*state, sora_selftest_conv_count, f16_run);
}

static void test_f32(void **state)
{
    kernel_for_all(*state, sora_selftest_conv_count, f32_run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_f32),
    };
    return cmocka_run_group_tests(tests, kernel_setup, kernel_teardown);
}
