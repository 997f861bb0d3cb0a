/*
 * Elementwise kernels and layout on the emulator against the plain CPU operations. What only moves
 * or converts must give the same bits, and so must products and sums that round in the same order
 * (combine, affine); activations have 3e-7 of the greatest result, as e^x is the project's own.
 */
#include "tests/kernel/kernel_fixture.h"

#define ACTIVATION_TOLERANCE 3e-7

static void run(struct kernel_fixture *fix, enum sora_kernel kernel, int64_t count,
                const void *args)
{
    struct sora_launch_plan plan;
    assert_int_equal(sora_plan_elements(kernel, count, &plan), 0);
    kernel_launch(fix, &plan, args);
}

/* Same bytes as the plain result. */
static void same(struct kernel_fixture *fix, const void *found, const struct sora_tensor *expected)
{
    void *bytes = kernel_operand(fix, expected);
    assert_memory_equal(found, bytes, sora_tensor_size(expected));
}

static void fill_run(struct kernel_fixture *fix, int variant)
{
    int64_t count = variant * 1023 + 1;
    struct sora_tensor out = fixture_tensor(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(count));
    const struct fill_args args = {
        .out = kernel_alloc(fix, sora_tensor_size(&out)), .count = count, .value = -1.5f};
    assert_int_equal(sora_op_fill(fix->cpu.stream, &out, -1.5f), 0);
    run(fix, SORA_KERNEL_fill, count, &args);
    same(fix, args.out, &out);
}

/* All nine pairs of types, with values that overflow f16 and infinities. */
static void convert_run(struct kernel_fixture *fix, int variant)
{
    static const enum sora_dtype types[] = {SORA_DTYPE_F32, SORA_DTYPE_F16, SORA_DTYPE_BF16};
    float values[1500];
    uint64_t seed = 3;
    for (int i = 0; i < 1500; i++)
        values[i] = random_value(&seed, ldexpf(1.0f, i % 60 - 30));
    values[7] = INFINITY;
    values[8] = -INFINITY;
    struct sora_tensor in = fixture_values(&fix->cpu, types[variant / 3], SORA_SHAPE(1500), values);
    struct sora_tensor out = fixture_tensor(&fix->cpu, types[variant % 3], SORA_SHAPE(1500));
    const struct convert_args args = {
        .in = kernel_operand(fix, &in),
        .out = kernel_alloc(fix, sora_tensor_size(&out)),
        .count = 1500,
        .in_type = kernel_type(&in),
        .out_type = kernel_type(&out),
    };
    assert_int_equal(sora_op_convert(fix->cpu.stream, &in, &out), 0);
    run(fix, SORA_KERNEL_convert, 1500, &args);
    same(fix, args.out, &out);
}

static void activation_run(struct kernel_fixture *fix, int variant)
{
    int64_t count = variant < 8 ? 3011 : 1;
    struct sora_tensor in = fixture_random(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(count), 1,
                                           variant / 4 % 2 ? 120.0f : 4.0f);
    struct sora_tensor out = fixture_tensor(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(count));
    enum sora_activation activation = (enum sora_activation)(variant % 4);
    float *data = kernel_operand(fix, &in);
    const struct activation_args args = {
        .in = data, .out = data, .count = count, .activation = (int)activation};
    assert_int_equal(sora_op_activation(fix->cpu.stream, activation, &in, &out), 0);
    run(fix, SORA_KERNEL_activation, count, &args);
    kernel_compare(fix, "activation", variant, args.out, &out, ACTIVATION_TOLERANCE);
}

static void combine_run(struct kernel_fixture *fix, int variant)
{
    int64_t count = variant * 819 + 3;
    struct sora_combine params = {.count = variant + 1,
                                  .coefficients = {0.3f, -1.7f, 1e-3f, 11.0f}};
    struct combine_args args = {.count = count, .term_count = params.count};
    for (int i = 0; i < params.count; i++) {
        params.terms[i] =
            fixture_random(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(count), (uint64_t)i + 1, 2.0f);
        float *term = kernel_operand(fix, &params.terms[i]);
        args.terms[i] = term;
        args.out = term; /* in place on the last */
        args.coefficients[i] = params.coefficients[i];
    }
    params.out = params.terms[params.count - 1];
    assert_int_equal(sora_op_combine(fix->cpu.stream, &params), 0);
    run(fix, SORA_KERNEL_combine, count, &args);
    same(fix, args.out, &params.out);
}

static void affine_run(struct kernel_fixture *fix, int variant)
{
    static const int64_t sizes[][2] = {{1, 1}, {100, 17}, {3, 1500}};
    const int64_t *s = sizes[variant];
    struct sora_tensor in = fixture_random(&fix->cpu, SORA_DTYPE_F32, 2, s, 1, 2.0f);
    struct sora_tensor scale = fixture_random(&fix->cpu, SORA_DTYPE_F32, 1, s + 1, 2, 1.0f);
    struct sora_tensor shift = fixture_random(&fix->cpu, SORA_DTYPE_F32, 1, s + 1, 3, 1.0f);
    struct sora_tensor out = fixture_tensor(&fix->cpu, SORA_DTYPE_F32, 2, s);
    const struct affine_args args = {
        .in = kernel_operand(fix, &in),
        .scale = kernel_operand(fix, &scale),
        .shift = kernel_operand(fix, &shift),
        .out = kernel_alloc(fix, sora_tensor_size(&out)),
        .count = s[0] * s[1],
        .channels = (int)s[1],
    };
    assert_int_equal(sora_op_affine(fix->cpu.stream, &in, &scale, &shift, &out), 0);
    run(fix, SORA_KERNEL_affine, args.count, &args);
    same(fix, args.out, &out);
}

/* Known ids give the plain result; an unknown one is reported and its row is zeros. */
static void gather_run(struct kernel_fixture *fix, int variant)
{
    static const enum sora_dtype types[] = {SORA_DTYPE_F32, SORA_DTYPE_F16, SORA_DTYPE_BF16};
    static const int32_t ids[] = {0, 8, 3, 3, 7};
    uint32_t fault = 0;
    struct sora_tensor table =
        fixture_random(&fix->cpu, types[variant], SORA_SHAPE(9, 301), 1, 1.0f);
    struct sora_tensor id = fixture_tensor(&fix->cpu, SORA_DTYPE_I32, SORA_SHAPE(5));
    struct sora_tensor out = fixture_tensor(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(5, 301));
    assert_int_equal(sora_tensor_upload(fix->cpu.stream, &id, ids), 0);
    assert_int_equal(sora_op_gather_rows(fix->cpu.stream, &table, &id, &out), 0);
    int *own = kernel_operand(fix, &id);
    const struct gather_args args = {
        .table = kernel_operand(fix, &table),
        .ids = own,
        .out = kernel_alloc(fix, sora_tensor_size(&out)),
        .fault = &fault,
        .count = 5 * 301,
        .table_rows = 9,
        .channels = 301,
        .table_type = kernel_type(&table),
    };
    run(fix, SORA_KERNEL_gather_rows, args.count, &args);
    assert_int_equal(fault, 0);
    same(fix, args.out, &out);
    own[2] = variant ? -1 : 9;
    run(fix, SORA_KERNEL_gather_rows, args.count, &args);
    assert_int_equal(fault, 1);
    assert_true(args.out[2 * 301] == 0.0f && args.out[3 * 301 - 1] == 0.0f);
}

static void permute_run(struct kernel_fixture *fix, int variant)
{
    static const int orders[][5] = {{4, 3, 2, 1, 0}, {0, 1, 2, 3, 4}, {1, 0, 3, 2, 4}};
    static const enum sora_dtype types[] = {SORA_DTYPE_F32, SORA_DTYPE_BF16, SORA_DTYPE_U8};
    const int64_t shape[5] = {3, 5, 2, 7, 11};
    const int *order = orders[variant / 3];
    int64_t out_shape[5], strides[5] = {770, 154, 77, 11, 1};
    uint8_t bytes[2310 * 4];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 37 + i / 256);
    for (int i = 0; i < 5; i++)
        out_shape[i] = shape[order[i]];
    struct sora_tensor in = fixture_tensor(&fix->cpu, types[variant % 3], 5, shape);
    struct sora_tensor out = fixture_tensor(&fix->cpu, types[variant % 3], 5, out_shape);
    assert_int_equal(sora_tensor_upload(fix->cpu.stream, &in, bytes), 0);
    assert_int_equal(sora_op_permute(fix->cpu.stream, &in, order, &out), 0);
    struct permute_args args = {
        .in = kernel_operand(fix, &in),
        .out = kernel_alloc(fix, sora_tensor_size(&out)),
        .count = 2310,
        .rank = 5,
        .element_size = (int)sora_dtype_size(in.dtype),
    };
    for (int i = 0; i < 5; i++) {
        args.shape[i] = out_shape[i];
        args.stride[i] = strides[order[i]];
    }
    run(fix, SORA_KERNEL_permute, args.count, &args);
    same(fix, args.out, &out);
}

static void rgb8_run(struct kernel_fixture *fix, int variant)
{
    float values[1030];
    uint64_t seed = (uint64_t)variant + 1;
    for (int i = 0; i < 1030; i++)
        values[i] = i < 512 ? (float)i / 255.0f - 1.0f : random_value(&seed, 1.5f);
    values[600] = NAN;
    values[601] = INFINITY;
    struct sora_tensor in = fixture_values(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(1030), values);
    struct sora_tensor out = fixture_tensor(&fix->cpu, SORA_DTYPE_U8, SORA_SHAPE(1030));
    const struct rgb8_args args = {
        .in = kernel_operand(fix, &in), .out = kernel_alloc(fix, 1030), .count = 1030};
    assert_int_equal(sora_op_to_rgb8(fix->cpu.stream, &in, &out), 0);
    run(fix, SORA_KERNEL_to_rgb8, 1030, &args);
    same(fix, args.out, &out);
}

/* Nothing found, then a NaN or an infinity at either end. */
static void finite_run(struct kernel_fixture *fix, int variant)
{
    uint32_t found = 0;
    struct sora_tensor in = fixture_random(&fix->cpu, SORA_DTYPE_F32, SORA_SHAPE(2053), 1, 3e38f);
    float *data = kernel_operand(fix, &in);
    const struct finite_args args = {.in = data, .found = &found, .count = 2053};
    run(fix, SORA_KERNEL_all_finite, 2053, &args);
    assert_int_equal(found, 0);
    data[variant % 2 ? 2052 : 0] = variant / 2 ? NAN : -INFINITY;
    run(fix, SORA_KERNEL_all_finite, 2053, &args);
    assert_int_equal(found, 1);
}

#define TEST(name, variants)                                                                       \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        kernel_for_all(*state, variants, name##_run);                                              \
    }
TEST(fill, 3)
TEST(convert, 9)
TEST(activation, 12)
TEST(combine, 4)
TEST(affine, 3)
TEST(gather, 3)
TEST(permute, 9)
TEST(rgb8, 2)
TEST(finite, 4)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fill),       cmocka_unit_test(test_convert),
        cmocka_unit_test(test_activation), cmocka_unit_test(test_combine),
        cmocka_unit_test(test_affine),     cmocka_unit_test(test_gather),
        cmocka_unit_test(test_permute),    cmocka_unit_test(test_rgb8),
        cmocka_unit_test(test_finite),
    };
    return cmocka_run_group_tests(tests, kernel_setup, kernel_teardown);
}
