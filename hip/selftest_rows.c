/* The self-test's cases of norms, rope, elementwise operations and layout. */
#include "hip/selftest_parts.h"

#include <math.h>
#include <stdlib.h>

#define F32 SORA_DTYPE_F32
#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static void layer_norm_case(struct sora_selftest_case *run, int variant)
{
    static const int64_t shapes[][2] = {{1, 1}, {3, 15}, {37, 16}, {5, 1537}, {700, 48}};
    int64_t rows = shapes[variant][0], channels = shapes[variant][1];
    run->out = sora_selftest_random(run, F32, SORA_SHAPE(rows, channels), 1, 4.0f);
    struct sora_layer_norm p = {.in = run->out, .out = run->out, .eps = 1e-5f};
    if (variant % 2 == 0) {
        p.weight =
            sora_selftest_random(run, sora_selftest_type(variant), SORA_SHAPE(channels), 2, 1.0f);
        p.bias = sora_selftest_random(run, SORA_DTYPE_BF16, SORA_SHAPE(channels), 3, 1.0f);
    }
    if (variant % 3 != 1) {
        p.scale = sora_selftest_random(run, F32, SORA_SHAPE(channels), 4, 1.0f);
        p.shift = sora_selftest_random(run, F32, SORA_SHAPE(channels), 5, 1.0f);
    }
    if (!run->error)
        sora_selftest_check(run, sora_op_layer_norm(run->stream, &p));
}

static void rms_norm_case(struct sora_selftest_case *run, int variant)
{
    static const int64_t shapes[][2] = {{1, 1}, {3, 15}, {2000, 16}, {5, 1537}, {700, 384}};
    int64_t rows = shapes[variant][0], channels = shapes[variant][1];
    run->out = sora_selftest_tensor(run, F32, SORA_SHAPE(rows, channels));
    const struct sora_rms_norm p = {
        .in = sora_selftest_random(run, F32, SORA_SHAPE(rows, channels), 1,
                                   variant == 3 ? 0x1p-23f : 64.0f),
        .out = run->out,
        .weight =
            sora_selftest_random(run, sora_selftest_type(variant), SORA_SHAPE(channels), 2, 2.0f),
        .kind = variant % 2 ? SORA_NORM_L2 : SORA_NORM_RMS,
        .activation = variant % 3 ? SORA_ACTIVATION_SILU : SORA_ACTIVATION_NONE,
        .eps = 1e-12f,
    };
    if (!run->error)
        sora_selftest_check(run, sora_op_rms_norm(run->stream, &p));
}

static void rope_case(struct sora_selftest_case *run, int variant)
{
    static const int64_t shapes[][3] = {{1, 1, 2}, {7, 3, 34}, {65, 2, 128}, {400, 4, 64}};
    const int64_t *s = shapes[variant];
    run->out = sora_selftest_random(run, F32, 3, s, 1, 2.0f);
    struct sora_tensor cosine = sora_selftest_random(run, F32, SORA_SHAPE(s[0], s[2] / 2), 2, 1.0f);
    struct sora_tensor sine = sora_selftest_random(run, F32, SORA_SHAPE(s[0], s[2] / 2), 3, 1.0f);
    if (!run->error)
        sora_selftest_check(run, sora_op_rope(run->stream, &run->out, &cosine, &sine));
}

static void activation_case(struct sora_selftest_case *run, int variant)
{
    int64_t count = variant < 4 ? 20011 : 1;
    struct sora_tensor in =
        sora_selftest_random(run, F32, SORA_SHAPE(count), 1, variant % 2 ? 128.0f : 4.0f);
    run->out = sora_selftest_tensor(run, F32, SORA_SHAPE(count));
    if (!run->error)
        sora_selftest_check(
            run,
            sora_op_activation(run->stream, (enum sora_activation)(variant % 4), &in, &run->out));
}

static void combine_case(struct sora_selftest_case *run, int variant)
{
    int64_t count = variant * 8191 + 3;
    struct sora_combine p = {.count = variant + 1, .coefficients = {0.3f, -1.7f, 1e-3f, 11.0f}};
    for (int i = 0; i < p.count; i++)
        p.terms[i] = sora_selftest_random(run, F32, SORA_SHAPE(count), (uint64_t)i + 1, 2.0f);
    run->out = p.out = p.terms[p.count - 1];
    if (!run->error)
        sora_selftest_check(run, sora_op_combine(run->stream, &p));
}

static void affine_case(struct sora_selftest_case *run, int variant)
{
    static const int64_t shapes[][2] = {{1, 1}, {9000, 3}, {77, 16}, {301, 127}};
    int64_t channels = shapes[variant][1];
    run->out = sora_selftest_random(run, F32, 2, shapes[variant], 1, 2.0f);
    struct sora_tensor scale = sora_selftest_random(run, F32, SORA_SHAPE(channels), 2, 2.0f);
    struct sora_tensor shift = sora_selftest_random(run, F32, SORA_SHAPE(channels), 3, 2.0f);
    if (!run->error)
        sora_selftest_check(run, sora_op_affine(run->stream, &run->out, &scale, &shift, &run->out));
}

/* Values that round, overflow and are no numbers; the caller frees. */
static float *odd_values(int64_t count)
{
    float *values = malloc((size_t)count * sizeof(float));
    for (int64_t i = 0; values && i < count; i++)
        values[i] = ldexpf((float)(i * 7919 % 20011) / 20011.0f - 0.5f, (int)(i % 60) - 30);
    if (values && count > 8) {
        values[3] = INFINITY;
        values[5] = -INFINITY;
        values[7] = 3.4e38f;
    }
    return values;
}

/* All pairs of types. */
static void convert_case(struct sora_selftest_case *run, int variant)
{
    const int64_t count = 16411;
    enum sora_dtype to = sora_selftest_type(variant);
    float *values = odd_values(count);
    if (!values) {
        sora_selftest_check(run, SORA_E_MEMORY);
        return;
    }
    struct sora_tensor in =
        sora_selftest_values(run, sora_selftest_type(variant / 3), SORA_SHAPE(count), values);
    struct sora_tensor result = sora_selftest_tensor(run, to, SORA_SHAPE(count));
    run->out = sora_selftest_tensor(run, F32, SORA_SHAPE(count));
    if (!run->error)
        sora_selftest_check(run, sora_op_convert(run->stream, &in, &result));
    if (!run->error)
        sora_selftest_check(run, sora_op_convert(run->stream, &result, &run->out));
    free(values);
}

static void fill_case(struct sora_selftest_case *run, int variant)
{
    static const float fillings[] = {0.0f, -1.5f, INFINITY};
    run->out = sora_selftest_random(run, F32, SORA_SHAPE(2050), 1, 1.0f);
    struct sora_tensor part = sora_tensor_slice(&run->out, 1, 1025 + variant);
    if (!run->error)
        sora_selftest_check(run, sora_op_fill(run->stream, &part, fillings[variant]));
}

static void copy_case(struct sora_selftest_case *run, int variant)
{
    run->out = sora_selftest_random(run, F32, SORA_SHAPE(3000), 1, 1.0f);
    struct sora_tensor from = sora_tensor_slice(&run->out, 1, 999 + variant);
    struct sora_tensor to = sora_tensor_slice(&run->out, 1501, 999 + variant);
    if (!run->error)
        sora_selftest_check(run, sora_op_copy(run->stream, &from, &to));
}

static void gather_case(struct sora_selftest_case *run, int variant)
{
    static const int32_t chosen[] = {4, 0, 12, 12, 7};
    struct sora_tensor table =
        sora_selftest_random(run, sora_selftest_type(variant), SORA_SHAPE(13, 257), 1, 1.0f);
    struct sora_tensor ids = sora_selftest_tensor(run, SORA_DTYPE_I32, SORA_SHAPE(5));
    run->out = sora_selftest_tensor(run, F32, SORA_SHAPE(5, 257));
    if (!run->error)
        sora_selftest_check(run, sora_tensor_upload(run->stream, &ids, chosen));
    if (!run->error)
        sora_selftest_check(run, sora_op_gather_rows(run->stream, &table, &ids, &run->out));
}

static void permute_case(struct sora_selftest_case *run, int variant)
{
    static const struct {
        int rank, order[5];
        int64_t shape[5];
    } cases[] = {
        {1, {0}, {1025}},
        {2, {1, 0}, {33, 65}},
        {3, {2, 0, 1}, {7, 5, 31}},
        {5, {0, 3, 1, 4, 2}, {3, 4, 5, 6, 7}},
    };
    int64_t shape[5];
    for (int i = 0; i < cases[variant].rank; i++)
        shape[i] = cases[variant].shape[cases[variant].order[i]];
    struct sora_tensor in =
        sora_selftest_random(run, F32, cases[variant].rank, cases[variant].shape, 1, 1.0f);
    run->out = sora_selftest_tensor(run, F32, cases[variant].rank, shape);
    if (!run->error)
        sora_selftest_check(run,
                            sora_op_permute(run->stream, &in, cases[variant].order, &run->out));
}

/* What a device says in bytes or with yes and no, as f32 for the comparison. */
static void rgb8_case(struct sora_selftest_case *run, int variant)
{
    int64_t count = variant ? 16409 : 5;
    float *values = odd_values(count);
    uint8_t *bytes = calloc((size_t)count, 1);
    if (!values || !bytes)
        sora_selftest_check(run, SORA_E_MEMORY);
    for (int64_t i = 0; !run->error && i < count; i++)
        values[i] = (float)(i % 601 - 300) / 255.0f;
    if (!run->error) {
        values[2] = NAN;
        values[4] = INFINITY;
    }
    struct sora_tensor in = sora_selftest_values(run, F32, SORA_SHAPE(count), values);
    struct sora_tensor rgb = sora_selftest_tensor(run, SORA_DTYPE_U8, SORA_SHAPE(count));
    if (!run->error)
        sora_selftest_check(run, sora_op_to_rgb8(run->stream, &in, &rgb));
    if (!run->error)
        sora_selftest_check(run, sora_tensor_download(run->stream, &rgb, bytes));
    for (int64_t i = 0; !run->error && i < count; i++)
        values[i] = bytes[i];
    run->out = sora_selftest_values(run, F32, SORA_SHAPE(count), values);
    free(values);
    free(bytes);
}

static void finite_case(struct sora_selftest_case *run, int variant)
{
    enum { ELEMENTS = 33000 };
    static const int places[] = {-1, 0, 16383, 16384, ELEMENTS - 1};
    static const float bad[] = {0.0f, INFINITY, -INFINITY, NAN, NAN};
    float *values = calloc(ELEMENTS, sizeof(float));
    bool finite = false;
    if (!values) {
        sora_selftest_check(run, SORA_E_MEMORY);
        return;
    }
    if (places[variant] >= 0)
        values[places[variant]] = bad[variant];
    struct sora_tensor in = sora_selftest_values(run, F32, SORA_SHAPE(ELEMENTS), values);
    if (!run->error)
        sora_selftest_check(run, sora_device_all_finite(run->stream, &in, &finite));
    values[0] = finite ? 1.0f : 0.0f;
    run->out = sora_selftest_values(run, F32, SORA_SHAPE(1), values);
    free(values);
}

/* Norms and activations use the card's own exponential and root. */
const struct sora_selftest_operation sora_selftest_rows[] = {
    {"layer_norm", layer_norm_case, 5, 5e-6, 5e-6},
    {"rms_norm", rms_norm_case, 5, 5e-6, 5e-6},
    {"rope", rope_case, 4, 5e-7, 5e-7},
    {"activation", activation_case, 8, 2e-6, 2e-6},
    {"combine", combine_case, 4, 0.0, 0.0},
    {"affine", affine_case, 4, 0.0, 0.0},
    {"convert", convert_case, 9, 0.0, 0.0},
    {"fill", fill_case, 3, 0.0, 0.0},
    {"copy", copy_case, 2, 0.0, 0.0},
    {"gather_rows", gather_case, 3, 0.0, 0.0},
    {"permute", permute_case, 4, 0.0, 0.0},
    {"to_rgb8", rgb8_case, 2, 0.0, 0.0},
    {"all_finite", finite_case, 5, 0.0, 0.0},
};
const int sora_selftest_row_count = COUNT(sora_selftest_rows);
