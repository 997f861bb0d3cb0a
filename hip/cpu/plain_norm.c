/* Norms and rotary embedding, plain: sums of a row in double precision, one task per row. */
#include "hip/cpu/half.h"
#include "hip/cpu/internal.h"

#include <math.h>

struct norm_view {
    int64_t channels;
    const float *in, *scale, *shift;
    const void *weight, *bias;
    enum sora_dtype weight_type, bias_type;
    float *out;
    float eps;
    enum sora_norm_kind kind;
    enum sora_activation activation;
};

static void layer_norm_task(void *context, int64_t row, int worker)
{
    (void)worker;
    const struct norm_view *view = context;
    const float *in = view->in + row * view->channels;
    float *out = view->out + row * view->channels;
    double sum = 0.0, squares = 0.0;
    for (int64_t c = 0; c < view->channels; c++)
        sum += in[c];
    double mean = sum / (double)view->channels;
    for (int64_t c = 0; c < view->channels; c++)
        squares += (in[c] - mean) * (in[c] - mean);
    double inverse = 1.0 / sqrt(squares / (double)view->channels + (double)view->eps);
    for (int64_t c = 0; c < view->channels; c++) {
        float value = (float)((in[c] - mean) * inverse);
        if (view->weight)
            value = value * sora_float_load(view->weight, view->weight_type, c) +
                    sora_float_load(view->bias, view->bias_type, c);
        if (view->scale)
            value = value * (1.0f + view->scale[c]) + view->shift[c];
        out[c] = value;
    }
}

int sora_plain_layer_norm(struct sora_stream *stream, const struct sora_layer_norm *params)
{
    struct norm_view view = {
        .channels = params->in.shape[1],
        .in = sora_cpu_data(&params->in),
        .out = sora_cpu_data(&params->out),
        .weight = sora_cpu_data(&params->weight),
        .bias = sora_cpu_data(&params->bias),
        .weight_type = params->weight.dtype,
        .bias_type = params->bias.dtype,
        .scale = sora_cpu_data(&params->scale),
        .shift = sora_cpu_data(&params->shift),
        .eps = params->eps,
    };
    return sora_cpu_run(sora_cpu_of(stream), 0, params->in.shape[0], layer_norm_task, &view);
}

static void rms_norm_task(void *context, int64_t row, int worker)
{
    (void)worker;
    const struct norm_view *view = context;
    const float *in = view->in + row * view->channels;
    float *out = view->out + row * view->channels;
    double squares = 0.0, count = (double)view->channels;
    for (int64_t c = 0; c < view->channels; c++)
        squares += (double)in[c] * in[c];
    double factor = view->kind == SORA_NORM_RMS
                        ? 1.0 / sqrt(squares / count + (double)view->eps)
                        : sqrt(count) / fmax(sqrt(squares), (double)view->eps);
    for (int64_t c = 0; c < view->channels; c++) {
        float value = (float)(in[c] * factor) * sora_float_load(view->weight, view->weight_type, c);
        out[c] = sora_plain_activate(view->activation, value);
    }
}

int sora_plain_rms_norm(struct sora_stream *stream, const struct sora_rms_norm *params)
{
    struct norm_view view = {
        .channels = params->in.shape[1],
        .in = sora_cpu_data(&params->in),
        .out = sora_cpu_data(&params->out),
        .weight = sora_cpu_data(&params->weight),
        .weight_type = params->weight.dtype,
        .kind = params->kind,
        .activation = params->activation,
        .eps = params->eps,
    };
    return sora_cpu_run(sora_cpu_of(stream), 0, params->in.shape[0], rms_norm_task, &view);
}

struct rope_view {
    int64_t heads, half;
    float *x;
    const float *cos_table, *sin_table;
};

static void rope_task(void *context, int64_t row, int worker)
{
    (void)worker;
    const struct rope_view *view = context;
    const float *c = view->cos_table + row * view->half, *s = view->sin_table + row * view->half;
    for (int64_t h = 0; h < view->heads; h++) {
        float *x = view->x + (row * view->heads + h) * view->half * 2;
        for (int64_t d = 0; d < view->half; d++) {
            float a = x[2 * d], b = x[2 * d + 1];
            x[2 * d] = a * c[d] - b * s[d];
            x[2 * d + 1] = a * s[d] + b * c[d];
        }
    }
}

int sora_plain_rope(struct sora_stream *stream, const struct sora_tensor *x,
                    const struct sora_tensor *cos_table, const struct sora_tensor *sin_table)
{
    struct rope_view view = {
        .heads = x->shape[1],
        .half = x->shape[2] / 2,
        .x = sora_cpu_data(x),
        .cos_table = sora_cpu_data(cos_table),
        .sin_table = sora_cpu_data(sin_table),
    };
    return sora_cpu_run(sora_cpu_of(stream), 0, x->shape[0], rope_task, &view);
}
