/*
 * Matrix products on the emulator against the plain CPU product: every operand source, both element
 * types, all epilogues, shapes from one element to several tiles, rows with and without alignment.
 *
 * Operands hold values that the element type represents, so what differs is the order of f32 sums:
 * the limit is 1e-5 of the greatest result. Operands that must be rounded have a limit of their
 * own, and so do weights quantised to int8 and fp8.
 */
#include "tests/kernel/kernel_fixture.h"

#define TOLERANCE 1e-5
#define TOLERANCE_ROUNDED_BF16 1e-2 /* two operands with 8 bits each, k up to 136 */
#define TOLERANCE_INT8 2e-2
#define TOLERANCE_FP8 5e-2 /* 4 bits of each weight */

static const struct {
    int64_t m, n, k;
} shapes[] = {
    {1, 1, 1},     {5, 37, 7},    {130, 129, 40}, {64, 65, 33},   {200, 150, 136},
    {129, 16, 72}, {3, 260, 100}, {17, 140, 64},  {260, 132, 24}, {66, 68, 129},
};
#define SHAPES (int)(sizeof(shapes) / sizeof(shapes[0]))

static enum sora_dtype half_type(int variant)
{
    return variant % 2 ? SORA_DTYPE_F16 : SORA_DTYPE_BF16;
}

/* Epilogue operands by variant, so that each occurs with and without each other. */
static void epilogue_fill(struct fixture *cpu, int variant, struct sora_matmul *params)
{
    int64_t m = shapes[variant].m, n = shapes[variant].n;
    enum sora_dtype bias = variant % 3 == 0 ? SORA_DTYPE_F32 : half_type(variant);
    params->activation = (enum sora_activation)(variant % 4);
    if (variant % 2 == 0)
        params->bias = fixture_random(cpu, bias, SORA_SHAPE(n), 3, 1.0f);
    if (variant % 3 == 0)
        params->factor = fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(m, n), 4, 1.0f);
    if (variant % 3 != 1)
        params->gate = fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(n), 5, 1.0f);
    if (variant % 4 != 0)
        params->residual = fixture_random(cpu, SORA_DTYPE_F32, SORA_SHAPE(m, n), 6, 1.0f);
    params->out = fixture_tensor(cpu, SORA_DTYPE_F32, SORA_SHAPE(m, n));
}

/* The kernel's arguments for the product; `b` is filled by the caller. In place on the residual
 * where there is one and the variant is odd. */
static struct gemm_args args_fill(struct kernel_fixture *fix, int variant,
                                  const struct sora_matmul *params)
{
    struct gemm_args args = {
        .a = kernel_operand(fix, &params->a),
        .bias = kernel_operand(fix, &params->bias),
        .factor = kernel_operand(fix, &params->factor),
        .gate = kernel_operand(fix, &params->gate),
        .residual = kernel_operand(fix, &params->residual),
        .m = (int)shapes[variant].m,
        .n = (int)shapes[variant].n,
        .k = (int)shapes[variant].k,
        .a_stride = (int)shapes[variant].k,
        .b_stride = (int)shapes[variant].k,
        .b_type = kernel_type(&params->b),
        .bias_type = kernel_type(&params->bias),
        .activation = (int)params->activation,
    };
    if (args.residual && variant % 2)
        memcpy(&args.out, &args.residual, sizeof(args.out));
    else
        args.out = kernel_alloc(fix, sora_tensor_size(&params->out));
    return args;
}

static void run_and_compare(struct kernel_fixture *fix, const char *what, int variant,
                            enum sora_dtype precision, bool a_half, enum sora_plan_weight weight,
                            struct gemm_args *args, const struct sora_matmul *params,
                            double tolerance)
{
    struct sora_launch_plan plan;
    assert_int_equal(sora_op_matmul(fix->cpu.stream, params), 0);
    assert_int_equal(sora_plan_gemm(&fix->target, precision, a_half, weight, args, &plan), 0);
    kernel_launch(fix, &plan, args);
    kernel_compare(fix, what, variant, args->out, &params->out, tolerance);
}

/* f32 activations, 16-bit weights: the transformer's case. */
static void half_weight_run(struct kernel_fixture *fix, int variant)
{
    enum sora_dtype type = half_type(variant / 2);
    int64_t m = shapes[variant].m, n = shapes[variant].n, k = shapes[variant].k;
    struct sora_matmul params = {
        .a = kernel_random(fix, type, SORA_SHAPE(m, k), 1, 1.0f),
        .b = fixture_random(&fix->cpu, type, SORA_SHAPE(n, k), 2, 1.0f),
    };
    epilogue_fill(&fix->cpu, variant, &params);
    struct gemm_args args = args_fill(fix, variant, &params);
    args.b = kernel_operand(fix, &params.b);
    run_and_compare(fix, "gemm", variant, type, false, SORA_PLAN_WEIGHT_HALF, &args, &params,
                    TOLERANCE);
}

/* An f32 operand in 16 bits by pad_rows, with a stride of whole vectors. */
static const void *pad(struct kernel_fixture *fix, const struct sora_tensor *tensor, int stride,
                       int type)
{
    struct sora_launch_plan plan;
    struct pad_rows_args args = {
        .in = kernel_operand(fix, tensor),
        .out = kernel_alloc(fix, (size_t)tensor->shape[0] * (size_t)stride * 2),
        .rows = tensor->shape[0],
        .columns = (int)tensor->shape[1],
        .out_stride = stride,
        .out_type = type,
    };
    assert_int_equal(sora_plan_elements(SORA_KERNEL_pad_rows, args.rows * stride, &plan), 0);
    kernel_launch(fix, &plan, &args);
    return args.out;
}

/* Both 16-bit. */
static void half_both_run(struct kernel_fixture *fix, int variant)
{
    enum sora_dtype type = half_type(variant);
    int64_t m = shapes[variant].m, n = shapes[variant].n, k = shapes[variant].k;
    int half = type == SORA_DTYPE_F16 ? KERNEL_F16 : KERNEL_BF16;
    struct sora_matmul params = {
        .a = fixture_random(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(m, k), 1, 1.0f),
        .b = kernel_random(fix, type, SORA_SHAPE(n, k), 2, 1.0f),
    };
    epilogue_fill(&fix->cpu, variant, &params);
    struct gemm_args args = args_fill(fix, variant, &params);
    args.a_stride = args.b_stride = (int)(k + 7) / 8 * 8;
    args.a = pad(fix, &params.a, args.a_stride, half);
    args.b = pad(fix, &params.b, args.b_stride, half);
    run_and_compare(fix, "gemm_half", variant, type, true, SORA_PLAN_WEIGHT_HALF, &args, &params,
                    TOLERANCE_ROUNDED_BF16);
}

/* The epilogue alone, over sums that are already there; in place on them with every third. */
static void epilogue_alone_run(struct kernel_fixture *fix, int variant)
{
    int64_t m = shapes[variant].m, n = shapes[variant].n, k = shapes[variant].k;
    struct sora_launch_plan plan;
    struct sora_matmul params = {
        .a = kernel_random(fix, SORA_DTYPE_BF16, SORA_SHAPE(m, k), 1, 1.0f),
        .b = kernel_random(fix, SORA_DTYPE_BF16, SORA_SHAPE(n, k), 2, 1.0f),
        .out = fixture_tensor(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(m, n)),
    };
    assert_int_equal(sora_op_matmul(fix->cpu.stream, &params), 0);
    float *sums = kernel_operand(fix, &params.out);
    epilogue_fill(&fix->cpu, variant, &params);
    assert_int_equal(sora_op_matmul(fix->cpu.stream, &params), 0);
    struct gemm_args args = args_fill(fix, variant, &params);
    args.a = sums;
    args.out = variant % 3 ? args.out : sums;
    assert_int_equal(sora_plan_epilogue(&args, &plan), 0);
    kernel_launch(fix, &plan, &args);
    kernel_compare(fix, "epilogue", variant, args.out, &params.out, TOLERANCE);
}

/* f32 weights, rounded on the way. */
static void wide_weight_run(struct kernel_fixture *fix, int variant)
{
    enum sora_dtype type = half_type(variant);
    int64_t m = shapes[variant].m, n = shapes[variant].n, k = shapes[variant].k;
    struct sora_matmul params = {
        .a = kernel_random(fix, type, SORA_SHAPE(m, k), 1, 1.0f),
        .b = kernel_random(fix, type, SORA_SHAPE(n, k), 2, 1.0f),
    };
    epilogue_fill(&fix->cpu, variant, &params);
    struct gemm_args args = args_fill(fix, variant, &params);
    args.b = kernel_operand(fix, &params.b);
    run_and_compare(fix, "gemm_wide", variant, type, false, SORA_PLAN_WEIGHT_F32, &args, &params,
                    TOLERANCE);
}

/* f32 throughout, weights of all three types, nothing rounded. */
static void exact_run(struct kernel_fixture *fix, int variant)
{
    static const enum sora_dtype types[] = {SORA_DTYPE_F32, SORA_DTYPE_BF16, SORA_DTYPE_F16};
    int64_t m = shapes[variant].m, n = shapes[variant].n, k = shapes[variant].k;
    struct sora_matmul params = {
        .a = fixture_random(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(m, k), 1, 1.0f),
        .b = fixture_random(&fix->cpu, types[variant % 3], SORA_SHAPE(n, k), 2, 1.0f),
    };
    epilogue_fill(&fix->cpu, variant, &params);
    struct gemm_args args = args_fill(fix, variant, &params);
    args.b = kernel_operand(fix, &params.b);
    run_and_compare(fix, "gemm_f32", variant, SORA_DTYPE_F32, false, SORA_PLAN_WEIGHT_F32, &args,
                    &params, TOLERANCE);
}

/* e4m3 as its definition has it. */
static float f8_value(uint8_t code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    float value =
        exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
    return code & 0x80 ? -value : value;
}

/* Quantises the weights by the kernel to `to`, then compares twice: with the product of the
 * quantised values (closely), and with that of the weights as they were (the error of
 * quantisation). */
static void quantised_run(struct kernel_fixture *fix, int variant, enum sora_dtype type,
                          enum sora_dtype to)
{
    bool f8 = to == SORA_DTYPE_F8;
    int64_t m = shapes[variant].m, n = shapes[variant].n, k = shapes[variant].k;
    struct sora_matmul params = {
        .a = kernel_random(fix, type, SORA_SHAPE(m, k), 1, 1.0f),
        .b = fixture_random(&fix->cpu, type, SORA_SHAPE(n, k), 2, 0.7f),
    };
    struct sora_launch_plan plan;
    struct quantize_args quantize = {
        .in = kernel_operand(fix, &params.b),
        .scale = kernel_alloc(fix, (size_t)n * sizeof(float)),
        .rows = (int)n,
        .columns = (int)k,
        .out_stride = (int)(k + 7) / 8 * 8,
        .in_type = kernel_type(&params.b),
        .out_type = (int)to,
    };
    uint8_t *codes = kernel_alloc(fix, (size_t)n * (size_t)quantize.out_stride);
    quantize.out = codes;
    assert_int_equal(sora_plan_rows(&fix->target, SORA_KERNEL_quantize_rows, n, &plan), 0);
    kernel_launch(fix, &plan, &quantize);
    float *values = malloc((size_t)(n * k) * sizeof(float));
    assert_non_null(values);
    for (int64_t i = 0; i < n * k; i++) {
        uint8_t code = codes[i / k * quantize.out_stride + i % k];
        values[i] = quantize.scale[i / k] * (f8 ? f8_value(code) : (float)(int8_t)code);
    }
    epilogue_fill(&fix->cpu, variant, &params);
    struct gemm_args args = args_fill(fix, variant, &params);
    args.b = codes;
    args.b_scale = quantize.scale;
    args.b_stride = quantize.out_stride;
    run_and_compare(fix, f8 ? "gemm_fp8" : "gemm_int8", variant, type, false,
                    f8 ? SORA_PLAN_WEIGHT_FP8 : SORA_PLAN_WEIGHT_INT8, &args, &params,
                    f8 ? TOLERANCE_FP8 : TOLERANCE_INT8);
    params.b = fixture_values(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(n, k), values);
    free(values);
    assert_int_equal(sora_op_matmul(fix->cpu.stream, &params), 0);
    kernel_compare(fix, "product of the quantised weights", variant, args.out, &params.out,
                   TOLERANCE);
}

static void int8_run(struct kernel_fixture *fix, int variant)
{
    quantised_run(fix, variant, half_type(variant), SORA_DTYPE_I8);
}

static void fp8_run(struct kernel_fixture *fix, int variant)
{
    quantised_run(fix, variant, SORA_DTYPE_BF16, SORA_DTYPE_F8);
}

/* A weight of a single column takes every code to the result, by units and by gemm_f32. */
static void fp8_codes_run(struct kernel_fixture *fix, int variant)
{
    struct sora_launch_plan plan;
    uint8_t *codes = kernel_alloc(fix, 256 * 8);
    float *scale = kernel_alloc(fix, 256 * sizeof(float)), *a = kernel_alloc(fix, sizeof(float));
    float *out = kernel_alloc(fix, 256 * sizeof(float));
    memset(codes, 0, 256 * 8);
    *a = 1.0f;
    for (int i = 0; i < 256; i++) {
        codes[i * 8] = (i & 0x7f) == 0x7f ? 0 : (uint8_t)i; /* not of NaN */
        scale[i] = 0.5f;
    }
    struct gemm_args args = {.a = a,
                             .b = codes,
                             .b_scale = scale,
                             .out = out,
                             .m = 1,
                             .n = 256,
                             .k = 1,
                             .a_stride = 1,
                             .b_stride = 8,
                             .b_type = KERNEL_F8};
    assert_int_equal(sora_plan_gemm(&fix->target, variant ? SORA_DTYPE_F32 : SORA_DTYPE_BF16, false,
                                    SORA_PLAN_WEIGHT_FP8, &args, &plan),
                     0);
    kernel_launch(fix, &plan, &args);
    for (int i = 0; i < 256; i++)
        assert_true(out[i] == 0.5f * f8_value(codes[i * 8]));
}

/* Rows of what fp8 has at its edges, by the kernel and by the plain operation: the same codes, and
 * each the nearest. */
static void fp8_quantize_run(struct kernel_fixture *fix, int variant)
{
    enum { ROWS = 4, COLUMNS = 264 };
    float values[ROWS * COLUMNS] = {0};
    uint64_t seed = (uint64_t)variant + 1;
    for (int i = 0; i < 256; i++) {
        values[i] = (i & 0x7f) == 0x7f ? 0.0f : f8_value((uint8_t)i); /* they stay */
        values[COLUMNS + i] =
            (i & 0x7f) < 0x7e ? (f8_value((uint8_t)i) + f8_value((uint8_t)(i + 1))) / 2 : 448.0f;
        values[2 * COLUMNS + i] = random_value(&seed, ldexpf(3.0f, i % 40 - 39));
    }
    values[3 * COLUMNS + 1] = -1e-44f; /* too small for a scale; the rest of the row is 0 */
    struct sora_tensor in =
        fixture_values(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(ROWS, COLUMNS), values);
    struct sora_tensor out = fixture_tensor(&fix->cpu, SORA_DTYPE_F8, SORA_SHAPE(ROWS, COLUMNS));
    struct sora_tensor scale = fixture_tensor(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(ROWS));
    assert_int_equal(sora_op_quantize(fix->cpu.stream, &in, &out, &scale), 0);
    uint8_t *plain = kernel_operand(fix, &out), *codes = kernel_alloc(fix, ROWS * COLUMNS);
    const struct quantize_args args = {.in = kernel_operand(fix, &in),
                                       .out = codes,
                                       .scale = kernel_alloc(fix, ROWS * sizeof(float)),
                                       .rows = ROWS,
                                       .columns = COLUMNS,
                                       .out_stride = COLUMNS,
                                       .in_type = KERNEL_F32,
                                       .out_type = KERNEL_F8};
    struct sora_launch_plan plan;
    assert_int_equal(sora_plan_rows(&fix->target, SORA_KERNEL_quantize_rows, ROWS, &plan), 0);
    kernel_launch(fix, &plan, &args);
    assert_memory_equal(codes, plain, ROWS * COLUMNS);
    assert_memory_equal(args.scale, kernel_operand(fix, &scale), ROWS * sizeof(float));
    assert_true(args.scale[0] == 1.0f && args.scale[3] == 0.0f);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        float x = args.scale[i / COLUMNS] > 0 ? values[i] / args.scale[i / COLUMNS] : 0;
        assert_true(codes[i] != 0x80 && (codes[i] & 0x7f) != 0x7f);
        for (int other = 0; other < 0x7f; other++)
            assert_true(fabsf(f8_value(codes[i]) - x) <=
                        fabsf(copysignf(f8_value((uint8_t)other), x) - x));
        assert_true(i >= 256 || f8_value(codes[i]) == values[i]);
        /* Half way between two: the even one. */
        assert_true(i < COLUMNS || i >= COLUMNS + 256 || codes[i] % 2 == 0);
    }
}

static void test_half_weights(void **state)
{
    kernel_for_all(*state, SHAPES, half_weight_run);
}

static void test_half_both(void **state)
{
    kernel_for_all(*state, SHAPES, half_both_run);
}

static void test_half_takes_whole_vectors(void **state)
{
    const struct kernel_fixture *fix = *state;
    static _Alignas(16) uint16_t rows[64];
    struct sora_kernel_target target = {.kind = GPU_NVIDIA, .wave = fix->target.wave};
    struct sora_launch_plan plan;
    struct gemm_args args = {
        .a = rows, .b = rows, .m = 1, .n = 1, .k = 8, .a_stride = 8, .b_stride = 8};
    assert_int_equal(
        sora_plan_gemm(&target, SORA_DTYPE_BF16, true, SORA_PLAN_WEIGHT_HALF, &args, &plan), 0);
    args.b_stride = 9;
    assert_int_equal(
        sora_plan_gemm(&target, SORA_DTYPE_BF16, true, SORA_PLAN_WEIGHT_HALF, &args, &plan),
        SORA_E_INVALID);
}

static void test_epilogue_alone(void **state)
{
    kernel_for_all(*state, SHAPES, epilogue_alone_run);
}

static void test_wide_weights(void **state)
{
    kernel_for_all(*state, SHAPES, wide_weight_run);
}

static void test_exact(void **state)
{
    kernel_for_all(*state, SHAPES, exact_run);
}

static void test_int8(void **state)
{
    kernel_for_all(*state, SHAPES, int8_run);
}

static void test_fp8(void **state)
{
    kernel_for_all(*state, SHAPES, fp8_run);
    kernel_for_all(*state, 2, fp8_codes_run);
    kernel_for_all(*state, 1, fp8_quantize_run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_weights),   cmocka_unit_test(test_half_both),
        cmocka_unit_test(test_wide_weights),   cmocka_unit_test(test_exact),
        cmocka_unit_test(test_int8),           cmocka_unit_test(test_half_takes_whole_vectors),
        cmocka_unit_test(test_epilogue_alone), cmocka_unit_test(test_fp8),
    };
    return cmocka_run_group_tests(tests, kernel_setup, kernel_teardown);
}
