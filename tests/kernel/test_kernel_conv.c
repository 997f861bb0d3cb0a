/*
 * Convolutions on the emulator against the plain CPU operation: the VAE's shapes (3x3x3 causal with
 * history, 3x1x1, 1x3x3 after doubling, strided with one-sided padding, 1x1x1) and odd ones.
 *
 * Operands hold values that the element type represents, so what differs is the order of f32 sums:
 * the limit is 1e-5 of the greatest result.
 */
#include "tests/kernel/kernel_fixture.h"

#define TOLERANCE 1e-5

static const struct {
    int64_t frames, height, width, in, out, kt, kh, kw, history;
    int time_pad, stride_t, stride, pad[4], upsample;
} shapes[] = {
    {2, 5, 7, 3, 5, 3, 3, 3, 0, 2, 1, 1, {1, 1, 1, 1}, 1},
    {1, 6, 33, 16, 16, 3, 3, 3, 2, 2, 1, 1, {1, 1, 1, 1}, 1},
    {3, 4, 15, 17, 33, 3, 3, 3, 1, 2, 1, 1, {1, 1, 1, 1}, 1},
    {2, 9, 11, 7, 70, 1, 1, 1, 0, 0, 1, 1, {0, 0, 0, 0}, 1},
    {4, 3, 5, 32, 64, 3, 1, 1, 0, 2, 1, 1, {0, 0, 0, 0}, 1},
    {5, 3, 5, 6, 3, 3, 1, 1, 2, 2, 2, 1, {0, 0, 0, 0}, 1},
    {1, 10, 13, 9, 18, 1, 3, 3, 0, 0, 1, 2, {0, 1, 0, 1}, 1},
    {2, 5, 6, 19, 12, 1, 3, 3, 0, 0, 1, 1, {1, 1, 1, 1}, 2},
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, {0, 0, 0, 0}, 1},
    {1, 3, 100, 2, 3, 1, 3, 5, 0, 0, 1, 1, {2, 0, 3, 1}, 1},
    {1, 11, 10, 8, 8, 2, 2, 2, 1, 1, 1, 1, {0, 1, 1, 0}, 1},
    {2, 7, 8, 5, 4, 1, 1, 1, 0, 0, 1, 2, {0, 0, 0, 0}, 1},
};
#define SHAPES (int)(sizeof(shapes) / sizeof(shapes[0]))

static void params_fill(struct kernel_fixture *fix, int variant, enum sora_dtype type,
                        struct sora_tensor *out_weight, struct sora_conv3d *params)
{
    struct fixture *cpu = &fix->cpu;
    int64_t t = shapes[variant].frames, h = shapes[variant].height, w = shapes[variant].width;
    int64_t in = shapes[variant].in, channels = shapes[variant].out;
    int64_t kt = shapes[variant].kt, kh = shapes[variant].kh, kw = shapes[variant].kw;
    const int *pad = shapes[variant].pad;
    int up = shapes[variant].upsample, step = shapes[variant].stride;
    const int64_t shape[4] = {(shapes[variant].time_pad + t - kt) / shapes[variant].stride_t + 1,
                              (h * up + pad[0] + pad[1] - kh) / step + 1,
                              (w * up + pad[2] + pad[3] - kw) / step + 1, channels};
    *out_weight = kernel_random(fix, type, SORA_SHAPE(channels, in, kt, kh, kw), 1, 1.0f);
    *params = (struct sora_conv3d){
        .in = kernel_random(fix, type, SORA_SHAPE(t, h, w, in), 3, 1.0f),
        .out = fixture_random(cpu, SORA_DTYPE_F32, 4, shape, 2, 1.0f),
        .time_pad = shapes[variant].time_pad,
        .stride_t = shapes[variant].stride_t,
        .stride_h = step,
        .stride_w = step,
        .pad_top = pad[0],
        .pad_bottom = pad[1],
        .pad_left = pad[2],
        .pad_right = pad[3],
        .upsample = up,
    };
    if (shapes[variant].history)
        params->history =
            kernel_random(fix, type, SORA_SHAPE(shapes[variant].history, h, w, in), 4, 1.0f);
    if (variant % 2 == 0)
        params->bias = fixture_random(cpu, SORA_DTYPE_BF16, SORA_SHAPE(channels), 5, 1.0f);
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
                    .n = (int)shapes[variant].out},
        .history = kernel_operand(fix, &params.history),
        .history_frames = (int)shapes[variant].history,
        .time_pad = params.time_pad,
        .height = (int)shapes[variant].height,
        .width = (int)shapes[variant].width,
        .in_channels = (int)shapes[variant].in,
        .kernel_h = (int)shapes[variant].kh,
        .kernel_w = (int)shapes[variant].kw,
        .stride_t = params.stride_t,
        .stride_h = params.stride_h,
        .stride_w = params.stride_w,
        .pad_top = params.pad_top,
        .pad_left = params.pad_left,
        .upsample = params.upsample,
        .out_height = (int)params.out.shape[1],
        .out_width = (int)params.out.shape[2],
    };
    int taps = (int)(shapes[variant].kt * shapes[variant].kh * shapes[variant].kw);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_f32),
    };
    return cmocka_run_group_tests(tests, kernel_setup, kernel_teardown);
}
