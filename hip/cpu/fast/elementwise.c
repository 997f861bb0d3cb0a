/*
 * Elementwise passes. combine, affine, convert and to_rgb8 round like the plain ones, so their
 * results are the same bits.
 */
#include "hip/cpu/fast/math.h"

#include <stdatomic.h>

#define PIECE 16384 /* elements of one task; a multiple of every vector length */

struct pass {
    int64_t count, channels;
    const void *in;
    void *out;
    enum sora_dtype in_type, out_type;
    const float *scale, *shift;
    enum sora_activation activation;
    int term_count;
    const float *terms[SORA_COMBINE_MAX];
    float coefficients[SORA_COMBINE_MAX];
    atomic_bool *infinite;
};

static int pass_run(struct sora_stream *stream, struct pass *pass, sora_cpu_task task)
{
    return sora_cpu_run(sora_cpu_of(stream), 0, sora_cpu_pieces(pass->count, PIECE), task, pass);
}

static inline int64_t piece_end(const struct pass *pass, int64_t task)
{
    return sora_cpu_min((task + 1) * PIECE, pass->count);
}

static inline int lanes_at(int64_t i, int64_t end)
{
    return (int)sora_cpu_min(VF_LANES, end - i);
}

static void activation_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    const float *in = pass->in;
    float *out = pass->out;
    int64_t end = piece_end(pass, task);
    for (int64_t i = task * PIECE; i < end; i += VF_LANES) {
        int lanes = lanes_at(i, end);
        vf_store_first(out + i, vf_activate(pass->activation, vf_load_first(in + i, lanes)), lanes);
    }
}

int FAST(activation)(struct sora_stream *stream, enum sora_activation activation,
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
    float *out = pass->out;
    int64_t end = piece_end(pass, task);
    for (int64_t i = task * PIECE; i < end; i += VF_LANES) {
        int lanes = lanes_at(i, end);
        vf sum = vf_mul(vf_set(pass->coefficients[0]), vf_load_first(pass->terms[0] + i, lanes));
        for (int t = 1; t < pass->term_count; t++)
            sum = vf_add(sum, vf_mul(vf_set(pass->coefficients[t]),
                                     vf_load_first(pass->terms[t] + i, lanes)));
        vf_store_first(out + i, sum, lanes);
    }
}

int FAST(combine)(struct sora_stream *stream, const struct sora_combine *params)
{
    struct pass pass = {
        .count = sora_tensor_count(&params->out),
        .out = sora_cpu_data(&params->out),
        .term_count = params->count,
    };
    for (int t = 0; t < params->count; t++) {
        pass.terms[t] = sora_cpu_data(&params->terms[t]);
        pass.coefficients[t] = params->coefficients[t];
    }
    return pass_run(stream, &pass, combine_task);
}

static void affine_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    const float *in = pass->in;
    float *out = pass->out;
    int64_t end = piece_end(pass, task), i = task * PIECE, c = i % pass->channels;
    while (i < end) {
        int lanes = (int)sora_cpu_min(lanes_at(i, end), pass->channels - c);
        vf x = vf_mul(vf_load_first(in + i, lanes), vf_load_first(pass->scale + c, lanes));
        vf_store_first(out + i, vf_add(x, vf_load_first(pass->shift + c, lanes)), lanes);
        i += lanes;
        c = c + lanes == pass->channels ? 0 : c + lanes;
    }
}

int FAST(affine)(struct sora_stream *stream, const struct sora_tensor *in,
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

static inline void float_store(const struct pass *pass, int64_t i, vf x)
{
    if (pass->out_type == SORA_DTYPE_F32)
        vf_store((float *)pass->out + i, x);
    else if (pass->out_type == SORA_DTYPE_F16)
        vf_store_f16((uint16_t *)pass->out + i, x);
    else
        vf_store_bf16((uint16_t *)pass->out + i, x);
}

static void convert_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    int64_t end = piece_end(pass, task), i = task * PIECE;
    for (; i + VF_LANES <= end; i += VF_LANES)
        float_store(pass, i, vf_load_float(pass->in, pass->in_type, i));
    for (; i < end; i++)
        sora_float_store(pass->out, pass->out_type, i, sora_float_load(pass->in, pass->in_type, i));
}

int FAST(convert)(struct sora_stream *stream, const struct sora_tensor *from,
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

static void rgb8_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const struct pass *pass = context;
    const float *in = pass->in;
    uint8_t *out = pass->out;
    int64_t end = piece_end(pass, task);
    for (int64_t i = task * PIECE; i < end; i += VF_LANES) {
        int lanes = lanes_at(i, end);
        vf x = vf_max(vf_load_first(in + i, lanes), vf_set(-1.0f)); /* a NaN becomes -1 */
        x = vf_mul(vf_add(vf_min(x, vf_set(1.0f)), vf_set(1.0f)), vf_set(127.5f));
        uint8_t bytes[VF_LANES];
        vf_store_u8(lanes == VF_LANES ? out + i : bytes, x);
        if (lanes < VF_LANES)
            memcpy(out + i, bytes, (size_t)lanes);
    }
}

int FAST(to_rgb8)(struct sora_stream *stream, const struct sora_tensor *in,
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
    const float *in = pass->in;
    int64_t end = piece_end(pass, task);
    bool found = false;
    for (int64_t i = task * PIECE; i < end; i += VF_LANES)
        found |= vf_any_infinite(vf_load_first(in + i, lanes_at(i, end)));
    if (found)
        atomic_store_explicit(pass->infinite, true, memory_order_relaxed);
}

int FAST(all_finite)(struct sora_stream *stream, const struct sora_tensor *tensor, bool *out_finite)
{
    atomic_bool infinite = false;
    struct pass pass = {
        .count = sora_tensor_count(tensor), .in = sora_cpu_data(tensor), .infinite = &infinite};
    int rc = pass_run(stream, &pass, finite_task);
    if (rc == 0)
        *out_finite = !atomic_load(&infinite);
    return rc;
}
