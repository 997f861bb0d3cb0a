/* Elementwise operations, conversions and layout, plain: pieces of a fixed number of elements, one
 * task each. */
#include "hip/cpu/half.h"
#include "hip/cpu/internal.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#define PIECE 16384 /* elements of one task */

/* One elementwise pass: what a task needs, whichever operation it is. */
struct pass {
    int64_t count, channels;
    const void *in;
    void *out;
    enum sora_dtype in_type, out_type;
    const float *scale, *shift;
    enum sora_activation activation;
    const struct sora_combine *combine;
    float value;
    atomic_bool *infinite;
};

static int pass_run(struct sora_stream *stream, struct pass *pass, sora_cpu_task task)
{
    return sora_cpu_run(sora_cpu_of(stream), 0, sora_cpu_pieces(pass->count, PIECE), task, pass);
}

static int64_t pass_end(const struct pass *pass, int64_t task)
{
    return sora_cpu_min((task + 1) * PIECE, pass->count);
}

int sora_plain_copy(struct sora_stream *stream, const struct sora_tensor *from,
                    const struct sora_tensor *to)
{
    (void)stream;
    memcpy(sora_cpu_data(to), sora_cpu_data(from), sora_tensor_size(from));
    return 0;
}

static void fill_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    float *out = pass->out;
    int64_t end = pass_end(pass, task);
    for (int64_t i = task * PIECE; i < end; i++)
        out[i] = pass->value;
}

int sora_plain_fill(struct sora_stream *stream, const struct sora_tensor *tensor, float value)
{
    struct pass pass = {
        .count = sora_tensor_count(tensor), .out = sora_cpu_data(tensor), .value = value};
    return pass_run(stream, &pass, fill_task);
}

static void convert_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    int64_t end = pass_end(pass, task);
    for (int64_t i = task * PIECE; i < end; i++)
        sora_float_store(pass->out, pass->out_type, i, sora_float_load(pass->in, pass->in_type, i));
}

int sora_plain_convert(struct sora_stream *stream, const struct sora_tensor *from,
                       const struct sora_tensor *to)
{
    struct pass pass = {
        .count = sora_tensor_count(from),
        .in = sora_cpu_data(from),
        .out = sora_cpu_data(to),
        .in_type = from->dtype,
        .out_type = to->dtype,
    };
    return pass_run(stream, &pass, convert_task);
}

static void activation_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    const float *in = pass->in;
    float *out = pass->out;
    int64_t end = pass_end(pass, task);
    for (int64_t i = task * PIECE; i < end; i++)
        out[i] = sora_plain_activate(pass->activation, in[i]);
}

int sora_plain_activation(struct sora_stream *stream, enum sora_activation activation,
                          const struct sora_tensor *in, const struct sora_tensor *out)
{
    struct pass pass = {
        .count = sora_tensor_count(in),
        .in = sora_cpu_data(in),
        .out = sora_cpu_data(out),
        .activation = activation,
    };
    return pass_run(stream, &pass, activation_task);
}

static void combine_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    const struct sora_combine *combine = pass->combine;
    const float *terms[SORA_COMBINE_MAX];
    for (int t = 0; t < combine->count; t++)
        terms[t] = sora_cpu_data(&combine->terms[t]);
    float *out = pass->out;
    int64_t end = pass_end(pass, task);
    for (int64_t i = task * PIECE; i < end; i++) {
        float sum = combine->coefficients[0] * terms[0][i];
        for (int t = 1; t < combine->count; t++)
            sum += combine->coefficients[t] * terms[t][i];
        out[i] = sum;
    }
}

int sora_plain_combine(struct sora_stream *stream, const struct sora_combine *params)
{
    struct pass pass = {
        .count = sora_tensor_count(&params->out),
        .out = sora_cpu_data(&params->out),
        .combine = params,
    };
    return pass_run(stream, &pass, combine_task);
}

static void affine_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    const float *in = pass->in;
    float *out = pass->out;
    int64_t end = pass_end(pass, task), c = task * PIECE % pass->channels;
    for (int64_t i = task * PIECE; i < end; i++) {
        out[i] = in[i] * pass->scale[c] + pass->shift[c];
        c = c + 1 == pass->channels ? 0 : c + 1;
    }
}

int sora_plain_affine(struct sora_stream *stream, const struct sora_tensor *in,
                      const struct sora_tensor *scale, const struct sora_tensor *shift,
                      const struct sora_tensor *out)
{
    struct pass pass = {
        .count = sora_tensor_count(in),
        .channels = scale->shape[0],
        .in = sora_cpu_data(in),
        .scale = sora_cpu_data(scale),
        .shift = sora_cpu_data(shift),
        .out = sora_cpu_data(out),
    };
    return pass_run(stream, &pass, affine_task);
}

int sora_plain_gather_rows(struct sora_stream *stream, const struct sora_tensor *table,
                           const struct sora_tensor *ids, const struct sora_tensor *out)
{
    (void)stream;
    int64_t channels = table->shape[1];
    const int32_t *id = sora_cpu_data(ids);
    for (int64_t i = 0; i < ids->shape[0]; i++) {
        if (id[i] < 0 || id[i] >= table->shape[0])
            return SORA_E_INVALID;
    }
    const void *rows = sora_cpu_data(table);
    float *to = sora_cpu_data(out);
    for (int64_t i = 0; i < ids->shape[0]; i++) {
        for (int64_t c = 0; c < channels; c++)
            to[i * channels + c] = sora_float_load(rows, table->dtype, id[i] * channels + c);
    }
    return 0;
}

static uint8_t rgb8(float x)
{
    /* Written so that a NaN becomes 0. */
    float clamped = x > -1.0f ? x : -1.0f;
    clamped = clamped < 1.0f ? clamped : 1.0f;
    return (uint8_t)nearbyintf((clamped + 1.0f) * 127.5f);
}

static void rgb8_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    const float *in = pass->in;
    uint8_t *out = pass->out;
    int64_t end = pass_end(pass, task);
    for (int64_t i = task * PIECE; i < end; i++)
        out[i] = rgb8(in[i]);
}

int sora_plain_to_rgb8(struct sora_stream *stream, const struct sora_tensor *in,
                       const struct sora_tensor *out)
{
    struct pass pass = {
        .count = sora_tensor_count(in), .in = sora_cpu_data(in), .out = sora_cpu_data(out)};
    return pass_run(stream, &pass, rgb8_task);
}

static void finite_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    const uint32_t *bits = pass->in;
    int64_t end = pass_end(pass, task);
    uint32_t found = 0;
    for (int64_t i = task * PIECE; i < end; i++)
        found |= (bits[i] & 0x7f800000u) == 0x7f800000u;
    if (found)
        atomic_store_explicit(pass->infinite, true, memory_order_relaxed);
}

int sora_plain_all_finite(struct sora_stream *stream, const struct sora_tensor *tensor,
                          bool *out_finite)
{
    atomic_bool infinite = false;
    struct pass pass = {
        .count = sora_tensor_count(tensor), .in = sora_cpu_data(tensor), .infinite = &infinite};
    int rc = pass_run(stream, &pass, finite_task);
    if (rc == 0)
        *out_finite = !atomic_load(&infinite);
    return rc;
}
