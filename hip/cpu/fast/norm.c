/*
 * Norms and rotary embedding: a task is some thousands of elements, a row stays in the first-level
 * cache over its passes. Sums of a row are f32 per lane.
 */
#include "hip/cpu/fast/math.h"

#include <math.h>

#define TASK_ELEMENTS 16384

struct norm_view {
    int64_t rows, rows_per_task, channels;
    const float *in, *scale, *shift;
    const void *weight, *bias;
    enum sora_dtype weight_type, bias_type;
    float *out;
    float eps;
    enum sora_norm_kind kind;
    enum sora_activation activation;
};

static int norm_run(struct sora_stream *stream, struct norm_view *view, sora_cpu_task task)
{
    view->rows_per_task = sora_cpu_max(1, TASK_ELEMENTS / view->channels);
    return sora_cpu_run(sora_cpu_of(stream), 0, sora_cpu_pieces(view->rows, view->rows_per_task),
                        task, view);
}

static inline int lanes_at(int64_t c, int64_t channels)
{
    return (int)sora_cpu_min(VF_LANES, channels - c);
}

static float row_mean(const float *in, int64_t channels)
{
    vf sum = vf_zero();
    for (int64_t c = 0; c < channels; c += VF_LANES)
        sum = vf_add(sum, vf_load_first(in + c, lanes_at(c, channels)));
    return vf_sum(sum) / (float)channels;
}

/* Mean of (x - mean)^2. */
static float row_variance(const float *in, int64_t channels, float mean)
{
    vf sum = vf_zero(), center = vf_set(mean);
    for (int64_t c = 0; c < channels; c += VF_LANES) {
        int lanes = lanes_at(c, channels);
        vf x = vf_first_or(vf_sub(vf_load_first(in + c, lanes), center), vf_zero(), lanes);
        sum = vf_fma(x, x, sum);
    }
    return vf_sum(sum) / (float)channels;
}

static void layer_norm_row(const struct norm_view *view, const float *in, float *out)
{
    float mean = row_mean(in, view->channels);
    float variance = row_variance(in, view->channels, mean);
    vf center = vf_set(mean), inverse = vf_set(1.0f / sqrtf(variance + view->eps));
    for (int64_t c = 0; c < view->channels; c += VF_LANES) {
        int lanes = lanes_at(c, view->channels);
        vf x = vf_mul(vf_sub(vf_load_first(in + c, lanes), center), inverse);
        if (view->weight)
            x = vf_fma(x, vf_load_float_first(view->weight, view->weight_type, c, lanes),
                       vf_load_float_first(view->bias, view->bias_type, c, lanes));
        if (view->scale)
            x = vf_fma(x, vf_add(vf_set(1.0f), vf_load_first(view->scale + c, lanes)),
                       vf_load_first(view->shift + c, lanes));
        vf_store_first(out + c, x, lanes);
    }
}

static void layer_norm_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct norm_view *view = context;
    int64_t end = sora_cpu_min((task + 1) * view->rows_per_task, view->rows);
    for (int64_t row = task * view->rows_per_task; row < end; row++)
        layer_norm_row(view, view->in + row * view->channels, view->out + row * view->channels);
}

int FAST(layer_norm)(struct sora_stream *stream, const struct sora_layer_norm *params)
{
    struct norm_view view = {
        .rows = params->in.shape[0],
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
    return norm_run(stream, &view, layer_norm_task);
}

static void rms_norm_row(const struct norm_view *view, const float *in, float *out)
{
    float count = (float)view->channels;
    float mean = row_variance(in, view->channels, 0.0f);
    /* |x|_2 = sqrt(count * mean) */
    float factor = view->kind == SORA_NORM_RMS
                       ? 1.0f / sqrtf(mean + view->eps)
                       : sqrtf(count) / fmaxf(sqrtf(count * mean), view->eps);
    vf scale = vf_set(factor);
    for (int64_t c = 0; c < view->channels; c += VF_LANES) {
        int lanes = lanes_at(c, view->channels);
        vf x = vf_mul(vf_mul(vf_load_first(in + c, lanes), scale),
                      vf_load_float_first(view->weight, view->weight_type, c, lanes));
        if (view->activation == SORA_ACTIVATION_SILU)
            x = vf_silu(x);
        vf_store_first(out + c, x, lanes);
    }
}

static void rms_norm_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct norm_view *view = context;
    int64_t end = sora_cpu_min((task + 1) * view->rows_per_task, view->rows);
    for (int64_t row = task * view->rows_per_task; row < end; row++)
        rms_norm_row(view, view->in + row * view->channels, view->out + row * view->channels);
}

int FAST(rms_norm)(struct sora_stream *stream, const struct sora_rms_norm *params)
{
    struct norm_view view = {
        .rows = params->in.shape[0],
        .channels = params->in.shape[1],
        .in = sora_cpu_data(&params->in),
        .out = sora_cpu_data(&params->out),
        .weight = sora_cpu_data(&params->weight),
        .weight_type = params->weight.dtype,
        .kind = params->kind,
        .activation = params->activation,
        .eps = params->eps,
    };
    return norm_run(stream, &view, rms_norm_task);
}

struct rope_view {
    int64_t rows, rows_per_task, heads, half;
    float *x;
    const float *cos_table, *sin_table;
};

static void rope_head(float *x, const float *cosine, const float *sine, int64_t half)
{
    int64_t d = 0;
    for (; d + VF_LANES / 2 <= half; d += VF_LANES / 2) {
        vf pairs = vf_load(x + 2 * d);
        vf turned = vf_mul(vf_swap_pairs(pairs), vf_load_doubled(sine + d));
        vf_store(x + 2 * d, vf_fmaddsub(pairs, vf_load_doubled(cosine + d), turned));
    }
    for (; d < half; d++) {
        float a = x[2 * d], b = x[2 * d + 1];
        x[2 * d] = a * cosine[d] - b * sine[d];
        x[2 * d + 1] = a * sine[d] + b * cosine[d];
    }
}

static void rope_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct rope_view *view = context;
    int64_t end = sora_cpu_min((task + 1) * view->rows_per_task, view->rows);
    for (int64_t row = task * view->rows_per_task; row < end; row++) {
        for (int64_t h = 0; h < view->heads; h++)
            rope_head(view->x + (row * view->heads + h) * view->half * 2,
                      view->cos_table + row * view->half, view->sin_table + row * view->half,
                      view->half);
    }
}

int FAST(rope)(struct sora_stream *stream, const struct sora_tensor *x,
               const struct sora_tensor *cos_table, const struct sora_tensor *sin_table)
{
    struct rope_view view = {
        .rows = x->shape[0],
        .heads = x->shape[1],
        .half = x->shape[2] / 2,
        .x = sora_cpu_data(x),
        .cos_table = sora_cpu_data(cos_table),
        .sin_table = sora_cpu_data(sin_table),
    };
    view.rows_per_task = sora_cpu_max(1, TASK_ELEMENTS / (view.heads * view.half * 2));
    return sora_cpu_run(sora_cpu_of(stream), 0, sora_cpu_pieces(view.rows, view.rows_per_task),
                        rope_task, &view);
}
