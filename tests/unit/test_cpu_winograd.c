/*
 * Convolutions with 3x3 kernels, stride 1 and padding 1 on every instruction set against the plain
 * backend: these run by tile transforms. Tolerance: relative L2 2e-6.
 */
#include "tests/unit/cpu_fixture.h"

#define TOLERANCE 2e-6

struct conv_case {
    int64_t frames, history, time_pad, kernel_t;
    int64_t height, width, in, out;
    int upsample;
    bool residual;
    enum sora_dtype weight_type;
};

static const struct conv_case cases[] = {
    {1, 0, 2, 3, 1, 1, 1, 1, 1, false, SORA_DTYPE_F32},
    {1, 0, 0, 1, 4, 4, 16, 16, 1, false, SORA_DTYPE_F32},
    {1, 1, 2, 3, 5, 3, 3, 5, 1, true, SORA_DTYPE_F32},
    {4, 2, 2, 3, 8, 10, 16, 16, 1, true, SORA_DTYPE_BF16},
    {2, 0, 2, 3, 7, 9, 24, 33, 1, false, SORA_DTYPE_F16},
    {4, 1, 2, 3, 6, 6, 33, 48, 1, true, SORA_DTYPE_F32},
    {3, 0, 0, 3, 6, 5, 8, 3, 1, false, SORA_DTYPE_F32},
    {2, 1, 1, 2, 6, 5, 8, 12, 1, false, SORA_DTYPE_F32},
    {1, 2, 2, 3, 12, 14, 256, 130, 1, true, SORA_DTYPE_F32},
    {4, 0, 0, 1, 5, 7, 20, 17, 1, false, SORA_DTYPE_F32},
    {1, 0, 0, 1, 1, 1, 2, 1, 2, false, SORA_DTYPE_F32},
    {4, 0, 0, 1, 5, 4, 32, 16, 2, false, SORA_DTYPE_BF16},
    {2, 0, 0, 1, 9, 8, 48, 24, 2, true, SORA_DTYPE_F32},
    {1, 0, 0, 1, 6, 6, 272, 136, 2, false, SORA_DTYPE_F32},
    {2, 1, 2, 3, 3, 4, 12, 9, 2, false, SORA_DTYPE_F32},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

/* Runs a case on a new device; the caller frees the result. */
static float *run(const struct conv_case *c, enum sora_cpu_path path, int threads,
                  int64_t *out_count)
{
    struct fixture fix;
    fixture_init(&fix, path, threads);
    int64_t h = c->height, w = c->width, s = c->upsample;
    struct sora_conv3d p = {
        .in = fixture_random(&fix, SORA_DTYPE_F32, 4, (int64_t[]){c->frames, h, w, c->in}, 1, 1),
        .bias = fixture_random(&fix, c->weight_type, 1, &c->out, 2, 1),
        .time_pad = (int)c->time_pad,
        .pad_top = 1,
        .pad_bottom = 1,
        .pad_left = 1,
        .pad_right = 1,
        .upsample = c->upsample,
    };
    const int64_t shape[] = {c->frames + c->time_pad - c->kernel_t + 1, h * s, w * s, c->out};
    if (c->history)
        p.history =
            fixture_random(&fix, SORA_DTYPE_F32, 4, (int64_t[]){c->history, h, w, c->in}, 3, 1);
    p.out = fixture_random(&fix, SORA_DTYPE_F32, 4, shape, 4, 1);
    if (c->residual)
        p.residual = p.out;
    struct sora_tensor weight = fixture_random(
        &fix, c->weight_type, 5, (int64_t[]){c->out, c->in, c->kernel_t, 3, 3}, 5, 0.3f);
    struct sora_packed *packed = NULL;
    assert_int_equal(sora_packed_create(fix.device, &weight, &packed), 0);
    p.weight = packed;
    assert_int_equal(sora_op_conv3d(fix.stream, &p), 0);
    float *values = fixture_read(&fix, &p.out);
    *out_count = sora_tensor_count(&p.out);
    sora_packed_destroy(&packed);
    fixture_fini(&fix);
    return values;
}

static bool available(enum sora_cpu_path path)
{
    struct sora_device *device = NULL;
    const struct sora_cpu_params params = {.thread_count = 1, .path = path};
    int error = sora_cpu_device_create(&params, &device, NULL);
    sora_device_destroy(&device);
    return error == 0;
}

static void check_path(enum sora_cpu_path path, const char *name)
{
    if (!available(path)) {
        print_message("%s: not on this machine\n", name);
        return;
    }
    for (size_t i = 0; i < CASES; i++) {
        int64_t count = 0;
        float *expected = run(&cases[i], SORA_CPU_PATH_PLAIN, 2, &count);
        float *values = run(&cases[i], path, 2, &count);
        float *single = run(&cases[i], path, 1, &count);
        double difference = 0, norm = 0;
        for (int64_t k = 0; k < count; k++) {
            double d = (double)values[k] - expected[k];
            difference += d * d;
            norm += (double)expected[k] * expected[k];
        }
        if (!(sqrt(difference / norm) <= TOLERANCE))
            fail_msg("%s, case %zu: relative L2 %.2e", name, i, sqrt(difference / norm));
        assert_memory_equal(values, single, (size_t)count * sizeof(float));
        free(single);
        free(values);
        free(expected);
    }
}

static void every_path_agrees_with_plain(void **state)
{
    (void)state;
    check_path(SORA_CPU_PATH_AVX512, "avx512");
    check_path(SORA_CPU_PATH_AVX2, "avx2");
}

/* Four frames at once and two twice, the past handed over, are the same bits. */
static void cutting_time_changes_nothing(void **state)
{
    (void)state;
    struct fixture fix;
    fixture_init(&fix, SORA_CPU_PATH_AUTO, 2);
    const int64_t shape[] = {4, 7, 6, 20};
    struct sora_tensor weight =
        fixture_random(&fix, SORA_DTYPE_F32, 5, (int64_t[]){20, 20, 3, 3, 3}, 5, 0.3f);
    struct sora_packed *packed = NULL;
    assert_int_equal(sora_packed_create(fix.device, &weight, &packed), 0);
    struct sora_tensor in = fixture_random(&fix, SORA_DTYPE_F32, 4, shape, 1, 1);
    struct sora_tensor whole = fixture_tensor(&fix, SORA_DTYPE_F32, 4, shape);
    struct sora_tensor parts = fixture_tensor(&fix, SORA_DTYPE_F32, 4, shape);
    struct sora_conv3d p = {.in = in,
                            .out = whole,
                            .weight = packed,
                            .time_pad = 2,
                            .pad_top = 1,
                            .pad_bottom = 1,
                            .pad_left = 1,
                            .pad_right = 1};
    assert_int_equal(sora_op_conv3d(fix.stream, &p), 0);
    for (int64_t t = 0; t < 4; t += 2) {
        p.in = sora_tensor_slice(&in, t, 2);
        p.out = sora_tensor_slice(&parts, t, 2);
        if (t)
            p.history = sora_tensor_slice(&in, t - 2, 2);
        assert_int_equal(sora_op_conv3d(fix.stream, &p), 0);
    }
    float *a = fixture_read(&fix, &whole), *b = fixture_read(&fix, &parts);
    assert_memory_equal(a, b, sora_tensor_size(&whole));
    free(a);
    free(b);
    sora_packed_destroy(&packed);
    fixture_fini(&fix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_path_agrees_with_plain),
        cmocka_unit_test(cutting_time_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
