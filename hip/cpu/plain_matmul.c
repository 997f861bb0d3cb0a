/*
 * Matrix product, plain: one dot product per output element, f32, in 16 partial sums that are added
 * in pairs at the end. The epilogue applies in the order of device.h. Weights of int8 and
 * fp8 are products of this path alone: a CPU has no need of them, cards are compared with it.
 */
#include "hip/cpu/half.h"
#include "hip/cpu/internal.h"

#include <math.h>

#define LANES 16

struct matmul_view {
    int64_t m, n, k;
    const float *a, *b_scale, *factor, *gate, *residual;
    const void *b, *bias;
    enum sora_dtype b_type, bias_type;
    float *out;
    enum sora_activation activation;
    struct sora_cpu_device *device;
};

float sora_plain_activate(enum sora_activation activation, float x)
{
    switch (activation) {
    case SORA_ACTIVATION_SILU:
        return x / (1.0f + expf(-x));
    case SORA_ACTIVATION_GELU_TANH: {
        float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
        return 0.5f * x * (1.0f + tanhf(inner));
    }
    case SORA_ACTIVATION_GELU_ERF:
        return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
    case SORA_ACTIVATION_NONE:
        break;
    }
    return x;
}

static float dot(const float *a, const float *b, int64_t count)
{
    float sums[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int lane = 0; lane < LANES; lane++)
            sums[lane] += a[i + lane] * b[i + lane];
    }
    for (int lane = 0; i < count; i++, lane++)
        sums[lane] += a[i] * b[i];
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int lane = 0; lane < half; lane++)
            sums[lane] += sums[lane + half];
    }
    return sums[0];
}

static float epilogue(const struct matmul_view *view, int64_t i, int64_t j, float value)
{
    int64_t at = i * view->n + j;
    if (view->b_scale)
        value *= view->b_scale[j];
    if (view->bias)
        value += sora_float_load(view->bias, view->bias_type, j);
    value = sora_plain_activate(view->activation, value);
    if (view->factor)
        value *= view->factor[at];
    if (view->gate)
        value *= view->gate[j];
    if (view->residual)
        value = view->residual[at] + value;
    return value;
}

/* One task is one column of the output, so that each weight row is widened once. */
static void column_task(void *context, int64_t j, int worker)
{
    const struct matmul_view *view = context;
    float *row = sora_cpu_thread_scratch(view->device, worker);
    for (int64_t k = 0; k < view->k; k++) {
        int64_t at = j * view->k + k;
        row[k] = view->b_type == SORA_DTYPE_I8   ? ((const signed char *)view->b)[at]
                 : view->b_type == SORA_DTYPE_F8 ? sora_f32_from_f8(((const uint8_t *)view->b)[at])
                                                 : sora_float_load(view->b, view->b_type, at);
    }
    for (int64_t i = 0; i < view->m; i++)
        view->out[i * view->n + j] = epilogue(view, i, j, dot(view->a + i * view->k, row, view->k));
}

int sora_plain_matmul(struct sora_stream *stream, const struct sora_matmul *params)
{
    struct sora_cpu_device *device = sora_cpu_of(stream);
    struct matmul_view view = {
        .m = params->a.shape[0],
        .n = params->b.shape[0],
        .k = params->a.shape[1],
        .a = sora_cpu_data(&params->a),
        .b = sora_cpu_data(&params->b),
        .b_scale = sora_cpu_data(&params->b_scale),
        .bias = sora_cpu_data(&params->bias),
        .factor = sora_cpu_data(&params->factor),
        .gate = sora_cpu_data(&params->gate),
        .residual = sora_cpu_data(&params->residual),
        .out = sora_cpu_data(&params->out),
        .b_type = params->b.dtype,
        .bias_type = params->bias.dtype,
        .activation = params->activation,
        .device = device,
    };
    return sora_cpu_run(device, (size_t)view.k * sizeof(float), view.n, column_task, &view);
}

/* ---- weights to int8 and fp8 ---- */

struct quantize_view {
    const void *in;
    enum sora_dtype in_type;
    enum sora_dtype out_type;
    int64_t columns;
    uint8_t *out;
    float *scale;
};

static void row_task(void *context, int64_t row, int worker)
{
    const struct quantize_view *view = context;
    const int64_t first = row * view->columns;
    (void)worker;
    float greatest = 0.0f;
    for (int64_t i = 0; i < view->columns; i++)
        greatest = fmaxf(greatest, fabsf(sora_float_load(view->in, view->in_type, first + i)));
    bool f8 = view->out_type == SORA_DTYPE_F8;
    float scale = greatest / (f8 ? 448.0f : 127.0f);
    for (int64_t i = 0; i < view->columns; i++) {
        float x = sora_float_load(view->in, view->in_type, first + i);
        float q = scale > 0.0f ? x / scale : 0.0f;
        int whole = (int)fminf(fmaxf(nearbyintf(q), -127.0f), 127.0f);
        view->out[first + i] = f8 ? sora_f8_from_f32(q) : (uint8_t)whole;
    }
    view->scale[row] = scale;
}

int sora_plain_quantize(struct sora_stream *stream, const struct sora_tensor *in,
                        const struct sora_tensor *out, const struct sora_tensor *scale)
{
    struct quantize_view view = {
        .in = sora_cpu_data(in),
        .in_type = in->dtype,
        .out_type = out->dtype,
        .columns = in->shape[1],
        .out = sora_cpu_data(out),
        .scale = sora_cpu_data(scale),
    };
    return sora_cpu_run(sora_cpu_of(stream), 0, in->shape[0], row_task, &view);
}
