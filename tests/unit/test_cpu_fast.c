/*
 * Every fast path that this machine has against the plain operations, on random and edge shapes,
 * and against itself with other thread counts: those results must be the same bits.
 *
 * One tolerance per operation (the table below), relative to the greatest magnitude of the plain
 * result: sums of k products in another order differ by some roundings of their partial sums.
 */
#include "hip/selftest_parts.h"
#include "tests/unit/cpu_fixture.h"

#include <string.h>

/* Fills *out with the operation's result; `variant` is a row of the operation's own cases. */
typedef void (*case_run)(struct fixture *fix, int variant, struct sora_tensor *out);

struct operation {
    const char *name;
    case_run run;
    int variants;
    double tolerance; /* 0: the same bits */
};

static const enum sora_dtype float_types[] = {SORA_DTYPE_F32, SORA_DTYPE_F16, SORA_DTYPE_BF16};

static void matmul_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    static const struct {
        int64_t m, n, k;
        float scale;
    } shapes[] = {
        {1, 1, 1, 1.0f},      {1, 37, 129, 1.0f},   {3, 16, 16, 1.0f},    {5, 33, 1, 1.0f},
        {63, 70, 47, 1.0f},   {64, 64, 384, 1.0f},  {65, 31, 385, 1.0f},  {71, 257, 769, 1.0f},
        {127, 300, 67, 1.0f}, {401, 513, 33, 1.0f}, {197, 96, 400, 1e4f}, {830, 17, 20, 1.0f},
    };
    const int64_t m = shapes[variant].m, n = shapes[variant].n, k = shapes[variant].k;
    enum sora_dtype dtype = float_types[variant % 3];
    *out = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(m, n), 9, 1.0f);
    struct sora_matmul p = {
        .a = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(m, k), 1, shapes[variant].scale),
        .b = fixture_random(fix, dtype, SORA_SHAPE(n, k), 2, 1.0f),
        .out = *out,
        .activation = (enum sora_activation)(variant % 4),
    };
    if (variant % 2 == 0)
        p.bias = fixture_random(fix, dtype, SORA_SHAPE(n), 3, 1.0f);
    if (variant % 3 == 0)
        p.factor = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(m, n), 4, 1.0f);
    if (variant % 3 != 1)
        p.gate = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(n), 5, 1.0f);
    if (variant % 4 == 1)
        p.residual = p.out; /* in place */
    if (variant % 4 == 2)
        p.residual = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(m, n), 6, 1.0f);
    assert_int_equal(sora_op_matmul(fix->stream, &p), 0);
}

static void conv_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    const struct sora_selftest_conv *s = &sora_selftest_convs[variant];
    int64_t shape[4];
    struct sora_conv3d p = sora_selftest_conv_params(s, shape);
    struct sora_tensor weight = fixture_random(
        fix, float_types[variant % 3], SORA_SHAPE(s->out, s->in, s->kt, s->kh, s->kw), 1, 1.0f);
    struct sora_packed *packed = NULL;
    assert_int_equal(sora_packed_create(fix->device, &weight, &packed), 0);
    p.weight = packed;
    p.out = *out = fixture_random(fix, SORA_DTYPE_F32, 4, shape, 2, 1.0f);
    p.in = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(s->frames, s->height, s->width, s->in), 3,
                          1.0f);
    if (s->history)
        p.history = fixture_random(fix, SORA_DTYPE_F32,
                                   SORA_SHAPE(s->history, s->height, s->width, s->in), 4, 1.0f);
    if (variant % 2 == 0)
        p.bias = fixture_random(fix, SORA_DTYPE_BF16, SORA_SHAPE(s->out), 5, 1.0f);
    if (variant % 3 == 1)
        p.residual = p.out;
    assert_int_equal(sora_op_conv3d(fix->stream, &p), 0);
    sora_packed_destroy(&packed);
}

static void attention_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    static const struct {
        int64_t queries, keys, heads, size;
        float scale;
        bool masked, biased;
    } shapes[] = {
        {1, 1, 1, 1, 1.0f, false, false},      {5, 7, 2, 6, 1.0f, true, true},
        {57, 33, 3, 32, 0.2f, false, true},    {64, 257, 2, 64, 0.1f, true, false},
        {13, 700, 1, 128, 3.0f, false, false}, {113, 45, 1, 384, 0.05f, true, true},
        {29, 513, 2, 17, 0.5f, true, false},
    };
    int64_t queries = shapes[variant].queries, keys = shapes[variant].keys;
    int64_t heads = shapes[variant].heads, size = shapes[variant].size;
    *out = fixture_tensor(fix, SORA_DTYPE_F32, SORA_SHAPE(queries, heads, size));
    struct sora_attention p = {
        .q = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(queries, heads, size), 1, 2.0f),
        .k = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(keys, heads, size), 2, 2.0f),
        .v = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(keys, heads, size), 3, 1.0f),
        .out = *out,
        .scale = shapes[variant].scale,
    };
    if (shapes[variant].masked) {
        float mask[1024];
        for (int64_t j = 0; j < keys; j++)
            mask[j] = j < keys / 2 || j % 3 == 0 ? -INFINITY : (float)(j % 5) * 0.3f;
        mask[keys - 1] = keys == 33 ? -INFINITY : 0.0f;
        p.key_bias = fixture_values(fix, SORA_DTYPE_F32, SORA_SHAPE(keys), mask);
    }
    if (shapes[variant].biased)
        p.position_bias =
            fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(heads, queries, keys), 4, 5.0f);
    assert_int_equal(sora_op_attention(fix->stream, &p), 0);
}

static void layer_norm_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    static const int64_t shapes[][2] = {{1, 1}, {3, 15}, {37, 16}, {5, 1537}, {700, 48}};
    int64_t rows = shapes[variant][0], channels = shapes[variant][1];
    *out = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(rows, channels), 1, 3.0f);
    struct sora_layer_norm p = {.in = *out, .out = *out, .eps = 1e-5f};
    if (variant % 2 == 0) {
        p.weight = fixture_random(fix, float_types[variant % 3], SORA_SHAPE(channels), 2, 1.0f);
        p.bias = fixture_random(fix, SORA_DTYPE_BF16, SORA_SHAPE(channels), 3, 1.0f);
    }
    if (variant % 3 != 1) {
        p.scale = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(channels), 4, 1.0f);
        p.shift = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(channels), 5, 1.0f);
    }
    assert_int_equal(sora_op_layer_norm(fix->stream, &p), 0);
}

static void rms_norm_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    static const int64_t shapes[][2] = {{1, 1}, {3, 15}, {2000, 16}, {5, 1537}, {700, 384}};
    int64_t rows = shapes[variant][0], channels = shapes[variant][1];
    *out = fixture_tensor(fix, SORA_DTYPE_F32, SORA_SHAPE(rows, channels));
    const struct sora_rms_norm p = {
        .in = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(rows, channels), 1,
                             variant == 3 ? 1e-7f : 50.0f),
        .out = *out,
        .weight = fixture_random(fix, float_types[variant % 3], SORA_SHAPE(channels), 2, 2.0f),
        .kind = variant % 2 ? SORA_NORM_L2 : SORA_NORM_RMS,
        .activation = variant % 3 ? SORA_ACTIVATION_SILU : SORA_ACTIVATION_NONE,
        .eps = 1e-12f,
    };
    assert_int_equal(sora_op_rms_norm(fix->stream, &p), 0);
}

static void rope_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    static const int64_t shapes[][3] = {{1, 1, 2}, {7, 3, 34}, {65, 2, 128}, {400, 4, 64}};
    const int64_t *s = shapes[variant];
    *out = fixture_random(fix, SORA_DTYPE_F32, 3, s, 1, 2.0f);
    struct sora_tensor cosine =
        fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(s[0], s[2] / 2), 2, 1.0f);
    struct sora_tensor sine =
        fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(s[0], s[2] / 2), 3, 1.0f);
    assert_int_equal(sora_op_rope(fix->stream, out, &cosine, &sine), 0);
}

static void activation_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    int64_t count = variant < 4 ? 20011 : 1;
    struct sora_tensor in =
        fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(count), 1, variant % 2 ? 120.0f : 4.0f);
    *out = fixture_tensor(fix, SORA_DTYPE_F32, SORA_SHAPE(count));
    assert_int_equal(sora_op_activation(fix->stream, (enum sora_activation)(variant % 4), &in, out),
                     0);
}

static void combine_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    int64_t count = variant * 8191 + 3;
    struct sora_combine p = {.count = variant + 1, .coefficients = {0.3f, -1.7f, 1e-3f, 11.0f}};
    for (int i = 0; i < p.count; i++)
        p.terms[i] = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(count), (uint64_t)i + 1, 2.0f);
    p.out = p.terms[p.count - 1];
    *out = p.out;
    assert_int_equal(sora_op_combine(fix->stream, &p), 0);
}

static void affine_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    static const int64_t shapes[][2] = {{1, 1}, {9000, 3}, {77, 16}, {301, 127}};
    int64_t channels = shapes[variant][1];
    *out = fixture_random(fix, SORA_DTYPE_F32, 2, shapes[variant], 1, 2.0f);
    struct sora_tensor scale = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(channels), 2, 2.0f);
    struct sora_tensor shift = fixture_random(fix, SORA_DTYPE_F32, SORA_SHAPE(channels), 3, 2.0f);
    assert_int_equal(sora_op_affine(fix->stream, out, &scale, &shift, out), 0);
}

/* All pairs of types, with values that round, overflow, and are no numbers. */
static void convert_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    enum { COUNT = 16411 };
    enum sora_dtype from = float_types[variant / 3], to = float_types[variant % 3];
    float *values = malloc(COUNT * sizeof(float));
    assert_non_null(values);
    uint64_t state = 7;
    for (int i = 0; i < COUNT; i++)
        values[i] = ldexpf(random_value(&state, 1.0f), i % 60 - 30);
    values[3] = INFINITY;
    values[5] = -INFINITY;
    values[7] = 3.4e38f;
    struct sora_tensor in = fixture_values(fix, from, SORA_SHAPE(COUNT), values);
    free(values);
    struct sora_tensor result = fixture_tensor(fix, to, SORA_SHAPE(COUNT));
    *out = fixture_tensor(fix, SORA_DTYPE_F32, SORA_SHAPE(COUNT));
    assert_int_equal(sora_op_convert(fix->stream, &in, &result), 0);
    assert_int_equal(sora_op_convert(fix->stream, &result, out), 0);
}

static void rgb8_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    int64_t count = variant ? 16409 : 5;
    float *values = malloc((size_t)count * sizeof(float));
    uint8_t *bytes = malloc((size_t)count);
    assert_non_null(values);
    assert_non_null(bytes);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(i % 601 - 300) / 255.0f;
    values[2] = NAN;
    values[4] = INFINITY;
    struct sora_tensor in = fixture_values(fix, SORA_DTYPE_F32, SORA_SHAPE(count), values);
    struct sora_tensor rgb = fixture_tensor(fix, SORA_DTYPE_U8, SORA_SHAPE(count));
    assert_int_equal(sora_op_to_rgb8(fix->stream, &in, &rgb), 0);
    assert_int_equal(sora_tensor_download(fix->stream, &rgb, bytes), 0);
    for (int64_t i = 0; i < count; i++)
        values[i] = bytes[i];
    *out = fixture_values(fix, SORA_DTYPE_F32, SORA_SHAPE(count), values);
    free(values);
    free(bytes);
}

/* One bad element at a place that depends on the variant; the result is 1 for "all finite". */
static void finite_run(struct fixture *fix, int variant, struct sora_tensor *out)
{
    enum { COUNT = 33000 };
    static const int places[] = {-1, 0, 16383, 16384, COUNT - 1};
    static const float bad[] = {0.0f, INFINITY, -INFINITY, NAN, NAN};
    float *values = calloc(COUNT, sizeof(float));
    assert_non_null(values);
    if (places[variant] >= 0)
        values[places[variant]] = bad[variant];
    struct sora_tensor in = fixture_values(fix, SORA_DTYPE_F32, SORA_SHAPE(COUNT), values);
    bool finite = variant != 0;
    assert_int_equal(sora_device_all_finite(fix->stream, &in, &finite), 0);
    assert_int_equal(finite, variant == 0);
    values[0] = finite ? 1.0f : 0.0f;
    *out = fixture_values(fix, SORA_DTYPE_F32, SORA_SHAPE(1), values);
    free(values);
}

static const struct operation operations[] = {
    {"matmul", matmul_run, 12, 2e-6},        {"conv3d", conv_run, 13, 2e-6},
    {"attention", attention_run, 7, 1e-5},   {"layer_norm", layer_norm_run, 5, 2e-6},
    {"rms_norm", rms_norm_run, 5, 2e-6},     {"rope", rope_run, 4, 2e-7},
    {"activation", activation_run, 8, 5e-7}, {"combine", combine_run, 4, 0.0},
    {"affine", affine_run, 4, 0.0},          {"convert", convert_run, 9, 0.0},
    {"to_rgb8", rgb8_run, 2, 0.0},           {"all_finite", finite_run, 5, 0.0},
};
#define OPERATION_COUNT (sizeof(operations) / sizeof(operations[0]))

/* ---- comparison ---- */

static void compare(const struct operation *operation, int variant, const float *expected,
                    const float *got, int64_t count)
{
    double greatest = 0.0;
    for (int64_t i = 0; i < count; i++)
        greatest = isfinite(expected[i]) ? fmax(greatest, fabs((double)expected[i])) : greatest;
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)expected[i]);
        bool good = operation->tolerance == 0.0 ? memcmp(&got[i], &expected[i], sizeof(float)) == 0
                                                : difference <= operation->tolerance * greatest;
        if (!good)
            fail_msg("%s variant %d element %lld: %.9g instead of %.9g (allowed %g)",
                     operation->name, variant, (long long)i, (double)got[i], (double)expected[i],
                     operation->tolerance * greatest);
    }
}

static float *result_of(enum sora_cpu_path path, int threads, const struct operation *operation,
                        int variant, int64_t *out_count)
{
    struct fixture fix;
    struct sora_tensor out;
    fixture_init(&fix, path, threads);
    operation->run(&fix, variant, &out);
    float *values = fixture_read(&fix, &out);
    *out_count = sora_tensor_count(&out);
    fixture_fini(&fix);
    return values;
}

static void operation_test(enum sora_cpu_path path, const struct operation *operation)
{
    static const int threads[] = {2, 3, 5};
    for (int variant = 0; variant < operation->variants; variant++) {
        int64_t count;
        float *plain = result_of(SORA_CPU_PATH_PLAIN, 1, operation, variant, &count);
        float *single = result_of(path, 1, operation, variant, &count);
        compare(operation, variant, plain, single, count);
        for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
            float *several = result_of(path, threads[i], operation, variant, &count);
            if (memcmp(single, several, (size_t)count * sizeof(float)) != 0)
                fail_msg("%s variant %d differs with %d threads", operation->name, variant,
                         threads[i]);
            free(several);
        }
        free(plain);
        free(single);
    }
}

static void path_test(enum sora_cpu_path path)
{
    const struct sora_cpu_params params = {.thread_count = 1, .path = path};
    struct sora_device *device = NULL;
    if (sora_cpu_device_create(&params, &device, NULL) == SORA_E_UNSUPPORTED) {
        print_message("skipped: this processor lacks the instruction set\n");
        skip();
    }
    sora_device_destroy(&device);
    for (size_t i = 0; i < OPERATION_COUNT; i++)
        operation_test(path, &operations[i]);
}

static void test_avx2(void **state)
{
    (void)state;
    path_test(SORA_CPU_PATH_AVX2);
}

static void test_avx512(void **state)
{
    (void)state;
    path_test(SORA_CPU_PATH_AVX512);
}

/* Four frames in one call, and one at a time with their past: the same bits. */
static void test_conv_frames_per_call(void **state)
{
    (void)state;
    enum { FRAMES = 4, HEIGHT = 9, WIDTH = 30, IN = 24, OUT = 40, PIXELS = HEIGHT * WIDTH };
    struct fixture fix;
    fixture_init(&fix, SORA_CPU_PATH_AUTO, 2);
    struct sora_tensor weight =
        fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(OUT, IN, 3, 3, 3), 1, 1.0f);
    struct sora_packed *packed = NULL;
    assert_int_equal(sora_packed_create(fix.device, &weight, &packed), 0);
    struct sora_tensor in =
        fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(FRAMES, HEIGHT, WIDTH, IN), 2, 1.0f);
    struct sora_tensor whole =
        fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(FRAMES, HEIGHT, WIDTH, OUT));
    struct sora_tensor single =
        fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(FRAMES, HEIGHT, WIDTH, OUT));
    struct sora_conv3d p = {.in = in,
                            .weight = packed,
                            .out = whole,
                            .time_pad = 2,
                            .pad_top = 1,
                            .pad_bottom = 1,
                            .pad_left = 1,
                            .pad_right = 1};
    assert_int_equal(sora_op_conv3d(fix.stream, &p), 0);
    for (int64_t t = 0; t < FRAMES; t++) {
        int64_t past = t < 2 ? t : 2;
        p.in = sora_tensor_slice(&in, t, 1);
        p.history = past ? sora_tensor_slice(&in, t - past, past) : (struct sora_tensor){0};
        p.out = sora_tensor_slice(&single, t, 1);
        assert_int_equal(sora_op_conv3d(fix.stream, &p), 0);
    }
    float *expected = fixture_read(&fix, &whole), *got = fixture_read(&fix, &single);
    assert_memory_equal(got, expected, FRAMES * PIXELS * OUT * sizeof(float));
    free(expected);
    free(got);
    sora_packed_destroy(&packed);
    fixture_fini(&fix);
}

/* The plain path's results do not depend on the thread count either. */
static void test_plain_threads(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPERATION_COUNT; i++) {
        for (int variant = 0; variant < operations[i].variants; variant++) {
            int64_t count;
            float *single = result_of(SORA_CPU_PATH_PLAIN, 1, &operations[i], variant, &count);
            float *several = result_of(SORA_CPU_PATH_PLAIN, 3, &operations[i], variant, &count);
            assert_memory_equal(single, several, (size_t)count * sizeof(float));
            free(single);
            free(several);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_avx512),
        cmocka_unit_test(test_conv_frames_per_call),
        cmocka_unit_test(test_plain_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
