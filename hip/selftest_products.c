/* The self-test's cases of products, convolutions and attention. */
#include "hip/selftest_parts.h"

#include <math.h>

#define F32 SORA_DTYPE_F32
#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* One row, one column and odd sizes; whole tiles and their neighbours; rows that no vector load
 * fits; large enough for the pass that rounds activations first. */
static const struct {
    int64_t m, n, k;
    float scale;
} matmul_shapes[] = {
    {1, 1, 1, 1.0f},      {1, 37, 129, 1.0f},   {3, 16, 16, 1.0f},     {5, 33, 1, 1.0f},
    {63, 70, 47, 1.0f},   {64, 64, 384, 1.0f},  {65, 31, 385, 1.0f},   {71, 257, 769, 1.0f},
    {127, 300, 64, 1.0f}, {129, 513, 33, 1.0f}, {197, 96, 400, 64.0f}, {830, 17, 20, 1.0f},
    {513, 520, 24, 1.0f}, {520, 512, 40, 1.0f}, {512, 513, 32, 1.0f},
};

static void matmul_case(struct sora_selftest_case *run, int variant)
{
    const int64_t m = matmul_shapes[variant].m, n = matmul_shapes[variant].n;
    const int64_t k = matmul_shapes[variant].k;
    enum sora_dtype dtype = sora_selftest_type(variant);
    run->out = sora_selftest_random(run, F32, SORA_SHAPE(m, n), 9, 1.0f);
    struct sora_matmul p = {
        .a = sora_selftest_random(run, F32, SORA_SHAPE(m, k), 1, matmul_shapes[variant].scale),
        .b = sora_selftest_random(run, dtype, SORA_SHAPE(n, k), 2, 1.0f),
        .out = run->out,
        .activation = (enum sora_activation)(variant % 4),
    };
    if (variant % 2 == 0)
        p.bias = sora_selftest_random(run, dtype, SORA_SHAPE(n), 3, 1.0f);
    if (variant % 3 == 0)
        p.factor = sora_selftest_random(run, F32, SORA_SHAPE(m, n), 4, 1.0f);
    if (variant % 3 != 1)
        p.gate = sora_selftest_random(run, F32, SORA_SHAPE(n), 5, 1.0f);
    if (variant % 4 == 1)
        p.residual = p.out; /* in place */
    if (variant % 4 == 2)
        p.residual = sora_selftest_random(run, F32, SORA_SHAPE(m, n), 6, 1.0f);
    if (!run->error)
        sora_selftest_check(run, sora_op_matmul(run->stream, &p));
}

static const struct {
    int64_t m, n, k;
} quantised_shapes[] = {{1, 1, 8}, {5, 33, 40}, {129, 70, 384}, {66, 257, 1024}};

/* Weights quantised by the device to `type`, then a product with them. */
static void quantised_run(struct sora_selftest_case *run, int variant, enum sora_dtype type)
{
    const int64_t m = quantised_shapes[variant].m, n = quantised_shapes[variant].n;
    const int64_t k = quantised_shapes[variant].k;
    struct sora_tensor weight =
        sora_selftest_random(run, sora_selftest_type(variant), SORA_SHAPE(n, k), 2, 1.0f);
    run->out = sora_selftest_tensor(run, F32, SORA_SHAPE(m, n));
    const struct sora_matmul p = {
        .a = sora_selftest_random(run, F32, SORA_SHAPE(m, k), 1, 1.0f),
        .b = sora_selftest_tensor(run, type, SORA_SHAPE(n, k)),
        .b_scale = sora_selftest_tensor(run, F32, SORA_SHAPE(n)),
        .bias = sora_selftest_random(run, F32, SORA_SHAPE(n), 3, 1.0f),
        .out = run->out,
        .activation = (enum sora_activation)(variant % 4),
    };
    if (!run->error)
        sora_selftest_check(run, sora_op_quantize(run->stream, &weight, &p.b, &p.b_scale));
    if (!run->error)
        sora_selftest_check(run, sora_op_matmul(run->stream, &p));
}

static void int8_case(struct sora_selftest_case *run, int variant)
{
    quantised_run(run, variant, SORA_DTYPE_I8);
}

static void fp8_case(struct sora_selftest_case *run, int variant)
{
    quantised_run(run, variant, SORA_DTYPE_F8);
}

const struct sora_selftest_conv sora_selftest_convs[] = {
    {2, 5, 7, 3, 5, 3, 3, 3, 0, 2, 1, 1, {1, 1, 1, 1}, 1},
    {1, 6, 33, 16, 16, 3, 3, 3, 2, 2, 1, 1, {1, 1, 1, 1}, 1},
    {3, 4, 15, 17, 33, 3, 3, 3, 1, 2, 1, 1, {1, 1, 1, 1}, 1},
    {2, 9, 11, 7, 70, 1, 1, 1, 0, 0, 1, 1, {0, 0, 0, 0}, 1},
    {4, 3, 5, 32, 64, 3, 1, 1, 0, 2, 1, 1, {0, 0, 0, 0}, 1},
    {5, 3, 5, 6, 3, 3, 1, 1, 2, 2, 2, 1, {0, 0, 0, 0}, 1},
    {1, 10, 13, 9, 18, 1, 3, 3, 0, 0, 1, 2, {0, 1, 0, 1}, 1},
    {2, 5, 6, 19, 12, 1, 3, 3, 0, 0, 1, 1, {1, 1, 1, 1}, 2},
    {1, 2, 3, 384, 40, 3, 3, 3, 0, 2, 1, 1, {1, 1, 1, 1}, 1},
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, {0, 0, 0, 0}, 1},
    {1, 3, 1000, 2, 3, 1, 3, 5, 0, 0, 1, 1, {2, 0, 3, 1}, 1},
    {1, 31, 30, 8, 8, 2, 2, 2, 1, 1, 1, 1, {0, 1, 1, 0}, 1},
    {2, 7, 8, 5, 4, 1, 1, 1, 0, 0, 1, 2, {0, 0, 0, 0}, 1},
};
const int sora_selftest_conv_count = COUNT(sora_selftest_convs);

struct sora_conv3d sora_selftest_conv_params(const struct sora_selftest_conv *shape,
                                             int64_t out_shape[4])
{
    out_shape[0] = (shape->time_pad + shape->frames - shape->kt) / shape->stride_t + 1;
    out_shape[1] = (shape->height * shape->upsample + shape->pad[0] + shape->pad[1] - shape->kh) /
                       shape->stride +
                   1;
    out_shape[2] = (shape->width * shape->upsample + shape->pad[2] + shape->pad[3] - shape->kw) /
                       shape->stride +
                   1;
    out_shape[3] = shape->out;
    return (struct sora_conv3d){
        .time_pad = shape->time_pad,
        .stride_t = shape->stride_t,
        .stride_h = shape->stride,
        .stride_w = shape->stride,
        .pad_top = shape->pad[0],
        .pad_bottom = shape->pad[1],
        .pad_left = shape->pad[2],
        .pad_right = shape->pad[3],
        .upsample = shape->upsample,
    };
}

static void conv_case(struct sora_selftest_case *run, int variant)
{
    const struct sora_selftest_conv *s = &sora_selftest_convs[variant];
    int64_t out[4];
    struct sora_tensor weight = sora_selftest_random(
        run, sora_selftest_type(variant), SORA_SHAPE(s->out, s->in, s->kt, s->kh, s->kw), 1, 1.0f);
    struct sora_conv3d p = sora_selftest_conv_params(s, out);
    run->out = p.out = sora_selftest_random(run, F32, 4, out, 2, 1.0f);
    p.in =
        sora_selftest_random(run, F32, SORA_SHAPE(s->frames, s->height, s->width, s->in), 3, 1.0f);
    if (s->history)
        p.history = sora_selftest_random(
            run, F32, SORA_SHAPE(s->history, s->height, s->width, s->in), 4, 1.0f);
    if (variant % 2 == 0)
        p.bias = sora_selftest_random(run, SORA_DTYPE_BF16, SORA_SHAPE(s->out), 5, 1.0f);
    if (variant % 3 == 1)
        p.residual = p.out;
    if (!run->error)
        sora_selftest_check(run, sora_packed_create(run->device, &weight, &run->packed));
    p.weight = run->packed;
    if (s->history && variant % 2 && !run->error) { /* kept as the convolution rounds it */
        struct sora_tensor kept = sora_selftest_tensor(run, sora_packed_input_type(run->packed),
                                                       p.history.rank, p.history.shape);
        if (!run->error)
            sora_selftest_check(run, sora_op_convert(run->stream, &p.history, &kept));
        p.history = kept;
    }
    if (!run->error)
        sora_selftest_check(run, sora_op_conv3d(run->stream, &p));
}

static const struct {
    int64_t queries, keys, heads, size;
    float scale;
    bool is_masked, is_biased;
} attention_shapes[] = {
    {1, 1, 1, 1, 1.0f, false, false},        {5, 7, 2, 6, 1.0f, true, true},
    {57, 33, 3, 32, 0.25f, false, true},     {64, 257, 2, 64, 0.125f, true, false},
    {13, 700, 1, 128, 1.0f, false, false},   {130, 65, 2, 128, 0.0625f, false, false},
    {29, 513, 2, 17, 0.5f, true, false},     {113, 45, 1, 384, 0.0625f, true, true},
    {257, 129, 1, 48, 0.125f, false, false},
};

static void attention_case(struct sora_selftest_case *run, int variant)
{
    int64_t queries = attention_shapes[variant].queries, keys = attention_shapes[variant].keys;
    int64_t heads = attention_shapes[variant].heads, size = attention_shapes[variant].size;
    run->out = sora_selftest_tensor(run, F32, SORA_SHAPE(queries, heads, size));
    struct sora_attention p = {
        .q = sora_selftest_random(run, F32, SORA_SHAPE(queries, heads, size), 1, 2.0f),
        .k = sora_selftest_random(run, F32, SORA_SHAPE(keys, heads, size), 2, 2.0f),
        .v = sora_selftest_random(run, F32, SORA_SHAPE(keys, heads, size), 3, 1.0f),
        .out = run->out,
        .scale = attention_shapes[variant].scale,
    };
    if (attention_shapes[variant].is_masked) {
        float mask[1024];
        for (int64_t j = 0; j < keys; j++)
            mask[j] = j < keys / 2 || j % 3 == 0 ? -INFINITY : (float)(j % 5) * 0.25f;
        mask[keys - 1] = 0.0f;
        p.key_bias = sora_selftest_values(run, F32, SORA_SHAPE(keys), mask);
    }
    if (attention_shapes[variant].is_biased)
        p.position_bias = sora_selftest_random(run, F32, SORA_SHAPE(heads, queries, keys), 4, 4.0f);
    if (!run->error)
        sora_selftest_check(run, sora_op_attention(run->stream, &p));
}

/* Sums of up to some thousand products in f32, in another order. In attention the weights of the
 * values are rounded to the type of the products. A weight half way between two integers may become
 * either. */
const struct sora_selftest_operation sora_selftest_products[] = {
    {"matmul", matmul_case, COUNT(matmul_shapes), 5e-6, 5e-6},
    {"int8", int8_case, COUNT(quantised_shapes), 1e-2, 1e-2},
    {"fp8", fp8_case, COUNT(quantised_shapes) - 1, 1e-2, 1e-2},
    {"conv3d", conv_case, COUNT(sora_selftest_convs), 5e-6, 5e-6},
    {"attention", attention_case, COUNT(attention_shapes), 8e-3, 1e-5},
};
const int sora_selftest_product_count = COUNT(sora_selftest_products);
