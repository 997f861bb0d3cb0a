/* The plain operations against double-precision loops and hand-made values: they define what is
 * correct for every fast path. */
#include "tests/unit/cpu_fixture.h"

#include <string.h>

static struct fixture fix;

static int setup(void **state)
{
    (void)state;
    fixture_init(&fix, SORA_CPU_PATH_PLAIN, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_fini(&fix);
    return 0;
}

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.9g is not %.9g within %g", value, expected, tolerance);
}

static double activate(enum sora_activation activation, double x)
{
    switch (activation) {
    case SORA_ACTIVATION_SILU:
        return x / (1.0 + exp(-x));
    case SORA_ACTIVATION_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case SORA_ACTIVATION_GELU_ERF:
        return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    case SORA_ACTIVATION_NONE:
        break;
    }
    return x;
}

static void matmul_case(int64_t m, int64_t n, int64_t k, enum sora_dtype dtype,
                        enum sora_activation activation)
{
    struct sora_matmul p = {
        .a = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(m, k), 1, 1.0f),
        .b = fixture_random(&fix, dtype, SORA_SHAPE(n, k), 2, 1.0f),
        .bias = fixture_random(&fix, dtype, SORA_SHAPE(n), 3, 1.0f),
        .factor = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(m, n), 4, 1.0f),
        .gate = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(n), 5, 1.0f),
        .residual = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(m, n), 6, 1.0f),
        .out = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(m, n)),
        .activation = activation,
    };
    assert_int_equal(sora_op_matmul(fix.stream, &p), 0);
    float *a = fixture_read(&fix, &p.a), *b = fixture_read(&fix, &p.b);
    float *bias = fixture_read(&fix, &p.bias), *factor = fixture_read(&fix, &p.factor);
    float *gate = fixture_read(&fix, &p.gate), *residual = fixture_read(&fix, &p.residual);
    float *out = fixture_read(&fix, &p.out);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = bias[j];
            for (int64_t x = 0; x < k; x++)
                sum += (double)a[i * k + x] * b[j * k + x];
            sum = residual[i * n + j] + gate[j] * (activate(activation, sum) * factor[i * n + j]);
            assert_near(out[i * n + j], sum, 1e-5 * sqrt((double)k + 1));
        }
    }
    float *all[] = {a, b, bias, factor, gate, residual, out};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
    fixture_clear(&fix);
}

static void test_matmul(void **state)
{
    (void)state;
    matmul_case(3, 5, 37, SORA_DTYPE_F32, SORA_ACTIVATION_NONE);
    matmul_case(1, 1, 1, SORA_DTYPE_BF16, SORA_ACTIVATION_SILU);
    matmul_case(7, 16, 64, SORA_DTYPE_F16, SORA_ACTIVATION_GELU_TANH);
    matmul_case(2, 9, 15, SORA_DTYPE_BF16, SORA_ACTIVATION_GELU_ERF);
}

static void test_attention(void **state)
{
    (void)state;
    enum { QUERIES = 5, KEYS = 7, HEADS = 2, SIZE = 6 };
    float mask[KEYS] = {0.0f, -1.0f, -INFINITY, 0.5f, 0.0f, -INFINITY, 2.0f};
    struct sora_attention p = {
        .q = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(QUERIES, HEADS, SIZE), 1, 2.0f),
        .k = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(KEYS, HEADS, SIZE), 2, 2.0f),
        .v = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(KEYS, HEADS, SIZE), 3, 1.0f),
        .key_bias = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(KEYS), mask),
        .position_bias =
            fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(HEADS, QUERIES, KEYS), 4, 1.0f),
        .out = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(QUERIES, HEADS, SIZE)),
        .scale = 0.3f,
    };
    assert_int_equal(sora_op_attention(fix.stream, &p), 0);
    float *q = fixture_read(&fix, &p.q), *k = fixture_read(&fix, &p.k);
    float *v = fixture_read(&fix, &p.v), *position = fixture_read(&fix, &p.position_bias);
    float *out = fixture_read(&fix, &p.out);
    for (int h = 0; h < HEADS; h++) {
        for (int i = 0; i < QUERIES; i++) {
            double weights[KEYS], total = 0.0;
            for (int j = 0; j < KEYS; j++) {
                double sum = 0.0;
                for (int d = 0; d < SIZE; d++)
                    sum += (double)q[(i * HEADS + h) * SIZE + d] * k[(j * HEADS + h) * SIZE + d];
                weights[j] = exp(sum * 0.3f + mask[j] + position[(h * QUERIES + i) * KEYS + j]);
                total += weights[j];
            }
            for (int d = 0; d < SIZE; d++) {
                double sum = 0.0;
                for (int j = 0; j < KEYS; j++)
                    sum += weights[j] / total * v[(j * HEADS + h) * SIZE + d];
                assert_near(out[(i * HEADS + h) * SIZE + d], sum, 1e-6);
            }
        }
    }
    free(q), free(k), free(v), free(position), free(out);
}

static void test_attention_all_masked_gives_zeros(void **state)
{
    (void)state;
    const float mask[2] = {-INFINITY, -INFINITY};
    struct sora_attention p = {
        .q = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(1, 1, 2), 1, 1.0f),
        .k = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(2, 1, 2), 2, 1.0f),
        .v = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(2, 1, 2), 3, 1.0f),
        .key_bias = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(2), mask),
        .out = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(1, 1, 2)),
        .scale = 1.0f,
    };
    assert_int_equal(sora_op_attention(fix.stream, &p), 0);
    float *out = fixture_read(&fix, &p.out);
    assert_true(out[0] == 0.0f && out[1] == 0.0f);
    free(out);
}

/* The same convolution written from the definition: the padded, doubled video first. */
struct conv_case {
    int64_t frames, height, width, in, out, kt, kh, kw, history;
    int time_pad, stride_t, stride_h, stride_w, pad[4], upsample;
    bool residual;
};

static double conv_sum(const struct conv_case *c, const float *in, const float *history,
                       const float *weight, const int64_t at[4])
{
    double sum = 0.0;
    for (int64_t dt = 0; dt < c->kt; dt++) {
        for (int64_t dy = 0; dy < c->kh; dy++) {
            for (int64_t dx = 0; dx < c->kw; dx++) {
                int64_t t = at[0] * c->stride_t + dt - c->time_pad;
                int64_t y = at[1] * c->stride_h + dy - c->pad[0];
                int64_t x = at[2] * c->stride_w + dx - c->pad[2];
                if (t < -c->history || y < 0 || y >= c->height * c->upsample || x < 0 ||
                    x >= c->width * c->upsample)
                    continue;
                const float *frames = t < 0 ? history : in;
                int64_t frame = t < 0 ? c->history + t : t;
                for (int64_t i = 0; i < c->in; i++)
                    sum += (double)frames[((frame * c->height + y / c->upsample) * c->width +
                                           x / c->upsample) *
                                              c->in +
                                          i] *
                           weight[(((at[3] * c->in + i) * c->kt + dt) * c->kh + dy) * c->kw + dx];
            }
        }
    }
    return sum;
}

static void conv_run(const struct conv_case *c)
{
    int64_t frames = (c->time_pad + c->frames - c->kt) / c->stride_t + 1;
    int64_t height = (c->height * c->upsample + c->pad[0] + c->pad[1] - c->kh) / c->stride_h + 1;
    int64_t width = (c->width * c->upsample + c->pad[2] + c->pad[3] - c->kw) / c->stride_w + 1;
    struct sora_tensor weight = fixture_random(
        &fix, SORA_DTYPE_F32, SORA_SHAPE(c->out, c->in, c->kt, c->kh, c->kw), 2, 1.0f);
    struct sora_packed *packed = NULL;
    assert_int_equal(sora_packed_create(fix.device, &weight, &packed), 0);
    struct sora_conv3d p = {
        .in = fixture_random(&fix, SORA_DTYPE_F32,
                             SORA_SHAPE(c->frames, c->height, c->width, c->in), 1, 1.0f),
        .weight = packed,
        .bias = fixture_random(&fix, SORA_DTYPE_BF16, SORA_SHAPE(c->out), 3, 1.0f),
        .out = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(frames, height, width, c->out)),
        .time_pad = c->time_pad,
        .stride_t = c->stride_t,
        .stride_h = c->stride_h,
        .stride_w = c->stride_w,
        .pad_top = c->pad[0],
        .pad_bottom = c->pad[1],
        .pad_left = c->pad[2],
        .pad_right = c->pad[3],
        .upsample = c->upsample,
    };
    if (c->history)
        p.history = fixture_random(&fix, SORA_DTYPE_F32,
                                   SORA_SHAPE(c->history, c->height, c->width, c->in), 4, 1.0f);
    float *residual = NULL;
    if (c->residual) {
        p.residual = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(frames, height, width, c->out),
                                    5, 1.0f);
        residual = fixture_read(&fix, &p.residual);
        p.out = p.residual; /* in place */
    }
    assert_int_equal(sora_op_conv3d(fix.stream, &p), 0);
    float *in = fixture_read(&fix, &p.in), *w = fixture_read(&fix, &weight);
    float *history = c->history ? fixture_read(&fix, &p.history) : NULL;
    float *bias = fixture_read(&fix, &p.bias), *out = fixture_read(&fix, &p.out);
    int64_t count = sora_tensor_count(&p.out);
    for (int64_t e = 0; e < count; e++) {
        const int64_t at[4] = {e / (c->out * width * height), e / (c->out * width) % height,
                               e / c->out % width, e % c->out};
        double sum = conv_sum(c, in, history, w, at) + bias[at[3]];
        assert_near(out[e], sum + (residual ? residual[e] : 0.0f), 2e-5);
    }
    free(in), free(w), free(history), free(bias), free(out), free(residual);
    sora_packed_destroy(&packed);
    fixture_clear(&fix);
}

static void test_conv(void **state)
{
    (void)state;
    const struct conv_case cases[] = {
        {2, 5, 4, 3, 4, 3, 3, 3, 0, 2, 1, 1, 1, {1, 1, 1, 1}, 1, false},
        {2, 5, 4, 3, 4, 3, 3, 3, 1, 2, 1, 1, 1, {1, 1, 1, 1}, 1, true},
        {1, 3, 3, 2, 5, 3, 3, 3, 2, 2, 1, 1, 1, {1, 1, 1, 1}, 1, false},
        {3, 3, 2, 5, 7, 1, 1, 1, 0, 0, 1, 1, 1, {0, 0, 0, 0}, 1, true},
        {4, 3, 2, 2, 3, 3, 1, 1, 1, 1, 2, 1, 1, {0, 0, 0, 0}, 1, false},
        {1, 5, 6, 2, 3, 1, 3, 3, 0, 0, 1, 2, 2, {0, 1, 0, 1}, 1, false},
        {1, 3, 4, 2, 3, 1, 3, 3, 0, 0, 1, 1, 1, {1, 1, 1, 1}, 2, false},
        {1, 1, 1, 1, 1, 3, 3, 3, 0, 2, 1, 1, 1, {1, 1, 1, 1}, 1, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        conv_run(&cases[i]);
}

static void test_layer_norm(void **state)
{
    (void)state;
    enum { ROWS = 3, CHANNELS = 11 };
    struct sora_layer_norm p = {
        .in = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(ROWS, CHANNELS), 1, 3.0f),
        .out = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(ROWS, CHANNELS)),
        .weight = fixture_random(&fix, SORA_DTYPE_BF16, SORA_SHAPE(CHANNELS), 2, 1.0f),
        .bias = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(CHANNELS), 3, 1.0f),
        .scale = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(CHANNELS), 4, 1.0f),
        .shift = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(CHANNELS), 5, 1.0f),
        .eps = 1e-3f,
    };
    assert_int_equal(sora_op_layer_norm(fix.stream, &p), 0);
    float *in = fixture_read(&fix, &p.in), *out = fixture_read(&fix, &p.out);
    float *w = fixture_read(&fix, &p.weight), *b = fixture_read(&fix, &p.bias);
    float *scale = fixture_read(&fix, &p.scale), *shift = fixture_read(&fix, &p.shift);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0.0, variance = 0.0;
        for (int c = 0; c < CHANNELS; c++)
            mean += in[r * CHANNELS + c] / (double)CHANNELS;
        for (int c = 0; c < CHANNELS; c++)
            variance += pow(in[r * CHANNELS + c] - mean, 2.0) / CHANNELS;
        for (int c = 0; c < CHANNELS; c++) {
            double x = (in[r * CHANNELS + c] - mean) / sqrt(variance + 1e-3f) * w[c] + b[c];
            assert_near(out[r * CHANNELS + c], x * (1.0 + scale[c]) + shift[c], 1e-6);
        }
    }
    free(in), free(out), free(w), free(b), free(scale), free(shift);
}

static void test_rms_norm(void **state)
{
    (void)state;
    enum { ROWS = 3, CHANNELS = 7 };
    for (int kind = SORA_NORM_RMS; kind <= SORA_NORM_L2; kind++) {
        struct sora_rms_norm p = {
            .in = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(ROWS, CHANNELS), 1, 3.0f),
            .out = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(ROWS, CHANNELS)),
            .weight = fixture_random(&fix, SORA_DTYPE_F16, SORA_SHAPE(CHANNELS), 2, 1.0f),
            .kind = kind,
            .activation = kind == SORA_NORM_L2 ? SORA_ACTIVATION_SILU : SORA_ACTIVATION_NONE,
            .eps = 1e-4f,
        };
        assert_int_equal(sora_op_rms_norm(fix.stream, &p), 0);
        float *in = fixture_read(&fix, &p.in), *out = fixture_read(&fix, &p.out);
        float *w = fixture_read(&fix, &p.weight);
        for (int r = 0; r < ROWS; r++) {
            double squares = 0.0;
            for (int c = 0; c < CHANNELS; c++)
                squares += pow(in[r * CHANNELS + c], 2.0);
            double divisor = kind == SORA_NORM_RMS ? sqrt(squares / CHANNELS + 1e-4f)
                                                   : sqrt(squares) / sqrt((double)CHANNELS);
            for (int c = 0; c < CHANNELS; c++) {
                double x = in[r * CHANNELS + c] / divisor * w[c];
                assert_near(out[r * CHANNELS + c], activate(p.activation, x), 1e-6);
            }
        }
        free(in), free(out), free(w);
        fixture_clear(&fix);
    }
}

static void test_rms_norm_of_zeros(void **state)
{
    (void)state;
    const float zeros[3] = {0};
    struct sora_rms_norm p = {
        .in = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(1, 3), zeros),
        .weight = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(3), 1, 1.0f),
        .kind = SORA_NORM_L2,
        .eps = 1e-12f,
    };
    p.out = p.in;
    assert_int_equal(sora_op_rms_norm(fix.stream, &p), 0);
    float *out = fixture_read(&fix, &p.out);
    assert_true(out[0] == 0.0f && out[1] == 0.0f && out[2] == 0.0f);
    free(out);
}

static void test_rope(void **state)
{
    (void)state;
    const float x[] = {1, 2, 3, 4, 5, 6, 7, 8}, c[] = {0, 1, 0.6f, 0.8f}, s[] = {1, 0, 0.8f, 0.6f};
    const float expected[] = {-2,
                              1,
                              3,
                              4,
                              5 * 0.6f - 6 * 0.8f,
                              5 * 0.8f + 6 * 0.6f,
                              7 * 0.8f - 8 * 0.6f,
                              7 * 0.6f + 8 * 0.8f};
    struct sora_tensor tensor = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(2, 1, 4), x);
    struct sora_tensor cosine = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(2, 2), c);
    struct sora_tensor sine = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(2, 2), s);
    assert_int_equal(sora_op_rope(fix.stream, &tensor, &cosine, &sine), 0);
    float *out = fixture_read(&fix, &tensor);
    for (int i = 0; i < 8; i++)
        assert_near(out[i], expected[i], 1e-6);
    free(out);
}

static void test_half_round_trip_and_rounding(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float f16 = sora_f32_from_f16((uint16_t)bits), bf16 = sora_f32_from_bf16((uint16_t)bits);
        if (f16 == f16)
            assert_int_equal(sora_f16_from_f32(f16), bits);
        if (bf16 == bf16)
            assert_int_equal(sora_bf16_from_f32(bf16), bits);
    }
    assert_true(sora_f32_from_f16(0x3c01) == 1.0f + 0x1p-10f);
    assert_true(sora_f32_from_f16(0x0001) == 0x1p-24f);
    assert_true(sora_f32_from_f16(0xfbff) == -65504.0f);
    /* Ties go to even, just above goes up, overflow to infinity, NaN stays NaN. */
    assert_int_equal(sora_f16_from_f32(1.0f + 0x1p-11f), 0x3c00);
    assert_int_equal(sora_f16_from_f32(1.0f + 0x1.8p-10f), 0x3c02);
    assert_int_equal(sora_f16_from_f32(1.0f + 0x1.002p-11f), 0x3c01);
    assert_int_equal(sora_f16_from_f32(65519.0f), 0x7bff);
    assert_int_equal(sora_f16_from_f32(65520.0f), 0x7c00);
    assert_int_equal(sora_f16_from_f32(0x1p-25f), 0x0000);
    assert_int_equal(sora_f16_from_f32(0x1.8p-25f), 0x0001);
    assert_int_equal(sora_bf16_from_f32(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(sora_bf16_from_f32(1.0f + 0x1.8p-7f), 0x3f82);
    assert_int_equal(sora_bf16_from_f32(3.4e38f), 0x7f80);
    assert_true(isnan(sora_f32_from_bf16(sora_bf16_from_f32(NAN))));
    assert_true(isnan(sora_f32_from_f16(sora_f16_from_f32(NAN))));
}

static void test_convert(void **state)
{
    (void)state;
    const float values[] = {1.0f + 0x1p-11f, -2.5f, 1e6f};
    struct sora_tensor in = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(3), values);
    struct sora_tensor half = fixture_tensor(&fix, SORA_DTYPE_F16, SORA_SHAPE(3));
    struct sora_tensor brain = fixture_tensor(&fix, SORA_DTYPE_BF16, SORA_SHAPE(3));
    assert_int_equal(sora_op_convert(fix.stream, &in, &half), 0);
    assert_int_equal(sora_op_convert(fix.stream, &half, &brain), 0);
    float *out = fixture_read(&fix, &brain);
    assert_true(out[0] == 1.0f && out[1] == -2.5f && out[2] == INFINITY);
    free(out);
}

static void test_elementwise(void **state)
{
    (void)state;
    const float x[] = {1, -2, 3, -4, 5, 6}, y[] = {10, 20, 30, 40, 50, 60}, c[] = {2, 0, -1};
    struct sora_tensor a = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(2, 3), x);
    struct sora_tensor b = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(2, 3), y);
    struct sora_tensor k = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(3), c);
    struct sora_tensor out = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(2, 3));
    struct sora_combine combine = {
        .count = 3, .coefficients = {2.0f, 0.5f, -1.0f}, .terms = {a, b, a}, .out = b};
    assert_int_equal(sora_op_combine(fix.stream, &combine), 0);
    assert_int_equal(sora_op_affine(fix.stream, &b, &k, &k, &out), 0);
    float *sum = fixture_read(&fix, &b), *affine = fixture_read(&fix, &out);
    for (int i = 0; i < 6; i++) {
        float expected = 2.0f * x[i] + 0.5f * y[i] - x[i];
        assert_true(sum[i] == expected);
        assert_true(affine[i] == expected * c[i % 3] + c[i % 3]);
    }
    free(sum), free(affine);
    for (int kind = SORA_ACTIVATION_NONE; kind <= SORA_ACTIVATION_GELU_ERF; kind++) {
        assert_int_equal(sora_op_activation(fix.stream, kind, &a, &out), 0);
        float *result = fixture_read(&fix, &out);
        for (int i = 0; i < 6; i++)
            assert_near(result[i], activate(kind, x[i]), 1e-6);
        free(result);
    }
}

static void test_gather_permute_copy(void **state)
{
    (void)state;
    const float values[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    struct sora_tensor in = fixture_values(&fix, SORA_DTYPE_BF16, SORA_SHAPE(2, 3, 2), values);
    struct sora_tensor out = fixture_tensor(&fix, SORA_DTYPE_BF16, SORA_SHAPE(2, 2, 3));
    assert_int_equal(sora_op_permute(fix.stream, &in, (const int[]){2, 0, 1}, &out), 0);
    float *got = fixture_read(&fix, &out);
    const float expected[] = {0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11};
    assert_memory_equal(got, expected, sizeof(expected));
    free(got);

    struct sora_tensor table = sora_tensor_reshape(&in, SORA_SHAPE(4, 3));
    struct sora_tensor ids = fixture_tensor(&fix, SORA_DTYPE_I32, SORA_SHAPE(2));
    struct sora_tensor rows = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(2, 3));
    assert_int_equal(sora_tensor_upload(fix.stream, &ids, (const int32_t[]){3, 1}), 0);
    assert_int_equal(sora_op_gather_rows(fix.stream, &table, &ids, &rows), 0);
    got = fixture_read(&fix, &rows);
    const float gathered[] = {9, 10, 11, 3, 4, 5};
    assert_memory_equal(got, gathered, sizeof(gathered));
    free(got);

    struct sora_tensor first = sora_tensor_slice(&rows, 0, 1);
    struct sora_tensor second = sora_tensor_slice(&rows, 1, 1);
    assert_int_equal(sora_op_copy(fix.stream, &first, &second), 0);
    got = fixture_read(&fix, &second);
    assert_memory_equal(got, gathered, 3 * sizeof(float));
    free(got);
}

static void test_rgb8_and_finite(void **state)
{
    (void)state;
    const float x[] = {-1.0f, 1.0f, 0.0f, -7.0f, 7.0f, 1.0f / 255.0f, NAN};
    const uint8_t expected[] = {0, 255, 128, 0, 255, 128, 0}; /* 127.5 and 128: ties to even */
    struct sora_tensor in = fixture_values(&fix, SORA_DTYPE_F32, SORA_SHAPE(7), x);
    struct sora_tensor out = fixture_tensor(&fix, SORA_DTYPE_U8, SORA_SHAPE(7));
    assert_int_equal(sora_op_to_rgb8(fix.stream, &in, &out), 0);
    uint8_t got[7];
    assert_int_equal(sora_tensor_download(fix.stream, &out, got), 0);
    assert_memory_equal(got, expected, sizeof(got));
    bool finite = true;
    assert_int_equal(sora_device_all_finite(fix.stream, &in, &finite), 0);
    assert_false(finite);
    struct sora_tensor head = sora_tensor_slice(&in, 0, 6);
    assert_int_equal(sora_device_all_finite(fix.stream, &head, &finite), 0);
    assert_true(finite);
}

/* int8 weights: every element within half a scale, the product that of what they stand for, rows of
 * zeros and both signs of the greatest. */
static void test_int8(void **state)
{
    (void)state;
    enum { M = 3, N = 5, K = 24 };
    struct sora_tensor b = fixture_random(&fix, SORA_DTYPE_BF16, SORA_SHAPE(N, K), 2, 3.0f);
    struct sora_tensor zeros = sora_tensor_slice(&b, 4, 1);
    uint16_t nothing[K] = {0};
    assert_int_equal(sora_tensor_upload(fix.stream, &zeros, nothing), 0);
    struct sora_matmul p = {
        .a = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(M, K), 1, 1.0f),
        .b = fixture_tensor(&fix, SORA_DTYPE_I8, SORA_SHAPE(N, K)),
        .b_scale = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(N)),
        .bias = fixture_random(&fix, SORA_DTYPE_F32, SORA_SHAPE(N), 3, 1.0f),
        .out = fixture_tensor(&fix, SORA_DTYPE_F32, SORA_SHAPE(M, N)),
    };
    assert_int_equal(sora_op_quantize(fix.stream, &b, &p.b, &p.b_scale), 0);
    assert_int_equal(sora_op_matmul(fix.stream, &p), 0);
    signed char q[N * K];
    float scale[N];
    assert_int_equal(sora_tensor_download(fix.stream, &p.b, q), 0);
    assert_int_equal(sora_tensor_download(fix.stream, &p.b_scale, scale), 0);
    float *a = fixture_read(&fix, &p.a), *w = fixture_read(&fix, &b);
    float *bias = fixture_read(&fix, &p.bias), *out = fixture_read(&fix, &p.out);
    assert_true(scale[4] == 0.0f && scale[0] > 0.0f);
    for (int n = 0; n < N; n++) {
        int greatest = 0;
        for (int k = 0; k < K; k++) {
            assert_near(scale[n] * q[n * K + k], w[n * K + k], 0.5001 * scale[n]);
            greatest = abs(q[n * K + k]) > greatest ? abs(q[n * K + k]) : greatest;
        }
        assert_int_equal(greatest, n == 4 ? 0 : 127);
        for (int m = 0; m < M; m++) {
            double sum = 0;
            for (int k = 0; k < K; k++)
                sum += (double)a[m * K + k] * q[n * K + k];
            assert_near(out[m * N + n], sum * scale[n] + bias[n], 1e-5);
        }
    }
    free(a);
    free(w);
    free(bias);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_matmul, setup, teardown),
        cmocka_unit_test_setup_teardown(test_int8, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attention, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attention_all_masked_gives_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conv, setup, teardown),
        cmocka_unit_test_setup_teardown(test_layer_norm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rms_norm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rms_norm_of_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rope, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_round_trip_and_rounding, setup, teardown),
        cmocka_unit_test_setup_teardown(test_convert, setup, teardown),
        cmocka_unit_test_setup_teardown(test_elementwise, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gather_permute_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rgb8_and_finite, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
